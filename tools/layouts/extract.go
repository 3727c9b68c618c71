package main

import (
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"strings"
)

const absent = -1

// Offset and size of a field; offset absent when there is none.
type cell struct {
	off, size int64
}

// A struct in one version.
type layout struct {
	size  int64
	name  int // which of the definition's names it has there
	cells []cell
}

// What one toolchain says.
type row struct {
	minor, patch int
	experiments  string
	structs      []*layout // as in the definition; nil when absent
	consts       []int64
	waits        []string
}

func (r *row) String() string {
	s := fmt.Sprintf("go1.%d.%d", r.minor, r.patch)
	if r.experiments != "" {
		s += " " + r.experiments
	}
	return s
}

// Types and constants of a binary by name, only those that the definition asks for.
type names struct {
	structs map[string]*dwarf.StructType
	sizes   map[string]int64 // types that are no structs
	consts  map[string]int64
}

func extract(d *definition, path string) (*row, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := f.DWARF()
	if err != nil {
		return nil, err
	}
	n, err := collect(d, data)
	if err != nil {
		return nil, err
	}
	r := &row{}
	for _, s := range d.structs {
		r.structs = append(r.structs, layOut(&s, n))
	}
	for _, c := range d.consts {
		r.consts = append(r.consts, n.constant(c.names))
	}
	r.waits, err = waitReasons(f)
	return r, err
}

func wanted(d *definition) map[string]bool {
	w := map[string]bool{}
	for _, s := range d.structs {
		for _, name := range s.names {
			w[name] = true
		}
	}
	for _, c := range d.consts {
		for _, name := range c.names {
			w[name] = true
		}
	}
	return w
}

func collect(d *definition, data *dwarf.Data) (*names, error) {
	n := &names{map[string]*dwarf.StructType{}, map[string]int64{}, map[string]int64{}}
	w := wanted(d)
	r := data.Reader()
	for {
		e, err := r.Next()
		if err != nil || e == nil {
			return n, err
		}
		if e.Tag == dwarf.TagSubprogram || e.Tag == dwarf.TagStructType {
			r.SkipChildren()
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		if !w[name] {
			continue
		}
		if err := n.add(data, e, name); err != nil {
			return nil, err
		}
	}
}

func (n *names) add(data *dwarf.Data, e *dwarf.Entry, name string) error {
	switch e.Tag {
	case dwarf.TagConstant:
		if v, ok := e.Val(dwarf.AttrConstValue).(int64); ok {
			n.consts[name] = v
		}
	case dwarf.TagStructType, dwarf.TagTypedef:
		t, err := data.Type(e.Offset)
		if err != nil {
			return fmt.Errorf("%s: %v", name, err)
		}
		if s := asStruct(t); s != nil {
			n.structs[name] = s
		} else {
			n.sizes[name] = t.Size()
		}
	}
	return nil
}

func (n *names) constant(alternates []string) int64 {
	for _, a := range alternates {
		if v, ok := n.consts[a]; ok {
			return v
		}
	}
	return absent
}

func asStruct(t dwarf.Type) *dwarf.StructType {
	for {
		switch x := t.(type) {
		case *dwarf.TypedefType:
			t = x.Type
		case *dwarf.StructType:
			return x
		default:
			return nil
		}
	}
}

func layOut(s *structDef, n *names) *layout {
	for i, name := range s.names {
		if t := n.structs[name]; t != nil {
			l := &layout{size: t.ByteSize, name: i}
			for _, f := range s.fields {
				l.cells = append(l.cells, find(t, f.paths))
			}
			return l
		}
		if size, ok := n.sizes[name]; ok {
			l := &layout{size: size, name: i}
			for range s.fields {
				l.cells = append(l.cells, cell{absent, 0})
			}
			return l
		}
	}
	return nil
}

func find(t *dwarf.StructType, paths []string) cell {
	for _, p := range paths {
		if c, ok := follow(t, strings.Split(p, ".")); ok {
			return c
		}
	}
	return cell{absent, 0}
}

func follow(t *dwarf.StructType, path []string) (cell, bool) {
	c := cell{}
	for i, name := range path {
		f := field(t, name)
		if f == nil {
			return c, false
		}
		c.off += f.ByteOffset
		c.size = f.Type.Size()
		if i+1 == len(path) {
			return c, true
		}
		if t = asStruct(f.Type); t == nil {
			return c, false
		}
	}
	return c, false
}

func field(t *dwarf.StructType, name string) *dwarf.StructField {
	for _, f := range t.Field {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// The strings of runtime.waitReasonStrings, an array of string headers (address, length) in the binary's data.
func waitReasons(f *elf.File) ([]string, error) {
	symbols, err := f.Symbols()
	if err != nil {
		return nil, err
	}
	for _, s := range symbols {
		if s.Name != "runtime.waitReasonStrings" {
			continue
		}
		headers, err := bytesAt(f, s.Value, s.Size)
		if err != nil {
			return nil, err
		}
		return stringsAt(f, headers)
	}
	return nil, fmt.Errorf("no runtime.waitReasonStrings")
}

func stringsAt(f *elf.File, headers []byte) ([]string, error) {
	var out []string
	for ; len(headers) >= 16; headers = headers[16:] {
		b, err := bytesAt(f, binary.LittleEndian.Uint64(headers), binary.LittleEndian.Uint64(headers[8:]))
		if err != nil {
			return nil, err
		}
		out = append(out, string(b))
	}
	return out, nil
}

func bytesAt(f *elf.File, addr, size uint64) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && addr >= p.Vaddr && addr+size <= p.Vaddr+p.Filesz {
			b := make([]byte, size)
			_, err := p.ReadAt(b, int64(addr-p.Vaddr))
			return b, err
		}
	}
	return nil, fmt.Errorf("%#x is not in the file", addr)
}
