// smallobjs: very many small objects, the worst case for whoever looks at each. For the tests with few, for the
// benchmark with tens of millions.
package main

import (
	"flag"
	"fmt"
	"os"

	"keptby.lab/kit"
)

type obj16 struct {
	p *obj16
	v int64
}

type obj24 struct {
	p *obj24
	s string
}

type obj48 struct {
	p, q *obj48
	s    string
	v    [2]int64
}

var (
	list16  []*obj16
	list24  []*obj24
	list48  []*obj48
	chain16 *obj16
	tree48  *obj48
	index   map[uint64]*obj24
)

func fill16(n int) {
	list16 = make([]*obj16, n)
	for i := range list16 {
		o := &obj16{v: int64(i)}
		if i > 0 {
			o.p = list16[i/2] // and a second way to many of them
		}
		list16[i] = o
	}
}

func fill24(n int) {
	list24 = make([]*obj24, n)
	for i := range list24 {
		list24[i] = &obj24{s: "constant"}
	}
}

func fill48(n int) {
	list48 = make([]*obj48, n)
	for i := range list48 {
		o := &obj48{s: "constant"}
		if i > 0 {
			o.p, o.q = list48[i-1], list48[i/3]
		}
		list48[i] = o
	}
}

func fillChain(n int) {
	for i := 0; i < n; i++ {
		chain16 = &obj16{p: chain16}
	}
}

func grow(depth int) *obj48 {
	if depth == 0 {
		return nil
	}
	return &obj48{p: grow(depth - 1), q: grow(depth - 1)}
}

func fillTree(n int) {
	depth := 1
	for 1<<depth < n {
		depth++
	}
	tree48 = grow(depth)
}

func fillIndex(n int) {
	index = map[uint64]*obj24{}
	for i := 0; i < n; i++ {
		index[uint64(i)*0x9e3779b97f4a7c15] = &obj24{s: "constant"}
	}
}

type shape struct {
	holder kit.Holder
	fill   func(int)
}

var shapes = map[string]shape{
	"list16": {kit.Holder{Name: "main.list16", Kind: "slice", Type: "[]*main.obj16", Var: &list16,
		Rule: "global/slice", Count: func() int { return len(list16) }}, fill16},
	"list24": {kit.Holder{Name: "main.list24", Kind: "slice", Type: "[]*main.obj24", Var: &list24,
		Rule: "global/slice", Count: func() int { return len(list24) }}, fill24},
	"list48": {kit.Holder{Name: "main.list48", Kind: "slice", Type: "[]*main.obj48", Var: &list48,
		Rule: "global/slice", Count: func() int { return len(list48) }}, fill48},
	"chain16": {kit.Holder{Name: "main.chain16", Kind: "pointer", Type: "*main.obj16", Var: &chain16,
		Rule: "global/other"}, fillChain},
	"tree48": {kit.Holder{Name: "main.tree48", Kind: "pointer", Type: "*main.obj48", Var: &tree48,
		Rule: "global/other"}, fillTree},
	"index": {kit.Holder{Name: "main.index", Kind: "map", Type: "map[uint64]*main.obj24", Var: &index,
		Rule: "global/map", Count: func() int { return len(index) }}, fillIndex},
}

func main() {
	n := flag.Int("n", 600_000, "objects")
	name := flag.String("shape", "list24", "list16, list24, list48, chain16, tree48 or index")
	k := kit.Start()
	s, ok := shapes[*name]
	if !ok {
		fmt.Fprintf(os.Stderr, "-shape=%s: no such shape\n", *name)
		os.Exit(2)
	}
	if !k.Leak {
		*n = 1000
	}
	k.Hold(s.holder, func() { s.fill(*n) })
	k.Ready()
	k.Wait()
}
