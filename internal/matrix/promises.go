package matrix

import (
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/hacheck/hacheck/internal/gate"
)

// availability is the name of the promises that are shares.
const availability = "availability"

// windows are the times for which there is a promise of availability, beside while faults of
// a family hold.
var windows = []string{"no-fault", "fault", "minority"}

// statistics are those of a distribution that have bounds.
var statistics = []string{"p50", "p99", "max"}

// A promised names a bound: a metric, and a statistic of it, or a window of availability.
// With a statistic of "" it names all of that metric's.
type promised struct{ metric, of string }

// String is as messages name it.
func (p promised) String() string { return strings.TrimSpace(p.metric + " " + p.of) }

// A bound is what is promised of something.
type bound struct {
	share float64       // of availability
	time  time.Duration // of all else
	none  bool          // nothing is any more
	line  int
	made  bool // of a cell
}

// none says whether a promise is taken back.
func (r *reader) none(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value == "none" && r.plain(n)
}

// promises reads bounds. A node of nil has none.
func (r *reader) promises(n *yaml.Node) map[promised]*bound {
	bounds := map[promised]*bound{}
	if n == nil {
		return bounds
	}
	r.each(n, "promises", "a mapping such as {recovery: {p99: 5s}}", func(key, value *yaml.Node) {
		what := promised{key.Value, ""}
		switch {
		case !r.isPromise(key):
		case r.none(value):
			bounds[what] = &bound{none: true, line: value.Line}
		case key.Value == availability:
			r.availability(value, bounds)
		default:
			r.limits(value, key.Value, bounds)
		}
	})
	return bounds
}

// isPromise says whether there can be a promise of that name.
func (r *reader) isPromise(key *yaml.Node) bool {
	if key.Value == availability {
		return true
	}
	switch m, ok := r.known.Metric(key.Value); {
	case !ok:
		r.fault(key.Line, "unknown promise %q; %s", cut(key.Value), suggest(key.Value, append([]string{availability}, r.known.Metrics...)))
	case m.Unit == "s":
		return true
	case strings.HasPrefix(key.Value, availability+"."):
		r.fault(key.Line, `%s is a share; write "availability: {%s: 99%%}"`, cut(key.Value), cut(strings.TrimPrefix(key.Value, availability+".")))
	default:
		r.fault(key.Line, "%s is no time, and only times and availability have bounds; it is compared with the baseline all the same", cut(key.Value))
	}
	return false
}

// availability reads shares by window.
func (r *reader) availability(n *yaml.Node, bounds map[promised]*bound) {
	known := slices.Concat(windows, r.known.Faults)
	for window, n := range r.filled(n, availability, "{no-fault: 99.9%}", known) {
		b := &bound{line: n.Line, none: r.none(n)}
		if !b.none {
			before := len(r.faults)
			if b.share = r.share(n, availability+" "+window, 100); b.share == 0 && len(r.faults) == before && r.plain(n) {
				r.fault(n.Line, "%s %s: 0%% promises nothing; strike it out", availability, window)
			}
		}
		bounds[promised{availability, window}] = b
	}
}

// limits reads bounds of a metric's times.
func (r *reader) limits(n *yaml.Node, metric string, bounds map[promised]*bound) {
	of := r.filled(n, metric, "{p99: 5s, max: 10s}", statistics)
	before := len(r.faults)
	var last string
	for _, s := range statistics {
		n := of[s]
		if n == nil {
			continue
		}
		b := &bound{line: n.Line, none: r.none(n)}
		bounds[promised{metric, s}] = b
		if b.none {
			continue
		}
		b.time = r.time(n, metric+" "+s, "5s")
		if prior := bounds[promised{metric, last}]; last != "" && len(r.faults) == before && b.time < prior.time {
			r.fault(n.Line, "%s: %s is at most %v, so that %s at most %v says nothing; are they swapped?", metric, s, b.time, last, prior.time)
		}
		last = s
	}
}

// filled is [reader.mapping] of what must not be empty.
func (r *reader) filled(n *yaml.Node, what, example string, known []string) map[string]*yaml.Node {
	values := r.mapping(n, what, example, known...)
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 && r.plain(n) {
		r.fault(n.Line, "%s is empty, and nothing is promised; write %s, or strike it out", what, example)
	}
	return values
}

// override returns bounds with those of a row, which replace those of the same name, or take
// them back.
func (r *reader) override(bounds, row map[promised]*bound) map[promised]*bound {
	all := map[promised]*bound{}
	maps.Copy(all, bounds)
	for what, b := range row {
		if !b.none {
			all[what] = b
			continue
		}
		had := len(all)
		maps.DeleteFunc(all, func(p promised, _ *bound) bool {
			return p == what || what.of == "" && p.metric == what.metric
		})
		if len(all) == had {
			r.fault(b.line, "%v: none takes back what is promised of all rows, and there is no such promise; strike it out", what)
		}
	}
	return all
}

// applies says whether runs of the cell can break a promise.
func (r *reader) applies(what promised, c gate.Cell, o options) bool {
	switch {
	case what.metric != availability:
		return r.known.Measures(what.metric, c)
	case what.of == "no-fault" || o["schedule"].given: // what is in a schedule nobody has looked at
		return true
	case c.Nemesis == none:
		return false
	case what.of == "fault" || what.of == "minority":
		return true
	}
	for _, spec := range strings.Split(c.Nemesis, ",") {
		if family, _, _ := strings.Cut(spec, ":"); family == what.of || family == all {
			return true
		}
	}
	return false
}

// promise returns the promises that a cell can break.
func (r *reader) promise(bounds map[promised]*bound, c gate.Cell, o options) gate.Promises {
	var p gate.Promises
	for what, b := range bounds {
		if b.none || !r.applies(what, c, o) {
			continue
		}
		b.made = true
		if what.metric == availability {
			if p.Availability == nil {
				p.Availability = map[string]float64{}
			}
			p.Availability[what.of] = b.share
			continue
		}
		if p.Durations == nil {
			p.Durations = map[string]gate.Limits{}
		}
		limits := p.Durations[what.metric]
		switch what.of {
		case "p50":
			limits.P50 = b.time
		case "p99":
			limits.P99 = b.time
		case "max":
			limits.Max = b.time
		}
		p.Durations[what.metric] = limits
	}
	return p
}

// idle tells of bounds that were made of no cell.
func (r *reader) idle(bounds map[promised]*bound, why string) {
	for what, b := range bounds {
		if !b.none && !b.made {
			r.fault(b.line, "%v is promised of no run: %s; strike it out, or add what can", what, why)
		}
	}
}
