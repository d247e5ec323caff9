package histories

import (
	"bufio"
	"bytes"
	"io"
	"slices"
	"time"
)

// A Follower reads a history while a [Journal] writes it, and validates it as [Read]
// does. It keeps nothing but what the rules take: a few bytes for each process.
type Follower struct {
	reader *reader
	names  map[string]string
}

// Follow returns a follower of what r yields now and later. An end of r is none: it is
// read again, as files can be.
func Follow(r io.Reader) *Follower {
	return &Follower{reader: newReader(bufio.NewReaderSize(r, followBuffer), nil), names: map[string]string{}}
}

const (
	followBuffer = 64 << 10 // what is recorded in the time between two looks, about
	// maxNames bounds the texts that are kept so as not to be made anew for every op.
	maxNames = 1 << 10
)

// Next returns the next op. With [io.EOF] there is none yet, or only the beginning of
// its line: ask again when more may have been written. Any other error is for ever. What
// is not a history is refused with an [InvalidError].
func (f *Follower) Next() (Op, error) {
	if _, err := f.reader.next(); err != nil {
		return Op{}, err
	}
	p := &f.reader.op
	return Op{
		Index: int(p.index), Time: time.Duration(p.time), Process: Process(p.process), Type: p.typ,
		F: f.name(p.f), Error: f.name(p.err), Node: f.name(p.node),
		Value: bytes.Clone(p.value), Meta: bytes.Clone(p.meta),
	}, nil
}

func (f *Follower) name(s []byte) string {
	if len(s) == 0 {
		return ""
	}
	if name, ok := f.names[string(s)]; ok {
		return name
	}
	if len(f.names) >= maxNames { // errors may all be different
		clear(f.names)
	}
	name := string(s)
	f.names[name] = name
	return name
}

// A Growing is a history to which ops are added as they come. It belongs to one
// goroutine; what Snapshot returns belongs to nobody.
type Growing struct {
	builder *builder
	rules   rules
}

// NewGrowing returns one without ops.
func NewGrowing() *Growing { return &Growing{builder: newBuilder(), rules: newRules(nil)} }

// Len returns the number of ops so far.
func (g *Growing) Len() int { return g.builder.h.n }

// Add adds op, or says with an [InvalidError] why it may not stand there: that is the end
// of it. Index and
// Time are taken as they are, as by [FromOps].
func (g *Growing) Add(op Op) error {
	n := g.Len() + 1
	if flaw := op.flaw(); flaw != "" {
		return &InvalidError{Line: n, Reason: flaw}
	}
	p := parsedOp{
		index: int64(op.Index), time: int64(op.Time), process: int64(op.Process), typ: op.Type,
		f: []byte(op.F), err: []byte(op.Error), node: []byte(op.Node), value: op.Value, meta: op.Meta,
	}
	pair, reason := g.rules.next(&p, n)
	if reason != "" {
		return &InvalidError{Line: n, Reason: reason}
	}
	g.builder.add(&p, pair)
	return nil
}

// Snapshot returns the history as it stands. It shares its memory with g, so that it
// costs next to nothing, and can be read while g grows: of what a snapshot has, nothing
// is written any more but that an operation has completed, which is atomic, and which
// the snapshot does not tell.
func (g *Growing) Snapshot() *History {
	h := g.builder.h
	h.blocks, h.pages = slices.Clone(h.blocks), slices.Clone(h.pages)
	return &h
}
