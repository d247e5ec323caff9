package document

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// A survey is what has to be known of a history before its ops are packed: the names in it,
// which ops are about which key, and when a process does its last op.
type survey struct {
	functions, keys, nodes, errors names
	keyOf                          []int32 // by call: a number of keys; -1: none
	last                           map[histories.Process]int
	calls                          int
	// keyCalls are how many calls there are of each key.
	keyCalls []int
}

// names are numbered in the order in which a history has them first.
type names struct {
	list   []string // as an Index has them
	number map[string]int32
	// others is the number of all those that there was no room for, or -1.
	others int32
}

// of returns the number of a name; that of "" is -1.
func (n *names) of(name string) int32 {
	if name == "" {
		return -1
	}
	return n.number[name]
}

// A tally counts names.
type tally struct {
	number map[string]int32
	list   []string
	counts []int
}

func (t *tally) add(name string) int32 {
	n, ok := t.number[name]
	if !ok {
		if t.number == nil {
			t.number = map[string]int32{}
		}
		n = int32(len(t.list))
		t.number[name] = n
		t.list = append(t.list, name)
		t.counts = append(t.counts, 0)
	}
	t.counts[n]++
	return n
}

// names returns at most limit of the names that were counted, those that were counted most,
// and what became of each number. The rest are one name more.
func (t *tally) names(limit int) (n names, became []int32) {
	order := make([]int32, len(t.list))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return t.counts[b] - t.counts[a] })
	kept, text := 0, 0
	keep := make([]bool, len(t.list))
	for _, i := range order {
		if kept < limit && text+len(t.list[i]) <= maxText {
			keep[i] = true
			kept++
			text += len(t.list[i])
		}
	}
	n = names{list: make([]string, 0, kept+1), number: t.number, others: -1}
	became = make([]int32, len(t.list))
	for i, name := range t.list {
		if keep[i] {
			became[i] = int32(len(n.list))
			n.list = append(n.list, name)
		}
	}
	if others := len(t.list) - kept; others > 0 {
		n.others = int32(kept)
		n.list = append(n.list, fmt.Sprintf("(%d others)", others))
	}
	for i, name := range t.list {
		if !keep[i] {
			became[i] = n.others
		}
		n.number[name] = became[i]
	}
	return n, became
}

// A subject is what an event is about.
type subject struct {
	op   int32
	name string
}

// subjects returns what events are about, by tracks, in the order of the events. What several
// tracks tell of is about the first of them.
func subjects(tracks []workloads.Track) (all []subject) {
	for _, t := range tracks {
		for _, op := range t.Events {
			all = append(all, subject{int32(op), t.About()})
		}
	}
	slices.SortStableFunc(all, func(a, b subject) int { return int(a.op - b.op) })
	return slices.CompactFunc(all, func(a, b subject) bool { return a.op == b.op })
}

// takeSurvey surveys h, in which these events are about something.
func takeSurvey(h *histories.History, about []subject) *survey {
	var (
		s                                 = &survey{last: map[histories.Process]int{}}
		keyed                             = newKeys(h)
		functions, counted, nodes, errors tally
	)
	for i, op := range h.All() {
		functions.add(op.F)
		if op.Node != "" {
			nodes.add(op.Node)
		}
		if op.Error != "" {
			errors.add(op.Error)
		}
		s.last[op.Process] = i
		if op.Type != histories.Invoke && op.Type != histories.Event {
			continue
		}
		s.calls++
		key := int32(-1)
		for len(about) > 0 && int(about[0].op) < i {
			about = about[1:]
		}
		switch {
		case op.Process >= 0:
			if name, keyed := keyed.key(op); keyed && name != "" {
				key = counted.add(name)
			}
		case op.Type == histories.Event && len(about) > 0 && int(about[0].op) == i && about[0].name != "":
			key = counted.add(about[0].name)
		}
		s.keyOf = append(s.keyOf, key)
	}
	s.functions, _ = functions.names(maxNames)
	s.nodes, _ = nodes.names(maxNames)
	s.errors = errors.kinds()
	var became []int32
	s.keys, became = counted.names(maxKeys)
	s.keyCalls = make([]int, len(s.keys.list))
	for i, key := range s.keyOf {
		if key >= 0 {
			s.keyOf[i] = became[key]
			s.keyCalls[became[key]]++
		}
	}
	return s
}

// maxAlike is how many texts may differ in nothing but numbers before they count as one.
const maxAlike = 16

// kinds returns the names of texts of which those that differ in nothing but numbers, and are
// many, are one, with # for each number: an error says what a value was, and who looks for
// errors looks for none of those values.
func (t *tally) kinds() names {
	alike := map[string]int{}
	for _, text := range t.list {
		alike[withoutNumbers(text)]++
	}
	var kinds tally
	of := make([]int32, len(t.list))
	for i, text := range t.list {
		if kind := withoutNumbers(text); alike[kind] > maxAlike {
			text = kind
		}
		of[i] = kinds.add(text)
		kinds.counts[of[i]] += t.counts[i] - 1
	}
	n, became := kinds.names(maxNames)
	n.number = t.number
	for i, text := range t.list {
		n.number[text] = became[of[i]]
	}
	return n
}

// withoutNumbers returns text with # for each run of digits.
func withoutNumbers(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if !digit(text[i]) {
			b.WriteByte(text[i])
		} else if i == 0 || !digit(text[i-1]) {
			b.WriteByte('#')
		}
	}
	return b.String()
}

func digit(c byte) bool { return c >= '0' && c <= '9' }
