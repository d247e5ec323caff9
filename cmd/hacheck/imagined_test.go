package main

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/nemesis"
)

// TestWhatCannotActOnSoFewNodesIsRefused, by name, before there is a lab. Whoever adds a
// fault, a variant or a target decides what it is on one node and on two.
func TestWhatCannotActOnSoFewNodesIsRefused(t *testing.T) {
	const needs2, needs3 = "it takes 2 nodes", "it takes 3 nodes"
	refused := map[string][2]string{ // on one node, and on two
		"partition:isolate": {needs2, ""}, "partition:leader": {needs2, ""}, "partition:halves": {needs2, ""},
		"partition:random-halves": {needs2, ""}, "partition:one-way": {needs2, ""}, "partition:inbound": {needs2, ""},
		"partition:outbound": {needs2, ""}, "partition:flapping": {needs2, ""},
		"partition:ring": {needs3, needs3}, "partition:bridge": {needs3, needs3}, "partition:chain": {needs3, needs3},
		"partition:quorum-loss": {needs3, needs3},

		"leader": {needs2, ""}, "leader:transfer": {needs2, ""}, "leader:election": {needs2, ""},
		"leader:one": {needs2, ""}, "leader:minority": {needs2, needs3}, "leader:all": {needs2, ""}, "leader:n1": {needs2, ""},
		"member": {needs3, needs3}, "member:leave": {needs3, needs3}, "member:join": {needs3, needs3},
		"member:replace": {needs3, needs3}, "member:rolling": {needs3, needs3}, "member:one": {needs3, needs3},
		"member:leader": {needs3, needs3}, "member:n1": {needs3, needs3},
	}
	for _, variant := range []string{"power", "xfs", "bitflip", "truncate", "rollback"} {
		of := "it may hit a minority only, which takes 3 nodes"
		refused["disk:"+variant] = [2]string{of, of}
	}
	for _, f := range faults {
		asked := []string{f.Name}
		for _, v := range f.Variants {
			asked = append(asked, f.Name+":"+v.Name)
		}
		for _, target := range f.Targets {
			asked = append(asked, f.Name+":"+target.Name)
			if target.Role {
				lacks := "raftkv has no " + target.Name
				refused[f.Name+":"+target.Name] = [2]string{lacks, lacks}
			}
			if target.Name == nemesis.Minority && f.Name != "leader" {
				refused[f.Name+":minority"] = [2]string{needs3, needs3}
			}
		}
		if len(f.Targets) > 0 {
			asked = append(asked, f.Name+":n1")
		}
		for _, text := range asked {
			if !f.In(nil) { // it is of systems whose nodes do different things
				refused[text] = [2]string{"raftkv has no ", "raftkv has no "}
			}
			for i, nodes := range []string{"1", "2"} {
				want := refused[text][i]
				o := parse(t, []string{"--nemesis", text, "--nodes", nodes, "-w", "register", "--store", t.TempDir()})
				switch err := o.check(); {
				case want == "" && err != nil:
					t.Errorf("%s on %s: %v", text, nodes, err)
				case want != "" && (err == nil || !strings.HasPrefix(err.Error(), "run: --nemesis "+text+": fault "+text+": "+want)):
					t.Errorf("%s on %s: got %v, want %s", text, nodes, err, want)
				}
			}
		}
	}
}

// TestWhatIsDrawnCanBeAskedForAgain: a run is repeated by the details that it recorded.
func TestWhatIsDrawnCanBeAskedForAgain(t *testing.T) {
	for _, f := range faults {
		o := newOptions()
		if o.workload = "register"; !f.In(nil) {
			o.workload = "vm"
		}
		o.settle()
		for _, v := range append([]nemesis.Variant{{}}, f.Variants...) {
			if v.Name == "xfs" {
				continue // it takes other disks
			}
			s := nemesis.Spec{Fault: f.Name, Variant: v.Name}
			b, err := f.New(o.imagined(), s)
			if err != nil {
				t.Fatalf("%v: %v", s, err)
			}
			for seed := range uint64(50) {
				detail, err := json.Marshal(b.Draw(rand.New(rand.NewPCG(seed, 0))))
				if err != nil {
					t.Fatal(err)
				}
				_, err = nemesis.New(faults, o.imagined(), nemesis.Options{Interval: time.Second, Timetable: []nemesis.Entry{{Spec: s, Detail: detail}}})
				if err != nil {
					t.Errorf("%s: %v", detail, err)
					break
				}
			}
		}
	}
}
