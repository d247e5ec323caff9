package client

import (
	"context"
	"math/rand/v2"
	"time"
)

// A backoff is the pauses between attempts. Each is up to twice as long as the one
// before; how long is drawn, so that clients who failed together do not come back
// together.
type backoff struct{ longest time.Duration }

// The longest that the first pause lasts, and that any does.
const (
	firstPause   = 10 * time.Millisecond
	longestPause = 160 * time.Millisecond
)

// lastAttempt is how much time an attempt needs. One that has less ends in doubt, likely
// as not, where those before it were refused.
const lastAttempt = 50 * time.Millisecond

// wait pauses, if there is time for an attempt after that.
func (b *backoff) wait(ctx context.Context) bool {
	b.longest = min(max(2*b.longest, firstPause), longestPause)
	pause := b.longest/2 + rand.N(b.longest/2)
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= pause+lastAttempt {
		// Too late for another attempt. To return at once would make whoever asks
		// again and again do so without pause while nothing works.
		<-ctx.Done()
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
