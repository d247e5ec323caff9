package raftkvtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/systems/raftkv"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/register"
)

// A recorder is a history in the making.
type recorder struct {
	mu    sync.Mutex
	begun time.Time
	ops   []histories.Op
	next  histories.Process
	value int64
}

func (r *recorder) record(op histories.Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	op.Index, op.Time = len(r.ops), time.Since(r.begun)
	if len(r.ops) > 0 {
		op.Time = max(op.Time, r.ops[len(r.ops)-1].Time+1)
	}
	r.ops = append(r.ops, op)
}

func (r *recorder) process() histories.Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	return r.next - 1
}

func (r *recorder) unique() register.Value {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.value++
	return register.Of(r.value)
}

// play is a worker: it reads, writes and compares until the time is over, each
// time on one of a few keys.
func (r *recorder) play(t *testing.T, c *Cluster, w workloads.Workload, worker int, until time.Time, random *rand.Rand) {
	process := r.process()
	client, err := w.Open(t.Context(), worker)
	if err != nil {
		t.Error(err)
		return
	}
	saw := map[string]register.Value{}
	for time.Now().Before(until) {
		in := register.Input{Key: fmt.Sprintf("k%d-%d", int(time.Since(r.begun)/(3*time.Second)), random.IntN(3))}
		op := histories.Op{Process: process, Type: histories.Invoke, F: register.Read}
		switch random.IntN(5) {
		case 0, 1:
			op.F, in.New = register.Write, r.unique()
		case 2:
			op.F, in.Old, in.New = register.CAS, saw[in.Key], r.unique()
		}
		op.Value = in.Payload(op.F)
		r.record(op)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		reply, err := client.Invoke(ctx, op)
		cancel()
		op.Node, op.Meta = reply.Node, reply.Meta
		switch {
		case err == nil:
			op.Type = histories.OK
			if reply.Value != nil {
				op.Value = reply.Value
			}
		case workloads.IsDefinite(err):
			op.Type, op.Error = histories.Fail, err.Error()
		default:
			op.Type, op.Error = histories.Info, err.Error()
		}
		r.record(op)
		if op.Type == histories.OK && op.F == register.Read {
			got, err := register.ParseInput(register.Write, op.Value)
			if err != nil {
				t.Error(err)
			}
			saw[in.Key] = got.New
		}
		if op.Type == histories.Info {
			process = r.process()
		}
		time.Sleep(time.Duration(random.Int64N(int64(20 * time.Millisecond)))) // think
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
}

// cuts returns links that part one node, often the leader, or some nodes, from the
// others, in one direction or both, or from the tester, too.
func cuts(c *Cluster, random *rand.Rand) []cluster.Link {
	side := map[string]bool{}
	if leader, err := c.Leader(context.Background()); err == nil && random.IntN(2) == 0 {
		side[leader] = true
	} else {
		for _, name := range c.names {
			side[name] = random.IntN(2) == 0
		}
	}
	side[cluster.Tester] = random.IntN(2) == 0
	shape := random.IntN(3)
	var links []cluster.Link
	all := append([]string{cluster.Tester}, c.names...)
	for _, a := range all {
		for _, b := range all {
			withTester := a == cluster.Tester || b == cluster.Tester
			if side[a] && !side[b] && (!withTester || random.IntN(4) == 0) {
				if shape != 0 {
					links = append(links, cluster.Link{From: a, To: b})
				}
				if shape != 1 {
					links = append(links, cluster.Link{From: b, To: a})
				}
			}
		}
	}
	return links
}

// disturb does to the cluster what else can be done, while its network may be cut: its
// leader is told to go, nodes restart, or are replaced. It returns what cannot be
// left so.
func disturb(t *testing.T, c *Cluster, random *rand.Rand) (undo func()) {
	node := c.names[random.IntN(len(c.names))]
	soon := within(t, time.Second)
	switch random.IntN(6) {
	case 0:
		_ = c.Transfer(soon, "") // who cannot need not
	case 1:
		_ = c.Transfer(soon, node)
	case 2:
		_ = c.Elect(soon, node)
		_ = c.Elect(soon, c.names[random.IntN(len(c.names))])
	case 3:
		must(t, c.Stop(node))
		return func() { must(t, c.Start(node)) }
	case 4:
		if err := c.Leave(soon, node); err != nil {
			return func() { // it may be that it has left
				must(t, c.Leave(within(t, time.Minute), node))
				must(t, c.Join(within(t, time.Minute), node))
			}
		}
		_ = c.Join(soon, node)
		return func() { must(t, c.Join(within(t, time.Minute), node)) }
	}
	return func() {}
}

// simulate runs clients on a cluster whose network breaks again and again, and which
// is disturbed otherwise if that is asked for, and returns the history.
func simulate(t *testing.T, mistake string, seed uint64, length time.Duration, disturbed bool) *histories.History {
	return simulateTuned(t, mistake, raftkv.Tuning{}, seed, length, disturbed)
}

// simulateTuned is simulate, and the nodes perform otherwise.
func simulateTuned(
	t *testing.T, mistake string, tuned raftkv.Tuning, seed uint64, length time.Duration, disturbed bool,
) *histories.History {
	var h *histories.History
	synctest.Test(t, func(t *testing.T) {
		c, err := NewTuned(5, mistake, tuned, seed)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}()
		if err := c.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		r := &recorder{begun: time.Now()}
		w := register.New(register.Options{}, c.OpenRegister, checker.Budget{})
		until := r.begun.Add(length)
		var players sync.WaitGroup
		for worker := range 10 {
			random := rand.New(rand.NewPCG(seed, uint64(worker)+1))
			players.Go(func() { r.play(t, c, w, worker, until, random) })
		}
		random := rand.New(rand.NewPCG(seed, 0))
		var dropped uint64
		for time.Now().Before(until) {
			links := cuts(c, random)
			before := c.Dropped(links...)
			must(t, c.Cut(links...))
			undo := func() {}
			if disturbed {
				time.Sleep(time.Duration(random.Int64N(int64(time.Second))))
				undo = disturb(t, c, random)
			}
			time.Sleep(time.Second + time.Duration(random.Int64N(int64(2*time.Second))))
			must(t, c.Heal(links...))
			for i, n := range c.Dropped(links...) {
				dropped += n - before[i]
			}
			undo()
			time.Sleep(time.Second + time.Duration(random.Int64N(int64(time.Second))))
		}
		players.Wait()
		if dropped == 0 {
			t.Error("the cuts dropped nothing")
		}
		must(t, c.Ready(t.Context()))
		if h, err = histories.FromOps(r.ops); err != nil {
			t.Fatal(err)
		}
	})
	return h
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// judge returns the verdict on the registers alone.
func judge(t *testing.T, h *histories.History) checker.Result {
	t.Helper()
	r, err := register.Checker(checker.Budget{}).Check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range r.Parts {
		if part.Name == "linearizable" {
			return part
		}
	}
	t.Fatal("nothing says linearizable")
	return checker.Result{}
}

// count counts the completions of a history.
func count(h *histories.History) map[histories.Type]int {
	n := map[histories.Type]int{}
	for _, op := range h.All() {
		n[op.Type]++
	}
	return n
}

func TestCorrectClusterIsLinearizable(t *testing.T) {
	for seed := range uint64(8) {
		h := simulate(t, "", seed, 10*time.Second, seed >= 2)
		n := count(h)
		t.Logf("seed %d: %d ok, %d fail, %d info", seed, n[histories.OK], n[histories.Fail], n[histories.Info])
		if n[histories.OK] < 500 {
			t.Errorf("seed %d: %v: too little happened", seed, n)
		}
		if r := judge(t, h); r.Verdict != checker.Valid {
			t.Errorf("seed %d: %s", seed, checkertest.Format(r))
		}
	}
}

func TestEachBugIsFound(t *testing.T) {
	for _, mistake := range []string{bug.StaleRead, bug.AckBeforeCommit, bug.TimeoutAsFail, bug.TimeoutAsOK} {
		// Most seeds show it at once; that none of so many does is as good as
		// impossible.
		const seeds = 8
		for seed := uint64(0); ; seed++ {
			if seed == seeds {
				t.Errorf("%s: not found with %d seeds", mistake, seeds)
				break
			}
			if judge(t, simulate(t, mistake, seed, 10*time.Second, false)).Verdict == checker.Invalid {
				t.Logf("%s: found with seed %d", mistake, seed)
				break
			}
		}
	}
}
