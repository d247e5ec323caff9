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

// The variants of trouble with who leads.
const (
	leaderTransfer = "transfer"
	leaderElection = "election"
)

// Leader makes another node lead, or stand for it: what a system does when all is
// well, over and over.
//
// Its evidence is the term and the leader before and after.
func Leader() Fault {
	f := Fault{
		Name:  "leader",
		About: "make the leader hand over, or other nodes stand for election",
		Variants: []Variant{
			{Name: leaderTransfer, About: "the leader hands over, to a node or to whom it likes"},
			{Name: leaderElection, About: "nodes that do not lead stand for election, all at the same time"},
		},
		Targets: []Target{
			{Name: One, About: "one node that does not lead"},
			{Name: Minority, About: "several of those, less than half of the nodes"},
			{Name: AllNodes, About: "all of those"},
		},
	}
	f.New = func(env Env, s Spec) (Breaker, error) { return newBallot(env, f, s) }
	return f
}

// A Ballot is the detail of such a fault. To whom the leader hands over is the first of
// its nodes; if it has none, to whom it likes.
type Ballot struct {
	Variant string `json:"variant"`
	Aim
}

// A Count is what became of it: its evidence.
type Count struct {
	Leader string `json:"leader,omitempty"` // when it began
	Term   uint64 `json:"term"`
	// Next leads afterwards, in NextTerm.
	Next     string `json:"next,omitempty"`
	NextTerm uint64 `json:"next_term"`
	// Errors are of those that were told, by node.
	Errors map[string]string `json:"errors,omitempty"`
}

// How long those who are told have, and then there may be no leader.
const (
	ballotLimit   = 2 * time.Second
	electionLimit = 3 * time.Second
)

// A ballot is the breaker of such faults.
type ballot struct{ aiming }

func newBallot(env Env, f Fault, s Spec) (*ballot, error) {
	switch {
	case env.Elector == nil:
		return nil, errors.New("the system's leader cannot be told to go")
	case env.Observed == nil:
		return nil, errors.New("the system does not show its state")
	case len(env.Nodes) < 2:
		return nil, tooFew(2, env.Nodes)
	}
	a, err := newAiming(env, f, s)
	if err != nil {
		return nil, err
	}
	return &ballot{a}, nil
}

// Draw aims at one node more often than at several, of which none may win.
func (b *ballot) Draw(r *rand.Rand) any {
	d := &Ballot{Variant: b.variant(r)}
	spec := b.spec
	if spec.Target == "" && (d.Variant == leaderTransfer || r.IntN(2) == 0) {
		spec.Target = One
	}
	d.Aim = b.env.drawAim(r, b.fault, spec)
	if d.Variant == leaderTransfer && b.spec.Target == "" && r.IntN(2) == 0 {
		d.Order, d.Count = nil, 0
	}
	return d
}

func (b *ballot) Begin(ctx context.Context, detail json.RawMessage) (Held, error) {
	var d Ballot
	if err := json.Unmarshal(detail, &d); err != nil {
		return nil, fmt.Errorf("%s: %w", b.fault.Name, err)
	}
	state, err := b.env.Observed.Observe(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.fault.Name, err)
	}
	h := &heldBallot{ballot: d, env: b.env, done: make(chan struct{})}
	h.count.Leader, h.count.Term = leaderOf(state)
	for _, node := range state {
		h.count.Term = max(h.count.Term, node.Term)
	}
	order := d.Order
	if isNode(d.Target) {
		order = []string{d.Target}
	}
	for _, node := range order { // those that can
		role := state[node].Role
		if (role == cluster.RoleFollower || role == cluster.RoleCandidate) && node != h.count.Leader && len(h.ballot.Nodes) < d.Count {
			h.ballot.Nodes = append(h.ballot.Nodes, node)
		}
	}
	if d.Count > 0 && len(h.ballot.Nodes) == 0 {
		return nil, fmt.Errorf("%s: nobody can be told to lead", b.fault.Name)
	}
	go h.run(context.WithoutCancel(ctx)) // ends in time, and End waits for it
	return h, nil
}

// A heldBallot is such a fault in force. There is nothing to undo.
type heldBallot struct {
	ballot Ballot
	env    Env
	done   chan struct{}
	count  Count // run's, until it is done
}

func (h *heldBallot) run(ctx context.Context) {
	defer close(h.done)
	h.count.Errors = h.tell(ctx)
	poll(ctx, electionLimit, func() bool {
		state, err := h.env.Observed.Observe(ctx)
		if err != nil {
			return false
		}
		leader, term := leaderOf(state)
		if leader == "" {
			return false
		}
		h.count.Next, h.count.NextTerm = leader, term
		// Who was told in vain has nothing to wait for.
		return term > h.count.Term || len(h.count.Errors) > 0
	})
}

// tell tells those whom it concerns, all at the same time, and returns what they
// answered if it was an error.
func (h *heldBallot) tell(ctx context.Context) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, ballotLimit)
	defer cancel()
	var mu sync.Mutex
	errs := map[string]string{}
	note := func(node string, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			errs[node] = err.Error()
		}
	}
	if h.ballot.Variant == leaderTransfer {
		to := ""
		if len(h.ballot.Nodes) > 0 {
			to = h.ballot.Nodes[0]
		}
		note(h.count.Leader, h.env.Elector.Transfer(ctx, to))
		return errs
	}
	var standing sync.WaitGroup
	for _, node := range slices.Clone(h.ballot.Nodes) {
		standing.Go(func() { note(node, h.env.Elector.Elect(ctx, node)) })
	}
	standing.Wait()
	return errs
}

func (h *heldBallot) Detail() any { return h.ballot }

// End waits for it to be over. It has acted if there was an election, whoever won.
func (h *heldBallot) End(ctx context.Context) (acted uint64, evidence any, err error) {
	if err := over(ctx, h.done); err != nil {
		return 0, nil, fmt.Errorf("%s: %w", h.ballot.Variant, err)
	}
	if h.count.NextTerm > h.count.Term {
		acted = 1
	}
	return acted, h.count, nil
}
