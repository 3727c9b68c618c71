package main

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// A field of layout_fields.def: its id and the paths it may have, first match wins.
type fieldDef struct {
	id    string
	paths []string
}

type structDef struct {
	id     string
	names  []string
	fields []fieldDef
}

type constDef struct {
	id    string
	names []string
}

// The parsed layout_fields.def.
type definition struct {
	structs []structDef
	consts  []constDef
}

var entry = regexp.MustCompile(`^(KB_STRUCT|KB_FIELD|KB_FIELD_AS|KB_CONST)\((\w+)(?:, (\w+))?(?:, "([^"]+)")?\)`)

func readDefinition(path string) (*definition, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d := &definition{}
	scanner := bufio.NewScanner(f)
	for n := 1; scanner.Scan(); n++ {
		line := scanner.Text()
		if !strings.HasPrefix(line, "KB_") {
			continue
		}
		if err := d.add(line); err != nil {
			return nil, fmt.Errorf("%s:%d: %v", path, n, err)
		}
	}
	return d, scanner.Err()
}

func (d *definition) add(line string) error {
	m := entry.FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf("not understood: %s", line)
	}
	names := strings.Split(m[4], "|")
	switch m[1] {
	case "KB_STRUCT":
		d.structs = append(d.structs, structDef{id: m[2], names: names})
	case "KB_CONST":
		d.consts = append(d.consts, constDef{m[2], names})
	default:
		if len(d.structs) == 0 || d.structs[len(d.structs)-1].id != m[2] {
			return fmt.Errorf("field does not follow its struct: %s", line)
		}
		if m[1] == "KB_FIELD" {
			names = []string{m[3]}
		}
		s := &d.structs[len(d.structs)-1]
		s.fields = append(s.fields, fieldDef{m[3], names})
	}
	return nil
}
