package appends

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/generator/generatortest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// A system keeps lists in memory, and makes a mistake.
type system struct {
	lists   map[string][]int64
	past    []map[string][]int64 // as they were before each of the last calls
	calls   int
	mistake mistake
}

// A mistake is what goes wrong with every fiftieth call.
type mistake int

const (
	none mistake = iota
	drops
	repeats
	prepends
	isStale
	halfStale
	ignoresItself
	commitsWhatFails
	invents
)

var mistakes = map[mistake][]string{
	drops:            {lost},
	repeats:          {duplicate},
	prepends:         {incompatible},
	isStale:          {"G-single-realtime"},
	halfStale:        {"G-single"},
	ignoresItself:    {internal},
	commitsWhatFails: {aborted},
	invents:          {phantom},
}

func (s *system) Txn(_ context.Context, mops []Mop) (Result, error) {
	s.calls++
	wrong := func(m mistake) bool { return s.mistake == m && s.calls%50 == 0 }
	old := s.lists
	if s.mistake != none {
		if s.past = append(s.past, copied(s.lists)); len(s.past) > 20 {
			s.past = s.past[1:]
		}
		old = s.past[0]
	}
	if wrong(drops) {
		// Only what it appends last, so that its own reads do not miss it.
		if last := len(mops) - 1; mops[last].F == Append {
			return s.apply(mops[:last], mops)
		}
	}
	if wrong(isStale) && !slices.ContainsFunc(mops, func(m Mop) bool { return m.F == Append }) {
		for i := range mops {
			mops[i].List = old[mops[i].Key]
		}
		return Result{Mops: mops}, nil
	}
	for i, m := range mops {
		list := s.lists[m.Key]
		switch {
		case m.F == Append && wrong(prepends):
			s.lists[m.Key] = append([]int64{m.Element}, list...)
		case m.F == Append && wrong(repeats):
			s.lists[m.Key] = append(slices.Clone(list), m.Element, m.Element)
		case m.F == Append:
			s.lists[m.Key] = append(slices.Clone(list), m.Element)
		case wrong(invents):
			mops[i].List = append(slices.Clone(list), -1)
		case wrong(ignoresItself):
			mops[i].List = s.past[len(s.past)-1][m.Key]
		case wrong(halfStale) && i == 0:
			mops[i].List = old[m.Key]
		default:
			mops[i].List = list
		}
	}
	if wrong(commitsWhatFails) {
		return Result{}, workloads.Definite(errors.New("refused"))
	}
	return Result{Mops: mops}, nil
}

// apply performs some micro-operations, and says that it performed others.
func (s *system) apply(done, said []Mop) (Result, error) {
	for i, m := range done {
		if m.F == Append {
			s.lists[m.Key] = append(slices.Clone(s.lists[m.Key]), m.Element)
		} else {
			said[i].List = s.lists[m.Key]
		}
	}
	return Result{Mops: said}, nil
}

func (s *system) Close() error { return nil }

// played returns what the checker says of a run against s.
func played(t *testing.T, s *system, o Options, p workloadtest.Play) checker.Result {
	t.Helper()
	p.Main = time.Second
	s.lists = map[string][]int64{}
	w := New(o, func(context.Context, int) (Store, error) { return s, nil })
	_, r, err := p.Judge(w)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhatIsAsItShouldBeIsValid(t *testing.T) {
	for _, p := range []workloadtest.Play{
		{},
		{Seed: 1, Workers: 1},
		{Seed: 2, Refused: 0.1},
		{Seed: 3, Lost: 0.02, Refused: 0.02},
		{Seed: 4, Lost: 0.3},
	}[:workloadtest.Cases(5)] {
		r := played(t, &system{}, Options{}, p)
		if r.Verdict != checker.Valid {
			t.Errorf("%+v: got %s", p, checkertest.Format(r))
		}
		if c := r.Parts[0].Counts; c["reads"] < 150 || c["keys"] < 5 {
			t.Errorf("%+v: got %v", p, c)
		}
	}
}

func TestMistakesAreNoticed(t *testing.T) {
	for m, kinds := range workloadtest.Some(mistakes) {
		for seed := range uint64(workloadtest.Cases(2)) {
			p := workloadtest.Play{Seed: seed, Lost: 0.01 * float64(seed), Refused: 0.01}
			r := played(t, &system{mistake: m}, Options{}, p)
			if r.Verdict != checker.Invalid {
				t.Errorf("%v, %+v: got %s", m, p, checkertest.Format(r))
			}
			for _, kind := range kinds {
				if r.Parts[0].Counts[kind] == 0 {
					t.Errorf("%v, %+v: got no %s: %s", m, p, kind, checkertest.Format(r))
				}
			}
		}
	}
}

func simulated(t *testing.T, o Options, limit time.Duration, s generatortest.Simulation) []histories.Op {
	t.Helper()
	ops, err := workloadtest.Simulate(New(o, nil), limit, s)
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

func TestListsAreUsedRetiredAndReadInTheEnd(t *testing.T) {
	const limit = 20 * time.Second
	ops := simulated(t, Options{Keys: 3, AppendsPerKey: 30, MopsPerTxn: 5}, limit, generatortest.Simulation{
		Repeat: 2, Outcome: generatortest.Mixed(10 * time.Millisecond),
	})
	appends, unread := map[string]int{}, map[string]bool{}
	where := map[int64][]string{}
	sizes := map[int]int{}
	mops, reads := 0, 0
	final := map[histories.Process]bool{} // the op outstanding is a final one
	for _, op := range ops {
		asked, err := parse(op.F, op.Value)
		if err != nil {
			t.Fatal(err)
		}
		if op.Type == histories.Invoke {
			final[op.Process] = op.Time >= limit
		}
		switch {
		case op.Type == histories.OK && final[op.Process]:
			for _, m := range asked {
				delete(unread, m.Key)
			}
		case op.Type == histories.Invoke && !final[op.Process]:
			sizes[len(asked)]++
			for _, m := range asked {
				mops++
				unread[m.Key] = true
				if m.F == Read {
					reads++
					continue
				}
				appends[m.Key]++
				if slices.Contains(where[m.Element], m.Key) {
					t.Errorf("%d is appended to %s twice", m.Element, m.Key)
				}
				where[m.Element] = append(where[m.Element], m.Key)
			}
		}
	}
	unfinished := 0
	for key, n := range appends {
		if n > 30 {
			t.Errorf("%s: %d appends", key, n)
		}
		if n < 30 {
			unfinished++
		}
	}
	if len(appends) < 100 || unfinished > 3 || len(unread) > 0 {
		t.Errorf("%d lists, of which %d were given up early and these not read in the end: %v", len(appends), unfinished, unread)
	}
	if reads < mops*45/100 || reads > mops*55/100 || len(sizes) != 5 {
		t.Errorf("%d of %d are reads; sizes: %v", reads, mops, sizes)
	}
}

func TestRateIsKept(t *testing.T) {
	if err := workloadtest.KeepsRate(New(Options{Rate: 50}, nil), 50); err != nil {
		t.Error(err)
	}
}

func TestFinalPhaseEnds(t *testing.T) {
	if err := workloadtest.FinalEnds(New(Options{FinalLimit: 2 * time.Second}, nil), 2*time.Second); err != nil {
		t.Error(err)
	}
}

// A stub is a Store that says what it is told.
type stub struct {
	asked  []Mop
	result Result
	err    error
}

func (s *stub) Txn(_ context.Context, mops []Mop) (Result, error) {
	s.asked = mops
	return s.result, s.err
}

func (s *stub) Close() error { return nil }

func TestOpsBecomeCalls(t *testing.T) {
	silent := errors.New("no answer")
	said := workloads.Said{Node: "n2", Revision: 5, Term: 2}
	asked := []Mop{{F: Append, Key: "x", Element: 3}, {F: Read, Key: "x"}}
	done := []Mop{{F: Append, Key: "x", Element: 3}, {F: Read, Key: "x", List: []int64{1, 3}}}
	const value = `[["append","x",3],["r","x",null]]`
	for name, test := range map[string]struct {
		f, value string
		result   Result
		err      error

		reply, meta           string
		called, ok, isRefused bool
	}{
		"ok":          {Txn, value, Result{done, said}, nil, `[["append","x",3],["r","x",[1,3]]]`, `{"revision":5,"term":2}`, true, true, false},
		"empty list":  {Txn, value, Result{asked, said}, nil, value, `{"revision":5,"term":2}`, true, true, false},
		"silent":      {Txn, value, Result{nil, said}, silent, ``, `{"revision":5,"term":2}`, true, false, false},
		"refused":     {Txn, value, Result{nil, said}, workloads.Definite(silent), ``, `{"revision":5,"term":2}`, true, false, true},
		"other mops":  {Txn, value, Result{done[:1], said}, nil, ``, `{"revision":5,"term":2}`, true, false, false},
		"no mop":      {Txn, `[["w","x",3]]`, Result{}, nil, ``, ``, false, false, true},
		"no function": {"read", value, Result{}, nil, ``, ``, false, false, true},
	} {
		s := &stub{result: test.result, err: test.err}
		w := New(Options{}, func(context.Context, int) (Store, error) { return s, nil })
		c, err := w.Open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := c.Invoke(t.Context(), histories.Op{F: test.f, Value: json.RawMessage(test.value)})
		if test.called != (fmt.Sprint(s.asked) == fmt.Sprint(asked)) {
			t.Errorf("%s: called with %v", name, s.asked)
		}
		if got := string(reply.Value); got != test.reply {
			t.Errorf("%s: got %s, want %s", name, got, test.reply)
		}
		if got := string(reply.Meta); got != test.meta || reply.Node != test.result.Node {
			t.Errorf("%s: got %s of %s, want %s", name, got, reply.Node, test.meta)
		}
		if workloads.IsDefinite(err) != test.isRefused || (err == nil) != test.ok {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// BenchmarkCheck judges a run of a minute, in which all is well, or the last read
// finds nothing.
func BenchmarkCheck(b *testing.B) {
	for _, stale := range []bool{false, true} {
		b.Run(fmt.Sprintf("stale=%v", stale), func(b *testing.B) {
			s := &system{lists: map[string][]int64{}}
			w := New(Options{}, func(context.Context, int) (Store, error) { return s, nil })
			h, err := workloadtest.Play{Main: 60 * time.Second}.History(w)
			if err != nil {
				b.Fatal(err)
			}
			if stale {
				h = damaged(b, h)
			}
			for b.Loop() {
				if r := judged(b, h); (r.Verdict == checker.Invalid) != stale {
					b.Fatal(r.Note)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(h.Len()/2), "ns/txn")
		})
	}
}

// damaged returns h with a last read that finds nothing.
func damaged(b *testing.B, h *histories.History) *histories.History {
	b.Helper()
	ops := slices.Collect(func(yield func(histories.Op) bool) {
		for _, op := range h.All() {
			if !yield(op) {
				return
			}
		}
	})
	for i := len(ops) - 1; ; i-- {
		if ops[i].Type == histories.OK {
			mops, _ := parse(Txn, ops[i].Value)
			for j := range mops {
				mops[j].List = nil
			}
			ops[i].Value = payload(mops)
			break
		}
	}
	d, err := histories.FromOps(ops)
	if err != nil {
		b.Fatal(err)
	}
	return d
}
