package page

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/report"
	"github.com/hacheck/hacheck/report/document"
	"github.com/hacheck/hacheck/report/document/documenttest"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/register"
)

// Runs of every kind that a page shows, none of which took place.

func registerRun(tb testing.TB, calls int, seed uint64) *histories.History {
	tb.Helper()
	h, err := documenttest.Register(calls, seed)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// judged returns a source with the verdict of workload register.
func judged(tb testing.TB, title string, h *histories.History) document.Source {
	tb.Helper()
	result, err := register.Checker(checker.Budget{}).Check(tb.Context(), h)
	if err != nil {
		tb.Fatal(err)
	}
	return document.Source{Run: report.Run{Title: title, History: h, Result: result}}
}

const ms = time.Millisecond

// undisturbed returns what clients and observer of a run of register do.
func undisturbed(tb testing.TB, calls int, seed uint64) (ops []histories.Op) {
	tb.Helper()
	for _, op := range registerRun(tb, calls, seed).All() {
		if op.Process != histories.Nemesis {
			ops = append(ops, op)
		}
	}
	return ops
}

// faulty returns the two ops of what the nemesis does.
func faulty(at time.Duration, f, value, errorText string) []histories.Op {
	op := histories.Op{Time: at, Process: histories.Nemesis, Type: histories.Invoke, F: f, Value: json.RawMessage(value)}
	done := op
	done.Time, done.Type, done.Error = at+80*time.Microsecond, histories.Info, errorText
	return []histories.Op{op, done}
}

// fresh returns ops as a history, in order of their times, of which no two are the same.
func fresh(tb testing.TB, ops []histories.Op) *histories.History {
	tb.Helper()
	slices.SortStableFunc(ops, func(a, b histories.Op) int { return int(a.Time - b.Time) })
	for i := range ops {
		ops[i].Index = i
		if i > 0 {
			ops[i].Time = max(ops[i].Time, ops[i-1].Time+1)
		}
	}
	h, err := histories.FromOps(ops)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// stale makes a stale read of one, which returns what its key had at first, and returns when
// it ended. The key is one of those in use at a time.
func stale(tb testing.TB, ops []histories.Op, after time.Duration, not string) (key string) {
	tb.Helper()
	type value struct {
		key string
		v   int
	}
	read := func(op histories.Op) (v value, ok bool) {
		var pair []json.RawMessage
		if json.Unmarshal(op.Value, &pair) != nil || len(pair) != 2 || json.Unmarshal(pair[0], &v.key) != nil || json.Unmarshal(pair[1], &v.v) != nil {
			return v, false
		}
		return v, v.v > 0
	}
	first, calls := map[string]int{}, map[string]int{}
	for i, op := range ops {
		v, ok := read(op)
		if op.Type != histories.OK || !ok || v.key == not {
			continue
		}
		calls[v.key]++
		switch {
		case op.F == "write" && first[v.key] == 0:
			first[v.key] = v.v
		case op.F == "read" && op.Time > after && calls[v.key] > 60 && v.v > first[v.key]+10:
			ops[i].Value = workloads.Keyed(v.key, first[v.key])
			return v.key
		}
	}
	tb.Fatal("no read can be made stale")
	return ""
}

// invalid returns a run of register with two stale reads, faults of several fates, states,
// gauges with clocks, logs, and all else that a run has.
func invalid(tb testing.TB) document.Source {
	tb.Helper()
	ops := undisturbed(tb, 3_000, 4)
	key := stale(tb, ops, 700*ms, "")
	stale(tb, ops, 300*ms, key)
	end := ops[len(ops)-1].Time
	fault := func(at time.Duration, f, value, errorText string) {
		ops = append(ops, faulty(at, f, value, errorText)...)
	}
	fault(200*ms, "partition", `{"id":101,"fault":"partition:leader","detail":{"shape":"leader","node":"n3","groups":[["n3"],["n1","n2","n4","n5"]]}}`, "")
	fault(500*ms, "heal", `{"id":101,"fault":"partition:leader","acted":1234}`, "")
	fault(600*ms, "clock", `{"id":102,"fault":"clock:skew","detail":{"warps":{"n2":{"offset":5000000}}}}`, "")
	fault(650*ms, "kill", `{"id":103,"fault":"kill","detail":{"nodes":["n4"]}}`, "no such process")
	fault(900*ms, "heal", `{"id":102,"fault":"clock:skew","acted":1}`, "")
	for at := 50 * ms; at < end; at += 50 * ms {
		g := map[string]cluster.Gauge{}
		for n := range 5 {
			bytes := uint64(at/ms)*uint64(1000+300*n) + uint64(at/ms%7)*500
			g[fmt.Sprint("n", n+1)] = cluster.Gauge{SentBytes: bytes, ReceivedBytes: bytes / 2, Lost: uint64(at/ms/100) * uint64(n), Clocks: &cluster.Offsets{}}
		}
		if at > 600*ms && at < 900*ms {
			g["n2"].Clocks.Realtime = 5 * ms
		}
		text, err := json.Marshal(g)
		if err != nil {
			tb.Fatal(err)
		}
		ops = append(ops, histories.Op{Time: at, Process: histories.Observer, Type: histories.Event, F: histories.Gauges, Value: text})
	}
	s := judged(tb, "raftkv register, stale on purpose", fresh(tb, ops))
	if s.Result.Verdict != checker.Invalid {
		tb.Fatalf("the run is %v: %s", s.Result.Verdict, s.Result.Note)
	}
	s.Next = []report.Next{{Purpose: "check it again:", Command: "hacheck check history.jsonl"}, {Purpose: "run it again:", Command: "hacheck --workload register --nemesis partition --seed 4"}}
	s.Trouble = []string{"n4 took longer to stop than it should"}
	s.Schedule = "faults:\n  - at: 200ms\n    fault: partition:leader\n"
	began := time.Date(2026, 11, 29, 1, 40, 10, 0, time.UTC)
	ended := began.Add(end)
	s.Info = &store.Info{
		System: "raftkv", Workload: "register", Nemesis: []string{"partition", "clock", "kill"}, Began: began, Ended: &ended,
		Options: store.Options{Nodes: 5, Concurrency: 10, Keys: 5, Seed: 4}, Versions: store.Versions{Hacheck: "test", Go: "go1.26"},
	}
	s.Tracks = []workloads.Track{{Group: "locks", Name: "lock1", Slices: []workloads.Slice{
		{From: 100 * ms, To: 400 * ms, Label: "process 1", Class: "1", Op: -1},
		{From: 350 * ms, To: histories.Never, Label: "process 2", Class: "2", Bad: true, Op: -1},
	}}}
	log := func(node, text string) document.LogFile {
		return document.LogFile{Node: node, Path: "logs/" + node + ".log", Open: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(text)), nil
		}}
	}
	run := log("", "time=2026-11-29T01:40:10.000Z level=INFO msg=phase name=main\n")
	run.Path = "run.log"
	s.RunLog = &run
	for n := range 3 {
		var b strings.Builder
		for at := time.Duration(n) * ms; at < end; at += 20 * ms {
			fmt.Fprintf(&b, "%s [INFO]  raft: line at %v\n", began.Add(at).Format("2006-01-02T15:04:05.000Z07:00"), at)
		}
		s.Logs = append(s.Logs, log(fmt.Sprint("n", n+1), b.String()))
	}
	s.Files = []document.File{{Path: "history.jsonl", About: "every operation"}, {Path: "results.json", About: "the verdict"}}
	return s
}

// machines returns a run of machines, of which one was in two places at a time.
func machines(tb testing.TB) document.Source {
	tb.Helper()
	h, err := checkertest.Parse(`
0 invoke create ["vm1",{"image":"small"}] node=n4
1 invoke create ["vm2",{"image":"small"}] node=n5
0 ok create node=n4
1 ok create node=n5
100ms nemesis invoke kill {"id":1,"fault":"kill","detail":{"nodes":["n4"]}}
101ms nemesis info kill {"id":1,"fault":"kill","detail":{"nodes":["n4"]}}
120ms 2 invoke get ["vm1",null]
125ms 2 ok get ["vm1",{"host":"n5","epoch":2}] node=n5
130ms 0 invoke stop ["vm2",null]
140ms 0 fail stop error=busy node=n5
150ms 1 invoke get ["vm1",null]
155ms 1 ok get ["vm1",{"host":"n4","epoch":1}] node=n4
160ms nemesis invoke heal {"id":1,"fault":"kill","acted":1}
161ms nemesis info heal {"id":1,"fault":"kill","acted":1}
200ms 2 invoke delete ["vm1",null]
210ms 2 info delete error=timeout`)
	if err != nil {
		tb.Fatal(err)
	}
	result := checker.Result{Name: "run", Verdict: checker.Invalid, Parts: []checker.Result{{
		Name: "machines", Verdict: checker.Invalid, Note: "one machine ran twice at a time",
		Anomalies: []checker.Anomaly{{Kind: "two copies", Note: "vm1 ran on n4 (epoch 1) and on n5 (epoch 2) at once, from 110ms to 160ms", Ops: []int{0, 2, 6, 7, 10, 11}}},
	}}}
	return document.Source{
		Run: report.Run{Title: "vmsched vm, twice", History: h, Result: result},
		Tracks: []workloads.Track{
			{Group: "machines", Name: "vm1", Slices: []workloads.Slice{
				{From: 2 * ms, To: 160 * ms, Label: "n4, epoch 1", Class: "n4", Op: 0},
				{From: 110 * ms, To: histories.Never, Label: "n5, epoch 2", Class: "n5", Bad: true, Op: 6},
			}},
			{Group: "machines", Name: "vm2", Slices: []workloads.Slice{{From: 3 * ms, To: histories.Never, Label: "n5, epoch 1", Class: "n5", Op: 1}}},
			{Group: "hosts", Name: "n4", Node: "n4", Slices: []workloads.Slice{{From: 2 * ms, To: 160 * ms, Label: "vm1, epoch 1", Class: "vm1", Op: 0}}},
			{Group: "hosts", Name: "n5", Node: "n5", Slices: []workloads.Slice{{From: 3 * ms, To: histories.Never, Label: "vm2, epoch 1", Class: "vm2", Op: 1}}},
		},
	}
}

// valid returns a run in which nothing was found.
func valid(tb testing.TB) document.Source {
	tb.Helper()
	ops := slices.Concat(undisturbed(tb, 2_000, 9),
		faulty(300*ms, "partition", `{"id":1,"fault":"partition:ring","detail":{"shape":"ring"}}`, ""),
		faulty(600*ms, "heal", `{"id":1,"fault":"partition:ring","acted":321}`, ""))
	s := judged(tb, "raftkv register, as it should be", fresh(tb, ops))
	if s.Result.Verdict != checker.Valid {
		tb.Fatalf("the run is %v: %s", s.Result.Verdict, s.Result.Note)
	}
	return s
}

// nothing returns a run without any operation.
func nothing(tb testing.TB) document.Source {
	tb.Helper()
	return judged(tb, "a run of nothing", fresh(tb, nil))
}

// foreign returns a history that others have recorded: without a clock, and of which nothing
// else is known.
func foreign(tb testing.TB) document.Source {
	tb.Helper()
	var b strings.Builder
	for i := range 40 {
		fmt.Fprintf(&b, "%dns %d invoke write x=%d\n%dns %d ok write\n%dns %d invoke read x\n%dns %d ok read x=%d\n",
			4*i+1, i%3, i, 4*i+2, i%3, 4*i+3, 5, 4*i+4, 5, max(i-1, 0))
	}
	h, err := checkertest.Parse(b.String())
	if err != nil {
		tb.Fatal(err)
	}
	return judged(tb, "history.edn", h)
}
