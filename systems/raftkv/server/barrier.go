package server

import (
	"context"
	"sync"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
)

// A barrier makes reads linearizable. A read that has waited for it may be
// answered from this node's state.
//
// Wait makes an entry without effect go through the log, and returns when this
// node, which leads, has applied it. Take a change that was acknowledged to anybody
// before the read arrived, so before the entry was appended. If it was committed in
// the entry's term or an earlier one, it stands in this leader's log, ahead of the
// entry, and is applied before it. If it was committed in a later term, a majority
// knew of that term already and took no more entries from this leader: then the
// entry is not committed, and the read not answered. What else the state includes
// by the time it is read is committed, too; to see that is at worst to read later.
//
// None of this rests on clocks: the node may be stopped at any point for any time.
// And it holds from the first entry of a new leader on, since that comes after all
// that was committed before.
//
// Raft's VerifyLeader is cheaper and not enough. It counts answers of followers
// to calls that were on the way when it was asked: they say that this node led
// when they were sent, not that it does now. The leader's lease hides that as long
// as clocks run and processes are not stopped. Nor does it wait for the state to
// be applied, or see to it that a new leader knows what is committed.
//
// Reads share entries: those that arrive while one is under way wait together for
// the next. They cannot share that one, for they may have begun after its place in
// the log was taken.
type barrier struct {
	// pass makes one entry go through the log and returns where it stands.
	pass func(context.Context) (position, error)

	mu      sync.Mutex
	next    *round // what the next entry is for; nil if nobody waits for it
	running bool
}

// A round is an entry and the reads that share it.
type round struct {
	done chan struct{} // closed when at and err are set
	at   position
	err  error
}

// wait returns where the entry stands that the caller waited for. What it waits
// with is its own ctx; what the entry is waited for with is life, the node's.
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
