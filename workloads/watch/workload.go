package watch

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Options say what clients do. Zero fields mean the defaults.
type Options struct {
	// Watchers is how many there are; each has a worker of its own, if there are more
	// workers. Otherwise each worker watches and writes in turn.
	Watchers int
	// Wait is how long a watcher collects events in one operation.
	Wait time.Duration
	// Compact is how often the store is compacted.
	Compact time.Duration
	// Rate is the number of writes per second, all clients together; 0 means as many
	// as they can.
	Rate float64
	// FinalLimit bounds the time in which watchers may catch up in the end.
	FinalLimit time.Duration
}

// The default options.
const (
	DefaultWatchers = 4
	DefaultWait     = 200 * time.Millisecond
	DefaultCompact  = time.Second
)

// Prefix is what all keys begin with.
const Prefix = "watch/"

const (
	numKeys    = 8    // half of them in group a, the others in group b
	batchLimit = 5000 // events that a watcher collects in one operation
	// pause is how long a watcher, or who asks for the last revision, waits after a
	// failure.
	pause = 50 * time.Millisecond
)

// New returns the workload: watchers of all keys, of a group of them and of a single
// one, while others put and delete, and compact now and then. Mostly what is
// compacted all have been told; but sometimes it is so new that a watcher that was cut
// off has to hear of it. open connects the client of a worker.
func New(o Options, open func(ctx context.Context, worker int) (Store, error)) workloads.Workload {
	o.Watchers = cmp.Or(o.Watchers, DefaultWatchers)
	o.Wait = cmp.Or(o.Wait, DefaultWait)
	o.Compact = cmp.Or(o.Compact, DefaultCompact)
	o.FinalLimit = cmp.Or(o.FinalLimit, workloads.DefaultFinalLimit)
	ws := newWatchers(o.Watchers)
	writes := workloads.AtRate(o.Rate, &writer{watchers: ws, every: o.Compact})
	final := &final{watchers: ws, status: generator.UntilOK(pause, histories.Op{F: Status, Value: Input{}.payload()})}
	return workloads.Workload{
		Name:    "watch",
		Main:    generator.OnClients(generator.Any(&follower{ws}, writes)),
		Final:   generator.OnClients(generator.TimeLimit(o.FinalLimit, final)),
		Open:    workloads.Connect(open, o.perform),
		Checker: Checker(),
	}
}

// Watchers are those who follow: watcher i on worker i, as long as there are workers.
type watchers struct {
	keys  []Keys
	next  []uint64        // the revision from which each goes on
	ready []time.Duration // when it may, after a failure
	wrote []bool          // if its worker writes, too: that it is the watcher's turn
}

// newWatchers returns n of them: the first two of all keys, then one of a group and
// one of a single key, and so on.
func newWatchers(n int) *watchers {
	w := &watchers{next: make([]uint64, n), ready: make([]time.Duration, n), wrote: make([]bool, n)}
	for i := range n {
		w.next[i], w.wrote[i] = 1, true
		all := Keys{Prefix, after(Prefix)}
		w.keys = append(w.keys, []Keys{all, all, {Prefix + "a", after(Prefix + "a")}, {Key: Prefix + "b0"}}[i%4])
	}
	return w
}

// after returns the first key above all that begin with prefix.
func after(prefix string) string {
	last := len(prefix) - 1
	return prefix[:last] + string(prefix[last]+1)
}

// running returns how many watchers there are.
func (w *watchers) running(c generator.Context) int { return min(len(w.keys), c.Workers) }

// shared says that workers that watch have to write as well.
func (w *watchers) shared(c generator.Context) bool { return c.Workers <= len(w.keys) }

// follow lets a watcher go on that is free and has not come to a revision yet, and
// for which it is time.
func (w *watchers) follow(c generator.Context, upTo uint64, inTurn bool) generator.Step {
	var soonest time.Duration
	for _, p := range c.Free {
		i := c.Worker(p)
		if i >= w.running(c) || w.next[i] > upTo || inTurn && !w.wrote[i] {
			continue
		}
		if wait := w.ready[i] - c.Now; wait > 0 {
			if soonest == 0 || wait < soonest {
				soonest = wait
			}
			continue
		}
		w.wrote[i] = !w.shared(c)
		in := Input{Watcher: &i, Keys: w.keys[i], From: w.next[i]}
		return generator.Step{Op: &histories.Op{Type: histories.Invoke, Process: p, F: Watch, Value: in.payload()}}
	}
	return generator.Step{Wait: soonest}
}

// heed remembers how far a watcher has come. After an operation that failed, or whose
// end nobody knows, it goes on from where it was.
func (w *watchers) heed(c generator.Context, op histories.Op) {
	if op.F != Watch || op.Type == histories.Invoke {
		return
	}
	if op.Type != histories.OK {
		w.ready[c.Worker(op.Process)] = c.Now + pause
		return
	}
	out, err := parseOutput(op.F, op.Value)
	if err != nil || out.Watcher == nil || *out.Watcher < 0 || *out.Watcher >= len(w.next) {
		return
	}
	next := &w.next[*out.Watcher]
	*next = max(*next, out.To+1, out.Compacted+1)
}

// A follower lets watchers follow, for ever.
type follower struct{ *watchers }

func (f *follower) Next(c generator.Context) generator.Step     { return f.follow(c, math.MaxUint64, true) }
func (f *follower) Update(c generator.Context, op histories.Op) { f.heed(c, op) }

// A writer generates what there is to be told of.
type writer struct {
	*watchers
	every   time.Duration // between compactions
	begun   bool
	due     time.Duration // the next compaction
	written int           // the last value that was to be put
	latest  uint64        // the last revision that is known
}

// behind is by how much compactions stay behind what all watchers have been told.
const behind = 100

func (w *writer) Next(c generator.Context) generator.Step {
	if !w.begun {
		w.begun, w.due = true, c.Now+w.every/2
	}
	for _, p := range c.Free {
		if i := c.Worker(p); i < w.running(c) {
			if !w.shared(c) || w.wrote[i] {
				continue
			}
			w.wrote[i] = true
		}
		op := &histories.Op{Type: histories.Invoke, Process: p}
		var in Input
		in.Key = Prefix + string("ab"[c.Rand.IntN(2)]) + strconv.Itoa(c.Rand.IntN(numKeys/2))
		switch draw := c.Rand.IntN(50); {
		case c.Now >= w.due && w.latest > 0:
			w.due = c.Now + w.every
			op.F, in = Compact, Input{Revision: w.compaction(c)}
		case draw == 0:
			op.F, in = Status, Input{}
		case draw < 10:
			op.F = Delete
		default:
			w.written++
			op.F, in.Value = Put, strconv.Itoa(w.written)
		}
		op.Value = in.payload()
		return generator.Step{Op: op}
	}
	return generator.Step{}
}

// compaction returns a revision: mostly one that all watchers have long been told of,
// every third time one that is new.
func (w *writer) compaction(c generator.Context) uint64 {
	slowest := slices.Min(w.next[:w.running(c)])
	if c.Rand.IntN(3) == 0 {
		return w.latest - min(w.latest-1, c.Rand.Uint64N(10))
	}
	return slowest - min(slowest-1, behind)
}

func (w *writer) Update(_ generator.Context, op histories.Op) {
	if op.Type != histories.OK || op.F == Watch || op.F == Compact {
		return
	}
	if out, err := parseOutput(op.F, op.Value); err == nil {
		w.latest = max(w.latest, out.Revision)
	}
}

// final asks for the last revision, and lets all watchers come to it.
type final struct {
	*watchers
	status generator.Generator // until it is answered
	last   uint64
}

func (f *final) Next(c generator.Context) generator.Step {
	if f.last == 0 {
		if s := f.status.Next(c); !s.Done {
			return s
		}
	}
	if slices.Min(f.next[:f.running(c)]) > f.last {
		return generator.Step{Done: true}
	}
	return f.follow(c, f.last, false)
}

func (f *final) Update(c generator.Context, op histories.Op) {
	f.heed(c, op)
	f.status.Update(c, op)
	if op.F != Status || op.Type != histories.OK {
		return
	}
	if out, err := parseOutput(op.F, op.Value); err == nil {
		f.last = max(f.last, out.Revision)
	}
}
