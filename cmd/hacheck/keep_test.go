package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/internal/store"
)

// judgedHistory returns a history with its verdict, as check finds it.
func judgedHistory(t *testing.T, lines string) (*program, *judged) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "some.jsonl")
	if err := os.WriteFile(path, []byte(lines), 0o666); err != nil {
		t.Fatal(err)
	}
	p := &program{args: []string{"hacheck"}, stdout: new(strings.Builder), stderr: new(strings.Builder)}
	r, err := p.judgeFile(t.Context(), path, judging{budget: defaultBudget()})
	if err != nil {
		t.Fatal(err)
	}
	return p, r
}

const staleRead = `{"index":0,"time":1,"process":0,"type":"invoke","f":"write","value":["x",1]}
{"index":1,"time":2,"process":0,"type":"ok","f":"write","value":["x",1]}
{"index":2,"time":3,"process":0,"type":"invoke","f":"write","value":["x",2]}
{"index":3,"time":4,"process":0,"type":"ok","f":"write","value":["x",2]}
{"index":4,"time":5,"process":1,"type":"invoke","f":"read","value":["x",null]}
{"index":5,"time":6,"process":1,"type":"ok","f":"read","value":["x",1]}
`

// TestWhatCannotBeKeptIsTroubleBesideTheVerdict: each file that can be written is, the others
// are named, and where there are many, counted.
func TestWhatCannotBeKeptIsTroubleBesideTheVerdict(t *testing.T) {
	for _, inTheWay := range [][]string{nil, {store.TraceFile}, {store.SummaryFile, store.JUnitFile, store.TraceFile, store.ReportFile}} {
		p, r := judgedHistory(t, staleRead)
		dir := t.TempDir()
		for _, name := range inTheWay {
			if err := os.MkdirAll(filepath.Join(dir, name), 0o777); err != nil {
				t.Fatal(err)
			}
		}
		p.keep(t.Context(), r, dir)
		for _, name := range []string{store.SummaryFile, store.JUnitFile, store.TraceFile, store.ReportFile} {
			stat, err := os.Stat(filepath.Join(dir, name))
			if err != nil || stat.IsDir() != slices.Contains(inTheWay, name) {
				t.Errorf("%s: %v, %v", name, stat, err)
			}
		}
		said := strings.Join(r.trouble, "\n")
		for i, name := range inTheWay {
			if named := strings.Contains(said, filepath.Join(dir, name)); named != (i < 2) {
				t.Errorf("with %v in the way: %s", inTheWay, said)
			}
		}
		if lines := len(r.trouble); lines != min(len(inTheWay), 3) {
			t.Errorf("with %v in the way: %s", inTheWay, said)
		}
		if len(inTheWay) == 4 && !strings.HasSuffix(said, "2 files more of the verdict could not be written either") {
			t.Error(said)
		}
		left, err := filepath.Glob(filepath.Join(dir, ".*"))
		if len(left) > 0 || err != nil {
			t.Errorf("it left %v, %v", left, err)
		}
	}
}

// TestWhoInterruptsGetsWhatNeedsNoDrawing: what is small is written all the same.
func TestWhoInterruptsGetsWhatNeedsNoDrawing(t *testing.T) {
	p, r := judgedHistory(t, staleRead)
	dir := t.TempDir()
	ctx, hurry := context.WithCancelCause(t.Context())
	hurry(errInterrupted)
	p.keep(ctx, r, dir)
	for name, want := range map[string]bool{
		store.SummaryFile: true, store.JUnitFile: true, store.ReportFile: true, store.TraceFile: false, "linearizable-x.html": false,
	} {
		if got := exists(filepath.Join(dir, name)); got != want {
			t.Errorf("%s is there: %t", name, got)
		}
	}
	if said := strings.Join(r.trouble, "\n"); strings.Contains(said, "canceled") || strings.Count(said, ": interrupted") != 2 {
		t.Errorf("it says %s", said)
	}
}

// TestTracksThatCannotBeReadAreTroubleInAllFiles: what is written tells of it, too.
func TestTracksThatCannotBeReadAreTroubleInAllFiles(t *testing.T) {
	p, r := judgedHistory(t, staleRead+`{"index":6,"time":7,"process":-2,"type":"event","f":"boot","value":5}
`)
	r.workload = "vm" // for which that is no event
	dir := t.TempDir()
	p.keep(t.Context(), r, dir)
	for _, name := range []string{store.SummaryFile, store.JUnitFile, store.ReportFile} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(text), "what else went on is not drawn: op 6") {
			t.Errorf("%s says nothing of it, %v", name, err)
		}
	}
}
