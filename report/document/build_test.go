package document

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/report"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/register"
)

// Each command "show part..." judges the history below it as workload register, and writes
// these parts of its document, a value a line. Process -2 is the observer.
func TestDocument(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			h, err := checkertest.Parse(d.Input)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			doc := build(t, judged(t, h))
			var b strings.Builder
			for _, arg := range d.CmdArgs {
				b.WriteString(part(t, doc, arg.Key))
			}
			return b.String()
		})
	})
}

// part writes a part of a document.
func part(t *testing.T, d Document, name string) string {
	t.Helper()
	var b strings.Builder
	line := func(v any) {
		var text bytes.Buffer
		e := json.NewEncoder(&text)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			t.Fatal(err)
		}
		b.Write(text.Bytes())
	}
	switch name {
	case "functions":
		for _, f := range d.Functions {
			line(f)
		}
	case "faults":
		for _, f := range d.Faults {
			line(f)
		}
	case "strips":
		for _, s := range d.Strips {
			line(s)
		}
	case "parts":
		for _, p := range d.Parts {
			p.Counts = nil
			line(p)
		}
	case "tables":
		for _, table := range d.Tables {
			line(table)
		}
	case "charts":
		for _, c := range d.Charts {
			fmt.Fprintf(&b, "%s (%s), %d times: %s\n", c.ID, c.Unit, len(c.X), c.Note)
			for _, l := range c.Lines {
				fmt.Fprintf(&b, "  %s %s\n", l.Name, values(c.X, l))
			}
			for _, p := range c.Points {
				fmt.Fprintf(&b, "  point %d: %v %s, op %d\n", p.X, p.Y, p.Class, p.Op)
			}
		}
	case "anomalies":
		for _, a := range d.Anomalies {
			fmt.Fprintf(&b, "%s: %s, key %q, from %d to %d, meanwhile %v\n%s\n", a.Checker, a.Kind, a.Key, a.From, a.To, a.Meanwhile, a.Note)
			for _, c := range a.Calls {
				line(c)
			}
			fmt.Fprintf(&b, "around, cut %v:\n", a.Cut)
			for _, c := range a.Around {
				line(c)
			}
		}
	default:
		t.Fatalf("no part %q", name)
	}
	return b.String()
}

// values writes what a line has, by when; of one that is mostly 0 that is left out.
func values(x []Time, l Line) string {
	zeros := 0
	for _, v := range l.Values {
		if v != nil && *v == 0 {
			zeros++
		}
	}
	var words []string
	for i, v := range l.Values {
		if v != nil && (*v != 0 || zeros < len(x)/2) {
			words = append(words, fmt.Sprintf("%d:%v", x[i], *v))
		}
	}
	return strings.Join(words, " ")
}

// judged returns a source with the verdict of workload register.
func judged(t testing.TB, h *histories.History) Source {
	t.Helper()
	result, err := register.Checker(checker.Budget{}).Check(context.Background(), h)
	if err != nil {
		t.Fatal(err)
	}
	return Source{Run: report.Run{Title: "a run", History: h, Result: result}}
}

// build builds a document, and sees that it is whole.
func build(t testing.TB, s Source) Document {
	t.Helper()
	page, err := Build(context.Background(), s, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(page.Document)
	if err != nil {
		t.Fatal(err)
	}
	var whole any
	if err := json.Unmarshal(text, &whole); err != nil {
		t.Fatal(err)
	}
	if at := nulls(whole, "document"); at != "" {
		t.Errorf("%s is null", at)
	}
	for _, c := range page.Document.Charts {
		for i := 1; i < len(c.X); i++ {
			if c.X[i] <= c.X[i-1] {
				t.Errorf("chart %s: time %d comes after %d", c.ID, c.X[i], c.X[i-1])
			}
		}
		for _, l := range c.Lines {
			if len(l.Values) != len(c.X) {
				t.Errorf("chart %s: line %s has %d values for %d times", c.ID, l.Name, len(l.Values), len(c.X))
			}
		}
	}
	return page.Document
}

// nulls returns where there is a null, but for the values of lines.
func nulls(v any, at string) string {
	switch v := v.(type) {
	case nil:
		return at
	case []any:
		for i, e := range v {
			if found := nulls(e, fmt.Sprintf("%s[%d]", at, i)); found != "" && !strings.Contains(found, ".values[") {
				return found
			}
		}
	case map[string]any:
		for name, e := range v {
			if found := nulls(e, at+"."+name); found != "" && !strings.Contains(found, ".values[") {
				return found
			}
		}
	}
	return ""
}

func parse(t testing.TB, text string) *histories.History {
	t.Helper()
	h, err := checkertest.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestListsAreEmptyWhereThereIsNothing(t *testing.T) {
	doc := Document{
		Anomalies: []Anomaly{{Order: &Order{Partials: []Partial{{}}}, Tracks: []Track{{}}}},
		Tables:    []Table{{Rows: [][]string{nil}}},
		Charts:    []Chart{{Lines: []Line{{}}}},
		Strips:    []Track{{}},
	}
	doc.fill()
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("null")) {
		t.Errorf("got %s", text)
	}
	for _, want := range []string{`"stuck":[]`, `"rows":[[]]`, `"values":[]`, `"slices":[]`, `"blocks":[]`, `"faults":[]`} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("there is no %s in %s", want, text)
		}
	}
}

func TestAnyHistoryHasADocument(t *testing.T) {
	for name, text := range map[string]string{
		"no op":             "",
		"one op":            "0 invoke read x",
		"an event":          "-2 event state {}",
		"a strange state":   `-2 event state {"n1":7}`,
		"a heal of nothing": `nemesis invoke heal {"id":7,"fault":"x"}`,
		"no time":           "1ns 0 invoke write x=1\n2ns 0 ok write\n3ns 0 invoke read x\n4ns 0 ok read x=2",
		"markup":            `0 invoke write ["</script><script>alert(1)</script>",1]` + "\n" + `0 ok write node=<b>`,
		"half a letter":     `0 invoke write ["\ud800",1] node=` + "\xff\n0 fail write error=\xc3",
		"unkeyed":           "0 invoke write 1\n0 ok write\n1 invoke read null\n1 ok read 7",
		"only faults":       `nemesis invoke kill {"id":1,"fault":"kill"}` + "\n" + `nemesis info kill error=no`,
		"recovery alone":    "nemesis invoke recover {}\nnemesis info recover {}",
	} {
		t.Run(name, func(t *testing.T) {
			h := parse(t, text)
			s := Source{Run: report.Run{Title: name, History: h, Result: checker.Result{Note: "not judged", Anomalies: []checker.Anomaly{{Note: "x", Ops: []int{0, 99}}}}}}
			for _, verdict := range []checker.Verdict{checker.Unknown, checker.Invalid} {
				s.Result.Verdict = verdict
				doc := build(t, s)
				if doc.Title != name || doc.Verdict != verdict.String() || doc.Ops.Total != h.Len() {
					t.Errorf("got %q, %s, %d ops", doc.Title, doc.Verdict, doc.Ops.Total)
				}
			}
		})
	}
	t.Run("no history", func(t *testing.T) {
		if doc := build(t, Source{Run: report.Run{Title: "none"}}); doc.Duration != 0 || doc.Verdict != "unknown" {
			t.Errorf("got %+v", doc)
		}
	})
}

// longRun is a history of n calls, as long as those of runs are: of five keys, on three
// nodes, some of which fail, with a fault in between. One call is much slower than all others.
func longRun(t testing.TB, n int) *histories.History {
	t.Helper()
	b := histories.NewBuilder()
	line := 0
	add := func(op histories.Op) {
		line++
		op.Index = line - 1
		if err := b.Add(op, line); err != nil {
			t.Fatal(err)
		}
	}
	fault := json.RawMessage(`{"id":1,"fault":"partition","detail":{"groups":[["n1"],["n2","n3"]]}}`)
	now := time.Duration(0)
	for i := range n {
		now += 50 * time.Microsecond
		if i == n/3 || i == n/2 {
			f := "partition"
			if i == n/2 {
				f = histories.Heal
				fault = json.RawMessage(`{"id":1,"fault":"partition","acted":3}`)
			}
			add(histories.Op{Time: now, Process: histories.Nemesis, Type: histories.Invoke, F: f, Value: fault})
			add(histories.Op{Time: now + 1, Process: histories.Nemesis, Type: histories.Info, F: f, Value: fault})
		}
		key := fmt.Sprintf("k%d", i%5)
		call := histories.Op{Time: now + 2, Process: histories.Process(i % 8), Type: histories.Invoke, F: "write", Value: workloads.Keyed(key, i), Node: fmt.Sprintf("n%d", i%3+1)}
		add(call)
		call.Time += time.Duration(10+i%29) * time.Microsecond
		call.Type = histories.OK
		switch {
		case i == n/4:
			call.Time += 5 * time.Second
		case i%97 == 0:
			call.Type, call.Error = histories.Fail, "no leader"
		case i%89 == 0:
			call.Type, call.Error, call.Meta = histories.Fail, "held", json.RawMessage(`{"refused":"held"}`)
		}
		now = call.Time
		add(call)
	}
	h, _ := b.History()
	return h
}

func TestADocumentIsTheSameWhenBuiltTwice(t *testing.T) {
	h := longRun(t, 30_000)
	one, two := build(t, judged(t, h)), build(t, judged(t, h))
	first, _ := json.Marshal(one)
	second, _ := json.Marshal(two)
	if !bytes.Equal(first, second) {
		t.Error("it is not")
	}
	if len(first) > 1<<20 {
		t.Errorf("it has %d bytes", len(first))
	}
}

// TestSamplesAreNotInADocument has a run that kept what it measured value by value: a page is
// for people, and is as large as if it had not.
func TestSamplesAreNotInADocument(t *testing.T) {
	source := judged(t, longRun(t, 3_000))
	without, err := json.Marshal(build(t, source))
	if err != nil {
		t.Fatal(err)
	}
	took := make([]time.Duration, checker.MaxSamples)
	source.Result.Sample("all", took, nil)
	for i := range source.Result.Parts {
		source.Result.Parts[i].Sample("part", took, nil)
	}
	with, err := json.Marshal(build(t, source))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(with, without) {
		t.Errorf("it has %d bytes with samples, and %d without", len(with), len(without))
	}
}

func TestPointsAreAFairSample(t *testing.T) {
	h := longRun(t, 30_000)
	doc := build(t, judged(t, h))
	at := slices.IndexFunc(doc.Charts, func(c Chart) bool { return c.ID == "latency" })
	if at < 0 {
		t.Fatal("there are no latencies")
	}
	c := doc.Charts[at]
	if len(c.Points) != maxPoints {
		t.Errorf("got %d points, want %d", len(c.Points), maxPoints)
	}
	by := map[string]int{}
	slowest := 0.0
	late := 0
	for _, p := range c.Points {
		by[p.Class]++
		slowest = max(slowest, p.Y)
		if p.X > doc.Duration/2 {
			late++
		}
		if op := h.At(p.Op); op.Type != histories.Invoke || unitOf(h).of(h.At(h.Pair(p.Op)).Time) != p.X {
			t.Fatalf("%+v is not of op %v", p, op)
		}
	}
	if by["fail"] != 644 { // all of them: fewer than their share
		t.Errorf("of those that failed %d are shown", by["fail"])
	}
	if slowest < 5_000_000 {
		t.Errorf("the slowest call, of 5 s, is not shown, but one of %v µs", slowest)
	}
	if late < maxPoints/4 || late > 3*maxPoints/4 {
		t.Errorf("%d of %d points are of the second half", late, len(c.Points))
	}
	if !strings.Contains(c.Note, "5000 of 30000 calls") {
		t.Errorf("the note says %q", c.Note)
	}
	if len(c.X) != maxBuckets {
		t.Errorf("got %d times", len(c.X))
	}
}

func TestSampleKeepsTheSlowestAndItsSize(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 7, 99, 100, 101} {
		calls := make([]done, 100)
		for i := range calls {
			calls[i] = done{at: time.Duration(i), took: time.Duration(1 + i%10), invoke: int32(i)}
		}
		calls[42].took = 1000
		got := sample(calls, n)
		if len(got) != min(n, 100) {
			t.Errorf("of %d got %d", n, len(got))
		}
		if n > 0 && !slices.ContainsFunc(got, func(d done) bool { return d.invoke == 42 }) {
			t.Errorf("of %d the slowest is missing", n)
		}
		if !slices.IsSortedFunc(got, func(a, b done) int { return int(a.invoke - b.invoke) }) {
			t.Errorf("of %d the order is lost", n)
		}
	}
}

func TestAroundIsCutToWhatIsNear(t *testing.T) {
	var lines []string
	for i := range 1_000 {
		lines = append(lines, fmt.Sprintf("1 invoke write x=%d", i), "1 ok write", fmt.Sprintf("2 invoke write y=%d", i), "2 ok write")
	}
	h := parse(t, strings.Join(lines, "\n"))
	s := Source{Run: report.Run{History: h, Result: checker.Result{Name: "c", Verdict: checker.Invalid, Anomalies: []checker.Anomaly{
		{Kind: "k", Ops: []int{400, 401, 2_000, 2_001}}, // calls 100 and 500 of x
		{Kind: "two keys", Ops: []int{400, 402}},
	}}}}
	a := build(t, s).Anomalies
	around := a[0].Around
	if a[0].Key != "x" || !a[0].Cut || len(around) > maxAround || len(around) < maxAround-4 {
		t.Fatalf("key %q, cut %v, %d calls", a[0].Key, a[0].Cut, len(around))
	}
	if first, last := around[0].What, around[len(around)-1].What; first != "write x 1" || last != "write x 599" {
		t.Errorf("from %q to %q", first, last)
	}
	var witness []string
	for _, c := range around {
		if c.Witness {
			witness = append(witness, c.What)
		}
	}
	if !slices.Equal(witness, []string{"write x 100", "write x 500"}) {
		t.Errorf("the evidence in it is %v", witness)
	}
	if a[1].Key != "" || len(a[1].Around) > 0 {
		t.Errorf("what is about two keys has key %q, and %d calls around it", a[1].Key, len(a[1].Around))
	}
}

func TestArgumentsAreNoKeys(t *testing.T) {
	h := parse(t, "0 invoke cas [1,2]\n0 ok cas\n1 invoke read null\n1 ok read 3")
	s := Source{Run: report.Run{History: h, Result: checker.Result{Verdict: checker.Invalid, Anomalies: []checker.Anomaly{{Ops: []int{0, 1}}}}}}
	if a := build(t, s).Anomalies[0]; a.Key != "" {
		t.Errorf("of a register that is alone got key %q", a.Key)
	}
	h = parse(t, "0 invoke cas [1,[2,3]]\n0 ok cas\n1 invoke read [1,null]\n1 ok read [1,3]")
	s.History = h
	if a := build(t, s).Anomalies[0]; a.Key != "1" || len(a.Around) != 2 {
		t.Errorf("where all values are keyed got key %q, %d calls", a.Key, len(a.Around))
	}
}

func TestManyAnomaliesAreCounted(t *testing.T) {
	h := parse(t, "0 invoke write x=1\n0 ok write")
	r := checker.Result{Name: "c", Verdict: checker.Invalid, Note: "wrong"}
	for range maxAnomalies + 50 {
		r.Anomalies = append(r.Anomalies, checker.Anomaly{Kind: "k", Ops: []int{0}})
	}
	doc := build(t, Source{Run: report.Run{History: h, Result: r}})
	if len(doc.Anomalies) != maxAnomalies || doc.Note != "wrong; of 250 anomalies the first 200 are shown" {
		t.Errorf("got %d, %q", len(doc.Anomalies), doc.Note)
	}
}

func TestOrdersAreShownFromWhereTheyGoWrong(t *testing.T) {
	var lines []string
	for i := range 400 {
		lines = append(lines, fmt.Sprintf("1 invoke write x=%d", i), "1 ok write")
	}
	h := parse(t, strings.Join(lines, "\n"))
	order := func(context.Context) (checker.Order, error) {
		o := checker.Order{Partials: []checker.Partial{{Initial: "nothing", Stuck: []int{780}}, {Initial: "7", Steps: []checker.PartialStep{{Op: 2, State: "1"}}}}}
		for i := range 390 {
			o.Calls = append(o.Calls, 2*i)
			o.Partials[0].Steps = append(o.Partials[0].Steps, checker.PartialStep{Op: 2 * i, State: fmt.Sprint(i)})
		}
		return o, nil
	}
	s := Source{Run: report.Run{History: h, Result: checker.Result{Verdict: checker.Invalid, Anomalies: []checker.Anomaly{
		{Kind: "k", Ops: []int{780}, Order: order},
		{Kind: "of another history", Order: func(context.Context) (checker.Order, error) {
			return checker.Order{Partials: []checker.Partial{{Stuck: []int{4_000}}}}, nil
		}},
		{Kind: "not known", Order: func(context.Context) (checker.Order, error) { return checker.Order{}, io.EOF }},
	}}}}
	a := build(t, s).Anomalies
	o := a[0].Order
	if o == nil || len(o.Partials) != 2 {
		t.Fatalf("got %+v", o)
	}
	p := o.Partials[0]
	if p.Skipped != 240 || p.Initial != "239" || len(p.Steps) != maxSteps || p.Steps[0].State != "240" {
		t.Errorf("of 390 steps %d are left out; it begins with %q, then %+v", p.Skipped, p.Initial, p.Steps[0])
	}
	if what := o.Calls[p.Steps[0].Call].What; what != "write x 240" {
		t.Errorf("the first step is %q", what)
	}
	stuck := o.Calls[p.Stuck[0]]
	if stuck.What != "write x 390" || !stuck.Witness {
		t.Errorf("it is stuck at %+v", stuck)
	}
	if what := o.Calls[o.Partials[1].Steps[0].Call].What; what != "write x 1" {
		t.Errorf("the other begins with %q", what)
	}
	if a[1].Order != nil || a[2].Order != nil {
		t.Error("there are orders that are none")
	}
}

func TestOrdersTakeABoundedTime(t *testing.T) {
	h := parse(t, "0 invoke write x=1\n0 ok write")
	r := checker.Result{Verdict: checker.Invalid}
	searches := 0
	for range 50 {
		r.Anomalies = append(r.Anomalies, checker.Anomaly{Ops: []int{0}, Order: func(ctx context.Context) (checker.Order, error) {
			searches++
			<-ctx.Done()
			return checker.Order{}, ctx.Err()
		}})
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		build(t, Source{Run: report.Run{History: h, Result: r}})
		took := time.Since(began)
		if most := int(ordersTime/orderTime) + 1; took != ordersTime || searches > most { // the last may end as it begins
			t.Errorf("%d searches took %v", searches, took)
		}
	})
}

// TestLanesAreOfWhatTheEvidenceNames: of a machine that the ops name, and of the hosts that
// it was on at that time.
func TestLanesAreOfWhatTheEvidenceNames(t *testing.T) {
	h := parse(t, `
		1s 0 invoke get ["t1",{"vm":"vm1"}]
		2s 0 ok get ["t1",{"vm":"vm1","state":"running","host":"n9"}]
		10s 1 invoke get ["t2",{"vm":"vm2"}]
		11s 1 ok get ["t2",{"vm":"vm2"}]`)
	slice := func(from, to time.Duration, class string) workloads.Slice {
		return workloads.Slice{From: from * time.Second, To: to * time.Second, Label: "on " + class, Class: class, Op: -1}
	}
	s := Source{
		Run: report.Run{History: h, Result: checker.Result{Verdict: checker.Invalid, Anomalies: []checker.Anomaly{{Ops: []int{0, 1}}}}},
		Tracks: []workloads.Track{
			{Group: "machines", Name: "vm1", Slices: []workloads.Slice{slice(0, 1, "n4"), {From: time.Second, To: histories.Never, Label: "on n5", Class: "n5", Bad: true, Op: 1}}},
			{Group: "machines", Name: "vm2", Slices: []workloads.Slice{slice(0, 5, "n6")}},
			{Group: "hosts", Name: "agent of n4", Node: "n4", Slices: []workloads.Slice{slice(0, 9, "up")}},
			{Group: "hosts", Name: "n5", Node: "n5", Slices: []workloads.Slice{slice(4, 9, "up")}},
			{Group: "hosts", Name: "n6", Node: "n6"},
			{Group: "machines", Name: "vm1 by the control plane", Subject: "vm1"},
		},
	}
	doc := build(t, s)
	got, _ := json.Marshal(doc.Anomalies[0].Tracks)
	want := `[{"group":"machines","name":"vm1","slices":[` +
		`{"from":916666,"to":1000000,"label":"on n4","class":"n4","op":-1},` +
		`{"from":1000000,"to":2083333,"label":"on n5","class":"n5","bad":true,"op":1}]},` +
		`{"group":"machines","name":"vm1 by the control plane","subject":"vm1","slices":[]},` +
		`{"group":"hosts","name":"agent of n4","slices":[{"from":916666,"to":2083333,"label":"on up","class":"up","op":-1}]},` +
		`{"group":"hosts","name":"n5","slices":[]}]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if len(doc.Tracks) != 6 || doc.Tracks[0].Slices[1].To != Open {
		t.Errorf("all tracks are %+v", doc.Tracks)
	}
}

// TestKeysAreOfWhatTracksTellOf: events have what they are about for a key, and tracks name
// the keys of the calls that are, as far as the index has them.
func TestKeysAreOfWhatTracksTellOf(t *testing.T) {
	h := parse(t, `
		0 invoke get ["t1",{"vm":"vm1"}]
		-2 event beat {"vm":"vm1"}
		-2 event beat {"vm":"vm2"}
		-2 event beat {"vm":"vm3"}
		-1 invoke break {"vm":"vm1"}
		0 ok get ["t1",{"vm":"vm1"}]
		1 invoke get ["t2",{"vm":"vm2"}]`)
	doc := build(t, Source{
		Run: report.Run{History: h, Result: checker.Result{Verdict: checker.Valid}},
		Tracks: []workloads.Track{
			{Group: "machines", Name: "vm1", Keys: []string{"t1", "t2"}, Events: []int{1}},
			{Group: "machines", Name: "vm1 by somebody", Subject: "vm1", Keys: []string{"t1", "t9"}, Events: []int{1, 4}},
			{Group: "machines", Name: "vm2 by somebody", Subject: "vm2", Keys: []string{"t2"}, Events: []int{2}},
			{Group: "volumes", Name: "of both", Events: []int{1, 2}},
		},
	})
	if got, want := fmt.Sprint(doc.Ops.Keys), "[t1 vm1 vm2 t2]"; got != want {
		t.Errorf("the keys are %s, want %s", got, want)
	}
	var keys [][]string
	for _, track := range doc.Tracks {
		keys = append(keys, track.Keys)
	}
	if got, want := fmt.Sprint(keys), "[[t1 t2] [t1] [t2] []]"; got != want {
		t.Errorf("those of tracks are %s, want %s", got, want)
	}
	p, err := Build(t.Context(), Source{Run: report.Run{History: h}, Tracks: []workloads.Track{{Name: "vm2", Events: []int{2}}, {Name: "vm1", Events: []int{1, 2}}}}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	ops, err := unpackOps(p.Document.Ops, unitOf(h), p.Data)
	if err != nil {
		t.Fatal(err)
	}
	var of []string
	for _, op := range ops {
		name := "-"
		if op.key >= 0 {
			name = p.Document.Ops.Keys[op.key]
		}
		of = append(of, name)
	}
	if got, want := fmt.Sprint(of), "[t1 vm1 vm2 - - t1 t2]"; got != want {
		t.Errorf("ops are of %s, want %s", got, want)
	}
}

func TestFactsAreWhatTheRunSays(t *testing.T) {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := Source{
		Run: report.Run{
			History: parse(t, "0 invoke read x\n0 ok read x"), Trouble: []string{"a lab that would not close", "said already"},
			Result: checker.Result{Note: "said already"}, Next: []report.Next{{Purpose: "run again:", Command: "hacheck run"}},
		},
		Info: &store.Info{
			System: "raftkv", Bug: "stale-read", Workload: "register", Nemesis: []string{"partition", "clock"}, Began: began,
			Options: store.Options{Nodes: 5, Concurrency: 10, Seed: 42, TimeLimit: store.Duration(20 * time.Second), Rate: 2.5},
			Lab:     map[string]string{"network": "TUN devices", "disk": "FUSE"},
		},
		Schedule: "- at: 1s\n", Files: []File{{"x.svg", "a picture"}},
	}
	doc := build(t, s)
	facts := map[string]string{}
	for _, f := range doc.Facts {
		facts[f.Name] = f.Text
	}
	for name, want := range map[string]string{
		"system": "raftkv", "deliberate bug": "stale-read", "nemesis": "partition, clock", "nodes": "5", "clients": "10", "seed": "42",
		"time limit": "20s", "rate": "2.5 operations per second", "lab: disk": "FUSE", "began": "2026-01-02T03:04:05Z",
	} {
		if facts[name] != want {
			t.Errorf("%s is %q, want %q", name, facts[name], want)
		}
	}
	if _, has := facts["hypervisor"]; has {
		t.Error("there is a hypervisor that nobody asked for")
	}
	if want := []string{"a lab that would not close", "the run did not come to its end: the history is a part of one"}; !slices.Equal(doc.Trouble, want) {
		t.Errorf("trouble is %q", doc.Trouble)
	}
	if !slices.Equal(doc.Again, []Command{{"run again", "hacheck run"}}) || doc.Schedule != s.Schedule || doc.Files[0].Path != "x.svg" || doc.Began != facts["began"] {
		t.Errorf("got %+v", doc)
	}
}

func TestWhatThereIsNoTimeForIsLeftOut(t *testing.T) {
	h := longRun(t, 1_000)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	page, err := Build(ctx, judged(t, h), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	doc := page.Document
	if len(page.Data) != 0 || doc.Ops.Total != h.Len() || !strings.Contains(doc.Ops.Left, "no time") || len(doc.Charts) == 0 {
		t.Errorf("got %d bytes, %+v, %d charts", len(page.Data), doc.Ops, len(doc.Charts))
	}
}

// BenchmarkBuild builds the page's data of a run of a million calls.
func BenchmarkBuild(b *testing.B) {
	h := longRun(b, 1_000_000)
	s := Source{Run: report.Run{History: h, Result: checker.Result{Verdict: checker.Invalid, Parts: []checker.Result{
		{Name: "stats", Parts: []checker.Result{{Name: "write", Counts: map[string]int64{"ok": 1}}}},
		{Name: "linearizable", Verdict: checker.Invalid, Anomalies: slices.Repeat([]checker.Anomaly{{Ops: []int{1_000_000, 1_000_001, 1_500_000}}}, maxAnomalies)},
	}}}}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		page, err := Build(b.Context(), s, 6<<20)
		if err != nil {
			b.Fatal(err)
		}
		text, err := json.Marshal(page.Document)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(text)), "json-bytes")
		b.ReportMetric(float64(len(page.Data)), "data-bytes")
	}
}

// TestNumbersAreThoseOfTheCheckers: what is worked out here in one pass agrees with what
// checkers find, and with counting call by call.
func TestNumbersAreThoseOfTheCheckers(t *testing.T) {
	h := longRun(t, 20_000)
	s := judged(t, h)
	doc := build(t, s)
	part := func(name string) checker.Result {
		at := slices.IndexFunc(s.Result.Parts, func(p checker.Result) bool { return p.Name == name })
		if at < 0 {
			t.Fatalf("no part %s", name)
		}
		return s.Result.Parts[at]
	}
	faulty, ok := int64(0), int64(0)
	for _, f := range doc.Functions {
		faulty += f.Faulty
		ok += f.OK
	}
	stats := part("stats").Counts
	if faulty != stats["ok_under_faults"] || ok != stats["ok"] || faulty == 0 {
		t.Errorf("%d of %d succeeded under faults, by the checker %d of %d", faulty, ok, stats["ok_under_faults"], stats["ok"])
	}
	if len(doc.Faults) != 1 {
		t.Fatalf("got faults %+v", doc.Faults)
	}
	f := doc.Faults[0]
	counts := map[histories.Type]int64{}
	for _, op := range h.All() {
		if op.Process >= 0 && op.Time >= h.At(f.Begin).Time && op.Time <= h.At(f.End).Time {
			counts[op.Type]++
		}
	}
	if f.OK != counts[histories.OK] || f.Fail != counts[histories.Fail] || f.OK == 0 || f.Fail == 0 {
		t.Errorf("while the fault held %d were ok and %d failed, want %v", f.OK, f.Fail, counts)
	}
	available := part("availability").Counts
	if int64(f.Answer) != available["begin_answer_max_us"] || int64(f.Recovery) != available["heal_answer_max_us"] || f.Answer <= 0 {
		t.Errorf("answered after %d and %d µs, want those of %v", f.Answer, f.Recovery, available)
	}
	if !slices.Equal(f.Nodes, []string{"n1"}) {
		t.Errorf("it hit %v", f.Nodes)
	}
}

func TestManyMeasurementsAreThinnedOut(t *testing.T) {
	var g gauges
	const n = 5 * maxGauges
	for i := range n {
		g.add(time.Duration(i), nil)
	}
	if len(g.all) > maxGauges || len(g.all) < maxGauges/2 {
		t.Fatalf("%d are held", len(g.all))
	}
	for i, m := range g.all {
		if m.at != time.Duration(i*g.every) {
			t.Fatalf("number %d is of %d, of which one in %d is held", i, m.at, g.every)
		}
	}
}

func TestWordsAreClippedBetweenLetters(t *testing.T) {
	for _, test := range []struct {
		s     string
		bytes int
		want  string
	}{{"abc", 3, "abc"}, {"abcd", 3, "…"}, {"éééé", 8, "éééé"}, {"ééééé", 8, "éé…"}, {"éééééa", 9, "ééé…"}} {
		if got := clip(test.s, test.bytes); got != test.want {
			t.Errorf("%q in %d bytes is %q, want %q", test.s, test.bytes, got, test.want)
		}
	}
}

// TestTimesOfACounterAreAsTheyAre: of what is so short, no time is lost.
func TestTimesOfACounterAreAsTheyAre(t *testing.T) {
	var ops []histories.Op
	add := func(op histories.Op) { ops = append(ops, op) }
	for i, typ := range []histories.Type{histories.Invoke, histories.OK, histories.Invoke, histories.OK} {
		value := []string{`["x",1]`, `["x",1]`, `["x",null]`, `["x",2]`}[i]
		add(histories.Op{Index: i, Time: time.Duration(i), Process: 0, Type: typ, F: []string{"write", "read"}[i/2], Value: []byte(value)})
	}
	h, err := histories.FromOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	doc := build(t, judged(t, h))
	if doc.Unit != 1 || doc.Duration != 3 || doc.Verdict != "invalid" || len(doc.Anomalies) != 1 || len(doc.Charts) != 0 {
		t.Fatalf("%+v", doc)
	}
	around := doc.Anomalies[0].Around
	if a := doc.Anomalies[0]; len(around) != 2 || around[0].From != 0 || around[0].To != 1 || around[1].From != 2 || around[1].To != 3 || a.From != 0 || a.To != 3 {
		t.Errorf("%+v", a)
	}
	if b := doc.Ops.Blocks[0]; b.From != 0 || b.To != 3 || doc.Ops.Levels[0].Columns != 4 || doc.Ops.Levels[0].Width != 1 {
		t.Errorf("%+v, %+v", b, doc.Ops.Levels[0])
	}
	checkOps(t, h, math.MaxInt, nil)
	late := histories.Never - 5
	for i := range ops {
		ops[i].Time += late
	}
	if h, err = histories.FromOps(ops); err != nil {
		t.Fatal(err)
	}
	doc = build(t, judged(t, h))
	if a, end := doc.Anomalies[0], Time(math.MaxInt64/1000); a.To != end || a.From != end-1000 || doc.Duration != end {
		t.Errorf("late, it is from %d to %d of %d", a.From, a.To, doc.Duration)
	}
	if doc := build(t, judged(t, parse(t, "0s 0 invoke read x\n1s 0 ok read x"))); doc.Unit != 1000 || doc.Duration != 1e6 {
		t.Errorf("of a clock, the unit is %d, and %d", doc.Unit, doc.Duration)
	}
}
