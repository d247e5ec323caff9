package checker_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
)

// Of two writes at once one read saw the one, and another, at the same time, the other: either
// order of the writes gets one of the reads nowhere.
func TestOrderTellsWhereEachOrderEnds(t *testing.T) {
	h := parse(t, `
0 invoke write k=1
1 invoke write k=2
0 ok write
1 ok write
2 invoke read k
3 invoke read k
4 invoke write k=3
2 ok read k=1
3 ok read k=2
4 ok write
`)
	r := check(t.Context(), t, cell(), checker.Budget{}, h)
	if len(r.Anomalies) != 1 || r.Anomalies[0].Order == nil {
		t.Fatalf("got %s", checkertest.Format(r))
	}
	got, err := r.Anomalies[0].Order(t.Context())
	want := checker.Order{
		Calls: []int{0, 1, 4, 5, 6}, // the last write was not over when it showed, and may have been
		Partials: []checker.Partial{
			{Initial: "0", Steps: []checker.PartialStep{{0, "1"}, {1, "2"}, {5, "2"}, {6, "3"}}, Stuck: []int{4}},
			{Initial: "0", Steps: []checker.PartialStep{{1, "2"}, {0, "1"}, {4, "1"}, {6, "3"}}, Stuck: []int{5}},
		},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

// TestOrderAndPictureAreOfOneSearch: whoever asks first, and however often, all get the same.
func TestOrderAndPictureAreOfOneSearch(t *testing.T) {
	m := cell()
	var mu sync.Mutex
	steps := 0
	step := m.Step
	m.Step = func(s int, c cellCall) (int, bool) {
		mu.Lock()
		steps++
		mu.Unlock()
		return step(s, c)
	}
	var text strings.Builder
	for i := range 6 {
		fmt.Fprintf(&text, "%d invoke write k=%d\n", i, i+1)
	}
	for i := range 6 {
		fmt.Fprintf(&text, "%d ok write\n", i)
	}
	text.WriteString("9 invoke read k\n9 ok read k=7\n")
	r := check(t.Context(), t, m, checker.Budget{}, parse(t, text.String()))
	count := func(ask func()) int {
		before := steps
		ask()
		return steps - before
	}
	picture := r.Artifacts["linearizable-k.html"]
	var first, second string
	searched := count(func() { first = written(t, picture) })
	again := count(func() { second = written(t, picture) })
	if first != second {
		t.Error("two pictures of the same differ")
	}
	if again >= searched {
		t.Errorf("the first picture took %d steps, the second %d", searched, again)
	}
	var workers sync.WaitGroup
	orders := make([]checker.Order, 3)
	for i := range orders {
		workers.Go(func() { orders[i], _ = r.Anomalies[0].Order(t.Context()) })
		workers.Go(func() { written(t, picture) })
	}
	workers.Wait()
	if len(orders[0].Partials) == 0 || !reflect.DeepEqual(orders[0], orders[1]) || !reflect.DeepEqual(orders[0], orders[2]) {
		t.Errorf("got %+v", orders)
	}
}

func TestOrderOfAModelThatPanicsIsAnError(t *testing.T) {
	m := cell()
	m.State = func(int) string { panic("no words") }
	r := check(t.Context(), t, m, checker.Budget{}, parse(t, bad))
	if _, err := r.Anomalies[0].Order(t.Context()); err == nil || !strings.Contains(err.Error(), "order of bad: panicked: no words") {
		t.Errorf("got %v", err)
	}
}

// TestOrderOfTooManyCallsIsAnError: without States a violation is shown by all that came before
// it.
func TestOrderOfTooManyCallsIsAnError(t *testing.T) {
	var b strings.Builder
	for i := range 300 {
		fmt.Fprintf(&b, "0 invoke write k=%d\n0 ok write\n", i+1)
	}
	b.WriteString("0 invoke read k\n0 ok read k=7\n")
	r := check(t.Context(), t, cell(), checker.Budget{}, parse(t, b.String()))
	if _, err := r.Anomalies[0].Order(t.Context()); err == nil || !strings.Contains(err.Error(), "301 calls") {
		t.Errorf("got %v", err)
	}
}

// TestOrderThatTakesTooLongIsAnError: what porcupine has come to by then proves nothing.
func TestOrderThatTakesTooLongIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := cell()
		step := m.Step
		m.Step = func(s int, c cellCall) (int, bool) {
			time.Sleep(2 * time.Millisecond)
			return step(s, c)
		}
		h := parse(t, hopeless("k", 8))
		r := check(t.Context(), t, m, checker.Budget{Time: time.Hour}, h)
		if r.Verdict != checker.Invalid {
			t.Fatalf("got %s", checkertest.Format(r))
		}
		begun := time.Now()
		order, err := r.Anomalies[0].Order(t.Context())
		if err == nil || !strings.Contains(err.Error(), "order of k: how far one gets is not known: out of time") || order.Partials != nil {
			t.Errorf("got %+v, %v", order, err)
		}
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		r = check(t.Context(), t, m, checker.Budget{Time: time.Hour}, h)
		if _, err := r.Anomalies[0].Order(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		m.Step = step
		if r = check(t.Context(), t, m, checker.Budget{}, h); r.Anomalies[0].Order == nil {
			t.Fatal("no order")
		}
		if n, err := checkertest.Orders(t.Context(), h, m, r); n == 0 || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
	})
}
