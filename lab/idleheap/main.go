// idleheap: a peak long ago; the heap is empty again, but the memory has not gone back to the system, because the
// collector's goal (GOGC) still allows for it.
package main

import (
	"flag"
	"runtime"
	"runtime/debug"

	"keptby.lab/kit"
)

var live [][]byte

//go:noinline
func peak(bytes int) {
	var all [][]byte
	for n := 0; n < bytes; n += 64 << 10 {
		b := make([]byte, 64<<10)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
	}
	runtime.KeepAlive(all)
}

func main() {
	size := flag.Int("size", 100, "MiB at the peak")
	k := kit.Start()
	k.Hold(kit.Holder{
		Name: "main.live", Kind: "slice", Type: "[][]uint8", Var: &live,
		Count: func() int { return len(live) },
	}, func() {
		for i := 0; i < 32; i++ {
			live = append(live, make([]byte, 64<<10))
		}
	})
	if k.Leak {
		debug.SetGCPercent(100 * *size) // far too much, as one finds it in the wild
	}
	peak(*size << 20)
	runtime.GC()
	if !k.Leak {
		debug.FreeOSMemory()
	}
	if k.Leak {
		k.Fact("expect", "memory/rss")
	}
	k.Fact("peak_bytes", *size<<20)
	k.Ready()
	k.Wait()
}
