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
func (t *text) anomalies(h *histories.History, proven []Proven) {
	for i, a := range proven[:min(len(proven), maxAnomalies)] {
		t.section()
		t.line("%s", t.paint(red, a.Kind))
		t.paragraph("  ", "  ", a.Note)
		if h != nil && i == 0 { // who has several has one bug, as a rule
			t.witness(h, a.Anomaly)
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

// A Proven is an anomaly that makes a result invalid.
type Proven struct {
	checker.Anomaly
	// Part is the result, or the part of it, that the anomaly is of.
	Part checker.Result
}

// Proof returns the anomalies that make r invalid, those of parts behind its own.
func Proof(r checker.Result) (proven []Proven) {
	if r.Verdict != checker.Invalid {
		return nil
	}
	for _, a := range r.Anomalies {
		proven = append(proven, Proven{a, r})
	}
	for _, p := range r.Parts {
		proven = append(proven, Proof(p)...)
	}
	return proven
}

// Remarks returns the anomalies of r, and of its parts, that prove nothing: those of what
// is not invalid.
func Remarks(r checker.Result) (remarks []checker.Anomaly) {
	if r.Verdict != checker.Invalid {
		remarks = slices.Clone(r.Anomalies)
	}
	for _, p := range r.Parts {
		remarks = append(remarks, Remarks(p)...)
	}
	return remarks
}

// witness lists the calls of an anomaly, and the faults that held while the last of them
// ran.
func (t *text) witness(h *histories.History, a checker.Anomaly) {
	columns, rows, faults := witnessRows(h, a)
	if len(rows) == 0 {
		return
	}
	t.section()
	t.table("  ", append([][]string{columns}, rows...), witnessAlign)
	if faults != "" {
		t.section()
		t.paragraph("  in force meanwhile: ", "  ", faults)
	}
}

const witnessAlign = ">>>><<"

// witnessRows returns the calls of an anomaly, a row each, in the order of their invocations,
// and the faults that held while the last of them ran.
func witnessRows(h *histories.History, a checker.Anomaly) (columns []string, rows [][]string, faults string) {
	calls := Calls(h, a.Ops)
	if len(calls) == 0 {
		return nil, nil, ""
	}
	clock, unit := clockFor(calls)
	// The end of a long witness is where it goes wrong.
	if dropped := len(calls) - maxWitness; dropped > 0 {
		rows = append(rows, []string{"", "...", "", "", "", fmt.Sprintf("(%d earlier calls)", dropped)})
		calls = calls[dropped:]
	}
	for _, c := range calls {
		rows = append(rows, []string{
			fmt.Sprint(c.Invoked.Index), clock(c.Invoked.Time), c.until(clock),
			c.Invoked.Process.String(), c.Node(), c.What(),
		})
	}
	return []string{"op", "from" + unit, "to" + unit, "process", "node", "what"}, rows, meanwhile(h, calls[len(calls)-1])
}

// A Call is an operation as a witness shows it.
type Call struct {
	Invoked   histories.Op
	Completed histories.Op // the zero Op if there is none
	// Known says that the completion is part of what is shown. What it says counts only
	// then, or if it is indeterminate.
	Known bool
}

// Calls pairs ops, indices into h, in the order of the invocations. What is no index of h
// is left out.
func Calls(h *histories.History, ops []int) []Call {
	shown := make(map[int]bool, len(ops))
	for _, i := range ops {
		shown[i] = true
	}
	var calls []Call
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
		c := Call{Invoked: h.At(from)}
		if to >= 0 {
			c.Completed, c.Known = h.At(to), shown[to]
		}
		calls = append(calls, c)
	}
	slices.SortFunc(calls, func(a, b Call) int { return a.Invoked.Index - b.Invoked.Index })
	return calls
}

// Node returns where the call went: empty if nobody says.
func (c Call) Node() string {
	if c.Completed.Node != "" {
		return c.Completed.Node
	}
	return c.Invoked.Node
}

// later says that the call came back, but after what is shown.
func (c Call) later() bool {
	return c.Completed.Type != 0 && !c.Known && c.Completed.Type != histories.Info
}

// Ended returns when the call ended; known is false if nobody knows, or if that is not
// part of what is shown. The nemesis always knows. Events have no end.
func (c Call) Ended() (at time.Duration, known bool) {
	if c.Known && (c.Completed.Type != histories.Info || c.Invoked.Process < 0) {
		return c.Completed.Time, true
	}
	return 0, false
}

func (c Call) until(clock func(time.Duration) string) string {
	if c.Invoked.Type == histories.Event {
		return ""
	}
	if at, known := c.Ended(); known {
		return clock(at)
	}
	return "?"
}

// What says what the call did and how it ended.
func (c Call) What() string {
	key, arg := Payload(c.Invoked.Value)
	s := join(c.Invoked.F, key, arg)
	switch {
	case c.Invoked.Type == histories.Event:
		return s
	case c.later():
		return s + "  (not back yet)"
	case !c.Known, c.Completed.Type == histories.Info && c.Invoked.Process >= 0:
		return s + "  (outcome unknown" + reason(c.Completed.Error) + ")"
	case c.Completed.Type == histories.Fail:
		return s + "  failed" + reason(c.Completed.Error)
	case c.Completed.Error != "":
		return s + "  (" + c.Completed.Error + ")"
	case bytes.Equal(c.Invoked.Value, c.Completed.Value) && (key == "" || arg != "" || c.Invoked.Process < 0):
		return s // it had no question that this could be the answer to
	}
	into, result := Payload(c.Completed.Value)
	if into != key {
		result = join(into, result)
	}
	if result == "" {
		result = "null"
	}
	return join(c.Invoked.F, key, arg) + " → " + result
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

// Payload returns a value as a person reads it: [key, v] in its two parts, v
// empty if null, and a fault by its name.
func Payload(value json.RawMessage) (key, v string) {
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
func meanwhile(h *histories.History, c Call) string {
	spans, err := h.Faults()
	if err != nil {
		return ""
	}
	end := histories.Never
	if c.Known {
		end = c.Completed.Time
	}
	var faults []string
	for _, f := range spans {
		if f.HealFailed != "" {
			f.To = histories.Never // for all anybody knows
		}
		if f.Failed != "" && f.Acted == 0 || f.From > end || f.To < c.Invoked.Time { // the first: nothing says that it held
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
func clockFor(calls []Call) (clock func(time.Duration) string, unit string) {
	if calls[len(calls)-1].Invoked.Time < time.Millisecond {
		return time.Duration.String, ""
	}
	return func(t time.Duration) string { return fmt.Sprintf("%.6f", t.Seconds()) }, " (s)"
}
