package linear_test

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/hacheck/hacheck/checker/linear"
)

// A jitLoad is closed-loop clients of one register: each thinks (exponential, mean 0.1 ms),
// calls, and waits (log-normal, median 1 ms, sigma 0.5); operations take effect somewhere
// in the middle 80 % of that. Half are reads, 30 % writes, 20 % cas.
type jitLoad struct {
	clients, ops, values int // values: 0 is that each write sets a new one
	lost                 int // writes that time out after 5 ms: half of them take effect, within 50 ms
	seed                 uint64
}

type point struct {
	at int64
	op int32
}

type points []point

func (p points) Len() int           { return len(p) }
func (p points) Less(i, j int) bool { return p[i].at < p[j].at }
func (p points) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }
func (p *points) Push(x any)        { *p = append(*p, x.(point)) }
func (p *points) Pop() any {
	x := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return x
}

func (l jitLoad) history() *linear.Register {
	rng := rand.New(rand.NewPCG(l.seed, 99))
	type op struct {
		kind           linear.Kind
		a, b           linear.Value
		call, ret, eff int64
		client         int
	}
	const ms = 1_000_000
	lost := 0.0
	if l.lost > 0 {
		lost = float64(l.lost) / (0.3 * float64(l.ops))
	}
	ops := make([]op, 0, l.ops)
	var calls, effects points
	known := make([]linear.Value, l.clients)
	for c := range l.clients {
		heap.Push(&calls, point{int64(rng.ExpFloat64() * 0.1 * ms), int32(c)})
	}
	holds, unique := linear.Initial, linear.Value(0)
	value := func() linear.Value {
		if l.values > 0 {
			return linear.Value(rng.IntN(l.values))
		}
		unique++
		return unique
	}
	effect := func() {
		p := heap.Pop(&effects).(point)
		o := &ops[p.op]
		switch o.kind {
		case linear.Read:
			o.a = holds
			known[o.client] = holds
		case linear.Write:
			holds = o.a
		case linear.CAS:
			if o.a == holds {
				holds = o.b
				known[o.client] = holds
			} else {
				o.kind, o.b = linear.Refused, 0
			}
		}
	}
	for len(ops) < l.ops {
		p := heap.Pop(&calls).(point)
		for len(effects) > 0 && effects[0].at < p.at {
			effect()
		}
		o := op{call: p.at, client: int(p.op)}
		took := int64(math.Exp(0.5*rng.NormFloat64()) * ms)
		o.ret = o.call + took
		o.eff = o.call + int64(float64(took)*(0.1+0.8*rng.Float64()))
		happens := true
		switch roll := rng.IntN(10); {
		case roll < 5:
			o.kind = linear.Read
		case roll < 8:
			o.kind, o.a = linear.Write, value()
			if rng.Float64() < lost {
				o.ret = math.MaxInt64
				o.eff = o.call + int64(50*ms*rng.Float64())
				happens = rng.IntN(2) == 0
			} else {
				known[o.client] = o.a
			}
		default:
			o.kind = linear.CAS
			if l.values > 0 {
				o.a, o.b = value(), value()
				for o.b == o.a {
					o.b = value()
				}
			} else {
				o.a, o.b = known[o.client], value()
			}
		}
		ops = append(ops, o)
		if happens {
			heap.Push(&effects, point{o.eff, int32(len(ops) - 1)})
		}
		free := o.ret
		if free == math.MaxInt64 {
			free = o.call + 5*ms
		}
		heap.Push(&calls, point{free + int64(rng.ExpFloat64()*0.1*ms), p.op})
	}
	for len(effects) > 0 {
		effect()
	}
	times := make([]int64, 0, 2*len(ops))
	for _, o := range ops {
		times = append(times, o.call)
		if o.ret != math.MaxInt64 {
			times = append(times, o.ret)
		}
	}
	slices.Sort(times)
	at := func(t int64) linear.Time {
		i, _ := slices.BinarySearch(times, t)
		return linear.Time(i)
	}
	r := &linear.Register{}
	for _, o := range ops {
		ret := linear.Never
		if o.ret != math.MaxInt64 {
			ret = at(o.ret)
		}
		r.Add(o.kind, o.a, o.b, at(o.call), ret)
	}
	r.Finish()
	return r
}

// cpu returns the seconds of processor time this process has used.
func cpu() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

func BenchmarkJIT(b *testing.B) {
	for _, l := range []jitLoad{
		{clients: 10, ops: 1_000_000},
		{clients: 10, ops: 1_000_000, values: 5},
		{clients: 10, ops: 10_000_000, values: 5},
		{clients: 10, ops: 10_000_000},
		{clients: 20, ops: 100_000, values: 5},
		{clients: 50, ops: 100_000, values: 5},
		{clients: 100, ops: 10_000, values: 5},
		{clients: 100, ops: 100_000},
		{clients: 100, ops: 100_000, values: 5},
		{clients: 10, ops: 10_000, values: 5, lost: 500},
		{clients: 10, ops: 10_000, lost: 500},
	} {
		values := "unique"
		if l.values > 0 {
			values = fmt.Sprint(l.values)
		}
		b.Run(fmt.Sprintf("clients=%d/ops=%d/values=%s/lost=%d", l.clients, l.ops, values, l.lost), func(b *testing.B) {
			var r *linear.Register
			used := 0.0
			for seed := uint64(1); b.Loop(); seed++ {
				b.StopTimer()
				l.seed = (seed-1)%3 + 1
				r = l.history()
				b.StartTimer()
				start := cpu()
				d := linear.JIT(r, linear.JITOptions{})
				used += cpu() - start
				if d.Verdict != linear.Linearizable {
					b.Fatal(d.Verdict)
				}
				if err := r.Replay(linear.Initial, d.Order); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(used/float64(b.N), "cpu-s/op")
		})
	}
}

// BenchmarkStream tells a stream of what takes most. Budget: 0.5 ms an op, since keys of
// which each op takes more for long are given up while a run goes on.
func BenchmarkStream(b *testing.B) {
	for _, l := range []jitLoad{
		{clients: 10, ops: 100_000, values: 5},
		{clients: 10, ops: 10_000, values: 5, lost: 500},
		{clients: 10, ops: 10_000, lost: 500},
		{clients: 100, ops: 10_000, values: 5},
		{clients: 100, ops: 10_000},
	} {
		b.Run(fmt.Sprintf("clients=%d/ops=%d/values=%d/lost=%d", l.clients, l.ops, l.values, l.lost), func(b *testing.B) {
			l.seed = 1
			r := l.history()
			start := cpu()
			for b.Loop() {
				s := linear.NewStream(linear.Initial)
				if at := breaks(s, r); at >= 0 || s.Stopped() {
					b.Fatalf("breaks at %d, stopped: %t", at, s.Stopped())
				}
			}
			b.ReportMetric((cpu()-start)/float64(b.N)/float64(l.ops)*1e6, "cpu-µs/op")
		})
	}
}
