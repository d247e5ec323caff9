package checker

import (
	"context"
	"errors"
	"fmt"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
)

// segment is how many calls are put to porcupine at once: enough that what it takes to
// begin a search does not count, and so few that its sets of as many bits are small.
const segment = 256

// confirm says why order does not show that o is linearizable, if so: by the model, call
// by call, and by porcupine.
//
// Porcupine cannot take a long history, but it can take the order of one in segments. Each
// begins in the state that the one before has left; every call in it has its place in the
// order as its interval, and a last one finds the state that the next begins with. That
// calls stand in the order as they followed upon each other in time is looked at for all
// of them together, in one pass.
func (j *judgement[S, In, Out]) confirm(m *meter, o *object[S, In, Out], order []int32) error {
	if err := linear.Respects(o.call, o.ret, order); err != nil {
		return err
	}
	call, ret := make([]linear.Time, segment+1), make([]linear.Time, segment+1)
	for i := range call {
		call[i], ret[i] = linear.Time(2*i), linear.Time(2*i+1)
	}
	state := j.model.Init
	calls := make([]histories.Call[In, Out], 0, segment)
	for at := 0; at < len(order); at += segment {
		if !m.limit(m.bytes()) {
			return m.ended()
		}
		part := order[at:min(at+segment, len(order))]
		calls = calls[:0]
		after := state
		for _, op := range part {
			c := j.at(o, op)
			next, possible := j.model.Step(after, c)
			if !possible {
				return fmt.Errorf("op %d is not possible there", c.Index)
			}
			calls, after = append(calls, c), next
		}
		n := len(calls)
		s := j.search(state, trial[S]{call[:n+1], ret[:n+1], func(s S, op int32) (S, bool) {
			if int(op) == n {
				return s, s == after
			}
			return j.model.Step(s, calls[op])
		}})
		if linearizable, err := s.answer(m.ctx); !linearizable {
			return errors.Join(errors.New("porcupine found none"), err)
		}
		state = after
	}
	return nil
}

// convicts says that porcupine finds no order of w, whatever it begins with.
func (j *judgement[S, In, Out]) convicts(ctx context.Context, w *linear.Witness) bool {
	step := func(v linear.Value, op int32) (linear.Value, bool) {
		next, possible := w.Step(v, op)
		if !possible && w.Return[op] == linear.Never {
			return v, true // it did not happen
		}
		return next, possible
	}
	for _, start := range w.Starts() {
		s := &search[linear.Value]{trial: trial[linear.Value]{w.Call, w.Return, step}, guard: j.guard, init: start}
		if linearizable, err := s.answer(ctx); linearizable || err != nil {
			return false
		}
	}
	return true
}
