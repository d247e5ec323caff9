package gate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/hacheck/hacheck/internal/store"
)

const (
	// memoryFormat changes with what a memory has: what another version wrote is not read.
	memoryFormat = 1
	// maxMemory bounds the file: a thousand times what one has as a rule.
	maxMemory = 64_000_000
	// maxAbsent is how many cells are remembered that the plan does not have.
	maxAbsent = 1_000
)

// A Memory is what gates have come to, from one to the next: it says what is run first. The
// zero value remembers nothing.
type Memory struct {
	// Cells are by name. Those that a plan does not have are remembered for a while, so that a
	// plan that is changed and changed back has lost nothing.
	Cells map[string]Remembered
}

// A Remembered is what is remembered of a cell.
type Remembered struct {
	// Digest is that of the cell when it was run last, and Build that of [Options].
	Digest string `json:"digest"`
	Build  string `json:"build,omitempty"`
	// Status is the last one that says something: a gate without a run of the cell has none, and
	// one on a machine that refuses it does not make up for a failure.
	Status Status `json:"status"`
	// Runs is how many came to a verdict, in all gates together.
	Runs int `json:"runs"`
	// Tested is when the last of them began; zero: never.
	Tested time.Time `json:"tested,omitzero"`
	// Signatures are those of what was found last, sorted.
	Signatures []string `json:"signatures,omitempty"`
}

// failed says that the cell comes before all others.
func (r Remembered) failed() bool {
	return r.Status != CellPassed && r.Status != CellNotRun && r.Status != CellRefused
}

// A memoryFile is a memory as it is written.
type memoryFile struct {
	Format int                   `json:"format"`
	Cells  map[string]Remembered `json:"cells"`
}

// Write writes the memory as [ReadMemory] reads it.
func (m Memory) Write(w io.Writer) error {
	cells := m.Cells
	if cells == nil {
		cells = map[string]Remembered{}
	}
	return store.EncodeJSON(w, memoryFile{memoryFormat, cells})
}

// ReadMemory reads a memory from the file of that name. One that is damaged, or that another
// version has written, is an error: no gate is wrong without it, so that it may be deleted.
func ReadMemory(r io.Reader, name string) (Memory, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxMemory+1))
	if err != nil {
		return Memory{}, fmt.Errorf("read %s: %w", name, err)
	}
	f, err := parseMemory(text)
	if err != nil {
		var line string
		if at := offset(err); at > 0 && at <= int64(len(text)) {
			line = fmt.Sprintf(":%d", 1+bytes.Count(text[:at], []byte("\n")))
		}
		return Memory{}, fmt.Errorf("%s%s: %w (the file says no more than what a gate runs first: it may be deleted)", name, line, err)
	}
	return Memory{Cells: f.Cells}, nil
}

// offset returns where in the text an error of package json is; 0: nobody knows.
func offset(err error) int64 {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return e.Offset
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return e.Offset
	}
	return 0
}

func parseMemory(text []byte) (memoryFile, error) {
	var f memoryFile
	if len(text) > maxMemory {
		return f, fmt.Errorf("has more than %d MB, which no memory of a gate has", maxMemory/1_000_000)
	}
	var version struct{ Format int }
	if err := json.Unmarshal(text, &version); err != nil {
		return f, err
	}
	if version.Format != memoryFormat {
		return f, fmt.Errorf("has format %d, and this version of hacheck reads %d", version.Format, memoryFormat)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return f, err
	}
	for _, name := range slices.Sorted(maps.Keys(f.Cells)) {
		switch c := f.Cells[name]; {
		case name == "":
			return f, errors.New("has a cell without a name")
		case !slices.Contains(Statuses, c.Status):
			return f, fmt.Errorf("cell %q has status %q, which there is not", name, c.Status)
		case c.Runs < 0:
			return f, fmt.Errorf("cell %q has %d runs", name, c.Runs)
		}
	}
	return f, nil
}

// Remember returns what the next gate is to know: what this one was told, and what it has come
// to. The times in it are those of the outcomes.
func (g *Gate) Remember() Memory {
	cells := make(map[string]Remembered, len(g.cells))
	for _, c := range g.cells {
		if r, ok := g.remember(c); ok {
			cells[c.Name] = r
		}
	}
	var absent []string
	for name := range g.options.Memory.Cells {
		if g.named[name] == nil {
			absent = append(absent, name)
		}
	}
	slices.SortFunc(absent, func(a, b string) int { // the last ones first
		was := g.options.Memory.Cells
		return cmp.Or(was[b].Tested.Compare(was[a].Tested), cmp.Compare(a, b))
	})
	for _, name := range absent[:min(len(absent), maxAbsent)] {
		cells[name] = g.options.Memory.Cells[name]
	}
	return Memory{Cells: cells}
}

// remember returns what is to be remembered of a cell, if anything.
func (g *Gate) remember(c *cell) (Remembered, bool) {
	r := c.remembers
	if len(c.outcomes) == 0 {
		return r, c.known
	}
	runs := 0
	found := map[string]bool{}
	for _, o := range c.outcomes {
		for _, a := range o.Attempts {
			if a.Class.Judged() {
				runs++
				if o.Began.After(r.Tested) {
					r.Tested = o.Began
				}
			}
			if a.Class != Invalid {
				continue
			}
			for _, f := range a.Findings {
				found[f.Signature(c.Cell)] = true
			}
		}
	}
	r.Runs += runs
	status := g.report(c, g.among()).Status
	if (status == CellNotRun || status == CellRefused) && c.known && r.failed() {
		return r, true // which makes up for nothing
	}
	r.Status, r.Digest, r.Build = status, c.digest, g.options.Build
	if runs > 0 {
		r.Signatures = slices.Sorted(maps.Keys(found))
	}
	return r, true
}
