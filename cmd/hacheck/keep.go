package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/nemesis"
	"github.com/hacheck/hacheck/report"
	"github.com/hacheck/hacheck/report/document"
	"github.com/hacheck/hacheck/report/page"
	"github.com/hacheck/hacheck/report/trace"
	"github.com/hacheck/hacheck/workloads"
)

// keep writes what is kept of a verdict into dir: its artifacts, the page, and what other
// tools read. What goes wrong there is trouble beside the verdict, never instead of it. When
// ctx ends, what is not drawn yet is left out.
func (p *program) keep(ctx context.Context, r *judged, dir string) {
	kept := map[string]string{}
	var lost []error
	write := func(name string, content func(io.Writer) error) {
		path := filepath.Join(dir, name)
		err := store.WriteFile(path, content)
		if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			err = fmt.Errorf("write %s: %w", path, context.Cause(ctx))
		}
		if err != nil {
			lost = append(lost, err)
			return
		}
		kept[name] = path
	}
	defer func() { r.trouble = append(r.trouble, unwritten(lost)...) }()
	r.where = func(name string) string { return kept[name] }
	artifacts := report.Artifacts(r.result)
	for _, name := range report.ArtifactNames(r.result) {
		write(name, func(w io.Writer) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return artifacts[name](w)
		})
	}
	tracks := r.tracks()
	shown := p.shown(r)
	if r.run == nil {
		shown.Next = []report.Next{{Purpose: "check again:", Command: p.invocation() + " check --workload " + r.workload + " " + quote(r.path)}}
	}
	write(store.SummaryFile, func(w io.Writer) error { return report.Markdown(w, shown, r.told()) })
	write(store.JUnitFile, func(w io.Writer) error { return report.JUnit(w, shown, r.told()) })
	write(store.TraceFile, func(w io.Writer) error {
		return trace.Write(ctx, w, trace.Source{Title: shown.Title, History: r.history, Result: r.result, Tracks: tracks})
	})
	// The page comes last, since it links to the others.
	write(store.ReportFile, func(w io.Writer) error {
		return page.Write(ctx, w, document.Source{
			Run: shown, Info: r.told(), Tracks: tracks, Schedule: r.schedule(),
			Logs: r.logs(dir), RunLog: r.runLog(dir), Files: filesIn(dir),
		})
	})
}

// maxUnwritten bounds how many files that could not be written are told one by one: as a rule
// it is the same with all of them.
const maxUnwritten = 2

// unwritten says which files could not be written, and why.
func unwritten(lost []error) (trouble []string) {
	for _, err := range lost[:min(len(lost), maxUnwritten)] {
		trouble = append(trouble, err.Error())
	}
	if more := len(lost) - maxUnwritten; more > 0 {
		trouble = append(trouble, fmt.Sprintf("%s more of the verdict could not be written either", checker.Count(more, "file")))
	}
	return trouble
}

// told is what run.json has, or nil of a history without one.
func (r *judged) told() *store.Info {
	if r.run == nil {
		return nil
	}
	return &r.info
}

// tracks are what the workload shows beside the ops.
func (r *judged) tracks() []workloads.Track {
	w := findWorkload(r.workload)
	if w.tracks == nil {
		return nil
	}
	tracks, err := w.tracks(r.history)
	if err != nil {
		r.trouble = append(r.trouble, "what else went on is not drawn: "+err.Error())
	}
	return tracks
}

// schedule is that of the faults that there were, as --schedule takes it; "" of none, and of
// those that cannot be told.
func (r *judged) schedule() string {
	timetable, err := nemesis.Recorded(r.history)
	if err != nil || len(timetable) == 0 {
		return ""
	}
	var b bytes.Buffer
	if nemesis.WriteTimetable(&b, timetable) != nil {
		return ""
	}
	return b.String()
}

// logs are what the nodes of a run have printed, by paths from dir.
func (r *judged) logs(dir string) []document.LogFile {
	if r.run == nil {
		return nil
	}
	paths, _ := filepath.Glob(r.run.NodeLog("*"))
	var logs []document.LogFile
	for _, path := range paths {
		logs = append(logs, logFile(strings.TrimSuffix(filepath.Base(path), ".log"), dir, path))
	}
	return logs
}

// runLog is what the tester of a run has logged; nil if it is not there.
func (r *judged) runLog(dir string) *document.LogFile {
	if r.run == nil || !exists(r.run.File(store.LogFile)) {
		return nil
	}
	f := logFile("", dir, r.run.File(store.LogFile))
	return &f
}

func logFile(node, dir, path string) document.LogFile {
	return document.LogFile{
		Node: node, Path: relative(dir, path), Open: func() (io.ReadCloser, error) { return os.Open(path) },
	}
}

// relative is the path of a file as a page in dir links to it.
func relative(dir, path string) string {
	absDir, err := filepath.Abs(dir)
	if err != nil {
		return path
	}
	absPath, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(absDir, absPath)
	if err != nil {
		return path
	}
	return filepath.ToSlash(rel)
}

// abouts say what the files of a run are.
var abouts = map[string]string{
	store.HistoryFile: "the history: an op a line",
	store.ResultsFile: "the verdict, with all counts",
	store.InfoFile:    "what was run, and with what",
	store.LogFile:     "the tester's log",
	store.TraceFile:   "the run for ui.perfetto.dev",
	store.JUnitFile:   "the verdict for CI systems",
	store.SummaryFile: "a summary in Markdown",
	store.PacketsFile: "the packets, for Wireshark",
}

// filesIn returns the files in dir, those first that all runs have.
func filesIn(dir string) []document.File {
	var files []document.File
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		about, known := abouts[e.Name()]
		picture := strings.HasSuffix(e.Name(), ".html") && e.Name() != store.ReportFile
		if picture {
			about = "a key's calls, drawn by porcupine"
		}
		if e.Type() == fs.FileMode(0) && (known || picture) && !strings.HasPrefix(e.Name(), ".") {
			files = append(files, document.File{Path: e.Name(), About: about})
		}
	}
	slices.SortStableFunc(files, func(a, b document.File) int {
		return strings.Compare(rankOf(a.Path)+a.Path, rankOf(b.Path)+b.Path)
	})
	return files
}

func rankOf(name string) string {
	if _, known := abouts[name]; known {
		return "0"
	}
	return "1"
}
