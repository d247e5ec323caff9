package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor/watchdog"
)

// spawn starts a process for a guest, and lets it begin: to boot, or to receive at an
// address. It returns where it does.
func (h *Hypervisor) spawn(ctx context.Context, s hypervisor.Spec, until watchdog.Instant, listen string) (_ *process, addr string, _ error) {
	const anyPID = 1 << 22 // the most that there is: proc_pid_max(5)
	if err := (place{s.Host, s.VM, s.Epoch, anyPID, standing}).check(); err != nil {
		return nil, "", err
	}
	config, err := json.Marshal(map[string]guestConfig{"guest": {
		Spec: s, Volumes: h.config.Volumes, Probe: h.config.Probe, Until: until, Listen: listen,
	}})
	if err != nil {
		return nil, "", err
	}
	conn, its, err := pair()
	if err != nil {
		return nil, "", err
	}
	defer conn.Close()
	cmd := exec.Command(h.config.Program[0], append(slices.Clone(h.config.Program[1:]), string(config))...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = its, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	its.Close()
	if err != nil {
		return nil, "", err
	}
	p, err := open(cmd.Process.Pid) // before it is reaped: the number is its own yet
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, "", err
	}
	h.keep(p)
	go func() { _ = cmd.Wait() }() // what of its end matters is that it has: see process.exited
	// Before it is let begin it can be found. It ends by itself if whoever lets it is gone.
	t := newTalk(conn)
	a, err := t.answer(ctx)
	if err == nil {
		_, err = t.ask(ctx, request{Do: doBegin})
	}
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("its process: %w", err), p.kill())
	}
	return p, a.Addr, nil
}

// gone says whether it is.
func (p *process) gone() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// goneWithin is how long a process may take to be gone that was killed.
const goneWithin = 5 * time.Second

// kill kills it, and waits until it is gone.
func (p *process) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(goneWithin):
		return fmt.Errorf("process %d was killed, and is there %v later", p.pid, goneWithin)
	}
}

// permit lets the guest at a place run until an instant.
func permit(at place, until watchdog.Instant) error {
	ctx, cancel := context.WithTimeout(context.Background(), permitWithin)
	defer cancel()
	_, err := call(ctx, at, request{Do: doPermit, Until: until})
	return err
}

// A guestHandle is a guest as an agent has it.
type guestHandle struct {
	*process
	place
}

func (g *guestHandle) Spec() hypervisor.Spec               { return g.spec() }
func (g *guestHandle) Permit(until watchdog.Instant) error { return permit(g.place, until) }
func (g *guestHandle) Kill() error                         { return g.kill() }
func (g *guestHandle) Exited() <-chan struct{}             { return g.exited }

func (g *guestHandle) Stop(ctx context.Context) error {
	if _, err := call(ctx, g.place, request{Do: doStop}); err == nil {
		select {
		case <-g.exited:
		case <-ctx.Done():
		}
	}
	return g.kill()
}

// Standing asks the kernel, since a guest may stand still in more than one way. If that does
// not tell, it does not.
func (g *guestHandle) Standing() bool {
	found, err := places()
	return err == nil && slices.Contains(found, g.in(standing))
}

func (g *guestHandle) Send(ctx context.Context, addr string) error {
	_, err := call(ctx, g.place, request{Do: doSend, Addr: addr})
	return err
}

func (g *guestHandle) Continue(ctx context.Context) error {
	_, err := call(ctx, g.place, request{Do: doContinue})
	return err
}

// An incomingHandle is a guest that migrates here, as an agent has it.
type incomingHandle struct {
	*process
	place
	addr string
}

func (in *incomingHandle) Addr() string                        { return in.addr }
func (in *incomingHandle) Permit(until watchdog.Instant) error { return permit(in.place, until) }
func (in *incomingHandle) Kill() error                         { return in.kill() }
func (in *incomingHandle) Exited() <-chan struct{}             { return in.exited }

func (in *incomingHandle) Resume(ctx context.Context, epoch uint64) (hypervisor.Guest, error) {
	if _, err := call(ctx, in.place, request{Do: doResume, Epoch: epoch}); err != nil {
		return nil, errors.Join(err, in.kill()) // it may have heard it, and be about to
	}
	at := in.in(running)
	at.Epoch = epoch
	return &guestHandle{in.process, at}, nil
}

// Look shows the console of a guest of this package.
func Look(ctx context.Context, g hypervisor.Guest) (Status, error) {
	a, err := call(ctx, g.(*guestHandle).place, request{Do: doStatus})
	if err != nil {
		return Status{}, err
	}
	return *a.Status, nil
}
