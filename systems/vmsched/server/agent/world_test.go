package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor/watchdog"
)

// A world is the hosts' hardware, in memory: what runs where, and how long things take. It
// complains when a machine runs twice, or in an epoch that is used up.
type world struct {
	mu       sync.Mutex
	hosts    map[string]*hardware
	guests   []*guest // all that there ever were
	incoming map[string]*incoming
	epochs   map[string]uint64 // the highest, by machine
	wrong    []string
	booted   time.Time
}

// now is the clock of all kernels.
func (w *world) now() (watchdog.Instant, error) { return watchdog.Instant(time.Since(w.booted)), nil }

// after calls f at an instant, and at once if that has passed.
func (w *world) after(until watchdog.Instant, f func()) *time.Timer {
	return time.AfterFunc(time.Until(w.booted.Add(time.Duration(until))), f)
}

func newWorld() *world {
	return &world{booted: time.Now().Add(-time.Hour), hosts: map[string]*hardware{}, incoming: map[string]*incoming{}, epochs: map[string]uint64{}}
}

// Hardware is a host's hypervisor.
type hardware struct {
	w    *world
	name string
	faults
}

// Faults are what goes wrong on a host.
type faults struct {
	// What fails, as often: a start; a send before and after the guest stands; a resume.
	failStart, failSend, failLate, failResume int
	slow                                      time.Duration // what each Permit and each Kill takes longer
	stuck                                     bool          // Permit does nothing
	sent                                      func()        // called when a guest was sent
	late                                      time.Duration // the agent is stopped so long before each Start
}

func (w *world) host(name string) *hardware {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hosts[name] == nil {
		w.hosts[name] = &hardware{w: w, name: name}
	}
	return w.hosts[name]
}

const (
	bootTime = 100 * time.Millisecond
	killTime = 20 * time.Millisecond
	copyTime = 100 * time.Millisecond
)

// takes lets time go by, unless ctx ends.
func takes(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A guest runs from begun to ended, but for when it stands.
type guest struct {
	hw    *hardware
	spec  hypervisor.Spec
	begun time.Time
	// These are the world's.
	runs, standing bool
	ended          time.Time // zero: it is there
	until          watchdog.Instant
	watchdog       *time.Timer
	exited         chan struct{}
}

// run has a guest run, under the world's lock.
func (w *world) run(g *guest) {
	g.runs, g.standing = true, false
	for _, o := range w.guests {
		if o != g && o.runs && o.spec.VM == g.spec.VM {
			w.complain("%s runs twice: on %s in epoch %d, and on %s in %d",
				g.spec.VM, o.hw.name, o.spec.Epoch, g.hw.name, g.spec.Epoch)
		}
	}
}

func (w *world) complain(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf("%v: ", time.Now().Format("15:04:05.000"))+fmt.Sprintf(format, args...))
}

// spawn makes a guest that runs, under the world's lock. One that is to be gone by now does not.
func (w *world) spawn(hw *hardware, s hypervisor.Spec, until watchdog.Instant) *guest {
	g := &guest{hw: hw, spec: s, begun: time.Now(), exited: make(chan struct{})}
	w.guests = append(w.guests, g)
	g.until, g.watchdog = until, w.after(until, g.die)
	if now, _ := w.now(); now >= until {
		return g
	}
	if s.Epoch <= w.epochs[s.VM] {
		w.complain("%s is started on %s in epoch %d, after %d", s.VM, hw.name, s.Epoch, w.epochs[s.VM])
	}
	w.epochs[s.VM] = max(w.epochs[s.VM], s.Epoch)
	w.run(g)
	return g
}

// die ends a guest at once.
func (g *guest) die() {
	g.hw.w.mu.Lock()
	defer g.hw.w.mu.Unlock()
	if g.ended.IsZero() {
		g.runs, g.ended = false, time.Now()
		g.watchdog.Stop()
		close(g.exited)
	}
}

// fails counts one of them down.
func (h *hardware) fails(n *int) bool {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	*n--
	return *n >= 0
}

func (h *hardware) Start(ctx context.Context, s hypervisor.Spec, until watchdog.Instant) (hypervisor.Guest, error) {
	if h.fails(&h.failStart) {
		return nil, errors.New("no image")
	}
	h.w.mu.Lock()
	late := h.late
	h.w.mu.Unlock()
	time.Sleep(late)
	h.w.mu.Lock()
	g := h.w.spawn(h, s, until)
	h.w.mu.Unlock()
	if err := takes(ctx, bootTime); err != nil {
		g.die()
		return nil, err
	}
	return g, nil
}

func (h *hardware) Receive(ctx context.Context, s hypervisor.Spec, until watchdog.Instant) (hypervisor.Incoming, error) {
	if err := takes(ctx, 20*time.Millisecond); err != nil {
		return nil, err
	}
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	in := &incoming{hw: h, spec: s, addr: fmt.Sprintf("%s:%d", h.name, len(h.w.incoming)), exited: make(chan struct{})}
	h.w.incoming[in.addr] = in
	in.until, in.watchdog = until, h.w.after(until, in.die)
	return in, nil
}

func (h *hardware) Find(context.Context) ([]hypervisor.Guest, error) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	for _, in := range h.w.incoming {
		if in.hw == h && !in.gone {
			in.end()
		}
	}
	var found []hypervisor.Guest
	for _, g := range h.w.guests {
		if g.hw == h && g.ended.IsZero() {
			found = append(found, g)
		}
	}
	return found, nil
}

func (g *guest) Spec() hypervisor.Spec   { return g.spec }
func (g *guest) Exited() <-chan struct{} { return g.exited }

func (g *guest) Permit(until watchdog.Instant) error {
	g.hw.w.mu.Lock()
	slow := g.hw.slow
	g.hw.w.mu.Unlock()
	time.Sleep(slow)
	g.hw.w.mu.Lock()
	defer g.hw.w.mu.Unlock()
	if !g.ended.IsZero() {
		return errors.New("it is gone")
	}
	if !g.hw.stuck && until > g.until {
		g.watchdog.Stop()
		g.until, g.watchdog = until, g.hw.w.after(until, g.die)
	}
	return nil
}

func (g *guest) Stop(context.Context) error { return g.Kill() }

func (g *guest) Kill() error {
	g.hw.w.mu.Lock()
	slow := g.hw.slow
	g.hw.w.mu.Unlock()
	time.Sleep(killTime + slow)
	g.die()
	return nil
}

func (g *guest) Standing() bool {
	g.hw.w.mu.Lock()
	defer g.hw.w.mu.Unlock()
	return g.standing
}

func (g *guest) Send(ctx context.Context, addr string) error {
	if err := takes(ctx, copyTime); err != nil {
		return err
	}
	if g.hw.fails(&g.hw.failSend) {
		return errors.New("connection refused")
	}
	g.hw.w.mu.Lock()
	if !g.ended.IsZero() {
		g.hw.w.mu.Unlock()
		return errors.New("it is gone")
	}
	g.runs, g.standing = false, true
	g.hw.w.mu.Unlock()
	if err := takes(ctx, copyTime/10); err != nil {
		return err
	}
	if g.hw.fails(&g.hw.failLate) {
		return errors.New("connection reset")
	}
	g.hw.w.mu.Lock()
	in := g.hw.w.incoming[addr]
	if in == nil || in.gone {
		g.hw.w.mu.Unlock()
		return errors.New("nobody waits there")
	}
	in.full = true
	sent := g.hw.sent
	g.hw.w.mu.Unlock()
	if sent != nil {
		sent()
	}
	return nil
}

func (g *guest) Continue(context.Context) error {
	g.hw.w.mu.Lock()
	defer g.hw.w.mu.Unlock()
	if !g.ended.IsZero() {
		return errors.New("it is gone")
	}
	g.hw.w.run(g)
	return nil
}

// An incoming is one that waits for a source.
type incoming struct {
	hw       *hardware
	spec     hypervisor.Spec
	addr     string
	until    watchdog.Instant
	watchdog *time.Timer
	exited   chan struct{}
	// These are the world's.
	full, gone bool
}

func (in *incoming) Addr() string            { return in.addr }
func (in *incoming) Exited() <-chan struct{} { return in.exited }

func (in *incoming) Permit(until watchdog.Instant) error {
	in.hw.w.mu.Lock()
	defer in.hw.w.mu.Unlock()
	if !in.gone && until > in.until {
		in.watchdog.Stop()
		in.until, in.watchdog = until, in.hw.w.after(until, in.die)
	}
	return nil
}

func (in *incoming) end() {
	if !in.gone {
		in.gone = true
		in.watchdog.Stop()
		close(in.exited)
	}
}

func (in *incoming) die() {
	in.hw.w.mu.Lock()
	defer in.hw.w.mu.Unlock()
	in.end()
}

func (in *incoming) Kill() error {
	in.die()
	return nil
}

func (in *incoming) Resume(ctx context.Context, epoch uint64) (hypervisor.Guest, error) {
	if err := takes(ctx, 10*time.Millisecond); err != nil {
		in.die()
		return nil, err
	}
	fails := in.hw.fails(&in.hw.failResume)
	in.hw.w.mu.Lock()
	defer in.hw.w.mu.Unlock()
	if fails || !in.full || in.gone {
		in.end()
		return nil, errors.New("it has not got everything")
	}
	s := in.spec
	s.Epoch = epoch
	in.end()
	return in.hw.w.spawn(in.hw, s, in.until), nil
}

// on returns the guests that are on a host now; empty: on all.
func (w *world) on(host string) []*guest {
	w.mu.Lock()
	defer w.mu.Unlock()
	var there []*guest
	for _, g := range w.guests {
		if g.ended.IsZero() && (host == "" || g.hw.name == host) {
			there = append(there, g)
		}
	}
	return there
}

// of returns all guests that a machine ever had.
func (w *world) of(vm string) []*guest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.guests), func(g *guest) bool { return g.spec.VM != vm })
}

// complaints returns what went wrong.
func (w *world) complaints() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.wrong)
}

// set changes what a host does.
func (h *hardware) set(how func(*hardware)) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	how(h)
}
