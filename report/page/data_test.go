package page

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/report"
	"github.com/hacheck/hacheck/report/document"
	"github.com/hacheck/hacheck/report/document/documenttest"
)

// columns are the calls that a page has read, as columns.
type columns struct {
	Length                              int
	Start, End                          []document.Time
	Outcome, Process, F, Node, Key, Row []int
	Invoke, Complete                    []int
	Levels                              [][]string // hexadecimal, of each by outcome
}

const columnsOfThePage = `(async () => {
	const { ops, levels, complete } = hacheck.data;
	await complete;
	const of = (column) => Array.from(column.subarray(0, ops.length));
	const hex = (cells) => Array.from(cells, (c) => c.toString(16).padStart(2, "0")).join("");
	return {
		Length: ops.length, Start: of(ops.start), End: of(ops.end), Outcome: of(ops.outcome), Process: of(ops.process), F: of(ops.f),
		Node: of(ops.node), Key: of(ops.key), Row: of(ops.row), Invoke: of(ops.invoke), Complete: of(ops.complete),
		Levels: levels.map((l) => l.counts.map(hex)),
	};
})()`

// linesOfThePage are all lines of the history that the page can show.
const linesOfThePage = `(async () => {
	const { ops, complete } = hacheck.data;
	await complete;
	const lines = [];
	for (let i = 0; i < ops.length; i++) {
		const d = await ops.detail(i);
		lines[ops.invoke[i]] = d.invoke;
		if (ops.complete[i] >= 0) lines[ops.complete[i]] = d.complete;
	}
	return lines;
})()`

// TestThePageReadsWhatWasWritten compares what a page reads with the history that it was made
// of: each line, and each column.
func TestThePageReadsWhatWasWritten(t *testing.T) {
	random := func(seed uint64, n int) func(tb testing.TB) document.Source {
		return func(tb testing.TB) document.Source {
			h, err := documenttest.Random(rand.New(rand.NewPCG(seed, 1)), n)
			if err != nil {
				tb.Fatal(err)
			}
			return document.Source{Run: report.Run{Title: "random", History: h, Result: checker.Result{Name: "random"}}}
		}
	}
	for _, test := range []struct {
		name   string
		source func(testing.TB) document.Source
	}{
		{"register", invalid}, {"machines", machines}, {"foreign", foreign}, {"hostile", hostileRun},
		{"random 1", random(1, 1_500)}, {"random 2", random(2, 1_000)}, {"random 3", random(3, 34_000)},
		{"several blocks", func(tb testing.TB) document.Source {
			return document.Source{Run: report.Run{Title: "long", History: registerRun(tb, 20_000, 2)}}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := test.source(t)
			r := show(t, s, desk)
			got := eval[[]string](r, linesOfThePage)
			for i, line := range linesOf(t, s.History) {
				// A page is UTF-8, and so is what a script returns.
				if want := told(t, line); i >= len(got) || got[i] != want {
					t.Fatalf("line %d is %.300q, want %.300q", i, append(got, "", "")[min(i, len(got))], want)
				}
			}
			checkColumns(r, s.History, eval[columns](r, columnsOfThePage))
		})
	}
}

func checkColumns(r *reader, h *histories.History, got columns) {
	r.Helper()
	all := callsOf(r, h)
	if got.Length != len(all) {
		r.Fatalf("%d calls are read, want %d", got.Length, len(all))
	}
	doc := r.document()
	outcomes := []string{"ok", "fail", "info", "event", "open"}
	name := func(names []string, i int) string {
		if i < 0 {
			return ""
		}
		return names[i]
	}
	said := func(what string, names []string, others, number int, want string) error {
		if want = told(r, want); number != others && name(names, number) != want {
			return fmt.Errorf("%s %q, want %q", what, name(names, number), want)
		}
		return nil
	}
	rows := map[int]histories.Process{} // who is in a row last
	ended := map[histories.Process]document.Time{}
	for i, c := range all {
		var err error
		switch {
		case got.Invoke[i] != c.invoke || got.Complete[i] != c.complete:
			err = fmt.Errorf("ops %d and %d, want %d and %d", got.Invoke[i], got.Complete[i], c.invoke, c.complete)
		case got.Start[i] != c.start || got.End[i] != c.end:
			err = fmt.Errorf("from %d to %d µs, want %d to %d", got.Start[i], got.End[i], c.start, c.end)
		case outcomes[got.Outcome[i]] != c.outcome:
			err = fmt.Errorf("%s, want %s", outcomes[got.Outcome[i]], c.outcome)
		case got.Process[i] != int(c.process):
			err = fmt.Errorf("process %d, want %d", got.Process[i], c.process)
		}
		if err == nil {
			err = said("function", doc.Ops.Functions, doc.Ops.Others.Function, got.F[i], c.f)
		}
		if err == nil {
			err = said("node", doc.Ops.Nodes, doc.Ops.Others.Node, got.Node[i], c.node)
		}
		// A row has one process at a time.
		if before, ok := rows[got.Row[i]]; err == nil && ok && before != c.process && ended[before] > c.start {
			err = fmt.Errorf("it is in the row of process %v, which is not at its end", before)
		}
		rows[got.Row[i]], ended[c.process] = c.process, c.end
		if err != nil {
			r.Fatalf("call %d (op %d): %v", i, c.invoke, err)
		}
	}
	if len(got.Levels) != len(doc.Ops.Levels) {
		r.Fatalf("%d levels, want %d", len(got.Levels), len(doc.Ops.Levels))
	}
	data := dataOf(r, r.html)
	for i, l := range doc.Ops.Levels {
		cells, err := io.ReadAll(flate.NewReader(bytes.NewReader(data[:l.Bytes])))
		if err != nil {
			r.Fatal(err)
		}
		data = data[l.Bytes:]
		if want := fmt.Sprintf("%x", cells); strings.Join(got.Levels[i], "") != want {
			r.Errorf("the level by %s is not as it was written", l.By)
		}
	}
}

var documentElement = regexp.MustCompile(`<script type="application/json" id="document">([^<]*)</script>`)
var dataElement = regexp.MustCompile(`<script type="text/plain" id="data">([^<]*)</script>`)

// dataOf returns the data of a page.
func dataOf(tb testing.TB, html []byte) []byte {
	tb.Helper()
	m := dataElement.FindSubmatch(html)
	if m == nil {
		tb.Fatal("the page has no data")
	}
	data, err := base64.StdEncoding.DecodeString(string(m[1]))
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// TestDamagedData opens pages whose data have been cut, or changed.
func TestDamagedData(t *testing.T) {
	s := document.Source{Run: report.Run{Title: "damaged", History: registerRun(t, 20_000, 2)}}
	s.Result = checker.Result{Name: "x", Verdict: checker.Invalid, Anomalies: []checker.Anomaly{{Kind: "stale read", Note: "it is stale", Ops: []int{0, s.History.Pair(0)}}}}
	var b bytes.Buffer
	if err := Write(t.Context(), &b, s); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	at := dataElement.FindSubmatchIndex(whole)
	damaged := func(change func(base64 []byte) []byte) []byte {
		return slices.Concat(whole[:at[2]], change(slices.Clone(whole[at[2]:at[3]])), whole[at[3]:])
	}
	rest := func(r *reader) { // is as it was
		r.Helper()
		r.has(part("word"), "invalid")
		r.wait("document.querySelectorAll('#anomaly-1 .drawing .call').length === 1")
		r.chart("throughput")
		if n := r.inked("#chart-throughput canvas"); n < 1000 {
			r.Errorf("%d pixels of a chart are drawn", n)
		}
		r.click("#anomaly-1 " + part("show-in-timeline"))
		is(r, "hacheck.view.to - hacheck.view.from < hacheck.view.duration", true)
	}
	t.Run("cut at the front", func(t *testing.T) {
		r := open(t, damaged(func(data []byte) []byte { return data[:100] }), desk, "could not be read")
		r.has("#timeline .failed", "operations of the page could not be read: the data of the page ends too early")
		rest(r)
		if len(r.page.Complaints()) == 0 {
			t.Error("nothing is said to those who look for what is wrong")
		}
	})
	t.Run("cut at the end", func(t *testing.T) {
		r := open(t, damaged(func(data []byte) []byte { return data[:len(data)/2] }), desk)
		r.wait("document.querySelector('#timeline [data-part=said]').textContent.includes('not all operations could be read: ')")
		rest(r)
		is(r, "hacheck.data.ops.length > 0", true) // what is read is there
		r.search("f:read")
		r.wait("document.querySelector('#timeline [data-part=matches]').value.includes('matches')")
	})
	t.Run("the values of a block", func(t *testing.T) {
		r := open(t, damaged(func([]byte) []byte {
			data := dataOf(t, whole)
			var doc struct{ Ops document.Index }
			if err := json.Unmarshal(documentElement.FindSubmatch(whole)[1], &doc); err != nil {
				t.Fatal(err)
			}
			at, first := 0, doc.Ops.Blocks[0]
			for _, l := range doc.Ops.Levels {
				at += l.Bytes
			}
			for i := at + first.Core + first.Detail/2; i < at+first.Core+first.Detail; i++ {
				data[i] = 0xff
			}
			return base64.StdEncoding.AppendEncode(nil, data)
		}), desk)
		r.wait("performance.getEntriesByName('hacheck:complete').length > 0")
		is(r, "hacheck.data.ops.length", number(callsOf(t, s.History), func(call) bool { return true }))
		rest(r)
		r.click("#anomaly-1 .op[data-op='0']") // which is of that block
		r.wait("document.querySelector('[data-part=panel-json]')?.textContent.includes('its values cannot be read: ')")
		r.has(".tl-panel", "ok: it took place", "ops 0 and ") // all else is known
		r.search("f:read refused")
		r.wait("document.querySelector('#timeline [data-part=matches]').value.includes('values cannot be read: ')")
	})
	t.Run("no base64", func(t *testing.T) {
		r := open(t, damaged(func(data []byte) []byte { return bytes.Repeat([]byte("*"), len(data)) }), desk, "could not be read")
		r.has("#timeline .failed", "operations of the page could not be read")
		rest(r)
	})
}
