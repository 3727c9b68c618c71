package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var (
	syncMap     sync.Map
	syncPool    = sync.Pool{New: func() any { return &Node{} }}
	syncOnce    sync.Once
	syncValue   atomic.Value
	syncPointer atomic.Pointer[Node]
	syncChan    = make(chan *Node, 16)
	syncWrapped = make(chan [3]*Node, 5)
	syncClosed  = make(chan *Node, 4)
	syncSignals = make(chan os.Signal, 1)

	timeTicker  *time.Ticker
	timeTimer   *time.Timer
	timeFunc    *time.Timer
	timeStopped *time.Timer
	timeAfter   <-chan time.Time
	timeContext context.Context
	timeCancel  context.CancelFunc
	timeChild   context.Context
)

func fillSync() {
	for i := 0; i < 300; i++ {
		syncMap.Store(i, &Node{})
		if i%5 == 0 {
			syncMap.Load(i)
		}
		if i%7 == 0 {
			syncMap.Delete(i)
		}
		syncPool.Put(&Node{Data: make([]byte, 100)})
	}
	syncOnce.Do(func() { syncValue.Store(&Node{}) })
	syncPointer.Store(&Node{})
	for i := 0; i < 12; i++ {
		syncChan <- &Node{}
	}
	for i := 0; i < 9; i++ { // the buffer's start moves round
		<-syncChan
		syncChan <- &Node{}
	}
	syncWrapped <- [3]*Node{{}, nil, {}}
	syncClosed <- &Node{Name: "still in the closed channel"}
	close(syncClosed)
	signal.Notify(syncSignals, syscall.SIGUSR2)
}

func fillTimers() {
	node := &Node{Name: "captured by a timer"}
	timeTicker = time.NewTicker(time.Hour)
	timeTimer = time.NewTimer(time.Hour)
	timeFunc = time.AfterFunc(time.Hour, func() { node.Name = "late" })
	timeStopped = time.NewTimer(time.Hour)
	timeStopped.Stop()
	timeAfter = time.After(time.Hour)
	time.NewTicker(2 * time.Hour) // forgotten
	time.AfterFunc(3*time.Hour, func() { _ = node.Name })
	timeContext, timeCancel = context.WithTimeout(context.Background(), time.Hour)
	timeChild = context.WithValue(timeContext, text("key"), &Node{})
	context.WithCancel(timeChild) //nolint: forgotten on purpose
}
