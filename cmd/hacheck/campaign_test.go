package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hacheck/hacheck/internal/campaign"
	"github.com/hacheck/hacheck/internal/gate"
)

// campaignJobs in the environment is how many jobs the campaign has that is killed again and again.
const campaignJobs = "HACHECK_CAMPAIGN_JOBS"

// needLab skips a test where there is no lab, and returns this program, to be run as hacheck.
func needLab(t *testing.T) (self string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the lab needs Linux")
	}
	if reason := noLab(t.Context()); reason != "" {
		t.Skipf("the lab does not run here: %s", reason)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return self
}

// A process is hacheck, run by a test.
type process struct {
	cmd    *exec.Cmd
	stdout bytes.Buffer
	lines  chan string // of its stderr; closed at its end
}

func start(t *testing.T, self string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.CommandContext(t.Context(), self, args...), lines: make(chan string, 1<<16)}
	p.cmd.Env = append(os.Environ(), asHacheck+"=1")
	p.cmd.Stdout = &p.stdout
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // until it ends, which the test sees to
		defer close(p.lines)
		for in := bufio.NewScanner(stderr); in.Scan(); {
			p.lines <- in.Text()
		}
		_, _ = io.Copy(io.Discard, stderr) // a line that is too long
	}()
	return p
}

// until waits for a line with one of the words, and says whether it came before the end.
func (p *process) until(t *testing.T, words ...string) bool {
	for line := range p.lines {
		t.Log(line)
		for _, w := range words {
			if strings.Contains(line, w) {
				return true
			}
		}
	}
	return false
}

// end waits for its end, and returns its exit status; -1: it was killed.
func (p *process) end(t *testing.T) int {
	t.Helper()
	p.until(t)
	if err := p.cmd.Wait(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatal(err)
		}
	}
	return p.cmd.ProcessState.ExitCode()
}

// kill is kill -9.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	p.end(t)
}

// report is what it has printed.
func (p *process) report(t *testing.T) (r gate.Report) {
	t.Helper()
	if err := json.Unmarshal(p.stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v\n%s", err, p.stdout.String())
	}
	return r
}

// Whoever is killed, and whenever: each job of a campaign has one outcome. There are 40 of them,
// or as many as HACHECK_CAMPAIGN_JOBS says.
func TestACampaignWhosePartsAreKilled(t *testing.T) {
	self := needLab(t)
	jobs := 40
	if given := os.Getenv(campaignJobs); given != "" {
		var err error
		if jobs, err = strconv.Atoi(given); err != nil || jobs < 10 {
			t.Fatalf("%s is %q; it is a number from 10", campaignJobs, given)
		}
	}
	const buggy = 3
	dir := t.TempDir()
	file, root := filepath.Join(dir, "plan.yaml"), filepath.Join(dir, "store")
	plan := fmt.Sprintf(`
options: {time-limit: 100ms, concurrency: 2, nodes: 1}
reruns: 0
matrix:
  - {workloads: [set], nemeses: [none], runs: %d}
  - {workloads: [cas-register], nemeses: [none], runs: %d, options: {bug: check-then-act, time-limit: 3s, concurrency: 6, nodes: 3, stop-on-violation: true}}
`, jobs-buggy, buggy)
	if err := os.WriteFile(file, []byte(plan), 0o666); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0") // its address is the same all the time
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	lead := func() *process {
		p := start(t, self, "campaign", "run", "-f", file, "--store", root, "--jobs", "0", "--listen", address, "--lease", "2s", "--json")
		if !p.until(t, "workers join with") {
			t.Fatalf("the lead has ended with %d", p.end(t))
		}
		return p
	}
	work := func() *process {
		p := start(t, self, "campaign", "worker", "--store", root, "--jobs", "1")
		p.until(t, "works for campaign") // or it comes too late
		return p
	}

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	began := time.Now()
	leader := lead()
	workers := make([]*process, 4)
	for i := range workers {
		workers[i] = work()
	}
	var last *process // that was begun
	ofWorkers, ofLeader := 0, 0
	for {
		// Some of them are done; then somebody is killed in the midst of what it does.
		going := true
		for n := 1 + random.IntN(5); n > 0 && going; n-- {
			going = leader.until(t, ": "+string(gate.Valid)+" (", ": "+string(gate.Invalid)+" (")
		}
		if !going {
			break
		}
		if random.IntN(3) == 0 {
			ofLeader++
			leader.kill(t)
			leader = lead()
			continue
		}
		ofWorkers++
		victim := random.IntN(len(workers))
		workers[victim].kill(t)
		workers[victim] = work()
		last = workers[victim]
	}
	if status := leader.end(t); status != exitInvalid {
		t.Errorf("the lead has ended with %d", status)
	}
	for _, w := range workers { // they go home, or one came when all was done
		if status := w.end(t); status != exitValid && (w != last || status != exitUsage) {
			t.Errorf("a worker has ended with %d", status)
		}
	}
	t.Logf("%d jobs in %v; %d kills of workers, %d of the lead", jobs, time.Since(began), ofWorkers, ofLeader)
	if ofWorkers+ofLeader == 0 {
		t.Error("nobody was killed")
	}

	r := leader.report(t)
	seen, aside := map[string]bool{}, 0
	for i, want := range []int{jobs - buggy, buggy} {
		if got := len(r.Cells[i].Outcomes); got != want {
			t.Errorf("%s has %d outcomes of %d", r.Cells[i].Name, got, want)
		}
		for _, o := range r.Cells[i].Outcomes {
			if seen[o.Job.ID] {
				t.Errorf("%s has more outcomes than one", o.Job.ID)
			}
			seen[o.Job.ID] = true
			switch {
			case o.Class == gate.SetAside:
				aside++
			case o.Class != gate.Valid && o.Class != gate.Invalid:
				t.Errorf("%s: %s: %s", o.Job.ID, o.Class, o.Words)
			}
		}
	}
	// Of a job that is set aside each try has cost a worker.
	if aside > ofWorkers/campaign.DefaultMaxTries {
		t.Errorf("%d jobs are set aside after %d kills of workers", aside, ofWorkers)
	}
	for _, trouble := range r.Trouble { // what was lost with workers is told
		again := ofWorkers > 0 && strings.Contains(trouble, "handed out more than once")
		if !again && (aside == 0 || !strings.Contains(trouble, "came to no verdict")) {
			t.Errorf("trouble: %q", trouble)
		}
	}
	// What was found can be looked at, and of those who were killed nothing is left.
	if len(r.Groups) != 1 {
		t.Fatalf("%d groups", len(r.Groups))
	}
	found := r.Groups[0].Dir
	if _, err := openRun("test", found); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(filepath.Dir(found))
	if err != nil || len(left) != 1 {
		t.Errorf("%v, beside what was found: %v", err, left)
	}
}

// A gate that has no room for what it does says so, and goes on when there is.
func TestAGateOnAFullDisk(t *testing.T) {
	self := needLab(t)
	dir := t.TempDir()
	disk := smallDisk(t, "64m")
	file := filepath.Join(dir, "plan.yaml")
	plan := "options: {time-limit: 100ms, concurrency: 2, nodes: 1}\njobs: 1\nmatrix:\n  - {workloads: [set], nemeses: [none], runs: 8}\n"
	if err := os.WriteFile(file, []byte(plan), 0o666); err != nil {
		t.Fatal(err)
	}
	p := start(t, self, "gate", "-f", file, "--store", disk, "--json")
	for range 2 {
		if !p.until(t, "valid (") {
			t.Fatalf("it has ended with %d", p.end(t))
		}
	}
	filler := filepath.Join(disk, "filler")
	if err := fillDisk(filler); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if status := p.end(t); status != exitFailed {
		t.Errorf("it has ended with %d", status)
	}
	before := p.report(t)
	if !strings.Contains(strings.Join(before.Trouble, "\n"), "full") {
		t.Errorf("trouble: %q", before.Trouble)
	}
	done := map[string]time.Time{}
	for _, o := range before.Cells[0].Outcomes {
		done[o.Job.ID] = o.Began
	}
	if len(done) < 2 {
		t.Errorf("%d runs are told", len(done))
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	p = start(t, self, "gate", "-f", file, "--store", disk, "--json", "--resume")
	if status := p.end(t); status != exitValid {
		t.Errorf("it goes on, and ends with %d", status)
	}
	after := p.report(t)
	if n := len(after.Cells[0].Outcomes); n != 8 {
		t.Errorf("%d outcomes", n)
	}
	for _, o := range after.Cells[0].Outcomes {
		if o.Class != gate.Valid {
			t.Errorf("%s is %s, which tells of the disk: %s", o.Job.ID, o.Class, o.Words)
		}
		if began, ok := done[o.Job.ID]; ok && !began.Equal(o.Began) {
			t.Errorf("%s was done again", o.Job.ID)
		}
		delete(done, o.Job.ID)
	}
	if len(done) > 0 {
		t.Errorf("these are lost: %v", done)
	}
}

// fillDisk writes a file until there is no room.
func fillDisk(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for size := 1 << 20; ; {
		if _, err = f.Write(make([]byte, size)); err != nil {
			if size /= 2; size == 0 {
				return err
			}
		}
	}
}
