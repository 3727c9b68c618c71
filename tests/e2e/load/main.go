// load makes traffic for a server under test and counts what goes wrong.
//
//	load etcd http://127.0.0.1:2379     puts, gets and watches through the JSON gateway
//	load nats 127.0.0.1:4222            publishes and subscribes
//
// It prints READY when the server holds enough data, then one line "STATS {json}" for each line on standard input.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"
)

var stats struct {
	sync.Mutex
	Done    int64         `json:"done"`
	Failed  int64         `json:"failed"`
	Slowest time.Duration `json:"slowest_ns"`
	Error   string        `json:"error"`
}

func note(start time.Time, err error) {
	d := time.Since(start)
	stats.Lock()
	defer stats.Unlock()
	stats.Done++
	if err != nil {
		stats.Failed++
		stats.Error = err.Error()
	}
	if d > stats.Slowest {
		stats.Slowest = d
	}
}

func answerQuestions() {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		stats.Lock()
		text, _ := json.Marshal(&stats)
		stats.Done, stats.Failed, stats.Slowest, stats.Error = 0, 0, 0, ""
		stats.Unlock()
		fmt.Printf("STATS %s\n", text)
	}
}

func main() {
	clients := flag.Int("clients", 8, "connections")
	pause := flag.Duration("pause", 2*time.Millisecond, "pause of a client between two operations")
	fill := flag.Int("fill", 20000, "keys or messages before READY")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: load [flags] etcd|nats ADDRESS")
		os.Exit(2)
	}
	loads := map[string]func(address string, clients, fill int, pause time.Duration) error{"etcd": etcd, "nats": nats}
	run := loads[flag.Arg(0)]
	if run == nil {
		fmt.Fprintln(os.Stderr, "no load for", flag.Arg(0))
		os.Exit(2)
	}
	if err := run(flag.Arg(1), *clients, *fill, *pause); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("READY {}")
	answerQuestions()
}

// inParallel runs f(0) … f(n-1) on some goroutines and returns the first error.
func inParallel(n, workers int, f func(i int) error) error {
	errs := make(chan error, workers)
	for w := 0; w < workers; w++ {
		go func(w int) {
			for i := w; i < n; i += workers {
				if err := f(i); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}(w)
	}
	var first error
	for w := 0; w < workers; w++ {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}
