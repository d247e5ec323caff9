package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// anomalies writes what was proven: in words, and with the calls that prove it.
func (t *text) anomalies(r Run) {
	proven := proof(r.Result)
	for i, a := range proven[:min(len(proven), maxAnomalies)] {
		t.section()
		t.line("%s", t.paint(red, a.Kind))
		t.paragraph("  ", "  ", a.Note)
		if r.History != nil && i == 0 { // who has several has one bug, as a rule
			t.witness(r.History, a)
		}
	}
	if more := len(proven) - maxAnomalies; more > 0 {
		t.section()
		t.line("and %s; see results.json", moreAnomalies(more))
	}
}

func moreAnomalies(n int) string {
	if n == 1 {
		return "1 more anomaly"
	}
	return fmt.Sprintf("%d more anomalies", n)
}

// proof returns the anomalies that make r invalid.
func proof(r checker.Result) []checker.Anomaly {
	if r.Verdict != checker.Invalid {
		return nil
	}
	found := r.Anomalies
	for _, p := range r.Parts {
		found = slices.Concat(found, proof(p))
	}
	return found
}

// witness lists the calls of an anomaly, a line each, in the order of their
// invocations, and the faults that held while the last of them ran.
func (t *text) witness(h *histories.History, a checker.Anomaly) {
	calls := callsOf(h, a.Ops)
	if len(calls) == 0 {
		return
	}
	clock, unit := clockFor(calls)
	rows := [][]string{{"op", "from" + unit, "to" + unit, "process", "node", "what"}}
	// The end of a long witness is where it goes wrong.
	if dropped := len(calls) - maxWitness; dropped > 0 {
		rows = append(rows, []string{"", "...", "", "", "", fmt.Sprintf("(%d earlier calls)", dropped)})
		calls = calls[dropped:]
	}
	for _, c := range calls {
		rows = append(rows, []string{
			fmt.Sprint(c.invoked.Index), clock(c.invoked.Time), c.until(clock),
			c.invoked.Process.String(), c.node(), c.what(),
		})
	}
	t.section()
	t.table("  ", rows, ">>>><<")
	if faults := meanwhile(h, calls[len(calls)-1]); faults != "" {
		t.section()
		t.paragraph("  in force meanwhile: ", "  ", faults)
	}
}

// A call is an operation as a witness shows it.
type call struct {
	invoked   histories.Op
	completed histories.Op // if it came; what it says counts only if known, or indeterminate
	known     bool         // the completion is part of the evidence
	later     bool         // it came, but after what is shown
}

// callsOf pairs ops, indices into h, in the order of the invocations.
func callsOf(h *histories.History, ops []int) []call {
	var calls []call
	seen := map[int]bool{}
	for _, i := range ops {
		if i < 0 || i >= h.Len() {
			continue
		}
		from, to := i, h.Pair(i)
		if t := h.At(i).Type; to >= 0 && t != histories.Invoke {
			from, to = to, i
		}
		if seen[from] {
			continue
		}
		seen[from] = true
		c := call{invoked: h.At(from)}
		if to >= 0 {
			c.completed = h.At(to)
			c.known = slices.Contains(ops, to)
			c.later = !c.known && c.completed.Type != histories.Info
		}
		calls = append(calls, c)
	}
	slices.SortFunc(calls, func(a, b call) int { return a.invoked.Index - b.invoked.Index })
	return calls
}

func (c call) node() string {
	if c.completed.Node != "" {
		return c.completed.Node
	}
	return c.invoked.Node
}

func (c call) until(clock func(time.Duration) string) string {
	if c.invoked.Type == histories.Event {
		return ""
	}
	if c.known && (c.completed.Type != histories.Info || c.invoked.Process < 0) {
		return clock(c.completed.Time)
	}
	return "?"
}

// what says what the call did and how it ended.
func (c call) what() string {
	key, arg := payload(c.invoked.Value)
	s := join(c.invoked.F, key, arg)
	switch {
	case c.invoked.Type == histories.Event:
		return s
	case c.later:
		return s + "  (not back yet)"
	case !c.known, c.completed.Type == histories.Info && c.invoked.Process >= 0:
		return s + "  (outcome unknown" + reason(c.completed.Error) + ")"
	case c.completed.Type == histories.Fail:
		return s + "  failed" + reason(c.completed.Error)
	case c.completed.Error != "":
		return s + "  (" + c.completed.Error + ")"
	case bytes.Equal(c.invoked.Value, c.completed.Value) && (key == "" || arg != "" || c.invoked.Process < 0):
		return s // it had no question that this could be the answer to
	}
	into, result := payload(c.completed.Value)
	if into != key {
		result = join(into, result)
	}
	if result == "" {
		result = "null"
	}
	return join(c.invoked.F, key, arg) + " → " + result
}

func reason(err string) string {
	if err == "" {
		return ""
	}
	return ": " + err
}

func join(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

// payload returns a value as a person reads it: [key, v] in its two parts, v
// empty if null, and a fault by its name.
func payload(value json.RawMessage) (key, v string) {
	var pair []json.RawMessage
	if json.Unmarshal(value, &pair) == nil && len(pair) == 2 {
		if k, ok := scalar(pair[0]); ok {
			key, v = k, compact(pair[1])
			if v == "null" {
				v = ""
			}
			return key, v
		}
	}
	var f histories.Fault
	if json.Unmarshal(value, &f) == nil && f.Name != "" {
		return Fault(f), ""
	}
	if v = compact(value); v == "null" {
		v = ""
	}
	return "", v
}

// Fault says what a fault does, in the words of its detail: those that stand alone,
// the nodes that it hits, and groups of them, as the nemesis orders them. Numbers
// without their names say nothing, and long lists, such as of links, are for machines.
func Fault(f histories.Fault) string {
	words := []string{f.Name}
	d := json.NewDecoder(bytes.NewReader(f.Detail))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return f.Name
	}
	known := func(word string) bool {
		return slices.Contains(words, word) || slices.Contains(strings.Split(f.Name, ":"), word)
	}
	for d.More() {
		name, err := d.Token()
		var raw json.RawMessage
		if err != nil || d.Decode(&raw) != nil {
			break
		}
		var word string
		if json.Unmarshal(raw, &word) == nil && !known(word) {
			words = append(words, word)
		}
		var nodes []string
		if name == "nodes" && json.Unmarshal(raw, &nodes) == nil && len(nodes) > 0 && !(len(nodes) == 1 && known(nodes[0])) {
			words = append(words, "("+strings.Join(nodes, " ")+")")
		}
		var groups [][]string
		if name == "groups" && json.Unmarshal(raw, &groups) == nil && len(groups) > 0 {
			var sides []string
			for _, g := range groups {
				sides = append(sides, strings.Join(g, " "))
			}
			words = append(words, "("+strings.Join(sides, " | ")+")")
		}
	}
	return join(words...)
}

// scalar returns a string without its quotes, or a number.
func scalar(raw json.RawMessage) (string, bool) {
	var s string
	if json.Unmarshal(raw, &s) == nil && s != "" {
		return s, true
	}
	var n json.Number
	if json.Unmarshal(raw, &n) == nil {
		return n.String(), n != ""
	}
	return "", false
}

func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	if len(raw) == 0 || json.Compact(&b, raw) != nil {
		return ""
	}
	return b.String()
}

// meanwhile names the faults that held while c ran.
func meanwhile(h *histories.History, c call) string {
	spans, err := h.Faults()
	if err != nil {
		return ""
	}
	end := histories.Never
	if c.known {
		end = c.completed.Time
	}
	var faults []string
	for _, f := range spans {
		if f.HealFailed != "" {
			f.To = histories.Never // for all anybody knows
		}
		if f.From > end || f.To < c.invoked.Time {
			continue
		}
		s := fmt.Sprintf("%s, since %.3f s", Fault(f.Fault), f.From.Seconds())
		if f.To != histories.Never {
			s = fmt.Sprintf("%s, from %.3f s to %.3f s", Fault(f.Fault), f.From.Seconds(), f.To.Seconds())
		}
		faults = append(faults, s)
	}
	return strings.Join(faults, "; ")
}

// clockFor returns how to write the times of calls: as seconds, but for recorded
// histories that have no clock but a counter.
func clockFor(calls []call) (clock func(time.Duration) string, unit string) {
	if calls[len(calls)-1].invoked.Time < time.Millisecond {
		return time.Duration.String, ""
	}
	return func(t time.Duration) string { return fmt.Sprintf("%.6f", t.Seconds()) }, " (s)"
}
