package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/pprof"
	"sort"
	"strings"
	"sync"
	"time"
)

var (
	parkNever = make(chan int)
	parkMutex sync.Mutex
	parkRW    sync.RWMutex
	parkWG    sync.WaitGroup
	parkCond  = sync.NewCond(&sync.Mutex{})
)

// block never comes back. It is where the goroutines of this file end up, each with another kind of stack below.
//
//go:noinline
func block() int { return <-parkNever }

//go:noinline
func parkSend(c chan *Node, n *Node) { c <- n }

//go:noinline
func parkReceive(c chan *Node) *Node { return <-c }

//go:noinline
func parkNil() { var c chan int; <-c }

//go:noinline
func parkSelect(a, b chan int, n *Node) string {
	select {
	case <-a:
	case b <- 1:
	case <-timeAfter:
	}
	return n.Name
}

//go:noinline
func parkEmptySelect() { select {} }

func parkLocks() int {
	parkMutex.Lock()
	parkRW.Lock()
	parkWG.Add(1)
	go func() { parkMutex.Lock() }()
	go func() { parkMutex.Lock() }()
	go func() { parkRW.RLock() }()
	go func() { parkRW.Lock() }()
	go func() { parkWG.Wait() }()
	go func() { parkCond.L.Lock(); parkCond.Wait() }()
	go func() { parkCond.L.Lock(); parkCond.Wait() }()
	return 7
}

// parkDefers has defers of all kinds: open coded, in a loop (on the heap), with captured variables.
func parkDefers(n *Node) {
	defer func() { n.Name = "done" }()
	for i := 0; i < 5; i++ {
		m := &Node{Name: fmt.Sprint("deferred ", i)}
		defer func() { m.Next = n }()
	}
	defer fmt.Sprintln(n, &Node{})
	block()
}

func parkPanic() {
	defer func() { recover() }()
	defer func() {
		local := &Node{Name: "in a deferred call of a panic"}
		block()
		local.Name = ""
	}()
	panic(&Node{Name: "panic value"})
}

func parkNestedPanic() {
	defer func() {
		recover()
		block()
	}()
	defer func() { panic(fmt.Errorf("second")) }()
	panic("first")
}

func parkGoexit() {
	defer block()
	runtime.Goexit()
}

// parkNilDereference stops in a deferred call after a fault.
func parkNilDereference() {
	defer func() {
		recover()
		block()
	}()
	local := &Node{}
	println(local.Next.Name)
}

func parkStackObjects() {
	var all pointers // too large for a frame's bitmap to be looked at word by word
	fillPointers(&all)
	var nodes [20]Node
	for i := range nodes {
		nodes[i].Data = make([]byte, 30)
		if i > 0 {
			nodes[i].Next = &nodes[i-1] // a pointer from the stack into the stack
		}
	}
	array := [3]*Node{{}, {}, {}}
	block()
	fmt.Sprintln(countPointers(&all), &nodes, array)
}

func parkRange() {
	for key, value := range mapByString { // with an iterator on the stack
		block()
		sink = key + value.Name
	}
}

func parkSort() {
	nodes := []*Node{{Name: "b"}, {Name: "a"}, {Name: "c"}}
	sort.Slice(nodes, func(i, j int) bool { return block() > 0 && nodes[i].Name < nodes[j].Name })
}

func parkMap() {
	strings.Map(func(r rune) rune { return rune(block()) }, "a text")
}

//go:noinline
func parkDeep(n int, up *Node) int {
	local := &Node{Next: up}
	if n == 0 {
		return block()
	}
	return parkDeep(n-1, local) + len(local.Name)
}

//go:noinline
func parkManyArgs(a, b, c, d, e, f, g, h, i, j, k, l *Node, more ...any) *Node {
	block()
	if len(more) > 3 {
		return a
	}
	return l
}

//go:noinline
func parkDead(n *Node) {
	if len(n.Data) == 0 {
		n = nil // from here on nothing needs the node
	}
	block()
}

func parkLabels() {
	pprof.Do(context.Background(), pprof.Labels("tenant", fmt.Sprint("acme")), func(context.Context) { block() })
}

func parkLocked() {
	runtime.LockOSThread()
	block()
}

func parkSleep(n *Node) string {
	time.Sleep(time.Hour)
	return n.Name
}

// parkReflected blocks inside a function that reflection made, and inside a method called by reflection.
func parkReflected() {
	block()
}

// startParked starts one goroutine of each kind and returns their number.
func startParked() int {
	n := func() *Node { return &Node{Name: fmt.Sprint("argument ", 1), Data: make([]byte, 10)} }
	all := []func(){
		parkNil, parkEmptySelect, parkPanic, parkNestedPanic, parkGoexit, parkNilDereference, parkStackObjects,
		parkRange, parkSort, parkMap, parkLabels, parkLocked, parkReflected,
		func() { parkDefers(n()) }, func() { parkDead(&Node{}) }, func() { parkSleep(n()) },
		func() { parkDeep(200, n()) }, func() { parkManyArgs(n(), n(), n(), n(), n(), n(), n(), n(), n(), n(), n(), n(), 1, "x", n()) },
	}
	for _, f := range all {
		go f()
	}
	for i := 0; i < 3; i++ {
		go parkSend(make(chan *Node), n())
		go parkReceive(make(chan *Node))
		go parkSelect(make(chan int), make(chan int), n())
	}
	go parkSend(syncChanFull(), n())
	return len(all) + 10 + parkLocks() + parkByReflection()
}

func syncChanFull() chan *Node {
	c := make(chan *Node, 2)
	c <- &Node{}
	c <- &Node{}
	return c
}
