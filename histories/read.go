package histories

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// An InvalidError says why a file is not a history, and where.
type InvalidError struct {
	Line   int // from 1
	Reason string
	Cause  error // what a reader of another notation says, or nil
}

func (e *InvalidError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// Unwrap returns the cause.
func (e *InvalidError) Unwrap() error { return e.Cause }

// ReadFile reads the history in the named file; see [Read].
func ReadFile(name string) (*History, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f)
}

// Read reads and validates a history. What is not one is refused with an
// [InvalidError]. A file that ends in the middle of a line, as a crash leaves
// it, is read up to there; Torn then says so.
func Read(r io.Reader) (*History, error) { return read(bufio.NewReaderSize(r, maxBuffer)) }

// maxBuffer is how much of a file is read at once.
const maxBuffer = 1 << 20

func read(in *bufio.Reader) (*History, error) {
	b := newBuilder()
	r := newReader(in, &b.h)
	for {
		pair, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		b.take(&r.op, pair)
	}
	rest := r.partial
	switch {
	case len(bytes.TrimSpace(rest)) == 0:
	case errors.Is(parseOp(rest, &r.op), errTruncated):
		b.h.torn = r.lines + 1
	default:
		pair, err := r.take(rest)
		if err != nil {
			return nil, err
		}
		b.take(&r.op, pair)
	}
	return &b.h, nil
}

// take adds an op that was read, with the names of the fields that we leave out.
func (b *builder) take(op *parsedOp, pair int32) {
	b.add(op, pair)
	for _, name := range op.others {
		if b.h.others == nil {
			b.h.others = map[string]int{}
		}
		b.h.others[string(name)]++
	}
}

// A reader takes a history apart, line by line, and sees that it keeps the rules.
type reader struct {
	in      *bufio.Reader
	partial []byte // the beginning of a line whose end is yet to come
	lines   int    // taken
	rules   rules
	op      parsedOp // the last one; it aliases its line
}

func newReader(in *bufio.Reader, h *History) *reader {
	return &reader{in: in, rules: newRules(h)}
}

// next puts the op of the next whole line into op, and returns the index of the op that
// it completes, or -1. With io.EOF there is none, yet: it may be asked again.
func (r *reader) next() (pair int32, err error) {
	line, err := r.line()
	if err != nil {
		return -1, err
	}
	return r.take(line)
}

// maxLine is what a line may have. A file that is no history may have none that ends, and
// is not read into memory.
const maxLine = 64_000_000

// line returns the next line, without its end; it holds until the next one.
func (r *reader) line() ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	if err == nil && len(r.partial) == 0 {
		return line[:len(line)-1], nil
	}
	r.partial = append(r.partial, line...)
	for errors.Is(err, bufio.ErrBufferFull) {
		if len(r.partial) > maxLine {
			return nil, &InvalidError{Line: r.lines + 1, Reason: fmt.Sprintf("it is longer than %d MB", maxLine/1_000_000)}
		}
		line, err = r.in.ReadSlice('\n')
		r.partial = append(r.partial, line...)
	}
	switch {
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case err != nil:
		return nil, fmt.Errorf("line %d: %w", r.lines+1, err)
	}
	line, r.partial = r.partial, r.partial[:0]
	return line[:len(line)-1], nil
}

func (r *reader) take(line []byte) (pair int32, err error) {
	r.lines++
	if err := parseOp(line, &r.op); err != nil {
		return -1, &InvalidError{Line: r.lines, Reason: err.Error()}
	}
	pair, reason := r.rules.next(&r.op, r.lines)
	if reason != "" {
		return -1, &InvalidError{Line: r.lines, Reason: reason}
	}
	return pair, nil
}

// rules checks that one op may follow another: what the package comment promises.
type rules struct {
	history   *History // whose ops have been judged so far
	processes map[Process]*processState
	last      int64
}

// newRules returns the rules of a history of which h are the ops that have been judged so
// far; it may be nil, if they are a line each.
func newRules(h *History) rules {
	return rules{history: h, processes: map[Process]*processState{}, last: -1}
}

// line returns the line of op i.
func (r *rules) line(i int32) int {
	if r.history == nil {
		return int(i) + 1
	}
	return r.history.Line(int(i))
}

type processState struct {
	outstanding int32 // index of its invocation, or -1
	f           []byte
	dead        int // line of the info op that ended it, or 0
}

// next returns the index of the op that op completes, or -1, and why op may
// not stand here, if so. Line n holds op n-1.
func (r *rules) next(op *parsedOp, n int) (pair int32, reason string) {
	if n > maxLen {
		return -1, fmt.Sprintf("a history has at most %d ops", maxLen)
	}
	if op.index != int64(n-1) {
		return -1, fmt.Sprintf("index %d where %d is due: ops are missing or out of order", op.index, n-1)
	}
	if op.time <= r.last {
		return -1, fmt.Sprintf("time %d ns does not come after the previous op's %d ns", op.time, r.last)
	}
	r.last = op.time
	p := Process(op.process)
	if op.typ == Event {
		if p >= 0 {
			return -1, fmt.Sprintf("an event of client process %d: only nemesis and observer have events", p)
		}
		return -1, ""
	}
	s := r.processes[p]
	if s == nil {
		s = &processState{outstanding: -1}
		r.processes[p] = s
	}
	if op.typ == Invoke {
		switch {
		case s.dead > 0:
			return -1, fmt.Sprintf("process %v invokes %s after its indeterminate op of line %d: it is dead", p, op.f, s.dead)
		case s.outstanding >= 0:
			return -1, fmt.Sprintf("process %v invokes %s while its %s of line %d is outstanding", p, op.f, s.f, r.line(s.outstanding))
		}
		s.outstanding = int32(op.index)
		s.f = append(s.f[:0], op.f...)
		return -1, ""
	}
	switch {
	case s.outstanding < 0:
		return -1, fmt.Sprintf("process %v completes %s, but has nothing outstanding", p, op.f)
	case !bytes.Equal(s.f, op.f):
		return -1, fmt.Sprintf("process %v completes %s, but its %s of line %d is outstanding", p, op.f, s.f, r.line(s.outstanding))
	}
	pair, s.outstanding = s.outstanding, -1
	if op.typ == Info && p >= 0 {
		s.dead = n
	}
	return pair, ""
}

// FromOps validates ops and makes a History of them, as if written and read
// back. Index and Time are taken as they are.
func FromOps(ops []Op) (*History, error) {
	var b []byte
	for i := range ops {
		if flaw := ops[i].flaw(); flaw != "" {
			return nil, &InvalidError{Line: i + 1, Reason: flaw}
		}
		b = appendOp(b, &ops[i])
	}
	return read(bufio.NewReaderSize(bytes.NewReader(b), min(len(b), maxBuffer)))
}

// Duration returns the time of the last op.
func (h *History) Duration() time.Duration {
	if h.n == 0 {
		return 0
	}
	return h.At(h.n - 1).Time
}
