package main

import (
	"container/heap"
	"container/list"
	"container/ring"
	"fmt"
	"regexp"
	"strings"
	"text/template"
)

type text string

func (t text) String() string { return string(t) }

type single struct{ p *Node }

func (s single) String() string { return s.p.Name }

type generic[T any] struct {
	value T
	more  []*T
	visit func(T) *T
}

type priorities []*Node

func (p priorities) Len() int           { return len(p) }
func (p priorities) Less(i, j int) bool { return p[i].Name < p[j].Name }
func (p priorities) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }
func (p *priorities) Push(x any)        { *p = append(*p, x.(*Node)) }
func (p *priorities) Pop() any          { return nil }

var (
	valueStringers []fmt.Stringer
	valueAnything  []any
	valueClosures  []func() int
	valueMethods   []func() string
	valueExpr      = (*strings.Builder).String
	valueGeneric   generic[Node]
	valueGenericS  generic[string]
	valueList      = list.New()
	valueRing      = ring.New(10)
	valueHeap      priorities
	valueStrings   []string
	valueBytes     [][]byte
	valueTiny      []*int8
	valueChain     *Node
	valueCycle     *Node
	valueRegexp    = regexp.MustCompile(`^(\w+)-(\d{1,3})(?:x|y)*$`)
	valueTemplate  = template.Must(template.New("x").Parse(`{{range .}}{{if .Name}}{{.Name}}{{end}}{{end}}`))
	valueBuilder   strings.Builder
)

func fillValues(n int) {
	for i := 0; i < n; i++ {
		node := &Node{Name: fmt.Sprint("n", i)}
		number := i
		valueStringers = append(valueStringers, text(node.Name), single{node})
		valueClosures = append(valueClosures, func() int { return number + len(node.Name) })
		valueMethods = append(valueMethods, single{node}.String)
		valueStrings = append(valueStrings, strings.Repeat("s", i%50))
		valueBytes = append(valueBytes, make([]byte, i*i*37%(16+i*3)))
		valueTiny = append(valueTiny, new(int8))
		valueChain = &Node{Next: valueChain}
		valueList.PushFront(node)
		heap.Push(&valueHeap, node)
	}
	node := &Node{}
	valueAnything = append(valueAnything, nil, 1, 1<<40, "text", 1.5, []int{1}, [3]*Node{node}, [1]*Node{node},
		struct{ p *Node }{node}, struct{}{}, node, &node, map[string]int{"a": 1}, make(chan *Node, 3), fmt.Sprint,
		fmt.Errorf("wrapped: %w", fmt.Errorf("inner")), error(nil), any(any(node)))
	valueGeneric = generic[Node]{value: *node, more: []*Node{node, {}}}
	valueGeneric.visit = func(v Node) *Node { return &v }
	valueGenericS = generic[string]{value: "x", more: []*string{new(string)}}
	valueCycle = &Node{Next: &Node{}}
	valueCycle.Next.Next = valueCycle
	for i := 0; i < valueRing.Len(); i++ {
		valueRing.Value = &Node{}
		valueRing = valueRing.Next()
	}
	valueBuilder.WriteString(strings.Repeat("builder", 100))
	valueTemplate.Execute(&valueBuilder, []*Node{{Name: "a"}, {}})
}
