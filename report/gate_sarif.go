package report

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/internal/gate"
)

// GateSARIF writes what a gate came to as SARIF 2.1.0, which code scanning reads: a rule for
// each signature, promise and comparison, and a result for each that failed, at the line of its
// cell in the plan. What a rule is called, and the fingerprints of a result, go by what failed and
// not by values or seeds, so that a finding is the same alert from one gate to the next.
//
// What is proven is an error, or a warning if the gate does not fail for it; what is unknown, the
// same; what was not run is a note. What went wrong in hacheck or on the machine is no result, but
// a notification of its run.
func GateSARIF(w io.Writer, r gate.Report) error {
	s := &sarif{plan: r.Plan, rules: map[string]int{}, results: []sarifResult{}, driver: sarifDriver{
		Name: "hacheck", Version: Printable(r.Hacheck), Information: "https://github.com/hacheck/hacheck", Rules: []sarifRule{},
	}}
	cells := map[string]*gate.CellReport{}
	for i := range r.Cells {
		cells[r.Cells[i].Name] = &r.Cells[i]
	}
	for _, g := range r.Groups {
		s.group(r, g, cells)
	}
	items := gateItems(r)
	run := sarifInvocation{Successful: r.Status != 255 && len(r.Cells) > 0, Exit: r.Status, Command: Printable(r.Command)}
	if !r.Began.IsZero() {
		run.Began = r.Began.UTC().Format("2006-01-02T15:04:05.000Z")
		run.Ended = r.Began.Add(time.Duration(r.Took * float64(time.Second))).UTC().Format("2006-01-02T15:04:05.000Z")
	}
	for _, kind := range gateKinds {
		for _, i := range items[kind] {
			if kind == gateFailed {
				run.Notifications = append(run.Notifications, s.notification(r, i))
			} else {
				s.item(i)
			}
		}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(sarifLog{
		Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0",
		Runs: []sarifRun{{
			Tool: sarifTool{s.driver}, Invocations: []sarifInvocation{run}, Results: s.results,
			Automation: sarifAutomation{"hacheck-gate/"}, Columns: "unicodeCodePoints",
		}},
	})
}

// What the file is made of, of all that the standard has:
// https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Invocations []sarifInvocation `json:"invocations"`
		Results     []sarifResult     `json:"results"`
		Automation  sarifAutomation   `json:"automationDetails"`
		Columns     string            `json:"columnKind"`
	}
	sarifAutomation struct {
		ID string `json:"id"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name        string      `json:"name"`
		Version     string      `json:"version,omitempty"`
		Information string      `json:"informationUri"`
		Rules       []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID      string       `json:"id"`
		Short   sarifMessage `json:"shortDescription"`
		Full    sarifMessage `json:"fullDescription"`
		Help    sarifMessage `json:"help"`
		Default sarifDefault `json:"defaultConfiguration"`
	}
	sarifDefault struct {
		Level string `json:"level"`
	}
	sarifInvocation struct {
		Successful    bool                `json:"executionSuccessful"`
		Exit          int                 `json:"exitCode"`
		Command       string              `json:"commandLine,omitempty"`
		Began         string              `json:"startTimeUtc,omitempty"`
		Ended         string              `json:"endTimeUtc,omitempty"`
		Notifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
	}
	sarifNotification struct {
		Level     string          `json:"level"`
		Message   sarifMessage    `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
	}
	sarifResult struct {
		Rule         string            `json:"ruleId"`
		Index        int               `json:"ruleIndex"`
		Level        string            `json:"level"`
		Message      sarifMessage      `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Related      []sarifLocation   `json:"relatedLocations,omitempty"`
		Fingerprints map[string]string `json:"partialFingerprints"`
		Properties   map[string]any    `json:"properties,omitempty"`
	}
	sarifMessage struct {
		Text string `json:"text"`
	}
	sarifLocation struct {
		Physical sarifPhysical  `json:"physicalLocation"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		Line int `json:"startLine"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
	}
)

// A sarif is a log as it grows.
type sarif struct {
	plan    string
	driver  sarifDriver
	rules   map[string]int
	results []sarifResult
}

// linked finds what a reader of SARIF takes for a link, or for a place to put an argument in.
var linked = regexp.MustCompile(`(\])(\()|(\{)(\d+\})`)

// sarifText is text that is shown as it is.
func sarifText(s string) sarifMessage {
	return sarifMessage{linked.ReplaceAllString(Printable(s), "$1$3\u200b$2$4")}
}

// result adds a result and, if it is the first of its kind, its rule.
func (s *sarif) result(id []string, short, full string, res sarifResult, cells ...*gate.CellReport) {
	res.Rule = sarifID(id...)
	at, ok := s.rules[res.Rule]
	if !ok {
		at = len(s.driver.Rules)
		s.rules[res.Rule] = at
		s.driver.Rules = append(s.driver.Rules, sarifRule{
			ID: res.Rule, Short: sarifText(clip(oneLine(short), maxCell)), Full: sarifText(clip(full, maxNote)), Help: sarifText(clip(full, maxNote)),
			Default: sarifDefault{res.Level},
		})
	}
	res.Index = at
	for i, c := range cells {
		l := s.location(c)
		if i == 0 {
			res.Locations = append(res.Locations, l)
		} else if len(res.Related) < maxGateItems {
			res.Related = append(res.Related, l)
		}
	}
	if len(cells) == 0 {
		res.Locations = []sarifLocation{s.location(nil)}
	}
	s.results = append(s.results, res)
}

// location is where a cell stands in the plan; nil: the plan's first line.
func (s *sarif) location(c *gate.CellReport) sarifLocation {
	l := sarifLocation{Physical: sarifPhysical{sarifArtifact{gateFileURI(s.plan)}, sarifRegion{1}}}
	if c != nil {
		l.Physical.Region.Line = max(c.Line, 1)
		l.Logical = []sarifLogical{{Printable(oneLine(cmp.Or(c.Name, gateName(c))))}}
	}
	return l
}

// gateFileURI is the plan's file as a URI, relative unless it is somewhere else.
func gateFileURI(plan string) string {
	u := url.URL{Path: path.Clean(strings.ToValidUTF8(gatePlan(plan), "\uFFFD"))}
	if path.IsAbs(u.Path) {
		u.Scheme = "file"
		return "file://" + u.EscapedPath()
	}
	return u.String()
}

// gatePlan is the plan's file, by its usual name if it was read from none.
func gatePlan(plan string) string {
	if plan == "" || plan == "-" {
		return "hacheck.yaml"
	}
	return plan
}

// sarifID is what a rule is called: the same in each gate, short, and different for different
// parts.
func sarifID(parts ...string) string {
	whole := strings.Join(parts, "\x00")
	lossy := false
	for i, part := range parts {
		parts[i] = strings.Map(func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-', r == '+', r == '%':
				return r
			case r == ' ':
				return '-'
			}
			lossy = true
			return '-'
		}, part)
		if strings.Contains(part, "-") && strings.Contains(part, " ") || len(parts[i]) > 60 || parts[i] == "" {
			lossy = true
			parts[i] = cmp.Or(parts[i][:min(len(parts[i]), 60)], "-")
		}
	}
	id := strings.Join(parts, "/")
	if lossy {
		id += "-" + sarifHash(whole)[:8]
	}
	return id
}

func sarifHash(of ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(of, "\x00")))
	return hex.EncodeToString(sum[:])[:16]
}

// fingerprints of what is the same finding. GitHub goes by the first, which has the form of
// those that it makes itself.
func fingerprints(of ...string) map[string]string {
	hash := sarifHash(of...)
	return map[string]string{"primaryLocationLineHash": hash + ":1", "hacheckSignature/v1": hash}
}

func (s *sarif) group(r gate.Report, g gate.Group, cells map[string]*gate.CellReport) {
	level := "warning"
	var in []*gate.CellReport
	for _, name := range g.Cells {
		if c := cells[name]; c != nil {
			in = append(in, c)
			if c.Fails {
				level = "error"
			}
		}
	}
	if len(in) == 0 {
		level = "error" // it was found, wherever
	}
	words := fmt.Sprintf("%s: %s\nFound by %s in %s.", g.Kind, clip(g.Example, maxNote), g.Checker, gateWhere(g))
	properties := map[string]any{"signature": Printable(g.Signature), "jobs": len(g.Jobs), "reruns": g.Ran, "showed": g.Showed}
	for _, n := range gateNext(r, g) {
		words += "\n" + n.Purpose + " " + n.Command
	}
	if witness := gateWitness(g.Witness, maxSummaryWitness, maxSummaryLine); witness != "" {
		properties["witness"] = Printable(witness)
	}
	id := []string{g.System, g.Workload, g.Checker}
	s.result(id, g.System+" "+g.Workload+": "+g.Kind, fmt.Sprintf("%s proved an anomaly of %s under workload %s: %s.", g.Checker, g.System, g.Workload, g.Kind),
		sarifResult{Level: level, Message: sarifText(words), Fingerprints: fingerprints(g.Signature), Properties: properties}, in...)
}

// The words of a rule of what is no group.
var sarifRules = map[gateKind]struct{ id, short, full string }{
	gateInvalid:   {"invalid", "A run is invalid", "A run broke what its workload holds the system to."},
	gateBroken:    {"promise", "A promise is broken", "What was measured is outside of the bounds that the plan promises."},
	gateRegressed: {"regression", "Worse than the baseline", "Fresh runs are worse than those of the baseline, by a test whose error rate is that of the plan."},
	gateSuspected: {"suspected", "Perhaps worse than the baseline", "Runs look worse than those of the baseline, and more runs would tell."},
	gateUnknown:   {"unknown", "A verdict is unknown", "What was run could not be judged, and so has not passed."},
	gateRefused:   {"refused", "Not done by this machine", "This machine, or the system, does not do what the cell asks for."},
	gateUnrun:     {"not-run", "Not run", "There was no time to run the cell."},
}

// item adds a result for what was to be said of a cell.
func (s *sarif) item(i gateItem) {
	level := gateLevel(i)
	if level == "notice" {
		level = "note"
	}
	rule := sarifRules[i.kind]
	id := []string{rule.id}
	if i.about != "cell" && i.kind != gateUnknown {
		id = append(id, i.about)
		rule.short += ": " + i.about
	}
	s.result(id, rule.short, rule.full, sarifResult{Level: level, Message: sarifText(i.cell.Name + ": " + clip(i.words, maxNote)), Fingerprints: fingerprints(string(i.kind), i.cell.Name, i.about)}, i.cell)
}

// gateLevel is how grave an item is, in the words of GitHub: an error if the gate fails for its
// cell.
func gateLevel(i gateItem) string {
	proven := slices.Contains([]gateKind{gateInvalid, gateBroken, gateRegressed}, i.kind)
	switch {
	case i.kind == gateSuspected:
		return "notice"
	case i.cell != nil && i.cell.Fails && i.about == "cell", proven && (i.cell == nil || i.cell.Fails):
		return "error"
	case proven, i.kind == gateUnknown, i.kind == gateFailed:
		return "warning"
	}
	return "notice"
}

// notification tells of what went wrong beside the verdicts.
func (s *sarif) notification(r gate.Report, i gateItem) sarifNotification {
	n := sarifNotification{Level: "warning", Message: sarifText(clip(i.words, maxNote))}
	if r.Status == 255 || gateLevel(i) == "error" {
		n.Level = "error"
	}
	if i.cell != nil {
		n.Message = sarifText(i.cell.Name + ": " + clip(i.words, maxNote))
		n.Locations = []sarifLocation{s.location(i.cell)}
	}
	return n
}
