package nemesis_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/nemesis"
	"github.com/hacheck/hacheck/nemesis/nemesistest"
)

// shown is a system that shows its state, somewhere.
type shown struct{ cluster.Observed }

// timed returns a package of entries, given as ReadTimetable reads them.
func timed(t *testing.T, table []nemesis.Fault, text string) nemesis.Package {
	t.Helper()
	entries, err := nemesis.ReadTimetable(table, strings.NewReader(text), "plan.yaml")
	if err != nil {
		t.Fatal(err)
	}
	env := nemesis.Env{Nodes: []string{"n1", "n2", "n3"}, Network: &nemesistest.Network{}, Observed: shown{}, Steps: true}
	p, err := nemesis.New(table, env, nemesis.Options{Interval: time.Second, Timetable: entries})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEntriesComeWhenTheyAreDue(t *testing.T) {
	b := &brake{}
	p := timed(t, []nemesis.Fault{b.fault()}, `
- {at: 3s, fault: brake, for: 1s, detail: 3}
- {at: 1s, fault: brake, for: 4s, detail: 1}   # in force with the others
- {at: 1200ms, fault: brake:front, for: 500ms, detail: 2}
- {at: 5500ms, fault: brake, detail: 4, for: 1h}
- {at: 1h, fault: brake, detail: 5}
`)
	d := drive{t: t, p: p, seed: 3, end: 6 * time.Second}
	expect(t, d.run(), // an end is told from when it had begun
		"1s brake 0 1",
		"1.2s brake 1 2",
		"1.701s heal 1",
		"3s brake 2 3",
		"4.001s heal 2",
		"5.001s heal 0",
		"5.5s brake 3 4",
		"6s heal 3")
}

func TestTimetableEnds(t *testing.T) {
	b := &brake{}
	p := timed(t, []nemesis.Fault{b.fault()}, "- {at: 1s, fault: brake, for: 1s}")
	ops := simulated(t, 1, p.Main) // which is an error if it does not
	if len(ops) != 4 || len(b.log) != 0 {
		t.Errorf("got %v", ops)
	}
}

func TestEntryWithoutDetailOrEndIsDrawn(t *testing.T) {
	run := func(seed uint64) []histories.Op {
		b := &brake{}
		d := drive{t: t, p: timed(t, []nemesis.Fault{b.fault()}, "- {at: 1s, fault: brake}"), seed: seed, end: time.Minute}
		return d.run()
	}
	details, ends := map[string]bool{}, map[time.Duration]bool{}
	for seed := range uint64(20) {
		ops := run(seed)
		if len(ops) != 4 || ops[0].Time != time.Second {
			t.Fatalf("got %v", ops)
		}
		held := ops[2].Time - ops[1].Time
		if held < 500*time.Millisecond || held > 1500*time.Millisecond {
			t.Errorf("it held for %v", held)
		}
		details[string(fault(t, ops[0]).Detail)], ends[held] = true, true
		if again := run(seed); !reflect.DeepEqual(ops, again) {
			t.Errorf("got %v and %v", ops, again)
		}
	}
	if len(details) < 10 || len(ends) < 10 {
		t.Errorf("got details %v, ends %v", details, ends)
	}
}

// TestEntryThatCannotBeginIsTriedAgainWhileItWouldHold: another fault may hold it
// back for a while.
func TestEntryThatCannotBeginIsTriedAgainWhileItWouldHold(t *testing.T) {
	b := &brake{err: errors.New("jammed")}
	d := drive{t: t, p: timed(t, []nemesis.Fault{b.fault()}, "- {at: 1s, fault: brake, for: 1s, detail: 1}"), end: time.Minute}
	expect(t, d.run(), // each is healed, since it may have been given up and come yet
		"1s brake 0 1", "1.001s heal 0",
		"1.102s brake 1 1", "1.103s heal 1",
		"1.304s brake 2 1", "1.305s heal 2",
		"1.706s brake 3 1", "1.707s heal 3")

	d = drive{t: t, p: timed(t, []nemesis.Fault{b.fault()}, "- {at: 1s, fault: brake, for: 1s, detail: 1}"), end: time.Minute}
	b.err = errors.New("jammed")
	d.each = func(op histories.Op) *happening {
		if op.Time > 1200*time.Millisecond {
			b.err = nil
		}
		return nil
	}
	b.log = nil
	d.run()
	if !slices.Equal(b.log, []string{"on 1", "off 1"}) {
		t.Errorf("got %q", b.log)
	}
}

func TestFaultFollowsALeaderChange(t *testing.T) {
	b := &brake{}
	p := timed(t, []nemesis.Fault{b.fault()}, "- {on: leader-change +10ms..50ms, at: 2s, fault: brake, for: 1s, detail: 1}")
	d := drive{t: t, p: p, end: 20 * time.Second, happens: []happening{
		{0, led("n1", 1)},                     // the first leader is no change
		{1 * time.Second, led("n2", 2)},       // before its time
		{3 * time.Second, led("", 3)},         // nobody leads
		{3100 * time.Millisecond, led("", 4)}, // nor now
		{4 * time.Second, led("n3", 4)},
		{4500 * time.Millisecond, led("n1", 5)}, // while it is in force
		{7 * time.Second, led("n1", 5)},         // as before
		{8 * time.Second, led("n1", 6)},         // the same node, elected again
	}}
	ops := d.run()
	var begins []time.Duration
	for _, op := range ops {
		if op.Type == histories.Invoke && op.F == "brake" {
			begins = append(begins, op.Time)
		}
	}
	if len(begins) != 2 {
		t.Fatalf("got %s", invoked(t, ops))
	}
	for i, change := range []time.Duration{4 * time.Second, 8 * time.Second} {
		if later := begins[i] - change; later < 10*time.Millisecond || later > 50*time.Millisecond {
			t.Errorf("it began %v after the leader had changed", later)
		}
	}
}

// TestFaultFollowsAStep that was told since, each that comes when it is not in force.
func TestFaultFollowsAStep(t *testing.T) {
	b := &brake{}
	p := timed(t, []nemesis.Fault{b.fault()}, `
- {on: migration-copying, at: 1s, fault: brake, for: 1s, detail: 1}
- {on: host-lost +20ms, fault: brake:front, for: 500ms, detail: 2}
`)
	step := func(name string) cluster.Step { return cluster.Step{Name: name} }
	d := drive{t: t, p: p, end: 20 * time.Second, happens: []happening{
		{500 * time.Millisecond, step("migration-copying")}, // before its time
		{2 * time.Second, step("migration-asked")},
		{3 * time.Second, step("migration-copying")},
		{3 * time.Second, step("migration-copying")}, // another one, at the same time
		{3500 * time.Millisecond, led("n1", 1)},
		{3600 * time.Millisecond, step("migration-copying")}, // while it is in force
		{5 * time.Second, step("host-lost")},
		{6 * time.Second, step("something-else")},
		{7 * time.Second, step("migration-copying")},
	}}
	expect(t, d.run(),
		"3s brake 0 1", "4.001s heal 0",
		"5.02s brake 1 2", "5.521s heal 1",
		"7s brake 2 1", "8.001s heal 2")
}

func TestStepsAreRefusedOfASystemThatTellsNone(t *testing.T) {
	table := []nemesis.Fault{(&brake{}).fault()}
	for _, test := range []struct {
		env  nemesis.Env
		on   nemesis.Anchor
		want string
	}{
		{nemesis.Env{System: "raftkv", Observed: shown{}}, nemesis.Anchor{Event: nemesis.HostLost}, "fault brake on host-lost: raftkv tells no steps"},
		{nemesis.Env{Steps: true}, nemesis.Anchor{Event: nemesis.VMPlaced}, ""},
		{nemesis.Env{Steps: true}, nemesis.Anchor{Event: nemesis.VMPlaced, During: true}, "fault brake during vm-placed: vm-placed is a moment"},
		{nemesis.Env{Steps: true}, nemesis.Anchor{Event: nemesis.Snapshot}, "fault brake on snapshot: the system does not show its state"},
	} {
		_, err := nemesis.New(table, test.env, nemesis.Options{
			Interval: time.Second, Timetable: []nemesis.Entry{{Spec: nemesis.Spec{Fault: "brake"}, On: test.on}},
		})
		if (err == nil) != (test.want == "") || err != nil && !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%v: got %v, want %s", test.on, err, test.want)
		}
	}
}

// TestDeskPassesOnWhatIsWatched, of all that a system tells.
func TestDeskPassesOnWhatIsWatched(t *testing.T) {
	b := &brake{}
	p := timed(t, []nemesis.Fault{b.fault()}, "- {on: vm-placed, fault: brake, for: 1s, detail: 1}")
	c := generator.Context{Free: []histories.Process{histories.Nemesis}, Rand: rand.New(rand.NewPCG(1, 2))}
	for _, op := range []histories.Op{
		{Process: histories.Observer, F: "beat"}, {Process: histories.Observer, F: "vm"}, {Process: 3, F: histories.Step},
	} {
		op.Type, op.Value = histories.Event, encoded(t, cluster.Step{Name: nemesis.VMPlaced})
		p.Main.Update(c, op)
		if s := p.Main.Next(c); s.Op != nil {
			t.Fatalf("%v began %v", op, s.Op)
		}
	}
	p.Main.Update(c, histories.Op{Process: histories.Observer, Type: histories.Event, F: histories.Step, Value: encoded(t, cluster.Step{Name: nemesis.VMPlaced})})
	if s := p.Main.Next(c); s.Op == nil || s.Op.F != "brake" {
		t.Errorf("got %+v", s)
	}
}

func TestFaultLastsAsLongAsWhatItIsTiedTo(t *testing.T) {
	b := &brake{}
	p := timed(t, []nemesis.Fault{b.fault()}, "- {during: snapshot +100ms, fault: brake, detail: 1, at: 1s}")
	d := drive{t: t, p: p, end: 9 * time.Second, happens: []happening{
		{0, led("n1", 1)},
		{500 * time.Millisecond, with(led("n1", 1), "n1", taking)}, // it goes on when its time has come
		{3 * time.Second, led("n1", 1)},
		{4 * time.Second, with(led("n1", 1), "n2", taking)}, // over too soon
		{4050 * time.Millisecond, led("n1", 1)},
		{5 * time.Second, with(led("n1", 1), "n2", taking)},
		{6 * time.Second, with(with(led("n1", 1), "n2", taking), "n3", taking)}, // goes on
		{7 * time.Second, with(led("n1", 1), "n3", taking)},
		{8 * time.Second, led("n1", 1)},
	}}
	expect(t, d.run(),
		"1.1s brake 0 1", "3s heal 0",
		"5.1s brake 1 1", "8s heal 1")
}

// TestMembersChangeAsTheLeaderSays: a node that has just begun again has the last
// change in its log, and does not know that it was agreed on long ago.
func TestMembersChangeAsTheLeaderSays(t *testing.T) {
	b := &brake{}
	p := timed(t, []nemesis.Fault{b.fault()}, "- {during: member-change, fault: brake, detail: 1}")
	d := drive{t: t, p: p, end: 9 * time.Second, happens: []happening{
		{0, led("n1", 1)},
		{1 * time.Second, with(led("n1", 1), "n2", changing)},
		{2 * time.Second, with(led("", 1), "n2", changing)},
		{3 * time.Second, with(led("n1", 2), "n1", changing)},
		{4 * time.Second, led("", 2)}, // nobody says that it is over
		{5 * time.Second, with(led("n2", 3), "n2", changing)},
		{6 * time.Second, with(led("n2", 3), "n1", changing)},
	}}
	expect(t, d.run(), "3s brake 0 1", "6s heal 0")
}

func TestFaultDuringAnEventMayEndBefore(t *testing.T) {
	b := &brake{}
	p := timed(t, []nemesis.Fault{b.fault()}, "- {during: leader-change, fault: brake, detail: 1, for: 1s}")
	d := drive{t: t, p: p, end: 9 * time.Second, happens: []happening{
		{0, led("n1", 1)}, {1 * time.Second, led("", 2)}, {5 * time.Second, led("n1", 2)},
	}}
	expect(t, d.run(), "1s brake 0 1", "2.001s heal 0") // and not begun once more
}

func TestMembersThatAreOthersHaveChanged(t *testing.T) {
	b := &brake{}
	p := timed(t, []nemesis.Fault{b.fault()}, "- {on: member-change, fault: brake, detail: 1, for: 100ms}")
	members := func(voters, learners []string) cluster.State {
		return with(led("n1", 1), "n1", func(n *cluster.NodeState) { n.Voters, n.Learners = voters, learners })
	}
	three := []string{"n1", "n2", "n3"}
	d := drive{t: t, p: p, end: 9 * time.Second, happens: []happening{
		{0, led("n1", 1)},
		{1 * time.Second, members(three[:2], nil)}, // it was quick: nobody saw it go on
		{2 * time.Second, led("", 2)},              // nobody knows
		{3 * time.Second, members(three[:2], nil)},
		{4 * time.Second, members(three[:2], three[2:])},
		{5 * time.Second, with(members(three, nil), "n1", changing)}, // the same change
		{6 * time.Second, members(three, nil)},
	}}
	expect(t, d.run(), "1s brake 0 1", "1.101s heal 0", "4s brake 1 1", "4.101s heal 1")
}

func TestTimetableIsRefusedThatCannotBe(t *testing.T) {
	table := []nemesis.Fault{(&brake{}).fault()}
	for want, e := range map[string]nemesis.Entry{
		`no such nemesis: "clutch"`:                         {Spec: nemesis.Spec{Fault: "clutch"}},
		"fault brake:rear: there is none":                   {Spec: nemesis.Spec{Fault: "brake", Variant: "rear"}},
		`"all" is more than one fault`:                      {Spec: nemesis.Spec{Fault: "all"}},
		"fault brake on snapshot: the system does not show": {Spec: nemesis.Spec{Fault: "brake"}, On: nemesis.Anchor{Event: nemesis.Snapshot}},
	} {
		_, err := nemesis.New(table, nemesis.Env{}, nemesis.Options{Interval: time.Second, Timetable: []nemesis.Entry{e}})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// A dart is a fault that is aimed.
func dart() nemesis.Fault {
	return nemesis.Fault{
		Name:     "dart",
		Targets:  []nemesis.Target{{Name: "one"}, {Name: "leader"}},
		Variants: []nemesis.Variant{{Name: "blue"}},
		New:      func(nemesis.Env, nemesis.Spec) (nemesis.Breaker, error) { return &brake{}, nil },
	}
}

func TestTimetableIsReadAsItIsWritten(t *testing.T) {
	table := []nemesis.Fault{dart(), (&brake{}).fault()}
	entries := []nemesis.Entry{
		{At: 1500 * time.Millisecond, Spec: nemesis.Spec{Fault: "dart", Variant: "blue", Target: "leader"}, For: 2*time.Second + 7},
		{Spec: nemesis.Spec{Fault: "brake"}},
		{At: time.Hour + 1, Spec: nemesis.Spec{Fault: "dart", Target: "n3"}, On: nemesis.Anchor{Event: "leader-change", To: 50 * time.Millisecond}},
		{Spec: nemesis.Spec{Fault: "dart"}, On: nemesis.Anchor{Event: "member-change", During: true, From: time.Second, To: time.Second}},
		{Spec: nemesis.Spec{Fault: "brake"}, Detail: json.RawMessage(
			`{"aim":null,"links":["n1→n2","a, b: c #d"],"deep":{"no":false,"yes":"yes","on":"1e3","x":1.5,"empty":{},"none":[]},"seed":18446744073709551615,"small":-1e-7,"q":"\"\\\n'"}`)},
	}
	var b strings.Builder
	if err := nemesis.WriteTimetable(&b, entries); err != nil {
		t.Fatal(err)
	}
	read, err := nemesis.ReadTimetable(table, strings.NewReader(b.String()), "plan.yaml")
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	for i, e := range read {
		if e.Detail != nil { // fields may come in another order
			var got, want any
			if err := errors.Join(json.Unmarshal(e.Detail, &got), json.Unmarshal(entries[i].Detail, &want)); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %s, want %s", e.Detail, entries[i].Detail)
			}
			if !strings.Contains(string(e.Detail), "18446744073709551615") {
				t.Errorf("got %s", e.Detail)
			}
			e.Detail, entries[i].Detail = nil, nil
		}
		if !reflect.DeepEqual(e, entries[i]) {
			t.Errorf("got %+v, want %+v", e, entries[i])
		}
	}
	if want := "- at: 1.5s\n  fault: dart:blue\n  target: leader\n  for: 2.000000007s\n- at: 0s\n  fault: brake\n"; !strings.HasPrefix(b.String(), want) {
		t.Errorf("got\n%swant\n%s...", b.String(), want)
	}
}

func TestTimetableSaysWhatIsWrongWhere(t *testing.T) {
	table := []nemesis.Fault{dart(), (&brake{}).fault()}
	for text, want := range map[string]string{
		"":                                          `plan.yaml:1: this is no list of faults; the least is "- {at: 5s, fault: dart}"`,
		"# nothing yet\n":                           "plan.yaml:1: this is no list",
		"[]":                                        "plan.yaml:1: this is no list",
		"at: 5s\nfault: dart":                       "plan.yaml:1: this is no list",
		"- &a {at: 1s, fault: dart}\n- *a":          `plan.yaml:2: *a is an alias; write the fault out`,
		"\n- dart":                                  `plan.yaml:2: this is no fault; write "at: 5s" and "fault: dart"`,
		"- {at: 5s}":                                `plan.yaml:1: which fault? Add a field such as "fault: dart"`,
		"- {fault: dart}":                           `plan.yaml:1: when? Add a field such as "at: 5s" or "on: leader-change"`,
		"- at: 5\n  fault: dart":                    `plan.yaml:1: at: "5" is no time such as 500ms, 5s or 1m30s`,
		"- at: 5s\n  for: -1s":                      `plan.yaml:2: for: "-1s" is no time`,
		"- at: 5s\n  fault: darts":                  `plan.yaml:2: fault: no such nemesis: "darts"; there are dart, brake, all`,
		"- at: 5s\n  fault: dart:red":               `plan.yaml:2: fault: no such variant or target of dart: "dart:red"`,
		"- at: 5s\n  fault: dart,brake":             `plan.yaml:2: fault: "dart,brake" is more than one fault; give each an item of its own`,
		"- at: 5s\n  fault: all":                    `plan.yaml:2: fault: "all" is more than one fault`,
		"- at: 5s\n  target: two\n  fault: dart":    `plan.yaml:2: no such target of dart: "two"; there are one, leader, a node`,
		"- at: 5s\n  target: one\n  fault: brake":   "plan.yaml:2: brake is not aimed at nodes; strike the target out",
		"- at: 5s\n  target: one\n  fault: dart:n1": "plan.yaml:2: the fault has a target already, n1; strike one out",
		"- at: 5s\n  fault: dart\n  at: 6s":         "plan.yaml:3: at stands twice; strike one out",
		"- at: 5s\n  fault: dart\n  when: 6s":       `plan.yaml:3: unknown field "when"; there are at, on, during, fault, target, for, detail`,
		"- at: 5s\n  fault: [dart]":                 "plan.yaml:2: fault is a word, not a list or a mapping",
		"- on: snapshot\n  during: snapshot\n  fault: dart":     "plan.yaml:2: either on or during; strike one out",
		"- on: dawn\n  fault: dart":                             `plan.yaml:1: on: no such event: "dawn"; there are leader-change, member-change, snapshot`,
		"- on: snapshot 5ms\n  fault: dart":                     `plan.yaml:1: on: "5ms" is no window such as "+20ms" or "+0..50ms"`,
		"- on: snapshot +5ms..1ms\n  fault: dart":               `plan.yaml:1: on: window "+5ms..1ms" ends before it begins`,
		"- {at: 5s, fault: dart}\n---\n- {at: 5s, fault: dart}": "plan.yaml: line 2: another document begins",
		"- {at: 5s, fault: dart":                                "plan.yaml: parser",
		"- {at: 5s, fault: dart, for: 0s}":                      "plan.yaml:1: for: it would be healed at once",
		"- {at: 5s}\n- {fault: dart}":                           "plan.yaml:1: which fault? Add a field such as \"fault: dart\"\nplan.yaml:2: when?",
	} {
		entries, err := nemesis.ReadTimetable(table, strings.NewReader(text), "plan.yaml")
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: got %v, %v; want %s", text, entries, err, want)
		}
	}
}

func TestAnchorsAreReadAsTheyPrint(t *testing.T) {
	for text, want := range map[string]nemesis.Anchor{
		"on leader-change":             {Event: "leader-change"},
		"on leader-change +0..50ms":    {Event: "leader-change", To: 50 * time.Millisecond},
		"on migration-committed +1ms":  {Event: "migration-committed", From: time.Millisecond, To: time.Millisecond},
		"during snapshot +20ms":        {Event: "snapshot", During: true, From: 20 * time.Millisecond, To: 20 * time.Millisecond},
		"during member-change +1s..2s": {Event: "member-change", During: true, From: time.Second, To: 2 * time.Second},
	} {
		a, err := nemesis.ParseAnchor(text)
		if err != nil || a != want {
			t.Errorf("%s: got %+v, %v", text, a, err)
		}
		if again, err := nemesis.ParseAnchor(a.String()); err != nil || again != a {
			t.Errorf("%v: got %+v, %v", a, again, err)
		}
	}
	for _, text := range []string{"", "snapshot", "on", "on tuesday", "at snapshot", "during migration-copying", "during host-lost", "on snapshot + 5ms", "on snapshot +x", "on snapshot +1..y", "on snapshot +1s now"} {
		if a, err := nemesis.ParseAnchor(text); err == nil {
			t.Errorf("%q: got %+v", text, a)
		}
	}
	if s := (nemesis.Anchor{}).String(); s != "" {
		t.Errorf("got %q", s)
	}
}

// leads is a system in which somebody leads, if the function says so.
type leads func() string

func (f leads) Leader(context.Context) (string, error) {
	if node := f(); node != "" {
		return node, nil
	}
	return "", errors.New("there is an election")
}

// TestWhatIsAimedAtTheLeaderIsPutOffUntilThereIsOne, and what is due meanwhile is done in
// time: the nemesis does one thing at a time, and an op that waits would keep it.
func TestWhatIsAimedAtTheLeaderIsPutOffUntilThereIsOne(t *testing.T) {
	const plan = `
- {at: 1s, fault: brake, for: 2s, detail: 1}
- {at: 2500ms, fault: partition:leader, for: 1s, detail: {shape: leader, aim: leader, node: n1, links: [n1→n2]}}
- {at: 3200ms, fault: brake, for: 1h, detail: 2}
`
	const cut = `{"aim":"leader","links":["n1→n2"],"node":"n1","shape":"leader"}`
	for name, c := range map[string]struct {
		elected time.Duration
		want    []string
	}{
		"soon":     {4 * time.Second, []string{"4s partition 2 " + cut, "5.001s heal 2"}},
		"too late": {5 * time.Second, []string{"4.5s partition 2 " + cut, "4.501s heal 2"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			table := []nemesis.Fault{nemesis.Partition(), (&brake{}).fault()}
			entries, err := nemesis.ReadTimetable(table, strings.NewReader(plan), "plan.yaml")
			if err != nil {
				t.Fatal(err)
			}
			d := drive{t: t, end: 6 * time.Second, bubble: true, happens: []happening{
				{0, led("n3", 1)}, {2 * time.Second, led("", 2)}, {c.elected, led("n3", 2)},
			}}
			env := nemesis.Env{Nodes: []string{"n1", "n2", "n3"}, Network: &nemesistest.Network{}, Observed: shown{}, Leader: leads(func() string {
				if d.now >= 2*time.Second && d.now < c.elected {
					return ""
				}
				return "n3"
			})}
			if d.p, err = nemesis.New(table, env, nemesis.Options{Interval: time.Second, Timetable: entries}); err != nil {
				t.Fatal(err)
			}
			t.Log(name)
			expect(t, d.run(), slices.Concat([]string{"1s brake 0 1", "3.001s heal 0", "3.2s brake 1 2"}, c.want, []string{"6s heal 1"})...)
		})
	}
}

// TestRecordedScheduleIsRepeated: what a run did is written down, read, and done
// again by another seed, at the same times.
func TestRecordedScheduleIsRepeated(t *testing.T) {
	for seed := range uint64(20) {
		table := []nemesis.Fault{nemesis.Partition(), (&brake{}).fault()}
		env := nemesis.Env{Nodes: []string{"n1", "n2", "n3", "n4", "n5"}, Network: &nemesistest.Network{}, Leader: ruled{}}
		p, err := nemesis.New(table, env, asked(t, table, "brake,partition,partition:client", time.Second))
		if err != nil {
			t.Fatal(err)
		}
		first := drive{t: t, p: p, seed: seed, end: 10 * time.Second}
		ops := first.run()
		entries, err := nemesis.Recorded(history(t, ops))
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := nemesis.WriteTimetable(&b, entries); err != nil {
			t.Fatal(err)
		}
		if entries, err = nemesis.ReadTimetable(table, strings.NewReader(b.String()), "recorded"); err != nil {
			t.Fatal(err)
		}
		if p, err = nemesis.New(table, env, nemesis.Options{Interval: time.Minute, Timetable: entries}); err != nil {
			t.Fatal(err)
		}
		second := drive{t: t, p: p, seed: seed + 1000, end: 10 * time.Second}
		if got, want := timeline(t, second.run()), timeline(t, ops); !slices.Equal(got, want) {
			t.Fatalf("seed %d: got\n%s\nwant\n%s", seed, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// timeline lists what began, and when what was healed. A run's times are those of
// its repetition give or take the time of an op: what is due at the same time
// takes turns.
func timeline(t *testing.T, ops []histories.Op) (lines []string) {
	t.Helper()
	begun := map[int]string{}
	for _, op := range ops {
		if op.Process != histories.Nemesis || op.Type != histories.Invoke {
			continue
		}
		f := fault(t, op)
		if op.F != histories.Heal {
			var detail any
			if err := json.Unmarshal(f.Detail, &detail); err != nil {
				t.Fatal(err)
			}
			begun[f.ID] = fmt.Sprint(op.F, " ", f.Name, " ", encodedText(t, detail))
		}
		lines = append(lines, fmt.Sprintf("%v %s of %s", op.Time.Round(50*time.Millisecond), op.F, begun[f.ID]))
	}
	slices.Sort(lines)
	return lines
}

func encodedText(t *testing.T, v any) string { return string(encoded(t, v)) }

// ruled is a system that n2 leads.
type ruled struct{}

func (ruled) Leader(context.Context) (string, error) { return "n2", nil }

func TestWhatNeverBeganIsNotRepeated(t *testing.T) {
	b := &brake{err: errors.New("jammed")}
	p := timed(t, []nemesis.Fault{b.fault()}, "- {at: 1s, fault: brake, for: 1s}\n- {at: 3s, fault: brake, for: 1h, detail: 7}")
	d := drive{t: t, p: p, end: 5 * time.Second, each: func(op histories.Op) *happening {
		if op.Time > 3*time.Second {
			b.err = nil
		}
		return nil
	}}
	ops := d.run()
	entries, err := nemesis.Recorded(history(t, ops))
	if err != nil || len(entries) != 1 {
		t.Fatalf("got %+v, %v", entries, err)
	}
	e := entries[0] // the second try of the second one; it held to the end
	if at := e.At.Round(took); at != 3102*time.Millisecond || string(e.Detail) != "7" || e.At+took+e.For != 5*time.Second {
		t.Errorf("got %+v", e)
	}
	// A run that died before it could heal: what it did held to its end.
	entries, err = nemesis.Recorded(history(t, ops[:len(ops)-2]))
	if err != nil || len(entries) != 1 || entries[0].For != 1 {
		t.Errorf("got %+v, %v", entries, err)
	}
}

// TestDetailIsLikeThoseThatAreDrawn, or refused before anything begins.
func TestDetailIsLikeThoseThatAreDrawn(t *testing.T) {
	env := nemesis.Env{
		Nodes: []string{"n1", "n2", "n3"}, Start: func(string) error { return nil },
		Processes: struct{ nemesis.Processes }{}, Disks: plainDisks{},
	}
	for _, c := range []struct{ target, detail, want string }{
		{"", `{"variant":"slow","target":"one","order":["n1"],"count":1,"fault":{"sync_delay":5}}`, ""},
		{"n2", `{"variant":"power","target":"n2","count":1,"power":{"mode":"all"}}`, ""},
		{"", `5`, "it is a number; write a mapping"},
		{"", `{"variant":5}`, "variant is a number, which it cannot be"},
		{"", `{"varaint":"power"}`, `unknown field "varaint"`},
		{"", `{"target":"one"}`, "it has to say one thing to do"},
		{"", `{"power":{},"fault":{}}`, "it has to say one thing to do"},
		{"", `{"target":"x","power":{}}`, `no such target of disk: "x"`},
		{"", `{"target":"one","order":["n1","n4"],"power":{}}`, "there is no node n4; the last one is n3"},
		{"", `{"target":"n4","power":{}}`, "there is no node n4; the last one is n3"},
		{"n1", `{"target":"one","power":{}}`, "it is aimed at one, and the fault at n1"},
	} {
		spec := nemesis.Spec{Fault: "disk", Target: c.target}
		_, err := nemesis.New([]nemesis.Fault{nemesis.Disk()}, env, nemesis.Options{
			Interval: time.Second, Timetable: []nemesis.Entry{{Spec: spec, Detail: json.RawMessage(c.detail)}},
		})
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), fmt.Sprintf("fault %v: detail: %s", spec, c.want)) {
			t.Errorf("%s: got %v, want %s", c.detail, err, c.want)
		}
	}
}

// plainDisks can be broken, and are not.
type plainDisks struct{ cluster.Disks }

func (plainDisks) Made() string { return cluster.DisksFUSE }
