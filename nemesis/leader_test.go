package nemesis

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

func TestLeaderHandsOverOrOthersStand(t *testing.T) {
	for spec, want := range map[string]string{
		"leader:transfer:n3":       "transfer n3",
		"leader:election:n3":       "elect n3",
		"leader:election:all":      "elect n2, elect n3",
		"leader:election:minority": "elect n",
	} {
		for seed := range uint64(20) {
			synctest.Test(t, func(t *testing.T) {
				c, _, env := newCouncil(3)
				h, err := begin(t, breaker(t, Leader(), env, spec), seed)
				if err != nil {
					t.Fatal(err)
				}
				acted, evidence, err := h.End(t.Context())
				if err != nil || acted != 1 {
					t.Errorf("%s: acted %d, %v", spec, acted, err)
				}
				did := strings.Split(c.done(), ", ")
				slices.Sort(did)
				if got := strings.Join(did, ", "); !strings.HasPrefix(got, want) || strings.Contains(got, "n1") {
					t.Errorf("%s: it did %s", spec, got)
				}
				e := evidence.(Count)
				if e.Leader != "n1" || e.Term != 5 || e.Next != c.leader || e.NextTerm != c.term || e.Next == "n1" || len(e.Errors) > 0 {
					t.Errorf("%s: evidence %+v", spec, e)
				}
			})
		}
	}
}

func TestElectionThatDidNotComeAboutIsNoEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, env := newCouncil(3)
		c.fails["elect n3"] = errors.New("it will not")
		h, err := begin(t, breaker(t, Leader(), env, "leader:election:n3"), 1)
		if err != nil {
			t.Fatal(err)
		}
		acted, evidence, err := h.End(t.Context())
		if e := evidence.(Count); acted != 0 || err != nil || e.Errors["n3"] != "it will not" || e.NextTerm != 5 {
			t.Errorf("acted %d, %v, evidence %+v", acted, err, e)
		}
	})
	_, _, env := newCouncil(3)
	if _, err := begin(t, breaker(t, Leader(), env, "leader:election:n1"), 1); err == nil {
		t.Error("who leads stands for election")
	}
}
