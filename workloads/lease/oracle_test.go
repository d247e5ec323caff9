package lease

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// wrong says by the letter of the promises whether the life of a key that was granted
// breaks one, in a run without faults: each call is held against each.
func wrong(calls []call) bool {
	grant, began := calls[0], calls[0].Completed
	for _, l := range calls {
		if alive(l) {
			began = min(began, l.Completed)
		}
	}
	for _, d := range calls {
		if !dead(d) || d.Invoked <= began {
			continue
		}
		sure, revoked := time.Duration(0), false
		for _, c := range calls {
			switch {
			case alive(c) && d.Completed < c.Invoked:
				return true // it comes back
			case c.F == Revoke && (c.Type != histories.Fail || refused(c)):
				revoked = revoked || c.Invoked < d.Completed
			case (c.F == Grant || c.F == KeepAlive) && c.Type == histories.OK && c.Invoked < d.Completed:
				sure = max(sure, c.Invoked+c.Out.ttl())
			}
		}
		if !revoked && d.F != Revoke && sure > d.Completed {
			return true // it dies early
		}
	}
	for _, l := range calls {
		if !alive(l) {
			continue
		}
		until := grant.Completed
		for _, c := range calls {
			if c.F == KeepAlive && c.Type != histories.Fail && c.Index < l.Index {
				until = max(until, c.Completed)
			}
		}
		if until != histories.Never && l.Invoked > until+grant.Out.most()+grant.Out.bound() {
			return true // it lives for too long
		}
	}
	return false
}

// randomLife returns the text of a history of one key, with a lease of 30 ms and a
// bound of 10 ms: calls take effect at some time while they are open, and now and then
// say what is not so.
func randomLife(r *rand.Rand) string {
	type line struct {
		at   int // in tenths of a millisecond
		text string
	}
	lines := []line{{1, `0 invoke grant k={"ttl_ms":30}`}, {20, `0 ok grant k={"lease":7,"ttl_ms":30,"bound_ms":10}`}}
	var effects []int
	for range 3 + r.IntN(8) {
		effects = append(effects, 90+r.IntN(900))
	}
	slices.Sort(effects)
	until := 310
	for i, at := range effects {
		present := (at < until) != (r.IntN(12) == 0)
		f, arg, result := Read, "null", ` k=null`
		switch draw := r.IntN(12); {
		case draw == 0:
			f, arg, result = Revoke, `{"lease":7}`, ""
			until = min(until, at)
		case draw <= 4:
			f, arg, result = KeepAlive, `{"lease":7}`, ` k={"lease":7,"ttl_ms":30}`
			if present {
				until = max(until, at+300+r.IntN(100))
			}
		case present:
			result = ` k={"lease":7}`
		}
		typ := "ok"
		switch {
		case r.IntN(12) == 0:
			typ, result = "info", ""
		case !present && f != Read:
			typ, result = "fail", ` meta={"refused":"expired"}`
		}
		lines = append(lines,
			line{at - r.IntN(60), fmt.Sprintf("%d invoke %s k=%s", i+1, f, arg)},
			line{at + 1 + r.IntN(60), fmt.Sprintf("%d %s %s%s", i+1, typ, f, result)})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.at, b.at) })
	var b strings.Builder
	last := 0
	for _, l := range lines {
		last = max(last+1, l.at)
		fmt.Fprintf(&b, "%v %s\n", time.Duration(last)*100*time.Microsecond, l.text)
	}
	return b.String()
}

func TestVerdictsAreByTheLetter(t *testing.T) {
	count := map[checker.Verdict]int{}
	kinds := map[string]int{}
	for seed := range uint64(workloadtest.Cases(1500)) {
		text := randomLife(rand.New(rand.NewPCG(seed, 0)))
		h, err := checkertest.Parse(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		calls, err := histories.Calls(h, decode, decode)
		if err != nil {
			t.Fatal(err)
		}
		r := verdict(t, h, nil)
		if (r.Verdict == checker.Invalid) != wrong(calls) {
			t.Fatalf("seed %d: wrong: %v\n%s%s", seed, wrong(calls), text, checkertest.Format(r))
		}
		count[r.Verdict]++
		for _, a := range r.Anomalies {
			kinds[a.Kind]++
		}
	}
	t.Log(count, kinds)
	for _, kind := range []string{"died early", "outlived its lease", "came back", "revoked and still there"} {
		if kinds[kind] < 20 && !workloadtest.Raced {
			t.Errorf("only %d times %s: the histories say little", kinds[kind], kind)
		}
	}
	if count[checker.Valid] < 500 && !workloadtest.Raced {
		t.Errorf("only %d are valid", count[checker.Valid])
	}
}
