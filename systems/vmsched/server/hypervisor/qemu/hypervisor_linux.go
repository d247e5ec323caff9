package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor/watchdog"
)

// How long things take at the most that the kernel does, or a shim without asking QEMU.
const (
	killLimit   = 5 * time.Second // a process ends when the disk lets it
	permitLimit = time.Second
)

// A Hypervisor runs guests of one host.
type Hypervisor struct {
	config Config
	scope  string
}

var _ hypervisor.Hypervisor = (*Hypervisor)(nil)

// New returns the hypervisor of a host. The error says what is missing.
func New(c Config) (*Hypervisor, error) {
	if err := Installed(); err != nil {
		return nil, err
	}
	if len(c.Program) == 0 {
		return nil, errors.New("qemu: there is no program for shims")
	}
	if net.ParseIP(c.Addr) == nil {
		return nil, fmt.Errorf("qemu: %q is no address", c.Addr)
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Images, 0o755); err != nil {
		return nil, err
	}
	return &Hypervisor{config: c, scope: scopeOf(c.Host, c.Dir)}, nil
}

// Start is [hypervisor.Hypervisor]'s. It returns when the guest has said its first line.
func (h *Hypervisor) Start(ctx context.Context, s hypervisor.Spec, until watchdog.Instant) (hypervisor.Guest, error) {
	g, _, err := h.launch(ctx, s, until, "")
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.VM, err)
	}
	return g, nil
}

// Receive is [hypervisor.Hypervisor]'s.
func (h *Hypervisor) Receive(ctx context.Context, s hypervisor.Spec, until watchdog.Instant) (hypervisor.Incoming, error) {
	g, addr, err := h.launch(ctx, s, until, h.config.Addr)
	if err != nil {
		return nil, fmt.Errorf("receive %s: %w", s.VM, err)
	}
	return &incomer{guest: g, addr: addr}, nil
}

// launch starts a shim, and returns when that has what it was started for, or nothing of it
// is left.
func (h *Hypervisor) launch(ctx context.Context, s hypervisor.Spec, until watchdog.Instant, listen string) (_ *guest, addr string, err error) {
	if err := makeImage(h.config.Images, s.VM); err != nil {
		return nil, "", err
	}
	config, err := json.Marshal(map[string]shimConfig{"shim": {
		Spec: s, Until: until, Scope: h.scope, Image: imageOf(h.config.Images, s.VM),
		Lock: h.config.Bug != bug.ImageLockOff, Listen: listen, Probe: h.config.Probe,
	}})
	if err != nil {
		return nil, "", err
	}
	log, err := os.OpenFile(filepath.Join(h.config.Dir, s.VM+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = log.Close() }()
	reports, out, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = reports.Close() }()
	cmd := exec.Command(h.config.Program[0], append(h.config.Program[1:len(h.config.Program):len(h.config.Program)], string(config))...)
	cmd.Stdout, cmd.Stderr = out, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = out.Close()
	if err != nil {
		return nil, "", err
	}

	defer context.AfterFunc(ctx, func() { _ = reports.SetReadDeadline(time.Now()) })()
	d := json.NewDecoder(reports)
	next := func() (r report, err error) {
		switch err := d.Decode(&r); {
		case ctx.Err() != nil:
			return r, ctx.Err()
		case errors.Is(err, io.EOF):
			return r, errors.New("its shim has died")
		case err != nil:
			return r, err
		case r.Error != "":
			return r, errors.New(r.Error)
		}
		return r, nil
	}
	var g *guest
	r, err := next()
	if err == nil {
		g, err = h.attach(namesOf(h.scope, s.VM, r.PID), s, cmd.Wait)
	}
	if err != nil { // it has not started QEMU, or QEMU dies with it
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, "", err
	}
	if r, err = next(); err != nil {
		return nil, "", errors.Join(err, g.end())
	}
	return g, r.Addr, nil
}

// Find is [hypervisor.Hypervisor]'s: it finds guests whose shims live, and ends what else is
// left of any.
func (h *Hypervisor) Find(ctx context.Context) ([]hypervisor.Guest, error) {
	seen, err := look(h.scope)
	if err != nil {
		return nil, err
	}
	var found []hypervisor.Guest
	for _, n := range sorted(seen) {
		vm, err := n.vm()
		if err != nil {
			return nil, err
		}
		see, err := glance(n)
		if err != nil {
			return nil, err
		}
		g, err := h.attach(n, hypervisor.Spec{VM: vm, Host: h.config.Host, Epoch: see.epoch}, nil)
		switch {
		case errors.Is(err, syscall.ECONNREFUSED): // it is gone by now
		case err != nil:
			return nil, err
		case g.process == nil || see.state == "" || see.state == incoming:
			if err := g.end(); err != nil {
				return nil, err
			}
		default:
			found = append(found, g)
		}
	}
	return found, ctx.Err()
}

// glance returns what is seen of one guest. A look that meets the moment in which a state
// changes may see none.
func glance(n names) (sight, error) {
	var s sight
	for range 3 {
		seen, err := look(string(n))
		if err != nil {
			return s, err
		}
		if s = seen[n]; s.state != "" {
			break
		}
	}
	return s, nil
}

// A guest is one of a shim.
type guest struct {
	h       *Hypervisor
	names   names
	spec    hypervisor.Spec
	process *os.Process   // the shim; nil: it is gone
	exited  chan struct{} // closed when QEMU is gone, too

	mu      sync.Mutex
	permits *net.UnixConn // to the shim, which answers nothing there
	wentOn  time.Time     // when it did by bug.ImageLockOff; zero: it did not
}

// attach returns the guest of that name. reap is called when it is gone, if it is there. The
// error is ECONNREFUSED if nothing is left of the guest.
func (h *Hypervisor) attach(n names, s hypervisor.Spec, reap func() error) (*guest, error) {
	alive, err := net.DialUnix("unix", nil, n.addr(life))
	if err != nil {
		return nil, err
	}
	g := &guest{h: h, names: n, spec: s, exited: make(chan struct{})}
	g.permits, g.process, err = n.shim(alive)
	if err != nil {
		_ = alive.Close()
		return nil, err
	}
	go func() { // until it is gone
		_, _ = io.Copy(io.Discard, alive) // nothing is ever sent
		_ = alive.Close()
		if reap != nil {
			_ = reap()
		}
		if g.process != nil {
			_ = g.permits.Close()
		}
		close(g.exited)
	}()
	return g, nil
}

// shim returns a connection to a shim, and its process; none if it is gone, and only its QEMU
// is left.
func (n names) shim(alive *net.UnixConn) (*net.UnixConn, *os.Process, error) {
	raw, err := alive.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	var who *syscall.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		who, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, nil, err
	}
	process, err := os.FindProcess(int(who.Pid)) // holds on to it by a pidfd
	if err != nil {
		return nil, nil, err
	}
	// Its number may have become another's. But if it takes a connection now, it was its own
	// when we got hold of it: it had it from before it had a name.
	conn, err := net.DialUnix("unix", nil, n.addr(control))
	if errors.Is(err, syscall.ECONNREFUSED) {
		_ = process.Release()
		return nil, nil, nil
	}
	if err != nil {
		_ = process.Release()
		return nil, nil, err
	}
	return conn, process, nil
}

func (g *guest) Spec() hypervisor.Spec   { return g.spec }
func (g *guest) Exited() <-chan struct{} { return g.exited }

func (g *guest) Permit(until watchdog.Instant) error {
	// When it is read does not matter, since what it says is a time: it is not waited for, so
	// that one that stands still does not keep others from theirs.
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.permits.SetWriteDeadline(time.Now().Add(permitLimit)); err != nil {
		return fmt.Errorf("permit %s: %w", g.spec.VM, err)
	}
	if err := json.NewEncoder(g.permits).Encode(request{Do: permit, Until: until}); err != nil {
		return fmt.Errorf("permit %s: %w", g.spec.VM, err)
	}
	return nil
}

func (g *guest) Stop(ctx context.Context) error {
	if err := g.ask(ctx, request{Do: shutOff}, 0); err == nil {
		select {
		case <-g.exited:
			return nil
		case <-ctx.Done():
		}
	}
	return g.Kill()
}

func (g *guest) Kill() error {
	if g.h.config.Bug == bug.ImageLockOff {
		if err := g.goOn(); err != nil {
			return err
		}
	}
	return g.end()
}

// goesOnFor is for how long the source of a migration goes on by [bug.ImageLockOff].
const goesOnFor = time.Second

// goOn is [bug.ImageLockOff]: the source of a migration goes on for a while, since no lock
// keeps it from its image. The error says that it does.
func (g *guest) goOn() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.wentOn.IsZero() && g.Standing() {
		ctx, cancel := context.WithTimeout(context.Background(), killLimit)
		defer cancel()
		if err := g.Continue(ctx); err != nil {
			return err
		}
		g.wentOn = time.Now()
	}
	if time.Since(g.wentOn) < goesOnFor {
		return fmt.Errorf("kill %s: it goes on", g.spec.VM)
	}
	return nil
}

// end kills it.
func (g *guest) end() error {
	if g.process != nil {
		if err := g.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("kill %s: %w", g.spec.VM, err)
		}
	}
	limit := time.NewTimer(killLimit)
	defer limit.Stop()
	select {
	case <-g.exited:
		return nil
	case <-limit.C:
		return fmt.Errorf("kill %s: it was killed, and is not gone", g.spec.VM)
	}
}

func (g *guest) Standing() bool {
	s, err := glance(g.names)
	return err == nil && s.state == standing
}

func (g *guest) Send(ctx context.Context, addr string) error {
	return g.ask(ctx, request{Do: send, Addr: addr}, 3*settle)
}

func (g *guest) Continue(ctx context.Context) error {
	return g.ask(ctx, request{Do: goOn}, 0)
}

// ask has the shim do something. When ctx ends it asks it to give up, and waits for grace for
// how it ended.
func (g *guest) ask(ctx context.Context, r request, grace time.Duration) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s %s: %w", r.Do, g.spec.VM, err)
		}
	}()
	conn, err := net.DialUnix("unix", nil, g.names.addr(control))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() {
		_ = conn.CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(grace))
	})()
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return errors.Join(err, ctx.Err())
	}
	var a reply
	if err := json.NewDecoder(conn).Decode(&a); err != nil {
		return errors.Join(err, ctx.Err())
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	return nil
}

// An incomer is a guest that is to be received.
type incomer struct {
	*guest
	addr string
}

func (i *incomer) Addr() string { return i.addr }

func (i *incomer) Resume(ctx context.Context, epoch uint64) (hypervisor.Guest, error) {
	if err := i.ask(ctx, request{Do: resume, Epoch: epoch}, 0); err != nil {
		return nil, errors.Join(err, i.end())
	}
	i.spec.Epoch = epoch
	return i.guest, nil
}
