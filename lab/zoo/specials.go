package main

import (
	"fmt"
	"runtime"
	"runtime/pprof"
	"unsafe"
)

type finalized struct {
	node *Node
	self *finalized
}

var (
	specialKept   *finalized
	specialTiny   *int32
	specialNoscan *[64]byte
	specialBack   *finalized
	specialBlock  = make(chan int)
	specialPprof  = pprof.Lookup("heap") // links the heap profile, so that sampled objects carry a special
)

//go:noinline
func dropFinalized(n int) {
	for i := 0; i < n; i++ {
		f := &finalized{node: &Node{Name: fmt.Sprint("waits for its finalizer ", i)}}
		runtime.SetFinalizer(f, func(f *finalized) { <-specialBlock })
	}
	cycle := &finalized{node: &Node{Name: "in a cycle with a finalizer: never freed"}}
	cycle.self = cycle
	runtime.SetFinalizer(cycle, func(*finalized) {})
}

func fillSpecials() {
	specialKept = &finalized{node: &Node{}}
	held := &Node{Name: "captured by a finalizer"}
	runtime.SetFinalizer(specialKept, func(f *finalized) { specialBack = f; _ = held.Name })
	specialTiny = new(int32)
	specialNoscan = new([64]byte)
	runtime.SetFinalizer(specialNoscan, func(*[64]byte) { _ = held.Next })
	dropFinalized(120) // the first blocks the finalizer goroutine, the others queue up
	_ = unsafe.Pointer(specialTiny)
}
