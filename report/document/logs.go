package document

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/cluster"
)

// What bounds the excerpts from logs.
const (
	linesBefore = 10 // a moment
	linesAfter  = 20
	maxLines    = 2_000 // of all logs
	maxMoments  = 500
	maxLogLine  = 400 // bytes
	maxLog      = 256 << 20

	// How far from a moment a line may be, so as to tell of it.
	timeBefore = 500 * time.Millisecond
	timeAfter  = 1500 * time.Millisecond

	// bent is by how much the clock of a node is wrong that was changed.
	bent = time.Millisecond
)

// A moment is one of which the logs are worth reading.
type moment struct {
	at      time.Duration
	anomaly bool
}

// logs adds the logs, with excerpts around faults and anomalies.
func (b *builder) logs(ctx context.Context) {
	files := b.Logs
	var zero time.Time
	if b.RunLog != nil && b.RunLog.Open != nil {
		run := *b.RunLog
		run.Node = cmp.Or(run.Node, cluster.Tester)
		files = append([]LogFile{run}, files...)
		var err error
		if zero, err = mainBegan(*b.RunLog); err != nil {
			b.trouble("lines of logs have no times of the history: %v", err)
		}
	}
	for _, s := range b.spans {
		b.moments = append(b.moments, moment{at: s.From})
		if healed(s) {
			b.moments = append(b.moments, moment{at: s.To})
		}
	}
	slices.SortStableFunc(b.moments, func(a, c moment) int { // anomalies first
		switch {
		case a.anomaly == c.anomaly:
			return cmp.Compare(a.at, c.at)
		case a.anomaly:
			return -1
		}
		return 1
	})
	moments := b.moments[:min(len(b.moments), maxMoments)]
	changed := b.changed()
	for i, f := range files {
		l := Log{Node: f.Node, Path: f.Path}
		if !zero.IsZero() && len(moments) > 0 && f.Open != nil {
			room := (maxLines - b.lines()) / (len(files) - i)
			lines, err := b.excerpts(ctx, f, zero, moments, room)
			l.Lines = lines
			switch {
			case errors.Is(err, errTooLong):
				l.Note = fmt.Sprintf("only the first %d MiB were looked at", maxLog>>20)
			case err != nil && ctx.Err() != nil:
				l.Note = "there was no time to read it"
			case err != nil:
				l.Note = "it could not be read: " + err.Error()
			}
		}
		if changed[f.Node] {
			l.Note = strings.TrimPrefix(l.Note+"; the node's clock was changed: times are what it showed, and lines may stand at others than theirs", "; ")
		}
		b.doc.Logs = append(b.doc.Logs, l)
	}
}

// lines returns how many lines of logs there are.
func (b *builder) lines() (n int) {
	for _, l := range b.doc.Logs {
		n += len(l.Lines)
	}
	return n
}

// changed returns the nodes whose clocks were wrong at some time.
func (b *builder) changed() map[string]bool {
	nodes := map[string]bool{}
	for _, r := range b.readings() {
		if max(r.Realtime, -r.Realtime) >= bent+r.Within {
			nodes[r.node] = true
		}
	}
	for _, s := range b.spans {
		var detail struct {
			Warps map[string]cluster.Warp `json:"warps"`
		}
		if !held(s) || json.Unmarshal(s.Detail, &detail) != nil {
			continue
		}
		for node, w := range detail.Warps {
			if w.Offset != 0 || w.Drift != 0 {
				nodes[node] = true
			}
		}
	}
	return nodes
}

// mainBegan returns when the main phase did, by the log of the run: the history's times are
// since then, but for about a millisecond.
func mainBegan(f LogFile) (at time.Time, err error) {
	in, err := f.Open()
	if err != nil {
		return at, err
	}
	defer in.Close()
	err = eachLine(in, func(_ int, line []byte) bool {
		if bytes.Contains(line, []byte(" msg=phase name=main")) {
			at, _ = stamp(line)
		}
		return at.IsZero()
	})
	if err == nil && at.IsZero() {
		err = fmt.Errorf("%s does not say when the main phase began", f.Path)
	}
	return at, err
}

// excerpts returns the lines of a log around moments, in order: of those that come first
// as many as there is room for.
func (b *builder) excerpts(ctx context.Context, f LogFile, zero time.Time, moments []moment, room int) ([]LogLine, error) {
	in, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	type excerpt struct{ before, after []LogLine }
	kept := make([]excerpt, len(moments))
	order := make([]int, len(moments)) // of moments in time
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Or(cmp.Compare(moments[i].at, moments[j].at), cmp.Compare(i, j)) })
	var at time.Duration
	timed := false
	err = eachLine(in, func(number int, line []byte) bool {
		if t, ok := stamp(line); ok {
			at, timed = t.Sub(zero), true
		}
		if !timed {
			return ctx.Err() == nil
		}
		i, before := nearest(moments, order, at)
		if i < 0 {
			return ctx.Err() == nil
		}
		e := &kept[i]
		if !before && len(e.after) == linesAfter {
			return ctx.Err() == nil
		}
		text := clip(strings.ToValidUTF8(string(line[:min(len(line), 2*maxLogLine)]), "\uFFFD"), maxLogLine)
		l := LogLine{Time: b.unit.of(at), Number: number, Text: text}
		if before {
			if len(e.before) == linesBefore {
				e.before = slices.Delete(e.before, 0, 1)
			}
			e.before = append(e.before, l)
		} else {
			e.after = append(e.after, l)
		}
		return ctx.Err() == nil
	})
	var lines []LogLine
	for _, e := range kept {
		some := slices.Concat(e.before, e.after)
		lines = append(lines, some[:min(len(some), room-len(lines))]...)
	}
	slices.SortFunc(lines, func(a, b LogLine) int { return cmp.Compare(a.Number, b.Number) })
	return lines, cmp.Or(err, ctx.Err())
}

// nearest returns the moment that a time belongs to, and whether it lies before that; -1 if
// it is near none.
func nearest(moments []moment, order []int, t time.Duration) (i int, before bool) {
	next, _ := slices.BinarySearchFunc(order, t, func(i int, t time.Duration) int { return cmp.Compare(moments[i].at, t+1) })
	i = -1
	if next > 0 && t-moments[order[next-1]].at <= timeAfter {
		i = order[next-1]
	}
	if next < len(order) {
		if wait := moments[order[next]].at - t; wait <= timeBefore && (i < 0 || wait < t-moments[i].at) {
			return order[next], true
		}
	}
	return i, false
}

var errTooLong = errors.New("the log is too long")

// eachLine calls f with each line and its number, from 1, until that returns false. A line
// may be cut short.
func eachLine(in io.Reader, f func(number int, line []byte) bool) error {
	r := bufio.NewReaderSize(in, 64<<10)
	read := 0
	for number := 1; ; number++ {
		line, err := r.ReadSlice('\n')
		rest := err
		if errors.Is(err, bufio.ErrBufferFull) {
			line = slices.Clone(line)
			for errors.Is(rest, bufio.ErrBufferFull) {
				var more []byte
				more, rest = r.ReadSlice('\n')
				read += len(more)
			}
		}
		read += len(line)
		if len(line) > 0 && !f(number, bytes.TrimRight(line, "\r\n")) {
			return nil
		}
		switch {
		case errors.Is(rest, io.EOF):
			return nil
		case rest != nil:
			return rest
		case read > maxLog:
			return errTooLong
		}
	}
}

// stamp returns the time at the front of a line, as our systems, the lab and Go's text
// logs write it: "2026-11-29T01:40:16.905Z [INFO] ...", "time=... level=...", "--- ...".
func stamp(line []byte) (time.Time, bool) {
	const shortest, longest = len("2006-01-02T15:04:05Z"), len("2006-01-02T15:04:05.999999999+01:00")
	line = bytes.TrimPrefix(bytes.TrimPrefix(line, []byte("--- ")), []byte("time="))
	line = line[:min(len(line), longest+1)]
	if end := bytes.IndexByte(line, ' '); end >= 0 {
		line = line[:end]
	}
	if len(line) < shortest || line[0] < '0' || line[0] > '9' {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339Nano, string(line))
	return t, err == nil
}
