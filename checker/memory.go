package checker

import (
	"context"
	"errors"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"
)

var errMemory = errors.New("out of memory")

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

// guardInterval is how often the heap is looked at. A search can take up a few
// tens of megabytes in that time.
const guardInterval = 50 * time.Millisecond

func newHeapGuard(limit uint64) *heapGuard {
	return &heapGuard{limit: limit, running: map[hungry]struct{}{}}
}

// watch guards until ctx ends. What is on the heap at its first look does not
// count: most checks are over before, and need no guard.
func (g *heapGuard) watch(ctx context.Context) {
	tick := time.NewTicker(guardInterval)
	defer tick.Stop()
	base := uint64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if base == 0 {
			runtime.GC()
			base = heapBytes()
		}
		if heapBytes() < base+g.limit {
			continue
		}
		// Much of it may be garbage, above all after a search was stopped. That the
		// second bar is lower keeps us from collecting at every tick.
		runtime.GC()
		if heapBytes() > base+g.limit/4*3 {
			g.stopHungriest()
		}
	}
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
