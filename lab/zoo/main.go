// zoo: one of everything that the collector has to know about. Whoever marks the heap from outside must reach exactly
// the objects that the collector kept: start it with -quiet, then nothing changes after the READY line.
package main

import (
	"flag"
	"runtime"
	"time"

	"keptby.lab/kit"
)

// Node is the ordinary small object of this program.
type Node struct {
	Next *Node
	Name string
	Data []byte
}

var sink any

//go:noinline
func garbage(n int) {
	for i := 0; i < n; i++ {
		sink = &Node{Data: make([]byte, 300)}
	}
	sink = nil
}

func main() {
	n := flag.Int("n", 2_000, "entries of the larger collections")
	spin := flag.Bool("spin", false, "two goroutines that compute for ever without a call in their loop")
	k := kit.Start()
	k.Fact("maps", fillMaps(*n))
	fillReflect()
	fillBig()
	fillInterior()
	fillValues(*n)
	fillSync()
	fillTimers()
	fillSpecials()
	fillNew()
	fillNetwork()
	k.Fact("parked", startParked())
	if *spin {
		startSpinners()
	}
	// Parked goroutines get where they are going, and finalizers are queued, before the last collections.
	time.Sleep(100 * time.Millisecond)
	runtime.GC()
	time.Sleep(100 * time.Millisecond)
	garbage(1000)
	k.Ready()
	k.Wait()
	runtime.KeepAlive(k)
}
