package process

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/hacheck/hacheck/systems/vmsched/server/api"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor/watchdog"
	"github.com/hacheck/hacheck/systems/vmsched/server/probe"
)

// The guests of these tests are real processes: the test runs itself again.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "a-guest" {
		var config struct {
			Guest json.RawMessage `json:"guest"`
		}
		err := json.Unmarshal([]byte(os.Args[2]), &config)
		if err == nil {
			err = RunGuest(context.Background(), config.Guest)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// within is how long a test waits for what should take a moment.
const within = 20 * time.Second

// A world is what guests need: an observer and a volume service.
type world struct {
	testing.TB
	context.Context
	pipe    *os.File
	path    string
	news    chan struct{} // has room for one: there is more in seen
	mu      sync.Mutex
	seen    []sighting
	volumes *volumes
	addr    string // of the volumes
	hosts   int
}

// A sighting is an event, and when it was read.
type sighting struct {
	probe.Event
	at time.Time
}

func newWorld(t testing.TB) *world {
	ctx, cancel := context.WithTimeout(context.Background(), 3*within)
	t.Cleanup(cancel)
	w := &world{TB: t, Context: ctx, path: filepath.Join(t.TempDir(), "pipe"), news: make(chan struct{}, 1)}
	if err := syscall.Mkfifo(w.path, 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.pipe, err = os.OpenFile(w.path, os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	var read sync.WaitGroup
	read.Go(w.read)
	t.Cleanup(func() { w.pipe.Close(); read.Wait() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().String()
	w.volumes = &volumes{open: map[string]uint64{}, writes: map[string][]*api.WriteRequest{}}
	server := grpc.NewServer()
	api.RegisterVolumesServer(server, w.volumes)
	read.Go(func() { _ = server.Serve(l) })
	t.Cleanup(server.Stop)
	return w
}

func (w *world) read() {
	lines := bufio.NewScanner(w.pipe)
	for lines.Scan() {
		var e probe.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			w.Errorf("the observer read %q: %v", lines.Text(), err)
		}
		w.mu.Lock()
		w.seen = append(w.seen, sighting{e, time.Now()})
		w.mu.Unlock()
		select {
		case w.news <- struct{}{}:
		default:
		}
	}
}

// from waits for an event like this behind the first n, and returns how many there are with
// it.
func (w *world) from(n int, like func(probe.Event) bool) int {
	w.Helper()
	late := time.After(within)
	for {
		w.mu.Lock()
		at := slices.IndexFunc(w.seen[n:], func(s sighting) bool { return like(s.Event) })
		w.mu.Unlock()
		if at >= 0 {
			return n + at + 1
		}
		select {
		case <-w.news:
		case <-late:
			w.Fatalf("not seen behind %d: %v", n, w.seen)
		}
	}
}

func kind(k probe.Kind) func(probe.Event) bool {
	return func(e probe.Event) bool { return e.Kind == k }
}

func beat(host string, acked uint64) func(probe.Event) bool {
	return func(e probe.Event) bool { return e.Kind == probe.Beat && e.Host == host && e.Acked >= acked }
}

// all returns what was told until now, whoever is still about to.
func (w *world) all() []probe.Event {
	w.Helper()
	mark := probe.Event{Kind: "mark", Count: unique.Add(1)}
	line, _ := json.Marshal(mark)
	if _, err := w.pipe.Write(append(line, '\n')); err != nil {
		w.Fatal(err)
	}
	n := w.from(0, func(e probe.Event) bool { return e == mark })
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []probe.Event
	for _, s := range w.seen[:n-1] {
		if s.Kind != "mark" {
			all = append(all, s.Event)
		}
	}
	return all
}

// host returns the hypervisor of another host.
func (w *world) host() *Hypervisor {
	w.Helper()
	w.hosts++
	c := Config{
		Host: fmt.Sprintf("h%d-%d-%d", w.hosts, os.Getpid(), unique.Add(1)),
		Addr: "127.0.0.1", Volumes: w.addr, Probe: w.path, Program: []string{"/proc/self/exe", "a-guest"},
	}
	w.Cleanup(func() {
		all, err := w.again(c).Find(context.Background())
		if err != nil {
			w.Error(err)
		}
		for _, g := range all {
			if err := g.Kill(); err != nil {
				w.Error(err)
			}
		}
	})
	return w.again(c)
}

var unique atomic.Uint64

func (w *world) again(c Config) *Hypervisor {
	w.Helper()
	h, err := New(c)
	if err != nil {
		w.Fatal(err)
	}
	return h
}

// in returns the instant that comes so much later.
func (w *world) in(d time.Duration) watchdog.Instant {
	w.Helper()
	now, err := watchdog.Now()
	if err != nil {
		w.Fatal(err)
	}
	return now.Add(d)
}

func (w *world) start(h *Hypervisor, permit time.Duration) hypervisor.Guest {
	w.Helper()
	g, err := h.Start(w, hypervisor.Spec{VM: "vm1", Host: h.config.Host, Epoch: 1}, w.in(permit))
	if err != nil {
		w.Fatal(err)
	}
	return g
}

// permit permits more, and waits until that was heard: on a busy machine it takes a while.
func (w *world) permit(g interface {
	Permit(watchdog.Instant) error
}, until watchdog.Instant) {
	w.Helper()
	err := context.DeadlineExceeded
	for errors.Is(err, context.DeadlineExceeded) && w.Err() == nil {
		err = g.Permit(until)
	}
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) receive(h *Hypervisor) hypervisor.Incoming {
	w.Helper()
	in, err := h.Receive(w, hypervisor.Spec{VM: "vm1", Host: h.config.Host, Epoch: 1}, w.in(time.Minute))
	if err != nil {
		w.Fatal(err)
	}
	return in
}

// gone waits until it is.
func (w *world) gone(g interface{ Exited() <-chan struct{} }) {
	w.Helper()
	select {
	case <-g.Exited():
	case <-time.After(within):
		w.Fatal("it is still there")
	}
}

func pid(g hypervisor.Guest) int { return g.(*guestHandle).pid }

// signal sends one, and if that stops the guest waits until it is.
func (w *world) signal(g hypervisor.Guest, s syscall.Signal) {
	w.Helper()
	if err := syscall.Kill(pid(g), s); err != nil {
		w.Fatal(err)
	}
	for s == syscall.SIGSTOP {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid(g)))
		if err != nil {
			w.Fatal(err)
		}
		if strings.Contains(string(b), ") T ") {
			return
		}
	}
}

// volumes keeps writes in memory.
type volumes struct {
	api.UnimplementedVolumesServer
	mu     sync.Mutex
	open   map[string]uint64
	writes map[string][]*api.WriteRequest
	// hold, if there is one, keeps calls until it is closed; and taken has writes kept behind
	// their being taken, and not before.
	hold  chan struct{}
	taken bool
	tried []*api.WriteRequest // while held
}

func (v *volumes) holding(hold chan struct{}, taken bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hold, v.taken = hold, taken
}

func (v *volumes) wait(ctx context.Context, hold chan struct{}) error {
	if hold == nil {
		return nil
	}
	select {
	case <-hold:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (v *volumes) Open(ctx context.Context, r *api.OpenRequest) (*api.OpenResponse, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if hold := v.hold; hold != nil && !v.taken {
		v.mu.Unlock()
		err := v.wait(ctx, hold)
		v.mu.Lock()
		if err != nil {
			return nil, err
		}
	}
	if r.Epoch < v.open[r.Vm] {
		return nil, api.Definite(api.Reason_REASON_STALE, "epoch %d", v.open[r.Vm])
	}
	v.open[r.Vm] = r.Epoch
	return &api.OpenResponse{Last: uint64(len(v.writes[r.Vm]))}, nil
}

func (v *volumes) Write(ctx context.Context, r *api.WriteRequest) (*api.WriteResponse, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	hold, taken := v.hold, v.taken
	if hold != nil {
		v.tried = append(v.tried, r)
	}
	if hold != nil && !taken {
		v.mu.Unlock()
		err := v.wait(ctx, hold)
		v.mu.Lock()
		if err != nil {
			return nil, err
		}
	}
	last := uint64(len(v.writes[r.Vm]))
	switch {
	case r.Epoch != v.open[r.Vm]:
		return nil, api.Definite(api.Reason_REASON_STALE, "epoch %d", v.open[r.Vm])
	case r.Seq == last && last > 0 && v.writes[r.Vm][last-1].Epoch == r.Epoch:
	case r.Seq != last+1:
		return nil, api.Definite(api.Reason_REASON_GAP, "the last is %d", last)
	default:
		v.writes[r.Vm] = append(v.writes[r.Vm], r)
	}
	if hold != nil && taken {
		v.mu.Unlock()
		err := v.wait(ctx, hold)
		v.mu.Lock()
		return &api.WriteResponse{}, err
	}
	return &api.WriteResponse{}, nil
}

// written returns what is on the volume.
func (v *volumes) written() []*api.WriteRequest {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.writes["vm1"])
}

// fence refuses all epochs before one.
func (v *volumes) fence(epoch uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.open["vm1"] = epoch
}

func TestStartsBeatsAndStops(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host()
	g := w.start(h, time.Minute)
	if want := (hypervisor.Spec{VM: "vm1", Host: h.config.Host, Epoch: 1}); g.Spec() != want {
		t.Errorf("is %v, want %v", g.Spec(), want)
	}
	w.from(0, beat(h.config.Host, 10))
	if s, err := Look(w, g); err != nil || s.State != running || s.Epoch != 1 || s.Acked < 10 || !s.Sound {
		t.Errorf("console: %+v, %v", s, err)
	}
	if g.Standing() {
		t.Error("it stands")
	}
	w.permit(g, w.in(time.Minute))
	if err := g.Stop(w); err != nil {
		t.Fatal(err)
	}
	w.gone(g)
	var last probe.Event
	for i, e := range w.all() {
		if (e.Kind == probe.Boot) != (i == 0) || e.PID != pid(g) || e.Host != h.config.Host || e.Epoch != 1 || e.Lost != 0 ||
			e.Count < last.Count || e.Acked < last.Acked || i == 0 && (e.Count != 0 || e.Acked != 0) {
			t.Errorf("event %d is %+v, behind %+v", i, e, last)
		}
		last = e
	}
	written := w.volumes.written()
	if uint64(len(written)) < last.Acked {
		t.Errorf("%d writes, of which %d were acknowledged", len(written), last.Acked)
	}
	var before []byte
	for i, r := range written {
		if r.Seq != uint64(i+1) || r.Epoch != 1 || bytes.Compare(r.Data, before) < 0 || len(r.Data) != 8 {
			t.Errorf("write %d is %v, behind %x", i, r, before)
		}
		before = r.Data
	}
	if err := g.Permit(w.in(time.Minute)); err == nil {
		t.Error("what is gone can be permitted more")
	}
	if err := g.Kill(); err != nil {
		t.Errorf("kill again: %v", err)
	}
}

func TestStopKillsWhatDoesNotStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.start(w.host(), time.Minute)
	w.signal(g, syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(w, 50*time.Millisecond)
	defer cancel()
	if err := g.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	w.gone(g)
}

func TestStartSaysWhyNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host()
	for what, want := range map[string]struct {
		change func(*Config, *hypervisor.Spec)
		permit time.Duration
		err    string
	}{
		"no program":       {func(c *Config, _ *hypervisor.Spec) { c.Program = []string{"/nowhere"} }, time.Minute, "no such file"},
		"another program":  {func(c *Config, _ *hypervisor.Spec) { c.Program = []string{"/bin/true"} }, time.Minute, "EOF"},
		"no observer":      {func(c *Config, _ *hypervisor.Spec) { c.Probe = "/nowhere" }, time.Minute, "/nowhere"},
		"no permit":        {func(*Config, *hypervisor.Spec) {}, -time.Second, "EOF"},
		"not a name":       {func(_ *Config, s *hypervisor.Spec) { s.VM = "vm 1" }, time.Minute, "cannot name a guest"},
		"a name too long":  {func(_ *Config, s *hypervisor.Spec) { s.VM = strings.Repeat("v", 100) }, time.Minute, "cannot name a guest"},
		"one with a slash": {func(_ *Config, s *hypervisor.Spec) { s.VM = "vm/1" }, time.Minute, "cannot name a guest"},
	} {
		c, s := h.config, hypervisor.Spec{VM: "vm1", Host: h.config.Host, Epoch: 1}
		want.change(&c, &s)
		if _, err := w.again(c).Start(w, s, w.in(want.permit)); err == nil || !strings.Contains(err.Error(), want.err) {
			t.Errorf("%s: %v, want %q", what, err, want.err)
		}
	}
	ctx, cancel := context.WithCancel(w)
	cancel()
	if _, err := h.Start(ctx, hypervisor.Spec{VM: "vm1", Host: h.config.Host, Epoch: 1}, w.in(time.Minute)); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits: %v", err)
	}
	if all, err := h.Find(w); err != nil || len(all) > 0 {
		t.Errorf("left are %v, %v", all, err)
	}
	if all := w.all(); len(all) > 0 {
		t.Errorf("told was %v", all)
	}
}

// One whose agent dies before it was let begin could not be found by the next.
func TestWhatNobodyLetsBeginEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host()
	config, _ := json.Marshal(map[string]guestConfig{"guest": {
		Spec: hypervisor.Spec{VM: "vm1", Host: h.config.Host, Epoch: 1}, Volumes: w.addr, Probe: w.path, Until: w.in(time.Minute),
	}})
	conn, its, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(w, "/proc/self/exe", "a-guest", string(config))
	cmd.Stdin = its
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	its.Close()
	if _, err := newTalk(conn).answer(w); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("it ended with %v", err)
	}
	if all := w.all(); len(all) > 0 {
		t.Errorf("told was %v", all)
	}
}

func TestExited(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*world, hypervisor.Guest) error{
		"kill":      func(_ *world, g hypervisor.Guest) error { return g.Kill() },
		"by others": func(_ *world, g hypervisor.Guest) error { return syscall.Kill(pid(g), syscall.SIGKILL) },
		"stale":     func(w *world, _ hypervisor.Guest) error { w.volumes.fence(2); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			h := w.host()
			g := w.start(h, time.Minute)
			w.from(0, beat(h.config.Host, 1))
			select {
			case <-g.Exited():
				t.Fatal("it is gone")
			default:
			}
			if err := end(w, g); err != nil {
				t.Fatal(err)
			}
			w.gone(g)
			for _, r := range w.volumes.written() {
				if r.Epoch != 1 {
					t.Errorf("written was %v", r)
				}
			}
			if all, err := h.Find(w); err != nil || len(all) > 0 {
				t.Errorf("left are %v, %v", all, err)
			}
		})
	}
}

func TestWatchdogKillsWhatIsStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host()
	const permit = time.Second
	g := w.start(h, permit)
	w.from(0, kind(probe.Beat))
	w.signal(g, syscall.SIGSTOP)
	before := len(w.all())
	began := time.Now()
	w.gone(g)
	if took := time.Since(began); took > permit+within/4 {
		t.Errorf("it took %v", took)
	}
	if err := syscall.Kill(pid(g), syscall.SIGCONT); err == nil {
		// It is a zombie that nobody has waited for yet, and does nothing.
		t.Log("it is there to be waited for")
	}
	if all := w.all(); len(all) != before {
		t.Errorf("told was %v behind its end", all[before:])
	}
}

func TestPermits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.start(w.host(), time.Second)
	began := time.Now()
	w.permit(g, w.in(2*time.Second))
	w.gone(g)
	if lived := time.Since(began); lived < 2*time.Second {
		t.Errorf("it lived for %v", lived)
	}
}

// A guest that is stopped, and finds when it goes on that it was permitted something, was so
// from when it was sent.
func TestLatePermitDoesNotExtend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const first, permit, late, tooLate = 3 * time.Second, 4 * time.Second, time.Second, 5 * time.Second
	g := w.start(w.host(), first)
	began := time.Now()
	until := w.in(permit)
	w.signal(g, syscall.SIGSTOP)
	if err := g.Permit(until); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("permitted: %v", err)
	}
	select {
	case <-g.Exited():
		t.Fatal("it is gone")
	case <-time.After(late - time.Since(began)):
	}
	w.signal(g, syscall.SIGCONT)
	w.gone(g)
	if lived := time.Since(began); lived < permit || lived > tooLate {
		t.Errorf("it lived for %v", lived)
	}
}

// What was permitted is not taken back by a permit that is read late, nor extended by one
// whose time is over.
func TestOldPermitsChangeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const permit, tooLate = 3 * time.Second, 5 * time.Second
	h := w.host()
	began := time.Now()
	g := w.start(h, permit)
	for _, old := range []watchdog.Instant{0, w.in(-time.Hour), w.in(-1), w.in(permit / 4)} {
		w.permit(g, old)
	}
	w.gone(g)
	if lived := time.Since(began); lived < permit || lived > tooLate {
		t.Errorf("it lived for %v", lived)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(*world, hypervisor.Guest){
		"running":     func(*world, hypervisor.Guest) {},
		"not running": func(w *world, g hypervisor.Guest) { w.signal(g, syscall.SIGSTOP) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			h, other := w.host(), w.host()
			g := w.start(h, time.Minute)
			in := w.receive(h)
			before(w, g)
			h = w.again(h.config)
			all, err := h.Find(w)
			if err != nil || len(all) != 1 || all[0].Spec() != g.Spec() || all[0].Standing() {
				t.Fatalf("found %v, %v", all, err)
			}
			w.gone(in)
			again, err := h.Find(w)
			if err != nil || len(again) != 1 || again[0].Exited() != all[0].Exited() {
				t.Fatalf("found %v, %v", again, err)
			}
			if all, err := other.Find(w); err != nil || len(all) != 0 {
				t.Errorf("another host finds %v, %v", all, err)
			}
			select {
			case <-all[0].Exited():
				t.Fatal("it is gone")
			default:
			}
			if err := all[0].Kill(); err != nil {
				t.Fatal(err)
			}
			w.gone(g)
			w.gone(all[0])
			if all, err := h.Find(w); err != nil || len(all) != 0 {
				t.Errorf("found %v, %v", all, err)
			}
		})
	}
}

// A guest without storage runs, and hangs.
func TestStorageThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hold := make(chan struct{})
	w.volumes.holding(hold, false)
	h := w.host()
	g := w.start(h, time.Minute)
	n := w.from(0, kind(probe.Beat))
	n = w.from(n, kind(probe.Beat))
	if s, err := Look(w, g); err != nil || s.Acked != 0 || s.Count == 0 {
		t.Errorf("console: %+v, %v", s, err)
	}
	w.volumes.holding(nil, false)
	close(hold)
	w.from(n, beat(h.config.Host, 1))
}

// What is sent again is the same, however often.
func TestWritesAreSentAgain(t *testing.T) {
	t.Parallel()
	for _, taken := range []bool{false, true} {
		t.Run(fmt.Sprint("taken=", taken), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			h := w.host()
			w.start(h, time.Minute)
			n := w.from(0, beat(h.config.Host, 3))
			hold := make(chan struct{})
			w.volumes.holding(hold, taken)
			for range 40 { // beats, which is longer than a call lasts
				n = w.from(n, kind(probe.Beat))
			}
			w.volumes.holding(nil, false)
			close(hold)
			w.volumes.mu.Lock()
			tried := slices.Clone(w.volumes.tried)
			w.volumes.mu.Unlock()
			if len(tried) < 2 {
				t.Fatalf("tried was %v", tried)
			}
			for _, r := range tried {
				if r.Seq != tried[0].Seq || !bytes.Equal(r.Data, tried[0].Data) {
					t.Errorf("%v is not %v", r, tried[0])
				}
			}
			w.from(n, beat(h.config.Host, tried[0].Seq+2))
			if got := w.volumes.written()[tried[0].Seq-1]; !bytes.Equal(got.Data, tried[0].Data) {
				t.Errorf("written was %v, want %v", got, tried[0])
			}
		})
	}
}

func TestMigrates(t *testing.T) {
	t.Parallel()
	for name, holding := range map[string]func(*volumes, chan struct{}){
		"idle":                  func(*volumes, chan struct{}) {},
		"a write under way":     func(v *volumes, hold chan struct{}) { v.holding(hold, false) },
		"a write that was made": func(v *volumes, hold chan struct{}) { v.holding(hold, true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			source, target := w.host(), w.host()
			g := w.start(source, time.Minute)
			w.from(0, beat(source.config.Host, 5))
			in := w.receive(target)
			hold := make(chan struct{})
			holding(w.volumes, hold)
			if err := g.Send(w, in.Addr()); err != nil {
				t.Fatal(err)
			}
			w.volumes.holding(nil, false)
			if !g.Standing() {
				t.Error("the source does not stand")
			}
			if err := g.Send(w, in.Addr()); err == nil {
				t.Error("what stands is sent")
			}
			// The next agent of the host sees that it stands, also if it does not answer.
			w.signal(g, syscall.SIGSTOP)
			all, err := w.again(source.config).Find(w)
			if err != nil || len(all) != 1 || !all[0].Standing() || all[0].Spec() != g.Spec() {
				t.Fatalf("found %v, %v", all, err)
			}
			w.signal(g, syscall.SIGCONT)
			w.permit(in, w.in(time.Minute))
			to, err := in.Resume(w, 2)
			if err != nil {
				t.Fatal(err)
			}
			close(hold)
			if want := (hypervisor.Spec{VM: "vm1", Host: target.config.Host, Epoch: 2}); to.Spec() != want {
				t.Errorf("is %v, want %v", to.Spec(), want)
			}
			acked := uint64(len(w.volumes.written()))
			w.from(0, beat(target.config.Host, acked+5))
			if s, err := Look(w, to); err != nil || !s.Sound || s.Epoch != 2 || s.State != running {
				t.Errorf("console: %+v, %v", s, err)
			}
			w.permit(to, w.in(time.Minute))
			all, err = w.again(target.config).Find(w)
			if err != nil || len(all) != 1 || all[0].Spec() != to.Spec() || all[0].Standing() {
				t.Errorf("found %v, %v", all, err)
			}
			if err := errors.Join(g.Kill(), to.Stop(w)); err != nil {
				t.Error(err)
			}
			handedOver(t, w.all(), pid(g), pid(to))
			for i, r := range w.volumes.written() {
				if r.Seq != uint64(i+1) || i > 0 && r.Epoch < w.volumes.written()[i-1].Epoch {
					t.Errorf("write %d is %v", i, r)
				}
			}
			w.volumes.mu.Lock()
			defer w.volumes.mu.Unlock()
			for _, r := range w.volumes.tried { // by the source, and had not heard of
				if got := w.volumes.writes["vm1"][r.Seq-1]; !bytes.Equal(got.Data, r.Data) {
					t.Errorf("write %v was lost, there is %v", r, got)
				}
			}
		})
	}
}

// handedOver fails the test unless one process did things until it was paused, and from
// there on another.
func handedOver(t *testing.T, all []probe.Event, source, target int) {
	t.Helper()
	paused := slices.IndexFunc(all, func(e probe.Event) bool { return e.Kind == probe.Paused })
	if paused < 0 || paused+1 == len(all) {
		t.Fatalf("not paused: %v", all)
	}
	for i, e := range all {
		if want := map[bool]int{true: source, false: target}[i <= paused]; e.PID != want {
			t.Errorf("event %d is %+v, want process %d", i, e, want)
		}
		if (e.Kind == probe.Resumed) != (i == paused+1) {
			t.Errorf("event %d is %+v, and %d was the pause", i, e, paused)
		}
		if i > 0 && (e.Count < all[i-1].Count || e.Acked < all[i-1].Acked) {
			t.Errorf("event %d is %+v, behind %+v", i, e, all[i-1])
		}
	}
	if all[paused+1].Count != all[paused].Count {
		t.Errorf("stood at %d, and went on at %d", all[paused].Count, all[paused+1].Count)
	}
}

// A relay is a network between a source and a target that can be watched.
type relay struct {
	addr   string
	passed chan struct{} // closed when so much has passed as was asked for
	cut    func()
}

// relay passes n bytes on, and then keeps what comes; answers pass if n is not enough for
// anything to be kept.
func (w *world) relay(to string, n int64) *relay {
	w.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	r := &relay{addr: l.Addr().String(), passed: make(chan struct{})}
	var busy sync.WaitGroup
	ended := make(chan struct{})
	r.cut = sync.OnceFunc(func() { close(ended); l.Close(); busy.Wait() })
	w.Cleanup(r.cut)
	busy.Go(func() {
		source, err := l.Accept()
		if err != nil {
			return
		}
		defer source.Close()
		target, err := net.Dial("tcp", to)
		if err != nil {
			w.Error(err)
			return
		}
		defer target.Close()
		if _, err := io.CopyN(target, source, n); err == nil {
			close(r.passed)
		}
		<-ended
	})
	return r
}

// enough is half of what there is to send.
const enough = pageCount * pageSize / 2

func TestSourceDiesWhileItSends(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	source, target := w.host(), w.host()
	g, in := w.start(source, time.Minute), w.receive(target)
	r := w.relay(in.Addr(), enough)
	sent := make(chan error, 1)
	go func() { sent <- g.Send(w, r.addr) }()
	<-r.passed
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err == nil {
		t.Error("it was sent")
	}
	r.cut()
	w.gone(in)
	if _, err := in.Resume(w, 2); err == nil {
		t.Error("it goes on")
	}
}

func TestTargetDiesWhileItIsSentTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	source, target := w.host(), w.host()
	g, in := w.start(source, time.Minute), w.receive(target)
	r := w.relay(in.Addr(), enough)
	sent := make(chan error, 1)
	go func() { sent <- g.Send(w, r.addr) }()
	<-r.passed
	if err := in.Kill(); err != nil {
		t.Fatal(err)
	}
	r.cut()
	if err := <-sent; err == nil {
		t.Error("it was sent")
	}
	if err := g.Continue(w); err != nil || g.Standing() {
		t.Error(err, g.Standing())
	}
	w.from(len(w.all()), kind(probe.Beat))
	for _, e := range w.all() {
		if e.Kind == probe.Paused || e.Kind == probe.Continued {
			t.Errorf("%+v", e)
		}
	}
	// It can be sent once more.
	if in = w.receive(target); in == nil {
		return
	}
	if err := g.Send(w, in.Addr()); err != nil {
		t.Error(err)
	}
}

// What stands and hears nothing may be continued, and what has come to the target in the
// meantime is worth nothing.
func TestContinues(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	source, target := w.host(), w.host()
	g, in := w.start(source, time.Minute), w.receive(target)
	ctx, cancel := context.WithCancel(w)
	defer cancel()
	r := w.relay(in.Addr(), 1<<40)
	sent := make(chan error, 1)
	go func() { sent <- g.Send(ctx, r.addr) }()
	w.from(0, kind(probe.Paused))
	cancel()
	if err := <-sent; !errors.Is(err, context.Canceled) {
		t.Fatalf("sent: %v", err)
	}
	if err := g.Continue(w); err != nil || g.Standing() {
		t.Fatal(err, g.Standing())
	}
	if err := g.Continue(w); err != nil {
		t.Errorf("once more: %v", err)
	}
	n := w.from(0, kind(probe.Continued))
	w.from(n, kind(probe.Beat))
	all := w.all()
	at := slices.IndexFunc(all, kind(probe.Continued))
	if all[at-1].Kind != probe.Paused || all[at-1].Count != all[at].Count {
		t.Errorf("%+v is behind %+v", all[at], all[at-1])
	}
	if err := in.Kill(); err != nil {
		t.Error(err)
	}
	w.gone(in)
}

// An agent that was restarted may continue what its forerunner was sending: then that ends, and
// does not stop the guest later.
func TestContinueEndsASend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	source, target := w.host(), w.host()
	g, in := w.start(source, time.Minute), w.receive(target)
	r := w.relay(in.Addr(), enough)
	sent := make(chan error, 1)
	go func() { sent <- g.Send(w, r.addr) }()
	<-r.passed
	if err := g.Continue(w); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err == nil {
		t.Error("it was sent")
	}
	w.from(len(w.all()), kind(probe.Beat))
	if slices.ContainsFunc(w.all(), kind(probe.Paused)) || g.Standing() {
		t.Error("it was stopped")
	}
}

func TestResumesOnlyWhatHasEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.host()
	in := w.receive(h)
	// Others do not keep it from the source: not one who says nothing, and not one of another
	// machine.
	nobody, err := net.Dial("tcp", in.Addr())
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	other, err := net.Dial("tcp", in.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := newMachine().send(w, other, "vm2", func() error { return nil }); err == nil {
		t.Error("it took another machine")
	}
	select {
	case <-in.Exited():
		t.Fatal("it is gone")
	default:
	}
	if g, err := in.Resume(w, 2); err == nil || !strings.Contains(err.Error(), "everything") {
		t.Errorf("resumed %v, %v", g, err)
	}
	w.gone(in)
	if all := w.all(); len(all) > 0 {
		t.Errorf("told was %v", all)
	}
}

func BenchmarkBoot(b *testing.B) {
	w := newWorld(b)
	h := w.host()
	for b.Loop() {
		g := w.start(h, time.Minute)
		b.StopTimer()
		if err := g.Kill(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// Of a migration on one machine: how long the guest stands, as the observer sees it, and how
// long all of it takes.
func BenchmarkMigration(b *testing.B) {
	w := newWorld(b)
	from := w.host()
	g := w.start(from, time.Minute)
	var pause time.Duration
	for b.Loop() {
		to := w.host()
		in := w.receive(to)
		if err := g.Send(w, in.Addr()); err != nil {
			b.Fatal(err)
		}
		next, err := in.Resume(w, g.Spec().Epoch+1)
		if err != nil {
			b.Fatal(err)
		}
		n := w.from(0, func(e probe.Event) bool { return e.Kind == probe.Resumed && e.Epoch == next.Spec().Epoch })
		w.mu.Lock()
		for i := n - 1; i >= 0; i-- {
			if w.seen[i].Kind == probe.Paused {
				pause += w.seen[n-1].at.Sub(w.seen[i].at)
				break
			}
		}
		w.mu.Unlock()
		if err := g.Kill(); err != nil {
			b.Fatal(err)
		}
		g = next
	}
	b.ReportMetric(float64(pause.Milliseconds())/float64(b.N), "pause-ms")
}
