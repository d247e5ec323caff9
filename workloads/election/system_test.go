package election

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// A mistake is one that a system makes.
type mistake int

const (
	none           mistake = iota
	electsTwice            // now and then it elects another for the same term
	termsGoBack            // now and then a term is less than the one before
	neverFences            // it accepts what is proclaimed in any term
	takesResigned          // it accepts what is proclaimed in a term that was resigned, until the next
	forgets                // now and then it does not keep what was proclaimed
	staleObserver          // now and then it shows what was there before
	namesAnother           // now and then it shows another as the leader
	namesNobody            // now and then it shows one as the leader who is none
	seesNobody             // now and then it shows no leader where there is one
	refusesFalsely         // now and then it refuses the term that is the present one
)

const ttl = 300 * time.Millisecond

// A system is elections in memory, right but for one mistake.
type system struct {
	workloadtest.Clock
	mistake
	ttl       time.Duration // of leases; 0: ttl
	calls     int
	terms     uint64
	elections map[string]*state
}

type state struct {
	term     uint64
	leader   string
	until    time.Duration
	resigned bool
	is, was  Proclamation
}

func (s *system) election(name string) *state {
	s.calls++
	if s.elections == nil {
		s.elections = map[string]*state{}
	}
	if s.elections[name] == nil {
		s.elections[name] = &state{}
	}
	return s.elections[name]
}

// now says that the mistake, which is made now and then, is made now.
func (s *system) now(m mistake) bool { return s.mistake == m && s.calls%20 == 0 }

func (s *system) Campaign(_ context.Context, election, candidate string) (Leadership, error) {
	e := s.election(election)
	if e.until > s.Now() && !s.now(electsTwice) {
		return Leadership{}, &Led{}
	}
	switch {
	case s.now(electsTwice) && e.term > 0:
	case s.now(termsGoBack) && e.term > 1:
		e.term--
	default:
		s.terms += 2
		e.term = s.terms
	}
	e.leader, e.until, e.resigned = candidate, s.Now()+cmp.Or(s.ttl, ttl), false
	return Leadership{Term: e.term}, nil
}

func (s *system) Proclaim(_ context.Context, election string, term uint64, value int64) (workloads.Said, error) {
	e := s.election(election)
	leads := e.term == term && (e.until > s.Now() || s.mistake == takesResigned && e.resigned)
	if !leads && s.mistake != neverFences || s.now(refusesFalsely) {
		return workloads.Said{}, &Deposed{}
	}
	if !s.now(forgets) {
		e.was, e.is = e.is, Proclamation{term, value}
	}
	return workloads.Said{}, nil
}

func (s *system) Resign(_ context.Context, election string, term uint64) (workloads.Said, error) {
	e := s.election(election)
	if e.term == term && e.until > s.Now() {
		e.until, e.resigned = 0, true
	}
	return workloads.Said{}, nil
}

func (s *system) Observe(_ context.Context, election string) (Observation, error) {
	e := s.election(election)
	o := Observation{Proclaimed: e.is}
	if s.now(staleObserver) {
		o.Proclaimed = e.was
	}
	if e.until > s.Now() && !s.now(seesNobody) {
		o.Leader, o.Term = e.leader, e.term
		if s.now(namesAnother) {
			o.Leader = "p0"
		}
		if s.now(namesNobody) {
			o.Leader = "n1"
		}
	}
	return o, nil
}

func (s *system) Close() error { return nil }

// played returns what is said of a play of the workload on s.
func played(t *testing.T, s *system, p workloadtest.Play) (checker.Result, *histories.History) {
	t.Helper()
	w := New(Options{Rate: 1000}, func(context.Context, int) (Elections, error) { return s, nil })
	p.Main = cmp.Or(p.Main, 5*time.Second)
	h, r, err := p.Judge(s.Watch(w))
	if err != nil {
		t.Fatal(err)
	}
	return r, h
}

func TestRightSystemIsValid(t *testing.T) {
	for _, p := range []workloadtest.Play{
		{}, {Seed: 1, Lost: 0.01, Refused: 0.05}, {Seed: 2, Workers: 1, Lost: 0.01}, {Seed: 3, Workers: 3, Lost: 0.05},
	}[:workloadtest.Cases(4)] {
		r, _ := played(t, &system{}, p)
		if r.Verdict != checker.Valid {
			t.Errorf("%+v: got %s", p, checkertest.Format(r))
		}
		f, l := r.Parts[0].Counts, r.Parts[1].Counts
		if f["granted"] < 20 || f["late_writes"] < 10 || f["writes"] < 100 || l["observations"] < 100 {
			t.Errorf("%+v: too little was tried: %s", p, checkertest.Format(r))
		}
	}
}

// TestRightSystemIsValidWhereLeasesAreBrief: about as long as a call takes, so that
// leases end while calls are open.
func TestRightSystemIsValidWhereLeasesAreBrief(t *testing.T) {
	late, terms := int64(0), int64(0)
	for seed := range uint64(workloadtest.Cases(100)) {
		r := rand.New(rand.NewPCG(seed, 4))
		s := &system{ttl: time.Duration(1+r.IntN(20)) * time.Millisecond}
		p := workloadtest.Play{Seed: seed, Workers: 1 + r.IntN(10), Main: 300 * time.Millisecond, Lost: 0.1 * r.Float64(), Refused: 0.1 * r.Float64()}
		_, h := played(t, s, p)
		got := verdict(t, h, nil)
		if got.Verdict == checker.Invalid {
			t.Errorf("seed %d: got %s", seed, checkertest.Format(got))
		}
		late, terms = late+got.Parts[0].Counts["late_writes"], terms+got.Parts[1].Counts["terms"]
	}
	if !workloadtest.Raced && (late < 500 || terms < 500) {
		t.Errorf("%d late writes, %d terms: too little was tried", late, terms)
	}
}

func TestMistakesAreFound(t *testing.T) {
	for m, kind := range workloadtest.Some(map[mistake]string{
		electsTwice:    twoLeaders,
		termsGoBack:    "term went back",
		neverFences:    "deposed leader not fenced off",
		takesResigned:  "deposed leader not fenced off",
		forgets:        "lost write",
		staleObserver:  "stale read",
		namesAnother:   twoLeaders,
		namesNobody:    "leader that never campaigned",
		seesNobody:     "term went back",
		refusesFalsely: "term went back",
	}) {
		for seed := range uint64(workloadtest.Cases(2)) {
			p := workloadtest.Play{Seed: seed, Main: 4 * time.Second, Lost: 0.01 * float64(seed), Refused: 0.01}
			r, _ := played(t, &system{mistake: m}, p)
			kinds := map[string]int{}
			for _, part := range r.Parts[:2] {
				for _, a := range part.Anomalies {
					kinds[a.Kind]++
				}
			}
			if r.Verdict != checker.Invalid || kinds[kind] == 0 {
				t.Errorf("mistake %d: no %s, but %v: %s", m, kind, kinds, checkertest.Format(r))
			}
		}
	}
}

// verdict returns what is said of h, but for whether the run tried enough.
func verdict(t *testing.T, h *histories.History, err error) checker.Result {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	r, err := checker.Compose("election",
		checker.Part{Name: "fencing", Checker: fencing()},
		checker.Part{Name: "leaders", Checker: checker.Func(leaders)},
	).Check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheSameHistoryHasTheSameVerdict(t *testing.T) {
	for _, m := range []mistake{none, electsTwice, neverFences, namesNobody, forgets}[:workloadtest.Cases(5)] {
		_, h := played(t, &system{mistake: m}, workloadtest.Play{Seed: 7, Main: 4 * time.Second, Lost: 0.01, Refused: 0.05})
		want := verdict(t, h, nil).Verdict
		other, err := workloadtest.Renumbered(h, func(p histories.Process) histories.Process { return 100000 - p })
		if r := verdict(t, other, err); r.Verdict != want {
			t.Errorf("mistake %d: other numbers: got %s", m, checkertest.Format(r))
		}
		other, err = workloadtest.Without(h, func(histories.Op) bool { return true })
		if r := verdict(t, other, err); r.Verdict != want {
			t.Errorf("mistake %d: without what failed: got %s", m, checkertest.Format(r))
		}
		var renamed []histories.Op
		for _, op := range h.All() {
			op.Value = bytes.ReplaceAll(op.Value, []byte(`"leader":"p`), []byte(`"leader":"q`))
			op.Value = bytes.ReplaceAll(op.Value, []byte(`["e`), []byte(`["the `))
			renamed = append(renamed, op)
		}
		other, err = histories.FromOps(renamed)
		if r := verdict(t, other, err); r.Verdict != want {
			t.Errorf("mistake %d: other names: got %s", m, checkertest.Format(r))
		}
	}
}

func TestKnowingLessNeverTurnsValidIntoInvalid(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for seed := range uint64(workloadtest.Cases(3)) {
		_, h := played(t, &system{}, workloadtest.Play{Seed: seed, Main: 4 * time.Second, Lost: 0.005})
		for _, n := range []int{1, 10, 100, 1000} {
			less, err := workloadtest.Forgetful(h, r, n)
			if got := verdict(t, less, err); got.Verdict == checker.Invalid {
				t.Errorf("seed %d, without %d: got %s", seed, n, checkertest.Format(got))
			}
		}
	}
}

// TestScripts runs the files of testdata: histories, with what is said of them by the
// part of the checker that is named, or how their tracks are drawn. Rewrite them with -rewrite, and read the diff.
func TestScripts(t *testing.T) {
	parts := map[string]checker.Checker{
		"fencing": fencing(), "leaders": checker.Func(leaders), "recovery": checker.Recovery(readBack),
	}
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			h, err := checkertest.Parse(d.Input)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			if d.Cmd == "tracks" {
				return workloadtest.Drawn(Tracks(h))
			}
			r, err := parts[d.Cmd].Check(t.Context(), h)
			if err != nil {
				return "error: " + err.Error() + "\n"
			}
			return checkertest.Format(r)
		})
	})
}

// A stub says what it is told.
type stub struct {
	Elections
	err error
}

func (s stub) Campaign(_ context.Context, _, candidate string) (Leadership, error) {
	return Leadership{Term: uint64(len(candidate)), Said: workloads.Said{Node: "n2", Term: 2}}, s.err
}

func (s stub) Proclaim(context.Context, string, uint64, int64) (workloads.Said, error) {
	return workloads.Said{Revision: 5}, s.err
}

func (s stub) Resign(context.Context, string, uint64) (workloads.Said, error) {
	return workloads.Said{Node: "n2"}, s.err
}

func (s stub) Observe(_ context.Context, election string) (Observation, error) {
	switch election {
	case "new":
		return Observation{}, s.err
	case "rotten":
		return Observation{Proclaimed: Proclamation{Value: Garbled}}, s.err
	}
	return Observation{Leader: "p3", Term: 9, Proclaimed: Proclamation{7, 4}}, s.err
}

func TestOpsBecomeCalls(t *testing.T) {
	silent := errors.New("no answer")
	for _, test := range []struct {
		f, value    string
		err         error
		reply, meta string
		definite    bool
	}{
		{Campaign, `["e",{"leader":"p12"}]`, nil, `["e",{"leader":"p12","term":3}]`, `{"term":2}`, false},
		{Campaign, `["e",{"leader":"p12"}]`, &Led{}, ``, `{"refused":"led","term":2}`, true},
		{Campaign, `["e",{"leader":"p12"}]`, silent, ``, `{"term":2}`, false},
		{Proclaim, `["e",{"term":7,"value":4}]`, nil, `["e",{"term":7,"value":4}]`, `{"revision":5}`, false},
		{Proclaim, `["e",{"term":7,"value":4}]`, &Deposed{}, ``, `{"refused":"deposed","revision":5}`, true},
		{Proclaim, `["e",{"term":7,"value":4}]`, workloads.Definite(silent), ``, `{"revision":5}`, true},
		{Resign, `["e",{"term":7}]`, nil, `["e",{"term":7}]`, ``, false},
		{Observe, `["e",null]`, nil, `["e",{"leader":"p3","term":9,"proclaimed":{"term":7,"value":4}}]`, ``, false},
		{Observe, `["new",null]`, nil, `["new",null]`, ``, false},
		{Observe, `["rotten",null]`, nil, `["rotten",{"proclaimed":{"term":0,"value":-1}}]`, ``, false},
		{Observe, `["e"]`, nil, ``, ``, true},
		{Observe, `[[7],null]`, nil, ``, ``, true},
		{"cas", `["e",null]`, nil, ``, ``, true},
	} {
		reply, err := perform(t.Context(), stub{err: test.err}, histories.Op{F: test.f, Value: []byte(test.value)})
		name := test.f + " " + test.value
		if string(reply.Value) != test.reply || string(reply.Meta) != test.meta {
			t.Errorf("%s: got %s, %s", name, reply.Value, reply.Meta)
		}
		if workloads.IsDefinite(err) != test.definite || (err == nil) != (test.reply != "") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
