//go:build go1.24

package main

import (
	"os"
	"runtime"
	"weak"
)

var (
	weakTarget  *Node
	weakPointer weak.Pointer[Node]
	weakInside  weak.Pointer[[]byte]
	weakDead    []weak.Pointer[Node]
	cleaned     *Node
	cleanedTiny *int32
	cleanupStop []runtime.Cleanup
	cleanupRoot *os.Root
)

type cleanupArg struct {
	fd   int
	node *Node
}

//go:noinline
func dropCleaned(n int) {
	for i := 0; i < n; i++ {
		x := &Node{Name: "gone"}
		weakDead = append(weakDead, weak.Make(x))
		runtime.AddCleanup(x, func(a *cleanupArg) { <-specialBlock }, &cleanupArg{i, &Node{}})
	}
}

func fillNewest() {
	weakTarget = &Node{Name: "weak"}
	weakPointer = weak.Make(weakTarget)
	weakInside = weak.Make(&weakTarget.Data)
	cleaned = &Node{Name: "cleaned"}
	held := &Node{Name: "captured by a cleanup"}
	cleanupStop = append(cleanupStop, runtime.AddCleanup(cleaned, func(a cleanupArg) { _ = held }, cleanupArg{1, &Node{}}))
	cleanupStop = append(cleanupStop, runtime.AddCleanup(cleaned, func(x int) {}, 42))
	cleanedTiny = new(int32)
	dropCleaned(30)
	cleanupRoot, _ = os.OpenRoot("/proc/self")
}
