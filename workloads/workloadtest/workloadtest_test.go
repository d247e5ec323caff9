package workloadtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// A counter counts the calls of its clients, and refuses every seventh.
type counter struct{ opened, calls int }

type client struct{ counter *counter }

func (c client) Invoke(context.Context, histories.Op) (workloads.Reply, error) {
	c.counter.calls++
	r := workloads.Reply{Node: "n1", Value: json.RawMessage(fmt.Sprint(c.counter.calls))}
	switch c.counter.calls % 21 {
	case 7:
		return r, workloads.Definite(errors.New("refused by the client"))
	case 14:
		return r, errors.New("no answer")
	}
	return r, nil
}

func (c client) Close() error { return nil }

// workload returns one that counts in its main phase and in the end, ten times.
func (c *counter) workload() workloads.Workload {
	count := func(generator.Context, histories.Process) histories.Op {
		return histories.Op{F: "count", Value: json.RawMessage("null")}
	}
	return workloads.Workload{
		Main:  generator.OnClients(generator.Of(count)),
		Final: generator.OnClients(generator.Limit(10, generator.Of(count))),
		Open: func(_ context.Context, worker int) (workloads.Client, error) {
			c.opened++
			return client{c}, nil
		},
	}
}

func TestHistory(t *testing.T) {
	c := &counter{}
	h, err := workloadtest.Play{Workers: 4, Main: 5 * time.Second, Refused: 0.1, Lost: 0.1}.History(c.workload())
	if err != nil {
		t.Fatal(err)
	}
	recovery, ok := h.Recovery()
	if !ok || recovery.Failed != "" || recovery.From < 5*time.Second {
		t.Errorf("got %+v, %v", recovery, ok)
	}
	calls, err := histories.Calls(h, decode, decode)
	if err != nil {
		t.Fatal(err)
	}
	errs, types := map[string]int{}, map[histories.Type]int{}
	processes := map[histories.Process]bool{}
	final, concurrent := 0, 0
	var numbers []int
	for i, call := range calls {
		errs[call.Error]++
		types[call.Type]++
		processes[call.Process] = true
		if call.Type == histories.OK {
			numbers = append(numbers, call.Out)
			for _, later := range calls[i+1:] { // each happens at some moment while it is open
				if later.Type == histories.OK && later.Invoked > call.Completed && later.Out < call.Out {
					t.Fatalf("%+v came before %+v", call, later)
				}
			}
		}
		if i > 0 && call.Invoked < calls[i-1].Completed {
			concurrent++
		}
		if call.Invoked > recovery.To {
			final++
			if call.Error == "lost" || call.Error == "refused" {
				t.Errorf("%+v in the final phase", call)
			}
		}
	}
	slices.Sort(numbers)
	if len(slices.Compact(numbers)) != len(numbers) {
		t.Error("a call of the client was two operations")
	}
	n := len(calls)
	for what, share := range map[string]float64{"lost": 0.1, "refused": 0.1, "refused by the client": 0.8 / 21, "no answer": 0.8 / 21} {
		if got := float64(errs[what]) / float64(n); got < share*0.8 || got > share*1.2 {
			t.Errorf("%d of %d: %s; want %v of them", errs[what], n, what, share)
		}
	}
	// Of three calls whose answer is lost two happen.
	if want := n - errs["refused"] - errs["lost"]/3; c.calls < want*98/100 || c.calls > want*102/100 {
		t.Errorf("%d calls of the client, want %d", c.calls, want)
	}
	if c.opened != 4+types[histories.Info] || len(processes) > c.opened || final != 10 || concurrent < n/2 || n < 2000 {
		t.Errorf("%d clients, %d processes, %d final operations, %d of %d concurrent", c.opened, len(processes), final, concurrent, n)
	}
}

func decode(_ string, value json.RawMessage) (n int, err error) {
	if string(value) != "null" {
		err = json.Unmarshal(value, &n)
	}
	return n, err
}

// TestASeedFixesAHistory, and another seed makes another one.
func TestASeedFixesAHistory(t *testing.T) {
	ops := func(seed uint64) (ops []histories.Op) {
		h, err := workloadtest.Play{Seed: seed, Main: time.Second, Lost: 0.1}.History((&counter{}).workload())
		if err != nil {
			t.Fatal(err)
		}
		for _, op := range h.All() {
			ops = append(ops, op)
		}
		return ops
	}
	if !reflect.DeepEqual(ops(1), ops(1)) || reflect.DeepEqual(ops(1), ops(2)) {
		t.Error("they differ, or they do not")
	}
}

func TestWhatEndsAPlay(t *testing.T) {
	want := errors.New("nobody there")
	w := (&counter{}).workload()
	w.Open = func(context.Context, int) (workloads.Client, error) { return nil, want }
	if _, err := (workloadtest.Play{}).History(w); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
	w = (&counter{}).workload()
	w.Final = generator.OnNemesis(generator.Of(func(generator.Context, histories.Process) histories.Op { return histories.Op{F: "never"} }))
	if _, err := (workloadtest.Play{Main: time.Second}).History(w); err == nil {
		t.Error("a generator that waits for ever was waited for")
	}
}

func TestRatesAndEnds(t *testing.T) {
	w := func(rate float64, limit time.Duration) workloads.Workload {
		w := (&counter{}).workload()
		w.Main = workloads.AtRate(rate, w.Main)
		w.Final = workloads.Final(limit, func() []histories.Op { return []histories.Op{{F: "count"}} })
		return w
	}
	if err := errors.Join(workloadtest.KeepsRate(w(50, time.Second), 50), workloadtest.FinalEnds(w(50, 2*time.Second), 2*time.Second)); err != nil {
		t.Error(err)
	}
	if workloadtest.KeepsRate(w(70, time.Second), 50) == nil || workloadtest.FinalEnds(w(50, time.Second), 2*time.Second) == nil {
		t.Error("another rate or limit would do as well")
	}
}
