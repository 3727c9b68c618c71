package main

import (
	"fmt"
	"reflect"
	"sort"
	"strings"
)

// The rows with everything that is equal in several of them shared.
type table struct {
	def      *definition
	rows     []*row
	variants [][]*layout // for each struct its distinct layouts, oldest first
	consts   [][]int64
	waits    [][]string
	pick     []picked // for each row
}

type picked struct {
	variants []int // for each struct an index, or absent
	consts   int
	waits    int
}

func newTable(d *definition, rows []*row) *table {
	sort.SliceStable(rows, func(i, j int) bool {
		a, b := rows[i], rows[j]
		if a.minor != b.minor {
			return a.minor < b.minor
		}
		if a.patch != b.patch {
			return a.patch < b.patch
		}
		return a.experiments < b.experiments
	})
	t := &table{def: d, rows: rows, variants: make([][]*layout, len(d.structs))}
	for _, r := range rows {
		p := picked{}
		for i, l := range r.structs {
			p.variants = append(p.variants, t.share(i, l))
		}
		p.consts = shared(&t.consts, r.consts)
		p.waits = shared(&t.waits, r.waits)
		t.pick = append(t.pick, p)
	}
	return t
}

func (t *table) share(i int, l *layout) int {
	if l == nil {
		return absent
	}
	for k, v := range t.variants[i] {
		if reflect.DeepEqual(v, l) {
			return k
		}
	}
	t.variants[i] = append(t.variants[i], l)
	return len(t.variants[i]) - 1
}

func shared[T any](sets *[][]T, s []T) int {
	for k, v := range *sets {
		if reflect.DeepEqual(v, s) {
			return k
		}
	}
	*sets = append(*sets, s)
	return len(*sets) - 1
}

// The first row that has variant k of struct i, for the comment.
func (t *table) firstRow(i, k int) string {
	for n, p := range t.pick {
		if p.variants[i] == k {
			return t.rows[n].String()
		}
	}
	return "?"
}

func (t *table) String() string {
	b := &strings.Builder{}
	b.WriteString("/* Made by tools/layouts from the DWARF of each toolchain; do not edit: change layout_fields.def or\n" +
		" * tools/layouts/versions.txt and run `./dev layouts`. linux/amd64. NO marks a field the version does not have. */\n\n")
	for i := range t.def.structs {
		t.writeStruct(b, i)
	}
	t.writeStructTable(b)
	t.writeConsts(b)
	t.writeWaits(b)
	t.writeRows(b)
	return b.String()
}

// Lines are filled up to 118 columns, tabs counted as one.
func fill(b *strings.Builder, indent string, items []string) {
	line := indent
	for _, s := range items {
		if len(line)+len(s)+2 > 114 && line != indent {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = indent
		}
		line += s + ", "
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
}

func (l *layout) items() []string {
	out := []string{fmt.Sprintf("%d, %d", l.size, l.name)}
	for _, c := range l.cells {
		if c.off == absent {
			out = append(out, "NO,0")
		} else {
			out = append(out, fmt.Sprintf("%d,%d", c.off, c.size))
		}
	}
	return out
}

func (t *table) writeStruct(b *strings.Builder, i int) {
	s := t.def.structs[i]
	if len(t.variants[i]) == 0 {
		return
	}
	n := len(s.fields)
	if n > 0 {
		fmt.Fprintf(b, "_Static_assert(KB_F_%s_%s - KB_F_%s_%s + 1 == %d, \"run ./dev layouts\");\n",
			s.id, s.fields[n-1].id, s.id, s.fields[0].id, n)
	}
	fmt.Fprintf(b, "static const uint32_t lay_%s[][2 + 2 * %d] = {\n", s.id, n)
	for k, l := range t.variants[i] {
		fmt.Fprintf(b, "\t{ /* from %s */\n", t.firstRow(i, k))
		fill(b, "\t\t", l.items())
		b.WriteString("\t},\n")
	}
	b.WriteString("};\n\n")
}

func (t *table) writeStructTable(b *strings.Builder) {
	b.WriteString("/* size, name (which of the definition's), then offset and size of each field */\n")
	b.WriteString("static const struct struct_table struct_tables[KB_S_COUNT] = {\n")
	for i, s := range t.def.structs {
		if len(t.variants[i]) == 0 {
			continue
		}
		first := "0"
		if len(s.fields) > 0 {
			first = "KB_F_" + s.id + "_" + s.fields[0].id
		}
		fmt.Fprintf(b, "\t[KB_S_%s] = {lay_%s[0], %s, %d, %d},\n", s.id, s.id, first, len(s.fields), len(t.variants[i]))
	}
	b.WriteString("};\n\n")
}

func (t *table) writeConsts(b *strings.Builder) {
	fmt.Fprintf(b, "_Static_assert(KB_C_COUNT == %d && KB_S_COUNT == %d, \"run ./dev layouts\");\n",
		len(t.def.consts), len(t.def.structs))
	b.WriteString("static const int64_t const_sets[][KB_C_COUNT] = {\n")
	for _, set := range t.consts {
		var items []string
		for _, v := range set {
			items = append(items, fmt.Sprint(v))
		}
		b.WriteString("\t{\n")
		fill(b, "\t\t", items)
		b.WriteString("\t},\n")
	}
	b.WriteString("};\n\n")
}

func (t *table) writeWaits(b *strings.Builder) {
	for k, set := range t.waits {
		var items []string
		for _, v := range set {
			items = append(items, fmt.Sprintf("%q", v))
		}
		fmt.Fprintf(b, "static const char *const waits_%d[] = {\n", k)
		fill(b, "\t", items)
		b.WriteString("};\n")
	}
	b.WriteString("static const struct wait_set wait_sets[] = {\n")
	for k, set := range t.waits {
		fmt.Fprintf(b, "\t{waits_%d, %d},\n", k, len(set))
	}
	b.WriteString("};\n\n")
}

func (t *table) writeRows(b *strings.Builder) {
	b.WriteString("/* minor, patch, experiments, const set, wait set, and for each struct which of its layouts (NONE: absent) */\n")
	b.WriteString("static const struct layout_row rows[] = {\n")
	for n, r := range t.rows {
		p := t.pick[n]
		fmt.Fprintf(b, "\t{%d, %d, %q, %d, %d, {\n", r.minor, r.patch, r.experiments, p.consts, p.waits)
		var items []string
		for _, v := range p.variants {
			if v == absent {
				items = append(items, "NONE")
			} else {
				items = append(items, fmt.Sprint(v))
			}
		}
		fill(b, "\t\t", items)
		b.WriteString("\t}},\n")
	}
	b.WriteString("};\n")
}
