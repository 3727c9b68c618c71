//go:build go1.23

package main

import (
	"iter"
	"unique"
)

func newer123(n *node) {
	next, stop := iter.Pull(func(yield func(*node) bool) { yield(n) })
	defer stop()
	next()
	sink = unique.Make(n.name)
	newer124(n)
}
