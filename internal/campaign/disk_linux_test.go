package campaign

import (
	"errors"
	"os"
	"syscall"
	"testing"
)

// TestAFullDisk has a real one: small, and in memory.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can mount a disk that is small")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	// The server believes that it may have more than there is: another one fills the disk.
	o := ServerOptions{Dir: dir, MaxStore: 1 << 30}
	s := serve(t, o)
	c := open(t, Access{Server: s}, Options{})
	took, err := fill(t, c)
	if !errors.Is(err, ErrFull) || took == 0 {
		t.Fatalf("after %d: %v", took, err)
	}
	<-s.Failed()
	if !errors.Is(s.Err(), ErrFull) {
		t.Errorf("%v", s.Err())
	}
	c.Close()
	s.Close()
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	c = open(t, Access{Server: serve(t, o)}, Options{})
	jobs, err := c.Jobs(t.Context())
	if err != nil || len(jobs) < took {
		t.Fatalf("of %d jobs %d are there, %v", took, len(jobs), err)
	}
	if _, _, err := c.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	work(t, c, WorkOptions{Jobs: 2, Perform: perform})
	collect(t, c, len(jobs))
}
