package checker

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"html"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
)

const (
	// maxPictured bounds the calls in a picture. A browser takes more; an eye
	// does not.
	maxPictured = 200
	// pictureTime bounds the search for the partial orders that a picture shows.
	pictureTime = time.Second
)

// picture returns porcupine's visualisation of o up to the violation that x
// shows. What it draws, the longest orders that begin as they should, takes a
// search of its own, so it is made only when it is written.
//
// NB: Where there are several such orders, porcupine gives them in any order:
// two writes of one picture may differ in their bytes.
func (j *judgement[S, In, Out]) picture(o *object[S, In, Out], x excerpt[In, Out], a Anomaly) func(io.Writer) error {
	last := x.last()
	return func(w io.Writer) (err error) {
		defer func() {
			if r := recover(); r != nil { // Visualize does, where a step is no longer possible
				err = fmt.Errorf("picture of %s: %v", o.name(), r)
			}
		}()
		shown := j.pictured(o, x)
		s := j.search(j.bestStart(shown), j.model.trial(shown.calls))
		s.ctx, s.stop = context.WithCancelCause(context.Background())
		defer s.stop(nil)
		model := s.porcupine()
		model.DescribeOperation = func(call, _ any) string { return j.model.describe(shown.calls[call.(int)]) }
		model.DescribeState = func(n any) string { return j.model.state(n.(node[S]).state) }
		model.DescribeOperationMetadata = func(call any) string { return where(shown.calls[call.(int)]) }
		ops, rows := drawn(s, shown.calls)
		_, info := porcupine.CheckOperationsVerbose(model, ops, pictureTime)
		info.AddAnnotations([]porcupine.Annotation{{
			Tag: "verdict", Start: int64(last.Index), End: int64(last.Completion),
			Description: a.Kind, Details: a.Note,
		}})
		var page bytes.Buffer
		if err := porcupine.Visualize(model, info, &page); err != nil {
			return err
		}
		_, err = w.Write(headed(page.Bytes(), o.name()+": "+a.Kind, rows))
		return err
	}
}

// pictured returns what is drawn of o: what happened up to the violation that x shows, or
// the last of it, or x.
func (j *judgement[S, In, Out]) pictured(o *object[S, In, Out], x excerpt[In, Out]) excerpt[In, Out] {
	last := x.last()
	end, _ := slices.BinarySearchFunc(o.call, linear.Time(last.Completion), cmp.Compare)
	from := 0
	if end > maxPictured {
		if j.model.States == nil {
			return x
		}
		from = end - maxPictured/2
	}
	var calls []histories.Call[In, Out]
	for op := range o.call[:end] {
		if op >= from || o.ret[op] >= o.call[from] {
			calls = append(calls, j.at(o, int32(op)))
		}
	}
	calls = j.model.upTo(calls, last.Completed)
	if from == 0 {
		return excerpt[In, Out]{true, calls}
	}
	return excerpt[In, Out]{calls: j.model.since(calls, j.history.At(int(o.call[from])).Time)}
}

// headed returns porcupine's page with a title, and with the processes that its
// rows stand for. Where it does not look as expected it stays as it is.
func headed(page []byte, title string, rows []histories.Process) []byte {
	title = html.EscapeString(title)
	page = bytes.Replace(page, []byte("<title>Porcupine</title>"), []byte("<title>"+title+"</title>"), 1)
	var legend strings.Builder
	fmt.Fprintf(&legend, "<p style=\"font-family: sans-serif\">%s. Rows are processes:", title)
	for row, p := range rows {
		fmt.Fprintf(&legend, " %d is %v", row, p)
		if row < len(rows)-1 {
			legend.WriteByte(',')
		}
	}
	const below = `<div id="calc">` // the picture
	legend.WriteString(".</p>" + below)
	return bytes.Replace(page, []byte(below), []byte(legend.String()), 1)
}

// bestStart returns the state from which the calls of x go furthest, since
// porcupine draws them from one.
func (j *judgement[S, In, Out]) bestStart(x excerpt[In, Out]) S {
	ctx, cancel := context.WithTimeout(context.Background(), pictureTime)
	defer cancel()
	best, furthest := j.model.Init, -1
	for _, start := range j.starts(x) {
		s := j.search(start, j.model.trial(x.calls))
		_, _ = s.answer(ctx) // how far it gets is what matters
		if s.furthest > furthest {
			best, furthest = start, s.furthest
		}
	}
	return best
}

// drawn returns the operations of s with what a picture needs beside: a row for
// each process, which porcupine wants numbered from 0, and whose rows these are.
func drawn[S comparable, In, Out any](s *search[S], calls []histories.Call[In, Out]) (ops []porcupine.Operation, processes []histories.Process) {
	rows := map[histories.Process]int{}
	ops = s.operations()
	for i, c := range calls {
		rows[c.Process] = 0
		ops[i].Metadata = i
	}
	processes = slices.Sorted(maps.Keys(rows))
	for row, p := range processes {
		rows[p] = row
	}
	for i, c := range calls {
		ops[i].ClientId = rows[c.Process]
	}
	return ops, processes
}

// where says which call this is.
func where[In, Out any](c histories.Call[In, Out]) string {
	s := fmt.Sprintf("process %d, op %d, %v", c.Process, c.Index, Brief(c.Invoked))
	if c.Completed != histories.Never {
		s += fmt.Sprintf(" to %v", Brief(c.Completed))
	}
	if c.Node != "" {
		s += ", " + c.Node
	}
	return s
}

func (m *Model[S, In, Out]) describe(c histories.Call[In, Out]) string {
	if m.Describe != nil {
		return m.Describe(c)
	}
	if c.Type == histories.Info {
		return fmt.Sprintf("%s %v → ?", c.F, c.In)
	}
	return fmt.Sprintf("%s %v → %v", c.F, c.In, c.Out)
}

func (m *Model[S, In, Out]) state(s S) string {
	if m.State != nil {
		return m.State(s)
	}
	return fmt.Sprint(s)
}
