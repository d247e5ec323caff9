package recorded

import (
	"slices"
	"strings"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
)

// decideText decides a text of which each part tells who put it there: no text that was
// put or appended is the beginning of another, and if several calls did so with the same
// one then it can be told by what was got before they were invoked which of them was seen
// where. Then it is a register whose values are texts, each set by one call:
//
//   - What a get found is one text after another, of one put or none and then of appends,
//     and it can be told which, as no other texts have these beginnings.
//   - So an append that was seen found what was seen before it, and set what is seen up to
//     it: a cas.
//   - One that was not was followed by a put, or by others that were not seen, before the
//     next get and the next append that was seen; and it can be wherever that is so: a
//     write of what nobody reads.
func decideText(calls []textCall, limit linear.Limit) (linear.Decision, []textCall) {
	t, ok := newTexts(calls)
	if !ok {
		return linear.Decision{At: -1}, nil
	}
	for op, c := range calls {
		if c.F != Get {
			continue
		}
		if !limit(t.bytes()) {
			return linear.Decision{At: -1}, nil
		}
		t.read(int32(op))
	}
	wrong, sure := t.assign()
	if wrong != nil {
		return linear.Decision{Verdict: linear.Illegal, At: -1}, t.witness(wrong)
	}
	d := linear.Zones(t.register(), limit)
	switch {
	case d.Verdict != linear.Illegal:
		return d, nil
	case !sure:
		return linear.Decision{At: -1}, nil
	}
	return d, t.witness(d.Witness.Ops)
}

// Texts are what calls put, append and get. A value is a text that was seen, or the
// beginning of one; [linear.Initial] is the empty one.
type texts struct {
	calls []textCall

	pieces []string         // that were put or appended, sorted
	by     [][]int32        // who did
	places [][]linear.Value // that it was seen at the end of

	values map[seen]linear.Value
	made   []seen         // how, of each value; Initial was not
	early  []int32        // the get of it, or of what it is the beginning of, that returned first
	sets   []linear.Value // by calls: what they found or were seen to set, or else Nothing
	filler int32          // the put or append that returned first, after which there is something; or nobody

	// What was read last, as a text may only have grown since: its values, and where these
	// end.
	text string
	path []linear.Value
	ends []int
}

// A seen is a piece as it was seen: behind what there was before.
type seen struct {
	before linear.Value
	piece  int32
}

const nobody int32 = -1

// newTexts returns what calls put and appended, unless it cannot be told apart.
func newTexts(calls []textCall) (t *texts, ok bool) {
	t = &texts{
		calls: calls, values: map[seen]linear.Value{}, made: make([]seen, 1), early: []int32{nobody}, filler: nobody,
		sets: slices.Repeat([]linear.Value{linear.Nothing}, len(calls)),
	}
	for _, c := range calls {
		if c.F == Get {
			continue
		}
		if c.In.text == "" {
			return nil, false
		}
		t.pieces = append(t.pieces, c.In.text)
	}
	slices.Sort(t.pieces)
	t.pieces = slices.Compact(t.pieces)
	for i := range t.pieces {
		if i > 0 && strings.HasPrefix(t.pieces[i], t.pieces[i-1]) { // all with that beginning follow it
			return nil, false
		}
	}
	t.by, t.places = make([][]int32, len(t.pieces)), make([][]linear.Value, len(t.pieces))
	for op, c := range calls {
		if c.F != Get {
			i := t.number(c.In.text)
			t.by[i] = append(t.by[i], int32(op))
			if c.Completed != histories.Never && (t.filler == nobody || c.Completion < calls[t.filler].Completion) {
				t.filler = int32(op)
			}
		}
	}
	return t, true
}

func (t *texts) number(piece string) int32 {
	i, _ := slices.BinarySearch(t.pieces, piece)
	return int32(i)
}

// first returns the piece that text begins with, if one does. It is the greatest of those
// that are not greater than text, as what comes between a beginning of text and text has
// that beginning, too.
func (t *texts) first(text string) (piece int32, ok bool) {
	i, is := slices.BinarySearch(t.pieces, text)
	if !is {
		i--
	}
	return int32(i), i >= 0 && strings.HasPrefix(text, t.pieces[i])
}

// read reads what op got.
func (t *texts) read(op int32) {
	text := t.calls[op].Out.text
	path, rest := t.parse(text)
	for rest != "" {
		piece, is := t.first(rest)
		if !is {
			break
		}
		s := seen{last(path), piece}
		v := linear.Value(len(t.made))
		t.values[s] = v
		t.made, t.early = append(t.made, s), append(t.early, op)
		t.places[piece] = append(t.places[piece], v)
		path, rest = t.parse(text)
	}
	for _, v := range path {
		if t.calls[op].Completion < t.calls[t.early[v]].Completion {
			t.early[v] = op
		}
	}
	if rest == "" {
		t.sets[op] = last(path) // else there is something that nobody put there
	}
}

// mostAlike is how many calls may have the same text: who has more repeats few texts, and
// does not tell them apart.
const mostAlike = 8

// assign finds out who set each value, or guesses, and is not sure: an order is one however
// it was found. If there is a value that nobody can have set, as who did was needed
// elsewhere, it returns calls that show it.
//
// Two calls do not set one value: it was found by no append but the one, and by no put, for
// a value that is put comes back only if the same is put again, of which it is not sure.
func (t *texts) assign() (wrong []int32, sure bool) {
	sure = true
	for piece, places := range t.places {
		by := t.by[piece]
		if len(by) > mostAlike {
			return nil, false
		}
		guess := false
		for left := slices.Clone(places); len(left) > 0; {
			// One that only one call can have set is set by that, which leaves fewer for others.
			open := len(left)
			for i := 0; i < len(left); {
				who, n := nobody, 0
				for _, op := range slices.Backward(by) {
					if t.sets[op] == linear.Nothing && t.may(op, left[i]) {
						who = op
						n++
					}
				}
				switch {
				case n == 0 && !guess:
					return t.nobodys(int32(piece)), true
				case n > 1 && (!guess || len(left) < open):
					i++
					continue
				case n > 0:
					t.sets[who] = left[i]
				}
				left = slices.Delete(left, i, i+1)
			}
			if len(left) == open {
				guess, sure = true, false
			}
		}
		v, first := t.values[seen{linear.Initial, int32(piece)}]
		for _, op := range by {
			if first && t.calls[op].F == Put && t.sets[op] != v {
				t.sets[op], sure = v, false
			}
		}
	}
	return nil, sure
}

// may says that op can have set v, which it can have put only if there was nothing before,
// and appended then only if it was not called after something had come to be there.
func (t *texts) may(op int32, v linear.Value) bool {
	c := t.calls[op]
	first := t.made[v].before == linear.Initial
	switch {
	case c.Index > t.calls[t.early[v]].Completion:
		return false
	case c.F == Put:
		return first
	}
	return !first || t.filler == nobody || c.Index < t.calls[t.filler].Completion
}

// nobodys returns calls that show that a piece was seen at more places than there are
// calls to have set it there: those, a get for each place, who set what is before it, and
// who it is for that it cannot have been there first.
func (t *texts) nobodys(piece int32) []int32 {
	ops := slices.Clone(t.by[piece])
	if t.filler != nobody {
		ops = append(ops, t.filler)
	}
	for _, v := range t.places[piece] {
		ops = append(ops, t.early[v])
		if before := t.made[v].before; before != linear.Initial {
			ops = append(ops, t.by[t.made[before].piece]...)
		}
	}
	return ops
}

// last returns the text that a path leads to.
func last(path []linear.Value) linear.Value {
	if len(path) == 0 {
		return linear.Initial
	}
	return path[len(path)-1]
}

// parse returns the values along text, up to where it is not known, and the rest. It goes
// on from what was read last if it can.
func (t *texts) parse(text string) (path []linear.Value, rest string) {
	if strings.HasPrefix(t.text, text) {
		if text == "" {
			return nil, ""
		}
		if i, whole := slices.BinarySearch(t.ends, len(text)); whole {
			return t.path[:i+1], ""
		}
	}
	if !strings.HasPrefix(text, t.text) {
		t.text, t.path, t.ends = "", nil, nil
	}
	for len(t.text) < len(text) {
		piece, is := t.first(text[len(t.text):])
		if !is {
			break
		}
		v, known := t.values[seen{last(t.path), piece}]
		if !known {
			break
		}
		t.text = text[:len(t.text)+len(t.pieces[piece])]
		t.path, t.ends = append(t.path, v), append(t.ends, len(t.text))
	}
	return t.path, text[len(t.text):]
}

// register returns the register that calls are on.
func (t *texts) register() *linear.Register {
	r := &linear.Register{}
	unseen := linear.Value(len(t.made))
	for op, c := range t.calls {
		call, ret := checker.Interval(c)
		switch v := t.sets[op]; {
		case c.F == Get:
			r.Add(linear.Read, v, 0, call, ret)
		case v == linear.Nothing:
			r.Add(linear.Write, unseen, 0, call, ret)
			unseen++
		case c.F == Put:
			r.Add(linear.Write, v, 0, call, ret)
		default:
			r.Add(linear.CAS, t.made[v].before, v, call, ret)
		}
	}
	r.Finish()
	return r
}

// witness returns what ops show, with what it takes to see it: a get that shows an append;
// who may have put what comes first in a get; who appended what comes where two gets
// become different; and if several calls had the same text all of them, with a get for each
// place of it. Other puts and gets play no part. Other appends are left out of what gets
// found. If all calls are linearizable, so is that: leave the others out of an order of
// them, and the gets find the rest, as for each of them what was put last is there.
func (t *texts) witness(ops []int32) []textCall {
	kept, pieces := map[int32]bool{}, map[int32]bool{}
	var paths [][]linear.Value
	var keep func(op int32)
	keepPiece := func(piece int32) {
		if pieces[piece] {
			return
		}
		pieces[piece] = true
		for _, op := range t.by[piece] {
			kept[op] = true
		}
		if len(t.by[piece]) > 1 {
			if t.filler != nobody {
				keep(t.filler)
			}
			for _, v := range t.places[piece] {
				keep(t.early[v])
			}
		}
	}
	keep = func(op int32) {
		c := t.calls[op]
		if c.F != Get {
			keepPiece(t.number(c.In.text))
			return
		}
		if kept[op] {
			return
		}
		kept[op] = true
		path, rest := t.parse(c.Out.text)
		path = slices.Clone(path)
		others := slices.Clone(paths)
		paths = append(paths, path)
		if len(path) > 0 && (rest != "" || t.isPut(t.made[path[0]].piece)) { // nor may what is nobody's come first
			keepPiece(t.made[path[0]].piece)
		}
		for _, other := range others {
			n := 0
			for n < min(len(path), len(other)) && path[n] == other[n] {
				n++
			}
			for _, p := range [][]linear.Value{path, other} {
				if n < len(p) {
					keepPiece(t.made[p[n]].piece)
				}
			}
		}
	}
	for _, op := range ops {
		keep(op)
	}
	for _, op := range ops {
		if v := t.sets[op]; v > linear.Initial && !slices.ContainsFunc(paths, func(path []linear.Value) bool { return slices.Contains(path, v) }) {
			keep(t.early[v])
		}
	}
	var few []textCall
	for op, c := range t.calls {
		if !kept[int32(op)] {
			continue
		}
		if c.F == Get {
			path, rest := t.parse(c.Out.text)
			text := ""
			for _, v := range path {
				if piece := t.made[v].piece; pieces[piece] {
					text += t.pieces[piece]
				}
			}
			c.Out.text = text + rest
			c.Out.sum = empty.add(c.Out.text)
		}
		few = append(few, c)
	}
	return few
}

func (t *texts) isPut(piece int32) bool {
	return slices.ContainsFunc(t.by[piece], func(op int32) bool { return t.calls[op].F == Put })
}

// bytes is about what t holds.
func (t *texts) bytes() int64 { return int64(60*len(t.pieces) + 52*len(t.made) + 4*len(t.sets)) }
