package nemesis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hacheck/hacheck/cluster"
)

// The variants of a change of members.
const (
	memberLeave   = "leave"
	memberJoin    = "join"
	memberReplace = "replace"
)

// Member takes nodes out of the cluster, with all that they have on disk, and puts them
// back as new ones. A node is begun with only while a majority of the others is well,
// and one at a time: to agree on a change, and to have others leave, takes that.
//
// Its evidence is the members as a majority of them sees them, before, in between and
// after.
func Member() Fault {
	f := Fault{
		Name:  "member",
		About: "have a node leave, wipe it, and have it join as a new one",
		Variants: []Variant{
			{Name: memberLeave, About: "it leaves, and joins when it is healed"},
			{Name: memberJoin, About: "it leaves, and joins again at once: learns, and then has a vote"},
			{Name: memberReplace, About: "it dies, and another takes its place at once, with its name and an empty disk"},
		},
		Targets: []Target{
			{Name: One, About: "one node"},
			{Name: Leading, About: "the one that leads when the fault begins"},
		},
	}
	f.New = func(env Env, s Spec) (Breaker, error) { return newExchange(env, f, s) }
	return f
}

// An Exchange is the detail of such a fault.
type Exchange struct {
	Variant string `json:"variant"`
	Aim
}

// A Passage is what became of it: its evidence. The members are those with a vote, as
// a majority of them says; none if no majority says the same.
type Passage struct {
	Before  []string `json:"before,omitempty"`
	Without []string `json:"without,omitempty"`
	After   []string `json:"after,omitempty"`
	// Error is why it did not go on at first; when it was healed it did.
	Error string `json:"error,omitempty"`
}

// How long a node may take to leave, and to join, before the fault is healed; and how
// long until a majority has heard of it: where the leader has left, when there is
// another.
const (
	leaveLimit = 5 * time.Second
	joinLimit  = 10 * time.Second
	hearLimit  = 3 * time.Second
)

// An exchange is the breaker of such faults.
type exchange struct {
	env      Env
	fault    Fault
	spec     Spec
	variants []Variant
}

func newExchange(env Env, f Fault, s Spec) (*exchange, error) {
	switch {
	case env.Members == nil:
		return nil, errors.New("the system's nodes cannot leave and join")
	case env.Observed == nil:
		return nil, errors.New("the system does not show its state")
	case env.Processes == nil:
		return nil, errors.New("there are no processes")
	case len(env.Nodes) < 3:
		return nil, errors.New("without one of them there would be no others to agree on anything")
	}
	if err := env.checkAim(s); err != nil {
		return nil, err
	}
	b := &exchange{env: env.withBooks(), fault: f, spec: s, variants: f.variants(env, s)}
	if len(b.variants) == 0 {
		return nil, errors.New("the system does not claim to bear it")
	}
	return b, nil
}

func (b *exchange) Draw(r *rand.Rand) any {
	return &Exchange{Variant: b.variants[r.IntN(len(b.variants))].Name, Aim: b.env.drawAim(r, b.fault, b.spec)}
}

func (b *exchange) Begin(ctx context.Context, detail json.RawMessage) (Held, error) {
	var d Exchange
	if err := json.Unmarshal(detail, &d); err != nil {
		return nil, fmt.Errorf("%s: %w", b.fault.Name, err)
	}
	release, err := b.env.claim(ctx, &d.Aim, leaves)
	if err != nil {
		return nil, err
	}
	h := &heldExchange{exchange: d, node: d.Nodes[0], env: b.env, release: release, done: make(chan struct{})}
	h.passage.Before = h.members(ctx, func(members []string) bool { return members != nil })
	go h.run(context.WithoutCancel(ctx)) // ends in time, and End waits for it
	return h, nil
}

// A heldExchange is such a fault in force. What it has come to do it knows by steps,
// each of which can be done again.
type heldExchange struct {
	exchange Exchange
	node     string
	env      Env
	release  func() // tells the guard that the node is a member
	done     chan struct{}

	// Those of run, until it is done:
	left, wiped, joined bool
	passage             Passage
	// heard is closed when Without is known; stop ends the waiting for that.
	heard chan struct{}
	stop  context.CancelFunc
}

// run does what is done before the fault is healed.
func (h *heldExchange) run(ctx context.Context) {
	defer close(h.done)
	err := func() error {
		if h.exchange.Variant == memberReplace {
			if err := h.env.Processes.Kill(h.node); err != nil {
				return err
			}
		}
		leaving, cancel := context.WithTimeout(ctx, leaveLimit+hearLimit)
		defer cancel()
		if err := h.leave(leaving); err != nil || h.exchange.Variant == memberLeave {
			return err
		}
		joining, cancel := context.WithTimeout(ctx, joinLimit+hearLimit)
		defer cancel()
		return h.join(joining)
	}()
	if err != nil {
		h.passage.Error = err.Error()
	}
}

// leave takes the node out. Only who is told that it is out may wipe it.
func (h *heldExchange) leave(ctx context.Context) error {
	if !h.left {
		if err := h.env.Members.Leave(ctx, h.node); err != nil {
			return err
		}
		h.left = true
		h.listen(ctx)
	}
	if h.wiped {
		return nil
	}
	if err := h.env.Processes.Kill(h.node); err != nil {
		return err
	}
	if err := h.env.Processes.Wipe(h.node); err != nil {
		return err
	}
	h.wiped = true
	return nil
}

// listen begins to wait until a majority has heard that the node has left. Nothing
// else waits for that, beyond a first look: who has lost its disk comes back when it
// likes.
func (h *heldExchange) listen(ctx context.Context) {
	ctx, h.stop = context.WithCancel(context.WithoutCancel(ctx))
	looked := make(chan struct{})
	h.heard = make(chan struct{})
	first := sync.OnceFunc(func() { close(looked) })
	go func() {
		defer close(h.heard)
		defer first()
		h.passage.Without = h.members(ctx, func(members []string) bool {
			out := members != nil && !slices.Contains(members, h.node)
			first()
			return out
		})
	}()
	<-looked
}

// join puts the node back.
func (h *heldExchange) join(ctx context.Context) error {
	if h.joined {
		return nil
	}
	if err := h.env.Members.Join(ctx, h.node); err != nil {
		return err
	}
	h.joined = true
	h.passage.After = h.members(ctx, func(members []string) bool { return slices.Contains(members, h.node) })
	h.stop()
	<-h.heard
	return nil
}

// members returns the members as a majority of them sees them, when they are as they
// are to be; or those that they are after some time.
func (h *heldExchange) members(ctx context.Context, are func([]string) bool) (seen []string) {
	poll(ctx, hearLimit, func() bool {
		state, err := h.env.Observed.Observe(ctx)
		if err != nil {
			return false
		}
		seen = agreed(state)
		return are(seen)
	})
	return seen
}

// agreed returns those with a vote if a majority of them says the same of who that is,
// and that no change of it is under way.
func agreed(state cluster.State) []string {
	say := map[string]int{}
	for node, n := range state {
		voters := slices.Sorted(slices.Values(n.Voters))
		if n.Changing || !slices.Contains(voters, node) {
			continue
		}
		key := fmt.Sprint(voters)
		if say[key]++; say[key] > len(voters)/2 {
			return voters
		}
	}
	return nil
}

func (h *heldExchange) Detail() any { return h.exchange }

// End has the node back, whatever was not done yet. It has acted if a majority has been
// without it.
func (h *heldExchange) End(ctx context.Context) (acted uint64, evidence any, err error) {
	<-h.done
	if err := h.leave(ctx); err != nil {
		return 0, nil, fmt.Errorf("%s %s: %w", h.exchange.Variant, h.node, err)
	}
	if err := h.join(ctx); err != nil {
		return 0, nil, fmt.Errorf("%s %s: %w", h.exchange.Variant, h.node, err)
	}
	h.release()
	if h.passage.Without != nil && !slices.Contains(h.passage.Without, h.node) {
		acted = 1
	}
	return acted, h.passage, nil
}
