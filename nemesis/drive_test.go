package nemesis_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/nemesis"
)

// A happening is what the observer sees at a time: a cluster.State, or a cluster.Step.
type happening struct {
	at   time.Duration
	what any
}

// took is how long an op of the nemesis takes in a drive.
const took = time.Millisecond

// A drive is a run of a package in no time: its ops are performed, and things
// happen, until the end of the main phase; then all is healed.
type drive struct {
	t       *testing.T
	p       nemesis.Package
	seed    uint64
	end     time.Duration
	happens []happening
	// each is told of every completion and may say what happens upon it.
	each func(op histories.Op) *happening
	// bubble says that this is one of package synctest, where it shows how long an op
	// waits: it completes so much later.
	bubble bool

	now   time.Duration
	ops   []histories.Op
	c     generator.Context
	due   time.Duration // when the op that is outstanding completes
	doing *histories.Op
}

// run returns the history.
func (d *drive) run() []histories.Op {
	d.c = generator.Context{Rand: rand.New(rand.NewPCG(d.seed, 0)), Free: []histories.Process{histories.Nemesis}}
	g, final := d.p.Main, false
	for asks := 0; ; asks++ {
		if asks > 1_000_000 {
			d.t.Fatal("it comes to no end")
		}
		if d.now >= d.end && !final {
			g, final = d.p.Final, true
		}
		if len(d.happens) > 0 && d.happens[0].at <= d.now {
			d.happen(g, d.happens[0].what)
			d.happens = d.happens[1:]
			continue
		}
		if d.doing != nil && d.due <= d.now {
			d.complete(g)
			continue
		}
		d.c.Now = d.now
		step := g.Next(d.c)
		switch {
		case step.Op != nil:
			d.invoke(g, *step.Op)
			continue
		case step.Done && final && d.doing == nil:
			return d.ops
		}
		d.sleep(step, final)
	}
}

// sleep lets time pass until something is to be done.
func (d *drive) sleep(step generator.Step, final bool) {
	next := d.now + time.Hour
	if !final {
		next = d.end
	}
	if step.Wait > 0 {
		next = min(next, d.now+step.Wait)
	}
	if len(d.happens) > 0 {
		next = min(next, d.happens[0].at)
	}
	if d.doing != nil {
		next = min(next, d.due)
	}
	d.now = next
}

func (d *drive) record(op histories.Op) histories.Op {
	op.Index, op.Time = len(d.ops), d.now
	if n := len(d.ops); n > 0 {
		op.Time = max(op.Time, d.ops[n-1].Time+1)
	}
	d.ops = append(d.ops, op)
	return op
}

func (d *drive) happen(g generator.Generator, what any) {
	f := histories.State
	if _, ok := what.(cluster.Step); ok {
		f = histories.Step
	}
	op := d.record(histories.Op{Process: histories.Observer, Type: histories.Event, F: f, Value: encoded(d.t, what)})
	d.c.Now = d.now
	g.Update(d.c, op)
}

func (d *drive) invoke(g generator.Generator, op histories.Op) {
	d.c.Free, d.c.Busy = nil, []histories.Process{histories.Nemesis}
	op = d.record(op)
	g.Update(d.c, op)
	d.doing, d.due = &op, d.now+took
}

func (d *drive) complete(g generator.Generator) {
	op := *d.doing
	d.doing = nil
	asked := time.Now()
	value, err := d.p.Nemesis.Invoke(d.t.Context(), op)
	if d.bubble {
		d.now += time.Since(asked)
	}
	d.c.Now, d.c.Free, d.c.Busy = d.now, []histories.Process{histories.Nemesis}, nil
	op.Type, op.Value = histories.Info, encoded(d.t, value)
	if err != nil {
		op.Error = err.Error()
	}
	op = d.record(op)
	g.Update(d.c, op)
	if d.each == nil {
		return
	}
	if h := d.each(op); h != nil {
		at := len(d.happens)
		for i, other := range d.happens {
			if other.at > h.at {
				at = i
				break
			}
		}
		d.happens = append(d.happens[:at], append([]happening{*h}, d.happens[at:]...)...)
	}
}

// invoked lists the ops of the nemesis: when they were invoked, and of what.
func invoked(t *testing.T, ops []histories.Op) string {
	t.Helper()
	var lines []string
	for _, op := range ops {
		if op.Process != histories.Nemesis || op.Type != histories.Invoke {
			continue
		}
		f := fault(t, op)
		line := fmt.Sprintf("%v %s %d", op.Time.Round(took), op.F, f.ID)
		if f.Detail != nil {
			line += " " + string(f.Detail)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// expect compares what was invoked with what should have been.
func expect(t *testing.T, ops []histories.Op, want ...string) {
	t.Helper()
	if got := invoked(t, ops); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// led is a state in which a node leads in a term; nobody does if it is "".
func led(leader string, term uint64) cluster.State {
	s := cluster.State{}
	for _, n := range []string{"n1", "n2", "n3"} {
		role := cluster.RoleFollower
		if n == leader {
			role = cluster.RoleLeader
		}
		s[n] = cluster.NodeState{Role: role, Term: term, Leader: leader, Voters: []string{"n1", "n2", "n3"}}
	}
	return s
}

// with returns the state in which a node is different.
func with(s cluster.State, node string, change func(n *cluster.NodeState)) cluster.State {
	n := s[node]
	change(&n)
	s[node] = n
	return s
}

func taking(n *cluster.NodeState)   { n.Snapshot = true }
func changing(n *cluster.NodeState) { n.Changing = true }

// history makes a History of ops.
func history(t *testing.T, ops []histories.Op) *histories.History {
	t.Helper()
	h, err := histories.FromOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	return h
}
