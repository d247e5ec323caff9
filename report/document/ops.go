package document

import (
	"context"
	"fmt"
	"slices"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// This file and those beside it put the ops of a history into the data of a page: core.go
// and detail.go what they write for a block, columns.go how it is made small, levels.go the
// picture that is drawn before. The page has the other half, in core.ts and detail.ts.
//
// Data is the compressed levels, one after the other, and then for each block of
// [Index].Blocks its core and its detail. Each of them is a deflate stream by itself
// (RFC 1951), which all browsers can inflate. Inflated, a core and a detail are a *part*:
//
//	uvarint    n, how many columns there are
//	n uvarint  the length of each
//	           the columns
//
// A column is bytes that are alike, so that a Huffman code of its own makes them small. Most
// have a byte for an op of some kind, and bytes that are rare and longer are in a column
// beside it. Blocks lean on no other block: a page may leave out any.

const (
	// blockOps is how many ops make a block: as many as a page can unpack without one
	// noticing, and enough for the codes of the columns to be worth their tables.
	blockOps = 1 << 15
	// Names that an index has at most, and the bytes of them.
	maxNames = 1000
	maxKeys  = 20000
	maxText  = 256 << 10
)

// A packed block is a block with its two parts.
type packed struct {
	Block
	core, detail []byte
}

// index packs the ops of h into at most limit bytes, and says what they stand for. tracks tell
// what events are about. If not all fit, details are left out first, and then cores; those of blocks which have an op of
// wanted, or are near one, go last. The error is that of ctx.
func index(ctx context.Context, h *histories.History, tracks []workloads.Track, limit int, wanted []int) (Index, []byte, error) {
	survey := takeSurvey(h, subjects(tracks))
	x := Index{
		Total: h.Len(), Calls: survey.calls,
		Functions: survey.functions.list, Keys: survey.keys.list, Nodes: survey.nodes.list, Errors: survey.errors.list,
		Others: Others{
			Function: int(survey.functions.others), Key: int(survey.keys.others),
			Node: int(survey.nodes.others), Error: int(survey.errors.others),
		},
		Blocks: []Block{}, Levels: []Level{},
	}
	var (
		unit    = unitOf(h)
		pack    packer
		blocks  []packed
		levels  = newLevels(h, survey)
		cores   = newCores(h, survey, levels)
		details = newDetail(h, survey)
	)
	for first := 0; first < h.Len(); first += blockOps {
		if err := ctx.Err(); err != nil {
			return Index{}, nil, err
		}
		after := min(first+blockOps, h.Len())
		b := packed{Block: Block{
			First: first, Ops: after - first, From: unit.of(h.At(first).Time), To: unit.of(h.At(after - 1).Time),
		}}
		core, ops := cores.block(first, after)
		b.core = pack.part(core)
		b.detail = pack.part(details.block(first, ops))
		blocks = append(blocks, b)
	}
	cores.end()

	var data []byte
	for _, l := range levels.pack(&pack) {
		if len(data)+len(l.data) > limit {
			break
		}
		data = append(data, l.data...)
		x.Levels = append(x.Levels, l.Level)
	}
	choose(blocks, limit-len(data), wanted)
	for _, b := range blocks {
		data = append(append(data, b.core...), b.detail...)
		x.Blocks = append(x.Blocks, b.Block)
	}
	x.Left = left(x)
	return x, data, nil
}

// choose leaves out of blocks what is more than room bytes, and sets the lengths of the rest.
func choose(blocks []packed, room int, wanted []int) {
	order := make([]int, len(blocks))
	for i := range order {
		order[i] = i
	}
	away := distances(len(blocks), wanted)
	slices.SortStableFunc(order, func(a, b int) int { return away[a] - away[b] })
	for _, i := range order {
		if b := &blocks[i]; len(b.core) <= room {
			b.Core = len(b.core)
			room -= b.Core
		} else {
			b.core = nil
		}
	}
	for _, i := range order {
		if b := &blocks[i]; b.Core > 0 && len(b.detail) <= room {
			b.Detail = len(b.detail)
			room -= b.Detail
		} else {
			b.detail = nil
		}
	}
}

// distances returns for each of n blocks how many blocks away the next one is that has a
// wanted op.
func distances(n int, wanted []int) []int {
	away := make([]int, n)
	for i := range away {
		away[i] = n
	}
	for _, op := range wanted {
		if i := op / blockOps; op >= 0 && i < n {
			away[i] = 0
		}
	}
	for i := 1; i < n; i++ {
		away[i] = min(away[i], away[i-1]+1)
	}
	for i := n - 2; i >= 0; i-- {
		away[i] = min(away[i], away[i+1]+1)
	}
	return away
}

// left says what of a history is not in the page, and where it is; "" if all is.
func left(x Index) string {
	var cores, details int
	for _, b := range x.Blocks {
		switch {
		case b.Core == 0:
			cores += b.Ops
		case b.Detail == 0:
			details += b.Ops
		}
	}
	if cores+details == 0 {
		return ""
	}
	what := fmt.Sprintf("values, texts of errors and nanoseconds of %d of the %d ops", details, x.Total)
	switch {
	case details == 0:
		what = fmt.Sprintf("%d of the %d ops", cores, x.Total)
	case cores > 0:
		what = fmt.Sprintf("%d of the %d ops, and values, texts of errors and nanoseconds of %d others", cores, x.Total, details)
	}
	return "too large for this page: " + what + "; they are in history.jsonl, the op with index i on line i+1"
}
