// Package report tells people about a run: a line while it goes on, and a page
// of text when it has been judged.
//
// It writes to what it is given and decides nothing: what to show in colour, how
// wide, and where files are is handed in.
package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// A Run is what there is to tell of a run that was judged.
type Run struct {
	// Title says what was run or read, on one line.
	Title   string
	History *histories.History
	Result  checker.Result
	// Where returns the path of an artifact, or "" if it is not kept.
	Where func(artifact string) string
	// Evidence says what a fault's evidence is: "1 packet dropped".
	Evidence func(fault string, n int64) string
	// Trouble is what was out of the ordinary beside the verdict.
	Trouble []string
	// Next is what the reader may want to type now.
	Next []Next
}

// Next is a command, and what it is for.
type Next struct{ Purpose, Command string }

// Style says what the reader's screen is like. The zero Style is plain text of 80
// columns.
type Style struct {
	Colour bool
	Width  int
}

// The sizes of a text that is to be read, not stored.
const (
	defaultWidth  = 80
	maxAnomalies  = 3  // told in words; the first one's calls are listed, too
	maxWitness    = 14 // calls listed
	maxRemarks    = 3
	maxArtifacts  = 3
	verdictColumn = 9
	minColumn     = 24 // words in a narrower column are hard to read
	minWords      = 16 // what a call did is shorter, as a rule
)

// Text writes the verdict with what it covers, the anomalies with their
// witnesses, and what to do next.
func Text(w io.Writer, r Run, s Style) error {
	if s.Width <= 0 {
		s.Width = defaultWidth
	}
	t := &text{Style: s}
	t.title(r)
	t.checkers(r)
	t.functions(r.Result)
	for _, m := range Measured(r.Result) {
		t.section()
		if m.Title != "" {
			t.paragraph("  ", "  ", m.Title)
		}
		t.table("  ", m.Rows, m.Align)
	}
	t.anomalies(r.History, Proof(r.Result))
	t.artifacts(r)
	for _, trouble := range r.Unsaid() {
		t.section()
		t.trouble(trouble)
	}
	t.next(r.Next)
	_, err := io.WriteString(w, t.printable())
	return err
}

// Evidence writes what [Text] does of what is wrong: the title, and the anomalies with their
// witnesses.
func Evidence(w io.Writer, r Run, s Style) error {
	if s.Width <= 0 {
		s.Width = defaultWidth
	}
	t := &text{Style: s}
	t.title(r)
	t.anomalies(r.History, Proof(r.Result))
	_, err := io.WriteString(w, t.printable())
	return err
}

// A Table is rows of words and numbers, with what is to be said of them.
type Table struct {
	Rows    [][]string // the first is the head
	Align   string     // a byte for each column: '<' or '>'
	Remarks []string
	Next    []Next
}

// Text writes the table, then the remarks, a paragraph each, and what to do next.
func (t Table) Text(w io.Writer, s Style) error {
	page := &text{Style: s}
	page.table("", t.Rows, t.Align)
	for _, remark := range t.Remarks {
		page.section()
		page.paragraph("", "  ", remark)
	}
	page.next(t.Next)
	_, err := io.WriteString(w, page.printable())
	return err
}

// A text is a page as it grows.
type text struct {
	Style
	b strings.Builder
}

// printable returns the page with nothing in it that is not for eyes but our colours: what comes
// of a history must not tell a terminal what to do.
func (t *text) printable() string {
	var b strings.Builder
	rest := t.b.String()
	for t.Colour {
		at := paints.FindStringIndex(rest)
		if at == nil {
			break
		}
		b.WriteString(Printable(rest[:at[0]]) + rest[at[0]:at[1]])
		rest = rest[at[1]:]
	}
	return b.String() + Printable(rest)
}

func (t *text) line(format string, args ...any) {
	t.b.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " "))
	t.b.WriteByte('\n')
}

// section leaves a blank line, but never two.
func (t *text) section() {
	if t.b.Len() > 0 && !strings.HasSuffix(t.b.String(), "\n\n") {
		t.b.WriteByte('\n')
	}
}

// paragraph writes words after a head, on as many lines as it takes; those that
// follow the first begin with indent.
func (t *text) paragraph(head, indent, words string) {
	for i, l := range Wrap(words, t.Width-max(width(head), width(indent))) {
		if i > 0 {
			head = indent
		}
		t.line("%s%s", head, l)
	}
}

// Unsaid returns the trouble that the notes of the result do not tell of already.
func (r Run) Unsaid() []string {
	return slices.DeleteFunc(slices.Clone(r.Trouble), func(trouble string) bool { return isSaid(trouble, r.Result) })
}

// Torn says that a history ends where its file was cut off, or "".
func Torn(h *histories.History) string {
	if h == nil || h.Torn() == 0 {
		return ""
	}
	return fmt.Sprintf("the history is read up to line %d: its file ends in the middle of line %d", h.Torn()-1, h.Torn())
}

// unsaidApart is Unsaid for who reads a file: of a history that is torn, who gives a command
// is told when it is read.
func (r Run) unsaidApart() []string {
	trouble := r.Unsaid()
	if torn := Torn(r.History); torn != "" {
		trouble = append(trouble, torn)
	}
	return trouble
}

// isSaid says whether the note of a result says it already.
func isSaid(trouble string, r checker.Result) bool {
	return strings.Contains(r.Note, trouble) ||
		slices.ContainsFunc(r.Parts, func(p checker.Result) bool { return isSaid(trouble, p) })
}

// trouble writes what was out of the ordinary. Its lines stay lines, and those of
// a log, which are indented, stay as they are if they fit.
func (t *text) trouble(lines string) {
	head := "note: "
	for l := range strings.SplitSeq(lines, "\n") {
		logged, isLogged := strings.CutPrefix(l, "\t")
		switch {
		case isLogged && width("    "+logged) <= t.Width:
			t.line("    %s", logged)
		case isLogged:
			t.paragraph("    ", "      ", logged)
		default:
			t.paragraph(head, "  ", l)
		}
		head = "  "
	}
}

const (
	red    = "\x1b[1;31m"
	green  = "\x1b[1;32m"
	yellow = "\x1b[1;33m"
	reset  = "\x1b[0m"
)

// paints finds what paint writes.
var paints = regexp.MustCompile(`\x1b\[(1;3[123]|0)m`)

func (t *text) paint(colour, s string) string {
	if !t.Colour {
		return s
	}
	return colour + s + reset
}

func (t *text) verdict(v checker.Verdict, loud bool) string {
	word := v.String()
	if loud {
		word = strings.ToUpper(word)
	}
	switch v {
	case checker.Valid:
		return t.paint(green, word)
	case checker.Invalid:
		return t.paint(red, word)
	}
	return t.paint(yellow, word)
}

// title says the verdict, and of what.
func (t *text) title(r Run) {
	indent := strings.Repeat(" ", width(r.Result.Verdict.String())+2)
	for i, l := range Wrap(r.Title, t.Width-len(indent)) {
		if i == 0 {
			l = t.verdict(r.Result.Verdict, true) + "  " + l
		} else {
			l = indent + l
		}
		t.line("%s", l)
	}
}

// A part is a part of the verdict, with what is to be said of it.
type part struct {
	checker.Result
	note    string
	remarks []string // what is out of the ordinary and proves nothing; the first of them
	more    int      // remarks beside those
}

// partsOf returns the parts of a run's verdict. What two of them say in the same words is
// said once.
func partsOf(r Run) (parts []part) {
	results := r.Result.Parts
	if len(results) == 0 {
		results = []checker.Result{r.Result}
	}
	said := map[string]bool{}
	for _, result := range results {
		note := r.Note(result)
		var fresh []string
		for _, clause := range strings.Split(note, "; ") {
			if !said[clause] {
				said[clause] = true
				fresh = append(fresh, clause)
			}
		}
		p := part{Result: result, note: strings.Join(fresh, "; ")}
		if p.Verdict != checker.Invalid {
			p.remarks, p.more = remarksOf(result)
		}
		parts = append(parts, p)
	}
	return parts
}

// remarksOf returns what the anomalies of a part, and of its parts, say where they prove
// nothing: the first of them, and how many more there are.
func remarksOf(p checker.Result) (remarks []string, more int) {
	anomalies := p.Anomalies
	for _, part := range p.Parts {
		anomalies = slices.Concat(anomalies, part.Anomalies)
	}
	shown := min(len(anomalies), maxRemarks)
	for _, a := range anomalies[:shown] {
		remarks = append(remarks, a.Note)
	}
	return remarks, len(anomalies) - shown
}

// checkers writes a line or so for each part of the verdict.
func (t *text) checkers(r Run) {
	parts := partsOf(r)
	column := 0
	for _, p := range parts {
		column = max(column, width(p.Name))
	}
	t.section()
	for _, p := range parts {
		head := "  " + pad(p.Name, column) + "  " + t.verdict(p.Verdict, false)
		head += strings.Repeat(" ", verdictColumn-width(p.Verdict.String()))
		indent := strings.Repeat(" ", 2+column+2+verdictColumn)
		if t.Width-len(indent) < minColumn { // then the note stands below
			t.line("%s", head)
			head, indent = "    ", "    "
		} else if p.note == "" {
			t.line("%s", head)
		}
		for _, l := range Wrap(p.note, t.Width-len(indent)) {
			t.line("%s%s", head, l) // the head may have colours, which take up no columns
			head = indent
		}
		for _, remark := range p.remarks {
			t.paragraph(indent+"- ", indent+"  ", remark)
		}
		if p.more > 0 {
			t.line("%s- and %d more", indent, p.more)
		}
	}
}

// Note returns what stands beside the verdict of a part of the result: its own note, but of
// faults what they did, in the units of their evidence.
func (r Run) Note(p checker.Result) string {
	if p.Name == "faults" {
		return faultsNote(p, r.Did)
	}
	// What is composed begins with the verdict, which stands before it.
	return strings.TrimPrefix(p.Note, p.Verdict.String()+": ")
}

// Did says what a fault did, by its evidence.
func (r Run) Did(fault string, evidence int64) string {
	if r.Evidence == nil {
		return fmt.Sprintf("%d evidence", evidence)
	}
	return r.Evidence(fault, evidence)
}

// A faultCount is what the faults of one name did.
type faultCount struct {
	name               string
	begun, acted, held int64
	evidence           string
}

// faultCounts returns what the faults did, by name, from the part of the verdict that is
// about them; see [checker.Faults].
func faultCounts(p checker.Result, did func(string, int64) string) (counts []faultCount) {
	for _, f := range p.Parts {
		counts = append(counts, faultCount{f.Name, f.Counts["begun"], f.Counts["acted"], f.Counts["held back"], did(f.Name, f.Counts["evidence"])})
	}
	return counts
}

// faultsNote says which faults acted, and how.
func faultsNote(p checker.Result, evidence func(string, int64) string) string {
	if len(p.Parts) == 0 {
		return p.Note
	}
	var begun, acted, held int64
	var each []string
	for _, f := range faultCounts(p, evidence) {
		begun += f.begun
		acted += f.acted
		held += f.held
		if f.begun == 0 {
			continue
		}
		name := f.name
		if f.begun > 1 {
			name = fmt.Sprintf("%s ×%d", name, f.begun)
		}
		each = append(each, fmt.Sprintf("%s (%s)", name, f.evidence))
	}
	note := fmt.Sprintf("%d of %d acted", acted, begun)
	if len(each) > 0 {
		note += ": " + strings.Join(each, ", ")
	}
	if held > 0 {
		note += fmt.Sprintf("; %d held back", held)
	}
	return note
}

// functions writes the table of what clients did.
func (t *text) functions(r checker.Result) {
	if rows := functionRows(r); len(rows) > 0 {
		t.section()
		t.table("  ", append([][]string{functionColumns}, rows...), "<>>>>>")
	}
}

var functionColumns = []string{"", "ok", "failed", "unknown", "median", "p99"}

// functionRows returns what clients did, a function a row, from the part named stats; see
// [checker.Stats].
func functionRows(r checker.Result) (rows [][]string) {
	stats := namedPart(r, "stats")
	for _, f := range stats.Parts {
		row := []string{f.Name}
		for _, c := range []string{"ok", "fail", "info"} {
			row = append(row, fmt.Sprint(f.Counts[c]))
		}
		for _, c := range []string{"median_us", "p99_us"} {
			latency := "-"
			if us, ok := f.Counts[c]; ok {
				latency = checker.Brief(time.Duration(us) * time.Microsecond)
				if us == 0 {
					latency = "<1 µs"
				}
			}
			row = append(row, latency)
		}
		rows = append(rows, row)
	}
	return rows
}

// namedPart returns the part of a result that has a name; the zero Result is none.
func namedPart(r checker.Result, name string) checker.Result {
	at := slices.IndexFunc(r.Parts, func(p checker.Result) bool { return p.Name == name })
	if at < 0 {
		return checker.Result{}
	}
	return r.Parts[at]
}

// A Measurement is a table of what was measured.
type Measurement struct {
	Name  string     // of the part that measured it
	Title string     // one line, or empty
	Rows  [][]string // the first is the head
	Align string     // a byte for each column: '<' or '>'
}

// availability is the name of the part that [checker.Availability] is, by custom.
const availability = "availability"

// Measured returns what was measured: first how long it took after faults until the system
// answered again, then the tables of the parts. Columns are set to the right if they hold
// numbers.
func Measured(r checker.Result) (all []Measurement) {
	if rows := answers(r); len(rows) > 1 {
		all = append(all, Measurement{availability, "", rows, "<>>>>"})
	}
	return tables(r, all)
}

// answers returns the table of how long it took after faults until the system
// answered again, and as much as without them, from the part named availability; see
// [checker.Availability]. Of the nodes it tells of the one that took longest.
func answers(r checker.Result) [][]string {
	part := namedPart(r, availability)
	rows := [][]string{{"time until", "median", "p90", "max", "unseen"}}
	add := func(what, name string, counts map[string]int64) {
		_, seen := counts[name+"_max_us"]
		unseen := counts[name+"_unseen"]
		if !seen && unseen == 0 {
			return
		}
		row := []string{what}
		for _, as := range []string{"median", "p90", "max"} {
			took := "-"
			if seen {
				took = checker.Brief(time.Duration(counts[name+"_"+as+"_us"]) * time.Microsecond)
			}
			row = append(row, took)
		}
		rows = append(rows, append(row, fmt.Sprint(unseen)))
	}
	throughput := fmt.Sprintf("  90 %% of %d answers/s", part.Counts["answers_per_second"])
	add("answer after a fault began", "begin_answer", part.Counts)
	add(throughput, "begin_90", part.Counts)
	if node, counts := slowest(part); node != "" {
		add("  from "+node+", the slowest", "begin_answer", counts)
	}
	add("answer after it was healed", "heal_answer", part.Counts)
	add(throughput, "heal_90", part.Counts)
	return rows
}

func tables(r checker.Result, all []Measurement) []Measurement {
	if r.Table != nil && len(r.Table.Rows) > 0 {
		align := make([]byte, len(r.Table.Columns))
		for i := range align {
			align[i] = '>'
			if slices.ContainsFunc(r.Table.Rows, func(row []string) bool { return !isNumber(row[i]) }) {
				align[i] = '<'
			}
		}
		all = append(all, Measurement{r.Name, r.Table.Title, append([][]string{r.Table.Columns}, r.Table.Rows...), string(align)})
	}
	for _, p := range r.Parts {
		all = tables(p, all)
	}
	return all
}

// isNumber says whether a cell holds a number, perhaps with its unit, or a dash for none.
func isNumber(cell string) bool {
	digits := strings.TrimLeft(cell, "-<")
	return digits == "" || digits[0] >= '0' && digits[0] <= '9'
}

// slowest returns the node that took longest to answer after a fault: often not at
// all, or else late.
func slowest(availability checker.Result) (node string, counts map[string]int64) {
	at := slices.IndexFunc(availability.Parts, func(p checker.Result) bool { return p.Name == "by node" })
	if at < 0 || len(availability.Parts[at].Parts) < 2 {
		return "", nil
	}
	worst := slices.MaxFunc(availability.Parts[at].Parts, func(a, b checker.Result) int {
		return cmp.Or(
			cmp.Compare(a.Counts["begin_answer_unseen"], b.Counts["begin_answer_unseen"]),
			cmp.Compare(a.Counts["begin_answer_max_us"], b.Counts["begin_answer_max_us"]),
		)
	})
	return worst.Name, worst.Counts
}

// table writes rows in columns. align has a byte for each column: '<' or '>'. On a
// screen that is too narrow, words before numbers take several lines; where that does
// not help, the last columns of numbers are left out, and one of words has lines of its
// own.
func (t *text) table(indent string, rows [][]string, align string) {
	t.tinted(indent, rows, align, func(_, _ int, cell string) string { return cell })
}

// tinted is table with colours: tint is given each cell as it is shown, but for its blanks,
// with its row and column.
func (t *text) tinted(indent string, rows [][]string, align string, tint func(row, column int, cell string) string) {
	columns := make([]int, len(align))
	for _, row := range rows {
		for i, cell := range row {
			columns[i] = max(columns[i], width(cell))
		}
	}
	shown, gap := len(columns), "  "
	taken := func(n int) (sum int) { // by the first n columns
		for _, c := range columns[:n] {
			sum += len(gap) + c
		}
		return len(indent) - len(gap) + sum
	}
	words := align[shown-1] == '<' // the last column
	if over := taken(shown) - t.Width; !words && align[0] == '<' && over > 0 && columns[0]-over >= minColumn {
		columns[0] -= over
	}
	for !words && shown > 2 && taken(shown) > t.Width {
		shown--
	}
	if over := taken(shown) - t.Width; !words && align[0] == '<' && over > 0 { // whatever is left, no line is wider
		columns[0] = max(columns[0]-over, minWords)
	}
	below := words && t.Width-taken(shown-1) < minWords
	if below {
		shown, gap = shown-1, " "
	}
	for r, row := range rows {
		l, at := indent, width(indent)
		var more []string // of the first cell
		for i, cell := range row[:shown] {
			if i > 0 {
				l += gap
				at += width(gap)
			} else if align[0] == '<' && shown > 1 && width(cell) > columns[0] {
				lines := Wrap(cell, columns[0]-len("  "))
				cell, more = lines[0], lines[1:]
			}
			if align[i] == '<' && i == len(row)-1 {
				cell = clip(cell, t.Width-at)
			}
			blank := strings.Repeat(" ", max(0, columns[i]-width(cell)))
			if cell = tint(r, i, cell); align[i] == '>' {
				l += blank + cell
			} else {
				l += cell + blank // at the end of a line it is cut off
			}
			at += columns[i]
		}
		t.line("%s", l)
		for _, m := range more {
			t.line("%s  %s", indent, m)
		}
		if below {
			t.paragraph(indent+"    ", indent+"      ", row[shown])
		}
	}
}

// artifacts says where the files are that belong to the verdict.
func (t *text) artifacts(r Run) {
	if r.Where == nil {
		return
	}
	names := ArtifactNames(r.Result)
	of := map[string]func(io.Writer) error{}
	evidence(r.Result, of)
	slices.SortStableFunc(names, func(a, b string) int { // of what is wrong comes first
		switch inA, inB := of[a] != nil, of[b] != nil; {
		case inA == inB:
			return 0
		case inA:
			return -1
		}
		return 1
	})
	var paths []string
	for _, name := range names {
		if p := r.Where(name); p != "" {
			paths = append(paths, p)
		}
	}
	if len(paths) == 0 {
		return
	}
	t.section()
	head := "picture: "
	if len(paths) > 1 {
		head = "pictures: "
	}
	for _, p := range paths[:min(len(paths), maxArtifacts)] {
		t.line("%s%s", head, p)
		head = strings.Repeat(" ", width(head))
	}
	if more := len(paths) - maxArtifacts; more > 0 {
		t.line("%sand %d more beside them", head, more)
	}
}

// Artifacts returns the artifacts of a result and of its parts, by name. Where
// two have one name, the first wins.
func Artifacts(r checker.Result) map[string]func(io.Writer) error {
	all := map[string]func(io.Writer) error{}
	collect(r, all)
	return all
}

func collect(r checker.Result, into map[string]func(io.Writer) error) {
	for name, write := range r.Artifacts {
		if into[name] == nil {
			into[name] = write
		}
	}
	for _, p := range r.Parts {
		collect(p, into)
	}
}

// evidence collects the artifacts of what is invalid.
func evidence(r checker.Result, into map[string]func(io.Writer) error) {
	if r.Verdict != checker.Invalid {
		return
	}
	maps.Copy(into, r.Artifacts)
	for _, p := range r.Parts {
		evidence(p, into)
	}
}

// ArtifactNames returns the names of [Artifacts], sorted.
func ArtifactNames(r checker.Result) []string {
	var names []string
	for name := range Artifacts(r) {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (t *text) next(next []Next) {
	column := 0
	for _, n := range next {
		column = max(column, width(n.Purpose))
	}
	if len(next) > 0 {
		t.section()
	}
	for _, n := range next {
		t.line("%s  %s", pad(n.Purpose, column), n.Command) // never wrapped: it is to be copied
	}
}
