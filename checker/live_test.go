package checker_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
)

func TestLiveWholeJudgesWhatThereIs(t *testing.T) {
	h, err := checkertest.Parse("0 invoke read x\n0 ok read x=1\n0 invoke read x\n0 ok read x=2\n0 invoke read x\n0 ok read x=3")
	if err != nil {
		t.Fatal(err)
	}
	var looks []int
	one := checker.Func(func(_ context.Context, h *histories.History) (r checker.Result, err error) {
		looks = append(looks, h.Len())
		if h.Len() >= 5 {
			r.Verdict, r.Anomalies = checker.Invalid, []checker.Anomaly{{Kind: "odd", Note: "three", Ops: []int{1, 3}}}
		}
		return r, nil
	})
	never := checker.Func(func(context.Context, *histories.History) (checker.Result, error) {
		t.Error("it was asked whether the run tried enough")
		return checker.Result{}, nil
	})
	live := checker.LiveWhole(checker.Compose("all", checker.Part{Name: "one", Checker: one}, checker.Part{Name: "two", Checker: never, Coverage: true}))
	var found []*checker.Finding
	for i, op := range h.All() {
		if err := live.Feed(op); err != nil {
			t.Fatal(err)
		}
		for range i % 2 * 2 { // the second time there is nothing new
			f, err := live.Look(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if f != nil {
				found = append(found, f)
			}
		}
	}
	if !slices.Equal(looks, []int{2, 4, 6}) {
		t.Errorf("it looked at %v ops", looks)
	}
	if len(found) != 1 || found[0].Kind != "odd" || found[0].At != 3 || found[0].Time != h.At(3).Time {
		t.Errorf("found %+v", found)
	}
}

func TestLiveWholeTellsWhatFails(t *testing.T) {
	h, err := checkertest.Parse("0 invoke read x")
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	live := checker.LiveWhole(checker.Func(func(ctx context.Context, _ *histories.History) (checker.Result, error) {
		return checker.Result{}, errors.Join(ctx.Err(), broken)
	}))
	if err := live.Feed(h.At(0)); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if f, err := live.Look(ended); f != nil || err != nil {
		t.Errorf("a look that was ended found %v, %v", f, err)
	}
	if _, err := live.Look(t.Context()); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if live.Feed(h.At(0)) == nil {
		t.Error("it took an op twice")
	}
}
