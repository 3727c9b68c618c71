// metrics: a counter with labels; somebody put the user's id into a label, and each user makes a new series.
package main

import (
	"flag"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"keptby.lab/kit"
)

type series struct {
	labels  []label
	value   atomic.Uint64
	buckets []uint64
}

type label struct{ name, value string }

// CounterVec is a counter by labels.
type CounterVec struct {
	mu     sync.RWMutex
	name   string
	series map[uint64][]*series
}

var requests = &CounterVec{name: "http_requests_total", series: map[uint64][]*series{}}

func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

func (c *CounterVec) with(values ...string) *series {
	h := hash(strings.Join(values, "\xff"))
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.series[h]; len(l) > 0 {
		return l[0]
	}
	s := &series{buckets: make([]uint64, 12)}
	for i, v := range values {
		s.labels = append(s.labels, label{fmt.Sprint("label", i), v})
	}
	c.series[h] = append(c.series[h], s)
	return s
}

func main() {
	n := flag.Int("n", 50_000, "users")
	k := kit.Start()
	k.Hold(kit.Holder{
		Name: "main.requests", Kind: "pointer", Type: "*main.CounterVec", Var: &requests,
		Rule: "global/map|global/other", Count: func() int { return len(requests.series) },
	}, func() {
		for i := 0; i < *n; i++ {
			user := fmt.Sprint("user-", i)
			if !k.Leak {
				user = "any"
			}
			requests.with("GET", "/orders", user).value.Add(1)
		}
	})
	k.Ready()
	k.Wait()
}
