package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

type natsConn struct {
	net.Conn
	r *bufio.Reader
}

func natsDial(address string) (*natsConn, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	n := &natsConn{c, bufio.NewReader(c)}
	if _, err := n.r.ReadString('\n'); err != nil { // INFO {...}
		return nil, err
	}
	_, err = fmt.Fprintf(c, "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n")
	if err != nil {
		return nil, err
	}
	return n, n.waitFor("PONG")
}

// waitFor reads until a line with the word; messages on the way are dropped.
func (n *natsConn) waitFor(word string) error {
	for {
		line, err := n.r.ReadString('\n')
		if err != nil {
			return err
		}
		switch {
		case strings.HasPrefix(line, word):
			return nil
		case strings.HasPrefix(line, "PING"):
			if _, err := io.WriteString(n, "PONG\r\n"); err != nil {
				return err
			}
		case strings.HasPrefix(line, "-ERR"):
			return fmt.Errorf("nats: %s", strings.TrimSpace(line))
		}
	}
}

// natsIdle keeps a connection with subscriptions, which cost the server memory, and reads what comes.
func natsIdle(address string, subjects int, who int) error {
	n, err := natsDial(address)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(n)
	for i := 0; i < subjects; i++ {
		fmt.Fprintf(w, "SUB orders.%d.%d %d\r\n", who, i, i+1)
	}
	fmt.Fprintf(w, "PING\r\n")
	if err := w.Flush(); err != nil {
		return err
	}
	if err := n.waitFor("PONG"); err != nil {
		return err
	}
	go n.waitFor("never")
	return nil
}

func natsWork(n *natsConn, who int, pause time.Duration) {
	payload := strings.Repeat("p", 500)
	for i := 0; ; i++ {
		start := time.Now()
		_, err := fmt.Fprintf(n, "PUB orders.%d.%d %d\r\n%s\r\nPING\r\n", i%20, i%100, len(payload), payload)
		if err == nil {
			err = n.waitFor("PONG")
		}
		note(start, err)
		if err != nil {
			return
		}
		time.Sleep(pause)
	}
}

func nats(address string, clients, fill int, pause time.Duration) error {
	const idle = 200
	if err := inParallel(idle, 16, func(i int) error { return natsIdle(address, fill/idle, i) }); err != nil {
		return err
	}
	for i := 0; i < clients; i++ {
		n, err := natsDial(address)
		if err != nil {
			return err
		}
		go natsWork(n, i, pause)
	}
	return nil
}
