// Package appends is the workload "append": transactions that append elements to
// lists and read lists. As each element is appended once, and a read shows all that
// was appended before, the order of writes can be read off the lists, and what each
// transaction must have come before or after. So one that takes every transaction's
// results for its own order is found in a history of any length.
//
// It is Elle's list-append (Kingsbury, Alvaro: Elle: Inferring Isolation Anomalies
// from Experimental Observations, VLDB 2020), with Jepsen's operations: a txn is
// [["append", key, element], ["r", key, null], ...], and completes with the lists
// that were read in the place of each null.
package appends

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Txn is the only function.
const Txn = "txn"

// What a [Mop] does.
const (
	Append = "append"
	Read   = "r"
)

// A Mop is a micro-operation of a transaction: it appends Element to the list at
// Key, or reads that. A list that nobody appended to is empty.
type Mop struct {
	F       string // Append or Read
	Key     string
	Element int64   // to append
	List    []int64 // that was read
}

// Garbage stands in a list that was read for what no client can have appended. It is no
// error, or nobody would hear of it.
const Garbage int64 = -1

// A Store is what a system under test offers to this workload, as one client sees
// it. Its calls come one at a time and return soon after ctx has ended. What an
// error means is what [workloads.Client] says: one that is not marked as definite
// leaves open whether the transaction was committed.
type Store interface {
	// Txn performs mops in their order, all together or not at all, as if no other
	// transaction ran meanwhile. Reads see what was appended before them in the same
	// transaction, too.
	Txn(ctx context.Context, mops []Mop) (Result, error)
	// Close ends the connection.
	Close() error
}

// A Result is what a system said of a transaction.
type Result struct {
	// Mops are those of the transaction, in the same order, with what was read.
	Mops []Mop
	workloads.Said
}

// perform performs an op by a call of a Store.
func perform(ctx context.Context, s Store, op histories.Op) (workloads.Reply, error) {
	mops, err := parse(op.F, op.Value)
	if err != nil {
		return workloads.Unreadable(op, err)
	}
	r, err := s.Txn(ctx, slices.Clone(mops))
	reply := r.Reply()
	if err != nil {
		return reply, err
	}
	if !answers(mops, r.Mops) {
		return reply, fmt.Errorf("%s was answered with %s", payload(mops), payload(r.Mops))
	}
	reply.Value = payload(r.Mops)
	return reply, nil
}

// answers says that done are the results of asked and not of something else.
func answers(asked, done []Mop) bool {
	return slices.EqualFunc(asked, done, func(a, b Mop) bool {
		return a.F == b.F && a.Key == b.Key && a.Element == b.Element
	})
}

// payload returns a transaction as an op carries it.
func payload(mops []Mop) json.RawMessage {
	b, err := json.Marshal(mops)
	if err != nil {
		panic("appends: " + err.Error()) // texts and numbers always marshal
	}
	return b
}

// parse is the inverse of payload.
func parse(f string, value json.RawMessage) (mops []Mop, err error) {
	if f != Txn {
		return nil, errors.New("is no function of this workload")
	}
	if mops, ok := parseQuickly(value); ok {
		return mops, nil
	}
	err = json.Unmarshal(value, &mops)
	return mops, err
}

// parseQuickly reads what is spelt as payload spells it, which nearly all is: lists are
// long, and encoding/json takes several times as long to read them as to judge them. ok
// says whether it was; if not encoding/json has the word, also on what is wrong.
func parseQuickly(value []byte) (mops []Mop, ok bool) {
	s := &scanner{value}
	if !s.take("[") {
		return nil, false
	}
	mops = make([]Mop, 0, bytes.Count(value, []byte(`["`)))
	for {
		var m Mop
		switch {
		case s.take(`["append",`):
			m.F = Append
		case s.take(`["r",`):
			m.F = Read
		default:
			return nil, false
		}
		if m.Key, ok = s.key(); !ok || !s.take(",") {
			return nil, false
		}
		if m.F == Append {
			m.Element, ok = s.number()
		} else {
			m.List, ok = s.list()
		}
		if !ok || !s.take("]") {
			return nil, false
		}
		mops = append(mops, m)
		if s.take(",") {
			continue
		}
		return mops, s.take("]") && len(s.rest) == 0
	}
}

// A scanner reads JSON without blanks from its beginning on. It leans on its being JSON,
// which reading the history has made sure of.
type scanner struct{ rest []byte }

// take says whether text comes next, and if so goes past it.
func (s *scanner) take(text string) (ok bool) {
	if len(s.rest) < len(text) || string(s.rest[:len(text)]) != text {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
}

// key reads a text of plain ASCII, or a whole number, as it is spelt.
func (s *scanner) key() (key string, ok bool) {
	if !s.take(`"`) {
		before := s.rest
		_, ok = s.number()
		return string(before[:len(before)-len(s.rest)]), ok
	}
	for i, c := range s.rest {
		switch {
		case c == '"':
			key, s.rest = string(s.rest[:i]), s.rest[i+1:]
			return key, true
		case c == '\\' || c >= utf8.RuneSelf:
			return "", false
		}
	}
	return "", false
}

// maxDigits is how many digits every number may have without an overflow.
const maxDigits = 18

func (s *scanner) number() (n int64, ok bool) {
	negative := s.take("-")
	digits := 0
	for digits < len(s.rest) && s.rest[digits] >= '0' && s.rest[digits] <= '9' {
		n = 10*n + int64(s.rest[digits]-'0')
		digits++
	}
	s.rest = s.rest[digits:]
	if negative {
		n = -n
	}
	return n, digits > 0 && digits <= maxDigits
}

// list reads a list of whole numbers, or null.
func (s *scanner) list() (list []int64, ok bool) {
	if s.take("null") {
		return nil, true
	}
	if !s.take("[") {
		return nil, false
	}
	if s.take("]") {
		return []int64{}, true
	}
	end := bytes.IndexByte(s.rest, ']')
	if end < 0 {
		return nil, false
	}
	list = make([]int64, 0, bytes.Count(s.rest[:end], []byte{','})+1)
	for {
		n, ok := s.number()
		if !ok {
			return nil, false
		}
		list = append(list, n)
		if !s.take(",") {
			return list, s.take("]")
		}
	}
}

// MarshalJSON returns ["append", key, element] or ["r", key, list], where a list
// that is not known yet is null.
func (m Mop) MarshalJSON() ([]byte, error) {
	if m.F == Append {
		return json.Marshal([]any{m.F, m.Key, m.Element})
	}
	return json.Marshal([]any{m.F, m.Key, m.List})
}

// UnmarshalJSON is the inverse of MarshalJSON. Keys may be numbers, as Jepsen's are.
func (m *Mop) UnmarshalJSON(b []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	if len(parts) != 3 {
		return fmt.Errorf("%s is not [function, key, argument]", b)
	}
	if err := json.Unmarshal(parts[0], &m.F); err != nil {
		return err
	}
	m.Key = string(parts[1])
	if bytes.HasPrefix(parts[1], []byte(`"`)) {
		if err := json.Unmarshal(parts[1], &m.Key); err != nil {
			return err
		}
	}
	switch m.F {
	case Append:
		var e *int64
		if err := json.Unmarshal(parts[2], &e); err != nil || e == nil {
			return fmt.Errorf("%s appends no whole number", b)
		}
		m.Element = *e
		return nil
	case Read:
		return json.Unmarshal(parts[2], &m.List)
	}
	return fmt.Errorf("%s is neither %s nor %s", b, Append, Read)
}
