package recorded

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// Txn is the only function of a multi-register: [["r","x",null],["w","y",2]], completed
// with what was read in the place of null. Read and write may be spelt out.
const Txn = "txn"

// MultiRegisterFunctions are what clients of a multi-register do.
func MultiRegisterFunctions() []string { return []string{Txn} }

// MultiRegister returns the checker of several registers that transactions read and
// write together: all of them are one linearizable object, and each holds initial at
// first, in JSON; nil is null. A read of null says nothing, as in Knossos.
func MultiRegister(initial json.RawMessage, b checker.Budget) checker.Checker {
	return judge("multi-register", multiRegister(initial), b)
}

// An access is one read or write of a transaction. Key and value are as JSON spells
// them.
type access struct {
	write      bool
	key, value string
}

type txnCall = histories.Call[[]access, []access]

// A table is what all registers hold that do not hold what they did at first: lines
// of key=value, sorted. What spelt has spelt has no newline.
type table string

// get returns what key holds, and where its line begins and ends, or would stand.
func (t table) get(key string) (value string, begin, end int, ok bool) {
	key += "=" // no key is now another's beginning: each is a whole value of JSON
	for begin < len(t) {
		end = begin + strings.IndexByte(string(t[begin:]), '\n') + 1
		line := string(t[begin:end])
		if strings.HasPrefix(line, key) {
			return line[len(key) : len(line)-1], begin, end, true
		}
		if line > key {
			break
		}
		begin = end
	}
	return "", begin, begin, false
}

// set returns the table in which key holds value; without a line if forget.
func (t table) set(key, value string, forget bool) table {
	_, begin, end, _ := t.get(key)
	line := table(key + "=" + value + "\n")
	if forget {
		line = ""
	}
	return t[:begin] + line + t[end:]
}

// A registers is the model of many registers.
type registers struct{ initial string }

func multiRegister(initial json.RawMessage) checker.Model[table, []access, []access] {
	r := registers{initial: null}
	if len(initial) > 0 {
		r.initial = spelt(initial)
	}
	return checker.Model[table, []access, []access]{
		In:  parseTxn,
		Out: parseTxn,
		Step: func(t table, c txnCall) (table, bool) {
			if c.Type == histories.OK {
				return r.run(t, c.Out)
			}
			t, _ = r.run(t, writes(c.In))
			return t, true
		},
		ReadOnly: func(c txnCall) bool { return len(writes(c.In)) == 0 && len(writes(c.Out)) == 0 },
		Explain:  r.explain,
		Describe: func(c txnCall) string {
			if c.Type == histories.OK {
				return spell(c.Out)
			}
			return spell(c.In)
		},
		State: func(t table) string {
			if t == "" {
				return "all " + r.initial
			}
			return strings.ReplaceAll(strings.TrimSuffix(string(t), "\n"), "\n", " ")
		},
	}
}

// run returns what the registers hold after a transaction, and whether they held what it
// read.
func (r registers) run(t table, txn []access) (table, bool) {
	before := t
	for _, a := range txn {
		if a.write {
			t = t.set(a.key, a.value, a.value == r.initial)
			continue
		}
		held, _, _, ok := t.get(a.key)
		if !ok {
			held = r.initial
		}
		if a.value != null && a.value != held {
			return before, false
		}
	}
	return t, true
}

func writes(txn []access) (all []access) {
	for _, a := range txn {
		if a.write {
			all = append(all, a)
		}
	}
	return all
}

// explain tells of a transaction that read what it had itself overwritten, or what nobody
// wrote.
func (r registers) explain(v checker.Violation[[]access, []access]) checker.Anomaly {
	own := map[string]string{}
	for _, a := range v.Last.Out {
		switch wrote, did := own[a.key]; {
		case a.write:
			own[a.key] = a.value
		case a.value == null || a.value == wrote:
		case did:
			return checker.Anomaly{
				Kind: "own write not read",
				Note: fmt.Sprintf("%s, and read %s = %s, when it had itself written %s", ran(v.Last), a.key, a.value, wrote),
			}
		case a.value != r.initial:
			if anomaly, ok := nobodyWrote(v, a); ok {
				return anomaly
			}
		}
	}
	return unexplained(v, ran)
}

// nobodyWrote tells that what the last transaction read in a had no source.
func nobodyWrote(v checker.Violation[[]access, []access], a access) (checker.Anomaly, bool) {
	anomaly := checker.Anomaly{Kind: "phantom value", Note: fmt.Sprintf("%s, but nobody had written %s = %s", ran(v.Last), a.key, a.value)}
	for _, c := range v.Calls {
		if c.Index == v.Last.Index || c.Invoked > v.Last.Completed {
			continue
		}
		for _, w := range writes(c.In) {
			switch {
			case w.key != a.key || w.value != a.value:
			case c.Type != histories.Fail:
				return anomaly, false
			default:
				anomaly.Kind = "failed write took effect"
				anomaly.Note = fmt.Sprintf("%s, but nothing was to write %s = %s other than one that reported failure: %s", ran(v.Last), a.key, a.value, ran(c))
				anomaly.Ops = checker.Ops(c)
			}
		}
	}
	return anomaly, true
}

// ran says what a call did, in words.
func ran(c txnCall) string {
	txn := c.In
	if c.Type == histories.OK {
		txn = c.Out
	}
	return checker.Did(c, "ran "+spell(txn))
}

// spell returns a transaction in few words: r x→1, w y=2.
func spell(txn []access) string {
	var parts []string
	for _, a := range txn {
		if a.write {
			parts = append(parts, "w "+a.key+"="+a.value)
		} else {
			parts = append(parts, "r "+a.key+"→"+a.value)
		}
	}
	return strings.Join(parts, ", ")
}

func parseTxn(f string, value json.RawMessage) ([]access, error) {
	if f != Txn {
		return nil, errors.New("is no function of a multi-register")
	}
	var mops [][]json.RawMessage
	if err := json.Unmarshal(value, &mops); err != nil || len(mops) == 0 {
		return nil, errors.New("is no list of [function, key, value]")
	}
	var txn []access
	for _, mop := range mops {
		if len(mop) != 3 {
			return nil, fmt.Errorf("a part of it has %d elements, not [function, key, value]", len(mop))
		}
		a := access{key: spelt(mop[1]), value: spelt(mop[2])}
		switch spelt(mop[0]) {
		case `"r"`, `"read"`:
		case `"w"`, `"write"`:
			a.write = true
		default:
			return nil, fmt.Errorf("%s is neither read nor write", mop[0])
		}
		txn = append(txn, a)
	}
	return txn, nil
}
