package recorded

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
)

// The functions of a set whose elements are asked for one by one. Their value is the
// element, 5 or "five", or [5,null]; a completion may answer: [5,true].
const (
	Add      = "add"      // true: it was not there before
	Remove   = "remove"   // true: it was there before
	Contains = "contains" // true: it is there
)

// SetFunctions are what clients of a set do.
func SetFunctions() []string { return []string{Add, Remove, Contains} }

// Set returns the checker of a set that is empty at first. What add and remove answer is
// judged if they do; contains must.
func Set(b checker.Budget) checker.Checker { return judge("linearizable-set", set(), b) }

func set() checker.Model[bool, string, answer] {
	elements := bit{
		key:    func(element string) string { return element },
		access: element,
		did:    func(c bitCall) string { return checker.Did(c, elementWords(c)) },
		show: func(c bitCall) string {
			if c.Type == histories.OK && c.Out.given {
				return fmt.Sprintf("%s → %t", c.F, c.Out.yes)
			}
			return c.F
		},
		state: func(in bool) string {
			if in {
				return "in"
			}
			return "not in"
		},
		words: map[bool]bitWords{
			false: {gone: "lost element", since: "nobody can have removed it since"},
			true: {
				never: "phantom element", nobody: "nobody had added it",
				gone: "resurrected element", since: "nobody can have added it since",
			},
		},
	}
	m := elements.model()
	m.In = func(f string, value json.RawMessage) (string, error) {
		if f != Add && f != Remove && f != Contains {
			return "", errors.New("is no function of a set")
		}
		element, _, err := parseElement(value)
		return element, err
	}
	m.Out = func(f string, value json.RawMessage) (answer, error) {
		_, a, err := parseElement(value)
		if err == nil && f == Contains && !a.given {
			err = errors.New("does not answer")
		}
		return a, err
	}
	return m
}

// element says what a call is to whether its element is in the set.
func element(c bitCall) checker.Access[bool] {
	says := c.Type == histories.OK && c.Out.given
	switch adds := c.F == Add; {
	case c.F == Contains:
		return checker.Access[bool]{Kind: linear.Read, Old: c.Out.yes}
	case !says:
		return checker.Access[bool]{Kind: linear.Write, New: adds}
	case c.Out.yes:
		return checker.Access[bool]{Kind: linear.CAS, Old: !adds, New: adds}
	default:
		return checker.Access[bool]{Kind: linear.Read, Old: adds}
	}
}

func elementWords(c bitCall) string {
	changed := c.Type != histories.OK || !c.Out.given || c.Out.yes
	switch {
	case c.F == Add && changed:
		return "added " + c.In
	case c.F == Add:
		return "found " + c.In + " there when adding it"
	case c.F == Remove && changed:
		return "removed " + c.In
	case c.F == Remove:
		return "found no " + c.In + " to remove"
	case c.Out.yes:
		return "found " + c.In
	}
	return "found no " + c.In
}

// parseElement takes [element, answer] or a mere element.
func parseElement(value json.RawMessage) (element string, a answer, err error) {
	value = bytes.TrimSpace(value)
	if len(value) == 0 || value[0] != '[' {
		if element = spelt(value); element == "" || element == null {
			err = errors.New("names no element")
		}
		return element, a, err
	}
	var pair []json.RawMessage
	if err := json.Unmarshal(value, &pair); err != nil || len(pair) != 2 {
		return "", a, errors.New("is neither an element nor [element, answer]")
	}
	switch string(pair[1]) {
	case null:
	case "true", "false":
		a = answer{given: true, yes: string(pair[1]) == "true"}
	default:
		err = fmt.Errorf("%s is no answer", pair[1])
	}
	return spelt(pair[0]), a, err
}
