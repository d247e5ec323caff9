package trace

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/register"
)

// TestTraces runs the files of testdata: a history, judged as workload register, and its
// trace. Rewrite them with -rewrite, and read the diff.
func TestTraces(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s := judged(t, d.Input)
			if d.HasArg("nodes") {
				for _, arg := range d.CmdArgs {
					if arg.Key == "nodes" {
						s.Nodes = arg.Vals
					}
				}
			}
			if d.HasArg("tracks") {
				s.Tracks = []workloads.Track{
					{Group: "machines", Name: "vm1", Slices: []workloads.Slice{
						{From: 1 * time.Millisecond, To: 4 * time.Millisecond, Label: "on n1, epoch 1", Class: "n1", Op: 0},
						{From: 3 * time.Millisecond, To: histories.Never, Label: "on n2, epoch 2", Class: "n2", Bad: true, Op: -1},
					}},
					{Group: "locks", Name: "a", Node: "n1", Slices: []workloads.Slice{{From: 2 * time.Millisecond, To: 3 * time.Millisecond, Label: "client 1", Class: "1", Op: 2}}},
				}
			}
			return written(t, s)
		})
	})
}

func judged(t *testing.T, history string) Source {
	t.Helper()
	h, err := checkertest.Parse(history)
	if err != nil {
		t.Fatal(err)
	}
	result, err := register.Checker(checker.Budget{}).Check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return Source{Title: "raftkv under workload register", History: h, Result: result}
}

// written returns a trace that keeps the rules of the format.
func written(t *testing.T, s Source) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(t.Context(), &b, s); err != nil {
		t.Fatal(err)
	}
	if flaws := flaws(b.Bytes()); len(flaws) > 0 {
		t.Fatalf("%s\nin\n%s", strings.Join(flaws, "\n"), clip(b.Bytes()))
	}
	return b.String()
}

// An event is one of a trace, as its readers see it.
type event struct {
	Ph   string          `json:"ph"`
	PID  *int            `json:"pid"`
	TID  *int            `json:"tid"`
	TS   json.Number     `json:"ts"`
	Dur  json.Number     `json:"dur"`
	Name *string         `json:"name"`
	Cat  string          `json:"cat"`
	C    string          `json:"cname"`
	S    string          `json:"s"`
	ID   int             `json:"id"`
	BP   string          `json:"bp"`
	Args json.RawMessage `json:"args"`
}

// A file is what it is written to.
type file struct {
	Unit   string `json:"displayTimeUnit"`
	Events []event
	Other  struct {
		Title   string   `json:"title"`
		Verdict string   `json:"verdict"`
		Note    string   `json:"note"`
		Left    []string `json:"left_out"`
	} `json:"otherData"`
}

func parsed(text []byte) (f file, err error) {
	var raw struct {
		file
		Events []json.RawMessage `json:"traceEvents"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&raw); err != nil {
		return f, err
	}
	f = raw.file
	for _, r := range raw.Events {
		var e event
		d := json.NewDecoder(bytes.NewReader(r))
		d.DisallowUnknownFields()
		if err := d.Decode(&e); err != nil {
			return f, fmt.Errorf("%s: %w", r, err)
		}
		f.Events = append(f.Events, e)
	}
	return f, nil
}

// nanos returns a number of microseconds in nanoseconds, exactly.
func nanos(n json.Number) (int64, error) {
	whole, fraction, _ := strings.Cut(string(n), ".")
	if len(fraction) > 3 {
		return 0, fmt.Errorf("%s is finer than a nanosecond", n)
	}
	return strconv.ParseInt(whole+fraction+"000"[len(fraction):], 10, 64)
}

// flaws says what of the format a trace does not keep to.
func flaws(text []byte) (found []string) {
	complain := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if !utf8.Valid(text) {
		complain("it is not UTF-8")
	}
	f, err := parsed(text)
	if err != nil {
		return append(found, err.Error())
	}
	if f.Unit != "ms" && f.Unit != "ns" {
		complain("no such unit: %q", f.Unit)
	}
	type span struct{ from, to int64 }
	processes, threads := map[int]bool{}, map[int]int{} // those that have a name; the process of a thread
	spans := map[int][]span{}
	arrows := map[int]string{}
	for i, e := range f.Events {
		if e.PID == nil || *e.PID <= 0 || e.Name == nil || *e.Name == "" {
			complain("event %d has no process or no name", i)
			continue
		}
		var args map[string]any
		if e.Args != nil {
			d := json.NewDecoder(bytes.NewReader(e.Args))
			d.UseNumber()
			if err := d.Decode(&args); err != nil {
				complain("event %d: args: %v", i, err)
			}
		}
		at, err := nanos(e.TS)
		if e.Ph == "M" {
			if _, ok := args["name"].(string); strings.HasSuffix(*e.Name, "_name") && !ok {
				complain("event %d gives no name", i)
			}
			switch *e.Name {
			case "process_name":
				if processes[*e.PID] {
					complain("event %d: process %d has two names", i, *e.PID)
				}
				processes[*e.PID] = true
			case "thread_name":
				if _, ok := threads[*e.TID]; ok || processes[*e.TID] {
					complain("event %d: %d is used twice", i, *e.TID)
				}
				threads[*e.TID] = *e.PID
			case "process_sort_index", "thread_sort_index":
			default:
				complain("event %d: no such metadata: %s", i, *e.Name)
			}
			continue
		}
		if err != nil || e.TS == "" {
			complain("event %d has no time: %v", i, err)
		}
		if !processes[*e.PID] {
			complain("event %d is of process %d, which has no name", i, *e.PID)
		}
		if e.Ph != "C" && (e.TID == nil || threads[*e.TID] != *e.PID) {
			complain("event %d is of no track of its process", i)
			continue
		}
		switch e.Ph {
		case "X":
			dur, err := nanos(e.Dur)
			if err != nil || e.Dur == "" || dur < 0 {
				complain("event %d has no duration: %v", i, err)
			}
			spans[*e.TID] = append(spans[*e.TID], span{at, at + dur})
		case "C":
			if len(args) == 0 {
				complain("event %d counts nothing", i)
			}
			for name, v := range args {
				if n, ok := v.(json.Number); !ok || name == "" {
					complain("event %d: %q is %v, which is no number", i, name, v)
				} else if f, err := n.Float64(); err != nil || math.IsInf(f, 0) {
					complain("event %d: %q is %v", i, name, v)
				}
			}
		case "i":
			if e.S != "g" && e.S != "p" && e.S != "t" {
				complain("event %d: no such scope: %q", i, e.S)
			}
		case "s", "t", "f":
			if last := spans[*e.TID]; len(last) == 0 || last[len(last)-1].from > at || last[len(last)-1].to < at {
				complain("event %d: an arrow at no slice", i)
			}
			arrows[e.ID] += e.Ph
		default:
			complain("event %d: no such phase: %q", i, e.Ph)
		}
	}
	for tid, all := range spans {
		slices.SortStableFunc(all, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to)) })
		var open []span
		for _, s := range all {
			for len(open) > 0 && open[len(open)-1].to <= s.from {
				open = open[:len(open)-1]
			}
			if len(open) > 0 && s.to > open[len(open)-1].to {
				complain("track %d: slices from %d to %d and from %d to %d cross", tid, open[len(open)-1].from, open[len(open)-1].to, s.from, s.to)
			}
			open = append(open, s)
		}
	}
	for id, phases := range arrows {
		if len(phases) < 2 || phases != "s"+strings.Repeat("t", len(phases)-2)+"f" {
			complain("arrow %d goes %s", id, phases)
		}
	}
	return found
}

// The rules would be kept as well if nobody looked, so each is broken here.
func TestFlawsAreFound(t *testing.T) {
	const names = `{"ph":"M","pid":1,"name":"process_name","args":{"name":"p"}},{"ph":"M","pid":1,"tid":2,"name":"thread_name","args":{"name":"t"}},`
	for want, events := range map[string]string{
		"":                  `{"ph":"X","pid":1,"tid":2,"ts":1.5,"dur":2,"name":"a"},{"ph":"X","pid":1,"tid":2,"ts":3.5,"dur":2,"name":"b"},{"ph":"X","pid":1,"tid":2,"ts":4,"dur":1,"name":"c"}`,
		"cross":             `{"ph":"X","pid":1,"tid":2,"ts":1.5,"dur":2,"name":"a"},{"ph":"X","pid":1,"tid":2,"ts":3.499,"dur":2,"name":"b"}`,
		"no duration":       `{"ph":"X","pid":1,"tid":2,"ts":1,"name":"a"}`,
		"no time":           `{"ph":"X","pid":1,"tid":2,"dur":1,"name":"a"}`,
		"finer":             `{"ph":"X","pid":1,"tid":2,"ts":1.0001,"dur":1,"name":"a"}`,
		"no name":           `{"ph":"X","pid":1,"tid":2,"ts":1,"dur":1}`,
		"no track":          `{"ph":"X","pid":1,"tid":3,"ts":1,"dur":1,"name":"a"}`,
		"has no name":       `{"ph":"X","pid":3,"tid":2,"ts":1,"dur":1,"name":"a"}`,
		"used twice":        `{"ph":"M","pid":1,"tid":2,"name":"thread_name","args":{"name":"t"}}`,
		"two names":         `{"ph":"M","pid":1,"name":"process_name","args":{"name":"t"}}`,
		"no number":         `{"ph":"C","pid":1,"ts":1,"name":"a","args":{"v":"1"}}`,
		"counts nothing":    `{"ph":"C","pid":1,"ts":1,"name":"a","args":{}}`,
		"scope":             `{"ph":"i","pid":1,"tid":2,"ts":1,"name":"a","s":"x"}`,
		"phase":             `{"ph":"B","pid":1,"tid":2,"ts":1,"name":"a"}`,
		"arrow at no slice": `{"ph":"s","pid":1,"tid":2,"ts":1,"name":"a","id":1},{"ph":"f","pid":1,"tid":2,"ts":1,"name":"a","id":1}`,
		"arrow 1 goes st":   `{"ph":"X","pid":1,"tid":2,"ts":1,"dur":1,"name":"a"},{"ph":"s","pid":1,"tid":2,"ts":1,"name":"a","id":1},{"ph":"t","pid":1,"tid":2,"ts":1,"name":"a","id":1}`,
		"unknown field":     `{"ph":"X","pid":1,"tid":2,"ts":1,"dur":1,"name":"a","color":"red"}`,
		"no such metadata":  `{"ph":"M","pid":1,"name":"process_colour","args":{}}`,
		"gives no name":     `{"ph":"M","pid":1,"tid":3,"name":"thread_name","args":{}}`,
		"invalid character": `{"ph":"X"`,
	} {
		got := flaws([]byte(`{"displayTimeUnit":"ms","traceEvents":[` + names + events + `],"otherData":{}}`))
		if want == "" && len(got) > 0 || want != "" && !strings.Contains(strings.Join(got, "\n"), want) {
			t.Errorf("%s: got %q, want %q", events, got, want)
		}
	}
}

// hostile is text that is not to get out of where it belongs.
var hostile = []string{
	`"}],"traceEvents":[`, "</script><script>alert(1)</script>", "\x00\x1f\\\"\n\r\t", "\xff\xfe torn \xc3", "\u2028\u2029\u202e", "",
	strings.Repeat("ä", 600),
}

// random makes a history whose names, values and errors are hostile, where clients die,
// never hear of what they did, or come back under a new number, and faults overlap.
func random(t *testing.T, rng *rand.Rand) Source {
	t.Helper()
	var ops []histories.Op
	now := time.Duration(0)
	add := func(op histories.Op) {
		now += time.Duration(1 + rng.Int64N(int64(time.Duration(1)<<rng.IntN(30))))
		op.Time, op.Index = now, len(ops)
		ops = append(ops, op)
	}
	text := func() string { return hostile[rng.IntN(len(hostile))] }
	value := func(v any) json.RawMessage {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	open := map[histories.Process]histories.Op{}
	clients := []histories.Process{0, 1, 2, 3}
	next, fault := histories.Process(4), 0
	var faults []int
	for range rng.IntN(200) {
		at := rng.IntN(len(clients))
		p := clients[at]
		begun, outstanding := open[p]
		switch dice := rng.IntN(10); {
		case dice == 0:
			fault++
			faults = append(faults, fault)
			f := value(histories.Fault{ID: fault, Name: "kill" + text(), Detail: value(map[string]any{"nodes": []string{text()}})})
			add(histories.Op{Process: histories.Nemesis, Type: histories.Invoke, F: "kill", Value: f})
			add(histories.Op{Process: histories.Nemesis, Type: histories.Info, F: "kill", Value: f, Error: text()})
		case dice == 1 && len(faults) > 0:
			i := rng.IntN(len(faults))
			f := value(histories.Fault{ID: faults[i], Name: "kill", Acted: uint64(rng.IntN(3)), Evidence: value(text())})
			faults = slices.Delete(faults, i, i+1)
			add(histories.Op{Process: histories.Nemesis, Type: histories.Invoke, F: histories.Heal, Value: f})
			add(histories.Op{Process: histories.Nemesis, Type: histories.Info, F: histories.Heal, Value: f, Error: text()})
		case dice == 2:
			add(histories.Op{Process: histories.Observer, Type: histories.Event, F: []string{histories.Step, histories.State, histories.Gauges, text() + "x"}[rng.IntN(4)],
				Value: value(map[string]any{text(): map[string]any{"role": text(), "term": rng.IntN(2), "sent_bytes": rng.IntN(100)}}), Node: text()})
		case !outstanding:
			open[p] = histories.Op{Process: p, Type: histories.Invoke, F: "f" + text(), Value: value([]any{text(), rng.IntN(3)}), Node: text()}
			add(open[p])
		case dice < 5 || dice == 9 && next > 8: // it never hears of it, or nobody knows
			if dice != 9 {
				begun.Type, begun.Error = histories.Info, text()
				add(begun)
			}
			delete(open, p)
			clients[at], next = next, next+1
		default:
			begun.Type, begun.Error = []histories.Type{histories.OK, histories.Fail}[rng.IntN(2)], text()
			add(begun)
			delete(open, p)
		}
	}
	h, err := histories.FromOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	s := Source{Title: text(), History: h, Nodes: []string{text() + "n"}, Result: checker.Result{Verdict: checker.Invalid, Note: text()}}
	for range rng.IntN(4) {
		a := checker.Anomaly{Kind: "k" + text(), Note: text()}
		for range rng.IntN(8) {
			a.Ops = append(a.Ops, rng.IntN(len(ops)+3)-1)
		}
		slices.Sort(a.Ops)
		s.Result.Anomalies = append(s.Result.Anomalies, a)
	}
	for range rng.IntN(4) {
		track, from := workloads.Track{Group: "g" + text(), Name: "n" + text()}, time.Duration(0)
		for range rng.IntN(10) {
			from += time.Duration(rng.IntN(1000))
			track.Slices = append(track.Slices, workloads.Slice{From: from, To: from + time.Duration(rng.IntN(3000)), Label: "l" + text(), Class: text(), Bad: rng.IntN(2) == 0, Op: -1})
		}
		s.Tracks = append(s.Tracks, track)
	}
	return s
}

func TestTracesOfAnythingKeepTheRules(t *testing.T) {
	for seed := range uint64(100) {
		s := random(t, rand.New(rand.NewPCG(seed, 7)))
		f, err := parsed([]byte(written(t, s)))
		if err != nil {
			t.Fatal(err)
		}
		// Each call is there once, and as long as its client waited.
		calls := map[string]int{}
		for _, e := range f.Events {
			if e.Ph == "X" && slices.Contains([]string{"ok", "fail", "info"}, e.Cat) {
				calls[e.Cat]++
			}
		}
		for i, op := range s.History.All() {
			if op.Process >= 0 && op.Type == histories.Invoke {
				_, done, _ := (&trace{Source: s}).call(i)
				calls[outcome(op, done)]--
			}
		}
		for _, a := range s.Result.Anomalies { // they are shown once more
			for _, i := range (&trace{Source: s}).calls(a) {
				op, done, _ := (&trace{Source: s}).call(i)
				calls[outcome(op, done)]--
			}
		}
		if calls["ok"] != 0 || calls["fail"] != 0 || calls["info"] != 0 {
			t.Errorf("seed %d: too many calls by outcome: %v", seed, calls)
		}
	}
}

// A worker goes on as a new process after an indeterminate op. Its track is the same.
func TestAWorkerHasOneTrackForAllItsProcesses(t *testing.T) {
	var lines []string
	for i := range 50 { // two workers, and each op is one process's last
		lines = append(lines, fmt.Sprintf("%d invoke write x=1 node=n1", 2*i), fmt.Sprintf("%d invoke write x=1 node=n1", 2*i+1),
			fmt.Sprintf("%d info write", 2*i), fmt.Sprintf("%d info write", 2*i+1))
	}
	h, err := checkertest.Parse(strings.Join(lines, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := parsed([]byte(written(t, Source{History: h})))
	if err != nil {
		t.Fatal(err)
	}
	var tracks []string
	for _, e := range f.Events {
		if *e.Name == "thread_name" {
			tracks = append(tracks, string(e.Args))
		}
	}
	if want := []string{`{"name":"client 0"}`, `{"name":"client 1"}`}; !slices.Equal(tracks, want) {
		t.Errorf("there are tracks %q, want %q", tracks, want)
	}
}

func TestTextOfTheHistoryIsNotChanged(t *testing.T) {
	for _, s := range hostile {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var got, same string
		if err := errors.Join(json.Unmarshal(appendText(nil, s), &got), json.Unmarshal(want, &same)); err != nil || got != same {
			t.Errorf("%q became %q, want %q: %v", s, got, same, err)
		}
	}
}

// busy is a history of n operations, one client after the other, with a stale read.
func busy(t testing.TB, n int) *histories.History {
	t.Helper()
	ops := make([]histories.Op, 0, 2*n)
	now := time.Duration(0)
	for i := range n {
		p, node := histories.Process(i%10), [...]string{"n1", "n2", "n3"}[i%3]
		value := json.RawMessage(fmt.Sprintf(`["k%d",%d]`, i%7, i))
		ops = append(ops, histories.Op{Index: 2 * i, Time: now + 1, Process: p, Type: histories.Invoke, F: "write", Value: value})
		now += time.Duration(1+i%1000) * time.Microsecond
		ops = append(ops, histories.Op{Index: 2*i + 1, Time: now + 1, Process: p, Type: histories.OK, F: "write", Value: value, Node: node, Meta: json.RawMessage(`{"revision":17,"term":2}`)})
		now++
	}
	h, err := histories.FromOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestWhatDoesNotFitIsLeftOutAndTold(t *testing.T) {
	evidence := checker.Result{Verdict: checker.Invalid, Anomalies: []checker.Anomaly{{Kind: "stale read", Note: "it was gone", Ops: []int{2000, 2001, 4000, 4001}}}}
	s := Source{Title: "t", History: busy(t, 5000), Result: evidence}
	whole := len(written(t, s))
	for _, c := range []struct {
		limit int64
		left  []string
	}{
		{int64(whole) * 13 / 10, nil}, // what things take is rounded up
		{int64(whole) * 9 / 10, []string{"the values of operations and events that are no evidence: 4998 of them; the history has them by the index op"}},
		{int64(whole) / 2, []string{"the values", " of 4998 operations and events that are no evidence, those that took less than "}},
		{20_000, []string{"the values", " of 4998 operations and events that are no evidence, those that took less than "}},
		{1, []string{"the values", "4998 of 4998 operations and events that are no evidence, those that took less than 1.0"}},
	} {
		s.Limit = c.limit
		text := written(t, s)
		f, err := parsed([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if len(f.Other.Left) != len(c.left) {
			t.Fatalf("of %d bytes, in %d: left out are %q, want %q", whole, c.limit, f.Other.Left, c.left)
		}
		for i, want := range c.left {
			if !strings.Contains(f.Other.Left[i], want) {
				t.Errorf("of %d bytes, in %d: left out are %q, want %q", whole, c.limit, f.Other.Left, c.left)
			}
		}
		if c.limit > 10_000 && int64(len(text)) > c.limit {
			t.Errorf("of %d bytes, in %d: it has %d", whole, c.limit, len(text))
		}
		if c.limit > 10_000 && c.limit < int64(whole) && int64(len(text)) < c.limit/2 {
			t.Errorf("of %d bytes, in %d: it has %d only", whole, c.limit, len(text))
		}
		shown, told := 0, 0
		for _, e := range f.Events {
			if e.Ph == "X" && e.Cat == "ok" && strings.Contains(string(e.Args), `"value"`) {
				shown++
			}
			if e.Ph == "X" && e.Cat == "note" {
				told++
			}
		}
		if len(c.left) > 0 && shown != 4 || told != min(1, len(c.left)) {
			t.Errorf("in %d: %d operations have values, want the evidence, twice; and %d notes", c.limit, shown, told)
		}
	}
}

func TestOfTracksTheShortestAreLeftOut(t *testing.T) {
	track := workloads.Track{Group: "locks", Name: "a"}
	for i := range 1000 {
		from := time.Duration(i) * time.Millisecond
		track.Slices = append(track.Slices, workloads.Slice{From: from, To: from + time.Duration(i)*time.Microsecond, Label: "held", Class: "1", Bad: i == 3, Op: -1})
	}
	f, err := parsed([]byte(written(t, Source{History: busy(t, 1), Tracks: []workloads.Track{track}, Limit: 100_000})))
	if err != nil {
		t.Fatal(err)
	}
	var shown []time.Duration
	for _, e := range f.Events {
		if e.Cat == "1" {
			n, err := nanos(e.Dur)
			if err != nil {
				t.Fatal(err)
			}
			shown = append(shown, time.Duration(n))
		}
	}
	if len(shown) < 300 || len(shown) > 400 || shown[0] != 3*time.Microsecond || shown[1] < 600*time.Microsecond || shown[len(shown)-1] != 999*time.Microsecond {
		t.Errorf("%d slices are shown, %v at first; want the one that must not be, and the longest", len(shown), shown[:min(3, len(shown))])
	}
	if want := fmt.Sprintf("%d of 999 slices of locks, those that took less than ", 1000-len(shown)); len(f.Other.Left) != 1 || !strings.HasPrefix(f.Other.Left[0], want) {
		t.Errorf("left out are %q, want %q", f.Other.Left, want)
	}
}

func TestATraceOfWhichNobodyHearsEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Write(ctx, io.Discard, Source{History: busy(t, 10)}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	full := errors.New("no space")
	if err := Write(t.Context(), failing{full}, Source{History: busy(t, 10)}); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// What a sieve drops fits, and what it would have dropped less does not.
func TestASieveDropsAsLittleAsItCan(t *testing.T) {
	for d := time.Duration(1); d > 0 && d < math.MaxInt64/3; d = d*3/2 + 1 {
		if m := mesh(d); least(m) > d || least(m+1) <= d {
			t.Fatalf("%d is in mesh %d, from %d to %d", d, m, least(m), least(m+1))
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var s sieve
		var all []time.Duration
		for range 1 + rng.IntN(50) {
			d := time.Duration(rng.Int64N(int64(time.Duration(1) << (1 + rng.IntN(40)))))
			all = append(all, d)
			s.add(d, 10)
		}
		room := rng.Int64N(600)
		shortest, dropped := s.cut(room)
		gone := 0
		for _, d := range all {
			if d < shortest {
				gone++
			}
		}
		if gone != dropped || int64(10*(len(all)-gone)) > room {
			t.Fatalf("%d of %d are shorter than %v, dropped %d; room for %d", gone, len(all), shortest, dropped, room/10)
		}
		if s.all() != len(all) || s.cost() != int64(10*len(all)) || dropped > 0 && 10*int64(len(all)) <= room {
			t.Fatalf("%d, %d of %d", s.all(), s.cost(), len(all))
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		h := busy(b, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			var size counting
			for b.Loop() {
				size = 0
				if err := Write(b.Context(), &size, Source{History: h}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(size)/1e6, "MB")
		})
	}
}

type counting int

func (c *counting) Write(b []byte) (int, error) {
	*c += counting(len(b))
	return len(b), nil
}

// TestACounterIsNoClock: of times that only number ops there is no throughput.
func TestACounterIsNoClock(t *testing.T) {
	for last, want := range map[time.Duration]bool{time.Millisecond - 1: false, time.Millisecond: true} {
		h, err := histories.FromOps([]histories.Op{
			{Index: 0, Time: 0, Type: histories.Invoke, F: "read"}, {Index: 1, Time: last, Type: histories.OK, F: "read"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(written(t, Source{History: h}), `"op/s"`); got != want {
			t.Errorf("within %v there is a throughput: %t", last, got)
		}
	}
}
