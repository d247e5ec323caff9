package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/internal/browser"
	"github.com/hacheck/hacheck/internal/browser/browsertest"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/report"
	"github.com/hacheck/hacheck/report/document"
	"github.com/hacheck/hacheck/report/document/documenttest"
	"github.com/hacheck/hacheck/report/page"
	"github.com/hacheck/hacheck/workloads/register"
)

func TestMain(m *testing.M) {
	m.Run()
	browsertest.Close()
}

// A visitor is somebody who looks at a page of a server. What cannot be done ends the test.
type visitor struct {
	*shelf
	*browser.Page
	address  string
	hangUp   func() // ends the server
	shots    int
	expected []string // what it is to complain of
}

// open opens a page of the server, or skips the test where there is no browser. In the end
// there must have been nothing to complain of; then, too, a picture of what was to be seen is
// left.
func (s *shelf) open(path string, l browser.Look) *visitor {
	s.Helper()
	b, err := browsertest.Shared()
	if errors.Is(err, browser.ErrMissing) {
		s.Skip(err)
	}
	if err != nil {
		s.Fatal(err)
	}
	server := httptest.NewServer(s)
	hangUp := sync.OnceFunc(func() {
		server.CloseClientConnections()
		server.Close()
	})
	s.TB.Cleanup(hangUp)
	p, err := b.Open(server.URL+path, l)
	if err != nil {
		s.Fatal(err)
	}
	r := &visitor{shelf: s, Page: p, address: server.URL, hangUp: hangUp}
	s.TB.Cleanup(func() {
		if !s.Failed() {
			r.shot()
		}
		for _, c := range p.Complaints() {
			if !slices.ContainsFunc(r.expected, func(e string) bool { return strings.Contains(c, e) }) {
				s.Errorf("the page complains: %s", c)
			}
		}
		p.Close()
	})
	return r
}

// must ends the test if something could not be done, with a picture of why.
func (r *visitor) must(err error) {
	r.Helper()
	if err != nil {
		r.shot()
		r.Fatal(err)
	}
}

// shot keeps a picture of what is to be seen.
func (r *visitor) shot() {
	r.Helper()
	png, err := r.Screenshot()
	if err != nil {
		r.Errorf("screenshot: %v", err)
		return
	}
	r.shots++
	name := fmt.Sprintf("%s-%d.png", strings.ReplaceAll(r.Name(), "/", "-"), r.shots)
	if err := os.WriteFile(filepath.Join(r.ArtifactDir(), name), png, 0o644); err != nil {
		r.Error(err)
	}
}

func (r *visitor) wait(expression string) {
	r.Helper()
	r.must(r.Wait(expression))
}

func (r *visitor) click(selector string) {
	r.Helper()
	r.must(r.Click(selector))
}

func (r *visitor) press(keys ...string) {
	r.Helper()
	for _, k := range keys {
		r.must(r.Press(k))
	}
}

// the returns a selector of elements by what they are in the page.
func the(name string) string { return "[data-part='" + name + "']" }

// quote writes a text as a script has it.
func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // no text is none
	}
	return string(text)
}

// eval returns what an expression comes to.
func eval[T any](r *visitor, expression string) T {
	r.Helper()
	v, err := browser.Eval[T](r.Page, expression)
	r.must(err)
	return v
}

// is complains if an expression is not what is wanted.
func is[T comparable](r *visitor, expression string, want T) {
	r.Helper()
	if got := eval[T](r, expression); got != want {
		r.Errorf("%s is %v, want %v", expression, got, want)
	}
}

// says waits until a text is in what an element says.
func (r *visitor) says(selector, text string) {
	r.Helper()
	if err := r.Wait("document.querySelector(" + quote(selector) + ")?.textContent.includes(" + quote(text) + ")"); err != nil {
		r.shot()
		r.Fatalf("%s says %.500q, want %q in it", selector, eval[string](r, "String(document.querySelector("+quote(selector)+")?.textContent)"), text)
	}
}

// asked complains of the flaws of a page.
func (r *visitor) asked(what string, question func(p *browser.Page) ([]string, error)) {
	r.Helper()
	flaws, err := question(r.Page)
	r.must(err)
	for _, f := range flaws {
		r.Errorf("%s: %s", what, f)
	}
}

// choose chooses of what a select offers, as a hand does in the end.
func (r *visitor) choose(selector, value string) {
	r.Helper()
	eval[bool](r, fmt.Sprintf("(() => { const s = document.querySelector(%s); s.value = %s; s.dispatchEvent(new Event('change', { bubbles: true })); return s.value === %[2]s; })()", quote(selector), quote(value)))
}

// many puts a number of runs on the shelf, of several kinds.
func (s *shelf) many(n int) {
	s.Helper()
	for i := range n {
		r := s.put(fmt.Sprintf("run-%03d", i), noon.Add(time.Duration(i)*time.Minute), func(info *store.Info) {
			info.Options.Seed = uint64(i * 37 % n) // in another order than they began
			info.Nemesis = []string{"partition", "kill"}[:i%3]
			if i%10 == 0 {
				info.Bug, info.Verdict = "stale-read", "invalid"
			}
			if i%7 == 0 {
				info.System, info.Workload = "vmsched", "vm"
			}
		})
		if i%10 == 0 {
			s.write(r.File(store.ResultsFile), results)
		}
		s.write(r.File(store.ReportFile), "<!doctype html>")
	}
}

const (
	rows  = "document.querySelectorAll('tbody tr').length"
	first = "document.querySelector('tbody tr').dataset.run.slice(0, 7)"
)

func TestTheTableIsClickedThrough(t *testing.T) {
	s := serve(t)
	s.many(250)
	r := s.open("/", browsertest.Desk)
	r.says(the("status"), "250 runs")
	is(r, rows, 100)
	is(r, first, "run-249") // the latest

	r.click(the("sort-seed"))
	r.wait(first + " === 'run-000'")
	is(r, "location.search", "?sort=seed&order=asc")
	is(r, "document.querySelector('th:has([data-part=sort-seed])').ariaSort", "ascending")
	r.click(the("sort-seed"))
	r.wait(first + " === 'run-027'")
	is(r, "document.querySelector('th:has([data-part=sort-seed])').ariaSort", "descending")
	is(r, "document.querySelectorAll('th[aria-sort]').length", 1)

	r.choose(the("filter-verdict"), "invalid")
	r.says(the("status"), "25 of 250 runs")
	r.wait(rows + " === 25")
	r.must(r.Type(the("search"), "VMSCHED lost"))
	r.says(the("status"), "4 of 250 runs")
	r.wait(rows + " === 4 && new URLSearchParams(location.search).get('q') === 'VMSCHED lost'")
	r.shot()

	// What is in the address is there again when it is loaded, and behind the back button.
	r.must(r.Reload())
	r.wait(rows + " === 4")
	is(r, "document.querySelector('[data-part=search]').value", "VMSCHED lost")
	is(r, "document.querySelector('[data-part=filter-verdict]').value", "invalid")
	eval[bool](r, "(history.back(), true)")
	r.wait(first + " === 'run-027' && " + rows + " === 100")
	is(r, "document.querySelector('[data-part=filter-verdict]').value", "")
	eval[bool](r, "(history.back(), history.back(), true)")
	r.wait("location.search === '' && " + first + " === 'run-249'")

	r.click(the("next"))
	r.says(the("place"), "101 to 200 of 250")
	r.wait(first + " === 'run-149'")
	is(r, "document.activeElement.id", "main") // who reads on begins at the top
	r.click(the("next"))
	r.says(the("place"), "201 to 250 of 250")
	is(r, "document.querySelector('[data-part=next]')", any(nil))
	eval[bool](r, "(history.back(), true)")
	r.says(the("place"), "101 to 200 of 250")

	// Two are chosen, also from different pages of the table; a third takes the place of the
	// first.
	choose := func(run string) { r.click("tr[data-run^=" + run + "] " + the("choose")) }
	choose("run-149")
	r.says(the("chosen"), "Choose another")
	choose("run-148")
	r.click(the("previous"))
	r.wait(first + " === 'run-249'")
	choose("run-240")
	is(r, "document.querySelectorAll('[data-part=chosen] .mono')[0].textContent.match(/run-\\d+/g).join()", "run-148,run-240")
	r.shot()
	r.click(the("compare"))
	r.says("h1", "Two runs")
	r.says(the("side-a"), "run-148")
	r.says(the("side-b"), "run-240")
	eval[bool](r, "(history.back(), true)")
	r.wait(rows + " === 100")
	is(r, "document.querySelectorAll('[data-part=choose]:checked').length", 1) // the other is on another page
	r.click(the("choose-none"))
	is(r, "document.querySelectorAll('[data-part=choose]:checked').length", 0)

	r.must(r.Type(the("search"), "no such run"))
	r.says(the("empty"), "No run is like that.")
	r.click(the("empty") + " button")
	r.says(the("status"), "250 runs")
}

func TestATableFollowsItsStore(t *testing.T) {
	s := serve(t)
	r := s.open("/", browsertest.Desk)
	r.says(the("empty"), "There is no run in "+s.root+" yet.")
	is(r, "document.querySelector('[data-part=table]').checkVisibility()", false)
	r.says(the("empty"), "hacheck run --workload register --nemesis partition --store "+s.root)
	r.shot()
	s.put("a", noon, nil)
	r.wait(rows + " === 1")
	is(r, "document.querySelector('[data-part=empty]').checkVisibility()", false)
	n := s.run(t) // another, which goes on
	r.says("tr[data-run$='-2'] "+the("verdict"), "running")
	r.click("tr[data-run$='-2'] " + the("choose"))
	eval[bool](r, "(document.querySelector(\"tr[data-run$='-2'] [data-part=choose]\").focus(), true)")
	n.end()
	r.says("tr[data-run$='-2'] "+the("verdict"), "invalid")
	is(r, "document.activeElement.closest('tr').dataset.run.slice(-2) + document.activeElement.dataset.part", "-2choose")
}

// TestATabThatNobodySeesHoldsNoConnection hides a table, and shows it again.
func TestATabThatNobodySeesHoldsNoConnection(t *testing.T) {
	s := serve(t)
	s.put("a", noon, nil)
	r := s.open("/", browsertest.Desk)
	r.wait(rows + " === 1")
	become := func(hidden bool, streams int64) {
		t.Helper()
		eval[bool](r, fmt.Sprintf("(Object.defineProperty(document, 'hidden', { value: %v, configurable: true }), document.dispatchEvent(new Event('visibilitychange')))", hidden))
		for end := time.Now().Add(20 * time.Second); s.streams.Load() != streams; eval[bool](r, "true") {
			if time.Now().After(end) {
				t.Fatalf("%d streams, want %d", s.streams.Load(), streams)
			}
		}
	}
	become(false, 1)
	become(true, 0)
	s.put("b", noon, nil)
	become(false, 1)
	r.wait(rows + " === 2")
}

func TestItIsSaidThatNobodyAnswers(t *testing.T) {
	s := serve(t)
	n := s.run(t)
	r := s.open("/", browsertest.Desk)
	r.wait(rows + " === 1")
	r.hangUp()
	r.says(the("problem"), "The server does not answer. What is shown may be old.")
	is(r, rows, 1) // it is still shown
	r.expects("ERR_")
	r = s.open("/live/"+one, browsertest.Desk)
	n.happens(time.Second, calls(0, 7, histories.OK)...)
	r.says(the("live-ok"), "7")
	r.hangUp()
	r.says(the("problem"), "The server does not answer. It is asked again.")
	r.says(the("live-ok"), "7")
	r.expects("ERR_")
}

// TestSeedsStayOnALine measures the table at the least width that it has.
func TestSeedsStayOnALine(t *testing.T) {
	s := serve(t)
	for i, seed := range []uint64{1<<32 - 1, 1<<64 - 1} {
		r := s.put("a", noon.Add(time.Duration(i)*time.Minute), func(i *store.Info) {
			i.Options.Seed, i.Bug, i.Nemesis = seed, "skip-recovery-hole", []string{"partition", "clock", "disk-slow"}
		})
		s.write(r.File(store.ResultsFile), strings.Replace(results, `"ok": 100`, `"ok": 10000000`, 1))
		s.write(r.File(store.ReportFile), "")
	}
	r := s.open("/", browser.Look{Width: 1280, Height: 700})
	r.wait(rows + " === 2")
	lines := "[...document.querySelectorAll('td[data-label=Seed]')].map((e) => { const range = document.createRange(); range.selectNodeContents(e.querySelector('.long') ?? e); return new Set([...range.getClientRects()].map((b) => b.top)).size; }).join()"
	is(r, lines, "2,1") // the latest first, which is longer than hacheck makes them
	r.asked("the least width", browsertest.Fits)
	r.must(r.As(browser.Look{Width: 1440, Height: 700}))
	r.wait(lines + " === '1,1'")
	is(r, "document.querySelector('td.actions').firstElementChild.textContent", "Report")
}

func TestTwoRunsAreLookedAt(t *testing.T) {
	s := serve(t)
	a := s.put("a", noon, func(i *store.Info) { i.Nemesis = []string{"kill", "partition"} })
	s.write(a.File(store.ResultsFile), results)
	b := s.put("b", noon, func(i *store.Info) { i.Bug, i.Verdict = "stale-read", "valid" })
	s.write(b.File(store.ResultsFile), strings.NewReplacer(`"invalid"`, `"valid"`, `"median_us": 1000`, `"median_us": 3000`).Replace(results))
	op := func(index, at int, typ, f, value string) string {
		return fmt.Sprintf(`{"index":%d,"time":%d,"process":-1,"type":%q,"f":%q,"value":%s}`+"\n", index, at*1_000_000_000, typ, f, value)
	}
	pair := func(index, at int, f, value string) string {
		return op(index, at, "invoke", f, value) + strings.Replace(op(index+1, at, "info", f, value), "000,", "001,", 1)
	}
	s.write(a.History(), pair(0, 1, "partition", `{"id":0,"fault":"partition:ring"}`)+pair(2, 2, "kill", `{"id":1,"fault":"kill"}`)+
		pair(4, 5, "heal", `{"id":0,"fault":"partition:ring","acted":7}`)+pair(6, 9, "heal", `{"id":1,"fault":"kill","acted":0}`))
	s.write(b.History(), "")
	r := s.open("/compare?"+"a="+one+"&b="+strings.Replace(one, "a", "b", 1), browsertest.Desk)
	r.says(the("verdicts-table"), "linearizable")
	is(r, "[...document.querySelectorAll('[data-part=verdicts-table] tr.differs th')].map((e) => e.textContent).join()", "linearizable")
	r.says(the("verdicts-table")+" tr.differs", "≠ differs")
	r.says(the("facts-differ"), "stale-read")
	is(r, "[...document.querySelectorAll('[data-part=facts-differ] tbody th')].map((e) => e.textContent).join()", "bug,nemesis")
	is(r, "[...document.querySelectorAll('[data-part=functions-table] .mark')].map((e) => e.textContent).join()", "▲ ×3.00")

	// Both faults of the one run, and none of the other, on one axis of 9 s.
	const faults = "[...document.querySelectorAll('[data-part=schedules-drawing] [data-part=fault]')]"
	r.wait(faults + ".length === 2")
	titles := strings.Join(eval[[]string](r, faults+".map((e) => e.querySelector('title').textContent)"), "\n")
	if want := "partition:ring, 1 s to 5 s; evidence: 7\nkill, 2 s to 9 s; nothing shows that it acted"; titles != want {
		t.Errorf("drawn are %s", titles)
	}
	is(r, faults+".map((e) => e.querySelector('rect').classList.contains('idle')).join()", "false,true")
	is(r, "(([a, b]) => Math.abs((a.getBoundingClientRect().width / b.getBoundingClientRect().width) - 4 / 7) < 0.02)("+faults+".map((e) => e.querySelector('rect')))", true)
	r.says(".schedules svg", "B: no faults")
	r.shot()
	r.click(the("swap"))
	r.says(the("side-a"), "b/2026")
	is(r, "[...document.querySelectorAll('[data-part=functions-table] .mark')].map((e) => e.textContent).join()", "▼ ×0.33")
	r.click(the("side-a") + " a[href^='/run/']")
	r.says("h1", "Files of a run")
}

// happens writes ops of a run that goes on, at a time of its history.
func (r *running) happens(at time.Duration, ops ...histories.Op) {
	r.Helper()
	r.now = at
	for _, op := range ops {
		if _, err := r.journal.Append(op); err != nil {
			r.Fatal(err)
		}
	}
}

func TestARunIsLookedAtWhileItGoesOn(t *testing.T) {
	judge := &script{at: 206, found: &checker.Finding{Anomaly: checker.Anomaly{Kind: "stale read", Note: "7 was read after 9 had been written"}, Time: 2 * time.Second},
		explain: func(*checker.Finding, int) error { return nil }}
	s := serve(t, func(o *Options) { o.Live = func(string) checker.Live { return judge } })
	n := s.run(t)
	n.info.Nemesis, n.info.Bug, n.info.Options.Nodes, n.info.Options.Seed = []string{"partition"}, "stale-read", 5, 1<<64-1
	n.save()
	s.write(n.File(store.LogFile), "time=x level=INFO msg=phase name=main\n")
	r := s.open("/live/"+one, browsertest.Desk)
	r.says("h1", "raftkv, register, partition")
	r.says("h1", "running")
	r.says(the("more"), "bug stale-read, 5 nodes, seed 18446744073709551615")
	n.happens(1100*time.Millisecond, calls(0, 100, histories.OK)...)
	r.says(the("live-ok"), "100")
	r.says(the("live-phase"), "main")
	r.says(the("live-elapsed"), "1.1 s of 20 s")
	r.says(the("judged"), "nothing found up to 1.1 s")
	is(r, "document.querySelector('[data-part=found]').textContent", "")
	is(r, "document.title", "running: raftkv, register, partition – hacheck")

	begin := `{"id":0,"fault":"partition:ring","detail":{"shape":"ring"}}`
	n.happens(1490*time.Millisecond, nemesisOp(histories.Invoke, "partition", begin))
	r.says(the("in-force"), "partition:ring is about to begin")
	r.says(the("faults-so-far"), "1 fault so far, 1 about to begin")
	n.happens(1500*time.Millisecond, nemesisOp(histories.Info, "partition", begin), leads("n2", 3))
	r.says(the("in-force"), "partition:ring since 1.5 s")
	r.says(the("faults-so-far"), "1 fault so far, 1 in force")
	r.says(the("leaders"), "n2, term 3 from 1.5 s")
	r.shot()
	n.happens(2100*time.Millisecond, calls(1, 2, histories.Fail)...)
	r.says(the("found"), "stale read at 2 s: 7 was read after 9 had been written")
	is(r, "document.querySelector('[data-part=found]').role", "alert")
	is(r, "document.querySelector('[data-part=judged]').textContent", "")
	r.says(the("live-fail"), "2")
	r.says(the("live-rate"), "100") // in the second from 1 s to 2 s
	r.asked("as it goes on", browsertest.Fits)
	if red := eval[int](r, drawn); red == 0 {
		t.Error("no fault is drawn")
	}
	r.shot()
	heal := `{"id":0,"fault":"partition:ring","acted":7}`
	n.happens(2900*time.Millisecond, nemesisOp(histories.Invoke, histories.Heal, `{"id":0,"fault":"partition:ring"}`))
	r.says(the("faults-so-far"), "1 fault so far, 1 about to be healed")
	n.happens(3*time.Second, nemesisOp(histories.Info, histories.Heal, heal))
	r.says(the("in-force"), "none")
	r.says(the("faults-so-far"), "1 fault so far, 1 acted")
	is(r, "document.querySelector('[data-part=over]').checkVisibility()", false)

	n.end()
	r.says(the("over"), "It has ended.")
	r.says("h1", "invalid")
	r.says(the("live-phase"), "ended")
	r.says("#faults-title", "Faults")
	is(r, "document.title", "invalid: raftkv, register, partition – hacheck")
	is(r, "new URL(document.querySelector('[data-part=report]').href).pathname", "/run/"+one+"/report.html")
	r.says(the("found"), "stale read") // it stays
}

// drawn counts what is drawn in the colour of faults at the left edge of one.
const drawn = `(() => {
	const c = document.querySelector("[data-part=throughput] canvas"), d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
	let n = 0;
	for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 0 && d[i] > d[i + 1] + 60 && d[i + 1] > d[i + 2]) n++;
	return n;
})()`

func TestARunThatDiesIsSaidToHaveEndedEarly(t *testing.T) {
	s := serve(t)
	n := s.run(t)
	begin := `{"id":0,"fault":"kill"}`
	n.happens(time.Second, nemesisOp(histories.Invoke, "kill", begin), nemesisOp(histories.Info, "kill", begin), histories.Op{Process: 0, Type: histories.Invoke, F: "read"})
	r := s.open("/live/"+one, browsertest.Desk)
	r.says(the("live-open"), "1")
	if err := n.release(); err != nil { // as the kernel does when its process is killed
		t.Fatal(err)
	}
	r.says(the("over"), "It ended early.")
	r.says("h1", "ended early")
	r.says(the("faults-so-far"), "1 fault, 1 not healed")
	is(r, "document.querySelector('[data-part=report]')", any(nil))
}

func TestARunIsDeletedByHand(t *testing.T) {
	s := serve(t)
	s.put("a", noon, nil)
	s.put("b", noon.Add(time.Hour), nil)
	s.run(t)
	r := s.open("/", browsertest.Desk)
	r.wait(rows + " === 3")
	more := func(run string) { r.click("tr[data-run='" + run + "'] " + the("more")) }
	more("a/20261124T120000Z-2") // the one that goes on
	r.says(the("deletion"), "Not now: the run is still going on.")
	is(r, "document.querySelector('[data-part=delete]').disabled", true)
	r.press(browser.Escape)
	r.wait("document.querySelector('dialog') === null")

	more(one)
	r.says(the("deletion"), "Delete this run…")
	r.click(the("delete"))
	r.says(the("deletion"), "This deletes "+one+": 1 file")
	is(r, "document.activeElement.dataset.part", "delete-not") // Enter again does no harm
	r.shot()
	r.press(browser.Enter)
	r.says(the("deletion"), "Delete this run…")
	is(r, "document.activeElement.dataset.part", "delete")
	// By the keyboard alone.
	r.press(browser.Enter)
	r.says(the("deletion"), "cannot be undone")
	r.press(browser.Tab, browser.Enter)
	r.wait("document.querySelector('dialog') === null && " + rows + " === 2")
	is(r, "document.querySelector('tr[data-run=\""+one+"\"]')", any(nil))
	if _, err := os.Stat(filepath.Join(s.root, one)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(s.root, "b")); err != nil {
		t.Error(err)
	}

	// It may begin to go on after it was looked at.
	more("b/20261124T130000Z")
	r.says(the("deletion"), "Delete this run…")
	release, err := (&store.Run{Dir: filepath.Join(s.root, "b/20261124T130000Z")}).Hold()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	r.click(the("delete"))
	r.click(the("delete-sure"))
	r.says(the("deletion")+" [role=alert]", "still going on")
	r.expects("409")
}

func TestWhoOnlyShowsDeletesNothing(t *testing.T) {
	s := serve(t, func(o *Options) { o.ReadOnly = true })
	s.put("a", noon, nil)
	r := s.open("/", browsertest.Desk)
	r.click(the("more"))
	r.says(the("detail"), "valid")
	is(r, "document.querySelectorAll('[data-part=deletion], [data-part=delete]').length", 0)
}

// rudeness are texts that a run may have as names.
var rudeness = []string{
	`<img src=x onerror="window.hacked=1">`, `</script><script>window.hacked=2</script>`, `"><svg onload=window.hacked=3><!--`,
	"' onmouseover='window.hacked=4' \u2028\u2029 x", "\u202egnp.exe\u2066 right to left \x07", `javascript:window.hacked=5//`, `__proto__`, `constructor`,
	strings.Repeat("0123456789", 500), strings.Repeat("<b>", 100),
}

// tame complains if anything rude has become more than text.
func (r *visitor) tame(when string) {
	r.Helper()
	for expression, want := range map[string]string{
		"String(window.hacked)": "undefined",
		"(document.title + document.body.innerText).match(/.{0,20}[\\u202a-\\u202e\\u2066-\\u2069]/)?.[0] ?? ''":                                            "",
		"[...document.querySelectorAll('img, iframe, object, embed, base, style, b, [src]:not(script)')].map((e) => e.outerHTML.slice(0, 100)).join()":      "",
		"[...document.querySelectorAll('script')].map((e) => new URL(e.src).pathname).join()":                                                               "/assets/serve.js",
		"[...document.querySelectorAll('*')].flatMap((e) => e.getAttributeNames()).filter((n) => n.startsWith('on')).join()":                                "",
		"[...document.querySelectorAll('a[href]')].filter((a) => a.origin !== location.origin || a.pathname.includes('..')).map((a) => a.outerHTML).join()": "",
	} {
		if got := eval[string](r, expression); got != want {
			r.Errorf("%s: %s is %.300q, want %q", when, expression, got, want)
		}
	}
}

func TestHostileRunsAreText(t *testing.T) {
	s := serve(t)
	text := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var paths []string
	for i, rude := range rudeness {
		if i > 0 && len(rude) < 200 { // a name of a folder, too
			rude = strings.ReplaceAll(rude, "/", "|")
		}
		r := s.put("a", noon.Add(time.Duration(i)*time.Minute), func(info *store.Info) {
			info.System, info.Bug, info.Workload, info.Nemesis, info.Verdict = rude, rude, rude, []string{rude}, rude
			info.Trouble, info.Options.Hypervisor, info.Lab = []string{rude}, rude, map[string]string{rude: rude}
			info.Live = &store.Live{Kind: rude, Note: rude}
		})
		s.write(r.File(store.ResultsFile), fmt.Sprintf(`{"name":%[1]s,"verdict":"invalid","anomalies":[{"kind":%[1]s}],"parts":[{"name":%[1]s,"verdict":%[1]s,"note":%[1]s,"counts":{%[1]s:3}},
			{"name":"stats","parts":[{"name":%[1]s,"verdict":%[1]s,"counts":{"ok":1}}]}]}`, text(rude)))
		fault := fmt.Sprintf(`{"id":0,"fault":%[1]s,"detail":{"shape":%[1]s,"nodes":[%[1]s]}}`, text(rude))
		s.write(r.History(), fmt.Sprintf(`{"index":0,"time":1,"process":-1,"type":"invoke","f":%[1]s,"value":%[2]s}
{"index":1,"time":2,"process":-1,"type":"info","f":%[1]s,"value":%[2]s,"error":%[1]s}
{"index":2,"time":3,"process":-2,"type":"event","f":"state","value":{%[1]s:{"role":"leader","term":3}}}
`, text(rude), fault))
		name := strings.ReplaceAll(rude[:min(len(rude), 100)], "/", "|")
		s.write(r.File("nodes/"+name+"/"+name+".log"), rude)
		s.write(r.File(name+".html"), `<script>window.hacked=7</script>`)
		path := strings.TrimPrefix(r.Dir, s.root+"/")
		if len(rude) < 200 {
			moved := filepath.Join(s.root, "b"+name, name)
			if err := os.MkdirAll(filepath.Dir(moved), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(r.Dir, moved); err != nil {
				t.Fatal(err)
			}
			path = strings.TrimPrefix(moved, s.root+"/")
		}
		paths = append(paths, path)
	}
	r := s.open("/", browsertest.Desk)
	r.wait(rows + fmt.Sprintf(" === %d", len(rudeness)))
	r.tame("the table")
	r.asked("the table", browsertest.Fits)
	r.must(r.As(browsertest.Phone))
	r.asked("the table on a telephone", browsertest.Fits)
	r.shot()
	is(r, "[...document.querySelectorAll('tbody tr')].some((e) => e.textContent.includes("+quote(rudeness[0])+"))", true)
	for i := range 2 {
		r.click(fmt.Sprintf("tbody tr:nth-child(%d) %s", i+1, the("more")))
		r.wait("document.querySelector('dialog dl')")
		r.tame("a dialog")
		r.asked("a dialog", browsertest.Fits)
		r.press(browser.Escape)
		r.wait("!document.querySelector('dialog')")
	}
	for i, path := range paths {
		for _, page := range []struct{ path, ready string }{
			{link("/live", path), "document.querySelector('[data-part=over]:not([hidden])')"},
			{link("/run", path), "document.querySelector('[data-part=files] tbody tr')"},
			{"/compare?a=" + queried(path) + "&b=" + queried(paths[(i+1)%len(paths)]), "document.querySelector('[data-part=verdicts-table]')"},
		} {
			if i%3 > 0 && !strings.HasPrefix(page.path, "/compare") { // each is on one of these
				continue
			}
			r.visit(page.path)
			r.wait(page.ready)
			r.tame(page.path)
			r.asked(page.path, browsertest.Fits)
		}
	}
}

// queried writes a text as the value of a query.
func queried(s string) string {
	return strings.ReplaceAll(strings.TrimPrefix(link("", s), "/"), "+", "%2B")
}

// visit goes to another page of the server.
func (r *visitor) visit(path string) {
	r.Helper()
	r.must(r.Visit(r.address + path))
}

// expects says what the page is to complain of.
func (r *visitor) expects(text string) { r.expected = append(r.expected, text) }

// TestAReportIsOpenedThroughTheServer opens the page of a run in its sandbox.
func TestAReportIsOpenedThroughTheServer(t *testing.T) {
	s := serve(t)
	run := s.put("a", noon, nil)
	h, err := documenttest.Register(3_000, 7)
	if err != nil {
		t.Fatal(err)
	}
	result, err := register.Checker(checker.Budget{}).Check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	err = run.Write(store.ReportFile, func(w io.Writer) error {
		return page.Write(t.Context(), w, document.Source{
			Run:      report.Run{Title: "raftkv under workload register", History: h, Result: result, Next: []report.Next{{Purpose: "again:", Command: "hacheck again"}}},
			Schedule: "faults:\n  - at: 1s\n    fault: partition:ring\n",
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	r := s.open("/", browsertest.Desk)
	r.click(the("report"))
	r.wait("window.hacheck && hacheck.ready.then(() => true)")
	is(r, "origin", "null") // nothing of ours is in its reach
	r.wait("performance.getEntriesByName('hacheck:complete').length > 0")
	is(r, "document.querySelectorAll('.failed').length", 0)
	const inked = `[...document.querySelectorAll("#timeline canvas")].some((c) => c.width > 0 && c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some((v, i) => i % 4 === 3 && v > 0))`
	r.wait(inked)
	r.click("header " + the("theme"))
	r.wait("document.documentElement.dataset.theme === 'dark'")
	r.click(the("copy"))
	r.wait("[...document.querySelectorAll('[data-part=copy]')].some((b) => b.textContent === 'Copied')")
	name, schedule, err := r.Download("#again "+the("download"), t.TempDir())
	r.must(err)
	if name != "schedule.yaml" || !strings.Contains(string(schedule), "partition:ring") {
		t.Errorf("%s is downloaded: %s", name, schedule)
	}
}

// TestAPageOfAnybodyReachesNothing opens a page that tries what it can.
func TestAPageOfAnybodyReachesNothing(t *testing.T) {
	s := serve(t)
	run := s.put("a", noon, nil)
	s.write(run.File("evil.html"), `<!doctype html><link rel="icon" href="data:,"><script>
		const tried = window.tried = {};
		const note = (name, why) => { tried[name] = why; };
		try { note("store", String(localStorage.length)); } catch { note("store", "refused"); }
		try { note("cookie", document.cookie + "."); } catch { note("cookie", "refused"); }
		const opened = open("/"); note("window", "opened"); try { note("peek", opened.document.title + "."); } catch { note("peek", "refused"); }
		const ask = (name, path, how) => fetch(path, how).then(() => note(name, "answered"), () => note(name, "refused"));
		Promise.all([ask("read", "/api/runs"), ask("delete", "/api/runs/a/20261124T120000Z", { method: "DELETE", headers: { "X-Hacheck": "delete" } })]).then(() => { window.done = true; });
	</script>`)
	r := s.open("/", browsertest.Desk)
	r.visit("/run/" + one + "/evil.html")
	r.wait("window.done")
	is(r, "JSON.stringify(Object.entries(tried).filter(([, v]) => v !== 'refused' && v !== 'opened'))", "[]")
	if _, err := os.Stat(run.Dir); err != nil {
		t.Error(err)
	}
	r.expects("Content Security Policy")
}

// TestLooks asks of every page what is asked of every page.
func TestLooks(t *testing.T) {
	s := serve(t, func(o *Options) {
		o.Commands = func(dir string) []report.Next {
			return []report.Next{{Purpose: "again:", Command: "hacheck check " + dir}}
		}
	})
	s.many(120)
	n := s.run(t)
	begin := `{"id":0,"fault":"partition:ring","detail":{"shape":"ring"}}`
	n.happens(1100*time.Millisecond, calls(0, 100, histories.OK)...)
	n.happens(1500*time.Millisecond, nemesisOp(histories.Invoke, "partition", begin), nemesisOp(histories.Info, "partition", begin), leads("n2", 3))
	n.info.Trouble, n.info.Live = []string{"n1 was stuck"}, &store.Live{Kind: "stale read", Note: "it was"}
	n.save()
	bare := s.put("bare", noon, nil)
	s.write(bare.File(store.InfoFile), "{")
	path := func(i int) string {
		return fmt.Sprintf("run-%03d/%s", i, noon.Add(time.Duration(i)*time.Minute).Format("20060102T150405Z"))
	}
	var history string // of a fault in each colour, and one that did nothing
	for i, name := range []string{"quota", "kill", "pause", "partition", "clock", "disk", "packets", "restart", "members"} {
		for _, f := range []string{name, histories.Heal} {
			for _, typ := range []string{"invoke", "info"} {
				n := strings.Count(history, "\n")
				history += fmt.Sprintf(`{"index":%d,"time":%d,"process":-1,"type":%q,"f":%q,"value":{"id":%d,"fault":%[6]q,"acted":%[5]d}}`+"\n", n, n*1_000_000_000, typ, f, i, name)
			}
		}
	}
	s.write(filepath.Join(s.root, path(10), store.HistoryFile), history)
	s.write(filepath.Join(s.root, path(20), store.HistoryFile), history)
	r := s.open("/", browsertest.Desk)
	for _, page := range []struct {
		name, path, ready string
		then              func()
	}{
		{"table", "/?order=asc", rows + " === 100", func() { r.click(the("choose")) }},
		{"dialog", "/?q=run-010", rows + " === 1", func() {
			r.click(the("more"))
			r.wait("document.querySelector('[data-part=delete]')")
			r.click(the("delete"))
			r.wait("document.querySelector('[data-part=delete-sure]')")
		}},
		{"nothing", "/?q=nothing", "document.querySelector('[data-part=empty] button')", nil},
		{"compare", "/compare?a=" + path(10) + "&b=" + path(20), "document.querySelectorAll('[data-part=fault]').length === 18", nil},
		{"live", "/live/" + one, "document.querySelector('[data-part=leaders] li')", nil},
		{"ended", "/live/" + path(10), "document.querySelector('[data-part=report]')", nil},
		{"files", "/run/" + path(10), "document.querySelector('[data-part=files]')", nil},
		{"error", "/run/none", "document.querySelector('[data-part=error]')", nil},
	} {
		r.must(r.As(browsertest.Desk))
		r.visit(page.path)
		r.wait(page.ready)
		if page.then != nil {
			page.then()
		}
		r.must(browsertest.Unfold(r.Page))
		r.asked(page.name, browsertest.Named)
		if page.name != "table" { // which has some hundred times the same
			r.asked(page.name, browsertest.Reached)
		}
		r.asked(page.name, func(p *browser.Page) ([]string, error) { return browsertest.Legible(p, browsertest.Desk) })
		r.shot()
		r.must(r.As(browsertest.Phone))
		r.asked(page.name+" on a telephone", browsertest.Fits)
		r.asked(page.name+" on a telephone", browsertest.Named)
		r.shot()
	}
	r.expects("404")
}

// TestTheTableByKeyboard does all by Tab, Enter and Space.
func TestTheTableByKeyboard(t *testing.T) {
	s := serve(t)
	s.many(3)
	r := s.open("/", browsertest.Desk)
	r.wait(rows + " === 3")
	r.press(browser.Tab)
	is(r, "document.activeElement.textContent", "Skip to the content")
	r.press(browser.Enter)
	is(r, "document.activeElement.id", "main")
	to := func(selector string) {
		t.Helper()
		for range 60 {
			r.press(browser.Tab)
			if eval[bool](r, "document.activeElement.matches("+quote(selector)+")") {
				return
			}
		}
		r.must(fmt.Errorf("Tab does not come to %s", selector))
	}
	to(the("search"))
	r.must(r.Insert("run"))
	to(the("sort-seed"))
	r.press(browser.Enter)
	r.wait(first + " === 'run-000' && document.querySelector('th[aria-sort=ascending]')")
	is(r, "document.activeElement.dataset.part", "sort-seed")
	to(the("choose"))
	r.press(" ")
	to("tr:nth-child(2) " + the("choose"))
	r.press(" ")
	to(the("compare"))
	r.press(browser.Enter)
	r.says(the("side-a"), "run-000")
}
