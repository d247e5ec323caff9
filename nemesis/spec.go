package nemesis

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Spec is a fault as somebody asks for it: NAME[:VARIANT][:TARGET].
type Spec struct {
	Fault   string
	Variant string // empty: any, drawn
	Target  string // of the fault's, or a node's name; empty: any, drawn
}

// String returns the spec as it is asked for.
func (s Spec) String() string {
	text := s.Fault
	if s.Variant != "" {
		text += ":" + s.Variant
	}
	if s.Target != "" {
		text += ":" + s.Target
	}
	return text
}

// All asks for every fault that this lab and this system can do.
const All = "all"

// Parse reads specs, separated by commas. A target may also follow its variant
// behind a comma, as in "disk:power,leader". So "leader" there is the target; to
// have the fault of that name, too, it is put first.
func Parse(faults []Fault, text string) ([]Spec, error) {
	var specs []Spec
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		if n := len(specs); n > 0 && targets(faults, &specs[n-1], word) {
			continue
		}
		s, err := parse(faults, word)
		if err != nil {
			return nil, err
		}
		specs = append(specs, s)
	}
	for i, s := range specs {
		if slices.Contains(specs[:i], s) {
			return nil, fmt.Errorf("%v stands twice", s)
		}
	}
	return specs, nil
}

// targets takes word for the target of s, if it may be.
func targets(faults []Fault, s *Spec, word string) bool {
	f := find(faults, s.Fault)
	if f == nil || s.Variant == "" || s.Target != "" || !f.isTarget(word) {
		return false
	}
	s.Target = word
	return true
}

func parse(faults []Fault, word string) (Spec, error) {
	parts := strings.Split(word, ":")
	s := Spec{Fault: parts[0]}
	switch {
	case word == "":
		return s, errors.New("a name is missing before or after a comma")
	case s.Fault == All && len(parts) == 1:
		return s, nil
	case s.Fault == All:
		return s, fmt.Errorf("%q: all has no variants and targets; name the faults that are to have some", word)
	}
	f := find(faults, s.Fault)
	if f == nil {
		return s, &UnknownError{What: "nemesis", Name: s.Fault, Known: families(faults)}
	}
	for _, part := range parts[1:] {
		switch {
		case s.Variant == "" && s.Target == "" && slices.ContainsFunc(f.Variants, func(v Variant) bool { return v.Name == part }):
			s.Variant = part
		case s.Target == "" && f.isTarget(part):
			s.Target = part
		default:
			return s, &UnknownError{What: "variant or target of " + f.Name, Name: word, Known: f.names()}
		}
	}
	return s, nil
}

// An UnknownError says that there is no such thing, and what there is.
type UnknownError struct {
	What, Name string
	Known      []string
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("no such %s: %q; there are %s", e.What, e.Name, strings.Join(e.Known, ", "))
}

func find(faults []Fault, name string) *Fault {
	at := slices.IndexFunc(faults, func(f Fault) bool { return f.Name == name })
	if at < 0 {
		return nil
	}
	return &faults[at]
}

func families(faults []Fault) []string {
	var names []string
	for _, f := range faults {
		names = append(names, f.Name)
	}
	return append(names, All)
}

// isTarget says whether the fault can be aimed at name: a role, or a node.
func (f Fault) isTarget(name string) bool {
	return len(f.Targets) > 0 && (isNode(name) || slices.ContainsFunc(f.Targets, func(t Target) bool { return t.Name == name }))
}

// isNode says whether name looks like a node's: whether there is one is a matter of
// the lab.
func isNode(name string) bool {
	digits := strings.TrimPrefix(name, "n")
	return digits != name && digits != "" && strings.Trim(digits, "0123456789") == ""
}

// targets returns whom the fault can be aimed at.
func (f Fault) targets() []string {
	var names []string
	for _, t := range f.Targets {
		names = append(names, t.Name)
	}
	if names != nil {
		names = append(names, "a node")
	}
	return names
}

// names returns what the fault can be asked for as.
func (f Fault) names() []string {
	names := []string{f.Name}
	for _, v := range f.Variants {
		names = append(names, f.Name+":"+v.Name)
	}
	if len(f.Variants) == 0 {
		for _, t := range f.Targets {
			names = append(names, f.Name+":"+t.Name)
		}
	}
	return names
}

// Names returns what can be asked for: each fault, and each with each variant; where
// there are none, with each target.
func Names(faults []Fault) []string {
	var names []string
	for _, f := range faults {
		names = append(names, f.names()...)
	}
	return append(names, All)
}

// Needs returns what the lab must have for the faults that are asked for, each but
// once. [All] asks for nothing: it makes do.
func Needs(faults []Fault, specs []Spec) []Need {
	var needs []Need
	for _, s := range specs {
		f := find(faults, s.Fault)
		if f == nil {
			continue
		}
		of := f.Needs
		for _, v := range f.Variants {
			if v.Name == s.Variant && len(v.Needs) > 0 {
				of = v.Needs
			}
		}
		for _, need := range of {
			if !slices.Contains(needs, need) {
				needs = append(needs, need)
			}
		}
	}
	return needs
}
