package register

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// A load is what simulated clients do: each of keys has clients of its own, which
// do calls in all, half of them reads; of the rest three in five write a value
// nobody else does, and two compare-and-set the value they saw last. The fraction
// timeouts of what they do ends indeterminate.
type load struct {
	keys, clients, calls int
	timeouts             float64
}

// simulate returns the history of a load on registers as they should be: every
// call takes effect at some moment while it is open.
func simulate(t testing.TB, l load) *histories.History {
	t.Helper()
	type moment struct {
		at time.Duration
		do func()
	}
	r := rand.New(rand.NewPCG(1, 2))
	var moments []moment
	var ops []histories.Op
	process, unique := histories.Process(0), int64(0)
	record := func(op histories.Op) {
		op.Index, op.Time = len(ops), time.Duration(len(ops))*time.Microsecond
		ops = append(ops, op)
	}
	for key := range l.keys {
		holds := Absent
		for range l.clients {
			p := process
			process++
			saw := Absent
			now := time.Duration(r.IntN(int(time.Millisecond)))
			for range l.calls / l.clients {
				in := Input{Key: fmt.Sprintf("k%d", key)}
				op := histories.Op{}
				roll, lost := r.IntN(10), r.Float64() < l.timeouts
				begin, end := now, now+time.Duration(r.ExpFloat64()*float64(time.Millisecond))
				effect := begin + time.Duration(r.Float64()*float64(end-begin))
				now = end + time.Duration(r.ExpFloat64()*float64(time.Millisecond)/10)
				moments = append(moments, moment{begin, func() {
					op.Process, op.F, op.Type = p, Read, histories.Invoke
					if roll >= 5 {
						unique++
						in.New = Of(unique)
						op.F = Write
					}
					if roll >= 8 {
						in.Old = saw
						op.F = CAS
					}
					op.Value = in.Payload(op.F)
					record(op)
				}}, moment{effect, func() {
					op.Type = histories.OK
					switch {
					case op.F == Read:
						op.Value = ReadPayload(in.Key, holds)
						saw = holds
					case op.F == CAS && holds != in.Old:
						op.Type = histories.Fail
						op.Meta = json.RawMessage(fmt.Sprintf(`{"current":%v}`, holds))
						saw = holds
					default:
						holds, saw = in.New, in.New
					}
				}}, moment{end, func() {
					if lost {
						op.Type, op.Meta = histories.Info, nil
						op.Value = in.Payload(op.F)
						process++
						p = process
					}
					record(op)
				}})
			}
		}
	}
	slices.SortStableFunc(moments, func(a, b moment) int { return cmp.Compare(a.at, b.at) })
	for _, m := range moments {
		m.do()
	}
	h, err := histories.FromOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestWhatIsAsItShouldBeIsValid(t *testing.T) {
	r := judged(t, simulate(t, load{keys: 10, clients: 5, calls: 300, timeouts: 0.005}))
	if r.Verdict != checker.Valid {
		t.Errorf("got %v: %s", r.Verdict, r.Note)
	}
}

// TestHardKeyNeedsNoSearch: one among sixty clients on one key ends on no machine.
func TestHardKeyNeedsNoSearch(t *testing.T) {
	h := simulate(t, load{keys: 1, clients: 60, calls: 1200, timeouts: 0.1})
	if r := judged(t, h); r.Verdict != checker.Valid {
		t.Errorf("got %v: %s", r.Verdict, r.Note)
	}
	begun := time.Now()
	r, err := checker.Linearizable(Semantics{}.model(), checker.Budget{Time: 300 * time.Millisecond, Porcupine: true}).Check(t.Context(), h)
	if err != nil || r.Verdict != checker.Unknown {
		t.Errorf("porcupine alone: got %v, %v: %s", r.Verdict, err, r.Note)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

// cpu returns the time that this process has used, of all cores.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCheck judges what is as it should be, from a history in memory: decoding it,
// deciding, and porcupine's word.
func BenchmarkCheck(b *testing.B) {
	for _, l := range []load{
		{keys: 100, clients: 5, calls: 1000},
		{keys: 100, clients: 10, calls: 1000},
		{keys: 1000, clients: 5, calls: 1000},
		{keys: 1, clients: 5, calls: 10000},
		{keys: 1, clients: 10, calls: 1000000},
	} {
		b.Run(fmt.Sprintf("%dx%d by %d", l.keys, l.calls, l.clients), func(b *testing.B) {
			h := simulate(b, l)
			c := checker.Linearizable(Semantics{}.model(), checker.Budget{})
			used := cpu()
			for b.Loop() {
				r, err := c.Check(b.Context(), h)
				if err != nil || r.Verdict != checker.Valid {
					b.Fatalf("%v, %v: %s", r.Verdict, err, r.Note)
				}
			}
			b.ReportMetric((cpu()-used).Seconds()/float64(b.N), "cpu-s")
		})
	}
}

// BenchmarkEvidence finds one stale read near the end.
func BenchmarkEvidence(b *testing.B) {
	for _, l := range []load{
		{keys: 1, clients: 5, calls: 1000},
		{keys: 1, clients: 10, calls: 1000},
		{keys: 1, clients: 5, calls: 10000},
	} {
		b.Run(fmt.Sprintf("%d by %d", l.calls, l.clients), func(b *testing.B) {
			h := damaged(b, simulate(b, l))
			c := checker.Linearizable(Semantics{}.model(), checker.Budget{})
			var r checker.Result
			for b.Loop() {
				var err error
				if r, err = c.Check(b.Context(), h); err != nil || r.Verdict != checker.Invalid {
					b.Fatalf("%v, %v: %s", r.Verdict, err, r.Note)
				}
			}
			b.ReportMetric(float64(len(r.Anomalies[0].Ops)), "ops")
		})
	}
}

// damaged returns h with one of its last reads showing what was there long ago.
func damaged(t testing.TB, h *histories.History) *histories.History {
	t.Helper()
	ops := make([]histories.Op, h.Len())
	for i, op := range h.All() {
		ops[i] = op
	}
	old := json.RawMessage(nil)
	for i, op := range ops {
		if op.F != Read || op.Type != histories.OK {
			continue
		}
		if i > h.Len()/2 && old == nil {
			old = op.Value
		}
		if i > h.Len()*95/100 {
			ops[i].Value = old
			break
		}
	}
	h, err := histories.FromOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	return h
}
