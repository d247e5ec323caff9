package checker

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// LiveRegisters returns a Live that judges each key of m, which must say what its calls
// are to a register (m.Register), op by op. A violation is found by the first look after
// the op that proves it, whatever is outstanding.
//
// It holds no history: of a key its open calls and the values that it may have, and of
// one that is at rest its value. A key that takes too much is given up, and left to who
// judges the whole.
func LiveRegisters[S comparable, In, Out any](m Model[S, In, Out]) Live {
	return newLiveRegisters(m)
}

// What a LiveRegisters may hold, in bytes: of one key, and of all.
const (
	maxLiveKey  = 1 << 20 // of a usual one it is some ten thousand
	maxLiveKeys = 128 << 20
)

// What it may take: of what an op of a key takes above fairOp, all together up to maxDebt,
// less what others take below. A key beyond would keep the others waiting.
const (
	fairOp  = 500 * time.Microsecond // a usual one takes a few
	maxDebt = 2 * time.Second
)

// minSweep is the least number of keys with a stream that are swept.
const minSweep = 64

type liveRegisters[S comparable, In, Out any] struct {
	model *Model[S, In, Out]
	// outstanding are the calls that have not ended.
	outstanding map[histories.Process]liveOutstanding[S, In, Out]
	keys        map[string]*liveKey[S]
	// dropped are the hashes of the keys that were given up or found out. A key that
	// shares one is not judged, which is sound.
	dropped map[uint64]struct{}
	awake   map[*liveKey[S]]struct{} // those that have a stream
	sweepAt int                      // as many of those are worth a sweep
	fed     []*liveKey[S]            // since the last look
	found   []*Finding               // and not returned yet
	last    int                      // op that was fed
	bytes   int64                    // what the keys hold, as of the last look
	gaveUp  int                      // keys
}

type liveOutstanding[S comparable, In, Out any] struct {
	call  histories.Call[In, Out]
	key   *liveKey[S] // nil: it is not judged
	state *liveCall
}

func newLiveRegisters[S comparable, In, Out any](m Model[S, In, Out]) *liveRegisters[S, In, Out] {
	return &liveRegisters[S, In, Out]{
		model:       &m,
		outstanding: map[histories.Process]liveOutstanding[S, In, Out]{},
		keys:        map[string]*liveKey[S]{},
		dropped:     map[uint64]struct{}{},
		awake:       map[*liveKey[S]]struct{}{},
		sweepAt:     minSweep,
	}
}

func (l *liveRegisters[S, In, Out]) Feed(op histories.Op) error {
	l.last = op.Index
	switch {
	case op.Process < 0:
		return nil
	case op.Type == histories.Invoke:
		return l.invoke(op)
	}
	o, ok := l.outstanding[op.Process]
	if !ok {
		return fmt.Errorf("op %d completes nothing", op.Index)
	}
	delete(l.outstanding, op.Process)
	if o.key == nil || o.key.dropped {
		return nil
	}
	c := o.call
	c.Completion, c.Type, c.Meta = op.Index, op.Type, op.Meta
	if op.Type != histories.Info {
		c.Completed = op.Time
	}
	if op.Type == histories.OK {
		var err error
		if c.Out, err = l.model.Out(op.F, op.Value); err != nil {
			return fmt.Errorf("op %d: %s %s: %w", op.Index, op.F, op.Value, err)
		}
	}
	a, says := registerOf(l.model, c)
	l.touch(o.key)
	began := time.Now()
	l.violated(o.key, o.key.complete(o.state, op.Index, op.Time, a, says, op.Type == histories.Info))
	l.charge(o.key, 1, time.Since(began))
	return nil
}

// charge gives k up if what ops of it took now is too much.
func (l *liveRegisters[S, In, Out]) charge(k *liveKey[S], ops int, took time.Duration) {
	k.debt = max(0, k.debt+took-time.Duration(ops)*fairOp)
	if !k.dropped && (k.debt > maxDebt || k.stream.Bytes() > maxLiveKey || k.stream.Stopped()) {
		l.giveUp(k)
	}
}

func (l *liveRegisters[S, In, Out]) invoke(op histories.Op) error {
	c := histories.Call[In, Out]{
		Index: op.Index, Completion: -1, Process: op.Process, F: op.F, Type: histories.Info,
		Invoked: op.Time, Completed: histories.Never, Meta: op.Meta,
	}
	if !l.model.judges(op.F) {
		l.outstanding[op.Process] = liveOutstanding[S, In, Out]{}
		return nil
	}
	var err error
	if c.In, err = l.model.In(op.F, op.Value); err != nil {
		return fmt.Errorf("op %d: %s %s: %w", op.Index, op.F, op.Value, err)
	}
	o := liveOutstanding[S, In, Out]{call: c, key: l.key(l.model.key(c.In))}
	if o.key != nil {
		a, says := registerOf(l.model, c)
		l.touch(o.key)
		o.state = o.key.invoke(op.Index, a, says)
	}
	l.outstanding[op.Process] = o
	return nil
}

// key returns the key of that name, or nil if it is not judged.
func (l *liveRegisters[S, In, Out]) key(name string) *liveKey[S] {
	if k := l.keys[name]; k != nil {
		return k
	}
	if _, dropped := l.dropped[maphash.String(hashSeed, name)]; dropped {
		return nil
	}
	k := newLiveKey(name, l.model.Init)
	l.keys[name] = k
	return k
}

// touch takes note that k is fed.
func (l *liveRegisters[S, In, Out]) touch(k *liveKey[S]) {
	l.awake[k] = struct{}{}
	if !k.fed {
		k.fed = true
		l.fed = append(l.fed, k)
	}
}

// drop judges k no more.
func (l *liveRegisters[S, In, Out]) drop(k *liveKey[S]) {
	l.bytes -= k.bytes
	delete(l.keys, k.name)
	delete(l.awake, k)
	l.dropped[maphash.String(hashSeed, k.name)] = struct{}{}
	*k = liveKey[S]{dropped: true} // outstanding calls may hold it for a while
}

func (l *liveRegisters[S, In, Out]) giveUp(k *liveKey[S]) {
	l.gaveUp++
	l.drop(k)
}

func (l *liveRegisters[S, In, Out]) GaveUp() int { return l.gaveUp }

// violated takes note of a call of k that cannot be explained, if there is one.
func (l *liveRegisters[S, In, Out]) violated(k *liveKey[S], c *liveCall) {
	if c == nil {
		return
	}
	l.found = append(l.found, &Finding{
		Anomaly: Anomaly{
			Kind: notLinearizable,
			Note: fmt.Sprintf("%s: no order explains its calls with the one that op %d completed", keyName(k.name), c.completed),
			Ops:  []int{c.invoked, c.completed},
		},
		At: c.completed, Time: c.at, Suspected: k.unsure, key: k.name, by: l.last,
	})
	l.drop(k)
}

func keyName(key string) string {
	if key == "" {
		return "the object"
	}
	return key
}

// Look looks beyond what is settled, which Feed has judged.
func (l *liveRegisters[S, In, Out]) Look(ctx context.Context) (*Finding, error) {
	for i, k := range l.fed {
		if ctx.Err() != nil {
			l.fed = l.fed[i:]
			return nil, nil
		}
		if k.dropped {
			continue
		}
		k.fed = false
		l.weigh(k)
		ops, began := len(k.held), time.Now()
		l.violated(k, k.probe())
		l.charge(k, ops, time.Since(began))
	}
	l.fed = l.fed[:0]
	if len(l.awake) >= l.sweepAt {
		l.sweep()
	}
	l.lighten()
	if len(l.found) == 0 {
		return nil, nil
	}
	f := l.found[0]
	l.found = l.found[1:]
	return f, nil
}

func (l *liveRegisters[S, In, Out]) weigh(k *liveKey[S]) {
	size := k.size()
	l.bytes += size - k.bytes
	k.bytes = size
}

// sweep makes small the keys that were not fed since the last one. Runs retire keys, and
// read them once more in the end.
func (l *liveRegisters[S, In, Out]) sweep() {
	for k := range l.awake {
		if !k.idle {
			k.idle = true
			continue
		}
		k.settle()
		l.weigh(k)
		if k.stream == nil {
			delete(l.awake, k)
		}
	}
	l.sweepAt = max(minSweep, 2*len(l.awake))
}

// lighten gives the heaviest keys up until the others are within their limit.
func (l *liveRegisters[S, In, Out]) lighten() {
	for l.bytes > maxLiveKeys && len(l.awake) > 0 {
		var heaviest *liveKey[S]
		for k := range l.awake {
			if heaviest == nil || k.bytes > heaviest.bytes {
				heaviest = k
			}
		}
		l.giveUp(heaviest)
	}
}

// Why a finding is none.
var (
	errRefuted   = errors.New("the history up to there is linearizable, and yet it was found that it is not")
	errSuspected = errors.New("no order was left of those that were followed, and it is not proven that there is no other")
)

// Explain judges the key once more, alone, by [Linearizable], up to where it was
// found. Ops of other keys are there as well, so that those of the key have their places,
// but say nothing.
func (l *liveRegisters[S, In, Out]) Explain(ctx context.Context, f *Finding, history iter.Seq2[histories.Op, error]) error {
	err := l.explain(ctx, f, history)
	if err == nil && f.Suspected {
		err = errSuspected
	}
	if err != nil {
		l.gaveUp++ // the key was dropped when it was found
	}
	return err
}

func (l *liveRegisters[S, In, Out]) explain(ctx context.Context, f *Finding, history iter.Seq2[histories.Op, error]) error {
	h, err := l.excerpt(ctx, f, history)
	if ctx.Err() != nil {
		return nil
	}
	var r Result
	if err == nil {
		budget := Budget{}
		if end, ok := ctx.Deadline(); ok {
			budget.Time = max(time.Until(end)/2, time.Millisecond) // the rest is for words
		}
		r, err = Linearizable(*l.model, budget).Check(ctx, h)
	}
	switch a, found := proof(r); {
	case err != nil:
		f.Note += fmt.Sprintf("; it could not be explained: %v", err)
	case r.Verdict == Valid && !f.Suspected:
		return errRefuted
	case found:
		f.Anomaly, f.Suspected = a, false
	}
	return nil
}

// excerpt returns the history up to f with the ops of its key alone.
func (l *liveRegisters[S, In, Out]) excerpt(ctx context.Context, f *Finding, history iter.Seq2[histories.Op, error]) (*histories.History, error) {
	grown := histories.NewGrowing()
	of := map[histories.Process]bool{} // what is outstanding is the key's
	for op, err := range history {
		if err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			break
		}
		ours := of[op.Process]
		delete(of, op.Process)
		if op.Type == histories.Invoke && op.Process >= 0 {
			in, err := l.model.In(op.F, op.Value)
			if ours = err == nil && l.model.judges(op.F) && l.model.key(in) == f.key; ours {
				of[op.Process] = true
			}
		}
		if !ours {
			op = histories.Op{Index: op.Index, Time: op.Time, Process: histories.Observer, Type: histories.Event, F: elsewhere}
		}
		if err := grown.Add(op); err != nil {
			return nil, err
		}
		if op.Index == f.by {
			break
		}
	}
	return grown.Snapshot(), nil
}

// elsewhere is what an excerpt has where the history has an op of another key.
const elsewhere = "elsewhere"
