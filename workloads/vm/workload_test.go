package vm

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/generator/generatortest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

var hosts = []string{"n4", "n5", "n6", "n7"}

// judged plays the workload on a control plane with a mistake, and judges what this
// package's lifecycle and creates promise.
func judged(t *testing.T, m mistake, refuses float64, play workloadtest.Play) (*histories.History, checker.Result) {
	t.Helper()
	p := newPlane(m, play.Seed, hosts...)
	p.refuses = refuses
	w := New(Options{Hosts: hosts, Labels: someHosts}, p.open, checker.Budget{})
	w.Checker = checker.Compose("vm",
		checker.Part{Name: "creates", Checker: creates()},
		checker.Part{Name: "lifecycle", Checker: lifecycle(checker.Budget{})})
	h, r, err := play.Judge(w)
	if err != nil {
		t.Fatal(err)
	}
	return h, r
}

// TestRight: a system that is right is valid, also in trouble, and comes to rest.
func TestRight(t *testing.T) {
	for _, play := range []workloadtest.Play{
		{Main: 20 * time.Second}, {Main: 20 * time.Second, Refused: 0.1, Lost: 0.1}, {Main: 10 * time.Second, Lost: 0.5}, {Workers: 1},
	} {
		for seed := range uint64(workloadtest.Cases(5)) {
			synctest.Test(t, func(t *testing.T) {
				play.Seed = seed
				h, r := judged(t, none, play.Refused, play)
				if r.Verdict != checker.Valid {
					t.Errorf("%+v: got %s", play, checkertest.Format(r))
				}
				less, err := workloadtest.Forgetful(h, rand.New(rand.NewPCG(seed, 4)), 30)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range []checker.Checker{creates(), lifecycle(checker.Budget{})} {
					if r, err := c.Check(t.Context(), less); err != nil || r.Verdict != checker.Valid {
						t.Errorf("%+v: less is known, and got %v, %s", play, err, checkertest.Format(r))
					}
				}
				ended := map[string]bool{}
				for _, op := range h.All() {
					ended[op.F] = ended[op.F] || op.Type == histories.OK
				}
				for _, f := range []string{Settle, Rest, Volumes, Uncordon} {
					if !ended[f] {
						t.Errorf("%+v: no %s succeeded", play, f)
					}
				}
				if machines, unread, err := (&reader{}).readBack(h, 0); machines < 5 || len(unread) > 0 || err != nil {
					t.Errorf("%+v: got %d, %v, %v", play, machines, unread, err)
				}
			})
		}
	}
}

// TestFindsMistakes: of each mistake the anomaly is found that it makes, in half of the runs at least, or
// in one if it is seldom tried.
func TestFindsMistakes(t *testing.T) {
	for m, want := range map[mistake]string{
		createsTwice: createdTwice, createsLate: refusedMade, staleGets: outdated, losesStarts: outdated,
		revives: revived, epochsBack: epochBack, migratesAny: outdated,
		forgetsGroups: otherwise, others: wrongAnswer,
	} {
		runs := max(2, workloadtest.Cases(4))
		found := 0
		var last checker.Result
		for seed := range uint64(runs) {
			synctest.Test(t, func(t *testing.T) {
				_, last = judged(t, m, 0.3, workloadtest.Play{Main: 15 * time.Second, Seed: seed, Lost: 0.02})
			})
			if slices.ContainsFunc(anomalies(last), func(a checker.Anomaly) bool { return a.Kind == want }) {
				found++
			}
		}
		least := runs / 2
		if m == migratesAny { // one migration in six is of whatever there is
			least = 1
		}
		if found < least {
			t.Errorf("mistake %d: %d of %d runs have a %q; the last is %s", m, found, runs, want, checkertest.Format(last))
		}
	}
}

func anomalies(r checker.Result) []checker.Anomaly {
	all := r.Anomalies
	for _, p := range r.Parts {
		all = append(all, anomalies(p)...)
	}
	return all
}

// TestManyIndeterminate: a run that loses most of its answers can be judged still.
func TestManyIndeterminate(t *testing.T) {
	for _, lost := range []float64{0.7, 0.9} {
		for seed := range uint64(workloadtest.Cases(10)) {
			synctest.Test(t, func(t *testing.T) {
				_, r := judged(t, none, 0, workloadtest.Play{Main: 20 * time.Second, Seed: seed, Lost: lost})
				if r.Verdict != checker.Valid {
					t.Errorf("lost %v, seed %d: got %s", lost, seed, checkertest.Format(r))
				}
			})
		}
	}
}

// mainPhase is how long generators are played.
const mainPhase = 30 * time.Second

// played plays the workload, with some answers lost, and tells of its ops one by one, each
// with its argument; and whether it is of the main phase.
func played(t *testing.T, o Options, seed uint64, tell func(op histories.Op, in input, main bool)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.Hosts = hosts
		w := New(o, newPlane(none, seed, hosts...).open, checker.Budget{})
		h, err := workloadtest.Play{Main: mainPhase, Seed: seed, Lost: 0.02}.History(w)
		if err != nil {
			t.Fatal(err)
		}
		main := true
		for i, op := range h.All() {
			if op.Process < 0 {
				main = false
				continue
			}
			invocation := op
			if op.Type != histories.Invoke {
				invocation = h.At(h.Pair(i))
			}
			in, err := parseInput(op.F, invocation.Value)
			if err != nil {
				t.Fatal(err)
			}
			tell(op, in, main)
		}
	})
}

// gone says that op found that there is no machine, or made it so.
func gone(op histories.Op, in input) bool {
	return op.Type == histories.OK && (op.F == Delete || op.F == Get && string(op.Value) == string(workloads.Keyed(in.Token, nil)))
}

// TestPopulation: as many machines are kept alive as there are to be, those of a group fit
// on three hosts, and some give way to others.
func TestPopulation(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(10)) {
		alive, deleted := map[string]string{}, map[string]bool{} // groups by token; tokens
		low, high, grouped := DefaultVMs, 0, 0
		played(t, Options{}, seed, func(op histories.Op, in input, main bool) {
			switch {
			case gone(op, in):
				deleted[in.Token] = true
				delete(alive, in.Token)
			case op.F == Create && !deleted[in.Token]:
				alive[in.Token] = in.Spec.Group
				members := 0
				for _, group := range alive {
					if group != "" && group == in.Spec.Group {
						members++
					}
				}
				if members > groupSize {
					t.Errorf("seed %d, %v: its group has %d members", seed, op, members)
				}
				grouped = max(grouped, members)
			}
			if high = max(high, len(alive)); op.Time > time.Second {
				low = min(low, len(alive))
			}
		})
		if low < DefaultVMs-2 || high > DefaultVMs || grouped < groupSize || len(deleted) < 5 {
			t.Errorf("seed %d: %d to %d machines, up to %d in a group, %d were replaced", seed, low, high, grouped, len(deleted))
		}
	}
}

// TestLabels: some machines are for labelled hosts, if there are any, and a create that is sent
// again asks for the same.
func TestLabels(t *testing.T) {
	for _, labels := range []map[string]string{someHosts, nil} {
		asked, labelled := map[string]Spec{}, 0
		for seed := range uint64(workloadtest.Cases(10)) {
			clear(asked)
			played(t, Options{Labels: labels}, seed, func(op histories.Op, in input, _ bool) {
				if op.F != Create || op.Type != histories.Invoke {
					return
				}
				if before, again := asked[in.Token]; again && !before.equal(in.Spec) {
					t.Errorf("seed %d: %s is asked for as %v, and then as %v", seed, in.Token, before, in.Spec)
				}
				asked[in.Token] = in.Spec
			})
			for _, s := range asked {
				if len(s.Labels) > 0 {
					labelled++
					if !maps.Equal(s.Labels, labels) {
						t.Errorf("seed %d: one is for hosts with %v", seed, s.Labels)
					}
				}
			}
		}
		if (labelled > 0) != (labels != nil) {
			t.Errorf("of hosts with %v: %d machines are for those alone", labels, labelled)
		}
	}
}

// TestDrains: one host is drained at a time, for a while, and none is in the end.
func TestDrains(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(10)) {
		held, since, drains := "", time.Duration(0), 0
		played(t, Options{}, seed, func(op histories.Op, in input, main bool) {
			switch {
			case (op.F == Drain || op.F == Cordon) && op.Type == histories.Invoke:
				if held != "" {
					t.Errorf("seed %d, %v: %s is drained", seed, op, held)
				}
				held, since = in.Host, op.Time
				drains++
			case op.F == Uncordon && op.Type == histories.OK && in.Host == held:
				if took := op.Time - since; main && (took < drainFor || took > 2*drainFor+time.Second) {
					t.Errorf("seed %d, %v: it was drained for %v", seed, op, took)
				}
				held = ""
			}
		})
		if drains < 5 || held != "" {
			t.Errorf("seed %d: %d drains, and in the end of %q", seed, drains, held)
		}
	}
}

// TestClosesAgain: a host is drained, and then one is cordoned; what did not succeed is what is
// done to the next one.
func TestClosesAgain(t *testing.T) {
	again := 0
	for seed := range uint64(workloadtest.Cases(10)) {
		synctest.Test(t, func(t *testing.T) {
			w := New(Options{Hosts: hosts}, newPlane(none, seed, hosts...).open, checker.Budget{})
			h, err := workloadtest.Play{Main: mainPhase, Seed: seed, Lost: 0.4}.History(w)
			if err != nil {
				t.Fatal(err)
			}
			due, done := Drain, []string{}
			for _, op := range h.All() {
				switch {
				case op.F != Drain && op.F != Cordon:
				case op.Type == histories.Invoke:
					if due != "" && op.F != due {
						t.Errorf("seed %d, %v: a %s was due", seed, op, due)
					}
				case op.Type == histories.OK:
					if done, due = append(done, op.F), ""; len(done) == 1 {
						due = Cordon
					}
				default:
					due = op.F
					again++
				}
			}
			if len(done) < 2 {
				t.Errorf("seed %d: of all only %v succeeded", seed, done)
			}
		})
	}
	if again == 0 {
		t.Error("all succeeded")
	}
}

// TestClosesInTheEnd: what faults kept from succeeding does when all is healed, and no host stays
// closed.
func TestClosesInTheEnd(t *testing.T) {
	const main = 20 * time.Second
	ops, err := workloadtest.Simulate(New(Options{Hosts: hosts}, nil, checker.Budget{}), main, generatortest.Simulation{
		Outcome: func(_ *rand.Rand, op histories.Op) (histories.Type, time.Duration) {
			if op.Time < main {
				return histories.Fail, time.Millisecond
			}
			return histories.OK, time.Millisecond
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	closed, open := map[string]bool{}, map[string]bool{}
	for _, op := range ops {
		if op.Type != histories.OK || op.F != Drain && op.F != Cordon && op.F != Uncordon {
			continue
		}
		in, err := parseInput(op.F, op.Value)
		if err != nil {
			t.Fatal(err)
		}
		if open[in.Host] = op.F == Uncordon; !open[in.Host] {
			closed[op.F] = true
		}
	}
	if !closed[Drain] || !closed[Cordon] {
		t.Errorf("only %v succeeded", closed)
	}
	for _, host := range hosts {
		if !open[host] {
			t.Errorf("%s stays closed", host)
		}
	}
}

// hearing is a generator from which on a plane hears again.
type hearing struct {
	*plane
	generator.Generator
}

func (h hearing) Next(c generator.Context) generator.Step {
	h.deaf = false
	return h.Generator.Next(c)
}

// TestCatchesUp: so does what is done to machines, which come to rest after that.
func TestCatchesUp(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(5)) {
		synctest.Test(t, func(t *testing.T) {
			p := newPlane(none, seed, hosts...)
			p.deaf = true
			w := New(Options{Hosts: hosts}, p.open, checker.Budget{})
			w.Final = hearing{p, w.Final}
			h, err := workloadtest.Play{Main: 8 * time.Second, Seed: seed}.History(w)
			if err != nil {
				t.Fatal(err)
			}
			succeeded := map[string]bool{}
			for _, op := range h.All() {
				succeeded[op.F] = succeeded[op.F] || op.Type == histories.OK
			}
			for _, f := range []string{Start, Stop, Delete, Migrate, Settle, Rest} {
				if !succeeded[f] {
					t.Errorf("seed %d: no %s succeeded", seed, f)
				}
			}
		})
	}
}

// TestCreatesAgain: creates are sent again, also at once, and always where nobody knows what
// became of one.
func TestCreatesAgain(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(10)) {
		sent, open := map[string]bool{}, map[string]int{}
		known, unknown := map[string]bool{}, map[string]bool{}
		again, atOnce, lost := 0, 0, 0
		played(t, Options{}, seed, func(op histories.Op, in input, _ bool) {
			if op.F != Create {
				return
			}
			switch op.Type {
			case histories.Invoke:
				if sent[in.Token] {
					again++
				}
				if open[in.Token] > 0 {
					atOnce++
				}
				open[in.Token]++
				sent[in.Token] = true
				delete(unknown, in.Token)
				return
			case histories.OK:
				known[in.Token] = true
			case histories.Info:
				lost++
				unknown[in.Token] = true
			}
			open[in.Token]--
		})
		for token := range unknown {
			if !known[token] {
				t.Errorf("seed %d: nobody asked again for %s", seed, token)
			}
		}
		if again < 15 || atOnce < 5 {
			t.Errorf("seed %d: %d were sent again, %d of them at once, %d were lost", seed, again, atOnce, lost)
		}
	}
}

// TestProportions: mostly machines are looked at; they are changed as often however many
// operations there are.
func TestProportions(t *testing.T) {
	for _, rate := range []float64{0, DefaultRate, 4 * DefaultRate} {
		for seed := range uint64(workloadtest.Cases(5)) {
			count, all := map[string]int{}, 0
			played(t, Options{Rate: rate}, seed, func(op histories.Op, _ input, main bool) {
				if main && op.Type == histories.Invoke {
					count[op.F]++
					all++
				}
			})
			want := cmp.Or(rate, DefaultRate) * mainPhase.Seconds()
			if n := float64(all); n < 0.9*want || n > 1.1*want {
				t.Errorf("rate %v, seed %d: %d operations, want %v", rate, seed, all, want)
			}
			if count[Get] < all*7/10 {
				t.Errorf("rate %v, seed %d: %d gets of %d operations", rate, seed, count[Get], all)
			}
			for f, bounds := range map[string][2]int{
				Migrate: {18, 45}, Drain: {2, 16}, Stop: {12, 40}, Start: {6, 35}, Delete: {6, 30},
			} {
				if n := count[f]; n < bounds[0] || n > bounds[1] {
					t.Errorf("rate %v, seed %d: %d × %s", rate, seed, n, f)
				}
			}
		}
	}
}

// TestAskedAgain: who is asked again where there is nothing to do answers the same, and
// nothing is done in haste to a system that refuses everything, or is silent.
func TestAskedAgain(t *testing.T) {
	for _, typ := range []histories.Type{histories.Fail, histories.Info} {
		w := New(Options{Hosts: hosts, Rate: 10000}, nil, checker.Budget{})
		const main = 10 * time.Second
		ops, err := workloadtest.Simulate(w, main, generatortest.Simulation{Repeat: 3, Outcome: func(r *rand.Rand, op histories.Op) (histories.Type, time.Duration) {
			return typ, time.Duration(r.Int64N(int64(time.Millisecond)))
		}})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, op := range ops {
			if op.Type == histories.Invoke && op.Time < main {
				n++
			}
		}
		if n < 60 || n > 150 { // ten machines, each every two seconds at last
			t.Errorf("%v: %d operations", typ, n)
		}
	}
}

func TestFinalEnds(t *testing.T) {
	const limit = 2 * time.Second // of closing hosts, and of uncordoning; nothing is there to be looked at
	w := New(Options{Hosts: hosts, FinalLimit: limit}, nil, checker.Budget{})
	if err := workloadtest.FinalEnds(w, 2*limit+settleLimit+restLimit); err != nil {
		t.Error(err)
	}
}
