// syncmap: a sync.Map used as a cache. From Go 1.24 it is a hash trie, before it is a pair of maps.
package main

import (
	"flag"
	"fmt"
	"sync"

	"keptby.lab/kit"
)

type token struct {
	subject string
	claims  [96]byte
}

var tokens sync.Map

func count() int {
	n := 0
	tokens.Range(func(any, any) bool { n++; return true })
	return n
}

func main() {
	n := flag.Int("n", 60_000, "entries")
	k := kit.Start()
	k.Hold(kit.Holder{
		Name: "main.tokens", Kind: "sync.Map", Type: "sync.Map", Var: &tokens,
		Rule: "global/map", Count: count,
	}, func() {
		for i := 0; i < *n; i++ {
			key := fmt.Sprintf("token-%08d", i)
			tokens.Store(key, &token{subject: key})
			if !k.Leak {
				tokens.Delete(key)
			} else if i%3 == 0 {
				tokens.Load(key) // promotes the dirty map now and then
			}
		}
		if !k.Leak {
			// In the older implementation deleted keys stay in the dirty map until it is promoted and rebuilt.
			tokens.Range(func(key, _ any) bool { tokens.Delete(key); return true })
			tokens.Store("last", &token{})
			tokens.Range(func(key, _ any) bool { tokens.Delete(key); return true })
		}
	})
	k.Ready()
	k.Wait()
}
