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
