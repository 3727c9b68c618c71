//go:build go1.21

package main

import (
	"context"
	"runtime"
)

var (
	pinned     runtime.Pinner
	pinnedNode *Node
	afterFunc  func() bool
)

func fillNew() {
	pinnedNode = &Node{Name: "pinned"}
	pinned.Pin(pinnedNode)
	pinned.Pin(pinnedNode)
	pinned.Pin(&Node{Name: "kept by the pinner only"})
	afterFunc = context.AfterFunc(timeContext, func() { _ = pinnedNode.Name })
	fillNewer()
}
