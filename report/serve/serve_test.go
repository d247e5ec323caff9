package serve

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/report"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// A shelf is a store that tests put runs into, and what serves it.
type shelf struct {
	testing.TB
	root string
	*Server
}

// serve serves an empty store, which is looked at again for each request.
func serve(t testing.TB, change ...func(o *Options)) *shelf {
	t.Helper()
	o := Options{Store: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, c := range change {
		c(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.stale = 0
	t.Cleanup(func() { s.Close() })
	return &shelf{t, o.Store, s}
}

const results = `{"name": "register", "verdict": "invalid", "parts": [
	{"name": "linearizable", "verdict": "invalid", "note": "it is not", "counts": {"keys": 5}, "anomalies": [
		{"kind": "stale read", "note": "x"}, {"kind": "stale read", "note": "y"}, {"kind": "<b>lost</b>", "note": "z"}]},
	{"name": "stats", "verdict": "valid", "counts": {"ok": 100, "fail": 20, "info": 3}, "parts": [
		{"name": "read", "verdict": "valid", "counts": {"ok": 60, "median_us": 1000, "p99_us": 9000}},
		{"name": "cas", "verdict": "valid", "counts": {"fail": 20}}]},
	{"name": "faults", "verdict": "valid", "parts": [{"name": "kill", "verdict": "valid", "counts": {"begun": 2, "acted": 1}}]},
	{"name": "recovery", "verdict": "valid", "counts": {"took_us": 6046}},
	{"name": "availability", "verdict": "valid", "counts": {"longest_gap_us": 1000, "longest_gap_at_us": 7, "fault_answered_permille": 998}, "parts": [
		{"name": "by fault", "verdict": "valid", "parts": [
			{"name": "kill", "verdict": "valid", "counts": {"faults": 2, "begin_answer_median_us": 3344}}]}]},
	{"name": "coverage", "verdict": "valid", "counts": {"states": 38}}]}`

// put makes a run that has ended.
func (s *shelf) put(name string, began time.Time, change func(i *store.Info)) *store.Run {
	s.Helper()
	r, err := store.Create(s.root, name, began)
	if err != nil {
		s.Fatal(err)
	}
	ended := began.Add(21 * time.Second)
	i := store.Info{System: "raftkv", Workload: "register", Began: began, Ended: &ended, Verdict: "valid", Options: store.Options{Nodes: 5}}
	if change != nil {
		change(&i)
	}
	if err := r.WriteInfo(i); err != nil {
		s.Fatal(err)
	}
	return r
}

func (s *shelf) write(path, text string) {
	s.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		s.Fatal(err)
	}
}

// ask sends a request as a browser on this machine does.
func (s *shelf) ask(method, target string, change ...func(r *http.Request)) *httptest.ResponseRecorder {
	s.Helper()
	r := httptest.NewRequest(method, "http://localhost:8080/", nil)
	path, query, _ := strings.Cut(target, "?")
	u, err := url.ParseRequestURI(path)
	if err != nil { // not one that a parser lets through
		u = &url.URL{Path: path}
	}
	u.RawQuery = query
	r.URL = u
	r = r.WithContext(s.Context())
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func with(name, value string) func(r *http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// get returns what is answered, as a value.
func get[T any](s *shelf, target string) (v T) {
	s.Helper()
	w := s.ask("GET", target)
	if w.Code != http.StatusOK {
		s.Fatalf("%s: %d %s", target, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		s.Fatalf("%s: %v", target, err)
	}
	return v
}

const one = "a/20261124T120000Z"

func TestTheTableIsFilteredSortedAndCut(t *testing.T) {
	s := serve(t)
	for i := range 7 {
		s.put(fmt.Sprintf("n%d", i), noon.Add(time.Duration(i)*time.Hour), func(info *store.Info) {
			info.Options.Seed = 1<<63 + uint64(i%3)
			info.System = []string{"raftkv", "vmsched"}[i%2]
			if i == 4 {
				info.Bug, info.Verdict = "stale-read", "invalid"
			}
			if i == 5 {
				info.Ended, info.Verdict = nil, ""
			}
			info.Nemesis = []string{"partition", "Kill:leader"}[:i%3]
		})
	}

	inner, err := store.Create(filepath.Join(s.root, "n6/20261124T180000Z/shrink/001"), "s", noon)
	if err != nil {
		t.Fatal(err)
	}
	inner.WriteInfo(store.Info{System: "raftkv", Workload: "inner"})

	for query, want := range map[string]string{
		"":                                "n6 n5 n4 n3 n2 n1 n0",
		"?order=asc":                      "n0 n1 n2 n3 n4 n5 n6",
		"?sort=seed":                      "n6 n3 n0 n4 n1 n5 n2",
		"?sort=seed&order=desc":           "n5 n2 n4 n1 n6 n3 n0",
		"?sort=system&limit=5":            "n6 n4 n2 n0 n5",
		"?sort=verdict&limit=1":           "n4",
		"?sort=nemesis&order=asc&limit=2": "n6 n3",
		"?limit=2&offset=1":               "n5 n4",
		"?offset=100":                     "",
		"?limit=0":                        "",
		"?q=VMSCHED":                      "n5 n3 n1",
		"?q=raftkv+stale":                 "n4",
		"?q=9223372036854775809":          "n4 n1",
		"?q=kill":                         "n5 n2",
		"?q=nothing":                      "",
		"?verdict=invalid":                "n4",
		"?verdict=ended+early":            "n5",
		"?system=vmsched&verdict=valid":   "n3 n1",
		"?bug=none&q=n4":                  "",
		"?nemesis=none":                   "n6 n3 n0",
		"?nemesis=partition":              "n4 n1",
	} {
		runs := get[Runs](s, "/api/runs"+query)
		var got []string
		for _, r := range runs.Rows {
			got = append(got, r.Path[:2])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", query, got, want)
		}
		if runs.Total != 8 || runs.Inner != 1 {
			t.Errorf("%s: %d runs, %d in others", query, runs.Total, runs.Inner)
		}
	}
	if runs := get[Runs](s, "/api/runs?inner=1&q=inner"); runs.Matched != 1 || runs.Rows[0].Parent != "n6/20261124T180000Z" {
		t.Errorf("those in others: %+v", runs.Rows)
	}
	if runs := get[Runs](s, "/api/runs?limit=2&q=raftkv"); runs.Matched != 4 {
		t.Errorf("%d match, want 4", runs.Matched)
	}
	for _, query := range []string{"?sort=x", "?order=x", "?limit=x", "?limit=-1", "?limit=501", "?offset=-1", "?offset=99999999999999999999"} {
		if w := s.ask("GET", "/api/runs"+query); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", query, w.Code)
		}
	}
}

func TestARowTellsWhatIsKnown(t *testing.T) {
	s := serve(t)
	r := s.put("a", noon, func(i *store.Info) {
		i.Options.Seed = 1<<64 - 1
		i.Schedule = []store.Scheduled{{Fault: "kill"}}
	})
	s.write(r.File(store.ResultsFile), results)
	s.write(r.File(store.ReportFile), "")
	s.put("b", noon.Add(-time.Hour), nil)
	runs := get[Runs](s, "/api/runs")
	a, b := runs.Rows[0], runs.Rows[1]
	if a.Seed != "18446744073709551615" || a.Nemesis != "a schedule of 1 fault" || a.Outcome != "invalid" || !a.Report ||
		a.OK != 100 || a.Fail != 20 || a.Info != 3 || a.States != 38 || a.Begun != 2 || a.Acted != 1 ||
		!slices.Equal(a.Kinds, []string{"stale read", "<b>lost</b>"}) || a.Began != noon.UnixMilli() || a.Duration != 21000 {
		t.Errorf("got %+v", a)
	}
	if b.OK != -1 || b.Begun != -1 || b.Outcome != "valid" || b.Report {
		t.Errorf("what is not known is told: %+v", b)
	}
	// A torn verdict.
	s.write(r.File(store.ResultsFile), results[:200])
	if a := get[Runs](s, "/api/runs").Rows[0]; a.OK != -1 || !strings.Contains(a.Flaw, store.ResultsFile) || a.Outcome != "valid" {
		t.Errorf("torn: %+v", a)
	}
}

func TestARunInDetail(t *testing.T) {
	s := serve(t, func(o *Options) {
		o.Commands = func(dir string) []report.Next { return []report.Next{{Purpose: "again:", Command: "check " + dir}} }
	})
	r := s.put("a", noon, nil)
	s.write(filepath.Join(r.Nodes(), "n1", "n1.log"), "12345")
	inner, _ := store.Create(filepath.Join(r.Dir, store.ShrinkDir, "001"), "s", noon)
	inner.WriteInfo(store.Info{})
	release, err := inner.Hold()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	d := get[Detail](s, "/api/run/"+one)
	if d.Files != 3 || d.Bytes < 5 || len(d.Inner) != 1 || !strings.Contains(d.Kept, "going on") {
		t.Errorf("got %+v", d)
	}
	if want := []Command{{"again:", "check " + r.Dir}}; !slices.Equal(d.Commands, want) {
		t.Errorf("got %v, want %v", d.Commands, want)
	}
	if d := get[Detail](s, "/api/run/"+one+"/shrink/001/s/20261124T120000Z"); d.Row.State != "running" || d.Kept == "" {
		t.Errorf("one that runs: %+v", d)
	}
	for _, path := range []string{"a", "a/latest", "b/1", one + "/nodes"} {
		if w := s.ask("GET", "/api/run/"+path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestFilesHaveTypesThatDoNoHarm(t *testing.T) {
	s := serve(t)
	r := s.put("a", noon, nil)
	for name, want := range map[string]struct{ kind, policy string }{
		"report.html":            {"text/html", "sandbox allow-scripts"},
		"linearizable-k0.html":   {"text/html", "sandbox allow-scripts"},
		"coverage.svg":           {"image/svg+xml", "sandbox;"},
		"results.json":           {"text/plain", "sandbox;"},
		"history.jsonl":          {"text/plain", "sandbox;"},
		"junit.xml":              {"text/plain", "sandbox;"},
		"nodes/n1/n1.log":        {"text/plain", "sandbox;"},
		"nodes/n1/evil.html":     {"text/plain", "sandbox;"},
		"nodes/n1/evil.svg":      {"text/plain", "sandbox;"},
		"nodes/n1/evil.HTML":     {"text/plain", "sandbox;"},
		"nodes/n1/evil.js":       {"application/octet-stream", "sandbox;"},
		"nodes/n1/data/raft.db":  {"application/octet-stream", "sandbox;"},
		"evil.htm":               {"application/octet-stream", "sandbox;"},
		"nodes/n1/a b&<c>#?.log": {"text/plain", "sandbox;"},
	} {
		s.write(r.File(name), "<script>alert(1)</script>")
		w := s.ask("GET", link("/run", one, name))
		h := w.Header()
		if w.Code != http.StatusOK || w.Body.String() != "<script>alert(1)</script>" {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		policy := h.Get("Content-Security-Policy")
		if !strings.HasPrefix(h.Get("Content-Type"), want.kind) || !strings.HasPrefix(policy, want.policy) ||
			!strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "allow-same-origin") ||
			h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", name, h)
		}
		if attached := h.Get("Content-Disposition") == "attachment"; attached != (want.kind == "application/octet-stream") {
			t.Errorf("%s: attached: %v", name, attached)
		}
	}
	w := s.ask("GET", "/run/"+one+"/nodes/n1/n1.log", with("Range", "bytes=1-3"))
	if w.Code != http.StatusPartialContent || w.Body.String() != "scr" {
		t.Errorf("a part: %d %s", w.Code, w.Body)
	}
}

func TestADirectoryIsListedAsText(t *testing.T) {
	s := serve(t)
	r := s.put("a", noon, nil)
	evil := `<img src=x onerror=alert(1)>.log`
	s.write(r.File(evil), "12345")
	s.write(r.File("nodes/n1/x"), "")
	os.Symlink("/etc/passwd", r.File("link"))
	for _, path := range []string{"/run/" + one, "/run/" + one + "/"} {
		w := s.ask("GET", path)
		body := w.Body.String()
		if w.Code != http.StatusOK || strings.Contains(body, "<img") {
			t.Errorf("%d\n%s", w.Code, body)
		}
		for _, want := range []string{
			"&lt;img src=x", link("/run", one, evil), "5 B", link("/run", one, "nodes"), "a symlink", link("/api/zip", one),
			"what was asked for",
		} {
			if !strings.Contains(body, want) {
				t.Errorf("%s is not in\n%s", want, body)
			}
		}
		if strings.Contains(body, `href="`+link("/run", one, "link")) {
			t.Error("a symlink is linked")
		}
	}
	if body := s.ask("GET", "/run/"+one+"/nodes").Body.String(); !strings.Contains(body, link("/run", one, "nodes/n1")) {
		t.Errorf("a folder in it:\n%s", body)
	}
}

// TestNothingOutsideIsReached asks for a file beside the store, and for what of the store
// is no run's, in all ways.
func TestNothingOutsideIsReached(t *testing.T) {
	s := serve(t)
	r := s.put("a", noon, nil)
	secret := filepath.Join(filepath.Dir(s.root), "secret.log")
	s.write(secret, "secret")
	s.write(filepath.Join(s.root, "secret.log"), "secret") // in the store, of no run
	s.write(filepath.Join(s.root, "a", "secret.log"), "secret")
	for name, to := range map[string]string{
		"absolute.log": secret, "relative.log": "../../../secret.log", "folder": filepath.Dir(s.root), "proc.log": "/proc/self/environ",
	} {
		if err := os.Symlink(to, r.File(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(r.File("pipe.log"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"/run/", "/api/run/", "/api/zip/", "/api/live/", "/live/"} {
		for _, path := range []string{
			"secret.log", "a/secret.log", "a", "latest", ".index.json", "../secret.log", one + "/../../../secret.log", one + "/../secret.log",
			one + "/%2e%2e/%2e%2e/%2e%2e/secret.log", one + "/..%2f..%2f..%2fsecret.log", "..%2fsecret.log", "a%2f20261124T120000Z/run.json",
			"%2fetc%2fpasswd", "/etc/passwd", "//etc/passwd", one + "//run.json", one + "/./run.json", one + "/x%00.log", "a%00", one + "/..\\secret.log",
			one + "/..%5csecret.log", one + "/absolute.log", one + "/relative.log", one + "/folder/secret.log", one + "/folder",
			one + "/proc.log", one + "/pipe.log", one + "/none", "",
		} {
			w := s.ask("GET", prefix+path)
			if w.Code != http.StatusNotFound && w.Code != http.StatusBadRequest {
				t.Errorf("GET %s%s: %d %.100s", prefix, path, w.Code, w.Body)
			}
			if strings.Contains(w.Body.String(), "secret\n") || w.Body.String() == "secret" || strings.Contains(w.Body.String(), "PATH=") {
				t.Errorf("GET %s%s tells the secret", prefix, path)
			}
			// These are refused for how they are spelled, before anything is looked for.
			spelled := strings.Contains(path, "..") || strings.Contains(path, "%") || strings.Contains(path, "/./") || strings.Contains(path, "//") || strings.HasPrefix(path, "/")
			if spelled != (w.Code == http.StatusBadRequest) {
				t.Errorf("GET %s%s: %d", prefix, path, w.Code)
			}
		}
	}
	for _, path := range []string{"/etc/passwd", "/a/..", "/api", "/api/", "/assets/", "/assets/serve.ts", "/index.html", "/favicon.ico", "relative", "*"} {
		if w := s.ask("GET", path); w.Code != http.StatusNotFound && w.Code != http.StatusBadRequest {
			t.Errorf("GET %s: %d", path, w.Code)
		}
	}
	if w := s.ask("POST", "/api/runs"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

func TestPagesLoadNothingOfElsewhere(t *testing.T) {
	evil := `"><script>alert(1)`
	s := serve(t, func(o *Options) { o.Store = filepath.Join(o.Store, evil); os.Mkdir(o.Store, 0o777) })
	s.put("a", noon, nil)
	for _, path := range []string{"/", "/compare?a=x&b=y", "/live/" + one, "/run/" + one, "/nothing", "/run/nothing"} {
		w := s.ask("GET", path)
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
			t.Errorf("%s: %s", path, policy)
		}
		if body := w.Body.String(); strings.Contains(body, evil) || strings.Contains(body, "style=") {
			t.Errorf("%s:\n%s", path, body)
		}
	}
	body := s.ask("GET", "/").Body.String()
	for _, name := range []string{"serve.js", "serve.css"} {
		_, after, ok := strings.Cut(body, `"/assets/`+name)
		query, _, _ := strings.Cut(after, `"`)
		w := s.ask("GET", "/assets/"+name+query)
		if !ok || w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s%s: %d %v", name, query, w.Code, w.Header())
		}
		if w := s.ask("GET", "/assets/"+name+"?v=old"); strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("an old version of %s is kept for ever", name)
		}
	}
}

func TestLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:8080": true, "localhost:0": true, "LOCALHOST:1": true, "[::1]:80": true, "127.8.9.1:1": true, "[::ffff:127.0.0.1]:1": true,
		"0.0.0.0:80": false, ":80": false, "[::]:80": false, "192.168.1.1:80": false, "example.com:80": false, "": false,
		"localhost.example.com:80": false, "127.0.0.1.example.com:80": false,
	} {
		if got := Loopback(address); got != want {
			t.Errorf("Loopback(%q) = %v", address, got)
		}
	}
}

func TestOnlyItsOwnNamesAreAnswered(t *testing.T) {
	local := func(address string) func(r *http.Request) {
		a, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return func(r *http.Request) {
			*r = *r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(a)))
		}
	}
	for _, c := range []struct {
		listen, host string
		want         bool
	}{
		{"127.0.0.1:8080", "127.0.0.1:8080", true},
		{"127.0.0.1:8080", "localhost:8080", true},
		{"127.0.0.1:8080", "localhost", true},
		{"127.0.0.1:8080", "localhost.:8080", true},
		{"127.0.0.1:8080", "[::1]:8080", true},
		{"127.0.0.1:8080", "evil.example:8080", false},
		{"127.0.0.1:8080", "127.0.0.1.evil.example", false},
		{"127.0.0.1:8080", "10.0.0.5:8080", false},
		{"127.0.0.1:8080", "", false},
		{"", "10.0.0.5:8080", false},
		{"10.0.0.5:8080", "10.0.0.5:8080", true},
		{"10.0.0.5:8080", "evil.example", false},
		{"lab.example:8080", "LAB.example:8080", true},
		{"lab.example:8080", "evil.example:8080", false},
		{":8080", "10.0.0.5:8080", true},
		{"0.0.0.0:8080", "10.0.0.5:8080", true},
		{"0.0.0.0:8080", "10.0.0.6:8080", false},
		{"[::]:8080", "evil.example:8080", false},
		{":8080", "named.example:8080", true},
	} {
		s := serve(t, func(o *Options) { o.Listen, o.Names = c.listen, []string{"named.example"} })
		w := s.ask("GET", "/api/runs", func(r *http.Request) { r.Host = c.host }, local("10.0.0.5:8080"))
		if got := w.Code == http.StatusOK; got != c.want || !got && w.Code != http.StatusMisdirectedRequest {
			t.Errorf("listening on %q, asked as %q: %d", c.listen, c.host, w.Code)
		}
	}
}

func TestOnlyItsOwnPagesDelete(t *testing.T) {
	s := serve(t)
	r := s.put("a", noon, nil)
	header := with("X-Hacheck", "delete")
	for name, change := range map[string][]func(r *http.Request){
		"without the header":     nil,
		"with another header":    {with("X-Hacheck", "keep")},
		"of another origin":      {header, with("Origin", "http://evil.example")},
		"of another port":        {header, with("Origin", "http://localhost:9999")},
		"of no origin":           {header, with("Origin", "null")},
		"of another site":        {header, with("Sec-Fetch-Site", "cross-site")},
		"of another port's page": {header, with("Sec-Fetch-Site", "same-site")},
		"of a rebound name":      {header, func(r *http.Request) { r.Host = "evil.example:8080" }, with("Origin", "http://evil.example:8080")},
	} {
		if w := s.ask("DELETE", "/api/runs/"+one, change...); w.Code != http.StatusForbidden && w.Code != http.StatusMisdirectedRequest {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	for _, method := range []string{"GET", "POST", "OPTIONS"} {
		if w := s.ask(method, "/api/runs/"+one, header); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
	if _, err := os.Stat(r.Dir); err != nil {
		t.Fatalf("it was deleted: %v", err)
	}
	w := s.ask("DELETE", "/api/runs/"+one, header, with("Origin", "http://localhost:8080"), with("Sec-Fetch-Site", "same-origin"))
	if w.Code != http.StatusNoContent {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if _, err := os.Stat(r.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is there: %v", err)
	}
	if runs := get[Runs](s, "/api/runs"); runs.Total != 0 {
		t.Errorf("%d runs are told", runs.Total)
	}
	if w := s.ask("DELETE", "/api/runs/"+one, header); w.Code != http.StatusNotFound {
		t.Errorf("once more: %d", w.Code)
	}
}

func TestWhatIsNotDeleted(t *testing.T) {
	header := with("X-Hacheck", "delete")
	s := serve(t)
	r := s.put("a", noon, nil)
	release, err := r.Hold()
	if err != nil {
		t.Fatal(err)
	}
	if w := s.ask("DELETE", "/api/runs/"+one, header); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "going on") {
		t.Errorf("one that goes on: %d %s", w.Code, w.Body)
	}
	release()
	for _, path := range []string{"a", "", ".", one + "/nodes", "a%2f20261124T120000Z", one + "/..", "..", "latest"} {
		if w := s.ask("DELETE", "/api/runs/"+path, header); w.Code != http.StatusNotFound && w.Code != http.StatusBadRequest && w.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	s.ReadOnly = true
	if w := s.ask("DELETE", "/api/runs/"+one, header); w.Code != http.StatusForbidden {
		t.Errorf("read only: %d", w.Code)
	}
	if !strings.Contains(s.ask("GET", "/").Body.String(), "data-read-only") {
		t.Error("the page does not know that it only shows")
	}
	if _, err := r.Info(); err != nil {
		t.Error(err)
	}
}

func TestDeletionsAtOnce(t *testing.T) {
	s := serve(t)
	const runs = 6
	for i := range runs {
		s.put("a", noon.Add(time.Duration(i)*time.Second), nil)
	}
	rows := get[Runs](s, "/api/runs").Rows
	var mu sync.Mutex
	codes := map[int]int{}
	var deleting sync.WaitGroup
	for range 3 {
		for _, r := range rows {
			deleting.Go(func() {
				w := s.ask("DELETE", "/api/runs/"+r.Path, with("X-Hacheck", "delete"))
				mu.Lock()
				defer mu.Unlock()
				codes[w.Code]++
			})
			deleting.Go(func() {
				if w := s.ask("GET", "/run/"+r.Path+"/run.json"); w.Code != http.StatusOK && w.Code != http.StatusNotFound {
					t.Errorf("a file meanwhile: %d %s", w.Code, w.Body)
				}
			})
		}
	}
	deleting.Wait()
	if codes[http.StatusNoContent] != runs || codes[http.StatusNotFound] != 2*runs {
		t.Errorf("got %v", codes)
	}
}

func TestForeignPagesMakeNoWork(t *testing.T) {
	s := serve(t)
	s.put("a", noon, nil)
	for _, path := range []string{"/api/runs", "/api/zip/" + one, "/api/compare?a=" + one + "&b=" + one, "/api/events"} {
		for _, site := range []string{"cross-site", "same-site"} {
			if w := s.ask("GET", path, with("Sec-Fetch-Site", site)); w.Code != http.StatusForbidden {
				t.Errorf("%s, %s: %d", path, site, w.Code)
			}
		}
	}
	for _, site := range []string{"same-origin", "none"} {
		if w := s.ask("GET", "/api/runs", with("Sec-Fetch-Site", site)); w.Code != http.StatusOK {
			t.Errorf("%s: %d", site, w.Code)
		}
	}
	if w := s.ask("GET", "/run/"+one+"/run.json", with("Sec-Fetch-Site", "cross-site")); w.Code != http.StatusOK {
		t.Errorf("a link of a report, which has no origin: %d", w.Code)
	}
}

func TestAZipHasTheFilesAndNothingElse(t *testing.T) {
	s := serve(t)
	r := s.put("a+b", noon, nil)
	long := strings.Repeat("0123456789", 100_000)
	s.write(r.File("nodes/n1/n1.log"), long)
	s.write(r.File("empty.log"), "")
	s.write(filepath.Join(s.root, "secret"), "secret")
	os.Symlink(filepath.Join(s.root, "secret"), r.File("link"))
	os.Symlink("../../..", r.File("folder"))
	syscall.Mkfifo(r.File("pipe"), 0o666)
	release, err := r.Hold()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	w := s.ask("GET", "/api/zip/a+b/20261124T120000Z")
	if w.Code != http.StatusOK || w.Header().Get("Content-Disposition") != `attachment; filename="a+b-20261124T120000Z.zip"` {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	z, err := zip.NewReader(bytes.NewReader(w.Body.Bytes()), int64(w.Body.Len()))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range z.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		got[f.Name] = string(b)
	}
	info, _ := os.ReadFile(r.File(store.InfoFile))
	want := map[string]string{"run.json": string(info), "nodes/n1/n1.log": long, "empty.log": ""}
	if len(got) != len(want) {
		t.Errorf("got %d files", len(got))
	}
	for name, text := range want {
		if got["a+b/20261124T120000Z/"+name] != text {
			t.Errorf("%s differs", name)
		}
	}
}

// A leaving is a writer whose reader goes after some bytes.
type leaving struct {
	*httptest.ResponseRecorder
	left int
	gone func()
}

func (l *leaving) Write(b []byte) (int, error) {
	if l.left -= len(b); l.left < 0 {
		l.gone()
		return 0, io.ErrClosedPipe
	}
	return l.ResponseRecorder.Write(b)
}

func TestAZipEndsWithItsReader(t *testing.T) {
	s := serve(t)
	r := s.put("a", noon, nil)
	noise := make([]byte, 1<<20) // which no zip makes smaller
	if _, err := rand.NewChaCha8([32]byte{}).Read(noise); err != nil {
		t.Fatal(err)
	}
	s.write(r.File("n.log"), string(noise))
	ctx, gone := context.WithCancel(t.Context())
	w := &leaving{httptest.NewRecorder(), 100_000, gone}
	request := httptest.NewRequest("GET", "http://localhost/api/zip/"+one, nil).WithContext(ctx)
	aborted := func() (cause any) {
		defer func() { cause = recover() }()
		s.ServeHTTP(w, request)
		return nil
	}()
	if err, _ := aborted.(error); !errors.Is(err, http.ErrAbortHandler) {
		t.Errorf("it ends with %v, as if it were whole", aborted)
	}
}

func TestAServerThatHasEndedSaysSo(t *testing.T) {
	s := serve(t)
	s.put("a", noon, nil)
	get[Runs](s, "/api/runs")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/api/runs", "/run/" + one, "/api/events", "/api/live/" + one} {
		if w := s.ask("GET", path); w.Code != http.StatusServiceUnavailable {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if _, err := os.Stat(filepath.Join(s.root, store.IndexFile)); err != nil {
		t.Errorf("the index is not kept: %v", err)
	}
}

func TestAServerNeedsAStore(t *testing.T) {
	if _, err := New(Options{Store: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// An event is one of a stream.
type event struct{ name, data string }

// events reads a stream until it ends. Signs of life are events without a name.
func events(r io.Reader, to chan<- event) {
	defer close(to)
	lines := bufio.NewReader(r)
	var e event
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "":
			to <- e
			e = event{}
		case strings.HasPrefix(line, "event: "):
			e.name = line[len("event: "):]
		case strings.HasPrefix(line, "data: "):
			e.data = line[len("data: "):]
		default:
			e.data += line
		}
	}
}
