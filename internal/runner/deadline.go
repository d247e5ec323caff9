package runner

import (
	"context"
	"sync"
	"time"
)

// A deadline is context.WithDeadline(parent, at), made only when somebody asks
// whether it has ended: a timer for every operation would cost more than all else
// that the runner does for it.
type deadline struct {
	parent context.Context
	at     time.Time

	mu     sync.Mutex
	ctx    context.Context // nil as long as nobody asked
	cancel context.CancelFunc
	over   bool // the operation has returned
}

func (d *deadline) Deadline() (time.Time, bool) {
	if at, ok := d.parent.Deadline(); ok && at.Before(d.at) {
		return at, true
	}
	return d.at, true
}

func (d *deadline) Done() <-chan struct{} { return d.made().Done() }
func (d *deadline) Err() error            { return d.made().Err() }

// Value goes through the made context, by which package context recognises its
// own and derives children without a goroutine for each.
func (d *deadline) Value(key any) any { return d.made().Value(key) }

func (d *deadline) made() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx == nil {
		d.ctx, d.cancel = context.WithDeadline(d.parent, d.at)
		if d.over {
			d.cancel()
		}
	}
	return d.ctx
}

// end cancels what is still done in the operation's name.
func (d *deadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	if d.cancel != nil {
		d.cancel()
	}
}
