// pool: a free list of buffers written by hand, which never gives one back; the fixed variant uses sync.Pool.
package main

import (
	"flag"
	"sync"

	"keptby.lab/kit"
)

type buffer struct {
	b    []byte
	used int
}

var (
	freeList   []*buffer
	bufferPool = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, 1<<10)} }}
)

func get() *buffer {
	if n := len(freeList); n > 0 {
		b := freeList[n-1]
		freeList = freeList[:n-1]
		return b
	}
	return &buffer{b: make([]byte, 0, 1<<10)}
}

func put(b *buffer) { freeList = append(freeList, b) }

func main() {
	n := flag.Int("n", 500, "buffers in use at the peak")
	size := flag.Int("size", 32<<10, "bytes of a buffer at the peak")
	k := kit.Start()
	k.Hold(kit.Holder{
		Name: "main.freeList", Kind: "slice", Type: "[]*main.buffer", Var: &freeList,
		Rule: "global/slice", Count: func() int { return len(freeList) },
	}, func() {
		var inUse []*buffer
		for i := 0; i < *n; i++ {
			b := get
			if !k.Leak {
				b = func() *buffer { return bufferPool.Get().(*buffer) }
			}
			x := b()
			x.b = append(x.b[:0], make([]byte, *size)...)
			inUse = append(inUse, x)
		}
		for _, x := range inUse {
			if k.Leak {
				put(x)
			} else {
				bufferPool.Put(x)
			}
		}
	})
	k.Ready()
	k.Wait()
}
