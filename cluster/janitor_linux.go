package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What a lab makes outside its namespaces does not go with them: control groups, and
// directories in which something is tried before a run. They have the lab's name, and
// outside waits a janitor, which removes them when the lab has ended, however it did.

// labName returns the name of the lab that a process is in: that of its PID namespace,
// which no other lab has at the same time.
func labName(proc string) (string, error) {
	link, err := os.Readlink(proc + "/ns/pid")
	if err != nil {
		return "", err
	}
	return "hacheck-" + strings.Trim(link, "pid:[]"), nil
}

// tempDir makes a directory for a while. Who has made it removes it; the janitor does if
// that one was killed.
func tempDir() (string, error) {
	name, err := labName("/proc/self")
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", name+"-")
	if err != nil {
		return "", &RefusedError{What: "a temporary directory", Err: err, Remedy: "set TMPDIR to a directory that you may write to"}
	}
	return dir, nil
}

// A janitor is a process outside the lab, with the end of a pipe that closes when
// this one ends.
type janitor struct {
	name    string // of the lab
	process *exec.Cmd
	pipe    io.Closer
}

// startJanitor starts one for the lab of an init, which nobody has waited for yet.
func startJanitor(init int) (*janitor, error) {
	name, err := labName(fmt.Sprintf("/proc/%d", init))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil, nil // it has ended already
	}
	if err != nil {
		return nil, fmt.Errorf("start the janitor: %w", err)
	}
	c := exec.Command("/proc/self/exe", roleJanitor, name)
	c.Args[0] = os.Args[0]
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}  // what ends the outer process's group is not for it
	if fd, err := unix.PidfdOpen(init, 0); err == nil { // there are none before Linux 5.3
		lab := os.NewFile(uintptr(fd), "lab")
		defer lab.Close()
		c.ExtraFiles = []*os.File{lab} // labFD
	}
	pipe, err := c.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the janitor: %w", err)
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("start the janitor: %w", err)
	}
	return &janitor{name, c, pipe}, nil
}

// finish lets the janitor do its work and waits for it. The lab has ended.
func (j *janitor) finish() error {
	if j == nil {
		return nil
	}
	_ = j.pipe.Close()
	if j.process.Wait() == nil {
		return nil
	}
	// Perhaps it was ended with this process's group, of which it is until it has a
	// session of its own.
	return cleanUp(j.name)
}

// labFD is where the janitor finds a descriptor of the init.
const labFD = 3

// runJanitor is the janitor: it waits until the outer process is gone, and with it
// the lab, and removes what has its name.
func runJanitor(name string, pipe io.Reader) int {
	signal.Ignore(passedOn...) // it ends by itself
	_, _ = io.Copy(io.Discard, pipe)
	// The kernel ends the lab only after it has closed the pipe, and all that is in the
	// lab before the init. Without a descriptor this is an error, and waits for nothing.
	lab := []unix.PollFd{{Fd: labFD, Events: unix.POLLIN}}
	for until := time.Now().Add(killLimit); ; {
		_, err := unix.Poll(lab, int(max(0, time.Until(until).Milliseconds())))
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if cleanUp(name) != nil {
		return exitFailed
	}
	return 0
}

// cleanUp removes what has the name of a lab that has ended.
func cleanUp(name string) error {
	var errs []error
	for _, h := range hierarchies() {
		for _, parent := range h.parents() {
			errs = append(errs, removeGroups(filepath.Join(parent, name)))
		}
	}
	left, err := filepath.Glob(filepath.Join(os.TempDir(), name+"-*"))
	errs = append(errs, err)
	for _, dir := range left {
		errs = append(errs, os.RemoveAll(dir))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up after the lab: %w", err)
	}
	return nil
}
