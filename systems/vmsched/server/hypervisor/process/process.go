// Package process has guests that are processes of this program. Such a guest counts, says
// so to the observer, writes to its volume, has memory that it changes all the time, and
// migrates with that while it runs. What it lacks of a machine is an instruction set; what
// matters to a control plane it has.
//
// The agent's side is [Hypervisor] (process.go), the handles of its guests (handle.go), how
// they are known to whoever comes later (place.go) and held on to without mistaking one
// process for another (process_linux.go). The guest's side is [RunGuest] (guest.go), what of
// it migrates (machine.go), how (transfer.go), and what it does to its volume (disk.go). Between
// them there is control.go.
package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor/watchdog"
)

// A Config is what a Hypervisor is told.
type Config struct {
	Host    string // whose guests they are
	Addr    string // the host's address, without a port: guests that migrate are received there
	Volumes string // where the volume service listens, as host:port
	Probe   string // the observer's pipe, or empty: see package probe
	// Program runs this program again: a path and arguments, behind which comes
	// {"guest":...}, of which it gives what stands for the dots to [RunGuest].
	Program []string
}

// A Hypervisor runs guests. It keeps nothing that the next one of its host needed: its
// guests are found by names that the kernel keeps as long as they live.
type Hypervisor struct {
	config Config

	mu   sync.Mutex
	held map[int]*process // that live, by number, which none of them lends to another
}

var _ hypervisor.Hypervisor = (*Hypervisor)(nil)

// New returns the hypervisor of a host.
func New(c Config) (*Hypervisor, error) {
	if c.Host == "" || len(c.Program) == 0 {
		return nil, errors.New("a hypervisor has a host, and a program for its guests")
	}
	return &Hypervisor{config: c, held: map[int]*process{}}, nil
}

// Start implements [hypervisor.Hypervisor].
func (h *Hypervisor) Start(ctx context.Context, s hypervisor.Spec, until watchdog.Instant) (hypervisor.Guest, error) {
	p, _, err := h.spawn(ctx, s, until, "")
	if err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", s.VM, h.config.Host, err)
	}
	return &guestHandle{p, place{Host: s.Host, VM: s.VM, Epoch: s.Epoch, PID: p.pid, State: running}}, nil
}

// Receive implements [hypervisor.Hypervisor].
func (h *Hypervisor) Receive(ctx context.Context, s hypervisor.Spec, until watchdog.Instant) (hypervisor.Incoming, error) {
	p, addr, err := h.spawn(ctx, s, until, net.JoinHostPort(h.config.Addr, "0"))
	if err != nil {
		return nil, fmt.Errorf("receive %s on %s: %w", s.VM, h.config.Host, err)
	}
	return &incomingHandle{p, place{Host: s.Host, VM: s.VM, Epoch: s.Epoch, PID: p.pid, State: waiting}, addr}, nil
}

// Find implements [hypervisor.Hypervisor].
func (h *Hypervisor) Find(ctx context.Context) ([]hypervisor.Guest, error) {
	found, err := places()
	if err != nil {
		return nil, fmt.Errorf("find the guests of %s: %w", h.config.Host, err)
	}
	found = slices.DeleteFunc(found, func(p place) bool { return p.Host != h.config.Host })
	guests := map[int]hypervisor.Guest{}
	var left []*process
	for _, at := range byLife(found) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if guests[at.PID] != nil || at.State == standing {
			continue
		}
		p, err := h.hold(at)
		switch {
		case err != nil:
			return nil, fmt.Errorf("find the guests of %s: %w", h.config.Host, err)
		case p == nil: // it has ended meanwhile, or is another's number by now
		case at.State == running:
			guests[at.PID] = &guestHandle{p, at}
		default:
			left = append(left, p)
		}
	}
	for _, p := range left {
		if err := p.kill(); err != nil {
			return nil, err
		}
	}
	var all []hypervisor.Guest
	for _, g := range guests {
		all = append(all, g)
	}
	slices.SortFunc(all, func(a, b hypervisor.Guest) int { return a.(*guestHandle).PID - b.(*guestHandle).PID })
	return all, nil
}

// keep watches a process until it ends, for all who ask for it until then.
func (h *Hypervisor) keep(p *process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held[p.pid] = p
	go func() {
		p.watch()
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.held[p.pid] == p {
			delete(h.held, p.pid)
		}
	}()
}

// hold returns the process of the guest at a place; nil: it is gone.
func (h *Hypervisor) hold(at place) (*process, error) {
	h.mu.Lock()
	p := h.held[at.PID]
	h.mu.Unlock()
	if p != nil && !p.gone() {
		return p, nil
	}
	p, err := hold(at)
	if p != nil {
		h.keep(p)
	}
	return p, err
}
