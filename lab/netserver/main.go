// netserver: an HTTP server with a cache, under the load that it makes itself, for measuring what a look costs it.
// With -heartbeat a thread notes the largest gap between its beats; SIGUSR1 prints it, and the slowest answer.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"keptby.lab/kit"
)

type page struct {
	title string
	body  []byte
	links map[string]*page
}

var (
	pagesMu sync.RWMutex
	pages   = map[int]*page{}

	answered int64
	failed   int64
)

func handle(w http.ResponseWriter, r *http.Request) {
	id, _ := strconv.Atoi(r.URL.Query().Get("id"))
	pagesMu.RLock()
	p := pages[id]
	pagesMu.RUnlock()
	if p == nil {
		http.NotFound(w, r)
		return
	}
	fmt.Fprintf(w, "%s %d\n", p.title, len(p.links))
	w.Write(p.body)
}

func client(url string, count int, pause time.Duration) {
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2}, Timeout: 30 * time.Second}
	for i := 0; ; i++ {
		resp, err := c.Get(url + strconv.Itoa(i*7919%count))
		if err != nil {
			atomic.AddInt64(&failed, 1)
			continue
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			atomic.AddInt64(&failed, 1)
		}
		atomic.AddInt64(&answered, 1)
		time.Sleep(pause)
	}
}

// park leaves goroutines that wait, as a server with many connections has them.
func park(n int) {
	for i := 0; i < n; i++ {
		local := make([]int, 4)
		go func() {
			var never chan int
			local[0] = <-never
		}()
	}
}

func fill(n, size int) {
	for i := 0; i < n; i++ {
		p := &page{title: fmt.Sprint("page ", i), body: make([]byte, size)}
		if i > 1 {
			p.links = map[string]*page{"previous": pages[i-1], "half": pages[i/2]}
		}
		pages[i] = p
	}
}

func main() {
	n := flag.Int("n", 30_000, "pages in the cache")
	size := flag.Int("size", 500, "bytes of a page")
	clients := flag.Int("clients", 4, "clients")
	pause := flag.Duration("pause", time.Millisecond, "pause of a client between requests")
	parked := flag.Int("parked", 500, "more goroutines that wait for nothing")
	k := kit.Start()
	k.Hold(kit.Holder{
		Name: "main.pages", Kind: "map", Type: "map[int]*main.page", Var: &pages,
		Rule: "global/map", Count: func() int { return len(pages) },
	}, func() {
		if k.Leak {
			fill(*n, *size)
		} else {
			fill(100, *size)
			*n = 100
		}
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go http.Serve(ln, http.HandlerFunc(handle))
	park(*parked)
	k.Report(func() map[string]any {
		return map[string]any{"answered": atomic.SwapInt64(&answered, 0), "failed": atomic.SwapInt64(&failed, 0)}
	})
	k.Fact("address", ln.Addr().String())
	for i := 0; i < *clients; i++ {
		go client("http://"+ln.Addr().String()+"/?id=", *n, *pause)
	}
	time.Sleep(200 * time.Millisecond)
	k.Ready()
	k.Wait()
}
