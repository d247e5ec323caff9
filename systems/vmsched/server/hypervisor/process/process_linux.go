package process

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"unsafe"
)

// What package syscall has no names for. Both numbers are the same on all machines.
const (
	sysPidfdSendSignal = 424
	sysPidfdOpen       = 434
)

// places returns the places of all guests in this network namespace.
//
// The kernel shows some of its table at a time, and may leave one out if another goes
// meanwhile. So it is read until nothing is new.
func places() ([]place, error) {
	var found []place
	for {
		b, err := os.ReadFile("/proc/self/net/unix")
		if err != nil {
			return nil, fmt.Errorf("look for guests: %w", err)
		}
		news := false
		for line := range strings.Lines(string(b)) {
			_, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), prefix)
			p, good := parsePlace(prefix + name)
			if ok && good && !slices.Contains(found, p) {
				found, news = append(found, p), true
			}
		}
		if !news {
			return found, nil
		}
	}
}

// A process holds on to one, whatever becomes of its number.
type process struct {
	pid    int
	fd     *os.File // see pidfd_open(2); closed when it is gone
	exited chan struct{}
}

// open holds on to the process that has a number now. Who does must watch it, or release it.
func open(pid int) (*process, error) {
	fd, _, errno := syscall.Syscall(sysPidfdOpen, uintptr(pid), 0, 0)
	if errno != 0 {
		return nil, fmt.Errorf("hold process %d: %w", pid, errno)
	}
	return &process{pid: pid, fd: os.NewFile(fd, "pidfd"), exited: make(chan struct{})}, nil
}

// release gives it up, unwatched.
func (p *process) release() { p.fd.Close() }

// hold holds on to the guest at a place; nil: it is gone.
//
// A process that has such a name is alive, and its number is not another's. If it has one still
// when its number was looked up, that was the one. It may be in another state by then.
func hold(at place) (*process, error) {
	p, err := open(at.PID)
	if errors.Is(err, syscall.ESRCH) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	found, err := places()
	if err != nil || !slices.ContainsFunc(found, func(q place) bool { return q.PID == at.PID && q.Host == at.Host && q.VM == at.VM }) {
		p.release()
		return nil, err
	}
	return p, nil
}

// watch waits until it has ended, which a parent is told, and anybody else by this alone. It
// takes a thread as long.
func (p *process) watch() {
	type pollfd struct {
		fd      int32
		events  int16
		revents int16
	}
	const pollin = 1
	fd := p.fd.Fd()
	for {
		poll := pollfd{fd: int32(fd), events: pollin}
		_, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&poll)), 1, 0, 0, 0, 0)
		if errno == 0 && poll.revents&pollin != 0 {
			break
		}
	}
	close(p.exited)
	p.fd.Close()
}

// signal sends it one. To one that is gone that is no error.
func (p *process) signal(s syscall.Signal) error {
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return fmt.Errorf("signal process %d: %w", p.pid, err)
	}
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall6(sysPidfdSendSignal, fd, uintptr(s), 0, 0, 0, 0)
	})
	switch {
	case errno == syscall.ESRCH, p.gone(): // and so the descriptor is closed
		return nil
	case err == nil && errno != 0:
		err = errno
	}
	if err != nil {
		return fmt.Errorf("signal process %d: %w", p.pid, err)
	}
	return nil
}

// pair returns both ends of a connection: one for us, and one for a child.
func pair() (net.Conn, *os.File, error) {
	fd, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to a child: %w", err)
	}
	ours, its := os.NewFile(uintptr(fd[0]), "parent"), os.NewFile(uintptr(fd[1]), "child")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		its.Close()
		return nil, nil, fmt.Errorf("connect to a child: %w", err)
	}
	return conn, its, nil
}
