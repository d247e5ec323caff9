package gate

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestMemoryIsReadAsItIsWritten(t *testing.T) {
	for name, m := range map[string]Memory{
		"empty": {Cells: map[string]Remembered{}},
		"cells": {Cells: map[string]Remembered{
			"a/b": {Digest: "d", Build: "v1", Status: CellInvalid, Runs: 7, Tested: time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC), Signatures: []string{"<x>"}},
			"c":   {Digest: "e", Status: CellFailed},
		}},
	} {
		var b bytes.Buffer
		if err := m.Write(&b); err != nil {
			t.Fatal(err)
		}
		got, err := ReadMemory(&b, "memory.json")
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", name, err, got, m)
		}
	}
	var b bytes.Buffer
	if err := (Memory{}).Write(&b); err != nil {
		t.Fatal(err)
	}
	if want := "{\n  \"format\": 1,\n  \"cells\": {}\n}\n"; b.String() != want {
		t.Errorf("%q", b.String())
	}
}

func TestDamagedMemory(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "memory.json: unexpected end of JSON input",
		"{\n\"format\": 1,\n\"cells\":":        "memory.json:3: unexpected end of JSON input",
		"{\n\"format\": 1,\n}":                 "memory.json:3: invalid character '}'",
		`{"format": 1, "cells": {}} x`:         "memory.json:1: invalid character 'x'",
		`null`:                                 "memory.json: has format 0",
		`{"cells": {}}`:                        "memory.json: has format 0",
		`{"format": 2, "cells": {}, "new": 1}`: "memory.json: has format 2, and this version of hacheck reads 1",
		`{"format": 1, "cels": {}}`:            "memory.json: json: unknown field \"cels\"",
		"{\"format\": 1, \"cells\": {\n\"a\": {\"status\": 1}}}":                 "memory.json:2: json: cannot unmarshal number",
		`{"format": 1, "cells": {"a": {"status": "good"}}}`:                      `memory.json: cell "a" has status "good", which there is not`,
		`{"format": 1, "cells": {"a": {}}}`:                                      `memory.json: cell "a" has status "", which there is not`,
		`{"format": 1, "cells": {"a": {"status": "passed", "runs": -1}}}`:        `memory.json: cell "a" has -1 runs`,
		`{"format": 1, "cells": {"": {"status": "passed"}}}`:                     `memory.json: has a cell without a name`,
		`{"format": 1, "cells": {"a": {"status": "passed", "tested": "today"}}}`: `memory.json: parsing time`,
	} {
		_, err := ReadMemory(strings.NewReader(text), "memory.json")
		if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), "it may be deleted)") {
			t.Errorf("%s:\ngot  %v\nwant %s", text, err, want)
		}
	}
	broken := errors.New("the disk is broken")
	if _, err := ReadMemory(iotest.ErrReader(broken), "memory.json"); !errors.Is(err, broken) || strings.Contains(err.Error(), "deleted") {
		t.Error(err)
	}
}

func TestWhatIsRemembered(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	digest := plain("c", 1).Digest()
	was := Remembered{Digest: "old", Build: "v1", Status: CellInvalid, Runs: 5, Tested: day(1), Signatures: []string{"s"}}
	fine := Remembered{Digest: "old", Build: "v1", Status: CellPassed, Runs: 5, Tested: day(1)}
	signature := []string{"raftkv register: register"}
	for name, x := range map[string]struct {
		before  *Remembered
		becomes string // as those of gated
		strict  bool
		want    *Remembered
	}{
		"new, not run":    {nil, "--", false, nil},
		"not run":         {&was, "--", false, &was},
		"new, passed":     {nil, "vv", false, &Remembered{Digest: digest, Build: "v2", Status: CellPassed, Runs: 2, Tested: day(3)}},
		"mended":          {&was, "vv", false, &Remembered{Digest: digest, Build: "v2", Status: CellPassed, Runs: 7, Tested: day(3)}},
		"broken now":      {&fine, "vi", false, &Remembered{Digest: digest, Build: "v2", Status: CellInvalid, Runs: 7, Tested: day(3), Signatures: signature}},
		"retries count":   {&fine, "ri", false, &Remembered{Digest: digest, Build: "v2", Status: CellInvalid, Runs: 8, Tested: day(3), Signatures: signature}},
		"failed":          {&was, "ff", false, &Remembered{Digest: digest, Build: "v2", Status: CellFailed, Runs: 5, Tested: day(1), Signatures: []string{"s"}}},
		"refused, failed": {&was, "xx", false, &was},
		"refused, passed": {&fine, "x-", false, &Remembered{Digest: digest, Build: "v2", Status: CellRefused, Runs: 5, Tested: day(1)}},
		"half of it":      {&was, "v-", true, &Remembered{Digest: "old", Build: "v1", Status: CellInvalid, Runs: 6, Tested: day(2), Signatures: []string{"s"}}},
		"half of it, was passed": {&fine, "v-", true,
			&Remembered{Digest: digest, Build: "v2", Status: CellNotRun, Runs: 6, Tested: day(2)}},
	} {
		memory := Memory{}
		if x.before != nil {
			memory.Cells = map[string]Remembered{"c": *x.before}
		}
		g := New(Plan{Cells: []Cell{plain("c", 2)}, Policy: Policy{UnrunFails: x.strict}}, Options{Draw: counting(), Memory: memory, Build: "v2"})
		var came []Outcome
		for i, j := range g.First() {
			if letter := x.becomes[i]; letter != '-' {
				o := becomes[letter](j)
				o.Began = day(2 + i)
				came = append(came, o)
			}
		}
		for _, o := range slices.Backward(came) { // the order does not matter
			g.Take(o)
		}
		got, ok := g.Remember().Cells["c"]
		switch {
		case x.want == nil && ok:
			t.Errorf("%s: %+v", name, got)
		case x.want != nil && !reflect.DeepEqual(got, *x.want):
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, *x.want)
		}
	}
}

// What fails in one gate comes first in the next, and what was changed back is not forgotten.
func TestMemoryFromGateToGate(t *testing.T) {
	cells := []Cell{plain("a", 1), plain("b", 1), plain("c", 1)}
	g := New(Plan{Cells: cells}, Options{Draw: counting()})
	for _, j := range g.First() {
		g.Take(becomes[map[string]byte{"a": 'v', "b": 'i', "c": 'v'}[j.Cell]](j))
	}
	without := New(Plan{Cells: cells[:1]}, Options{Draw: counting(), Memory: g.Remember()})
	without.First()
	if got := cellsOf(New(Plan{Cells: cells}, Options{Draw: counting(), Memory: without.Remember()}).First()); got != "b a c" {
		t.Error(got)
	}
}

func TestAbsentCellsAreForgottenInTheEnd(t *testing.T) {
	m := Memory{Cells: map[string]Remembered{}}
	for i := range maxAbsent + 10 {
		r := remembered(fmt.Sprint(i), CellPassed, 1, 1)
		r.Tested = r.Tested.Add(time.Duration(i) * time.Hour)
		m.Cells[fmt.Sprint(i)] = r
	}
	got := New(Plan{Cells: []Cell{plain("5", 1), plain("new", 1)}}, Options{Draw: counting(), Memory: m}).Remember().Cells
	if len(got) != maxAbsent+1 { // "5" is not absent
		t.Errorf("%d cells", len(got))
	}
	for _, name := range []string{"0", "4", "6", "9"} {
		if _, ok := got[name]; ok {
			t.Errorf("%s was tested before others, and is remembered", name)
		}
	}
	for _, name := range []string{"5", "10", "1009"} {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is forgotten", name)
		}
	}
}
