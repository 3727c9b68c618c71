// maps: package-level maps of every shape Go programs use. Each retains about the same.
package main

import (
	"flag"
	"fmt"
	"strings"

	"keptby.lab/kit"
)

// T is a leaf of the nested map.
type T struct {
	name string
	v    [4]int
}

// Cache is the generic cache of many a code base.
type Cache[K comparable, V any] struct {
	items map[K]V
	limit int
}

// Put stores without ever looking at the limit.
func (c *Cache[K, V]) Put(k K, v V) {
	if c.items == nil {
		c.items = map[K]V{}
	}
	c.items[k] = v
}

type point struct{ x, y int }

type largeKey struct {
	host [150]byte
	port int
}

type largeValue struct {
	name string
	body [180]byte
	next *T
}

type account struct {
	owner   string
	balance [5]int64
	log     []byte
}

var (
	nested   = map[string]map[int][]*T{}
	generic  = Cache[int64, *account]{limit: 10}
	anything = map[any]any{}
	byKey    = map[largeKey]*T{}
	byName   = map[string]largeValue{}
	grid     = map[[2]int64]struct{}{}
	accounts = map[uint32]account{}
)

// scale turns a count for the leaking variant into the one to build.
type scale struct {
	percent int
	leak    bool
}

func (s scale) of(n int) int {
	if !s.leak {
		return 10
	}
	return n * s.percent / 100
}

func fillNested(n int) {
	for i := 0; i < n; i++ {
		k1 := fmt.Sprintf("tenant-%03d", i%200)
		m := nested[k1]
		if m == nil {
			m = map[int][]*T{}
			nested[k1] = m
		}
		m[i%1000] = append(m[i%1000], &T{name: fmt.Sprint("item ", i)})
	}
}

func fillAnything(n int) {
	for i := 0; i < n; i++ {
		switch i % 4 {
		case 0:
			anything[i] = &T{name: "by number"}
		case 1:
			anything[fmt.Sprint("key", i)] = int64(i) << 20
		case 2:
			anything[point{i, i}] = strings.Repeat("v", 100)
		case 3:
			anything[[2]int{i, 1}] = []string{"a", "b", fmt.Sprint(i)}
		}
	}
}

func fillKeys(n int) {
	for i := 0; i < n; i++ {
		var k largeKey
		copy(k.host[:], fmt.Sprint("host ", i))
		byKey[k] = &T{}
	}
}

func fillValues(n int) {
	for i := 0; i < n; i++ {
		byName[fmt.Sprint("name ", i)] = largeValue{name: "large", next: &T{}}
	}
}

func fillGrid(n int) {
	for i := 0; i < n; i++ {
		grid[[2]int64{int64(i % 1000), int64(i / 1000)}] = struct{}{}
	}
}

func fillAccounts(n int) {
	for i := 0; i < n; i++ {
		accounts[uint32(i)] = account{owner: fmt.Sprint("owner ", i), log: make([]byte, 64)}
	}
}

func fillGeneric(n int) {
	for i := 0; i < n; i++ {
		generic.Put(int64(i), &account{owner: "generic", log: make([]byte, 100)})
	}
}

func main() {
	percent := flag.Int("percent", 100, "size of all maps")
	k := kit.Start()
	s := scale{*percent, k.Leak}
	hold := func(name, typ string, rule string, variable any, count func() int, build func()) {
		k.Hold(kit.Holder{Name: name, Kind: "map", Type: typ, Var: variable, Rule: rule, Count: count}, build)
	}
	hold("main.nested", "map[string]map[int][]*main.T", "global/map", &nested,
		func() int { return len(nested) }, func() { fillNested(s.of(150_000)) })
	hold("main.generic", "main.Cache[int64,*main.account]", "global/map|global/other", &generic,
		func() int { return len(generic.items) }, func() { fillGeneric(s.of(47_000)) })
	hold("main.anything", "map[interface {}]interface {}", "global/map", &anything,
		func() int { return len(anything) }, func() { fillAnything(s.of(72_000)) })
	hold("main.byKey", "map[main.largeKey]*main.T", "global/map", &byKey,
		func() int { return len(byKey) }, func() { fillKeys(s.of(47_000)) })
	hold("main.byName", "map[string]main.largeValue", "global/map", &byName,
		func() int { return len(byName) }, func() { fillValues(s.of(38_000)) })
	hold("main.grid", "map[[2]int64]struct {}", "global/map", &grid,
		func() int { return len(grid) }, func() { fillGrid(s.of(320_000)) })
	hold("main.accounts", "map[uint32]main.account", "global/map", &accounts,
		func() int { return len(accounts) }, func() { fillAccounts(s.of(48_000)) })
	k.Ready()
	k.Wait()
}
