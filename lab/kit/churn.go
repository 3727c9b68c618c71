package kit

import (
	"runtime"
	"time"
)

type scrap struct {
	next *scrap
	data []byte
}

// startChurn keeps a load running that allocates and drops, so that collections run all the time.
func (k *Lab) startChurn() {
	switch k.churn {
	case "light":
		go churnLoop(2 * time.Millisecond)
	case "heavy":
		for i := 0; i < runtime.GOMAXPROCS(0); i++ {
			go churnLoop(0)
		}
	}
}

func churnLoop(pause time.Duration) {
	for {
		var head *scrap
		for i := 0; i < 200; i++ {
			head = &scrap{next: head, data: make([]byte, 16+i%500)}
		}
		runtime.KeepAlive(head)
		if pause > 0 {
			time.Sleep(pause)
		}
	}
}
