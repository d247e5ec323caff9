package foreign

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/histories/edn"
)

// A decoder builds a history of ops.
type decoder struct {
	format  Format
	in      *edn.Reader
	built   *histories.Builder
	drains  bool
	leftOut map[string]int
	fields  map[string]string // seen before, so that a name is one string
	value   []byte            // of the present op
	meta    []byte
	scratch []byte
}

func newDecoder(format Format) *decoder {
	return &decoder{format: format, built: histories.NewBuilder(), leftOut: map[string]int{}, fields: map[string]string{}}
}

// ops reads maps of EDN or objects of JSON, one by one or in one list.
func (d *decoder) ops(in *bufio.Reader) error {
	syntax := edn.EDN
	if d.format == JSON {
		syntax = edn.JSON
	}
	d.in = edn.NewReader(in, syntax)
	inList := false
	begun := false
	for {
		t, err := d.in.Next()
		line := 0 // of the op that is being read
		if err == nil {
			switch {
			case t.Kind == edn.EOF:
				return nil
			case t.Kind == edn.Tag: // the name of a record
				continue
			case t.Kind == edn.Open && t.Text[0] == '{':
				line, begun = t.Line, true
				err = d.op(line)
			case t.Kind == edn.Open && !inList && !begun && t.Text[0] != '#':
				inList = true
			case t.Kind == edn.Close && inList: // that of the list: others are read by op
				inList = false
			default:
				return &edn.Error{Line: t.Line, Column: t.Column, Reason: fmt.Sprintf("want an operation, a map with :type, :f, :value and :process, got %q", t.Text)}
			}
		}
		if e, ok := errors.AsType[*edn.Error](err); ok && e.Truncated { // a crash has cut the file
			d.built.Torn(cmp.Or(line, e.Line))
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// op reads the op whose map begins on that line, from behind the bracket.
func (d *decoder) op(line int) error {
	op := histories.Op{Index: histories.Unknown, Time: histories.Unknown}
	var seen uint // by the place in known
	var key []byte
	for {
		t, err := d.in.Next()
		if err != nil {
			return err
		}
		if t.Kind == edn.Close {
			break
		}
		name, err := d.name(t)
		if err != nil {
			return err
		}
		if i := slices.Index(known, name); i >= 0 {
			if seen&(1<<i) != 0 {
				return &histories.InvalidError{Line: line, Reason: fmt.Sprintf("%q stands twice", name)}
			}
			seen |= 1 << i
		}
		if t, err = d.in.Next(); err != nil {
			return err
		}
		into := &d.scratch
		switch name {
		case "value":
			into = &d.value
		case "meta":
			into = &d.meta
		}
		if *into, err = d.in.AppendJSON((*into)[:0], t); err != nil {
			return err
		}
		if name == "key" {
			key = bytes.Clone(*into)
		}
		if reason := d.set(&op, name, *into); reason != "" {
			return &histories.InvalidError{Line: line, Reason: fmt.Sprintf("%q: %s", name, reason)}
		}
	}
	for i, name := range known[:required] {
		if seen&(1<<i) == 0 {
			return &histories.InvalidError{Line: line, Reason: fmt.Sprintf("%q is missing: an operation has type, f, value and process", name)}
		}
	}
	if seen&(1<<slices.Index(known, "value")) != 0 {
		op.Value = d.value
	}
	if seen&(1<<slices.Index(known, "meta")) != 0 {
		op.Meta = d.meta
	}
	if key != nil {
		op.Value = fmt.Appendf(nil, "[%s,%s]", key, orNull(op.Value))
	}
	return d.add(op, line)
}

// known are the fields of an op. The first few are required.
var known = []string{"type", "f", "process", "value", "time", "index", "error", "node", "meta", "key", "event"}

const required = 3

func orNull(value []byte) []byte {
	if len(value) == 0 {
		return []byte("null")
	}
	return value
}

// name returns what a key of an op says.
func (d *decoder) name(t edn.Token) (string, error) {
	text := t.Text
	switch t.Kind {
	case edn.String:
		text = bytes.TrimPrefix(text[1:len(text)-1], []byte{':'})
	case edn.Keyword:
	default:
		return "", &edn.Error{Line: t.Line, Column: t.Column, Reason: fmt.Sprintf("want the name of a field, such as :type, got %q", text)}
	}
	name, ok := d.fields[string(text)]
	if !ok {
		name = string(text)
		d.fields[name] = name
	}
	return name, nil
}

// types are those of ops; "event" is what we write.
var types = map[string]histories.Type{
	"invoke": histories.Invoke, "ok": histories.OK, "fail": histories.Fail, "info": histories.Info, "event": histories.Event,
}

// set sets a field of op to a value, and says what is wrong with that, if anything.
func (d *decoder) set(op *histories.Op, name string, value []byte) (reason string) {
	none := string(value) == "null"
	switch name {
	case "index", "time":
		if none {
			return ""
		}
		n, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil {
			return fmt.Sprintf("%s is not a whole number of 64 bits; times are nanoseconds", value)
		}
		if name == "index" {
			op.Index = int(n)
		} else {
			op.Time = time.Duration(n)
		}
	case "process":
		return setProcess(op, value)
	case "type":
		name := word(value)
		if op.Type != histories.Event { // which is said by a field of its own
			op.Type = types[name]
		}
		if op.Type == 0 {
			return fmt.Sprintf("unknown type %q (want invoke, ok, fail, info or event)", name)
		}
	case "f":
		if op.F = text(value); d.format == JSON {
			op.F = word(value)
		}
		if op.F == "" {
			return fmt.Sprintf("%s is no function: want a name, such as read", value)
		}
		if name, ok := d.fields[op.F]; ok {
			op.F = name
		} else {
			d.fields[op.F] = op.F
		}
	case "event":
		if string(value) == "true" {
			op.Type = histories.Event
		}
	case "error":
		switch {
		case none:
		case value[0] == '"':
			op.Error = text(value)
		default:
			op.Error = strings.ToValidUTF8(string(value), "\uFFFD")
		}
	case "node":
		if !none {
			op.Node = text(value)
		}
	case "value", "meta", "key":
	default:
		d.leftOut[name]++
	}
	return ""
}

// setProcess reads a process: a number, or nemesis, as a text or a keyword.
func setProcess(op *histories.Op, value []byte) (reason string) {
	switch word(value) {
	case "nemesis":
		op.Process = histories.Nemesis
		return ""
	case "observer":
		op.Process = histories.Observer
		return ""
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n < 0 && n != int64(histories.Nemesis) && n != int64(histories.Observer) {
		return fmt.Sprintf("%s is no process: clients are numbers from 0 on, beside them there is the nemesis", value)
	}
	op.Process = histories.Process(n)
	return ""
}

// word returns what a JSON string says, without the colons of a keyword, which some tools
// leave on in JSON; "" of all else.
func word(value []byte) string {
	s := text(value)
	if w := strings.TrimLeft(s, ":"); w != "" {
		return w
	}
	return s
}

// text returns what a JSON string says; "" of all else.
func text(value []byte) string {
	if len(value) == 0 || value[0] != '"' {
		return ""
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return strings.ToValidUTF8(string(value[1:len(value)-1]), "\uFFFD")
	}
	var s string
	if json.Unmarshal(value, &s) != nil {
		return ""
	}
	return s
}

// settle brings the values of a history into the shapes of our workloads, if they are not.
func settle(h *histories.History) (*histories.History, []string, error) {
	inShape := func(op histories.Op) bool {
		return op.Process < 0 || !beginsDrain(op) && bytes.Equal(shape(op.F, op.Value), op.Value)
	}
	for _, op := range h.All() {
		if inShape(op) {
			continue
		}
		d := newDecoder(JSONL)
		for i, op := range h.All() {
			if err := d.add(op, h.Line(i)); err != nil {
				return nil, nil, err
			}
		}
		if h.Torn() > 0 {
			d.built.Torn(h.Torn())
		}
		return d.history()
	}
	return h, nil, nil
}

// add adds op to the history.
func (d *decoder) add(op histories.Op, line int) error {
	if op.Process >= 0 {
		op.Value = shape(op.F, op.Value)
		d.drains = d.drains || beginsDrain(op)
	}
	return d.built.Add(op, line)
}

// history returns what was built.
func (d *decoder) history() (*histories.History, []string, error) {
	h, notes := d.built.History()
	if !d.drains {
		return h, notes, nil
	}
	h, err := takeApart(h)
	return h, append(notes, "each drain of a queue is taken for the dequeues of what it took out"), err
}
