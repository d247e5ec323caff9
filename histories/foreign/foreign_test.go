package foreign_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/histories/foreign"
)

func lines(lines ...string) string { return strings.Join(lines, "\n") + "\n" }

func ops(h *histories.History) []histories.Op {
	var ops []histories.Op
	for _, op := range h.All() {
		ops = append(ops, op)
	}
	return ops
}

// listing returns what happened, an op a line.
func listing(h *histories.History) string {
	var b strings.Builder
	for _, op := range h.All() {
		fmt.Fprintln(&b, op)
	}
	return b.String()
}

func read(t *testing.T, name, text string) *foreign.Recording {
	t.Helper()
	r, err := foreign.Read(strings.NewReader(text), name)
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, text)
	}
	return r
}

func TestFormatsAreToldByTheirContent(t *testing.T) {
	const want = "0 invoke write 3\n0 ok write 3\n"
	for _, test := range []struct {
		what, text string
		format     foreign.Format
	}{
		{"ours", lines(`{"index":0,"time":1,"process":0,"type":"invoke","f":"write","value":3}`, `{"index":1,"time":2,"process":0,"type":"ok","f":"write","value":3}`), foreign.JSONL},
		{"Elle's lines", lines(`{"type":"invoke","f":"write","value":3,"process":0}`, `{"type":"ok","f":"write","value":3,"process":0}`), foreign.JSON},
		{"an array", `[{"type":"invoke","f":"write","value":3,"process":0,"time":0},{"type":"ok","f":"write","value":3,"process":0,"time":0}]`, foreign.JSON},
		{"keywords in JSON", `[ {":type":":invoke",":f":":write",":value":3,":process":0}, {":type":":ok",":f":":write",":value":3,":process":0} ]`, foreign.JSON},
		{"objects over lines", "{\n\"type\":\"invoke\",\n\"f\":\"write\",\"value\":3,\"process\":0}\n{\"type\":\"ok\",\"f\":\"write\",\"value\":3,\"process\":0}", foreign.JSON},
		{"maps", lines(`{:type :invoke, :f :write, :value 3, :process 0, :time 5, :index 0}`, `{:type :ok, :f :write, :value 3, :process 0, :time 5, :index 1}`), foreign.EDN},
		{"maps over lines", "{:type :invoke\n :f :write\n :value 3 :process 0} {:type :ok :f :write\n :value 3 :process 0}", foreign.EDN},
		{"a vector", `[{:type :invoke, :f :write, :value 3, :process 0} {:type :ok, :f :write, :value 3, :process 0}]`, foreign.EDN},
		{"a list", `({:type :invoke, :f :write, :value 3, :process 0} {:type :ok, :f :write, :value 3, :process 0})`, foreign.EDN},
		{"records", "; from Jepsen\n#jepsen.history.Op{:type :invoke, :f :write, :value 3, :process 0}\n#jepsen.history.Op{:type :ok, :f :write, :value 3, :process 0}", foreign.EDN},
		{"a vector of records", `[#jepsen.history.Op{:type :invoke, :f :write, :value 3, :process 0}, #jepsen.history.Op{:type :ok, :f :write, :value 3, :process 0}]`, foreign.EDN},
		{"texts for keywords", `{:type "invoke", :f "write", :value 3, :process 0} {:type ok, :f write, :value 3, :process 0}`, foreign.EDN},
		{"a log", lines("WARN something else", "INFO  jepsen.util - 0\t:invoke\t:write\t3", "INFO  jepsen.core - Everything looks good!", "INFO  jepsen.util - 0\t:ok\t:write\t3"), foreign.Log},
		{"a log of today", lines("2026-01-02 03:04:05,678{GMT}\tINFO\t[jepsen worker 0] jepsen.util: 0\t:invoke\t:write\t3", "2026-01-02 03:04:05,679{GMT}\tINFO\t[jepsen worker 0] jepsen.util: 0\t:ok\t:write\t3"), foreign.Log},
		{"history.txt", lines("0\t:invoke\t:write\t3", "0\t:ok\t:write\t3"), foreign.Log},
	} {
		t.Run(test.what, func(t *testing.T) {
			for compression, compress := range map[string]func(io.Writer) (io.WriteCloser, error){
				"":     func(w io.Writer) (io.WriteCloser, error) { return nopCloser{w}, nil },
				"zstd": foreign.Compress,
				"gzip": func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
			} {
				var b bytes.Buffer
				w, err := compress(&b)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(w, test.text); err != nil {
					t.Fatal(err)
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				r := read(t, "-", b.String())
				if r.Format != test.format {
					t.Errorf("%s: taken for %s, want %s", compression, r.Format, test.format)
				}
				if got := listing(r.History); got != want {
					t.Errorf("%s: got\n%swant\n%s", compression, got, want)
				}
			}
		})
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func TestWhereNothingTellsTheNameDoes(t *testing.T) {
	for name, want := range map[string]foreign.Format{
		"history.edn": foreign.EDN, "h.edn.zst": foreign.EDN, "h.json": foreign.JSON, "h.jsonl": foreign.JSONL,
		"etcd_095.log": foreign.Log, "history.txt.gz": foreign.Log, "-": foreign.JSONL, "h.": foreign.JSONL,
	} {
		if r := read(t, name, ""); r.Format != want || r.History.Len() != 0 {
			t.Errorf("%s: got %s with %d ops, want %s", name, r.Format, r.History.Len(), want)
		}
		if r := read(t, name, " \n"); r.History.Len() != 0 {
			t.Errorf("%s: got %d ops", name, r.History.Len())
		}
	}
}

func TestWhatEditorsPutInFrontIsPassedOver(t *testing.T) {
	const want = "0 invoke write 3\n"
	for name, text := range map[string]string{
		"h.edn":   "{:type :invoke, :f :write, :value 3, :process 0}\r\n",
		"h.jsonl": `{"index":0,"time":1,"process":0,"type":"invoke","f":"write","value":3}` + "\n",
		"h.txt":   "0\t:invoke\t:write\t3\r\n",
	} {
		r := read(t, name, "\uFEFF"+text)
		if got := listing(r.History); got != want {
			t.Errorf("%s: got\n%s", name, got)
		}
		if len(r.Notes) > 0 {
			t.Errorf("%s: %q", name, r.Notes)
		}
	}
	if r := read(t, "h.jsonl", "\n \n"); len(r.Notes) > 0 || r.History.Torn() > 0 {
		t.Errorf("nothing is not another tool's: %q", r.Notes)
	}
}

func TestWhatIsNoTextIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"\x7fELF\x02\x01\x00":     "line 1: it is no text in UTF-8; want JSON lines",
		"\xff\xfe{\x00:\x00t\x00": "line 1: it is no text in UTF-8; want JSON lines",
		"\nhello world, so it is": `line 1: it begins with "hello world, so "; want JSON lines`,
	} {
		for _, name := range []string{"h", "h.jsonl"} {
			if _, err := foreign.Read(strings.NewReader(text), name); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%q: got %v", text, err)
			}
		}
	}
}

func TestShapesOfValues(t *testing.T) {
	for _, test := range []struct{ what, text, want string }{
		{"keyed registers", lines(
			`{:type :invoke, :f :cas, :value #jepsen.independent/tuple [7 [1 2]], :process 0}`,
			`{:type :invoke, :f :read, :value #jepsen.independent.MapEntry[7 nil], :process 1}`,
			`{:type :fail, :f :cas, :value [7 [1 2]], :process 0, :error :precondition}`,
			`{:type :ok, :f :read, :value [7 123456789012345678901N], :process 1}`), lines(
			`0 invoke cas [7,[1,2]]`, `1 invoke read [7,null]`, `0 fail cas [7,[1,2]] (precondition)`, `1 ok read [7,123456789012345678901]`)},
		{"a mutex", lines(
			`{:type :invoke, :f :acquire, :value nil, :process 0}`, `{:type :ok, :f :acquire, :value nil, :process 0}`, `{:type :invoke, :f :release, :process 0}`),
			lines(`0 invoke acquire null`, `0 ok acquire null`, `0 invoke release`)},
		{"Knossos's transactions", lines(
			`{:type :invoke, :f :txn, :value [[:read :x nil] [:write :y 2] [:append 3 1]], :process 0}`,
			`{:type :ok, :f :txn, :value [[:read :x 1] [:write :y 2] [:append 3 1]], :process 0}`,
			`{:type :invoke, :f :txn, :value [9 [[:read :x nil]]], :process 0}`), lines(
			`0 invoke txn [["r","x",null],["w","y",2],["append",3,1]]`, `0 ok txn [["r","x",1],["w","y",2],["append",3,1]]`, `0 invoke txn [9,[["r","x",null]]]`)},
		{"elle-cli's transactions", `[{"type":"invoke","f":"txn","process":0,"value":[[":r","x",null],[":append","read",1]]}]`, lines(
			`0 invoke txn [["r","x",null],["append","read",1]]`)},
		{"porcupine's stores", lines(
			`{:process 9, :type :invoke, :f :append, :key "0", :value "x 9 0 y"}`, `{:process 1, :type :invoke, :f :get, :key "9", :value nil}`,
			`{:process 1, :type :ok, :f :get, :key "9", :value ""}`), lines(
			`9 invoke append ["0","x 9 0 y"]`, `1 invoke get ["9",null]`, `1 ok get ["9",""]`)},
		{"queues without a name", lines(
			`{:type :invoke, :f :enqueue, :value 1, :process 0}`, `{:type :ok, :f :enqueue, :value 1, :process 0}`, `{:type :invoke, :f :dequeue, :process 0}`, `{:type :ok, :f :dequeue, :value 1, :process 0}`), lines(
			`0 invoke enqueue ["",1]`, `0 ok enqueue ["",1]`, `0 invoke dequeue ["",null]`, `0 ok dequeue ["",1]`)},
		{"queues with one", lines(`{:type :invoke, :f :enqueue, :value ["a,[" 1], :process 0}`), lines(`0 invoke enqueue ["a,[",1]`)},
		{"ours in other shapes", lines(`{"index":0,"time":1,"process":0,"type":"invoke","f":"enqueue","value":3}`), lines(`0 invoke enqueue ["",3]`)},
		{"sets", lines(`{:type :invoke, :f :add, :value 3, :process 0}`, `{:type :ok, :f :add, :value 3, :process 0}`, `{:type :invoke, :f :read, :value nil, :process 0}`, `{:type :ok, :f :read, :value #{3 1}, :process 0}`), lines(
			`0 invoke add 3`, `0 ok add 3`, `0 invoke read null`, `0 ok read [3,1]`)},
		{"drains", lines(
			`{:type :invoke, :f :enqueue, :value 1, :process 0}`, `{:type :ok, :f :enqueue, :value 1, :process 0}`,
			`{:type :invoke, :f :drain, :process 0}`, `{:type :invoke, :f :drain, :process 1}`, `{:type :fail, :f :drain, :process 1}`, `{:type :ok, :f :drain, :value [1 2], :process 0}`,
			`{:type :invoke, :f :drain, :process 0}`, `{:type :ok, :f :drain, :value [9 [3]], :process 0}`), lines(
			`0 invoke enqueue ["",1]`, `0 ok enqueue ["",1]`, `1 invoke dequeue ["",null]`, `2 invoke dequeue ["",null]`, `1 ok dequeue ["",1]`, `2 ok dequeue ["",2]`,
			`3 invoke dequeue [9,null]`, `3 ok dequeue [9,3]`)},
		{"hosts that are drained", lines(
			`{:type :invoke, :f :drain, :value {:host "n4"}, :process 0}`, `{:type :info, :f :drain, :value {:host "n4"}, :process 0}`), lines(
			`0 invoke drain {"host":"n4"}`, `0 info drain {"host":"n4"}`)},
		{"failures that say why in place of a value", lines(
			"0\t:invoke\t:cas\t[1 3]", "0\t:info\t:cas\t:timed-out", "1\t:invoke\t:read\tnil", "1\t:fail\t:read\t:timed-out", "2\t:invoke\t:write\t1", "2\t:info\t:write\t1\tindeterminate: [it timed out"), lines(
			`0 invoke cas [1,3]`, `0 info cas [1,3] (timed-out)`, `1 invoke read null`, `1 fail read null (timed-out)`, `2 invoke write 1`, `2 info write 1 (indeterminate: [it timed out)`)},
		{"the nemesis in a log", lines(":nemesis\t:info\t:start\tnil", "INFO  jepsen.util - :nemesis\t:info\t:start\tCut off {:n1 #{:n2}}"), lines(`nemesis event start null`, `nemesis event start "Cut" (off {:n1 #{:n2}})`)},
		{"the nemesis of Jepsen", lines(
			`{:type :info, :f :start, :process :nemesis, :value nil}`, `{:type :invoke, :f :read, :value nil, :process 0}`,
			`{:type :info, :f :start, :process :nemesis, :value {:isolated #{"n1"}}, :error [:timeout 5]}`), lines(
			`nemesis event start null`, `0 invoke read null`, `nemesis event start {"isolated":["n1"]} (["timeout",5])`)},
	} {
		t.Run(test.what, func(t *testing.T) {
			if got := listing(read(t, "-", test.text).History); got != test.want {
				t.Errorf("got\n%swant\n%s", got, test.want)
			}
		})
	}
}

func TestWhatIsMendedIsSaid(t *testing.T) {
	for _, test := range []struct {
		what, text, note string
		want             string
	}{
		{"life after info", lines(
			`{:type :invoke, :f :write, :value 1, :process 0}`, `{:type :info, :f :write, :value 1, :process 0}`,
			`{:type :invoke, :f :write, :value 2, :process 0}`, `{:type :info, :f :write, :value 2, :process 0}`,
			`{:type :invoke, :f :read, :process 7}`, `{:type :invoke, :f :write, :value 3, :process 0}`, `{:type :ok, :f :write, :value 3, :process 0}`),
			"processes go on after an operation of which nobody knows how it ended, first on line 3: each does as a new process (2 times)",
			lines("0 invoke write 1", "0 info write 1", "8 invoke write 2", "8 info write 2", "7 invoke read", "9 invoke write 3", "9 ok write 3")},
		{"times that go back", lines(
			`{:type :invoke, :f :write, :value 1, :process 0, :time 9}`, `{:type :ok, :f :write, :value 1, :process 0, :time 5}`),
			"times go back, first on line 2: the order of the file is taken for the order of time", lines("0 invoke write 1", "0 ok write 1")},
		{"gaps", lines(
			`{:type :invoke, :f :write, :value 1, :process 0, :index 4}`, `{:type :ok, :f :write, :value 1, :process 0, :index 5}`),
			"the indices have gaps, the first before line 1: it is judged as if no op were missing", lines("0 invoke write 1", "0 ok write 1")},
		{"large numbers", lines(`{:type :invoke, :f :write, :value 1, :process 140234567890123}`), "", lines("0 invoke write 1")},
		{"drains", lines(`{:type :invoke, :f :drain, :process 0}`, `{:type :ok, :f :drain, :value [], :process 0}`),
			"each drain of a queue is taken for the dequeues of what it took out", ""},
		{"our own, but not quite", lines(`{"index":0,"time":5,"process":0,"type":"invoke","f":"read"}`, `{"index":1,"time":5,"process":0,"type":"ok","f":"read"}`),
			"read as the history of another tool, since hacheck's own are not so: line 2: time 5 ns does not come after the previous op's 5 ns", lines("0 invoke read", "0 ok read")},
	} {
		t.Run(test.what, func(t *testing.T) {
			r := read(t, "-", test.text)
			if got := listing(r.History); got != test.want {
				t.Errorf("got\n%swant\n%s", got, test.want)
			}
			if got := strings.Join(r.Notes, "\n"); got != test.note {
				t.Errorf("got  %s\nwant %s", got, test.note)
			}
		})
	}
}

func TestTimesAreMovedOnWhereTheyMust(t *testing.T) {
	r := read(t, "-", lines(
		`{:type :invoke, :f :read, :process 0}`, `{:type :invoke, :f :read, :process 1, :time 7}`, `{:type :invoke, :f :read, :process 2, :time 7}`,
		`{:type :invoke, :f :read, :process 3}`, `{:type :invoke, :f :read, :process 4, :time nil}`, `{:type :invoke, :f :read, :process 5, :time 20}`))
	var got []int64
	for _, op := range r.History.All() {
		got = append(got, int64(op.Time))
	}
	if want := []int64{0, 7, 8, 9, 10, 20}; !reflect.DeepEqual(got, want) || len(r.Notes) > 0 {
		t.Errorf("got %v, %q; want %v", got, r.Notes, want)
	}
}

func TestWhereAFileIsCut(t *testing.T) {
	for text, want := range map[string]int{
		"[{:type :invoke, :f :read, :process 0}\n":            2,
		"[{:type :invoke, :f :read, :process 0}":              1,
		"[{:type :invoke, :f :read, :process 0}\n{:type\n:ok": 2,
		"[{:type :invoke, :f :read, :process 0}\n]":           0,
	} {
		if h := read(t, "-", text).History; h.Len() != 1 || h.Torn() != want {
			t.Errorf("%s: got %d ops, torn on line %d, want %d", text, h.Len(), h.Torn(), want)
		}
	}
}

func TestLinesOfTheFile(t *testing.T) {
	r := read(t, "-", "; a comment\n[{:type :invoke,\n :f :read, :process 0} {:type :ok, :f :read, :process 0}\n\n{:type :invoke, :f :read, :process 0}]")
	for i, want := range []int{2, 3, 5} {
		if got := r.History.Line(i); got != want {
			t.Errorf("op %d: got line %d, want %d", i, got, want)
		}
	}
}

func TestWhatIsLeftOutIsNamed(t *testing.T) {
	r := read(t, "-", lines(`{:type :invoke, :f :read, :process 0, :clock-offsets {"n1" 0.5}}`, `{:type :ok, :f :read, :process 0, :clock-offsets {}, :exception #error {:cause "x"}}`))
	if got, want := r.LeftOutNote(), "left out, with the number of ops that had it: clock-offsets (2), exception (1)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	r = read(t, "-", lines(`{"index":0,"time":1,"process":0,"type":"invoke","f":"read","exception":{}}`))
	if got, want := r.LeftOutNote(), "left out, with the number of ops that had it: exception (1)"; got != want || r.Format != foreign.JSONL {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestWhatIsNoHistoryIsRefused(t *testing.T) {
	const invoked = `{:type :invoke, :f :write, :value 1, :process 0, :index 4}`
	for _, test := range []struct{ what, text, want string }{
		{"two at once", lines("", invoked, `{:type :invoke, :f :read, :process 0}`), "line 3: process 0 invokes read while its write of line 2 is outstanding; a process does one thing at a time: give each client a number of its own, and each operation a completion, of type info if nobody knows how it ended"},
		{"completion of nothing", lines("", `{:type :ok, :f :read, :process 3}`), "line 2: process 3 completes read, but has nothing outstanding; put in its invocation, or leave the completion out: an operation is both"},
		{"other function", lines(invoked, `{:type :ok, :f :read, :process 0}`), "line 2: process 0 completes read, but its write of line 1 is outstanding; a completion has the function of its invocation"},
		{"event of a client", lines(`{:type :event, :f :read, :process 3}`), "line 1: an event of client process 3: only nemesis and observer have events; give it one of those, or another type"},
		{"indices", lines(invoked, `{:type :ok, :f :write, :process 0, :index 3}`), "line 2: index 3 stands after index 4: put the ops into the order in which they happened"},
		{"unknown type", lines(`{:type :begin, :f :read, :process 3}`), `line 1: "type": unknown type "begin" (want invoke, ok, fail, info or event)`},
		{"no type", lines(`{:f :read, :process 3}`), `line 1: "type" is missing: an operation has type, f, value and process`},
		{"no function", lines(`{:type :ok, :f 3, :process 3}`), `line 1: "f": 3 is no function: want a name, such as read`},
		{"a process by name", lines(`{:type :ok, :f :read, :process "bob"}`), `line 1: "process": "bob" is no process: clients are numbers from 0 on, beside them there is the nemesis`},
		{"a fraction of time", lines(`{:type :invoke, :f :read, :process 1, :time 1.5}`), `line 1: "time": 1.5 is not a whole number of 64 bits; times are nanoseconds`},
		{"the end of time", lines(`{:type :invoke, :f :read, :process 1, :time 9223372036854775807}`, `{:type :ok, :f :read, :process 1}`), `line 2: there is no time after the 9223372036854775807 ns of the previous op: times are nanoseconds since the run began`},
		{"twice", lines(`{:type :ok, :f :read, :process 3, :f :read}`), `line 1: "f" stands twice`},
		{"no fields", lines(`{1 2}`), `line 1: column 2: want the name of a field, such as :type, got "1"`},
		{"no operations", lines(`[#{} 1]`), `line 1: column 2: want an operation, a map with :type, :f, :value and :process, got "#{"`},
		{"something between", lines(invoked, `:a`), `line 2: column 1: want an operation, a map with :type, :f, :value and :process, got "a"`},
		{"no EDN", lines(invoked, `{:type :ok, :f :write, :value 01x, :process 0}`), `line 2: column 31: "01x" is no number`},
		{"no JSON", lines(`[{"type":"ok" "f":"read"}]`), `line 1: column 15: want ',' before "\"f\""`},
		{"a log's value", lines("0\t:invoke\t:write\t3", "0\t:ok\t:write\t[3)"), "line 2: column 16: want ']', got \")\""},
		{"a crashed drain", lines(`{:type :invoke, :f :drain, :process 0}`), "line 1: a drain of which nobody knows how it ended may have taken anything out of the queue: record what it took as dequeues of type ok, and the last one as info"},
		{"a drain of no list", lines(`{:type :invoke, :f :drain, :process 0}`, `{:type :ok, :f :drain, :value 3, :process 0}`), "line 2: a drain took 3 out, which is no list"},
		{"text", "hello\n", `line 1: it begins with "hello\n"; want JSON lines, Jepsen's EDN, Elle's JSON or a log of Jepsen's, each also compressed`},
	} {
		t.Run(test.what, func(t *testing.T) {
			_, err := foreign.Read(strings.NewReader(test.text), "-")
			if _, ok := errors.AsType[*histories.InvalidError](err); !ok || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
	_, err := foreign.Read(strings.NewReader("hello\n"), "jepsen.log")
	if want := "line 1: no line of it tells of an operation; want JSON lines, Jepsen's EDN, Elle's JSON or a log of Jepsen's, each also compressed"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// A crash cuts the file anywhere. Whatever the byte, whole ops are read, and what there
// is of another is said.
func TestFilesThatACrashHasCut(t *testing.T) {
	for name, text := range map[string]string{
		"edn":    lines(`{:type :invoke, :f :write, :value 1, :process 0}`, `{:type :ok, :f :write, :value 1, :process 0}`),
		"vector": `[{:type :invoke, :f :write, :value 1, :process 0} {:type :ok, :f :write, :value 1, :process 0}]`,
		"json":   lines(`[{"type":"invoke","f":"write","value":1,"process":0},`, `{"type":"ok","f":"write","value":1,"process":0}]`),
		"log":    lines("x jepsen.util - 0\t:invoke\t:write\t[1]", "x jepsen.util - 0\t:ok\t:write\t[1]"),
	} {
		for cut := range len(text) {
			r, err := foreign.Read(strings.NewReader(text[:cut]), "."+name)
			if err != nil {
				if name == "log" && cut < 30 { // nothing tells yet that it is one
					continue
				}
				t.Fatalf("%s: %v", text[:cut], err)
			}
			whole := strings.Count(text[:cut], "}")
			if name == "log" {
				whole = strings.Count(text[:cut], "\n")
			}
			if r.History.Len() != whole {
				t.Errorf("%s: got %d ops", text[:cut], r.History.Len())
			}
			if rest := strings.TrimSpace(text[:cut]); name == "edn" && (r.History.Torn() > 0) != (rest != "" && rest[len(rest)-1] != '}') {
				t.Errorf("%s: torn on line %d", text[:cut], r.History.Torn())
			}
		}
	}
}

func TestDamagedFiles(t *testing.T) {
	var b bytes.Buffer
	w, err := foreign.Compress(&b)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(foreign.Write(w, read(t, "-", lines(`{:type :invoke, :f :write, :value 1, :process 0}`)).History, foreign.EDN), w.Close()); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{b.String()[:b.Len()-5], "\x28\xB5\x2F\xFDxxxx", "\x1F\x8Bxxxx"} {
		_, err := foreign.Read(strings.NewReader(text), "-")
		if _, ok := errors.AsType[*histories.InvalidError](err); !ok {
			t.Errorf("%q: got %v", text, err)
		}
	}
	broken := errors.New("disk on fire")
	_, err = foreign.Read(seeker{iotest.ErrReader(broken)}, "-")
	if _, ok := errors.AsType[*histories.InvalidError](err); ok || !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

type seeker struct{ io.Reader }

func (seeker) Seek(int64, int) (int64, error) { return 0, nil }

// sample has at least one of everything that a history can hold.
var sample = []histories.Op{
	{Index: 0, Time: 1000, Process: 0, Type: histories.Invoke, F: "write", Value: json.RawMessage(`["k1",3]`), Node: "n1"},
	{Index: 1, Time: 1001, Process: histories.Nemesis, Type: histories.Invoke, F: "partition", Value: json.RawMessage(`{"id":1,"fault":"partition:ring","detail":{"cut":[["n1","n2"]]}}`)},
	{Index: 2, Time: 2000, Process: 1, Type: histories.Invoke, F: "read", Value: json.RawMessage(`["k1",null]`)},
	{Index: 3, Time: 2100, Process: histories.Nemesis, Type: histories.Event, F: "partition", Value: json.RawMessage(`{}`)},
	{Index: 4, Time: 2500, Process: histories.Nemesis, Type: histories.Info, F: "partition", Error: "no such node: \"n7\"\n\tat n7"},
	{Index: 5, Time: 3000, Process: 0, Type: histories.Info, F: "write", Value: json.RawMessage(`["k1",3]`), Error: "deadline exceeded", Node: "n1"},
	{Index: 6, Time: 3500, Process: histories.Observer, Type: histories.Event, F: "exited", Value: json.RawMessage(`{"node":"n2","status":-1}`)},
	{Index: 7, Time: 4000, Process: 1, Type: histories.OK, F: "read", Value: json.RawMessage(`["k1",-3.5e+2]`), Node: "n2", Meta: json.RawMessage(`{"term":7,"ok":true}`)},
	{Index: 8, Time: 4001, Process: 10, Type: histories.Invoke, F: "größe", Value: json.RawMessage(`"\u00e9\\ \"é\" <b>"`)},
	{Index: 9, Time: 1 << 40, Process: 10, Type: histories.Fail, F: "größe", Error: "“refused”"},
	{Index: 10, Time: 1<<40 + 1, Process: 3, Type: histories.Invoke, F: "txn", Value: json.RawMessage(`[["r","x",null],["append","two words",18446744073709551616]]`)},
	{Index: 11, Time: 1<<40 + 2, Process: histories.Observer, Type: histories.Event, F: histories.Gauges, Value: json.RawMessage(`{"n1":{"sent":7,"clocks":{"realtime":-5,"monotonic":0,"within":0}},"tester":{}}`)},
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	h, err := histories.FromOps(sample)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range foreign.Formats {
		var b bytes.Buffer
		if err := foreign.Write(&b, h, format); err != nil {
			t.Fatal(err)
		}
		r := read(t, "-", b.String())
		if got := ops(r.History); r.Format != format || !reflect.DeepEqual(got, sample) || len(r.Notes) > 0 || len(r.LeftOut) > 0 {
			t.Errorf("%s, taken for %s, with %q and %v:\ngot  %v\nwant %v\n%s", format, r.Format, r.Notes, r.LeftOut, got, sample, b.String())
		}
		empty := read(t, "-", "").History
		b.Reset()
		if err := foreign.Write(&b, empty, format); err != nil {
			t.Fatal(err)
		}
		if r := read(t, "h."+string(format), b.String()); r.History.Len() != 0 {
			t.Errorf("%s: nothing came back as %s", format, listing(r.History))
		}
		if err := foreign.Write(full{}, h, format); !errors.Is(err, errFull) {
			t.Errorf("%s: got %v", format, err)
		}
	}
	if err := foreign.Write(io.Discard, h, foreign.Log); err == nil {
		t.Error("a log was written")
	}
}

var errFull = errors.New("no space left on device")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestEDNIsJepsens(t *testing.T) {
	h, err := histories.FromOps([]histories.Op{sample[0], sample[1]})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := foreign.Write(&b, h, foreign.EDN); err != nil {
		t.Fatal(err)
	}
	want := lines(
		`{:index 0, :time 1000, :process 0, :type :invoke, :f :write, :value ["k1" 3], :node "n1"}`,
		`{:index 1, :time 1001, :process :nemesis, :type :invoke, :f :partition, :value {:id 1, :fault "partition:ring", :detail {:cut [["n1" "n2"]]}}}`)
	if got := b.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// recorded returns the histories of others in testdata.
func recorded(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*/*.*")
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestRecordedHistoriesSurviveEveryFormat(t *testing.T) {
	n := 0
	for _, name := range recorded(t) {
		if filepath.Ext(name) == ".md" {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		h := read(t, name, string(text)).History
		if want := bytes.Count(text, []byte("\n")); h.Len() != want || h.Line(h.Len()-1) != want {
			t.Errorf("%s: got %d ops of %d lines", name, h.Len(), want)
		}
		for _, format := range foreign.Formats {
			n++
			var b bytes.Buffer
			if err := foreign.Write(&b, h, format); err != nil {
				t.Fatal(err)
			}
			if again := read(t, "-", b.String()); again.Format != format || !reflect.DeepEqual(ops(again.History), ops(h)) {
				t.Errorf("%s is another history as %s", name, format)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d conversions", n)
	}
	edn, jsonl := read(t, "-", file(t, "elle/wr--elle-cli-rw-register.edn")), read(t, "-", file(t, "elle/wr--elle-cli-rw-register.jsonl"))
	if !reflect.DeepEqual(ops(edn.History), ops(jsonl.History)) {
		t.Error("Elle's history is another one as EDN")
	}
}

func file(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// FuzzRead: whatever is read is a history, and is the same when it is written in any
// format and read again.
func FuzzRead(f *testing.F) {
	for _, name := range recorded(f) {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text[:min(len(text), 1000)], filepath.Ext(name))
	}
	h, err := histories.FromOps(sample)
	if err != nil {
		f.Fatal(err)
	}
	for _, format := range foreign.Formats {
		var b bytes.Buffer
		if err := foreign.Write(&b, h, format); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes(), "."+string(format))
	}
	f.Add([]byte(`{:type :invoke, :f :drain, :process 0} {:type :ok :f :drain :value [1 [2]] :process 0 :event false}`), ".edn")
	f.Add([]byte("0\t:invoke\t:enqueue\t3\n0\t:info\t:enqueue\t:timed-out\n0\t:invoke\t:dequeue\tnil\n"), ".txt")
	f.Add([]byte("0 :invoke :::\n"), ".log")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		r, err := foreign.Read(bytes.NewReader(data), name)
		if err != nil {
			if _, ok := errors.AsType[*histories.InvalidError](err); !ok {
				t.Fatalf("got %v, want an InvalidError", err)
			}
			return
		}
		h, want := r.History, ops(r.History)
		if again, err := histories.FromOps(want); err != nil || !reflect.DeepEqual(ops(again), want) {
			t.Fatalf("what was read is no history: %v", err)
		}
		for i, op := range want {
			if line := h.Line(i); line < 1 || i > 0 && line < h.Line(i-1) || line > bytes.Count(data, []byte{'\n'})+1 && r.Format != foreign.JSONL {
				t.Fatalf("op %d is said to be on line %d", i, line)
			}
			if int64(op.Process) >= 1<<30 || op.F[0] == ':' { // is given another number or, in JSON, name
				return
			}
		}
		for _, format := range foreign.Formats {
			var b bytes.Buffer
			if err := foreign.Write(&b, h, format); err != nil {
				t.Fatal(err)
			}
			again, err := foreign.Read(bytes.NewReader(b.Bytes()), "."+string(format))
			if err != nil {
				t.Fatalf("what was written as %s is refused: %v\n%s", format, err, b.Bytes())
			}
			if got := ops(again.History); !same(got, want) {
				t.Fatalf("as %s:\ngot  %v\nwant %v", format, got, want)
			}
		}
	})
}

// same says whether two histories are, but for how their JSON is spelt.
func same(a, b []histories.Op) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := a[i], b[i]
		for _, op := range []*histories.Op{&x, &y} {
			op.Value, op.Meta = spelt(op.Value), spelt(op.Meta)
		}
		if !reflect.DeepEqual(x, y) {
			return false
		}
	}
	return true
}

func spelt(raw json.RawMessage) json.RawMessage {
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}
