// registry: the variable that keeps everything is not exported, and in another package than main.
package main

import (
	"flag"
	"fmt"

	"keptby.lab/kit"
	"keptby.lab/registry/store"
)

func main() {
	n := flag.Int("n", 50_000, "drivers")
	k := kit.Start()
	k.Hold(kit.Holder{
		Name: "keptby.lab/registry/store.drivers", Kind: "map", Type: "map[string]store.Driver",
		Var: store.Variable(), Rule: "global/map", Count: store.Len,
	}, func() {
		for i := 0; i < *n; i++ {
			name := fmt.Sprintf("driver-%06d", i)
			store.Register(name, store.New(name))
			if !k.Leak {
				store.Unregister(name)
			}
		}
	})
	k.Ready()
	k.Wait()
}
