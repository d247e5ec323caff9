package document

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/report"
)

func logFile(node, text string) LogFile {
	return LogFile{Node: node, Path: "nodes/" + node + ".log", Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(text)), nil
	}}
}

// runLog says that the main phase began at 01:40:10.
var runLog = logFile("", "time=2026-11-29T01:40:08Z level=INFO msg=phase name=start\ntime=2026-11-29T01:40:10.000Z level=INFO msg=phase name=main\n")

// faulty is a history with a fault from second 10 to second 20.
func faulty(t *testing.T, detail string) *histories.History {
	return parse(t, `
		0 invoke read x
		9s nemesis invoke f {"id":1,"fault":"f"}
		10s nemesis info f {"id":1,"fault":"f","detail":`+detail+`}
		20s nemesis invoke heal {"id":1,"fault":"f"}
		21s nemesis info heal {"id":1,"fault":"f","acted":1}
		30s 0 ok read x`)
}

func TestLogsAreExcerptedAroundFaults(t *testing.T) {
	s := Source{Run: report.Run{History: faulty(t, `{}`)}, RunLog: &runLog, Logs: []LogFile{
		logFile("n1", strings.Join([]string{
			"no time yet",
			"--- 2026-11-29T01:40:05.123456789Z starting: hacheck node",
			"2026-11-29T01:40:19.400Z [INFO]  n1: too early",
			"2026-11-29T01:40:19.600Z [WARN]  n1: just before",
			"time=2026-11-29T01:40:20Z level=INFO msg=then",
			"panic: what belongs to it",
			"time=2026-11-29T01:40:22Z level=INFO msg=\"too late\"",
			"2026-11-29T03:40:30.250+02:00 [INFO]  healed \xff",
		}, "\n")),
		logFile("n2", ""),
		{Node: "n3", Path: "gone", Open: func() (io.ReadCloser, error) { return nil, errors.New("no such file") }},
		{Node: "n4", Path: "of no interest"},
	}}
	doc := build(t, s)
	var got []string
	for _, l := range doc.Logs {
		got = append(got, fmt.Sprintf("%s %s: %s", l.Node, l.Path, l.Note))
		for _, line := range l.Lines {
			got = append(got, fmt.Sprintf("  %d %d %s", line.Number, line.Time, line.Text))
		}
	}
	want := []string{
		"tester nodes/.log: ",
		"n1 nodes/n1.log: ",
		"  4 9600000 2026-11-29T01:40:19.600Z [WARN]  n1: just before",
		"  5 10000000 time=2026-11-29T01:40:20Z level=INFO msg=then",
		"  6 10000000 panic: what belongs to it",
		"  8 20250000 2026-11-29T03:40:30.250+02:00 [INFO]  healed \uFFFD",
		"n2 nodes/n2.log: ",
		"n3 gone: it could not be read: no such file",
		"n4 of no interest: ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

func TestLogsHaveNoTimesWithoutTheRunsOwn(t *testing.T) {
	s := Source{Run: report.Run{History: faulty(t, `{}`)}, Logs: []LogFile{logFile("n1", "2026-11-29T01:40:20Z x\n")}}
	if doc := build(t, s); len(doc.Logs) != 1 || len(doc.Logs[0].Lines) != 0 || len(doc.Trouble) != 0 {
		t.Errorf("got %+v, %q", doc.Logs, doc.Trouble)
	}
	silent := logFile("", "time=2026-11-29T01:40:08Z level=INFO msg=phase name=start\n")
	s.RunLog = &silent
	doc := build(t, s)
	if len(doc.Logs[1].Lines) != 0 || len(doc.Trouble) != 1 || !strings.Contains(doc.Trouble[0], "does not say when the main phase began") {
		t.Errorf("got %+v, %q", doc.Logs, doc.Trouble)
	}
}

func TestLogsOfNodesWithChangedClocksSaySo(t *testing.T) {
	detail := `{"warps":{"n1":{"offset":-92000000},"n2":{"monotonic_drift":0.5}},"read":{"n1":{"realtime":-92000000,"monotonic":0,"within":9},"n2":{"realtime":-600,"monotonic":8000000,"within":9}}}`
	s := Source{Run: report.Run{History: faulty(t, detail)}, RunLog: &runLog, Logs: []LogFile{logFile("n1", ""), logFile("n2", "")}}
	doc := build(t, s)
	if !strings.Contains(doc.Logs[1].Note, "clock was changed") {
		t.Errorf("of n1 it says %q", doc.Logs[1].Note)
	}
	if doc.Logs[2].Note != "" { // nobody writes monotonic times into logs
		t.Errorf("of n2 it says %q", doc.Logs[2].Note)
	}
}

func TestExcerptsAreBounded(t *testing.T) {
	var h, log strings.Builder
	zero := time.Date(2026, 11, 29, 1, 40, 10, 0, time.UTC)
	h.WriteString("0 invoke read x\n")
	for i := range 300 { // 600 moments, a second apart
		fmt.Fprintf(&h, "%ds nemesis invoke f {\"id\":%d,\"fault\":\"f\"}\n%ds nemesis info f\n", 2*i+1, i, 2*i+2)
		for n := range 100 {
			at := zero.Add(time.Duration(2*i+2)*time.Second + time.Duration(n-50)*10*time.Millisecond)
			fmt.Fprintf(&log, "%s fault %d line %d %s\n", at.Format(time.RFC3339Nano), i, n, strings.Repeat("é", 300))
		}
	}
	s := Source{Run: report.Run{History: parse(t, h.String())}, RunLog: &runLog}
	for i := range 4 {
		s.Logs = append(s.Logs, logFile(fmt.Sprintf("n%d", i), log.String()))
	}
	doc := build(t, s)
	all := 0
	for _, l := range doc.Logs[1:] {
		all += len(l.Lines)
		if len(l.Lines) < maxLines/5 {
			t.Errorf("of %s there are %d lines", l.Node, len(l.Lines))
		}
		for _, line := range l.Lines {
			if len(line.Text) > maxLogLine || !utf8.ValidString(line.Text) {
				t.Fatalf("line %q", line.Text)
			}
		}
		// The lines closest to the first fault: what came last before it, and first after it.
		if first := l.Lines[0].Text; !strings.Contains(first, "fault 0 line 40 ") {
			t.Errorf("the first is %q", first)
		}
		if last := l.Lines[linesBefore+linesAfter-1].Text; !strings.Contains(last, "fault 0 line 69 ") {
			t.Errorf("the last about the first fault is %q", last)
		}
	}
	if all > maxLines || all < maxLines-100 {
		t.Errorf("there are %d lines", all)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	page, err := Build(ctx, s, 0)
	if err != nil || page.Document.Logs[1].Note != "there was no time to read it" {
		t.Errorf("without time got %v", err)
	}
}

func TestLongLinesAreCutAndCounted(t *testing.T) {
	var got []string
	text := "a\n" + strings.Repeat("b", 200_000) + "\nc"
	err := eachLine(strings.NewReader(text), func(number int, line []byte) bool {
		got = append(got, fmt.Sprintf("%d %c", number, line[0]))
		return true
	})
	if err != nil || !slices.Equal(got, []string{"1 a", "2 b", "3 c"}) {
		t.Errorf("got %q, %v", got, err)
	}
}
