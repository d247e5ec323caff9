package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/joshdk/go-junit"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/hacheck/hacheck/internal/gate"
)

var gateFormats = map[string]func(io.Writer, gate.Report) error{
	"text":     func(w io.Writer, r gate.Report) error { return GateText(w, r, Style{}) },
	"colour":   func(w io.Writer, r gate.Report) error { return GateText(w, r, Style{Colour: true}) },
	"markdown": GateMarkdown, "junit": GateJUnit, "sarif": GateSARIF, "github": GateGitHub,
}

// Each command "FORMAT REPORT [width=N]" prints one of the reports below.
func TestGateFormats(t *testing.T) {
	datadriven.RunTest(t, "testdata/gate.txt", func(t *testing.T, d *datadriven.TestData) string {
		r, ok := gateReports()[d.CmdArgs[0].Key]
		if !ok {
			d.Fatalf(t, "there is no report %s", d.CmdArgs[0].Key)
		}
		write := gateFormats[d.Cmd]
		if d.HasArg("width") {
			var style Style
			d.ScanArgs(t, "width", &style.Width)
			write = func(w io.Writer, r gate.Report) error { return GateText(w, r, style) }
		}
		text := written(t, write, r)
		judgeFormat(t, d.Cmd, text)
		return strings.ReplaceAll(text, "\x1b", "^")
	})
}

func written(t *testing.T, write func(io.Writer, gate.Report) error, r gate.Report) string {
	t.Helper()
	var b strings.Builder
	if err := write(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// judgeFormat finds what is wrong with a file of a format, whatever it says.
func judgeFormat(t *testing.T, format, text string) {
	t.Helper()
	for _, r := range text {
		if r < ' ' && r != '\n' && r != '\t' && (r != '\x1b' || format != "colour") || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			t.Fatalf("%s: there is %U in\n%s", format, r, text)
		}
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		t.Errorf("%s: the last line has no end", format)
	}
	switch format {
	case "text", "colour", "markdown":
		for line := range strings.Lines(text) {
			if strings.HasPrefix(strings.TrimSpace(paints.ReplaceAllString(line, "")), "::") && format != "markdown" || strings.Contains(line, "##[") && format != "markdown" {
				t.Errorf("%s: a command to a runner: %s", format, line)
			}
		}
	case "junit":
		suites(t, text)
		for _, wrong := range junitRules(text) {
			t.Errorf("junit: %s in\n%s", wrong, text)
		}
	case "sarif":
		for _, wrong := range sarifRulesBroken(t, text) {
			t.Errorf("sarif: %s in\n%s", wrong, text)
		}
	case "github":
		for _, c := range commands(t, text) {
			if !slices.Contains([]string{"error", "warning", "notice"}, c.name) {
				t.Errorf("github: a command %s", c.name)
			}
		}
	}
}

// gateReports are reports by name.
func gateReports() map[string]gate.Report {
	began := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	base := gate.Report{
		Began: began, Took: 250.4, Budget: 600, Command: "hacheck gate --format junit,sarif", Jobs: 2, Plan: "hacheck.yaml",
		Machine: gate.Machine{OS: "linux", Arch: "amd64", CPUs: 4, Jobs: 2}, Hacheck: "v1.2.3", Dir: "store/gate/latest",
	}
	cell := func(name string, line int, status gate.Status, fails bool, why string) gate.CellReport {
		p := strings.SplitN(name, "/", 3)
		return gate.CellReport{Name: name, System: p[0], Workload: p[1], Nemesis: p[2], Line: line, Status: status, Fails: fails, Why: why, Counts: map[gate.Class]int{}}
	}
	run := func(c *gate.CellReport, n int, a gate.Attempt) {
		id := strings.ReplaceAll(c.Name, "/", "-") + "-" + strconv.Itoa(n)
		c.Outcomes = append(c.Outcomes, gate.Outcome{Job: gate.Job{ID: id, Cell: c.Name, Seed: a.Seed}, Class: a.Class, Took: a.Took, Attempts: []gate.Attempt{a}})
		c.Counts[a.Class]++
		c.Took += a.Took
	}
	good := cell("raftkv/register/kill", 14, gate.CellPassed, false, "")
	for i := range 12 {
		run(&good, i+1, gate.Attempt{Seed: uint64(i + 1), Class: gate.Valid, Took: 5.25, Measures: gate.Measures{"recovery": {Values: []float64{0.5, float64(i)}}}})
	}
	good.Sure = gate.Sureness{Runs: 12, Most: 0.2209, Words: "a bug that shows in 22 % of runs or more would have been seen"}
	good.Promises = []gate.PromiseReport{{Promise: "recovery p99 at most 20s", Metric: "recovery", Bound: 20, Measured: 11, N: 24, Held: true, Known: true, Words: "recovery p99 is 11.0 s, at most 20 s promised"}}
	passed := base
	passed.Cells = []gate.CellReport{good}
	passed.Comparison = "no baseline: --baseline names none"

	bad := cell("raftkv/register/partition", 12, gate.CellInvalid, true, "1 of 2 runs is invalid")
	run(&bad, 1, gate.Attempt{Seed: 7, Class: gate.Valid, Took: 4})
	run(&bad, 2, gate.Attempt{
		Seed: 8, Class: gate.Invalid, Took: 70, Words: "stale read",
		Findings: []gate.Finding{{Checker: "linearizable", Kind: "stale read", Note: "process 1 read x = 1 at n2, but 2 had replaced it"}},
		Witness:  "INVALID  raftkv under workload register\n\n  op  process  node  what\n   0        0  n1    write x 1\n   6        1  n2    read x → 1\n",
		Dir:      "runs/raftkv-register-partition-2", Repeat: []string{"run", "--replay", "store/gate/latest/runs/raftkv register"},
	})
	bad.Sure = gate.Sureness{Runs: 2, Failures: 1, Most: 0.9747, Needed: 5}
	broken := cell("vmsched/vm/host-kill", 20, gate.CellBroken, true, "a promise is broken")
	run(&broken, 1, gate.Attempt{Seed: 3, Class: gate.Valid, Took: 30, Measures: gate.Measures{"failover.detect": {Values: []float64{4, 7}, Least: []float64{9}}}})
	broken.Sure = gate.Sureness{Runs: 1, Most: 0.95, Words: "a bug that shows in 95 % of runs or more would have been seen"}
	broken.Promises = []gate.PromiseReport{
		{Promise: "failover.detect max at most 5s", Metric: "failover.detect", Bound: 5, Measured: 7, N: 3, Known: true, Words: "failover.detect max is 7.00 s, at most 5 s promised, in vmsched-vm-host-kill-1"},
		{Promise: "availability.fault at least 0.9", Metric: "availability.fault", Bound: 0.9, Words: "availability.fault was never measured"},
	}
	slow := cell("raftkv/append/none", 25, gate.CellRegressed, true, "it is worse than the baseline")
	run(&slow, 1, gate.Attempt{Seed: 4, Class: gate.Valid, Took: 10})
	slow.Sure = gate.Sureness{Runs: 1, Most: 0.95, Words: "a bug that shows in 95 % of runs or more would have been seen"}
	slow.Comparisons = []gate.Comparison{
		{Metric: "latency.read", Statistic: "p99", Before: gate.Interval{Value: 0.856, Low: 0.8, High: 0.9}, After: gate.Interval{Value: 1.71, Low: 1.6, High: 1.82}, BeforeRuns: 20, AfterRuns: 8, Ratio: 2, Floor: 1.1, P: 0.00031, Test: "Mann-Whitney", Regressed: true, Words: "twice as long: 1.71 s, and 856 ms before"},
		{Metric: "throughput", Statistic: "p50", BeforeRuns: 20, AfterRuns: 8, P: 0.04, Test: "Mann-Whitney", Suspected: true, Words: "a tenth less"},
	}
	unknown := cell("raftkv/set/clock", 30, gate.CellUnknown, false, "1 run stayed unknown")
	run(&unknown, 1, gate.Attempt{Seed: 5, Class: gate.Unknown, Took: 6, Words: "the search ended with its budget"})
	failed := cell("raftkv/queue/disk", 33, gate.CellFailed, true, "no run came to a verdict")
	run(&failed, 1, gate.Attempt{Seed: 6, Class: gate.Failed, Took: 1, Words: "make the lab: no space left on device"})
	failed.Outcomes = append(failed.Outcomes, gate.Outcome{Job: gate.Job{ID: "raftkv-queue-disk-2"}, Class: gate.SetAside, Words: "its worker went down 3 times"})
	refused := cell("raftkv/queue/clock", 36, gate.CellRefused, false, "clocks cannot be bent here: run hacheck doctor")
	unrun := cell("raftkv/lock/kill", 40, gate.CellNotRun, false, "there was no time")

	all := base
	all.Status, all.OutOfTime, all.Comparison = 1, true, "with store/baseline.json, by Mann-Whitney at an error rate of 1 % over 14 comparisons"
	all.Cells = []gate.CellReport{bad, good, broken, slow, unknown, failed, refused, unrun}
	all.Groups = []gate.Group{{
		Signature: "raftkv register: linearizable: stale read", Kind: "stale read", Checker: "linearizable", System: "raftkv", Workload: "register",
		Cells: []string{bad.Name}, Jobs: []string{"raftkv-register-partition-2"}, Ran: 4, Showed: 3,
		Example: bad.Outcomes[1].Attempts[0].Findings[0].Note, Witness: bad.Outcomes[1].Attempts[0].Witness, Dir: "store/gate/latest/runs/raftkv-register-partition-2", Smallest: "smallest.yaml",
	}}
	all.Baseline = []string{"runs of 3 cells were added to the baseline", "left out: 1 cell that regressed: raftkv/append/none; --accept-regressions takes what is measured now for the new baseline"}
	all.Trouble = []string{"keep the run of raftkv-register-kill-3: no space left on device"}
	warned := base
	warned.Cells = []gate.CellReport{unknown}
	machine := base
	machine.Status, machine.Trouble = 255, []string{"open the store: permission denied"}
	return map[string]gate.Report{"empty": {}, "passed": passed, "all": all, "warned": warned, "machine": machine}
}

// The command that repeats a finding is that of the run whose witness stands beside it, and not
// that of another which found the same.
func TestWhatIsRunAgainIsTheWitness(t *testing.T) {
	r := gateReports()["all"]
	bad := &r.Cells[0]
	other := bad.Outcomes[1]
	other.Job.ID += "1"
	a := other.Attempts[0]
	a.Seed, a.Witness, a.Repeat = 9, "INVALID  another history", []string{"run", "--seed", "9"}
	other.Attempts = []gate.Attempt{a}
	bad.Outcomes = slices.Insert(bad.Outcomes, 0, other)
	r.Groups[0].Jobs = append(r.Groups[0].Jobs, other.Job.ID)
	for name, write := range gateFormats {
		text := written(t, write, r)
		if name != "junit" && strings.Contains(text, "--seed 9") { // where each cell has its own
			t.Errorf("%s runs again what is not shown:\n%s", name, text)
		}
		if r.Groups[0].Witness = a.Witness; name != "junit" && !strings.Contains(written(t, write, r), "--seed 9") {
			t.Errorf("%s does not run again what is shown", name)
		}
		r.Groups[0].Witness = bad.Outcomes[2].Attempts[0].Witness
	}
}

// A cell that is unknown is told once, with its reason, and not with what follows from that.
func TestAnUnknownCellIsToldOnce(t *testing.T) {
	r := gateReports()["warned"]
	c := &r.Cells[0]
	c.Why, c.Fails, r.Status = "its only run stayed unknown: the search ended with its budget", true, 2
	c.Promises = []gate.PromiseReport{{Promise: "recovery p99 at most 5s", Metric: "recovery", Words: "recovery p99 at most 5s: nobody knows, as no run came to a verdict"}}
	if text := written(t, GateJUnit, r); !strings.Contains(text, `message="`+c.Why) {
		t.Errorf("the message is another one:\n%s", text)
	}
	if text := written(t, GateGitHub, r); strings.Count(text, "::error") != 1 || strings.Contains(text, "::warning") {
		t.Errorf("it is told more than once:\n%s", text)
	}
}

// junitRules returns what of the rules that readers of JUnit have a file breaks: those of Surefire
// (surefire-test-report.xsd) and of Jenkins (junit-10.xsd), where both agree.
func junitRules(text string) (wrong []string) {
	type element struct {
		XMLName  xml.Name
		Attrs    []xml.Attr `xml:",any,attr"`
		Children []element  `xml:",any"`
	}
	var root element
	if err := xml.Unmarshal([]byte(text), &root); err != nil {
		return []string{err.Error()}
	}
	children := map[string][]string{ // in this order
		"testsuites": {"testsuite"}, "testsuite": {"properties", "testcase", "system-out", "system-err"},
		"testcase": {"properties", "skipped", "error", "failure", "system-out", "system-err"}, "properties": {"property"},
	}
	attrs := map[string][]string{ // those that are required, then others
		"testsuites": {"name", "tests", "failures", "errors", "time"}, "testsuite": {"name", "tests", "failures", "errors", "skipped", "time", "?timestamp"},
		"testcase": {"name", "classname", "time"}, "failure": {"type", "message"}, "error": {"type", "message"}, "skipped": {"message"}, "property": {"name", "value"},
	}
	number := regexp.MustCompile(`^[0-9]+(\.[0-9]{3})?$`)
	var walk func(e element)
	walk = func(e element) {
		name := e.XMLName.Local
		has := map[string]string{}
		for _, a := range e.Attrs {
			has[a.Name.Local] = a.Value
			if !slices.Contains(attrs[name], a.Name.Local) && !slices.Contains(attrs[name], "?"+a.Name.Local) {
				wrong = append(wrong, name+" has "+a.Name.Local)
			}
		}
		for _, a := range attrs[name] {
			if v, ok := has[a]; a[0] != '?' && (!ok || v == "" && a != "value") {
				wrong = append(wrong, name+" has no "+a)
			}
			if v := has[a]; slices.Contains([]string{"time", "tests", "failures", "errors", "skipped"}, a) && !number.MatchString(v) {
				wrong = append(wrong, fmt.Sprintf("%s of %s is %q", a, name, v))
			}
		}
		last, outcomes := 0, 0
		counts := map[string]int{}
		for _, c := range e.Children {
			at := slices.Index(children[name], c.XMLName.Local)
			if at < 0 || at < last {
				wrong = append(wrong, fmt.Sprintf("%s in %s, there", c.XMLName.Local, name))
			}
			last = at
			if slices.Contains([]string{"skipped", "error", "failure"}, c.XMLName.Local) {
				outcomes++
			}
			counts[c.XMLName.Local]++
			for _, cc := range c.Children {
				counts[c.XMLName.Local+"/"+cc.XMLName.Local]++
			}
			walk(c)
		}
		if outcomes > 1 || counts["properties"] > 1 || name == "properties" && counts["property"] == 0 {
			wrong = append(wrong, "too much or too little in a "+name)
		}
		if name == "testsuite" {
			for of, path := range map[string]string{"tests": "testcase", "failures": "testcase/failure", "errors": "testcase/error", "skipped": "testcase/skipped"} {
				if has[of] != fmt.Sprint(counts[path]) {
					wrong = append(wrong, fmt.Sprintf("%s is %s, and there are %d", of, has[of], counts[path]))
				}
			}
		}
	}
	if root.XMLName.Local != "testsuites" {
		wrong = append(wrong, "it begins with "+root.XMLName.Local)
	}
	walk(root)
	return wrong
}

func TestTheRulesOfJUnitAreSeenToBeBroken(t *testing.T) {
	fine := written(t, GateJUnit, gateReports()["all"])
	for was, is := range map[string]string{`skipped="3"`: `skipped="4"`, `<failure message=`: `<failure msg=`, `time="63.000"`: `time="1m"`, `system-out>`: `out>`} {
		if wrong := junitRules(strings.ReplaceAll(fine, was, is)); len(wrong) == 0 || !strings.Contains(fine, was) {
			t.Errorf("%s instead of %s is not seen", is, was)
		}
	}
}

// sarifSchema is the schema of the standard, which lies in a module that the linters need.
var sarifSchema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	out, err := exec.Command("go", "mod", "download", "-modfile=../tools/go.mod", "-json", "github.com/securego/gosec/v2").Output()
	if err != nil {
		return nil, fmt.Errorf("go mod download: %w", err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	return c.Compile(module.Dir + "/report/sarif/testdata/sarif-schema-2.1.0.json")
})

// sarifRulesBroken returns what of the standard a log breaks, and of what GitHub asks for
// beside it: https://docs.github.com/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning
func sarifRulesBroken(t *testing.T, text string) (wrong []string) {
	t.Helper()
	schema, err := sarifSchema()
	if err != nil {
		t.Fatal(err)
	}
	log, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(log); err != nil {
		wrong = append(wrong, err.Error())
	}
	var read sarifLog
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&read); err != nil {
		t.Fatal(err)
	}
	run := read.Runs[0]
	ids := map[string]bool{}
	for _, rule := range run.Tool.Driver.Rules {
		if ids[rule.ID] || rule.ID == "" || len(rule.ID) > 255 || rule.Short.Text == "" || rule.Full.Text == "" || rule.Help.Text == "" {
			wrong = append(wrong, fmt.Sprintf("rule %+v", rule))
		}
		ids[rule.ID] = true
	}
	alerts := map[string]bool{}
	for _, res := range run.Results {
		alert := res.Rule + res.Fingerprints["primaryLocationLineHash"]
		if alerts[alert] {
			wrong = append(wrong, "two results are one alert: "+res.Message.Text)
		}
		alerts[alert] = true
		if res.Index >= len(run.Tool.Driver.Rules) || run.Tool.Driver.Rules[res.Index].ID != res.Rule || len(res.Locations) != 1 || res.Message.Text == "" || len(alert) == len(res.Rule) {
			wrong = append(wrong, fmt.Sprintf("result %+v", res))
		}
		if linked.MatchString(res.Message.Text) {
			wrong = append(wrong, "a link or a place: "+res.Message.Text)
		}
	}
	return wrong
}

func TestTheSchemaOfSARIFSeesWhatIsWrong(t *testing.T) {
	fine := written(t, GateSARIF, gateReports()["all"])
	for was, is := range map[string]string{`"level": "note"`: `"level": "notice"`, `"startLine": 12`: `"startLine": 0`, `"ruleId"`: `"rule"`, `"columnKind"`: `"columns"`} {
		schema, err := sarifSchema()
		if err != nil {
			t.Fatal(err)
		}
		log, err := jsonschema.UnmarshalJSON(strings.NewReader(strings.ReplaceAll(fine, was, is)))
		if err != nil || schema.Validate(log) == nil || !strings.Contains(fine, was) {
			t.Errorf("%s instead of %s is not seen (%v)", is, was, err)
		}
	}
}

// A command is one to the runner of GitHub Actions.
type command struct {
	name       string
	properties map[string]string
	message    string
}

// commands reads what the runner would, by its own rules.
func commands(t *testing.T, text string) (all []command) {
	t.Helper()
	for line := range strings.Lines(text) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "::")
		info, data, ended := strings.Cut(line, "::")
		if !ok || !ended {
			t.Fatalf("it is no command: %s", line)
		}
		c := command{properties: map[string]string{}}
		var properties string
		c.name, properties, _ = strings.Cut(info, " ")
		for p := range strings.SplitSeq(properties, ",") {
			name, value, _ := strings.Cut(p, "=")
			c.properties[name] = strings.NewReplacer("%0D", "\r", "%0A", "\n", "%3A", ":", "%2C", ",", "%25", "%").Replace(value)
		}
		c.message = strings.NewReplacer("%0D", "\r", "%0A", "\n", "%25", "%").Replace(data)
		all = append(all, c)
	}
	return all
}

func TestACISystemReadsAGate(t *testing.T) {
	text := written(t, GateJUnit, gateReports()["all"])
	read := suites(t, text)[0]
	want := map[string]junit.Status{
		"register/partition": junit.StatusFailed, "register/kill": junit.StatusPassed, "vm/host-kill": junit.StatusFailed, "append/none": junit.StatusFailed,
		"set/clock": junit.StatusSkipped, "queue/disk": junit.StatusError, "queue/clock": junit.StatusSkipped, "lock/kill": junit.StatusSkipped,
	}
	got := map[string]junit.Status{}
	for _, c := range read.Tests {
		got[c.Name] = c.Status
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	failed, ok := errors.AsType[junit.Error](read.Tests[0].Error)
	if !ok || failed.Type != "invalid" || !strings.Contains(failed.Body, "   6        1  n2    read x → 1") || !strings.Contains(failed.Body, "hacheck run --replay 'store/gate/latest/runs/raftkv register'") {
		t.Errorf("got failure %#v", read.Tests[0].Error)
	}
	if read.Tests[0].Classname != "raftkv" || read.Tests[0].Duration != 74*time.Second {
		t.Errorf("got %+v", read.Tests[0])
	}
}

// Whatever the status of the gate and of its cells, no format is green where the gate is not.
func TestNoFormatIsGreenWithoutReason(t *testing.T) {
	reports := map[string]gate.Report{}
	for status := range 3 {
		for _, of := range append(slices.Clone(gate.Statuses), "", "new") {
			for _, fails := range []bool{false, true} {
				cell := gate.CellReport{Name: "s/w/n", System: "s", Workload: "w", Nemesis: "n", Status: of, Fails: fails, Line: 3}
				reports[fmt.Sprint(status, of, fails)] = gate.Report{Status: status, Cells: []gate.CellReport{cell}, Plan: "p"}
			}
		}
		reports[fmt.Sprint(status)] = gate.Report{Status: status}
	}
	for name, r := range reports {
		green := r.Status == 0 && len(r.Cells) == 1 && r.Cells[0].Status == gate.CellPassed
		fails := r.Status != 0 || len(r.Cells) == 0 || r.Cells[0].Fails
		if text := written(t, gateFormats["colour"], r); strings.HasPrefix(text, green1("PASSED")) != green {
			t.Errorf("%s: text: %q", name, text)
		}
		totals := suites(t, written(t, GateJUnit, r))[0].Totals
		// A cell in a status that fails makes a failure even where the gate says that it passed.
		if red := totals.Failed + totals.Error; fails && red == 0 {
			t.Errorf("%s: junit: %+v", name, totals)
		}
		if len(r.Cells) == 1 && r.Cells[0].Status != gate.CellPassed && totals.Passed != 0 {
			t.Errorf("%s: junit passes what has not: %+v", name, totals)
		}
		errs := 0
		for _, c := range commands(t, written(t, GateGitHub, r)) {
			if c.name == "error" {
				errs++
			}
		}
		if fails && errs == 0 && !(r.Status == 0 && r.Cells[0].Status == gate.CellPassed) {
			t.Errorf("%s: github has no error", name)
		}
		for _, format := range slices.Sorted(maps.Keys(gateFormats)) {
			judgeFormat(t, format, written(t, gateFormats[format], r))
		}
	}
}

func green1(s string) string { return green + s + reset }

// assaultedGate is a report in which everything that can be is hostile.
func assaultedGate(hostile []string) gate.Report {
	all := strings.Join(hostile, " ") + "\n" + strings.Join(hostile, "\n")
	r := gate.Report{Plan: all, Command: all, Hacheck: all, Machine: gate.Machine{OS: all, Arch: all}, Comparison: all, Baseline: hostile, Trouble: hostile, Dir: all, Status: 1}
	for i, s := range hostile {
		name := fmt.Sprintf("%s/%d", s, i)
		f := gate.Finding{Checker: s, Kind: s, Note: s}
		a := gate.Attempt{Class: gate.Invalid, Words: s, Findings: []gate.Finding{f}, Witness: all, Dir: s, Repeat: []string{s}, Measures: gate.Measures{s: {Values: []float64{1}}}}
		c := gate.CellReport{
			Name: name, System: s, Workload: s, Nemesis: s, Status: gate.Statuses[i%len(gate.Statuses)], Fails: i%2 == 0, Why: s, Line: i,
			Outcomes: []gate.Outcome{
				{Job: gate.Job{ID: s + "1"}, Class: gate.Invalid, Attempts: []gate.Attempt{a}},
				{Job: gate.Job{ID: s}, Class: gate.SetAside, Words: s}, {Class: gate.Unknown, Attempts: []gate.Attempt{{Class: gate.Unknown, Words: s}}}, {Attempts: []gate.Attempt{{Class: gate.Failed, Words: s}}},
			},
			Counts: map[gate.Class]int{gate.Class(s): 1, gate.Invalid: 1}, Sure: gate.Sureness{Runs: 1, Failures: i % 2, Needed: i % 2, Words: s},
			Promises:    []gate.PromiseReport{{Promise: s, Metric: s, Words: s, Known: true}, {Promise: s, Words: s}},
			Comparisons: []gate.Comparison{{Metric: s, Statistic: s, Test: s, Words: s, Regressed: true}, {Metric: s, Suspected: true, Words: s}},
		}
		r.Cells = append(r.Cells, c)
		r.Groups = append(r.Groups, gate.Group{Signature: f.Signature(gate.Cell{System: s, Workload: s}), Kind: s, Checker: s, System: s, Workload: s, Cells: []string{name}, Jobs: []string{s + "1"}, Ran: 1, Example: s, Witness: all, Dir: s, Smallest: s})
	}
	return r
}

var hostileGate = append(slices.Clone(hostile), "::error file=x,line=1::y", "  ::stop-commands::x", "##[error]z", "a%0A::error::b", "{0} {{1}}", "- [ ] box", "</details><details open>")

func TestHostileTextIsTextInEachFormat(t *testing.T) {
	r := assaultedGate(hostileGate)
	for format, write := range gateFormats {
		text := written(t, write, r)
		judgeFormat(t, format, text)
		switch format {
		case "markdown":
			outside, fence := "", ""
			for line := range strings.Lines(text) {
				begun, ok := strings.CutSuffix(line, "text\n")
				switch {
				case fence != "":
					if strings.TrimSpace(line) == fence {
						fence = ""
					}
				case ok && strings.Trim(begun, "`") == "" && begun != "":
					fence = begun
				default:
					outside += line
				}
			}
			if fence != "" {
				t.Errorf("markdown: a block does not end")
			}
			for _, ours := range []string{"<details><summary>Witness</summary>", "</details>"} {
				outside = strings.ReplaceAll(outside, ours, "")
			}
			for _, markup := range []string{"<", ">", "`", "~", "[", "]", "\\", "$", "://", "www."} {
				if at := strings.Index(outside, markup); at >= 0 {
					t.Errorf("markdown: there is %q at %.60q", markup, outside[at:])
				}
			}
			if open, shut := strings.Count(text, "<details><summary>Witness</summary>\n\n"), strings.Count(text, "\n\n</details>\n"); open != len(r.Groups[:maxGateGroups]) || shut != open {
				t.Errorf("markdown: %d details begin, %d end", open, shut)
			}
			for line := range strings.Lines(outside) {
				if n := strings.Count(line, "|"); n != 0 && n != len(gateColumns)+1 {
					t.Errorf("markdown: %d bars: %s", n, line)
				}
			}
		case "github":
			all := commands(t, text)
			if len(all) > 3*maxAnnotations {
				t.Errorf("github: %d commands", len(all))
			}
			for _, c := range all {
				for name := range c.properties {
					if !slices.Contains([]string{"file", "line", "title"}, name) {
						t.Errorf("github: a property %q", name)
					}
				}
			}
			if want := Printable(hostileGate[0]); !strings.Contains(all[0].message, want) {
				t.Errorf("github: %q is told as %q", want, all[0].message)
			}
		case "junit":
			s := suites(t, text)[0]
			for i, c := range s.Tests {
				if want := Printable(oneLine(fmt.Sprintf("%d", i))); !strings.HasSuffix(c.Name, want) || c.Classname != Printable(oneLine(hostileGate[i])) {
					t.Errorf("junit: cell %d is %q of %q", i, c.Name, c.Classname)
				}
			}
		}
	}
}

// The same finding is the same alert, whatever its values, its cells and the commit are.
func TestAFindingStaysTheSameAlert(t *testing.T) {
	prints := func(r gate.Report) (all []string) {
		var log sarifLog
		if err := json.Unmarshal([]byte(written(t, GateSARIF, r)), &log); err != nil {
			t.Fatal(err)
		}
		for _, res := range log.Runs[0].Results {
			all = append(all, res.Rule+" "+res.Fingerprints["primaryLocationLineHash"])
		}
		return all
	}
	before := prints(gateReports()["all"])
	r := gateReports()["all"]
	r.Groups[0].Example, r.Groups[0].Witness, r.Groups[0].Ran, r.Took, r.Hacheck = "other values", "other calls", 9, 7, "v2"
	r.Cells[0].Line = 99
	r.Cells[2].Promises[0].Words = "it is 8 s"
	r.Cells[3].Comparisons[0].Words = "three times as long"
	if after := prints(r); !slices.Equal(before, after) {
		t.Errorf("before %v\nafter  %v", before, after)
	}
	r.Groups[0].Signature, r.Groups[0].Kind = "raftkv register: linearizable: lost write", "lost write"
	if after := prints(r); after[0] == before[0] {
		t.Errorf("another finding is the same alert: %v", after)
	}
	seen := map[string]bool{}
	for _, parts := range [][]string{{"a b"}, {"a-b"}, {"a/b"}, {"a", "b"}, {"a", ""}, {"", "a"}, {"a"}, {"é"}, {"ê"}, {"a -b"}, {"a- b"}, {strings.Repeat("x", 61)}, {strings.Repeat("x", 62)}} {
		id := sarifID(parts...)
		if seen[id] && !slices.Equal(parts, []string{"a-b"}) { // a kind is never written in both ways
			t.Errorf("two rules are called %s", id)
		}
		seen[id] = true
	}
}

// A thousand cells, all of them failed, with long witnesses.
func TestAThousandCellsAreReadable(t *testing.T) {
	r := gateReports()["all"]
	bad, group := r.Cells[0], r.Groups[0]
	r.Cells, r.Groups = nil, nil
	witness := strings.Repeat(strings.Repeat("a wide line ", 200)+"\n", 300)
	for i := range 1000 {
		c, g := bad, group
		c.Name, c.Line = fmt.Sprintf("%s/%d", bad.Name, i), i+1
		if i%10 == 0 {
			c.Status, c.Fails = gate.CellPassed, false
		} else {
			g.Checker, g.Cells, g.Signature, g.Witness = fmt.Sprintf("checker %d", i), []string{c.Name}, fmt.Sprint(i), witness
			r.Groups = append(r.Groups, g)
		}
		r.Cells = append(r.Cells, c)
	}
	for format, write := range gateFormats {
		text := written(t, write, r)
		judgeFormat(t, format, text)
		lines := strings.Count(text, "\n")
		switch format {
		case "text", "colour":
			if lines > 2500 || !strings.Contains(text, "not in the table: 840 invalid, 100 passed; see gate.json") {
				t.Errorf("%s has %d lines", format, lines)
			}
		case "markdown":
			if len(text) > maxGateMarkdown/2 {
				t.Errorf("markdown has %d bytes", len(text))
			}
		case "github":
			all := commands(t, text)
			if len(all) != maxAnnotations+1 || !strings.Contains(all[maxAnnotations-1].message, "and 891 more") {
				t.Errorf("github has %d commands, the last %+v", len(all), all[len(all)-1])
			}
		case "sarif":
			if len(text) > 50<<20 {
				t.Errorf("sarif has %d bytes", len(text))
			}
		case "junit":
			if n := len(suites(t, text)[0].Tests); n != 1000 || len(text) > 30e6 { // GitLab takes no more
				t.Errorf("junit has %d cases, %d bytes", n, len(text))
			}
		}
	}
}

func TestASummaryIsCutToWhatGitHubShows(t *testing.T) {
	blocks := []string{"first\n", strings.Repeat("x", 500) + "\n", "last\n"}
	if got := fitting(blocks, 1000); got != strings.Join(blocks, "\n") {
		t.Errorf("it is cut though there is room: %q", got)
	}
	got := fitting(blocks, 400)
	if len(got) > 400 || !strings.HasPrefix(got, "first\n\nThe rest is left out") {
		t.Errorf("got %q", got)
	}
}

func TestNoLineOfAGateIsWiderThanTheScreen(t *testing.T) {
	r := gateReports()["all"]
	r.Cells[0].Name = "raftkv/register/" + strings.Repeat("partition+", 12)
	r.Cells[0].Why, r.Trouble = strings.Repeat("word ", 60), []string{strings.Repeat("trouble ", 60)}
	r.Groups[0].Witness += strings.Repeat("calls ", 50)
	for _, columns := range []int{40, 41, 60, 80, 132} {
		for line := range strings.Lines(written(t, func(w io.Writer, r gate.Report) error { return GateText(w, r, Style{Width: columns}) }, r)) {
			copied := strings.Contains(line, "run again:") || strings.Contains(line, "files:") || strings.Contains(line, "smallest schedule:")
			if n := width(strings.TrimSuffix(line, "\n")); n > columns && !copied {
				t.Errorf("%d columns on a screen of %d: %s", n, columns, line)
			}
		}
	}
}

func TestAFullDiskIsToldOfAGate(t *testing.T) {
	full := errors.New("no space")
	for name, write := range gateFormats {
		if err := write(failing{full}, gateReports()["all"]); !errors.Is(err, full) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// What is read of a gate is what its file holds: the formats are made of gate.json as well.
func TestAReportReadFromItsFileIsTheSame(t *testing.T) {
	for name, r := range gateReports() {
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var read gate.Report
		d := json.NewDecoder(bytes.NewReader(b))
		if err := d.Decode(&read); err != nil {
			t.Fatal(err)
		}
		for format, write := range gateFormats {
			if written(t, write, r) != written(t, write, read) {
				t.Errorf("%s as %s differs", name, format)
			}
		}
	}
}
