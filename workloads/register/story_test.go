package register

import (
	"math/rand/v2"
	"testing"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// TestStoriesFindWhatTheySay: what is looked up is what going through all calls finds.
func TestStoriesFindWhatTheySay(t *testing.T) {
	found := 0
	for seed := range uint64(workloadtest.Cases(3000)) {
		calls, err := histories.Calls(history(t, randomCalls(rand.New(rand.NewPCG(seed, 8))), same, "x"), ParseInput, parseOutput)
		if err != nil {
			t.Fatal(err)
		}
		for _, last := range calls {
			s := newStory(checker.Violation[Input, Value]{Calls: calls, Last: last}, Absent)
			for _, w := range append(s.setBy(Absent), s.writes...) {
				var latest effect
				for _, x := range s.writes {
					took := s.sources[w.In.New] == 1 && x.F == CAS && x.Type == histories.OK && x.In.Old == w.In.New
					if x.In.New != w.In.New && x.by < s.last.Invoked && (w.by < x.Invoked || took) && x.by > latest.by {
						latest = x
					}
				}
				if got, ok := s.successor(w); ok != (latest.by > 0) || got != latest {
					t.Fatalf("seed %d: after %v, before %v: got %v, want %v", seed, w, did(s.last), got, latest)
				}
				var first look
				for _, l := range s.looks {
					if l.saw != w.In.New && l.Invoked > w.by && l.Completed < s.last.Invoked {
						first = l
						break
					}
				}
				if got, ok := s.otherLook(w); ok != (first.call != nil) || got != first {
					t.Fatalf("seed %d: a look after %v, before %v: got %v, want %v", seed, w, did(s.last), got, first)
				}
				if latest.by > 0 && first.call != nil {
					found++
				}
			}
		}
	}
	if found < workloadtest.Cases(3000)/20 {
		t.Errorf("there was something to find %d times", found)
	}
}
