package linear_test

import (
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/checker/linear/lineartest"
)

// TestLimitsAreToldTheTruth: what a decider says that it holds is what the heap grew by,
// within a tenth. Zones say what they are about to take, too.
func TestLimitsAreToldTheTruth(t *testing.T) {
	r := lineartest.Simulate(rand.New(rand.NewPCG(1, 5)), lineartest.Load{Ops: 300_000, Clients: 10})
	for name, decide := range map[string]func(linear.Limit) linear.Decision{
		"zones":  func(l linear.Limit) linear.Decision { return linear.Zones(r, l) },
		"jit":    func(l linear.Limit) linear.Decision { return linear.JIT(r, linear.JITOptions{Limit: l}) },
		"search": func(l linear.Limit) linear.Decision { return linear.Search(r.Problem(linear.Initial), l) },
	} {
		t.Run(name, func(t *testing.T) {
			before, asked, compared, last := heapInUse(), 0, 0, int64(0)
			d := decide(func(says int64) bool {
				asked++
				last = says
				if asked&(asked-1) != 0 || says < 1<<20 { // now and then
					return true
				}
				compared++
				if got := heapInUse() - before; got > says+says/10 || got < says-says/10 && name != "zones" {
					t.Errorf("it says it holds %d bytes, the heap grew by %d", says, got)
				}
				return true
			})
			if d.Verdict != linear.Linearizable || compared < 3 {
				t.Errorf("it is %v, and was compared %d times", d.Verdict, compared)
			}
			if d := decide(func(says int64) bool { return says < last }); d.Verdict != linear.Undecided {
				t.Errorf("it is %v without the last it asks for", d.Verdict)
			}
		})
	}
	t.Run("stream", func(t *testing.T) {
		before := heapInUse()
		s := linear.NewStream(linear.Initial)
		for i := range linear.Value(3000) {
			s.Call(linear.Write, i, 0, true)
		}
		if says, got := s.Bytes(), heapInUse()-before; got > says+says/10 || got < says-says/10 {
			t.Errorf("it says it holds %d bytes, the heap grew by %d", says, got)
		}
		runtime.KeepAlive(s)
	})
}

// heapInUse returns how many bytes of the heap are in use.
func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
