package histories

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// A Builder makes a History of what other tools have recorded, op by op. Their files
// keep fewer rules than ours. What can be mended without a guess is:
//
//   - ops are as they follow each other; a time that does not come after the one before
//     is moved on by 1 ns;
//   - a client that goes on after an indeterminate op goes on as a new process, since
//     that op may take effect at any later time;
//   - what the nemesis tells becomes an event, unless it is the completion of what it
//     has invoked.
//
// All else that breaks the rules is refused. The zero Builder is not ready: see
// [NewBuilder].
type Builder struct {
	b         *builder
	rules     rules
	processes map[Process]Process // of the file -> of the history, where they differ
	fresh     int                 // processes that have no number of the file
	highest   Process             // of those that have
	index     int                 // of the last op that had one
	told      time.Duration       // of the last op that had a time
	notes     []note
}

// Unknown is the Index or the Time of an op of a file that does not say it.
const Unknown = -1

// A note is something that was mended, or looks as if something were missing.
type note struct {
	what  string // with a %d for the line of the first
	line  int
	count int
}

// firstFresh is the first number of those processes that have none in the file, until
// all of the file's are known. Larger ones of the file are given others, too.
const firstFresh = 1 << 30

// NewBuilder returns a builder of a history without ops.
func NewBuilder() *Builder {
	b := newBuilder()
	return &Builder{b: b, rules: newRules(&b.h), processes: map[Process]Process{}, index: Unknown, told: Unknown, highest: -1}
}

// Add adds the op that stands on that line of the file. Its Index and Time may be
// [Unknown]. The error is an [InvalidError], which also says what to do.
func (b *Builder) Add(op Op, line int) error {
	refuse := func(format string, args ...any) error {
		return &InvalidError{Line: line, Reason: fmt.Sprintf(format, args...)}
	}
	h := &b.b.h
	switch {
	case op.Index < 0:
	case op.Index <= b.index:
		return refuse("index %d stands after index %d: put the ops into the order in which they happened", op.Index, b.index)
	default:
		if op.Index != b.index+1 {
			b.note("the indices have gaps, the first before line %d: it is judged as if no op were missing", line)
		}
		b.index = op.Index
	}
	if op.Time >= 0 {
		if op.Time < b.told {
			b.note("times go back, first on line %d: the order of the file is taken for the order of time", line)
		}
		b.told = op.Time
	}
	if b.rules.last == math.MaxInt64 {
		return refuse("there is no time after the %d ns of the previous op: times are nanoseconds since the run began", b.rules.last)
	}
	op.Index, op.Time = h.n, max(op.Time, time.Duration(b.rules.last)+1)
	given := op.Process
	op.Process = b.process(op, line)
	if op.Process < 0 && !b.pairs(op) {
		op.Type = Event
	}
	if op.Type == Event && op.Process >= 0 {
		return refuse("an event of client process %v: only nemesis and observer have events; give it one of those, or another type", given)
	}
	if flaw := op.flaw(); flaw != "" {
		return refuse("%s", flaw)
	}
	parsed := parsedOp{
		index: int64(op.Index), time: int64(op.Time), process: int64(op.Process), typ: op.Type,
		f: []byte(op.F), value: op.Value, err: []byte(op.Error), node: []byte(op.Node), meta: op.Meta,
	}
	pair, reason := b.rules.next(&parsed, op.Index+1)
	if reason != "" {
		reason = strings.Replace(reason, op.Process.String(), given.String(), 1) // whom the file knows
		return refuse("%s; %s", reason, b.advice(op))
	}
	b.b.add(&parsed, pair)
	if h.lines == nil && line != h.n {
		h.lines = make([]int32, 0, blockLen)
		for i := range h.n - 1 {
			h.lines = append(h.lines, int32(i+1))
		}
	}
	if h.lines != nil {
		h.lines = append(h.lines, int32(line))
	}
	return nil
}

// advice says what to do about an op that may not stand where it does.
func (b *Builder) advice(op Op) string {
	switch {
	case op.Type == Invoke:
		return "a process does one thing at a time: give each client a number of its own, and each operation a completion, of type info if nobody knows how it ended"
	case b.outstanding(op.Process) >= 0:
		return "a completion has the function of its invocation"
	}
	return "put in its invocation, or leave the completion out: an operation is both"
}

// process returns the number that the op's process has in the history.
func (b *Builder) process(op Op, line int) Process {
	p := op.Process
	if p < 0 {
		return p
	}
	mine, other := b.processes[p]
	if !other {
		mine = p
	}
	if s := b.rules.processes[mine]; s != nil && s.dead > 0 && op.Type == Invoke {
		b.note("processes go on after an operation of which nobody knows how it ended, first on line %d: each does as a new process", line)
	} else if other || p < firstFresh {
		if !other {
			b.highest = max(b.highest, p)
		}
		return mine
	}
	mine = firstFresh + Process(b.fresh)
	b.fresh++
	b.processes[p] = mine
	return mine
}

// pairs says whether op can be one of the two of an operation.
func (b *Builder) pairs(op Op) bool {
	outstanding := b.outstanding(op.Process) >= 0
	if op.Type == Invoke {
		return !outstanding
	}
	return outstanding && string(b.rules.processes[op.Process].f) == op.F
}

func (b *Builder) outstanding(p Process) int {
	if s := b.rules.processes[p]; s != nil {
		return int(s.outstanding)
	}
	return -1
}

// Outstanding returns what a process of the file has invoked and not completed.
func (b *Builder) Outstanding(p Process) (op Op, ok bool) {
	if mine, other := b.processes[p]; other {
		p = mine
	}
	if i := b.outstanding(p); i >= 0 {
		return b.b.h.At(i), true
	}
	return Op{}, false
}

func (b *Builder) note(what string, line int) {
	for i := range b.notes {
		if b.notes[i].what == what {
			b.notes[i].count++
			return
		}
	}
	b.notes = append(b.notes, note{what, line, 1})
}

// Torn says that the file ends in the middle of an op that begins on that line.
func (b *Builder) Torn(line int) { b.b.h.torn = line }

// History returns what was built, and what is to be known of how. Nothing can be added
// after it.
func (b *Builder) History() (h *History, notes []string) {
	h = &b.b.h
	if b.fresh > 0 {
		down := firstFresh - int32(b.highest+1)
		for _, block := range h.blocks {
			for i := range block {
				if block[i].process >= firstFresh {
					block[i].process -= down
				}
			}
		}
	}
	for _, n := range b.notes {
		text := fmt.Sprintf(n.what, n.line)
		if n.count > 1 {
			text += fmt.Sprintf(" (%d times)", n.count)
		}
		notes = append(notes, strings.TrimSpace(text))
	}
	return h, notes
}
