package histories_test

import (
	"encoding/json"
	"reflect"
	"testing"

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
	if err != nil || len(got) != 1 || got[0].To != 30 || got[0].End != 2 || got[0].Acted != 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestHealOfWhatNeverBeganIsAnError(t *testing.T) {
	h := read(t, file(`{"index":0,"time":10,"process":-1,"type":"invoke","f":"heal","value":{"id":5,"fault":"kill"}}`))
	if _, err := h.Faults(); err == nil || err.Error() != "op 0 heals fault 5, which never began" {
		t.Errorf("got %v", err)
	}
}
