package report

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cockroachdb/datadriven"
	"github.com/joshdk/go-junit"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/workloads/register"
)

// Each command "junit [recorded]" or "markdown [recorded]" judges the history below it as
// workload register and prints the file.
func TestExports(t *testing.T) {
	datadriven.RunTest(t, "testdata/exports.txt", func(t *testing.T, d *datadriven.TestData) string {
		r, info := exported(t, d.Input)
		if d.HasArg("recorded") {
			r.Next, info = nil, nil
		}
		write := map[string]func(io.Writer, Run, *store.Info) error{"junit": JUnit, "markdown": Markdown}[d.Cmd]
		var b strings.Builder
		if err := write(&b, r, info); err != nil {
			d.Fatalf(t, "%v", err)
		}
		if d.Cmd == "junit" {
			suites(t, b.String())
		}
		return b.String()
	})
}

// exported is a run with all that there is to tell of one.
func exported(t *testing.T, history string) (Run, *store.Info) {
	t.Helper()
	h, err := checkertest.Parse(history)
	if err != nil {
		t.Fatal(err)
	}
	result, err := register.Checker(checker.Budget{}).Check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	ended := began.Add(21500 * time.Millisecond)
	return Run{
			Title: "raftkv under workload register; 5 nodes, 20.0 s, seed 42", History: h, Result: result,
			Evidence: func(_ string, n int64) string { return fmt.Sprintf("%d packets dropped", n) },
			Trouble:  []string{"close the lab: it did not want to"},
			Next:     []Next{{"check again:", "hacheck check store/latest"}, {"run again:", "hacheck run --seed 42"}},
		}, &store.Info{
			System: "raftkv", Bug: "stale-read", Workload: "register", Nemesis: []string{"partition", "kill:leader"},
			Options:  store.Options{Nodes: 5, Concurrency: 10, TimeLimit: store.Duration(20 * time.Second), Interval: store.Duration(3 * time.Second), Keys: 5, Seed: 42},
			Versions: store.Versions{Hacheck: "v1.2.3", Go: "go1.26", OS: "linux/amd64", Kernel: "6.1"},
			Began:    began, Ended: &ended,
		}
}

// suites reads a file back as a CI system does.
func suites(t *testing.T, text string) []junit.Suite {
	t.Helper()
	for _, r := range text { // XML 1.0 has no others
		if !(r == '\t' || r == '\n' || r >= ' ' && r <= 0xd7ff || r >= 0xe000 && r <= 0xfffd || r >= 0x10000) || r >= 0x7f && r < 0xa0 {
			t.Fatalf("there is %U in\n%s", r, text)
		}
	}
	if !utf8.ValidString(text) {
		t.Fatalf("not UTF-8:\n%s", text)
	}
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
	read, err := junit.Ingest([]byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return read
}

const staleRead = `
	0 invoke write x=1
	0 ok write node=n1
	nemesis invoke partition {"id":1,"fault":"partition"}
	nemesis info partition
	0 invoke write x=2
	0 ok write node=n1
	1 invoke read x
	1 ok read x=1 node=n2
	nemesis invoke heal {"id":1,"fault":"partition"}
	nemesis info heal {"id":1,"fault":"partition"}`

func TestACISystemReadsWhatWasFound(t *testing.T) {
	r, info := exported(t, staleRead)
	var b strings.Builder
	if err := JUnit(&b, r, info); err != nil {
		t.Fatal(err)
	}
	read := suites(t, b.String())
	if len(read) != 1 || read[0].Name != "raftkv.register.partition+kill:leader" {
		t.Fatalf("got suites %v", read)
	}
	s := read[0]
	want := map[string]junit.Status{
		"linearizable": junit.StatusFailed, "stats": junit.StatusError, "faults": junit.StatusError,
		"recovery": junit.StatusPassed, "availability": junit.StatusPassed,
	}
	for _, c := range s.Tests {
		if c.Status != want[c.Name] || c.Classname != s.Name {
			t.Errorf("%s of %s is %s, want %s", c.Name, c.Classname, c.Status, want[c.Name])
		}
	}
	if got := s.Totals; got.Tests != len(want) || got.Failed != 1 || got.Error != 2 || got.Passed != 2 || got.Skipped != 0 {
		t.Errorf("got totals %+v", got)
	}
	for name, value := range map[string]string{"seed": "42", "hacheck": "v1.2.3", "verdict": "invalid", "bug": "stale-read", "linearizable.keys": "1", "stats.ok": "3"} {
		if s.Properties[name] != value {
			t.Errorf("property %s is %q, want %q; all: %v", name, s.Properties[name], value, s.Properties)
		}
	}
	if !strings.Contains(s.SystemOut, "hacheck run --seed 42") || !strings.Contains(s.SystemErr, "close the lab") {
		t.Errorf("got out %q and err %q", s.SystemOut, s.SystemErr)
	}
	failed, ok := errors.AsType[junit.Error](s.Tests[0].Error)
	if !ok || failed.Type != "stale read" || !strings.Contains(failed.Message, "2 had replaced it") || !strings.Contains(failed.Body, "read x → 1") {
		t.Errorf("got failure %#v", s.Tests[0].Error)
	}
}

// Whatever the parts say, what is not valid does not pass.
func TestNoGateOpensForWhatIsNotValid(t *testing.T) {
	for _, r := range []checker.Result{
		{},
		{Name: "x", Verdict: checker.Unknown, Parts: []checker.Result{{Name: "a", Verdict: checker.Valid}}},
		{Name: "x", Verdict: checker.Invalid, Note: "why", Parts: []checker.Result{{Name: "a", Verdict: checker.Valid}}},
		{Name: "x", Verdict: checker.Invalid},
		{Name: "x", Verdict: checker.Unknown, Parts: []checker.Result{{Name: "a"}, {Name: "b", Verdict: checker.Valid}}},
		{Name: "x", Verdict: checker.Verdict(7)},
	} {
		var b strings.Builder
		if err := JUnit(&b, Run{Title: "t", Result: r}, nil); err != nil {
			t.Fatal(err)
		}
		totals := suites(t, b.String())[0].Totals
		failed := totals.Failed
		if r.Verdict != checker.Invalid {
			failed = totals.Error
		}
		if failed != 1 || totals.Failed+totals.Error != 1 || totals.Skipped != 0 {
			t.Errorf("%v: %+v in\n%s", r, totals, b.String())
		}
	}
	var b strings.Builder
	if err := JUnit(&b, Run{Title: "t", Result: checker.Result{Name: "x", Verdict: checker.Valid}}, nil); err != nil {
		t.Fatal(err)
	}
	if totals := suites(t, b.String())[0].Totals; totals.Passed != 1 || totals.Tests != 1 {
		t.Errorf("what is valid does not pass: %+v", totals)
	}
}

// hostile is text that would be markup, or no text at all.
var hostile = []string{
	"</failure></testsuite>]]><script>alert(1)</script>", "\x00\x01\x1b[31m\x7f\u0085\ufffe", "\xff\xc3 torn", "a|b\\|c\n\n# head",
	"`code` ``` fence\n````", "@octocat ping #1 GH-2 octo/repo#3 http://example.org/x www.example.org a@example.org :tada:",
	"[link](javascript:alert(1)) ![img](x) **bold** _it_ ~~no~~ $x$ &amp; <b>", "1. one", "- item", "=== ", "\u202egnp.exe", "\r\nline",
}

// assaulted is a run in which everything that can be is hostile.
func assaulted(t *testing.T) (Run, *store.Info) {
	t.Helper()
	var parts []checker.Result
	var ops []histories.Op
	for i, s := range hostile {
		value, err := json.Marshal([]any{s, i})
		if err != nil {
			t.Fatal(err)
		}
		p := histories.Process(i)
		at := time.Duration(i+1) * time.Second
		ops = append(ops,
			histories.Op{Index: 2 * i, Time: at, Process: p, Type: histories.Invoke, F: "f" + s, Value: value, Node: s},
			histories.Op{Index: 2*i + 1, Time: at + 1, Process: p, Type: histories.Fail, F: "f" + s, Value: value, Node: s, Error: s})
		parts = append(parts,
			checker.Result{Name: "bad" + s, Verdict: checker.Invalid, Note: s, Counts: map[string]int64{s: 1}, Anomalies: []checker.Anomaly{{Kind: s, Note: s, Ops: []int{2 * i, 2*i + 1, 0, 1}}}},
			checker.Result{Name: "unknown" + s, Note: s + "; " + s, Anomalies: []checker.Anomaly{{Kind: s, Note: s}}})
	}
	stats, faults := checker.Result{Name: "stats", Verdict: checker.Valid}, checker.Result{Name: "faults", Verdict: checker.Valid}
	for _, s := range hostile {
		stats.Parts = append(stats.Parts, checker.Result{Name: "f" + s, Counts: map[string]int64{"ok": 1}})
		faults.Parts = append(faults.Parts, checker.Result{Name: s + ".", Counts: map[string]int64{"begun": 1}})
	}
	h, err := histories.FromOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(hostile, " ")
	return Run{
		Title: all, History: h, Trouble: hostile, Next: []Next{{"again:", "hacheck run " + all}},
		Result:   checker.Result{Name: all, Verdict: checker.Invalid, Note: all, Parts: append(parts, stats, faults)},
		Evidence: func(string, int64) string { return all },
	}, &store.Info{System: all, Bug: all, Workload: all, Nemesis: hostile, Versions: store.Versions{Hacheck: all, Go: all, OS: all, Kernel: all}}
}

func TestHostileTextIsTextInXML(t *testing.T) {
	r, info := assaulted(t)
	var b strings.Builder
	if err := JUnit(&b, r, info); err != nil {
		t.Fatal(err)
	}
	s := suites(t, b.String())[0]
	if s.Totals.Failed != len(hostile) || s.Totals.Error != len(hostile) || len(s.Tests) != 2*len(hostile)+2 {
		t.Errorf("got %+v", s.Totals)
	}
	for i, what := range hostile {
		failed, _ := errors.AsType[junit.Error](s.Tests[2*i].Error)
		if want := Printable(what + ": " + what); failed.Message != want {
			t.Errorf("%q is told as %q, want %q", what, failed.Message, want)
		}
	}
	if failed := s.Tests[2].Message; !strings.Contains(failed, "␀␁␛[31m␡\uFFFD\uFFFD") {
		t.Errorf("control characters are told as %q", failed)
	}
}

func TestHostileTextIsTextInMarkdown(t *testing.T) {
	r, info := assaulted(t)
	var b strings.Builder
	if err := Markdown(&b, r, info); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	outside, commands, found := strings.Cut(text, "\n`````text\n")
	commands, rest, closed := strings.Cut(commands, "\n`````\n")
	if !found || !closed || strings.Contains(commands, "`````") || !strings.Contains(commands, "octo/repo#3") {
		t.Fatalf("no commands in a block of their own in\n%s", text)
	}
	outside += rest
	columns := 0
	for line := range strings.Lines(outside) {
		n := strings.Count(line, "|")
		if n > 0 && columns > 0 && n != columns {
			t.Errorf("a row of %d bars below one of %d: %s", n, columns, line)
		}
		if columns = n; n > 0 && !strings.HasPrefix(line, "| ") {
			t.Errorf("bars in a line that is no row: %s", line)
		}
		for _, begun := range []string{"1.", "1)", "- ", "= ", "# ", "=="} {
			if strings.HasPrefix(line, begun) {
				t.Errorf("it would be a list or a heading: %s", line)
			}
		}
	}
	for _, link := range []string{"://", "www."} { // it would be one in code, too
		if strings.Contains(outside, link) {
			t.Errorf("%s is a link in\n%s", link, outside)
		}
	}
	shown := regexp.MustCompile(`<code>[^<]*</code>|<br>`).ReplaceAllString(outside, "") // ours, and what is in the first calls nobody
	for _, markup := range []string{"<", ">", "`", "~", "[", "]", "\\", "$", "\x00", "\x1b", "\u202e"} {
		if at := strings.Index(shown, markup); at >= 0 {
			t.Errorf("there is %q at %.60q", markup, shown[at:])
		}
	}
	if got := strings.ReplaceAll(strings.ReplaceAll(shown, "**bad", ""), "**", ""); strings.Contains(got, "*") || strings.Count(outside, "**")%2 != 0 {
		t.Errorf("stars are markup in\n%s", outside)
	}
	// As a reader has it: the characters by their numbers are characters.
	read := regexp.MustCompile(`&#(\d+);`).ReplaceAllStringFunc(shown, func(s string) string {
		var n rune
		fmt.Sscanf(s, "&#%d;", &n)
		return string(n)
	})
	for _, calls := range []string{"@octocat", "#1", "#3", "GH-2", "http://", "www.example", "@example", ":tada:"} {
		if at := strings.Index(read, calls); at >= 0 {
			t.Errorf("%q would do something at %.60q", calls, read[at:])
		}
		if !strings.Contains(strings.ReplaceAll(read, "\u200b", ""), calls) {
			t.Errorf("%q is not shown", calls)
		}
	}
}

func TestASummaryIsShort(t *testing.T) {
	r, info := exported(t, staleRead)
	for i := range 100 { // remarks, anomalies, trouble
		r.Result.Parts[0].Anomalies = append(r.Result.Parts[0].Anomalies, checker.Anomaly{Kind: "k", Note: "n", Ops: []int{i}})
		r.Result.Parts[2].Anomalies = append(r.Result.Parts[2].Anomalies, checker.Anomaly{Kind: "k", Note: "n"})
	}
	long, err := checkertest.Parse("0 invoke write x=[" + strings.Repeat("1,", 5000) + "1]")
	if err != nil {
		t.Fatal(err)
	}
	r.History = long
	r.Trouble = append(r.Trouble, strings.Repeat("a log\n\twith lines\n", 1000))
	var b strings.Builder
	if err := Markdown(&b, r, info); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n > 60 || b.Len() > 6000 {
		t.Errorf("it has %d lines, %d bytes:\n%s", n, b.Len(), b.String())
	}
}

func TestWhatIsPrintableStays(t *testing.T) {
	for s, want := range map[string]string{
		"a\tb\nä→😀": "a\tb\nä→😀", "\x00\x1f\x7f": "␀␟␡", "\r\n": "␍\n", "\xffx\xc3": "\uFFFDx\uFFFD", "\u009b31m": "\uFFFD31m", "\u202ex\u2066": "\uFFFDx\uFFFD",
	} {
		if got := Printable(s); got != want {
			t.Errorf("%q is %q, want %q", s, got, want)
		}
	}
}

func TestAFullDiskIsTold(t *testing.T) {
	r, info := exported(t, staleRead)
	full := errors.New("no space")
	for name, write := range map[string]func(io.Writer, Run, *store.Info) error{"junit": JUnit, "markdown": Markdown} {
		if err := write(failing{full}, r, info); !errors.Is(err, full) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestFilesTellThatAHistoryIsTorn: who reads them has not seen what the command said.
func TestFilesTellThatAHistoryIsTorn(t *testing.T) {
	h, err := histories.Read(strings.NewReader(`{"index":0,"time":1,"process":0,"type":"invoke","f":"read"}` + "\n" + `{"index":1,"ti`))
	if err != nil {
		t.Fatal(err)
	}
	for name, write := range map[string]func(io.Writer, Run, *store.Info) error{"junit": JUnit, "markdown": Markdown} {
		var b strings.Builder
		if err := write(&b, Run{History: h}, nil); err != nil {
			t.Fatal(err)
		}
		if want := "the history is read up to line 1: its file ends in the middle of line 2"; !strings.Contains(strings.Join(strings.Fields(b.String()), " "), want) {
			t.Errorf("%s says nothing of it:\n%s", name, &b)
		}
	}
}
