package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/report"
)

// A Span is a fault as pages draw it. Times are microseconds of the history.
type Span struct {
	Name string `json:"name"` // as it is asked for: "partition:ring"
	What string `json:"what"` // with what it was aimed at
	From int64  `json:"from"`
	To   int64  `json:"to"` // -1: it was not healed, or not yet
	// Acted counts what shows that it did anything, which is known when it is healed.
	Acted int64 `json:"acted"`
	// Failed is why it did not begin, if so; it may have, in part. HeldBack says that it was
	// not let.
	Failed   string `json:"failed,omitempty"`
	HeldBack bool   `json:"held_back,omitempty"`
	// HealFailed is why it may have held on after To.
	HealFailed string `json:"heal_failed,omitempty"`
	// Pending is the op of the two that has not completed, or not yet: "begin" or "heal".
	Pending string `json:"pending,omitempty"`
}

// A Past is what there is to draw of a history that is at its end.
type Past struct {
	Spans    []Span `json:"spans"`
	Duration int64  `json:"duration"` // microseconds, up to the last op that was read
	Ops      int64  `json:"ops"`
	// Note says what of it is not there, and why.
	Note string `json:"note,omitempty"`
}

const (
	// maxSpans bounds the faults that are told of a run.
	maxSpans = 2_000
	// maxHistory and maxReading bound what is read of a history for a drawing of its
	// faults.
	maxHistory = 4 << 30
	maxReading = 20 * time.Second
	// maxPasts is of how many histories the drawing is kept.
	maxPasts = 32
)

// A book keeps the ops of the nemesis alone, which tell of the faults.
type book struct {
	grown *histories.Growing
}

func newBook() *book { return &book{histories.NewGrowing()} }

func (b *book) add(op histories.Op) error {
	op.Index = b.grown.Len()
	return b.grown.Add(op)
}

// spans returns the faults so far, the last ones if they are too many.
func (b *book) spans() ([]Span, error) {
	h := b.grown.Snapshot()
	all, err := h.Faults()
	if err != nil {
		return nil, err
	}
	all = all[max(0, len(all)-maxSpans):]
	spans := make([]Span, len(all))
	for i, f := range all {
		spans[i] = Span{
			Name: f.Name, What: report.Fault(f.Fault), From: f.From.Microseconds(), To: -1,
			Acted: int64(min(f.Acted, 1<<53)), Failed: f.Failed, HeldBack: f.HeldBack, HealFailed: f.HealFailed,
		}
		if f.End >= 0 {
			spans[i].To = f.To.Microseconds()
		}
		switch {
		case f.End >= 0 && h.Pair(f.End) < 0:
			spans[i].Pending = "heal"
		case f.End < 0 && h.Pair(f.Begin) < 0:
			spans[i].Pending = "begin"
		}
	}
	return spans, nil
}

// open opens the history of a run.
func (s *Server) open(run string) (*os.File, error) {
	name := path.Join(run, store.HistoryFile)
	switch about, err := s.index.Root().Stat(name); {
	case err != nil:
		return nil, err
	case !about.Mode().IsRegular():
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("it is no file")}
	}
	return s.index.Root().Open(name)
}

// pasts are histories that were read.
type pasts struct {
	mu    sync.Mutex
	known []*known // the one last asked for at the end
}

// A known is a history that was read when it looked like this.
type known struct {
	run      string
	size     int64
	modified time.Time
	reading  sync.Mutex // held by who reads it first
	past     *Past
}

// find returns what is known of a history, which may be nothing yet.
func (p *pasts) find(run string, about fs.FileInfo) *known {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := slices.IndexFunc(p.known, func(k *known) bool { return k.run == run })
	var k *known
	if at >= 0 {
		k = p.known[at]
		p.known = slices.Delete(p.known, at, at+1)
	}
	if k == nil || k.size != about.Size() || !k.modified.Equal(about.ModTime()) {
		k = &known{run: run, size: about.Size(), modified: about.ModTime()}
	}
	p.known = append(p.known, k)
	p.known = p.known[max(0, len(p.known)-maxPasts):]
	return k
}

// past reads the history of a run for its faults, or remembers it. What is wrong with it
// is said in its note; an error is of ctx.
func (s *Server) past(ctx context.Context, run string) (Past, error) {
	f, err := s.open(run)
	if err != nil {
		return Past{Spans: []Span{}, Note: "its history cannot be read: " + reason(err)}, nil
	}
	defer f.Close()
	about, err := f.Stat()
	if err != nil {
		return Past{Spans: []Span{}, Note: "its history cannot be read: " + reason(err)}, nil
	}
	k := s.pasts.find(run, about)
	k.reading.Lock()
	defer k.reading.Unlock()
	if k.past != nil {
		return *k.past, nil
	}
	read := readPast(ctx, io.LimitReader(f, maxHistory))
	if err := ctx.Err(); err != nil {
		return Past{}, err
	}
	k.past = &read
	return read, nil
}

// reason is what err says, without the path: a page need not tell where the store is.
func reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// readPast reads a history to its end, or as far as that goes.
func readPast(ctx context.Context, r io.Reader) Past {
	p := Past{Spans: []Span{}}
	b, follower := newBook(), histories.Follow(r)
	began := time.Now()
	var last histories.Op
	note := func(why string) {
		p.Note = fmt.Sprintf("its history could be read up to %.1f s: %s", last.Time.Seconds(), why)
	}
	for {
		op, err := follower.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && op.Process == histories.Nemesis {
			err = b.add(op)
		}
		if err != nil {
			note(err.Error())
			break
		}
		last = op
		p.Ops++
		if p.Ops%4096 == 0 {
			if ctx.Err() != nil {
				break
			}
			if time.Since(began) > maxReading {
				note("it is too long")
				break
			}
		}
	}
	p.Duration = last.Time.Microseconds()
	spans, err := b.spans()
	if err != nil {
		p.Note = err.Error()
		return p
	}
	p.Spans = list(spans)
	return p
}
