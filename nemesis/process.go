package nemesis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hacheck/hacheck/cluster"
)

// Kill ends processes as a crash does, and starts them again when it is healed, with
// what they have on disk.
//
// Its evidence is that they were seen to exit and are gone.
func Kill() Fault {
	f := Fault{
		Name:    "kill",
		About:   "kill -9 nodes, and start them again with the same disk",
		Targets: anyNodes,
	}
	return f.madeBy(func(env Env, f Fault, s Spec) (Breaker, error) { return newProcessFault(env, f, s, kills) })
}

// Pause stops processes where they are, as a long pause of a garbage collector or of
// a virtual machine does. When it is healed they go on as if nothing had been.
//
// Its evidence is that they were seen stopped, and afterwards not.
func Pause() Fault {
	f := Fault{
		Name:    "pause",
		About:   "stop nodes where they are, with SIGSTOP, and let them go on",
		Targets: anyNodes,
	}
	return f.madeBy(func(env Env, f Fault, s Spec) (Breaker, error) { return newProcessFault(env, f, s, pauses) })
}

// The variants of a restart.
const (
	restartDown    = "down"
	restartRolling = "rolling"
)

// Restart ends processes as their operator does, with SIGTERM, and starts them
// again.
//
// Its evidence is that they were seen to exit and are gone.
func Restart() Fault {
	f := Fault{
		Name:  "restart",
		About: "stop nodes in order, and start them again",
		Variants: []Variant{
			{Name: restartDown, About: "they are down until it is healed"},
			{Name: restartRolling, About: "each is started again at once, all nodes one after the other"},
		},
		Targets: anyNodes,
	}
	return f.madeBy(func(env Env, f Fault, s Spec) (Breaker, error) { return newProcessFault(env, f, s, terminates) })
}

// A Strike is the detail of a fault that ends or pauses processes.
type Strike struct {
	Variant string `json:"variant,omitempty"`
	Aim
}

// A Hit is what such a fault did to a node's process: its evidence, by node.
type Hit struct {
	PID    int    `json:"pid"`
	State  string `json:"state,omitempty"`  // after it was paused; T is stopped
	Exited bool   `json:"exited,omitempty"` // it was seen to
	Gone   bool   `json:"gone,omitempty"`   // there is no such process any more
	Again  int    `json:"again,omitempty"`  // the process that was started instead
	// Resumed is its state when it went on.
	Resumed string `json:"resumed,omitempty"`
	Error   string `json:"error,omitempty"`

	undone bool // what is to be undone only once
}

// acted says that the fault was seen to do what it does.
func (h *Hit) acted() bool { return h.State == stopped || h.Exited && h.Gone }

// stopped is the state of a process that SIGSTOP stopped.
const stopped = "T"

// A blow is what a fault does to one node's process, and how that is undone. undo is
// called again if it fails.
type blow struct {
	do   func(ctx context.Context, env Env, node string, h *Hit) error
	undo func(ctx context.Context, env Env, node string, h *Hit) error
}

var (
	kills = blow{
		do: func(_ context.Context, env Env, node string, h *Hit) error {
			return h.ends(env, node, env.Processes.Kill)
		},
		undo: startAgain,
	}
	terminates = blow{
		do: func(ctx context.Context, env Env, node string, h *Hit) error {
			ctx, cancel := context.WithTimeout(ctx, stopLimit)
			defer cancel()
			return h.ends(env, node, func(node string) error { return env.Processes.Stop(ctx, node) })
		},
		undo: startAgain,
	}
	pauses = blow{
		do: func(_ context.Context, env Env, node string, h *Hit) error {
			if err := env.Processes.Pause(node); err != nil {
				h.undone = true
				return err
			}
			if p, running := env.Processes.Process(node); running && p.PID == h.PID {
				h.State = p.State
			}
			return nil
		},
		undo: resume,
	}
)

const (
	// stopLimit is how long a process that is asked to end may take before it is
	// killed.
	stopLimit = 3 * time.Second
	// resumeLimit is how long one may take until it is seen to go on: a limit of its
	// time may let it wait.
	resumeLimit = 2 * time.Second
	// answerLimit is how long the next node waits for one to answer again, and for one
	// that another fault has in hold.
	answerLimit = 3 * time.Second
	lookPause   = 10 * time.Millisecond // between two looks
)

// ends ends the process and sees to it that it has ended.
func (h *Hit) ends(env Env, node string, end func(node string) error) error {
	exited := env.Processes.Exited(node)
	err := end(node)
	select {
	case <-exited:
		h.Exited = true
	default:
	}
	p, running := env.Processes.Process(node)
	h.Gone = !running || p.PID != h.PID
	return err
}

// startAgain starts a node that a fault has ended.
func startAgain(_ context.Context, env Env, node string, h *Hit) error {
	p, running := env.Processes.Process(node)
	switch {
	case running && p.PID == h.PID:
		return fmt.Errorf("start %s: process %d still runs", node, p.PID)
	case !running:
		// What it has brought forth may be there yet.
		if err := env.Processes.Kill(node); err != nil {
			return err
		}
		if err := env.Start(node); err != nil {
			return err
		}
		p, _ = env.Processes.Process(node)
	}
	h.Again = p.PID
	return nil
}

// resume lets a node go on. One that has ended meanwhile is started again.
func resume(ctx context.Context, env Env, node string, h *Hit) error {
	if !h.undone {
		if err := env.Processes.Resume(node); err != nil {
			return err
		}
		h.undone = true
	}
	going := func() bool {
		p, running := env.Processes.Process(node)
		if running && p.PID == h.PID {
			h.Resumed = p.State
		}
		return !running || p.PID != h.PID || p.State != stopped
	}
	if !poll(ctx, resumeLimit, going) {
		return fmt.Errorf("resume %s: process %d still stands", node, h.PID)
	}
	if _, running := env.Processes.Process(node); !running {
		return startAgain(ctx, env, node, h)
	}
	return nil
}

// poll looks until something is so, for as long as limit. It says whether it came
// about.
func poll(ctx context.Context, limit time.Duration, is func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	again := time.NewTicker(lookPause)
	defer again.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			return is()
		case <-again.C:
		}
	}
	return true
}

// over waits until what goes on beside has come to its end, for as long as ctx lasts.
func over(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errors.New("it still goes on")
	}
}

// A processFault is the breaker of faults that end or pause processes.
type processFault struct {
	aiming
	blow blow
}

func newProcessFault(env Env, f Fault, s Spec, b blow) (*processFault, error) {
	if env.Processes == nil || env.Start == nil {
		return nil, errors.New("there are no processes")
	}
	a, err := newAiming(env, f, s)
	if err != nil {
		return nil, err
	}
	if s.Variant == restartRolling && s.Target != "" && s.Target != AllNodes {
		return nil, errors.New("it takes all nodes their turn, and cannot be aimed")
	}
	if s.Variant == "" && s.Target != "" {
		a.variants = slices.DeleteFunc(a.variants, func(v Variant) bool { return v.Name == restartRolling })
	}
	return &processFault{a, b}, nil
}

func (p *processFault) Draw(r *rand.Rand) any {
	s := &Strike{}
	if len(p.variants) > 0 {
		s.Variant = p.variant(r)
	}
	spec := p.spec
	if s.Variant == restartRolling {
		spec.Target = AllNodes
	}
	s.Aim = p.env.drawAim(r, p.fault, spec)
	return s
}

func (p *processFault) Begin(ctx context.Context, detail json.RawMessage) (Held, error) {
	var s Strike
	if err := json.Unmarshal(detail, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", p.fault.Name, err)
	}
	if s.Variant == restartRolling {
		return p.roll(ctx, s), nil
	}
	release, err := p.env.claimRunning(ctx, &s.Aim, stops)
	if err != nil {
		return nil, err
	}
	h := &heldStrike{strike: s, env: p.env, blow: p.blow, release: release, hits: map[string]*Hit{}}
	var errs []error
	for _, node := range s.Nodes {
		if process, running := p.env.Processes.Process(node); running {
			h.hits[node] = &Hit{PID: process.PID}
		} else {
			errs = append(errs, fmt.Errorf("%s %s: it runs nothing", p.fault.Name, node))
		}
	}
	// All at the same time, or a cluster has recovered from the first before the last.
	var striking sync.WaitGroup
	for node, hit := range h.hits {
		striking.Go(func() {
			if err := p.blow.do(ctx, p.env, node, hit); err != nil {
				hit.Error = err.Error()
			}
		})
	}
	striking.Wait()
	if len(h.hits) == 0 {
		release()
		return nil, errors.Join(errs...)
	}
	return h, nil
}

// claimRunning is claim for faults that do nothing to a node that runs nothing, be it
// that another fault holds it down: those are left out where there is a choice.
func (e Env) claimRunning(ctx context.Context, a *Aim, h harm) (release func(), err error) {
	if e.Processes == nil { // nobody can tell
		return e.claim(ctx, a, h)
	}
	down := func(node string) bool {
		_, running := e.Processes.Process(node)
		return !running
	}
	drawn := a.Order // it is part of what was drawn
	a.Order = slices.DeleteFunc(slices.Clone(drawn), down)
	if len(a.Order) == 0 && len(drawn) > 0 {
		a.Order = drawn
		return nil, e.runNothing(drawn)
	}
	release, err = e.claim(ctx, a, h)
	a.Order = drawn
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(a.Nodes, func(node string) bool { return !down(node) }) {
		release()
		return nil, e.runNothing(a.Nodes)
	}
	return release, nil
}

// runNothing is why a fault is not begun that could hit these alone. It is no news if
// another fault holds one of them down.
func (e Env) runNothing(nodes []string) error {
	e.guard.mu.Lock()
	defer e.guard.mu.Unlock()
	what := strings.Join(nodes, ", ")
	if slices.ContainsFunc(nodes, e.guard.stopped) {
		return fmt.Errorf("%w: %s: another fault holds it down, and it runs nothing", errGuarded, what)
	}
	return fmt.Errorf("%s: it runs nothing", what)
}

// A heldStrike is a fault in force that has ended or paused processes. Where that
// failed with some, the evidence says so.
type heldStrike struct {
	strike  Strike
	env     Env
	blow    blow
	release func() // tells the guard that the nodes run
	hits    map[string]*Hit
}

func (h *heldStrike) Detail() any { return h.strike }

func (h *heldStrike) End(ctx context.Context) (acted uint64, evidence any, err error) {
	var errs []error
	for _, node := range h.strike.Nodes {
		if hit := h.hits[node]; hit != nil {
			errs = append(errs, h.blow.undo(ctx, h.env, node, hit))
			if hit.acted() {
				acted++
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return 0, nil, err
	}
	h.release()
	return acted, h.hits, nil
}

// roll begins to restart all nodes, one after the other.
func (p *processFault) roll(ctx context.Context, s Strike) *heldRoll {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h := &heldRoll{strike: s, env: p.env, cancel: cancel, done: make(chan struct{}), hits: map[string]*Hit{}}
	go h.run(ctx) // ends when End cancels it
	return h
}

// A heldRoll is a rolling restart in force. Each node is held while it is its turn.
type heldRoll struct {
	strike Strike
	env    Env
	cancel context.CancelFunc
	done   chan struct{}

	// Those of run, until it is done:
	hits map[string]*Hit
	// down are nodes that could not be started again, with what releases them.
	down map[string]func()
}

func (h *heldRoll) run(ctx context.Context) {
	defer close(h.done)
	h.down = map[string]func(){}
	for _, node := range h.strike.Order {
		if ctx.Err() != nil {
			return
		}
		hit := &Hit{}
		h.hits[node] = hit
		if err := h.restart(ctx, node, hit); err != nil {
			hit.Error = err.Error()
		}
	}
}

// restart restarts a node and waits until it answers. Once it has stopped the node it
// starts it, whatever becomes of ctx.
func (h *heldRoll) restart(ctx context.Context, node string, hit *Hit) error {
	release, err := h.claim(ctx, node)
	if err != nil {
		return err
	}
	p, running := h.env.Processes.Process(node)
	if !running {
		release()
		return errors.New("it runs nothing")
	}
	hit.PID = p.PID
	done := context.WithoutCancel(ctx)
	err = terminates.do(done, h.env, node, hit)
	if err == nil {
		err = terminates.undo(done, h.env, node, hit)
	}
	if err != nil {
		h.down[node] = release
		return err
	}
	defer release()
	if h.env.Observed == nil {
		return nil
	}
	if !poll(ctx, answerLimit, func() bool {
		state, err := h.env.Observed.Observe(ctx)
		_, answers := state[node]
		return err == nil && answers
	}) && ctx.Err() == nil {
		return fmt.Errorf("it has not answered within %v", answerLimit)
	}
	return nil
}

// claim waits until no other fault has the node in hold.
func (h *heldRoll) claim(ctx context.Context, node string) (release func(), err error) {
	poll(ctx, answerLimit, func() bool {
		release, err = h.env.guard.claim(&Aim{Target: One, Count: 1}, []string{node}, stops)
		return err == nil
	})
	return release, err
}

func (h *heldRoll) Detail() any { return h.strike }

func (h *heldRoll) End(ctx context.Context) (acted uint64, evidence any, err error) {
	h.cancel()
	if err := over(ctx, h.done); err != nil {
		return 0, nil, fmt.Errorf("%s: %w", h.strike.Variant, err)
	}
	var errs []error
	for node, release := range h.down {
		if err := startAgain(ctx, h.env, node, h.hits[node]); err != nil {
			errs = append(errs, err)
			continue
		}
		release()
		delete(h.down, node)
	}
	if err := errors.Join(errs...); err != nil {
		return 0, nil, err
	}
	for _, hit := range h.hits {
		if hit.acted() {
			acted++
		}
	}
	return acted, h.hits, nil
}

var _ Processes = cluster.Lab(nil)
