// structcache: the variable is a struct by value: a lock, two maps and a list of keys in it.
package main

import (
	"flag"
	"fmt"
	"sync"
	"time"

	"keptby.lab/kit"
)

type entry struct {
	value   []byte
	expires time.Time
	hits    *int
}

var cache struct {
	sync.RWMutex
	entries  map[string]entry
	byTime   []string
	negative map[string]struct{}
}

func store(key string, size int) {
	cache.Lock()
	defer cache.Unlock()
	cache.entries[key] = entry{value: make([]byte, size), expires: time.Now().Add(time.Minute), hits: new(int)}
	cache.byTime = append(cache.byTime, key)
	cache.negative["not "+key] = struct{}{}
}

// expire is what was forgotten.
func expire() {
	cache.Lock()
	defer cache.Unlock()
	for _, key := range cache.byTime {
		delete(cache.entries, key)
		delete(cache.negative, "not "+key)
	}
	cache.byTime = nil
}

func main() {
	n := flag.Int("n", 40_000, "entries")
	size := flag.Int("size", 300, "bytes of a value")
	k := kit.Start()
	k.Hold(kit.Holder{
		Name: "main.cache", Kind: "struct", Type: "struct", Var: &cache,
		Rule: "global/map|global/other", Count: func() int { return len(cache.entries) },
	}, func() {
		cache.entries = map[string]entry{}
		cache.negative = map[string]struct{}{}
		for i := 0; i < *n; i++ {
			store(fmt.Sprint("key/", i), *size)
			if !k.Leak && i%100 == 99 {
				expire()
			}
		}
	})
	k.Ready()
	k.Wait()
}
