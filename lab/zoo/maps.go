package main

import (
	"fmt"
	"math"
)

type largeKey struct {
	a [140]byte
	n int
}

type largeValue struct {
	a [20]*Node
	b [10]int
}

var (
	mapByString   = map[string]*Node{}
	mapByInt64    = map[int64][]byte{}
	mapByInt32    = map[int32]int8{}
	mapByFloat    = map[float64]string{}
	mapByAny      = map[any]any{}
	mapByPair     = map[[2]string]func() int{}
	mapByPointer  = map[*Node]struct{}{}
	mapByChan     = map[chan int]*Node{}
	mapLargeKey   = map[largeKey]*Node{}
	mapLargeValue = map[int]largeValue{}
	mapLargeBoth  = map[largeKey]largeValue{}
	mapOfMaps     = map[int]map[string]*Node{}
	mapNoPointers = map[uint64][4]uint64{}
	mapEmptied    = map[int]*[128]byte{}
	mapCleared    = map[string]*Node{}
	mapHalf       = map[int]*Node{}
	mapSmall      = map[string]*Node{"one": {Name: "1"}, "two": {}}
	mapEmpty      = map[string]*Node{}
	mapNil        map[string]*Node
	mapGrowing    = map[int]*Node{}
	mapZeroSize   = map[struct{}]*Node{}
)

func fillMaps(n int) map[string]int {
	for i := 0; i < n; i++ {
		name := fmt.Sprint("key", i)
		node := &Node{Name: name, Data: make([]byte, i%100)}
		mapByString[name] = node
		mapByInt64[int64(i)<<33] = make([]byte, 8)
		mapByInt32[int32(i)] = int8(i)
		mapByFloat[float64(i)/3] = name
		mapByPointer[&Node{}] = struct{}{}
		mapNoPointers[uint64(i)] = [4]uint64{1, 2, 3, 4}
		mapEmptied[i] = new([128]byte)
		mapCleared[name] = node
		mapHalf[i] = &Node{}
	}
	for i := 0; i < n/10; i++ {
		fillSparse(i)
	}
	emptyMaps(n)
	mapByFloat[math.NaN()] = "not a number"
	mapByFloat[math.NaN()] = "nor is this"
	mapZeroSize[struct{}{}] = &Node{}
	for i := 0; i < 6*1<<9+10; i++ { // stops while the tables of the older implementation move
		mapGrowing[i] = &Node{}
	}
	return map[string]int{
		"main.mapByString": len(mapByString), "main.mapByInt64": len(mapByInt64), "main.mapByInt32": len(mapByInt32),
		"main.mapByFloat": len(mapByFloat), "main.mapByAny": len(mapByAny), "main.mapLargeKey": len(mapLargeKey),
		"main.mapLargeBoth": len(mapLargeBoth), "main.mapEmptied": len(mapEmptied), "main.mapHalf": len(mapHalf),
		"main.mapSmall": len(mapSmall), "main.mapGrowing": len(mapGrowing), "main.mapZeroSize": len(mapZeroSize),
	}
}

func fillSparse(i int) {
	name := fmt.Sprint("sparse", i)
	k := largeKey{n: i}
	mapByPair[[2]string{name, "x"}] = func() int { return len(name) }
	mapByChan[make(chan int, i%4)] = &Node{}
	mapLargeKey[k] = &Node{}
	mapLargeValue[i] = largeValue{a: [20]*Node{3: {}, 19: {}}}
	mapLargeBoth[k] = largeValue{a: [20]*Node{0: {}}}
	mapOfMaps[i] = map[string]*Node{name: {}, "x": nil}
	switch i % 4 {
	case 0:
		mapByAny[i] = &Node{}
	case 1:
		mapByAny[name] = i * 1000
	case 2:
		mapByAny[[1]*Node{{}}] = [1]*Node{{}}
	case 3:
		mapByAny[struct{ p *Node }{&Node{}}] = []any{name, i, nil}
	}
}

func emptyMaps(n int) {
	for i := 0; i < n; i++ {
		delete(mapEmptied, i)
		if i%2 == 0 {
			delete(mapHalf, i)
		}
	}
	for name := range mapCleared { // the compiler makes this one call
		delete(mapCleared, name)
	}
}
