package histories

import (
	"iter"
	"math"
	"sync/atomic"
	"time"
)

// A History is a validated sequence of ops, read-only once read. Ops are held
// in 48 bytes each beside their payloads, and made on demand by At and All.
type History struct {
	blocks [][]record // full but for the last one
	pages  [][]byte   // payloads: of one op, value and meta side by side in one page
	names  []string   // functions, nodes, errors; names[0] is ""
	lines  []int32    // of the file, where op i is not on line i+1; else nil
	others map[string]int
	n      int
	torn   int
}

// A record is an op at rest.
type record struct {
	time     int64
	page     uint32 // where the value begins; the meta follows it
	offset   uint32
	valueLen uint32
	metaLen  uint32
	pair     int32 // index of the other half of the operation, or -1; atomic, see [Growing]
	process  int32
	f        uint32 // names
	node     uint32
	err      uint32
	typ      Type
}

const (
	blockLen   = 1 << 14 // records: about 800 KiB, so that growing never copies much
	pageLen    = 1 << 20 // bytes
	minPageLen = 1 << 10
)

// Len returns the number of ops.
func (h *History) Len() int { return h.n }

// Torn returns the number of the line at which reading stopped because the file
// ends in the middle of it, as after a crash, or 0.
func (h *History) Torn() int { return h.torn }

// LeftOut returns the fields of the file that an [Op] has no place for, and in how many
// ops they stood. Do not change it.
func (h *History) LeftOut() map[string]int { return h.others }

// Line returns the line of the file on which op i stands, or begins.
func (h *History) Line(i int) int {
	if h.lines == nil {
		return i + 1
	}
	return int(h.lines[i])
}

// At returns op i. Its payloads alias the history: do not change them.
func (h *History) At(i int) Op {
	r := h.record(i)
	op := Op{
		Index:   i,
		Time:    time.Duration(r.time),
		Process: Process(r.process),
		Type:    r.typ,
		F:       h.names[r.f],
		Error:   h.names[r.err],
		Node:    h.names[r.node],
	}
	if r.valueLen > 0 {
		op.Value = h.pages[r.page][r.offset:][:r.valueLen:r.valueLen]
	}
	if r.metaLen > 0 {
		op.Meta = h.pages[r.page][r.offset+r.valueLen:][:r.metaLen:r.metaLen]
	}
	return op
}

// All returns the ops in order, with their indices.
func (h *History) All() iter.Seq2[int, Op] {
	return func(yield func(int, Op) bool) {
		for i := range h.n {
			if !yield(i, h.At(i)) {
				return
			}
		}
	}
}

// Pair returns the index of the completion of an invocation, or of the
// invocation of a completion; -1 if there is none.
func (h *History) Pair(i int) int {
	pair := int(atomic.LoadInt32(&h.record(i).pair))
	if pair >= h.n { // it came after what h has
		return -1
	}
	return pair
}

func (h *History) record(i int) *record { return &h.blocks[i/blockLen][i%blockLen] }

// builder makes a History op by op. It does not validate.
type builder struct {
	h     History
	index map[string]uint32 // names -> position
}

func newBuilder() *builder {
	return &builder{h: History{names: []string{""}}, index: map[string]uint32{"": 0}}
}

func (b *builder) add(op *parsedOp, pair int32) {
	h := &b.h
	if h.n%blockLen == 0 {
		var block []record // the first one grows, as most histories of tests are small
		if h.n > 0 {
			block = make([]record, 0, blockLen)
		}
		h.blocks = append(h.blocks, block)
	}
	r := record{
		time: op.time, process: int32(op.process), typ: op.typ, pair: pair,
		f: b.name(op.f), node: b.name(op.node), err: b.name(op.err),
		valueLen: uint32(len(op.value)), metaLen: uint32(len(op.meta)),
	}
	if need := len(op.value) + len(op.meta); need > 0 {
		last := len(h.pages) - 1
		if last < 0 || cap(h.pages[last])-len(h.pages[last]) < need {
			size := minPageLen
			if last >= 0 {
				size = min(2*cap(h.pages[last]), pageLen)
			}
			h.pages = append(h.pages, make([]byte, 0, max(size, need)))
			last++
		}
		r.page, r.offset = uint32(last), uint32(len(h.pages[last]))
		h.pages[last] = append(append(h.pages[last], op.value...), op.meta...)
	}
	last := len(h.blocks) - 1
	h.blocks[last] = append(h.blocks[last], r)
	if pair >= 0 {
		atomic.StoreInt32(&h.record(int(pair)).pair, int32(h.n))
	}
	h.n++
}

func (b *builder) name(s []byte) uint32 {
	if i, ok := b.index[string(s)]; ok { // no allocation: the compiler sees through it
		return i
	}
	i := uint32(len(b.h.names))
	b.h.names = append(b.h.names, string(s))
	b.index[string(s)] = i
	return i
}

// maxLen bounds a history, since pairs are held in 32 bits.
const maxLen = math.MaxInt32
