package register

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
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
		{Write, `["k1","one"]`, Input{Key: "k1", New: Text("one")}},
		{Write, `["k1",""]`, Input{Key: "k1", New: Text("")}},
		{Write, `["k1","1"]`, Input{Key: "k1", New: Text("1")}},
		{Write, `["k1","a,[\"b\"]"]`, Input{Key: "k1", New: Text(`a,["b"]`)}},
		{Write, `[7,"x"]`, Input{Key: "7", New: Text("x")}},
		{Write, `"x"`, Input{New: Text("x")}},
		{CAS, `["k1",[1,2]]`, Input{Key: "k1", Old: Of(1), New: Of(2)}},
		{CAS, `["k1",[null, 2] ]`, Input{Key: "k1", New: Of(2)}},
		{CAS, `[7,[1,2]]`, Input{Key: "7", Old: Of(1), New: Of(2)}},
		{CAS, `[1,2]`, Input{Old: Of(1), New: Of(2)}},
		{CAS, `["k1",["a","]"]]`, Input{Key: "k1", Old: Text("a"), New: Text("]")}},
		{CAS, `["k1",[null,"a"]]`, Input{Key: "k1", New: Text("a")}},
		{CAS, `["a","b]"]`, Input{Old: Text("a"), New: Text("b]")}},
		{CAS, `["k1",["a",1]]`, Input{Key: "k1", Old: Text("a"), New: Of(1)}},
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
		{Write, `["k1","one","two"]`},
		{Write, `["k1",1.5]`},
		{Write, `["k1",true]`},
		{Write, `{"k1":1}`},
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
	for _, v := range []Value{Absent, Of(0), Of(-7), Text(""), Text("0"), Text("rotten \xff<\"")} {
		if got, err := parseOutput(Read, ReadPayload("k", v)); err != nil || got != v {
			t.Errorf("%v: got %v, %v", v, got, err)
		}
	}
}

func TestTextsAreComparedByWhatTheySay(t *testing.T) {
	var v Value
	if err := json.Unmarshal([]byte(`"\u0061\u003c"`), &v); err != nil || v != Text("a<") {
		t.Errorf("got %v, %v", v, err)
	}
	if got := Text(`a"<`).Text(); got != `a"<` || Of(1).Text() != "" || Absent.Text() != "" {
		t.Errorf("got %s", got)
	}
	for _, other := range []Value{Absent, Of(0), Text("null"), Text("0")} {
		if Text("") == other {
			t.Errorf("%v is the empty text", other)
		}
	}
	if Text("1") == Of(1) || Text("null") == Absent {
		t.Error("a text is what it spells")
	}
}

func TestNoCasExpectsWhatNobodyWrote(t *testing.T) {
	k := (&keys{}).open(10, false)
	for _, v := range []Value{Of(3), Text("rotten")} {
		k.Update(generator.Context{}, histories.Op{Type: histories.OK, F: Read, Value: ReadPayload(k.name, v)})
		if k.seen != Of(3) || k.unread {
			t.Errorf("after a read of %v: got %v, %v", v, k.seen, k.unread)
		}
	}
}

// TestAReadBeginsAfterEveryWrite: once, mostly, and again if that did not succeed.
func TestAReadBeginsAfterEveryWrite(t *testing.T) {
	c := generator.Context{Free: []histories.Process{0}, Rand: rand.New(rand.NewPCG(1, 2))}
	k := (&keys{}).open(100000, false)
	reads, after := map[string]int{}, map[string]int{}
	what := "a read"
	for range 10000 {
		op := k.Next(c).Op
		after[what]++
		if op.F == Read {
			reads[what]++
		}
		op.Type = []histories.Type{histories.OK, histories.Fail, histories.Info}[c.Rand.IntN(3)]
		what = "a read"
		if op.F != Read || op.Type != histories.OK {
			what = "a write, or a read that failed"
		} else {
			op.Value = ReadPayload(k.name, Of(1))
		}
		if op.F != Read && op.Type == histories.Info {
			op.Type = histories.Fail // it would retire the key
		}
		k.Update(c, *op)
	}
	for what, want := range map[string]float64{"a read": 0.4, "a write, or a read that failed": 0.92} {
		if got := float64(reads[what]) / float64(after[what]); after[what] < 500 || got < want-0.05 || got > want+0.05 {
			t.Errorf("after %s, %d of %d operations were reads; want %v", what, reads[what], after[what], want)
		}
	}
}
