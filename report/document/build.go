package document

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/report"
)

// What bounds a document, whatever the size of the history.
const (
	maxRemarks = 20    // of a part
	maxFaults  = 2_000 // spans
	maxSlices  = 20_000
	maxNodes   = 24  // lines of a chart that has some for each node
	maxWords   = 600 // bytes of what a call did
	fewWords   = 240 // the same where there are many calls
	maxProse   = 8_000
)

// Build works out what a page shows, in at most about limit bytes of Data. What ctx cuts
// short is left out.
func Build(ctx context.Context, s Source, limit int) (*Page, error) {
	b := builder{Source: s}
	if b.History == nil {
		none, err := histories.FromOps(nil)
		if err != nil {
			return nil, err
		}
		b.History = none
	}
	b.unit = unitOf(b.History)
	b.doc.Title, b.doc.Verdict = s.Title, s.Result.Verdict.String()
	b.doc.Note = clip(s.Result.Note, maxProse)
	b.doc.Trouble = s.Unsaid()
	b.doc.Schedule, b.doc.Files = s.Schedule, s.Files
	for _, n := range s.Next {
		b.doc.Again = append(b.doc.Again, Command{Purpose: strings.TrimSuffix(n.Purpose, ":"), Command: n.Command})
	}
	b.doc.Unit, b.doc.Duration = int64(b.unit), b.unit.of(b.duration())
	b.facts()
	b.parts()
	b.tables()

	spans, err := b.History.Faults()
	if err != nil { // foreign, and strange: all else can be shown
		b.trouble("the faults of the history are not shown: %v", err)
	}
	b.spans = spans
	_, b.mainEnd, _ = checker.MainPhase(b.History)
	b.gather()
	b.functions()
	b.faults()
	b.strips()
	b.doc.Tracks = b.tracks(b.Tracks)
	b.charts()
	b.anomalies(ctx)
	b.logs(ctx)
	if err := b.ops(ctx, limit); err != nil {
		return nil, err
	}
	b.doc.fill()
	return &Page{Document: b.doc, Data: b.data}, nil
}

// A builder makes a document.
type builder struct {
	Source
	unit unit
	doc  Document
	data []byte

	spans   []histories.FaultSpan
	mainEnd time.Duration // the time of the last op of a client before the recovery
	seen
	moments []moment
}

// ops adds the columns of the ops, which are the data of the page.
func (b *builder) ops(ctx context.Context, limit int) error {
	ops, data, err := index(ctx, b.History, b.Tracks, limit, b.wanted())
	switch {
	case err == nil:
		b.doc.Ops, b.data = ops, data
		b.keys()
	case ctx.Err() != nil:
		b.doc.Ops.Total = b.History.Len()
		b.doc.Ops.Left = "there was no time for the ops: the history's file has them"
	default:
		return err
	}
	return nil
}

// keys tells the tracks which of the keys of the ops are about them.
func (b *builder) keys() {
	there := map[string]bool{}
	for _, key := range b.doc.Ops.Keys {
		there[key] = true
	}
	for i := range b.doc.Tracks { // the first of all
		for _, key := range b.Tracks[i].Keys {
			if there[key] {
				b.doc.Tracks[i].Keys = append(b.doc.Tracks[i].Keys, key)
			}
		}
	}
}

// wanted returns the ops that the page shows elsewhere, and so wants to have the detail of.
func (b *builder) wanted() []int {
	var ops []int
	add := func(calls []Call) {
		for _, c := range calls {
			ops = append(ops, c.Invoke)
			if c.Complete >= 0 {
				ops = append(ops, c.Complete)
			}
		}
	}
	for _, a := range b.doc.Anomalies {
		add(a.Calls)
		add(a.Around)
		if a.Order != nil {
			add(a.Order.Calls)
		}
	}
	for _, f := range b.doc.Faults {
		for _, i := range []int{f.Begin, f.End} {
			if i < 0 {
				continue
			}
			ops = append(ops, i)
			if pair := b.History.Pair(i); pair >= 0 {
				ops = append(ops, pair)
			}
		}
	}
	slices.Sort(ops)
	return slices.Compact(ops)
}

func (b *builder) trouble(format string, args ...any) {
	b.doc.Trouble = append(b.doc.Trouble, fmt.Sprintf(format, args...))
}

// duration returns the time of the last op.
func (b *builder) duration() time.Duration {
	return b.History.Duration()
}

// clock says whether the history's times are those of a clock, not of a counter.
func (b *builder) clock() bool { return b.unit == unit(time.Microsecond) }

// parts adds what each checker has found.
func (b *builder) parts() {
	parts := b.Result.Parts
	if len(parts) == 0 {
		parts = []checker.Result{b.Result}
	}
	for _, p := range parts {
		part := Part{Name: p.Name, Verdict: p.Verdict.String(), Note: clip(b.Note(p), maxProse), Counts: p.Counts}
		remarks := report.Remarks(p)
		for _, a := range remarks[:min(len(remarks), maxRemarks)] {
			part.Remarks = append(part.Remarks, clip(cmp.Or(a.Note, a.Kind), maxProse))
		}
		if more := len(remarks) - maxRemarks; more > 0 {
			part.Remarks = append(part.Remarks, fmt.Sprintf("and %d more", more))
		}
		b.doc.Parts = append(b.doc.Parts, part)
	}
}

// tables adds what the checkers have measured.
func (b *builder) tables() {
	for _, m := range report.Measured(b.Result) {
		b.doc.Tables = append(b.doc.Tables, Table{
			Title: cmp.Or(m.Title, m.Name), Columns: m.Rows[0], Rows: m.Rows[1:], Align: m.Align,
		})
	}
}

// functions adds what clients called, from the part named stats; see [checker.Stats].
func (b *builder) functions() {
	at := slices.IndexFunc(b.Result.Parts, func(p checker.Result) bool { return p.Name == "stats" })
	if at < 0 {
		return
	}
	took := func(counts map[string]int64, name string) Time {
		if us, ok := counts[name]; ok {
			return b.unit.of(time.Duration(us) * time.Microsecond)
		}
		return Open
	}
	for _, f := range b.Result.Parts[at].Parts {
		b.doc.Functions = append(b.doc.Functions, Function{
			Name: f.Name, OK: f.Counts["ok"], Fail: f.Counts["fail"], Info: f.Counts["info"],
			Median: took(f.Counts, "median_us"), P99: took(f.Counts, "p99_us"), Faulty: b.faulty[f.Name],
		})
	}
}

// clip cuts s to so many bytes, between two letters; what is gone is marked.
func clip(s string, bytes int) string {
	if len(s) <= bytes {
		return s
	}
	end := bytes - len("…")
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
