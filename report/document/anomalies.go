package document

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/report"
	"github.com/hacheck/hacheck/workloads"
)

// What bounds the anomalies of a document.
const (
	maxAnomalies = 200
	maxEvidence  = 400 // calls of one
	maxAround    = 400 // calls of its key, of the first anomalies
	fewAround    = 40  // the same of others: who has many has one bug, as a rule
	firstAround  = 8
	maxTracks    = 12 // lanes of one

	maxOrders    = 20 // anomalies that a search is spent on
	orderTime    = time.Second
	ordersTime   = 5 * time.Second // for all of them
	maxPartials  = 3
	maxSteps     = 150 // of one, the last
	maxStateText = 300 // bytes

	// marginPart is which part of the time of an anomaly is shown on either side of it.
	marginPart = 12
	// leastSteps is the least of it, in steps of a counter.
	leastSteps = 4
)

// anomalies adds what makes the result invalid.
func (b *builder) anomalies(ctx context.Context) {
	proven := report.Proof(b.Result)
	if more := len(proven) - maxAnomalies; more > 0 {
		b.doc.Note = strings.TrimPrefix(fmt.Sprintf("%s; of %d anomalies the first %d are shown", b.doc.Note, len(proven), maxAnomalies), "; ")
		proven = proven[:maxAnomalies]
	}
	keys := newKeys(b.History)
	shown := make([][]report.Call, len(proven))
	for i, p := range proven {
		shown[i] = report.Calls(b.History, p.Ops)
		keys.want(shown[i])
	}
	keys.find(b.History)
	for i, p := range proven {
		around := maxAround
		if i >= firstAround {
			around = fewAround
		}
		b.doc.Anomalies = append(b.doc.Anomalies, b.anomaly(p, shown[i], keys, around))
	}
	b.orders(ctx, proven)
}

// anomaly tells of one, of which these are all calls, with so many of its key around them.
func (b *builder) anomaly(p report.Proven, calls []report.Call, keys *keys, around int) Anomaly {
	a := Anomaly{Checker: p.Part.Name, Kind: p.Kind, Note: clip(p.Note, maxProse)}
	from, to := extent(calls)
	shownFrom, shownTo := b.margins(from, to)
	a.From, a.To = b.unit.of(shownFrom), b.unit.of(shownTo)
	if key, keyed := keys.of(calls); keyed {
		a.Key = key
		a.Around, a.Cut = b.around(keys.calls[key], calls, around)
	}
	a.Tracks = b.lanes(p, calls, shownFrom, shownTo)
	if len(calls) > 0 {
		a.Meanwhile = b.meanwhile(from, to)
		b.moments = append(b.moments, moment{at: to, anomaly: true})
	}
	if more := len(calls) - maxEvidence; more > 0 {
		calls, a.Earlier = calls[more:], more
	}
	for _, c := range calls {
		a.Calls = append(a.Calls, b.call(c, true, maxWords))
	}
	picture := checker.PictureOf(a.Key)
	if p.Part.Artifacts[picture] != nil && b.Where != nil && b.Where(picture) != "" {
		a.Artifact = picture
	}
	return a
}

// call returns an operation in so many bytes of words.
func (b *builder) call(c report.Call, witness bool, words int) Call {
	from := b.unit.of(c.Invoked.Time)
	said := Call{
		Invoke: c.Invoked.Index, Complete: -1, From: from, To: Open, Process: c.Invoked.Process.String(),
		Node: c.Node(), F: c.Invoked.F, What: clip(c.What(), words), Outcome: outcomeNames[info], Witness: witness,
	}
	if c.Completed.Type != 0 {
		said.Complete = c.Completed.Index
	}
	if at, known := c.Ended(); known {
		said.To, said.Outcome = b.unit.of(at), c.Completed.Type.String()
	}
	if c.Invoked.Type == histories.Event {
		said.To, said.Outcome = from, histories.Event.String()
	}
	return said
}

// extent returns when calls took place, as far as that is known.
func extent(calls []report.Call) (from, to time.Duration) {
	for i, c := range calls {
		if i == 0 {
			from, to = c.Invoked.Time, c.Invoked.Time
		}
		from, to = min(from, c.Invoked.Time), max(to, c.Invoked.Time)
		if at, known := c.Ended(); known {
			to = max(to, at)
		}
	}
	return from, to
}

// margins returns a time with something before and behind it, within the run.
func (b *builder) margins(from, to time.Duration) (time.Duration, time.Duration) {
	least := time.Millisecond
	if !b.clock() {
		least = leastSteps
	}
	more := max((to-from)/marginPart, least)
	return max(from-more, 0), to + min(more, b.duration()-to)
}

// meanwhile returns which of the faults that are shown were in force.
func (b *builder) meanwhile(from, to time.Duration) (faults []int) {
	for i, s := range b.spans {
		if held(s) && s.From <= to && until(s) >= from {
			faults = append(faults, i)
		}
	}
	return faults
}

// around returns the calls of a key, of which the indices of the invocations are given, or
// those that are closest to the evidence, so many at most; then it is cut.
func (b *builder) around(all []int32, evidence []report.Call, most int) (around []Call, cut bool) {
	witness := map[int]bool{}
	var at []int // positions of the evidence in all
	for _, c := range evidence {
		witness[c.Invoked.Index] = true
		if i, found := slices.BinarySearch(all, int32(c.Invoked.Index)); found {
			at = append(at, i)
		}
	}
	if more := len(at) - most; more > 0 {
		at = at[more:]
	}
	// near returns the positions that are no further than that from some evidence, or the
	// first of them if there are too many.
	near := func(far int) (near []int) {
		next := 0
		for _, i := range at {
			for next = max(next, i-far); next <= min(i+far, len(all)-1) && len(near) <= most; next++ {
				near = append(near, next)
			}
		}
		return near
	}
	low, high := 0, min(len(all), most) // as far as there is room for
	for low < high {
		if middle := (low + high + 1) / 2; len(near(middle)) <= most {
			low = middle
		} else {
			high = middle - 1
		}
	}
	var ops []int
	for _, i := range near(low) {
		ops = append(ops, int(all[i]))
		if pair := b.History.Pair(int(all[i])); pair >= 0 {
			ops = append(ops, pair)
		}
	}
	for _, c := range report.Calls(b.History, ops) {
		around = append(around, b.call(c, witness[c.Invoked.Index], fewWords))
	}
	return around, len(around) < len(all)
}

// Keys are the histories of those keys that anomalies are about.
type keys struct {
	calls map[string][]int32 // the indices of invocations
	// numbers says that [1,2] is an argument of key 1, since all values look so; else it may
	// be one of two numbers.
	numbers bool
}

// typical is of how many calls the values are looked at, to tell what they are like.
const typical = 1_000

func newKeys(h *histories.History) *keys {
	k := &keys{calls: map[string][]int32{}, numbers: true}
	looked := 0
	for _, op := range h.All() {
		if op.Process < 0 || len(op.Value) == 0 {
			continue
		}
		if looked++; looked > typical {
			break
		}
		if _, _, err := workloads.ParseKeyed(op.Value); err != nil {
			k.numbers = false
			break
		}
	}
	return k
}

// key returns the key of a client's op.
func (k *keys) key(op histories.Op) (key string, keyed bool) {
	key, _, err := workloads.ParseKeyed(op.Value)
	if err != nil || !k.numbers && !isText(op.Value) {
		return "", false
	}
	return key, true
}

// isText says whether the first element of an array is a text.
func isText(array json.RawMessage) bool {
	return strings.HasPrefix(strings.TrimLeft(string(array[:min(len(array), 16)]), "[ \t\r\n"), `"`)
}

// of returns the key that all calls of clients among these are about, if there is one.
func (k *keys) of(calls []report.Call) (key string, keyed bool) {
	for _, c := range calls {
		if c.Invoked.Process < 0 {
			continue
		}
		its, has := k.key(c.Invoked)
		if !has || keyed && its != key {
			return "", false
		}
		key, keyed = its, true
	}
	return key, keyed
}

// want says that the history of what calls are about is to be found.
func (k *keys) want(calls []report.Call) {
	if key, keyed := k.of(calls); keyed {
		k.calls[key] = nil
	}
}

// find finds what is wanted, in one pass.
func (k *keys) find(h *histories.History) {
	if len(k.calls) == 0 {
		return
	}
	for i, op := range h.All() {
		if op.Process < 0 || op.Type != histories.Invoke {
			continue
		}
		if key, keyed := k.key(op); keyed {
			if calls, wanted := k.calls[key]; wanted {
				k.calls[key] = append(calls, int32(i))
			}
		}
	}
}

// orders adds how far an order of the calls gets, to the first anomalies that know.
func (b *builder) orders(ctx context.Context, proven []report.Proven) {
	ctx, cancel := context.WithTimeout(ctx, ordersTime)
	defer cancel()
	searched := 0
	for i, p := range proven {
		if p.Order == nil {
			continue
		}
		if searched++; searched > maxOrders || ctx.Err() != nil {
			return
		}
		b.doc.Anomalies[i].Order = b.order(ctx, p)
	}
}

func (b *builder) order(ctx context.Context, p report.Proven) *Order {
	ctx, cancel := context.WithTimeout(ctx, orderTime)
	defer cancel()
	found, err := p.Order(ctx)
	if err != nil || len(found.Partials) == 0 {
		return nil // the anomaly is proven without
	}
	witness := map[int]bool{}
	for _, c := range report.Calls(b.History, p.Ops) {
		witness[c.Invoked.Index] = true
	}
	partials := found.Partials[:min(len(found.Partials), maxPartials)]
	var used []int
	for _, part := range partials {
		for _, s := range part.Steps[max(0, len(part.Steps)-maxSteps):] {
			used = append(used, s.Op)
		}
		used = append(used, part.Stuck...)
	}
	if len(found.Calls) <= maxSteps {
		used = append(used, found.Calls...)
	}
	slices.Sort(used)
	used = slices.Compact(used)
	var ops []int
	for _, i := range used {
		if i < 0 || i >= b.History.Len() || b.History.At(i).Type != histories.Invoke {
			return nil // it is not of this history
		}
		ops = append(ops, i)
		if pair := b.History.Pair(i); pair >= 0 {
			ops = append(ops, pair)
		}
	}
	order := &Order{}
	for _, c := range report.Calls(b.History, ops) {
		order.Calls = append(order.Calls, b.call(c, witness[c.Invoked.Index], fewWords))
	}
	position := func(op int) int { // calls are in the order of their invocations
		at, _ := slices.BinarySearch(used, op)
		return at
	}
	for _, part := range partials {
		said := Partial{Initial: clip(part.Initial, maxStateText)}
		steps := part.Steps
		if more := len(steps) - maxSteps; more > 0 {
			said.Skipped, said.Initial = more, clip(steps[more-1].State, maxStateText)
			steps = steps[more:]
		}
		for _, s := range steps {
			said.Steps = append(said.Steps, Step{Call: position(s.Op), State: clip(s.State, maxStateText)})
		}
		for _, op := range part.Stuck {
			said.Stuck = append(said.Stuck, position(op))
		}
		order.Partials = append(order.Partials, said)
	}
	return order
}

// lanes returns the tracks that an anomaly is about, in the time that is shown: those whose names the
// values of its ops say, and those of what these were at then, as a machine is on a host.
func (b *builder) lanes(p report.Proven, calls []report.Call, from, to time.Duration) []Track {
	if len(b.Tracks) == 0 || len(calls) == 0 {
		return nil
	}
	named := map[string]bool{}
	for _, c := range calls {
		words(c.Invoked.Value, named)
		if c.Known {
			words(c.Completed.Value, named)
		}
	}
	var subjects []workloads.Track
	for _, t := range b.Tracks {
		if named[t.Name] || named[t.About()] {
			subjects = append(subjects, t)
		}
	}
	// Who looks at everything names everything: then it is what the sentence speaks of.
	if len(subjects) > maxTracks/2 {
		of := map[string]bool{}
		for _, word := range strings.FieldsFunc(p.Note, func(c rune) bool { return strings.ContainsRune(" ,;:()", c) }) {
			of[word] = true
		}
		spoken := slices.DeleteFunc(slices.Clone(subjects), func(t workloads.Track) bool {
			return !of[t.Name] && !of[t.About()]
		})
		if len(spoken) > 0 {
			subjects = spoken
		}
	}
	subjects = subjects[:min(len(subjects), maxTracks)]
	chosen := map[[2]string]bool{}
	var lanes []Track
	choose := func(t workloads.Track) {
		name := [2]string{t.Group, t.Name}
		if chosen[name] || len(lanes) == maxTracks {
			return
		}
		chosen[name] = true
		lanes = append(lanes, b.clipped(t, from, to))
	}
	at := map[string]bool{}
	for _, t := range subjects {
		choose(t)
		for _, s := range t.Slices {
			if s.From <= to && s.To >= from {
				at[s.Class] = true
			}
		}
	}
	for _, t := range b.Tracks {
		if t.Node != "" && at[t.Node] {
			choose(t)
		}
	}
	return lanes
}

// clipped returns what a track was from one time to another.
func (b *builder) clipped(t workloads.Track, from, to time.Duration) Track {
	var within []workloads.Slice
	for _, s := range t.Slices {
		if s.From <= to && s.To >= from {
			s.From, s.To = max(s.From, from), min(s.To, to)
			within = append(within, s)
		}
	}
	t.Slices = within
	return b.track(t)
}

// maxValue bounds the values that words are looked for in.
const maxValue = 64 << 10

// words adds the texts that stand in a value, but for the names of fields.
func words(value json.RawMessage, into map[string]bool) {
	if len(value) > maxValue {
		return
	}
	var v any
	if json.Unmarshal(value, &v) == nil {
		texts(v, into)
	}
}

func texts(v any, into map[string]bool) {
	switch v := v.(type) {
	case string:
		into[v] = true
	case []any:
		for _, e := range v {
			texts(e, into)
		}
	case map[string]any:
		for _, e := range v {
			texts(e, into)
		}
	}
}
