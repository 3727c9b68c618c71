package main

import (
	"runtime"
	"sort"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

const (
	beatEvery   = 100 * time.Microsecond
	keptGaps    = 5
	schedFifo   = 1
	resetOnFork = 0x40000000
)

// heartbeat wakes every 100 µs on a thread of its own and keeps the longest times between two wakes.
type heartbeat struct {
	mu       sync.Mutex
	largest  []float64 // milliseconds, descending
	beats    uint64
	realtime bool
}

type gaps struct {
	Largest []float64 `json:"largest_ms"`
	Beats   uint64    `json:"beats"`
}

func startHeartbeat() *heartbeat {
	h := &heartbeat{}
	started := make(chan bool)
	go h.run(started)
	h.realtime = <-started
	return h
}

// urgent asks the kernel to run this thread before all others, so that a busy machine is not taken for a stop. Root only.
func urgent() bool {
	priority := int32(1)
	_, _, errno := syscall.RawSyscall(syscall.SYS_SCHED_SETSCHEDULER, 0, schedFifo|resetOnFork, uintptr(unsafe.Pointer(&priority)))
	return errno == 0
}

func (h *heartbeat) run(started chan<- bool) {
	runtime.LockOSThread()
	started <- urgent()
	pause := syscall.NsecToTimespec(int64(beatEvery))
	last := time.Now()
	for {
		// Raw: the thread keeps its P, and so never waits for one when it wakes.
		syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&pause)), 0, 0)
		now := time.Now()
		h.note(float64(now.Sub(last)-beatEvery) / float64(time.Millisecond))
		last = now
	}
}

func (h *heartbeat) note(ms float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.beats++
	if len(h.largest) == keptGaps && ms <= h.largest[keptGaps-1] {
		return
	}
	h.largest = append(h.largest, ms)
	sort.Sort(sort.Reverse(sort.Float64Slice(h.largest)))
	if len(h.largest) > keptGaps {
		h.largest = h.largest[:keptGaps]
	}
}

func (h *heartbeat) take() gaps {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := gaps{Largest: h.largest, Beats: h.beats}
	h.largest, h.beats = make([]float64, 0, keptGaps+1), 0
	return g
}
