package report

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// A Snapshot is how far a run has come.
type Snapshot struct {
	// Phase is what is going on, in a word or two; Limit is how long it may take,
	// if that is known.
	Phase          string
	Elapsed, Limit time.Duration // since the run began
	OK, Fail, Info int64         // operations so far
	Rate           float64       // operations per second of late; 0 where it means nothing
	Faults         []string      // in force
	Judged         string        // how far it is judged already, in words; "" if it is not
}

// Progress shows how a run goes on: on a terminal in one line that changes, or
// else a line now and then, as a log of a CI system wants it.
//
// It is a writer, too: what is written to it, such as a log, comes above the
// changing line instead of into it. It is safe for concurrent use.
type Progress struct {
	w     io.Writer
	width func() int // nil: not on a terminal

	mu    sync.Mutex
	line  string // on the screen now
	phase string
	last  time.Duration // when a line was written, if not on a terminal
}

const (
	plainInterval = 5 * time.Second
	eraseLine     = "\r\x1b[K"
)

// NewProgress returns a progress on w. width returns the width of the terminal,
// which may change; it is nil if w is none.
func NewProgress(w io.Writer, width func() int) *Progress {
	return &Progress{w: w, width: width}
}

// Show tells of s. Call it often, a few times a second.
func (p *Progress) Show(s Snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := describe(s)
	if p.width != nil {
		line = clip(line, p.width()-1) // a full line would wrap
		fmt.Fprint(p.w, eraseLine+line)
		p.line = line
		return
	}
	if s.Phase == p.phase && s.Elapsed-p.last < plainInterval {
		return
	}
	p.phase, p.last = s.Phase, s.Elapsed
	fmt.Fprintln(p.w, line)
}

// Done takes the changing line away.
func (p *Progress) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line != "" {
		fmt.Fprint(p.w, eraseLine)
		p.line = ""
	}
}

// Write writes whole lines above the changing one.
func (p *Progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line == "" {
		return p.w.Write(b)
	}
	fmt.Fprint(p.w, eraseLine)
	n, err := p.w.Write(b)
	fmt.Fprint(p.w, p.line)
	return n, err
}

func describe(s Snapshot) string {
	parts := []string{seconds(s.Elapsed), s.Phase}
	if s.Limit > 0 {
		parts[0] += " of " + s.Limit.String()
	}
	if s.Rate > 0 {
		parts = append(parts, fmt.Sprintf("%.0f op/s", s.Rate))
	}
	if s.OK+s.Fail+s.Info > 0 {
		parts = append(parts, fmt.Sprintf("ok %d, fail %d, info %d", s.OK, s.Fail, s.Info))
	}
	if s.Judged != "" {
		parts = append(parts, s.Judged)
	}
	if len(s.Faults) > 0 {
		parts = append(parts, strings.Join(s.Faults, ", "))
	}
	return strings.Join(parts, "  ")
}

func seconds(t time.Duration) string { return fmt.Sprintf("%.1fs", t.Seconds()) }
