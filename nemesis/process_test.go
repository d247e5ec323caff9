package nemesis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/cluster"
)

// machines are nodes whose processes are numbers.
type machines struct {
	mu     sync.Mutex
	last   int
	pids   map[string]int // of those that run
	pauses map[string]int
	exited map[string]chan struct{}
	guests map[string][]cluster.Guest // that run beside the process, on hosts
	// fails says what an operation fails with, such as "start n1".
	fails map[string]error
	did   []string
	used  map[string]cluster.Usage
	limit map[string]*limitedMachine
}

func newMachines(n int) (*machines, Env) {
	m := &machines{
		pids: map[string]int{}, pauses: map[string]int{}, exited: map[string]chan struct{}{}, fails: map[string]error{},
		guests: map[string][]cluster.Guest{},
		used:   map[string]cluster.Usage{}, limit: map[string]*limitedMachine{},
	}
	for _, node := range nodes(n) {
		if err := m.Start(node); err != nil {
			panic(err)
		}
	}
	m.did = nil
	return m, Env{Nodes: nodes(n), Processes: m, Start: m.Start, Resources: m}.withBooks()
}

// do notes an operation; f changes what runs.
func (m *machines) do(what, node string, f func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	what += " " + node
	m.did = append(m.did, what)
	if err := m.fails[what]; err != nil {
		return err
	}
	return f()
}

func (m *machines) Start(node string) error {
	return m.do("start", node, func() error {
		if m.pids[node] != 0 {
			return fmt.Errorf("%s runs already", node)
		}
		m.last++
		m.pids[node], m.exited[node] = m.last, make(chan struct{})
		return nil
	})
}

func (m *machines) end(node string) {
	if m.pids[node] != 0 {
		delete(m.pids, node)
		close(m.exited[node])
	}
}

func (m *machines) Kill(node string) error {
	return m.do("kill", node, func() error { delete(m.guests, node); m.end(node); return nil })
}

// KillOne ends the node's process, or a guest that runs there.
func (m *machines) KillOne(node string, pid int) error {
	return m.do("kill one of", node, func() error {
		if m.pids[node] == pid {
			m.end(node)
			return nil
		}
		at := slices.IndexFunc(m.guests[node], func(g cluster.Guest) bool { return g.PID == pid })
		if at < 0 {
			return fmt.Errorf("%s has no process %d", node, pid)
		}
		m.guests[node] = slices.Delete(m.guests[node], at, at+1)
		return nil
	})
}

func (m *machines) Stop(_ context.Context, node string) error {
	return m.do("stop", node, func() error { m.end(node); return nil })
}

func (m *machines) Pause(node string) error {
	return m.do("pause", node, func() error { m.pauses[node]++; return nil })
}

func (m *machines) Resume(node string) error {
	return m.do("resume", node, func() error {
		if m.pauses[node] == 0 {
			return fmt.Errorf("%s is not paused", node)
		}
		m.pauses[node]--
		return nil
	})
}

func (m *machines) Process(node string) (cluster.Process, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := cluster.Process{PID: m.pids[node], State: "S"}
	if m.pauses[node] > 0 {
		p.State = "T"
	}
	return p, p.PID != 0
}

func (m *machines) Exited(node string) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.exited[node]
}

// running returns the nodes that run, with their processes.
func (m *machines) running() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.pids)
}

// begin begins an instance as it was drawn.
func begin(t *testing.T, b Breaker, seed uint64) (Held, error) {
	t.Helper()
	return b.Begin(t.Context(), encode(b.Draw(rand.New(rand.NewPCG(seed, 1)))))
}

// breaker returns that of a fault.
func breaker(t *testing.T, f Fault, env Env, spec string) Breaker {
	t.Helper()
	specs, err := Parse([]Fault{f}, spec)
	if err != nil {
		t.Fatal(err)
	}
	b, err := f.New(env, specs[0])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestProcessFaultsUndoWhatTheyDid(t *testing.T) {
	for _, test := range []struct {
		fault Fault
		spec  string
		hit   int      // nodes of five
		do    string   // to each of them
		undo  []string // to each of them
		want  Hit      // but for the numbers
	}{
		{Kill(), "kill:one", 1, "kill", []string{"kill", "start"}, Hit{Exited: true, Gone: true}},
		{Kill(), "kill:n3", 1, "kill", []string{"kill", "start"}, Hit{Exited: true, Gone: true}},
		{Kill(), "kill:majority", 3, "kill", []string{"kill", "start"}, Hit{Exited: true, Gone: true}},
		{Kill(), "kill:all", 5, "kill", []string{"kill", "start"}, Hit{Exited: true, Gone: true}},
		{Pause(), "pause:one", 1, "pause", []string{"resume"}, Hit{State: "T", Resumed: "S"}},
		{Pause(), "pause:all", 5, "pause", []string{"resume"}, Hit{State: "T", Resumed: "S"}},
		{Restart(), "restart:down:majority", 3, "stop", []string{"kill", "start"}, Hit{Exited: true, Gone: true}},
		{Restart(), "restart:one", 1, "stop", []string{"kill", "start"}, Hit{Exited: true, Gone: true}},
	} {
		t.Run(test.spec, func(t *testing.T) {
			m, env := newMachines(5)
			before := m.running()
			b := breaker(t, test.fault, env, test.spec)
			h, err := begin(t, b, 7)
			if err != nil {
				t.Fatal(err)
			}
			hit := h.Detail().(Strike).Nodes
			var want []string
			for _, node := range hit {
				want = append(want, test.do+" "+node)
			}
			if got := slices.Sorted(slices.Values(m.did)); len(hit) != test.hit || !slices.Equal(got, slices.Sorted(slices.Values(want))) {
				t.Errorf("hit %v, and did %v", hit, got)
			}
			m.did, want = nil, nil
			for _, node := range hit {
				for _, undo := range test.undo {
					want = append(want, undo+" "+node)
				}
			}
			acted, evidence, err := h.End(t.Context())
			if err != nil || acted != uint64(test.hit) || !slices.Equal(m.did, want) {
				t.Errorf("acted %d, and then did %v: %v", acted, m.did, err)
			}
			for node, hit := range evidence.(map[string]*Hit) {
				got := *hit
				if got.PID != before[node] || got.Again == got.PID || got.Again != 0 && got.Again != m.running()[node] {
					t.Errorf("%s ran process %d, then %d: %+v", node, before[node], m.running()[node], got)
				}
				got.PID, got.Again, got.undone = 0, 0, false
				if got != test.want {
					t.Errorf("the evidence of %s is %+v", node, hit)
				}
			}
			if len(m.running()) != 5 || len(env.guard.holds) != 0 {
				t.Errorf("it runs %v; books: %v", m.running(), env.guard.holds)
			}
		})
	}
}

// TestWhatCannotBeUndoneIsTriedAgain, and meanwhile no other fault has it.
func TestWhatCannotBeUndoneIsTriedAgain(t *testing.T) {
	m, env := newMachines(3)
	h, err := begin(t, breaker(t, Kill(), env, "kill:all"), 1)
	if err != nil {
		t.Fatal(err)
	}
	m.fails["start n2"] = errors.New("out of order")
	if _, _, err := h.End(t.Context()); err == nil || !strings.Contains(err.Error(), "out of order") {
		t.Errorf("got %v", err)
	}
	if got := slices.Sorted(maps.Keys(m.running())); !slices.Equal(got, []string{"n1", "n3"}) {
		t.Errorf("%v run", got)
	}
	if _, err := begin(t, breaker(t, Pause(), env, "pause:n1"), 1); !errors.Is(err, errGuarded) {
		t.Errorf("another fault has what is not undone: %v", err)
	}
	m.fails = nil
	acted, _, err := h.End(t.Context())
	if err != nil || acted != 3 || len(m.running()) != 3 {
		t.Errorf("acted %d, %v; %v run", acted, err, m.running())
	}
}

// TestFaultsThatNeedAProcessChooseNodesThatRun where they can, and what was drawn is
// recorded as it was.
func TestFaultsThatNeedAProcessChooseNodesThatRun(t *testing.T) {
	m, env := newMachines(5)
	env.Clocks, _ = newWatches(5)
	for _, node := range []string{"n2", "n5"} {
		if err := m.Kill(node); err != nil {
			t.Fatal(err)
		}
	}
	for _, spec := range []string{"kill", "pause", "restart:down", "resource:cpu", "resource:memory", "clock:jump"} {
		for _, target := range []string{One, Minority, AllNodes} {
			f := find([]Fault{Kill(), Pause(), Restart(), Resource(), Clock()}, strings.Split(spec, ":")[0])
			for seed := range uint64(8) {
				h, err := begin(t, breaker(t, *f, env, spec+":"+target), seed)
				if err != nil {
					t.Fatalf("%s:%s: %v", spec, target, err)
				}
				var a Aim
				switch d := h.Detail().(type) {
				case Strike:
					a = d.Aim
				case Shortage:
					a = d.Aim
				case Warping:
					a = d.Aim
				}
				if want := min(3, a.Count); len(a.Nodes) != want || len(a.Order) != 5 || slices.Contains(a.Nodes, "n2") || slices.Contains(a.Nodes, "n5") {
					t.Errorf("%s:%s hits %v of %v, and wanted %d that run", spec, target, a.Nodes, a.Order, want)
				}
				if _, _, err := h.End(t.Context()); err != nil {
					t.Errorf("%s: %v", spec, err)
				}
			}
		}
	}
}

// TestFaultsAreHeldBackWhereAnotherHoldsEveryNodeDown: a node that is down for no
// reason is another matter.
func TestFaultsAreHeldBackWhereAnotherHoldsEveryNodeDown(t *testing.T) {
	m, env := newMachines(3)
	env.Clocks, _ = newWatches(3)
	kill, err := begin(t, breaker(t, Kill(), env, "kill:all"), 1)
	if err != nil {
		t.Fatal(err)
	}
	try := func(f Fault, spec string) error {
		_, err := begin(t, breaker(t, f, env, spec), 1)
		if err == nil {
			t.Errorf("%s has begun", spec)
		}
		return err
	}
	all := map[string]Fault{"pause": Pause(), "kill:n2": Kill(), "resource:cpu": Resource(), "resource:cpu:n2": Resource(), "clock": Clock(), "clock:n2": Clock()}
	for spec, f := range all {
		if err := try(f, spec); !errors.Is(err, errGuarded) {
			t.Errorf("%s: %v", spec, err)
		}
	}
	if _, _, err := kill.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, node := range env.Nodes {
		if err := m.Kill(node); err != nil {
			t.Fatal(err)
		}
	}
	for spec, f := range all {
		if err := try(f, spec); errors.Is(err, errGuarded) || !strings.Contains(err.Error(), "runs nothing") || len(env.guard.holds) > 0 {
			t.Errorf("%s: %v; books: %v", spec, err, env.guard.holds)
		}
	}
}

func TestFaultsThatHitNobodyDoNotBegin(t *testing.T) {
	m, env := newMachines(3)
	if err := m.Kill("n2"); err != nil {
		t.Fatal(err)
	}
	for _, f := range []Fault{Kill(), Pause(), Restart(), Resource()} {
		spec := f.Name + ":n2"
		if f.Name == "restart" {
			spec = "restart:down:n2"
		}
		_, err := begin(t, breaker(t, f, env, spec), 1)
		if err == nil || !strings.Contains(err.Error(), "runs nothing") || len(env.guard.holds) != 0 {
			t.Errorf("%s: got %v; books: %v", spec, err, env.guard.holds)
		}
	}

	// One of two that fails is in the evidence, and is not undone.
	m.fails["pause n1"] = errors.New("it does not stop")
	h, err := begin(t, breaker(t, Pause(), env, "pause:all"), 1)
	if err != nil {
		t.Fatal(err)
	}
	m.did = nil
	acted, evidence, err := h.End(t.Context())
	if err != nil || acted != 1 || evidence.(map[string]*Hit)["n1"].Error == "" || !slices.Equal(m.did, []string{"resume n3"}) {
		t.Errorf("acted %d, did %v: %v", acted, m.did, err)
	}
}

// TestWhatEndsUnderAPauseIsStartedAgain: a limit of memory may kill what is paused.
func TestWhatEndsUnderAPauseIsStartedAgain(t *testing.T) {
	m, env := newMachines(3)
	h, err := begin(t, breaker(t, Pause(), env, "pause:n1"), 1)
	if err != nil {
		t.Fatal(err)
	}
	m.end("n1")
	_, evidence, err := h.End(t.Context())
	if hit := evidence.(map[string]*Hit)["n1"]; err != nil || m.running()["n1"] == 0 || hit.Again != m.running()["n1"] {
		t.Errorf("%v; %v run; %+v", err, m.running(), hit)
	}
}

// slowly is a system whose nodes answer some time after they were started.
type slowly struct {
	*machines
	answer time.Duration
	since  map[string]time.Time // by "node process"
}

func (s *slowly) Observe(context.Context) (cluster.State, error) {
	state := cluster.State{}
	for node, pid := range s.running() {
		key := fmt.Sprint(node, pid)
		if s.since[key].IsZero() {
			s.since[key] = time.Now()
		}
		if time.Since(s.since[key]) >= s.answer {
			state[node] = cluster.NodeState{Role: cluster.RoleFollower}
		}
	}
	return state, nil
}

func TestRollingRestartWaitsForEachNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, env := newMachines(3)
		env.Observed = &slowly{m, time.Second, map[string]time.Time{}}
		b := breaker(t, Restart(), env, "restart:rolling")
		h, err := begin(t, b, 1)
		if err != nil {
			t.Fatal(err)
		}
		order := h.Detail().(Strike).Order
		for i, node := range order {
			synctest.Wait()
			m.mu.Lock()
			if got := m.did[len(m.did)-1]; got != "start "+node || len(m.did) != 3*(i+1) {
				t.Errorf("it is the turn of %s in %v, and it did %v", node, order, m.did)
			}
			m.mu.Unlock()
			if _, err := begin(t, breaker(t, Kill(), env, "kill:"+node), 1); !errors.Is(err, errGuarded) {
				t.Errorf("another fault has %s in hold: %v", node, err)
			}
			time.Sleep(time.Second + 2*lookPause) // of the test's own time
		}
		acted, evidence, err := h.End(t.Context())
		if err != nil || acted != 3 {
			t.Errorf("acted %d: %v, %v", acted, evidence, err)
		}
		for node, hit := range evidence.(map[string]*Hit) {
			if hit.Again != m.running()[node] || hit.Error != "" {
				t.Errorf("%s: %+v", node, hit)
			}
		}
		if len(env.guard.holds) != 0 {
			t.Errorf("books: %v", env.guard.holds)
		}

		// One that is cut short leaves nobody down.
		m.did = nil
		if h, err = begin(t, b, 2); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		acted, _, err = h.End(t.Context())
		if err != nil || acted != 1 || len(m.running()) != 3 || len(m.did) != 3 {
			t.Errorf("acted %d: %v; did %v", acted, err, m.did)
		}

		// A node that does not start is started at the end.
		m.fails["start n2"] = errors.New("out of order")
		if h, err = begin(t, b, 3); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, _, err := h.End(t.Context()); err == nil {
			t.Error("a node is down, and all is well")
		}
		m.fails = map[string]error{}
		acted, _, err = h.End(t.Context())
		if err != nil || acted == 0 || len(m.running()) != 3 || len(env.guard.holds) != 0 {
			t.Errorf("acted %d: %v; %v run; books: %v", acted, err, m.running(), env.guard.holds)
		}

		// Where another fault has as many as may be down, none is restarted.
		other, err := begin(t, breaker(t, Kill(), env, "kill:n1"), 1)
		if err != nil {
			t.Fatal(err)
		}
		m.did = nil
		if h, err = begin(t, b, 3); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		acted, evidence, err = h.End(t.Context())
		if err != nil || acted != 0 || len(m.did) != 0 || evidence.(map[string]*Hit)["n3"].Error == "" {
			t.Errorf("acted %d: %v; did %v", acted, err, m.did)
		}
		if _, _, err := other.End(t.Context()); err != nil || len(m.running()) != 3 {
			t.Errorf("%v; %v run", err, m.running())
		}
	})
}

func TestProcessFaultsThatCannotBe(t *testing.T) {
	_, env := newMachines(3)
	for _, test := range []struct {
		fault Fault
		env   Env
		spec  Spec
		want  string
	}{
		{Kill(), Env{Nodes: nodes(3)}, Spec{Fault: "kill"}, "no processes"},
		{Kill(), env, Spec{Fault: "kill", Target: Leading}, "does not tell who leads"},
		{Pause(), env, Spec{Fault: "pause", Target: "n4"}, "no node n4"},
		{Restart(), env, Spec{Fault: "restart", Variant: "rolling", Target: One}, "cannot be aimed"},
		{Resource(), Env{Nodes: nodes(3), Processes: env.Processes, Start: env.Start}, Spec{Fault: "resource"}, "no resources"},
		{Resource(), Env{Nodes: nodes(3), Resources: env.Resources}, Spec{Fault: "resource"}, "no processes"},
	} {
		if _, err := test.fault.New(test.env, test.spec); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: got %v", test.spec, err)
		}
	}
}

// TestRestartsAreDrawnOfBothKinds, but aimed at somebody they are of one.
func TestRestartsAreDrawnOfBothKinds(t *testing.T) {
	_, env := newMachines(5)
	for spec, want := range map[string][]string{"restart": {"down", "rolling"}, "restart:minority": {"down"}, "restart:rolling": {"rolling"}} {
		drawn := map[string]bool{}
		b := breaker(t, Restart(), env, spec)
		for seed := range uint64(50) {
			s := b.Draw(rand.New(rand.NewPCG(seed, 0))).(*Strike)
			drawn[s.Variant] = true
			var again Strike
			if err := json.Unmarshal(encode(s), &again); err != nil || !reflect.DeepEqual(*s, again) {
				t.Errorf("%+v is read as %+v", *s, again)
			}
		}
		if got := slices.Sorted(maps.Keys(drawn)); !slices.Equal(got, want) {
			t.Errorf("%s draws %v", spec, got)
		}
	}
}

func TestNodesThatEndWhenTheFaultIsHealedAreStartedAgain(t *testing.T) {
	m, env := newMachines(3)
	n := &performer{env: env, held: map[int]Held{}, ended: map[int]bool{}, breakers: map[string]Breaker{}}
	a := Aim{Target: "n1", Count: 1}
	release, err := env.claim(t.Context(), &a, stops)
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"n1", "n2"} { // n2 by itself: no fault's business
		if err := m.Kill(node); err != nil {
			t.Fatal(err)
		}
	}
	if again, err := n.Revive(); err != nil || len(again) > 0 {
		t.Errorf("while a fault held it: got %v, %v", again, err)
	}
	release()
	if again, err := n.Revive(); err != nil || !slices.Equal(again, []string{"n1"}) {
		t.Errorf("got %v, %v", again, err)
	}
	if _, running := m.Process("n2"); running {
		t.Error("a node was started that no fault had hit")
	}
	m.fails["start n1"] = errors.New("no disk")
	if err := m.Kill("n1"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Revive(); err == nil || !strings.Contains(err.Error(), "no disk") {
		t.Errorf("got %v", err)
	}
}

func TestOneSeedDrawsTheSameFaults(t *testing.T) {
	for _, f := range []Fault{Kill(), Pause(), Restart(), Resource()} {
		drawn := func() (all string) {
			_, env := newMachines(5)
			b, r := breaker(t, f, env, f.Name), drawing(7)
			for range 10 {
				all += string(encode(b.Draw(r))) + "\n"
			}
			return all
		}
		if a, b := drawn(), drawn(); a != b {
			t.Errorf("%s: one seed, and two schedules:\n%s\n%s", f.Name, a, b)
		}
	}
}
