package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hacheck/hacheck/internal/store"
)

// A listing is what there is to choose from, as list --json prints it. Scripts
// rest on it: fields are added, not renamed.
type listing struct {
	Systems   []listed `json:"systems"`
	Workloads []listed `json:"workloads"`
	Nemeses   []listed `json:"nemeses"`
}

type listed struct {
	Name      string   `json:"name"`
	About     string   `json:"about"`
	Functions []string `json:"functions,omitempty"` // of a workload
	Bugs      []listed `json:"bugs,omitempty"`      // of a system
	Targets   []listed `json:"targets,omitempty"`   // of a nemesis: asked for as name:target
}

func list() listing {
	var l listing
	for _, s := range systems {
		entry := listed{Name: s.name, About: s.about}
		for _, b := range s.bugs {
			entry.Bugs = append(entry.Bugs, listed{Name: b.name, About: b.about})
		}
		l.Systems = append(l.Systems, entry)
	}
	for _, w := range allWorkloads {
		l.Workloads = append(l.Workloads, listed{Name: w.name, About: w.about, Functions: w.functions})
	}
	for _, f := range faults {
		entry := listed{Name: f.Name, About: f.About}
		for _, t := range f.Targets {
			entry.Targets = append(entry.Targets, listed{Name: t.Name, About: t.About})
		}
		l.Nemeses = append(l.Nemeses, entry)
	}
	return l
}

func (p *program) list(c *cli.Context) error {
	if err := p.leftover(c, 0); err != nil {
		return err
	}
	l := list()
	if c.Bool("json") {
		return store.EncodeJSON(p.stdout, l)
	}
	var b strings.Builder
	column := l.column()
	section(&b, column, "Systems (--system)", l.Systems, bugPrefix, func(e listed) []listed { return e.Bugs })
	section(&b, column, "Workloads (--workload)", l.Workloads, "", func(listed) []listed { return nil })
	section(&b, column, "Nemeses (--nemesis)", l.Nemeses, targetPrefix, func(e listed) []listed { return e.Targets })
	_, err := io.WriteString(p.stdout, b.String())
	return err
}

// column is where the descriptions begin.
func (l listing) column() int {
	widest := 0
	for _, e := range slices.Concat(l.Systems, l.Workloads, l.Nemeses) {
		widest = max(widest, len(e.Name))
		for _, sub := range e.Bugs {
			widest = max(widest, len("  "+bugPrefix+sub.Name))
		}
		for _, sub := range e.Targets {
			widest = max(widest, len("  "+targetPrefix+sub.Name))
		}
	}
	return widest + 2
}

const (
	bugPrefix    = "--bug "
	targetPrefix = ":"
)

// section writes entries with what belongs to them below, each with a prefix.
func section(b *strings.Builder, column int, title string, entries []listed, prefix string, below func(listed) []listed) {
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	fmt.Fprintf(b, "%s:\n", title)
	for _, e := range entries {
		fmt.Fprintf(b, "  %-*s%s\n", column, e.Name, e.About)
		for _, sub := range below(e) {
			fmt.Fprintf(b, "    %-*s%s\n", column-2, prefix+sub.Name, sub.About)
		}
	}
}
