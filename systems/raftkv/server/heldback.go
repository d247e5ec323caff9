package server

import (
	"maps"
	"sync"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
	"github.com/hacheck/hacheck/systems/raftkv/server/stored"
)

// HeldBack are leases whose end a leader holds back in its memory: for
// [bug.LeaseForgottenByLeader] those that it finds when it comes to lead, and for
// [bug.LeaseDiesEarly] those that were kept alive.
type heldBack struct {
	mu   sync.Mutex
	term uint64 // in which it leads
	// until when; zero: for ever.
	until map[uint64]time.Time
}

// begin makes it that of a term.
func (h *heldBack) begin(term uint64, leases func() []uint64) {
	if h.term == term {
		return
	}
	h.term, h.until = term, map[uint64]time.Time{}
	for _, id := range leases() {
		h.until[id] = time.Time{}
	}
}

// holdBack keeps alive those leases that are held back and about to end, and ends those
// that are no more. It is called before each tick.
func (n *Node) holdBack() {
	if n.config.Bug != bug.LeaseForgottenByLeader && n.config.Bug != bug.LeaseDiesEarly {
		return
	}
	term := n.raft.CurrentTerm()
	if n.machine.applied().term != term {
		return // it does not know yet what it will find; and the first tick ends none
	}
	h := &n.heldBack
	h.mu.Lock()
	h.begin(term, n.leasesFound)
	until := maps.Clone(h.until)
	h.mu.Unlock()
	for id, until := range until {
		l, found := n.machine.lease(id)
		over := !until.IsZero() && time.Now().After(until)
		if !found || over {
			h.mu.Lock()
			if h.until[id].Equal(until) {
				delete(h.until, id)
			}
			h.mu.Unlock()
		}
		switch {
		case found && over:
			_, _ = n.propose(n.life, revoke(nil, id))
		case found && time.Duration(l.GetLeftMs())*time.Millisecond < 4*tickEvery:
			_, _ = n.propose(n.life, keepAlive(nil, id))
		}
	}
}

// leasesFound are those that a leader finds when it comes to lead.
func (n *Node) leasesFound() []uint64 {
	if n.config.Bug != bug.LeaseForgottenByLeader {
		return nil
	}
	n.machine.mu.RLock()
	state := n.machine.state.Freeze()
	n.machine.mu.RUnlock()
	var ids []uint64
	_, _, _ = state.Write(func(r *stored.Record) error {
		if l := r.GetLease(); l != nil {
			ids = append(ids, l.Id)
		}
		return nil
	})
	return ids
}

// keepInMind is for [bug.LeaseDiesEarly]: it keeps a lease alive in this node's memory.
// Nil: there is none that it knows of.
func (n *Node) keepInMind(id uint64) *api.KeepAliveResponse {
	l, found := n.machine.lease(id)
	if !found {
		return nil
	}
	h := &n.heldBack
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begin(n.raft.CurrentTerm(), n.leasesFound)
	h.until[id] = time.Now().Add(time.Duration(l.TtlMs) * time.Millisecond)
	return &api.KeepAliveResponse{TtlMs: l.TtlMs, Stamp: n.stamp(n.machine.applied())}
}
