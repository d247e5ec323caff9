package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/internal/store"
)

// JUnit writes the verdict as CI systems read the results of tests: a suite for the run, and in
// it a case for each part of the verdict. info is what run.json has; nil of a history that was
// recorded elsewhere.
//
// What is invalid is a failure, with the words and the calls that prove it. What is unknown is
// an error, and not skipped: skipped cases pass, and what nobody could judge must not open a
// gate. An error is told apart from a failure, too, as it says nothing against the system. A
// run whose parts are all valid, though it is not, has a case of its own for that.
//
// How long a part took to judge is not known, so cases have no times; the suite has the run's.
func JUnit(w io.Writer, r Run, info *store.Info) error {
	suite := junitSuite{Name: junitClass(r, info), Properties: runProperties(r, info)}
	if info != nil {
		suite.Timestamp = junitTime(info.Began)
	}
	if took, ok := duration(r, info); ok {
		suite.Time = junitSeconds(took.Seconds())
	}
	for _, p := range partsOf(r) {
		suite.add(junitPart(suite.Name, r, p))
	}
	if r.Result.Verdict != checker.Valid && suite.Failures+suite.Errors == 0 {
		note := r.Result.Note
		if note == "" {
			note = "the verdict is " + r.Result.Verdict.String()
		}
		suite.add(junitPart(suite.Name, Run{}, part{Result: checker.Result{Name: "verdict", Verdict: r.Result.Verdict}, note: note}))
	}
	suite.Out = junitText(r.Title, func(t *text) { t.next(r.Next) })
	if trouble := r.unsaidApart(); len(trouble) > 0 {
		suite.Err = junitText("", func(t *text) {
			for _, what := range trouble {
				t.trouble(what)
			}
		})
	}
	return suite.write(w)
}

// write writes the file that has this suite alone.
func (s junitSuite) write(w io.Writer) error {
	all := junitSuites{Name: "hacheck", Tests: s.Tests, Failures: s.Failures, Errors: s.Errors, Time: s.Time, Suites: []junitSuite{s}}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// What the file is made of. There is no standard; these are the elements that its readers
// agree on.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Time     string       `xml:"time,attr,omitempty"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string           `xml:"name,attr"`
		Tests      int              `xml:"tests,attr"`
		Failures   int              `xml:"failures,attr"`
		Errors     int              `xml:"errors,attr"`
		Skipped    int              `xml:"skipped,attr"`
		Time       string           `xml:"time,attr,omitempty"`
		Timestamp  string           `xml:"timestamp,attr,omitempty"`
		Properties *junitProperties `xml:"properties,omitempty"`
		Cases      []junitCase      `xml:"testcase"`
		Out        *junitOutput     `xml:"system-out,omitempty"`
		Err        *junitOutput     `xml:"system-err,omitempty"`
	}
	junitProperties struct {
		All []junitProperty `xml:"property"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	// Of a case that passed all three are nil, and of others one is not.
	junitCase struct {
		Class      string           `xml:"classname,attr"`
		Name       string           `xml:"name,attr"`
		Time       string           `xml:"time,attr,omitempty"`
		Properties *junitProperties `xml:"properties,omitempty"`
		Skipped    *junitSkipped    `xml:"skipped,omitempty"`
		Failure    *junitFailure    `xml:"failure,omitempty"`
		Error      *junitFailure    `xml:"error,omitempty"`
		Out        *junitOutput     `xml:"system-out,omitempty"`
	}
	junitSkipped struct {
		Message string `xml:"message,attr"`
	}
	junitOutput struct {
		Text string `xml:",cdata"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",cdata"`
	}
)

func (s *junitSuite) add(c junitCase) {
	s.Cases = append(s.Cases, c)
	s.Tests++
	switch {
	case c.Failure != nil:
		s.Failures++
	case c.Error != nil:
		s.Errors++
	case c.Skipped != nil:
		s.Skipped++
	}
}

func (p *junitProperties) add(name, value string) {
	if value != "" {
		p.All = append(p.All, junitProperty{Printable(oneLine(name)), Printable(oneLine(value))})
	}
}

// junitSeconds is a time as the readers of the file take it.
func junitSeconds(s float64) string { return strconv.FormatFloat(max(s, 0), 'f', 3, 64) }

// junitTime is when a suite began; empty if nobody knows.
func junitTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05")
}

// junitPart makes a case of a part of the verdict.
func junitPart(class string, r Run, p part) junitCase {
	c := junitCase{Class: class, Name: Printable(p.Name)}
	remarks := func(t *text) {
		for _, remark := range p.remarks {
			t.paragraph("- ", "  ", remark)
		}
		if p.more > 0 {
			t.line("- and %d more", p.more)
		}
	}
	switch p.Verdict {
	case checker.Valid:
		c.Out = junitText(p.note, remarks)
	case checker.Invalid:
		proven := Proof(p.Result)
		c.Failure = junitFailed(p, func(t *text) { t.anomalies(r.History, proven) })
		if len(proven) > 0 {
			c.Failure.Message, c.Failure.Type = Printable(proven[0].Kind+": "+proven[0].Note), Printable(proven[0].Kind)
		}
	default:
		c.Error = junitFailed(p, remarks)
	}
	return c
}

func junitFailed(p part, write func(*text)) *junitFailure {
	f := &junitFailure{Message: Printable(p.note), Type: p.Verdict.String()}
	if out := junitText(p.note, write); out != nil {
		f.Text = out.Text
	}
	return f
}

// junitWidth is how wide text is set in CI systems, which show it as it is.
const junitWidth = 120

// junitText returns words, and below them what is written; nil if that is nothing.
func junitText(words string, write func(*text)) *junitOutput {
	t := &text{Style: Style{Width: junitWidth}}
	t.paragraph("", "", words)
	before := t.b.Len()
	t.section()
	gap := t.b.Len()
	write(t)
	s := t.b.String()
	if len(s) == gap { // nothing was
		s = s[:before]
	}
	if s == "" {
		return nil
	}
	return &junitOutput{Printable(strings.TrimSuffix(s, "\n"))}
}

// junitClass is what a run is called among others: "raftkv.register.partition+clock".
func junitClass(r Run, info *store.Info) string {
	if info == nil {
		return Printable("recorded." + r.Result.Name)
	}
	nemesis := strings.Join(info.Nemesis, "+")
	if len(info.Schedule) > 0 {
		nemesis = strings.TrimPrefix(nemesis+"+schedule", "+")
	}
	if nemesis == "" {
		nemesis = "none"
	}
	return Printable(info.System + "." + info.Workload + "." + nemesis)
}

// duration returns how long a run took, or a history says that it did.
func duration(r Run, info *store.Info) (took time.Duration, known bool) {
	switch {
	case info != nil && info.Ended != nil:
		return info.Ended.Sub(info.Began), true
	case r.History != nil:
		return r.History.Duration(), true
	}
	return 0, false
}

// A fact is what was asked for or found out.
type fact struct{ name, value string }

// facts returns what is to be known of a run to compare it, in the order of interest.
func facts(info *store.Info) (all []fact) {
	if info == nil {
		return nil
	}
	add := func(name, value string) {
		if value != "" {
			all = append(all, fact{name, value})
		}
	}
	add("system", info.System)
	add("bug", info.Bug)
	add("workload", info.Workload)
	add("nemesis", strings.Join(info.Nemesis, ","))
	if n := len(info.Schedule); n > 0 {
		add("schedule", checker.Count(n, "fault"))
	}
	o := info.Options
	add("seed", strconv.FormatUint(o.Seed, 10))
	add("nodes", strconv.Itoa(o.Nodes))
	add("concurrency", strconv.Itoa(o.Concurrency))
	add("time limit", o.TimeLimit.String())
	add("interval", o.Interval.String())
	if o.Rate > 0 {
		add("rate", strconv.FormatFloat(o.Rate, 'f', -1, 64))
	}
	add("keys", strconv.Itoa(o.Keys))
	add("hypervisor", o.Hypervisor)
	add("tuned", o.Tune)
	add("hacheck", info.Versions.Hacheck)
	add("go", info.Versions.Go)
	add("os", info.Versions.OS)
	add("kernel", info.Versions.Kernel)
	return all
}

// runProperties are the facts and the coverage in numbers.
func runProperties(r Run, info *store.Info) *junitProperties {
	var p junitProperties
	p.add("title", r.Title)
	p.add("verdict", r.Result.Verdict.String())
	for _, f := range facts(info) {
		p.add(f.name, f.value)
	}
	for _, part := range r.Result.Parts {
		for _, name := range slices.Sorted(maps.Keys(part.Counts)) {
			p.add(part.Name+"."+name, fmt.Sprint(part.Counts[name]))
		}
	}
	return &p
}
