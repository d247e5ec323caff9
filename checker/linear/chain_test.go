package linear_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/checker/linear/lineartest"
)

// chain gives the operations of p the versions that they have if order is the one in
// which they took effect.
func chain[S comparable](p linear.Problem[S], order []int32) *linear.Chain[S] {
	c := &linear.Chain[S]{Problem: p, Version: make([]int64, len(p.Call))}
	for i := range c.Version {
		c.Version[i] = linear.Unknown
	}
	version := int64(0)
	for _, op := range order {
		if !p.ReadOnly(op) {
			version += 3
		}
		c.Version[op] = version
	}
	return c
}

// TestChainsOfRightVersions: an order is found again by the versions that it gives, in any
// state that it explains; and versions that are not, are not taken for right.
func TestChainsOfRightVersions(t *testing.T) {
	verdicts := map[linear.Verdict]int{}
	for seed := range uint64(4000) {
		rng := rand.New(rand.NewPCG(seed, 9))
		m := lineartest.Mix{Ops: 12, Values: int(seed%2) * 3, Open: 3, CAS: true, Refused: true, Indeterminate: seed%3 == 0, Ties: seed%5 == 0}
		r := lineartest.Random(rng, m)
		if r.Len() == 0 {
			continue
		}
		p := r.Problem(linear.Initial)
		c := chain(p, linear.Search(p, nil).Order)
		d, _ := c.Decide()
		if d.Verdict != linear.Linearizable {
			t.Fatalf("seed %d: %v", seed, d.Verdict)
		}
		if err := r.Replay(linear.Initial, d.Order); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		// One of them is not told, or wrong.
		op := rng.IntN(r.Len())
		switch c.Version[op] = int64(rng.IntN(12)); {
		case rng.IntN(8) > 0:
		case r.Return[op] == linear.Never:
			c.Version[op] = linear.Unknown
		default:
			c.Version[op] = linear.Unknown
			if d, _ := c.Decide(); d.Verdict != linear.Undecided {
				t.Fatalf("seed %d: op %d is of unknown version: %v", seed, op, d.Verdict)
			}
		}
		d, witness := c.Decide()
		verdicts[d.Verdict]++
		switch d.Verdict {
		case linear.Linearizable:
			if err := r.Replay(linear.Initial, d.Order); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if !slices.IsSortedFunc(d.Order, func(a, b int32) int { return int(c.Version[a] - c.Version[b]) }) {
				t.Fatalf("seed %d: not in the order of versions", seed)
			}
			made := map[int64]bool{}
			for _, op := range d.Order {
				if !p.ReadOnly(op) {
					if made[c.Version[op]] {
						t.Fatalf("seed %d: version %d was made twice", seed, c.Version[op])
					}
					made[c.Version[op]] = true
				}
			}
		case linear.Illegal:
			if !contradict(c, witness) {
				t.Fatalf("seed %d: ops %v do not contradict each other", seed, witness)
			}
		}
	}
	for _, v := range []linear.Verdict{linear.Linearizable, linear.Illegal, linear.Undecided} {
		if verdicts[v] < 50 {
			t.Errorf("%d are %v", verdicts[v], v)
		}
	}
}

// contradict says whether a witness is what [linear.Chain.Decide] says that it is.
func contradict(c *linear.Chain[linear.Value], witness []int32) bool {
	if len(witness) == 1 { // it comes first, and is not possible there
		_, possible := c.Step(c.Starts[0], witness[0])
		return !possible
	}
	a, b := witness[0], witness[1]
	if c.ReadOnly(a) || c.ReadOnly(b) || c.Version[a] != c.Version[b] {
		if c.Return[a] < c.Call[b] && c.Version[a] >= c.Version[b] {
			return true
		}
		var after linear.Value // a makes it, whatever was there
		for s := range linear.Value(64) {
			if next, possible := c.Step(s, a); possible {
				after = next
				break
			}
		}
		_, possible := c.Step(after, b)
		return c.Version[a] <= c.Version[b] && !possible
	}
	return true
}

// TestChainWithHoles: an indeterminate write of unknown version may be what a read saw,
// but does not excuse operations out of order.
func TestChainWithHoles(t *testing.T) {
	r := &linear.Register{}
	r.Add(linear.Write, 1, 0, 0, linear.Never)
	r.Add(linear.Read, 1, 0, 1, 2)
	r.Add(linear.Write, 2, 0, 3, 4)
	r.Finish()
	c := &linear.Chain[linear.Value]{Problem: r.Problem(linear.Initial), Version: []int64{linear.Unknown, 1, 2}}
	if d, _ := c.Decide(); d.Verdict != linear.Undecided {
		t.Errorf("who made version 1 is not known: %v", d.Verdict)
	}
	c.Version[0] = 1
	if d, _ := c.Decide(); d.Verdict != linear.Linearizable {
		t.Errorf("all is known: %v", d.Verdict)
	}
	c.Version = []int64{linear.Unknown, 3, 2}
	if d, ops := c.Decide(); d.Verdict != linear.Illegal || !slices.Equal(ops, []int32{1, 2}) {
		t.Errorf("version 3 was read before 2 was made: %v, ops %v", d.Verdict, ops)
	}
}
