package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/nemesis"
	"github.com/hacheck/hacheck/systems/raftkv"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/register"
)

// What there is to choose from. To add to it is to add a line here: nothing
// registers itself.

// A system is a system under test.
type system struct {
	name, about string
	bugs        []named
	// limits are the faults that it does not claim to bear, as in "disk:rollback", each
	// with the reason.
	limits map[string]string
	// install makes one in a lab. It starts nothing yet.
	install func(l cluster.Lab, o *options) (installed, error)
	// node is what hacheck does when a lab has started it to be a node; see
	// cluster.Command.
	node func(ctx context.Context, config string) error
}

type named struct{ name, about string }

// An installed is a system in a lab, with a client for every workload there is.
type installed interface {
	cluster.System
	io.Closer
	// OpenRegister connects the client of a worker.
	OpenRegister(ctx context.Context, worker int) (register.KV, error)
}

var systems = []system{
	{
		name:    raftkv.Name,
		about:   "a key-value store on hashicorp/raft, with a gRPC API",
		bugs:    raftkvBugs(),
		limits:  raftkv.Limits(),
		install: installRaftkv,
		node:    raftkvNode,
	},
}

// A workload is what clients do.
type workload struct {
	name, about string
	// functions are what its clients invoke, by which a history is recognised.
	functions []string
	checker   func(checker.Budget) checker.Checker
	new       func(s installed, o *options) workloads.Workload
}

var allWorkloads = []workload{
	{
		name:      "register",
		about:     "read, write and compare-and-set keys; each must be linearizable",
		functions: []string{register.Read, register.Write, register.CAS},
		checker:   register.Checker,
		new: func(s installed, o *options) workloads.Workload {
			return register.New(register.Options{Keys: o.keysInUse(), Rate: o.rate}, s.OpenRegister, checker.Budget{})
		},
	},
}

// faults are what a nemesis can do.
var faults = []nemesis.Fault{
	nemesis.Kill(),
	nemesis.Pause(),
	nemesis.Restart(),
	nemesis.Partition(),
	nemesis.Packet(),
	nemesis.Clock(),
	nemesis.Disk(),
	nemesis.Resource(),
	nemesis.Member(),
	nemesis.Leader(),
}

// units are what the evidence of faults counts, one and many: by fault and variant, or
// by fault where variants make no difference, or were drawn.
var units = map[string][2]string{
	"partition":     {"packet dropped", "packets dropped"},
	"kill":          {"process ended", "processes ended"},
	"restart":       {"process ended", "processes ended"},
	"pause":         {"process stopped", "processes stopped"},
	"packet":        {"packet touched", "packets touched"},
	"packet:reset":  {"connection reset", "connections reset"},
	"disk":          {"effect on a disk", "effects on disks"},
	"disk:power":    {"write, name or process lost", "writes, names and processes lost"},
	"disk:xfs":      {"write, name or process lost", "writes, names and processes lost"},
	"disk:eio":      {"operation failed", "operations failed"},
	"disk:full":     {"operation without space", "operations without space"},
	"disk:slow":     {"sync slowed", "syncs slowed"},
	"disk:bitflip":  {"file with flipped bits", "files with flipped bits"},
	"disk:truncate": {"file cut short", "files cut short"},
	"disk:rollback": {"disk rolled back", "disks rolled back"},
	"clock":         {"clock read wrong", "clocks read wrong"},
	"resource":      {"limit hit", "limits hit"},
	"member":        {"node replaced", "nodes replaced"},
	"leader":        {"election", "elections"},
}

// evidence says what the evidence of a fault counts: n of it.
func evidence(fault string, n int64) string {
	words := strings.SplitN(fault, ":", 3)
	unit, ok := units[strings.Join(words[:min(2, len(words))], ":")]
	if !ok { // the second word is a target
		unit = units[words[0]]
	}
	if n == 1 {
		return "1 " + cmp.Or(unit[0], "evidence")
	}
	return fmt.Sprintf("%d %s", n, cmp.Or(unit[1], "evidence"))
}

func systemNames() (names []string) {
	for _, s := range systems {
		names = append(names, s.name)
	}
	return names
}

func workloadNames() (names []string) {
	for _, w := range allWorkloads {
		names = append(names, w.name)
	}
	return names
}

// nemesisNames returns what --nemesis takes.
func nemesisNames() []string { return append(nemesis.Names(faults), "none") }

func findSystem(name string) *system {
	return &systems[slices.IndexFunc(systems, func(s system) bool { return s.name == name })]
}

func findWorkload(name string) *workload {
	return &allWorkloads[slices.IndexFunc(allWorkloads, func(w workload) bool { return w.name == name })]
}
