package campaign

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/internal/gate"
)

// partVariable tells this program which part of a campaign it is to be.
const partVariable = "HACHECK_TEST_CAMPAIGN"

// A part is a process of a campaign.
type part struct {
	Role, Dir, Listen, Token, Campaign, Name string
	Config                                   string // of a server that is not ours
	Jobs, Put, MaxTries                      int
	Pace                                     time.Duration // of ten jobs
}

func TestMain(m *testing.M) {
	if text := os.Getenv(partVariable); text != "" {
		var p part
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			panic(err)
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		if err := p.run(ctx); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func (p part) run(ctx context.Context) error {
	if p.Role == "server" {
		s, err := Serve(ServerOptions{Dir: p.Dir, Listen: p.Listen, Token: p.Token})
		if err != nil {
			return err
		}
		defer s.Close()
		fmt.Println("up")
		<-ctx.Done()
		return nil
	}
	if p.Role == "theirs" {
		s, err := foreign(p.Dir, p.Config)
		if err != nil {
			return err
		}
		defer s.Shutdown()
		fmt.Println("up")
		<-ctx.Done()
		return nil
	}
	if p.Role == "measured" {
		return p.measured(ctx)
	}
	c, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if p.Role == "worker" {
		fmt.Println("at work")
		return c.Work(ctx, WorkOptions{Name: p.Name, Jobs: p.Jobs, RetryAfter: 50 * time.Millisecond, Perform: perform})
	}
	jobs, _, err := c.Restore(ctx)
	if err != nil {
		return err
	}
	fmt.Println("restored", len(jobs))
	go func() { // a lead puts jobs as results come; here they come slowly
		tick := time.NewTicker(p.Pace)
		defer tick.Stop()
		for from := 0; from < p.Put; from += 10 {
			if err := c.Put(ctx, some(p.Put)[from:min(from+10, p.Put)]); err != nil && ctx.Err() == nil {
				fmt.Println("failed:", err)
			}
			if from >= len(jobs) {
				<-tick.C
			}
		}
	}()
	seen := map[string]bool{}
	for o, err := range c.Outcomes(ctx) {
		if err != nil {
			return err
		}
		if seen[o.Job.ID] {
			return fmt.Errorf("%s came twice", o.Job.ID)
		}
		if seen[o.Job.ID] = true; len(seen) == p.Put {
			fmt.Println("done")
			return nil
		}
	}
	return errors.New("there are no more outcomes")
}

// open waits until there is a campaign: processes are started in any order.
func (p part) open(ctx context.Context) (*Campaign, error) {
	for {
		c, err := Open(ctx, Access{URL: "nats://" + p.Listen, Token: p.Token}, Options{
			Name: p.Campaign, Existing: p.Role == "worker", Lease: LeastLease, MaxTries: p.MaxTries,
		})
		if err == nil || errors.Is(err, ErrCredentials) {
			return c, err
		}
		if !pause(ctx, 50*time.Millisecond) {
			return nil, err
		}
	}
}

// some are n jobs.
func some(n int) []gate.Job {
	jobs := make([]gate.Job, n)
	for i := range jobs {
		jobs[i] = gate.Job{ID: fmt.Sprintf("raftkv-register-partition+clock-%d", i), Cell: "raftkv/register/partition+clock", Purpose: gate.ForCoverage,
			Arguments: []string{"run", "--system", "raftkv"}, Seed: uint64(i)}
	}
	return jobs
}

// perform works for a dozen milliseconds, and shows that it has.
func perform(ctx context.Context, j gate.Job) (gate.Outcome, string, error) {
	if strings.HasPrefix(j.ID, "poison") {
		if self, err := os.FindProcess(os.Getpid()); err == nil {
			self.Kill()
		}
		select {}
	}
	began := time.Now()
	return gate.Outcome{Class: gate.Valid, Attempts: []gate.Attempt{{Seed: j.Seed, Class: gate.Valid, Words: proof(j.Seed)}}, Took: time.Since(began).Seconds()}, "", ctx.Err()
}

func proof(seed uint64) string {
	sum := sha256.Sum256(fmt.Append(nil, seed))
	block := bytes.Repeat(sum[:], 1024)
	for range 150 {
		sum = sha256.Sum256(append(block, sum[:]...))
	}
	return fmt.Sprintf("%x", sum)
}

// A process is a part that runs.
type process struct {
	cmd   *exec.Cmd
	lines chan string // what it says; closed at its end
}

func start(t testing.TB, p part) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	r := &process{cmd: exec.Command(self), lines: make(chan string, 1000)}
	r.cmd.Env = append(os.Environ(), partVariable+"="+string(text))
	r.cmd.Stderr = os.Stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			r.lines <- s.Text()
		}
	}()
	t.Cleanup(r.kill)
	return r
}

func (r *process) kill() {
	r.cmd.Process.Kill()
	r.cmd.Wait()
}

// says waits for a line.
func (r *process) says(t *testing.T, want string) {
	t.Helper()
	for line := range r.lines {
		if line == want {
			return
		}
		t.Logf("it says %q", line)
	}
	t.Fatalf("it ended without saying %q", want)
}

// address is one that is free, and stays the same when a server comes back.
func address(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func serve(t *testing.T, o ServerOptions) *Server {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := Serve(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func open(t *testing.T, a Access, o Options) *Campaign {
	t.Helper()
	if o.Name == "" {
		o.Name = "a"
	}
	if o.Lease == 0 {
		o.Lease = LeastLease
	}
	c, err := Open(t.Context(), a, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// collect waits for n outcomes, by the ID of their jobs.
func collect(t *testing.T, c *Campaign, n int) map[string]gate.Outcome {
	t.Helper()
	found := <-collecting(t, c, n)
	if len(found) != n {
		t.FailNow()
	}
	return found
}

// collecting is collect for who does something else meanwhile; after a minute there are fewer than n.
func collecting(t *testing.T, c *Campaign, n int) <-chan map[string]gate.Outcome {
	all := make(chan map[string]gate.Outcome, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		found := map[string]gate.Outcome{}
		for o, err := range c.Outcomes(ctx) {
			if err != nil {
				t.Errorf("after %d of %d outcomes: %v", len(found), n, err)
				break
			}
			if _, twice := found[o.Job.ID]; twice {
				t.Errorf("%s came twice", o.Job.ID)
			}
			if found[o.Job.ID] = o; len(found) == n {
				break
			}
		}
		all <- found
	}()
	return all
}

// work has a worker in this process, until the test ends or stop is called, which waits for it.
func work(t *testing.T, c *Campaign, o WorkOptions) (stop func()) {
	t.Helper()
	if o.Name == "" {
		o.Name = "w"
	}
	if o.Jobs == 0 {
		o.Jobs = 1
	}
	if o.RetryAfter == 0 {
		o.RetryAfter = 20 * time.Millisecond
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Work(ctx, o) }()
	var err error
	var once bool
	stop = func() {
		cancel()
		if !once {
			once = true
			if err = <-ended; err != nil {
				t.Errorf("worker: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

func logged(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}
