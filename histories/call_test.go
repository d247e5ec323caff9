package histories_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/hacheck/hacheck/histories"
)

func number(_ string, value json.RawMessage) (n int, err error) {
	if value != nil {
		err = json.Unmarshal(value, &n)
	}
	return n, err
}

func TestCallsPairInvocationsWithTheirCompletions(t *testing.T) {
	h := read(t, file(
		`{"index":0,"time":10,"process":0,"type":"invoke","f":"add","value":1,"node":"n1","meta":"sent"}`,
		`{"index":1,"time":20,"process":1,"type":"invoke","f":"add","value":2,"node":"n2"}`,
		`{"index":2,"time":30,"process":-1,"type":"invoke","f":"kill","value":"not a number"}`,
		`{"index":3,"time":40,"process":1,"type":"ok","f":"add","value":20,"node":"n3","meta":{"term":4}}`,
		`{"index":4,"time":45,"process":-2,"type":"event","f":"exited","value":"not a number"}`,
		`{"index":5,"time":50,"process":2,"type":"invoke","f":"add","value":3}`,
		`{"index":6,"time":60,"process":2,"type":"fail","f":"add","value":"refused","error":"full"}`,
		`{"index":7,"time":70,"process":3,"type":"invoke","f":"add","value":4,"node":"n1"}`,
		`{"index":8,"time":80,"process":3,"type":"info","f":"add","value":"?","error":"timeout","meta":"late"}`,
	))
	got, err := histories.Calls(h, number, number)
	if err != nil {
		t.Fatal(err)
	}
	want := []histories.Call[int, int]{
		{Index: 0, Completion: -1, Process: 0, F: "add", In: 1, Type: histories.Info, Invoked: 10, Completed: histories.Never, Node: "n1", Meta: json.RawMessage(`"sent"`)},
		{Index: 1, Completion: 3, Process: 1, F: "add", In: 2, Out: 20, Type: histories.OK, Invoked: 20, Completed: 40, Node: "n3", Meta: json.RawMessage(`{"term":4}`)},
		{Index: 5, Completion: 6, Process: 2, F: "add", In: 3, Type: histories.Fail, Invoked: 50, Completed: 60, Error: "full"},
		{Index: 7, Completion: 8, Process: 3, F: "add", In: 4, Type: histories.Info, Invoked: 70, Completed: histories.Never, Error: "timeout", Node: "n1", Meta: json.RawMessage(`"late"`)},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestUndecodablePayloadsAreErrorsThatNameTheOp(t *testing.T) {
	for value, want := range map[string]string{
		`"x"`: `op 0: add "x": `,
		`1`:   `op 1: add "y": `,
	} {
		h := read(t, file(
			`{"index":0,"time":10,"process":0,"type":"invoke","f":"add","value":`+value+`}`,
			`{"index":1,"time":20,"process":0,"type":"ok","f":"add","value":"y"}`,
		))
		_, err := histories.Calls(h, number, number)
		if _, ok := errors.AsType[*json.UnmarshalTypeError](err); !ok || len(err.Error()) < len(want) || err.Error()[:len(want)] != want {
			t.Errorf("got %v, want %s...", err, want)
		}
	}
}
