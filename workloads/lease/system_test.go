package lease

import (
	"bytes"
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
	diesEarly              // leases last half of what was said
	forgetsToKeep          // they are not kept alive, though that is acknowledged
	livesLong              // they last for long after the bound
	livesForever           // they last
	revives                // a lease that is over can be kept alive
	ignoresRevoke          // a revocation is acknowledged, and the lease goes on
	refusesFalsely         // now and then a lease is said to be over that is not
	reusesLeases           // now and then two keys have one lease
	mixesLeases            // now and then a key shows another one's lease
	grantsRefused          // now and then a grant that is refused takes place
	comesBack              // keys that are gone are there again after some time
)

const bound = 200 * time.Millisecond

// A system is leases in memory, right but for one mistake.
type system struct {
	workloadtest.Clock
	mistake
	chance *rand.Rand // what it does at random; nil: nothing
	brief  int64      // by what its leases are shorter than was asked for; 0: 1
	term   uint64     // of its leader
	workloadtest.Repeats
	calls  int
	last   uint64
	leases map[uint64]*held
	keys   map[string]*held
}

type held struct {
	lease uint64
	ttl   time.Duration
	until time.Duration
}

// now says that the mistake, which is made now and then, is made now.
func (s *system) now(m mistake) bool {
	s.calls++
	return s.mistake == m && s.calls%20 == 0
}

func (s *system) lasts(ttl time.Duration) time.Duration {
	switch s.mistake {
	case diesEarly:
		return ttl / 2
	case livesLong:
		return 2*ttl + 5*bound
	case livesForever:
		return time.Hour
	}
	if s.chance != nil {
		return ttl + time.Duration(s.chance.Int64N(int64(s.bound()/2)))
	}
	return ttl + bound/2
}

func (s *system) bound() time.Duration { return bound / time.Duration(max(1, s.brief)) }

func (s *system) said() workloads.Said { return workloads.Said{Term: s.term} }

// again may have what is asked come again, and another lead.
func (s *system) again(ask func()) {
	if s.chance == nil {
		return
	}
	s.Repeat(s.chance, ask)
	if s.chance.IntN(100) == 0 { // another leader grants all leases anew
		s.term++
		for _, h := range s.keys {
			if !s.over(h) {
				h.until = s.Now() + s.lasts(h.ttl)
			}
		}
	}
}

func (s *system) Grant(_ context.Context, key string, ttl time.Duration) (Granted, error) {
	if s.leases == nil {
		s.leases, s.keys = map[uint64]*held{}, map[string]*held{}
	}
	if s.last++; s.now(reusesLeases) {
		s.last--
	}
	ttl /= time.Duration(max(1, s.brief))
	h := &held{s.last, ttl, s.Now() + s.lasts(ttl)}
	s.leases[h.lease], s.keys[key] = h, h
	if s.mistake == grantsRefused && s.last%10 == 0 {
		return Granted{}, workloads.Definite(errors.New("no leader"))
	}
	return Granted{Lease: h.lease, TTL: ttl, Bound: s.bound(), Said: s.said()}, nil
}

func (s *system) over(h *held) bool {
	return h == nil || h.until <= s.Now() && (s.mistake != comesBack || s.Now() < h.until+time.Second)
}

func (s *system) KeepAlive(_ context.Context, lease uint64) (Kept, error) {
	h := s.leases[lease]
	if s.over(h) && s.mistake != revives || s.now(refusesFalsely) {
		return Kept{Said: s.said()}, &Expired{}
	}
	if s.mistake != forgetsToKeep {
		h.until = max(h.until, s.Now()+s.lasts(h.ttl))
	}
	kept := Kept{TTL: h.ttl, Said: s.said()}
	return kept, nil
}

func (s *system) Revoke(_ context.Context, lease uint64) (workloads.Said, error) {
	h := s.leases[lease]
	revoke := func() (workloads.Said, error) {
		if s.over(h) {
			return s.said(), &Expired{}
		}
		if s.mistake != ignoresRevoke {
			h.until = s.Now()
		}
		return s.said(), nil
	}
	said, err := revoke()
	s.again(func() { said, err = revoke() })
	return said, err
}

func (s *system) Read(_ context.Context, key string) (Found, error) {
	h := s.keys[key]
	if s.over(h) {
		return Found{Said: s.said()}, nil
	}
	if s.now(mixesLeases) {
		return Found{Present: true, Lease: h.lease + 1}, nil
	}
	return Found{Present: true, Lease: h.lease, Said: s.said()}, nil
}

func (s *system) Close() error { return nil }

// played returns what is said of a play of the workload on s.
func played(t *testing.T, s *system, p workloadtest.Play) (checker.Result, *histories.History) {
	t.Helper()
	w := New(Options{Rate: 800}, func(context.Context, int) (Leases, error) { return s, nil })
	h, r, err := p.Judge(s.Watch(w))
	if err != nil {
		t.Fatal(err)
	}
	return r, h
}

func TestRightSystemIsValid(t *testing.T) {
	for _, p := range []workloadtest.Play{
		{}, {Seed: 1, Lost: 0.01, Refused: 0.05}, {Seed: 2, Workers: 1}, {Seed: 3, Workers: 3, Lost: 0.02},
	}[:workloadtest.Cases(4)] {
		r, _ := played(t, &system{}, p)
		if r.Verdict != checker.Valid {
			t.Errorf("%+v: got %s", p, checkertest.Format(r))
		}
		n := r.Parts[0].Counts
		if n["keys"] < 30 || n["kept"] < 100 || n["refused"] < 20 || n["deaths"] < 100 || n["lives"] < 500 {
			t.Errorf("%+v: too little was tried: %s", p, checkertest.Format(r))
		}
	}
}

// TestRightSystemIsValidWhereLeasesAreBrief: about as long as a call takes, so that
// leases end while calls are open; and the system is asked twice, and changes leaders.
func TestRightSystemIsValidWhereLeasesAreBrief(t *testing.T) {
	count := map[string]int64{}
	for seed := range uint64(workloadtest.Cases(100)) {
		r := rand.New(rand.NewPCG(seed, 4))
		s := &system{chance: r, brief: 20 + r.Int64N(200), term: 1}
		p := workloadtest.Play{Seed: seed, Workers: 1 + r.IntN(10), Main: 300 * time.Millisecond, Lost: 0.1 * r.Float64(), Refused: 0.1 * r.Float64()}
		_, h := played(t, s, p)
		got := verdict(t, h, nil)
		if got.Verdict == checker.Invalid {
			t.Errorf("seed %d: got %s", seed, checkertest.Format(got))
		}
		for what, n := range got.Counts {
			count[what] += n
		}
	}
	if !workloadtest.Raced && (count["kept"] < 1000 || count["deaths"] < 1000 || count["lives"] < 1000 || count["refused"] < 500) {
		t.Errorf("%v: too little was tried", count)
	}
	t.Log(count)
}

// mistaken are the mistakes, with what they are found by.
var mistaken = map[mistake]string{
	diesEarly:      "died early",
	forgetsToKeep:  "died early",
	livesLong:      "outlived its lease",
	livesForever:   "outlived its lease",
	revives:        "came back",
	ignoresRevoke:  "revoked and still there",
	refusesFalsely: "died early",
	reusesLeases:   "lease granted twice",
	mixesLeases:    "wrong lease",
	grantsRefused:  "refused grant took place",
	comesBack:      "came back",
}

func TestMistakesAreFound(t *testing.T) {
	for m, kind := range workloadtest.Some(mistaken) {
		for seed := range uint64(workloadtest.Cases(2)) {
			p := workloadtest.Play{Seed: seed, Main: 4 * time.Second, Lost: 0.01 * float64(seed), Refused: 0.01}
			r, _ := played(t, &system{mistake: m}, p)
			kinds := map[string]int{}
			for _, a := range r.Parts[0].Anomalies {
				kinds[a.Kind]++
			}
			if r.Verdict != checker.Invalid || kinds[kind] == 0 {
				t.Errorf("mistake %d: no %s, but %v: %s", m, kind, kinds, checkertest.Format(r))
			}
		}
	}
}

// TestSomeLiveLongAndAllAreReadInTheEnd: when they must be gone.
func TestSomeLiveLongAndAllAreReadInTheEnd(t *testing.T) {
	_, h := played(t, &system{}, workloadtest.Play{Seed: 4, Lost: 0.001})
	lives, err := livesOf(h)
	if err != nil {
		t.Fatal(err)
	}
	recovery, _ := h.Recovery()
	long, others := 0, 0
	for _, l := range lives {
		first, last := time.Duration(0), time.Duration(0)
		read := false
		for _, c := range l.calls {
			if c.F == KeepAlive && c.Type == histories.OK {
				if last = c.Completed; first == 0 {
					first = last
				}
				if c.Process != l.grant.Process {
					others++
				}
			}
			if c.F == Read && c.Invoked > recovery.To {
				read = true
				if c.Out.Present || c.Invoked < recovery.To+l.grant.Out.most()+l.grant.Out.bound() {
					t.Errorf("%s: %v", l.name, did(c))
				}
			}
		}
		if last-first > 5*time.Second {
			long++
		}
		if !read {
			t.Errorf("%s was not read", l.name)
		}
	}
	if long < 5 || others < 20 {
		t.Errorf("%d lived for long, %d keep-alives were by others", long, others)
	}
}

// verdict returns what is said of h, but for whether the run tried enough.
func verdict(t *testing.T, h *histories.History, err error) checker.Result {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	r, err := leases(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestEvidenceIsWrongByItself: the ops that an anomaly names, without the rest.
func TestEvidenceIsWrongByItself(t *testing.T) {
	for m := range workloadtest.Some(mistaken) {
		r, h := played(t, &system{mistake: m}, workloadtest.Play{Seed: 3, Main: 4 * time.Second, Lost: 0.02})
		for _, a := range r.Parts[0].Anomalies {
			part, err := checkertest.Pick(h, a.Ops)
			if got := verdict(t, part, err); got.Verdict != checker.Invalid || len(a.Ops) > 6 {
				t.Errorf("mistake %d: %+v: got %s", m, a, checkertest.Format(got))
			}
		}
	}
}

func TestTheSameHistoryHasTheSameVerdict(t *testing.T) {
	for _, m := range []mistake{none, diesEarly, livesLong, revives, ignoresRevoke}[:workloadtest.Cases(5)] {
		_, h := played(t, &system{mistake: m}, workloadtest.Play{Seed: 7, Main: 5 * time.Second, Lost: 0.01, Refused: 0.05})
		want := verdict(t, h, nil).Verdict
		other, err := workloadtest.Renumbered(h, func(p histories.Process) histories.Process { return 100000 - p })
		if r := verdict(t, other, err); r.Verdict != want {
			t.Errorf("mistake %d: other numbers: got %s", m, checkertest.Format(r))
		}
		other, err = workloadtest.Without(h, func(op histories.Op) bool { return workloads.RefusedAs(op.Meta) == "" })
		if r := verdict(t, other, err); r.Verdict != want {
			t.Errorf("mistake %d: without what failed: got %s", m, checkertest.Format(r))
		}
		var renamed []histories.Op
		for _, op := range h.All() {
			op.Value = bytes.ReplaceAll(op.Value, []byte(`["k`), []byte(`["the `))
			op.Value = bytes.ReplaceAll(op.Value, []byte(`"lease":`), []byte(`"lease":1000`))
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
	parts := map[string]checker.Checker{"leases": checker.Func(leases), "recovery": checker.Recovery(readBack)}
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
	Leases
	err error
}

func (s stub) Grant(_ context.Context, _ string, ttl time.Duration) (Granted, error) {
	return Granted{Lease: 7, TTL: ttl + 999*time.Microsecond, Bound: 500*time.Millisecond + 1, Said: workloads.Said{Node: "n2", Term: 2}}, s.err
}

func (s stub) KeepAlive(context.Context, uint64) (Kept, error) {
	return Kept{TTL: 2 * time.Second, Said: workloads.Said{Term: 2}}, s.err
}

func (s stub) Revoke(context.Context, uint64) (workloads.Said, error) {
	return workloads.Said{Revision: 5}, s.err
}

func (s stub) Read(_ context.Context, key string) (Found, error) {
	switch key {
	case "gone":
		return Found{}, s.err
	case "rotten":
		return Found{Present: true}, s.err
	}
	return Found{Present: true, Lease: 7}, s.err
}

func TestOpsBecomeCalls(t *testing.T) {
	silent := errors.New("no answer")
	for _, test := range []struct {
		f, value    string
		err         error
		reply, meta string
		definite    bool
	}{
		{Grant, `["k",{"ttl_ms":1000}]`, nil, `["k",{"lease":7,"ttl_ms":1000,"bound_ms":501}]`, `{"term":2}`, false},
		{Grant, `["k",{"ttl_ms":1000}]`, silent, ``, `{"term":2}`, false},
		{KeepAlive, `["k",{"lease":7}]`, nil, `["k",{"lease":7,"ttl_ms":2000}]`, `{"term":2}`, false},
		{KeepAlive, `["k",{"lease":7}]`, &Expired{}, ``, `{"refused":"expired","term":2}`, true},
		{Revoke, `["k",{"lease":7}]`, nil, `["k",{"lease":7}]`, `{"revision":5}`, false},
		{Revoke, `["k",{"lease":7}]`, workloads.Definite(silent), ``, `{"revision":5}`, true},
		{Read, `["k",null]`, nil, `["k",{"lease":7}]`, ``, false},
		{Read, `["gone",null]`, nil, `["gone",null]`, ``, false},
		{Read, `["rotten",null]`, nil, `["rotten",{}]`, ``, false},
		{Read, `["k"]`, nil, ``, ``, true},
		{Read, `[[7],null]`, nil, ``, ``, true},
		{"cas", `["k",null]`, nil, ``, ``, true},
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
