// Package store keeps the directories of runs:
//
//	store/<name>/<time>/   one run
//	  run.json             what was asked for and found out; see [Info]
//	  history.jsonl        one op a line, written as it happens
//	  results.json         the verdict tree
//	  report.html          the page that shows it all
//	  trace.json           the run for Perfetto
//	  junit.xml            the verdict for CI systems
//	  summary.md           and for pull requests
//	  run.log              what the tester logged
//	  nodes/n1/...         what the nodes kept and printed
//	  .running             while it goes on; see [Run.Hold]
//	store/<name>/latest    the latest run of that name
//	store/latest           the latest run of all
//	store/.index.json      what an [Index] knows of them
//
// A history is written as it happens, so that a crash loses its tail alone. All
// other files appear whole or not at all. The package knows no checkers and no
// options: what it writes is handed to it.
package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The files of a run's directory.
const (
	InfoFile    = "run.json"
	HistoryFile = "history.jsonl"
	ResultsFile = "results.json"
	ReportFile  = "report.html" // the page
	TraceFile   = "trace.json"
	JUnitFile   = "junit.xml"
	SummaryFile = "summary.md"
	LogFile     = "run.log"  // the tester's
	PacketsFile = "net.pcap" // if they were asked for
	NodesDir    = "nodes"
	Latest      = "latest" // the symlink
)

// A Run is the directory of a run.
type Run struct {
	Dir string
}

// Create makes the directory of a run that begins now, below root, and nothing
// in it. Runs that begin at the same time get directories of their own.
func Create(root, name string, now time.Time) (*Run, error) {
	parent := filepath.Join(root, FileName(name))
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return nil, err
	}
	stamp := now.UTC().Format("20060102T150405Z")
	for n := 1; ; n++ {
		dir := filepath.Join(parent, stamp)
		if n > 1 {
			dir = fmt.Sprintf("%s-%d", dir, n)
		}
		// Mkdir is what makes it ours: it fails where another run was first.
		err := os.Mkdir(dir, 0o777)
		switch {
		case err == nil:
			return &Run{Dir: dir}, nil
		case !errors.Is(err, fs.ErrExist):
			return nil, err
		}
	}
}

// Open returns the run whose directory is dir, or an error that wraps
// [fs.ErrNotExist] if there is no history in it.
func Open(dir string) (*Run, error) {
	r := &Run{Dir: dir}
	if _, err := os.Stat(r.History()); err != nil {
		return nil, err
	}
	return r, nil
}

// Writable says why no run can be kept below root, if so. It makes root if it is
// not there.
func Writable(root string) error {
	if err := os.MkdirAll(root, 0o777); err != nil {
		return err
	}
	probe, err := os.CreateTemp(root, ".probe-*")
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: "write in", Path: root, Err: path.Err} // nobody knows the probe
	}
	if err != nil {
		return err
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// History returns the path of the history.
func (r *Run) History() string { return r.File(HistoryFile) }

// Nodes returns the path of the directory of the nodes.
func (r *Run) Nodes() string { return r.File(NodesDir) }

// NodeLog returns the path of what the processes of a node have printed.
func (r *Run) NodeLog(node string) string { return filepath.Join(r.Nodes(), node, node+".log") }

// File returns the path of the named file.
func (r *Run) File(name string) string { return filepath.Join(r.Dir, name) }

// CreateFile opens a new file in the run's directory to be written as things
// happen, such as the history.
func (r *Run) CreateFile(name string) (*os.File, error) {
	return os.OpenFile(r.File(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
}

// Write makes the named file of what write writes, or replaces it. Whoever looks
// meanwhile sees the old file or the new one, never half of one.
func (r *Run) Write(name string, write func(io.Writer) error) (err error) {
	return WriteFile(r.File(name), write)
}

// WriteFile is [Run.Write] for a file anywhere.
func WriteFile(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close() // twice, perhaps: harmless
			os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(0o644); err != nil { // CreateTemp's files are for us alone
		return err
	}
	if err := write(f); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// WriteJSON makes the named file of v, indented, for people read it too.
func (r *Run) WriteJSON(name string, v any) error {
	return r.Write(name, func(w io.Writer) error { return EncodeJSON(w, v) })
}

// EncodeJSON writes v as the JSON files of a run spell it.
func EncodeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// Link lets both symlinks named latest point at the run. A run is none the worse
// without: some file systems have no symlinks.
func (r *Run) Link() error {
	parent := filepath.Dir(r.Dir)
	name, run := filepath.Base(parent), filepath.Base(r.Dir)
	return errors.Join(r.LinkByName(), link(filepath.Join(name, run), filepath.Join(filepath.Dir(parent), Latest)))
}

// LinkByName lets the symlink point at the run that is for those of its name alone.
func (r *Run) LinkByName() error {
	return link(filepath.Base(r.Dir), filepath.Join(filepath.Dir(r.Dir), Latest))
}

// link replaces the symlink at path in one step, since other runs may be at it
// too.
func link(target, path string) error {
	scratch, err := os.MkdirTemp(filepath.Dir(path), ".latest-*") // a name that is ours
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	fresh := filepath.Join(scratch, Latest)
	if err := os.Symlink(target, fresh); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}

// maxName bounds the name of a directory; file systems allow 255 bytes.
const maxName = 120

// FileName returns name as the name of a directory that neither shells nor file
// systems trip over: "partition:ring,kill" becomes "partition-ring+kill". A name
// too long ends in a hash of the whole.
func FileName(name string) string {
	safe := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '.', c == '-', c == '+':
			return c
		case c == ',':
			return '+'
		}
		return '-'
	}, name)
	safe = strings.TrimLeft(safe, ".-") // neither hidden, nor a flag, nor ".."
	if len(safe) > maxName {
		sum := fnv.New32a()
		sum.Write([]byte(name))
		safe = fmt.Sprintf("%s-%08x", safe[:maxName], sum.Sum32())
	}
	if safe == "" {
		return "run"
	}
	return safe
}
