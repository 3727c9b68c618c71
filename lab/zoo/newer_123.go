//go:build go1.23

package main

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"unique"
)

var (
	pullNext   []func() (*Node, bool)
	pullStop   []func()
	pull2Next  func() (string, *Node, bool)
	uniqueText []unique.Handle[string]
	uniqueNode unique.Handle[struct{ a, b string }]
	iterSeq    iter.Seq[string]
)

func sequence(n int) iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		local := &Node{Name: "on the stack of a coroutine"}
		for i := 0; i < n; i++ {
			if !yield(&Node{Next: local}) {
				return
			}
		}
	}
}

func fillNewer() {
	for i := 0; i < 4; i++ {
		next, stop := iter.Pull(sequence(i))
		for j := 0; j < i-1; j++ {
			next()
		}
		pullNext, pullStop = append(pullNext, next), append(pullStop, stop)
	}
	pullStop[3]()
	pull2Next, _ = iter.Pull2(maps.All(mapSmall))
	pull2Next()
	for i := 0; i < 50; i++ {
		uniqueText = append(uniqueText, unique.Make(fmt.Sprint("unique ", i%40)))
	}
	uniqueNode = unique.Make(struct{ a, b string }{"a", fmt.Sprint("b")})
	iterSeq = maps.Keys(mapByString)
	_ = slices.Collect(iterSeq)
	fillNewest()
}
