package workloadtest

import (
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// A Clock shows a system in memory what time it is in a play: at most as much behind
// as two events of the play are apart, and never before the invocation of the op that
// is being performed.
type Clock struct{ now time.Duration }

// Now returns the time since the play began.
func (c *Clock) Now() time.Duration { return c.now }

// Watch returns w, to be played with c showing the time.
func (c *Clock) Watch(w workloads.Workload) workloads.Workload {
	w.Main, w.Final = &watched{w.Main, c}, &watched{w.Final, c}
	return w
}

type watched struct {
	generator.Generator
	clock *Clock
}

func (w *watched) Next(c generator.Context) generator.Step {
	w.clock.now = max(w.clock.now, c.Now)
	return w.Generator.Next(c)
}

func (w *watched) Update(c generator.Context, op histories.Op) {
	w.clock.now = max(w.clock.now, c.Now)
	w.Generator.Update(c, op)
}
