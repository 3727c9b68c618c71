// A small Go program that tells the truth about its own code and variables, for the unit tests of src/program.
// One fact a line, fields separated by tabs, addresses in hex:
//
//	func   NAME ENTRY                 a function by name
//	pc     PC NAME FILE LINE          innermost position at PC
//	frame  RETURN-PC NAME FILE LINE   logical frames of one stack, innermost first
//	var    NAME ADDRESS SIZE TYPE     a package-level variable, and its type's descriptor
//	field  STRUCT FIELD OFFSET SIZE   decimal
//	go     VERSION
package main

import (
	"bufio"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"unsafe"
)

type session struct {
	id     uint64
	buf    []byte
	nested struct {
		a int64
		b int16
	}
}

var (
	sessions = map[string]*session{"a": {id: 1}}
	table    [4096]byte
	counter  uint64 = 7
	names           = []string{"x", "y"}
	any1     any    = &counter
	pair     struct{ a, b int32 }
)

// The text around main.main that is looked at.
const (
	before = 3 << 20
	after  = 1 << 20
)

//go:noinline
func leaf(pcs []uintptr) int { return runtime.Callers(1, pcs) }

func inner(pcs []uintptr) int { return leaf(pcs) + pair2(1) }

func pair2(x int) int { return x - 1 }

func middle(pcs []uintptr) int { return inner(pcs) }

//go:noinline
func outer(pcs []uintptr) int {
	if len(pcs) == 0 {
		return 0
	}
	return middle(pcs)
}

func generic[T any](v T, pcs []uintptr) int {
	n := outer(pcs)
	if n < 0 {
		fmt.Fprintln(os.Stderr, v)
	}
	return n
}

func entryOf(f any) uintptr { return reflect.ValueOf(f).Pointer() }

func printPC(w *bufio.Writer, pc uintptr) {
	// CallersFrames takes return addresses and looks one byte before them.
	f, _ := runtime.CallersFrames([]uintptr{pc + 1}).Next()
	if f.Function != "" {
		fmt.Fprintf(w, "pc\t%x\t%s\t%s\t%d\n", pc, f.Function, f.File, f.Line)
	}
}

func printPCs(w *bufio.Writer, from, to uintptr, step uintptr) {
	for pc := from; pc < to; pc += step {
		if runtime.FuncForPC(pc) != nil {
			printPC(w, pc)
		}
	}
}

func printVar[T any](w *bufio.Writer, name string, p *T) {
	t := reflect.TypeOf(p).Elem()
	descriptor := (*[2]uintptr)(unsafe.Pointer(&t))[1]
	fmt.Fprintf(w, "var\t%s\t%x\t%d\t%x\n", name, uintptr(unsafe.Pointer(p)), unsafe.Sizeof(*p), descriptor)
}

func main() {
	w := bufio.NewWriter(os.Stdout)
	defer w.Flush()
	anchor := entryOf(main)
	fmt.Fprintf(w, "func\tmain.main\t%x\n", anchor)
	fmt.Fprintf(w, "func\tmain.leaf\t%x\n", entryOf(leaf))
	fmt.Fprintf(w, "func\tmain.outer\t%x\n", entryOf(outer))

	pcs := make([]uintptr, 64)
	pcs = pcs[:generic("x", pcs)]
	frames := runtime.CallersFrames(pcs)
	for i := 0; ; i++ {
		f, more := frames.Next()
		if i < len(pcs) {
			fmt.Fprintf(w, "frame\t%x\t%s\t%s\t%d\n", pcs[i], f.Function, f.File, f.Line)
		}
		if !more {
			break
		}
	}
	printPCs(w, anchor-before, anchor+after, 97)
	printPCs(w, entryOf(leaf), anchor+400, 1)

	printVar(w, "main.sessions", &sessions)
	printVar(w, "main.table", &table)
	printVar(w, "main.counter", &counter)
	printVar(w, "main.names", &names)
	printVar(w, "main.any1", &any1)
	printVar(w, "main.pair", &pair)
	printC(w)
	var s session
	fmt.Fprintf(w, "field\tmain.session\tbuf\t%d\t%d\n", unsafe.Offsetof(s.buf), unsafe.Sizeof(s.buf))
	fmt.Fprintf(w, "field\tmain.session\tnested.b\t%d\t%d\n", unsafe.Offsetof(s.nested)+unsafe.Offsetof(s.nested.b),
		unsafe.Sizeof(s.nested.b))
	fmt.Fprintf(w, "go\t%s\n", runtime.Version())
}
