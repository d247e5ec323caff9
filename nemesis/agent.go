package nemesis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/hacheck/hacheck/cluster"
)

// AgentRestart ends the process alone that was started on hosts, as a crash or an upgrade
// of it does, and starts it again at once: the guests go on, and it has to find them.
//
// Its evidence is that the process was seen to exit, what was started instead, and the
// guests that run as before.
func AgentRestart() Fault {
	return Fault{
		Name:    "agent-restart",
		About:   "kill -9 the agents of hosts and not their guests, and start them again at once",
		Part:    cluster.PartHost,
		Targets: anyHosts,
	}.madeBy(newAgentRestart)
}

// An Orphaning is what such a fault did to a host: its evidence, by host.
type Orphaning struct {
	Hit
	// Lived are the guests that ran before it and when the agent had been started again,
	// in the same process, and Lost those that did not.
	Lived map[string]int `json:"lived,omitempty"`
	Lost  map[string]int `json:"lost,omitempty"`
}

// An agentRestart is the breaker of such faults.
type agentRestart struct{ aiming }

func newAgentRestart(env Env, f Fault, s Spec) (Breaker, error) {
	switch {
	case env.Processes == nil || env.Start == nil:
		return nil, errors.New("there are no processes")
	case env.Guests == nil:
		return nil, errNoGuests
	}
	a, err := newAiming(env, f, s)
	if err != nil {
		return nil, err
	}
	return &agentRestart{a}, nil
}

func (b *agentRestart) Draw(r *rand.Rand) any { return &Strike{Aim: b.aim(r)} }

// Begin does all there is to do. The hosts are held for longer only if some agent could
// not be started again.
func (b *agentRestart) Begin(ctx context.Context, detail json.RawMessage) (Held, error) {
	var s Strike
	if err := json.Unmarshal(detail, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", b.fault.Name, err)
	}
	release, err := b.env.claimRunning(ctx, &s.Aim, stops)
	if err != nil {
		return nil, err
	}
	h := &heldAgents{strike: s, env: b.env, release: release, hosts: map[string]*Orphaning{}}
	var restarting sync.WaitGroup
	for _, host := range s.Nodes { // all at the same time
		o := &Orphaning{}
		h.hosts[host] = o
		restarting.Go(func() {
			if err := h.restart(host, o); err != nil {
				o.Error = err.Error()
			}
		})
	}
	restarting.Wait()
	if h.start() == nil {
		release()
	}
	return h, nil
}

// A heldAgents is such a fault, which is over if all agents run.
type heldAgents struct {
	strike  Strike
	env     Env
	release func()
	hosts   map[string]*Orphaning
}

func (h *heldAgents) Detail() any { return h.strike }

func (h *heldAgents) restart(host string, o *Orphaning) error {
	p, running := h.env.Processes.Process(host)
	if !running {
		return errors.New("it runs nothing")
	}
	o.PID = p.PID
	before := h.env.Guests.Guests(host)
	err := o.ends(h.env, host, func(host string) error { return h.env.Processes.KillOne(host, o.PID) })
	if err != nil {
		return err
	}
	err = h.startOne(host, o)
	after := h.env.Guests.Guests(host)
	o.Lived, o.Lost = map[string]int{}, map[string]int{}
	for _, g := range before {
		if slices.Contains(after, g) {
			o.Lived[g.Name] = g.PID
		} else {
			o.Lost[g.Name] = g.PID
		}
	}
	return err
}

// startOne starts an agent that does not run, once: what becomes of it then is no business
// of this fault's. Unlike startAgain it leaves alone what else runs on the host.
func (h *heldAgents) startOne(host string, o *Orphaning) error {
	if _, running := h.env.Processes.Process(host); !running {
		if err := h.env.Start(host); err != nil {
			return err
		}
	}
	o.undone = true
	if p, running := h.env.Processes.Process(host); running && p.PID != o.PID {
		o.Again = p.PID
	}
	return nil
}

// start starts the agents that could not be started so far.
func (h *heldAgents) start() error {
	var errs []error
	for _, host := range h.strike.Nodes {
		if o := h.hosts[host]; o.Gone && !o.undone {
			errs = append(errs, h.startOne(host, o))
		}
	}
	return errors.Join(errs...)
}

func (h *heldAgents) End(context.Context) (acted uint64, evidence any, err error) {
	if err := h.start(); err != nil {
		return 0, nil, err
	}
	h.release()
	for _, o := range h.hosts {
		if o.acted() {
			acted++
		}
	}
	return acted, h.hosts, nil
}
