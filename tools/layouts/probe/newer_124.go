//go:build go1.24

package main

import (
	"runtime"
	"weak"
)

func newer124(n *node) {
	runtime.AddCleanup(n, func(x int) { sink = x }, 1)
	sink = weak.Make(n)
}
