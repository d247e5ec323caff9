package histories_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// A file is written in tests as the lines it has.
func file(lines ...string) string { return strings.Join(lines, "\n") + "\n" }

func read(t *testing.T, text string) *histories.History {
	t.Helper()
	h, err := histories.Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func ops(h *histories.History) []histories.Op {
	var ops []histories.Op
	for _, op := range h.All() {
		ops = append(ops, op)
	}
	return ops
}

func pairs(h *histories.History) []int {
	var pairs []int
	for i := range h.Len() {
		pairs = append(pairs, h.Pair(i))
	}
	return pairs
}

// sample has at least one of everything that a history can hold.
var sample = []histories.Op{
	{Index: 0, Time: 1000, Process: 0, Type: histories.Invoke, F: "write", Value: json.RawMessage(`["k1",3]`), Node: "n1"},
	{Index: 1, Time: 1001, Process: histories.Nemesis, Type: histories.Invoke, F: "partition", Value: json.RawMessage(`{"id":1,"fault":"partition:ring","detail":{"cut":[["n1","n2"]]}}`)},
	{Index: 2, Time: 2000, Process: 1, Type: histories.Invoke, F: "read", Value: json.RawMessage(`["k1",null]`)},
	{Index: 3, Time: 2500, Process: histories.Nemesis, Type: histories.Info, F: "partition", Error: "no such node: \"n7\"\n\tat n7"},
	{Index: 4, Time: 3000, Process: 0, Type: histories.Info, F: "write", Value: json.RawMessage(`["k1",3]`), Error: "deadline exceeded", Node: "n1"},
	{Index: 5, Time: 3500, Process: histories.Observer, Type: histories.Event, F: "exited", Value: json.RawMessage(`{"node":"n2","status":-1}`)},
	{Index: 6, Time: 4000, Process: 1, Type: histories.OK, F: "read", Value: json.RawMessage(`["k1",-3.5e+2]`), Node: "n2", Meta: json.RawMessage(`{"term":7,"ok":true}`)},
	{Index: 7, Time: 4001, Process: 10, Type: histories.Invoke, F: "größe", Value: json.RawMessage(`"\u00e9\\ \"é\" <b>"`)},
	{Index: 8, Time: 1 << 40, Process: 10, Type: histories.Fail, F: "größe", Error: "“refused”"},
}

// journalled returns the file of ops as a Journal writes it.
func journalled(t *testing.T, ops []histories.Op) string {
	t.Helper()
	var b bytes.Buffer
	var now time.Duration
	j := histories.NewJournal(&b, func() time.Duration { return now })
	for _, op := range ops {
		now = op.Time
		if _, err := j.Append(op); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWhatIsJournalledIsReadBack(t *testing.T) {
	h := read(t, journalled(t, sample))
	if got := ops(h); !reflect.DeepEqual(got, sample) {
		t.Errorf("got  %v\nwant %v", got, sample)
	}
	if got, want := pairs(h), []int{4, 3, 6, 1, 0, -1, 2, 8, 7}; !slices.Equal(got, want) {
		t.Errorf("got pairs %v, want %v", got, want)
	}
	if h.Torn() != 0 || h.Duration() != 1<<40 {
		t.Errorf("got torn line %d, duration %v", h.Torn(), h.Duration())
	}
	var written strings.Builder
	if err := histories.Write(&written, h); err != nil || written.String() != journalled(t, sample) {
		t.Errorf("written anew, with error %v, it is\n%s", err, written.String())
	}
	if err := histories.Write(broken{io.ErrShortWrite}, h); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("got %v", err)
	}
	again, err := histories.FromOps(sample)
	if err != nil {
		t.Fatal(err)
	}
	if got := ops(again); !reflect.DeepEqual(got, sample) {
		t.Errorf("from ops: got %v", got)
	}
}

func TestEveryRuleIsEnforcedWithLineAndReason(t *testing.T) {
	const (
		writes = `{"index":0,"time":10,"process":0,"type":"invoke","f":"write"}`
		wrote  = `{"index":1,"time":20,"process":0,"type":"ok","f":"write"}`
	)
	for _, test := range []struct {
		name, text string
		line       int
		reason     string
	}{
		{"begins late", file(`{"index":1,"time":10,"process":0,"type":"invoke","f":"write"}`), 1, "index 1 where 0 is due: ops are missing or out of order"},
		{"gap", file(writes, `{"index":2,"time":20,"process":0,"type":"ok","f":"write"}`), 2, "index 2 where 1 is due: ops are missing or out of order"},
		{"twice", file(writes, wrote, wrote), 3, "index 1 where 2 is due: ops are missing or out of order"},
		{"time goes back", file(writes, `{"index":1,"time":9,"process":0,"type":"ok","f":"write"}`), 2, "time 9 ns does not come after the previous op's 10 ns"},
		{"time stands still", file(writes, `{"index":1,"time":10,"process":0,"type":"ok","f":"write"}`), 2, "time 10 ns does not come after the previous op's 10 ns"},
		{"time before the run", file(`{"index":0,"time":-1,"process":0,"type":"invoke","f":"write"}`), 1, "time -1 ns does not come after the previous op's -1 ns"},
		{"two outstanding", file(writes, `{"index":1,"time":20,"process":0,"type":"invoke","f":"read"}`), 2, "process 0 invokes read while its write of line 1 is outstanding"},
		{"two faults at once", file(
			`{"index":0,"time":10,"process":-1,"type":"invoke","f":"partition"}`,
			`{"index":1,"time":20,"process":-1,"type":"invoke","f":"kill"}`), 2, "process nemesis invokes kill while its partition of line 1 is outstanding"},
		{"completion of nothing", file(`{"index":0,"time":10,"process":0,"type":"ok","f":"write"}`), 1, "process 0 completes write, but has nothing outstanding"},
		{"completed twice", file(writes, wrote, `{"index":2,"time":30,"process":0,"type":"ok","f":"write"}`), 3, "process 0 completes write, but has nothing outstanding"},
		{"completed by another", file(writes, `{"index":1,"time":20,"process":1,"type":"ok","f":"write"}`), 2, "process 1 completes write, but has nothing outstanding"},
		{"other function", file(writes, `{"index":1,"time":20,"process":0,"type":"ok","f":"read"}`), 2, "process 0 completes read, but its write of line 1 is outstanding"},
		{"life after death", file(writes,
			`{"index":1,"time":20,"process":0,"type":"info","f":"write"}`,
			`{"index":2,"time":30,"process":0,"type":"invoke","f":"write"}`), 3, "process 0 invokes write after its indeterminate op of line 2: it is dead"},
		{"event of a client", file(`{"index":0,"time":10,"process":0,"type":"event","f":"exited"}`), 1, "an event of client process 0: only nemesis and observer have events"},
		{"unknown type", file(`{"index":0,"time":10,"process":0,"type":"okay","f":"write"}`), 1, `"type": unknown type "okay" (want invoke, ok, fail, info or event)`},
		{"no such process", file(`{"index":0,"time":10,"process":-3,"type":"invoke","f":"write"}`), 1, `"process": -3 is no process (clients are 0 and up, the nemesis is -1, the observer -2)`},
		{"process by name", file(`{"index":0,"time":10,"process":"bob","type":"invoke","f":"write"}`), 1, `"process": "bob" is not a whole number of 64 bits`},
		{"fraction", file(`{"index":0,"time":1.5,"process":0,"type":"invoke","f":"write"}`), 1, `"time": 1.5 is not a whole number of 64 bits`},
		{"no index", file(`{"time":10,"process":0,"type":"invoke","f":"write"}`), 1, `"index" is missing`},
		{"no time", file(`{"index":0,"process":0,"type":"invoke","f":"write"}`), 1, `"time" is missing`},
		{"no process", file(`{"index":0,"time":10,"type":"invoke","f":"write"}`), 1, `"process" is missing`},
		{"no type", file(`{"index":0,"time":10,"process":0,"f":"write"}`), 1, `"type" is missing`},
		{"no function", file(`{"index":0,"time":10,"process":0,"type":"invoke"}`), 1, `"f" is missing`},
		{"empty function", file(`{"index":0,"time":10,"process":0,"type":"invoke","f":""}`), 1, `"f": is empty`},
		{"function is no text", file(`{"index":0,"time":10,"process":0,"type":"invoke","f":7}`), 1, `"f": 7 is not a string`},
		{"field twice", file(`{"index":0,"time":10,"time":11,"process":0,"type":"invoke","f":"write"}`), 1, `"time" stands twice`},
		{"line cut in the middle of the file", file(writes, `{"index":1,"time":20,"pro`, wrote), 2, "ends in the middle"},
		{"empty line", file(writes, ``, wrote), 2, "ends in the middle"},
		{"two ops on a line", file(writes + wrote), 1, "column 62: text after the object"},
		{"no object", file(`[0,10,0,"invoke","write"]`), 1, "column 1: want '{', got '['"},
		{"comma at the end", file(`{"index":0,"time":10,"process":0,"type":"invoke","f":"write",}`), 1, `column 62: want a string, got '}'`},
		{"no JSON", file("{:index 0, :type :invoke}"), 1, `column 2: want a string, got ':'`},
		{"control character", file("{\"index\":0,\"time\":10,\"process\":0,\"type\":\"invoke\",\"f\":\"a\tb\"}"), 1, `column 56: want no control character in a string, got '\t'`},
		{"too deep", file(`{"index":0,"time":10,"process":0,"type":"invoke","f":"write","value":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}`), 1, "column 1071: nested more than 1000 deep"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, err := histories.Read(strings.NewReader(test.text))
			invalid, ok := errors.AsType[*histories.InvalidError](err)
			if !ok {
				t.Fatalf("got %v and %v, want an InvalidError", h, err)
			}
			if invalid.Line != test.line || invalid.Reason != test.reason {
				t.Errorf("got  %v\nwant line %d: %s", err, test.line, test.reason)
			}
		})
	}
}

func TestLivesThatAreAllowed(t *testing.T) {
	for _, test := range []struct{ name, text string }{
		{"nothing", ""},
		{"only white space", " \t\r\n"[:3]},
		{"the nemesis lives on after info", file(
			`{"index":0,"time":0,"process":-1,"type":"invoke","f":"kill"}`,
			`{"index":1,"time":1,"process":-1,"type":"info","f":"kill"}`,
			`{"index":2,"time":2,"process":-1,"type":"invoke","f":"heal"}`)},
		{"events while an op is outstanding", file(
			`{"index":0,"time":0,"process":-1,"type":"invoke","f":"kill"}`,
			`{"index":1,"time":1,"process":-1,"type":"event","f":"exited"}`,
			`{"index":2,"time":2,"process":-2,"type":"event","f":"exited"}`,
			`{"index":3,"time":3,"process":-1,"type":"info","f":"kill"}`)},
		{"a process goes on after fail", file(
			`{"index":0,"time":0,"process":3,"type":"invoke","f":"cas"}`,
			`{"index":1,"time":1,"process":3,"type":"fail","f":"cas"}`,
			`{"index":2,"time":2,"process":3,"type":"invoke","f":"read"}`)},
		{"lines end as on Windows", strings.ReplaceAll(journalledLine, "\n", "\r\n")},
		{"fields in any order, with spaces", file(` { "f" : "read" , "type" : "invoke" , "process" : 0 , "time" : 1 , "index" : 0 } `)},
	} {
		t.Run(test.name, func(t *testing.T) { read(t, test.text) })
	}
}

const journalledLine = `{"index":0,"time":0,"process":0,"type":"invoke","f":"read","value":["x",null]}` + "\n"

// A crash cuts the file anywhere. Whatever the byte, the whole lines are read,
// and a part of a line is reported and never taken for an op.
func TestFileCutAtAnyByteIsReadUpToThere(t *testing.T) {
	text := journalled(t, sample)
	for cut := range len(text) + 1 {
		h, err := histories.Read(strings.NewReader(text[:cut]))
		if err != nil {
			t.Fatalf("cut at byte %d: %v", cut, err)
		}
		whole, torn := strings.Count(text[:cut], "\n"), 0
		if rest := text[strings.LastIndexByte(text[:cut], '\n')+1:]; cut < len(text) && text[cut] == '\n' {
			whole++ // all that is missing is the line feed
		} else if consumed := len(text) - len(rest); cut > consumed {
			torn = whole + 1
		}
		if h.Len() != whole || h.Torn() != torn {
			t.Fatalf("cut at byte %d: got %d ops, torn line %d; want %d, %d\n%s", cut, h.Len(), h.Torn(), whole, torn, text[:cut])
		}
		if got, want := ops(h), sample[:whole]; whole > 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("cut at byte %d: got %v, want %v", cut, got, want)
		}
		for i, pair := range pairs(h) {
			if pair >= whole {
				t.Fatalf("cut at byte %d: op %d is paired with op %d, which is cut off", cut, i, pair)
			}
		}
	}
}

func TestATornLineMustStillBeTheBeginningOfOne(t *testing.T) {
	for _, tail := range []string{"}", "x", `{"index":1,}`, `{"index":1,"time":5`[:11] + "x", "\x00\x00"} {
		_, err := histories.Read(strings.NewReader(journalledLine + tail))
		if invalid, ok := errors.AsType[*histories.InvalidError](err); !ok || invalid.Line != 2 {
			t.Errorf("%q at the end: got %v", tail, err)
		}
	}
}

func TestFilesOfOtherToolsAreRead(t *testing.T) {
	h := read(t, file(
		`{"type":"invoke","f":"start","value":null,"time":5,"process":"nemesis","index":0,"clock-offsets":{"n1":0.25},"error":null,"node":null}`,
		`{"type":"info","f":"start","value":"cut","time":6,"process":"nemesis","index":1,"exception":{"via":[{"type":"x"}]},"error":["timeout",{"ms":5}]}`,
		`{"type":"invoke","f":"txn","value":[["append",1,2],["r","x",null]],"time":7,"process":0,"index":2,"end-process?":true}`,
	))
	want := []histories.Op{
		{Index: 0, Time: 5, Process: histories.Nemesis, Type: histories.Invoke, F: "start", Value: json.RawMessage("null")},
		{Index: 1, Time: 6, Process: histories.Nemesis, Type: histories.Info, F: "start", Value: json.RawMessage(`"cut"`), Error: `["timeout",{"ms":5}]`},
		{Index: 2, Time: 7, Process: 0, Type: histories.Invoke, F: "txn", Value: json.RawMessage(`[["append",1,2],["r","x",null]]`)},
	}
	if got := ops(h); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if got, want := h.LeftOut(), map[string]int{"clock-offsets": 1, "exception": 1, "end-process?": 1}; !reflect.DeepEqual(got, want) {
		t.Errorf("left out %v, want %v", got, want)
	}
}

// Ops that cross the sizes in which a History and its reader keep things.
func TestLargePayloadsAndManyOps(t *testing.T) {
	var want []histories.Op
	for i := range 40_000 {
		op := histories.Op{Index: i, Time: time.Duration(i), Process: histories.Process(i / 2), Type: histories.Invoke, F: "write"}
		if i%2 == 1 {
			op.Type = histories.OK
		}
		switch {
		case i%9999 == 0:
			op.Value = json.RawMessage(`"` + strings.Repeat("v", 1<<20+i) + `"`)
			op.Meta = json.RawMessage(`"` + strings.Repeat("m", 1<<20) + `"`)
		case i%3 == 0:
			op.Value = fmt.Appendf(nil, `["k",%d]`, i)
		}
		want = append(want, op)
	}
	h := read(t, journalled(t, want))
	if h.Len() != len(want) {
		t.Fatalf("got %d ops", h.Len())
	}
	for i, got := range h.All() {
		if !reflect.DeepEqual(got, want[i]) {
			t.Fatalf("op %d: got %.200v, want %.200v", i, got, want[i])
		}
		if h.Pair(i) != i^1 {
			t.Fatalf("op %d is paired with %d", i, h.Pair(i))
		}
	}
}

func TestPayloadsCannotGrowIntoEachOther(t *testing.T) {
	h := read(t, journalled(t, sample))
	value := h.At(6).Value
	if _ = append(value, "overwritten"...); string(h.At(6).Meta) != string(sample[6].Meta) {
		t.Errorf("appending to a value changed the meta to %s", h.At(6).Meta)
	}
}

func TestTroubleOfTheReaderIsNoVerdictOnTheFile(t *testing.T) {
	want := errors.New("disk on fire")
	_, err := histories.Read(io.MultiReader(strings.NewReader(journalledLine+`{"index":1`), broken{want}))
	if !errors.Is(err, want) || !strings.HasPrefix(err.Error(), "line 2: ") {
		t.Errorf("got %v", err)
	}
	if _, ok := errors.AsType[*histories.InvalidError](err); ok {
		t.Error("a reader's error came out as the file's")
	}
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error)  { return 0, b.err }
func (b broken) Write([]byte) (int, error) { return 0, b.err }

func TestReadFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "history.jsonl")
	if _, err := histories.ReadFile(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(name, []byte(journalled(t, sample)), 0o644); err != nil {
		t.Fatal(err)
	}
	h, err := histories.ReadFile(name)
	if err != nil || h.Len() != len(sample) {
		t.Errorf("got %v, %v", h, err)
	}
}

// FuzzRead: whatever is read is a history, and is the same when it is written
// and read again.
func FuzzRead(f *testing.F) {
	var all strings.Builder
	for i := range sample {
		if h, err := histories.FromOps(sample[:i]); err != nil || h.Len() != i {
			f.Fatalf("the sample is none: %v", err)
		}
	}
	fmt.Fprint(&all, file(
		`{"index":0,"time":10,"process":0,"type":"invoke","f":"wr\u0069te","value":["k1",-1.5e3],"node":"n1"}`,
		`{"index":1,"time":11,"process":"nemesis","type":"invoke","f":"cut","error":null,"other":{"a":[1,{}]}}`,
		`{"index":2,"time":12,"process":-1,"type":"info","f":"cut","error":["`+"\xff"+`"]}`,
		`{"index":3,"time":20,"process":0,"type":"ok","f":"write","value":["k1",true],"meta":{"term":1}}`,
		`{"index":4,"time":21,"process":-2,"type":"event","f":"`+"\xff"+`","value":"é\ud800"}`,
	))
	f.Add([]byte(all.String()))
	f.Add([]byte(all.String()[:all.Len()-9]))
	f.Add([]byte(journalledLine + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := histories.Read(bytes.NewReader(data))
		if err != nil {
			if _, ok := errors.AsType[*histories.InvalidError](err); !ok {
				t.Fatalf("got %v, want an InvalidError", err)
			}
			return
		}
		again, err := histories.FromOps(ops(h))
		if err != nil {
			t.Fatalf("what was read is refused when written again: %v", err)
		}
		if got, want := ops(again), ops(h); !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %v\nwant %v", got, want)
		}
		if !slices.Equal(pairs(again), pairs(h)) || again.Torn() != 0 {
			t.Fatalf("got pairs %v, torn %d; want %v", pairs(again), again.Torn(), pairs(h))
		}
		if _, err := histories.Calls(h, raw, raw); err != nil {
			t.Fatal(err)
		}
		h.Faults() // its errors are the history's; it must not panic
	})
}

func raw(_ string, value json.RawMessage) (json.RawMessage, error) { return value, nil }

func TestOpsThatAreNoneAreRefused(t *testing.T) {
	_, err := histories.FromOps([]histories.Op{sample[0], {Index: 1, Time: 2000, Process: 0, Type: histories.OK}})
	if err == nil || err.Error() != "line 2: op without a function" {
		t.Errorf("got %v", err)
	}
}
