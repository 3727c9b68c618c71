package main

type pointers [20000]*int

type mixed struct {
	a int
	p *int
	b [3]int
	q []*int
}

type huge struct {
	head [5]int
	all  [9000]mixed
	tail *int
}

type middling struct {
	text [100]byte
	in   [300]struct {
		p *int
		n int
	}
}

var (
	bigPointers *pointers
	bigList     []*huge
	bigMiddling []middling
	bigInBSS    [3000]mixed
	bigSlice    []mixed
	bigByLength [][]mixed
	bigNoscan   = make([]byte, 3<<20)
	bigEmbedded *struct {
		pointers
		next *Node
	}
)

//go:noinline
func fillPointers(t *pointers) {
	for i := range t {
		if i%7 == 0 {
			t[i] = new(int)
		}
	}
}

//go:noinline
func countPointers(t *pointers) int {
	n := 0
	for _, p := range t {
		if p != nil {
			n++
		}
	}
	return n
}

func fillBig() {
	bigPointers = new(pointers)
	fillPointers(bigPointers)
	for i := 0; i < 3; i++ {
		h := &huge{tail: new(int)}
		for j := 0; j < len(h.all); j += 11 {
			h.all[j].p = new(int)
			h.all[j].q = []*int{new(int), nil}
		}
		bigList = append(bigList, h)
	}
	bigMiddling = make([]middling, 5)
	for i := range bigMiddling {
		for j := 0; j < len(bigMiddling[i].in); j += 5 {
			bigMiddling[i].in[j].p = new(int)
		}
	}
	for i := range bigInBSS {
		bigInBSS[i].p = new(int)
	}
	bigSlice = make([]mixed, 50_000)
	for i := 0; i < len(bigSlice); i += 100 {
		bigSlice[i].p = new(int)
	}
	for n := 1; n < 300; n += 3 { // every size class with a header, and beyond
		s := make([]mixed, n)
		for i := range s {
			s[i].p = new(int)
		}
		bigByLength = append(bigByLength, s)
	}
	bigEmbedded = &struct {
		pointers
		next *Node
	}{next: &Node{}}
}
