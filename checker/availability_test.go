package checker_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// A track is what a test makes of a history: ops at times of their own.
type track []histories.Op

func (t *track) add(at time.Duration, p histories.Process, typ histories.Type, f, node string) {
	*t = append(*t, histories.Op{Time: at, Process: p, Type: typ, F: f, Node: node})
}

// call adds a call with both its ends.
func (t *track) call(from, to time.Duration, p histories.Process, typ histories.Type, node string) {
	t.add(from, p, histories.Invoke, "do", "")
	t.add(to, p, typ, "do", node)
}

// fault adds a fault that begins and is healed in a nanosecond each.
func (t *track) fault(id int, name, detail string, from, to time.Duration) {
	of := func(acted uint64, detail string) json.RawMessage {
		b, err := json.Marshal(histories.Fault{ID: id, Name: name, Detail: json.RawMessage(detail), Acted: acted})
		if err != nil {
			panic(err)
		}
		return b
	}
	for _, op := range []histories.Op{
		{Time: from - 1, Type: histories.Invoke, F: "begin", Value: of(0, detail)},
		{Time: from, Type: histories.Info, F: "begin", Value: of(0, detail)},
		{Time: to - 1, Type: histories.Invoke, F: histories.Heal, Value: of(0, "")},
		{Time: to, Type: histories.Info, F: histories.Heal, Value: of(1, "")},
	} {
		op.Process = histories.Nemesis
		*t = append(*t, op)
	}
}

func (t track) history(tb testing.TB) *histories.History {
	tb.Helper()
	ops := slices.Clone(t)
	slices.SortStableFunc(ops, func(a, b histories.Op) int { return cmp.Compare(a.Time, b.Time) })
	for i := range ops {
		ops[i].Index = i
	}
	h, err := histories.FromOps(ops)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func measured(tb testing.TB, h *histories.History) checker.Result {
	tb.Helper()
	r, err := checker.Availability().Check(tb.Context(), h)
	if err != nil {
		tb.Fatal(err)
	}
	if r.Verdict != checker.Valid {
		tb.Fatalf("got %v: it judges nothing", r.Verdict)
	}
	return r
}

// steady adds a call every gap, each a tenth of that long, between two times.
func (t *track) steady(from, to, gap time.Duration) {
	for at := from; at+gap/10 < to; at += gap {
		t.call(at, at+gap/10, 0, histories.OK, "n1")
	}
}

// TestThroughputComesBack has a system that stands still for a second, does half of
// what it did for another, and then all.
func TestThroughputComesBack(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	var a track
	a.steady(0, 4*s, 10*ms)
	a.steady(5*s, 6*s, 20*ms)
	a.steady(6*s, 12*s, 10*ms)
	a.fault(1, "partition:ring", `{}`, 4*s-5*ms, 5*s+505*ms)
	c := measured(t, a.history(t)).Counts
	// Of 25 calls 23 are enough: the first 20 of the fast time, up to 6.191 s, and the
	// last 3 of the slow time. The window that ends with them begins at 5.941 s.
	for name, want := range map[string]int64{
		"window_us": 250_000, "answers_per_second": 100, "longest_gap_us": 1_011_000, "longest_gap_at_us": 3_991_000,
		"begin_answer_max_us": 1_007_000, "begin_90_max_us": 1_946_000, "begin_90_min_us": 1_946_000,
		"heal_answer_max_us": 17_000, "heal_90_max_us": 436_000, "heal_90_unseen": 0,
	} {
		if c[name] != want {
			t.Errorf("%s is %d, want %d", name, c[name], want)
		}
	}
}

// TestASystemThatStandsStillHasNoThroughput has answers in two bursts of a second, in ten: that
// it had none most of the time is measured, and not left out.
func TestASystemThatStandsStillHasNoThroughput(t *testing.T) {
	var a track
	a.steady(0, time.Second, 10*time.Millisecond)
	a.steady(9*time.Second, 10*time.Second, 10*time.Millisecond)
	a.fault(1, "kill", `{}`, 3*time.Second, 3500*time.Millisecond)
	c := measured(t, a.history(t)).Counts
	if n, ok := c["answers_per_second"]; !ok || n != 0 || c["window_us"] == 0 {
		t.Errorf("answers_per_second is %d (%v), in windows of %d us", n, ok, c["window_us"])
	}
	for name := range c {
		if strings.Contains(name, "_90") {
			t.Errorf("%s is %d: 90 %% of nothing", name, c[name])
		}
	}
}

func TestNoThroughputIsComparedWithoutTimeWithoutFaults(t *testing.T) {
	var a track
	a.steady(0, 4*time.Second, 10*time.Millisecond)
	a.fault(1, "kill", `{}`, 705*time.Millisecond, 3905*time.Millisecond)
	c := measured(t, a.history(t)).Counts
	for name := range c {
		if strings.Contains(name, "_90") || name == "answers_per_second" {
			t.Errorf("%s is %d", name, c[name])
		}
	}
	if c["begin_answer_max_us"] == 0 {
		t.Error("no first answer")
	}
}

// TestARefusalIsAnAnswer has clients that find a lock held, or another value than they
// compare with, while a fault holds: the system was there, and said so. Failures of which
// nobody knows what the system held are none.
func TestARefusalIsAnAnswer(t *testing.T) {
	const ms = time.Millisecond
	for meta, answered := range map[string]bool{
		`{"refused":"held"}`:      true,
		`{"current":4,"term":2}`:  true,
		`{"current":null}`:        true, // there was nothing to compare with
		``:                        false,
		`{}`:                      false,
		`{"refused":""}`:          false,
		`{"revision":3,"term":2}`: false, // what a node said that had no leader
		`"refused"`:               false,
	} {
		var a track
		a.call(0, 10*ms, 0, histories.OK, "n1")
		a.fault(1, "kill", `{"nodes":["n2"],"order":["n2","n1","n3"]}`, 20*ms, 90*ms)
		a.call(30*ms, 50*ms, 0, histories.Fail, "n1")
		a[len(a)-1].Meta = json.RawMessage(meta)
		a.call(95*ms, 100*ms, 0, histories.OK, "n1")
		r := measured(t, a.history(t))
		want := map[string]int64{
			"calls": 3, "ok": 2, "refused": 0, "fault_answered_permille": 0, "minority_answered_permille": 0,
			"longest_gap_us": 90_000, "begin_answer_max_us": 80_000,
		}
		if answered {
			want = map[string]int64{
				"calls": 3, "ok": 2, "refused": 1, "fault_answered_permille": 1000, "minority_answered_permille": 1000,
				"longest_gap_us": 50_000, "begin_answer_max_us": 30_000,
			}
		}
		for name, n := range want {
			if r.Counts[name] != n {
				t.Errorf("with %s %s is %d, want %d", meta, name, r.Counts[name], n)
			}
		}
	}
}

func TestAFaultThatNothingFeelsIsOverAtOnce(t *testing.T) {
	var a track
	a.steady(0, 4*time.Second, 10*time.Millisecond)
	a.fault(1, "kill", `{}`, 2005*time.Millisecond, 2105*time.Millisecond)
	if got, ok := measured(t, a.history(t)).Counts["begin_90_max_us"]; got != 0 || !ok {
		t.Errorf("got %d, %v", got, ok)
	}
}

// random returns a track of a few seconds in which clients have trouble when faults
// hold, on the microsecond.
func random(r *rand.Rand) track {
	var a track
	const s = time.Second
	end := 6*s + time.Duration(r.IntN(6000))*time.Millisecond
	used := map[time.Duration]bool{}
	fresh := func(t time.Duration) time.Duration {
		t = t.Truncate(time.Microsecond)
		for used[t] {
			t += time.Microsecond
		}
		used[t] = true
		return t
	}
	var held [][2]time.Duration
	nodes := []string{"n1", "n2", "n3"}
	details := []string{
		`{"nodes":["n1"]}`, `{"nodes":["n1","n2"],"order":["n3","n1","n2"]}`, `{}`,
		`{"groups":[["n1"],["n2","n3"]]}`, `{"groups":[["n1","n2"],["n2","n3"]]}`, `{"node":"n3"}`,
	}
	id := 0
	for at := 1*s + time.Duration(r.IntN(2000))*time.Millisecond; at < end && r.IntN(8) > 0; {
		to := at + time.Duration(200+r.IntN(1500))*time.Millisecond
		id++
		a.fault(id, []string{"kill", "kill:one", "partition"}[r.IntN(3)], details[r.IntN(len(details))], fresh(at), fresh(to))
		held = append(held, [2]time.Duration{at, to})
		at += time.Duration(100+r.IntN(2500)) * time.Millisecond
	}
	process := histories.Process(0)
	mean := time.Duration(5+r.IntN(100)) * time.Millisecond
	for range 3 {
		process++
		p := process * 1000
		for now := time.Duration(r.Int64N(int64(mean))); now < end; {
			typ := histories.OK
			took := 1 + time.Duration(r.Int64N(int64(mean)))
			for _, f := range held {
				if f[0] <= now && now <= f[1] && r.IntN(2) == 0 {
					typ, took = histories.Fail, took*5
					if r.IntN(2) == 0 {
						typ = histories.Info
					}
				}
			}
			from := fresh(now)
			to := fresh(max(from+1, now+took) + time.Microsecond)
			a.call(from, to, p, typ, nodes[r.IntN(3)])
			if typ == histories.Fail && r.IntN(3) == 0 {
				a[len(a)-1].Meta = json.RawMessage(`{"refused":"held"}`)
			}
			if typ == histories.Info {
				p++
			}
			now = to + time.Duration(r.Int64N(int64(mean))) + time.Microsecond
		}
	}
	return a
}

// naive measures the cluster as the words of the documentation say it, one fault and
// one moment at a time.
func naive(t *testing.T, h *histories.History) map[string]int64 {
	t.Helper()
	spans, err := h.Faults()
	if err != nil {
		t.Fatal(err)
	}
	ignore := func(string, json.RawMessage) (struct{}, error) { return struct{}{}, nil }
	calls, err := histories.Calls(h, ignore, ignore)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := time.Duration(-1), time.Duration(0)
	for _, op := range h.All() {
		if op.Process >= 0 {
			if begin < 0 {
				begin = op.Time
			}
			end = op.Time
		}
	}
	c := map[string]int64{"main_us": (end - begin).Microseconds(), "calls": int64(len(calls)), "refused": 0}
	holds := func(at time.Duration) (some, few bool) {
		hit := map[string]bool{}
		few = true
		for _, s := range spans {
			if s.From > at || s.To < at || s.From > end {
				continue
			}
			some = true
			switch detail := string(s.Detail); {
			case strings.Contains(detail, `[["n1"],`) || strings.Contains(detail, `{"nodes":["n1"]}`):
				hit["n1"] = true
			case strings.Contains(detail, `"n3"}`):
				hit["n3"] = true
			case strings.Contains(detail, `"order"`):
				hit["n1"], hit["n2"] = true, true
			default:
				few = false
			}
		}
		return some, some && few && len(hit) <= 1
	}
	total := map[string]int64{}
	good := map[string]int64{}
	var done []time.Duration
	var answers []histories.Call[struct{}, struct{}]
	for _, call := range calls {
		some, few := holds(call.Invoked)
		names := []string{"no_fault"}
		if some {
			names = []string{"fault"}
		}
		if few {
			names = append(names, "minority")
		}
		refused := call.Type == histories.Fail && strings.Contains(string(call.Meta), "refused")
		for _, name := range names {
			total[name]++
			if call.Type == histories.OK || refused {
				good[name]++
			}
		}
		if call.Type == histories.OK || refused {
			answers = append(answers, call)
			done = append(done, call.Completed)
		}
		if refused {
			c["refused"]++
		}
	}
	for name, n := range total {
		c[name+"_answered_permille"] = good[name] * 1000 / n
		c[name+"_calls"], c[name+"_answered"] = n, good[name]
	}
	c["ok"] = int64(len(done)) - c["refused"]
	among := func(from, to time.Duration) (n int) { // after from, up to to
		for _, at := range done {
			if from < at && at <= to {
				n++
			}
		}
		return n
	}
	for _, from := range append([]time.Duration{begin}, done...) {
		next := end
		for _, at := range done {
			if at > from {
				next = min(next, at)
			}
		}
		gap, at := (next - from).Microseconds(), from.Microseconds()
		if gap > c["longest_gap_us"] || gap == c["longest_gap_us"] && at < c["longest_gap_at_us"] {
			c["longest_gap_us"], c["longest_gap_at_us"] = gap, at
		}
	}
	window := max(250*time.Millisecond, 20*(end-begin)/time.Duration(len(done)))
	var quiet []int
	for from := begin; from+window <= end; from += window {
		free := true
		for _, s := range spans {
			free = free && (s.From > from+window || s.To < from)
		}
		if free {
			quiet = append(quiet, among(from, from+window))
		}
	}
	slices.Sort(quiet)
	enough := 0
	if len(quiet) >= 4 {
		normal := quiet[(len(quiet)+1)/2-1]
		c["window_us"] = window.Microseconds()
		c["answers_per_second"] = int64(math.Round(float64(normal) / window.Seconds()))
		enough = int(math.Ceil(float64(normal) * 9 / 10))
	}
	times := map[string][]time.Duration{}
	since := func(name string, t time.Duration) {
		first, back := histories.Never, histories.Never
		for _, call := range answers {
			if call.Invoked > t {
				first = min(first, call.Completed-t)
			}
		}
		for _, moment := range append(slices.Clone(done), t+window) { // windows begin at t, or end there
			if from := moment - window; from >= t && among(from, from+window) >= enough {
				back = min(back, from-t)
			}
		}
		for of, took := range map[string]time.Duration{"answer": first, "90": back} {
			switch {
			case of == "90" && enough == 0:
			case took == histories.Never:
				c[name+"_"+of+"_unseen"]++
			default:
				times[name+"_"+of] = append(times[name+"_"+of], took)
			}
		}
	}
	for _, s := range spans {
		if s.From <= end {
			since("begin", s.From)
		}
		if healed := h.At(h.Pair(s.End)).Time; healed <= end && s.From <= end {
			since("heal", healed)
		}
	}
	for name, all := range times {
		slices.Sort(all)
		for as, part := range map[string]float64{"min": 0, "median": 0.5, "p90": 0.9, "max": 1} {
			at := max(0, int(math.Ceil(part*float64(len(all))))-1)
			c[name+"_"+as+"_us"] = all[at].Microseconds()
		}
	}
	return c
}

func TestMeasurementsAgreeWithANaiveSecondImplementation(t *testing.T) {
	known := map[string]int{}
	for seed := range uint64(300) {
		h := random(rand.New(rand.NewPCG(seed, 0))).history(t)
		got, want := measured(t, h).Counts, naive(t, h)
		for name := range want {
			if got[name] != 0 {
				known[name]++
			}
		}
		if !maps.Equal(got, want) {
			t.Fatalf("seed %d: got\n%v, want\n%v", seed, got, want)
		}
	}
	for _, name := range []string{
		"begin_answer_median_us", "begin_90_median_us", "heal_90_p90_us", "heal_answer_unseen", "begin_90_unseen", "minority_answered_permille", "answers_per_second", "refused",
	} {
		if known[name] < 20 {
			t.Errorf("%s is known of %d histories", name, known[name])
		}
	}
}

// TestTimesScale stretches a history of a slow system.
func TestTimesScale(t *testing.T) {
	compared := 0
	for seed := range uint64(50) {
		a := random(rand.New(rand.NewPCG(seed, 1)))
		before := measured(t, a.stretched(64).history(t)).Counts // windows are longer than the least by now
		after := measured(t, a.stretched(3*64).history(t)).Counts
		for name, value := range before {
			factor := int64(1)
			switch {
			case name == "window_us" || name == "answers_per_second" || strings.Contains(name, "_90"):
				continue // see below
			case strings.HasSuffix(name, "_us"):
				factor = 3
			}
			if after[name] != factor*value {
				t.Errorf("seed %d: %s is %d, and was %d", seed, name, after[name], value)
			}
		}
		// A window is a whole number of nanoseconds, which is rounded down.
		for name, value := range before {
			if strings.Contains(name, "_90") && strings.HasSuffix(name, "_us") && max(after[name]-3*value, 3*value-after[name]) <= 1 {
				compared++
			}
		}
	}
	if compared < 100 {
		t.Errorf("of the times until throughput was back only %d scaled", compared)
	}
}

func (t track) stretched(by time.Duration) track {
	t = slices.Clone(t)
	for i := range t {
		t[i].Time *= by
	}
	return t
}

func TestOneMoreAnswerNeverLengthensTheLongestGap(t *testing.T) {
	shorter := 0
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 2))
		a := random(r)
		h := a.history(t)
		before := measured(t, h).Counts["longest_gap_us"]
		for range 5 {
			at := 2*time.Second + time.Duration(r.Int64N(int64(4*time.Second))).Truncate(time.Microsecond)
			more := slices.Clone(a)
			more.call(at+301, at+302, 9999, histories.OK, "n1")
			after := measured(t, more.history(t)).Counts["longest_gap_us"]
			if after > before {
				t.Fatalf("seed %d: %d µs, and was %d", seed, after, before)
			}
			if after < before {
				shorter++
			}
		}
	}
	if shorter == 0 {
		t.Error("it never fell either")
	}
}

// TestNodesAreMeasuredLikeAClusterOfTheirOwn: what others answer does not matter.
func TestNodesAreMeasuredLikeAClusterOfTheirOwn(t *testing.T) {
	var a track
	a.steady(0, 6*time.Second, 10*time.Millisecond)
	a.fault(1, "kill:one", `{"nodes":["n2"]}`, 3*time.Second+7*time.Millisecond, 4*time.Second+7*time.Millisecond)
	for at := 5 * time.Millisecond; at < 6*time.Second; at += 20 * time.Millisecond {
		if at < 3*time.Second || at > 4500*time.Millisecond {
			a.call(at, at+1, 1, histories.OK, "n2")
		}
	}
	r := measured(t, a.history(t))
	by := map[string]map[string]int64{}
	for _, group := range r.Parts {
		for _, p := range group.Parts {
			by[group.Name+" "+p.Name] = p.Counts
		}
	}
	if got := slices.Sorted(maps.Keys(by)); fmt.Sprint(got) != "[by fault kill by node n1 by node n2]" {
		t.Fatalf("got %q", got)
	}
	n1, n2 := by["by node n1"], by["by node n2"]
	if n1["longest_gap_us"] != 10_000 || n1["begin_90_max_us"] != 0 || n1["answers_per_second"] != 100 {
		t.Errorf("n1: got %v", n1)
	}
	if n2["begin_answer_max_us"] != 1_498_000 || n2["heal_answer_max_us"] != 498_000 || n2["longest_gap_us"] != 1_520_000 {
		t.Errorf("n2: got %v", n2)
	}
	if got := by["by fault kill"]["begin_answer_max_us"]; got != r.Counts["begin_answer_max_us"] {
		t.Errorf("the only fault took %d µs, and all %d", got, r.Counts["begin_answer_max_us"])
	}
}

func BenchmarkAvailability(b *testing.B) {
	var a track
	a.steady(0, 200*time.Second, time.Millisecond)
	for i := range 200 {
		at := time.Duration(i)*time.Second + 300*time.Microsecond
		a.fault(i, "kill", `{"nodes":["n1"]}`, at, at+500*time.Millisecond)
	}
	h := a.history(b)
	for b.Loop() {
		measured(b, h)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(h.Len()/2), "ns/call")
}

// TestAnswersAreThoseThatAreMeasured: who shows times fault by fault shows those of which
// the checker tells the extremes.
func TestAnswersAreThoseThatAreMeasured(t *testing.T) {
	h := parse(t, `
		0 invoke write x=1
		0 ok write node=n1
		nemesis invoke partition {"id":1,"fault":"partition","detail":{"groups":[["n3"],["n1","n2"]]}}
		nemesis info partition
		0 invoke write x=2
		0 fail write error=no-leader
		1 invoke cas x=[1,2]
		0 invoke read x
		0 ok read x=1
		1 fail cas meta={"current":3}
		nemesis invoke heal {"id":1,"fault":"partition"}
		nemesis info heal
		0 invoke read x
		0 ok read x=1
		nemesis invoke recover {}
		0 invoke read x
		0 ok read x=1`)
	result, err := checker.Availability().Check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	spans, err := h.Faults()
	if err != nil || len(spans) != 1 {
		t.Fatalf("%v, %v", spans, err)
	}
	answers := checker.AnsweredIn(h)
	for name, since := range map[string]time.Duration{"begin": spans[0].From, "heal": h.At(h.Pair(spans[0].End)).Time} {
		took, seen := answers.After(since)
		if want := result.Counts[name+"_answer_max_us"]; !seen || took.Microseconds() != want || want == 0 {
			t.Errorf("after %s: %v, %v; want %d µs", name, took, seen, want)
		}
	}
	if _, to, began := checker.MainPhase(h); !began || to != 14*time.Millisecond {
		t.Errorf("the main phase ends at %v", to)
	} else if _, seen := answers.After(to); seen {
		t.Error("an answer after the main phase is one of it")
	}
	if hit := checker.Hit(spans[0].Fault); !slices.Equal(hit, []string{"n3"}) {
		t.Errorf("it hit %v", hit)
	}
	held := checker.Held(spans)
	if held(3*time.Millisecond) || !held(4*time.Millisecond) || !held(11*time.Millisecond) || held(12*time.Millisecond) {
		t.Error("the fault held at other times than from 4 to 11 ms")
	}
}

// TestAHistoryOfCenturiesIsMeasured: in as many windows as its calls are worth.
func TestAHistoryOfCenturiesIsMeasured(t *testing.T) {
	var ops []histories.Op
	const calls = 100
	for i := range 2 * calls {
		typ := histories.Invoke
		if i%2 == 1 {
			typ = histories.OK
		}
		at := time.Duration(math.MaxInt64/(2*calls)) * time.Duration(i+1)
		ops = append(ops, histories.Op{Index: i, Time: at, Type: typ, F: "read"})
	}
	h, err := histories.FromOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	r, err := checker.Availability().Check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Counts["window_us"]; got < math.MaxInt64/1000/6 || got > math.MaxInt64/1000/4 {
		t.Errorf("a window is %d µs: %v", got, r.Counts)
	}
}
