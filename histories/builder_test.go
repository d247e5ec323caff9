package histories_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// build adds ops, of which op i stands on line i+1.
func build(t *testing.T, ops ...histories.Op) (*histories.History, []string) {
	t.Helper()
	b := histories.NewBuilder()
	for i, op := range ops {
		if err := b.Add(op, i+1); err != nil {
			t.Fatalf("op %d: %v", i, err)
		}
	}
	return b.History()
}

func op(p histories.Process, typ histories.Type, f string) histories.Op {
	return histories.Op{Index: histories.Unknown, Time: histories.Unknown, Process: p, Type: typ, F: f}
}

func TestAHistoryIsBuiltAsItIs(t *testing.T) {
	h, notes := build(t, sample...)
	if got := ops(h); !reflect.DeepEqual(got, sample) || len(notes) > 0 {
		t.Errorf("got  %v, %q\nwant %v", got, notes, sample)
	}
	if got, want := pairs(h), []int{4, 3, 6, 1, 0, -1, 2, 8, 7}; !slices.Equal(got, want) {
		t.Errorf("got pairs %v, want %v", got, want)
	}
	if h.Line(6) != 7 {
		t.Errorf("op 6 is on line %d", h.Line(6))
	}
}

// Each life of a client is a process of its own, and none has the number of another,
// also of one that comes later.
func TestEachLifeIsAProcess(t *testing.T) {
	h, _ := build(t,
		op(0, histories.Invoke, "write"), op(0, histories.Info, "write"),
		op(0, histories.Invoke, "read"), op(0, histories.Info, "read"),
		op(1<<40, histories.Invoke, "read"), op(0, histories.Invoke, "read"), op(1<<40, histories.OK, "read"), op(0, histories.OK, "read"),
		op(1, histories.Invoke, "read"), op(2, histories.Invoke, "read"))
	var got []histories.Process
	for _, op := range h.All() {
		got = append(got, op.Process)
	}
	if want := []histories.Process{0, 0, 3, 3, 4, 5, 4, 5, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWhatANemesisTellsIsAnEventUnlessItPairs(t *testing.T) {
	h, _ := build(t,
		op(histories.Nemesis, histories.Info, "start"), op(histories.Nemesis, histories.Invoke, "cut"), op(histories.Nemesis, histories.Invoke, "kill"),
		op(histories.Nemesis, histories.Info, "kill"), op(histories.Nemesis, histories.Info, "cut"), op(histories.Observer, histories.OK, "seen"))
	var got []histories.Type
	for _, op := range h.All() {
		got = append(got, op.Type)
	}
	if want := []histories.Type{histories.Event, histories.Invoke, histories.Event, histories.Event, histories.Info, histories.Event}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWhatIsOutstandingIsKnownByTheFilesNumbers(t *testing.T) {
	b := histories.NewBuilder()
	for i, o := range []histories.Op{op(5, histories.Invoke, "write"), op(5, histories.Info, "write"), op(5, histories.Invoke, "cas")} {
		if err := b.Add(o, i+1); err != nil {
			t.Fatal(err)
		}
	}
	if got, ok := b.Outstanding(5); !ok || got.F != "cas" {
		t.Errorf("got %v, %v", got, ok)
	}
	if got, ok := b.Outstanding(6); ok {
		t.Errorf("got %v of a process that did nothing", got)
	}
	err := b.Add(op(5, histories.Invoke, "read"), 9)
	want := "line 9: process 5 invokes read while its cas of line 3 is outstanding; "
	if err == nil || len(err.Error()) < len(want) || err.Error()[:len(want)] != want {
		t.Errorf("got  %v\nwant %s...", err, want)
	}
}

// Whatever is added, what comes out keeps the rules.
func TestWhatIsBuiltIsAHistory(t *testing.T) {
	refused, built := 0, 0
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 0))
		b := histories.NewBuilder()
		line := 0
		for range 12 {
			line += 1 + r.IntN(3)/2
			o := histories.Op{
				Index: r.IntN(50) - 10, Time: time.Duration(r.IntN(20) - 5), Process: histories.Process(r.IntN(5) - 2),
				Type: histories.Type(r.IntN(5) + 1), F: fmt.Sprint("f", r.IntN(2)),
			}
			if o.Process == 2 {
				o.Process = 1 << 31
			}
			if err := b.Add(o, line); err != nil {
				invalid, ok := errors.AsType[*histories.InvalidError](err)
				if !ok || invalid.Line != line {
					t.Fatalf("seed %d: got %v, want an InvalidError of line %d", seed, err, line)
				}
				refused++
			}
		}
		h, _ := b.History()
		again, err := histories.FromOps(ops(h))
		if err != nil || !slices.Equal(pairs(again), pairs(h)) {
			t.Fatalf("seed %d: %v", seed, err)
		}
		built += h.Len()
	}
	if refused < 1000 || built < 1000 {
		t.Errorf("%d ops refused, %d built: it tried nothing", refused, built)
	}
}
