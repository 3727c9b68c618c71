// layouts builds tools/layouts/probe with each Go toolchain of versions.txt, reads the DWARF, and writes the table of
// the runtime's structs that keptby uses where a target has no DWARF of its own. With --check it compares instead.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

var (
	check   = flag.Bool("check", false, "compare the committed table with the toolchains; exit 1 when they differ")
	root    = flag.String("root", ".", "top of the source tree")
	keepDir = flag.String("binaries", "", "use this `folder` for the built probes, and keep them")
	output  = flag.String("o", "", "write the table to `file` instead of src/goruntime/layout_table.inc")
)

// A line of versions.txt, or an argument.
type toolchain struct {
	version     string // "1.22.12"; before 1.21 the first release is "1.20"
	experiments string
	checked     bool
}

func parseToolchain(line string) (toolchain, error) {
	words := strings.Fields(line)
	t := toolchain{version: words[0]}
	if len(words) > 1 && words[1] != "-" {
		t.experiments = words[1]
	}
	t.checked = len(words) > 2 && words[2] == "check"
	if len(words) > 3 || (len(words) > 2 && !t.checked) || !strings.HasPrefix(t.version, "1.") {
		return t, fmt.Errorf("not understood: %q", line)
	}
	return t, nil
}

func readVersions(path string) ([]toolchain, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var list []toolchain
	for _, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		t, err := parseToolchain(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %v", path, err)
		}
		list = append(list, t)
	}
	return list, nil
}

func (t toolchain) build(dir string) (string, error) {
	name := filepath.Join(dir, strings.Trim(t.version+"-"+t.experiments, "-"))
	if *keepDir != "" {
		if _, err := os.Stat(name); err == nil {
			return name, nil
		}
	}
	c := exec.Command("go", "build", "-o", name, ".")
	c.Dir = filepath.Join(*root, "tools/layouts/probe")
	c.Env = append(os.Environ(), "GOTOOLCHAIN=go"+t.version, "GOEXPERIMENT="+t.experiments, "CGO_ENABLED=0",
		"GOWORK=off", "GOFLAGS=-buildvcs=false", "GOOS=linux", "GOARCH=amd64")
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go%s %s: %v\n%s", t.version, t.experiments, err, out)
	}
	return name, nil
}

// The row of one toolchain.
func (t toolchain) row(d *definition, dir string) (*row, error) {
	binary, err := t.build(dir)
	if err != nil {
		return nil, err
	}
	r, err := extract(d, binary)
	if err != nil {
		return nil, fmt.Errorf("go%s %s: %v", t.version, t.experiments, err)
	}
	if *keepDir == "" {
		os.Remove(binary)
	}
	numbers := strings.Split(t.version, ".")
	r.minor, err = strconv.Atoi(numbers[1])
	if err == nil && len(numbers) > 2 {
		r.patch, err = strconv.Atoi(numbers[2])
	}
	r.experiments = t.experiments
	return r, err
}

func generate(d *definition, list []toolchain, dir, path string) error {
	var rows []*row
	for _, t := range list {
		fmt.Fprintf(os.Stderr, "go%s %s\n", t.version, t.experiments)
		r, err := t.row(d, dir)
		if err != nil {
			return err
		}
		rows = append(rows, r)
	}
	table := newTable(d, rows)
	reportMissing(table)
	return os.WriteFile(path, []byte(table.String()), 0o644)
}

// Names in the definition that no toolchain has are most often misspelt.
func reportMissing(t *table) {
	for i, s := range t.def.structs {
		if len(t.variants[i]) == 0 {
			fmt.Fprintf(os.Stderr, "no toolchain has the struct %s\n", s.id)
			continue
		}
		for k, f := range s.fields {
			found := false
			for _, l := range t.variants[i] {
				found = found || l.cells[k].off != absent
			}
			if !found {
				fmt.Fprintf(os.Stderr, "no toolchain has the field %s.%s\n", s.id, f.id)
			}
		}
	}
	for k, c := range t.def.consts {
		found := false
		for _, set := range t.consts {
			found = found || set[k] != absent
		}
		if !found {
			fmt.Fprintf(os.Stderr, "no toolchain has the constant %s\n", c.id)
		}
	}
}

func selected(list []toolchain, args []string) ([]toolchain, error) {
	var out []toolchain
	for _, a := range args {
		t, err := parseToolchain(strings.ReplaceAll(strings.TrimPrefix(a, "go"), "-", " "))
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	if len(args) > 0 {
		return out, nil
	}
	for _, t := range list {
		if t.checked || !*check {
			out = append(out, t)
		}
	}
	return out, nil
}

func run() error {
	d, err := readDefinition(filepath.Join(*root, "src/goruntime/layout_fields.def"))
	if err != nil {
		return err
	}
	list, err := readVersions(filepath.Join(*root, "tools/layouts/versions.txt"))
	if err != nil {
		return err
	}
	if list, err = selected(list, flag.Args()); err != nil {
		return err
	}
	dir := *keepDir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "keptby-layouts-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	path := filepath.Join(*root, "src/goruntime/layout_table.inc")
	if *output != "" {
		path = *output
	}
	if *check {
		return compare(d, list, dir, path)
	}
	return generate(d, list, dir, path)
}

func main() {
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: run [--check] [--binaries DIR] [-o FILE] [VERSION[-EXPERIMENTS]...]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "layouts:", err)
		os.Exit(1)
	}
}
