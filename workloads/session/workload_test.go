package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/generator/generatortest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// A system keeps versions in memory, all that ever were, and makes a mistake.
type system struct {
	log     []input // writes in their order; the state at revision n is what the first n left
	chance  *rand.Rand
	mistake mistake
}

// A mistake is what goes wrong in sessions.
type mistake int

const (
	none mistake = iota
	forgetsWrites
	forgetsReads
	forgetsOthers
	swaps
	drops
	invents
)

var mistakes = map[mistake][]string{
	forgetsWrites: {ownWrite},
	forgetsReads:  {wentBack, writesOrder},
	forgetsOthers: {writesOrder, writeFirst},
	swaps:         {ownWrite},
	drops:         {ownWrite, lost},
	invents:       {phantom},
}

// A client is a session with a system: reads are of a revision that is not before
// its own.
type client struct {
	system   *system
	revision int
	seen     map[string]int // the revisions of keys it has read, if it forgets others
}

func (c *client) Write(_ context.Context, key string, v int64) (workloads.Said, error) {
	s := c.system
	dropped := s.mistake == drops && s.chance.IntN(8) == 0
	if !dropped {
		s.log = append(s.log, input{key, v})
	}
	// A write comes before another that was there before it.
	if n := len(s.log); s.mistake == swaps && n > 1 && s.chance.IntN(20) == 0 && s.log[n-2].key != key {
		s.log[n-1], s.log[n-2] = s.log[n-2], s.log[n-1]
	}
	if s.mistake != forgetsWrites {
		c.revision = len(s.log)
	}
	return workloads.Said{Revision: uint64(len(s.log))}, nil
}

func (c *client) Read(_ context.Context, key string) (Result, error) {
	s := c.system
	if s.mistake == invents && s.chance.IntN(100) == 0 {
		return Result{Value: 1 << 40}, nil
	}
	least := max(c.revision, len(s.log)-200)
	if s.mistake == forgetsOthers {
		least = max(c.seen[key], len(s.log)-200)
	}
	at := least + s.chance.IntN(len(s.log)-least+1)
	if s.mistake == forgetsOthers {
		c.seen[key] = at
	} else if s.mistake != forgetsReads {
		c.revision = at
	}
	for i := at - 1; i >= 0; i-- {
		if s.log[i].key == key {
			return Result{Value: s.log[i].version}, nil
		}
	}
	return Result{}, nil
}

func (c *client) Close() error { return nil }

// played returns what the checker says of a run against a system.
func played(t *testing.T, m mistake, p workloadtest.Play) checker.Result {
	t.Helper()
	p.Main = 2 * time.Second
	_, r := judgedPlay(t, m, p)
	return r
}

// judgedPlay returns a run against a system, and what is said of it.
func judgedPlay(t *testing.T, m mistake, p workloadtest.Play) (*histories.History, checker.Result) {
	t.Helper()
	s := &system{mistake: m, chance: rand.New(rand.NewPCG(p.Seed, 7))}
	w := New(Options{}, func(context.Context, int) (Session, error) {
		return &client{system: s, seen: map[string]int{}}, nil
	})
	h, r, err := p.Judge(w)
	if err != nil {
		t.Fatal(err)
	}
	return h, r
}

func TestWhatIsAsItShouldBeIsValid(t *testing.T) {
	for _, p := range []workloadtest.Play{
		{},
		{Seed: 1, Workers: 1},
		{Seed: 2, Refused: 0.1},
		{Seed: 3, Lost: 0.02, Refused: 0.02},
		{Seed: 4, Lost: 0.3},
	}[:workloadtest.Cases(5)] {
		r := played(t, none, p)
		if r.Verdict != checker.Valid {
			t.Errorf("%+v: got %s", p, checkertest.Format(r))
		}
		c := r.Parts[0].Counts
		if c["reads_bound"] < c["reads"]/5 || c["reads"] < 100 || p.Workers != 1 && c["stale_reads"] == 0 {
			t.Errorf("%+v: got %v", p, c)
		}
	}
}

func TestMistakesAreNoticed(t *testing.T) {
	for m, kinds := range workloadtest.Some(mistakes) {
		for seed := range uint64(workloadtest.Cases(2)) {
			p := workloadtest.Play{Seed: seed, Lost: 0.01 * float64(seed), Refused: 0.01}
			r := played(t, m, p)
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

// TestMixOfOperations: each key has one writer, whose versions increase; about four
// in ten write; who reads mostly reads others.
func TestMixOfOperations(t *testing.T) {
	const limit = 20 * time.Second
	ops := simulated(t, Options{}, limit, generatortest.Simulation{
		Repeat: 2,
		Outcome: func(r *rand.Rand, op histories.Op) (histories.Type, time.Duration) {
			if r.IntN(100) == 0 {
				return histories.Info, 100 * time.Millisecond
			}
			return histories.OK, 10 * time.Millisecond
		},
	})
	writer, last := map[string]histories.Process{}, map[string]int64{}
	writes, reads, own, siblings := 0, 0, 0, 0
	before := map[histories.Process]string{}
	for _, op := range ops {
		if op.Type != histories.Invoke {
			continue
		}
		in, err := parseInput(op.F, op.Value)
		if err != nil {
			t.Fatal(err)
		}
		if op.F == Write {
			if p, known := writer[in.key]; known && p != op.Process || in.version != last[in.key]+1 {
				t.Errorf("%v: after version %d of process %d", op, last[in.key], p)
			}
			writer[in.key], last[in.key] = op.Process, in.version
		}
		if op.Time >= limit {
			continue
		}
		if op.F == Write {
			writes++
			continue
		}
		reads++
		if strings.HasPrefix(in.key, fmt.Sprintf("p%d.", op.Process)) {
			own++
		}
		if b := before[op.Process]; b != "" && b != in.key && b[:len(b)-1] == in.key[:len(in.key)-1] {
			siblings++
		}
		before[op.Process] = in.key
	}
	all := writes + reads
	if writes < all*38/100 || writes > all*45/100 {
		t.Errorf("%d of %d write", writes, all)
	}
	if own < reads*20/100 || own > reads*40/100 || siblings < reads*15/100 {
		t.Errorf("of %d reads %d are of what the process wrote, %d of the other key of whom was read", reads, own, siblings)
	}
}

// TestTheEndReadsAllKeysByAll, each after a write.
func TestTheEndReadsAllKeysByAll(t *testing.T) {
	const limit = 2 * time.Second
	ops := simulated(t, Options{FinalLimit: time.Hour}, limit, generatortest.Simulation{
		Repeat: 2,
		Outcome: func(r *rand.Rand, op histories.Op) (histories.Type, time.Duration) {
			types := []histories.Type{histories.OK, histories.OK, histories.OK, histories.Fail}
			if op.Time < limit && r.IntN(50) == 0 {
				return histories.Info, 100 * time.Millisecond
			}
			return types[r.IntN(len(types))], time.Duration(r.IntN(2e7))
		},
	})
	keys, read := map[string]bool{}, map[histories.Process]map[string]bool{}
	wrote := map[histories.Process]bool{}
	final := map[histories.Process]bool{} // the op outstanding is a final one
	first := map[string]int{}
	for _, op := range ops {
		in, err := parseInput(op.F, op.Value)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case op.Type == histories.Invoke:
			final[op.Process] = op.Time >= limit
			if op.F == Write {
				keys[in.key] = true
			} else if final[op.Process] && !wrote[op.Process] {
				t.Errorf("%v: it has not written before", op)
			}
		case op.Type != histories.OK || !final[op.Process]:
		case op.F == Write:
			wrote[op.Process] = true
		default:
			if read[op.Process] == nil {
				read[op.Process] = map[string]bool{}
				first[in.key]++
			}
			read[op.Process][in.key] = true
		}
	}
	if len(read) != 10 || len(keys) < 30 || len(first) < 9 {
		t.Errorf("%d processes have read %d keys, beginning with %v", len(read), len(keys), first)
	}
	for p, r := range read {
		for key := range keys {
			if !r[key] {
				t.Errorf("process %d has not read %s", p, key)
			}
		}
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

// A stub is a Session that says what it is told.
type stub struct {
	calls  []string
	result Result
	err    error
}

func (s *stub) Write(_ context.Context, key string, v int64) (workloads.Said, error) {
	s.calls = append(s.calls, fmt.Sprintf("write %s %d", key, v))
	return s.result.Said, s.err
}

func (s *stub) Read(_ context.Context, key string) (Result, error) {
	s.calls = append(s.calls, "read "+key)
	return s.result, s.err
}

func (s *stub) Close() error { return nil }

func TestOpsBecomeCalls(t *testing.T) {
	seven := Result{Value: 7, Said: workloads.Said{Node: "n2", Revision: 5, Term: 2}}
	silent := errors.New("no answer")
	for _, test := range []struct {
		f, value string
		result   Result
		err      error

		call, reply, meta string
		definite          bool
	}{
		{Write, `["k",3]`, seven, nil, "write k 3", ``, `{"revision":5,"term":2}`, false},
		{Write, `["k",3]`, seven, silent, "write k 3", ``, `{"revision":5,"term":2}`, false},
		{Write, `["k",3]`, seven, workloads.Definite(silent), "write k 3", ``, `{"revision":5,"term":2}`, true},
		{Read, `["k",null]`, seven, nil, "read k", `["k",7]`, `{"revision":5,"term":2}`, false},
		{Read, `["k",null]`, Result{}, nil, "read k", `["k",null]`, ``, false},
		{Read, `["k",null]`, Result{}, silent, "read k", ``, ``, false},
		{Write, `["k",null]`, Result{}, nil, "", ``, ``, true},
		{"cas", `["k",3]`, Result{}, nil, "", ``, ``, true},
		{Read, `7`, Result{}, nil, "", ``, ``, true},
	} {
		s := &stub{result: test.result, err: test.err}
		w := New(Options{}, func(context.Context, int) (Session, error) { return s, nil })
		c, err := w.Open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := c.Invoke(t.Context(), histories.Op{F: test.f, Value: json.RawMessage(test.value)})
		name := test.f + " " + test.value
		if got := strings.Join(s.calls, ", "); got != test.call {
			t.Errorf("%s: called %s, want %s", name, got, test.call)
		}
		if got := string(reply.Value); got != test.reply {
			t.Errorf("%s: got %s, want %s", name, got, test.reply)
		}
		if got := string(reply.Meta); got != test.meta || reply.Node != test.result.Node {
			t.Errorf("%s: got %s of %s, want %s", name, got, reply.Node, test.meta)
		}
		if workloads.IsDefinite(err) != test.definite || (err == nil) != (test.err == nil && test.call != "") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// BenchmarkCheck judges a run of a minute, of sessions that are right and of such
// that are wrong all the time.
func BenchmarkCheck(b *testing.B) {
	for _, m := range []mistake{none, forgetsOthers} {
		b.Run(fmt.Sprintf("mistake %d", m), func(b *testing.B) {
			s := &system{mistake: m, chance: rand.New(rand.NewPCG(1, 7))}
			w := New(Options{}, func(context.Context, int) (Session, error) {
				return &client{system: s, seen: map[string]int{}}, nil
			})
			h, err := workloadtest.Play{Main: time.Minute, Lost: 0.01}.History(w)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if r := judged(b, h); !slices.Contains([]checker.Verdict{checker.Valid, checker.Invalid}, r.Verdict) {
					b.Fatal(r.Note)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(h.Len()/2), "ns/call")
		})
	}
}
