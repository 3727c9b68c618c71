// chanbuffer: a package-level channel with a large buffer that nobody empties any more.
package main

import (
	"flag"
	"fmt"

	"keptby.lab/kit"
)

type job struct {
	name string
	body []byte
}

const capacity = 100_000

var queue chan *job

func main() {
	n := flag.Int("n", 100_000, "jobs in the queue, at most its capacity of 100,000")
	size := flag.Int("size", 200, "bytes of a job")
	k := kit.Start()
	if *n > capacity {
		*n = capacity
	}
	k.Hold(kit.Holder{
		Name: "main.queue", Kind: "chan", Type: "chan *main.job", Var: &queue,
		Rule: "global/slice|global/other", Count: func() int { return len(queue) },
		Extra: map[string]any{"capacity": capacity},
	}, func() {
		queue = make(chan *job, capacity)
		for i := 0; i < *n; i++ {
			queue <- &job{name: fmt.Sprint("job ", i), body: make([]byte, *size)}
			if !k.Leak {
				<-queue
			}
		}
		if !k.Leak {
			queue = make(chan *job, 64)
		}
	})
	k.Ready()
	k.Wait()
}
