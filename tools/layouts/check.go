package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// The differences have been printed.
var errDiffers = errors.New("the table differs from the toolchains")

// Reads back what table.go wrote, so that what is committed is compared by meaning, and a difference can be named.

var (
	structLine = regexp.MustCompile(`^static const uint32_t lay_(\w+)\[\]\[2 \+ 2 \* (\d+)\] = \{$`)
	rowLine    = regexp.MustCompile(`^\t\{(\d+), (\d+), "([^"]*)", (\d+), (\d+), \{$`)
	comment    = regexp.MustCompile(`/\*.*?\*/`)
	quoted     = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
)

type reader struct {
	def   *definition
	lines []string
	at    int
	index map[string]int // struct id → place in the definition
	t     *table
}

func parseTable(d *definition, path string) (*table, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &reader{def: d, lines: strings.Split(string(text), "\n"), index: map[string]int{}}
	r.t = &table{def: d, variants: make([][]*layout, len(d.structs))}
	for i, s := range d.structs {
		r.index[s.id] = i
	}
	for ; r.at < len(r.lines); r.at++ {
		if err := r.block(r.lines[r.at]); err != nil {
			return nil, fmt.Errorf("%s:%d: %v", path, r.at+1, err)
		}
	}
	return r.t, nil
}

func (r *reader) block(line string) error {
	if m := structLine.FindStringSubmatch(line); m != nil {
		return r.structBlock(m[1], m[2])
	}
	if m := rowLine.FindStringSubmatch(line); m != nil {
		return r.rowBlock(m[1:])
	}
	if strings.HasPrefix(line, "static const int64_t const_sets") {
		sets, err := r.groups()
		r.t.consts = sets
		return err
	}
	if strings.HasPrefix(line, "static const char *const waits_") {
		var set []string
		for r.at++; r.lines[r.at] != "};"; r.at++ {
			for _, q := range quoted.FindAllString(r.lines[r.at], -1) {
				s, err := strconv.Unquote(q)
				if err != nil {
					return err
				}
				set = append(set, s)
			}
		}
		r.t.waits = append(r.t.waits, set)
	}
	return nil
}

// The numbers of each inner {…} up to the "};" in the first column. NO and NONE are absent.
func (r *reader) groups() ([][]int64, error) {
	var out [][]int64
	for r.at++; r.at < len(r.lines) && r.lines[r.at] != "};"; r.at++ {
		line := strings.TrimSpace(comment.ReplaceAllString(r.lines[r.at], ""))
		switch {
		case line == "{":
			out = append(out, nil)
		case line == "},":
		case len(out) == 0:
			return nil, fmt.Errorf("not understood: %s", line)
		default:
			numbers, err := parseNumbers(line)
			if err != nil {
				return nil, err
			}
			out[len(out)-1] = append(out[len(out)-1], numbers...)
		}
	}
	return out, nil
}

func parseNumbers(line string) ([]int64, error) {
	var out []int64
	for _, word := range strings.FieldsFunc(line, func(c rune) bool { return c == ',' || c == ' ' }) {
		if word == "NO" || word == "NONE" {
			out = append(out, absent)
			continue
		}
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

func (r *reader) structBlock(id, fields string) error {
	i, known := r.index[id]
	if !known {
		return fmt.Errorf("the definition has no struct %s", id)
	}
	if fields != strconv.Itoa(len(r.def.structs[i].fields)) {
		return fmt.Errorf("%s has %s fields, the definition %d", id, fields, len(r.def.structs[i].fields))
	}
	sets, err := r.groups()
	if err != nil {
		return err
	}
	for _, set := range sets {
		if len(set) != 2+2*len(r.def.structs[i].fields) {
			return fmt.Errorf("a layout of %s has %d numbers", id, len(set))
		}
		l := &layout{size: set[0], name: int(set[1])}
		for k := 2; k < len(set); k += 2 {
			l.cells = append(l.cells, cell{set[k], set[k+1]})
		}
		r.t.variants[i] = append(r.t.variants[i], l)
	}
	return nil
}

func (r *reader) rowBlock(m []string) error {
	n := make([]int, 5)
	for i, k := range []int{0, 1, 3, 4} {
		n[i], _ = strconv.Atoi(m[k])
	}
	row := &row{minor: n[0], patch: n[1], experiments: m[2]}
	var picks []int64
	for r.at++; r.lines[r.at] != "\t}},"; r.at++ {
		numbers, err := parseNumbers(strings.TrimSpace(r.lines[r.at]))
		if err != nil {
			return err
		}
		picks = append(picks, numbers...)
	}
	if len(picks) != len(r.def.structs) || n[2] >= len(r.t.consts) || n[3] >= len(r.t.waits) {
		return fmt.Errorf("%v does not fit the definition", row)
	}
	row.consts, row.waits = r.t.consts[n[2]], r.t.waits[n[3]]
	for i, k := range picks {
		if k == absent {
			row.structs = append(row.structs, nil)
		} else if int(k) < len(r.t.variants[i]) {
			row.structs = append(row.structs, r.t.variants[i][k])
		} else {
			return fmt.Errorf("%v: no layout %d of %s", row, k, r.def.structs[i].id)
		}
	}
	r.t.rows = append(r.t.rows, row)
	return nil
}

func (c cell) String() string {
	if c.off == absent {
		return "absent"
	}
	return fmt.Sprintf("offset %d size %d", c.off, c.size)
}

func waitReason(r *row, i int) string {
	if i >= len(r.waits) {
		return "absent"
	}
	return strconv.Quote(r.waits[i])
}

// Lines that say where two rows of one version differ.
func differences(d *definition, table, toolchain *row) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for i, s := range d.structs {
		a, b := table.structs[i], toolchain.structs[i]
		if (a == nil) != (b == nil) {
			add("%s: present %v in the table, %v in the toolchain", s.id, a != nil, b != nil)
		}
		if a == nil || b == nil {
			continue
		}
		if a.size != b.size || a.name != b.name {
			add("%s: size %d (%s) in the table, %d (%s) in the toolchain",
				s.id, a.size, s.names[a.name], b.size, s.names[b.name])
		}
		for k, f := range s.fields {
			if a.cells[k] != b.cells[k] {
				add("%s.%s: %v in the table, %v in the toolchain", s.id, f.id, a.cells[k], b.cells[k])
			}
		}
	}
	for k, c := range d.consts {
		if table.consts[k] != toolchain.consts[k] {
			add("constant %s: %d in the table, %d in the toolchain",
				c.id, table.consts[k], toolchain.consts[k])
		}
	}
	for i := 0; i < len(table.waits) || i < len(toolchain.waits); i++ {
		if a, b := waitReason(table, i), waitReason(toolchain, i); a != b {
			add("wait reason %d: %s in the table, %s in the toolchain", i, a, b)
		}
	}
	return out
}

// The row the C code takes for this version: the last that is not newer (layout.c, find_row).
func (t *table) find(want *row) *row {
	var best *row
	for _, r := range t.rows {
		same := r.minor == want.minor && r.experiments == want.experiments
		if same && (best == nil || r.patch <= want.patch) {
			best = r
		}
	}
	return best
}

func compareOne(d *definition, committed *table, t toolchain, dir string) []string {
	fresh, err := t.row(d, dir)
	if err != nil {
		return []string{err.Error()}
	}
	r := committed.find(fresh)
	if r == nil {
		return []string{"not in the table"}
	}
	return differences(d, r, fresh)
}

func compare(d *definition, list []toolchain, dir, path string) error {
	committed, err := parseTable(d, path)
	if err != nil {
		fmt.Printf("FAILED %v\n0 passed, 1 failed\n", err)
		return errDiffers
	}
	passed, failed := 0, 0
	count := func(what string, problems []string) {
		if len(problems) == 0 {
			passed++
			return
		}
		failed++
		fmt.Printf("FAILED %s\n", what)
		for i, p := range problems {
			if i == 40 {
				fmt.Printf("  and %d more\n", len(problems)-i)
				break
			}
			fmt.Printf("  %s\n", p)
		}
	}
	text, _ := os.ReadFile(path)
	if newTable(d, committed.rows).String() != string(text) {
		count(path, []string{"was not made by this tool from this definition: run `./dev layouts`"})
	} else {
		count(path, nil)
	}
	for _, t := range list {
		count("go"+t.version+" "+t.experiments, compareOne(d, committed, t, dir))
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		return errDiffers
	}
	return nil
}
