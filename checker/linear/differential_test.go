package linear_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/checker/linear/lineartest"
)

// A decider is one of those that have to agree.
type decider struct {
	name    string
	decide  func(*linear.Register) linear.Decision
	partial bool // it decides only what is for it
	bare    bool // it gives no order
}

var deciders = []decider{
	{name: "zones", decide: func(r *linear.Register) linear.Decision { return linear.Zones(r, nil) }, partial: true},
	{name: "jit", decide: func(r *linear.Register) linear.Decision { return linear.JIT(r, linear.JITOptions{}) }},
	{name: "stream", decide: streamed, bare: true},
	{name: "search", decide: func(r *linear.Register) linear.Decision { return linear.Search(r.Problem(linear.Initial), nil) }},
}

// streamed decides r as somebody does who watches it happen.
func streamed(r *linear.Register) linear.Decision {
	if at := breaks(linear.NewStream(linear.Initial), r); at >= 0 {
		return linear.Decision{Verdict: linear.Illegal, At: at}
	}
	return linear.Decision{Verdict: linear.Linearizable, At: -1}
}

// said counts what a decider said.
type said struct {
	linearizable, illegal, undecided atomic.Int64
	witnesses, operations            atomic.Int64 // of which they consist
}

func (s *said) String() string {
	text := fmt.Sprintf("%9d linearizable, %8d illegal, %7d undecided", s.linearizable.Load(), s.illegal.Load(), s.undecided.Load())
	if n := s.witnesses.Load(); n > 0 {
		text += fmt.Sprintf(", witnesses of %.2f operations", float64(s.operations.Load())/float64(n))
	}
	return text
}

// agree lets all deciders decide r and says what is wrong with what they say, if anything:
// it must be what porcupine says, and be confirmed.
func agree(r *linear.Register, all []said, limit time.Duration) (porcupine.CheckResult, error) {
	want := lineartest.Porcupine(r, linear.Initial, limit)
	for i, d := range deciders {
		got := d.decide(r)
		switch got.Verdict {
		case linear.Undecided:
			all[i].undecided.Add(1)
			if !d.partial {
				return want, fmt.Errorf("%s is undecided", d.name)
			}
			continue
		case linear.Linearizable:
			all[i].linearizable.Add(1)
		case linear.Illegal:
			all[i].illegal.Add(1)
		}
		if (got.Verdict == linear.Linearizable) != (want == porcupine.Ok) && want != porcupine.Unknown {
			return want, fmt.Errorf("%s says it is %v, porcupine that it is %s", d.name, got.Verdict, want)
		}
		if got.Verdict == linear.Illegal && got.At >= 0 && want != porcupine.Unknown {
			if err := became(r, got.At, limit); err != nil {
				return want, fmt.Errorf("%s: %w", d.name, err)
			}
		}
		if got.Verdict == linear.Illegal && got.Witness == nil {
			got.Witness, _ = linear.Shrink(r, got.At, stillIllegal)
		}
		if d.bare && got.Verdict == linear.Linearizable {
			continue
		}
		if err := lineartest.Confirm(r, got); err != nil {
			return want, fmt.Errorf("%s: %w", d.name, err)
		}
		if got.Witness != nil {
			all[i].witnesses.Add(1)
			all[i].operations.Add(int64(len(got.Witness.Ops)))
		}
	}
	return want, nil
}

// stillIllegal is what a witness has to be that is shrunk.
func stillIllegal(w *linear.Witness) bool {
	return linear.JIT(&w.Register, linear.JITOptions{Starts: w.Starts(), NoOrder: true}).Verdict == linear.Illegal
}

// became says that r did not become illegal as at returned, if so.
func became(r *linear.Register, at int32, limit time.Duration) error {
	if r.Return[at] == linear.Never {
		return fmt.Errorf("it became illegal at the return of %d, which did not", at)
	}
	if got := lineartest.Porcupine(knownAt(r, r.Return[at]), linear.Initial, limit); got == porcupine.Ok {
		return fmt.Errorf("it became illegal as %d returned, but is not", at)
	}
	if got := lineartest.Porcupine(knownAt(r, r.Return[at]-1), linear.Initial, limit); got == porcupine.Illegal {
		return fmt.Errorf("it became illegal as %d returned, but was it before", at)
	}
	return nil
}

// knownAt returns what was known of r at some time.
func knownAt(r *linear.Register, t linear.Time) *linear.Register {
	known := &linear.Register{Values: r.Values}
	for i, kind := range r.Kind {
		ret := r.Return[i]
		if ret > t {
			ret = linear.Never
		}
		if r.Call[i] <= t {
			known.Add(kind, r.A[i], r.B[i], r.Call[i], ret)
		}
	}
	known.Finish()
	return known
}

// tryAll lets all cores try with the seeds below n, until one fails, of which it tells.
func tryAll(t *testing.T, n int, try func(seed uint64) error) {
	t.Helper()
	var next atomic.Uint64
	var failed atomic.Bool
	var wait sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for seed := next.Add(1) - 1; seed < uint64(n) && !failed.Load(); seed = next.Add(1) - 1 {
				if err := try(seed); err != nil {
					failed.Store(true)
					t.Errorf("seed %d: %v", seed, err)
				}
			}
		})
	}
	wait.Wait()
}

// written writes r down.
func written(r *linear.Register) string {
	var text strings.Builder
	for i, kind := range r.Kind {
		fmt.Fprintf(&text, "\n%4d  %-7v %3d %3d  %4d", i, kind, r.A[i], r.B[i], r.Call[i])
		if r.Return[i] != linear.Never {
			fmt.Fprintf(&text, " - %d", r.Return[i])
		}
	}
	return text.String()
}

// everyMix returns every mix of what there may be in a history.
func everyMix() []lineartest.Mix {
	var all []lineartest.Mix
	for _, values := range []int{0, 2, 4} {
		for i := range 16 {
			all = append(all, lineartest.Mix{
				Ops: 12, Values: values, Open: 3, Damage: 3,
				CAS: i&1 > 0, Refused: i&2 > 0, Indeterminate: i&4 > 0, Ties: i&8 > 0,
			})
		}
	}
	return all
}

// TestSmallHistories: in a dozen operations there is all that deciders can be wrong about.
// With the tag differential there are two millions of them.
func TestSmallHistories(t *testing.T) {
	mixes, all := everyMix(), make([]said, len(deciders))
	var brute atomic.Int64
	tryAll(t, lineartest.Cases(100*len(mixes)), func(seed uint64) error {
		m := mixes[seed%uint64(len(mixes))]
		r := lineartest.Random(rand.New(rand.NewPCG(seed, 1)), m)
		want, err := agree(r, all, 0)
		if err == nil && seed/uint64(len(mixes))%8 == 0 {
			brute.Add(1)
			if lineartest.Brute(r, linear.Initial) != (want == porcupine.Ok) {
				err = errors.New("brute force says otherwise")
			}
		}
		if err != nil {
			return fmt.Errorf("%+v: %w%s", m, err, written(r))
		}
		return nil
	})
	t.Logf("porcupine agrees, and brute force on %d", brute.Load())
	tell(t, all)
}

// TestContendedHistories: which of several equal cas took effect matters at times, and so
// seldom that only many histories of little else show who thinks that it does not. With
// the tag differential there are two and a half millions.
func TestContendedHistories(t *testing.T) {
	all := make([]said, len(deciders))
	tryAll(t, lineartest.Cases(5000), func(seed uint64) error {
		r := lineartest.Contended(rand.New(rand.NewPCG(seed, 9)), 14)
		if err := r.Check(); err != nil {
			return err
		}
		if _, err := agree(r, all, 0); err != nil {
			return fmt.Errorf("%w%s", err, written(r))
		}
		return nil
	})
	tell(t, all)
}

// patient is how long porcupine may think about a medium history.
const patient = 500 * time.Millisecond

// TestMediumHistories: in some hundred operations deciders also have to forget. With the
// tag differential there are a hundred thousand.
func TestMediumHistories(t *testing.T) {
	all := make([]said, len(deciders))
	var unjudged atomic.Int64
	tryAll(t, lineartest.Cases(220), func(seed uint64) error {
		r := rand.New(rand.NewPCG(seed, 2))
		l := lineartest.Load{
			Ops: 50 + r.IntN(301), Clients: 2 + r.IntN(7), Values: []int{0, 0, 0, 2, 5, 50}[r.IntN(6)],
			Shows: r.IntN(2) > 0, NoCAS: r.IntN(4) == 0, Indeterminate: max(0, r.IntN(12)-4),
		}
		reg, order := lineartest.SimulateOrder(r, l)
		var wrong []string
		for range r.IntN(4) {
			d := lineartest.Damages()[r.IntN(len(lineartest.Damages()))]
			if worse := d.Wrong(r, reg, order); worse != nil {
				order, wrong = worse, append(wrong, d.Name)
			}
		}
		reg = lineartest.Execute(reg, order)
		want, err := agree(reg, all, patient)
		if err != nil {
			return fmt.Errorf("%+v, %v: %w%s", l, wrong, err, written(reg))
		}
		if want == porcupine.Unknown {
			unjudged.Add(1)
		}
		return nil
	})
	t.Logf("porcupine agrees, but for %d of which it knew nothing within %v", unjudged.Load(), patient)
	tell(t, all)
}

// tell says what deciders said, which must be something of everything.
func tell(t *testing.T, all []said) {
	t.Helper()
	for i, d := range deciders {
		t.Logf("%-7s %v", d.name, &all[i])
		if all[i].linearizable.Load() == 0 || all[i].illegal.Load() == 0 {
			t.Errorf("%s was not tried", d.name)
		}
	}
}

// FuzzRegister: any bytes are a history, of which the deciders say what porcupine says.
func FuzzRegister(f *testing.F) {
	f.Add([]byte{0x01, 0x10, 0x21, 0x00, 0x11, 0x02})
	f.Add([]byte{0xff, 0x4a, 0x93, 0x5c, 0x06, 0x77, 0x28, 0xb1, 0xea, 0x0d, 0xc4, 0x3f})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := registerOf(data)
		if err := r.Check(); err != nil {
			t.Fatal(err)
		}
		if _, err := agree(r, make([]said, len(deciders)), time.Second); err != nil {
			t.Fatalf("%v%s", err, written(r))
		}
	})
}

// registerOf makes a history of bytes, three for an operation, up to twenty of them.
func registerOf(data []byte) *linear.Register {
	r := &linear.Register{Values: 1}
	now := linear.Time(0)
	for len(data) >= 3 && r.Len() < 20 {
		kind, values, times := data[0], data[1], data[2]
		data = data[3:]
		now += linear.Time(times & 7)
		ret := now + linear.Time(times>>3)
		if kind>>2&7 == 0 {
			ret = linear.Never
		}
		k := linear.Read + linear.Kind(kind&3)
		a, b := linear.Value(values&7), linear.Value(values>>3&7)
		if a == 7 && k == linear.Read {
			a = linear.Nothing
		}
		r.Add(k, a, b, now, ret)
	}
	r.Finish()
	return r
}
