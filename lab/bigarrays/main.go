// bigarrays: few, very large objects with pointers: an array in the data segment, a struct of megabytes whose pointer
// mask the collector makes on demand, a long array of structs.
package main

import (
	"flag"

	"keptby.lab/kit"
)

type pixel struct {
	rgb  [3]byte
	next *pixel
}

type frame struct {
	name   string
	pixels [60_000]pixel
	tail   *pixel
}

type cell struct {
	head [5]int
	p    *pixel
	rest []byte
}

var (
	frames [64]*frame
	board  *[40_000]cell
	table  []cell
)

func main() {
	used := flag.Int("n", 12, "frames that are kept, at most 64")
	k := kit.Start()
	cells, rows := 40_000, 130_000
	if !k.Leak {
		*used, cells, rows = 1, 0, 100
	}
	k.Hold(kit.Holder{
		Name: "main.frames", Kind: "array", Type: "[64]*main.frame", Var: &frames,
		Rule: "global/slice|global/other", Count: func() int { return *used },
	}, func() {
		for i := 0; i < *used; i++ {
			f := &frame{tail: &pixel{}}
			for j := 0; j < len(f.pixels); j += 100 {
				f.pixels[j].next = &pixel{}
			}
			frames[i] = f
		}
	})
	k.Hold(kit.Holder{
		Name: "main.board", Kind: "pointer", Type: "*[40000]main.cell", Var: &board,
		Rule: "global/slice|global/other", Count: func() int { return cells },
	}, func() {
		if cells == 0 {
			return
		}
		board = new([40_000]cell)
		for i := 0; i < cells; i++ {
			board[i].p = &pixel{}
			board[i].rest = make([]byte, 200)
		}
	})
	k.Hold(kit.Holder{
		Name: "main.table", Kind: "slice", Type: "[]main.cell", Var: &table,
		Rule: "global/slice", Count: func() int { return len(table) },
	}, func() {
		table = make([]cell, rows)
		for i := 0; i < rows; i += 10 {
			table[i].p = &pixel{}
		}
	})
	k.Ready()
	k.Wait()
}
