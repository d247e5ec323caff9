package lease

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Options say what clients do. Zero fields mean the defaults.
type Options struct {
	// Keys is the number of keys in use at the same time.
	Keys int
	// Rate is the number of operations per second, all clients together; 0 means as
	// many as they can.
	Rate float64
	// FinalLimit bounds the final reads, which come when the last lease must be over.
	FinalLimit time.Duration
}

// The default options.
const DefaultKeys = 30

const (
	// finalMargin is how much longer they wait than they have to.
	finalMargin = 50 * time.Millisecond
	// readsAfter is how often a key is read after it was seen to be gone, until it is
	// retired.
	readsAfter = 6
)

// New returns the workload: keys are granted with leases of one to three seconds. Some
// are kept alive by their owner, every third of their TTL, some by whoever comes along;
// for the whole run, or for some time, after which they are revoked or left alone. All
// are read again and again; and when one is gone its owner tries to keep it alive after
// all, as one does who was paused for too long. In the end nobody keeps anything alive,
// and all keys that ever were are read when they must be gone. open connects the client
// of a worker.
func New(o Options, open func(ctx context.Context, worker int) (Leases, error)) workloads.Workload {
	o.Keys = cmp.Or(o.Keys, DefaultKeys)
	o.FinalLimit = cmp.Or(o.FinalLimit, workloads.DefaultFinalLimit)
	keys := &keys{most: o.Keys, pending: map[histories.Process]act{}}
	return workloads.Workload{
		Name: "lease",
		Main: generator.OnClients(workloads.AtRate(o.Rate, keys)),
		Final: generator.OnClients(generator.Cycle(1, func() generator.Generator {
			return generator.Phases(generator.Sleep(keys.wait+finalMargin), workloads.Final(o.FinalLimit, keys.final))
		})),
		Open:    workloads.Connect(open, perform),
		Checker: Checker(),
	}
}

// keys generates the operations of the main phase.
type keys struct {
	most    int
	names   []string // of all keys, ever
	active  []*key
	pending map[histories.Process]act
	wait    time.Duration // by how long a lease may outlive its last keep-alive
}

// A key is in use from its grant until it has been gone for a while.
type key struct {
	name   string
	lease  uint64 // 0 until it is known, which may be never
	ttl    time.Duration
	owner  histories.Process
	shared bool // anybody may keep it alive
	kept   bool // it is to be kept alive
	revoke bool // and revoked in the end
	ready  bool // its grant has ended
	busy   bool // a keep-alive or a revocation is outstanding
	gone   bool // it was seen to be
	tried  bool // to keep it alive after that
	reads  int  // after that
	// due is when it is to be kept alive next, until when that ends.
	due, until time.Duration
}

// An act is an op that a process has outstanding.
type act struct {
	f string
	*key
}

func (k *keys) Next(c generator.Context) generator.Step {
	if len(c.Free) == 0 {
		return generator.Step{}
	}
	p, a := k.choose(c)
	arg := payload{Key: a.name, Present: true, Lease: a.lease}
	switch a.f {
	case Grant:
		arg.TTL = a.ttl.Milliseconds()
	case Read:
		arg = payload{Key: a.name}
	default:
		a.busy = true
	}
	k.pending[p] = a
	return generator.Step{Op: &histories.Op{Type: histories.Invoke, Process: p, F: a.f, Value: arg.encode()}}
}

// choose says who does what next.
func (k *keys) choose(c generator.Context) (histories.Process, act) {
	for _, key := range k.active { // what cannot wait
		p, ok := key.keeper(c)
		switch {
		case !ok || !key.kept || key.busy || !key.ready || c.Now < min(key.due, key.until):
			continue
		case c.Now < key.until:
			return p, act{KeepAlive, key}
		}
		if key.kept = false; key.revoke {
			return p, act{Revoke, key}
		}
	}
	for _, key := range k.active {
		if p, ok := key.keeper(c); ok && key.gone && !key.tried && !key.busy && key.lease != 0 {
			key.tried = true
			return p, act{KeepAlive, key}
		}
	}
	p := c.Free[0]
	readable := slices.DeleteFunc(slices.Clone(k.active), func(key *key) bool { return !key.ready })
	if len(k.active) < k.most && c.Rand.IntN(4) == 0 || len(readable) == 0 {
		return p, act{Grant, k.open(c, p)}
	}
	return p, act{Read, readable[c.Rand.IntN(len(readable))]}
}

// keeper returns who may keep a key alive now: its owner, or anybody.
func (k *key) keeper(c generator.Context) (histories.Process, bool) {
	if k.shared {
		return c.Free[0], true
	}
	return k.owner, slices.Contains(c.Free, k.owner)
}

// open begins a key that p owns.
func (k *keys) open(c generator.Context, p histories.Process) *key {
	key := &key{name: "k" + strconv.Itoa(len(k.names)), owner: p, ttl: time.Duration(1+c.Rand.IntN(3)) * time.Second}
	key.shared, key.revoke = c.Rand.IntN(3) == 0, c.Rand.IntN(3) == 0
	steady := 0 // kept alive for the whole run
	for _, other := range k.active {
		if other.kept && other.until == histories.Never {
			steady++
		}
	}
	switch draw := c.Rand.IntN(8); {
	case draw == 0: // it is left alone at once
	case draw <= 2 && steady < k.most/3:
		key.kept, key.until = true, histories.Never
	default:
		key.kept, key.until = true, c.Now+time.Duration(c.Rand.Int64N(int64(4*key.ttl)))
	}
	k.names = append(k.names, key.name)
	k.active = append(k.active, key)
	return key
}

func (k *keys) Update(c generator.Context, op histories.Op) {
	a, ok := k.pending[op.Process]
	if !ok || op.Type == histories.Invoke {
		return
	}
	delete(k.pending, op.Process)
	done := op.Type == histories.OK
	out, err := decode(op.F, op.Value)
	if err != nil {
		done = false // what is no answer is for the checker
	}
	switch a.f {
	case Grant:
		a.ready = true
		if done {
			a.ttl = out.ttl() // which need not be what was asked for
			a.lease, a.due = out.Lease, c.Now+a.ttl/3
			k.wait = max(k.wait, out.most()+out.bound())
		} else {
			a.kept, a.gone = false, op.Type == histories.Fail
		}
	case KeepAlive:
		a.busy, a.gone = false, a.gone || over(op)
		if a.due = c.Now + a.ttl/3; !done {
			a.due = c.Now + a.ttl/12
		}
	case Revoke:
		a.busy, a.gone = false, a.gone || done || over(op)
	case Read:
		if done && a.gone {
			a.reads++
		}
		a.gone = a.gone || done && !out.Present
	}
	if a.gone {
		a.kept = false
	}
	if a.reads >= readsAfter && !a.busy {
		k.active = slices.DeleteFunc(k.active, func(other *key) bool { return other == a.key })
	}
}

// final returns reads of all keys that ever were.
func (k *keys) final() (reads []histories.Op) {
	for _, name := range k.names {
		reads = append(reads, histories.Op{F: Read, Value: payload{Key: name}.encode()})
	}
	return reads
}
