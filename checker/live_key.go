package checker

import (
	"slices"
	"time"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
)

// A liveKey judges one register whose calls become known as they are recorded.
//
// Its stream is fed with what is settled: the ops up to the invocation of the first call
// that is outstanding. What comes after is held back, since a read can only be called
// when it is known what it saw, and a write when it is known that it did not fail. A
// probe looks beyond.
type liveKey[S comparable] struct {
	name   string
	stream *linear.Stream // nil: nothing is open, and it holds one of rest
	rest   []S
	open   int // calls that are outstanding
	never  int // indeterminate calls, which stay open in the stream for ever
	held   []liveEvent
	probed bool // no call has ended since the last probe

	numbers map[S]linear.Value
	values  []liveValue    // by their numbers
	free    []linear.Value // numbers of no value
	bound   int            // as many values are worth looking which are gone
	changed int            // the last invocation among the calls that changed it and returned; -1: none

	unsure  bool // not all that it may hold is known
	dropped bool // it is not judged any more
	fed     bool // since the last look
	idle    bool // it was not fed since the last sweep
	bytes   int64
	debt    time.Duration // see fairOp
}

// A liveCall is a call, until the stream has heard all of it.
type liveCall struct {
	invoked, completed int
	at                 time.Duration // of the completion
	settled            bool          // how it ended is known, and so what it is
	liveAccess                       // until then, what it is if it never returns
	id                 int32         // the stream's
	called             bool          // the stream has an id of it
	probe              int32         // the id of the stream's fork
}

// A liveAccess is a call in normal form. The zero one is of a call that says nothing.
type liveAccess struct {
	kind  linear.Kind
	a, b  linear.Value
	never bool // it is indeterminate
}

// A liveEvent is a call or a return that is held back.
type liveEvent struct {
	*liveCall
	returns bool
}

// A liveValue is one that a register has, or may come to have.
type liveValue struct {
	// wanted counts the calls that mention it and that the stream has not heard to their
	// end. Indeterminate ones have none.
	wanted int
	set    int // the last completion of a call that set it and returned; -1: none
}

func newLiveKey[S comparable](name string, holds S) *liveKey[S] {
	k := &liveKey[S]{name: name, rest: []S{holds}}
	k.wake()
	return k
}

// leastValues is the least bound, beyond which values are looked through.
const leastValues = 32

// wake gives k a stream.
func (k *liveKey[S]) wake() {
	k.idle = false
	if k.stream != nil {
		return
	}
	k.stream = linear.NewStream(linear.Initial)
	k.numbers, k.values = map[S]linear.Value{}, nil
	k.bound, k.changed = leastValues, -1
	for i, s := range k.rest {
		k.numbers[s] = linear.Value(i)
		k.values = append(k.values, liveValue{set: -1})
	}
	if len(k.rest) == 1 {
		return
	}
	// As after writes that were all open at once: any of them may have been the last.
	var ids []int32
	for i := range k.rest {
		ids = append(ids, k.stream.Call(linear.Write, linear.Value(i), 0, true))
	}
	for _, id := range ids {
		k.stream.Return(id)
	}
}

// invoke takes a call that begins. If it never returns it is open, if that says
// anything.
func (k *liveKey[S]) invoke(index int, open Access[S], says bool) *liveCall {
	k.wake()
	k.open++
	c := &liveCall{invoked: index}
	if says {
		c.liveAccess = k.access(open, true)
	}
	k.held = append(k.held, liveEvent{c, false})
	return c
}

// complete takes the end of a call: it is a, if that says anything, and has returned
// unless it is indeterminate. It returns the call that cannot be explained, if there is
// one.
func (k *liveKey[S]) complete(c *liveCall, index int, at time.Duration, a Access[S], says, indeterminate bool) *liveCall {
	k.wake()
	k.open--
	k.probed = false
	before := c.liveAccess
	c.completed, c.at, c.settled, c.liveAccess = index, at, true, liveAccess{}
	if says {
		c.liveAccess = k.access(a, indeterminate)
	}
	k.release(before)
	if c.kind != 0 && !c.never {
		k.held = append(k.held, liveEvent{c, true})
	}
	return k.advance()
}

// access returns a in normal form, and holds on to its values.
func (k *liveKey[S]) access(a Access[S], never bool) liveAccess {
	if a.Kind == linear.CAS && a.Old == a.New {
		a.Kind = linear.Read
	}
	n := liveAccess{kind: a.Kind, never: never}
	switch {
	case never && (a.Impossible || a.Kind.Pure()):
		return liveAccess{}
	case a.Impossible:
		n.kind, n.a = linear.Read, linear.Nothing
	case a.Kind == linear.CAS:
		n.a, n.b = k.number(a.Old), k.number(a.New)
	case a.Kind == linear.Write:
		n.a = k.number(a.New)
	default:
		n.a = k.number(a.Old)
	}
	return n
}

// mentions calls f with each value that a mentions.
func (a liveAccess) mentions(f func(linear.Value)) {
	if a.kind != 0 && a.a != linear.Nothing {
		f(a.a)
	}
	if a.kind == linear.CAS {
		f(a.b)
	}
}

// number returns the number of a value that a call wants.
func (k *liveKey[S]) number(s S) linear.Value {
	v, known := k.numbers[s]
	if !known {
		if len(k.numbers) >= k.bound {
			k.forget()
		}
		if n := len(k.free); n > 0 {
			v, k.free = k.free[n-1], k.free[:n-1]
		} else {
			v = linear.Value(len(k.values))
			k.values = append(k.values, liveValue{})
		}
		k.numbers[s] = v
		k.values[v] = liveValue{set: -1}
	}
	k.values[v].wanted++
	return v
}

func (k *liveKey[S]) release(a liveAccess) {
	a.mentions(func(v linear.Value) { k.values[v].wanted-- })
}

// forget takes away the numbers of the values that are gone: of those that no call wants
// and that were overwritten for sure. All that set such a value had returned when another
// call was invoked that changed the register, and that one has returned, too, before
// anything that the stream has not heard of was invoked.
//
// Who mentions the value later sees what is not there, unless it is set again: so it does
// not matter that it then has another number, nor that this number is another value's.
func (k *liveKey[S]) forget() {
	for v, n := range k.numbers {
		if of := k.values[n]; of.wanted == 0 && of.set < k.changed {
			delete(k.numbers, v)
			k.free = append(k.free, n)
		}
	}
	k.bound = max(leastValues, 2*len(k.numbers))
}

// advance feeds the stream with what is settled, and returns the call at whose return no
// order was left.
func (k *liveKey[S]) advance() *liveCall {
	done := 0
	for _, e := range k.held {
		if !e.settled {
			break
		}
		done++
		switch {
		case e.kind == 0:
		case !e.returns:
			e.id, e.called = k.stream.Call(e.kind, e.a, e.b, !e.never), true
			if e.never { // its values stay wanted
				k.never++
			}
		case !k.stream.Return(e.id):
			k.unsure = k.unsure || !k.stream.Sure()
			return e.liveCall
		default:
			k.returned(e.liveCall)
		}
	}
	k.held = slices.Delete(k.held, 0, done)
	return nil
}

// returned takes note of a call that the stream has heard to its end.
func (k *liveKey[S]) returned(c *liveCall) {
	k.release(c.liveAccess)
	sets := c.a
	switch c.kind {
	case linear.CAS:
		sets = c.b
	case linear.Write:
	default:
		return
	}
	k.values[sets].set = max(k.values[sets].set, c.completed)
	k.changed = max(k.changed, c.invoked)
}

// probe looks at what is held back as if nothing else came: calls that are outstanding
// never return. It returns the call at whose return no order was left.
func (k *liveKey[S]) probe() *liveCall {
	if k.probed {
		return nil
	}
	k.probed = true
	if !slices.ContainsFunc(k.held, func(e liveEvent) bool { return e.returns }) {
		return nil
	}
	fork := k.stream.Fork()
	for _, e := range k.held {
		if fork.Bytes() > maxLiveKey || fork.Stopped() { // what is settled may be easier
			return nil
		}
		switch {
		case e.kind == 0:
		case !e.returns:
			e.probe = fork.Call(e.kind, e.a, e.b, !e.never)
		case e.called:
			if !fork.Return(e.id) {
				k.unsure = k.unsure || !fork.Sure()
				return e.liveCall
			}
		case !fork.Return(e.probe):
			k.unsure = k.unsure || !fork.Sure()
			return e.liveCall
		}
	}
	return nil
}

// settle makes of k what takes no more memory than the values it may hold, if nothing is
// open.
func (k *liveKey[S]) settle() {
	if k.stream == nil || k.open+len(k.held)+k.never > 0 {
		return
	}
	k.unsure = k.unsure || !k.stream.Sure()
	k.rest = nil
	for s, v := range k.numbers {
		fork := k.stream.Fork()
		if fork.Return(fork.Call(linear.Read, v, 0, true)) {
			k.rest = append(k.rest, s)
		}
	}
	k.stream, k.numbers, k.values, k.free, k.held = nil, nil, nil, nil, nil
}

// size is about how many bytes k holds.
func (k *liveKey[S]) size() int64 {
	const own, event, value = 300, 150, 150
	n := int64(own + event*len(k.held) + value*(len(k.values)+len(k.rest)))
	if k.stream != nil {
		n += k.stream.Bytes()
	}
	return n
}

// registerOf is c as m has it: what it is to a register, if it says anything.
func registerOf[S comparable, In, Out any](m *Model[S, In, Out], c histories.Call[In, Out]) (a Access[S], says bool) {
	if c, says = m.tells(c); says {
		a = m.Register(c)
	}
	return a, says
}
