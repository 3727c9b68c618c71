// globalmap: a package-level map that is filled and never emptied.
package main

import (
	"flag"
	"fmt"
	"strings"

	"keptby.lab/kit"
)

// BigObject is the value that the cache keeps.
type BigObject struct {
	data string
	body [200]byte
}

var globalCache = make(map[string]*BigObject)

func processData(data string) {
	obj := &BigObject{data: data} // allocated on the heap
	globalCache[data] = obj       // held by the global map: the collector cannot free it
}

// processDataFixed does the same work, and takes its entry out again when the work is done.
func processDataFixed(data string) {
	processData(data)
	delete(globalCache, data)
}

func main() {
	n := flag.Int("n", 80_000, "entries")
	k := kit.Start()
	process := processData
	if !k.Leak {
		process = processDataFixed
	}
	k.Hold(kit.Holder{
		Name: "main.globalCache", Kind: "map", Type: "map[string]*main.BigObject", Var: &globalCache,
		Rule: "global/map", Count: func() int { return len(globalCache) },
	}, func() {
		for i := 0; i < *n; i++ {
			process(fmt.Sprintf("request-%08d-%s", i, strings.Repeat("x", i%40)))
		}
	})
	for _, obj := range globalCache {
		k.Fact("example", fmt.Sprintf("%p", obj)) // the address of one object that the map keeps
		break
	}
	k.Ready()
	k.Wait()
}
