// globalslice: a package-level slice of structs that is only ever appended to.
package main

import (
	"flag"
	"fmt"
	"time"

	"keptby.lab/kit"
)

// Event is one line of an audit trail that was meant to be written out.
type Event struct {
	At      time.Time
	User    string
	Payload []byte
	Tags    map[string]string
}

var history []Event

func record(user string, payload []byte) {
	e := Event{At: time.Now(), User: user, Payload: payload}
	if len(history)%16 == 0 {
		e.Tags = map[string]string{"source": "web", "zone": user}
	}
	history = append(history, e)
}

// recordBounded keeps the newest hundred.
func recordBounded(user string, payload []byte) {
	record(user, payload)
	if len(history) > 100 {
		kept := make([]Event, 50, 101)
		copy(kept, history[len(history)-50:])
		history = kept
	}
}

func main() {
	n := flag.Int("n", 60_000, "events")
	size := flag.Int("size", 250, "bytes of an event's payload")
	k := kit.Start()
	add := record
	if !k.Leak {
		add = recordBounded
	}
	k.Hold(kit.Holder{
		Name: "main.history", Kind: "slice", Type: "[]main.Event", Var: &history,
		Rule: "global/slice", Count: func() int { return len(history) },
	}, func() {
		for i := 0; i < *n; i++ {
			add(fmt.Sprintf("user-%d", i%1000), make([]byte, *size))
		}
	})
	k.Ready()
	k.Wait()
}
