package runner_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/internal/runner"
	"github.com/hacheck/hacheck/nemesis"
)

// gauged is a lab that measures as it is told.
type gauged struct {
	*lab
	gauges func() map[string]cluster.Gauge
}

func (g *gauged) Gauges() map[string]cluster.Gauge { return g.gauges() }

// measuring returns a plan of so many seconds in a lab with gauges.
func measuring(history *bytes.Buffer, seconds int, gauges func() map[string]cluster.Gauge) runner.Plan {
	plan := small(history)
	plan.TimeLimit = time.Duration(seconds) * time.Second
	plan.Lab = &gauged{&lab{stopped: make(chan string, 2)}, gauges}
	return plan
}

// TestWhatTheLabMeasuresIsRecorded: at the begin, twice a second, and at the end.
func TestWhatTheLabMeasuresIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var history bytes.Buffer
		var measured []map[string]cluster.Gauge
		plan := measuring(&history, 2, func() map[string]cluster.Gauge {
			n := uint64(len(measured) + 1)
			measured = append(measured, map[string]cluster.Gauge{
				"n1":           {Sent: n, SentBytes: 100 * n, Lost: n / 2, Clocks: &cluster.Offsets{Realtime: time.Second}},
				cluster.Tester: {Received: n - n/2},
			})
			return measured[n-1]
		})
		outcome, err := runner.Run(t.Context(), plan)
		if err != nil || len(outcome.Trouble) > 0 || outcome.OK < 3900 {
			t.Errorf("got %v, %+v", err, outcome)
		}
		got := events(t, history.Bytes())
		if len(got) < 5 || len(got) > 6 || len(got) != len(measured) { // the last are at one time, or nearly
			t.Fatalf("measured %d times, got %v", len(measured), got)
		}
		for i, op := range got {
			var g map[string]cluster.Gauge
			if err := json.Unmarshal(op.Value, &g); err != nil || op.Type != histories.Event || op.F != histories.Gauges || !reflect.DeepEqual(g, measured[i]) {
				t.Errorf("got %v, %v", op, err)
			}
			at := time.Duration(i) * 500 * time.Millisecond
			if i == len(got)-1 {
				at = outcome.Elapsed
			}
			if off := (op.Time - at).Abs(); off > time.Millisecond {
				t.Errorf("gauge %d is of %v", i, op.Time)
			}
		}
	})
}

// TestManyGaugesAreRecordedLessOften, so that a history is not made of them.
func TestManyGaugesAreRecordedLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var history bytes.Buffer
		many := map[string]cluster.Gauge{}
		for i := range 50 {
			many[fmt.Sprintf("n%d", i+1)] = cluster.Gauge{Sent: 1e6, SentBytes: 1e9, Received: 1e6, ReceivedBytes: 1e9, Lost: 1e6}
		}
		plan := measuring(&history, 60, func() map[string]cluster.Gauge { return many })
		if _, err := runner.Run(t.Context(), plan); err != nil {
			t.Error(err)
		}
		size, got := 0, events(t, history.Bytes())
		for _, op := range got {
			size += len(op.Value)
		}
		if len(got) < 5 || size > 61<<10+2*len(got[0].Value) || size < 55<<10 {
			t.Errorf("in a minute %d events of %d bytes", len(got), size)
		}
	})
}

// listener is a generator that notes which functions it is told of.
type listener struct {
	generator.Generator
	heard map[string]bool
}

func (l *listener) Update(c generator.Context, op histories.Op) {
	l.heard[op.F] = true
	l.Generator.Update(c, op)
}

// TestGeneratorsAreNotToldOfGauges: what clients and the nemesis do is as it is without.
func TestGeneratorsAreNotToldOfGauges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var history bytes.Buffer
		plan := measuring(&history, 2, func() map[string]cluster.Gauge { return nil })
		l := &listener{plan.Workload.Main, map[string]bool{}}
		plan.Workload.Main = l
		if _, err := runner.Run(t.Context(), plan); err != nil {
			t.Error(err)
		}
		if len(l.heard) != 1 || !l.heard["read"] || len(events(t, history.Bytes())) < 5 {
			t.Errorf("generators heard of %v", l.heard)
		}
	})
}

// TestALabThatCannotMeasureIsTrouble, and no more than that: so is one that never answers.
func TestALabThatCannotMeasureIsTrouble(t *testing.T) {
	for name, test := range map[string]struct {
		gauges func() map[string]cluster.Gauge
		want   string
	}{
		"panic":  {func() map[string]cluster.Gauge { panic("the needle is bent") }, "measure the lab: panicked: the needle is bent"},
		"no end": {func() map[string]cluster.Gauge { time.Sleep(time.Hour); return nil }, "measure the lab: it has not answered after 5s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var history bytes.Buffer
				outcome, err := runner.Run(t.Context(), measuring(&history, 1, test.gauges))
				if err != nil || len(outcome.Trouble) != 1 || outcome.Trouble[0].Error() != test.want || outcome.OK < 1900 {
					t.Errorf("got %v, %+v", err, outcome)
				}
				if got := events(t, history.Bytes()); len(got) > 0 {
					t.Errorf("got %v", got)
				}
				time.Sleep(2 * time.Hour) // until nobody is left
			})
		})
	}
}

// full is a disk on which there is no space left after a while.
type full struct{ left int }

func (f *full) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

// TestGaugesEndWithTheJournal, which says why.
func TestGaugesEndWithTheJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan := measuring(new(bytes.Buffer), 60, func() map[string]cluster.Gauge { return nil })
		plan.History = &full{100 << 10}
		begun := time.Now()
		outcome, err := runner.Run(t.Context(), plan)
		if len(outcome.Trouble) > 0 {
			t.Errorf("it is said twice: %v", outcome.Trouble)
		}
		if took := time.Since(begun); err == nil || !strings.Contains(err.Error(), io.ErrShortWrite.Error()) || took > 10*time.Second {
			t.Errorf("after %v got %v", took, err)
		}
	})
}

// TestGaugesChangeNoVerdict of any workload, nor what was covered.
func TestGaugesChangeNoVerdict(t *testing.T) {
	for name, workload := range onRaft {
		t.Run(name, func(t *testing.T) {
			history, judge := recordedWith(t, 1, "", workload)
			h, err := histories.Read(bytes.NewReader(history))
			if err != nil {
				t.Fatal(err)
			}
			var ops []histories.Op
			gauges := 0
			for i, op := range h.All() {
				op.Index = len(ops)
				ops = append(ops, op)
				if i+1 < h.Len() && h.At(i+1).Time > op.Time+1 && i%10 == 0 {
					gauges++
					ops = append(ops, histories.Op{
						Index: len(ops), Time: op.Time + 1, Process: histories.Observer, Type: histories.Event, F: histories.Gauges,
						Value: json.RawMessage(`{"n1":{"sent":1},"tester":{}}`),
					})
				}
			}
			other, err := histories.FromOps(ops)
			if err != nil {
				t.Fatal(err)
			}
			want := judged(t, judge, history)
			got, err := judge.Check(t.Context(), other)
			if err != nil || gauges < 50 || !alike(got, want) {
				t.Errorf("with %d gauges: %v: got %s, want %s", gauges, err, checkertest.Format(got), checkertest.Format(want))
			}
			if with, without := nemesis.Covered(other), nemesis.Covered(h); !reflect.DeepEqual(with, without) {
				t.Errorf("with gauges %+v was covered, and without %+v", with, without)
			}
		})
	}
}

// alike says that two results say the same, but for the indices of ops.
func alike(a, b checker.Result) bool {
	if a.Verdict != b.Verdict || a.Note != b.Note || !reflect.DeepEqual(a.Counts, b.Counts) || len(a.Anomalies) != len(b.Anomalies) || len(a.Parts) != len(b.Parts) {
		return false
	}
	for i := range a.Parts {
		if !alike(a.Parts[i], b.Parts[i]) {
			return false
		}
	}
	return true
}
