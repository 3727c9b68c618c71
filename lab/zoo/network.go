package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

var (
	netListener net.Listener
	netClients  []net.Conn
	netPipe     [2]*os.File
	netAnswer   *http.Response
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func readForever(r io.Reader) {
	var b [10]byte
	r.Read(b[:])
}

// fillNetwork leaves a server with idle connections, readers with and without a deadline, and an answer whose body is
// not closed.
func fillNetwork() {
	var err error
	netListener, err = net.Listen("tcp", "127.0.0.1:0")
	must(err)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Write(make([]byte, 100_000))
	})
	go http.Serve(netListener, mux)
	for i := 0; i < 4; i++ {
		c, err := net.Dial("tcp", netListener.Addr().String())
		must(err)
		if i%2 == 1 {
			c.SetReadDeadline(time.Now().Add(time.Hour))
		}
		netClients = append(netClients, c)
		go readForever(c)
	}
	netAnswer, err = http.Get("http://" + netListener.Addr().String() + "/")
	must(err)
	netPipe[0], netPipe[1], err = os.Pipe()
	must(err)
	go readForever(netPipe[0])
}
