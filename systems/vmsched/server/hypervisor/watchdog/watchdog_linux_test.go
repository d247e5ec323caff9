//go:build amd64 || arm64

package watchdog

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// The test runs itself again, as a process that arms its watchdog.
const role = "WATCHDOG_TEST_ROLE"

// soon and later are what is permitted; slack is what a busy machine may take on top.
const (
	soon  = 150 * time.Millisecond
	later = 500 * time.Millisecond
	slack = 2 * time.Second
)

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "spin":
		err = armIn(soon)
	case "stand":
		if err = armIn(soon); err == nil {
			fmt.Println("armed")
			err = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		}
		fmt.Println("went on")
	case "again":
		if err = armIn(soon); err == nil {
			err = armIn(later)
		}
	case "past":
		err = armIn(-time.Hour)
		fmt.Println("went on")
	case "first":
		err = Arm(0)
		fmt.Println("went on")
	case "sooner":
		if err = armIn(time.Hour); err == nil {
			err = armIn(soon)
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	<-time.After(time.Minute)
}

// armIn has this process killed when d has passed.
func armIn(d time.Duration) error {
	now, err := Now()
	if err != nil {
		return err
	}
	return Arm(now.Add(d))
}

// start starts the test again, and returns what it says, too.
func start(t *testing.T, as string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), role+"="+as)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, bufio.NewScanner(out)
}

// killed fails the test if cmd ended otherwise than by SIGKILL.
func killed(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	_ = cmd.Wait()
	if s := cmd.ProcessState.Sys().(syscall.WaitStatus); !s.Signaled() || s.Signal() != syscall.SIGKILL {
		t.Fatalf("ended by %v, want SIGKILL", cmd.ProcessState)
	}
}

func TestKillsOnTime(t *testing.T) {
	for as, want := range map[string]time.Duration{
		"spin": soon, "again": later, "sooner": soon, "past": 0, "first": 0,
	} {
		t.Run(as, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			cmd, out := start(t, as)
			for out.Scan() {
				t.Error(out.Text())
			}
			killed(t, cmd)
			if lived := time.Since(began); lived < want || lived > want+slack {
				t.Errorf("lived for %v, want %v", lived, want)
			}
		})
	}
}

func TestKillsWhatIsStopped(t *testing.T) {
	t.Parallel()
	began := time.Now()
	cmd, out := start(t, "stand")
	if !out.Scan() || out.Text() != "armed" {
		t.Fatalf("said %q", out.Text())
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("not stopped: %v, %v", status, err)
	}
	if out.Scan() { // until it is gone, which closes its end
		t.Errorf("said %q behind its end", out.Text())
	}
	killed(t, cmd)
	if lived := time.Since(began); lived < soon || lived > soon+slack {
		t.Errorf("lived for %v, want %v", lived, soon)
	}
}
