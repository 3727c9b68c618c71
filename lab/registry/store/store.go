// Package store registers drivers by name.
package store

import (
	"sync"
)

// Driver is what is registered.
type Driver interface{ Name() string }

type plain struct {
	name  string
	state [300]byte
}

type pooled struct {
	plain
	free [][]byte
}

func (p *plain) Name() string { return p.name }

var (
	mu      sync.RWMutex
	drivers = map[string]Driver{}
)

// New makes a driver of one kind or the other.
func New(name string) Driver {
	if name[len(name)-1]%2 == 0 {
		return &plain{name: name}
	}
	return &pooled{plain: plain{name: name}, free: [][]byte{make([]byte, 64), make([]byte, 64)}}
}

// Register adds a driver for ever.
func Register(name string, d Driver) {
	mu.Lock()
	defer mu.Unlock()
	drivers[name] = d
}

// Unregister takes it out again.
func Unregister(name string) {
	mu.Lock()
	defer mu.Unlock()
	delete(drivers, name)
}

// Len is the number of drivers.
func Len() int {
	mu.RLock()
	defer mu.RUnlock()
	return len(drivers)
}

// Variable is a pointer to the variable that holds the drivers.
func Variable() any { return &drivers }
