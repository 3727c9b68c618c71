package main

import "reflect"

type blocker struct{ node *Node }

// Wait is called through reflection, and as a method value made by it.
func (b blocker) Wait(n *Node, text string) int { return block() + len(b.node.Name) + len(text) }

// parkByReflection parks goroutines whose stacks have the assembler stubs of package reflect in them.
func parkByReflection() int {
	b := blocker{&Node{Name: "receiver"}}
	made := reflect.MakeFunc(reflect.TypeOf(b.Wait), func(args []reflect.Value) []reflect.Value {
		return []reflect.Value{reflect.ValueOf(block())}
	}).Interface().(func(*Node, string) int)
	value := reflect.ValueOf(b).Method(0).Interface().(func(*Node, string) int)
	go made(&Node{Name: "to a made function"}, "text")
	go value(&Node{Name: "to a method value"}, "text")
	go reflect.ValueOf(b).Method(0).Call([]reflect.Value{reflect.ValueOf(&Node{}), reflect.ValueOf("called")})
	go reflect.ValueOf(func(n *Node) { block(); sink = n }).Call([]reflect.Value{reflect.ValueOf(&Node{})})
	return 4
}

var spinSum [2]uint64

// startSpinners makes goroutines that are only ever interrupted by a signal, with a live pointer in a register.
func startSpinners() {
	for i := range spinSum {
		go func(out *uint64, data []uint64) {
			for {
				for _, v := range data {
					*out += v
				}
			}
		}(&spinSum[i], make([]uint64, 1000))
	}
}
