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

	"github.com/anishathalye/porcupine"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
)

// maxPictured bounds the calls in a picture. A browser takes more; an eye does not.
const maxPictured = 200

// picture returns porcupine's visualisation of o up to a violation: of what reaching tells.
func (j *judgement[S, In, Out]) picture(o *object[S, In, Out], last histories.Call[In, Out], a Anomaly, reaching viewer[S, In, Out]) func(io.Writer) error {
	return func(w io.Writer) (err error) {
		defer func() {
			if r := recover(); r != nil { // Visualize does, where a step is no longer possible
				err = fmt.Errorf("picture of %s: %v", o.name(), r)
			}
		}()
		var page bytes.Buffer
		var rows []histories.Process
		if err := reaching(context.Background(), func(r *reach[S, In, Out]) (err error) {
			rows, err = j.draw(&page, r, last, a)
			return err
		}); err != nil {
			return err
		}
		_, err = w.Write(headed(page.Bytes(), o.name()+": "+a.Kind, rows))
		return err
	}
}

// draw has porcupine draw r, and returns the processes that its rows stand for.
func (j *judgement[S, In, Out]) draw(page *bytes.Buffer, r *reach[S, In, Out], last histories.Call[In, Out], a Anomaly) ([]histories.Process, error) {
	shown := r.shown.calls
	s := j.search(r.partials[0].start, j.model.trial(shown))
	s.ctx, s.stop = context.WithCancelCause(context.Background())
	defer s.stop(nil)
	model := s.porcupine()
	model.DescribeOperation = func(call, _ any) string { return j.model.describe(shown[call.(int)]) }
	model.DescribeState = func(n any) string { return j.model.state(n.(node[S]).state) }
	model.DescribeOperationMetadata = func(call any) string { return where(shown[call.(int)]) }
	info := r.info
	info.AddAnnotations([]porcupine.Annotation{{
		Tag: "verdict", Start: int64(last.Index), End: int64(last.Completion),
		Description: a.Kind, Details: a.Note,
	}})
	_, rows := drawn(s, shown)
	return rows, porcupine.Visualize(model, info, page)
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
