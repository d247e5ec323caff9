package page

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/report"
	"github.com/hacheck/hacheck/report/document"
)

// hostile is what a system may call a node or put into an error, if it wants to be rude.
const hostile = "<script>alert(1)</script><!--<script>\"'`]]></noscript></title><img src=x onerror=alert(2)>\u2028\u2029\x00\xff&lt;"

// rude returns a page in which all that comes from outside is hostile.
func rude() *document.Page {
	calls := []document.Call{{Invoke: 1, Complete: 2, From: 3, To: 4, Process: hostile, Node: hostile, F: hostile, What: hostile, Outcome: hostile}}
	tracks := []document.Track{{Group: hostile, Name: hostile, Slices: []document.Slice{{From: 1, To: 2, Label: hostile, Class: hostile}}}}
	return &document.Page{
		Document: document.Document{
			Title: hostile, Verdict: hostile, Note: hostile, Trouble: []string{hostile},
			Facts: []document.Fact{{Name: hostile, Text: hostile}}, Began: hostile, Duration: 5,
			Parts:     []document.Part{{Name: hostile, Verdict: hostile, Note: hostile, Remarks: []string{hostile}, Counts: map[string]int64{hostile: 1}}},
			Anomalies: []document.Anomaly{{Checker: hostile, Kind: hostile, Note: hostile, Calls: calls, Key: hostile, Around: calls, Tracks: tracks, Artifact: hostile}},
			Functions: []document.Function{{Name: hostile}},
			Faults:    []document.Fault{{Name: hostile, What: hostile, Evidence: hostile, Failed: hostile, Nodes: []string{hostile}}},
			Tables:    []document.Table{{Title: hostile, Columns: []string{hostile}, Rows: [][]string{{hostile}}, Align: "<"}},
			Charts:    []document.Chart{{ID: hostile, Title: hostile, Unit: hostile, Lines: []document.Line{{Name: hostile, Class: hostile}}, Note: hostile}},
			Strips:    tracks, Tracks: tracks, Schedule: hostile,
			Again: []document.Command{{Purpose: hostile, Command: hostile}},
			Logs:  []document.Log{{Node: hostile, Path: hostile, Lines: []document.LogLine{{Text: hostile}}}},
			Files: []document.File{{Path: hostile, About: hostile}},
			Ops:   document.Index{Functions: []string{hostile}, Keys: []string{hostile}, Nodes: []string{hostile}, Errors: []string{hostile}},
		},
		Data: []byte(hostile),
	}
}

func render(t *testing.T, p *document.Page) string {
	t.Helper()
	encoded, err := encode(p)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := write(&b, p, encoded); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// An element is what lies between a start tag and its end, as a browser finds it: the first
// end tag ends a script.
var scripts = regexp.MustCompile(`(?is)<script\b([^>]*)>(.*?)</script`)

// withoutOurs returns a page without its own scripts and style.
func withoutOurs(t *testing.T, html string) (rest string, found [][]string) {
	t.Helper()
	found = scripts.FindAllStringSubmatch(html, -1)
	rest = scripts.ReplaceAllString(html, "")
	if n := strings.Count(rest, style); n != 1 {
		t.Fatalf("the style stands %d times in the page, want once as it is", n)
	}
	return strings.Replace(rest, style, "", 1), found
}

func TestWhatIsHostileStaysText(t *testing.T) {
	html := render(t, rude())
	rest, found := withoutOurs(t, html)
	if len(found) != 3 {
		t.Fatalf("%d scripts, want three: the document, what draws it, the data", len(found))
	}
	for _, raw := range []string{"<script", "<img", "onerror=alert(2)>", "<!--", "\"'`"} {
		if i := strings.Index(strings.ToLower(rest), raw); i >= 0 {
			t.Errorf("%q stands in the page as it is: ...%q", raw, rest[max(0, i-60):min(len(rest), i+60)])
		}
	}
	if n := strings.Count(rest, "</noscript"); n != 1 {
		t.Errorf("%d ends of noscript, want 1", n)
	}
	if n := strings.Count(rest, "</title"); n != 1 {
		t.Errorf("%d ends of the title, want 1", n)
	}
	if !strings.Contains(rest, "&lt;script&gt;alert(1)&lt;/script&gt;") {
		t.Error("the text does not stand in the page for those without a script")
	}
	if !utf8.ValidString(html) {
		t.Error("the page is no UTF-8")
	}
	if strings.ContainsRune(html, 0) {
		t.Error("a NUL stands in the page")
	}
	for _, raw := range []string{"<", "\u2028", "\u2029"} {
		if strings.Contains(found[0][2], raw) {
			t.Errorf("%q stands in the document as it is", raw)
		}
	}
}

func TestTheDocumentCanBeReadAgain(t *testing.T) {
	p := rude()
	_, found := withoutOurs(t, render(t, p))
	var got document.Document
	if err := json.Unmarshal([]byte(found[0][2]), &got); err != nil {
		t.Fatal(err)
	}
	if want := strings.ToValidUTF8(hostile, "\uFFFD"); got.Title != want || got.Logs[0].Lines[0].Text != want {
		t.Errorf("got %q and %q, want %q", got.Title, got.Logs[0].Lines[0].Text, want)
	}
	data, err := base64.StdEncoding.DecodeString(found[2][2])
	if err != nil || !bytes.Equal(data, p.Data) {
		t.Errorf("data are %q (%v), want %q", data, err, p.Data)
	}
}

func TestNothingButTheScriptMayRun(t *testing.T) {
	html := render(t, rude())
	_, found := withoutOurs(t, html)
	m := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy" content="([^"]*)">`).FindStringSubmatch(html)
	if m == nil {
		t.Fatal("no policy")
	}
	got := strings.NewReplacer("&#39;", "'", "&#43;", "+").Replace(m[1])
	sum := sha256.Sum256([]byte(found[1][2]))
	want := "default-src 'none'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; "
	if !strings.HasPrefix(got, want) {
		t.Errorf("policy is %s, want it to begin with %s", got, want)
	}
	if at, first := strings.Index(html, m[0]), strings.Index(html, "<script"); at > first {
		t.Error("the policy comes after a script")
	}
	if found[1][2] != script || strings.ContainsAny(script, "\r\x00") {
		t.Error("the script is not what a browser hashes: it would read its line ends otherwise")
	}
	for _, kind := range []int{0, 2} {
		if !strings.Contains(found[kind][1], `type="`) {
			t.Errorf("script %d says of no type, and would run", kind)
		}
	}
}

// loads are the ways in which a page asks for something else as it opens.
var loads = regexp.MustCompile(`(?i)(\ssrc=|@import|url\(|<link[^>]*href=)\s*["']?([^"')>\s]*)`)

func TestThePageAsksNobody(t *testing.T) {
	html := render(t, &document.Page{Document: document.Document{Title: "a run", Verdict: "valid"}})
	rest, _ := withoutOurs(t, html)
	for _, part := range []string{rest, style} {
		for _, m := range loads.FindAllStringSubmatch(part, -1) {
			if !strings.HasPrefix(m[2], "data:") && !strings.HasPrefix(m[2], "#") {
				t.Errorf("%s %s is loaded", m[1], m[2])
			}
		}
	}
	if !strings.Contains(rest, `<link rel="icon" href="data:image/svg`) {
		t.Error("there is no icon, and so the browser asks for one")
	}
}

func TestWhoHasNoScriptReadsTheVerdict(t *testing.T) {
	html := render(t, &document.Page{Document: document.Document{
		Title: "raftkv register", Verdict: "invalid", Note: "invalid: linearizable",
		Parts: []document.Part{{Name: "linearizable", Verdict: "invalid", Note: "61 keys", Remarks: []string{"one was slow"}}},
		Anomalies: []document.Anomaly{{Kind: "stale read", Note: "process 2 read 7, which 9 had replaced", Calls: []document.Call{
			{Invoke: 17, From: 4213448, To: document.Open, Process: "2", Node: "n2", What: "read k1 → 7"},
		}}},
		Again: []document.Command{{Purpose: "check it again", Command: "hacheck check history.jsonl"}},
	}})
	from, to := strings.Index(html, "<noscript>"), strings.Index(html, "</noscript>")
	if from < 0 || to < from {
		t.Fatal("there is nothing for those without a script")
	}
	for _, want := range []string{
		"✕ invalid", "raftkv register", "invalid: linearizable", "61 keys", "one was slow", "stale read",
		"process 2 read 7, which 9 had replaced", "<td>17</td><td>4.213448</td><td>?</td><td>2</td><td>n2</td><td>read k1 → 7</td>",
		"check it again", "hacheck check history.jsonl",
	} {
		if !strings.Contains(html[from:to], want) {
			t.Errorf("%q is not among what is read without a script", want)
		}
	}
	if !strings.Contains(html, "<title>invalid: raftkv register</title>") {
		t.Error("the title does not say the verdict")
	}
}

func TestWhoHasNoScriptReadsTheTimesOfACounter(t *testing.T) {
	html := render(t, &document.Page{Document: document.Document{Unit: 1, Anomalies: []document.Anomaly{{Calls: []document.Call{
		{Invoke: 17, From: 12345, To: 12350, Process: "2", What: "read k1 → 7", Outcome: "ok"},
		{Invoke: 18, From: 12346, To: 12346, Process: "observer", What: "boot vm1", Outcome: "event"},
	}}}}})
	for _, want := range []string{
		"<th>from (ns)</th><th>to (ns)</th>", "<td>17</td><td>12345</td><td>12350</td>", "<td>18</td><td>12346</td><td></td><td>observer</td>",
	} {
		if !strings.Contains(html, want) {
			t.Errorf("%q is not among what is read without a script", want)
		}
	}
}

func TestWhoHasNoScriptReadsNothingTurnedAround(t *testing.T) {
	html := render(t, &document.Page{Document: document.Document{Title: "a\u202eb", Anomalies: []document.Anomaly{{Note: "read \u20667 of 9"}}}})
	head := html[:strings.Index(html, "<script")]
	if strings.ContainsAny(head, "\u202e\u2066") || strings.Count(head, "\uFFFD") != 3 { // two titles and a sentence
		t.Errorf("it is %q", head[strings.Index(head, "<noscript>"):])
	}
}

func TestAPageOfNothingIsSmall(t *testing.T) {
	h, err := histories.Read(strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	s := document.Source{Run: report.Run{Title: "nothing", History: h, Result: checker.Result{Name: "nothing"}}}
	if err := Write(t.Context(), &b, s); err != nil {
		t.Fatal(err)
	}
	if size := b.Len(); size > len(script)+len(style)+20_000 {
		t.Errorf("%d bytes for no operation, of which %d are script and style", size, len(script)+len(style))
	}
	if !strings.Contains(b.String(), "unknown: nothing") {
		t.Error("the title does not say that nothing is known")
	}
}

type full struct{ after int }

func (f *full) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, errFull
	}
	return len(p), nil
}

var errFull = errors.New("no space left")

func TestWhatCannotBeWrittenIsAnError(t *testing.T) {
	for _, after := range []int{0, 70_000} {
		if err := write(&full{after}, rude(), make([]byte, 100_000)); !errors.Is(err, errFull) {
			t.Errorf("with room for %d bytes: %v, want %v", after, err, errFull)
		}
	}
}
