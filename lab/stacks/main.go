// stacks: very many goroutines that once were deep in a recursion: their stacks are most of the memory.
package main

import (
	"flag"
	"runtime/debug"
	"sync"

	"keptby.lab/kit"
)

var (
	never = make(chan int)
	depth = flag.Int("depth", 40, "calls of 200 bytes and more")
)

//go:noinline
func dig(n int, up *sync.WaitGroup) int {
	var pad [160]byte
	pad[n%len(pad)] = 1
	if n == 0 {
		up.Done()
		return <-never
	}
	return dig(n-1, up) + int(pad[0])
}

func main() {
	n := flag.Int("n", 3_000, "goroutines")
	k := kit.Start()
	debug.SetGCPercent(100)
	if !k.Leak {
		*n = 10
	}
	var up sync.WaitGroup
	up.Add(*n)
	for i := 0; i < *n; i++ {
		go dig(*depth, &up)
	}
	up.Wait()
	if k.Leak {
		k.Fact("expect", "memory/rss")
	}
	k.Fact("parked", *n)
	k.Ready()
	k.Wait()
}
