package recorded

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// The functions of a store of texts.
const (
	Get    = "get"    // ["k",null], completed by ["k","text"]
	Put    = "put"    // ["k","text"]
	Append = "append" // ["k","text"]: at the end of what is there
)

// KVAppendFunctions are what clients of a store of texts do.
func KVAppendFunctions() []string { return []string{Get, Put, Append} }

// KVAppend returns the checker of a store whose keys hold texts that are replaced and
// appended to, empty at first: porcupine's model of a key-value store, which comes of
// the labs of MIT's course 6.824. A get that found null found the empty text.
func KVAppend(b checker.Budget) checker.Checker { return judge("kv-append", kvAppend(), b) }

// A textArgument is what a call is on: a key and, unless it is a get, a text.
type textArgument struct{ key, text string }

// A textFound is what a get returned.
type textFound struct {
	text string
	sum  sum
}

type textCall = histories.Call[textArgument, textFound]

func kvAppend() checker.Model[sum, textArgument, textFound] {
	return checker.Model[sum, textArgument, textFound]{
		In: func(f string, value json.RawMessage) (in textArgument, err error) {
			if f != Get && f != Put && f != Append {
				return in, errors.New("is no function of a store of texts")
			}
			var argument string
			if in.key, argument = split(value); f == Get { // whatever stands where the result will
				return in, nil
			}
			in.text, err = parseText(argument)
			return in, err
		},
		Out: func(f string, value json.RawMessage) (out textFound, err error) {
			if f == Get {
				_, found := split(value)
				out.text, err = parseText(found)
				out.sum = empty.add(out.text)
			}
			return out, err
		},
		Key:  func(in textArgument) string { return in.key },
		Init: empty,
		Step: func(s sum, c textCall) (sum, bool) {
			switch c.F {
			case Put:
				return empty.add(c.In.text), true
			case Append:
				return s.add(c.In.text), true
			}
			return s, s == c.Out.sum
		},
		Decider:  &checker.Decider[textArgument, textFound]{Name: "text", Decide: decideText},
		ReadOnly: func(c textCall) bool { return c.F == Get || c.F == Append && c.In.text == "" },
		States:   textStates,
		Explain:  explainText,
		Describe: func(c textCall) string {
			if c.F == Get {
				return "get → " + brief(c.Out.text)
			}
			return c.F + " " + brief(c.In.text)
		},
		State: func(s sum) string { return fmt.Sprintf("%d bytes", s.bytes) },
	}
}

func parseText(argument string) (string, error) {
	var text *string
	if err := json.Unmarshal([]byte(argument), &text); err != nil {
		return "", errors.New("is no text")
	}
	if text == nil {
		return "", nil
	}
	return *text, nil
}

// A sum stands for a text: its length and its FNV-1a of 128 bits, which that of a longer
// text goes on from. To compare and to keep texts of all lengths takes the same.
type sum struct {
	bytes  int
	hi, lo uint64
}

// The basis and the prime of FNV-1a, draft-eastlake-fnv.
const (
	basisHi, basisLo = 0x6c62272e07bb0142, 0x62b821756295c58d
	primeHi, primeLo = 1 << 24, 0x13b
)

// empty is the sum of the empty text.
var empty = sum{hi: basisHi, lo: basisLo}

// add returns the sum of s's text with text at its end.
func (s sum) add(text string) sum {
	for i := range len(text) {
		lo := s.lo ^ uint64(text[i])
		carry, low := bits.Mul64(lo, primeLo)
		s.hi, s.lo = s.hi*primeLo+lo*primeHi+carry, low
	}
	s.bytes += len(text)
	return s
}

// textStates returns the texts that calls can begin with: if no put came between, what a
// get found is what was there and then what some of the calls appended; so it is what
// remains of it without that. One that no get can have found the rest of stands for all
// others.
func textStates(calls []textCall) []sum {
	var appended []string
	for _, c := range calls {
		if c.F == Append && c.In.text != "" && !slices.Contains(appended, c.In.text) {
			appended = append(appended, c.In.text)
		}
	}
	states := []sum{{bytes: -1}}
	known := map[string]bool{}
	for _, c := range calls {
		if c.F != Get || c.Type != histories.OK {
			continue
		}
		for texts := []string{c.Out.text}; len(texts) > 0; {
			text := texts[len(texts)-1]
			texts = texts[:len(texts)-1]
			if known[text] {
				continue
			}
			known[text] = true
			states = append(states, empty.add(text))
			for _, end := range appended {
				if before, ok := strings.CutSuffix(text, end); ok {
					texts = append(texts, before)
				}
			}
		}
	}
	return states
}

// explainText tells of what the last get does not have in it: what was appended before,
// or what a get had returned before, if nothing can have been put in its place.
func explainText(v checker.Violation[textArgument, textFound]) checker.Anomaly {
	found := v.Last.Out.text
	stays := func(c textCall) bool {
		return !slices.ContainsFunc(v.Calls, func(p textCall) bool {
			return p.F == Put && p.Type != histories.Fail && p.Invoked < v.Last.Completed && p.Completed > c.Invoked
		})
	}
	var shown, lost textCall // the latest
	for _, c := range v.Calls {
		switch {
		case c.Completed >= v.Last.Invoked || c.Type != histories.OK:
		case c.F == Append && !strings.Contains(found, c.In.text) && stays(c):
			lost = c
		case c.F == Get && !strings.HasPrefix(found, c.Out.text) && stays(c):
			shown = c
		}
	}
	switch {
	case lost.F != "":
		return checker.Anomaly{
			Kind: "lost append", Ops: checker.Ops(lost),
			Note: fmt.Sprintf("%s, but before that %s, and nobody can have put anything in its place", didText(v.Last), didText(lost)),
		}
	case shown.F != "":
		return checker.Anomaly{
			Kind: "contradictory gets", Ops: checker.Ops(shown),
			Note: fmt.Sprintf("%s, which does not begin with what was there before, and nobody can have put anything in its place: %s", didText(v.Last), didText(shown)),
		}
	}
	return unexplained(v, didText)
}

func didText(c textCall) string {
	key := named(c.In.key, "the text")
	switch c.F {
	case Get:
		return checker.Did(c, "got "+key+" = "+brief(c.Out.text))
	case Put:
		return checker.Did(c, "put "+brief(c.In.text)+" in "+key)
	}
	return checker.Did(c, "appended "+brief(c.In.text)+" to "+key)
}

// brief returns a text, or the end of a long one, where what is new stands.
func brief(text string) string {
	const most = 40
	if len(text) <= most {
		return fmt.Sprintf("%q", text)
	}
	return fmt.Sprintf("…%q (%d bytes)", strings.ToValidUTF8(text[len(text)-most:], ""), len(text))
}
