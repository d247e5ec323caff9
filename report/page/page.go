// Package page makes the HTML page of a run: one file with everything in it, which asks
// nobody for anything. What it shows is a [document.Document]; how, is in the folder src,
// which internal/bundle makes dist of.
package page

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/hacheck/hacheck/report"
	"github.com/hacheck/hacheck/report/document"
)

//go:generate go run github.com/hacheck/hacheck/internal/bundle

//go:embed dist/report.js
var script string

//go:embed dist/report.css
var style string

// The sizes of a page, in bytes. Data is base64 there, four bytes for three.
const (
	// maxSize is what a page may have: one that is larger opens slowly, and does not
	// travel by mail.
	maxSize = 10_000_000
	// words is what the document usually takes at most. If it is more, data make room.
	words = 2_000_000
)

// Write writes the page of a run, of at most ten million bytes unless the document alone
// takes more. Until ctx is done it works out what to show; what is not worked out then, is
// not shown.
func Write(ctx context.Context, w io.Writer, s document.Source) error {
	limit := (maxSize - words - len(script) - len(style)) / 4 * 3
	p, err := document.Build(ctx, s, limit)
	if err != nil {
		return fmt.Errorf("page: %w", err)
	}
	encoded, err := encode(p)
	if err != nil {
		return err
	}
	if over := len(encoded) - words; over > 0 && len(p.Data) > 0 {
		// It is built again with less room, rather than cut: only who builds it can say
		// what it left out.
		if p, err = document.Build(ctx, s, max(limit-over/4*3, 0)); err != nil {
			return fmt.Errorf("page: %w", err)
		}
		if encoded, err = encode(p); err != nil {
			return err
		}
	}
	return write(w, p, encoded)
}

// encode returns the document as it stands in the page: JSON without anything that could
// end a script element, since json.Marshal escapes <, > and &, and U+2028 and U+2029. Lists
// are never null.
func encode(p *document.Page) ([]byte, error) {
	encoded, err := json.Marshal(&p.Document)
	if err != nil {
		return nil, fmt.Errorf("page: document: %w", err)
	}
	return encoded, nil
}

// write writes a page. The document comes first, then the script, which draws it while the
// browser still reads the data behind.
func write(w io.Writer, p *document.Page, encoded []byte) error {
	b := bufio.NewWriterSize(w, 1<<16)
	var head bytes.Buffer
	err := top.Execute(&head, struct {
		*document.Document
		Policy  string
		Icon    template.URL
		Mark    string
		Style   template.CSS
		Verdict string
	}{&p.Document, policy(), icon(p.Document.Verdict), mark(p.Document.Verdict), template.CSS(style), word(p.Document.Verdict)})
	if err != nil {
		return fmt.Errorf("page: %w", err)
	}
	// Names and errors of a system are any bytes, and what turns text around would turn ours.
	fmt.Fprintf(b, "%s\n<script type=\"application/json\" id=\"document\">", report.Printable(head.String()))
	fmt.Fprintf(b, "%s</script>\n<script>%s</script>\n<script type=\"text/plain\" id=\"data\">", encoded, script)
	data := base64.NewEncoder(base64.StdEncoding, b)
	fmt.Fprintf(data, "%s", p.Data)
	data.Close()
	fmt.Fprint(b, "</script>\n</body>\n</html>\n")
	if err := b.Flush(); err != nil { // it remembers what failed before
		return fmt.Errorf("page: %w", err)
	}
	return nil
}

// policy is what the page may do: run this very script, and be styled. A script that got
// into it some other way does not run, and nothing is loaded from anywhere.
func policy() string {
	sum := sha256.Sum256([]byte(script))
	return "default-src 'none'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
}

// word is a verdict that is surely one of the three.
func word(verdict string) string {
	switch verdict {
	case "valid", "invalid":
		return verdict
	}
	return "unknown"
}

func mark(verdict string) string {
	switch verdict {
	case "valid":
		return "✓"
	case "invalid":
		return "✕"
	}
	return "?"
}

// icon is a picture of a verdict for the browser's tab, within the page.
func icon(verdict string) template.URL {
	colour, shape := "%238a6100", "M5.6 6a2.4 2.4 0 1 1 3.4 2.2c-.7.4-1 .8-1 1.6M8 12v.6"
	switch verdict {
	case "valid":
		colour, shape = "%2300755a", "M4.5 8.5 7 11l4.5-5.5"
	case "invalid":
		colour, shape = "%23b8430a", "M5 5l6 6M11 5l-6 6"
	}
	return template.URL("data:image/svg+xml," + strings.NewReplacer("<", "%3C", ">", "%3E", " ", "%20").Replace(
		"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><rect width='16' height='16' rx='3' fill='"+colour+
			"'/><path d='"+shape+"' fill='none' stroke='white' stroke-width='1.8' stroke-linecap='round' stroke-linejoin='round'/></svg>"))
}

// top is the page up to its scripts. What it says by itself is for who has none: readers of
// mail, and terminals.
var top = template.Must(template.New("page").Funcs(template.FuncMap{
	"at": func(unit int64, t document.Time) string {
		switch {
		case t == document.Open:
			return "?"
		case unit == 1:
			return fmt.Sprint(int64(t))
		}
		return fmt.Sprintf("%d.%06d", t/1e6, t%1e6)
	},
	"unit": func(unit int64) string {
		if unit == 1 {
			return "ns"
		}
		return "s"
	},
	"next": func(i int) int { return i + 1 },
}).Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{.Policy}}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta name="generator" content="hacheck">
<title>{{.Verdict}}: {{.Title}}</title>
<link rel="icon" href="{{.Icon}}">
<style>{{.Style}}</style>
</head>
<body>
<div id="page"></div>
<noscript>
<main class="plain">
<p class="verdict {{.Verdict}}">{{.Mark}} {{.Verdict}}</p>
<h1>{{.Title}}</h1>
{{with .Note}}<p>{{.}}</p>
{{end}}{{with .Trouble}}<ul>
{{range .}}<li>{{.}}</li>
{{end}}</ul>
{{end}}<p>This is the page without its script: the verdict, the evidence and the commands. The timeline and the charts
need a browser that runs scripts.</p>
<h2>What was checked</h2>
<table>
<tr><th>checker</th><th>verdict</th><th>note</th></tr>
{{range .Parts}}<tr><td>{{.Name}}</td><td>{{.Verdict}}</td><td>{{.Note}}{{range .Remarks}}<br>{{.}}{{end}}</td></tr>
{{end}}</table>
<h2>Evidence</h2>
{{range $i, $a := .Anomalies}}<h3>{{next $i}}. {{.Kind}}</h3>
<p>{{.Note}}</p>
<table>
<tr><th>op</th><th>from ({{unit $.Unit}})</th><th>to ({{unit $.Unit}})</th><th>process</th><th>node</th><th>what</th></tr>
{{range .Calls}}<tr><td>{{.Invoke}}</td><td>{{at $.Unit .From}}</td><td>{{if ne .Outcome "event"}}{{at $.Unit .To}}{{end}}</td><td>{{.Process}}</td><td>{{.Node}}</td><td>{{.What}}</td></tr>
{{end}}</table>
{{else}}<p>No anomaly was found.</p>
{{end}}{{with .Again}}<h2>Again</h2>
<dl>
{{range .}}<dt>{{.Purpose}}</dt><dd><code>{{.Command}}</code></dd>
{{end}}</dl>
{{end}}</main>
</noscript>`))
