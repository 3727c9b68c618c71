package kit

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const beatEvery = 100 * time.Microsecond

// gap is a beat that came late: how late, and when it came (nanoseconds since 1970).
type gap struct {
	Nanos int64 `json:"ns"`
	At    int64 `json:"at"`
}

var beats struct {
	sync.Mutex
	count int64
	worst [8]gap // largest first
}

// startHeartbeat runs a thread of its own that does nothing but look at the clock. A stop of the process shows as a
// gap between two beats. SIGUSR1 prints "HEARTBEAT {json}" and starts a new measurement.
func startHeartbeat(extra func() map[string]any) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGUSR1)
	go beat()
	go func() {
		for range ch {
			printBeats(extra)
		}
	}()
}

func beat() {
	runtime.LockOSThread()
	tick := syscall.NsecToTimespec(int64(beatEvery))
	last := time.Now()
	for {
		syscall.Nanosleep(&tick, nil)
		now := time.Now()
		note(now.Sub(last), now)
		last = now
	}
}

func note(d time.Duration, now time.Time) {
	beats.Lock()
	defer beats.Unlock()
	beats.count++
	g := gap{Nanos: int64(d), At: now.UnixNano()}
	for i := range beats.worst {
		if g.Nanos > beats.worst[i].Nanos {
			copy(beats.worst[i+1:], beats.worst[i:])
			beats.worst[i] = g
			return
		}
	}
}

func printBeats(extra func() map[string]any) {
	beats.Lock()
	out := map[string]any{"beats": beats.count, "max_gap_ns": beats.worst[0].Nanos, "worst": beats.worst}
	beats.count = 0
	beats.worst = [len(beats.worst)]gap{}
	beats.Unlock()
	if extra != nil {
		for name, value := range extra() {
			out[name] = value
		}
	}
	text, _ := json.Marshal(out)
	write([]byte(fmt.Sprintf("HEARTBEAT %s\n", text)))
}
