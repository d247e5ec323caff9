package histories

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// A parsedOp is a line taken apart; its slices alias the line where they can.
type parsedOp struct {
	index, time, process int64
	typ                  Type
	f, value             []byte
	err, node, meta      []byte
	others               [][]byte // the names of other fields
}

var errTruncated = errors.New("ends in the middle")

// parseOp takes a line of a history apart. It is written by hand because it is
// what reading large histories spends its time on: a fifth of encoding/json's
// time. It accepts JSON objects and nothing else; fields it does not know are
// passed over, so that files of other tools can be read.
func parseOp(line []byte, op *parsedOp) error {
	*op = parsedOp{others: op.others[:0]}
	s := scanner{b: line}
	var seen uint
	if err := s.expect('{'); err != nil {
		return err
	}
	for first := true; ; first = false {
		s.space()
		if s.peek() == '}' && first {
			s.i++
			break
		}
		key, err := s.str()
		if err != nil {
			return err
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		raw, err := s.value()
		if err != nil {
			return err
		}
		bit, err := op.set(key, raw)
		if err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
		if bit != 0 && seen&bit != 0 {
			return fmt.Errorf("%q stands twice", key)
		}
		seen |= bit
		s.space()
		if s.peek() == ',' {
			s.i++
			continue
		}
		if err := s.expect('}'); err != nil {
			return err
		}
		break
	}
	s.space()
	if s.i < len(s.b) {
		return fmt.Errorf("column %d: text after the object", s.i+1)
	}
	for i, key := range [...]string{"index", "time", "process", "type", "f"} {
		if seen&(1<<i) == 0 {
			return fmt.Errorf("%q is missing", key)
		}
	}
	return nil
}

// set stores one field. The bit tells the fields apart; required ones first.
func (op *parsedOp) set(key, raw []byte) (bit uint, err error) {
	switch string(key) {
	case "index":
		op.index, err = number(raw)
		return 1 << 0, err
	case "time":
		op.time, err = number(raw)
		return 1 << 1, err
	case "process":
		op.process, err = process(raw)
		return 1 << 2, err
	case "type":
		name, err := text(raw)
		if err != nil {
			return 0, err
		}
		if op.typ = parseType(name); op.typ == 0 {
			return 0, fmt.Errorf("unknown type %q (want invoke, ok, fail, info or event)", name)
		}
		return 1 << 3, nil
	case "f":
		op.f, err = text(raw)
		if err == nil && len(op.f) == 0 {
			err = errors.New("is empty")
		}
		return 1 << 4, err
	case "value":
		op.value = raw
		return 1 << 5, nil
	case "error":
		switch {
		case string(raw) == "null": // how other tools write that there is none
		case raw[0] == '"':
			op.err, err = text(raw)
		default: // they write more than text here: then the JSON is the text
			op.err = bytes.ToValidUTF8(raw, []byte("\uFFFD"))
		}
		return 1 << 6, err
	case "node":
		if string(raw) != "null" {
			op.node, err = text(raw)
		}
		return 1 << 7, err
	case "meta":
		op.meta = raw
		return 1 << 8, nil
	}
	op.others = append(op.others, key)
	return 0, nil
}

func number(raw []byte) (int64, error) {
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is not a whole number of 64 bits", raw)
	}
	return n, nil
}

// process reads a process, which Jepsen's files may call "nemesis".
func process(raw []byte) (int64, error) {
	if string(raw) == `"nemesis"` {
		return int64(Nemesis), nil
	}
	n, err := number(raw)
	if err == nil && (n < int64(Observer) || n > maxLen) {
		err = fmt.Errorf("%d is no process (clients are 0 and up, the nemesis is -1, the observer -2)", n)
	}
	return n, err
}

// text returns what a JSON string says, aliasing raw if it has no escapes.
func text(raw []byte) ([]byte, error) {
	if raw[0] != '"' {
		return nil, fmt.Errorf("%s is not a string", raw)
	}
	for _, c := range raw {
		if c == '\\' || c >= 0x80 {
			var s string
			if err := json.Unmarshal(raw, &s); err != nil {
				return nil, err
			}
			return []byte(s), nil
		}
	}
	return raw[1 : len(raw)-1], nil
}

// A scanner walks over JSON text, checking its grammar (RFC 8259).
type scanner struct {
	b []byte
	i int
}

// maxDepth bounds nesting, as encoding/json does.
const maxDepth = 1000

func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\t' || s.b[s.i] == '\r' || s.b[s.i] == '\n') {
		s.i++
	}
}

func (s *scanner) fail(want string) error {
	if s.i >= len(s.b) {
		return errTruncated
	}
	return fmt.Errorf("column %d: want %s, got %q", s.i+1, want, s.b[s.i])
}

func (s *scanner) expect(c byte) error {
	s.space()
	if s.peek() != c || s.i >= len(s.b) {
		return s.fail(strconv.QuoteRune(rune(c)))
	}
	s.i++
	return nil
}

// str returns the text between the quotes of a string, escapes as they stand.
func (s *scanner) str() ([]byte, error) {
	s.space()
	if s.peek() != '"' {
		return nil, s.fail("a string")
	}
	s.i++
	start := s.i
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return s.b[start : s.i-1], nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		case c < 0x20:
			return nil, s.fail("no control character in a string")
		default:
			s.i++
		}
	}
	return nil, errTruncated
}

func (s *scanner) escape() error {
	s.i++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i++
		return nil
	case 'u':
		s.i++
		for range 4 {
			c := s.peek()
			if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
				return s.fail("four hexadecimal digits")
			}
			s.i++
		}
		return nil
	}
	return s.fail("an escape")
}

// value returns the text of the next JSON value.
func (s *scanner) value() ([]byte, error) {
	s.space()
	start := s.i
	if err := s.skip(0); err != nil {
		return nil, err
	}
	return s.b[start:s.i], nil
}

func (s *scanner) skip(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("column %d: nested more than %d deep", s.i+1, maxDepth)
	}
	s.space()
	switch c := s.peek(); {
	case c == '"':
		_, err := s.str()
		return err
	case c == '-' || (c >= '0' && c <= '9'):
		return s.number()
	case c == '{':
		return s.list('}', func() error {
			if _, err := s.str(); err != nil {
				return err
			}
			if err := s.expect(':'); err != nil {
				return err
			}
			return s.skip(depth + 1)
		})
	case c == '[':
		return s.list(']', func() error { return s.skip(depth + 1) })
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	}
	return s.fail("a value")
}

// list skips the elements of an object or an array up to its closing byte.
func (s *scanner) list(closing byte, element func() error) error {
	s.i++
	s.space()
	if s.peek() == closing {
		s.i++
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		s.space()
		if s.peek() != ',' {
			return s.expect(closing)
		}
		s.i++
	}
}

func (s *scanner) literal(want string) error {
	for j := range len(want) {
		if s.peek() != want[j] {
			return s.fail(want)
		}
		s.i++
	}
	return nil
}

func (s *scanner) number() error {
	if s.peek() == '-' {
		s.i++
	}
	if s.peek() == '0' {
		s.i++
	} else if err := s.digits(); err != nil {
		return err
	}
	if s.peek() == '.' {
		s.i++
		if err := s.digits(); err != nil {
			return err
		}
	}
	if s.peek()|0x20 == 'e' {
		s.i++
		if c := s.peek(); c == '+' || c == '-' {
			s.i++
		}
		return s.digits()
	}
	return nil
}

func (s *scanner) digits() error {
	if c := s.peek(); c < '0' || c > '9' {
		return s.fail("a digit")
	}
	for c := s.peek(); c >= '0' && c <= '9'; c = s.peek() {
		s.i++
	}
	return nil
}
