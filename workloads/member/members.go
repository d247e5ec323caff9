package member

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// The nemesis may change members as well, and nobody hears what became of what it did.
// Its faults are calls of the model, too: from the first of these up to the other,
// anything may be said of the nodes that it names.
const (
	disturb = "disturb" // ["n1"]
	settle  = "settle"  // ["n1"]
)

// A set is one of nodes: bit i is node i of a roster.
type set uint64

// A roster is all nodes that a history names as members.
type roster struct {
	names     []string
	index     map[string]int
	disturbed set // by any fault
}

// again marks a member that is named more than once, as if it were another.
const again = "(again)"

// maxNodes is the number of bits of a set.
const maxNodes = 64

func (r *roster) set(nodes ...string) (s set, err error) {
	for _, node := range nodes {
		i, ok := r.index[node]
		if !ok {
			if i = len(r.names); i == maxNodes {
				return 0, fmt.Errorf("there are more than %d nodes", maxNodes)
			}
			r.index[node] = i
			r.names = append(r.names, node)
		}
		s |= 1 << i
	}
	return s, nil
}

// all returns every node of the roster, which grows no more.
func (r *roster) all() set { return set(1)<<len(r.names) - 1 } // of 64 nodes, too

// list returns the nodes of s, by name.
func (r *roster) list(s set) string {
	var names []string
	for ; s != 0; s &= s - 1 {
		names = append(names, r.names[bits.TrailingZeros64(uint64(s))])
	}
	slices.Sort(names)
	return "{" + strings.Join(names, " ") + "}"
}

// A state is what is known of who has a vote. Those that are not known may have one or
// not, and a read decides; of those that are wild, whatever is read is right.
type state struct{ known, in, wild set }

// changeCall is an operation on the members. Its In is the nodes that it is about, its
// Out those that a read found to have a vote.
type changeCall = histories.Call[set, set]

// membership returns what h tells of the members, with the ops of the nemesis as calls
// of clients of their own.
func membership(h *histories.History) (*histories.History, *roster, error) {
	r := &roster{index: map[string]int{}}
	last := histories.Process(0)
	for _, op := range h.All() {
		last = max(last, op.Process)
	}
	faults, err := disturbances(h)
	if err != nil {
		return nil, nil, err
	}
	changes, err := excerpt(h, func(op *histories.Op) bool {
		if d, ok := faults[op.Index]; ok {
			*op = histories.Op{
				Index: op.Index, Time: op.Time, Process: last + 1 + histories.Process(d.call),
				Type: histories.OK, F: d.f, Value: d.nodes,
			}
			if d.begins {
				op.Type = histories.Invoke
			}
			return true
		}
		return op.Process >= 0 && (op.F == Members || op.F == Leave || op.F == Join)
	})
	if err != nil {
		return nil, nil, err
	}
	// All names are to be known before the first state is.
	calls, err := histories.Calls(changes, r.in, r.out)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range calls {
		if c.F == disturb {
			if c.In == 0 { // nobody knows whom
				c.In = r.all()
			}
			r.disturbed |= c.In
		}
	}
	return changes, r, nil
}

// A disturbance is what an op of the nemesis stands for: one end of a call.
type disturbance struct {
	call   int
	f      string
	nodes  json.RawMessage
	begins bool
}

// disturbances returns them by the indices of the ops. Those faults change members that
// are named so; and trouble with a disk may end in a node's being replaced.
func disturbances(h *histories.History) (map[int]disturbance, error) {
	spans, err := h.Faults()
	if err != nil {
		return nil, err
	}
	type hold struct {
		histories.FaultSpan
		nodes []string
	}
	var holds []hold
	for _, s := range spans {
		family, _, _ := strings.Cut(s.Name, ":")
		heldBack := s.HeldBack && s.Acted == 0 && s.Failed != ""
		harmless := s.End >= 0 && s.HealFailed == "" && !strings.Contains(string(s.Evidence), `"replaced":true`)
		if heldBack || family != "member" && (family != "disk" || harmless) {
			continue
		}
		holds = append(holds, hold{s, named(s.Detail)})
	}
	found := map[int]disturbance{}
	calls := 0
	add := func(f string, from int, nodes []string) {
		value, err := json.Marshal(nodes)
		if err != nil {
			panic("member: " + err.Error()) // strings always marshal
		}
		found[from] = disturbance{calls, f, value, true}
		if to := h.Pair(from); to >= 0 {
			found[to] = disturbance{calls, f, value, false}
		}
		calls++
	}
	for i, s := range holds {
		from := s.Begin
		if h.At(from).Type != histories.Invoke {
			from = h.Pair(from)
		}
		add(disturb, from, s.nodes)
		if s.End < 0 || s.HealFailed != "" {
			continue
		}
		// While another one holds a node, this one's end settles nothing of it.
		alone := slices.DeleteFunc(slices.Clone(s.nodes), func(node string) bool {
			for j, o := range holds {
				shares := len(o.nodes) == 0 || slices.Contains(o.nodes, node)
				if j != i && shares && o.From <= s.To && (o.To >= s.From || o.HealFailed != "") {
					return true
				}
			}
			return false
		})
		if len(alone) > 0 {
			add(settle, s.End, alone)
		}
	}
	return found, nil
}

// named returns whom a fault may have hit by its detail: those it did hit, or those
// among which it was to choose. None means that nobody knows.
func named(detail json.RawMessage) []string {
	var d struct {
		Nodes []string `json:"nodes"`
		Order []string `json:"order"`
	}
	if json.Unmarshal(detail, &d) != nil {
		return nil
	}
	if len(d.Nodes) > 0 {
		return d.Nodes
	}
	return d.Order
}

// unseen returns the ops of the indeterminate changes without which the reads of h can
// be explained as well, as far as a look at each node by itself tells: for each time
// that a read finds a node otherwise than it was, the first change since then that may
// have made it so is kept. It may be wrong either way, which costs no more than time.
func (r *roster) unseen(h *histories.History) (map[int]bool, error) {
	calls, err := histories.Calls(h, r.in, r.out)
	if err != nil {
		return nil, err
	}
	type end struct {
		at time.Duration
		changeCall
	}
	var ends []end // invocations of indeterminate changes, completions of all else
	unseen := map[int]bool{}
	for _, c := range calls {
		switch change := c.F == Leave || c.F == Join; {
		case c.Type == histories.OK:
			ends = append(ends, end{c.Completed, c})
		case c.Type == histories.Info && change:
			ends = append(ends, end{c.Invoked, c})
			unseen[c.Index] = true
			if c.Completion >= 0 {
				unseen[c.Completion] = true
			}
		}
	}
	slices.SortFunc(ends, func(a, b end) int { return cmp.Compare(a.at, b.at) })
	for i := range r.names {
		node := set(1) << i
		is := false
		waiting := map[bool][]changeCall{} // by what they make of the node
		for _, e := range ends {
			switch change := (e.F == Leave || e.F == Join) && e.In == node; {
			case change && e.Type == histories.Info:
				waiting[e.F == Join] = append(waiting[e.F == Join], e.changeCall)
			case change:
				is = e.F == Join
			case e.F == Members && (e.Out&node != 0) != is:
				is = !is
				if w := waiting[is]; len(w) > 0 {
					delete(unseen, w[0].Index)
					delete(unseen, w[0].Completion)
					waiting[is] = w[1:]
				}
			}
		}
	}
	return unseen, nil
}

// in reads the argument of an operation on the members.
func (r *roster) in(f string, b json.RawMessage) (set, error) {
	switch f {
	case Members:
		return 0, nil
	case Leave, Join:
		node, err := parseNode(b)
		if err != nil {
			return 0, err
		}
		return r.set(node)
	case disturb, settle:
		var nodes []string
		if err := json.Unmarshal(b, &nodes); err != nil {
			return 0, errors.New("are no nodes")
		}
		return r.set(nodes...)
	}
	return 0, errors.New("is no function of the members")
}

// out reads what an operation on the members found.
func (r *roster) out(f string, b json.RawMessage) (set, error) {
	if f != Members {
		return 0, nil
	}
	m, err := parseMembers(b)
	if err != nil {
		return 0, err
	}
	voters := slices.Sorted(slices.Values(m.Voters))
	for i := 1; i < len(voters); i++ {
		if voters[i] == voters[i-1] { // it counts twice, which nobody asked for
			voters[i] += again
		}
	}
	return r.set(voters...)
}

// model is the sequential specification of the members. It does not say who they are
// at first: the first read does.
func (r *roster) model() checker.Model[state, set, set] {
	return checker.Model[state, set, set]{
		In:   r.in,
		Out:  r.out,
		Key:  func(set) string { return "members" },
		Step: r.step,
		// A read changes no members, but what is known of them: it is not read-only.
		Removable: func(calls []changeCall) (sets [][]int) {
			for i, c := range calls {
				if c.F == Members {
					sets = append(sets, []int{i})
				}
			}
			return sets
		},
		// Of whom nothing is known, anything is possible, and more so if it is wild.
		States:   func([]changeCall) []state { return []state{{wild: r.disturbed}} },
		Explain:  r.explain,
		Describe: r.describe,
		State:    r.render,
	}
}

// step says what members do of which s is known.
func (r *roster) step(s state, c changeCall) (state, bool) {
	if c.Type == histories.Info && c.F == Members {
		return s, true
	}
	settled := c.In &^ s.wild
	switch c.F {
	case Leave:
		s.known, s.in = s.known|settled, s.in&^settled
	case Join:
		s.known, s.in = s.known|settled, s.in|settled
	case disturb:
		if c.In == 0 {
			c.In = r.all()
		}
		s.wild, s.known, s.in = s.wild|c.In, s.known&^c.In, s.in&^c.In
	case settle:
		s.wild &^= c.In
	case Members:
		if (s.in^c.Out)&s.known != 0 {
			return s, false
		}
		s.known = r.all() &^ s.wild
		s.in = c.Out & s.known
	}
	return s, true
}

// explain says what is wrong with the read that a violation ends with: a change, coming
// last, could not be wrong.
func (r *roster) explain(v checker.Violation[set, set]) checker.Anomaly {
	last := v.Last
	for i := range r.names {
		bit := set(1) << i
		if r.disturbed&bit != 0 {
			continue // the nemesis may have had the last word
		}
		if a, ok := r.explainNode(v, bit); ok {
			return a
		}
	}
	return checker.Anomaly{
		Kind: "members not linearizable",
		Note: fmt.Sprintf("%s, which no order explains of the %d calls that show it", r.did(last), len(v.Witness)),
	}
}

// explainNode says what is wrong with what the last read says of one node, if that is
// wrong by itself.
func (r *roster) explainNode(v checker.Violation[set, set], node set) (a checker.Anomaly, ok bool) {
	last := v.Last
	is := last.Out&node != 0
	to, from := Leave, Join // what makes it as it is, and what makes it otherwise
	if is {
		to, from = Join, Leave
	}
	// The last call before the read that has made it otherwise, or has seen it so.
	var other changeCall
	for _, c := range v.Calls {
		makes := c.F == from && c.In == node || c.F == Members && (c.Out&node != 0) != is
		if makes && c.Type == histories.OK && c.Completed < last.Invoked && c.Completed > other.Completed {
			other = c
		}
	}
	if other.F == "" {
		return a, false
	}
	var failed *changeCall
	for i, c := range v.Calls {
		switch {
		case c.F != to || c.In != node || c.Invoked > last.Completed || c.Completed < other.Invoked:
		case c.Type == histories.Fail:
			failed = &v.Calls[i]
		default:
			return a, false
		}
	}
	a.Ops = checker.Ops(other)
	switch {
	case failed != nil:
		a.Kind, a.Ops = "failed change took effect", append(a.Ops, checker.Ops(*failed)...)
		a.Note = fmt.Sprintf("%s; what could have changed since %s had reported failure: %s", r.did(last), r.did(other), r.did(*failed))
	case is && strings.HasSuffix(r.list(node), again+"}"):
		a.Kind = "member counts twice"
		a.Note = fmt.Sprintf("%s, and before each but once: %s", r.did(last), r.did(other))
	case is:
		a.Kind = "removed member"
		a.Note = fmt.Sprintf("%s, though %s was out, and nobody had it join since: %s", r.did(last), r.list(node), r.did(other))
	default:
		a.Kind = "lost member"
		a.Note = fmt.Sprintf("%s, though %s was in, and nobody had it leave since: %s", r.did(last), r.list(node), r.did(other))
	}
	return a, true
}

// did says what c did, whose it is, and when.
func (r *roster) did(c changeCall) string {
	switch c.F {
	case Members:
		return checker.Did(c, fmt.Sprintf("read that %s had a vote", r.list(c.Out)))
	case Leave:
		return checker.Did(c, fmt.Sprintf("had %s leave", r.list(c.In)))
	}
	return checker.Did(c, fmt.Sprintf("had %s join", r.list(c.In)))
}

func (r *roster) describe(c changeCall) string {
	if c.F == Members {
		return "members → " + r.list(c.Out)
	}
	return c.F + " " + r.list(c.In)
}

// render returns s as a picture shows it.
func (r *roster) render(s state) string {
	text := r.list(s.in & s.known)
	if open := r.all() &^ s.known; open != 0 {
		text += ", not known: " + r.list(open)
	}
	return text
}

// leavers returns the nodes that may have left.
func leavers(h *histories.History) ([]string, error) {
	nodes := map[string]bool{}
	for i, op := range h.All() {
		if op.Process < 0 || op.F != Leave || op.Type != histories.Invoke {
			continue
		}
		if end := h.Pair(i); end >= 0 && h.At(end).Type == histories.Fail {
			continue
		}
		node, err := parseNode(op.Value)
		if err != nil {
			return nil, fmt.Errorf("op %d: %s %w", i, op.Value, err)
		}
		nodes[node] = true
	}
	return slices.Sorted(maps.Keys(nodes)), nil
}
