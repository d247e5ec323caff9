package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestRunsThatBeginTogetherGetDirectoriesOfTheirOwn(t *testing.T) {
	root := t.TempDir()
	const runs = 20
	dirs := make([]string, runs)
	var creating sync.WaitGroup
	for i := range runs {
		creating.Go(func() {
			r, err := Create(root, "raftkv-register-partition", noon)
			if err != nil {
				t.Error(err)
				return
			}
			dirs[i] = r.Dir
			if err := r.Link(); err != nil {
				t.Error(err)
			}
		})
	}
	creating.Wait()
	seen := map[string]bool{}
	for _, dir := range dirs {
		if seen[dir] {
			t.Errorf("two runs have the directory %s", dir)
		}
		seen[dir] = true
	}
	parent := filepath.Join(root, "raftkv-register-partition")
	if want := filepath.Join(parent, "20261124T120000Z"); !seen[want] {
		t.Errorf("no run is in %s: %v", want, dirs)
	}
	for _, link := range []string{filepath.Join(root, Latest), filepath.Join(parent, Latest)} {
		dir, err := filepath.EvalSymlinks(link)
		if err != nil || !seen[dir] {
			t.Errorf("%s leads to %q, %v", link, dir, err)
		}
	}
	// What linking needs meanwhile is gone.
	for _, dir := range []string{root, parent} {
		if left, _ := filepath.Glob(filepath.Join(dir, ".latest-*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestLatestFollowsTheLastRun(t *testing.T) {
	root := t.TempDir()
	for i, name := range []string{"a", "b", "a"} {
		r, err := Create(root, name, noon.Add(time.Duration(i)*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Link(); err != nil {
			t.Fatal(err)
		}
		for _, link := range []string{filepath.Join(root, Latest), filepath.Join(root, name, Latest)} {
			if dir, _ := filepath.EvalSymlinks(link); dir != r.Dir {
				t.Errorf("%s leads to %s, want %s", link, dir, r.Dir)
			}
		}
	}
	if to, _ := os.Readlink(filepath.Join(root, Latest)); to != filepath.Join("a", "20261124T120002Z") {
		t.Errorf("the symlink says %q, which is not relative", to)
	}
}

func TestNamesAreHarmless(t *testing.T) {
	for name, want := range map[string]string{
		"raftkv-register-partition:ring,kill:leader": "raftkv-register-partition-ring+kill-leader",
		"../../etc/passwd":                           "etc-passwd",
		"..":                                         "run",
		"":                                           "run",
		"-rf":                                        "rf",
		"a b\nc":                                     "a-b-c",
	} {
		if got := FileName(name); strings.Trim(got, "-") != want {
			t.Errorf("FileName(%q) = %q, want %q", name, got, want)
		}
	}
	long := FileName(strings.Repeat("x", 500))
	if len(long) > 200 || long == FileName(strings.Repeat("x", 501)) {
		t.Errorf("a long name became %q", long)
	}
}

func TestAFileAppearsWholeOrNotAtAll(t *testing.T) {
	r, err := Create(t.TempDir(), "a", noon)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string, err error) error {
		return r.Write("f", func(w io.Writer) error {
			io.WriteString(w, text)
			if b, readErr := os.ReadFile(r.File("f")); readErr == nil && strings.Contains(string(b), text) {
				t.Errorf("%q is seen before it is whole", text)
			}
			return err
		})
	}
	if err := write("first", nil); err != nil {
		t.Fatal(err)
	}
	full := errors.New("disk full")
	if err := write("second", full); !errors.Is(err, full) || !strings.Contains(err.Error(), r.File("f")) {
		t.Errorf("got %v, want the error and the file's name", err)
	}
	if got, _ := os.ReadFile(r.File("f")); string(got) != "first" {
		t.Errorf("the file is %q after a failure, want the old one", got)
	}
	entries, _ := os.ReadDir(r.Dir)
	if len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	if stat, _ := os.Stat(r.File("f")); stat.Mode().Perm() != 0o644 {
		t.Errorf("mode %v: others cannot read it", stat.Mode())
	}
}

func TestAHistoryIsNeverOverwritten(t *testing.T) {
	r, err := Create(t.TempDir(), "a", noon)
	if err != nil {
		t.Fatal(err)
	}
	f, err := r.CreateFile(HistoryFile)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := r.CreateFile(HistoryFile); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want that it exists", err)
	}
}

func TestARunIsFoundByItsHistory(t *testing.T) {
	r, err := Create(t.TempDir(), "a", noon)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(r.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory without a history: got %v, want that it does not exist", err)
	}
	f, err := r.CreateFile(HistoryFile)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if found, err := Open(r.Dir); err != nil || found.Dir != r.Dir {
		t.Errorf("got %v, %v", found, err)
	}
}

func TestInfoComesBackAsItWasWritten(t *testing.T) {
	r, err := Create(t.TempDir(), "a", noon)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Info(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before it is written: %v", err)
	}
	ended := noon.Add(time.Minute)
	want := Info{
		System: "raftkv", Bug: "stale-read", Workload: "register", Nemesis: []string{"partition:ring"},
		Options: Options{
			Nodes: 5, Concurrency: 10, TimeLimit: Duration(20 * time.Second), Interval: Duration(1500 * time.Millisecond),
			Rate: 12.5, Keys: 5, Seed: 1<<64 - 1, Heal: "kick", Policy: "adaptive", Unguarded: true,
		},
		Schedule: []Scheduled{
			{At: "5s", Fault: "kill:leader", For: "2s"}, {On: "during member-change", Fault: "clock", Detail: json.RawMessage("null")},
		},
		Replays: "store/x", LeftOut: []string{"disk: no /dev/fuse"}, Limits: []string{"raftkv does not claim to bear disk:rollback"},
		Repeat:   []string{"run", "--seed", "18446744073709551615"},
		Versions: Versions{Hacheck: "v1.2.3", Go: "go1.26", OS: "linux/amd64", Kernel: "6.1"},
		Began:    noon, Ended: &ended, Verdict: "invalid", Trouble: []string{"n1 & n2 <stuck>"},
	}
	if err := r.WriteInfo(want); err != nil {
		t.Fatal(err)
	}
	got, err := r.Info()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	text, _ := os.ReadFile(r.File(InfoFile))
	for _, s := range []string{`"time_limit": "20s"`, `"seed": 18446744073709551615`, `n1 & n2 <stuck>`} {
		if !strings.Contains(string(text), s) {
			t.Errorf("%s is not in\n%s", s, text)
		}
	}
}

func TestInfoThatIsNoneIsRefusedByName(t *testing.T) {
	r := &Run{Dir: t.TempDir()}
	if err := os.WriteFile(r.File(InfoFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Info(); err == nil || !strings.Contains(err.Error(), r.File(InfoFile)) {
		t.Errorf("got %v, want an error that names the file", err)
	}
}

func TestWritableTellsWhyNot(t *testing.T) {
	root := t.TempDir()
	if err := Writable(filepath.Join(root, "new", "store")); err != nil {
		t.Errorf("a directory that can be made: %v", err)
	}
	if entries, _ := os.ReadDir(filepath.Join(root, "new", "store")); len(entries) > 0 {
		t.Errorf("left behind: %v", entries)
	}
	file := filepath.Join(root, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "below")} {
		if err := Writable(path); err == nil {
			t.Errorf("%s is called writable", path)
		}
	}
	if os.Geteuid() == 0 {
		return // root may write everywhere
	}
	locked := filepath.Join(root, "locked")
	if err := os.Mkdir(locked, 0o555); err != nil {
		t.Fatal(err)
	}
	if err := Writable(locked); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v, want that it is not permitted", err)
	}
}

func ExampleFileName() {
	fmt.Println(FileName("raftkv-register-partition:ring,kill"))
	// Output: raftkv-register-partition-ring+kill
}
