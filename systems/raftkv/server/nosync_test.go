package server

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
)

// TestLogThatIsNotSyncedOutlivesItsProcessAndNotThePower: what the kernel has is there
// when the process is gone; what the disk has is older.
func TestLogThatIsNotSyncedOutlivesItsProcessAndNotThePower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "late")
		s := openStore(t, filepath.Join(t.TempDir(), "raft.db"))
		must(t, s.StoreLogs(entries(1, 3, 1)))
		open := func(want uint64) *lazyLog {
			t.Helper()
			l, err := openLazyLog(path, s)
			must(t, err)
			if got := bounds(t, l); got != [2]uint64{1, want} {
				t.Errorf("it holds %v, want 1 to %d", got, want)
			}
			return l
		}
		l := open(3)
		must(t, l.StoreLogs(entries(4, 9, 2)))
		must(t, l.StoreLogs(entries(10, 20, 2)))
		if got := bounds(t, s); got != [2]uint64{1, 3} {
			t.Errorf("the store holds %v already", got)
		}
		if got := bounds(t, l); got != [2]uint64{1, 20} {
			t.Errorf("it holds %v", got)
		}
		l.flushed.Stop() // the process is gone
		l = open(20)

		must(t, l.StoreLogs(entries(21, 30, 3)))
		l.flushed.Stop()
		b, err := os.ReadFile(path)
		must(t, err)
		must(t, os.WriteFile(path, b[:len(b)/2], 0o600)) // the power fails
		l = open(25)

		must(t, l.StoreLogs(entries(26, 30, 3)))
		must(t, l.DeleteRange(28, 30))
		must(t, l.DeleteRange(1, 1))
		if got := bounds(t, s); got != [2]uint64{2, 27} {
			t.Errorf("the store holds %v", got)
		}
		must(t, l.StoreLogs(entries(28, 29, 4)))
		must(t, l.Close())
		if got := bounds(t, s); got != [2]uint64{2, 29} {
			t.Errorf("the store holds %v", got)
		}
	})
}
