// Package nemesis breaks things, as operations of the history.
//
// A [Fault] is a kind of breakage, such as partition. [New] makes of the faults
// that a user asked for a [Nemesis], which performs them, and the generators that
// schedule them: every instance of a fault is two operations, one that begins it
// and one that heals it, whose completion carries the evidence that it acted. See
// [histories.Fault] for their payload.
package nemesis

import (
	"context"
	"encoding/json"
	"math/rand/v2"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
)

// A Nemesis performs the operations that break and heal. It is no client: its
// ops complete as info whatever happens, an error is recorded with them, and Heal
// is not optional.
type Nemesis interface {
	// Invoke performs op and returns the value of its completion.
	Invoke(ctx context.Context, op histories.Op) (value any, err error)
	// Heal undoes every fault that is in force. It is called however a run ended.
	Heal(ctx context.Context) error
}

// An Env is what there is to break, and what helps to find it.
type Env struct {
	Nodes   []string // in order
	Network cluster.Network
	Leader  cluster.Leader // nil if the system knows of none

	cuts *cuts // of Network, shared by all that cut it
}

// A Fault is a kind of breakage.
type Fault struct {
	// Name is what the user asks for, and the function of the ops that begin it.
	Name  string
	About string
	// Targets are the ways in which it can be asked for, as in "partition:ring".
	// Asked for by its name alone, it draws among them.
	Targets []Target
	// New returns it as aimed at a target, or at any if target is "". The error
	// says what is missing in env.
	New func(env Env, target string) (Breaker, error)
}

// A Target is what a fault can be aimed at.
type Target struct{ Name, About string }

// A Breaker begins the instances of a fault. Begin may be called while another
// Begin, or an End, still goes on.
type Breaker interface {
	// Draw decides on the next instance: its detail says exactly what will be done.
	Draw(r *rand.Rand) (detail any)
	// Begin does what detail says. If it returns an error nothing is in force.
	Begin(ctx context.Context, detail json.RawMessage) (Held, error)
}

// A Held is an instance of a fault that is in force.
type Held interface {
	// Detail is the detail with what only turned out when it began.
	Detail() any
	// End undoes it, and returns in what number and how it acted. It is called
	// again if it fails.
	End(ctx context.Context) (acted uint64, evidence any, err error)
}
