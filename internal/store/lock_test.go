package store

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// holdVariable tells this program that it is to hold a run until it is killed.
const holdVariable = "HACHECK_TEST_HOLD"

// held says whether somebody holds the run in a directory.
func held(dir string) bool {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false
	}
	defer root.Close()
	return Held(root, ".")
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdVariable); dir != "" {
		if _, err := (&Run{Dir: dir}).Hold(); err != nil {
			panic(err)
		}
		os.Stdout.WriteString("held\n")
		select {}
	}
	os.Exit(m.Run())
}

func TestARunIsHeldUntilItIsReleased(t *testing.T) {
	r, err := Create(t.TempDir(), "a", noon)
	if err != nil {
		t.Fatal(err)
	}
	if held(r.Dir) {
		t.Error("it is held by nobody")
	}
	release, err := r.Hold()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // to look changes nothing
		if !held(r.Dir) {
			t.Error("it does not show that it is held")
		}
	}
	for range 2 {
		if err := release(); err != nil {
			t.Error(err)
		}
	}
	if held(r.Dir) {
		t.Error("it was released")
	}
	if left, _ := os.ReadDir(r.Dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestAKilledProcessHoldsNothing kills another process that holds a run.
func TestAKilledProcessHoldsNothing(t *testing.T) {
	s := newShelf(t)
	r, err := Create(s.root, "a", noon)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	holder := exec.Command(self)
	holder.Env = append(os.Environ(), holdVariable+"="+r.Dir)
	says, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(says).ReadString('\n'); err != nil || line != "held\n" {
		t.Fatalf("it says %q, %v", line, err)
	}
	if !held(r.Dir) {
		t.Error("another process holds it, which does not show")
	}
	if err := r.WriteInfo(Info{}); err != nil {
		t.Fatal(err)
	}
	x := s.index()
	later := time.Now().Add(time.Hour) // all is settled
	x.now = func() time.Time { return later }
	if got := s.refresh(x).Entries[0].State; got != Running {
		t.Errorf("it is %q", got)
	}
	holder.Process.Kill()
	holder.Wait()
	if _, err := os.Stat(r.File(HoldFile)); err != nil {
		t.Errorf("what it has left behind: %v", err)
	}
	if held(r.Dir) {
		t.Error("a process that was killed holds it")
	}
	if got := s.refresh(x).Entries[0].State; got != Dead { // no file of it has changed
		t.Errorf("it is %q", got)
	}
}

func TestWhatIsNoLockHoldsNothing(t *testing.T) {
	r, err := Create(t.TempDir(), "a", noon)
	if err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func(path string) error{
		"a directory": func(path string) error { return os.Mkdir(path, 0o777) },
		"a symlink":   func(path string) error { return os.Symlink(filepath.Join(r.Dir, "nothing"), path) },
		"a file":      func(path string) error { return os.WriteFile(path, nil, 0o666) },
	} {
		path := r.File(HoldFile)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if held(r.Dir) {
			t.Errorf("%s holds it", name)
		}
		os.Remove(path)
	}
	if held(filepath.Join(r.Dir, "none")) {
		t.Error("a run that is not there is held")
	}
}
