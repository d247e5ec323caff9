package nemesis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/cluster"
)

// A council is a system whose nodes agree at once on who leads and who is a member.
type council struct {
	mu     sync.Mutex
	leader string
	term   uint64
	voters []string
	hidden bool // nobody answers who asks for its state
	hides  bool // from the first look on
	fails  map[string]error
	did    []string
}

// newCouncil returns one on machines.
func newCouncil(n int) (*council, *machines, Env) {
	m, env := newMachines(n)
	c := &council{leader: "n1", term: 5, voters: nodes(n), fails: map[string]error{}}
	env.Leader, env.Elector, env.Members, env.Observed = c, c, c, c
	return c, m, env
}

func (c *council) do(what, node string, f func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	what += " " + node
	c.did = append(c.did, what)
	if err := c.fails[what]; err != nil {
		return err
	}
	f()
	return nil
}

func (c *council) Leader(context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leader, nil
}

func (c *council) Transfer(_ context.Context, to string) error {
	return c.do("transfer", to, func() {
		if to == "" {
			to = c.voters[slices.IndexFunc(c.voters, func(n string) bool { return n != c.leader })]
		}
		c.leader = to
		c.term++
	})
}

func (c *council) Elect(_ context.Context, node string) error {
	return c.do("elect", node, func() { c.leader = node; c.term++ })
}

func (c *council) Leave(_ context.Context, node string) error {
	return c.do("leave", node, func() {
		c.voters = slices.DeleteFunc(slices.Clone(c.voters), func(n string) bool { return n == node })
		if c.leader == node {
			c.leader = c.voters[0]
			c.term++
		}
	})
}

func (c *council) Join(_ context.Context, node string) error {
	return c.do("join", node, func() { c.voters = append(slices.Clone(c.voters), node) })
}

func (c *council) Observe(context.Context) (cluster.State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.hidden = c.hidden || c.hides }()
	state := cluster.State{}
	for _, node := range c.voters {
		if c.hidden {
			break
		}
		s := cluster.NodeState{Role: cluster.RoleFollower, Term: c.term, Leader: c.leader, Voters: c.voters}
		if node == c.leader {
			s.Role = cluster.RoleLeader
		}
		state[node] = s
	}
	return state, nil
}

// done returns what was done, and forgets it.
func (c *council) done() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.did = nil }()
	return strings.Join(c.did, ", ")
}

func TestMemberLeavesAndComesBack(t *testing.T) {
	for variant, during := range map[string]string{
		"leave":   "leave n3",
		"join":    "leave n3, join n3",
		"replace": "leave n3, join n3",
	} {
		synctest.Test(t, func(t *testing.T) {
			c, m, env := newCouncil(5)
			h, err := begin(t, breaker(t, Member(), env, "member:"+variant+":n3"), 1)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := c.done(); got != during {
				t.Errorf("%s: when it has begun, it did %s", variant, got)
			}
			if _, runs := m.running()["n3"]; runs == (variant == "replace") {
				t.Errorf("%s: it runs: %v", variant, runs) // to end and start it else is the system's
			}
			acted, evidence, err := h.End(t.Context())
			if err != nil || acted != 1 {
				t.Errorf("%s: acted %d, %v", variant, acted, err)
			}
			p := evidence.(map[string]Passage)["n3"]
			if fmt.Sprint(p.Before, p.Without, p.After) != "[n1 n2 n3 n4 n5] [n1 n2 n4 n5] [n1 n2 n3 n4 n5]" || p.Error != "" {
				t.Errorf("%s: evidence %+v", variant, p)
			}
			if got := c.done(); variant == "leave" && got != "join n3" || variant != "leave" && got != "" {
				t.Errorf("%s: to heal it, it did %q", variant, got)
			}
			if len(env.guard.holds) > 0 {
				t.Errorf("%s: the guard still counts %v", variant, env.guard.holds)
			}
		})
	}
}

// TestNodeDoesNotJoinBeforeItHasLeft, and what could not be done at first is done when
// the fault is healed.
func TestNodeDoesNotJoinBeforeItHasLeft(t *testing.T) {
	for _, step := range []string{"leave", "join"} {
		synctest.Test(t, func(t *testing.T) {
			c, _, env := newCouncil(5)
			c.fails[step+" n3"] = errors.New("no majority")
			h, err := begin(t, breaker(t, Member(), env, "member:join:n3"), 1)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if did := c.done(); !strings.HasSuffix(did, step+" n3") {
				t.Errorf("%s fails: it did %s", step, did)
			}
			if _, _, err := h.End(t.Context()); err == nil {
				t.Errorf("%s fails: healed all the same", step)
			}
			if len(env.guard.holds) != 1 {
				t.Errorf("%s fails: the guard counts %v", step, env.guard.holds)
			}
			c.done()
			c.mu.Lock()
			clear(c.fails)
			c.mu.Unlock()
			acted, evidence, err := h.End(t.Context())
			if err != nil || acted != 1 || !strings.Contains(evidence.(map[string]Passage)["n3"].Error, "no majority") {
				t.Errorf("%s failed: acted %d, %v, evidence %+v", step, acted, err, evidence)
			}
			if got, want := c.done(), "leave n3, join n3"; !strings.HasSuffix(want, got) || !strings.HasPrefix(got, step) {
				t.Errorf("%s failed: then it did %s", step, got)
			}
		})
	}
}

func TestRollingReplacementTakesOneNodeAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, env := newCouncil(3)
		h, err := begin(t, breaker(t, Member(), env, "member:rolling"), 1)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		var want []string
		for _, node := range h.Detail().(Exchange).Order {
			want = append(want, "leave "+node, "join "+node)
		}
		if got := c.done(); got != strings.Join(want, ", ") {
			t.Errorf("it did %s", got)
		}
		acted, evidence, err := h.End(t.Context())
		if err != nil || acted != 3 || len(evidence.(map[string]Passage)) != 3 {
			t.Errorf("acted %d, %v: %v", acted, err, evidence)
		}
		if len(env.guard.holds) > 0 {
			t.Errorf("the guard still counts %v", env.guard.holds)
		}

		// One that does not come back is the last.
		c.fails["join n2"] = errors.New("no majority")
		h, err = begin(t, breaker(t, Member(), env, "member:rolling"), 1)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := c.done(); !strings.HasSuffix(got, "join n2") || len(env.guard.holds) != 1 {
			t.Errorf("it did %s; the guard counts %v", got, env.guard.holds)
		}
		delete(c.fails, "join n2")
		if _, _, err := h.End(t.Context()); err != nil || c.done() != "join n2" || len(env.guard.holds) > 0 {
			t.Errorf("healed: %v; the guard counts %v", err, env.guard.holds)
		}
	})
}

func TestNobodyLeavesWhileOthersAreMissing(t *testing.T) {
	_, _, env := newCouncil(5)
	release, err := env.guard.claim(&Aim{Count: 2}, []string{"n1", "n2"}, stops)
	if err != nil {
		t.Fatal(err)
	}
	b := breaker(t, Member(), env, "member:leave:n3")
	if _, err := begin(t, b, 1); !errors.Is(err, errGuarded) {
		t.Errorf("got %v", err)
	}
	release()
	h, err := begin(t, b, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.End(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestMembershipThatNobodySawIsNoEvidence: the system says that it is done, and no
// majority bears it out.
func TestMembershipThatNobodySawIsNoEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, env := newCouncil(5)
		c.hidden = true
		h, err := begin(t, breaker(t, Member(), env, "member:join:n3"), 1)
		if err != nil {
			t.Fatal(err)
		}
		if acted, _, err := h.End(t.Context()); acted != 0 || err != nil {
			t.Errorf("acted %d, %v", acted, err)
		}
	})
}

func TestMembersAreWhatAMajorityOfThemSays(t *testing.T) {
	say := func(voters string, changing bool) cluster.NodeState {
		return cluster.NodeState{Voters: strings.Fields(voters), Changing: changing}
	}
	for want, state := range map[string]cluster.State{
		"[a b c]": {"a": say("a b c", false), "b": say("c b a", false), "c": say("a b", false)},
		"[]":      {"a": say("a b c", false), "b": say("a b c", true)},
		"[a b]":   {"a": say("a b", false), "b": say("a b", false), "c": say("a b c", false), "d": say("a b c", false)},
		"[a]":     {"a": say("a", false)},
	} {
		if got := fmt.Sprint(agreed(state)); got != want {
			t.Errorf("%v: %s, want %s", maps.Collect(maps.All(state)), got, want)
		}
	}
}

func TestWhoHasLeftIsMissedByAMajority(t *testing.T) {
	say := func(voters string, changing bool) cluster.NodeState {
		return cluster.NodeState{Voters: strings.Fields(voters), Changing: changing}
	}
	for _, test := range []struct {
		want  string
		state cluster.State // of which c has left
	}{
		{"[a b]", cluster.State{"a": say("a b", false), "b": say("a b", false)}},
		{"[a b]", cluster.State{"a": say("a b", true), "b": say("a b", true)}}, // nobody leads
		{"[a b]", cluster.State{"a": say("a b", true), "b": say("a b", false), "c": say("a b", true)}},
		{"[]", cluster.State{"a": say("a b", false), "b": say("a b c", false)}},
		{"[]", cluster.State{"a": say("a b", false), "b": say("a b c", false), "c": say("a b c", false)}},
		{"[]", cluster.State{"a": say("a b c", true), "b": say("a b c", false), "c": say("a b c", false)}},
		{"[]", cluster.State{"a": say("a b d e", false), "b": say("a b d e", false)}},
	} {
		if got := fmt.Sprint(agreedWithout(test.state, "c")); got != test.want {
			t.Errorf("%v: %s, want %s", maps.Collect(maps.All(test.state)), got, test.want)
		}
	}
}

func TestFaultsOfMembersAreRefusedWhereTheyCannotBe(t *testing.T) {
	_, _, whole := newCouncil(5)
	_, _, small := newCouncil(2)
	_, plain := newMachines(5)
	blind := whole
	blind.Observed = nil
	for name, env := range map[string]Env{"no members": plain, "blind": blind, "two nodes": small} {
		if _, err := Member().New(env, Spec{Fault: "member"}); err == nil {
			t.Errorf("member, %s: it was taken", name)
		}
		if _, err := Leader().New(env, Spec{Fault: "leader"}); err == nil && name != "two nodes" {
			t.Errorf("leader, %s: it was taken", name)
		}
	}
}

// TestHealsWaitNoLongerThanTheyMay for what goes on beside: the nemesis does one thing at
// a time, and another heal may be what it waits for.
func TestHealsWaitNoLongerThanTheyMay(t *testing.T) {
	for spec, f := range map[string]Fault{"leader:transfer:n2": Leader(), "member:replace:n2": Member()} {
		synctest.Test(t, func(t *testing.T) {
			c, _, env := newCouncil(3)
			c.hides = true
			h, err := begin(t, breaker(t, f, env, spec), 1)
			if err != nil {
				t.Fatal(err)
			}
			short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			asked := time.Now()
			if _, _, err := h.End(short); err == nil {
				t.Errorf("%s: it was healed, and goes on", spec)
			}
			if took := time.Since(asked); took > 10*time.Millisecond {
				t.Errorf("%s: it waited for %v", spec, took)
			}
			if _, _, err := h.End(t.Context()); err != nil {
				t.Errorf("%s: %v", spec, err)
			}
		})
	}
}
