package report

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/internal/store"
)

// The sizes of what a summary shows of what may be long: trouble may bring the last lines of a
// log, values may be lists of thousands.
const (
	maxTrouble = 400
	maxNote    = 1000
	maxCell    = 200
)

// Markdown writes a summary in GitHub's Markdown, for the summary of a CI step or a pull
// request: less than the text, so that it is read. info is what run.json has; nil of a history
// that was recorded elsewhere.
//
// What comes of the run is shown as it is, whatever it holds: it makes no markup, no links,
// and calls nobody.
func Markdown(w io.Writer, r Run, info *store.Info) error {
	m := &markdown{}
	m.line("## %s: %s", strings.ToUpper(r.Result.Verdict.String()), prose(r.Title))
	rows := [][]string{{"", "verdict", "what was found"}}
	for _, p := range partsOf(r) {
		var words []string
		if p.note != "" {
			words = append(words, prose(p.note))
		}
		for _, remark := range p.remarks {
			words = append(words, "– "+prose(remark))
		}
		if p.more > 0 {
			words = append(words, fmt.Sprintf("– and %d more", p.more))
		}
		rows = append(rows, []string{prose(p.Name), loud(p.Verdict), strings.Join(words, "<br>")})
	}
	m.table(rows, "<<<")
	m.anomalies(r)
	if rows := functionRows(r.Result); len(rows) > 0 {
		m.table(code(append([][]string{functionColumns}, rows...), 0), "<>>>>>")
	}
	m.faults(r)
	for _, trouble := range r.unsaidApart() {
		m.section()
		m.line("Note: %s", prose(clip(strings.Join(strings.Fields(trouble), " "), maxTrouble)))
	}
	m.next(r.Next, info)
	_, err := io.WriteString(w, m.b.String())
	return err
}

// A markdown is a summary as it grows.
type markdown struct{ b strings.Builder }

func (m *markdown) line(format string, args ...any) {
	fmt.Fprintf(&m.b, format, args...)
	m.b.WriteByte('\n')
}

func (m *markdown) section() {
	if m.b.Len() > 0 {
		m.b.WriteByte('\n')
	}
}

// loud returns a verdict, which stands out unless all is well.
func loud(v checker.Verdict) string {
	if v == checker.Valid {
		return v.String()
	}
	return "**" + v.String() + "**"
}

// table writes rows of Markdown, of which the first is the head. align has a byte for each
// column.
func (m *markdown) table(rows [][]string, align string) {
	m.section()
	for i, row := range rows {
		m.line("| %s |", strings.Join(row, " | "))
		if i == 0 {
			marks := make([]string, len(align))
			for j := range marks {
				marks[j] = map[byte]string{'<': ":--", '>': "--:"}[align[j]]
			}
			m.line("| %s |", strings.Join(marks, " | "))
		}
	}
}

// anomalies writes what was proven, the first with the calls that prove it.
func (m *markdown) anomalies(r Run) {
	proven := Proof(r.Result)
	for i, a := range proven[:min(len(proven), maxAnomalies)] {
		m.section()
		m.line("**%s**: %s", prose(a.Kind), prose(clip(a.Note, maxNote)))
		if r.History == nil || i > 0 {
			continue
		}
		columns, rows, faults := witnessRows(r.History, a.Anomaly)
		if len(rows) > 0 {
			m.table(code(append([][]string{columns}, rows...), 4, 5), witnessAlign)
		}
		if faults != "" {
			m.section()
			m.line("In force meanwhile: %s", prose(faults))
		}
	}
	if more := len(proven) - maxAnomalies; more > 0 {
		m.section()
		m.line("And %s; see results.json.", moreAnomalies(more))
	}
}

// faults writes the table of faults, if there were any.
func (m *markdown) faults(r Run) {
	counts := faultCounts(namedPart(r.Result, "faults"), r.Did)
	if len(counts) == 0 {
		return
	}
	rows := [][]string{{"fault", "begun", "acted", "held back", "evidence"}}
	for _, f := range counts {
		rows = append(rows, []string{f.name, fmt.Sprint(f.begun), fmt.Sprint(f.acted), fmt.Sprint(f.held), f.evidence})
	}
	m.table(code(rows, 0), "<>>><")
}

// next writes what to type, as it is, and what the run was made with.
func (m *markdown) next(next []Next, info *store.Info) {
	if len(next) > 0 {
		t := &text{}
		t.next(next)
		m.section()
		m.fenced(t.b.String())
	}
	var told []string
	for _, f := range facts(info) {
		if f.name == "seed" || f.name == "hacheck" || f.name == "kernel" { // the title has the others
			told = append(told, f.name+" "+prose(f.value))
		}
	}
	if len(told) > 0 {
		m.section()
		m.line("%s", strings.Join(told, ", "))
	}
}

// fenced writes text as it is.
func (m *markdown) fenced(text string) {
	text = Printable(text)
	fence := strings.Repeat("`", max(3, longest(text, '`')+1))
	m.line("%stext\n%s%s", fence, text, fence)
}

// longest returns the length of the longest run of c in s.
func longest(s string, c rune) (most int) {
	n := 0
	for _, r := range s {
		if n++; r != c {
			n = 0
		}
		most = max(most, n)
	}
	return most
}

// code returns rows in which, below the head, the columns are set as code and all others as
// prose.
func code(rows [][]string, columns ...int) [][]string {
	set := make([][]string, len(rows))
	for i, row := range rows {
		for j, cell := range row {
			if i > 0 && cell != "" && slices.Contains(columns, j) {
				// No backticks: what is between them ends at a bar, whatever stands before it.
				set[i] = append(set[i], "<code>"+verbatim(clip(cell, maxCell))+"</code>")
			} else {
				set[i] = append(set[i], prose(cell))
			}
		}
	}
	return set
}

// verbatim returns s on one line as what Markdown shows as just that, but for at the beginning
// of a line, where nothing of the run stands. Characters that could be markup are written by
// their numbers, since a backslash is not taken for one everywhere.
func verbatim(s string) string {
	s = strings.Join(strings.Fields(Printable(s)), " ")
	var b strings.Builder
	for i, r := range s {
		link := strings.HasPrefix(s[i:], "://") || r == '.' && i >= 3 && strings.EqualFold(s[i-3:i], "www")
		if link || strings.ContainsRune("&<>\\`*_~[]|$#@\u200b", r) {
			fmt.Fprintf(&b, "&#%d;", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// binding finds what becomes a mention, a reference to an issue, a link or a picture of a face
// behind its first group. It is looked for in the text that is shown, and so in what is
// written by numbers, too, unless it is code.
var binding = regexp.MustCompile(`(@|#|(?i:gh-)|(?i:www)|:)(\w+:|//|\w|\.)`)

// prose returns s on one line as Markdown that shows just that, and calls nobody.
func prose(s string) string {
	return verbatim(binding.ReplaceAllStringFunc(s, func(found string) string {
		parts := binding.FindStringSubmatch(found)
		colon := parts[1] == ":" && !strings.HasSuffix(parts[2], ":") && parts[2] != "//"
		if colon || strings.EqualFold(parts[1], "www") != (parts[2] == ".") {
			return found
		}
		return parts[1] + "\u200b" + parts[2] // takes up no room
	}))
}
