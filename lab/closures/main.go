// closures: a package-level slice of functions; what each has captured is large.
package main

import (
	"flag"

	"keptby.lab/kit"
)

type request struct {
	id   int
	body []byte
	head map[string]string
}

func (r *request) retry() int { return len(r.body) }

var undo []func() int

//go:noinline
func later(r *request) {
	if r.id%2 == 0 {
		undo = append(undo, r.retry) // a method value keeps its receiver
		return
	}
	body := r.body
	undo = append(undo, func() int { return len(body) + r.id })
}

func main() {
	n := flag.Int("n", 4_000, "closures")
	size := flag.Int("size", 8<<10, "bytes that each has captured")
	k := kit.Start()
	k.Hold(kit.Holder{
		Name: "main.undo", Kind: "slice", Type: "[]func() int", Var: &undo,
		Rule: "global/slice", Count: func() int { return len(undo) },
	}, func() {
		for i := 0; i < *n; i++ {
			later(&request{id: i, body: make([]byte, *size), head: map[string]string{"a": "b"}})
			if !k.Leak && len(undo) == 20 {
				for j, f := range undo {
					f()
					undo[j] = nil // a shortened slice still keeps what its array points to
				}
				undo = undo[:0]
			}
		}
	})
	k.Ready()
	k.Wait()
}
