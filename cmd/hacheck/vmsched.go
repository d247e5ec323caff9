package main

import (
	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/vmsched"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/vm"
)

var _ cloud = (*vmsched.System)(nil)

// vmschedHypervisors are what can run guests, the default first.
var vmschedHypervisors = []named{
	{vmsched.HypervisorProcess, "guests are processes of hacheck"},
	{vmsched.HypervisorQEMU, "guests are machines that QEMU emulates, which takes no KVM"},
}

func vmschedBugs() []named {
	var bugs []named
	for _, b := range vmsched.Bugs() {
		bugs = append(bugs, named{b.Name, b.Summary})
	}
	return bugs
}

// vmschedParts says which nodes do what.
func vmschedParts(nodes []string) []cluster.Part {
	if len(nodes) < vmsched.MinNodes {
		return nil
	}
	return vmsched.Parts(nodes)
}

// vmschedTunes are what it can be tuned by.
var vmschedTunes = []tune{
	factor("timeouts", "how long hosts, the scheduler that leads and nodes of the store may be silent until others take over",
		vmsched.MinTimeouts, vmsched.MaxTimeouts, timeouts),
}

func installVmsched(l cluster.Lab, o *options) (installed, error) {
	return vmsched.New(l, vmsched.Options{Bug: o.bug, Hypervisor: o.hypervisor, Timeouts: o.tuned.timeouts})
}

// newVM plays the workload on the hosts of a system.
func newVM(s installed, o *options) workloads.Workload {
	c := s.(cloud)
	options := vm.Options{Rate: o.rate, Labels: c.Labels()}
	for _, p := range c.Parts() {
		if p.Name == cluster.PartHost {
			options.Hosts = p.Nodes
		}
	}
	return vm.New(options, c.OpenVM, checker.Budget{})
}
