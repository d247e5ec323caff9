package main

import (
	"maps"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/internal/gate"
)

func TestWhatAGateBeganWith(t *testing.T) {
	was := premises{
		Hacheck: "v1.0.0", Build: "b1", Machine: gate.Machine{OS: "linux", Arch: "amd64", CPUs: 2, Jobs: 2}, Baseline: "l1",
		Cells: map[string]string{"raftkv/set/none": "d1", "raftkv/set/kill": "d2", "a": "", "b": "", "c": "", "d": ""},
	}
	if words := was.changed(was, "base.json", "plan.yaml"); words != nil {
		t.Errorf("nothing has changed, but %q", words)
	}
	for _, c := range []struct {
		change func(*premises)
		want   string
	}{
		{func(p *premises) { p.Hacheck, p.Build = "v1.1.0", "b2" }, "hacheck was v1.0.0, and is v1.1.0"},
		{func(p *premises) { p.Build = "b2" }, "hacheck v1.0.0 was built anew"},
		{func(p *premises) { p.Machine.Jobs = 1 }, "the machine was linux/amd64, 2 CPUs, 2 runs at once, and is linux/amd64, 2 CPUs, 1 run at once (see --jobs)"},
		{func(p *premises) { p.Baseline = "l2" }, "the baseline base.json has another content (see --baseline)"},
		{func(p *premises) { p.Cells["raftkv/set/kill"] = "d3" }, "plan.yaml asks for something else in raftkv/set/kill, as a schedule that it names has changed"},
		{func(p *premises) {
			for name := range p.Cells {
				p.Cells[name] = "other"
			}
		}, "plan.yaml asks for something else in a, b, c and 3 more, as a schedule that it names has changed"},
	} {
		now := was
		now.Cells = maps.Clone(was.Cells)
		c.change(&now)
		if got := strings.Join(was.changed(now, "base.json", "plan.yaml"), "; "); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
