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
		Processes: struct{ nemesis.Processes }{}, Network: struct{ cluster.Shaper }{},
		Disks: o.imaginedDisks(), Clocks: struct{ cluster.Clocks }{}, Resources: struct{ cluster.Resources }{},
		Leader: anybody{}, Elector: anybody{},
		Members: struct{ cluster.Members }{}, Observed: struct{ cluster.Observed }{},
		Start:     func(string) error { return errImagined },
		Unguarded: o.unguarded, Absent: o.absent(),
	}
	for i := range o.nodes {
		env.Nodes = append(env.Nodes, fmt.Sprintf("n%d", i+1))
	}
	return env
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

// anybody leads an imagined cluster.
type anybody struct{ cluster.Elector }

func (anybody) Leader(context.Context) (string, error) { return "", errImagined }
