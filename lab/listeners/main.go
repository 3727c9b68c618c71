// listeners: whoever subscribes to an event stays subscribed, and is kept with all it has.
package main

import (
	"flag"
	"fmt"

	"keptby.lab/kit"
)

// Listener hears of events.
type Listener interface{ OnEvent(name string) }

type view struct {
	title string
	rows  [][]byte
}

func (v *view) OnEvent(string) {}

var listeners = map[string][]Listener{}

func subscribe(event string, l Listener) {
	listeners[event] = append(listeners[event], l)
}

func unsubscribe(event string, l Listener) {
	list := listeners[event]
	for i, x := range list {
		if x == l {
			copy(list[i:], list[i+1:])
			list[len(list)-1] = nil
			listeners[event] = list[:len(list)-1]
			return
		}
	}
}

func main() {
	n := flag.Int("n", 10_000, "listeners")
	k := kit.Start()
	k.Hold(kit.Holder{
		Name: "main.listeners", Kind: "map", Type: "map[string][]main.Listener", Var: &listeners,
		Rule: "global/map", Count: func() int { return len(listeners) },
	}, func() {
		for i := 0; i < *n; i++ {
			v := &view{title: fmt.Sprint("view ", i)}
			for j := 0; j < 10; j++ {
				v.rows = append(v.rows, make([]byte, 200))
			}
			event := fmt.Sprint("event-", i%7)
			subscribe(event, v)
			if !k.Leak {
				unsubscribe(event, v)
			}
		}
	})
	k.Ready()
	k.Wait()
}
