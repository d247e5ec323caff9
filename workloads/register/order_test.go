package register

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
)

// outdated returns h with the result of its nth read replaced by what another saw that ended
// before that began, some reads before; nil if they saw the same.
func outdated(t *testing.T, h *histories.History, n int) *histories.History {
	t.Helper()
	var ops []histories.Op
	var reads []int
	for _, op := range h.All() {
		ops = append(ops, op)
		if op.F == Read && op.Type == histories.OK {
			reads = append(reads, op.Index)
		}
	}
	at := reads[n]
	for _, old := range slices.Backward(reads[:n]) {
		if old < h.Pair(at)-60 {
			if string(ops[old].Value) == string(ops[at].Value) {
				return nil
			}
			ops[at].Value = ops[old].Value
			break
		}
	}
	bad, err := histories.FromOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	return bad
}

// TestOrdersOfLongHistoriesAreTheEndsOfThem: what is shown of a key with a thousand calls are
// the last before the violation, and what was under way when those begin has its place, or
// came before.
func TestOrdersOfLongHistoriesAreTheEndsOfThem(t *testing.T) {
	m := Semantics{}.model()
	for _, l := range []load{{keys: 1, clients: 5, calls: 1000}, {keys: 1, clients: 8, calls: 1200, timeouts: 0.01}} {
		h := simulate(t, l)
		looked, cut := 0, 0
		for n := 200; n < 320; n += 20 {
			bad := outdated(t, h, n)
			if bad == nil {
				continue
			}
			r, err := checker.Linearizable(m, checker.Budget{}).Check(t.Context(), bad)
			if err != nil || r.Verdict != checker.Invalid {
				t.Fatalf("read %d: got %v, %v", n, r.Verdict, err)
			}
			if _, err := checkertest.Orders(t.Context(), bad, m, r); err != nil {
				t.Errorf("read %d: %v", n, err)
				continue
			}
			order, _ := r.Anomalies[0].Order(t.Context())
			if looked++; order.Calls[0] > 0 {
				cut++
			}
		}
		if looked < 4 || cut < looked {
			t.Errorf("%+v: %d orders, %d of them of an end", l, looked, cut)
		}
	}
}

// TestOrderOfAFewCallsWhereManyTakeTooLong: of forty writes at once no search comes to the end
// of all orders. Then those few are shown that prove it.
func TestOrderOfAFewCallsWhereManyTakeTooLong(t *testing.T) {
	var b strings.Builder
	for i := range 40 {
		fmt.Fprintf(&b, "%d invoke write x=%d\n", i, 100+i)
	}
	b.WriteString("50 invoke write x=1\n50 ok write\n50 invoke write x=2\n50 ok write\n51 invoke read x\n51 ok read x=1\n")
	for i := range 40 {
		fmt.Fprintf(&b, "%d ok write\n", i)
	}
	h, err := checkertest.Parse(b.String())
	if err != nil {
		t.Fatal(err)
	}
	m := Semantics{}.model()
	r, err := checker.Linearizable(m, checker.Budget{}).Check(t.Context(), h)
	if err != nil || r.Verdict != checker.Invalid {
		t.Fatalf("got %v, %v", r.Verdict, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("that is enough")
	cancel(enough)
	if _, err := r.Anomalies[0].Order(ctx); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
	begun := time.Now()
	if _, err := checkertest.Orders(t.Context(), h, m, r); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	order, err := r.Anomalies[0].Order(t.Context())
	if err != nil || len(order.Calls) > 10 || len(order.Partials) == 0 {
		t.Errorf("got %+v, %v", order, err)
	}
}
