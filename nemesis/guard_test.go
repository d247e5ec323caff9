package nemesis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Books are a guard's, for tests.
type books struct {
	t *testing.T
	guard
}

func booksOf(t *testing.T, nodes int) *books {
	b := &books{t: t}
	for i := range nodes {
		b.nodes = append(b.nodes, fmt.Sprintf("n%d", i+1))
	}
	return b
}

func unguarded(t *testing.T, nodes int) *books {
	b := booksOf(t, nodes)
	b.off = true
	return b
}

// claim claims up to count nodes for a fault that considers them in the given order,
// or in theirs.
func (b *books) claim(h harm, target string, count int, order string) (nodes string, release func(), err error) {
	a := &Aim{Target: target, Count: count}
	of := b.nodes
	if order != "" {
		of = strings.Fields(order)
	}
	release, err = b.guard.claim(a, of, h)
	return strings.Join(a.Nodes, " "), release, err
}

// gets expects to get just the nodes of want.
func (b *books) gets(h harm, target string, count int, order, want string) (release func()) {
	b.t.Helper()
	nodes, release, err := b.claim(h, target, count, order)
	if err != nil || nodes != want {
		b.t.Errorf("harm %d to %s (%d of %q): got %q, %v; want %q", h, target, count, order, nodes, err, want)
		return func() {}
	}
	return release
}

// waits expects to get nothing as long as others have what they have.
func (b *books) waits(h harm, target string, count int, order string) {
	b.t.Helper()
	if nodes, _, err := b.claim(h, target, count, order); !errors.Is(err, errGuarded) {
		b.t.Errorf("harm %d to %s (%d of %q): got %q, %v", h, target, count, order, nodes, err)
	}
}

// never expects to get nothing, whatever others do.
func (b *books) never(h harm, target string, count int, order string) {
	b.t.Helper()
	if nodes, _, err := b.claim(h, target, count, order); err == nil || errors.Is(err, errGuarded) {
		b.t.Errorf("harm %d to %s (%d of %q): got %q, %v", h, target, count, order, nodes, err)
	}
}

func TestMajorityIsStoppedByOneFaultAtATime(t *testing.T) {
	b := booksOf(t, 5)
	release := b.gets(stops, Majority, 3, "", "n1 n2 n3")
	b.waits(stops, Majority, 3, "")
	b.waits(parts, AllNodes, 5, "")
	b.waits(stops, One, 1, "") // n4 would be one more
	b.waits(leaves, One, 1, "")
	b.gets(parts, One, 1, "n5 n2", "n2") // which is disturbed already
	b.gets(slows, AllNodes, 5, "", "n1 n2 n3 n4 n5")
	release()
	release() // once more is harmless
	b.gets(stops, Majority, 3, "n5 n4 n3 n2 n1", "n5 n4 n3")
}

func TestMajorityMayComeToAMinority(t *testing.T) {
	b := booksOf(t, 5)
	b.gets(stops, One, 1, "n2", "n2")
	b.gets(stops, Majority, 3, "", "n1 n3 n4") // n2 is another's
	b.waits(stops, One, 1, "n5")
}

func TestWhatOverlapsIsTrimmedToAMinority(t *testing.T) {
	b := booksOf(t, 5)
	first := b.gets(stops, One, 1, "n1", "n1")
	second := b.gets(parts, Minority, 2, "n2 n3 n4", "n2")
	b.gets(parts, Minority, 2, "n5 n1 n2", "n1 n2")
	b.waits(stops, Leading, 1, "n4")
	first()
	b.waits(stops, Leading, 1, "n4") // n1 is parted still
	second()
	b.waits(stops, Leading, 1, "n4") // and n2 by the third
}

func TestPartitionAddsUpWithWhatIsStopped(t *testing.T) {
	b := booksOf(t, 5)
	whole, err := b.part([]string{"n1", "n2", "n3", "n4", "n5"}) // a majority is reachable nowhere
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.part([]string{"n4", "n5"}); err != nil {
		t.Errorf("partitions may overlap: %v", err)
	}
	b.waits(stops, Majority, 3, "")
	b.gets(stops, One, 1, "n1", "n1") // who is cut off anyhow
	whole()
	if _, err := b.part([]string{"n2"}); !errors.Is(err, errGuarded) {
		t.Errorf("got %v where n1 is stopped, and n4 and n5 are cut off", err)
	}
}

func TestPartitionOfFewGoesWithFewThatAreStopped(t *testing.T) {
	b := booksOf(t, 5)
	b.gets(stops, One, 1, "n1", "n1")
	for _, nodes := range [][]string{nil, {"n1"}, {"n2"}} {
		release, err := b.part(nodes)
		if err != nil {
			t.Errorf("part %v: %v", nodes, err)
			continue
		}
		release()
	}
	if _, err := b.part([]string{"n2", "n3"}); !errors.Is(err, errGuarded) {
		t.Errorf("got %v", err)
	}
}

func TestDamageStaysWithOneMinority(t *testing.T) {
	b := booksOf(t, 5)
	release := b.gets(damages, One, 1, "n4", "n4")
	release()
	release = b.gets(damages, Minority, 2, "n2 n1 n3 n4", "n2 n4")
	release()
	b.waits(damages, Leading, 1, "n1")
	release = b.gets(damages, One, 1, "n5 n3 n1 n2", "n2")
	b.waits(damages, One, 1, "n5 n3 n1 n2") // another has n2, and n4 is not to be had
	release()
	// It is not damaged for good that matters to other faults.
	b.gets(stops, Minority, 2, "", "n1 n2")
	b.gets(damages, Any, 4, "n5 n4 n3 n1", "n5 n4 n3") // who asks for it gets it, but for what another has
}

func TestNodeLeavesOnlyIfAMajorityOfTheOthersIsWell(t *testing.T) {
	for _, h := range []harm{parts, stops, damages} {
		b := booksOf(t, 3)
		release := b.gets(h, One, 1, "n1", "n1")
		b.waits(leaves, One, 1, "n2")
		if h == parts {
			b.gets(leaves, One, 1, "n1", "n1") // it is the one that is away
			continue
		}
		b.waits(leaves, One, 1, "n1") // it is another's
		release()
		b.gets(leaves, One, 1, "n2", "n2")
		b.waits(stops, One, 1, "n3")
	}
}

// TestDamageIsOfAMinorityOfTheMembers: two of five are, and two of four are not.
func TestDamageIsOfAMinorityOfTheMembers(t *testing.T) {
	b := booksOf(t, 5)
	release := b.gets(leaves, One, 1, "n3", "n3")
	b.gets(damages, One, 1, "n1", "n1")()
	b.waits(damages, One, 1, "n2")
	b.gets(damages, Minority, 2, "n2 n1", "n1")()
	release()
	b.gets(damages, One, 1, "n2", "n2")()
	b.gets(leaves, One, 1, "n1", "n1") // who is damaged is among those that leave
	b.gets(damages, One, 1, "n2", "n2")
}

// TestClientsMayHaveNodesLeaveAsWell, of which nobody tells the guard: of five that may be
// three members, and of three it bears one.
func TestClientsMayHaveNodesLeaveAsWell(t *testing.T) {
	b := booksOf(t, 5)
	b.absent = 2
	release := b.gets(damages, Minority, 2, "n1 n2", "n1")
	b.waits(leaves, One, 1, "n2")
	release()
	b.waits(damages, One, 1, "n2")
	release = b.gets(leaves, Minority, 2, "n2 n3", "n2")
	b.waits(damages, One, 1, "n1") // of two members it would be one too many
	b.gets(stops, One, 1, "n3", "n3")()
	release()
	b.gets(damages, One, 1, "n1", "n1")()
	release = b.gets(stops, Minority, 2, "n3 n4", "n3 n4") // that heals
	b.waits(leaves, One, 1, "n5")
	release()

	b = booksOf(t, 3)
	b.absent = 1
	b.never(damages, One, 1, "")
	b.never(leaves, One, 1, "")
	b.gets(stops, One, 1, "", "n1")
}

func TestNodesThatAreNoneAreNotHit(t *testing.T) {
	b := booksOf(t, 3)
	b.never(stops, One, 1, "n9")
	b.never(stops, One, 0, "n1")
	b.gets(slows, One, 2, "n9 n2 n2", "n2")
}

func TestProcessesBelongToOneFault(t *testing.T) {
	for _, b := range []*books{booksOf(t, 3), unguarded(t, 3)} {
		release := b.gets(stops, One, 1, "n2", "n2")
		for _, h := range []harm{stops, damages, leaves} {
			b.waits(h, One, 1, "n2")
		}
		b.gets(parts, One, 1, "n2", "n2")
		ran := false
		run := func() error { ran = true; return nil }
		if err := b.unlessStopped("n2", run); err != nil || ran {
			t.Errorf("it was done to a node that is stopped: %v", err)
		}
		release()
		err := b.unlessStopped("n2", func() error {
			b.waits(stops, One, 1, "n2")
			return errors.New("seen")
		})
		if err == nil || err.Error() != "seen" {
			t.Errorf("got %v", err)
		}
		b.gets(stops, One, 1, "n2", "n2")
	}
}

func TestWithoutAGuardNothingElseIsForbidden(t *testing.T) {
	b := unguarded(t, 5)
	b.gets(stops, Majority, 3, "", "n1 n2 n3")
	b.gets(damages, Majority, 3, "", "n4 n5")
	b.waits(stops, AllNodes, 5, "")
	if _, err := b.part(b.nodes); err != nil {
		t.Error(err)
	}
	b = unguarded(t, 1)
	b.gets(leaves, One, 1, "", "n1")
}

func TestWhereThereIsNoMinorityOneAtATimeMayBeDisturbed(t *testing.T) {
	for n := 1; n <= 2; n++ {
		b := booksOf(t, n)
		b.never(damages, One, 1, "")
		b.never(leaves, One, 1, "")
		release := b.gets(stops, One, 1, "", "n1")
		if n == 2 {
			b.waits(stops, One, 1, "n2")
		}
		release()
		release = b.gets(stops, AllNodes, n, "", strings.Join(b.nodes, " "))
		b.waits(stops, AllNodes, n, "")
		b.waits(parts, AllNodes, n, "")
		release()
		b.gets(slows, AllNodes, n, "", strings.Join(b.nodes, " "))
	}
}

// TestDisturbedAreAMinorityUnlessOneFaultWantedMore draws what many faults do, and
// looks at the books.
func TestDisturbedAreAMinorityUnlessOneFaultWantedMore(t *testing.T) {
	for _, n := range []int{3, 4, 5, 7} {
		for seed := range uint64(200) {
			r := drawing(seed)
			b := booksOf(t, n)
			b.absent = int(seed) % 2 * (n - n/2 - 1)
			e := Env{Nodes: b.nodes, guard: &b.guard}.withBooks()
			var releases []func()
			for range 60 {
				if len(releases) > 0 && r.IntN(3) == 0 {
					at := r.IntN(len(releases))
					releases[at]()
					releases = append(releases[:at], releases[at+1:]...)
					continue
				}
				h := []harm{slows, parts, stops, damages, leaves}[r.IntN(5)]
				targets := anyNodes
				if h >= damages {
					targets = fewNodes
				}
				a := e.drawAim(r, Fault{Targets: targets}, Spec{})
				before := len(b.disturbed())
				release, err := e.claim(context.Background(), &a, h)
				if err != nil {
					continue
				}
				releases = append(releases, release)
				large := (h == stops || h == parts) && (a.Target == Majority || a.Target == AllNodes)
				if after := len(b.disturbed()); after > b.few() && after > before && !large {
					t.Fatalf("%d nodes, seed %d: %+v disturbs the %d. of them", n, seed, a, after)
				}
				if len(b.damaged) > b.fewest() {
					t.Fatalf("%d nodes, seed %d: damage to %v", n, seed, b.damaged)
				}
				if all := len(b.disturbed()); h == leaves && all > b.fewest() {
					t.Fatalf("%d nodes, seed %d: %v leave where %d are disturbed", n, seed, a.Nodes, all)
				}
			}
		}
	}
}

func TestMajorityIsLeftAloneUntilAMemberIsBack(t *testing.T) {
	e := five()
	a := Aim{Target: "n1", Count: 1}
	back, err := e.claim(t.Context(), &a, leaves)
	if err != nil {
		t.Fatal(err)
	}
	everybody := Aim{Target: AllNodes, Order: e.Nodes, Count: 5}
	if _, err := e.claim(t.Context(), &everybody, stops); !errors.Is(err, errGuarded) {
		t.Errorf("while a member is away: got %v", err)
	}
	back()
	if _, err := e.claim(t.Context(), &everybody, stops); err != nil || len(everybody.Nodes) != 5 {
		t.Errorf("afterwards: got %v, %v", everybody.Nodes, err)
	}
}

// TestNobodyWaitsForALeader: else what keeps him away could not be healed.
func TestNobodyWaitsForALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := five()
		e.Leader = leaderFunc(func() (string, error) { return "", errors.New("there is none") })
		majority := Aim{Target: Majority, Order: e.Nodes, Count: 3}
		heal, err := e.claim(t.Context(), &majority, stops)
		if err != nil {
			t.Fatal(err)
		}
		asked := time.Now()
		if _, err := e.claim(t.Context(), &Aim{Target: Leading, Count: 1}, slows); !errors.Is(err, errGuarded) || time.Since(asked) > 0 {
			t.Errorf("while a majority is stopped: %v, after %v", err, time.Since(asked))
		}
		heal()
		asked = time.Now()
		if _, err := e.claim(t.Context(), &Aim{Target: Leading, Count: 1}, slows); err == nil || errors.Is(err, errGuarded) || time.Since(asked) > 0 {
			t.Errorf("afterwards: %v, after %v", err, time.Since(asked))
		}
	})
}
