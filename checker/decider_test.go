package checker_test

import (
	"strings"
	"testing"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/linear"
)

// TestDecider: what a model's own decider says holds only if the model and porcupine say so
// too. One that is wrong costs time, and the result says that it is; one that does not know
// is not missed.
func TestDecider(t *testing.T) {
	const right = "900 invoke write k=1\n900 ok write\n900 invoke read k\n900 ok read k=1\n"
	const wrong = "900 invoke write k=1\n900 ok write\n900 invoke read k\n900 ok read k=2\n"
	const mistake = "this is a mistake in hacheck"
	linearizable := linear.Decision{Verdict: linear.Linearizable, Order: []int32{0, 1}, At: -1}
	illegal := linear.Decision{Verdict: linear.Illegal, At: -1}
	all := []int{0, 1}
	for _, test := range []struct {
		name    string
		history string
		says    linear.Decision
		witness []int
		want    checker.Verdict
		note    string
	}{
		{"an order", right, linearizable, nil, checker.Valid, "decided by own, confirmed by porcupine"},
		{"a witness", wrong, illegal, all, checker.Invalid, "decided by own, confirmed by porcupine"},
		{"nothing", right, linear.Decision{At: -1}, nil, checker.Valid, "decided by search, confirmed by porcupine"},
		{"nothing of what is wrong", wrong, linear.Decision{At: -1}, nil, checker.Invalid, "decided by search, confirmed by porcupine"},
		{"an order that is impossible", wrong, linearizable, nil, checker.Invalid, mistake},
		{"an order against time", right, linear.Decision{Verdict: linear.Linearizable, Order: []int32{1, 0}, At: -1}, nil, checker.Valid, mistake},
		{"an order without a call", right, linear.Decision{Verdict: linear.Linearizable, Order: []int32{0}, At: -1}, nil, checker.Valid, mistake},
		{"an order with a call that is none", right, linear.Decision{Verdict: linear.Linearizable, Order: []int32{0, 7}, At: -1}, nil, checker.Valid, mistake},
		{"a witness that has an order", right, illegal, all, checker.Valid, mistake},
		{"no witness", wrong, illegal, nil, checker.Invalid, mistake},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := cell()
			asked := 0
			m.Decider = &checker.Decider[cellInput, int]{Name: "own", Decide: func(calls []cellCall, limit linear.Limit) (linear.Decision, []cellCall) {
				if asked++; len(calls) < 2 {
					return linear.Decision{At: -1}, nil
				}
				var few []cellCall
				for _, i := range test.witness {
					few = append(few, calls[i])
				}
				return test.says, few
			}}
			r := check(t.Context(), t, m, checker.Budget{}, parse(t, test.history))
			if r.Verdict != test.want || !strings.Contains(r.Note, test.note) || strings.Contains(r.Note, mistake) != (test.note == mistake) {
				t.Errorf("got %v: %s\nwant %v: %s", r.Verdict, r.Note, test.want, test.note)
			}
			if asked == 0 || test.want == checker.Invalid && len(r.Anomalies) != 1 {
				t.Errorf("asked %d times; %v", asked, r.Anomalies)
			}
		})
	}
}

// TestDeciderSaysWhereItWentWrong: at the first return that no order explains, whatever
// comes after.
func TestDeciderSaysWhereItWentWrong(t *testing.T) {
	m := cell()
	m.Decider = &checker.Decider[cellInput, int]{Name: "own", Decide: func(calls []cellCall, limit linear.Limit) (linear.Decision, []cellCall) {
		for _, c := range calls { // of which none but the last read is right
			if c.F == "read" && c.Out == 2 {
				return linear.Decision{Verdict: linear.Illegal, At: -1}, []cellCall{calls[0], c}
			}
		}
		return linear.Decision{At: -1}, nil
	}}
	const reads = "0 invoke read k\n0 ok read k=2\n"
	r := check(t.Context(), t, m, checker.Budget{}, parse(t, "0 invoke write k=1\n0 ok write\n0 invoke read k\n0 ok read k=1\n"+reads+reads))
	if want := "all is well before op 5;"; r.Verdict != checker.Invalid || !strings.Contains(r.Note, want) || !strings.Contains(r.Note, "decided by own") {
		t.Errorf("got %v: %s\nwant %s", r.Verdict, r.Note, want)
	}
}
