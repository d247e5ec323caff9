package member

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// No two writes to a key have the same value, so a read tells which write it saw, and then
// to decide takes no search, however many calls are open at once (Gibbons and Korach:
// Testing shared memories, SIAM J. Comput. 1997). What is said here of a key that is right
// is exact. Which calls show that one is not, the search finds.

// A zone is when a key must have held a value, if from < to: from the first return of a
// call on it to the last invocation of one. Otherwise all calls on the value overlap, and
// it was held at some time between to and from.
type zone struct {
	from, to time.Duration
	begun    time.Duration // when the write of the value was invoked
}

func (z *zone) include(c registerCall) {
	z.from, z.to = min(z.from, c.Completed), max(z.to, c.Invoked)
}

// explained says whether some order explains calls, which are on one key, for certain.
func explained(calls []registerCall) bool {
	zones := map[value]*zone{{}: {from: -1, to: -1, begun: -1}} // there is nothing at first
	for _, c := range calls {
		if c.F != Write || c.Type == histories.Fail {
			continue
		}
		v := value{c.In.v, true}
		if zones[v] != nil {
			return false // whose value it is nobody can tell
		}
		zones[v] = &zone{from: c.Completed, to: c.Invoked, begun: c.Invoked}
	}
	for _, c := range calls {
		if c.F != Read || c.Type != histories.OK {
			continue
		}
		z := zones[c.Out]
		if z == nil || c.Completed < z.begun {
			return false
		}
		z.include(c)
	}
	var held []*zone
	for _, z := range zones {
		if z.from < z.to {
			held = append(held, z)
		}
	}
	slices.SortFunc(held, func(a, b *zone) int { return cmp.Compare(a.from, b.from) })
	for i := 1; i < len(held); i++ {
		if held[i].from < held[i-1].to {
			return false // two values at the same time
		}
	}
	for _, z := range zones {
		if z.from < z.to {
			continue
		}
		before := sort.Search(len(held), func(i int) bool { return held[i].from >= z.to }) - 1
		if before >= 0 && z.from < held[before].to {
			return false // there is no room for it
		}
	}
	return true
}

// explainedKeys returns the keys that are linearizable, and how many there are in all.
func explainedKeys(calls []registerCall) (good map[string]bool, keys int) {
	byKey := map[string][]registerCall{}
	for _, c := range calls {
		byKey[c.In.key] = append(byKey[c.In.key], c)
	}
	good = map[string]bool{}
	for key, of := range byKey {
		if explained(of) {
			good[key] = true
		}
	}
	return good, len(byKey)
}

// allExplained is what is said of calls on so many keys if all of those are linearizable.
func allExplained(keys int, calls []registerCall) checker.Result {
	counts := map[string]int64{"keys": int64(keys), "keys_judged": int64(keys)}
	for _, c := range calls {
		counts[c.Type.String()]++
	}
	return checker.Result{
		Name: "linearizable", Verdict: checker.Valid, Counts: counts,
		Note: fmt.Sprintf("%d of %s linearizable; %s: %d ok, %d failed, %d indeterminate", keys, several(keys, "key"),
			several(len(calls), "call"), counts[histories.OK.String()], counts[histories.Fail.String()], counts[histories.Info.String()]),
	}
}

func several(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprint(n, " ", what)
}
