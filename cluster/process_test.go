//go:build linux

package cluster

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hacheck/hacheck/cluster/clock"
)

// gone says whether there is no such process.
func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// pidsOf returns the processes of a node, once there are so many.
func pidsOf(t *testing.T, l *Local, node string, want int) []int {
	t.Helper()
	at, err := l.find(node)
	must(t, err)
	var pids []int
	eventually(t, fmt.Sprintf("%s has %d processes", node, want), func() bool {
		found, err := l.members(at)
		must(t, err)
		pids = nil
		for _, m := range found {
			pids = append(pids, m.pid)
		}
		return len(pids) == want
	})
	return pids
}

func state(t *testing.T, pid int) string {
	t.Helper()
	m, err := readMember(fmt.Sprintf("/proc/%d", pid))
	must(t, err)
	return m.state
}

// TestKillReachesWhatLeftItsSession: of the node and no other.
func TestKillReachesWhatLeftItsSession(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 2})
	startPlay(t, l, "n1", "stubborn", "here I stand", "child")
	startPlay(t, l, "n2", "stubborn", "here I stand", "child")
	one, two := pidsOf(t, l, "n1", 2), pidsOf(t, l, "n2", 2)
	main, running := l.Process("n1")
	if !running || !slices.Contains(one, main.PID) || main.State == "" {
		t.Errorf("it runs %v, and is said to run %+v (%v)", one, main, running)
	}
	must(t, l.Kill("n1"))
	for _, pid := range one {
		if m, err := readMember(fmt.Sprintf("/proc/%d", pid)); err == nil && !m.dead() {
			t.Errorf("process %d was killed, and is %s", pid, m.state)
		}
	}
	eventually(t, "the numbers of the dead are free", func() bool { return gone(one[0]) && gone(one[1]) })
	select {
	case <-l.Exited("n1"):
	default:
		t.Error("it was killed, and no exit was seen")
	}
	if p, running := l.Process("n1"); running {
		t.Errorf("it was killed, and is said to run %+v", p)
	}
	for _, pid := range two {
		if gone(pid) {
			t.Errorf("process %d of another node is gone", pid)
		}
	}

	// The child of one that ended by itself is killed as well, and so is that of one
	// that was stopped.
	startPlay(t, l, "n1", "stubborn", "here I stand", "child")
	main, _ = l.Process("n1")
	child := pidsOf(t, l, "n1", 2)
	must(t, syscall.Kill(main.PID, syscall.SIGKILL))
	<-l.Exited("n1")
	if err := l.Wipe("n1"); err == nil || !strings.Contains(err.Error(), "left") {
		t.Errorf("the disk was wiped under a child that lives: %v", err)
	}
	must(t, l.Kill("n1"))
	eventually(t, "the orphan is gone", func() bool { return gone(child[0]) && gone(child[1]) })

	startPlay(t, l, "n1", "family", "all are here")
	all := pidsOf(t, l, "n1", 2)
	must(t, l.Stop(t.Context(), "n1")) // its child does not do as it is told
	eventually(t, "both are gone", func() bool { return gone(all[0]) && gone(all[1]) })
	if log := strings.Join(l.Log("n1", 2), "\n"); !strings.Contains(log, "signal: terminated") {
		t.Errorf("it was not asked to end:\n%s", log)
	}
}

// TestOneProcessIsKilledAlone: a child, or the one that was started, which can then be
// started again beside what it has left.
func TestOneProcessIsKilledAlone(t *testing.T) {
	if !inLab(t) {
		return
	}
	for name, o := range map[string]Options{
		"bare":     {Nodes: 2},
		"equipped": {Nodes: 2, Disks: true, Resources: true, Clocks: clock.Supported() == nil},
	} {
		t.Run(name, func(t *testing.T) { killOneAlone(t, newLab(t, o)) })
	}
}

func killOneAlone(t *testing.T, l *Local) {
	t.Helper()
	other := func(all []int, than int) int { return all[1-slices.Index(all, than)] }
	lives := func(pid int) bool {
		m, err := readMember(fmt.Sprintf("/proc/%d", pid))
		return err == nil && !m.dead()
	}
	startPlay(t, l, "n1", "stubborn", "here I stand", "child")
	startPlay(t, l, "n2", "stubborn", "here I stand")
	main, _ := l.Process("n1")
	foreign, _ := l.Process("n2")
	child := other(pidsOf(t, l, "n1", 2), main.PID)
	for _, pid := range []int{foreign.PID, os.Getpid(), 1, 1 << 22, 0, -main.PID} {
		if err := l.KillOne("n1", pid); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("none of the number %d", pid)) {
			t.Errorf("process %d of n1 was killed: %v", pid, err)
		}
	}
	if err := l.KillOne("n3", main.PID); err == nil {
		t.Error("a process was killed on no node")
	}

	must(t, l.KillOne("n1", main.PID))
	select {
	case <-l.Exited("n1"):
	default:
		t.Error("it was killed, and no exit was seen")
	}
	if p, running := l.Process("n1"); running || lives(main.PID) || !lives(child) || !lives(foreign.PID) {
		t.Errorf("it is said to run %+v, %v; its child lives: %v", p, running, lives(child))
	}

	startPlay(t, l, "n1", "echo", "listening")
	must(t, dial(t, l.Nodes()[0]).round(5*time.Second))
	again, running := l.Process("n1")
	if all := pidsOf(t, l, "n1", 2); !running || again.PID == main.PID || other(all, again.PID) != child {
		t.Errorf("it was started again as %+v, and all that runs is %v", again, all)
	}

	must(t, l.Pause("n1")) // who stands dies as well
	must(t, l.KillOne("n1", child))
	must(t, l.Resume("n1"))
	if p, running := l.Process("n1"); !running || p.PID != again.PID || lives(child) {
		t.Errorf("its child was killed, and it is %+v, %v", p, running)
	}
	must(t, dial(t, l.Nodes()[0]).round(5*time.Second))
	if err := l.KillOne("n1", child); err == nil {
		t.Error("it was killed twice")
	}
	must(t, l.KillOne("n1", again.PID))
	must(t, l.Wipe("n1")) // nothing is left there
}

// TestWhoIsSeenDeadCanBeStartedAgain: at once, though its end may not be noted yet.
func TestWhoIsSeenDeadCanBeStartedAgain(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 1})
	for range 200 {
		must(t, l.Start("n1", Command{Path: "/bin/true"}))
		eventually(t, "it is dead", func() bool { _, running := l.Process("n1"); return !running })
	}
}

func TestPausedTwiceRunsWhenResumedTwice(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 2})
	startPlay(t, l, "n1", "stubborn", "here I stand", "child")
	startPlay(t, l, "n2", "echo", "listening")
	all := pidsOf(t, l, "n1", 2)
	stopped := func() (n int) {
		for _, pid := range all {
			if state(t, pid) == "T" {
				n++
			}
		}
		return n
	}
	must(t, l.Pause("n1"))
	if stopped() != 2 {
		t.Error("it is paused, and a process of it runs")
	}
	if p, running := l.Process("n1"); !running || p.State != "T" || !slices.Contains(all, p.PID) {
		t.Errorf("it is paused, and is said to be %+v", p)
	}
	if p, _ := l.Process("n2"); p.State == "T" {
		t.Error("another node is paused, too")
	}
	must(t, l.Pause("n1"))
	must(t, l.Resume("n1"))
	if stopped() != 2 {
		t.Error("it was paused twice, and runs when resumed once")
	}
	must(t, l.Resume("n1"))
	eventually(t, "all run again", func() bool { return stopped() == 0 })
	if err := l.Resume("n1"); err == nil {
		t.Error("what is not paused was resumed without an error")
	}

	// One that is stopped dies all the same, and what starts then is not stopped.
	must(t, l.Pause("n1"))
	must(t, l.Kill("n1"))
	startPlay(t, l, "n1", "echo", "listening")
	must(t, dial(t, l.Nodes()[0]).round(5*time.Second))
	must(t, l.Pause("n1")) // it is one more, and this process's first
	must(t, l.Resume("n1"))
	if p, _ := l.Process("n1"); p.State != "T" {
		t.Errorf("one of two pauses ended, and the process is %+v", p)
	}
	must(t, l.Resume("n1"))
	must(t, dial(t, l.Nodes()[0]).round(5*time.Second))

	// One that cannot hear that it is to stop is killed when time is up.
	must(t, l.Pause("n1"))
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	must(t, l.Stop(short, "n1"))
	must(t, l.Resume("n1"))

	must(t, l.Pause("n1")) // nobody is there
	must(t, l.Resume("n1"))
	for _, err := range []error{l.Pause("n3"), l.Resume("n3"), l.Wipe("n3")} {
		if err == nil || !strings.Contains(err.Error(), `no such node: "n3"`) {
			t.Errorf("got %v", err)
		}
	}
}

// TestWhoIsAboutToExecuteAProgramIsPaused: vfork keeps a parent from stopping until
// its child has.
func TestWhoIsAboutToExecuteAProgramIsPaused(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 1})
	must(t, l.Start("n1", Command{Path: "/bin/sh", Args: []string{"-c", "echo ready; while :; do /bin/true; done"}}))
	eventually(t, "it is ready", func() bool { return slices.Contains(l.Log("n1", 1), "ready") })
	for range 30 {
		must(t, l.Pause("n1"))
		found, err := l.members(0)
		must(t, err)
		for _, m := range found {
			if !m.stopped() {
				t.Errorf("it is paused, and process %d is %s", m.pid, m.state)
			}
		}
		must(t, l.Resume("n1"))
	}
}

// TestClosedLabLeavesNoDescriptorsAndNoGoroutines, whatever was in force.
func TestClosedLabLeavesNoDescriptorsAndNoGoroutines(t *testing.T) {
	if !inLab(t) {
		return
	}
	descriptors := func() int {
		open, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(open)
	}
	lab := func() {
		l := newLab(t, Options{Nodes: 2, Resources: true, Clocks: clock.Supported() == nil})
		startPlay(t, l, "n1", "echo", "listening")
		startPlay(t, l, "n2", "burn", "burning")
		c := dial(t, l.Nodes()[0])
		must(t, c.round(5*time.Second))
		impair(t, l, Effect{Delay: time.Hour}, both...)
		_, err := c.conn.Write([]byte{1})
		must(t, err)
		must(t, l.net.Cut(Link{"n1", "n2"}))
		_, err = l.Resources().Limit("n2", Limit{CPU: 0.1, Memory: 1 << 30, Files: 100})
		must(t, err)
		if l.Clocks() != nil {
			_, err = l.Clocks().Strobe("n2", Warp{Offset: time.Hour}, 10*time.Millisecond)
			must(t, err)
		}
		must(t, l.Pause("n1"))
		must(t, c.conn.Close())
		must(t, l.Close())
	}
	lab() // the first one leaves what the runtime keeps
	files, goroutines := descriptors(), runtime.NumGoroutine()
	lab()
	eventually(t, "goroutines that were told to have ended", func() bool { return runtime.NumGoroutine() <= goroutines })
	if n := descriptors(); n > files {
		t.Errorf("%d descriptors are left", n-files)
	}
}

func TestWipeEmptiesTheDirectoryAndKeepsIt(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 2})
	dir := l.Nodes()[0].Dir
	for _, n := range l.Nodes() {
		must(t, os.MkdirAll(filepath.Join(n.Dir, "sub", ".hidden"), 0o755))
		must(t, os.WriteFile(filepath.Join(n.Dir, "sub", "file"), []byte("x"), 0o400))
		must(t, os.Symlink("/nowhere", filepath.Join(n.Dir, "link")))
	}
	before, err := os.Stat(dir)
	must(t, err)
	startPlay(t, l, "n1", "echo", "listening")
	if err := l.Wipe("n1"); err == nil {
		t.Error("a disk was wiped under a process")
	}
	must(t, l.Stop(t.Context(), "n1"))
	must(t, l.Wipe("n1"))
	after, err := os.Stat(dir)
	must(t, err)
	if !os.SameFile(before, after) {
		t.Error("the directory is another one")
	}
	for node, want := range []int{0, 2} {
		entries, err := os.ReadDir(l.Nodes()[node].Dir)
		must(t, err)
		if len(entries) != want {
			t.Errorf("n%d has %v, want %d entries", node+1, entries, want)
		}
	}
	if len(l.Log("n1", 1)) == 0 {
		t.Error("its log is gone")
	}
	must(t, l.Wipe("n1"))
}

// TestProcessesAreFoundInForeignProc: where the lab could not mount its own.
func TestProcessesAreFoundInForeignProc(t *testing.T) {
	if !inLab(t) {
		return
	}
	// What lies below is that of the world outside. Nobody else stumbles over it.
	must(t, unix.Unmount("/proc", unix.MNT_DETACH))
	if ownProc() {
		t.Skip("there is no other /proc")
	}
	l := newLab(t, Options{Nodes: 2})
	startPlay(t, l, "n1", "stubborn", "here I stand", "child")
	startPlay(t, l, "n2", "stubborn", "here I stand")
	all := pidsOf(t, l, "n1", 2)
	must(t, l.Pause("n1"))
	if p, running := l.Process("n1"); !running || p.State != "T" || !slices.Contains(all, p.PID) {
		t.Errorf("it is paused, and is said to be %+v", p)
	}
	must(t, l.Resume("n1"))
	must(t, l.Kill("n1"))
	eventually(t, "all are gone", func() bool { return gone(all[0]) && gone(all[1]) })
	if p, running := l.Process("n2"); !running || p.State == "T" {
		t.Errorf("the other node is %+v, %v", p, running)
	}

	// Another lab may have a process of that number, with a parent of the same.
	other := exec.Command("sleep", "60")
	other.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	must(t, other.Start())
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	two, err := l.memberOf(l.running(1))
	must(t, err)
	names, err := procNames()
	must(t, err)
	others := 0
	for _, name := range names {
		if m, err := readMember("/proc/" + name); err == nil && m.pid == other.Process.Pid {
			others++
			if m.ofLab() {
				t.Error("a process of another PID namespace is taken for one of the lab")
			}
		}
	}
	if !two.ofLab() || others == 0 {
		t.Errorf("the node's process is of the lab: %v; others: %d", two.ofLab(), others)
	}
}

// TestKilledTesterLeavesNothingOfPausedAndLimitedNodes: a world in which processes
// are stopped, and which has control groups, goes as any other.
func TestKilledTesterLeavesNothingOfPausedAndLimitedNodes(t *testing.T) {
	if Inside() {
		t.Fatal("this test runs outside")
	}
	for _, victim := range []string{"outside", "init", "inside"} {
		t.Run(victim, func(t *testing.T) {
			token := fmt.Sprintf("paused-%d-%s", os.Getpid(), victim)
			temporary := t.TempDir()
			c := exec.Command("/proc/self/exe", "-test.run=^TestPausedWorld$", "-test.v", "-test.timeout=60s")
			c.Env = append(os.Environ(), "PAUSED_WORLD="+token, "TMPDIR="+temporary)
			out, err := c.StdoutPipe()
			must(t, err)
			must(t, c.Start())
			said := ""
			for lines := bufio.NewScanner(out); said == "" && lines.Scan(); {
				if strings.Contains(lines.Text(), "SKIP") {
					_ = c.Wait()
					t.Skip("the machine refuses a lab; see TestDoctorFindsWhatWorks")
				}
				_, said, _ = strings.Cut(lines.Text(), "all are paused: ")
			}
			pids, _ := worlds(t, token)
			if len(pids) < 4 {
				t.Fatalf("found %d processes; want two nodes with a child each", len(pids))
			}
			kill := c.Process.Pid
			switch victim {
			case "init":
				kill, err = strconv.Atoi(string(bytes.Fields(childrenOf(t, kill))[0]))
				must(t, err)
			case "inside":
				kill = tester(t, kill)
			}
			name, err := labName(fmt.Sprintf("/proc/%d", pids[0]))
			must(t, err)
			if method, _, _ := strings.Cut(said, ";"); strings.HasPrefix(method, "cgroup") && len(groupDirs(name)) == 0 {
				t.Errorf("limits are kept by %s, and there is no group %s", method, name)
			}
			tried, err := filepath.Glob(filepath.Join(temporary, name+"-*"))
			if must(t, err); len(tried) != 1 {
				t.Errorf("temporary directories are %q", tried)
			}
			t.Log(said, groupDirs(name))
			must(t, syscall.Kill(kill, syscall.SIGKILL))
			_ = c.Wait()
			eventually(t, "all processes are gone", func() bool {
				pids, _ = worlds(t, token)
				return len(pids) == 0
			})
			eventually(t, "all groups are gone", func() bool { return len(groupDirs(name)) == 0 })
			eventually(t, "the temporary directory is gone", func() bool {
				_, err := os.Stat(tried[0])
				return errors.Is(err, os.ErrNotExist)
			})
			eventually(t, "the janitor is gone", func() bool {
				pids, _ = worlds(t, name)
				return len(pids) == 0
			})
		})
	}
}

// childrenOf returns the init below an outer process: the janitor, its other child,
// is no leader of a group but of a session.
func childrenOf(t *testing.T, pid int) []byte {
	t.Helper()
	for _, child := range bytes.Fields(childrenByStat(t, pid)) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%s/cmdline", child))
		must(t, err)
		if bytes.Contains(b, []byte(roleInit)) {
			return child
		}
	}
	t.Fatal("there is no init")
	return nil
}

// groupDirs returns the control groups of a name, wherever they are.
func groupDirs(name string) []string {
	var dirs []string
	for _, h := range hierarchies() {
		for _, parent := range h.parents() {
			if _, err := os.Stat(filepath.Join(parent, name)); err == nil {
				dirs = append(dirs, filepath.Join(parent, name))
			}
		}
	}
	return dirs
}

// TestPausedWorld is what the test above kills.
func TestPausedWorld(t *testing.T) {
	token := os.Getenv("PAUSED_WORLD")
	if token == "" {
		t.Skip("a part of TestKilledTesterLeavesNothingOfPausedAndLimitedNodes")
	}
	if !Inside() {
		exit, err := Enter(t.Context(), os.Args[1:])
		skipRefused(t, err)
		t.Fatal(exit, err) // nothing but a kill ends it
	}
	l := newLab(t, Options{Nodes: 2, Resources: true})
	for _, n := range l.Nodes() {
		startPlay(t, l, n.Name, "stubborn", "here I stand", token, token)
		_, err := l.Resources().Limit(n.Name, Limit{CPU: 0.1, Memory: 1 << 30, Files: 100})
		must(t, err)
		pidsOf(t, l, n.Name, 3)
		must(t, l.Pause(n.Name))
	}
	dir, err := tempDir() // with something in it
	must(t, err)
	must(t, os.Mkdir(filepath.Join(dir, "n1"), 0o700))
	fmt.Printf("all are paused: %s; %v\n", l.Resources().Method(), groupDirs(must1(labName("/proc/self"))))
	select {}
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
