package server

import (
	"context"
	"sync"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
)

// A barrier makes reads linearizable. A read that has waited for it may be
// answered from this node's state.
//
// Wait returns when a majority of those who vote have answered heartbeats of this node,
// which leads, that were sent after the read arrived: they follow it in its term (Raft's
// author calls that ReadIndex, in section 6.4 of his thesis). Before, the node must have
// applied an entry of that term, and by then all that it knew to be committed when the read
// arrived. Take a change that was acknowledged to anybody before the read arrived.
//
//   - If it was committed in the term, it was this node that acknowledged it, and had applied
//     it. Nor can a follower have shown it to anybody before this node knew that it was
//     committed.
//   - If it was committed in an earlier term, it stands in this leader's log, ahead of the
//     entry that was applied.
//   - It was not committed in a later term. Or somebody had been elected in a later term
//     before the read arrived; think of the first who was. A majority had voted for him and
//     so come to his term, and nobody goes back from a term, which is on his disk. But some
//     of them are of the majority that answered, from the term before; this node itself
//     answers by that it leads, also after it has looked who votes. Two majorities have
//     somebody in common also when the members change, since they do so one at a time, and
//     not before the leader has an entry of its own committed: the members by whom he was
//     elected are those in this leader's log, or those before the last change.
//
// Nor does an answer count of who has forgotten the terms that he was in: with his disk he
// has lost his log, and that is to hold the entry.
//
// If that does not come about, Wait makes an entry without effect go through the log, and
// returns when this node has applied it. So it is at first in a term. It holds for the same
// reasons: who knows of a later term takes no entries from this leader, and then the entry
// is not committed, and the read not answered.
//
// What else the state includes by the time it is read is committed, too; to see that is at
// worst to read later. And none of this rests on clocks: the node may be stopped at any
// point for any time.
//
// Raft's VerifyLeader is not enough. It counts answers of followers to calls that were on
// the way when it was asked: they say that this node led when they were sent, not that it
// does now. The leader's lease hides that as long as clocks run and processes are not
// stopped. Nor does it wait for the state to be applied, or see to it that a new leader
// knows what is committed.
//
// Reads share this: those that arrive while it is under way wait together for the next
// time. They cannot share that one, for they may have begun after its heartbeats were
// sent, or its entry had its place in the log.
type barrier struct {
	// pass does it once, and returns where the state stood then: [Node.pass].
	pass func(context.Context) (position, error)

	mu      sync.Mutex
	next    *round // that waits; nil if nobody does
	running bool
}

// A round is what reads share.
type round struct {
	done chan struct{} // closed when at and err are set
	at   position
	err  error
}

// wait returns where the state stood when the caller might read. What it waits with is its
// own ctx; what passes is waited for with life, the node's.
func (b *barrier) wait(ctx, life context.Context) (position, error) {
	b.mu.Lock()
	if b.next == nil {
		b.next = &round{done: make(chan struct{})}
	}
	r := b.next
	if !b.running {
		b.running = true
		go b.run(life) // ends when nobody waits, and a node that closes refuses all who do
	}
	b.mu.Unlock()
	select {
	case <-r.done:
		return r.at, r.err
	case <-ctx.Done():
		return position{}, api.Indeterminate(api.Reason_REASON_DEADLINE, "wait for a read's turn: %w", context.Cause(ctx))
	}
}

// run serves rounds until nobody waits.
func (b *barrier) run(life context.Context) {
	for {
		b.mu.Lock()
		r := b.next
		b.next = nil // who arrives from now on is of the next round
		if r == nil {
			b.running = false
		}
		b.mu.Unlock()
		if r == nil {
			return
		}
		r.at, r.err = b.pass(life)
		close(r.done)
	}
}
