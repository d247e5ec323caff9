package gate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/internal/stats"
)

// BaselineFile is where a baseline is as a rule: beside hacheck.yaml, and committed with it.
const BaselineFile = "hacheck.baseline.json"

const (
	// baselineVersion is that of the file. It changes when an older hacheck would misread it.
	baselineVersion = 1
	// maxBaselineRuns and maxBaselineSessions are how many runs of a cell are kept, and of how
	// many sessions, unless these have less than half as many runs: how days differ is learned from
	// sessions, how runs differ from runs, and what is older is of another system.
	maxBaselineRuns     = 40
	maxBaselineSessions = 8
	// leastBaselineRuns is with how many runs a comparison begins. Ten are the fewest whose
	// interval for the median leaves out the smallest and the greatest on a safe margin, and with
	// as many fresh ones a chance of one in 184,756 can be told.
	leastBaselineRuns = 10
	// maxBaselineBytes is more than a baseline of a thousand cells.
	maxBaselineBytes = 64 << 20
)

// A Baseline is what runs have measured before, by kind of machine and by cell. The file is for
// a repository: in a stable order, a run on a line, so that an update changes few of them.
// No method of a nil Baseline panics but Add and Forget; it is one that is not there.
type Baseline struct {
	machines []baselineMachine
}

// A BaselineRun is one run, reduced to what is compared of it.
type BaselineRun struct {
	// Session is the gate that made it, and At is when it did. Runs of one session share the
	// day, the machine and what else went on there.
	Session string
	At      time.Time
	// Measures are the statistics by metric.
	Measures map[string]Statistics
}

// Statistics are those of a metric that are compared, by name: "p50", "p99", "max".
type Statistics map[string]Statistic

// A Statistic is a number in the unit of its metric, with four digits.
type Statistic struct {
	Value float64
	// Least says that it is a lower bound: what would tell did not come to its end in the run.
	Least bool
}

// atLeast stands before a lower bound in the file: ">=2.1".
const atLeast = ">="

// MarshalJSON writes a number, or ">=2.1" in quotes.
func (s Statistic) MarshalJSON() ([]byte, error) {
	if s.Least {
		return json.Marshal(atLeast + strconv.FormatFloat(s.Value, 'g', -1, 64))
	}
	return json.Marshal(s.Value)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (s *Statistic) UnmarshalJSON(text []byte) error {
	if bytes.Equal(text, []byte("null")) {
		return &notStatistic{slices.Clone(text)} // which would else be no value, and no error
	}
	var value float64
	if err := json.Unmarshal(text, &value); err == nil {
		*s = Statistic{Value: value}
		return nil
	}
	var quoted string
	if err := json.Unmarshal(text, &quoted); err != nil {
		return &notStatistic{slices.Clone(text)}
	}
	digits, ok := strings.CutPrefix(quoted, atLeast)
	value, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || math.IsInf(value, 0) || math.IsNaN(value) {
		return &notStatistic{slices.Clone(text)}
	}
	*s = Statistic{Value: value, Least: true}
	return nil
}

// notStatistic is the error of a text that is none.
type notStatistic struct{ text []byte }

func (e *notStatistic) Error() string {
	return fmt.Sprintf("%s is neither a number nor a bound such as \"%s2.1\"", e.text, atLeast)
}

// The file, in the order in which it is written.
type (
	baselineFile struct {
		Version  int               `json:"version"`
		Machines []baselineMachine `json:"machines"`
	}
	baselineMachine struct {
		Machine
		Cells []baselineCell `json:"cells"`
	}
	baselineCell struct {
		Name     string            `json:"name"`
		Digest   string            `json:"digest"`
		Sessions []baselineSession `json:"sessions"` // in the order of time
	}
	baselineSession struct {
		Session string                  `json:"session"`
		At      time.Time               `json:"at"`
		Runs    []map[string]Statistics `json:"runs"`
	}
)

// statistics are the shares that statistics of a run stand for.
var statistics = map[string]float64{"p50": 0.5, "p99": 0.99, "max": 1}

// reduce returns what is compared of what a run has measured; nil if that is nothing.
//
// What did not come to its end took as long as is known at least, and counts where that is as long
// as the statistic of what did. A statistic that depends on how much longer it took is a bound.
func reduce(m Measures) map[string]Statistics {
	var reduced map[string]Statistics
	for name, measure := range m {
		metric, ok := MetricOf(name)
		if !ok || len(measure.Values)+len(measure.Least) == 0 {
			continue
		}
		all := slices.Concat(measure.Values, measure.Least)
		if slices.ContainsFunc(all, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }) {
			continue // what is no number cannot be compared, or written
		}
		of := Statistics{}
		for _, s := range metric.Compared {
			share, ok := statistics[s]
			if !ok {
				panic("gate: " + name + " is compared by " + s + ", which nobody knows")
			}
			low, high := slices.Clone(measure.Values), slices.Clone(measure.Values)
			for _, v := range measure.Least {
				// What was cut off before it had taken as long as others say tells nothing: a fault
				// that began just before the end is in most runs.
				if len(measure.Values) == 0 || v >= stats.Quantile(measure.Values, share) {
					low, high = append(low, v), append(high, math.Inf(1))
				}
			}
			value := stats.Quantile(low, share)
			of[s] = Statistic{Value: fourDigits(value), Least: value != stats.Quantile(high, share)}
		}
		if len(of) > 0 {
			if reduced == nil {
				reduced = map[string]Statistics{}
			}
			reduced[name] = of
		}
	}
	return reduced
}

// fourDigits rounds: runs differ by far more, and files are read by people.
func fourDigits(v float64) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
	if err != nil {
		panic(err) // it was a number
	}
	return rounded
}

// ReadBaseline reads a baseline; name is that of its file, for errors. It is strict: what it does
// not know is a mistake, or of a later hacheck, and would be lost when the file is updated.
func ReadBaseline(r io.Reader, name string) (*Baseline, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxBaselineBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	fail := func(offset int64, format string, args ...any) (*Baseline, error) {
		where := name
		if offset >= 0 {
			where = fmt.Sprintf("%s:%d", name, 1+bytes.Count(text[:min(offset, int64(len(text)))], []byte("\n")))
		}
		return nil, fmt.Errorf("%s: %s; mend it, or take it away and have a new one made with --update-baseline", where, fmt.Sprintf(format, args...))
	}
	if len(text) > maxBaselineBytes {
		return fail(-1, "it is larger than %d MiB, which no baseline is", maxBaselineBytes>>20)
	}
	for _, mark := range []string{"<<<<<<< ", "=======\n", ">>>>>>> "} {
		if at := bytes.Index(append([]byte("\n"), text...), []byte("\n"+mark)); at >= 0 {
			return fail(int64(at), "there are marks of a merge that was not settled: keep one side")
		}
	}
	// An older hacheck is to say that a file is newer, rather than what it does not know of it.
	var its struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &its); err == nil && its.Version > baselineVersion {
		return nil, fmt.Errorf("%s: it is of version %d, and this hacheck knows version %d: use the hacheck that wrote it, or a later one", name, its.Version, baselineVersion)
	}
	var file baselineFile
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		var syntax *json.SyntaxError
		var wrong *json.UnmarshalTypeError
		var none *notStatistic
		switch {
		case errors.Is(err, io.EOF):
			return fail(-1, "it is empty")
		case errors.Is(err, io.ErrUnexpectedEOF):
			return fail(int64(len(text)), "it ends in the middle")
		case errors.As(err, &none):
			return fail(int64(bytes.Index(text, none.text)), "%v", err)
		case errors.As(err, &syntax):
			return fail(syntax.Offset, "%v", err)
		case errors.As(err, &wrong):
			return fail(wrong.Offset, "%s is a %s, where a %s belongs", wrong.Field, wrong.Value, wrong.Type.Kind())
		}
		message := strings.TrimPrefix(err.Error(), "json: ")
		at := int64(-1)
		if _, key, ok := strings.Cut(message, "unknown field "); ok {
			at = int64(bytes.Index(text, []byte(key)))
			message = key + " is not a key of a baseline"
		}
		return fail(at, "%s", message)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fail(d.InputOffset(), "something follows its end")
	}
	if file.Version != baselineVersion {
		return fail(-1, "its version is %d, and that of a baseline is %d", file.Version, baselineVersion)
	}
	if complaint := file.complaint(); complaint != "" {
		return fail(-1, "%s", complaint)
	}
	b := &Baseline{machines: file.Machines}
	b.sort()
	return b, nil
}

// complaint says what is wrong with a file, if anything.
func (f baselineFile) complaint() string {
	machines := map[Machine]bool{}
	for _, m := range f.Machines {
		switch {
		case m.OS == "" || m.Arch == "" || m.CPUs < 1 || m.Jobs < 1:
			return "a machine lacks its os, arch, cpus or jobs"
		case machines[m.Machine]:
			return fmt.Sprintf("%s is there twice", m.Machine)
		}
		machines[m.Machine] = true
		cells := map[string]bool{}
		for _, c := range m.Cells {
			switch {
			case c.Name == "" || c.Digest == "":
				return fmt.Sprintf("a cell on %s lacks its name or its digest", m.Machine)
			case cells[c.Name]:
				return fmt.Sprintf("cell %s on %s is there twice", c.Name, m.Machine)
			}
			cells[c.Name] = true
			if complaint := c.complaint(); complaint != "" {
				return fmt.Sprintf("cell %s on %s: %s", c.Name, m.Machine, complaint)
			}
		}
	}
	return ""
}

func (c baselineCell) complaint() string {
	sessions := map[string]bool{}
	for _, s := range c.Sessions {
		switch {
		case s.Session == "" || s.At.IsZero():
			return "a session lacks its name, or when it was"
		case sessions[s.Session]:
			return fmt.Sprintf("session %s is there twice", s.Session)
		case len(s.Runs) == 0:
			return fmt.Sprintf("session %s has no runs", s.Session)
		}
		sessions[s.Session] = true
		for _, run := range s.Runs {
			for metric, of := range run {
				for statistic := range of {
					if _, ok := statistics[statistic]; !ok {
						return fmt.Sprintf("%q of %s in session %s is no statistic: there are p50, p99 and max", statistic, metric, s.Session)
					}
				}
			}
		}
	}
	return ""
}

// sort puts all in the order of the file.
func (b *Baseline) sort() {
	slices.SortFunc(b.machines, func(a, b baselineMachine) int {
		return cmp.Or(cmp.Compare(a.OS, b.OS), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.CPUs, b.CPUs), cmp.Compare(a.Jobs, b.Jobs))
	})
	for _, m := range b.machines {
		slices.SortFunc(m.Cells, func(a, b baselineCell) int { return cmp.Compare(a.Name, b.Name) })
		for _, c := range m.Cells {
			slices.SortFunc(c.Sessions, func(a, b baselineSession) int {
				return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Session, b.Session))
			})
		}
	}
}

// Write writes the file. Where nothing has changed it writes the same bytes.
func (b *Baseline) Write(w io.Writer) error {
	var out bytes.Buffer
	var failed error
	value := func(v any) string {
		text, err := json.Marshal(v)
		failed = errors.Join(failed, err)
		return string(text)
	}
	// list writes n values, each on lines of its own.
	list := func(indent string, n int, write func(i int)) {
		out.WriteString("[")
		for i := range n {
			if i > 0 {
				out.WriteString(",")
			}
			out.WriteString("\n" + indent + " ")
			write(i)
		}
		if n > 0 {
			out.WriteString("\n" + indent)
		}
		out.WriteString("]")
	}
	var machines []baselineMachine
	if b != nil {
		machines = b.machines
	}
	fmt.Fprintf(&out, "{\"version\": %d, \"machines\": ", baselineVersion)
	list("", len(machines), func(i int) {
		m := machines[i]
		fmt.Fprintf(&out, `{"os": %s, "arch": %s, "cpus": %d, "jobs": %d, "cells": `, value(m.OS), value(m.Arch), m.CPUs, m.Jobs)
		list(" ", len(m.Cells), func(i int) {
			c := m.Cells[i]
			fmt.Fprintf(&out, `{"name": %s, "digest": %s, "sessions": `, value(c.Name), value(c.Digest))
			list("  ", len(c.Sessions), func(i int) {
				s := c.Sessions[i]
				fmt.Fprintf(&out, `{"session": %s, "at": %s, "runs": `, value(s.Session), value(s.At))
				list("   ", len(s.Runs), func(i int) { out.WriteString(value(s.Runs[i])) })
				out.WriteString("}")
			})
			out.WriteString("}")
		})
		out.WriteString("}")
	})
	out.WriteString("}\n")
	if failed != nil {
		return failed
	}
	_, err := w.Write(out.Bytes())
	return err
}

// Add adds runs of a cell that a session made, in place of those that it has of the same session,
// and says how many have something to compare. It drops what is too old: of each cell the last 40
// runs are kept, of the last 8 sessions, and where those have more the oldest runs of the session
// with most of them go. If the cell is not the one that it was, what it was goes. Where nothing is
// to be compared nothing changes.
func (b *Baseline) Add(cell Cell, m Machine, session string, at time.Time, runs []Measures) int {
	var added []map[string]Statistics
	for _, run := range runs {
		if reduced := reduce(run); reduced != nil {
			added = append(added, reduced)
		}
	}
	if len(added) == 0 {
		return 0
	}
	i := slices.IndexFunc(b.machines, func(have baselineMachine) bool { return have.Machine == m })
	if i < 0 {
		i = len(b.machines)
		b.machines = append(b.machines, baselineMachine{Machine: m})
	}
	cells := &b.machines[i].Cells
	j := slices.IndexFunc(*cells, func(have baselineCell) bool { return have.Name == cell.Name })
	if j < 0 {
		j = len(*cells)
		*cells = append(*cells, baselineCell{Name: cell.Name, Digest: cell.Digest()})
	}
	c := &(*cells)[j]
	if c.Digest != cell.Digest() {
		*c = baselineCell{Name: cell.Name, Digest: cell.Digest()}
	}
	c.Sessions = slices.DeleteFunc(c.Sessions, func(have baselineSession) bool { return have.Session == session })
	c.Sessions = append(c.Sessions, baselineSession{Session: session, At: at.UTC().Truncate(time.Second), Runs: added})
	b.sort()
	b.find(cell.Name, m).bound()
	return len(added)
}

// without returns the baseline without what a session has added.
func (b *Baseline) without(session string) *Baseline {
	others := new(Baseline)
	for _, m := range b.machines {
		m.Cells = slices.Clone(m.Cells)
		for i := range m.Cells {
			m.Cells[i].Sessions = slices.DeleteFunc(slices.Clone(m.Cells[i].Sessions), func(s baselineSession) bool { return s.Session == session })
			for j := range m.Cells[i].Sessions { // Add drops runs in place
				s := &m.Cells[i].Sessions[j]
				s.Runs = slices.Clone(s.Runs)
			}
		}
		others.machines = append(others.machines, m)
	}
	return others
}

// bound drops what is too old.
func (c *baselineCell) bound() {
	runs := 0
	for _, s := range c.Sessions {
		runs += len(s.Runs)
	}
	// Where sessions are small it takes more of them to have something to compare with.
	for len(c.Sessions) > maxBaselineSessions && runs-len(c.Sessions[0].Runs) >= maxBaselineRuns/2 {
		runs -= len(c.Sessions[0].Runs)
		c.Sessions = slices.Delete(c.Sessions, 0, 1)
	}
	for ; runs > maxBaselineRuns; runs-- {
		most := 0
		for i, s := range c.Sessions {
			if len(s.Runs) > len(c.Sessions[most].Runs) {
				most = i
			}
		}
		of := &c.Sessions[most].Runs
		*of = slices.Delete(*of, at(len(*of)), at(len(*of))+1)
	}
}

// at returns which of so many runs of a session is dropped. Steps of the golden ratio drop them
// evenly over the session: seeds come in turns, and those at its beginning may be the hard ones.
func at(runs int) int { return runs * 618 % 1000 * runs / 1000 }

// Forget drops what is known of a cell on a kind of machine: what it measures has changed for
// good, and who accepts that does not want it compared with what it was.
func (b *Baseline) Forget(cell Cell, m Machine) {
	for i := range b.machines {
		if b.machines[i].Machine == m {
			b.machines[i].Cells = slices.DeleteFunc(b.machines[i].Cells, func(c baselineCell) bool { return c.Name == cell.Name })
		}
	}
}

// find returns a cell by name on a kind of machine; nil if it is not there.
func (b *Baseline) find(name string, m Machine) *baselineCell {
	if b == nil {
		return nil
	}
	for _, have := range b.machines {
		if have.Machine == m {
			for i := range have.Cells {
				if have.Cells[i].Name == name {
					return &have.Cells[i]
				}
			}
		}
	}
	return nil
}

// Runs returns the runs of a cell, as it is, on a kind of machine, the oldest first. Nil if it is
// not there, or was another.
func (b *Baseline) Runs(cell Cell, m Machine) []BaselineRun {
	c := b.find(cell.Name, m)
	if c == nil || c.Digest != cell.Digest() {
		return nil
	}
	var runs []BaselineRun
	for _, s := range c.Sessions {
		for _, run := range s.Runs {
			runs = append(runs, BaselineRun{Session: s.Session, At: s.At, Measures: maps.Clone(run)})
		}
	}
	return runs
}

// Why says why a cell on a kind of machine is compared with nothing, and what to do; empty: it
// is compared.
func (b *Baseline) Why(cell Cell, m Machine) string {
	if b == nil || len(b.machines) == 0 {
		return "there is no baseline: --update-baseline makes one"
	}
	c := b.find(cell.Name, m)
	if c == nil {
		var elsewhere []string
		for _, have := range b.machines {
			switch {
			case have.Machine == m:
				return fmt.Sprintf("the baseline does not have %s: --update-baseline adds it", cell.Name)
			case b.find(cell.Name, have.Machine) != nil:
				elsewhere = append(elsewhere, have.String())
			}
		}
		if elsewhere == nil {
			return fmt.Sprintf("the baseline does not have %s: --update-baseline adds it", cell.Name)
		}
		return fmt.Sprintf("the baseline is of another kind of machine (%s) than this one (%s): --update-baseline adds this one", strings.Join(elsewhere, "; "), m)
	}
	if c.Digest != cell.Digest() {
		return fmt.Sprintf("%s is not run as it was when the baseline was made: --update-baseline begins it anew", cell.Name)
	}
	if n := len(b.Runs(cell, m)); n < leastBaselineRuns {
		return fmt.Sprintf("the baseline has %s of %s, where it takes %d: %d are missing, and --update-baseline adds those of a gate", checker.Count(n, "run"), cell.Name, leastBaselineRuns, leastBaselineRuns-n)
	}
	return ""
}

// String says what kind of machine it is: "linux/amd64, 2 CPUs, 1 run at once".
func (m Machine) String() string {
	return fmt.Sprintf("%s/%s, %s, %s at once", m.OS, m.Arch, checker.Count(m.CPUs, "CPU"), checker.Count(m.Jobs, "run"))
}
