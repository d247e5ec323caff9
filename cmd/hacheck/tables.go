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

// evidence says what the evidence of a fault counts: n of it.
func evidence(fault string, n int64) string {
	family, _, _ := strings.Cut(fault, ":")
	units := map[string][2]string{
		"partition": {"packet dropped", "packets dropped"},
		"kill":      {"process ended", "processes ended"},
		"restart":   {"process ended", "processes ended"},
		"pause":     {"process stopped", "processes stopped"},
		"packet":    {"packet touched", "packets touched"},
		"disk":      {"loss or failure of a disk", "losses and failures of disks"},
		"clock":     {"clock read wrong", "clocks read wrong"},
		"resource":  {"limit hit", "limits hit"},
		"member":    {"node replaced", "nodes replaced"},
		"leader":    {"election", "elections"},
	}
	unit := units[family][1]
	if n == 1 {
		unit = units[family][0]
	}
	return fmt.Sprintf("%d %s", n, cmp.Or(unit, "evidence"))
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
