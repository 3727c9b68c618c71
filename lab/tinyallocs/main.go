// tinyallocs: objects so small that the runtime packs several into one 16-byte block.
package main

import (
	"flag"
	"strconv"

	"keptby.lab/kit"
)

var (
	counters []*int32
	words    []string
)

func main() {
	n := flag.Int("n", 900_000, "objects of each kind")
	k := kit.Start()
	if !k.Leak {
		*n = 1000
	}
	k.Hold(kit.Holder{
		Name: "main.counters", Kind: "slice", Type: "[]*int32", Var: &counters,
		Rule: "global/slice", Count: func() int { return len(counters) },
	}, func() {
		counters = make([]*int32, *n)
		for i := range counters {
			counters[i] = new(int32)
		}
	})
	k.Hold(kit.Holder{
		Name: "main.words", Kind: "slice", Type: "[]string", Var: &words,
		Rule: "global/slice", Count: func() int { return len(words) },
	}, func() {
		words = make([]string, *n)
		for i := range words {
			words[i] = strconv.Itoa(i + 1000)
		}
	})
	k.Ready()
	k.Wait()
}
