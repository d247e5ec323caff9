package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// IndexFile is what an [Index] keeps in the root of a store, so that the next one need not
// read all runs again.
const IndexFile = ".index.json"

// ShrinkDir is in the directory of a run that was shrunk: a store of the runs that made its
// schedule smaller.
const ShrinkDir = "shrink"

const (
	// indexFormat changes with what an entry has: what another version wrote is not read.
	indexFormat = 1
	// settling is how long after a change a file counts as one that may change once more
	// without its time telling: file systems round times, some to two seconds.
	settling = 2 * time.Second
	// saving is the least time between two times that the index is kept in its file.
	saving = 30 * time.Second
	// maxDepth is where the deepest runs are: those of a shrink of a run of prove.
	maxDepth = 10
	// maxFolders is what may be looked through. More is no store.
	maxFolders = 200_000
	// maxRead is what run.json or results.json may have: a thousand times what they have as
	// a rule. maxIndex is what the index's file may.
	maxRead  = 16_000_000
	maxIndex = 256_000_000
	// What an entry has of a run is clipped, as it stands in every answer: a name, a
	// sentence, and a list.
	maxWord     = 120
	maxSentence = 2_000
	maxListed   = 24
)

// A State says how far a run has come.
type State string

// The states of a run.
const (
	Running     State = "running"     // its process is at it
	Judging     State = "judging"     // so it is, and its history is whole
	Ended       State = "ended"       // it came to its end; it may not have been judged
	Interrupted State = "interrupted" // it ended early, and says why
	Dead        State = "dead"        // it ended early, and says nothing: its process died
)

// Ongoing says whether a process is at it.
func (s State) Ongoing() bool { return s == Running || s == Judging }

// An Entry is what an index knows of a run: the gist of run.json and results.json.
type Entry struct {
	// Path is that of its directory below the root, with slashes. Parent is the run in
	// whose directory it is, as those of a shrink are; empty: in none.
	Path   string `json:"path"`
	Parent string `json:"parent,omitempty"`

	System     string    `json:"system"`
	Bug        string    `json:"bug,omitempty"`
	Workload   string    `json:"workload"`
	Nemesis    []string  `json:"nemesis,omitempty"`
	Schedule   int       `json:"schedule,omitempty"` // faults of a written schedule
	Hypervisor string    `json:"hypervisor,omitempty"`
	Seed       uint64    `json:"seed"`
	Nodes      int       `json:"nodes"`
	Limit      Duration  `json:"limit"` // of the main phase
	Began      time.Time `json:"began"`
	Ended      time.Time `json:"ended,omitzero"` // zero if it did not, or not yet

	State   State  `json:"state"`
	Verdict string `json:"verdict,omitempty"` // a word, or empty: it was not judged
	// Kinds are those of the anomalies that make it invalid, each once.
	Kinds []string `json:"kinds,omitempty"`
	Live  *Live    `json:"live,omitempty"` // what was found while it ran

	OK     int64 `json:"ok,omitempty"`
	Fail   int64 `json:"fail,omitempty"`
	Info   int64 `json:"info,omitempty"`
	States int64 `json:"states,omitempty"` // of the cluster, seen
	Begun  int64 `json:"begun,omitempty"`  // faults
	Acted  int64 `json:"acted,omitempty"`
	// Judged says that there are the numbers above. They are of results.json.
	Judged bool `json:"judged,omitempty"`

	Report  bool     `json:"report,omitempty"` // there is a page of it
	Trouble []string `json:"trouble,omitempty"`
	// Flaw says what of the run could not be read.
	Flaw string `json:"flaw,omitempty"`
}

// Duration is from its begin to its end, with all that is before and after the main phase;
// 0 if it has not ended.
func (e *Entry) Duration() time.Duration {
	if e.Ended.IsZero() {
		return 0
	}
	return e.Ended.Sub(e.Began)
}

// A Listing is all runs of a store at one time. It does not change any more, and nobody
// may change it.
type Listing struct {
	// Version is another one whenever anything is.
	Version uint64
	// Entries are in the order of their begin, the latest first.
	Entries []Entry
	at      map[string]int
}

// Entry returns the run whose path it is.
func (l *Listing) Entry(path string) (*Entry, bool) {
	i, ok := l.at[path]
	if !ok {
		return nil, false
	}
	return &l.Entries[i], true
}

// An Index knows all runs below the root of a store. It looks at them when it is told to,
// reads what has changed since, and keeps what it knows in a file. It is safe for
// concurrent use.
//
// Runs are found wherever there is a run.json, also those that prove and shrink leave
// deeper down; symlinks are not followed, so that latest is no run of its own, and what is
// hidden is not looked at.
type Index struct {
	root *os.Root
	log  *slog.Logger
	now  func() time.Time

	listing atomic.Pointer[Listing]

	mu      sync.Mutex // held while it looks or removes
	runs    map[string]*indexed
	folders map[string]folder
	changed bool // since it was kept
	kept    time.Time
}

// An indexed is a run, and what its files were like when it was read.
type indexed struct {
	Entry   Entry `json:"entry"`
	Dir     stamp `json:"dir"`
	Info    stamp `json:"info"`
	Results stamp `json:"results"`
	// Settled says that a later change would show in one of these.
	Settled bool `json:"settled,omitempty"`
	// Inner says that there may be runs in its directory.
	Inner bool `json:"inner,omitempty"`
}

// A folder is a directory that is no run's.
type folder struct {
	stamp
	settled bool
	names   []string // of those in it
}

// A stamp tells whether a file is as it was.
type stamp struct {
	Modified int64 `json:"modified"` // nanoseconds since 1970; 0: there is none
	Size     int64 `json:"size"`
}

func stampOf(s fs.FileInfo) stamp { return stamp{s.ModTime().UnixNano(), s.Size()} }

// settledBy says whether a change after now would show.
func (s stamp) settledBy(now time.Time) bool { return now.UnixNano()-s.Modified > int64(settling) }

// OpenIndex returns an index of the runs below root, which has to be there. It knows what
// an earlier one has kept; [Index.Refresh] looks. The caller closes it.
func OpenIndex(root string, log *slog.Logger) (*Index, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	x := &Index{root: r, log: log, now: time.Now, runs: map[string]*indexed{}, folders: map[string]folder{}}
	x.listing.Store(&Listing{})
	if err := x.load(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Debug("the index of the store is made anew", "error", err)
	}
	x.kept = x.now()
	return x, nil
}

// Root is where all files of the runs are to be opened. It is closed with the index.
func (x *Index) Root() *os.Root { return x.root }

// Close keeps what the index knows.
func (x *Index) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.keep()
	return x.root.Close()
}

// Listing returns what is known since the last look.
func (x *Index) Listing() *Listing { return x.listing.Load() }

// Refresh looks at what has changed, and returns all. What is wrong with a run is its
// flaw; an error is of the root, or of ctx.
func (x *Index) Refresh(ctx context.Context) (*Listing, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	w := &walk{x: x, now: x.now(), runs: make(map[string]*indexed, len(x.runs)), folders: make(map[string]folder, len(x.folders))}
	if err := w.in(ctx, ".", "", 0); err != nil {
		return x.Listing(), err
	}
	if err := w.read(ctx); err != nil {
		return x.Listing(), err
	}
	changed := w.changed || len(w.runs) != len(x.runs)
	x.runs, x.folders = w.runs, w.folders
	if changed || x.Listing().Version == 0 {
		x.publish()
	}
	if x.changed && w.now.Sub(x.kept) >= saving {
		x.keep()
	}
	return x.Listing(), nil
}

// publish makes a listing of the runs.
func (x *Index) publish() {
	l := &Listing{Version: x.Listing().Version + 1, Entries: make([]Entry, 0, len(x.runs)), at: make(map[string]int, len(x.runs))}
	for _, r := range x.runs {
		l.Entries = append(l.Entries, r.Entry)
	}
	slices.SortFunc(l.Entries, later)
	for i := range l.Entries {
		l.at[l.Entries[i].Path] = i
	}
	x.listing.Store(l)
	x.changed = true
}

// later orders runs by their begin, the latest first.
func later(a, b Entry) int {
	return cmp.Or(b.Began.Compare(a.Began), cmp.Compare(b.Path, a.Path))
}

// A walk is one look at all of a store.
type walk struct {
	x       *Index
	now     time.Time
	runs    map[string]*indexed
	folders map[string]folder
	due     []string // runs to be read
	changed bool
}

// path is where a directory below the root is.
func (x *Index) path(name string) string {
	return filepath.Join(x.root.Name(), filepath.FromSlash(name))
}

// in looks at a directory: a run's, or one that has some below it.
func (w *walk) in(ctx context.Context, dir, parent string, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s, err := w.stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && dir != ".": // it has gone meanwhile
		return nil
	case err != nil:
		return err
	case !s.IsDir():
		return nil
	}
	now := stampOf(s)
	if r, ok := w.x.runs[dir]; ok && r.Settled && r.Dir == now {
		return w.run(ctx, r, !w.fresh(r), depth)
	}
	f, ok := w.x.folders[dir]
	if !ok || !f.settled || f.stamp != now {
		entries, err := os.ReadDir(w.x.path(dir))
		switch {
		case errors.Is(err, fs.ErrNotExist) && dir != ".":
			return nil
		case err != nil && dir == ".":
			return err
		case err != nil: // it may be somebody else's
			w.x.log.Warn("a directory of the store cannot be read", "error", err)
		}
		f = folder{stamp: now, settled: now.settledBy(w.now)}
		isRun := false
		for _, e := range entries {
			switch {
			case e.IsDir() && e.Name()[0] != '.':
				f.names = append(f.names, e.Name())
			case e.Type().IsRegular() && e.Name() == InfoFile:
				isRun = dir != "."
			}
		}
		if isRun {
			r := &indexed{Entry: Entry{Path: dir, Parent: parent}, Dir: now, Inner: slices.Contains(f.names, ShrinkDir)}
			return w.run(ctx, r, true, depth)
		}
	}
	if len(w.folders) >= maxFolders {
		return fmt.Errorf("%s has more than %d directories without a run: is it a store?", w.x.root.Name(), maxFolders)
	}
	w.folders[dir] = f
	if depth == maxDepth {
		return nil
	}
	for _, name := range f.names {
		if err := w.in(ctx, path.Join(dir, name), parent, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// stat returns what a directory is like. The root may be a symlink; it has to be the one
// that was opened, since all files are opened there.
func (w *walk) stat(dir string) (fs.FileInfo, error) {
	if dir != "." {
		return os.Lstat(w.x.path(dir))
	}
	now, err := os.Stat(w.x.root.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("the store is not there any more")
	}
	if err != nil {
		return nil, err
	}
	if opened, err := w.x.root.Stat("."); err != nil || !os.SameFile(now, opened) {
		return nil, errors.New("the store is another directory now; what looked at the old one has to be started again")
	}
	return now, nil
}

// run notes a run, and those that are in its directory.
func (w *walk) run(ctx context.Context, r *indexed, due bool, depth int) error {
	dir := r.Entry.Path
	w.runs[dir] = r
	if due {
		w.due = append(w.due, dir)
	}
	if !r.Inner || depth == maxDepth {
		return nil
	}
	return w.in(ctx, path.Join(dir, ShrinkDir), dir, depth+1)
}

// fresh says whether a run whose directory has not changed is as it was read. Files of it
// are replaced as a whole, which its directory shows; others may write them otherwise.
func (w *walk) fresh(r *indexed) bool {
	switch {
	case r.Entry.State.Ongoing():
		return false
	case r.Entry.Flaw == "":
		return true
	}
	dir := r.Entry.Path
	return w.x.stamp(path.Join(dir, InfoFile)) == r.Info && w.x.stamp(path.Join(dir, ResultsFile)) == r.Results
}

// read reads the runs that are due.
func (w *walk) read(ctx context.Context) error {
	var reading sync.WaitGroup
	var next atomic.Int64
	made := make([]*indexed, len(w.due))
	for range min(len(w.due), runtime.GOMAXPROCS(0)) {
		reading.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(w.due) {
					return
				}
				made[i] = w.x.read(w.runs[w.due[i]], w.now)
			}
		})
	}
	reading.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, r := range made {
		old, ok := w.x.runs[r.Entry.Path]
		w.changed = w.changed || !ok || !reflect.DeepEqual(old.Entry, r.Entry)
		w.runs[r.Entry.Path] = r
	}
	return nil
}

// stamp returns that of a file, which is no symlink; the zero one if there is none.
func (x *Index) stamp(name string) stamp {
	s, err := os.Lstat(x.path(name))
	if err != nil || !s.Mode().IsRegular() {
		return stamp{}
	}
	return stampOf(s)
}

// read returns what there is to know of a run.
func (x *Index) read(known *indexed, now time.Time) *indexed {
	dir := known.Entry.Path
	r := &indexed{Dir: known.Dir, Inner: known.Inner}
	// Who ends a run says so before letting go of it: if it is held no more, what it has
	// written can be read.
	held := Held(x.root, dir)
	r.Info, r.Results = x.stamp(path.Join(dir, InfoFile)), x.stamp(path.Join(dir, ResultsFile))
	r.Settled = r.Dir.settledBy(now) && r.Info.settledBy(now) && r.Results.settledBy(now)
	e := Entry{Path: dir, Parent: known.Entry.Parent, Report: x.stamp(path.Join(dir, ReportFile)) != stamp{}}
	var flaws []string
	var info Info
	if err := x.Decode(path.Join(dir, InfoFile), &info); err != nil {
		flaws = append(flaws, err.Error())
	}
	e.tell(&info, held)
	if r.Results != (stamp{}) {
		var verdict verdict
		if err := x.Decode(path.Join(dir, ResultsFile), &verdict); err != nil {
			flaws = append(flaws, err.Error())
		} else {
			e.judge(&verdict)
		}
	}
	e.Flaw = strings.Join(flaws, "; ")
	e.clip()
	r.Entry = e
	return r
}

// Decode reads a file of JSON of a run, such as its results.json, by its path below the
// root. An error names the file, and not where it is.
func (x *Index) Decode(name string, into any) error { return x.decode(name, maxRead, into) }

func (x *Index) decode(name string, most int64, into any) error {
	b, err := x.readFile(name, most)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path.Base(name), err)
	}
	return nil
}

func (x *Index) readFile(name string, most int64) ([]byte, error) {
	if s, err := x.root.Stat(name); err != nil {
		return nil, err
	} else if !s.Mode().IsRegular() { // to open a pipe is to wait
		return nil, errors.New("it is no file")
	}
	f, err := x.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("it is larger than %d MB", most/1_000_000)
	}
	return b, err
}

// clip cuts off what is too long to be what it says it is.
func (e *Entry) clip() {
	for _, name := range []*string{&e.System, &e.Bug, &e.Workload, &e.Hypervisor, &e.Verdict} {
		*name = clipped(*name, maxWord)
	}
	e.Flaw = clipped(e.Flaw, maxSentence)
	e.Nemesis, e.Kinds, e.Trouble = clippedList(e.Nemesis, maxWord), clippedList(e.Kinds, maxWord), clippedList(e.Trouble, maxSentence)
	if e.Live != nil {
		l := *e.Live
		l.Kind, l.Note, l.Ops = clipped(l.Kind, maxWord), clipped(l.Note, maxSentence), slices.Clone(l.Ops[:min(len(l.Ops), maxListed)])
		e.Live = &l
	}
}

// clipped returns a copy of s of at most so many bytes, with a sign that there was more: a
// part of it would keep all of it.
func clipped(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func clippedList(list []string, most int) []string {
	if len(list) > maxListed {
		list = append(slices.Clone(list[:maxListed]), "…")
	}
	for i := range list {
		list[i] = clipped(list[i], most)
	}
	return list
}

// tell is what run.json says.
func (e *Entry) tell(i *Info, held bool) {
	e.System, e.Bug, e.Workload, e.Nemesis, e.Schedule = i.System, i.Bug, i.Workload, i.Nemesis, len(i.Schedule)
	e.Hypervisor, e.Seed, e.Nodes, e.Limit = i.Options.Hypervisor, i.Options.Seed, i.Options.Nodes, i.Options.TimeLimit
	e.Began, e.Verdict, e.Live, e.Trouble = i.Began, i.Verdict, i.Live, i.Trouble
	if i.Ended != nil {
		e.Ended = *i.Ended
	}
	switch {
	case held && i.Ended == nil:
		e.State = Running
	case held:
		e.State = Judging
	case i.Ended != nil:
		e.State = Ended
	case len(i.Trouble) > 0:
		e.State = Interrupted
	default:
		e.State = Dead
	}
}

// A verdict is what an index reads of results.json. The package knows no checkers, but the
// names that the parts of every run have: see checker.Stats and checker.Faults.
type verdict struct {
	Name      string           `json:"name"`
	Verdict   string           `json:"verdict"`
	Counts    map[string]int64 `json:"counts"`
	Anomalies []struct {
		Kind string `json:"kind"`
	} `json:"anomalies"`
	Parts []verdict `json:"parts"`
}

// judge is what results.json says.
func (e *Entry) judge(v *verdict) {
	e.Verdict, e.Judged = cmp.Or(v.Verdict, e.Verdict), true
	for _, p := range v.Parts {
		switch p.Name {
		case "stats":
			e.OK, e.Fail, e.Info = p.Counts["ok"], p.Counts["fail"], p.Counts["info"]
		case "coverage":
			e.States = p.Counts["states"]
		case "faults":
			for _, f := range p.Parts {
				e.Begun += f.Counts["begun"]
				e.Acted += f.Counts["acted"]
			}
		}
	}
	e.kinds(v)
}

// kinds notes what makes v invalid, as far as there is room for it.
func (e *Entry) kinds(v *verdict) {
	if v.Verdict != "invalid" {
		return
	}
	for _, a := range v.Anomalies {
		if len(e.Kinds) <= maxListed && !slices.Contains(e.Kinds, a.Kind) {
			e.Kinds = append(e.Kinds, a.Kind)
		}
	}
	for i := range v.Parts {
		e.kinds(&v.Parts[i])
	}
}

// A kept is the content of the index's file.
type kept struct {
	Format int        `json:"format"`
	Runs   []*indexed `json:"runs"`
}

// load takes over what an earlier index has kept. It is believed of a run that is found,
// and only as long as the run's files look as they did then: so it does no harm if it is
// old, or of another store.
func (x *Index) load() error {
	s, err := x.root.Lstat(IndexFile)
	if err != nil {
		return err
	}
	if !s.Mode().IsRegular() {
		return fmt.Errorf("%s is no file", IndexFile)
	}
	var k kept
	if err := x.decode(IndexFile, maxIndex, &k); err != nil {
		return err
	}
	if k.Format != indexFormat {
		return fmt.Errorf("%s has format %d, want %d", IndexFile, k.Format, indexFormat)
	}
	for _, r := range k.Runs {
		if r != nil {
			r.Entry.clip()
			x.runs[r.Entry.Path] = r
		}
	}
	return nil
}

// keep writes the index's file, if there is anything new. A store that cannot be written
// to is read as well without.
func (x *Index) keep() {
	if !x.changed {
		return
	}
	x.kept, x.changed = x.now(), false
	k := kept{Format: indexFormat}
	for _, r := range x.runs {
		k.Runs = append(k.Runs, r)
	}
	slices.SortFunc(k.Runs, func(a, b *indexed) int { return cmp.Compare(a.Entry.Path, b.Entry.Path) })
	err := WriteFile(x.path(IndexFile), func(w io.Writer) error { return json.NewEncoder(w).Encode(k) })
	if err != nil {
		x.log.Debug("the index of the store is not kept", "error", err)
	}
}

// Read returns what there is to know of one run now, whether the index has seen it or not.
// An error wraps [fs.ErrNotExist] if there is none.
func (x *Index) Read(run string) (Entry, error) {
	if _, err := x.root.Stat(path.Join(run, InfoFile)); err != nil {
		return Entry{}, err
	}
	known := &indexed{Entry: Entry{Path: run}}
	if e, ok := x.Listing().Entry(run); ok {
		known.Entry.Parent = e.Parent
	}
	return x.read(known, x.now()).Entry, nil
}
