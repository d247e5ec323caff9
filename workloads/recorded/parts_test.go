package recorded

import (
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
)

// TestSumIsFNV1a: however a text was put together.
func TestSumIsFNV1a(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		text, s := "", empty
		for range r.IntN(6) {
			piece := strings.Repeat(string(rune('a'+r.IntN(400))), r.IntN(5))
			text, s = text+piece, s.add(piece)
		}
		h := fnv.New128a()
		h.Write([]byte(text))
		want := h.Sum(nil)
		if s.hi != binary.BigEndian.Uint64(want) || s.lo != binary.BigEndian.Uint64(want[8:]) || s.bytes != len(text) || s != empty.add(text) {
			t.Fatalf("%q: got %x, %x, %d; want %x", text, s.hi, s.lo, s.bytes, want)
		}
	}
}

// TestQueueIsALine, however long, and what is in it is equal after the same calls in
// whatever order.
func TestQueueIsALine(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		q := queue{body: noBody}
		var want, in []string
		for i := range 6 * portion {
			if r.IntN(5) > 1 {
				value := strings.Repeat("v", 1+i%3)
				q, want, in = q.with(value), append(want, value), append(in, value)
				continue
			}
			first, rest, some := q.first()
			if some != (len(want) > 0) || some && first != want[0] {
				t.Fatalf("seed %d: %q, %t came out of %q", seed, first, some, want)
			}
			if q = rest; some {
				want = want[1:]
			}
		}
		all := queue{body: noBody}
		for i := range in { // those that are out in another order, and all out at the end
			if i < len(in)-len(want) {
				all = all.with("out")
			} else {
				all = all.with(in[i])
			}
		}
		for range len(in) - len(want) {
			_, all, _ = all.first()
		}
		if got := "[" + strings.Join(want, " ") + "]"; q.String() != got || all != q {
			t.Fatalf("seed %d: got %v and %v, want %s", seed, q, all, got)
		}
	}
}

// TestTableIsAMap, whose equal contents are equal, in whatever order they came.
func TestTableIsAMap(t *testing.T) {
	keys := []string{`1`, `10`, `100`, `"1"`, `""`, `"x"`, `"x="`, `"x=1"`, `"xy"`, `"é"`, `[1]`, `null`}
	r := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		var got table
		want := map[string]string{}
		for range 30 {
			key := some(r, keys...)
			value := some(r, `1`, `2`, `"="`, `"x=1"`)
			if r.IntN(3) == 0 {
				delete(want, key)
				got = got.set(key, value, true)
			} else {
				want[key] = value
				got = got.set(key, value, false)
			}
		}
		var again table
		for _, i := range r.Perm(len(keys)) {
			v, _, _, ok := got.get(keys[i])
			if w, is := want[keys[i]]; ok != is || v != w {
				t.Fatalf("%q: %s is %q, %t; want %q, %t", got, keys[i], v, ok, w, is)
			}
			if ok {
				again = again.set(keys[i], v, false)
			}
		}
		if again != got {
			t.Fatalf("%q and %q", got, again)
		}
	}
}

// TestEqualValuesAreSpeltAlike, and others are not.
func TestEqualValuesAreSpeltAlike(t *testing.T) {
	for _, alike := range [][]string{
		{`"a<b"`, `"\u0061\u003cb"`}, {`[1, "\n"]`, "[1,\n\t\"\\u000a\"]"}, {`{"a":1,"b":2}`, `{ "b":2, "a":1 }`}, {`7`, ` 7 `}, {`12345678901234567890`},
	} {
		for _, v := range alike {
			if got := spelt(json.RawMessage(v)); got != spelt(json.RawMessage(alike[0])) || strings.Contains(got, "\n") {
				t.Errorf("%s: got %s", v, got)
			}
		}
	}
	if spelt(json.RawMessage(`"1"`)) == spelt(json.RawMessage(`1`)) {
		t.Error("a text is a number")
	}
}

// TestAccessSaysWhatStepDoes of every call there is.
func TestAccessSaysWhatStepDoes(t *testing.T) {
	for _, m := range []struct {
		name string
		fs   []string
	}{{"mutex", MutexFunctions()}, {"linearizable-set", SetFunctions()}} {
		model := mutex()
		if m.name != "mutex" {
			model = set()
		}
		for _, f := range m.fs {
			for _, typ := range []histories.Type{histories.OK, histories.Info} {
				for _, out := range []answer{{}, {true, false}, {true, true}} {
					c := bitCall{F: f, In: "5", Type: typ, Out: out}
					a := model.Register(c)
					for _, s := range []bool{false, true} {
						after, possible := model.Step(s, c)
						want, may := s, s == a.Old
						switch {
						case a.Kind == linear.Write:
							want, may = a.New, true
						case a.Kind == linear.CAS && may:
							want = a.New
						case a.Kind == linear.CAS:
							may = typ == histories.Info
						case typ == histories.Info:
							continue // it is left out
						}
						if after != want || possible != may {
							t.Errorf("%s: %v %s %v on %t: step says %t, %t; as a register %t, %t", m.name, typ, f, out, s, after, possible, want, may)
						}
					}
				}
			}
		}
	}
}

// TestWhatIsNoCallIsRefused, with the reason.
func TestWhatIsNoCallIsRefused(t *testing.T) {
	in := map[string]func(f string, value json.RawMessage) error{
		"mutex":            func(f string, v json.RawMessage) error { _, err := mutex().In(f, v); return err },
		"linearizable-set": func(f string, v json.RawMessage) error { _, err := set().In(f, v); return err },
		"fifo-queue":       func(f string, v json.RawMessage) error { _, err := fifo().In(f, v); return err },
		"kv-append":        func(f string, v json.RawMessage) error { _, err := kvAppend().In(f, v); return err },
		"multi-register":   func(f string, v json.RawMessage) error { _, err := multiRegister(nil).In(f, v); return err },
		"found":            func(f string, v json.RawMessage) error { _, err := kvAppend().Out(f, v); return err },
		"answer":           func(f string, v json.RawMessage) error { _, err := set().Out(f, v); return err },
	}
	for _, test := range []struct{ of, f, value, want string }{
		{"mutex", "read", `null`, "is no function of a mutex"},
		{"linearizable-set", "read", `5`, "is no function of a set"},
		{"linearizable-set", Add, `null`, "names no element"},
		{"linearizable-set", Add, ``, "names no element"},
		{"linearizable-set", Add, `[5]`, "is neither an element nor [element, answer]"},
		{"linearizable-set", Add, `[5,7]`, "7 is no answer"},
		{"answer", Contains, `5`, "does not answer"},
		{"answer", Contains, `[5,null]`, "does not answer"},
		{"fifo-queue", "read", `5`, "is no function of a queue"},
		{"fifo-queue", Enqueue, `["q",null]`, "nothing to enqueue"},
		{"kv-append", "read", `["x",null]`, "is no function of a store of texts"},
		{"kv-append", Append, `["x",5]`, "is no text"},
		{"found", Get, `["x",[1]]`, "is no text"},
		{"multi-register", "read", `[["r","x",1]]`, "is no function of a multi-register"},
		{"multi-register", Txn, `[]`, "is no list of [function, key, value]"},
		{"multi-register", Txn, `null`, "is no list of [function, key, value]"},
		{"multi-register", Txn, `[["r","x"]]`, "a part of it has 2 elements, not [function, key, value]"},
		{"multi-register", Txn, `[["append","x",1]]`, `"append" is neither read nor write`},
	} {
		if err := in[test.of](test.f, json.RawMessage(test.value)); err == nil || err.Error() != test.want {
			t.Errorf("%s: %s %s: got %v, want %s", test.of, test.f, test.value, err, test.want)
		}
	}
}
