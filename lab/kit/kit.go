// Package kit is what every lab program shares: its flags, the measuring of the truth, the READY line, and a way to
// idle that allocates nothing.
//
// A program builds its state inside Hold, one holder after the other, and then calls Ready and Wait:
//
//	k := kit.Start()
//	k.Hold(kit.Holder{Name: "main.globalCache", Kind: "map", Var: &globalCache, ...}, func() { ... })
//	k.Ready()
//	k.Wait()
package kit

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"
)

// Holder says what a package-level variable keeps. Bytes and Objects are filled in by Hold: the difference of
// HeapAlloc and HeapObjects around the building of the holder, with two collections before each reading. HeapAlloc
// counts whole size classes, so this is what the holder really costs, a map's tables included.
type Holder struct {
	Name    string         `json:"name"`    // as the linker names it: main.globalCache
	Kind    string         `json:"kind"`    // map, slice, chan, pointer, ...
	Type    string         `json:"type"`    // Go type of the variable
	Address string         `json:"address"` // of the variable: the only handle in a stripped binary
	Size    uintptr        `json:"size"`    // of the variable itself
	Target  string         `json:"target"`  // what a pointer variable points to: the linker may have laid that out as data too
	Span    uintptr        `json:"target_size"`
	Entries int            `json:"entries"`
	Bytes   int64          `json:"bytes"`
	Objects int64          `json:"objects"`
	How     string         `json:"how"`    // how Bytes was measured
	Expect  *string        `json:"expect"` // the rule to be reported (alternatives separated by |), null for none
	Shared  []string       `json:"shared"` // variables that hold the same objects: none of them retains alone
	Extra   map[string]any `json:"extra,omitempty"`

	Var   any        `json:"-"` // a pointer to the variable
	Rule  string     `json:"-"` // Expect in the leaking variant; the fixed one expects nothing
	Count func() int `json:"-"` // entries after building
}

// Lab is one run of a program.
type Lab struct {
	Leak bool // -variant=leak

	churn     string
	quiet     bool
	heartbeat bool
	holders   []Holder
	facts     map[string]any
	report    func() map[string]any
	in        [64]byte
}

var (
	variant   = flag.String("variant", "leak", "leak or fixed")
	churn     = flag.String("churn", "none", "none, light or heavy: allocate and collect garbage for ever after READY")
	quiet     = flag.Bool("quiet", false, "stay totally idle after READY: no collection can start")
	heartbeat = flag.Bool("heartbeat", false, "a thread notes the largest gap between its beats; SIGUSR1 prints it")
)

// Start parses the flags. A program defines its own flags before.
func Start() *Lab {
	flag.Parse()
	if *variant != "leak" && *variant != "fixed" {
		fmt.Fprintf(os.Stderr, "-variant=%s: must be leak or fixed\n", *variant)
		os.Exit(2)
	}
	if *churn != "none" && *churn != "light" && *churn != "heavy" {
		fmt.Fprintf(os.Stderr, "-churn=%s: must be none, light or heavy\n", *churn)
		os.Exit(2)
	}
	k := &Lab{Leak: *variant == "leak", churn: *churn, quiet: *quiet, heartbeat: *heartbeat}
	k.facts = map[string]any{}
	runtime.GC() // starts the collector's workers, so that no measurement has their goroutines in it
	return k
}

// Hold builds one holder and measures what it retains.
func (k *Lab) Hold(h Holder, build func()) {
	before := stats()
	build()
	after := stats()
	h.Bytes = int64(after.HeapAlloc) - int64(before.HeapAlloc)
	h.Objects = int64(after.HeapObjects) - int64(before.HeapObjects)
	h.How = "HeapAlloc after minus before, two collections each"
	h.locate()
	if k.Leak && h.Rule != "" {
		h.Expect = &h.Rule
	}
	if h.Count != nil {
		h.Entries = h.Count()
	}
	if h.Shared == nil {
		h.Shared = []string{}
	}
	k.holders = append(k.holders, h)
}

// locate says where the variable is.
func (h *Holder) locate() {
	v := reflect.ValueOf(h.Var)
	h.Address = fmt.Sprintf("0x%x", v.Pointer())
	h.Size = v.Elem().Type().Size()
	if v.Elem().Kind() == reflect.Ptr {
		h.Target = fmt.Sprintf("0x%x", v.Elem().Pointer())
		h.Span = v.Elem().Type().Elem().Size()
	}
}

// Fact adds a named truth to the READY line, beside the holders.
func (k *Lab) Fact(name string, value any) {
	k.facts[name] = value
}

// Report sets what a program adds to the HEARTBEAT line.
func (k *Lab) Report(f func() map[string]any) {
	k.report = f
}

func stats() runtime.MemStats {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}

// ready is global so that reading the numbers allocates nothing between the collection and the line.
var ready struct {
	mem  runtime.MemStats
	line []byte
}

// Ready collects twice and prints the truth. Nothing is allocated from the second collection on, so the numbers in the
// line are what a look from outside finds.
func (k *Lab) Ready() {
	if k.heartbeat {
		startHeartbeat(k.report)
	}
	if k.quiet {
		debug.SetGCPercent(-1)
	}
	head := map[string]any{
		"pid": os.Getpid(), "variant": *variant, "holders": k.holders, "facts": k.facts, "go": runtime.Version(),
	}
	if k.holders == nil {
		head["holders"] = []Holder{}
	}
	text, err := json.Marshal(head)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ready.line = make([]byte, 0, len(text)+1024)
	ready.line = append(ready.line, "READY "...)
	ready.line = append(ready.line, text[:len(text)-1]...)
	head, text = nil, nil
	runtime.GC()
	start := time.Now()
	runtime.GC()
	took := time.Since(start) // for comparison with an outside look at the same heap
	m := &ready.mem
	runtime.ReadMemStats(m)
	k.number("goroutines", uint64(runtime.NumGoroutine()))
	k.number("heap_alloc", m.HeapAlloc)
	k.number("heap_objects", m.HeapObjects)
	k.number("heap_inuse", m.HeapInuse)
	k.number("heap_idle", m.HeapIdle)
	k.number("heap_released", m.HeapReleased)
	k.number("stack_inuse", m.StackInuse)
	k.number("sys", m.Sys)
	k.number("num_gc", uint64(m.NumGC))
	k.number("gc_ns", uint64(took))
	ready.line = append(ready.line, "}\n"...)
	write(ready.line)
	k.startChurn()
}

func (k *Lab) number(name string, v uint64) {
	ready.line = append(ready.line, `,"`...)
	ready.line = append(ready.line, name...)
	ready.line = append(ready.line, `":`...)
	ready.line = strconv.AppendUint(ready.line, v, 10)
}

func write(b []byte) {
	for len(b) > 0 {
		n, err := syscall.Write(1, b)
		if err == syscall.EINTR || err == syscall.EAGAIN {
			continue
		}
		if err != nil {
			return
		}
		b = b[n:]
	}
}

var pong = []byte("pong\n")

// Wait answers every read from standard input with "pong" until the process is killed; it allocates nothing. At the
// end of the input it just sleeps in the kernel.
func (k *Lab) Wait() {
	for {
		n, err := syscall.Read(0, k.in[:])
		if err == syscall.EINTR || err == syscall.EAGAIN {
			continue
		}
		if err != nil || n <= 0 {
			break
		}
		write(pong)
	}
	for {
		pause()
	}
}
