package vm

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// call is an operation of a client.
type call = histories.Call[input, VM]

// calls returns the operations of clients, in the order of their invocations.
func calls(h *histories.History) ([]call, error) { return histories.Calls(h, parseInput, parseMachine) }

// lifecycle returns the checker of what users are told of machines: of each machine the
// operations are linearizable, by what it was last wanted to be; and of two answers the
// later has no lower epoch.
func lifecycle(b checker.Budget) checker.Checker {
	return checker.Compose("lifecycle",
		checker.Part{Name: "linearizable", Checker: checker.Linearizable(model, b)},
		checker.Part{Name: "epochs in answers", Checker: checker.Func(answeredEpochs)},
	)
}

// A wanted is what a machine is wanted to be: what [VM].Desired says, or absent.
type wanted string

const (
	absent  wanted = "" // nobody has asked for it yet
	running wanted = "running"
	stopped wanted = "stopped"
	deleted wanted = "deleted"
)

func (w wanted) String() string {
	if w == absent {
		return "absent"
	}
	return string(w)
}

// model is the sequential specification of a machine, for those who use it: what it is to
// be. What has become of that is not theirs to change, and judged by others.
var model = checker.Model[wanted, input, VM]{
	Functions: []string{Create, Get, Start, Stop, Delete, Migrate},
	In:        parseInput,
	Out:       parseMachine,
	Key:       func(in input) string { return in.Token },
	Init:      absent,
	Step:      step,
	ReadOnly:  func(c call) bool { return c.F == Get || c.F == Migrate },
	States:    func([]call) []wanted { return []wanted{absent, running, stopped, deleted} },
	Explain:   explain,
	Describe:  describe,
	State:     wanted.String,
}

// step says what a machine that is wanted to be w does.
func step(w wanted, c call) (wanted, bool) {
	told := c.Type == histories.OK // and so the answer counts
	if told && mistaken(c) != "" {
		return w, false
	}
	switch c.F {
	case Create:
		if w == absent {
			w = running
		}
		return w, !told || wanted(c.Out.Desired) == w
	case Get:
		return w, !told || wanted(c.Out.Desired) == w || c.Out.ID == "" && w == deleted
	case Migrate:
		return w, !told || w == running
	}
	to := sets[c.F]
	if w == absent || w == deleted && to != deleted {
		return w, !told
	}
	return to, true
}

// mistaken says what is wrong with what c was answered, whatever the machine was; "" if
// that may be.
func mistaken(c call) string {
	out := c.Out
	switch to, sets := sets[c.F]; {
	case c.F == Get && reflect.DeepEqual(out, VM{}):
		return ""
	case out.ID == "":
		return "named no machine"
	case c.In.VM != "" && out.ID != c.In.VM:
		return "answered for another machine than " + c.In.VM
	case out.Token != "" && out.Token != c.In.Token:
		return "answered for another machine, of " + out.Token
	case sets && wanted(out.Desired) != to, c.F == Migrate && wanted(out.Desired) != running:
		return "was not done, though it was acknowledged"
	}
	return ""
}

// sets is what a machine is wanted to be after an operation that says so.
var sets = map[string]wanted{Start: running, Stop: stopped, Delete: deleted}

// describe says what c did, in few words.
func describe(c call) string {
	if c.Type != histories.OK {
		return c.F
	}
	if c.Out.ID == "" {
		return c.F + " → no machine"
	}
	return fmt.Sprintf("%s → %s, wanted %s", c.F, c.Out.ID, c.Out.Desired)
}

// did tells of c.
func did(c call) string {
	return checker.Did(c, cmp.Or(past[c.F], c.F)+" "+c.In.Token+answered(c))
}

var past = map[string]string{
	Create: "created", Get: "got", Start: "started", Stop: "stopped", Delete: "deleted", Migrate: "migrated",
}

func answered(c call) string {
	switch {
	case c.Type != histories.OK:
		return ""
	case c.Out.ID == "":
		return ": no such machine"
	}
	return fmt.Sprintf(": %s, wanted %s", c.Out.ID, c.Out.Desired)
}

// The kinds of what contradicts the lifecycle of machines.
const (
	wrongAnswer = "wrong answer"      // the operation was another than the answer says
	revived     = "deleted, and back" // a machine was there after it was deleted
	vanished    = "not there"         // a machine was not there that nobody deleted
	outdated    = "not as wanted"     // a machine was not wanted to be what it had to be
)

// explain says what is wrong with the last call of a violation. What it says is true of the
// history, whatever is the cause.
func explain(v checker.Violation[input, VM]) checker.Anomaly {
	last := v.Last
	if why := mistaken(last); why != "" {
		return checker.Anomaly{Kind: wrongAnswer, Note: did(last) + ": it " + why}
	}
	var end *call // the first delete that was over before
	deletes := false
	for _, c := range v.Calls {
		if c.F != Delete || c.Type == histories.Fail {
			continue
		}
		deletes = deletes || c.Invoked < last.Completed
		if c.Completed < last.Invoked && (end == nil || c.Completed < end.Completed) {
			end = &c
		}
	}
	lives := last.Out.ID != "" && wanted(last.Out.Desired) != deleted
	switch {
	case end != nil && lives:
		return checker.Anomaly{Kind: revived, Note: did(*end) + ", and then " + did(last), Ops: checker.Ops(*end, last)}
	case !lives && !deletes:
		return checker.Anomaly{Kind: vanished, Note: did(last) + ", and nobody had deleted it"}
	}
	var others []string
	for _, c := range v.Witness {
		if c.Index != last.Index {
			others = append(others, did(c))
		}
	}
	return checker.Anomaly{Kind: outdated, Note: did(last) + ", which no order explains, beside: " + strings.Join(others, "; ")}
}

// epochBack is the kind of the anomaly that [answeredEpochs] finds.
const epochBack = "epoch went back"

// A sight is a machine as somebody saw it, between two ops of the history.
type sight struct {
	VM
	from, to int // the op that asked, and the one that was told
}

// sights returns all that clients saw of machines: what operations on one were answered,
// and the snapshots of Settle and Rest, also of those that failed; in the order of their
// completions. A machine that an answer gives no token has that by which it was asked for.
func sights(h *histories.History) (seen []sight, err error) {
	for i, op := range h.All() {
		if op.Process < 0 || op.Type != histories.OK && op.Type != histories.Fail {
			continue
		}
		if op.Type == histories.OK && ofMachine(op.F) {
			v, err := parseMachine(op.F, op.Value)
			if err != nil {
				return nil, fmt.Errorf("op %d: %s %s: %w", i, op.F, op.Value, err)
			}
			if v.Token == "" {
				in, err := parseInput(op.F, h.At(h.Pair(i)).Value)
				if err != nil {
					return nil, fmt.Errorf("op %d: %s: %w", h.Pair(i), op.F, err)
				}
				v.Token = in.Token
			}
			if v.ID != "" {
				seen = append(seen, sight{v, h.Pair(i), i})
			}
			continue
		}
		s, _, err := found(op)
		if err != nil {
			return nil, fmt.Errorf("op %d: %s: %w", i, op.F, err)
		}
		for _, v := range s.VMs {
			seen = append(seen, sight{v, h.Pair(i), i})
		}
	}
	return seen, nil
}

// answeredEpochs looks for answers that have a machine in a lower epoch than an answer had
// that was over before they were asked for. Epochs only rise, so it takes two to prove it.
func answeredEpochs(_ context.Context, h *histories.History) (checker.Result, error) {
	seen, err := sights(h)
	if err != nil {
		return checker.Result{}, err
	}
	// Of each machine those with a higher epoch than all before, by completion: the last of
	// them that was over before another was asked for is what that must not fall below.
	answers, rising := 0, map[string][]sight{}
	var findings checker.Findings
	for _, s := range seen {
		if s.Epoch == 0 {
			continue // it was nowhere yet, or that is not told
		}
		answers++
		of := rising[s.ID]
		at, _ := slices.BinarySearchFunc(of, s.from, func(o sight, from int) int { return cmp.Compare(o.to, from) })
		if at > 0 && of[at-1].Epoch > s.Epoch {
			before := of[at-1]
			findings.Add(contradiction(epochBack, before, s, "%s was in epoch %d, and in %d when it was asked for after that", s.ID, before.Epoch, s.Epoch))
		}
		if len(of) == 0 || s.Epoch > of[len(of)-1].Epoch {
			rising[s.ID] = append(of, s)
		}
	}
	r := checker.Result{
		Verdict: checker.Valid,
		Note:    fmt.Sprintf("answers with an epoch: %d, machines: %d", answers, len(rising)),
		Counts:  map[string]int64{"answers": int64(answers), "machines": int64(len(rising))},
	}
	if !findings.Conclude(&r) && len(rising) == 0 {
		r.Verdict = checker.Unknown // no epoch was put to the test
	}
	return r, nil
}
