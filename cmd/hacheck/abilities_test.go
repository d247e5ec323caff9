package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/nemesis"
)

// without is a machine that refuses clocks.
func without(o cluster.Options) error {
	if o.Clocks {
		return errors.Join(&cluster.RefusedError{What: "clocks", Err: errors.New("no ptrace"), Remedy: "sudo allow it"}, errors.New("close the lab"))
	}
	return nil
}

func asking(t *testing.T, nemeses string) *options {
	t.Helper()
	o := parse(t, []string{"--workload", allWorkloads[0].name, "--nemesis", nemeses})
	o.settle()
	return o
}

func TestALabIsMadeWithWhatItsFaultsNeed(t *testing.T) {
	for nemeses, want := range map[string]cluster.Options{
		"partition":         {},
		"resource":          {Resources: true},
		"resource:cpu,kill": {Resources: true},
	} {
		a, err := asking(t, nemeses).abilities(without)
		if err != nil || a.Options != want || len(a.leftOut) > 0 {
			t.Errorf("%s: got %+v, %v, want %+v", nemeses, a, err, want)
		}
	}
	o := newOptions()
	o.timetable = []nemesis.Entry{{Spec: nemesis.Spec{Fault: "resource"}}}
	if a, err := o.abilities(without); err != nil || !a.Resources {
		t.Errorf("a schedule: got %+v, %v", a, err)
	}
}

func TestWhatTheMachineRefusesIsRefusedByName(t *testing.T) {
	_, err := asking(t, "kill,clock:jump:leader").abilities(without)
	_, isUsage := errors.AsType[*usageError](err)
	if want := "run: nemesis clock:jump:leader: this machine refuses clocks: no ptrace; what helps: sudo allow it"; !isUsage || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	broken := errors.New("no memory")
	_, err = asking(t, "clock").abilities(func(cluster.Options) error { return broken })
	if _, isUsage := errors.AsType[*usageError](err); isUsage || !errors.Is(err, broken) {
		t.Errorf("what no machine refuses: got %v", err)
	}
}

func TestOfAllWhatTheMachineRefusesIsLeftOut(t *testing.T) {
	a, err := asking(t, "all").abilities(without)
	if err != nil {
		t.Fatal(err)
	}
	if !a.Resources || a.Clocks {
		t.Errorf("the lab is made with %+v", a.Options)
	}
	if len(a.leftOut) != 1 || !strings.HasPrefix(a.leftOut[0], "clock: this machine refuses clocks: no ptrace") {
		t.Errorf("left out: %q", a.leftOut)
	}
	named := func(name string) bool {
		return slices.ContainsFunc(a.faults, func(f nemesis.Fault) bool { return f.Name == name })
	}
	if named("clock") || !named("resource") || !named("partition") {
		t.Errorf("the wrong faults are left: %d", len(a.faults))
	}
	if _, err := asking(t, "all,clock:jump").abilities(without); err == nil {
		t.Error("one that is asked for by name beside all is left out, too")
	}
}

func TestWhatASystemDoesNotClaimToBearIsSaid(t *testing.T) {
	of := map[string]string{"disk:rollback": "no log survives that", "clock": "it has leases"}
	for _, c := range []struct {
		specs []nemesis.Spec
		want  []string
	}{
		{[]nemesis.Spec{{Fault: "disk"}, {Fault: "kill"}}, nil},
		{[]nemesis.Spec{{Fault: "disk", Variant: "rollback", Target: "leader"}}, []string{"x does not claim to bear disk:rollback: no log survives that"}},
		{
			[]nemesis.Spec{{Fault: "clock", Variant: "jump"}, {Fault: "disk", Variant: "rollback"}, {Fault: "clock"}},
			[]string{"x does not claim to bear clock: it has leases", "x does not claim to bear disk:rollback: no log survives that"},
		},
	} {
		if got := limits("x", of, c.specs); !slices.Equal(got, c.want) {
			t.Errorf("%v: got %q, want %q", c.specs, got, c.want)
		}
	}
}
