package lock

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// A mistake is one that a system makes.
type mistake int

const (
	none            mistake = iota
	grantsHeld              // now and then it grants a lock that is held
	reusesTokens            // tokens count the grants since the last release
	neverFences             // it takes any token
	takesReleased           // it takes a token that was released, until another is granted
	expiresEarly            // leases last a third of what was said
	forgetsRenewals         // leases are not renewed
	losesWrites             // now and then it does not write
	staleReads              // now and then it reads what was there before
	refusesFalsely          // now and then it refuses the token that is current
	writesRefused           // it writes what it refuses
)

const ttl = 600 * time.Millisecond

// A system is locks in memory, right but for one mistake.
type system struct {
	workloadtest.Clock
	mistake
	chance *rand.Rand    // what it does at random; nil: nothing
	ttl    time.Duration // of leases; 0: ttl
	workloadtest.Repeats
	calls  int
	tokens uint64
	locks  map[string]*state
}

type state struct {
	token       uint64 // the last one that was granted
	until       time.Duration
	is, was     Resource
	wasReleased bool
}

func (s *system) lock(name string) *state {
	s.calls++
	if s.locks == nil {
		s.locks = map[string]*state{}
	}
	if s.locks[name] == nil {
		s.locks[name] = &state{}
	}
	return s.locks[name]
}

// now says that the mistake, which is made now and then, is made now.
func (s *system) now(m mistake) bool { return s.mistake == m && s.calls%20 == 0 }

func (s *system) lasts() time.Duration {
	switch {
	case s.mistake == expiresEarly:
		return s.says() / 3
	case s.chance != nil:
		return s.says() + time.Duration(s.chance.Int64N(int64(s.says())))
	}
	return s.says()
}

// says returns how long it says that leases last.
func (s *system) says() time.Duration { return cmp.Or(s.ttl, ttl) }

// again may have what is asked come again, and another lead.
func (s *system) again(ask func()) {
	if s.chance == nil {
		return
	}
	s.Repeat(s.chance, ask)
	if s.chance.IntN(50) == 0 { // another leader grants all leases anew
		for _, l := range s.locks {
			if l.until > s.Now() {
				l.until = s.Now() + s.lasts()
			}
		}
	}
}

func (s *system) Acquire(_ context.Context, name string) (Grant, error) {
	l := s.lock(name)
	if l.until > s.Now() && !s.now(grantsHeld) {
		return Grant{}, &Held{}
	}
	s.tokens++
	l.token, l.until = s.tokens, s.Now()+s.lasts()
	if s.mistake == reusesTokens && l.wasReleased {
		s.tokens--
		l.token = s.tokens
	}
	l.wasReleased = false
	return Grant{Token: l.token, TTL: s.says(), Said: workloads.Said{Term: 3}}, nil
}

func (s *system) holds(l *state, token uint64) bool {
	switch {
	case s.now(refusesFalsely):
		return false
	case s.mistake == takesReleased && l.wasReleased && l.token == token:
		return true
	}
	return l.token == token && l.until > s.Now()
}

func (s *system) Renew(_ context.Context, name string, token uint64) (Grant, error) {
	l := s.lock(name)
	if !s.holds(l, token) {
		return Grant{}, &Fenced{}
	}
	if s.mistake != forgetsRenewals {
		l.until = max(l.until, s.Now()+s.lasts())
	}
	s.again(func() {
		if s.holds(l, token) {
			l.until = max(l.until, s.Now()+s.lasts())
		}
	})
	return Grant{TTL: s.says()}, nil
}

func (s *system) Release(_ context.Context, name string, token uint64) (workloads.Said, error) {
	l := s.lock(name)
	release := func() (workloads.Said, error) {
		if l.token != token || l.until <= s.Now() {
			return workloads.Said{}, &Fenced{}
		}
		l.until, l.wasReleased = 0, true
		return workloads.Said{}, nil
	}
	said, err := release()
	s.again(func() { said, err = release() })
	return said, err
}

func (s *system) Write(_ context.Context, name string, token uint64, value int64) (workloads.Said, error) {
	l := s.lock(name)
	holds := s.holds(l, token)
	if holds && !s.now(losesWrites) || s.mistake == neverFences || s.mistake == writesRefused {
		l.was, l.is = l.is, Resource{Token: token, Value: value}
	}
	if !holds && s.mistake != neverFences {
		return workloads.Said{}, &Fenced{}
	}
	return workloads.Said{Revision: uint64(value)}, nil
}

func (s *system) Read(_ context.Context, name string) (Resource, error) {
	l := s.lock(name)
	if s.now(staleReads) {
		return l.was, nil
	}
	return l.is, nil
}

func (s *system) Close() error { return nil }

// played returns what is said of a play of the workload on s.
func played(t *testing.T, s *system, p workloadtest.Play) (checker.Result, *histories.History) {
	t.Helper()
	w := New(Options{Rate: 1000}, func(context.Context, int) (Locks, error) { return s, nil })
	h, r, err := p.Judge(s.Watch(w))
	if err != nil {
		t.Fatal(err)
	}
	return r, h
}

// TestRightSystemIsValidWhereLeasesAreBrief: about as long as a call takes, so that
// leases end while calls are open; and the system is asked twice.
func TestRightSystemIsValidWhereLeasesAreBrief(t *testing.T) {
	count := map[string]int64{}
	for seed := range uint64(workloadtest.Cases(100)) {
		r := rand.New(rand.NewPCG(seed, 4))
		s := &system{chance: r, ttl: time.Duration(1+r.IntN(20)) * time.Millisecond}
		p := workloadtest.Play{Seed: seed, Workers: 1 + r.IntN(10), Main: 300 * time.Millisecond, Lost: 0.1 * r.Float64(), Refused: 0.1 * r.Float64()}
		_, h := played(t, s, p)
		got := verdict(t, h, nil)
		if got.Verdict == checker.Invalid {
			t.Errorf("seed %d: got %s", seed, checkertest.Format(got))
		}
		for _, part := range got.Parts {
			for what, n := range part.Counts {
				count[what] += n
			}
		}
	}
	if !workloadtest.Raced && (count["late_writes"] < 500 || count["refusals"] < 1000 || count["holds"] < 500) {
		t.Errorf("%v: too little was tried", count)
	}
}

func kindsOf(r checker.Result) map[string]int {
	kinds := map[string]int{}
	for _, part := range r.Parts[:2] {
		for _, a := range part.Anomalies {
			kinds[a.Kind]++
		}
	}
	return kinds
}

func TestRightSystemIsValid(t *testing.T) {
	for _, p := range []workloadtest.Play{
		{}, {Seed: 1, Lost: 0.01, Refused: 0.05}, {Seed: 2, Workers: 1, Lost: 0.01}, {Seed: 3, Workers: 3, Lost: 0.05},
	}[:workloadtest.Cases(4)] {
		r, _ := played(t, &system{}, p)
		if r.Verdict != checker.Valid {
			t.Errorf("%+v: got %s", p, checkertest.Format(r))
		}
		f, h := r.Parts[0].Counts, r.Parts[1].Counts
		if f["granted"] < 10 || f["late_writes"] < 5 || f["writes"] < 100 || h["refusals"] < 5 {
			t.Errorf("%+v: too little was tried: %s", p, checkertest.Format(r))
		}
	}
}

func TestMistakesAreFound(t *testing.T) {
	for m, kind := range workloadtest.Some(map[mistake]string{
		grantsHeld:      "lock held twice",
		reusesTokens:    "token granted twice",
		neverFences:     "write not fenced off",
		takesReleased:   "write not fenced off",
		expiresEarly:    "lock lost while held",
		forgetsRenewals: "lock lost while held",
		losesWrites:     "lost write",
		staleReads:      "stale read",
		refusesFalsely:  "lock lost while held",
		writesRefused:   "refused write took place",
	}) {
		for seed := range uint64(workloadtest.Cases(2)) {
			p := workloadtest.Play{Seed: seed, Main: 4 * time.Second, Lost: 0.01 * float64(seed), Refused: 0.01}
			r, _ := played(t, &system{mistake: m}, p)
			if kinds := kindsOf(r); r.Verdict != checker.Invalid || kinds[kind] == 0 {
				t.Errorf("mistake %d: no %s, but %v: %s", m, kind, kinds, checkertest.Format(r))
			}
		}
	}
}

// TestLeasesAreHeldForLong: holders renew, and others ask meanwhile.
func TestLeasesAreHeldForLong(t *testing.T) {
	_, h := played(t, &system{}, workloadtest.Play{Seed: 5})
	calls, err := histories.Calls(h, decode, decode)
	if err != nil {
		t.Fatal(err)
	}
	long, asked := 0, 0
	for _, held := range holds(calls) {
		if held.proof.Invoked > held.acquire.Invoked+ttl {
			long++
		}
	}
	for _, c := range calls {
		if c.F == Acquire && c.Type == histories.Fail && workloads.RefusedAs(c.Meta) == held {
			asked++
		}
	}
	if long < 10 || asked < 100 {
		t.Errorf("%d were held for longer than a lease, and %d times somebody else asked", long, asked)
	}
}

// A stub says what it is told.
type stub struct {
	Locks
	err error
}

func (s stub) Acquire(context.Context, string) (Grant, error) {
	return Grant{Token: 7, TTL: 1999999 * time.Microsecond, Said: workloads.Said{Node: "n2", Term: 2}}, s.err
}

func (s stub) Renew(context.Context, string, uint64) (Grant, error) {
	return Grant{TTL: time.Second}, s.err
}

func (s stub) Release(context.Context, string, uint64) (workloads.Said, error) {
	return workloads.Said{Node: "n2"}, s.err
}

func (s stub) Write(context.Context, string, uint64, int64) (workloads.Said, error) {
	return workloads.Said{Revision: 5}, s.err
}

func (s stub) Read(_ context.Context, lock string) (Resource, error) {
	if lock == "new" {
		return Resource{}, s.err
	}
	return Resource{Token: 7, Value: Garbled}, s.err
}

func TestOpsBecomeCalls(t *testing.T) {
	silent := errors.New("no answer")
	for _, test := range []struct {
		f, value    string
		err         error
		reply, meta string
		definite    bool
	}{
		{Acquire, `["l",null]`, nil, `["l",{"token":7,"ttl_ms":1999}]`, `{"term":2}`, false},
		{Acquire, `["l",null]`, &Held{}, ``, `{"refused":"held","term":2}`, true},
		{Acquire, `["l",null]`, silent, ``, `{"term":2}`, false},
		{Renew, `["l",{"token":7}]`, nil, `["l",{"token":7,"ttl_ms":1000}]`, ``, false},
		{Renew, `["l",{"token":7}]`, &Fenced{}, ``, `{"refused":"fenced"}`, true},
		{Release, `["l",{"token":7}]`, nil, `["l",{"token":7}]`, ``, false},
		{Write, `["l",{"token":7,"value":3}]`, nil, `["l",{"token":7,"value":3}]`, `{"revision":5}`, false},
		{Write, `["l",{"token":7,"value":3}]`, &Fenced{}, ``, `{"refused":"fenced","revision":5}`, true},
		{Write, `["l",{"token":7,"value":3}]`, workloads.Definite(silent), ``, `{"revision":5}`, true},
		{Read, `["l",null]`, nil, `["l",{"token":7,"value":-1}]`, ``, false},
		{Read, `["new",null]`, nil, `["new",null]`, ``, false},
		{Read, `["l"]`, nil, ``, ``, true},
		{Read, `[[7],null]`, nil, ``, ``, true},
		{"cas", `["l",null]`, nil, ``, ``, true},
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
