// globalbytes: package-level variables that hold few, very large pieces of memory without pointers.
package main

import (
	"flag"
	"strings"

	"keptby.lab/kit"
)

var (
	chunks [][]byte // what was downloaded, piece by piece
	blob   []byte   // one large buffer
	page   string   // one large string
)

func main() {
	size := flag.Int("size", 12<<20, "bytes of each holder")
	k := kit.Start()
	total, pieces := *size, 12
	if !k.Leak {
		total, pieces = 48<<10, 3
	}
	k.Hold(kit.Holder{
		Name: "main.chunks", Kind: "slice", Type: "[][]uint8", Var: &chunks,
		Rule: "global/slice", Count: func() int { return len(chunks) },
	}, func() {
		for i := 0; i < pieces; i++ {
			chunks = append(chunks, make([]byte, total/pieces))
		}
	})
	k.Hold(kit.Holder{
		Name: "main.blob", Kind: "slice", Type: "[]uint8", Var: &blob,
		Rule: "global/slice", Count: func() int { return len(blob) },
	}, func() {
		blob = make([]byte, total)
	})
	k.Hold(kit.Holder{
		Name: "main.page", Kind: "string", Type: "string", Var: &page,
		Rule: "global/slice|global/other", Count: func() int { return len(page) },
	}, func() {
		page = strings.Repeat("keptby ", total/7)
	})
	k.Ready()
	k.Wait()
}
