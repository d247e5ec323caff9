package lineartest

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/hacheck/hacheck/checker/linear"
)

// TestSimulatedHistories: they are normal, and linearizable unless a read is stale, which
// porcupine sees. Of each kind of operation there is the share that the load says.
func TestSimulatedHistories(t *testing.T) {
	for name, l := range map[string]Load{
		"unique":        {Ops: 2000, Clients: 5},
		"few values":    {Ops: 2000, Clients: 5, Values: 5},
		"one value":     {Ops: 200, Clients: 5, Values: 1},
		"shows":         {Ops: 2000, Clients: 5, Shows: true},
		"no cas":        {Ops: 2000, Clients: 5, NoCAS: true},
		"indeterminate": {Ops: 1000, Clients: 3, Indeterminate: 10},
		"keys":          {Ops: 2000, Clients: 20, Keys: 20, Indeterminate: 10},
		"stale":         {Ops: 2000, Clients: 5, Stale: 0.9},
		"stale, values": {Ops: 2000, Clients: 5, Values: 50, Stale: 0.5},
		"stale, keys":   {Ops: 2000, Clients: 20, Keys: 20, Stale: 0.5},
	} {
		t.Run(name, func(t *testing.T) {
			var illegal, never, ops int
			var kinds [linear.Refused + 1]float64
			regs := SimulateKeys(rand.New(rand.NewPCG(1, 1)), l)
			for k, r := range regs {
				if err := r.Check(); err != nil {
					t.Fatalf("key %d: %v", k, err)
				}
				ops += r.Len()
				for i, kind := range r.Kind {
					kinds[kind]++
					if r.Return[i] == linear.Never {
						never++
					}
				}
				if r.Len()+len(r.Returns) > 0 && int(max(r.Call[r.Len()-1], r.Return[r.Returns[len(r.Returns)-1]]))+1 != r.Len()+len(r.Returns) {
					t.Errorf("key %d: times are not positions", k)
				}
				if Porcupine(r, linear.Initial, 0) == porcupine.Illegal {
					illegal++
				}
			}
			if len(regs) != max(l.Keys, 1) || ops != l.Ops || never != l.Indeterminate {
				t.Errorf("%d keys, %d operations, of which %d never return", len(regs), ops, never)
			}
			if want := l.Stale > 0; (illegal == 1) != want || illegal > 1 {
				t.Errorf("%d keys are not linearizable", illegal)
			}
			writes := 0.3
			if l.NoCAS {
				writes = 0.5
			}
			if got := kinds[linear.Write] / float64(ops); math.Abs(got-writes) > 0.05 {
				t.Errorf("%.2f of all operations are writes", got)
			}
			if l.NoCAS != (kinds[linear.CAS] == 0) && l.Values != 1 || (l.NoCAS || l.Shows) != (kinds[linear.Refused] == 0) && l.Values != 1 {
				t.Errorf("kinds: %v", kinds)
			}
		})
	}
}

// TestSimulatedOrder: it explains the history, as nothing else in it needs to be right.
func TestSimulatedOrder(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 3))
		reg, order := SimulateOrder(r, Load{Ops: 500, Clients: 1 + r.IntN(20), Values: r.IntN(4), Shows: seed&1 > 0, Indeterminate: r.IntN(50)})
		if err := reg.Replay(linear.Initial, order); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if same := Execute(reg, order); !reflect.DeepEqual(same, reg) {
			t.Fatalf("seed %d: executed again it is another", seed)
		}
	}
}

// TestSimulatedConcurrency: as many operations are open as there are clients, nearly.
func TestSimulatedConcurrency(t *testing.T) {
	const clients = 20
	r := Simulate(rand.New(rand.NewPCG(1, 1)), Load{Ops: 10_000, Clients: clients})
	var open float64 // the sum over operations of how many events each is open for
	for i := range r.Call {
		open += float64(r.Return[i] - r.Call[i])
	}
	if got := open / float64(2*r.Len()); got < 0.8*clients || got > clients {
		t.Errorf("%.1f operations of %d clients are open on average", got, clients)
	}
}

func BenchmarkSimulate(b *testing.B) {
	for b.Loop() {
		Simulate(rand.New(rand.NewPCG(1, 1)), Load{Ops: 1_000_000, Clients: 10})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1_000_000, "ns/operation")
}
