package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/internal/store"
)

// serveIn serves a store until the returned function is called, which returns what the
// command comes to.
func serveIn(t *testing.T, root string, args ...string) (address string, end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	said, out := io.Pipe()
	p := &program{args: append([]string{"hacheck", "serve", "--store", root, "--listen", "127.0.0.1:0"}, args...), stdout: out, stderr: t.Output()}
	ended := make(chan error, 1)
	go func() {
		err := p.app().RunContext(ctx, p.args)
		out.CloseWithError(fmt.Errorf("it has ended: %w", err))
		ended <- err
	}()
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range strings.Fields(line) {
		if strings.HasPrefix(word, "http://") {
			address = word
		}
	}
	return address, func() error {
		cancel()
		return <-ended
	}
}

func TestServeShowsRunsUntilItIsInterrupted(t *testing.T) {
	root := t.TempDir()
	run := &store.Run{Dir: filepath.Join(root, "raftkv-register-none", "20260101T000000Z")}
	if err := store.Writable(run.Dir); err != nil {
		t.Fatal(err)
	}
	if err := run.WriteInfo(store.Info{System: "raftkv", Workload: "register", Verdict: "invalid", Repeat: []string{"run", "--workload", "register"}}); err != nil {
		t.Fatal(err)
	}
	address, end := serveIn(t, root)
	answer, err := http.Get(address + "api/runs") //nolint:noctx // it ends with the test
	if err != nil {
		t.Fatal(err)
	}
	var listed struct {
		Rows []struct{ Path, Workload string }
	}
	err = json.NewDecoder(answer.Body).Decode(&listed)
	answer.Body.Close()
	if err != nil || len(listed.Rows) != 1 || listed.Rows[0].Workload != "register" {
		t.Errorf("it lists %+v, %v", listed, err)
	}
	// Somebody who follows what goes on keeps nobody from ending it.
	following, err := http.Get(address + "api/events") //nolint:noctx // so does this
	if err != nil {
		t.Fatal(err)
	}
	defer following.Body.Close()
	if err := end(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if _, err := net.Dial("tcp", strings.Trim(strings.TrimPrefix(address, "http://"), "/")); err == nil {
		t.Error("somebody still answers")
	}
}

// TestServeAnswersAtTheAddressThatItNames asks at the address that it prints.
func TestServeAnswersAtTheAddressThatItNames(t *testing.T) {
	for _, listen := range []string{"localhost:0", "[::1]:0", ":0", "0.0.0.0:0", "[::]:0"} {
		address, end := serveIn(t, t.TempDir(), "--listen", listen)
		answer, err := http.Get(address) //nolint:noctx // it ends with the test
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("--listen %s: %s: %s", listen, address, answer.Status)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	}
}

// TestServeIsAskedByItsName asks in the name that it was told to listen at, and in that of
// this machine.
func TestServeIsAskedByItsName(t *testing.T) {
	self, err := os.Hostname()
	if err != nil {
		t.Skip(err)
	}
	for name, want := range map[string]int{self + ":80": http.StatusOK, "evil.example": http.StatusMisdirectedRequest} {
		address, end := serveIn(t, t.TempDir(), "--listen", ":0")
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = name
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("asked as %s: %s", name, answer.Status)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	}
}

func TestServeRefusesAnAddressThatIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var said strings.Builder
	status := hacheck([]string{"hacheck", "serve", "--store", t.TempDir(), "--listen", taken.Addr().String()}, io.Discard, &said)
	if status != exitUsage || !strings.Contains(said.String(), "--listen 127.0.0.1:0") {
		t.Errorf("status %d, and it says %q", status, said.String())
	}
}

func TestCommandsOfARunInTheStore(t *testing.T) {
	run := &store.Run{Dir: t.TempDir()}
	p := &program{args: []string{"hacheck"}}
	if got := p.commandsOf(run.Dir); got != nil {
		t.Errorf("of a directory without a run: %v", got)
	}
	if err := run.WriteInfo(store.Info{}); err != nil {
		t.Fatal(err)
	}
	if got := p.commandsOf(run.Dir); len(got) != 1 || got[0].Purpose != "check again:" {
		t.Errorf("of one that nothing is known of: %v", got)
	}
	if err := run.WriteInfo(store.Info{Verdict: "invalid", Repeat: []string{"run", "--workload", "register"}}); err != nil {
		t.Fatal(err)
	}
	var purposes []string
	for _, next := range p.commandsOf(run.Dir) {
		purposes = append(purposes, next.Purpose)
	}
	if got, want := strings.Join(purposes, " "), "check again: run again: same faults: fewer faults:"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
