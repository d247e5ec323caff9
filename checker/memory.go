package checker

import (
	"context"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"
)

// A heapGuard keeps the heap from outgrowing a limit by stopping searches, the
// hungriest first. Porcupine's search has no such limit of its own, and what it
// takes grows with its duration: a minute can be many gigabytes.
type heapGuard struct {
	limit uint64 // growth of the heap, in bytes

	mu      sync.Mutex
	running map[hungry]struct{}
}

// hungry is a search as the guard sees it.
type hungry interface {
	bytes() int64
	starve()
}

// interval returns how often the heap is looked at: often enough that not a tenth of the
// limit can be taken up in between, at gigabytes a second.
func (g *heapGuard) interval() time.Duration {
	const perSecond = 4 << 30
	return min(max(time.Duration(g.limit/10)*time.Second/perSecond, time.Millisecond), 50*time.Millisecond)
}

func newHeapGuard(limit uint64) *heapGuard {
	return &heapGuard{limit: limit, running: map[hungry]struct{}{}}
}

// watch guards until ctx ends. What is on the heap at its first look does not
// count: most checks are over before, and need no guard.
func (g *heapGuard) watch(ctx context.Context) {
	tick := time.NewTicker(g.interval())
	defer tick.Stop()
	base := uint64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if base == 0 {
			if heapBytes() > g.limit/16 { // or what of it is garbage does not matter
				runtime.GC()
			}
			base = heapBytes()
		}
		// Much of it may be garbage, above all after a search was stopped; while that is
		// collected more comes, hence before the limit is reached. That the second bar is
		// lower keeps us from collecting at every tick.
		if heapBytes() < base+g.limit/20*17 || g.idle() {
			continue
		}
		runtime.GC()
		if heapBytes() > base+g.limit/20*15 {
			g.stopHungriest()
		}
	}
}

// idle says that there is nothing to stop.
func (g *heapGuard) idle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.running) == 0
}

func (g *heapGuard) stopHungriest() {
	g.mu.Lock()
	defer g.mu.Unlock()
	var hungriest hungry
	for s := range g.running {
		if hungriest == nil || s.bytes() > hungriest.bytes() {
			hungriest = s
		}
	}
	if hungriest != nil {
		hungriest.starve() // again, perhaps, if it is about to end: harmless
	}
}

func (g *heapGuard) add(s hungry) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running[s] = struct{}{}
}

func (g *heapGuard) remove(s hungry) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.running, s)
}

// heapBytes returns how much objects on the heap take up, dead ones included
// that have not been collected.
func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// A meter is an engine's limit: it ends with its context, or when the guard finds that
// the engine holds more than others.
type meter struct {
	guard *heapGuard
	ctx   context.Context
	stop  context.CancelCauseFunc
	held  atomic.Int64
}

// meter returns the limit of an engine. Its owner calls done when the engine has ended.
func (g *heapGuard) meter(ctx context.Context) *meter {
	m := &meter{guard: g}
	m.ctx, m.stop = context.WithCancelCause(ctx)
	g.add(m)
	return m
}

// limit is a linear.Limit.
func (m *meter) limit(bytes int64) bool {
	m.held.Store(bytes)
	return m.ctx.Err() == nil
}

// ended returns why the engine may not go on.
func (m *meter) ended() error { return context.Cause(m.ctx) }

func (m *meter) bytes() int64 { return m.held.Load() }
func (m *meter) starve()      { m.stop(errMemory) }

func (m *meter) done() {
	m.guard.remove(m)
	m.stop(nil)
}
