package workloads

import (
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
)

// Tenures generates what clients do that take turns in holding something, such as a
// lock or the lead, by a token that fences what they write. They claim what is free,
// and sometimes what is held. Who holds it renews its lease, writes and looks; after
// a moment, or after some times the lease, it gives it up, or goes away without a
// word. Some who did come back when another has it, and write in the name of the
// token that was theirs: that must be refused.
//
// A process holds one thing at a time. One whose operation ended indeterminate is
// gone, and what it held is free when the lease ends.
type Tenures struct {
	// Objects are what is held.
	Objects []string
	// Claim returns the operation by which a process claims an object; Look one that
	// reads it; Renew and GiveUp one in the name of a token; Write one that writes a
	// value besides. No two writes have the same value. Renew is nil if there is no
	// such thing.
	Claim         func(object string, p histories.Process) histories.Op
	Look          func(object string) histories.Op
	Renew, GiveUp func(object string, token uint64) histories.Op
	Write         func(object string, token uint64, value int64) histories.Op
	// Granted returns what a claim that succeeded was granted, and for how long, or 0
	// if the system does not tell.
	Granted func(op histories.Op) (token uint64, ttl time.Duration)
	// Lost says that a completion is a refusal of the token.
	Lost func(op histories.Op) bool
}

// Generator returns the generator, which is endless.
func (t Tenures) Generator() generator.Generator {
	return &tenures{
		Tenures:     t,
		pending:     map[histories.Process]act{},
		current:     map[histories.Process]*tenure{},
		former:      map[histories.Process][]*tenure{},
		held:        map[string]bool{},
		latest:      map[string]uint64{},
		outstanding: map[string]int{},
	}
}

type tenures struct {
	Tenures
	pending     map[histories.Process]act
	current     map[histories.Process]*tenure
	former      map[histories.Process][]*tenure // whose tokens are over, or will be
	held        map[string]bool                 // by somebody who has not gone away
	latest      map[string]uint64               // the greatest token that was granted
	outstanding map[string]int                  // claims
	written     int64
}

// A tenure is what a process holds or has held.
type tenure struct {
	object   string
	token    uint64
	ttl      time.Duration
	planned  bool          // until and silent are set
	until    time.Duration // when it is to end
	silent   bool          // it ends without a word
	renew    time.Duration // when the lease is to be renewed
	released bool
}

// An act is an op that a process has outstanding.
type act struct {
	kind   actKind
	object string
	*tenure
}

type actKind int

const (
	look actKind = iota
	claim
	renew
	write
	giveUp
)

const (
	// maxFormer bounds the tokens that a process remembers.
	maxFormer = 4
	// briefTenure is how long brief tenures last at most.
	briefTenure = 100 * time.Millisecond
	// usualTTL is taken for the TTL of a system that does not tell it.
	usualTTL = time.Second
)

func (t *tenures) Next(c generator.Context) generator.Step {
	if len(c.Free) == 0 {
		return generator.Step{}
	}
	p := c.Free[0]
	for _, other := range c.Free {
		if now := t.current[other]; now != nil && t.Renew != nil && c.Now >= now.renew {
			p = other // it cannot wait
			break
		}
	}
	a := t.choose(c, p)
	var op histories.Op
	switch a.kind {
	case look:
		op = t.Look(a.object)
	case claim:
		op = t.Claim(a.object, p)
		t.outstanding[a.object]++
	case renew:
		op = t.Renew(a.object, a.token)
	case giveUp:
		op = t.GiveUp(a.object, a.token)
	case write:
		t.written++
		op = t.Write(a.object, a.token, t.written)
	}
	op.Type, op.Process = histories.Invoke, p
	t.pending[p] = a
	return generator.Step{Op: &op}
}

// choose says what p does next.
func (t *tenures) choose(c generator.Context, p histories.Process) act {
	if now := t.current[p]; now != nil {
		if a, ok := t.hold(c, p, now); ok {
			return a
		}
	}
	for i, was := range t.former[p] {
		if !was.released && t.latest[was.object] <= was.token || c.Rand.IntN(2) == 0 {
			continue
		}
		t.former[p] = append(t.former[p][:i:i], t.former[p][i+1:]...)
		if t.Renew != nil && c.Rand.IntN(4) == 0 {
			return act{renew, was.object, was}
		}
		return act{write, was.object, was}
	}
	object := t.Objects[c.Rand.IntN(len(t.Objects))]
	draw := c.Rand.IntN(8)
	// Of the free ones several are claimed at once, now and then.
	if free := !t.held[object] && t.outstanding[object] < 2; free && draw < 6 || draw == 0 {
		return act{kind: claim, object: object}
	}
	return act{kind: look, object: object}
}

// hold says what p does, who holds something, if it still does.
func (t *tenures) hold(c generator.Context, p histories.Process, now *tenure) (act, bool) {
	if !now.planned {
		now.planned, now.silent = true, c.Rand.IntN(3) == 0
		most := briefTenure
		if c.Rand.IntN(4) == 0 {
			most = 3 * now.ttl
		}
		now.until = c.Now + time.Duration(c.Rand.Int64N(int64(most)))
	}
	switch {
	case c.Now >= now.until && now.silent:
		t.leave(p)
		return act{}, false
	case c.Now >= now.until:
		now.released = true
		t.leave(p)
		return act{giveUp, now.object, now}, true
	case t.Renew != nil && c.Now >= now.renew:
		return act{renew, now.object, now}, true
	case c.Rand.IntN(3) > 0:
		return act{write, now.object, now}, true
	}
	return act{look, now.object, now}, true
}

// leave ends what p holds, which it may come back to.
func (t *tenures) leave(p histories.Process) {
	now := t.current[p]
	delete(t.current, p)
	t.held[now.object] = false
	t.former[p] = append(t.former[p], now)
	if len(t.former[p]) > maxFormer {
		t.former[p] = t.former[p][1:]
	}
}

func (t *tenures) Update(c generator.Context, op histories.Op) {
	a, ok := t.pending[op.Process]
	if !ok || op.Type == histories.Invoke {
		return
	}
	delete(t.pending, op.Process)
	if a.kind == claim {
		t.outstanding[a.object]--
	}
	now := t.current[op.Process]
	switch {
	case op.Type == histories.Info: // the process is dead
		if now != nil {
			t.held[now.object] = false
		}
		delete(t.current, op.Process)
		delete(t.former, op.Process)
	case op.Type == histories.OK && a.kind == claim:
		got := &tenure{object: a.object}
		if got.token, got.ttl = t.Granted(op); got.ttl <= 0 {
			got.ttl = usualTTL
		}
		got.renew = c.Now + got.ttl/3
		t.current[op.Process] = got
		t.held[a.object] = true
		t.latest[a.object] = max(t.latest[a.object], got.token)
	case a.tenure == nil || now != a.tenure: // it has left
	case t.Lost(op):
		t.leave(op.Process)
	case a.kind == renew && op.Type == histories.OK:
		now.renew = c.Now + now.ttl/3
	case a.kind == renew:
		now.renew = c.Now + now.ttl/12
	}
}
