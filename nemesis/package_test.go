package nemesis_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/generator/generatortest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/nemesis"
	"github.com/hacheck/hacheck/nemesis/nemesistest"
)

// A brake is a fault for tests: it holds on to things, and writes down what it did.
type brake struct {
	log   []string
	err   error         // of Begin and End
	begun chan struct{} // if not nil, Begin waits until it is closed
}

func (b *brake) fault() nemesis.Fault {
	return nemesis.Fault{
		Name:     "brake",
		Variants: []nemesis.Variant{{Name: "front"}, {Name: "rear"}},
		New: func(_ nemesis.Env, s nemesis.Spec) (nemesis.Breaker, error) {
			if s.Variant == "rear" {
				return nil, errors.New("there is none")
			}
			return b, nil
		},
	}
}

func (b *brake) Draw(r *rand.Rand) any { return r.IntN(1000) }

func (b *brake) Begin(_ context.Context, detail json.RawMessage) (nemesis.Held, error) {
	if b.begun != nil {
		<-b.begun
	}
	if b.err != nil {
		return nil, b.err
	}
	b.log = append(b.log, "on "+string(detail))
	return &held{b, string(detail)}, nil
}

type held struct {
	*brake
	detail string
}

func (h *held) Detail() any { return "held " + h.detail }

func (h *held) End(context.Context) (uint64, any, error) {
	if h.err != nil {
		return 0, nil, h.err
	}
	h.log = append(h.log, "off "+h.detail)
	return 7, []string{"evidence"}, nil
}

func TestFaultsTakeTurnsWithQuiet(t *testing.T) {
	const interval = time.Second
	table := []nemesis.Fault{(&brake{}).fault(), nemesis.Partition()}
	env := nemesis.Env{Nodes: []string{"n1", "n2", "n3"}, Network: &nemesistest.Network{}}
	for seed := range uint64(20) {
		p, err := nemesis.New(table, env, asked(t, table, "brake,partition:ring", interval))
		if err != nil {
			t.Fatal(err)
		}
		ops := simulated(t, seed, generator.Phases(generator.TimeLimit(20*time.Second, p.Main), p.Final))
		open := map[string]histories.Op{} // by name: what is in force
		since := map[string]time.Duration{}
		ids, overlaps, times := map[int]bool{}, 0, map[string]int{}
		for _, op := range ops {
			f := fault(t, op)
			held, inForce := open[f.Name]
			switch {
			case op.Type != histories.Invoke:
				if op.F != histories.Heal {
					overlaps += len(open) - 1
				}
				since[f.Name] = op.Time
				continue
			case inForce && (op.F != histories.Heal || fault(t, held).ID != f.ID):
				t.Fatalf("seed %d: %v while %v is in force", seed, op, held)
			case !inForce && (op.F == histories.Heal || ids[f.ID] || op.F != strings.Split(f.Name, ":")[0]):
				t.Fatalf("seed %d: %v of a fault that was in force before, or never", seed, op)
			case op.F == histories.Heal:
				delete(open, f.Name)
			default:
				open[f.Name], ids[f.ID] = op, true
				times[f.Name]++
			}
			// Another fault's op may be outstanding for some 10 ms.
			pause := op.Time - since[f.Name]
			want := interval
			if op.F != histories.Heal {
				want /= 3
			}
			last := op.Time >= 20*time.Second
			if !last && (pause < want/2 || pause > want*3/2+100*time.Millisecond) {
				t.Errorf("seed %d: %v after %v", seed, op, pause)
			}
		}
		if len(open) > 0 {
			t.Errorf("seed %d: not healed in the end: %v", seed, open)
		}
		if overlaps == 0 || times["brake"] < 11 || times["partition:ring"] < 11 {
			t.Errorf("seed %d: %d overlaps, %v", seed, overlaps, times)
		}
	}
}

// TestFaultThatCannotBeginIsDrawnAgainSoon: at first at once, then less and less
// often, but as often as it would come anyhow.
func TestFaultThatCannotBeginIsDrawnAgainSoon(t *testing.T) {
	const interval = 3 * time.Second
	b := &brake{err: errors.New("jammed")}
	table := []nemesis.Fault{b.fault()}
	p, err := nemesis.New(table, nemesis.Env{}, asked(t, table, "brake", interval))
	if err != nil {
		t.Fatal(err)
	}
	d := drive{t: t, p: p, seed: 5, end: 20 * time.Second}
	var last time.Duration
	details := map[string]bool{}
	tries := 0
	for i, op := range d.run() {
		switch {
		case op.Type == histories.Invoke && op.F == histories.Heal:
			if pause := op.Time - last; pause > 1 {
				t.Errorf("op %d: healed %v after it could not begin", i, pause)
			}
		case op.Type == histories.Invoke:
			want := min(interval/10<<tries/2, interval/3)
			if pause := op.Time - last; tries > 0 && (pause < want/2 || pause > want*3/2+1) {
				t.Errorf("op %d: tried again after %v, want about %v", i, pause, want)
			}
			details[string(fault(t, op).Detail)] = true
			tries++
		}
		last = op.Time
	}
	if tries < 15 || len(details) < tries-2 {
		t.Errorf("got %d tries, %d details", tries, len(details))
	}
}

// TestAllIsWhatCanBeDone: and about three of it at a time, if there is as much.
func TestAllIsWhatCanBeDone(t *testing.T) {
	for can, want := range map[int]float64{1: 0.75, 3: 1.5, 9: 2.25} {
		var table []nemesis.Fault
		for i := range 12 {
			table = append(table, nemesis.Fault{
				Name: fmt.Sprintf("brake%d", i),
				New: func(nemesis.Env, nemesis.Spec) (nemesis.Breaker, error) {
					if i >= can {
						return nil, errors.New("there is none")
					}
					return &brake{}, nil
				},
			})
		}
		p, err := nemesis.New(table, nemesis.Env{}, asked(t, table, "all", time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if len(p.LeftOut) != 12-can || p.LeftOut[0] != fmt.Sprintf("fault brake%d: there is none", can) {
			t.Errorf("left out: %q", p.LeftOut)
		}
		const end = 200 * time.Second
		d := drive{t: t, p: p, end: end}
		var held time.Duration
		since, seen := map[int]time.Duration{}, map[string]bool{}
		for _, op := range d.run() {
			f := fault(t, op)
			if op.F == histories.Heal && op.Type == histories.Info {
				held += op.Time - since[f.ID]
			} else if op.Type == histories.Info {
				since[f.ID] = op.Time
			}
			seen[f.Name] = true
		}
		if got := held.Seconds() / end.Seconds(); got < want*0.85 || got > want*1.15 || len(seen) != can {
			t.Errorf("of %d faults %d were begun, and %.2f in force at a time, want %.2f", can, len(seen), got, want)
		}
	}
	if _, err := nemesis.New([]nemesis.Fault{nemesis.Partition()}, nemesis.Env{}, nemesis.Options{
		Specs: []nemesis.Spec{{Fault: nemesis.All}}, Interval: time.Second,
	}); err == nil || err.Error() != "nothing can be done here: fault partition: there is no network to cut" {
		t.Errorf("got %v", err)
	}
}

func TestScheduleIsTheSeeds(t *testing.T) {
	schedule := func(seed uint64, repeat int) string {
		table := []nemesis.Fault{nemesis.Partition(), (&brake{}).fault()}
		p, err := nemesis.New(table, nemesis.Env{Nodes: []string{"n1", "n2", "n3"}, Network: &nemesistest.Network{}},
			asked(t, table, "brake,partition", time.Second))
		if err != nil {
			t.Fatal(err)
		}
		ops, err := generatortest.Simulation{Seed: seed, Repeat: repeat, Ops: 30}.Run(p.Main)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(ops)
	}
	if a, b := schedule(1, 0), schedule(1, 3); a != b {
		t.Errorf("asked once: %s\nasked often: %s", a, b)
	}
	if schedule(1, 0) == schedule(2, 0) {
		t.Error("another seed has the same schedule")
	}
}

func TestHealThatFailsIsTriedAgain(t *testing.T) {
	b := &brake{}
	p := one(t, b)
	begin := begun(t, p)
	id := fault(t, begin).ID
	c := generator.Context{Free: []histories.Process{histories.Nemesis}, Rand: rand.New(rand.NewPCG(1, 2)), Now: time.Minute}
	b.err = errors.New("stuck")
	tries := 0
	for ; ; tries++ {
		s := p.Final.Next(c)
		if s.Done {
			break
		}
		if s.Wait > 0 {
			c.Now += s.Wait
			tries--
			continue
		}
		if op := *s.Op; op.F != histories.Heal || fault(t, op).ID != id || tries > 100 {
			t.Fatalf("try %d: %v", tries, op)
		}
		p.Final.Update(c, *s.Op)
		p.Final.Update(c, performed(p, *s.Op))
	}
	if tries != 3 {
		t.Errorf("tried %d times", tries)
	}
	b.err = nil
	if err := p.Nemesis.Heal(t.Context()); err != nil || len(b.log) != 2 {
		t.Errorf("got %v, %q", err, b.log)
	}
}

func TestCompletionsCarryDetailAndEvidence(t *testing.T) {
	b := &brake{}
	p := one(t, b)
	invoked := fault(t, begun(t, p))
	invoke := func(f string, value histories.Fault) string {
		v, err := p.Nemesis.Invoke(t.Context(), histories.Op{F: f, Value: encoded(t, value)})
		return fmt.Sprintf("%s %v", encoded(t, v), err)
	}
	if want, got := fmt.Sprintf(`{"id":0,"fault":"brake","detail":"held %s"} <nil>`, invoked.Detail), invoke("brake", invoked); len(b.log) == 0 || got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if want, got := `{"id":0,"fault":"brake","acted":7,"evidence":["evidence"]} <nil>`, invoke(histories.Heal, histories.Fault{Name: "brake"}); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// Healing what is not in force is harmless, and acted on nothing.
	if want, got := `{"id":0,"fault":"brake"} <nil>`, invoke(histories.Heal, histories.Fault{Name: "brake"}); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	b.err = errors.New("worn out")
	if want, got := `{"id":3,"fault":"brake"} worn out`, invoke("brake", histories.Fault{ID: 3, Name: "brake"}); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if want, got := `{"id":4,"fault":"horn"} no such fault: horn`, invoke("horn", histories.Fault{ID: 4, Name: "horn"}); !strings.HasSuffix(got, "no such fault: horn") {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestFaultThatBeginsTooLateIsUndone: the runner had given its op up, and all was
// healed since.
func TestFaultThatBeginsTooLateIsUndone(t *testing.T) {
	for name, healed := range map[string]func(p nemesis.Package) error{
		"by an op": func(p nemesis.Package) error {
			_, err := p.Nemesis.Invoke(t.Context(), histories.Op{F: histories.Heal, Value: encoded(t, histories.Fault{Name: "brake"})})
			return err
		},
		"by Heal": func(p nemesis.Package) error { return p.Nemesis.Heal(t.Context()) },
	} {
		b := &brake{begun: make(chan struct{})}
		p := one(t, b)
		late := make(chan error)
		go func() {
			_, err := p.Nemesis.Invoke(t.Context(), histories.Op{F: "brake", Value: encoded(t, histories.Fault{Name: "brake", Detail: json.RawMessage("1")})})
			late <- err
		}()
		if err := healed(p); err != nil {
			t.Error(err)
		}
		close(b.begun)
		if err := <-late; err == nil || !slices.Equal(b.log, []string{"on 1", "off 1"}) {
			t.Errorf("healed %s: got %v, %q", name, err, b.log)
		}
	}
}

// TestFaultThatBeginsTooLateAndCannotBeUndoneIsLeftToHeal: it is not forgotten.
func TestFaultThatBeginsTooLateAndCannotBeUndoneIsLeftToHeal(t *testing.T) {
	b := &brake{}
	stuck := &stubborn{brake: b}
	f := b.fault()
	f.New = func(nemesis.Env, nemesis.Spec) (nemesis.Breaker, error) { return stuck, nil }
	p, err := nemesis.New([]nemesis.Fault{f}, nemesis.Env{}, asked(t, []nemesis.Fault{f}, "brake", time.Second))
	if err != nil {
		t.Fatal(err)
	}
	one := encoded(t, histories.Fault{ID: 1, Name: "brake", Detail: json.RawMessage("1")})
	if _, err := p.Nemesis.Invoke(t.Context(), histories.Op{F: histories.Heal, Value: one}); err != nil {
		t.Error(err)
	}
	if _, err := p.Nemesis.Invoke(t.Context(), histories.Op{F: "brake", Value: one}); err == nil || !strings.Contains(err.Error(), "stuck") {
		t.Errorf("got %v", err)
	}
	if err := p.Nemesis.Heal(t.Context()); err != nil || !slices.Equal(b.log, []string{"on 1", "off 1"}) {
		t.Errorf("got %v, %q", err, b.log)
	}
}

// TestHealTriesAgainWhatAnotherMayHaveHadInHold.
func TestHealTriesAgainWhatAnotherMayHaveHadInHold(t *testing.T) {
	b := &brake{}
	f := b.fault()
	f.New = func(nemesis.Env, nemesis.Spec) (nemesis.Breaker, error) { return &stubborn{brake: b}, nil }
	p, err := nemesis.New([]nemesis.Fault{f}, nemesis.Env{}, asked(t, []nemesis.Fault{f}, "brake", time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for id := range 2 {
		value := encoded(t, histories.Fault{ID: id, Name: "brake", Detail: json.RawMessage("1")})
		if _, err := p.Nemesis.Invoke(t.Context(), histories.Op{F: "brake", Value: value}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Nemesis.Heal(t.Context()); err != nil || !slices.Equal(b.log, []string{"on 1", "on 1", "off 1", "off 1"}) {
		t.Errorf("got %v, %q", err, b.log)
	}
}

// stubborn is a brake whose instances cannot be ended the first time.
type stubborn struct{ *brake }

func (s *stubborn) Begin(ctx context.Context, detail json.RawMessage) (nemesis.Held, error) {
	h, err := s.brake.Begin(ctx, detail)
	return &stuckOnce{Held: h}, err
}

type stuckOnce struct {
	nemesis.Held
	tried bool
}

func (h *stuckOnce) End(ctx context.Context) (uint64, any, error) {
	if !h.tried {
		h.tried = true
		return 0, nil, errors.New("stuck")
	}
	return h.Held.End(ctx)
}

func TestWhatCannotBeIsRefused(t *testing.T) {
	table := []nemesis.Fault{(&brake{}).fault(), nemesis.Partition()}
	for _, test := range []struct {
		specs    []nemesis.Spec
		interval time.Duration
		want     string
	}{
		{[]nemesis.Spec{{Fault: "break"}}, time.Second, `no such nemesis: "break"; there are brake, partition, all`},
		{[]nemesis.Spec{{Fault: "brake", Variant: "rear"}}, time.Second, "fault brake:rear: there is none"},
		{[]nemesis.Spec{{Fault: "partition"}}, time.Second, "fault partition: there is no network to cut"},
		{[]nemesis.Spec{{Fault: "brake"}, {Fault: "brake"}}, time.Second, "fault brake is asked for twice"},
		{[]nemesis.Spec{{Fault: "brake"}}, 0, "interval of faults 0s is not positive"},
	} {
		_, err := nemesis.New(table, nemesis.Env{}, nemesis.Options{Specs: test.specs, Interval: test.interval})
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%v: got %v, want %s", test.specs, err, test.want)
		}
	}
}

func TestNoFaultsAreNoSchedule(t *testing.T) {
	p, err := nemesis.New(nil, nemesis.Env{}, nemesis.Options{Interval: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if ops := simulated(t, 1, generator.Phases(p.Main, p.Final)); len(ops) > 0 {
		t.Errorf("got %v", ops)
	}
}

// asked are the options of who asks for specs.
func asked(t *testing.T, table []nemesis.Fault, specs string, interval time.Duration) nemesis.Options {
	t.Helper()
	parsed, err := nemesis.Parse(table, specs)
	if err != nil {
		t.Fatal(err)
	}
	return nemesis.Options{Specs: parsed, Interval: interval}
}

// one returns a package of one brake.
func one(t *testing.T, b *brake) nemesis.Package {
	t.Helper()
	table := []nemesis.Fault{b.fault()}
	p, err := nemesis.New(table, nemesis.Env{}, asked(t, table, "brake", time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// begun lets p's first fault begin, and returns the op that began it.
func begun(t *testing.T, p nemesis.Package) histories.Op {
	t.Helper()
	c := generator.Context{Free: []histories.Process{histories.Nemesis}, Rand: rand.New(rand.NewPCG(1, 2))}
	if s := p.Main.Next(c); s.Op != nil || s.Wait == 0 {
		t.Fatalf("it began at once: %+v", s)
	}
	c.Now = 2 * time.Second
	s := p.Main.Next(c)
	if s.Op == nil {
		t.Fatalf("it did not begin: %+v", s)
	}
	p.Main.Update(c, *s.Op)
	p.Main.Update(c, performed(p, *s.Op))
	return *s.Op
}

// performed returns the completion of op.
func performed(p nemesis.Package, op histories.Op) histories.Op {
	_, err := p.Nemesis.Invoke(context.Background(), op)
	op.Type = histories.Info
	if err != nil {
		op.Error = err.Error()
	}
	return op
}

func simulated(t *testing.T, seed uint64, g generator.Generator) []histories.Op {
	t.Helper()
	ops, err := generatortest.Simulation{Seed: seed}.Run(g)
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

func fault(t *testing.T, op histories.Op) histories.Fault {
	t.Helper()
	var f histories.Fault
	if err := json.Unmarshal(op.Value, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func encoded(t *testing.T, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
