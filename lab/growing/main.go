// growing: a package-level map that grows while one looks at it, up to a limit; then it starts again.
package main

import (
	"flag"
	"sync"
	"time"

	"keptby.lab/kit"
)

type item struct {
	next *item
	body [100]byte
}

var (
	mu    sync.Mutex
	items = map[int]*item{}
)

func grow(limit, batch int, pause time.Duration) {
	for {
		mu.Lock()
		if len(items) >= limit {
			items = map[int]*item{}
		}
		for i := 0; i < batch; i++ {
			items[len(items)] = &item{next: items[len(items)/2]}
		}
		mu.Unlock()
		time.Sleep(pause)
	}
}

func main() {
	n := flag.Int("n", 400_000, "entries to start again at")
	batch := flag.Int("batch", 200, "entries that come at once")
	pause := flag.Duration("pause", 500*time.Microsecond, "pause between two batches")
	k := kit.Start()
	k.Hold(kit.Holder{
		Name: "main.items", Kind: "map", Type: "map[int]*main.item", Var: &items,
		Rule: "global/map", Count: func() int { return len(items) },
	}, func() {
		for i := 0; i < *n/2 && k.Leak; i++ {
			items[i] = &item{}
		}
	})
	if k.Leak {
		go grow(*n, *batch, *pause)
	}
	k.Ready()
	k.Wait()
}
