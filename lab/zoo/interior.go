package main

import (
	"strings"
	"unsafe"
)

// What keeps these objects points into their middle, or to their last byte.
var (
	interiorElement *Node
	interiorField   *[]byte
	interiorWindow  []byte
	interiorText    string
	interiorNodes   []Node
	interiorEmpty   []byte  // length and capacity 0: points nowhere, or to the base of its array
	interiorHidden  uintptr // an address that is not a pointer: it keeps nothing
)

func fillInterior() {
	nodes := make([]Node, 400)
	nodes[0].Next = &Node{Name: "kept by the first, which only the array keeps"}
	interiorElement = &nodes[399]
	interiorField = &(&Node{Next: &Node{}}).Data
	window := make([]byte, 10<<20)
	interiorWindow = window[100:110]
	interiorText = strings.Repeat("text", 1000)[3990:]
	interiorNodes = make([]Node, 10, 1000)[5:7:8]
	interiorEmpty = make([]byte, 64)[10:10:10]
	hidden := &Node{Name: "hidden", Data: make([]byte, 5000)}
	interiorHidden = uintptr(unsafe.Pointer(hidden))
}
