package register

import (
	"encoding/json"
	"testing"
)

func TestPayloads(t *testing.T) {
	for _, test := range []struct {
		f, value string
		want     Input
	}{
		{Read, `["k1",null]`, Input{Key: "k1"}},
		{Read, ` [ "k1" , 3 ] `, Input{Key: "k1"}},
		{Read, `null`, Input{}},
		{Read, ``, Input{}},
		{Write, `["k1",3]`, Input{Key: "k1", New: Of(3)}},
		{Write, `["k1",null]`, Input{Key: "k1"}},
		{Write, `[7,3]`, Input{Key: "7", New: Of(3)}},
		{Write, `["a,\"b]",-3]`, Input{Key: `a,"b]`, New: Of(-3)}},
		{Write, `3`, Input{New: Of(3)}},
		{CAS, `["k1",[1,2]]`, Input{Key: "k1", Old: Of(1), New: Of(2)}},
		{CAS, `["k1",[null, 2] ]`, Input{Key: "k1", New: Of(2)}},
		{CAS, `[7,[1,2]]`, Input{Key: "7", Old: Of(1), New: Of(2)}},
		{CAS, `[1,2]`, Input{Old: Of(1), New: Of(2)}},
	} {
		got, err := ParseInput(test.f, json.RawMessage(test.value))
		if err != nil || got != test.want {
			t.Errorf("%s %s: got %+v, %v", test.f, test.value, got, err)
			continue
		}
		if got.Key == "" {
			continue
		}
		if again, err := ParseInput(test.f, got.Payload(test.f)); err != nil || again != got {
			t.Errorf("%s %s written as %s: got %+v, %v", test.f, test.value, got.Payload(test.f), again, err)
		}
	}
}

func TestPayloadsThatAreNone(t *testing.T) {
	for _, test := range []struct{ f, value string }{
		{"append", `["k1",1]`},
		{Read, `[]`},
		{Read, `["k1"]`},
		{Read, `[["k1"],1]`},
		{Write, `["k1",1,2]`},
		{Write, `["k1","one"]`},
		{Write, `["k1",1.5]`},
		{Write, `{"k1":1}`},
		{Write, `"k1"`},
		{CAS, `["k1",1]`},
		{CAS, `["k1",[1]]`},
		{CAS, `["k1",[1,2,3]]`},
		{CAS, `["k1",[1,2],[3,4]]`},
		{CAS, `3`},
	} {
		if got, err := ParseInput(test.f, json.RawMessage(test.value)); err == nil {
			t.Errorf("%s %s: got %+v and no error", test.f, test.value, got)
		}
	}
}

func TestReadPayload(t *testing.T) {
	for _, v := range []Value{Absent, Of(0), Of(-7)} {
		if got, err := parseOutput(Read, ReadPayload("k", v)); err != nil || got != v {
			t.Errorf("%v: got %v, %v", v, got, err)
		}
	}
}
