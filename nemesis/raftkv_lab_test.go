//go:build linux

package nemesis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/raftkv"
	"github.com/hacheck/hacheck/workloads/register"
)

// A parliament is raftkv on three nodes of a lab: who leads there, and who is a member,
// is agreed on by real processes.
type parliament struct {
	t      *testing.T
	lab    *cluster.Local
	system *raftkv.System
	env    Env
}

func newParliament(t *testing.T) *parliament {
	t.Helper()
	lab, err := cluster.NewLocal(cluster.Options{Nodes: 3, Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if refused, ok := errors.AsType[*cluster.RefusedError](err); ok && os.Getenv("CI") == "" {
		t.Skip(refused)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	system, err := raftkv.New(lab, raftkv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = system.Close() })
	p := &parliament{t, lab, system, NewEnv(lab, system).withBooks()}
	for _, node := range p.env.Nodes {
		if err := system.Start(node); err != nil {
			t.Fatal(err)
		}
	}
	p.ready()
	return p
}

// ready waits until all that are members answer.
func (p *parliament) ready() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	if err := p.system.Ready(ctx); err != nil {
		p.t.Fatal(err)
	}
}

// sees waits until something is so of what a majority of the nodes says.
func (p *parliament) sees(what string, is func(n cluster.NodeState) bool) {
	p.t.Helper()
	eventually(p.t, "a majority sees "+what, func() bool {
		state, err := p.system.Observe(p.t.Context())
		if err != nil {
			return false
		}
		agree := 0
		for _, n := range state {
			if is(n) {
				agree++
			}
		}
		return agree > len(p.env.Nodes)/2
	})
}

// seesMembers waits until a majority says that these are those with a vote, and that
// nothing changes.
func (p *parliament) seesMembers(want ...string) {
	p.t.Helper()
	p.sees(fmt.Sprint("the members ", want), func(n cluster.NodeState) bool {
		return !n.Changing && len(n.Learners) == 0 && slices.Equal(slices.Sorted(slices.Values(n.Voters)), want)
	})
}

// leads waits until a majority follows somebody, and returns who, and the term.
func (p *parliament) leads() (leader string, term uint64) {
	p.t.Helper()
	eventually(p.t, "somebody leads", func() bool {
		state, err := p.system.Observe(p.t.Context())
		if err != nil {
			return false
		}
		leader, term = leaderOf(state)
		return leader != ""
	})
	return leader, term
}

// begin begins a fault as it was asked for. On a busy machine a node may be too slow to
// be seen at the first look.
func (p *parliament) begin(f Fault, spec string) (h Held) {
	p.t.Helper()
	b := breaker(p.t, f, p.env, spec)
	eventually(p.t, spec+" begins", func() bool {
		var err error
		if h, err = begin(p.t, b, 1); err != nil {
			p.t.Log(err)
		}
		return err == nil
	})
	return h
}

func TestLeadersChangeInARealCluster(t *testing.T) {
	if !inLab(t) {
		return
	}
	p := newParliament(t)
	for range 3 {
		for _, variant := range []string{leaderTransfer, leaderElection} {
			leader, term := p.leads()
			next := p.env.Nodes[slices.IndexFunc(p.env.Nodes, func(n string) bool { return n != leader })]
			spec := "leader:" + variant + ":" + next
			h := p.begin(Leader(), spec)
			p.sees("a later term", func(n cluster.NodeState) bool { return n.Term > term })
			acted, evidence, err := h.End(t.Context())
			c := evidence.(Count)
			seen := c.Leader == leader || c.Leader == "" // on a busy machine
			if err != nil || acted != 1 || !seen || c.Term != term || c.NextTerm <= term || c.Next == "" {
				t.Errorf("%s, where %s led term %d: acted %d, %v: %+v", spec, leader, term, acted, err, c)
			}
			t.Logf("%s: %s", spec, encode(c))
			if now, later := p.leads(); later < c.NextTerm || later == c.NextTerm && now != c.Next {
				t.Errorf("%s leads term %d, and was said to be %s in %d", now, later, c.Next, c.NextTerm)
			}
			if variant == leaderTransfer && c.Next != next {
				t.Errorf("%s: %s leads", spec, c.Next)
			}
		}
	}
	allRun(t, p.env, "leader")
	p.ready()
}

func TestMembersAreReplacedInARealCluster(t *testing.T) {
	if !inLab(t) {
		return
	}
	p := newParliament(t)
	kv, err := p.system.OpenRegister(t.Context(), 1) // looks for the leader
	if err != nil {
		t.Fatal(err)
	}
	defer kv.Close()
	all := p.env.Nodes
	for i, test := range []struct{ variant, target string }{
		{memberLeave, "n2"}, {memberJoin, "n3"}, {memberReplace, "n1"}, {memberReplace, Leading}, {memberRolling, ""},
	} {
		spec := Spec{Fault: "member", Variant: test.variant, Target: test.target}.String()
		if _, err := kv.Write(t.Context(), "k", register.Of(int64(i))); err != nil {
			t.Fatalf("before %s: %v", spec, err)
		}
		before := map[string]cluster.Process{}
		marks := map[string]string{} // files that are gone with what is wiped
		for _, n := range p.lab.Nodes() {
			before[n.Name], _ = p.lab.Process(n.Name)
			marks[n.Name] = filepath.Join(n.Dir, "mark")
			if err := os.WriteFile(marks[n.Name], nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		marked := func(node string) bool {
			_, err := os.Stat(marks[node])
			return err == nil
		}

		h := p.begin(Member(), spec)
		hit := h.Detail().(Exchange).Nodes
		if test.variant == memberRolling {
			hit = all
		}
		others := slices.DeleteFunc(slices.Clone(all), func(n string) bool { return slices.Contains(hit, n) })
		if test.variant == memberLeave {
			p.seesMembers(others...)
			eventually(t, "what has left is gone", func() bool { _, running := p.lab.Process(hit[0]); return !running && !marked(hit[0]) })
		} else {
			eventually(t, spec+" has been wiped", func() bool { return !slices.ContainsFunc(hit, marked) })
			<-h.(*heldExchange).done // healed later than that it is another's to finish
			p.seesMembers(all...)    // not healed yet
		}
		acted, evidence, err := h.End(t.Context())
		if err != nil || acted != uint64(len(hit)) {
			t.Errorf("%s: acted %d on %v, %v: %s", spec, acted, hit, err, encode(evidence))
		}
		t.Logf("%s: %s", spec, encode(evidence))
		p.seesMembers(all...)
		allRun(t, p.env, spec)
		for _, node := range all {
			process, _ := p.lab.Process(node)
			if was := slices.Contains(hit, node); was == marked(node) || was == (process.PID == before[node].PID) {
				t.Errorf("%s of %v: the disk of %s is the old one: %v; it was %d and is %d", spec, hit, node, marked(node), before[node].PID, process.PID)
			}
		}
		for _, passage := range evidence.(map[string]Passage) {
			if !slices.Equal(passage.Before, all) || len(passage.Without) != 2 || !slices.Equal(passage.After, all) {
				t.Errorf("%s: %+v", spec, passage)
			}
		}
		p.ready()
		if r, err := kv.Read(t.Context(), "k"); err != nil || r.Value != register.Of(int64(i)) {
			t.Errorf("after %s: read %+v, %v", spec, r, err)
		}
	}
}
