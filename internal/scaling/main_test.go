package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/checker/linear/lineartest"
)

// TestPlan: every history that is planned has its row, and is decided.
func TestPlan(t *testing.T) {
	p := plan{lengths: []int{100, 1000}, clients: []int{2, 3}, indeterminate: []int{5}, cpu: time.Minute, bytes: 1 << 30}
	told := 0
	rows := p.measure(func(row) { told++ })
	if len(rows) != 12 || told != len(rows) {
		t.Fatalf("%d rows, %d told", len(rows), told)
	}
	var text strings.Builder
	if err := write(&text, p, rows); err != nil {
		t.Fatal(err)
	}
	for i, r := range rows {
		if r.verdict != linear.Linearizable || r.CPU <= 0 || (r.growth > 0) != (i%2 == 1 && r.engine == rows[i-1].engine) {
			t.Errorf("%+v", r)
		}
		if !strings.Contains(text.String(), "\n"+r.String()+"\n") {
			t.Errorf("not in the document: %v", r)
		}
	}
}

// TestBudget: what is beyond it is said to be, and nothing longer is tried.
func TestBudget(t *testing.T) {
	p := plan{lengths: []int{50_000, 100_000, 150_000}, clients: []int{3}, bytes: 1}
	rows := p.measure(func(row) {})
	if len(rows) != 6 {
		t.Fatalf("%d rows", len(rows))
	}
	for i, r := range rows {
		if r.verdict != linear.Undecided || r.spared != (i%3 > 0) {
			t.Errorf("%+v", r)
		}
	}
	for i, want := range []string{"over budget", "not tried", "not tried"} {
		if got := rows[i].String(); !strings.Contains(got, "| "+want+" |") {
			t.Errorf("%s is not %s", got, want)
		}
	}
}

func TestRowsAndExceptions(t *testing.T) {
	load := lineartest.Load{Ops: 20_000_000, Clients: 10, Indeterminate: 7, Values: 5}
	cost := lineartest.Cost{CPU: 12 * time.Second, Peak: 3 << 20}
	steep := row{Load: load, engine: "jit", verdict: linear.Linearizable, Cost: cost, growth: 14.5}
	if got, want := steep.String(), "| 20 M | 10 | 7 | 5 | jit | 12 | 600 | 3 | × 14.5 |"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	flat := row{Load: lineartest.Load{Ops: 1500, Clients: 10}, engine: "zones", verdict: linear.Linearizable, growth: 9}
	if got, want := flat.String(), "| 1500 | 10 | 0 | unique | zones | 0 | 0 | unknown | × 9.0 |"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	over := row{Load: load, engine: "jit"}
	all := strings.Join(exceptions([]row{flat, steep, over}), "\n")
	for _, want := range []string{
		"- 20 M operations, 10 clients, 7 indeterminate, 5 values: × 14.5 over a tenth of them.",
		"- 20 M operations, 10 clients, 7 indeterminate, 5 values: over budget.",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in %s", want, all)
		}
	}
	if err := write(io.Discard, plan{}, []row{{Load: load, engine: "jit", verdict: linear.Illegal}}); err == nil {
		t.Error("a wrong verdict is a row like any other")
	}
	if strings.Contains(all, "1500") || !strings.HasPrefix(exceptions([]row{flat})[0], "Nowhere") {
		t.Errorf("accuses the innocent: %s", all)
	}
}
