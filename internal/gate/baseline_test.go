package gate

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	someMachine = Machine{OS: "linux", Arch: "amd64", CPUs: 2, Jobs: 1}
	someCell    = Cell{Name: "raftkv/register/partition", Arguments: []string{"run", "--system", "raftkv"}}
)

func aDay(n int) time.Time { return time.Date(2026, 11, n, 7, 0, 0, 500, time.UTC) }

// recoveries are runs, each with one of these times.
func recoveries(times ...float64) (runs []Measures) {
	for _, v := range times {
		runs = append(runs, Measures{"recovery": {Values: []float64{v}}})
	}
	return runs
}

func text(t *testing.T, b *Baseline) string {
	t.Helper()
	var out bytes.Buffer
	if err := b.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func read(t *testing.T, file string) *Baseline {
	t.Helper()
	b, err := ReadBaseline(strings.NewReader(file), "b.json")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestABaselineIsReadAsItIsWritten(t *testing.T) {
	b := &Baseline{}
	b.Add(someCell, someMachine, "two", aDay(2), []Measures{
		{"recovery": {Values: []float64{1, 0.123456, 0.5}, Least: []float64{2.5}}, "throughput": {Values: []float64{1210}}, "unheard-of": {Values: []float64{1}}},
		{"recovery": {Least: []float64{3}}},
		{}, nil, {"recovery": {Values: []float64{math.Inf(1)}}}, // nothing to compare
	})
	b.Add(someCell, someMachine, "one", aDay(1), recoveries(0.25))
	b.Add(Cell{Name: "a<b"}, Machine{OS: "darwin", Arch: "arm64", CPUs: 8, Jobs: 4}, "one", aDay(1), recoveries(4))
	got := text(t, b)
	want := `{"version": 1, "machines": [
 {"os": "darwin", "arch": "arm64", "cpus": 8, "jobs": 4, "cells": [
  {"name": "a\u003cb", "digest": "` + (Cell{Name: "a<b"}).Digest() + `", "sessions": [
   {"session": "one", "at": "2026-11-01T07:00:00Z", "runs": [
    {"recovery":{"max":4,"p50":4}}
   ]}
  ]}
 ]},
 {"os": "linux", "arch": "amd64", "cpus": 2, "jobs": 1, "cells": [
  {"name": "raftkv/register/partition", "digest": "` + someCell.Digest() + `", "sessions": [
   {"session": "one", "at": "2026-11-01T07:00:00Z", "runs": [
    {"recovery":{"max":0.25,"p50":0.25}}
   ]},
   {"session": "two", "at": "2026-11-02T07:00:00Z", "runs": [
    {"recovery":{"max":"\u003e=2.5","p50":0.75},"throughput":{"p50":1210}},
    {"recovery":{"max":"\u003e=3","p50":"\u003e=3"}}
   ]}
  ]}
 ]}
]}
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if again := text(t, read(t, got)); again != got {
		t.Errorf("written again it is\n%s", again)
	}
	runs := read(t, got).Runs(someCell, someMachine)
	if len(runs) != 3 || runs[0].Session != "one" || !runs[2].At.Equal(time.Date(2026, 11, 2, 7, 0, 0, 0, time.UTC)) {
		t.Errorf("its runs are %v", runs)
	}
	if s := runs[1].Measures["recovery"]["max"]; s != (Statistic{2.5, true}) {
		t.Errorf("a bound came back as %v", s)
	}
	if empty := text(t, nil); empty != text(t, read(t, empty)) {
		t.Errorf("without anything it is %s", empty)
	}
}

func TestAnUpdateChangesFewLines(t *testing.T) {
	b := &Baseline{}
	for day := range 3 {
		for i := range 5 {
			b.Add(Cell{Name: fmt.Sprint(i)}, someMachine, fmt.Sprint(day), aDay(day+1), recoveries(1, 2, 3))
		}
	}
	before := strings.Split(text(t, b), "\n")
	b.Add(Cell{Name: "3"}, someMachine, "later", aDay(9), recoveries(4, 5))
	fresh := 0
	for _, line := range strings.Split(text(t, b), "\n") {
		if at := slices.Index(before, line); at >= 0 {
			before = slices.Delete(before, at, at+1)
		} else {
			fresh++
		}
	}
	if fresh > 5 || len(before) > 1 { // two runs, what is around them, and a comma
		t.Errorf("%d lines are new, and %d gone", fresh, len(before))
	}
}

func TestABaselineIsBounded(t *testing.T) {
	b := &Baseline{}
	count := func() (sessions map[string]int, runs int) {
		sessions = map[string]int{}
		for _, r := range b.Runs(someCell, someMachine) {
			sessions[r.Session]++
			runs++
		}
		return sessions, runs
	}
	var times []float64
	for i := range 60 {
		times = append(times, float64(i+1))
	}
	b.Add(someCell, someMachine, "first", aDay(1), recoveries(times...))
	runs := b.Runs(someCell, someMachine)
	early := 0
	for _, r := range runs {
		if r.Measures["recovery"]["p50"].Value <= 30 {
			early++
		}
	}
	if len(runs) != 40 || early < 17 || early > 23 {
		t.Errorf("of 60 runs it keeps %d, and %d of the first half", len(runs), early)
	}
	for day := 2; day <= 8; day++ {
		b.Add(someCell, someMachine, fmt.Sprint(day), aDay(day), recoveries(1, 1, 1, 1, 1))
	}
	if sessions, runs := count(); runs != 40 || len(sessions) != 8 || sessions["first"] != 5 {
		t.Errorf("it keeps %v", sessions)
	}
	b.Add(someCell, someMachine, "9", aDay(9), recoveries(1, 1))
	if sessions, runs := count(); runs != 37 || len(sessions) != 8 || sessions["first"] != 0 || sessions["9"] != 2 {
		t.Errorf("it keeps %v", sessions)
	}
	// What is added late is where it belongs in time, and so the first to go.
	b.Add(someCell, someMachine, "1.5", aDay(2), recoveries(7))
	if runs := b.Runs(someCell, someMachine); runs[0].Session != "2" || len(runs) != 37 {
		t.Errorf("the oldest of %d is %v", len(runs), runs[0])
	}
}

// A gate that goes on after it has written the baseline adds what it has added before.
func TestASessionIsAddedOnce(t *testing.T) {
	b := &Baseline{}
	b.Add(someCell, someMachine, "before", aDay(1), recoveries(1, 2, 3))
	if n := b.Add(someCell, someMachine, "now", aDay(2), recoveries(4, 5)); n != 2 {
		t.Errorf("%d were added", n)
	}
	others := b.without("now")
	if n := b.Add(someCell, someMachine, "now", aDay(3), append(recoveries(4, 5, 6), nil)); n != 3 {
		t.Errorf("%d were added", n)
	}
	if n := b.Add(someCell, someMachine, "now", aDay(4), []Measures{nil, {}}); n != 0 {
		t.Errorf("of nothing %d were added", n)
	}
	runs := b.Runs(someCell, someMachine)
	if len(runs) != 6 || runs[3].Measures["recovery"]["p50"].Value != 4 || runs[5].Measures["recovery"]["p50"].Value != 6 || runs[5].At.Day() != 3 {
		t.Errorf("it has %v", runs)
	}
	for _, of := range []*Baseline{others, b.without("now")} {
		if runs := of.Runs(someCell, someMachine); len(runs) != 3 || runs[2].Session != "before" {
			t.Errorf("others have %v", runs)
		}
		if why := of.Why(someCell, someMachine); !strings.Contains(why, "has 3 runs") {
			t.Error(why)
		}
	}
}

func TestAddFindsItsCellWhateverTheOrder(t *testing.T) {
	b := &Baseline{}
	for _, m := range []Machine{someMachine, {OS: "darwin", Arch: "arm64", CPUs: 8, Jobs: 1}, {OS: "linux", Arch: "amd64", CPUs: 1, Jobs: 1}} {
		for _, name := range []string{"b", "a"} {
			b.Add(Cell{Name: name}, m, "s", aDay(1), recoveries(1))
			if n := len(b.Runs(Cell{Name: name}, m)); n != 1 {
				t.Errorf("%s on %s has %d runs", name, m, n)
			}
		}
	}
}

func TestWhyNothingIsCompared(t *testing.T) {
	elsewhere := Machine{OS: "linux", Arch: "amd64", CPUs: 64, Jobs: 8}
	changed := Cell{Name: someCell.Name, Arguments: []string{"run", "--system", "vmsched"}}
	var none *Baseline
	b := &Baseline{}
	b.Add(someCell, someMachine, "s", aDay(1), recoveries(1, 2, 3, 4, 5, 6, 7))
	for want, got := range map[string]string{
		"there is no baseline: --update-baseline makes one": none.Why(someCell, someMachine),
		"the baseline is of another kind of machine (linux/amd64, 2 CPUs, 1 run at once) than this one (linux/amd64, 64 CPUs, 8 runs at once): --update-baseline adds this one": b.Why(someCell, elsewhere),
		"the baseline does not have other: --update-baseline adds it":                                                                        b.Why(Cell{Name: "other"}, someMachine),
		"raftkv/register/partition is not run as it was when the baseline was made: --update-baseline begins it anew":                        b.Why(changed, someMachine),
		"the baseline has 7 runs of raftkv/register/partition, where it takes 10: 3 are missing, and --update-baseline adds those of a gate": b.Why(someCell, someMachine),
	} {
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if b.Runs(changed, someMachine) != nil || b.Runs(someCell, elsewhere) != nil || none.Runs(someCell, someMachine) != nil {
		t.Error("it has runs of what is not there")
	}
	b.Add(someCell, someMachine, "r", aDay(1), recoveries(8, 9, 10))
	if why := b.Why(someCell, someMachine); why != "" {
		t.Errorf("with ten runs: %s", why)
	}
	b.Add(changed, someMachine, "t", aDay(2), recoveries(1))
	if n := len(b.Runs(changed, someMachine)); n != 1 || b.Runs(someCell, someMachine) != nil {
		t.Errorf("a cell that has changed has %d runs", n)
	}
	b.Forget(changed, elsewhere)
	if len(b.Runs(changed, someMachine)) != 1 {
		t.Error("it forgot another machine's")
	}
	b.Forget(changed, someMachine)
	if b.Runs(changed, someMachine) != nil {
		t.Error("it has not forgotten")
	}
}

func TestABaselineThatIsWrongSaysWhere(t *testing.T) {
	const machine = `{"version": 1, "machines": [` + "\n" + `{"os": "linux", "arch": "amd64", "cpus": 2, "jobs": 1, "cells": [`
	const cell = machine + "\n" + `{"name": "c", "digest": "d", "sessions": [`
	const session = cell + "\n" + `{"session": "s", "at": "2026-11-01T07:00:00Z", "runs": [`
	const end = "]}]}]}]}"
	for file, want := range map[string]string{
		"":                                   "b.json: it is empty",
		"{\n\n]":                             "b.json:3: invalid character ']'",
		session + "\n{}":                     "b.json:5: it ends in the middle",
		"{\"version\": 1,\n\"machine\": []}": `b.json:2: "machine" is not a key of a baseline`,
		`{"machines": []}`:                   "b.json: its version is 0",
		`{"version": 2, "more": 1}`:          "b.json: it is of version 2, and this hacheck knows version 1: use the hacheck that wrote it, or a later one",
		`{"version": 1, "machines": []} {}`:  "b.json:1: something follows its end",
		"{\"version\": 1,\n\"machines\": 7}": "b.json:2: machines is a number, where a slice belongs",
		"{\"version\": 1, \"machines\": [\n<<<<<<< HEAD\n=======\n>>>>>>> x\n]}":               "b.json:2: there are marks of a merge that was not settled: keep one side",
		`{"version": 1, "machines": [{"os": "linux", "arch": "amd64", "cpus": 0, "jobs": 1}]}`: "b.json: a machine lacks its os, arch, cpus or jobs",
		machine + "]}, " + `{"os": "linux", "arch": "amd64", "cpus": 2, "jobs": 1}]}`:          "b.json: linux/amd64, 2 CPUs, 1 run at once is there twice",
		machine + `{"name": "c"}]}]}`: "b.json: a cell on linux/amd64, 2 CPUs, 1 run at once lacks its name or its digest",
		machine + `{"name": "c", "digest": "d"}, {"name": "c", "digest": "e"}]}]}`: "b.json: cell c on linux/amd64, 2 CPUs, 1 run at once is there twice",
		session + end: "b.json: cell c on linux/amd64, 2 CPUs, 1 run at once: session s has no runs",
		session + `{}]}, {"session": "s", "at": "2026-11-01T07:00:00Z", "runs": [{}` + end: "b.json: cell c on linux/amd64, 2 CPUs, 1 run at once: session s is there twice",
		cell + `{"session": "s", "runs": [{}` + end:                                        "b.json: cell c on linux/amd64, 2 CPUs, 1 run at once: a session lacks its name, or when it was",
		session + `{"recovery": {"p90": 1}}` + end:                                         `b.json: cell c on linux/amd64, 2 CPUs, 1 run at once: "p90" of recovery in session s is no statistic`,
		session + `{"recovery": {"p50": null}}` + end:                                      `b.json:4: null is neither a number nor a bound such as ">=2.1"`,
		session + `{"recovery": {"p50": "1"}}` + end:                                       `b.json:4: "1" is neither a number nor a bound such as ">=2.1"`,
		session + `{"recovery": {"p50": ">=Inf"}}` + end:                                   `b.json:4: ">=Inf" is neither a number nor a bound`,
		session + `{"recovery": {"p50": [1]}}` + end:                                       `b.json:4: [1] is neither a number nor a bound`,
	} {
		_, err := ReadBaseline(strings.NewReader(file), "b.json")
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", file, err, want)
		} else if !strings.Contains(err.Error(), "--update-baseline") && !strings.Contains(err.Error(), "use the hacheck") {
			t.Errorf("it does not say what to do: %v", err)
		}
	}
}

func FuzzReadBaseline(f *testing.F) {
	b := &Baseline{}
	b.Add(someCell, someMachine, "s", aDay(1), []Measures{{"recovery": {Values: []float64{1}, Least: []float64{2}}}})
	var out bytes.Buffer
	if err := b.Write(&out); err != nil {
		f.Fatal(err)
	}
	f.Add(out.String())
	f.Add(`{"version": 1, "machines": null}`)
	f.Fuzz(func(t *testing.T, file string) {
		b, err := ReadBaseline(strings.NewReader(file), "b.json")
		if err != nil {
			return
		}
		written := text(t, b)
		if again := text(t, read(t, written)); again != written {
			t.Errorf("%q is written as %q, and then as %q", file, written, again)
		}
	})
}

// A fault that began just before the end of a run leaves a wait that was cut off, and hides nothing.
func TestAShortWaitThatWasCutOffTellsNothing(t *testing.T) {
	got := reduce(Measures{"recovery": {Values: []float64{1, 1.1, 1.2, 1.3}, Least: []float64{0.05}}})["recovery"]
	if want := (Statistics{"p50": {Value: 1.15}, "max": {Value: 1.3}}); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	got = reduce(Measures{"recovery": {Values: []float64{1, 1.1, 1.2, 1.3}, Least: []float64{9}}})["recovery"]
	if want := (Statistics{"p50": {Value: 1.2}, "max": {Value: 9, Least: true}}); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
