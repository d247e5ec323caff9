package server

import (
	"sync"
	"time"
)

// A readLease is for [bug.LeaseRead]. The leader has it from when it last knew that it
// led, for as long as nobody who heard of it then will vote for another.
type readLease struct {
	now func() time.Time
	// lasts is for how long nobody will.
	lasts time.Duration

	mu    sync.Mutex
	until time.Time
}

func (l *readLease) extend(from time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = from.Add(l.lasts * 4 / 5) // clocks differ a little, of course
}

func (l *readLease) holds() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now().Before(l.until)
}

// wallClock is the time without Go's reading of the monotonic clock.
func wallClock() time.Time { return time.Now().Round(0) }
