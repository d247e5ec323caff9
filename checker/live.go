package checker

import (
	"context"
	"iter"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// A Live judges a history while it is recorded. What it finds is proven by a prefix of
// the history, and a history is not put right by what comes after. That it finds nothing
// says nothing: the verdict is a [Checker]'s, of the whole. It belongs to one goroutine.
type Live interface {
	// Feed takes the next op. After an error it can judge no further.
	Feed(op histories.Op) error
	// Look returns what the ops that were fed prove and no earlier look has returned; nil
	// if there is nothing. After an error it can judge no further.
	Look(ctx context.Context) (*Finding, error)
	// GaveUp is of how many objects it finds nothing any more, since they took too much.
	GaveUp() int
	// Explain puts f into words, by the history that it was found in, from its first op
	// on. If ctx ends first, f stays as it is. An error says that f is not to be believed;
	// what was suspected is proven if there is none.
	Explain(ctx context.Context, f *Finding, history iter.Seq2[histories.Op, error]) error
}

// A Finding is an anomaly in a history that is still being recorded.
type Finding struct {
	Anomaly
	// At is the op with which it showed: a completion that cannot be explained. Time is
	// when that was recorded.
	At   int
	Time time.Duration
	// Suspected says that it is not proven, and is to be believed only if Explain says so.
	Suspected bool

	key string
	by  int // the last op when it was found
}

// LiveWhole returns a Live that judges all there is with c, over and over, or with those of
// its parts that prove something; see [Part]. It holds the history, and each look at it
// takes as long as checking it does.
//
// It must be true of c that a history with an invalid prefix is invalid.
func LiveWhole(c Checker) Live {
	if composed, ok := c.(*composition); ok {
		c = composed.proving()
	}
	return &liveWhole{checker: c, grown: histories.NewGrowing()}
}

type liveWhole struct {
	checker Checker
	grown   *histories.Growing
	looked  int // ops that the last look was at
	found   bool
}

func (l *liveWhole) Feed(op histories.Op) error { return l.grown.Add(op) }

func (l *liveWhole) Look(ctx context.Context) (*Finding, error) {
	if l.found || l.grown.Len() == l.looked {
		return nil, nil
	}
	h := l.grown.Snapshot()
	r, err := l.checker.Check(ctx, h)
	switch {
	case ctx.Err() != nil:
		return nil, nil
	case err != nil:
		return nil, err
	}
	l.looked = h.Len()
	if r.Verdict != Invalid {
		return nil, nil
	}
	l.found = true
	l.grown = histories.NewGrowing() // there is nothing more to be found
	f := &Finding{At: h.Len() - 1, Anomaly: Anomaly{Kind: "invalid", Note: r.Note}}
	if a, ok := proof(r); ok {
		f.Anomaly = a
		if n := len(a.Ops); n > 0 {
			f.At = a.Ops[n-1]
		}
	}
	f.Time = h.At(f.At).Time
	return f, nil
}

// GaveUp is none.
func (l *liveWhole) GaveUp() int { return 0 }

// Explain has nothing to add: the checker did.
func (l *liveWhole) Explain(context.Context, *Finding, iter.Seq2[histories.Op, error]) error {
	return nil
}

// proof returns the first anomaly that makes r Invalid, without its Order, which would keep the
// history that it was found in.
func proof(r Result) (Anomaly, bool) {
	if r.Verdict != Invalid {
		return Anomaly{}, false
	}
	if len(r.Anomalies) > 0 {
		a := r.Anomalies[0]
		a.Order = nil
		return a, true
	}
	for _, part := range r.Parts {
		if a, ok := proof(part); ok {
			return a, true
		}
	}
	return Anomaly{}, false
}
