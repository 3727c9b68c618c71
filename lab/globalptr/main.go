// globalptr: a package-level pointer to a server whose map of sessions grows. The stack of main and those of the
// workers hold the same server, as in any real service: who keeps the sessions is still one variable.
package main

import (
	"flag"
	"fmt"
	"sync"

	"keptby.lab/kit"
)

// Session is what a login leaves behind.
type Session struct {
	User string
	Cart []string
	buf  [128]byte
}

// Server is the one object of the program.
type Server struct {
	mu       sync.Mutex
	sessions map[string]*Session
	jobs     chan string
}

var server *Server

func (s *Server) login(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[id] = &Session{User: "user " + id, Cart: make([]string, 4)}
}

func (s *Server) logout(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, id)
}

//go:noinline
func (s *Server) work(ready *sync.WaitGroup) {
	ready.Done()
	for id := range s.jobs {
		s.logout(id)
	}
}

func main() {
	n := flag.Int("n", 60_000, "sessions")
	workers := flag.Int("workers", 8, "goroutines that hold the server on their stacks")
	k := kit.Start()
	var s *Server
	k.Hold(kit.Holder{
		Name: "main.server", Kind: "pointer", Type: "*main.Server", Var: &server,
		Rule: "global/map|global/other", Count: func() int { return len(server.sessions) },
	}, func() {
		server = &Server{sessions: map[string]*Session{}, jobs: make(chan string)}
		s = server
		for i := 0; i < *n; i++ {
			id := fmt.Sprintf("session-%07d", i)
			s.login(id)
			if !k.Leak {
				s.logout(id)
			}
		}
	})
	var ready sync.WaitGroup
	ready.Add(*workers)
	for i := 0; i < *workers; i++ {
		go s.work(&ready)
	}
	ready.Wait()
	k.Ready()
	k.Wait()
	s.logout("nobody") // keeps s alive on main's stack
}
