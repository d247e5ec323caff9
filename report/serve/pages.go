package serve

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/report"
	"github.com/hacheck/hacheck/report/page"
)

// ownPages is what pages of the server may do: load its script and its style sheet, and
// ask it. What runs have in them gets into pages as text alone, and would not run.
const ownPages = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// A shell is what all pages have in common. The script fills it, but for what is given.
type shell struct {
	Title string
	Page  string // "table", "compare", "live", "files", "error"
	Run   string // a path, on pages of one run
	// What is what the run was, and More is what else was asked for, in words.
	What, More string
	// ReadOnly says that there is nothing to delete with.
	ReadOnly bool
	Store    string
	Error    string
	Files    *files
}

var shells = template.Must(template.New("").Funcs(template.FuncMap{
	"version": func(name string) string { return assets[name].version },
	"size":    size,
	"shown":   report.Printable, // what anybody has named
	"moment":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
}).Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{shown .Title}}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/assets/serve.css?v={{version "serve.css"}}">
<script src="/assets/serve.js?v={{version "serve.js"}}" defer></script>
</head>
<body data-page="{{.Page}}" data-run="{{.Run}}" data-what="{{.What}}" data-more="{{.More}}" data-store="{{.Store}}"{{if .ReadOnly}} data-read-only{{end}}>
<header data-part="header"><a href="/" data-part="home">hacheck</a></header>
<main id="main" tabindex="-1">
{{- with .Error}}
<h1>Not here</h1>
<p data-part="error">{{shown .}}</p>
<p><a href="/">All runs</a></p>
{{- end}}
{{- with .Files}}
<h1>Files of a run</h1>
<nav aria-label="Path" data-part="crumbs">{{range .Crumbs}}<a href="{{.Link}}">{{shown .Name}}</a> / {{end}}</nav>
<p data-part="file-actions"><a href="{{.Zip}}" data-part="zip">Download the run as zip</a></p>
<table data-part="files">
<thead><tr><th scope="col">Name</th><th scope="col" class="number">Size</th><th scope="col">Changed (UTC)</th></tr></thead>
<tbody>
{{- range .Rows}}
<tr><td>{{if .Link}}<a href="{{.Link}}">{{shown .Name}}</a>{{else}}{{shown .Name}}{{end}}{{with .About}} <span class="faint">{{shown .}}</span>{{end}}</td><td class="number">{{if .Counted}}{{size .Size}}{{end}}</td><td>{{moment .Changed}}</td></tr>
{{- else}}
<tr><td colspan="3">nothing</td></tr>
{{- end}}
</tbody>
</table>
{{- with .More}}
<p>{{.}}</p>
{{- end}}
{{- end}}
{{- if not (or .Error .Files)}}
<noscript><p>This page needs its script. The same is told by <a href="/api/runs">/api/runs</a>, in JSON.</p></noscript>
{{- end}}
</main>
</body>
</html>
`))

func (s *Server) page(w http.ResponseWriter, status int, p shell) {
	var b strings.Builder
	p.ReadOnly, p.Store = s.ReadOnly, s.Store
	if err := shells.Execute(&b, p); err != nil {
		panic(fmt.Sprintf("serve: %v", err)) // the template is ours
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", ownPages)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(b.String()))
}

func (s *Server) tablePage(w http.ResponseWriter, _ *http.Request) {
	s.page(w, http.StatusOK, shell{Title: "Runs – hacheck", Page: "table"})
}

func (s *Server) comparePage(w http.ResponseWriter, _ *http.Request) {
	s.page(w, http.StatusOK, shell{Title: "Two runs – hacheck", Page: "compare"})
}

func (s *Server) livePage(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(r.PathValue("path"), "/")
	if e, ok := s.run(w, r, path); ok {
		what, more := about(e)
		s.page(w, http.StatusOK, shell{Title: what + " – hacheck", Page: "live", Run: path, What: what, More: more})
	}
}

// about says what a run is, and what else was asked for.
func about(e *store.Entry) (what, more string) {
	if e.System == "" { // nothing is known of it
		return e.Path, ""
	}
	faults := nemesis(e)
	if faults == "none" {
		faults = "no faults"
	}
	if e.Bug != "" {
		more = "bug " + e.Bug + ", "
	}
	return fmt.Sprintf("%s, %s, %s", e.System, e.Workload, faults), more + fmt.Sprintf("%s, seed %d", checker.Count(e.Nodes, "node"), e.Seed)
}

func (s *Server) errorPage(w http.ResponseWriter, status int, why string) {
	s.page(w, status, shell{Title: "hacheck", Page: "error", Error: why})
}

// An embedded is a file that pages load.
type embedded struct{ kind, text, version string }

func embed(kind, text string) embedded {
	sum := sha256.Sum256([]byte(text))
	return embedded{kind, text, hex.EncodeToString(sum[:6])}
}

var assets = map[string]embedded{
	"serve.js":  embed("text/javascript; charset=utf-8", page.ServeScript()),
	"serve.css": embed("text/css; charset=utf-8", page.ServeStyle()),
}

// asset serves what pages load. Pages name its version, so that browsers may keep it.
func (s *Server) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := assets[r.PathValue("name")]
	if !ok {
		s.refuse(w, r, http.StatusNotFound, "there is nothing of that name")
		return
	}
	w.Header().Set("Content-Type", a.kind)
	if r.URL.Query().Get("v") == a.version {
		w.Header().Set("Cache-Control", "max-age=31536000, immutable")
	}
	_, _ = w.Write([]byte(a.text))
}

// size says how many bytes there are, as people say it.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1_000_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}
