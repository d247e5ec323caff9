package checker

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// Availability returns a checker that measures how available the system was, and
// judges nothing: it is Valid whatever it measures. It looks at the main phase alone,
// from the first to the last op of a client before the nemesis waits for the recovery.
//
// A call was answered if it succeeded, or was refused for what the system holds: who is
// told that a lock is held, or that it compares with another value, met a system that is
// there. So says the meta of its completion, in "refused" or "current". Another failure
// is none, since most come of a system that cannot answer.
//
// Its counts, of which those are left out that could not be measured:
//
//   - main_us is how long the main phase took; calls, ok and refused are what was called,
//     and what of it succeeded, or was refused.
//   - longest_gap_us is the longest time in which no call was answered, from
//     longest_gap_at_us on.
//   - no_fault_answered_permille, fault_answered_permille and minority_answered_permille
//     are the shares of the calls that were answered of those invoked while no fault held,
//     while some did, and while those that held had hit less than half of the nodes. The
//     latter is known of faults whose details name nodes, or groups that have none in
//     common. Beside each share are what it is made of: no_fault_calls and
//     no_fault_answered, and so on.
//   - answers_per_second is the throughput without faults, window_us what it is measured
//     in: the median of the windows that no fault touches, if there are enough. It is 0 of a
//     system that stands still for most of the time.
//   - begin_answer_*_us is the time from when a fault had begun to the end of the first
//     call that was invoked after that and answered, and begin_90_*_us the time until
//     the throughput of the following window was 90 % of that without faults, 0 if it
//     had not fallen below. heal_answer_*_us and heal_90_*_us are the same from when it
//     was healed. Each has min, median, p90 and max over the faults, by nearest rank; and
//     begin_answer_unseen and so on count the faults after which the main phase ended
//     first.
//
// Its samples are these times one by one: begin_answer_us, begin_90_us, heal_answer_us and
// heal_90_us; and of those that are unseen the time that it took at least, begin_answer_least_us
// and so on. That is up to when somebody called last. What was under way then may have been
// given up, and when nobody calls nobody is answered: that says nothing of the system. For the
// same reason gap_us, the longest time without an answer, goes no further.
//
// Its part "by fault" has parts with the times after faults of each family, their samples, and
// the share of calls that were answered of those invoked while such a fault held: calls,
// answered and answered_permille. Its part "by node" has parts with all of the counts above for
// the calls that a node answered.
func Availability() Checker { return Func(availability) }

const (
	// A window of throughput is long enough for its rate to mean something: this long
	// at least, and with so many calls that are answered in it on average.
	minWindow    = 250 * time.Millisecond
	callsAWindow = 20
	// minQuiet is of how many windows without faults a median is taken at least.
	minQuiet = 4
)

func availability(_ context.Context, h *histories.History) (Result, error) {
	spans, err := h.Faults()
	if err != nil {
		return Result{}, err
	}
	all, err := histories.Calls(h, nothing, nothing)
	if err != nil {
		return Result{}, err
	}
	result := Result{Name: "availability", Verdict: Valid}
	phase, began := mainPhase(h)
	if !began {
		result.Note = "nobody called"
		return result, nil
	}
	var calls []probe
	for _, c := range all {
		if c.Invoked <= phase.to {
			calls = append(calls, probe{c, answered(c.Type, c.Meta)})
		}
	}
	spans = slices.DeleteFunc(spans, func(s histories.FaultSpan) bool {
		return s.From > phase.to || s.Failed != "" && s.Acted == 0
	})
	m := &measurement{
		phase: phase, faults: intervals(spans), minority: minority(calls, spans),
		begins: map[string][]time.Duration{}, heals: map[string][]time.Duration{},
	}
	families := map[string][]histories.FaultSpan{}
	for _, s := range spans {
		family, _, _ := strings.Cut(s.Name, ":")
		families[family] = append(families[family], s)
		m.begins[family] = append(m.begins[family], s.From)
		if s.End < 0 || s.HealFailed != "" {
			continue
		}
		if healed := h.At(h.Pair(s.End)).Time; healed <= phase.to {
			m.heals[family] = append(m.heals[family], healed)
		}
	}

	cluster := m.measure(calls)
	result.Counts = cluster.counts
	result.Note = cluster.note()
	for _, w := range cluster.waits {
		result.Sample(w.name, w.took, w.least)
	}
	byFault := Result{Name: "by fault", Verdict: Valid}
	for _, family := range slices.Sorted(maps.Keys(families)) {
		part := Result{Name: family, Verdict: Valid, Counts: map[string]int64{"faults": int64(len(m.begins[family]))}}
		share(part.Counts, "", calls, intervals(families[family]).contain)
		for _, w := range cluster.after(part.Counts, m.begins[family], m.heals[family]) {
			part.Sample(w.name, w.took, w.least)
		}
		part.Note = Count(part.Counts["faults"], "fault")
		byFault.Parts = append(byFault.Parts, part)
	}
	byNode := Result{Name: "by node", Verdict: Valid}
	nodes := map[string][]probe{}
	for _, c := range calls {
		if c.Node != "" {
			nodes[c.Node] = append(nodes[c.Node], c)
		}
	}
	for _, node := range slices.Sorted(maps.Keys(nodes)) {
		s := m.measure(nodes[node])
		byNode.Parts = append(byNode.Parts, Result{Name: node, Verdict: Valid, Note: s.note(), Counts: s.counts})
	}
	for _, group := range []Result{byFault, byNode} {
		if len(group.Parts) > 0 {
			result.Parts = append(result.Parts, group)
		}
	}
	return result, nil
}

// Answered says whether the completion of a client's call shows that the system was there,
// as [Availability] has it: the call succeeded, or was refused for what the system holds.
func Answered(completion histories.Op) bool { return answered(completion.Type, completion.Meta) }

func answered(t histories.Type, meta json.RawMessage) bool {
	return t == histories.OK || t == histories.Fail && refused(meta)
}

// Answers are the calls of a main phase that were answered, as [Availability] counts them.
type Answers struct {
	invoked  []time.Duration // when they were invoked, ascending
	earliest []time.Duration // of those from each of these on, when the first completed
}

// AnsweredIn returns the calls of the main phase of h that were answered in it.
func AnsweredIn(h *histories.History) Answers {
	var a Answers
	phase, _ := mainPhase(h)
	for i := range h.Len() {
		op := h.At(i)
		if op.Time > phase.to {
			break
		}
		if op.Process < 0 || op.Type != histories.Invoke || h.Pair(i) < 0 {
			continue
		}
		if done := h.At(h.Pair(i)); done.Time <= phase.to && Answered(done) {
			a.add(op.Time, done.Time)
		}
	}
	a.settle()
	return a
}

// add adds a call; calls come in the order of their invocations, and settle is called
// behind the last.
func (a *Answers) add(invoked, completed time.Duration) {
	a.invoked = append(a.invoked, invoked)
	a.earliest = append(a.earliest, completed)
}

func (a *Answers) settle() {
	for i := len(a.earliest) - 2; i >= 0; i-- {
		a.earliest[i] = min(a.earliest[i], a.earliest[i+1])
	}
}

// After returns how long after since the first call completed that was invoked then and
// answered; seen is false if the main phase ended before one did.
func (a *Answers) After(since time.Duration) (took time.Duration, seen bool) {
	i := sort.Search(len(a.invoked), func(i int) bool { return a.invoked[i] > since })
	if i == len(a.invoked) {
		return 0, false
	}
	return a.earliest[i] - since, true
}

// A probe is a call of which only the outcome matters.
type probe struct {
	histories.Call[struct{}, struct{}]
	answered bool
}

// refused says whether a call that failed did so for what the system holds. That may be
// nothing: a current null is a reason, too.
func refused(meta json.RawMessage) bool {
	var why struct {
		Refused string          `json:"refused"`
		Current json.RawMessage `json:"current"`
	}
	return len(meta) > 0 && json.Unmarshal(meta, &why) == nil && (why.Refused != "" || why.Current != nil)
}

// MainPhase returns the times of the first and the last op of a client before the nemesis
// waits for the recovery; without any of them there was no such phase.
func MainPhase(h *histories.History) (from, to time.Duration, began bool) {
	phase, began := mainPhase(h)
	return phase.from, phase.to, began
}

// mainPhase returns when clients were at work before the recovery.
func mainPhase(h *histories.History) (phase interval, began bool) {
	for _, op := range h.All() {
		switch {
		case op.Process == histories.Nemesis && op.F == histories.Recover:
			return phase, began
		case op.Process < 0:
		case !began:
			phase, began = interval{op.Time, op.Time}, true
		default:
			phase.to = op.Time
		}
	}
	return phase, began
}

// A measurement is what the calls of the cluster and of each node are measured by.
type measurement struct {
	phase            interval
	faults, minority timeline
	begins, heals    map[string][]time.Duration // by family
}

// A series is what came of some calls.
type series struct {
	counts map[string]int64

	answers Answers
	done    []time.Duration // when those that were answered completed, ascending

	phase  interval
	asked  time.Duration // when the last of the calls was invoked
	window time.Duration
	enough int   // completions in a window at 90 % of the throughput; 0: not known
	full   []int // for each of done the next one, itself included, that begins enough of them

	waits []wait
}

// A wait is how long something took each time, such as an answer after a fault.
type wait struct {
	name  string
	took  []time.Duration // ascending
	least []time.Duration // where the end was not seen
}

// measure measures calls, which are in the order of their invocations.
func (m *measurement) measure(calls []probe) *series {
	s := &series{counts: map[string]int64{"main_us": m.phase.length().Microseconds()}, phase: m.phase}
	ok := int64(0)
	for _, c := range calls {
		s.asked = c.Invoked
		if c.answered && c.Completed <= m.phase.to {
			s.answers.add(c.Invoked, c.Completed)
			s.done = append(s.done, c.Completed)
			if c.Type == histories.OK {
				ok++
			}
		}
	}
	s.counts["calls"], s.counts["ok"], s.counts["refused"] = int64(len(calls)), ok, int64(len(s.done))-ok
	s.answers.settle()
	slices.Sort(s.done)

	share(s.counts, "no_fault_", calls, func(at time.Duration) bool { return !m.faults.contain(at) })
	share(s.counts, "fault_", calls, m.faults.contain)
	share(s.counts, "minority_", calls, m.minority.contain)
	s.gap()
	s.throughput(m.faults)
	s.waits = append(s.waits, s.after(s.counts, flat(m.begins), flat(m.heals))...)
	return s
}

func flat(by map[string][]time.Duration) (all []time.Duration) {
	for _, times := range by {
		all = append(all, times...)
	}
	return all
}

func (i interval) length() time.Duration { return i.to - i.from }

// share counts which part was answered of the calls that were invoked at such times.
func share(counts map[string]int64, prefix string, calls []probe, among func(at time.Duration) bool) {
	all, some := int64(0), int64(0)
	for _, c := range calls {
		if among(c.Invoked) {
			all++
			if c.answered {
				some++
			}
		}
	}
	if all > 0 {
		counts[prefix+"calls"], counts[prefix+"answered"] = all, some
		counts[prefix+"answered_permille"] = some * 1000 / all
	}
}

// gap finds the longest time in which nothing was answered; and the longest of those that
// ended with an answer, or when somebody called last.
func (s *series) gap() {
	longest := interval{s.phase.from, s.phase.from}
	last := s.phase.from
	for _, t := range s.done {
		if t-last > longest.length() {
			longest = interval{last, t}
		}
		last = t
	}
	s.waits = append(s.waits, wait{name: "gap", took: []time.Duration{max(longest.length(), s.asked-last)}})
	if s.phase.to-last > longest.length() {
		longest = interval{last, s.phase.to}
	}
	s.counts["longest_gap_us"] = longest.length().Microseconds()
	s.counts["longest_gap_at_us"] = longest.from.Microseconds()
}

// throughput finds what it is without faults, and when there is enough of it.
func (s *series) throughput(faults timeline) {
	if len(s.done) == 0 {
		return
	}
	s.window = s.phase.length()
	if n := time.Duration(len(s.done)); n > callsAWindow { // in parts, as the whole may be centuries
		s.window = s.window/n*callsAWindow + s.window%n*callsAWindow/n
	}
	s.window = max(s.window, minWindow)
	var quiet []int64
	for from := s.phase.from; s.phase.to-from >= s.window; from += s.window {
		if !faults.touch(interval{from, from + s.window}) {
			quiet = append(quiet, int64(s.upTo(from+s.window)-s.upTo(from)))
		}
	}
	if len(quiet) < minQuiet {
		return
	}
	slices.Sort(quiet)
	normal := rank(quiet, 50)
	s.counts["window_us"] = s.window.Microseconds()
	s.counts["answers_per_second"] = int64(math.Round(float64(normal) / s.window.Seconds()))
	if normal == 0 { // whatever comes is more
		return
	}
	s.enough = int((normal*9 + 9) / 10)
	s.full = make([]int, len(s.done))
	next := len(s.done)
	for i := len(s.done) - 1; i >= 0; i-- {
		if last := i + s.enough - 1; last < len(s.done) && s.done[last]-s.done[i] < s.window {
			next = i
		}
		s.full[i] = next
	}
}

// upTo returns how many had completed by t.
func (s *series) upTo(t time.Duration) int {
	return sort.Search(len(s.done), func(i int) bool { return s.done[i] > t })
}

// touch says whether t and i have a moment in common.
func (t timeline) touch(i interval) bool {
	at := sort.Search(len(t), func(n int) bool { return t[n].to >= i.from })
	return at < len(t) && t[at].from <= i.to
}

// back returns how long after since the first window begins that has enough
// completions. The earliest that has a certain run of them ends with it.
func (s *series) back(since time.Duration) (took time.Duration, seen bool) {
	i := s.upTo(since)
	if i == len(s.done) || s.full[i] == len(s.done) {
		return 0, false
	}
	last := s.done[s.full[i]+s.enough-1]
	return max(0, last-s.window-since), true
}

// after returns what was measured after faults that began and were healed then, and adds to
// counts what is to be said of it.
func (s *series) after(counts map[string]int64, begins, heals []time.Duration) (waits []wait) {
	// add takes up to when an end would have been seen, too.
	add := func(name string, since []time.Duration, measured func(time.Duration) (time.Duration, bool), seenTo time.Duration) {
		w := wait{name: name}
		for _, t := range since {
			if took, seen := measured(t); seen {
				w.took = append(w.took, took)
			} else {
				w.least = append(w.least, max(0, seenTo-t))
			}
		}
		waits = append(waits, w)
		if len(w.least) > 0 {
			counts[name+"_unseen"] = int64(len(w.least))
		}
		if len(w.took) == 0 {
			return
		}
		slices.Sort(w.took)
		for as, percent := range map[string]int{"min": 0, "median": 50, "p90": 90, "max": 100} {
			counts[name+"_"+as+"_us"] = rank(w.took, percent).Microseconds()
		}
	}
	add("begin_answer", begins, s.answers.After, s.asked)
	add("heal_answer", heals, s.answers.After, s.asked)
	if s.enough > 0 {
		add("begin_90", begins, s.back, s.asked-s.window)
		add("heal_90", heals, s.back, s.asked-s.window)
	}
	return waits
}

// rank returns the smallest of ascending values that so many per cent do not exceed.
func rank[T any](values []T, percent int) T {
	return values[max(0, (len(values)*percent+99)/100-1)]
}

// note says in short what can be said so.
func (s *series) note() string {
	us := func(name string) string { return Brief(time.Duration(s.counts[name]) * time.Microsecond) }
	var shares []string
	for _, share := range []struct{ name, while string }{
		{"no_fault", "without faults"}, {"fault", "under faults"}, {"minority", "with a minority hit"},
	} {
		if n, ok := s.counts[share.name+"_answered_permille"]; ok {
			shares = append(shares, fmt.Sprintf("%d.%d %% %s", n/10, n%10, share.while))
		}
	}
	return fmt.Sprintf("%s without an answer at most, from %s on; answered: %s",
		us("longest_gap_us"), us("longest_gap_at_us"), strings.Join(shares, ", "))
}

// minority returns the time in which faults held, and had hit less than half of the
// nodes together, as far as their details say whom they hit.
func minority(calls []probe, spans []histories.FaultSpan) timeline {
	type edge struct {
		at    time.Duration
		begin bool
		hit   []string // none: nobody knows
	}
	nodes := map[string]bool{}
	for _, c := range calls {
		if c.Node != "" {
			nodes[c.Node] = true
		}
	}
	var edges []edge
	for _, s := range spans {
		hit, all := hits(s.Detail)
		for _, node := range all {
			nodes[node] = true
		}
		edges = append(edges, edge{s.From, true, hit})
		if s.To != histories.Never {
			edges = append(edges, edge{s.To, false, hit})
		}
	}
	slices.SortStableFunc(edges, func(a, b edge) int { return cmp.Compare(a.at, b.at) })
	held := map[string]int{} // faults that have hit a node
	vague := 0               // faults of which nobody knows
	var t timeline
	open := false
	for _, e := range edges {
		by := 1
		if !e.begin {
			by = -1
		}
		if e.hit == nil {
			vague += by
		}
		for _, node := range e.hit {
			if held[node] += by; held[node] == 0 {
				delete(held, node)
			}
		}
		few := vague == 0 && len(held) > 0 && 2*len(held) < len(nodes)
		switch {
		case few && !open:
			t = append(t, interval{e.at, histories.Never})
		case !few && open:
			t[len(t)-1].to = e.at
		}
		open = few
	}
	return t
}

// Hit returns the nodes that a fault has hit by its detail, sorted, as far as that says
// so: of groups that cannot reach each other all but the largest.
func Hit(f histories.Fault) []string {
	hit, _ := hits(f.Detail)
	slices.Sort(hit)
	return slices.Compact(hit)
}

// hits returns which nodes a fault has hit by its detail, none if that does not say,
// and all nodes that it names.
func hits(detail json.RawMessage) (hit, all []string) {
	var d struct {
		Shape  string     `json:"shape"`
		Order  []string   `json:"order"`
		Nodes  []string   `json:"nodes"`
		Node   string     `json:"node"`
		Groups [][]string `json:"groups"`
	}
	if json.Unmarshal(detail, &d) != nil {
		return nil, nil
	}
	if d.Shape == "client" && len(d.Groups) == 2 { // the first is the tester
		return d.Groups[1], d.Groups[1]
	}
	var largest []string
	members, seen := 0, map[string]bool{}
	for _, group := range d.Groups {
		for _, node := range group {
			seen[node] = true
		}
		members += len(group)
		if len(group) > len(largest) {
			largest = group
		}
	}
	all = slices.Concat(d.Order, d.Nodes, slices.Collect(maps.Keys(seen)))
	switch {
	case len(seen) > 0 && len(seen) < members: // nodes that see several groups: who is cut off?
	case len(seen) > 0:
		for node := range seen {
			if !slices.Contains(largest, node) {
				hit = append(hit, node)
			}
		}
	case len(d.Nodes) > 0:
		hit = slices.Clone(d.Nodes)
	case d.Node != "":
		hit, all = []string{d.Node}, append(all, d.Node)
	}
	return hit, all
}
