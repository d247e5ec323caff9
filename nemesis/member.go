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
	memberRolling = "rolling"
)

// Member takes nodes out of the cluster, with all that they have on disk, and puts them
// back as new ones: one at a time, and only while those that are disturbed otherwise, and
// it, are a minority. To agree on a change takes a majority.
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
			{Name: memberRolling, About: "all nodes do as in join, each as soon as the one before has joined"},
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

// A Passage is what became of it: its evidence, by node. The members are those with a vote, as
// a majority of them says; none if no majority says the same. Without are those when the node
// was not among them.
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
type exchange struct{ aiming }

func newExchange(env Env, f Fault, s Spec) (*exchange, error) {
	switch {
	case env.Members == nil:
		return nil, errors.New("the system's nodes cannot leave and join")
	case env.Observed == nil:
		return nil, errors.New("the system does not show its state")
	case env.Processes == nil:
		return nil, errors.New("there are no processes")
	case len(env.Nodes) < 3:
		return nil, tooFew(3, env.Nodes) // or nobody could agree on anything without one
	case fewOf(len(env.Nodes)-env.Absent) == 0 && !env.Unguarded:
		return nil, noMinority(env.Nodes, env.Absent)
	}
	a, err := newAiming(env, f, s)
	if err != nil {
		return nil, err
	}
	if s.Target != "" {
		a.variants = slices.DeleteFunc(a.variants, func(v Variant) bool { return v.Name == memberRolling })
	}
	if len(a.variants) == 0 {
		return nil, errors.New("it takes all nodes their turn, and cannot be aimed")
	}
	return &exchange{a}, nil
}

func (b *exchange) Draw(r *rand.Rand) any {
	d := &Exchange{Variant: b.variant(r)}
	spec := b.spec
	if d.Variant == memberRolling {
		spec.Target = One // at a time, in that order
	}
	d.Aim = b.env.drawAim(r, b.fault, spec)
	return d
}

func (b *exchange) Begin(ctx context.Context, detail json.RawMessage) (Held, error) {
	var d Exchange
	if err := json.Unmarshal(detail, &d); err != nil {
		return nil, fmt.Errorf("%s: %w", b.fault.Name, err)
	}
	h := &heldExchange{exchange: d, env: b.env, done: make(chan struct{})}
	if d.Variant != memberRolling {
		release, err := b.env.claim(ctx, &h.exchange.Aim, leaves)
		if err != nil {
			return nil, err
		}
		h.turns = []*turn{{env: b.env, node: h.exchange.Nodes[0], release: release}}
	}
	ctx, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go h.run(ctx) // ends in time, and End waits for it
	return h, nil
}

// A heldExchange is such a fault in force.
type heldExchange struct {
	exchange Exchange
	env      Env
	cancel   context.CancelFunc // makes it the last node's turn
	done     chan struct{}
	turns    []*turn // run's, until it is done
}

// run does what is done before the fault is healed.
func (h *heldExchange) run(ctx context.Context) {
	defer close(h.done)
	whatever := context.WithoutCancel(ctx)
	if h.exchange.Variant != memberRolling {
		h.turns[0].take(whatever, h.exchange.Variant)
		return
	}
	for _, node := range h.exchange.Order {
		var release func()
		if !poll(ctx, answerLimit, func() (ok bool) { // no other fault may need it
			var err error
			release, err = h.env.guard.claim(&Aim{Target: One, Count: 1}, []string{node}, leaves)
			return err == nil
		}) {
			continue
		}
		if ctx.Err() != nil {
			release()
			return
		}
		t := &turn{env: h.env, node: node, release: release}
		h.turns = append(h.turns, t)
		t.take(whatever, memberJoin)
		if !t.joined {
			return // End will see to it
		}
		release()
	}
}

func (h *heldExchange) Detail() any { return h.exchange }

// End has the nodes back, whatever was not done yet. It has acted with those that a
// majority has been without.
func (h *heldExchange) End(ctx context.Context) (acted uint64, evidence any, err error) {
	h.cancel()
	if err := over(ctx, h.done); err != nil {
		return 0, nil, fmt.Errorf("%s: %w", h.exchange.Variant, err)
	}
	passages := map[string]Passage{}
	for _, t := range h.turns {
		if err := t.finish(ctx); err != nil {
			return 0, nil, fmt.Errorf("%s %s: %w", h.exchange.Variant, t.node, err)
		}
		passages[t.node] = t.passage
		if t.passage.Without != nil {
			acted++
		}
	}
	return acted, passages, nil
}

// A turn is that of one node. What it has come to do it knows by steps, each of which
// can be done again.
type turn struct {
	env     Env
	node    string
	release func() // tells the guard that the node is a member

	left, joined bool
	passage      Passage
	// heard is closed when Without is known; stop ends the waiting for that.
	heard chan struct{}
	stop  context.CancelFunc
}

// take does what a variant does with a node before it is healed.
func (t *turn) take(ctx context.Context, variant string) {
	t.passage.Before = t.members(ctx, func(members []string) bool { return members != nil })
	err := func() error {
		if variant == memberReplace {
			if err := t.env.Processes.Kill(t.node); err != nil {
				return err
			}
		}
		leaving, cancel := context.WithTimeout(ctx, leaveLimit)
		defer cancel()
		if err := t.leave(leaving); err != nil || variant == memberLeave {
			return err
		}
		joining, cancel := context.WithTimeout(ctx, joinLimit)
		defer cancel()
		return t.join(joining)
	}()
	if err != nil {
		t.passage.Error = err.Error()
	}
}

// finish has the node back.
func (t *turn) finish(ctx context.Context) error {
	if err := t.leave(ctx); err != nil {
		return err
	}
	if err := t.join(ctx); err != nil {
		return err
	}
	t.release()
	return nil
}

// leave takes the node out, and has it wiped.
func (t *turn) leave(ctx context.Context) error {
	if t.left {
		return nil
	}
	if err := t.env.Members.Leave(ctx, t.node); err != nil {
		return err
	}
	t.left = true
	t.listen(ctx)
	return nil
}

// listen begins to wait until a majority has heard that the node has left. Nothing
// else waits for that, beyond a first look: who has lost its disk comes back when it
// likes.
func (t *turn) listen(ctx context.Context) {
	ctx, t.stop = context.WithCancel(context.WithoutCancel(ctx))
	t.heard = make(chan struct{})
	looked := make(chan struct{})
	first := sync.OnceFunc(func() { close(looked) })
	go func() {
		defer close(t.heard)
		defer first()
		t.see(ctx, func(state cluster.State) bool {
			t.passage.Without = agreedWithout(state, t.node)
			first()
			return t.passage.Without != nil
		})
	}()
	<-looked
}

// join puts the node back.
func (t *turn) join(ctx context.Context) error {
	if t.joined {
		return nil
	}
	if err := t.env.Members.Join(ctx, t.node); err != nil {
		return err
	}
	t.joined = true
	t.passage.After = t.members(ctx, func(members []string) bool { return slices.Contains(members, t.node) })
	t.stop()
	<-t.heard
	return nil
}

// members returns the members as a majority of them sees them, when they are as they
// are to be; or those that they are after some time.
func (t *turn) members(ctx context.Context, are func([]string) bool) (seen []string) {
	t.see(ctx, func(state cluster.State) bool {
		seen = agreed(state)
		return are(seen)
	})
	return seen
}

// see looks at the state until it is as it is to be, for some time.
func (t *turn) see(ctx context.Context, is func(cluster.State) bool) {
	poll(ctx, hearLimit, func() bool {
		state, err := t.env.Observed.Observe(ctx)
		return err == nil && is(state)
	})
}

// agreed returns those with a vote if a majority of them says the same of who that is,
// and that no change of it is under way.
func agreed(state cluster.State) []string {
	return sayTheSame(state, func(n cluster.NodeState) bool { return !n.Changing })
}

// agreedWithout returns those with a vote, without a node that the system said has left, if a
// majority of them says the same. Whether a change is under way does not matter: who has a
// configuration in its log goes by it (Raft, section 6), and followers learn that the change
// was agreed on when there is a leader again, which may have the node back at once.
func agreedWithout(state cluster.State, node string) []string {
	voters := sayTheSame(state, func(cluster.NodeState) bool { return true })
	if slices.Contains(voters, node) {
		return nil
	}
	return voters
}

// sayTheSame returns those with a vote if a majority of them says the same of who that is,
// and that counts.
func sayTheSame(state cluster.State, counts func(cluster.NodeState) bool) []string {
	say := map[string]int{}
	for node, n := range state {
		voters := slices.Sorted(slices.Values(n.Voters))
		if !counts(n) || !slices.Contains(voters, node) {
			continue
		}
		key := fmt.Sprint(voters)
		if say[key]++; say[key] > len(voters)/2 {
			return voters
		}
	}
	return nil
}
