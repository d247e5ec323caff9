package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/nemesis"
)

// imagined is a lab as asked for, with everything in it that could be broken, and
// nothing that can be done. By it is told what makes no sense before there is a lab.
func (o *options) imagined() nemesis.Env {
	env := nemesis.Env{
		System: o.system, Processes: struct{ nemesis.Processes }{}, Network: struct{ cluster.Shaper }{},
		Disks: o.imaginedDisks(), Clocks: struct{ cluster.Clocks }{}, Resources: struct{ cluster.Resources }{},
		Leader: anybody{}, Elector: anybody{},
		Members: struct{ cluster.Members }{}, Observed: struct{ cluster.Observed }{},
		Start:     func(string) error { return errImagined },
		Unguarded: o.unguarded, Absent: o.absent(),
	}
	env.Nodes = nodeNames(o.nodes)
	if s := findSystem(o.system); s.parts != nil {
		env.Parts = o.parts()
		env.Nodes = env.Parts[0].Nodes
		env.Guests, env.Steps, env.ClockRate = struct{ cluster.Hosting }{}, true, s.clockRate
		env.Cast = nobody{roles: s.roles}
	}
	return env
}

// parts says which nodes of the system do what; none if all do the same.
func (o *options) parts() []cluster.Part {
	s := findSystem(o.system)
	if s.parts == nil {
		return nil
	}
	return s.parts(nodeNames(o.nodes))
}

// nodeNames are what so many nodes are called.
func nodeNames(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("n%d", i+1))
	}
	return names
}

// absent is how many nodes clients may have made no members.
func (o *options) absent() int {
	for _, w := range allWorkloads {
		if w.name == o.workload && w.absent != nil {
			return w.absent(o.nodes)
		}
	}
	return 0
}

// imaginedDisks are those that the faults which are asked for need.
func (o *options) imaginedDisks() disks {
	if slices.Contains(nemesis.Needs(faults, slices.Concat(o.nemesis, specsOf(o.timetable))), nemesis.NeedXFS) {
		return disks{made: cluster.DisksXFS}
	}
	return disks{made: cluster.DisksFUSE}
}

// disks are imagined.
type disks struct {
	cluster.Disks
	made string
}

func (d disks) Made() string { return d.made }

var errImagined = errors.New("there is no lab")

// nobody plays the roles that there are.
type nobody struct {
	cluster.Cast
	roles []string
}

func (n nobody) Roles() []string { return n.roles }

// anybody leads an imagined cluster.
type anybody struct{ cluster.Elector }

func (anybody) Leader(context.Context) (string, error) { return "", errImagined }
