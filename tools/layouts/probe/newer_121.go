//go:build go1.21

package main

import "runtime"

func newer(n *node) {
	var p runtime.Pinner
	p.Pin(n)
	newer123(n)
}
