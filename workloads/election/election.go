// Package election is the workload of leader election: candidates campaign, and who
// wins leads for a term, of which each is greater than those before. What a leader
// proclaims is accepted while it leads.
//
// A leader can be wrong about that: it was paused, or its resignation was not heard of.
// So it is not enough that no term has two leaders; what one proclaims that was deposed
// must be refused.
package election

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/hacheck/hacheck/workloads"
)

// The functions of the workload, with the payloads of their ops.
const (
	Campaign = "campaign" // ["e0",{"leader":"p3"}]: as that; completed by ["e0",{"leader":"p3","term":7}]
	Proclaim = "proclaim" // ["e0",{"term":7,"value":4}]
	Resign   = "resign"   // ["e0",{"term":7}]
	// ["e0",null], completed by ["e0",{"leader":"p3","term":7,"proclaimed":{"term":5,"value":2}}],
	// without what there is not.
	Observe = "observe"
)

// refusals as meta has them
const (
	led     = "led"     // another leads
	deposed = "deposed" // the term is over
)

// Elections is what a system under test offers to this workload, as one client sees
// it. Its calls come one at a time and return soon after ctx has ended. What an error
// means is what [workloads.Client] says.
//
// Who was elected leads until it resigns, or until its lease ends: when that is the
// system says, and nothing renews it. It should be a second or so, or no leader is
// ever deposed in a short run. To close a client resigns nothing.
type Elections interface {
	// Campaign makes a candidate the leader and returns its term. If another leads the
	// error is a [*Led], at once or after some waiting. No two clients ever have the
	// same candidate's name.
	Campaign(ctx context.Context, election, candidate string) (Leadership, error)
	// Proclaim sets what is proclaimed in an election, and with it the term, if that is
	// the one of the present leader, all at one moment; or else the error is a
	// [*Deposed].
	Proclaim(ctx context.Context, election string, term uint64, value int64) (workloads.Said, error)
	// Resign ends a term, so that nobody leads. Of one that is over, the error may be a
	// [*Deposed] or none.
	Resign(ctx context.Context, election string, term uint64) (workloads.Said, error)
	// Observe returns who leads and what was proclaimed last, both as of one moment
	// while it was called: it is linearizable.
	Observe(ctx context.Context, election string) (Observation, error)
	// Close ends the connection.
	Close() error
}

// A Leadership is what a candidate won.
type Leadership struct {
	Term uint64 // above 0, and greater than all terms before
	workloads.Said
}

// An Observation is of an election.
type Observation struct {
	// Leader is who leads, by the name of the candidate, and Term its term: "" and 0
	// if nobody does.
	Leader string
	Term   uint64
	// Proclaimed is what was proclaimed last, by whoever led then.
	Proclaimed Proclamation
	workloads.Said
}

// A Proclamation is what was proclaimed in a term; the zero Proclamation is none.
type Proclamation struct {
	Term uint64 `json:"term"`
	// Value is what was proclaimed: above 0. What a system finds that is no such thing
	// it returns as [Garbled], or nobody would hear of it.
	Value int64 `json:"value"`
}

// Garbled is a value that nobody proclaims.
const Garbled int64 = -1

// Led is the error of a Campaign that was refused since another leads. It is definite
// by itself.
type Led struct{}

func (*Led) Error() string { return "refused: another leads" }

// Deposed is the error of what was refused since its term is over. It is definite by
// itself.
type Deposed struct{}

func (*Deposed) Error() string { return "refused: the term is over" }

// payload is what an op's value says.
type payload struct {
	Election   string        `json:"-"`
	Leader     string        `json:"leader,omitempty"`
	Term       uint64        `json:"term,omitempty"`
	Value      int64         `json:"value,omitempty"`
	Proclaimed *Proclamation `json:"proclaimed,omitempty"`
}

// encode returns p as an op carries it.
func (p payload) encode() json.RawMessage {
	if p == (payload{Election: p.Election}) {
		return workloads.Keyed(p.Election, nil)
	}
	return workloads.Keyed(p.Election, p)
}

// decode reads the argument or the result of function f.
func decode(f string, value json.RawMessage) (p payload, err error) {
	switch f {
	case Campaign, Proclaim, Resign, Observe:
	default:
		return p, errors.New("is no function of an election")
	}
	key, arg, err := workloads.ParseKeyed(value)
	if err != nil {
		return p, err
	}
	p.Election = key
	return p, json.Unmarshal(arg, &p)
}
