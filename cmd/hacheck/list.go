package main

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/nemesis"
	"github.com/hacheck/hacheck/report"
)

// A listing is what there is to choose from, as list --json prints it. Scripts
// rest on it: fields are added, not renamed.
type listing struct {
	Systems   []listed `json:"systems"`
	Workloads []listed `json:"workloads"`
	// Recorded are workloads that are checked and not run.
	Recorded []listed `json:"recorded"`
	Nemeses  []listed `json:"nemeses"`
}

type listed struct {
	Name      string   `json:"name"`
	About     string   `json:"about"`
	Functions []string `json:"functions,omitempty"` // of a workload
	Bugs      []listed `json:"bugs,omitempty"`      // of a system
	Tunes     []listed `json:"tunes,omitempty"`     // of a system
	Bounds    string   `json:"bounds,omitempty"`    // of a tune: which values it takes
	// Hypervisors can run the guests of a system, the default first.
	Hypervisors []listed `json:"hypervisors,omitempty"`
	// Limits are the faults that a system does not claim to bear, with the reason.
	Limits   []listed `json:"limits,omitempty"`
	Variants []listed `json:"variants,omitempty"` // of a nemesis: asked for as name:variant
	Targets  []listed `json:"targets,omitempty"`  // of a nemesis: asked for as name:target, or name:variant:target
	// Needs are what the lab must be able to do for a nemesis, or for a variant; see
	// doctor.
	Needs []string `json:"needs,omitempty"`
	// OnRequest says why a variant or a target is done only if it is named.
	OnRequest string `json:"on_request,omitempty"`
	// FoundBy are the options of runs that find a bug.
	FoundBy []string `json:"found_by,omitempty"`
}

func list() listing {
	var l listing
	for _, s := range systems {
		entry := listed{Name: s.name, About: s.about}
		for _, b := range s.bugs {
			bug := listed{Name: b.name, About: b.about}
			for _, f := range finds {
				if f.system == s.name && f.bug == b.name {
					bug.FoundBy = append(bug.FoundBy, strings.Join(f.options(), " "))
				}
			}
			entry.Bugs = append(entry.Bugs, bug)
		}
		for _, t := range s.tunes {
			entry.Tunes = append(entry.Tunes, listed{Name: t.name, About: t.about, Bounds: t.bounds})
		}
		for _, h := range s.hypervisors {
			entry.Hypervisors = append(entry.Hypervisors, listed{Name: h.name, About: h.about})
		}
		entry.Limits = reasoned(s.limits)
		l.Systems = append(l.Systems, entry)
	}
	for _, w := range allWorkloads {
		l.Workloads = append(l.Workloads, listed{Name: w.name, About: w.about, Functions: w.functions})
	}
	for _, w := range recordedWorkloads {
		l.Recorded = append(l.Recorded, listed{Name: w.name, About: w.about, Functions: w.functions})
	}
	for _, f := range faults {
		entry := listed{Name: f.Name, About: f.About, Needs: needs(f.Needs)}
		for _, v := range f.Variants {
			entry.Variants = append(entry.Variants, listed{Name: v.Name, About: v.About, Needs: needs(v.Needs), OnRequest: v.OnRequest})
		}
		for _, t := range f.Targets {
			target := listed{Name: t.Name, About: t.About}
			if t.OnRequest {
				target.OnRequest = "it is never drawn"
			}
			entry.Targets = append(entry.Targets, target)
		}
		l.Nemeses = append(l.Nemeses, entry)
	}
	l.Nemeses = append(l.Nemeses, listed{Name: nemesis.All, About: "every one of these that this machine and the system can do"})
	return l
}

// reasoned returns faults, each with the reason.
func reasoned(faults map[string]string) (all []listed) {
	for _, fault := range slices.Sorted(maps.Keys(faults)) {
		all = append(all, listed{Name: fault, About: faults[fault]})
	}
	return all
}

func needs(of []nemesis.Need) (words []string) {
	for _, n := range of {
		words = append(words, string(n))
	}
	return words
}

func (p *program) list(c *cli.Context) error {
	if err := p.leftover(c, 0); err != nil {
		return err
	}
	l := list()
	if c.Bool("json") {
		return store.EncodeJSON(p.stdout, l)
	}
	sections := l.sections()
	column := 0
	for _, s := range sections {
		for _, e := range s.entries {
			if e.about != "" { // else it is a headline
				column = max(column, 2*e.depth+len(e.name)+2)
			}
		}
	}
	room := math.MaxInt // in a file
	if width := style(p.stdout).Width; width > 0 {
		room = max(width-column-2, minWidth/2)
	}
	var b strings.Builder
	for i, s := range sections {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s:\n", s.title)
		for _, e := range s.entries {
			head := fmt.Sprintf("  %-*s", column, strings.Repeat("  ", e.depth)+e.name)
			about := report.Wrap(e.about, room)
			if len(about) == 0 {
				about = []string{""} // it is a headline
			}
			for _, about := range about {
				b.WriteString(strings.TrimRight(head+about, " ") + "\n")
				head = strings.Repeat(" ", column+2)
			}
		}
	}
	_, err := io.WriteString(p.stdout, b.String())
	return err
}

// A listSection is a part of the text of a listing.
type listSection struct {
	title   string
	entries []listEntry
}

type listEntry struct {
	depth       int
	name, about string
}

func (s *listSection) add(depth int, name, about string) {
	s.entries = append(s.entries, listEntry{depth, name, about})
}

// sections is the listing as people read it. Targets stand by themselves, since many
// nemeses have the same.
func (l listing) sections() []listSection {
	systems := listSection{title: "Systems (--system)"}
	for _, s := range l.Systems {
		systems.add(0, s.Name, s.About)
		for i, h := range s.Hypervisors {
			byDefault := ""
			if i == 0 {
				byDefault = "; the default"
			}
			systems.add(1, "--hypervisor "+h.Name, h.About+byDefault)
		}
		for _, t := range s.Tunes {
			systems.add(1, "--tune "+t.Name, t.About+": "+t.Bounds)
		}
		for _, b := range s.Bugs {
			systems.add(1, "--bug "+b.Name, b.About)
		}
		for _, limit := range s.Limits {
			systems.add(1, "not "+limit.Name, limit.About)
		}
	}
	workloads := listSection{title: "Workloads (--workload)"}
	for _, w := range l.Workloads {
		workloads.add(0, w.Name, w.About)
	}
	recorded := listSection{title: "Recorded by others, for check only (check --workload)"}
	for _, w := range l.Recorded {
		recorded.add(0, w.Name, w.About)
	}
	nemeses := listSection{title: "Nemeses (--nemesis NAME[:VARIANT][:TARGET])"}
	for _, n := range l.Nemeses {
		nemeses.add(0, n.Name, n.About+needing(n.Needs))
		for _, v := range n.Variants {
			nemeses.add(1, ":"+v.Name, v.About+needing(v.Needs)+ifNamed(v.OnRequest))
		}
	}
	all := []listSection{systems, workloads, recorded, nemeses}
	if targets := l.targets(); len(targets.entries) > 0 {
		all = append(all, targets)
	}
	return all
}

// targets lists those that faults have in common once.
func (l listing) targets() listSection {
	s := listSection{title: "Targets of nemeses; a node's name, such as n1, is one, too"}
	told := map[string]bool{}
	for _, n := range l.Nemeses {
		if len(n.Targets) == 0 || told[n.Name] {
			continue
		}
		var of []string
		for _, other := range l.Nemeses {
			if slices.EqualFunc(other.Targets, n.Targets, func(a, b listed) bool { return a.Name == b.Name && a.About == b.About }) {
				of = append(of, other.Name)
				told[other.Name] = true
			}
		}
		s.add(0, enumerate(of), "")
		for _, t := range n.Targets {
			s.add(1, ":"+t.Name, t.About+ifNamed(t.OnRequest))
		}
	}
	return s
}

// needing says what of a lab is needed that not every machine has.
func needing(needs []string) string {
	if len(needs) == 0 {
		return ""
	}
	return " (needs " + enumerate(needs) + ")"
}

// ifNamed says that something is done only if it is named, and why.
func ifNamed(why string) string {
	if why == "" {
		return ""
	}
	return "; only if named: " + why
}
