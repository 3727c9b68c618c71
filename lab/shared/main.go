// shared: two package-level maps hold the same objects. Emptying one of them frees nothing but its own table.
package main

import (
	"flag"
	"fmt"

	"keptby.lab/kit"
)

type user struct {
	id   int
	name string
	data [400]byte
}

var (
	byID   = map[int]*user{}
	byName = map[string]*user{}
)

func main() {
	n := flag.Int("n", 50_000, "users")
	k := kit.Start()
	k.Hold(kit.Holder{
		Name: "main.byID", Kind: "map", Type: "map[int]*main.user", Var: &byID,
		Rule: "global/map", Count: func() int { return len(byID) }, Shared: []string{"main.byName"},
	}, func() {
		for i := 0; i < *n; i++ {
			u := &user{id: i, name: fmt.Sprint("user number ", i)}
			byID[u.id] = u
			byName[u.name] = u
			if !k.Leak {
				delete(byID, u.id)
				delete(byName, u.name)
			}
		}
	})
	k.Ready()
	k.Wait()
}
