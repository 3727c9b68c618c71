package main

import (
	"fmt"
	"time"
)

// heap is one shape of data behind package-level variables.
type heap interface {
	// entries says how many entries make about so many objects, or bytes.
	entries(want uint64, bytes bool) int
	fill(n int)
	churn()
}

func newHeap(shape string) (heap, error) {
	switch shape {
	case "records":
		return records{}, nil
	case "structs":
		return structs{}, nil
	case "pairs":
		return pairs{}, nil
	}
	return nil, fmt.Errorf("no shape %q: records, structs or pairs", shape)
}

// share is want divided by what one entry has of it.
func share(want uint64, bytes bool, bytesEach, objectsEach float64) int {
	if bytes {
		return int(float64(want) / bytesEach)
	}
	return int(float64(want) / objectsEach)
}

// records: 24 M small objects in 1 GB. Maps from a number to a record that has a name.

type record struct {
	name    string
	id      uint64
	visits  uint32
	flags   uint32
	next    *record
	comment *string
}

const shardEntries = 12000

var recordShards []map[uint32]*record

type records struct{}

func (records) entries(want uint64, bytes bool) int { return share(want, bytes, 89.5, 2) }

func (records) fill(n int) {
	name := make([]byte, 16)
	for len(recordShards)*shardEntries < n {
		shard := make(map[uint32]*record, shardEntries)
		var last *record
		for i := uint32(0); i < shardEntries; i++ {
			for k := range name {
				name[k] = 'a' + byte((i>>(k&15))&15)
			}
			last = &record{name: string(name), id: uint64(i), next: last}
			shard[i] = last
		}
		recordShards = append(recordShards, shard)
	}
}

func (records) churn() {
	for i := uint32(0); ; i++ {
		shard := recordShards[int(i)%len(recordShards)]
		old := shard[i%shardEntries]
		*old = record{name: old.name, id: uint64(i), next: old.next}
		shard[i%shardEntries] = old
		if i%64 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// structs: 10 M objects of about 100 bytes in 1 GB, with other things between them.

type order struct {
	id, customer uint64
	name         string
	note         []byte
	parent       *order
	created      time.Time
	total        float64
}

const blockEntries = 8192

var orderBlocks [][]*order

type structs struct{}

func (structs) entries(want uint64, bytes bool) int { return share(want, bytes, 120.5, 1.25) }

func newOrder(i int, parent *order) *order {
	o := &order{id: uint64(i), name: "an order", parent: parent, total: float64(i)}
	if i%4 == 0 {
		o.note = make([]byte, 64)
	}
	return o
}

func (structs) fill(n int) {
	for len(orderBlocks)*blockEntries < n {
		block := make([]*order, blockEntries)
		var parent *order
		for i := range block {
			if i%16 == 0 {
				parent = nil
			}
			block[i] = newOrder(i, parent)
			parent = block[i]
		}
		orderBlocks = append(orderBlocks, block)
	}
}

func (structs) churn() {
	for i := 0; ; i++ {
		block := orderBlocks[i%len(orderBlocks)]
		block[i%blockEntries] = newOrder(i, nil)
		if i%64 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// pairs: the worst case, 16-byte objects that are nothing but two pointers. Binary trees.

type pair struct{ left, right *pair }

const treeDepth = 16

var trees []*pair

type pairs struct{}

func (pairs) entries(want uint64, bytes bool) int {
	return share(want, bytes, 16<<treeDepth, 1<<treeDepth)
}

func newTree(depth int) *pair {
	if depth == 0 {
		return nil
	}
	return &pair{newTree(depth - 1), newTree(depth - 1)}
}

func (pairs) fill(n int) {
	for i := 0; i < n; i++ {
		trees = append(trees, newTree(treeDepth))
	}
}

func (pairs) churn() {
	for i := 0; ; i++ {
		trees[i%len(trees)] = newTree(treeDepth)
		time.Sleep(100 * time.Millisecond)
	}
}

// park starts n goroutines that wait, three calls deep, for something that does not come.
func park(n int) {
	for i := 0; i < n; i++ {
		go waiter(uint64(i), make(chan uint64))
	}
}

//go:noinline
func waiter(id uint64, c chan uint64) { handle(&id, c) }

//go:noinline
func handle(id *uint64, c chan uint64) { *id += receive(c) }

//go:noinline
func receive(c chan uint64) uint64 { return <-c }
