// Package matrix reads hacheck.yaml: which systems a gate runs, under which workloads and
// nemeses, what they have to hold, and what is made of what they do not.
//
// It reads strictly. A key that it does not know, or that stands twice, a number without its
// unit and a promise that no run can break are errors, since each of them is a test that
// somebody believes to have. All that is wrong is told at once, with the lines and what to
// do. Anchors, aliases, merges and tags of YAML are refused: what is of all rows has a place
// above them, and a file that says the same in fewer ways is read by more people.
package matrix

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/hacheck/hacheck/internal/gate"
)

// Known is what there is to choose from, and who judges what was chosen. All of its
// functions are there.
type Known struct {
	// Systems are those there are, one at least, in the order in which a workload is looked for that has
	// no system with it.
	Systems []System
	// Options are those of hacheck run that a plan may give; those that the gate itself
	// gives need not be among them.
	Options []Option
	// Faults are the names of the families, such as "partition", for which there may be a
	// promise of availability.
	Faults []string
	// Nemesis says what is wrong with faults as --nemesis takes them; nil: nothing.
	Nemesis func(faults string) error
	// Metric returns the metric of that name, as [gate.Metrics] does, and Metrics are names
	// of some, to be suggested.
	Metric  func(name string) (gate.Metric, bool)
	Metrics []string
	// Measures says whether runs of the cell can measure the metric: a promise of all runs is
	// made only of those. Of the cell all is known but its promises.
	Measures func(metric string, c gate.Cell) bool
	// Content returns a digest of what is in a file that an option names; an error says why it cannot be
	// read, such as "there is no such file".
	Content func(file string) (string, error)
	// Check says what is wrong with the arguments of a run taken together, as the command
	// line would; an error that names an option, as in "--nodes 99: ...", is told with its
	// line.
	Check func(arguments []string) error
}

// A System is one, and the names of its workloads.
type System struct {
	Name      string
	Workloads []string
}

// An Option is one of hacheck run.
type Option struct {
	Name string // without dashes
	Bare bool   // takes no value
	File bool   // its value is the name of a file, which a plan has relative to its own
}

// How often a plan may have a run that came to nothing tried again, and the schedule of one that failed
// repeated.
const (
	MaxRetries = 10
	MaxReruns  = 100
)

// The limits of a plan: what is beyond them is a slip of the hand.
const (
	maxSize    = 1 << 20 // bytes of a file
	maxCells   = 10_000
	maxRuns    = 1_000_000 // of all cells together
	maxTime    = 30 * 24 * time.Hour
	maxJobs    = 1000
	maxConfirm = 1000
	maxWeight  = 1000
	maxErrors  = 20 // that are told

	// No number of runs that somebody makes proves anything with less chance of error.
	minErrorRate = 1e-5
)

// defaults are what is not said in a file.
func defaults() gate.Policy {
	return gate.Policy{
		UnknownRetries: 1,
		Reruns:         3,
		Shrink:         true,
		Regression:     gate.Regression{ErrorRate: 0.01, Least: 0.25, Confirm: 15},
	}
}

//go:embed hacheck.yaml
var initial []byte

// Init returns a file to begin with: it passes Read, and its comments say what there is.
func Init() []byte { return bytes.Clone(initial) }

//go:embed hacheck.schema.json
var schema []byte

// Schema returns the JSON schema (draft 2020-12) of the file, with which editors help those
// who write one. What Read takes it takes, too; it does not know what there is, and sees no
// key that stands twice.
func Schema() []byte { return bytes.Clone(schema) }

// Read reads a plan from r; name is the file's, to which files that it names are relative.
// The error is of several lines, in the order of the file's, each of the form
// "hacheck.yaml:12: what is wrong; what to do".
func Read(r io.Reader, name string, k Known) (gate.Plan, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err != nil {
		return gate.Plan{}, fmt.Errorf("%s: %w", name, err)
	}
	in := &reader{name: name, known: k}
	root := in.parse(text)
	var p gate.Plan
	if root != nil {
		in.strange(root)
		p = in.plan(root)
	}
	if err := in.err(); err != nil {
		return gate.Plan{}, err
	}
	return p, nil
}

// parse returns what the one document is; nil: it says why not.
func (r *reader) parse(text []byte) *yaml.Node {
	if len(text) > maxSize {
		r.fault(1, "this is longer than 1 MB, which no plan is; is it the right file?")
		return nil
	}
	line := 1
	for rest := text; len(rest) > 0; {
		c, size := utf8.DecodeRune(rest)
		switch {
		case c == utf8.RuneError && size == 1:
			r.fault(line, "byte 0x%02x is no UTF-8; save the file as UTF-8", rest[0])
			return nil
		case c < ' ' && c != '\t' && c != '\n' && c != '\r', c == 0x7f:
			r.fault(line, "there is a control character, 0x%02x; strike it out", c)
			return nil
		case unicode.In(c, unicode.Zl, unicode.Zp, unicode.Bidi_Control), c == 0x85:
			// It ends a line for some readers of YAML and not for others, or shows text in another
			// order than it is read in.
			r.fault(line, "there is %U, which shows another text than is read; strike it out", c)
			return nil
		case c == '\n':
			line++
		}
		rest = rest[size:]
	}
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		r.yaml(err)
		return nil
	}
	var document, more yaml.Node
	switch err := loader.Load(&document); {
	case errors.Is(err, io.EOF) || err == nil && len(document.Content) == 0:
		r.fault(1, "there is nothing in it; hacheck gate --init writes one to begin with")
		return nil
	case err != nil:
		r.yaml(err)
		return nil
	}
	switch err := loader.Load(&more); {
	case err == nil:
		r.fault(more.Line, "another document begins here; a plan is one, so strike out the line ---, or give it a file of its own")
	case !errors.Is(err, io.EOF):
		r.yaml(err)
	}
	return document.Content[0]
}

// yaml tells what the library says, without saying of it that it is one.
func (r *reader) yaml(err error) {
	line, words := 1, err.Error()
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		line, words = e.Mark.Line, e.Message
		if from := e.ContextMark.Line; e.ContextMsg != "" && from > 0 && from < line {
			words = fmt.Sprintf("%s from line %d on: %s", e.ContextMsg, from, words)
		} else if e.ContextMsg != "" {
			words = e.ContextMsg + ": " + words
		}
	}
	r.fault(max(line, 1), "this is no YAML: %s", words)
}

// The keys of a plan, and of a row of its matrix.
var (
	planKeys = []string{"budget", "jobs", "options", "promises", "regression", "unknown", "unknown-retries", "unrun", "reruns", "shrink", "matrix"}
	rowKeys  = []string{"system", "workloads", "nemeses", "runs", "seeds", "weight", "label", "options", "promises"}
)

// plan reads all of it.
func (r *reader) plan(root *yaml.Node) gate.Plan {
	p := gate.Plan{Policy: defaults()}
	top := r.mapping(root, "a plan", "matrix: [...]", planKeys...)
	if n := top["budget"]; n != nil {
		p.Budget = r.time(n, "budget", "10m")
	}
	if n := top["jobs"]; n != nil {
		p.Jobs = r.count(n, "jobs", 0, maxJobs)
	}
	if n := top["unknown"]; n != nil {
		p.Policy.UnknownWarns = r.choice(n, "unknown", "fail", "warn") == "warn"
	}
	if n := top["unknown-retries"]; n != nil {
		p.Policy.UnknownRetries = r.count(n, "unknown-retries", 0, MaxRetries)
	}
	if n := top["unrun"]; n != nil {
		p.Policy.UnrunFails = r.choice(n, "unrun", "warn", "fail") == "fail"
	}
	if n := top["reruns"]; n != nil {
		p.Policy.Reruns = r.count(n, "reruns", 0, MaxReruns)
	}
	if n := top["shrink"]; n != nil {
		p.Policy.Shrink = r.choice(n, "shrink", "true", "false") == "true"
	}
	if n := top["regression"]; n != nil {
		r.regression(n, &p.Policy.Regression)
	}
	before := len(r.faults)
	ofAll := row{options: r.options(top["options"]), promises: r.override(nil, r.promises(top["promises"]))}
	ofAll.sound = len(r.faults) == before
	switch rows := top["matrix"]; {
	case rows != nil:
		p.Cells = r.cells(rows, ofAll)
	case root.Kind == yaml.MappingNode:
		r.fault(root.Line, `which runs? Add "matrix:" with a row such as "- {workloads: [register], nemeses: [none, partition]}"`)
	}
	return p
}

// regression reads how distributions are compared.
func (r *reader) regression(n *yaml.Node, to *gate.Regression) {
	if n.Kind == yaml.ScalarNode && (n.Value == "off" || n.Value == "false") && r.plain(n) {
		to.Off = true
		return
	}
	keys := r.mapping(n, "regression", "{error-rate: 1%, least: 25%, confirm: 15}, or off", "error-rate", "least", "confirm")
	if n := keys["error-rate"]; n != nil {
		before := len(r.faults)
		if to.ErrorRate = r.share(n, "error-rate", 50); to.ErrorRate < minErrorRate && len(r.faults) == before && r.plain(n) {
			r.fault(n.Line, "error-rate: below 0.001%% hardly anything would ever be told; write about 1%%, or \"regression: off\"")
		}
	}
	if n := keys["least"]; n != nil {
		to.Least = r.share(n, "least", 1000)
	}
	if n := keys["confirm"]; n != nil {
		to.Confirm = r.count(n, "confirm", 1, maxConfirm)
	}
}
