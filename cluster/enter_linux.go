package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// The lab is a world of its own. Enter runs this program again as the first
// process of new PID, mount and network namespaces, which a new user namespace
// makes it the owner of; as root it needs no such leave. That first process is a
// tiny init: it starts the program once more, as the tester, buries the dead, and
// ends when the tester does. The kernel then kills whatever lives in the PID
// namespace and takes down the rest: nothing outlives the tester, however it dies.
//
// Control groups and temporary files belong to nobody who dies: a janitor outside
// removes those.
//
//	hacheck run …                 outside; only waits. If it dies, the init is killed
//	├ hacheck lab-janitor …       see janitor
//	└ hacheck lab-init run …      PID 1
//	  ├ hacheck lab-tester run …  the lab, the clients, the verdict
//	  ├ hacheck lab-disks         where nodes have disks; see fuseDisks
//	  └ …                         the nodes' processes
const (
	roleInit   = "lab-init"
	roleTester = "lab-tester"
	roleDoctor = "lab-doctor"
	// roleJanitor is that of a process beside the outer one: see [janitor].
	roleJanitor = "lab-janitor"
	// roleGlutton is that of a process on which limits are tried: see [tryResources].
	roleGlutton = "lab-glutton"
	// roleDisks is that of a process beside the tester: see [fuseDisks].
	roleDisks = "lab-disks"
)

// inside says that this process is the tester.
var inside bool

// Inside says whether this process is in a lab's namespaces, as the tester.
func Inside() bool { return inside }

// Main plays the role that this program was run again for, if it was. It comes
// first in main, and in the TestMain of tests that use the lab. Where it has
// handled everything, the process is to exit with the given status.
func Main() (handled bool, exit int) {
	if len(os.Args) < 2 {
		return false, 0
	}
	role, args := os.Args[1], os.Args[2:]
	switch role {
	case roleInit:
		return true, runInit(args)
	case roleDoctor:
		inside = true
		Listening() // it has nothing to do with signals but to end
		return true, ExitStatus(examine(os.Stdout))
	case roleJanitor:
		return true, runJanitor(args[0], os.Stdin)
	case roleGlutton:
		return true, runGlutton()
	case roleDisks:
		return true, serveDisks()
	case roleTester:
		inside = true
		unix.CloseOnExec(reportFD)
		os.Args = append(os.Args[:1:1], args...)
	}
	return false, 0
}

// Listening says that the tester now does with signals whatever it wants to. It has to
// say so once: until then those that ask for an end are held. It would die of one that
// came earlier, and the init, which is the first process of its namespace, would never
// see it. Outside it does nothing.
func Listening() {
	if inside {
		listening()
	}
}

// listening closes the pipe that says so; see [enter].
var listening = sync.OnceFunc(func() { _ = unix.Close(reportFD) })

// exitFailed is the status of a tester that could not tell its own.
const exitFailed = 255

// told marks an exit status as meant. Go programs that crash exit with 2, and that
// must not pass for what somebody else means by it.
const told = 0x40

// ExitStatus returns the status to exit with so that [Enter] returns exit: 0 to 15,
// or 240 to 255. Outside it is just that. A tester that exits with any other has
// crashed, and Enter returns 255.
func ExitStatus(exit int) int {
	if inside {
		return exit ^ told
	}
	return exit
}

// exitOf is the inverse of ExitStatus.
func exitOf(status int) int {
	if exit := status ^ told; exit < 16 || exit >= 240 {
		return exit
	}
	return exitFailed
}

// passedOn are the signals that ask for an end. They are for the tester, wherever
// they arrive.
var passedOn = []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT}

// Enter runs this program again with args, inside new namespaces, where [Inside]
// is true, and returns its exit status. It passes on the signals that ask for an
// end, as soon as the tester is [Listening]. An error that a machine's policy causes
// is a [RefusedError].
//
// When ctx ends, everything inside is killed.
func Enter(ctx context.Context, args []string) (exit int, err error) {
	return enter(ctx, os.Stdout, append([]string{roleTester}, args...))
}

func enter(ctx context.Context, stdout io.Writer, args []string) (exit int, err error) {
	// The kernel kills the child when the thread that made it ends; so this one
	// must not, and would if some other goroutine were to spoil it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// The terminal's Ctrl-C is for this process, which passes it on: otherwise it
	// would come twice.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, passedOn...)
	defer signal.Stop(signals)
	// A run that measures time cannot pause, so Ctrl-Z does not seem to.
	signal.Ignore(syscall.SIGTSTP)
	defer signal.Reset(syscall.SIGTSTP)
	hungUp := false

	child, report, err := startInit(ctx, stdout, args)
	if err != nil {
		return exitFailed, err
	}
	defer report.Close()
	janitor, err := startJanitor(child.Process.Pid)
	if err != nil {
		// Without one, only a lab that is killed may leave anything.
		fmt.Fprintln(os.Stderr, "hacheck:", err)
	}
	heard, done := make(chan struct{}), make(chan error, 1)
	go func() {
		trouble, _ := io.ReadAll(report) // it is closed by the tester, or by the init's end
		close(heard)
		err := child.Wait()
		if len(trouble) > 0 {
			err = refusal(trouble)
		}
		done <- err
	}()
	var passing <-chan os.Signal // until somebody hears them, signals wait
	for {
		select {
		case <-heard:
			passing, heard = signals, nil
		case s := <-passing:
			// A terminal that closes says so more than once: the kernel does, and the shell.
			if s != syscall.SIGHUP || !hungUp {
				_ = child.Process.Signal(s)
			}
			hungUp = hungUp || s == syscall.SIGHUP
		case err := <-done:
			if _, ok := errors.AsType[*exec.ExitError](err); ok {
				err = nil
			}
			if err := janitor.finish(); err != nil {
				fmt.Fprintln(os.Stderr, "hacheck:", err)
			}
			if status := child.ProcessState; status != nil && status.Exited() {
				return status.ExitCode(), err
			}
			return exitFailed, errors.Join(err, ctx.Err(), errKilled)
		}
	}
}

var errKilled = errors.New("the lab was killed")

// startInit starts the init. What it reports before it starts the tester comes
// through the pipe. The tester has it then, and closes it when it is listening.
func startInit(ctx context.Context, stdout io.Writer, args []string) (*exec.Cmd, *os.File, error) {
	root := os.Geteuid() == 0
	c, report, err := tryInit(ctx, stdout, args, !root)
	if root && errors.Is(err, unix.EPERM) { // root of a container, perhaps: then as anybody else
		c, report, err = tryInit(ctx, stdout, args, true)
	}
	if err != nil {
		what := "new namespaces"
		if !root {
			what = "user namespaces"
		}
		return nil, nil, &RefusedError{What: what, Err: err, Remedy: namespaceRemedy()}
	}
	return c, report, nil
}

func tryInit(ctx context.Context, stdout io.Writer, args []string, user bool) (*exec.Cmd, *os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer w.Close()
	c := exec.CommandContext(ctx, "/proc/self/exe", append([]string{roleInit}, args...)...)
	c.Args[0] = os.Args[0]
	c.Stdout, c.Stderr = stdout, os.Stderr
	c.ExtraFiles = []*os.File{w} // reportFD
	c.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true,
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
	}
	if user {
		c.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	if err := c.Start(); err != nil {
		r.Close()
		return nil, nil, err
	}
	return c, r, nil
}

// reportFD is where the init writes why it cannot begin, and what the tester closes.
const reportFD = 3

// trouble is what the init writes there.
type trouble struct{ What, Err, Remedy string }

// refusal reads it.
func refusal(b []byte) error {
	var t trouble
	if err := json.Unmarshal(b, &t); err != nil {
		return fmt.Errorf("lab: %s", bytes.TrimSpace(b))
	}
	return &RefusedError{What: t.What, Err: errors.New(t.Err), Remedy: t.Remedy}
}

// namespaceRemedy looks for the setting that forbids namespaces.
func namespaceRemedy() string {
	for _, setting := range []struct{ path, forbids, remedy string }{
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"},
		{"/proc/sys/user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=15000"},
		{"/proc/sys/user/max_net_namespaces", "0", "sudo sysctl -w user.max_net_namespaces=15000"},
		{"/proc/sys/user/max_pid_namespaces", "0", "sudo sysctl -w user.max_pid_namespaces=15000"},
		{"/proc/sys/user/max_mnt_namespaces", "0", "sudo sysctl -w user.max_mnt_namespaces=15000"},
	} {
		if b, err := os.ReadFile(setting.path); err == nil && strings.TrimSpace(string(b)) == setting.forbids {
			return setting.remedy
		}
	}
	return privilegedRemedy()
}

// privilegedRemedy is what remains where no setting is known to forbid something.
func privilegedRemedy() string {
	if os.Geteuid() == 0 {
		return "if this is a container, start it with --privileged"
	}
	return "run the same command with sudo; if this is a container, start it with --privileged"
}

// runInit is the init: PID 1 of the lab.
func runInit(args []string) int {
	report := os.NewFile(reportFD, "report")
	unix.CloseOnExec(reportFD)
	if abandoned(reportFD) {
		return exitFailed
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, passedOn...)
	// The lab is a background job to the terminal, which may forbid those to write;
	// and nobody reading any more what it says is no reason to end. The tester
	// inherits the former, and decides for itself about the latter.
	signal.Ignore(syscall.SIGTTOU, syscall.SIGPIPE)
	tester, err := beginWorld(args, report)
	if err != nil {
		t := trouble{What: "the lab's namespaces", Err: err.Error(), Remedy: namespaceRemedy()}
		if refused, ok := errors.AsType[*RefusedError](err); ok {
			t = trouble{What: refused.What, Err: refused.Err.Error(), Remedy: refused.Remedy}
		}
		_ = json.NewEncoder(report).Encode(t)
		return exitFailed
	}
	report.Close()
	go func() {
		for s := range signals {
			_ = syscall.Kill(tester, s.(syscall.Signal))
		}
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			fmt.Fprintln(os.Stderr, "hacheck: the lab's init lost the tester:", err)
			return exitFailed
		case pid == tester && status.Signaled():
			fmt.Fprintf(os.Stderr, "hacheck: the tester was killed by signal %d (%v)\n", status.Signal(), status.Signal())
			return exitFailed
		case pid == tester && status.Exited():
			return exitOf(status.ExitStatus())
		}
	}
}

// abandoned says whether nobody is at the other end of a pipe any more. The outer
// process may have been killed before the kernel knew that the init is to die with it.
func abandoned(fd int) bool {
	polled := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(polled, 0)
	return err == nil && n > 0 && polled[0].Revents&unix.POLLERR != 0
}

// beginWorld sets the namespaces up and starts the tester in them.
func beginWorld(args []string, report *os.File) (pid int, err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		// The namespaces were granted but not the rights in them: so does Ubuntu.
		return 0, &RefusedError{What: "mounts in namespaces", Err: err, Remedy: namespaceRemedy()}
	}
	// Then /proc shows the lab's processes. Containers that hide parts of theirs
	// refuse it; nothing here depends on it.
	_ = unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if err := linkUp("lo"); err != nil {
		return 0, &RefusedError{What: "network set-up in namespaces", Err: err, Remedy: namespaceRemedy()}
	}
	tester, err := os.StartProcess("/proc/self/exe", append(os.Args[:1:1], args...), &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, report}, // reportFD
	})
	if err != nil {
		return 0, fmt.Errorf("start the tester: %w", err)
	}
	return tester.Pid, nil
}
