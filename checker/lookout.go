package checker

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/hacheck/hacheck/histories"
)

const (
	// feeding bounds how long a lookout reads on before it looks: what is yet to be read is
	// for the next time. What is judged goes on on the same machine as a rule.
	feeding = 200 * time.Millisecond
	// explaining bounds how long words are looked for before an anomaly is told.
	explaining = time.Second
)

// A Lookout feeds a [Live] with a history while it is recorded, and looks. It belongs to one
// goroutine.
type Lookout struct {
	Live     Live
	Follower *histories.Follower
	// Again opens the history from its begin.
	Again func() (io.ReadCloser, error)
	// Log is told of what was found and is not to be believed, and of words that were not
	// found.
	Log func(what string, err error)
}

// A Fed is what a lookout was fed at once.
type Fed struct {
	Ops  int
	Last time.Duration // of the last of them
	All  bool          // there is no more, yet
}

// Feed hands on what is recorded by now, or as much of it as takes 200 ms. After an
// error it can judge no further. When ctx ends it may return early, without one.
func (l *Lookout) Feed(ctx context.Context) (fed Fed, err error) {
	began := time.Now()
	for n := 1; ctx.Err() == nil && (n%64 > 0 || time.Since(began) < feeding); n++ {
		op, err := l.Follower.Next()
		if errors.Is(err, io.EOF) {
			fed.All = true
			break
		}
		if err == nil {
			err = l.Live.Feed(op)
		}
		if err != nil {
			return fed, err
		}
		fed.Ops++
		fed.Last = op.Time
	}
	return fed, nil
}

// Look returns what is proven by what was fed, in words if a second is enough for them; nil if
// nothing is. After an error it can judge no further.
func (l *Lookout) Look(ctx context.Context) (*Finding, error) {
	for {
		f, err := l.Live.Look(ctx)
		if f == nil || err != nil {
			return nil, err
		}
		if err := l.explain(ctx, f); err != nil {
			l.Log("what was found is not confirmed: "+f.Note, err)
			continue
		}
		return f, nil
	}
}

func (l *Lookout) explain(ctx context.Context, f *Finding) error {
	ctx, cancel := context.WithTimeout(ctx, explaining)
	defer cancel()
	r, err := l.Again()
	switch {
	case err != nil && f.Suspected:
		return err
	case err != nil: // it is proven, if in fewer words
		l.Log("read the history again", err)
		return nil
	}
	defer r.Close()
	return l.Live.Explain(ctx, f, recorded(histories.Follow(r)))
}

// recorded yields what has been recorded.
func recorded(f *histories.Follower) iter.Seq2[histories.Op, error] {
	return func(yield func(histories.Op, error) bool) {
		for {
			op, err := f.Next()
			if errors.Is(err, io.EOF) || !yield(op, err) || err != nil {
				return
			}
		}
	}
}
