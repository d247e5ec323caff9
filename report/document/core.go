package document

import (
	"slices"
	"strings"

	"github.com/hacheck/hacheck/histories"
)

// The columns of a core: what is drawn of ops, and what they are filtered by. Ops are as they
// are in the history, which says of most what they are: the next op of a client that has
// something outstanding is its completion.
const (
	// By process of the block, in the order in which they come first in it:
	coreProcess = iota // its number, zigzag, less that of the process before
	coreRow            // uvarint: the row in which it is drawn
	coreOpen           // uvarint: 0, or if it has something outstanding when the block begins, its function and 1
	coreBegan          // uvarint, of those that have: how many ops before the block it was invoked

	// By op:
	coreAfter  // rank of its process in a numbering, if the op before was a completion: mostly the same process again
	coreOther  // the same, of all other ops
	coreMisses // of both
	coreSoon   // the time since the op before in units, a duration, if it is of the same process
	coreLater  // the same, of all other ops. The first op's is that since Block.From
	coreTimes  // of both: bits of durations
	coreEvents // by op of nemesis or observer: 1 if it is an event, else 0

	// By invocation, or event:
	coreFunctions // its function, small
	coreKeys      // rank of its key in a numbering; -1 is a key, too
	coreKeyMisses
	coreKeyTable // by key of the block, in the order in which they come first: its number, zigzag, less that of the key before

	// By op again:
	coreInvoked   // of invocations and events: the node, sticky by process
	coreCompleted // the same, of completions
	coreErrors    // the error, sticky by function and type
	coreFailures  // the same, of ops that are fail or info
	coreWide      // of all columns above: what is wide

	// By completion, in a column for each of the first functions and one for all others: 0 ok,
	// 1 fail, 2 info.
	coreOutcomes
	outcomeColumns = 16
)

// An actor is a process: what it does, and where it is drawn.
type actor struct {
	row     int32
	invoked int // the op that is outstanding; -1: none
	call    int // its number
	f       int32
	// In block, it has the number slot, and these nodes.
	block               int
	slot                int32
	invokedAt, answered sticky
}

// cores makes cores, block by block, and the levels.
type cores struct {
	h      *histories.History
	unit   unit
	survey *survey
	levels *levels
	actors map[histories.Process]*actor
	free   []int32    // rows, the highest first
	rows   [][]string // who is drawn in each
	calls  int
	ops    []coreOp // of the last block
}

func newCores(h *histories.History, s *survey, l *levels) *cores {
	return &cores{h: h, unit: unitOf(h), survey: s, levels: l, actors: map[histories.Process]*actor{}}
}

// A coreOp is what the core says of an op, as far as its detail needs it.
type coreOp struct {
	f, err  int32
	key     int32 // of the index; -1: none, or a completion of a call that began before the block
	local   int32 // that key, in the order of the block; -1 with it
	invoked int   // of a completion: the op that it completes, if that is in the block, else -1
}

// block returns the core of the ops from first up to after, and what it says of each: that
// holds until the next block.
func (t *cores) block(first, after int) ([]column, []coreOp) {
	var (
		columns   = make([]column, coreOutcomes+outcomeColumns)
		times     bitColumn
		ops       = t.ops[:0]
		processes numbering
		keys      numbering
		keyNumber = map[int32]int32{}
		errors    = map[[2]int32]*sticky{}
		lastTime  = t.unit.of(t.h.At(first).Time)
		lastSlot  = int32(-1)
		completed bool // the op before was a completion
		before    struct{ process, key int64 }
	)
	wides := &columns[coreWide]
	for i := first; i < after; i++ {
		op := t.h.At(i)
		a := t.actor(op.Process)
		if a.block != first {
			a.block, a.slot, a.invokedAt, a.answered = first, processes.count, -1, -1
			columns[coreProcess].int(int64(op.Process) - before.process)
			before.process = int64(op.Process)
			columns[coreRow].uint(uint64(a.row))
			open := uint64(0)
			if a.invoked >= 0 {
				open = uint64(a.f) + 1
				columns[coreBegan].uint(uint64(first - a.invoked))
			}
			columns[coreOpen].uint(open)
		}
		who, when := coreOther, coreLater
		if completed {
			who = coreAfter
		}
		processes.code(&columns[who], &columns[coreMisses], a.slot)
		if a.slot == lastSlot {
			when = coreSoon
		}
		now := t.unit.of(op.Time)
		duration(&columns[when], &times, uint64(now-lastTime))
		lastTime, lastSlot = now, a.slot
		completed = op.Type != histories.Invoke && op.Type != histories.Event
		if op.Process < 0 {
			event := byte(0)
			if op.Type == histories.Event {
				event = 1
			}
			columns[coreEvents].byte(event)
		}

		c := coreOp{f: t.survey.functions.of(op.F), err: t.survey.errors.of(op.Error), key: -1, local: -1, invoked: -1}
		node := t.survey.nodes.of(op.Node)
		if completed {
			columns[coreOutcomes+min(int(c.f), outcomeColumns-1)].byte(byte(op.Type - histories.OK))
			a.answered.code(&columns[coreCompleted], wides, node)
			if a.invoked >= first {
				c.invoked = a.invoked
				c.key, c.local = ops[a.invoked-first].key, ops[a.invoked-first].local
			}
		} else {
			small(&columns[coreFunctions], wides, uint64(c.f))
			key := t.survey.keyOf[t.calls]
			n, ok := keyNumber[key]
			if !ok {
				n = keys.count
				keyNumber[key] = n
				columns[coreKeyTable].int(int64(key) - before.key)
				before.key = int64(key)
			}
			keys.code(&columns[coreKeys], &columns[coreKeyMisses], n)
			if key >= 0 {
				c.key, c.local = key, n
			}
			a.invokedAt.code(&columns[coreInvoked], wides, node)
		}
		context := [2]int32{c.f, int32(op.Type)}
		last := errors[context]
		if last == nil {
			last = new(sticky)
			*last = -1
			errors[context] = last
		}
		told := coreErrors
		if op.Type == histories.Fail || op.Type == histories.Info {
			told = coreFailures
		}
		last.code(&columns[told], wides, c.err)
		ops = append(ops, c)
		t.follow(i, op, a, c.f)
	}
	t.ops = ops
	columns[coreTimes] = times.finish()
	return columns, ops
}

// follow keeps the books of who does what, and of rows.
func (t *cores) follow(i int, op histories.Op, a *actor, f int32) {
	switch op.Type {
	case histories.Invoke:
		a.invoked, a.call, a.f = i, t.calls, f
		t.calls++
	case histories.Event:
		t.levels.add(a.row, t.survey.keyOf[t.calls], op.Node, histories.OK, t.unit.of(op.Time), t.unit.of(op.Time))
		t.calls++
	default:
		begin := t.h.At(a.invoked)
		node := op.Node
		if node == "" {
			node = begin.Node
		}
		t.levels.add(a.row, t.survey.keyOf[a.call], node, op.Type, t.unit.of(begin.Time), t.unit.of(op.Time))
		a.invoked = -1
	}
	if op.Process >= 0 && a.invoked < 0 && i == t.survey.last[op.Process] { // of a client that is dead, too
		at, _ := slices.BinarySearchFunc(t.free, a.row, func(x, y int32) int { return int(y - x) })
		t.free = slices.Insert(t.free, at, a.row)
		delete(t.actors, op.Process)
	}
}

// actor returns a process. One that is new is drawn in the first row in which nobody is any
// more, and so in that of the process which has just died.
func (t *cores) actor(p histories.Process) *actor {
	a := t.actors[p]
	if a != nil {
		return a
	}
	if len(t.actors) == 0 && len(t.rows) == 0 { // first of all are those that are no clients
		for _, q := range []histories.Process{histories.Nemesis, histories.Observer} {
			if _, ok := t.survey.last[q]; ok {
				t.actors[q] = &actor{row: t.row(), invoked: -1, block: -1}
				t.draw(t.actors[q].row, q)
			}
		}
		if a = t.actors[p]; a != nil {
			return a
		}
	}
	a = &actor{row: t.row(), invoked: -1, block: -1}
	t.draw(a.row, p)
	t.actors[p] = a
	return a
}

func (t *cores) row() int32 {
	if n := len(t.free); n > 0 {
		row := t.free[n-1]
		t.free = t.free[:n-1]
		return row
	}
	t.rows = append(t.rows, nil)
	return int32(len(t.rows) - 1)
}

// namedInRow is how many processes the name of a row tells.
const namedInRow = 4

func (t *cores) draw(row int32, p histories.Process) {
	if len(t.rows[row]) <= namedInRow {
		t.rows[row] = append(t.rows[row], p.String())
	}
}

// end tells the levels what is outstanding at the end, and who was in which row.
func (t *cores) end() {
	for _, a := range t.actors {
		if a.invoked >= 0 {
			op := t.h.At(a.invoked)
			t.levels.add(a.row, t.survey.keyOf[a.call], op.Node, histories.Info, t.unit.of(op.Time), t.unit.of(t.h.Duration()))
		}
	}
	for _, who := range t.rows {
		if len(who) > namedInRow {
			who[namedInRow] = "…"
		}
		t.levels.rows = append(t.levels.rows, strings.Join(who, ", "))
	}
}
