package server

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/stored"
)

// Proposals are commands on their way through the log. As long as few are, each is handed
// to Raft as it comes. While more are, those that come wait for these, and are handed over
// together: then they are one write to the disk of each node, and one message to it. Raft
// by itself puts together no more than what it finds when it looks, which is soon.
type proposals struct {
	mu      sync.Mutex
	waiting []*proposal
	handed  int  // how many Raft has, or is about to
	handing bool // one goroutine does it, so that their order is that of their clocks
}

// few is how many there may be for the next one not to wait: where clients are few, or their
// number, to go one by one is what makes use of the time that a disk and a network take.
const few = 8

// A proposal is a command, and what has become of it when done is closed.
type proposal struct {
	command *stored.Command
	until   time.Time // Raft has to have taken it
	future  raft.ApplyFuture
	done    chan struct{}
	outcome *stored.Outcome
	err     error
}

// submit sees to it that a proposal is handed to Raft. Node.pending is to be done when
// the proposal is.
func (n *Node) submit(p *proposal) {
	n.proposals.mu.Lock()
	n.proposals.waiting = append(n.proposals.waiting, p)
	n.proposals.mu.Unlock()
	n.handOver()
}

// handOver hands those that wait to Raft, if it is time.
func (n *Node) handOver() {
	q := &n.proposals
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 || q.handing || q.handed >= few {
		return
	}
	all := q.waiting
	q.waiting, q.handing, q.handed = nil, true, q.handed+len(all)
	go func() {
		for _, p := range all {
			p.future, p.err = n.enqueue(p.command, p.until)
		}
		q.mu.Lock()
		q.handing = false
		q.mu.Unlock()
		n.handOver() // what has come meanwhile
		for _, p := range all {
			if p.err == nil {
				p.finish()
			}
			close(p.done)
			n.pending.Done()
		}
		q.mu.Lock()
		q.handed -= len(all)
		q.mu.Unlock()
		n.handOver()
	}()
}

// finish waits until it is known what has become of the proposal.
func (p *proposal) finish() {
	if err := p.future.Error(); err != nil {
		p.err = classify(err)
		return
	}
	p.outcome = p.future.Response().(*stored.Outcome)
}

// enqueue hands a command to Raft, which has until then to take it. One that had to wait for
// longer is not handed over: it would be done when who made it has long given up. What
// concerns leases gets a reading of the node's clock. Readings in the log ascend, but for
// those of a node that is deposed and leads again.
func (n *Node) enqueue(c *stored.Command, until time.Time) (raft.ApplyFuture, error) {
	within := time.Until(until)
	if within <= 0 { // which Raft would take for no limit
		return nil, classify(raft.ErrEnqueueTimeout)
	}
	if c == nil {
		return n.raft.Apply(nil, within), nil
	}
	switch c.GetCommand().(type) {
	case *stored.Command_GrantLease, *stored.Command_KeepAlive, *stored.Command_RevokeLease, *stored.Command_Tick:
		c.Clock = &stored.Clock{Term: n.raft.CurrentTerm(), Ns: uint64(time.Since(n.begun))}
	}
	data, err := proto.Marshal(c)
	if err != nil {
		return nil, api.Definite(api.Reason_REASON_INVALID, "encode command: %w", err)
	}
	return n.raft.Apply(data, within), nil
}
