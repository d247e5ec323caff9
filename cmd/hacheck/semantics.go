package main

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/workloads/recorded"
	"github.com/hacheck/hacheck/workloads/register"
)

// semantics are what those who recorded a history meant by it, where they differ from us:
// what check was told of it. The zero semantics are ours.
type semantics struct {
	register.Semantics
	given []string // the flags, of which not every workload knows all
}

// The flags of semantics.
const (
	initialFlag   = "initial"
	nilReadsFlag  = "nil-reads"
	failedCASFlag = "failed-cas"
)

func (s *semantics) flags() []cli.Flag {
	flag := func(name, usage, byDefault string, v *value) *cli.GenericFlag {
		set := v.set
		v.set = func(given string) error {
			s.given = append(s.given, name)
			return set(given)
		}
		return &cli.GenericFlag{Name: name, Usage: usage, DefaultText: byDefault, Value: v}
	}
	return []cli.Flag{
		flag(initialFlag, "registers hold `JSON` at first, as 0 after Knossos's (cas-register 0)", "null", registerValue(&s.Initial)),
		flag(nilReadsFlag, "a read of null `FOUND` absent, nothing there; or any, it does not say what, as in Knossos and Jepsen", "absent",
			either(&s.NilUnknown, "absent", "any")),
		flag(failedCASFlag, "a failed cas `FOUND` any, if its meta says no more, as in Jepsen; or other, what it did not expect, as in porcupine's etcd logs", "any",
			either(&s.FailedCASObserves, "any", "other")),
	}
}

// registerValue is what a register may hold, in JSON.
func registerValue(v *register.Value) *value {
	return &value{
		now: func() string { return v.String() },
		set: func(given string) error {
			if json.Unmarshal([]byte(given), v) != nil {
				return errors.New("want a whole number, a text in double quotes, or null")
			}
			return nil
		},
	}
}

// either is one of two words, of which b says that it is the second.
func either(b *bool, no, yes string) *value {
	word := no
	one := choice(&word, "meaning", []string{no, yes})
	return &value{now: one.now, set: func(given string) error {
		err := one.set(given)
		*b = word == yes
		return err
	}}
}

// checker returns what judges the histories of w with semantics s.
func (s semantics) checker(w *workload, b checker.Budget) (checker.Checker, error) {
	for _, flag := range s.given {
		if !slices.Contains(w.semantics, flag) {
			return nil, usage("check: --%s means nothing to workload %s", flag, w.name)
		}
	}
	if len(s.given) == 0 {
		return w.checker(b), nil
	}
	return w.as(s.Semantics, b), nil
}

func asMultiRegister(s register.Semantics, b checker.Budget) checker.Checker {
	return recorded.MultiRegister([]byte(s.Initial.String()), b)
}
