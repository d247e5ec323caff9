package gate

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// groups returns what was found, by signature: those with most runs first.
func (g *Gate) groups() []Group {
	found := map[string]*grouping{}
	for _, c := range g.cells {
		for _, o := range c.outcomes {
			seen := map[string]bool{} // signatures in this job
			for _, a := range o.Attempts {
				if a.Class != Invalid {
					continue
				}
				for _, f := range a.Findings {
					signature := f.Signature(c.Cell)
					group := found[signature]
					if group == nil {
						group = &grouping{
							Group: Group{Signature: signature, Checker: f.Checker, System: c.System, Workload: c.Workload},
							kinds: map[string]int{},
						}
						found[signature] = group
					}
					group.kinds[f.Kind]++
					if !seen[signature] {
						seen[signature] = true
						group.add(c.Name, o, a, f)
					}
				}
			}
		}
	}
	var all []Group
	for _, group := range found {
		group.Kind = group.named()
		all = append(all, group.Group)
	}
	slices.SortFunc(all, func(a, b Group) int {
		return cmp.Or(cmp.Compare(len(b.Jobs), len(a.Jobs)), cmp.Compare(a.Signature, b.Signature))
	})
	return all
}

// A grouping is a group as it grows.
type grouping struct {
	Group
	kinds map[string]int // how many runs showed each
}

// named names the kinds, those that most runs showed first.
func (g *grouping) named() string {
	kinds := slices.SortedFunc(maps.Keys(g.kinds), func(a, b string) int {
		return cmp.Or(cmp.Compare(g.kinds[b], g.kinds[a]), cmp.Compare(a, b))
	})
	return strings.Join(kinds, ", ")
}

// add adds a job that found the same: f is the first of its findings that did, in attempt a.
func (g *Group) add(cell string, o Outcome, a Attempt, f Finding) {
	if len(g.Cells) == 0 || g.Cells[len(g.Cells)-1] != cell { // one cell comes after the other
		g.Cells = append(g.Cells, cell)
	}
	first := len(g.Jobs) == 0
	g.Jobs = append(g.Jobs, o.Job.ID)
	g.Ran += o.Ran
	g.Showed += o.Showed
	if first || f.Note != "" && (g.Example == "" || len(f.Note) < len(g.Example)) {
		g.Example, g.Witness, g.Dir = f.Note, a.Witness, a.Dir
	}
}
