package register

import (
	"bytes"
	"encoding/json"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Checker returns the checker of the workload: every key is a linearizable
// register, and the run tried hard enough to say so: with operations that
// succeeded, faults that acted, and a look at what was left in the end.
func Checker(b checker.Budget) checker.Checker { return Semantics{}.Checker(b) }

// Checker is [Checker] for histories with semantics s.
func (s Semantics) Checker(b checker.Budget) checker.Checker {
	return workloads.Judge("register", []string{Read, Write, CAS}, readBack,
		checker.Part{Name: "linearizable", Checker: checker.Linearizable(s.model(), b)})
}

// Live returns what judges a run of the workload while it goes on.
func Live() checker.Live { return checker.LiveRegisters(Semantics{}.model()) }

// call is an operation on a register. Its Out is what it saw there: the result
// of a read, or what a cas was refused for.
type call = histories.Call[Input, Value]

// model is the sequential specification of a register.
func (s Semantics) model() checker.Model[Value, Input, Value] {
	return checker.Model[Value, Input, Value]{
		In:        ParseInput,
		Out:       s.output,
		Key:       func(in Input) string { return in.Key },
		Init:      s.Initial,
		Step:      step,
		Refused:   s.refused,
		Register:  access,
		ReadOnly:  readOnly,
		States:    states,
		Removable: removable,
		Explain:   s.explain,
		Describe:  describe,
		State:     Value.String,
	}
}

// readOnly says that c changes nothing, whatever the register holds.
func readOnly(c call) bool {
	return c.F == Read || c.Type == histories.Fail || c.F == CAS && c.In.Old == c.In.New
}

// step says what a register that holds v does.
func step(v Value, c call) (Value, bool) {
	switch {
	case c.F == Write:
		return c.In.New, true
	case c.F == Read:
		return v, v == c.Out || c.Out == unknown
	case c.Type == histories.Fail: // a refusal is right only if something else was there
		return v, (v == c.Out || c.Out == unknown) && v != c.In.Old
	case v == c.In.Old:
		return c.In.New, true
	}
	return v, c.Type == histories.Info
}

// access says the same of a register as step, in the words of package linear.
func access(c call) (a checker.Access[Value]) {
	switch {
	case c.F == Write:
		a.Kind, a.New = linear.Write, c.In.New
	case c.F == Read && c.Out == unknown: // says nothing: no kind
	case c.F == Read:
		a.Kind, a.Old = linear.Read, c.Out
	case c.Type == histories.Fail && c.Out == unknown:
		a.Kind, a.Old = linear.Refused, c.In.Old
	case c.Type == histories.Fail:
		a.Kind, a.Old, a.Impossible = linear.Read, c.Out, c.Out == c.In.Old
	default:
		a.Kind, a.Old, a.New = linear.CAS, c.In.Old, c.In.New
	}
	return a
}

// refused makes of a failed cas the observation that it is, if the system said
// what it found: {"current":5} in the op's meta. Without that it is none, not even
// of the old value's absence: a request that no leader took fails just the same.
func refused(c call) (call, bool) {
	if c.F != CAS || len(c.Meta) == 0 {
		return c, false
	}
	// Where that is all it says, as raftkv does, it is read by hand: this is done for every
	// cas that failed, more than once.
	if v, ok := bytes.CutPrefix(c.Meta, []byte(`{"current":`)); ok {
		if v, ok = bytes.CutSuffix(v, []byte("}")); ok && c.Out.UnmarshalJSON(v) == nil {
			return c, true
		}
	}
	var meta struct {
		Current json.RawMessage `json:"current"` // null is a value, too
	}
	if json.Unmarshal(c.Meta, &meta) != nil || meta.Current == nil {
		return c, false
	}
	return c, c.Out.UnmarshalJSON(meta.Current) == nil
}

// seen returns what c found in the register, if it says.
func seen(c call) (Value, bool) {
	switch {
	case c.Type == histories.Fail:
		c, ok := refused(c)
		return c.Out, ok
	case c.Type == histories.Info || c.F == Write || c.Out == unknown:
		return Absent, false
	case c.F == CAS:
		return c.In.Old, true
	}
	return c.Out, true
}

// states returns the values that calls can begin with: those that some call sees
// or a cas would act on, and one that stands for all others.
func states(calls []call) []Value {
	var values []Value
	known := map[Value]bool{}
	add := func(v Value) {
		if !known[v] {
			known[v] = true
			values = append(values, v)
		}
	}
	for _, c := range calls {
		if v, ok := seen(c); ok {
			add(v)
		}
		if c.F == CAS {
			add(c.In.Old)
		}
	}
	other := Of(0)
	for known[other] {
		other.Number++
	}
	return append(values, other)
}

// removable returns the calls on each value that no cas mentions, and each
// indeterminate cas to a value that nobody sees.
//
// Take an order of all calls. Between a write of such a value and the next call
// that changes it there are, beside the calls removed with it, only indeterminate
// cas that find another value and do nothing; they may as well come last. Likewise
// after such a cas took effect, if it did: of what follows it up to the next write
// nothing was to see its value, so nothing misses it. But a refusal that does not say
// what it found may be right only because of the value that is taken away, so while
// there is one nothing is.
func removable(calls []call) [][]int {
	compared := map[Value]bool{} // by some cas, with it or to be it
	wanted := map[Value]bool{}   // seen, or would be acted on
	for _, c := range calls {
		if v, ok := seen(c); ok {
			wanted[v] = true
		}
		if c.F == CAS && c.Type != histories.Fail {
			compared[c.In.Old], compared[c.In.New] = true, true
			wanted[c.In.Old] = true
		}
	}
	var order []Value
	on := map[Value][]int{}
	var sets [][]int
	for i, c := range calls {
		if c.F == CAS && c.Type == histories.Info && !wanted[c.In.New] {
			sets = append(sets, []int{i})
		}
		v, sees := seen(c)
		if c.F == CAS && c.Type == histories.Fail && !sees {
			return nil
		}
		if c.F == Write {
			v = c.In.New
		}
		if (c.F != Write && !sees) || compared[v] {
			continue
		}
		if on[v] == nil {
			order = append(order, v)
		}
		on[v] = append(on[v], i)
	}
	for _, v := range order {
		sets = append(sets, on[v])
	}
	return sets
}

// describe says what c did, in few words.
func describe(c call) string {
	switch {
	case c.F == Write:
		return "write " + c.In.New.String()
	case c.F == CAS && c.Type == histories.Fail && c.Out == unknown:
		return "cas " + c.In.Old.String() + "→" + c.In.New.String() + " refused"
	case c.F == CAS && c.Type == histories.Fail:
		return "cas " + c.In.Old.String() + "→" + c.In.New.String() + " refused: " + c.Out.String()
	case c.F == CAS:
		return "cas " + c.In.Old.String() + "→" + c.In.New.String()
	}
	return "read → " + c.Out.String()
}
