package foreign

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/hacheck/hacheck/histories"
)

// The functions whose values others write in other shapes.
const (
	txn     = "txn"
	enqueue = "enqueue"
	dequeue = "dequeue"
	drain   = "drain"
)

// shape returns the value of a function of a client in the shape that our workloads have:
//
//   - transactions consist of ["r", k, v], ["w", k, v] and ["append", k, v], which Knossos
//     calls read and write;
//   - a queue that has no name is called "".
//
// Whatever has a key is [key, value] in all formats already; what has none may stand alone.
func shape(f string, value []byte) []byte {
	switch f {
	case txn:
		if bytes.Contains(value, []byte(`"read"`)) || bytes.Contains(value, []byte(`"write"`)) || bytes.Contains(value, []byte(`":`)) {
			return renamed(value)
		}
	case enqueue, dequeue:
		if !isPair(value) {
			return fmt.Appendf(nil, `["",%s]`, orNull(value))
		}
	}
	return value
}

// isPair says whether a value is an array of two elements.
func isPair(value []byte) bool {
	depth, commas := 0, 0
	quoted := false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth == 1 && c == '{' {
				return false
			}
		case c == ']' || c == '}':
			depth--
		case c == ',' && depth == 1:
			commas++
		}
	}
	return commas == 1
}

// renamed renames the micro-operations of a transaction, which may have a key.
func renamed(value []byte) []byte {
	var mops []json.RawMessage
	if json.Unmarshal(value, &mops) != nil {
		return value
	}
	if len(mops) == 2 && !bytes.HasPrefix(mops[0], []byte("[")) { // [key, transaction]
		return fmt.Appendf(nil, "[%s,%s]", mops[0], renamed(mops[1]))
	}
	for i := range mops {
		var parts []json.RawMessage
		if json.Unmarshal(mops[i], &parts) != nil || len(parts) == 0 {
			continue
		}
		name := word(parts[0])
		switch name {
		case "":
			continue
		case "read":
			name = "r"
		case "write":
			name = "w"
		}
		quoted, err := json.Marshal(name)
		if err != nil {
			panic("foreign: " + err.Error()) // texts always marshal
		}
		parts[0] = quoted
		mops[i] = joined(parts)
	}
	return joined(mops)
}

func joined(parts []json.RawMessage) []byte {
	b := []byte{'['}
	for i, part := range parts {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, part...)
	}
	return append(b, ']')
}

// beginsDrain says whether op, of a client, invokes a drain of a queue. What is drained by an
// object, as hosts are of their machines, is none.
func beginsDrain(op histories.Op) bool {
	return op.Type == histories.Invoke && op.F == drain && !bytes.HasPrefix(op.Value, []byte("{"))
}

// takeApart makes of each drain, which takes out of a queue all that is in it, a dequeue
// for each element. They are called and answered when the drain was, each by a process
// of its own, so that nothing is claimed of their order but what the drain claims.
func takeApart(h *histories.History) (*histories.History, error) {
	b := histories.NewBuilder()
	helpers := histories.Process(1) << 32 // more than any process has, and so given fresh numbers
	first := map[int]histories.Process{}  // of the drain that is invoked there
	for i, op := range h.All() {
		line := h.Line(i)
		op.Index = histories.Unknown
		if op.F != drain || op.Process < 0 {
			if err := b.Add(op, line); err != nil {
				return nil, err
			}
			continue
		}
		invoked, done := i, h.Pair(i)
		if op.Type != histories.Invoke {
			invoked, done = done, i
		}
		if done < 0 || h.At(done).Type == histories.Info {
			return nil, &histories.InvalidError{Line: line, Reason: "a drain of which nobody knows how it ended may have taken anything out of the queue: record what it took as dequeues of type ok, and the last one as info"}
		}
		if h.At(done).Type == histories.Fail {
			continue
		}
		key, elements, err := drained(h.At(done).Value)
		if err != nil {
			return nil, &histories.InvalidError{Line: h.Line(done), Reason: err.Error()}
		}
		if i == invoked {
			first[i] = helpers
			helpers += histories.Process(len(elements))
		}
		for j, element := range elements {
			part := op
			part.F, part.Process = dequeue, first[invoked]+histories.Process(j)
			if part.Value = fmt.Appendf(nil, "[%s,null]", key); op.Type == histories.OK {
				part.Value = fmt.Appendf(nil, "[%s,%s]", key, element)
			}
			if err := b.Add(part, line); err != nil {
				return nil, err
			}
		}
	}
	if h.Torn() > 0 {
		b.Torn(h.Torn())
	}
	parted, _ := b.History() // what there was to note was noted of the file
	return parted, nil
}

// drained takes apart what a drain took out: a list, or [key, list].
func drained(value []byte) (key []byte, elements []json.RawMessage, err error) {
	if err := json.Unmarshal(value, &elements); err != nil {
		return nil, nil, fmt.Errorf("a drain took %s out, which is no list", orNull(value))
	}
	if len(elements) == 2 && bytes.HasPrefix(elements[1], []byte("[")) {
		var keyed []json.RawMessage
		err := json.Unmarshal(elements[1], &keyed)
		return elements[0], keyed, err
	}
	return []byte(`""`), elements, nil
}
