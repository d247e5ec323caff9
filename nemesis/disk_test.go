package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/hacheck/hacheck/cluster"
)

// plates are disks that note what is done to them.
type plates struct {
	*machines
	made   string
	mu     sync.Mutex
	losses []cluster.PowerLoss
	faults []cluster.DiskFault
	ended  int
	refuse bool // what was damaged does not start
}

func newPlates(n int) (*plates, Env) {
	m, env := newMachines(n)
	p := &plates{machines: m, made: cluster.DisksFUSE}
	env.Disks = p
	return p, env
}

func (p *plates) Made() string { return p.made }

func (p *plates) PowerOff(node string, l cluster.PowerLoss) (cluster.Lost, error) {
	p.mu.Lock()
	p.losses = append(p.losses, l)
	p.mu.Unlock()
	return cluster.Lost{Writes: 2, Bytes: 512}, p.do("power off", node, func() error { p.end(node); return nil })
}

func (p *plates) Impair(node string, f cluster.DiskFault) (cluster.Impairment, error) {
	p.mu.Lock()
	p.faults = append(p.faults, f)
	p.mu.Unlock()
	return scratch{p}, p.do("impair", node, func() error { return nil })
}

func (p *plates) Damage(node string, d cluster.Damage) (map[string]string, error) {
	err := p.do("damage", node, func() error {
		if p.pids[node] != 0 {
			return errors.New("it runs")
		}
		return nil
	})
	return map[string]string{"file": string(d.Kind)}, err
}

func (p *plates) Keep(node string) error { return p.do("keep", node, func() error { return nil }) }

type scratch struct{ p *plates }

func (s scratch) Seen() map[string]uint64 { return map[string]uint64{"sync": 3} }
func (s scratch) End() error              { s.p.ended++; return nil }

// replaced is a system whose nodes can be replaced.
type replaced struct{ p *plates }

func (r replaced) Leave(_ context.Context, node string) error {
	return r.p.do("leave", node, func() error { r.p.end(node); return nil })
}

func (r replaced) Join(_ context.Context, node string) error {
	r.p.refuse = false
	return errors.Join(r.p.do("join", node, func() error { return nil }), r.p.Start(node))
}

func TestTroubleWithDisksIsUndone(t *testing.T) {
	for _, test := range []struct {
		spec string
		did  string // to n2, in order
		want Scar
		acts uint64
	}{
		{"disk:power:n2", "power off n2, start n2", Scar{PID: 2, Gone: true, Again: 4}, 3},
		{"disk:eio:n2", "impair n2", Scar{PID: 2}, 3},
		{"disk:full:n2", "impair n2", Scar{PID: 2}, 3},
		{"disk:slow:n2", "impair n2", Scar{PID: 2}, 3},
		{"disk:bitflip:n2", "kill n2, damage n2, start n2", Scar{PID: 2, Gone: true, Again: 4}, 1},
		{"disk:truncate:n2", "kill n2, damage n2, start n2", Scar{PID: 2, Gone: true, Again: 4}, 1},
		{"disk:rollback:n2", "keep n2, kill n2, damage n2, start n2", Scar{PID: 2, Gone: true, Again: 4}, 1},
	} {
		t.Run(test.spec, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, env := newPlates(3)
				h, err := begin(t, breaker(t, Disk(), env, test.spec), 7)
				if err != nil {
					t.Fatal(err)
				}
				acted, evidence, err := h.End(t.Context())
				if err != nil || acted != test.acts {
					t.Errorf("acted %d, %v", acted, err)
				}
				if got := strings.Join(p.did, ", "); got != test.did {
					t.Errorf("did %s", got)
				}
				scar := *evidence.(map[string]*Scar)["n2"]
				if scar.PID != test.want.PID || scar.Gone != test.want.Gone || scar.Again != test.want.Again || scar.Error != "" {
					t.Errorf("the evidence is %+v", scar)
				}
				if len(p.running()) != 3 || len(env.guard.holds) != 0 || p.ended != len(p.faults) {
					t.Errorf("%v run; books: %v; %d of %d faults ended", p.running(), env.guard.holds, p.ended, len(p.faults))
				}
			})
		})
	}
}

func TestTroubleIsDrawnAsItIsAskedFor(t *testing.T) {
	p, env := newPlates(5)
	drawn := map[string]int{}
	modes := map[cluster.LossMode]int{}
	r := rand.New(rand.NewPCG(1, 1))
	b := breaker(t, Disk(), env, "disk")
	for range 400 {
		d := b.Draw(r).(*Trouble)
		drawn[d.Variant]++
		if d.Power != nil {
			modes[d.Power.Mode]++
		}
		if d.Count > 2 || d.Target == Any {
			t.Errorf("aimed at %+v", d.Aim)
		}
	}
	if len(drawn) != 4 || drawn[diskPower] < 150 || len(modes) != 3 {
		t.Errorf("drew %v, and of power %v", drawn, modes)
	}
	if _, err := Disk().New(env, Spec{Fault: "disk", Variant: diskXFS}); err == nil {
		t.Error("an XFS variant on other disks")
	}
	p.made = cluster.DisksXFS
	if _, err := Disk().New(env, Spec{Fault: "disk"}); err == nil {
		t.Error("any variant on XFS")
	}
	if _, err := Disk().New(env, Spec{Fault: "disk", Variant: diskXFS}); err != nil {
		t.Error(err)
	}
	env.Disks = nil
	if _, err := Disk().New(env, Spec{Fault: "disk"}); err == nil {
		t.Error("without disks")
	}
}

// TestPowerFailsInTheSameMinority, in the whole run.
func TestPowerFailsInTheSameMinority(t *testing.T) {
	_, env := newPlates(3)
	b := breaker(t, Disk(), env, "disk:power")
	hit := map[string]bool{}
	for seed := range uint64(10) {
		h, err := begin(t, b, seed)
		if err != nil {
			t.Fatal(err)
		}
		for _, node := range h.Detail().(Trouble).Nodes {
			hit[node] = true
		}
		if _, _, err := h.End(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(hit) != 1 {
		t.Errorf("hit %v", hit)
	}
}

// TestWhoEndsForTroubleIsStartedAgain, and who does not run any more is replaced.
func TestWhoEndsForTroubleIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, env := newPlates(3)
		h, err := begin(t, breaker(t, Disk(), env, "disk:eio:n2"), 1)
		if err != nil {
			t.Fatal(err)
		}
		p.end("n2")
		_, evidence, err := h.End(t.Context())
		if scar := evidence.(map[string]*Scar)["n2"]; err != nil || !scar.Gone || scar.Again != p.running()["n2"] || scar.Again == 0 {
			t.Errorf("%v: %+v", err, scar)
		}

		for _, members := range []cluster.Members{replaced{p}, nil} {
			env.Members = members
			h, err = begin(t, breaker(t, Disk(), env, "disk:bitflip:n2"), 1)
			if err != nil {
				t.Fatal(err)
			}
			p.end("n2") // it has noticed
			p.did = nil
			_, evidence, err = h.End(t.Context())
			scar := evidence.(map[string]*Scar)["n2"]
			_, runs := p.running()["n2"]
			if err != nil || scar.Replaced != (members != nil) || scar.Down != (members == nil) || runs != (members != nil) {
				t.Errorf("%v: %+v; it runs: %v; did %v", err, scar, runs, p.did)
			}
			if held := slices.ContainsFunc(env.guard.holds, func(h *hold) bool { return slices.Contains(h.nodes, "n2") }); held != scar.Down {
				t.Errorf("the guard takes it to be down: %v", held)
			}
		}
	})
}

// TestWhoIsReplacedCountsAsOneThatLeaves: until it is back no fault is aimed at a majority,
// and it does not leave where the others are no majority. What fails is done again.
func TestWhoIsReplacedCountsAsOneThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, env := newPlates(5)
		env.Members = replaced{p}
		h, err := begin(t, breaker(t, Disk(), env, "disk:bitflip:n2"), 1)
		if err != nil {
			t.Fatal(err)
		}
		everybody := func() error {
			release, err := env.guard.claim(&Aim{Target: AllNodes, Count: 5}, env.Nodes, stops)
			if err == nil {
				release()
			}
			return err
		}
		p.end("n2") // it has noticed
		p.did = nil
		together, err := env.guard.part([]string{"n4", "n5"})
		if !errors.Is(err, errGuarded) {
			t.Errorf("a partition of two where one is damaged: %v", err)
		}
		large, err := env.guard.claim(&Aim{Target: Majority, Count: 3}, []string{"n1", "n3", "n4"}, stops)
		if err != nil || together != nil {
			t.Fatal(err)
		}
		if _, _, err := h.End(t.Context()); !errors.Is(err, errGuarded) || len(p.did) > 0 {
			t.Errorf("while a majority is stopped: %v, and did %v", err, p.did)
		}
		large()
		if err := everybody(); err != nil {
			t.Errorf("before it leaves: %v", err)
		}
		p.fails["join n2"] = errors.New("nobody answers")
		if _, _, err := h.End(t.Context()); err == nil {
			t.Error("it was healed, and has not joined")
		}
		if _, runs := p.running()["n2"]; !runs {
			t.Error("what joins does not run") // as if it did well, for who looks no closer
		}
		if err := everybody(); !errors.Is(err, errGuarded) {
			t.Errorf("while it is away: %v", err)
		}
		clear(p.fails)
		_, evidence, err := h.End(t.Context())
		if err != nil || !evidence.(map[string]*Scar)["n2"].Replaced {
			t.Errorf("it was not replaced: %v, %+v", err, evidence)
		}
		if err := everybody(); err != nil {
			t.Errorf("when it is back: %v", err)
		}
	})
}

// TestMajorityThatWasAskedForIsReplaced as far as it goes.
func TestMajorityThatWasAskedForIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, env := newPlates(3)
		env.Members = replaced{p}
		h, err := breaker(t, Disk(), env, "disk:bitflip:any").Begin(t.Context(), encode(Trouble{
			Variant: diskBits, Aim: Aim{Target: Any, Order: env.Nodes, Count: 2}, Damage: &cluster.Damage{Kind: cluster.DamageBits},
		}))
		if err != nil {
			t.Fatal(err)
		}
		p.end("n2")
		if _, evidence, err := h.End(t.Context()); err != nil || !evidence.(map[string]*Scar)["n2"].Replaced || evidence.(map[string]*Scar)["n1"].Replaced {
			t.Errorf("%v, %+v", err, evidence)
		}
	})
}

// TestTroubleThatCannotBeUndoneIsInForce: else what it ended would never run again.
func TestTroubleThatCannotBeUndoneIsInForce(t *testing.T) {
	p, env := newPlates(3)
	p.fails["damage n2"] = errors.New("cannot damage")
	p.fails["start n2"] = errors.New("cannot start")
	h, err := begin(t, breaker(t, Disk(), env, "disk:bitflip:n2"), 1)
	if err != nil || h == nil {
		t.Fatalf("got %v, %v", h, err)
	}
	if _, _, err := h.End(t.Context()); err == nil {
		t.Error("it was healed, and cannot be")
	}
	clear(p.fails)
	if _, _, err := h.End(t.Context()); err != nil || len(p.running()) != 3 || len(env.guard.holds) != 0 {
		t.Errorf("%v; %v run; books: %v", err, p.running(), env.guard.holds)
	}
}

// TestDamageIsRefusedWhereThereIsNoMinority, before the run: what is in vain there is
// so each time.
func TestDamageIsRefusedWhereThereIsNoMinority(t *testing.T) {
	_, env := newPlates(2)
	for text, refused := range map[string]bool{
		"disk:power": true, "disk:power:n1": true, "disk:rollback": true,
		"disk": false, "disk:eio": false, "disk:power:any": false,
	} {
		specs, err := Parse([]Fault{Disk()}, text)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Disk().New(env, specs[0])
		if (err != nil) != refused {
			t.Errorf("%s: %v", text, err)
		}
		for seed := range uint64(50) {
			if refused || text == "disk:power:any" {
				break
			}
			if d := b.Draw(drawing(seed)).(*Trouble); d.harm() == damages {
				t.Errorf("%s: drew %+v", text, d)
			}
		}
		env.Unguarded = true
		if _, err := Disk().New(env, specs[0]); err != nil {
			t.Errorf("%s without the guard: %v", text, err)
		}
		env.Unguarded = false
	}
}

// TestHarmIsThatOfWhatIsDone, whatever a schedule calls it.
func TestHarmIsThatOfWhatIsDone(t *testing.T) {
	for want, of := range map[harm][]Trouble{
		slows:   {{Fault: &cluster.DiskFault{SyncDelay: 1}}},
		stops:   {{Variant: diskSlow, Fault: &cluster.DiskFault{SyncDelay: 1, Sync: 0.1}}, {Fault: &cluster.DiskFault{Full: true}}},
		damages: {{Variant: diskSlow, Power: &cluster.PowerLoss{}}, {Damage: &cluster.Damage{}}},
	} {
		for _, trouble := range of {
			if got := trouble.harm(); got != want {
				t.Errorf("%+v: got %d, want %d", trouble, got, want)
			}
		}
	}
}

// TestTroubleThatCannotBeginLeavesNothing: and what it ended runs again.
func TestTroubleThatCannotBeginLeavesNothing(t *testing.T) {
	p, env := newPlates(3)
	for what, spec := range map[string]string{"power off n2": "disk:power:n2", "impair n2": "disk:eio:n2", "damage n2": "disk:bitflip:n2", "keep n2": "disk:rollback:n2"} {
		p.fails[what] = fmt.Errorf("cannot %s", what)
		if _, err := begin(t, breaker(t, Disk(), env, spec), 1); err == nil || !strings.Contains(err.Error(), "cannot "+what) {
			t.Errorf("%s: got %v", spec, err)
		}
		delete(p.fails, what)
		if len(p.running()) != 3 || len(env.guard.holds) != 0 {
			t.Errorf("%s: %v run; books: %v", spec, p.running(), env.guard.holds)
		}
	}
}
