// threads: threads come and go all the time, and others sit in system calls. Whoever stops the process must not miss
// one, and must let all of them go again.
package main

import (
	"flag"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"keptby.lab/kit"
)

var (
	ended   int64
	ballast [][]byte
)

// short ends its thread: a goroutine that is still locked to its thread when it returns takes the thread with it.
func short() {
	runtime.LockOSThread()
	ts := syscall.NsecToTimespec(int64(200 * time.Microsecond))
	syscall.Nanosleep(&ts, nil)
	atomic.AddInt64(&ended, 1)
}

// sit blocks its thread in a read that never comes back.
func sit(fd int) {
	var b [1]byte
	for {
		syscall.Read(fd, b[:])
	}
}

func main() {
	sitting := flag.Int("n", 20, "threads that sit in a system call")
	pause := flag.Duration("pause", time.Millisecond, "pause between two short threads")
	k := kit.Start()
	k.Hold(kit.Holder{
		Name: "main.ballast", Kind: "slice", Type: "[][]uint8", Var: &ballast,
		Rule: "global/slice", Count: func() int { return len(ballast) },
	}, func() {
		if !k.Leak {
			return
		}
		for i := 0; i < 20_000; i++ {
			ballast = append(ballast, make([]byte, 1000))
		}
	})
	for i := 0; i < *sitting; i++ {
		var p [2]int
		if err := syscall.Pipe(p[:]); err != nil {
			os.Exit(1)
		}
		go sit(p[0])
	}
	k.Report(func() map[string]any { return map[string]any{"ended": atomic.LoadInt64(&ended)} })
	go func() {
		for {
			go short()
			time.Sleep(*pause)
		}
	}()
	time.Sleep(50 * time.Millisecond)
	k.Ready()
	k.Wait()
}
