// linkedlist: memory that hangs together by pointers only: a container/list, a long chain, a tree.
package main

import (
	"container/list"
	"flag"

	"keptby.lab/kit"
)

type link struct {
	next *link
	v    int64
}

type node struct {
	left, right *node
	key         uint64
	value       []byte
}

var (
	recent = list.New()
	chain  *link
	tree   *node
)

func insert(t *node, key uint64) *node {
	n := &node{key: key, value: make([]byte, 32)}
	if t == nil {
		return n
	}
	for at := t; ; {
		next := &at.left
		if key > at.key {
			next = &at.right
		}
		if *next == nil {
			*next = n
			return t
		}
		at = *next
	}
}

func main() {
	links := flag.Int("n", 1_000_000, "links of the chain")
	k := kit.Start()
	elements, nodes := 130_000, 190_000
	if !k.Leak {
		*links, elements, nodes = 100, 100, 100
	}
	k.Hold(kit.Holder{
		Name: "main.recent", Kind: "pointer", Type: "*list.List", Var: &recent,
		Rule: "global/slice|global/other", Count: func() int { return recent.Len() },
	}, func() {
		for i := 0; i < elements; i++ {
			recent.PushBack(make([]byte, 40))
		}
	})
	k.Hold(kit.Holder{
		Name: "main.chain", Kind: "pointer", Type: "*main.link", Var: &chain,
		Rule: "global/other",
	}, func() {
		for i := 0; i < *links; i++ {
			chain = &link{next: chain, v: int64(i)}
		}
	})
	k.Hold(kit.Holder{
		Name: "main.tree", Kind: "pointer", Type: "*main.node", Var: &tree,
		Rule: "global/other",
	}, func() {
		key := uint64(1)
		for i := 0; i < nodes; i++ {
			key = key*6364136223846793005 + 1442695040888963407
			tree = insert(tree, key)
		}
	})
	k.Ready()
	k.Wait()
}
