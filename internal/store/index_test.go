package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

// A shelf is a store that tests put runs into.
type shelf struct {
	testing.TB
	root string
}

func newShelf(t testing.TB) *shelf { return &shelf{t, t.TempDir()} }

const someResults = `{
  "name": "register", "verdict": "invalid",
  "parts": [
    {"name": "linearizable", "verdict": "invalid", "anomalies": [
      {"kind": "stale read", "note": "x"}, {"kind": "stale read", "note": "y"}, {"kind": "lost write", "note": "z"}]},
    {"name": "stats", "verdict": "valid", "counts": {"ok": 21256, "fail": 2399, "info": 16},
      "anomalies": [{"kind": "remark", "note": "proves nothing"}]},
    {"name": "faults", "verdict": "valid", "parts": [
      {"name": "clock", "verdict": "valid", "counts": {"acted": 6, "begun": 7}},
      {"name": "partition", "verdict": "valid", "counts": {"acted": 5, "begun": 5}}]},
    {"name": "coverage", "verdict": "valid", "counts": {"states": 38}}
  ]
}`

// put makes a run that has ended, below a folder of the store.
func (s *shelf) put(folder, name string, began time.Time) *Run {
	s.Helper()
	r, err := Create(filepath.Join(s.root, folder), name, began)
	if err != nil {
		s.Fatal(err)
	}
	ended := began.Add(21 * time.Second)
	s.info(r, Info{System: "raftkv", Workload: "register", Began: began, Ended: &ended, Verdict: "valid"})
	return r
}

func (s *shelf) info(r *Run, i Info) {
	s.Helper()
	if err := r.WriteInfo(i); err != nil {
		s.Fatal(err)
	}
}

func (s *shelf) write(path, text string) {
	s.Helper()
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		s.Fatal(err)
	}
}

func (s *shelf) index() *Index {
	s.Helper()
	x, err := OpenIndex(s.root, slog.New(slog.NewTextHandler(s.Output(), nil)))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { x.Close() })
	return x
}

func (s *shelf) refresh(x *Index) *Listing {
	s.Helper()
	l, err := x.Refresh(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return l
}

func paths(l *Listing) (paths []string) {
	for _, e := range l.Entries {
		paths = append(paths, e.Path)
	}
	return paths
}

func (s *shelf) expect(l *Listing, want ...string) {
	s.Helper()
	if got := paths(l); !slices.Equal(got, want) {
		s.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestAnIndexTellsTheGistOfARun(t *testing.T) {
	s := newShelf(t)
	r, err := Create(s.root, "a", noon)
	if err != nil {
		t.Fatal(err)
	}
	ended := noon.Add(21500 * time.Millisecond)
	s.info(r, Info{
		System: "raftkv", Bug: "stale-read", Workload: "register", Nemesis: []string{"partition", "clock"},
		Schedule: []Scheduled{{At: "1s", Fault: "kill"}, {At: "2s", Fault: "kill"}},
		Options:  Options{Seed: 1<<64 - 1, Nodes: 5, TimeLimit: Duration(20 * time.Second), Hypervisor: "qemu"},
		Began:    noon, Ended: &ended, Verdict: "invalid", Trouble: []string{"n1 was stuck"},
		Live: &Live{Kind: "stale read", Note: "it was"},
	})
	s.write(r.File(ResultsFile), someResults)
	s.write(r.File(ReportFile), "<html>")
	want := Entry{
		Path: "a/20261124T120000Z", System: "raftkv", Bug: "stale-read", Workload: "register",
		Nemesis: []string{"partition", "clock"}, Schedule: 2, Hypervisor: "qemu", Seed: 1<<64 - 1, Nodes: 5,
		Limit: Duration(20 * time.Second), Began: noon, Ended: ended, State: Ended, Verdict: "invalid",
		Kinds: []string{"stale read", "lost write"}, Live: &Live{Kind: "stale read", Note: "it was"},
		OK: 21256, Fail: 2399, Info: 16, States: 38, Begun: 12, Acted: 11, Judged: true, Report: true,
		Trouble: []string{"n1 was stuck"},
	}
	x := s.index()
	l := s.refresh(x)
	got, ok := l.Entry("a/20261124T120000Z")
	if !ok || !reflect.DeepEqual(*got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got.Duration() != 21500*time.Millisecond {
		t.Errorf("it took %v", got.Duration())
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	// The next index knows the same from the file.
	again := s.refresh(s.index())
	if got, _ := again.Entry("a/20261124T120000Z"); !reflect.DeepEqual(*got, want) {
		t.Errorf("from the file: got %+v\nwant %+v", got, want)
	}
}

func TestAnIndexFindsRunsWhereverTheyAre(t *testing.T) {
	s := newShelf(t)
	s.put("", "b", noon)
	last := s.put("", "a", noon.Add(time.Hour))
	if err := last.Link(); err != nil {
		t.Fatal(err)
	}
	s.put("prove/20261124T120000Z/001", "c", noon.Add(-time.Hour))
	s.put("a/20261124T130000Z/shrink/003", "d", noon.Add(2*time.Hour))
	s.put(".hidden", "e", noon)
	s.put("a/20261124T130000Z/nodes/n1", "f", noon) // what nodes write is no run
	s.write(filepath.Join(s.root, InfoFile), "{}")  // nor is the store
	os.Mkdir(filepath.Join(s.root, "b", "empty"), 0o777)
	l := s.refresh(s.index())
	s.expect(l,
		"a/20261124T130000Z/shrink/003/d/20261124T140000Z", "a/20261124T130000Z", "b/20261124T120000Z",
		"prove/20261124T120000Z/001/c/20261124T110000Z")
	if got := l.Entries[0].Parent; got != "a/20261124T130000Z" {
		t.Errorf("the run of a shrink is in %q", got)
	}
	if got := l.Entries[3].Parent; got != "" {
		t.Errorf("the run of prove is in %q", got)
	}
}

func TestAnIndexSeesWhatChanges(t *testing.T) {
	s := newShelf(t)
	x := s.index()
	empty := s.refresh(x)
	s.expect(empty)
	first := s.put("", "a", noon)
	l := s.refresh(x)
	s.expect(l, "a/20261124T120000Z")
	if l.Version == empty.Version {
		t.Error("there is one more, of the same version")
	}
	if again := s.refresh(x); again.Version != l.Version {
		t.Errorf("nothing has changed but the version: %d, %d", l.Version, again.Version)
	}
	s.put("", "a", noon.Add(time.Second))
	s.expect(s.refresh(x), "a/20261124T120001Z", "a/20261124T120000Z")
	// A verdict that is given later, as by check.
	if err := first.WriteJSON(ResultsFile, json.RawMessage(someResults)); err != nil {
		t.Fatal(err)
	}
	if e, _ := s.refresh(x).Entry("a/20261124T120000Z"); e.Verdict != "invalid" || e.OK != 21256 {
		t.Errorf("the new verdict is not seen: %+v", e)
	}
	os.RemoveAll(first.Dir)
	s.expect(s.refresh(x), "a/20261124T120001Z")
	s.expect(l, "a/20261124T120000Z") // what was handed out stands still
}

// TestAnIndexReadsOnlyWhatHasChanged lets the clock be far behind the changes, so that all
// counts as settled.
func TestAnIndexReadsOnlyWhatHasChanged(t *testing.T) {
	s := newShelf(t)
	for i := range 5 {
		s.put("", "a", noon.Add(time.Duration(i)*time.Second))
	}
	x := s.index()
	later := time.Now().Add(time.Hour)
	x.now = func() time.Time { return later }
	s.refresh(x)
	one, before := "a/20261124T120002Z", map[string]*indexed{}
	for p, r := range x.runs {
		before[p] = r
	}
	if err := (&Run{Dir: x.path(one)}).WriteJSON(ResultsFile, json.RawMessage(someResults)); err != nil {
		t.Fatal(err)
	}
	s.refresh(x)
	for p, r := range x.runs {
		if read := r != before[p]; read != (p == one) {
			t.Errorf("%s: read again: %v", p, read)
		}
	}
}

func TestAnIndexKnowsHowFarARunIs(t *testing.T) {
	s := newShelf(t)
	r, err := Create(s.root, "a", noon)
	if err != nil {
		t.Fatal(err)
	}
	release, err := r.Hold()
	if err != nil {
		t.Fatal(err)
	}
	info := Info{System: "raftkv", Began: noon}
	s.info(r, info)
	x := s.index()
	later := time.Now().Add(time.Hour) // all is settled
	x.now = func() time.Time { return later }
	expect := func(want State) {
		t.Helper()
		if got := s.refresh(x).Entries[0].State; got != want {
			t.Errorf("it is %q, want %q", got, want)
		}
	}
	expect(Running)
	ended := noon.Add(time.Minute)
	info.Ended = &ended
	s.info(r, info)
	expect(Judging)
	info.Ended = nil
	s.info(r, info)
	expect(Running)
	release()
	expect(Dead)
	info.Trouble = []string{"given up"}
	s.info(r, info)
	expect(Interrupted)
	info.Ended = &ended
	s.info(r, info)
	expect(Ended)
}

func TestWhatIsTornIsAFlawOfItsRunAlone(t *testing.T) {
	s := newShelf(t)
	whole, torn, none := s.put("", "a", noon), s.put("", "b", noon.Add(time.Second)), s.put("", "c", noon.Add(2*time.Second))
	s.write(whole.File(ResultsFile), someResults)
	s.write(torn.File(ResultsFile), someResults[:len(someResults)/2])
	s.write(none.File(InfoFile), "")
	x := s.index()
	later := time.Now().Add(time.Hour)
	x.now = func() time.Time { return later }
	l := s.refresh(x)
	if len(l.Entries) != 3 {
		t.Fatalf("got %d runs", len(l.Entries))
	}
	for _, e := range l.Entries {
		switch e.Path[:1] {
		case "a":
			if e.Flaw != "" || e.Verdict != "invalid" || !e.Judged {
				t.Errorf("the whole one: %+v", e)
			}
		case "b":
			if !strings.Contains(e.Flaw, ResultsFile) || e.Verdict != "valid" || e.Judged || e.OK != 0 {
				t.Errorf("the torn one: %+v", e)
			}
		case "c":
			if !strings.Contains(e.Flaw, InfoFile) {
				t.Errorf("the one without a word: %+v", e)
			}
		}
	}
	s.write(torn.File(ResultsFile), someResults) // in place, which its directory does not show
	if e, _ := s.refresh(x).Entry("b/20261124T120001Z"); e.Flaw != "" || e.Verdict != "invalid" {
		t.Errorf("it is put right, which is not seen: %+v", e)
	}
}

func TestAnIndexFollowsNoSymlink(t *testing.T) {
	s := newShelf(t)
	other := newShelf(t)
	r := other.put("", "a", noon)
	os.Symlink(other.root, filepath.Join(s.root, "other"))
	os.MkdirAll(filepath.Join(s.root, "b", "1"), 0o777)
	os.Symlink(r.File(InfoFile), filepath.Join(s.root, "b", "1", InfoFile))
	mine := s.put("", "c", noon)
	os.Symlink(r.File(InfoFile), mine.File(ResultsFile)) // out of the store
	l := s.refresh(s.index())
	s.expect(l, "c/20261124T120000Z")
	if l.Entries[0].Judged {
		t.Errorf("it was read through a symlink: %+v", l.Entries[0])
	}
}

func TestTheIndexFileIsHarmless(t *testing.T) {
	s := newShelf(t)
	s.put("", "a", noon)
	x := s.index()
	s.refresh(x)
	x.Close()
	path := filepath.Join(s.root, IndexFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"torn":            string(good[:len(good)/2]),
		"empty":           "",
		"of another kind": `[1, 2]`,
		"newer":           strings.Replace(string(good), `"format":1`, `"format":99`, 1),
		"of nothing":      `{"format": 1, "runs": [null]}`,
		"of elsewhere":    `{"format": 1, "runs": [{"entry": {"path": "../../etc"}}, {"entry": {"path": "gone/1"}}]}`,
	} {
		s.write(path, content)
		x := s.index()
		l := s.refresh(x)
		if got := paths(l); len(got) != 1 || l.Entries[0].System != "raftkv" {
			t.Errorf("%s: got %+v", name, l.Entries)
		}
		if err := x.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A stale one: the run has another verdict since.
	s.write(path, strings.Replace(string(good), `"verdict":"valid"`, `"verdict":"unknown"`, 1))
	if got := s.refresh(s.index()).Entries[0].Verdict; got != "valid" {
		t.Errorf("it is believed though the run is fresh: %s", got)
	}
	// One that cannot be written.
	os.Remove(path)
	os.Mkdir(path, 0o777)
	y := s.index()
	s.expect(s.refresh(y), "a/20261124T120000Z")
	if err := y.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.root, ".*-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAnIndexNeedsAStore(t *testing.T) {
	s := newShelf(t)
	if _, err := OpenIndex(filepath.Join(s.root, "none"), slog.Default()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	x := s.index()
	os.Remove(s.root)
	if _, err := x.Refresh(t.Context()); err == nil {
		t.Error("the store is gone, which is not said")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := x.Refresh(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func (s *shelf) leads(link string) string {
	to, err := os.Readlink(filepath.Join(s.root, link))
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		s.Error(err)
	}
	return filepath.ToSlash(to)
}

func TestRemoveLeavesNoTrace(t *testing.T) {
	s := newShelf(t)
	s.put("", "a", noon)
	s.put("", "b", noon.Add(time.Second))
	last := s.put("", "a", noon.Add(2*time.Second))
	os.MkdirAll(filepath.Join(last.Nodes(), "n1"), 0o777)
	s.put("a/20261124T120002Z/shrink/001", "s", noon.Add(3*time.Second))
	if err := last.Link(); err != nil {
		t.Fatal(err)
	}
	x := s.index()
	s.refresh(x)
	for _, step := range []struct {
		run           string
		left          []string
		latest, ofIts string
	}{
		{"a/20261124T120002Z", []string{"b/20261124T120001Z", "a/20261124T120000Z"}, "b/20261124T120001Z", "20261124T120000Z"},
		{"a/20261124T120000Z", []string{"b/20261124T120001Z"}, "b/20261124T120001Z", ""},
		{"b/20261124T120001Z", nil, "", ""},
	} {
		if err := x.Remove(step.run); err != nil {
			t.Fatal(err)
		}
		s.expect(x.Listing(), step.left...)
		s.expect(s.refresh(x), step.left...)
		if got := s.leads(Latest); got != step.latest {
			t.Errorf("without %s the latest is %q, want %q", step.run, got, step.latest)
		}
		if got := s.leads("a/" + Latest); got != step.ofIts {
			t.Errorf("without %s the latest of a is %q, want %q", step.run, got, step.ofIts)
		}
		if err := x.Remove(step.run); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("once more: %v", err)
		}
	}
	if entries, _ := os.ReadDir(s.root); len(entries) > 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestRemoveTouchesNothingElse(t *testing.T) {
	s := newShelf(t)
	s.put("", "a", noon)
	outside := filepath.Join(t.TempDir(), "precious")
	s.write(outside, "1")
	os.Symlink(outside, filepath.Join(s.root, "a/20261124T120000Z", "link"))
	os.Symlink("20261124T120005Z", filepath.Join(s.root, "a", Latest))
	s.put("", "a", noon.Add(5*time.Second))
	x := s.index()
	s.refresh(x)
	for _, p := range []string{"", ".", "a", "..", "../x", "/", "a/20261124T120000Z/", "a/../a/20261124T120000Z", "a/latest", "a/20261124T120000Z/run.json"} {
		if err := x.Remove(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Remove(%q): %v", p, err)
		}
	}
	if err := x.Remove("a/20261124T120000Z"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Errorf("it followed a symlink: %v", err)
	}
	if got := s.leads("a/latest"); got != "20261124T120005Z" {
		t.Errorf("a symlink to another run leads to %q", got)
	}
}

func TestRemoveRefusesWhatGoesOn(t *testing.T) {
	s := newShelf(t)
	outer := s.put("", "a", noon)
	inner := s.put("a/20261124T120000Z/shrink/001", "s", noon)
	release, err := inner.Hold()
	if err != nil {
		t.Fatal(err)
	}
	x := s.index()
	s.refresh(x)
	for range 2 {
		if err := x.Remove("a/20261124T120000Z"); !errors.Is(err, ErrOngoing) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := outer.Info(); err != nil {
		t.Errorf("it was removed all the same: %v", err)
	}
	release()
	if err := x.Remove("a/20261124T120000Z"); err != nil {
		t.Error(err)
	}
}

func TestRemovalsAndLooksGoTogether(t *testing.T) {
	s := newShelf(t)
	const runs = 12
	for i := range runs {
		s.put("", "a", noon.Add(time.Duration(i)*time.Second))
	}
	x := s.index()
	all := paths(s.refresh(x))
	var working sync.WaitGroup
	var mu sync.Mutex
	removed := map[string]int{}
	for range 3 {
		working.Go(func() {
			for _, p := range all {
				err := x.Remove(p)
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Error(err)
				}
				if err == nil {
					mu.Lock()
					removed[p]++
					mu.Unlock()
				}
			}
		})
		working.Go(func() {
			for range runs {
				if _, err := x.Refresh(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	working.Wait()
	for _, p := range all {
		if removed[p] != 1 {
			t.Errorf("%s was removed %d times", p, removed[p])
		}
	}
	if entries, _ := os.ReadDir(s.root); len(entries) > 0 {
		t.Errorf("left behind: %v", entries)
	}
}

// generate makes n runs as a year of work leaves them, settled.
func generate(b testing.TB, n int) *shelf {
	s := newShelf(b)
	old := time.Now().Add(-time.Hour)
	for i := range n {
		r := s.put("", fmt.Sprintf("raftkv-register-%d", i%20), noon.Add(time.Duration(i)*time.Minute))
		s.write(r.File(ResultsFile), largeResults)
		if err := os.Chtimes(r.Dir, old, old); err != nil {
			b.Fatal(err)
		}
		os.Chtimes(r.File(InfoFile), old, old)
		os.Chtimes(r.File(ResultsFile), old, old)
	}
	return s
}

// largeResults are as large as those of a run usually are.
var largeResults = strings.Replace(someResults, `"note": "z"`, `"note": "`+strings.Repeat("why it is one, ", 900)+`"`, 1)

const aYear = 10_000

// BenchmarkFirstLook reads a store of ten thousand runs that no index has seen yet.
func BenchmarkFirstLook(b *testing.B) {
	s := generate(b, aYear)
	for b.Loop() {
		x := s.index()
		if l := s.refresh(x); len(l.Entries) != aYear {
			b.Fatalf("got %d runs", len(l.Entries))
		}
		x.root.Close() // keeps nothing
	}
}

// BenchmarkOpen opens such a store with the file that an earlier index has left.
func BenchmarkOpen(b *testing.B) {
	s := generate(b, aYear)
	x := s.index()
	s.refresh(x)
	x.Close()
	for b.Loop() {
		x := s.index()
		if l := s.refresh(x); len(l.Entries) != aYear {
			b.Fatalf("got %d runs", len(l.Entries))
		}
		x.root.Close()
	}
}

// BenchmarkNextLook looks at a store of which nothing has changed.
func BenchmarkNextLook(b *testing.B) {
	s := generate(b, aYear)
	x := s.index()
	s.refresh(x)
	for b.Loop() {
		s.refresh(x)
	}
}

// TestARunOfAnybodySaysNoMoreThanFits has a run whose files were made to hurt whoever
// keeps what they say, and shows it in every answer.
func TestARunOfAnybodySaysNoMoreThanFits(t *testing.T) {
	s := newShelf(t)
	long, many := strings.Repeat("é", 50_000), slices.Repeat([]string{strings.Repeat("x", 5_000)}, 1_000)
	r, err := Create(s.root, "a", noon)
	if err != nil {
		t.Fatal(err)
	}
	s.info(r, Info{
		System: long, Bug: long, Workload: long, Nemesis: many, Options: Options{Hypervisor: long}, Began: noon,
		Verdict: long, Trouble: many, Live: &Live{Kind: long, Note: long, Ops: make([]int, 100_000)},
	})
	var kinds []string
	for i := range 200_000 {
		kinds = append(kinds, fmt.Sprintf(`{"kind": "%d"}`, i))
	}
	s.write(r.File(ResultsFile), `{"verdict": "invalid", "anomalies": [`+strings.Join(kinds, ",")+`]}`)
	e := s.refresh(s.index()).Entries[0]
	if text, _ := json.Marshal(e); len(text) > 64<<10 {
		t.Errorf("it is kept in %d bytes", len(text))
	}
	if !utf8.ValidString(e.System) || !strings.HasPrefix(e.System, "éé") || !strings.HasSuffix(e.System, "é…") {
		t.Errorf("what is left of a name: %q", e.System)
	}
	if !strings.HasPrefix(e.Nemesis[0], "xxx") || e.Kinds[0] != "0" || e.Flaw != "" {
		t.Errorf("what is left: %+v", e)
	}
}

func TestWhatIsTooLargeIsAFlaw(t *testing.T) {
	s := newShelf(t)
	r := s.put("", "a", noon)
	s.write(r.File(ResultsFile), someResults)
	if err := os.Truncate(r.File(ResultsFile), maxRead+1); err != nil {
		t.Fatal(err)
	}
	if got := s.refresh(s.index()).Entries[0].Flaw; got != "results.json: it is larger than 16 MB" {
		t.Errorf("its flaw is %q", got)
	}
}

func TestDecodeOpensNothingButFiles(t *testing.T) {
	s := newShelf(t)
	r := s.put("", "a", noon)
	if err := syscall.Mkfifo(r.File(ResultsFile), 0o666); err != nil {
		t.Skip(err)
	}
	var into any
	err := s.index().Decode("a/20261124T120000Z/"+ResultsFile, &into)
	if err == nil || err.Error() != "results.json: it is no file" {
		t.Errorf("got %v", err)
	}
	if err := s.index().Decode("a/20261124T120000Z/none", &into); !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "a/") {
		t.Errorf("got %v", err)
	}
}
