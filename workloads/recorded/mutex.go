package recorded

import (
	"encoding/json"
	"errors"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/linear"
)

// The functions of a mutex. They have no arguments but the lock's name, if there are
// several: null or ["l",null].
const (
	Acquire = "acquire"
	Release = "release"
)

// MutexFunctions are what clients of a mutex do.
func MutexFunctions() []string { return []string{Acquire, Release} }

// Mutex returns the checker of locks that are free at first: it is acquired when it is
// free, and released when it is held. By whom is not asked, as in Knossos's mutex; what
// fails says nothing.
func Mutex(b checker.Budget) checker.Checker { return judge("mutex", mutex(), b) }

func mutex() checker.Model[bool, string, answer] {
	lock := bit{
		key: func(name string) string { return name },
		access: func(c bitCall) checker.Access[bool] {
			return checker.Access[bool]{Kind: linear.CAS, Old: c.F == Release, New: c.F == Acquire}
		},
		did: func(c bitCall) string {
			return checker.Did(c, c.F+"d "+named(c.In, "the lock"))
		},
		show: func(c bitCall) string { return c.F },
		state: func(held bool) string {
			if held {
				return "held"
			}
			return "free"
		},
		words: map[bool]bitWords{
			false: {gone: "two holders", since: "nobody can have released it since"},
			true: {
				never: "released while free", nobody: "nobody had acquired it",
				gone: "released while free", since: "nobody can have acquired it since",
			},
		},
	}
	m := lock.model()
	m.In = func(f string, value json.RawMessage) (string, error) {
		if f != Acquire && f != Release {
			return "", errors.New("is no function of a mutex")
		}
		name, _ := split(value)
		return name, nil
	}
	m.Out = func(string, json.RawMessage) (answer, error) { return answer{}, nil }
	return m
}
