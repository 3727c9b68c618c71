// ctxvalues: a package-level context that is wrapped once more for each request, so that every value stays.
package main

import (
	"context"
	"flag"

	"keptby.lab/kit"
)

type key int

var base = context.Background()

type trace struct {
	id   int
	body [2000]byte
}

func handle(ctx context.Context, id int) context.Context {
	return context.WithValue(ctx, key(id), &trace{id: id})
}

func main() {
	n := flag.Int("n", 15_000, "requests")
	k := kit.Start()
	k.Hold(kit.Holder{
		Name: "main.base", Kind: "interface", Type: "context.Context", Var: &base,
		Rule: "global/other|global/context",
	}, func() {
		for i := 0; i < *n; i++ {
			ctx := handle(base, i)
			if k.Leak {
				base = ctx // meant: ctx := ...
			}
		}
	})
	k.Ready()
	k.Wait()
}
