// probe is never run. It is built with each Go toolchain so that the linker keeps the DWARF of the runtime's structs:
// a struct is described only in a program that uses it.
package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// Reachable from package-level variables: these types get DWARF of their own.
var (
	buffer   bytes.Buffer
	builder  strings.Builder
	reader   *bufio.Reader
	writer   *bufio.Writer
	pool     sync.Pool
	smap     sync.Map
	mu       sync.Mutex
	rw       sync.RWMutex
	wg       sync.WaitGroup
	once     sync.Once
	cond     = sync.NewCond(&mu)
	timer    *time.Timer
	ticker   *time.Ticker
	channel  = make(chan []byte, 1)
	smallMap = map[string]*node{}
	bigMap   = map[[200]byte]any{}
	sink     any
)

type node struct {
	next *node
	name string
}

type key struct{}

func contexts() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	ctx = context.WithValue(ctx, key{}, &node{})
	child, stop := context.WithCancel(ctx)
	defer stop()
	sink = child
}

func locks() {
	mu.Lock()
	rw.RLock()
	wg.Add(1)
	go wg.Wait()
	go cond.Wait()
	once.Do(func() { smap.Store(1, &node{}) })
	smap.Range(func(k, v any) bool { smap.Delete(k); return true })
	pool.Put(&node{})
	sink = pool.Get()
}

func timers() {
	timer = time.AfterFunc(time.Hour, func() { sink = nil })
	ticker = time.NewTicker(time.Hour)
	time.Sleep(time.Nanosecond)
	select {
	case <-ticker.C:
	case b := <-channel:
		sink = b
	}
}

func network() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	reader, writer = bufio.NewReader(c), bufio.NewWriter(c)
	c.SetDeadline(time.Now())
	f, err := os.Open("/dev/null")
	sink = f
	return err
}

// The heap profile's records, the goroutine profile, the block profile and the dump.
func profiles() {
	runtime.SetBlockProfileRate(1)
	runtime.SetMutexProfileFraction(1)
	records := make([]runtime.MemProfileRecord, 1)
	runtime.MemProfile(records, true)
	blocks := make([]runtime.BlockProfileRecord, 1)
	runtime.BlockProfile(blocks)
	runtime.MutexProfile(blocks)
	stacks := make([]runtime.StackRecord, 1)
	runtime.GoroutineProfile(stacks)
	debug.WriteHeapDump(2)
	pprof.Do(context.Background(), pprof.Labels("a", "b"), func(ctx context.Context) { sink = ctx })
	pprof.Lookup("goroutine").WriteTo(&buffer, 1)
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	debug.SetGCPercent(50)
}

// Every kind of runtime type descriptor.
func descriptors() {
	for _, v := range []any{smallMap, bigMap, channel, &pool, []node{}, [3]node{}, node{}, main, error(nil)} {
		t := reflect.TypeOf(v)
		fmt.Fprintln(&buffer, t.String(), reflect.PtrTo(t))
	}
	f := reflect.MakeFunc(reflect.TypeOf(main), func(args []reflect.Value) []reflect.Value { return nil })
	sink = f.MethodByName("Call")
	sink = reflect.MakeMap(reflect.TypeOf(smallMap)).Interface()
}

func main() {
	defer func() { sink = recover() }()
	n := &node{}
	runtime.SetFinalizer(n, func(n *node) { sink = n })
	contexts()
	locks()
	timers()
	profiles()
	descriptors()
	newer(n)
	builder.WriteString(n.name)
	sink = unsafe.Pointer(n)
	panic(network())
}
