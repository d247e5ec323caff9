package raftkv

import (
	"fmt"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/server"
)

// A Tuning is how the system performs otherwise than as it ships, while all that it claims
// holds as before. The zero value changes nothing.
//
// Nothing that it claims rests on a time being short or long: reads are answered by who is
// followed then (see barrier.go of package server), leases end by the log, and a vote is on a
// disk. What is told of times to clients follows: a lease's bound, and for how long a call is
// kept that waits for a leader.
type Tuning struct {
	// Timeouts is a factor, from [MinTimeouts] to [MaxTimeouts], on how long followers wait
	// for their leader, candidates for votes, and a leader for its majority; 0 is 1. All of
	// them take it, as a leader must not go on for longer than its followers wait.
	Timeouts float64
	// Delay is by how much later each call of a client is answered, up to [MaxDelay].
	Delay time.Duration
}

// The bounds of a [Tuning]. With shorter time-outs a leader is deposed whenever a busy
// machine starves it for as long as a run's usually do; with longer ones a change of leaders
// takes longer than what a run waits for in the end.
const (
	MinTimeouts = 0.5
	MaxTimeouts = 10.0
)

// MaxDelay leaves a client that gives an operation a second the time for four calls: to open a
// session, to be sent to the leader, and to have two attempts.
const MaxDelay = 250 * time.Millisecond

// check says what is out of bounds.
func (t Tuning) check() error {
	switch {
	case t.Timeouts != 0 && !(t.Timeouts >= MinTimeouts && t.Timeouts <= MaxTimeouts): // NaN is not
		return fmt.Errorf("raftkv takes a factor of time-outs from %v to %v, not %v", MinTimeouts, MaxTimeouts, t.Timeouts)
	case t.Delay < 0 || t.Delay > MaxDelay:
		return fmt.Errorf("raftkv takes a delay of up to %v, not %v", MaxDelay, t.Delay)
	}
	return nil
}

// Tell adds to what a node is told.
func (t Tuning) Tell(c *server.Config) {
	if t.Timeouts != 0 {
		c.Heartbeat = server.Duration(t.Timeouts * float64(server.DefaultHeartbeat)) // and so the others
	}
	c.Delay = server.Duration(t.Delay)
}
