package matrix_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/hacheck/hacheck/internal/gate"
	"github.com/hacheck/hacheck/internal/matrix"
)

// known is a small world.
func known() matrix.Known {
	faults := []string{"partition", "kill", "clock"}
	metrics := map[string]string{"recovery": "s", "failover.detect": "s", "throughput": "1/s", "availability.fault": ""}
	return matrix.Known{
		Systems: []matrix.System{
			{Name: "raftkv", Workloads: []string{"register", "append", "lock"}},
			{Name: "vmsched", Workloads: []string{"vm"}},
			{Name: "etcd", Workloads: []string{"register"}},
		},
		Options: []matrix.Option{
			{Name: "nodes"}, {Name: "time-limit"}, {Name: "concurrency"}, {Name: "bug"}, {Name: "rate"}, {Name: "interval"},
			{Name: "schedule", File: true}, {Name: "pcap", Bare: true}, {Name: "check-live", Bare: true}, {Name: "store"}, {Name: "seed"},
		},
		Faults: faults,
		Nemesis: func(text string) error {
			for spec := range strings.SplitSeq(text, ",") {
				if family, _, _ := strings.Cut(spec, ":"); !slices.Contains(faults, family) && family != "all" {
					return fmt.Errorf("no such fault: %q\nhacheck list shows all", spec)
				}
			}
			return nil
		},
		Metric: func(name string) (gate.Metric, bool) {
			unit, ok := metrics[name]
			return gate.Metric{Name: name, Unit: unit}, ok
		},
		Metrics: slices.Sorted(maps.Keys(metrics)),
		Measures: func(metric string, c gate.Cell) bool {
			return c.Nemesis != "none" && (c.Workload == "vm") == strings.HasPrefix(metric, "failover.")
		},
		Content: func(file string) (string, error) {
			if digest := map[string]string{"ci/faults/a.yaml": "a1", "/srv/b.yaml": "b1", "ci/f": "f1"}[file]; digest != "" {
				return digest, nil
			}
			return "", errors.New("there is no such file")
		},
		Check: func(arguments []string) error {
			for i := 7; i < len(arguments); i++ {
				name := strings.TrimPrefix(arguments[i], "--")
				switch {
				case name == arguments[i]:
					return fmt.Errorf("unexpected argument %q", name)
				case name == "pcap" || name == "check-live":
					continue
				}
				i++
				if n, err := strconv.Atoi(arguments[i]); name == "nodes" && (err != nil || n > 9) {
					return fmt.Errorf("--nodes %s: want a whole number from 1 to 9", arguments[i])
				} else if name == "nodes" && n < 3 && arguments[2] == "vmsched" {
					return errors.New("vmsched needs 3 at least")
				}
			}
			return nil
		},
	}
}

func read(text string) (gate.Plan, error) {
	return matrix.Read(strings.NewReader(text), "ci/hacheck.yaml", known())
}

// TestFiles runs the files of testdata/plans: plans, with what is read of them, or what is wrong.
// What the reader takes the schema must take, too; where the schema takes more, it is said.
func TestFiles(t *testing.T) {
	accepts := validator(t)
	datadriven.Walk(t, "testdata/plans", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			text := strings.NewReplacer("<TAB>", "\t", "<FF>", "\xff", "<NUL>", "\x00", "<LS>", "\u2028", "<NEL>", "\u0085", "<RLO>", "\u202e", "<BOM>", "\ufeff").Replace(d.Input)
			plan, err := read(text)
			refused := accepts(text)
			switch {
			case err == nil && refused != nil:
				d.Fatalf(t, "the reader takes what the schema does not: %v", refused)
			case err == nil:
				return show(plan)
			case !reflect.DeepEqual(plan, gate.Plan{}):
				d.Fatalf(t, "there is a plan beside an error: %+v", plan)
			case refused == nil:
				return err.Error() + "\nThe schema lets it pass.\n"
			}
			return err.Error() + "\n"
		})
	})
}

// show writes a plan, but for what is so by default.
func show(p gate.Plan) string {
	var b strings.Builder
	if p.Budget != 0 || p.Jobs != 0 {
		fmt.Fprintf(&b, "budget %v, jobs %d\n", p.Budget, p.Jobs)
	}
	if least, err := read("matrix: [{workloads: [lock], nemeses: [none]}]"); err != nil || p.Policy != least.Policy {
		fmt.Fprintf(&b, "policy %+v %v\n", p.Policy, err)
	}
	for _, c := range p.Cells {
		fmt.Fprintf(&b, "%d: %s: %s\n", c.Line, c.Name, strings.Join(c.Arguments, " "))
		if c.Files != nil {
			fmt.Fprintf(&b, "  files %v\n", c.Files)
		}
		if c.Runs != 1 || c.Weight != 1 || c.Seeds != nil {
			fmt.Fprintf(&b, "  runs %d, seeds %v, weight %v\n", c.Runs, c.Seeds, c.Weight)
		}
		for _, name := range slices.Sorted(maps.Keys(c.Promises.Availability)) {
			fmt.Fprintf(&b, "  availability %s %v\n", name, c.Promises.Availability[name])
		}
		for _, name := range slices.Sorted(maps.Keys(c.Promises.Durations)) {
			fmt.Fprintf(&b, "  %s %+v\n", name, c.Promises.Durations[name])
		}
	}
	return b.String()
}

// validator returns a function that says what the schema has against a file.
func validator(t testing.TB) func(text string) error {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(matrix.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("hacheck.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("hacheck.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return func(text string) error {
		var file any
		if err := yaml.Load([]byte(text), &file); err != nil {
			return err
		}
		asJSON, err := json.Marshal(file)
		if err != nil {
			return err
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
		if err != nil {
			return err
		}
		return schema.Validate(value)
	}
}

func TestTheInitialFileIsWhatItSays(t *testing.T) {
	text := string(matrix.Init())
	p, err := read(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := validator(t)(text); err != nil {
		t.Error(err)
	}
	var names []string
	for _, c := range p.Cells {
		names = append(names, c.Name)
	}
	want := []string{
		"raftkv/register/none", "raftkv/register/partition", "raftkv/register/partition,kill",
		"raftkv/append/none", "raftkv/append/partition", "raftkv/append/partition,kill",
	}
	if !slices.Equal(names, want) || p.Budget != 10*time.Minute || p.Cells[0].Runs != 1 || p.Cells[0].Seeds != nil {
		t.Errorf("it has %v in %v, of seeds %v", names, p.Budget, p.Cells[0].Seeds)
	}
	if got := p.Cells[0].Promises; !reflect.DeepEqual(got, gate.Promises{}) {
		t.Errorf("without faults it promises %+v", got)
	}
	partition := gate.Promises{
		Availability: map[string]float64{"partition": 0.5},
		Durations:    map[string]gate.Limits{"recovery": {P50: 5 * time.Second, Max: 20 * time.Second}},
	}
	if got := p.Cells[1].Promises; !reflect.DeepEqual(got, partition) {
		t.Errorf("under partitions it promises %+v", got)
	}
	if first, _, _ := strings.Cut(text, "\n"); !strings.HasSuffix(first, "$schema="+schemaID(t)) {
		t.Errorf("its first line is %q, which does not name the schema", first)
	}
}

func schemaID(t *testing.T) string {
	t.Helper()
	var s struct {
		ID string `json:"$id"`
	}
	if err := json.Unmarshal(matrix.Schema(), &s); err != nil || s.ID == "" {
		t.Fatalf("the schema has no $id: %v", err)
	}
	return s.ID
}

// What is commented out is said to be what is so by default: with the comment taken away
// the plan is the same. Some are examples.
func TestWhatIsCommentedOutIsTheDefault(t *testing.T) {
	comment := regexp.MustCompile(`(?m)^( *)#(([a-z][a-z-]*):.*)$`)
	text := string(matrix.Init())
	before, err := read(text)
	if err != nil {
		t.Fatal(err)
	}
	examples := []string{"seeds", "label", "options", "promises"}
	var all []string
	for _, at := range comment.FindAllStringSubmatchIndex(text, -1) {
		key := text[at[6]:at[7]]
		all = append(all, key)
		after, err := read(text[:at[3]] + text[at[4]:])
		if err != nil {
			t.Errorf("with %s it is no plan: %v", key, err)
		}
		if same := reflect.DeepEqual(before, after); same == slices.Contains(examples, key) {
			t.Errorf("%s is the default: %v", key, same)
		}
	}
	want := []string{"jobs", "regression", "unknown", "unknown-retries", "unrun", "reruns", "shrink", "runs", "seeds", "weight", "label", "options", "promises"}
	if !slices.Equal(all, want) {
		t.Errorf("commented out are %v, want %v", all, want)
	}
	if _, err := read(comment.ReplaceAllString(text, "$1$2")); err != nil {
		t.Errorf("with all of them it is no plan: %v", err)
	}
}

// The schema tells editors of defaults, and the reference tells people: both name each key,
// and what holds.
func TestSchemaAndReferenceSayWhatHolds(t *testing.T) {
	type node struct {
		Properties  map[string]node `json:"properties"`
		Description string          `json:"description"`
		Default     json.RawMessage `json:"default"`
		OneOf       []node          `json:"oneOf"`
		Defs        map[string]node `json:"$defs"`
	}
	var root node
	if err := json.Unmarshal(matrix.Schema(), &root); err != nil {
		t.Fatal(err)
	}
	reference, err := os.ReadFile("../../docs/gate.md")
	if err != nil {
		t.Fatal(err)
	}
	const least = "matrix: [{workloads: [lock], nemeses: [kill]}]"
	plan, err := read(least)
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	check := func(key string, n node, with string) {
		if n.Description == "" {
			t.Errorf("the schema does not describe %s", key)
		}
		if !strings.Contains(string(reference), "| `"+key+"`") {
			t.Errorf("docs/gate.md has no row for %s", key)
		}
		if n.Default == nil {
			return
		}
		checked++
		if got, err := read(fmt.Sprintf(with, key, n.Default)); err != nil || !reflect.DeepEqual(got, plan) {
			t.Errorf("%s is not %s by default: %+v, %v", key, n.Default, got, err)
		}
	}
	for key, n := range root.Properties {
		check(key, n, "{%q: %s, "+least+"}")
		for _, form := range n.OneOf {
			for inner, n := range form.Properties {
				check(inner, n, "{"+key+": {%q: %s}, "+least+"}")
			}
		}
	}
	for key, n := range root.Defs["row"].Properties {
		check(key, n, "{matrix: [{workloads: [lock], nemeses: [kill], %q: %s}]}")
	}
	if checked < 11 {
		t.Errorf("there are only %d defaults", checked)
	}
}

// A plan says all that is wrong, but not for pages.
func TestErrorsAreBounded(t *testing.T) {
	_, err := read(strings.Repeat("a: 1\n", 100_000))
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 21 || lines[20] != "ci/hacheck.yaml: and 99981 more like these" {
		t.Errorf("got %d lines, the last %q", len(lines), lines[len(lines)-1])
	}
	_, err = read("matrix: [{workloads: [lock], nemeses: [" + strings.Repeat("x", 500_000) + "]}]")
	if len(err.Error()) < 100 || len(err.Error()) > 600_000 {
		t.Errorf("got an error of %d bytes", len(err.Error()))
	}
	_, err = read(strings.Repeat("x", 500_000) + ": 1")
	if len(err.Error()) > 500 {
		t.Errorf("got an error of %d bytes", len(err.Error()))
	}
}

func TestTooMuchIsRefused(t *testing.T) {
	var rows strings.Builder
	rows.WriteString("matrix:\n")
	for i := range 5001 {
		fmt.Fprintf(&rows, "- {workloads: [lock], nemeses: [none, kill], label: l%d}\n", i)
	}
	for text, want := range map[string]string{
		strings.Repeat("# nothing\n", 1<<17): "ci/hacheck.yaml:1: this is longer than 1 MB, which no plan is; is it the right file?",
		rows.String():                        "ci/hacheck.yaml:5002: with this row there are more than 10000 cells; strike some out, or make several plans of it",
		"matrix: [{workloads: [lock], nemeses: [none, kill], runs: 1000000}]": "ci/hacheck.yaml:1: with this row there are more than 1000000 runs; make runs less, or make several plans of it",
		strings.Repeat("[", 500_000):                                          "ci/hacheck.yaml:1: this is no YAML: while increasing flow level: exceeded max depth of 10000",
	} {
		if _, err := read(text); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	for _, hostile := range []string{ // each as long as a file may be, and none takes long
		"matrix: [{workloads: [" + strings.Repeat("a,", 500_000) + "]}]",
		"matrix: [{workloads: [lock], nemeses: [" + strings.Repeat("none,", 200_000) + "]}]",
		"matrix: [" + strings.Repeat("{},", 300_000) + "]",
		"matrix: [{seeds: [" + sequence(150_000) + "], workloads: [lock], nemeses: [none, kill], runs: 400000}]",
		"options: {" + strings.Repeat("x: 1, ", 150_000) + "}",
	} {
		began := time.Now()
		if _, err := read(hostile); (err == nil) != strings.Contains(hostile, "400000") {
			t.Errorf("%.40s...: %v", hostile, err)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("%.40s... took %v", hostile, took)
		}
		t.Logf("%.40s... took %v", hostile, time.Since(began))
	}
	whole := strings.Join(strings.SplitAfter(rows.String(), "\n")[:5001], "")
	if p, err := read(whole); err != nil || len(p.Cells) != 10_000 {
		t.Errorf("of 10000 cells there are %d: %v", len(p.Cells), err)
	}
}

// sequence returns the numbers from 0 on, with commas.
func sequence(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d,", i)
	}
	return b.String()
}

// Each alias stands for ten of the one before: written out, it is a thousand million.
func TestAliasesAreNotFollowed(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 x\n")
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	if _, err := read(b.String()); err == nil || !strings.Contains(err.Error(), "ci/hacheck.yaml:2: *a0 is an alias, and none is read; write out what stands on line 1") {
		t.Errorf("got %v", err)
	}
}

func TestAnUnreadableFileIsNoPlan(t *testing.T) {
	broken := errors.New("the disk is gone")
	if _, err := matrix.Read(iotest.ErrReader(broken), "hacheck.yaml", known()); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "hacheck.yaml: ") {
		t.Errorf("got %v", err)
	}
}

// FuzzRead reads what nobody thought of: either there is an error, of lines of its form, or
// a plan that can be run, which the schema takes, too.
func FuzzRead(f *testing.F) {
	f.Add(string(matrix.Init()))
	f.Add("matrix:\n- {system: raftkv, workloads: all, nemeses: [none, \"kill,partition\"], seeds: [1], runs: 2, weight: 0.5, label: x}\n")
	f.Add("promises: {availability: {kill: 50%}, recovery: {p50: 1s, max: none}}\nmatrix: [{workloads: [vm], nemeses: [all], promises: {recovery: none}}]")
	f.Add("options: {schedule: f, pcap: true, rate: 1e3}\nregression: off\nmatrix: [{workloads: [lock], nemeses: [kill], options: {pcap: false}}]")
	f.Add("a: &a [*a]\n<<: *a\n? [x]\n: !!str 1\n---\n")
	f.Add("regression: &x {error-rate: 0%}\nbudget: 1\nunknown: *x")
	f.Add("!%0A")
	f.Add("\"a\\nb\": 1\nmatrix: [{workloads: [\"\\u2028\"], nemeses: [\"x\\n\"]}]")
	line := regexp.MustCompile(`^ci/hacheck\.yaml:([1-9][0-9]*: .| and [0-9]+ more like these$)`)
	accepts := validator(f)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := read(text)
		if err != nil {
			for l := range strings.SplitSeq(err.Error(), "\n") {
				if !line.MatchString(l) {
					t.Fatalf("an error is %q", l)
				}
			}
			return
		}
		if err := accepts(text); err != nil && !strings.Contains(err.Error(), "unsupported value") { // .inf is no JSON
			t.Fatalf("the schema refuses what was read: %v", err)
		}
		names := map[string]bool{}
		for _, c := range p.Cells {
			if names[c.Name] || c.System == "" || c.Runs < 1 || c.Runs < len(c.Seeds) || len(c.Seeds) > 0 && c.Runs%len(c.Seeds) != 0 || !(c.Weight > 0) || c.Line < 1 ||
				!strings.HasPrefix(c.Name, c.System+"/"+c.Workload+"/"+c.Nemesis) || c.Arguments[0] != "run" {
				t.Fatalf("there is a cell %+v", c)
			}
			names[c.Name] = true
			for window, share := range c.Promises.Availability {
				if !(share > 0 && share <= 1) {
					t.Fatalf("%s promises %v of %s", c.Name, share, window)
				}
			}
			for metric, l := range c.Promises.Durations {
				if l == (gate.Limits{}) || min(l.P50, l.P99, l.Max) < 0 {
					t.Fatalf("%s promises %+v of %s", c.Name, l, metric)
				}
			}
		}
		if len(p.Cells) == 0 || p.Budget < 0 || p.Jobs < 0 || !p.Policy.Regression.Off && !(p.Policy.Regression.ErrorRate > 0) {
			t.Fatalf("read %+v", p)
		}
	})
}
