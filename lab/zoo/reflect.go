package main

import "reflect"

var (
	reflectMade   []reflect.Value
	reflectedFunc func(int, *Node) *Node
	reflectSwap   func(i, j int)
)

type adder struct{ base *Node }

// Add is called through a method value made by reflection.
func (a adder) Add(n *Node) *Node { return &Node{Next: n, Name: a.base.Name} }

func fillReflect() {
	node := reflect.TypeOf(&Node{})
	text := reflect.TypeOf("")
	fields := []reflect.StructField{
		{Name: "A", Type: node}, {Name: "B", Type: reflect.TypeOf([40]int{})}, {Name: "C", Type: text},
		{Name: "D", Type: reflect.ArrayOf(70, node)},
	}
	made := reflect.StructOf(fields)
	m := reflect.MakeMap(reflect.MapOf(text, made))
	for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"} {
		v := reflect.New(made).Elem()
		v.Field(0).Set(reflect.ValueOf(&Node{Name: key}))
		v.Field(3).Index(69).Set(reflect.ValueOf(&Node{}))
		m.SetMapIndex(reflect.ValueOf(key), v)
	}
	long := reflect.New(reflect.ArrayOf(3000, made)) // its mask is made by a program, or on demand
	long.Elem().Index(2999).Field(0).Set(reflect.ValueOf(&Node{Name: "last"}))
	list := reflect.MakeSlice(reflect.SliceOf(made), 5, 9)
	list.Index(4).Field(2).SetString("fifth")
	queue := reflect.MakeChan(reflect.ChanOf(reflect.BothDir, made), 3)
	queue.Send(list.Index(4))
	back := []*Node{{}, {}}
	reflectSwap = reflect.Swapper(back)
	reflectMade = append(reflectMade, m, long, list, queue, reflect.ValueOf(adder{&Node{}}).Method(0))
	reflectedFunc = reflect.MakeFunc(reflect.TypeOf(reflectedFunc), func(args []reflect.Value) []reflect.Value {
		return []reflect.Value{args[1]}
	}).Interface().(func(int, *Node) *Node)
}
