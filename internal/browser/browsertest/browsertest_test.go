package browsertest

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/internal/browser"
)

func TestMain(m *testing.M) {
	m.Run()
	Close()
}

// flawed is a page that has each of the flaws, and begin one that has none.
const (
	begin = `<!doctype html><html lang="en" data-theme="light"><link rel="icon" href="data:,"><style>:root { color-scheme: light; background: white; color: black }</style>
		<script>matchMedia("(prefers-color-scheme: dark)").onchange = (e) => { document.documentElement.dataset.theme = e.matches ? "dark" : "light"; };</script>
		<button>named</button><p>text</p>`
	flawed = begin + `<p style="width: 2000px">wide</p><button id="nameless"></button><svg width="9" height="9"></svg><div role="img"></div>
		<button id="unreached" onfocus="this.blur()">unreached</button><button id="blind" style="outline: none">blind</button>
		<p style="color: #888; background: #999">dim</p><p style="opacity: 0.4">faded</p>`
)

// TestFlawsAreFound shows each question what it has to find.
func TestFlawsAreFound(t *testing.T) {
	b, err := Shared()
	if errors.Is(err, browser.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Write([]byte(map[string]string{"/clean": begin, "/flawed": flawed}[r.URL.Path]))
	}))
	defer server.Close()
	for _, test := range []struct {
		name string
		ask  func(p *browser.Page) ([]string, error)
		want []string
	}{
		{"fits", Fits, []string{"wider than the view", "wide"}},
		{"named", Named, []string{"nameless", "<svg", `role="img"`}},
		{"reached", Reached, []string{"not reach it: <button id=\"unreached\"", "focus: <button id=\"blind\""}},
		{"legible", func(p *browser.Page) ([]string, error) { return Legible(p, Desk) }, []string{"light: it is hard to read: ", ": dim", ": faded", "dark: it is hard to read: "}},
	} {
		for path, want := range map[string][]string{"/clean": nil, "/flawed": test.want} {
			p, err := b.Open(server.URL+path, Desk)
			if err != nil {
				t.Fatal(err)
			}
			flaws, err := test.ask(p)
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(flaws, "\n")
			if want == nil && all != "" {
				t.Errorf("%s of a page without flaws: %s", test.name, all)
			}
			for _, w := range want {
				if !strings.Contains(all, w) {
					t.Errorf("%s does not find %q: %s", test.name, w, all)
				}
			}
			p.Close()
		}
	}
}
