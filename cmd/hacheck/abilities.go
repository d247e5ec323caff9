package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/nemesis"
)

// abilities are what a lab is made with, for the faults that it is to see.
type abilities struct {
	cluster.Options
	// faults are those that can be asked of it.
	faults []nemesis.Fault
	// leftOut are those of all that this machine refuses, each with the reason.
	leftOut []string
}

// give adds to lab options what answers a need.
func (a *abilities) give(need nemesis.Need) error {
	switch need {
	case nemesis.NeedDisks:
		a.Disks = true
	case nemesis.NeedXFS:
		a.Disks, a.XFS = true, true
	case nemesis.NeedClocks:
		a.Clocks = true
	case nemesis.NeedResources:
		a.Resources = true
	default:
		return fmt.Errorf("no lab has %s", need)
	}
	return nil
}

// abilities decides on what the lab is made with. A fault that was asked for by name
// and that this machine refuses is a mistake, told before anything begins; of all, it
// is left out. check is [cluster.Check].
func (o *options) abilities(check func(cluster.Options) error) (abilities, error) {
	a := abilities{faults: faults}
	tried := map[nemesis.Need]error{}
	try := func(need nemesis.Need) error {
		if _, ok := tried[need]; !ok {
			var alone abilities
			err := alone.give(need)
			if err == nil {
				err = check(alone.Options)
			}
			if err == nil {
				err = a.give(need)
			}
			tried[need] = err
		}
		return tried[need]
	}
	specs := slices.Concat(o.nemesis, specsOf(o.timetable))
	for _, s := range specs {
		for _, need := range nemesis.Needs(faults, []nemesis.Spec{s}) {
			if err := try(need); err != nil {
				return a, refusal(s, err)
			}
		}
	}
	if slices.Contains(o.nemesis, nemesis.Spec{Fault: nemesis.All}) {
		a.faults = slices.DeleteFunc(slices.Clone(faults), func(f nemesis.Fault) bool {
			if slices.ContainsFunc(specs, func(s nemesis.Spec) bool { return s.Fault == f.Name }) {
				return false // it is asked for by itself
			}
			if !f.In(o.parts()) {
				return false // it is of other systems, and needs nothing here
			}
			for _, need := range f.Needs {
				if err := try(need); err != nil {
					a.leftOut = append(a.leftOut, fmt.Sprintf("%s: %v", f.Name, bare(err)))
					return true
				}
			}
			return false
		})
	}
	return a, nil
}

// refusal says that a fault cannot be done here. It is a mistake of who asked if this
// machine refuses it, and of hacheck if not.
func refusal(s nemesis.Spec, err error) error {
	if _, ok := errors.AsType[*cluster.RefusedError](err); ok {
		return usage("run: nemesis %v: %v", s, bare(err))
	}
	return fmt.Errorf("nemesis %v: %w", s, err)
}

// bare returns what this machine refuses without what was done when it did, on one
// line.
func bare(err error) error {
	if refused, ok := errors.AsType[*cluster.RefusedError](err); ok {
		err = refused
	}
	return errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
}

func specsOf(entries []nemesis.Entry) (specs []nemesis.Spec) {
	for _, e := range entries {
		specs = append(specs, e.Spec)
	}
	return specs
}

// limits says which of the faults that are asked for a system does not claim to bear.
func limits(system string, of map[string]string, specs []nemesis.Spec) (said []string) {
	for _, limit := range slices.Sorted(maps.Keys(of)) {
		for _, s := range specs {
			if limit == s.Fault || limit == s.Fault+":"+s.Variant || limit == s.String() {
				said = append(said, fmt.Sprintf("%s does not claim to bear %s: %s", system, limit, of[limit]))
				break
			}
		}
	}
	return said
}
