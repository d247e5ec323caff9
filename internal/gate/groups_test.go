package gate

import (
	"reflect"
	"testing"
)

func TestGroups(t *testing.T) {
	other := plain("c", 1)
	other.System = "vmsched"
	g := New(Plan{Cells: []Cell{plain("a", 2), plain("b", 2), other}}, Options{Draw: counting()})
	jobs := g.First() // a-1 b-2 c-3 a-4 b-5
	found := func(i int, attempts ...Attempt) Outcome {
		return Outcome{Job: jobs[i], Class: attempts[len(attempts)-1].Class, Attempts: attempts}
	}
	stale := func(note string) Finding { return Finding{"register", "stale read", note} }
	lost := Finding{"register", "lost write", "a lost write"}

	o := found(0, Attempt{Class: Invalid, Witness: "first", Dir: "runs/a-1", Findings: []Finding{stale("a long note"), lost, stale("x")}},
		Attempt{Class: Invalid, Witness: "second", Findings: []Finding{stale("y")}})
	o.Ran, o.Showed = 5, 4
	g.Take(o)
	o = found(4, Attempt{Class: Unknown, Findings: []Finding{lost}}, // not proven
		Attempt{Class: Invalid, Witness: "third", Dir: "runs/b-5", Findings: []Finding{stale("a note")}})
	o.Ran, o.Showed = 3, 0
	g.Take(o)
	g.Take(found(2, Attempt{Class: Invalid, Witness: "fourth", Findings: []Finding{stale("")}}))
	g.Take(found(3, Attempt{Class: Invalid, Witness: "fifth", Findings: []Finding{stale("")}}))
	g.Take(found(1, Attempt{Class: Valid}))

	want := []Group{
		{Signature: "raftkv register: register", Kind: "stale read, lost write", Checker: "register", System: "raftkv", Workload: "register",
			Cells: []string{"a", "b"}, Jobs: []string{"a-1", "a-4", "b-5"}, Ran: 8, Showed: 4,
			Example: "a note", Witness: "third", Dir: "runs/b-5"},
		{Signature: "vmsched register: register", Kind: "stale read", Checker: "register", System: "vmsched", Workload: "register",
			Cells: []string{"c"}, Jobs: []string{"c-3"}, Witness: "fourth"},
	}
	got := g.Report().Groups
	if len(got) != len(want) {
		t.Fatalf("%d groups: %+v", len(got), got)
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("%d:\ngot  %+v\nwant %+v", i, got[i], want[i])
		}
	}
}
