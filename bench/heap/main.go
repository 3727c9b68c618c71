// Command heap is what bench/run looks at: a process with a heap of a known size and shape, many parked goroutines and a heartbeat that
// notices every moment in which it could not run.
//
// It prints "READY {json}" when the heap stands, then answers one line of JSON to each line on its standard input:
//
//	gc             one forced collection: {"gc_ms":…,"cpu_ms":…}, by the clock and of all processors
//	gaps           the heartbeat's largest gaps since the last question: {"largest_ms":[…],"beats":…}
//	dump FILE      runtime/debug.WriteHeapDump: {"ms":…,"bytes":…}
//	profile FILE   the runtime's own heap profile: {"ms":…,"bytes":…}
//
// The end of standard input ends it, so that it never outlives the benchmark.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// size reads 500, 24M, 4G; unit is 1000 for counts and 1024 for bytes.
func size(s string, unit uint64) (uint64, error) {
	power := 0
	if n := len(s); n > 0 {
		if i := strings.IndexByte("kMG", s[n-1]); i >= 0 {
			power, s = i+1, s[:n-1]
		}
	}
	v, err := strconv.ParseUint(s, 10, 40)
	for ; power > 0; power-- {
		v *= unit
	}
	return v, err
}

func median(ms []float64) float64 {
	s := append([]float64(nil), ms...)
	sort.Float64s(s)
	return s[len(s)/2]
}

func milliseconds(since time.Time) float64 { return float64(time.Since(since).Microseconds()) / 1000 }

func forcedGC() float64 {
	start := time.Now()
	runtime.GC()
	return milliseconds(start)
}

// cpuTime is what all threads of this process have used, in milliseconds.
func cpuTime() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e6
}

func timedGC() map[string]float64 {
	before := cpuTime()
	ms := forcedGC()
	return map[string]float64{"gc_ms": ms, "cpu_ms": cpuTime() - before}
}

func answer(v interface{}) {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}

// toFile times what write does and says how large the file became.
func toFile(name string, write func(f *os.File) error) interface{} {
	f, err := os.Create(name)
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	defer f.Close()
	start := time.Now()
	if err := write(f); err != nil {
		return map[string]string{"error": err.Error()}
	}
	ms := milliseconds(start)
	info, err := f.Stat()
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	return map[string]interface{}{"ms": ms, "bytes": info.Size()}
}

func serve(beat *heartbeat) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch {
		case len(words) == 1 && words[0] == "gc":
			answer(timedGC())
		case len(words) == 1 && words[0] == "gaps":
			answer(beat.take())
		case len(words) == 2 && words[0] == "dump":
			answer(toFile(words[1], func(f *os.File) error { debug.WriteHeapDump(f.Fd()); return nil }))
		case len(words) == 2 && words[0] == "profile":
			answer(toFile(words[1], func(f *os.File) error { return pprof.WriteHeapProfile(f) }))
		default:
			answer(map[string]string{"error": "unknown command"})
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "heap:", err)
	os.Exit(2)
}

func main() {
	shape := flag.String("shape", "records", "records, structs or pairs")
	objects := flag.String("objects", "", "about this many objects (24M)")
	bytes := flag.String("bytes", "", "or: about this much heap (1G)")
	goroutines := flag.String("goroutines", "0", "parked goroutines")
	churn := flag.Bool("churn", false, "replace entries all the time instead of standing idle")
	collections := flag.Int("gc", 5, "forced collections before READY")
	flag.Parse()
	h, err := newHeap(*shape)
	if err != nil {
		fail(err)
	}
	if (*objects == "") == (*bytes == "") {
		fail(fmt.Errorf("one of -objects and -bytes"))
	}
	want, err := size(*objects+*bytes, map[bool]uint64{true: 1024, false: 1000}[*bytes != ""])
	if err != nil {
		fail(err)
	}
	parked, err := size(*goroutines, 1000)
	if err != nil {
		fail(err)
	}
	// The heap is built without garbage, so the collector has nothing to do before it stands; and afterwards it runs when asked.
	debug.SetGCPercent(-1)
	// The heartbeat keeps a P of its own: it must never wait for one.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	h.fill(h.entries(want, *bytes != ""))
	park(int(parked))
	beat := startHeartbeat()
	gcs := make([]float64, 0, *collections)
	runtime.GC()
	for i := 0; i < *collections; i++ {
		gcs = append(gcs, forcedGC())
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	ready := map[string]interface{}{"pid": os.Getpid(), "shape": *shape, "heap_bytes": m.HeapAlloc, "heap_objects": m.HeapObjects,
		"goroutines": runtime.NumGoroutine(), "gc_ms": gcs, "go": runtime.Version(), "realtime": beat.realtime}
	if len(gcs) > 0 {
		ready["gc_median_ms"] = median(gcs)
	}
	text, err := json.Marshal(ready)
	if err != nil {
		fail(err)
	}
	beat.take()
	fmt.Println("READY", string(text))
	if *churn {
		debug.SetGCPercent(100)
		go h.churn()
	}
	serve(beat)
	runtime.KeepAlive(h)
}
