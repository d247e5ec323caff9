package report

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads/register"
)

// Each command "text [width=N] [colour] [where=DIR] [table]" judges the history below it
// as workload register and prints the page.
func TestText(t *testing.T) {
	datadriven.RunTest(t, "testdata/text.txt", func(t *testing.T, d *datadriven.TestData) string {
		h, err := checkertest.Parse(d.Input)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		result, err := register.Checker(checker.Budget{}).Check(t.Context(), h)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		r := Run{Title: "raftkv under workload register; 5 nodes, 20.0 s, seed 42", History: h, Result: result}
		style := Style{Colour: d.HasArg("colour")}
		if d.HasArg("width") {
			d.ScanArgs(t, "width", &style.Width)
		}
		if d.HasArg("where") {
			r.Where = func(name string) string { return "store/latest/" + name }
			r.Trouble = []string{"close the lab: it did not want to"}
			r.Next = []Next{{"check again:", "hacheck check store/latest"}, {"files:", "store/latest"}}
		}
		if d.HasArg("table") { // of a part: what was measured
			result.Parts[0].Table = &checker.Table{
				Title:   "machines: 2 failed over, 1 of them to another host",
				Columns: []string{"until", "n", "p50", "max"},
				Rows:    [][]string{{"the lease has ended", "2", "4.90 s", "5.10 s"}, {"the guest writes", "1", "-", "987 ms"}},
			}
		}
		if d.HasArg("unit") {
			r.Evidence = func(_ string, n int64) string { return fmt.Sprintf("%d packets dropped", n) }
		}
		var b strings.Builder
		if err := Text(&b, r, style); err != nil {
			d.Fatalf(t, "%v", err)
		}
		return strings.ReplaceAll(b.String(), "\x1b", "^")
	})
}

func TestNoLineIsWiderThanTheScreen(t *testing.T) {
	h, err := checkertest.Parse(`
		2 invoke write a-rather-long-name-of-a-key=1
		2 ok write node=n1
		nemesis invoke partition {"id":1,"fault":"partition","detail":{"shape":"ring","groups":[["n1","n2"],["n3","n4","n5"]]}}
		nemesis info partition
		4 invoke write a-rather-long-name-of-a-key=2
		4 ok write node=n1
		4 invoke cas a-rather-long-name-of-a-key=[17,18]
		4 fail cas error=it-was-refused-for-a-reason-that-takes-many-words-to-tell meta={"current":2}
		7 invoke read a-rather-long-name-of-a-key
		7 ok read a-rather-long-name-of-a-key=1 node=n2`)
	if err != nil {
		t.Fatal(err)
	}
	result, err := register.Checker(checker.Budget{}).Check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	for _, columns := range []int{40, 41, 50, 59, 60, 80, 100} {
		var b strings.Builder
		r := Run{Title: strings.Repeat("word ", 40), History: h, Result: result, Trouble: []string{strings.Repeat("trouble ", 40)}}
		if err := Text(&b, r, Style{Width: columns}); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if w := width(strings.TrimSuffix(line, "\n")); w > columns {
				t.Errorf("%d columns on a screen of %d: %s", w, columns, line)
			}
		}
	}
}

func TestAWitnessWithoutAHistoryIsLeftOut(t *testing.T) {
	result := checker.Result{Name: "x", Verdict: checker.Invalid, Anomalies: []checker.Anomaly{
		{Kind: "two of them", Note: "both ran", Ops: []int{3, 99}},
	}}
	var b strings.Builder
	if err := Text(&b, Run{Title: "t", Result: result}, Style{}); err != nil {
		t.Fatal(err)
	}
	h, err := histories.FromOps(nil)
	if err != nil {
		t.Fatal(err)
	}
	// Indices that are not the history's must not end in a panic either.
	if err := Text(io.Discard, Run{Title: "t", Result: result, History: h}, Style{}); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); !strings.Contains(got, "both ran") || strings.Contains(got, "process") {
		t.Errorf("got %s", got)
	}
}

func TestALongWitnessIsCutAtItsFront(t *testing.T) {
	var lines []string
	for i := range 30 {
		lines = append(lines, fmt.Sprintf("1 invoke write x=%d", i), "1 ok write")
	}
	h, err := checkertest.Parse(strings.Join(lines, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	a := checker.Anomaly{Kind: "k", Note: "n"}
	for i := range h.Len() {
		a.Ops = append(a.Ops, i)
	}
	var b strings.Builder
	if err := Text(&b, Run{History: h, Result: checker.Result{Verdict: checker.Invalid, Anomalies: []checker.Anomaly{a}}}, Style{}); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	if !strings.Contains(got, "(16 earlier calls)") || !strings.Contains(got, "write x 29") || strings.Contains(got, "write x 15\n") {
		t.Errorf("got %s", got)
	}
}

func TestArtifactsOfAllPartsAreFound(t *testing.T) {
	text := func(s string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
	}
	r := checker.Result{
		Artifacts: map[string]func(io.Writer) error{"a": text("outer")},
		Parts: []checker.Result{
			{Artifacts: map[string]func(io.Writer) error{"b": text("b"), "a": text("inner")}},
			{Parts: []checker.Result{{Artifacts: map[string]func(io.Writer) error{"c": text("c")}}}},
		},
	}
	if got := ArtifactNames(r); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("got %v", got)
	}
	var b strings.Builder
	if err := Artifacts(r)["a"](&b); err != nil || b.String() != "outer" {
		t.Errorf("of two with one name got %q, %v; want the outer one", b.String(), err)
	}
}

// The verdict stands in a column of its own; a composition's note begins with it.
func TestTheVerdictIsToldOnce(t *testing.T) {
	var b strings.Builder
	r := checker.Result{Verdict: checker.Valid, Parts: []checker.Result{
		{Name: "lifecycle", Verdict: checker.Valid, Note: "valid: linearizable, epochs in answers"},
	}}
	if err := Text(&b, Run{Title: "t", Result: r}, Style{}); err != nil {
		t.Fatal(err)
	}
	if want := "\n  lifecycle  valid    linearizable, epochs in answers\n"; !strings.HasSuffix(b.String(), want) {
		t.Errorf("got\n%swant at its end%s", b.String(), want)
	}
}

// TestWhatTakesNoTimeIsToldSo: a client may answer out of its own memory.
func TestWhatTakesNoTimeIsToldSo(t *testing.T) {
	r := checker.Result{Parts: []checker.Result{{Name: "stats", Parts: []checker.Result{
		{Name: "generate", Counts: map[string]int64{"ok": 3, "median_us": 0, "p99_us": 152_000}},
	}}}}
	var b strings.Builder
	if err := Text(&b, Run{Title: "t", Result: r}, Style{}); err != nil {
		t.Fatal(err)
	}
	want := `
            ok  failed  unknown  median     p99
  generate   3       0        0   <1 µs  152 ms
`
	if got := b.String(); !strings.HasSuffix(got, want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestTimesAfterFaultsAreATable(t *testing.T) {
	times := func(name string, median, p90, most int64) map[string]int64 {
		return map[string]int64{name + "_median_us": median, name + "_p90_us": p90, name + "_max_us": most}
	}
	all := times("begin_answer", 2_000, 30_000, 400_000)
	maps.Copy(all, times("begin_90", 0, 1_000_000, 2_500_000))
	maps.Copy(all, times("heal_answer", 1_000, 1_000, 1_000))
	all["answers_per_second"], all["begin_90_unseen"], all["heal_90_unseen"] = 812, 1, 3
	late := times("begin_answer", 5_000, 600_000, 700_000)
	late["begin_answer_unseen"] = 1
	r := checker.Result{Parts: []checker.Result{{Name: "availability", Counts: all, Parts: []checker.Result{
		{Name: "by fault", Parts: []checker.Result{{Name: "kill", Counts: all}}},
		{Name: "by node", Parts: []checker.Result{
			{Name: "n1", Counts: times("begin_answer", 1, 1, 900_000)}, {Name: "n2", Counts: late}, {Name: "n3", Counts: times("begin_answer", 1, 1, 1)},
		}},
	}}}}
	var b strings.Builder
	if err := Text(&b, Run{Title: "t", Result: r}, Style{}); err != nil {
		t.Fatal(err)
	}
	want := `
  time until                   median      p90      max  unseen
  answer after a fault began  2.00 ms  30.0 ms   400 ms       0
    90 % of 812 answers/s           0   1.00 s   2.50 s       1
    from n2, the slowest      5.00 ms   600 ms   700 ms       1
  answer after it was healed  1.00 ms  1.00 ms  1.00 ms       0
    90 % of 812 answers/s           -        -        -       3
`
	if got := b.String(); !strings.HasSuffix(got, want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestAFaultIsToldInFewWords(t *testing.T) {
	for _, c := range []struct{ name, detail, want string }{
		{"partition", `{"shape":"leader","aim":"leader","node":"n4","groups":[["n4"],["n1","n2"]],"links":["n1→n4"]}`, "partition leader n4 (n4 | n1 n2)"},
		{"partition:ring", `{"shape":"ring","groups":[]}`, "partition:ring"},
		{"kill", ``, "kill"},
		{"clock", `{"node":"n1","skew_ms":250,"deep":{"x":"y"}}`, "clock n1"},
		{"kill", `{"target":"minority","order":["n3","n1"],"count":2,"nodes":["n3","n1"]}`, "kill minority (n3 n1)"},
		{"kill:leader", `{"target":"leader","count":1,"nodes":["n2"]}`, "kill:leader (n2)"},
		{"kill:n2", `{"target":"n2","count":1,"nodes":["n2"]}`, "kill:n2"},
		{"restart:down:all", `{"variant":"down","target":"all","nodes":null}`, "restart:down:all"},
		{"odd", `["n1"]`, "odd"},
	} {
		got := Fault(histories.Fault{Name: c.name, Detail: json.RawMessage(c.detail)})
		if got != c.want {
			t.Errorf("%s %s is told as %q, want %q", c.name, c.detail, got, c.want)
		}
	}
}

func TestPicturesOfWhatIsWrongComeFirst(t *testing.T) {
	draw := func(io.Writer) error { return nil }
	result := checker.Result{Verdict: checker.Invalid, Parts: []checker.Result{
		{Name: "coverage", Verdict: checker.Valid, Artifacts: map[string]func(io.Writer) error{"other.svg": draw}},
		{Name: "linearizable", Verdict: checker.Invalid, Artifacts: map[string]func(io.Writer) error{"x.html": draw, "w.html": draw}},
	}}
	var b strings.Builder
	where := func(name string) string { return name }
	if err := Text(&b, Run{Title: "t", Result: result, Where: where}, Style{}); err != nil {
		t.Fatal(err)
	}
	if want := "pictures: w.html\n          x.html\n          other.svg\n"; !strings.Contains(b.String(), want) {
		t.Errorf("got\n%swant in it\n%s", b.String(), want)
	}
}

func TestOnlyAWordLongerThanTheLineIsBroken(t *testing.T) {
	for _, c := range []struct {
		words   string
		columns int
		want    []string
	}{
		{"the linearizable history", 12, []string{"the", "linearizable", "history"}},
		{"the linearizable history", 11, []string{"the", "linearizabl", "e history"}},
		{"äöüäöü", 3, []string{"äöü", "äöü"}},
		{"ab", 0, []string{"a", "b"}},
		{"", 5, nil},
	} {
		if got := Wrap(c.words, c.columns); !slices.Equal(got, c.want) {
			t.Errorf("%q in %d columns is %q, want %q", c.words, c.columns, got, c.want)
		}
	}
}

// Numbers are what a table is read for: the words before them give way first.
func TestWordsOfATableGiveWayToItsNumbers(t *testing.T) {
	table := Table{
		Rows: [][]string{
			{"", "n", "p50", "max"},
			{"detect: from the fault to the end of the lease", "11", "4.06 s", "4.30 s"},
			{"place: until it has another", "10", "52.3 ms", "15.23 s"},
		},
		Align: "<>>>",
	}
	for width, want := range map[int]string{
		60: `                                         n      p50      max
detect: from the fault to the end of    11   4.06 s   4.30 s
  the lease
place: until it has another             10  52.3 ms  15.23 s
`,
		40: `                                       n
detect: from the fault to the end     11
  of the lease
place: until it has another           10
`,
	} {
		var b strings.Builder
		if err := table.Text(&b, Style{Width: width}); err != nil || b.String() != want {
			t.Errorf("in %d columns got %v\n%s", width, err, b.String())
		}
	}
}

func TestATableFitsTheScreen(t *testing.T) {
	table := Table{
		Rows:    [][]string{{"bug", "runs", "found by"}, {"stale-read", "12", "linearizable: contradictory reads"}, {"lost-update", "1", "missed"}},
		Align:   "<><",
		Remarks: []string{"1 of 2 bugs found; 0 false alarms in 12 runs without a bug"},
		Next:    []Next{{"files:", "store/prove/a-name-that-is-too-long-for-the-line"}},
	}
	for width, want := range map[int]string{
		40: `bug          runs  found by
stale-read     12  linearizable: contra…
lost-update     1  missed

1 of 2 bugs found; 0 false alarms in
  12 runs without a bug

files:  store/prove/a-name-that-is-too-long-for-the-line
`,
		math.MaxInt: `bug          runs  found by
stale-read     12  linearizable: contradictory reads
lost-update     1  missed

1 of 2 bugs found; 0 false alarms in 12 runs without a bug

files:  store/prove/a-name-that-is-too-long-for-the-line
`,
	} {
		var b strings.Builder
		if err := table.Text(&b, Style{Width: width}); err != nil || b.String() != want {
			t.Errorf("in %d columns got %v\n%s", width, err, b.String())
		}
	}
}

func TestTroubleKeepsItsLinesAndIsToldOnce(t *testing.T) {
	r := Run{
		Title: "t",
		Result: checker.Result{Parts: []checker.Result{
			{Name: "recovery", Note: "the system did not recover: out of time; acknowledged and not read back: x"},
		}},
		Trouble: []string{
			"the system did not recover: out of time",
			"n3: it runs no process; its last lines:\n\tpanic:  oh no\n\t" + strings.Repeat("goroutine ", 5) + "\nits log: nodes/n3/n3.log",
		},
	}
	var b strings.Builder
	if err := Text(&b, r, Style{Width: 50}); err != nil {
		t.Fatal(err)
	}
	want := `
note: n3: it runs no process; its last lines:
    panic:  oh no
    goroutine goroutine goroutine goroutine
      goroutine
  its log: nodes/n3/n3.log
`
	if got := b.String(); !strings.HasSuffix(got, want) || strings.Count(got, "did not recover") != 1 {
		t.Errorf("got\n%s", got)
	}
}

// TestWhatAHistorySaysTellsATerminalNothing, but what we say is in colour.
func TestWhatAHistorySaysTellsATerminalNothing(t *testing.T) {
	r := Run{Title: "a \x1b]0;title\a\u202eb", Result: checker.Result{Name: "x", Verdict: checker.Invalid, Note: "\x1b[2Jgone"}}
	for colour, want := range map[bool]string{
		false: "INVALID  a ␛]0;title␇\uFFFDb\n\n  x  invalid  ␛[2Jgone\n",
		true:  red + "INVALID" + reset + "  a ␛]0;title␇\uFFFDb\n\n  x  " + red + "invalid" + reset + "  ␛[2Jgone\n",
	} {
		var b strings.Builder
		if err := Text(&b, r, Style{Colour: colour}); err != nil {
			t.Fatal(err)
		}
		if b.String() != want {
			t.Errorf("in colour: %v: got\n%q\nwant\n%q", colour, b.String(), want)
		}
	}
}

// TestWhatCouldNotBeginWasNotInForce: nothing says that it was.
func TestWhatCouldNotBeginWasNotInForce(t *testing.T) {
	h, err := checkertest.Parse(`
		nemesis invoke kill {"id":1,"fault":"kill"}
		nemesis info kill {"id":1,"fault":"kill","held_back":true} error=held-back
		nemesis invoke pause {"id":2,"fault":"pause"}
		nemesis info pause {"id":2,"fault":"pause"}
		0 invoke read x
		0 ok read x=1`)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	r := Run{History: h, Result: checker.Result{Verdict: checker.Invalid, Anomalies: []checker.Anomaly{{Kind: "phantom", Ops: []int{4, 5}}}}}
	if err := Text(&b, r, Style{}); err != nil {
		t.Fatal(err)
	}
	if want := "in force meanwhile: pause, since 0.004 s\n"; !strings.Contains(b.String(), want) || strings.Contains(b.String(), "kill") {
		t.Errorf("it says\n%s", &b)
	}
}
