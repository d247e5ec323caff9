package histories_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/hacheck/hacheck/histories"
)

func TestFaultsHoldFromTheirBeginToTheirHeal(t *testing.T) {
	h := read(t, file(
		`{"index":0,"time":10,"process":-1,"type":"invoke","f":"partition","value":{"id":1,"fault":"partition:ring","detail":[1]}}`,
		`{"index":1,"time":20,"process":-1,"type":"info","f":"partition","value":{"id":1,"fault":"partition:ring","detail":[1,2]}}`,
		`{"index":2,"time":30,"process":-1,"type":"invoke","f":"kill","value":{"id":2,"fault":"kill"}}`,
		`{"index":3,"time":40,"process":-1,"type":"info","f":"kill","value":{"id":2,"fault":"kill"},"error":"no such process"}`,
		`{"index":4,"time":50,"process":-1,"type":"invoke","f":"heal","value":{"id":1,"fault":"partition:ring"}}`,
		`{"index":5,"time":60,"process":-1,"type":"info","f":"heal","value":{"id":1,"fault":"partition:ring","acted":12,"evidence":{"n1":12}}}`,
		`{"index":6,"time":70,"process":-1,"type":"invoke","f":"recover"}`,
		`{"index":7,"time":80,"process":-1,"type":"info","f":"recover"}`,
		`{"index":8,"time":90,"process":0,"type":"invoke","f":"heal","value":{"id":9,"fault":"a client's own"}}`,
		`{"index":9,"time":100,"process":-1,"type":"invoke","f":"pause","value":{"id":3,"fault":"pause"}}`,
	))
	got, err := h.Faults()
	if err != nil {
		t.Fatal(err)
	}
	want := []histories.FaultSpan{
		{Fault: histories.Fault{ID: 1, Name: "partition:ring", Detail: json.RawMessage(`[1,2]`), Acted: 12, Evidence: json.RawMessage(`{"n1":12}`)}, Begin: 1, End: 4, From: 20, To: 50},
		{Fault: histories.Fault{ID: 2, Name: "kill"}, Begin: 2, End: -1, From: 30, To: histories.Never, Failed: "no such process"},
		{Fault: histories.Fault{ID: 3, Name: "pause"}, Begin: 9, End: -1, From: 100, To: histories.Never, Failed: "never completed"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestAHealThatDidNotCompleteShowsNoEvidence(t *testing.T) {
	h := read(t, file(
		`{"index":0,"time":10,"process":-1,"type":"invoke","f":"kill","value":{"id":0,"fault":"kill"}}`,
		`{"index":1,"time":20,"process":-1,"type":"info","f":"kill"}`,
		`{"index":2,"time":30,"process":-1,"type":"invoke","f":"heal","value":{"id":0,"fault":"kill"}}`,
	))
	got, err := h.Faults()
	if err != nil || len(got) != 1 || got[0].To != 30 || got[0].End != 2 || got[0].Acted != 0 || got[0].HealFailed != "never completed" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestTheLastHealCounts(t *testing.T) {
	lines := []string{
		`{"index":0,"time":10,"process":-1,"type":"invoke","f":"kill","value":{"id":0,"fault":"kill"}}`,
		`{"index":1,"time":20,"process":-1,"type":"info","f":"kill"}`,
		`{"index":2,"time":30,"process":-1,"type":"invoke","f":"heal","value":{"id":0,"fault":"kill"}}`,
		`{"index":3,"time":40,"process":-1,"type":"info","f":"heal","value":{"id":0,"fault":"kill","acted":3},"error":"no such file"}`,
		`{"index":4,"time":50,"process":-1,"type":"invoke","f":"heal","value":{"id":0,"fault":"kill"}}`,
		`{"index":5,"time":60,"process":-1,"type":"info","f":"heal","value":{"id":0,"fault":"kill"}}`,
	}
	for _, c := range []struct {
		ops    int
		end    int
		to     time.Duration
		failed string
	}{{4, 2, 30, "no such file"}, {5, 4, 50, "never completed"}, {6, 4, 50, ""}} {
		got, err := read(t, file(lines[:c.ops]...)).Faults()
		if err != nil || len(got) != 1 {
			t.Fatalf("got %+v, %v", got, err)
		}
		if s := got[0]; s.End != c.end || s.To != c.to || s.HealFailed != c.failed || s.Acted != 3 {
			t.Errorf("after %d ops: got %+v", c.ops, s)
		}
	}
}

func TestTheLastRecoveryCounts(t *testing.T) {
	lines := []string{
		`{"index":0,"time":10,"process":0,"type":"invoke","f":"recover"}`,
		`{"index":1,"time":20,"process":-1,"type":"invoke","f":"recover","value":{}}`,
		`{"index":2,"time":30,"process":-1,"type":"info","f":"recover","value":{},"error":"nobody there"}`,
		`{"index":3,"time":40,"process":-1,"type":"invoke","f":"recover","value":{}}`,
		`{"index":4,"time":50,"process":-1,"type":"info","f":"recover","value":{}}`,
	}
	for ops, want := range map[int]histories.Recovery{
		1: {},
		2: {Invoked: 1, Completed: -1, From: 20, To: histories.Never, Failed: "never completed"},
		3: {Invoked: 1, Completed: 2, From: 20, To: 30, Failed: "nobody there"},
		4: {Invoked: 3, Completed: -1, From: 40, To: histories.Never, Failed: "never completed"},
		5: {Invoked: 3, Completed: 4, From: 40, To: 50},
	} {
		if got, ok := read(t, file(lines[:ops]...)).Recovery(); got != want || ok != (ops > 1) {
			t.Errorf("after %d ops: got %+v, %v", ops, got, ok)
		}
	}
}

func TestHealOfWhatNeverBeganIsAnError(t *testing.T) {
	h := read(t, file(`{"index":0,"time":10,"process":-1,"type":"invoke","f":"heal","value":{"id":5,"fault":"kill"}}`))
	if _, err := h.Faults(); err == nil || err.Error() != "op 0 heals fault 5, which never began" {
		t.Errorf("got %v", err)
	}
}
