package qemu

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor/watchdog"
	"github.com/hacheck/hacheck/systems/vmsched/server/probe"
)

// The test runs itself again as a shim.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 {
		var part struct{ Shim json.RawMessage }
		if json.Unmarshal([]byte(os.Args[1]), &part) == nil && part.Shim != nil {
			if err := RunShim(context.Background(), part.Shim); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// long is what no test takes, and what guests are permitted that are not to be killed.
const long = 15 * time.Second

// permitted is what guests are that are to be killed: enough to start on a busy machine.
const permitted = 2 * time.Second

// in returns the instant that comes so much later.
func in(t testing.TB, d time.Duration) watchdog.Instant {
	t.Helper()
	now, err := watchdog.Now()
	if err != nil {
		t.Fatal(err)
	}
	return now.Add(d)
}

// A lab is some hosts that share images, and who observes them.
type lab struct {
	t      testing.TB
	images string
	pipe   string
	hosts  map[string]*Hypervisor

	mu     sync.Mutex
	events []probe.Event
	more   chan struct{} // closed when there are more events
}

func newLab(t testing.TB, bug string, hosts ...string) *lab {
	t.Helper()
	if err := Installed(); err != nil {
		t.Skip(err)
	}
	l := &lab{t: t, images: t.TempDir(), hosts: map[string]*Hypervisor{}, more: make(chan struct{})}
	l.pipe = filepath.Join(t.TempDir(), "probe")
	if err := syscall.Mkfifo(l.pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(l.pipe, os.O_RDWR, 0) // it does not end when no guest is there
	if err != nil {
		t.Fatal(err)
	}
	var reader sync.WaitGroup
	reader.Go(func() { l.observe(f) })
	t.Cleanup(func() {
		_ = f.Close()
		reader.Wait()
	})
	for _, host := range hosts {
		l.hosts[host] = l.hypervisor(host, t.TempDir(), bug)
	}
	return l
}

func (l *lab) hypervisor(host, dir, bug string) *Hypervisor {
	l.t.Helper()
	program, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	h, err := New(Config{
		Host: host, Addr: "127.0.0.1", Dir: dir, Images: l.images, Probe: l.pipe,
		Program: []string{program}, Bug: bug,
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		seen, err := look(h.scope)
		if err != nil {
			l.t.Error(err)
		}
		for n := range seen {
			g, err := h.attach(n, hypervisor.Spec{}, nil)
			if errors.Is(err, syscall.ECONNREFUSED) {
				continue
			}
			if err != nil {
				l.t.Error(err)
				continue
			}
			if err := g.end(); err != nil {
				l.t.Error(err)
			}
		}
	})
	return h
}

func (l *lab) observe(f *os.File) {
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var e probe.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			l.t.Errorf("told %q: %v", lines.Bytes(), err)
			return
		}
		l.mu.Lock()
		l.events = append(l.events, e)
		close(l.more)
		l.more = make(chan struct{})
		l.mu.Unlock()
	}
}

// told returns what was told so far.
func (l *lab) told() []probe.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

// until waits for an event behind the first so many, and returns it.
func (l *lab) until(what string, behind int, is func(probe.Event) bool) probe.Event {
	l.t.Helper()
	limit := time.After(long)
	for {
		l.mu.Lock()
		events, more := l.events, l.more
		l.mu.Unlock()
		for ; behind < len(events); behind++ {
			if is(events[behind]) {
				return events[behind]
			}
		}
		select {
		case <-more:
		case <-limit:
			l.t.Fatalf("nobody told of %s; all: %+v", what, l.told())
		}
	}
}

func beatOf(g hypervisor.Guest) func(probe.Event) bool {
	return func(e probe.Event) bool { return e.Kind == probe.Beat && e.Epoch == g.Spec().Epoch }
}

// pid returns the process of a guest: its QEMU.
func (l *lab) pid(g hypervisor.Guest) int {
	l.t.Helper()
	return l.until("a boot", 0, func(e probe.Event) bool {
		return e.Kind == probe.Boot && e.VM == g.Spec().VM && e.Epoch == g.Spec().Epoch
	}).PID
}

func (l *lab) start(host, vm string, epoch uint64) hypervisor.Guest {
	l.t.Helper()
	g, err := l.hosts[host].Start(l.t.Context(), hypervisor.Spec{VM: vm, Host: host, Epoch: epoch}, in(l.t, long))
	if err != nil {
		l.t.Fatal(err)
	}
	return g
}

func (l *lab) receive(host, vm string, epoch uint64) hypervisor.Incoming {
	l.t.Helper()
	i, err := l.hosts[host].Receive(l.t.Context(), hypervisor.Spec{VM: vm, Host: host, Epoch: epoch}, in(l.t, long))
	if err != nil {
		l.t.Fatal(err)
	}
	return i
}

func (l *lab) gone(what string, c <-chan struct{}) {
	l.t.Helper()
	select {
	case <-c:
	case <-time.After(long):
		l.t.Fatalf("%s is not gone", what)
	}
}

// stopShim has a guest's shim stand still, and returns when it does.
func stopShim(t testing.TB, g hypervisor.Guest) {
	t.Helper()
	pid := g.(*guest).process.Pid
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("it does not stand still: %v, %v", status, err)
	}
}

// dead says that a process has no memory any more, if there is more of it than its exit
// status: it does nothing.
func dead(t testing.TB, pid int) bool {
	t.Helper()
	arguments, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
	return len(arguments) == 0
}

func TestGuestIsItsSource(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	object, binary := filepath.Join(dir, "guest.o"), filepath.Join(dir, "guest.bin")
	if out, err := exec.Command(gcc, "-m16", "-nostdlib", "-c", "-o", object, "guest.S").CombinedOutput(); err != nil {
		t.Skipf("a compiler for another machine: %v: %s", err, out)
	}
	if out, err := exec.Command("ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", binary, object).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	fresh, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(fresh, bootSector) {
		t.Error("guest.bin is not guest.S: run go generate")
	}
	if len(bootSector) != sector {
		t.Errorf("the boot sector has %d bytes, and not %d", len(bootSector), sector)
	}
}

func TestGuestCountsAndWrites(t *testing.T) {
	t.Parallel()
	l := newLab(t, "", "n4")
	g := l.start("n4", "vm1", 3)
	last := l.until("the fifth write", 0, func(e probe.Event) bool { return e.Acked == 5 })
	written, err := ReadVolume(l.images, "vm1")
	if err != nil {
		t.Fatal(err)
	}
	if written < last.Acked {
		t.Errorf("acknowledged %d, and has written %d", last.Acked, written)
	}
	events := l.told()
	for i, e := range events {
		want := probe.Beat
		if i == 0 {
			want = probe.Boot
		}
		if e.Kind != want || e.VM != "vm1" || e.Host != "n4" || e.Epoch != 3 || e.PID != events[0].PID || e.Lost != 0 {
			t.Errorf("told %+v, want a %s", e, want)
		}
		if i > 0 && (e.Count <= events[i-1].Count || e.Acked < events[i-1].Acked) {
			t.Errorf("told %+v behind %+v", e, events[i-1])
		}
	}
	pid := events[0].PID
	if name, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm"); err != nil || !strings.HasPrefix(string(name), "qemu-system") {
		t.Errorf("the process that was told is %q, %v", name, err)
	}
	if err := g.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.gone("a guest that was stopped", g.Exited())
	if !dead(t, pid) {
		t.Error("QEMU runs, and its guest was stopped")
	}
	if slices.ContainsFunc(l.told(), func(e probe.Event) bool { return e.Kind == probe.Paused }) {
		t.Error("a guest that was to stop was said to be paused")
	}
	found, err := l.hosts["n4"].Find(t.Context())
	if err != nil || len(found) > 0 {
		t.Errorf("found %v, %v", found, err)
	}
}

func TestImageIsOnes(t *testing.T) {
	t.Parallel()
	l := newLab(t, "", "n4", "n5")
	g := l.start("n4", "vm1", 1)
	second := func(while string) {
		t.Helper()
		_, err := l.hosts["n5"].Start(t.Context(), hypervisor.Spec{VM: "vm1", Host: "n5", Epoch: 2}, in(t, long))
		if err == nil || !strings.Contains(err.Error(), `Failed to get "write" lock`) {
			t.Errorf("a second one while the first %s: %v", while, err)
		}
		if seen, err := look(l.hosts["n5"].scope); err != nil || len(seen) > 0 {
			t.Errorf("something is left of a start that was refused: %v, %v", seen, err)
		}
	}
	second("runs")
	pid := l.pid(g)
	stopShim(t, g)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	second("stands still")

	// Killed, it is not there any more, and the next one goes on with its disk.
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	if !dead(t, pid) {
		t.Error("QEMU is there, and its guest was killed")
	}
	written, err := ReadVolume(l.images, "vm1")
	if err != nil {
		t.Fatal(err)
	}
	behind := len(l.told())
	l.start("n5", "vm1", 2)
	boot := l.until("the second boot", behind, func(e probe.Event) bool { return e.Kind == probe.Boot })
	if boot.Acked != written || boot.Epoch != 2 || boot.Host != "n5" {
		t.Errorf("told %+v of a disk with the number %d", boot, written)
	}
	l.until("another write", behind, func(e probe.Event) bool { return e.Acked > written })
}

func TestWatchdogEndsWhatStandsStill(t *testing.T) {
	t.Parallel()
	l := newLab(t, "", "n4")
	began := time.Now()
	g, err := l.hosts["n4"].Start(t.Context(), hypervisor.Spec{VM: "vm1", Host: "n4", Epoch: 1}, in(t, permitted))
	if err != nil {
		t.Fatal(err)
	}
	pid := l.pid(g)
	stopShim(t, g)
	// What it does not read does not keep it.
	if err := g.Permit(in(t, long)); err != nil {
		t.Fatal(err)
	}
	l.gone("a guest at its end", g.Exited())
	if lived := time.Since(began); lived < permitted || lived > permitted+5*time.Second {
		t.Errorf("lived for %v, and was permitted %v", lived, permitted)
	}
	if !dead(t, pid) {
		t.Error("QEMU runs without its shim")
	}
	if err := g.Permit(in(t, time.Second)); err == nil {
		t.Error("a guest that is gone was permitted to run")
	}
}

func TestPermitsAreNotTakenBack(t *testing.T) {
	t.Parallel()
	l := newLab(t, "", "n4")
	g, err := l.hosts["n4"].Start(t.Context(), hypervisor.Spec{VM: "vm1", Host: "n4", Epoch: 1}, in(t, permitted))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Permit(in(t, long)); err != nil {
		t.Fatal(err)
	}
	// It counts a hundred a second.
	l.until("more than it was permitted", 0, func(e probe.Event) bool { return e.Count > 220 })
	for _, old := range []watchdog.Instant{0, in(t, -time.Second), in(t, permitted/20)} {
		if err := g.Permit(old); err != nil {
			t.Fatal(err)
		}
	}
	l.until("more, after old ones that came late", 0, func(e probe.Event) bool { return e.Count > 300 })
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
}

func TestNextAgentFinds(t *testing.T) {
	t.Parallel()
	l := newLab(t, "", "n4", "n5")
	l.start("n4", "vm1", 7)
	still := l.start("n4", "vm2", 9)
	l.start("n5", "vm3", 1)
	incoming := l.receive("n4", "vm3", 2)
	stopShim(t, still)
	next := l.hypervisor("n4", l.hosts["n4"].config.Dir, "")
	found, err := next.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var specs []hypervisor.Spec
	for _, g := range found {
		specs = append(specs, g.Spec())
		if g.Standing() {
			t.Errorf("%+v is said to stand", g.Spec())
		}
	}
	want := []hypervisor.Spec{{VM: "vm1", Host: "n4", Epoch: 7}, {VM: "vm2", Host: "n4", Epoch: 9}}
	if !slices.Equal(specs, want) {
		t.Fatalf("found %+v, want %+v", specs, want)
	}
	l.gone("what was to be received", incoming.Exited())
	// They are the next one's as they were the first one's.
	if err := found[0].Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := found[1].Kill(); err != nil {
		t.Error(err)
	}
	l.gone("a guest that another has killed", still.Exited())
	if found, err = next.Find(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("found %v, %v", found, err)
	}
}

func TestGuestGoesWithEither(t *testing.T) {
	t.Parallel()
	l := newLab(t, "", "n4")
	first := l.start("n4", "vm1", 1)
	pid := l.pid(first)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	l.gone("a guest whose QEMU was killed", first.Exited())

	second := l.start("n4", "vm1", 2)
	pid = l.pid(second)
	if err := second.(*guest).process.Kill(); err != nil {
		t.Fatal(err)
	}
	l.gone("a guest whose shim was killed", second.Exited())
	if !dead(t, pid) {
		t.Error("QEMU runs without its shim")
	}
}

func TestStartGivesUp(t *testing.T) {
	t.Parallel()
	l := newLab(t, "", "n4")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.hosts["n4"].Start(ctx, hypervisor.Spec{VM: "vm1", Host: "n4", Epoch: 1}, in(t, long)); !errors.Is(err, context.Canceled) {
		t.Errorf("it says %v", err)
	}
	if _, err := l.hosts["n4"].Start(t.Context(), hypervisor.Spec{VM: "vm1", Host: "n4", Epoch: 1}, in(t, -time.Second)); err == nil {
		t.Error("a guest was started that may not run")
	}
	if seen, err := look(l.hosts["n4"].scope); err != nil || len(seen) > 0 {
		t.Errorf("something is left: %v, %v", seen, err)
	}
}

// An agent that dies while it starts a guest has a successor that does not see it yet.
func TestShimOfNobodyStartsNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t, "", "n4")
	h := l.hosts["n4"]
	if err := makeImage(l.images, "vm1"); err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]shimConfig{"shim": {
		Spec: hypervisor.Spec{VM: "vm1", Host: "n4", Epoch: 1}, Until: in(t, long), Scope: h.scope,
		Image: imageOf(l.images, "vm1"), Lock: true, Probe: l.pipe,
	}})
	if err != nil {
		t.Fatal(err)
	}
	nobody, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(h.config.Program[0], string(config))
	cmd.Stdout = out
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	complaint, err := io.ReadAll(said)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(string(complaint), "broken pipe") {
		t.Errorf("it ended with %v: %s", err, complaint)
	}
	if events := l.told(); len(events) > 0 {
		t.Errorf("it told %+v", events)
	}
}

func TestMigration(t *testing.T) {
	t.Parallel()
	l := newLab(t, "", "n4", "n5")
	source := l.start("n4", "vm1", 1)
	target := l.receive("n5", "vm1", 2)
	l.until("a write", 0, func(e probe.Event) bool { return e.Acked == 1 })
	if err := source.Send(t.Context(), target.Addr()); err != nil {
		t.Fatal(err)
	}
	if !source.Standing() {
		t.Error("a guest that was sent does not stand")
	}
	if found, err := l.hosts["n4"].Find(t.Context()); err != nil || len(found) != 1 || !found[0].Standing() {
		t.Errorf("found %v, %v, want one that stands", found, err)
	}
	moved, err := target.Resume(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	if want := (hypervisor.Spec{VM: "vm1", Host: "n5", Epoch: 3}); moved.Spec() != want {
		t.Errorf("resumed %+v, want %+v", moved.Spec(), want)
	}
	if found, err := l.hosts["n5"].Find(t.Context()); err != nil || len(found) != 1 || found[0].Spec() != moved.Spec() {
		t.Errorf("found %v, %v, want %+v", found, err, moved.Spec())
	}
	if err := target.(*incomer).ask(t.Context(), request{Do: resume, Epoch: 4}, 0); err == nil {
		t.Error("a guest was resumed twice")
	}
	// The source has no right to the image now.
	if err := source.Continue(t.Context()); err == nil || !strings.Contains(err.Error(), "lock") {
		t.Errorf("the source goes on: %v", err)
	}
	paused := l.until("the pause", 0, func(e probe.Event) bool { return e.Kind == probe.Paused })
	l.until("a write on the target", 0, func(e probe.Event) bool { return e.Host == "n5" && e.Acked > paused.Acked+1 })
	events := l.told()
	at := slices.IndexFunc(events, func(e probe.Event) bool { return e.Kind == probe.Paused })
	for _, e := range events[:at] {
		if e.Host != "n4" || e.Count > paused.Count {
			t.Errorf("before the pause: %+v", e)
		}
	}
	for i, e := range events[at+1:] {
		if e.Host != "n5" || e.Epoch != 3 || (i == 0) != (e.Kind == probe.Resumed) || e.Count <= paused.Count || e.Acked < paused.Acked {
			t.Errorf("behind the pause at %+v: %+v", paused, e)
		}
	}
	if first := events[at+1]; first.Count > paused.Count+10 {
		t.Errorf("the count went on from %d to %d", paused.Count, first.Count)
	}
	if err := source.Kill(); err != nil {
		t.Error(err)
	}
}

// sending starts to send, and returns how that ends when the guest is being sent.
func (l *lab) sending(ctx context.Context, source hypervisor.Guest, addr string) <-chan error {
	l.t.Helper()
	sent := make(chan error, 1)
	behind := len(l.told())
	go func() { sent <- source.Send(ctx, addr) }()
	// Pre-copy takes longer than this.
	beats := 0
	l.until("beats while it is sent", behind, func(e probe.Event) bool { beats++; return beats == 2 })
	select {
	case err := <-sent:
		l.t.Fatalf("it was sent at once: %v", err)
	default:
	}
	return sent
}

func TestSourceDiesInPreCopy(t *testing.T) {
	t.Parallel()
	l := newLab(t, "", "n4", "n5")
	source := l.start("n4", "vm1", 1)
	target := l.receive("n5", "vm1", 2)
	if _, err := l.receive("n5", "vm1", 2).Resume(t.Context(), 3); err == nil {
		t.Error("what nobody has sent was resumed")
	}
	sent := l.sending(t.Context(), source, target.Addr())
	if err := source.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err == nil {
		t.Error("a guest that was killed was sent")
	}
	l.gone("the target", target.Exited())
	if _, err := target.Resume(t.Context(), 3); err == nil {
		t.Error("half a guest was resumed")
	}
	l.start("n5", "vm1", 4)
}

func TestTargetDiesInPreCopy(t *testing.T) {
	t.Parallel()
	l := newLab(t, "", "n4", "n5")
	source := l.start("n4", "vm1", 1)
	target := l.receive("n5", "vm1", 2)
	sent := l.sending(t.Context(), source, target.Addr())
	if err := target.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err == nil {
		t.Error("it was sent to nobody")
	}
	l.goesOn(source)

	// And it can be sent again.
	target = l.receive("n5", "vm1", 3)
	if err := source.Send(t.Context(), target.Addr()); err != nil {
		t.Fatal(err)
	}
	// It has everything, and dies.
	if err := target.Kill(); err != nil {
		t.Fatal(err)
	}
	if !source.Standing() {
		t.Error("a guest that was sent does not stand")
	}
	behind := len(l.told())
	l.goesOn(source)
	events := l.told()[behind:]
	if events[0].Kind != probe.Continued {
		t.Errorf("told %+v, want that it was continued", events[0])
	}
}

// goesOn fails the test if a guest does not that is continued.
func (l *lab) goesOn(g hypervisor.Guest) {
	l.t.Helper()
	if err := g.Continue(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	behind := len(l.told())
	beat := l.until("a beat", behind, beatOf(g))
	l.until("a write", behind, func(e probe.Event) bool { return beatOf(g)(e) && e.Acked > beat.Acked })
	if g.Standing() {
		l.t.Error("it beats, and is said to stand")
	}
}

func TestSendGivesUp(t *testing.T) {
	t.Parallel()
	l := newLab(t, "", "n4", "n5")
	source := l.start("n4", "vm1", 1)

	target := l.receive("n5", "vm1", 2)
	ctx, cancel := context.WithCancel(t.Context())
	sent := l.sending(ctx, source, target.Addr())
	cancel()
	if err := <-sent; err == nil {
		t.Error("it was sent, and that was taken back")
	}
	l.goesOn(source)
	if err := target.Kill(); err != nil {
		t.Error(err)
	}
	if err := source.Send(t.Context(), target.Addr()); err == nil {
		t.Error("it was sent to where nobody is")
	}
	l.goesOn(source)

	// The source has an end only when the target says that it has everything.
	target = l.receive("n5", "vm1", 3)
	if err := syscall.Kill(target.(*incomer).qemu(t), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	behind := len(l.told())
	ctx, cancel = context.WithCancel(t.Context())
	sent = l.sending(ctx, source, target.Addr())
	l.until("the pause", behind, func(e probe.Event) bool { return e.Kind == probe.Paused })
	cancel()
	if err := <-sent; err == nil {
		t.Error("it was sent to a target that says nothing")
	}
	l.goesOn(source)
	l.until("that it goes on", behind, func(e probe.Event) bool { return e.Kind == probe.Continued })

	target = l.receive("n5", "vm1", 4)
	if err := source.Send(t.Context(), target.Addr()); err != nil {
		t.Errorf("after all that it cannot be sent: %v", err)
	}
}

// qemu returns a guest's QEMU: its shim's child.
func (g *guest) qemu(t *testing.T) int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", g.process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		children, err := os.ReadFile(task)
		if err != nil {
			t.Fatal(err)
		}
		if pid, err := strconv.Atoi(strings.TrimSpace(string(children))); err == nil {
			return pid
		}
	}
	t.Fatal("a shim without QEMU")
	return 0
}

func TestImageLockOff(t *testing.T) {
	t.Parallel()
	l := newLab(t, bug.ImageLockOff, "n4", "n5", "n6")
	source := l.start("n4", "vm1", 1)
	target := l.receive("n5", "vm1", 2)
	if err := source.Send(t.Context(), target.Addr()); err != nil {
		t.Fatal(err)
	}
	if err := source.Kill(); err == nil {
		t.Fatal("the source does not go on")
	}
	if _, err := target.Resume(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	third := l.start("n6", "vm1", 4)
	behind := len(l.told())
	for _, epoch := range []uint64{1, 3, 4} {
		l.until(fmt.Sprintf("a beat of epoch %d", epoch), behind, func(e probe.Event) bool {
			return e.Kind == probe.Beat && e.Epoch == epoch
		})
	}
	if err := third.Kill(); err != nil {
		t.Error(err)
	}
	l.gone("a guest that was killed", third.Exited())
}

func TestReadVolumeOfNone(t *testing.T) {
	if _, err := ReadVolume(t.TempDir(), "vm1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it says %v", err)
	}
}

func BenchmarkBoot(b *testing.B) {
	l := newLab(b, "", "n4")
	for i := range b.N {
		g := l.start("n4", "vm1", uint64(i+1))
		b.StopTimer()
		if err := g.Kill(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// What is measured is the whole of a migration; pause-ms is for how long the guest says nothing.
func BenchmarkMigration(b *testing.B) {
	l := newLab(b, "", "n4", "n5")
	hosts := []string{"n4", "n5"}
	g := l.start("n4", "vm1", 1)
	var paused time.Duration
	for i := range b.N {
		b.StopTimer()
		target := l.receive(hosts[(i+1)%2], "vm1", uint64(2*i+2))
		behind := len(l.told())
		b.StartTimer()
		sent := make(chan error, 1)
		go func() { sent <- g.Send(b.Context(), target.Addr()) }()
		l.until("the pause", behind, func(e probe.Event) bool { return e.Kind == probe.Paused })
		began := time.Now()
		if err := <-sent; err != nil {
			b.Fatal(err)
		}
		moved, err := target.Resume(b.Context(), uint64(2*i+3))
		if err != nil {
			b.Fatal(err)
		}
		paused += time.Since(began)
		b.StopTimer()
		if err := g.Kill(); err != nil {
			b.Fatal(err)
		}
		g = moved
		b.StartTimer()
	}
	b.ReportMetric(float64(paused.Milliseconds())/float64(b.N), "pause-ms")
}
