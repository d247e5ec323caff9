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
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// worlds returns the namespaces of processes whose command line has token in it.
func worlds(t *testing.T, token string) (pids []int, namespaces map[string]bool) {
	t.Helper()
	namespaces = map[string]bool{}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, name := range lines {
		b, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(b, []byte(token)) {
			continue
		}
		dir := filepath.Dir(name)
		pid, err := strconv.Atoi(filepath.Base(dir))
		must(t, err)
		pids = append(pids, pid)
		for _, kind := range []string{"net", "pid", "mnt", "user"} {
			if ns, err := os.Readlink(filepath.Join(dir, "ns", kind)); err == nil {
				namespaces[ns] = true
			}
		}
	}
	return pids, namespaces
}

// inhabited returns which of the namespaces some process is in, or some mount or
// file keeps.
func inhabited(t *testing.T, namespaces map[string]bool) []string {
	t.Helper()
	var left []string
	links, err := filepath.Glob("/proc/[0-9]*/ns/*")
	must(t, err)
	fds, err := filepath.Glob("/proc/[0-9]*/fd/*")
	must(t, err)
	for _, name := range append(links, fds...) {
		if ns, err := os.Readlink(name); err == nil && namespaces[ns] {
			left = append(left, name+" "+ns)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	for ns := range namespaces {
		if strings.Contains(string(mounts), ns) {
			left = append(left, "mount of "+ns)
		}
	}
	return left
}

func TestKilledTesterLeavesNothing(t *testing.T) {
	if Inside() {
		t.Fatal("this test runs outside")
	}
	before, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	ours := map[string]bool{}
	for _, kind := range []string{"net", "pid", "mnt", "user"} {
		ns, err := os.Readlink("/proc/self/ns/" + kind)
		must(t, err)
		ours[ns] = true
	}
	for _, victim := range []string{"outside", "inside"} {
		t.Run(victim, func(t *testing.T) {
			token := fmt.Sprintf("token-%d-%s", os.Getpid(), victim)
			c := exec.Command("/proc/self/exe", "-test.run=^TestStubbornWorld$", "-test.v", "-test.timeout=60s")
			c.Env = append(os.Environ(), "STUBBORN_WORLD="+token, "TMPDIR="+t.TempDir())
			out, err := c.StdoutPipe()
			must(t, err)
			must(t, c.Start())
			lines := bufio.NewScanner(out)
			for lines.Scan() && !strings.Contains(lines.Text(), "all stand") {
				if strings.Contains(lines.Text(), "SKIP") {
					_ = c.Wait()
					t.Skip("the machine refuses a lab; see TestDoctorFindsWhatWorks")
				}
			}
			pids, namespaces := worlds(t, token)
			for ns := range ours {
				delete(namespaces, ns)
			}
			if len(pids) < 6 || len(namespaces) < 4 {
				t.Fatalf("found %d processes in %d namespaces; want three nodes with a child each", len(pids), len(namespaces))
			}
			all, kill := len(pids), c.Process.Pid
			if victim == "inside" {
				kill = tester(t, c.Process.Pid)
			}
			killed := time.Now()
			must(t, syscall.Kill(kill, syscall.SIGKILL))
			_ = c.Wait()
			eventually(t, "all processes are gone", func() bool {
				pids, _ = worlds(t, token)
				return len(pids) == 0
			})
			t.Logf("%d processes gone %v after the kill", all, time.Since(killed))
			eventually(t, "all namespaces are gone", func() bool { return len(inhabited(t, namespaces)) == 0 })
			after, err := os.ReadFile("/proc/self/mountinfo")
			must(t, err)
			for mount := range bytes.Lines(after) {
				if !bytes.Contains(before, mount) {
					t.Errorf("a mount is left: %s", mount)
				}
			}
		})
	}
}

// tester returns the tester's process below that of an outer one.
func tester(t *testing.T, pid int) int {
	t.Helper()
	for range 2 { // the init, then the tester
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil || len(bytes.Fields(b)) == 0 {
			b = childrenByStat(t, pid)
		}
		pid, err = strconv.Atoi(string(bytes.Fields(b)[0]))
		must(t, err)
	}
	return pid
}

// childrenByStat finds the children of a process where the kernel does not list
// them, or those of its other threads.
func childrenByStat(t *testing.T, parent int) []byte {
	t.Helper()
	var children []byte
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	must(t, err)
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
		if string(fields[1]) == strconv.Itoa(parent) {
			children = append(append(children, filepath.Base(filepath.Dir(name))...), ' ')
		}
	}
	if len(children) == 0 {
		t.Fatalf("process %d has no children", parent)
	}
	return children
}

// TestStubbornWorld is what TestKilledTesterLeavesNothing kills.
func TestStubbornWorld(t *testing.T) {
	token := os.Getenv("STUBBORN_WORLD")
	if token == "" {
		t.Skip("a part of TestKilledTesterLeavesNothing")
	}
	if !Inside() {
		exit, err := Enter(t.Context(), os.Args[1:])
		skipRefused(t, err)
		t.Fatal(exit, err) // nothing but a kill ends it
	}
	l := newLab(t, Options{Nodes: 3})
	for _, n := range l.Nodes() {
		startPlay(t, l, n.Name, "stubborn", "here I stand", token, token)
	}
	eventually(t, "the children stand", func() bool {
		pids, _ := worlds(t, token)
		return len(pids) >= 6
	})
	fmt.Println("all stand")
	select {}
}

func TestExitStatusComesThrough(t *testing.T) {
	if os.Getenv("EXIT_WITH") != "" && Inside() {
		status, err := strconv.Atoi(os.Getenv("EXIT_WITH"))
		must(t, err)
		os.Exit(ExitStatus(status))
	}
	for _, want := range []int{0, 1, 2, 254, 255} {
		t.Setenv("EXIT_WITH", strconv.Itoa(want))
		got, err := Enter(t.Context(), []string{"-test.run=^TestExitStatusComesThrough$"})
		if skipRefused(t, err); err != nil || got != want {
			t.Errorf("got %d, %v; want %d", got, err, want)
		}
	}
}

// TestCrashIsNoExitStatus: Go programs exit with 2 when they panic.
func TestCrashIsNoExitStatus(t *testing.T) {
	if os.Getenv("CRASH") != "" && Inside() {
		os.Exit(2)
	}
	t.Setenv("CRASH", "1")
	got, err := Enter(t.Context(), []string{"-test.run=^TestCrashIsNoExitStatus$"})
	if skipRefused(t, err); err != nil || got != exitFailed {
		t.Errorf("got %d, %v; want %d", got, err, exitFailed)
	}
}

// awaitSignals in the environment makes a test the tester of another, which sends it
// signals; what it says is what of them it expects.
const awaitSignals = "AWAIT_SIGNALS"

// awaitSignal is such a tester. It is deaf until something is in the fifo, if there is
// one. It ends with status 7 when it has heard as many signals as it was told to.
func awaitSignal(t *testing.T) {
	if !Inside() {
		exit, err := Enter(t.Context(), os.Args[1:])
		skipRefused(t, err)
		os.Exit(exit)
	}
	if fifo := os.Getenv("DEAF_UNTIL"); fifo != "" {
		fmt.Println("deaf")
		f, err := os.Open(fifo)
		must(t, err)
		_, err = f.Read(make([]byte, 1))
		must(t, err)
	}
	expected, err := strconv.Atoi(os.Getenv(awaitSignals))
	must(t, err)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, passedOn...)
	Listening()
	fmt.Println("waiting")
	for range expected {
		fmt.Println("got", <-signals)
	}
	os.Exit(ExitStatus(7))
}

// TestSignalsArriveOnce: the outer process passes on what asks it to end.
func TestSignalsArriveOnce(t *testing.T) {
	if os.Getenv(awaitSignals) != "" {
		awaitSignal(t)
	}
	c := exec.Command("/proc/self/exe", "-test.run=^TestSignalsArriveOnce$", "-test.v")
	c.Env = append(os.Environ(), awaitSignals+"=2")
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	var got []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch line := lines.Text(); {
		case line == "waiting":
			must(t, c.Process.Signal(syscall.SIGINT))
		case line == "got interrupt": // twice the first would be got as the second, too
			must(t, c.Process.Signal(syscall.SIGTERM))
			got = append(got, line)
		case strings.HasPrefix(line, "got"):
			got = append(got, line)
		case strings.Contains(line, "--- SKIP"):
			t.Skip("the machine refuses a lab")
		}
	}
	_ = c.Wait()
	if len(got) != 2 || got[0] != "got interrupt" || got[1] != "got terminated" || c.ProcessState.ExitCode() != 7 {
		t.Errorf("got %q, exit %d", got, c.ProcessState.ExitCode())
	}
}

// TestSignalsWaitUntilTheTesterListens: it would die of one that came before.
func TestSignalsWaitUntilTheTesterListens(t *testing.T) {
	if os.Getenv(awaitSignals) != "" {
		awaitSignal(t)
	}
	for _, s := range passedOn {
		fifo := filepath.Join(t.TempDir(), "fifo")
		must(t, syscall.Mkfifo(fifo, 0o600))
		listen, err := os.OpenFile(fifo, os.O_RDWR, 0) // that waits for nobody
		must(t, err)
		defer listen.Close()
		c := exec.Command("/proc/self/exe", "-test.run=^TestSignalsWaitUntilTheTesterListens$", "-test.v")
		c.Env = append(os.Environ(), awaitSignals+"=1", "DEAF_UNTIL="+fifo)
		out, err := c.StdoutPipe()
		must(t, err)
		must(t, c.Start())
		got := ""
		for lines := bufio.NewScanner(out); lines.Scan(); {
			switch line := lines.Text(); {
			case line == "deaf":
				must(t, c.Process.Signal(s.(syscall.Signal)))
				_, err := listen.Write([]byte{1})
				must(t, err)
			case strings.HasPrefix(line, "got"):
				got = line
			case strings.Contains(line, "--- SKIP"):
				t.Skip("the machine refuses a lab")
			}
		}
		_ = c.Wait()
		if want := fmt.Sprint("got ", s); got != want || c.ProcessState.ExitCode() != 7 {
			t.Errorf("got %q, exit %v; want %q, 7", got, c.ProcessState, want)
		}
	}
}

// TestInterruptsAtAnyTimeEndTheWorld interrupts at the time at which there is nothing
// yet, at that at which the tester waits, and all the way between.
func TestInterruptsAtAnyTimeEndTheWorld(t *testing.T) {
	if os.Getenv(awaitSignals) != "" {
		awaitSignal(t)
	}
	var at []time.Duration
	for d := time.Duration(0); d < 80*time.Millisecond; d += 2 * time.Millisecond {
		at = append(at, d)
	}
	at = append(at, 100*time.Millisecond, 200*time.Millisecond, 400*time.Millisecond)
	outcomes := map[string]int{}
	for i, d := range at {
		token := fmt.Sprintf("token-%d-%v", os.Getpid(), d)
		// To the whole group, as a terminal does, or to the outer process alone; and
		// somebody who is impatient twice.
		group, again := i%2 == 0, i%3 == 0
		var said bytes.Buffer
		c := exec.Command("/proc/self/exe", "-test.run=^TestInterruptsAtAnyTimeEndTheWorld$", "-test.v", "-test.timeout=30s")
		c.Env = append(os.Environ(), awaitSignals+"=1", "TOKEN="+token)
		c.Stdout, c.Stderr = &said, &said
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		must(t, c.Start())
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		pid := c.Process.Pid
		if group {
			pid = -pid
		}
		select {
		case <-time.After(d):
			must(t, syscall.Kill(pid, syscall.SIGINT))
			if again {
				_ = syscall.Kill(pid, syscall.SIGINT) // or it has ended
			}
			<-ended
		case <-ended:
			if strings.Contains(said.String(), "--- SKIP") {
				t.Skip("the machine refuses a lab")
			}
		}
		status := c.ProcessState.Sys().(syscall.WaitStatus)
		switch {
		case status.Exited() && status.ExitStatus() == 7 && !strings.Contains(said.String(), "hacheck:"):
			outcomes["heard inside"]++
		case status.Signaled() && status.Signal() == syscall.SIGINT && !strings.Contains(said.String(), "waiting"):
			outcomes["before there was a lab"]++
		default:
			outcomes["wrong"]++
			t.Errorf("interrupted after %v: %v: %s", d, c.ProcessState, said.String())
		}
		eventually(t, "all processes are gone", func() bool {
			pids, _ := worlds(t, token)
			return len(pids) == 0
		})
	}
	t.Log(outcomes)
	if outcomes["heard inside"] == 0 {
		t.Error("none was heard inside")
	}
}

func TestCancelledWorldEnds(t *testing.T) {
	if os.Getenv("STAY") != "" && Inside() {
		fmt.Println("staying")
		select {}
	}
	t.Setenv("STAY", "1")
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			if lines.Text() == "staying" {
				cancel()
			}
		}
	}()
	exit, err := enter(ctx, w, []string{roleTester, "-test.run=^TestCancelledWorldEnds$"})
	w.Close()
	if skipRefused(t, err); err == nil || exit != exitFailed {
		t.Errorf("got %d, %v", exit, err)
	}
}

// skipRefused skips the test where the machine refuses a lab; CI's may not.
func skipRefused(t testing.TB, err error) {
	t.Helper()
	if refused, ok := errors.AsType[*RefusedError](err); ok && os.Getenv("CI") == "" {
		t.Skip(refused)
	}
}
