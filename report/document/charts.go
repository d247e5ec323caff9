package document

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/nemesis"
)

// The sizes of charts.
const (
	maxBuckets    = 400
	minBuckets    = 20
	callsABucket  = 4 // on average, at least: else there are fewer buckets
	maxReadings   = 600
	maxPoints     = 5_000
	figures       = 4 // digits of a value: more than a chart shows
	clockFigures  = 7 // offsets of hours beside those of milliseconds
	maxPointsEach = maxPoints / 5
)

// charts adds the charts of which there is something to show. Of times that are no times
// nothing is.
func (b *builder) charts() {
	if !b.clock() {
		return
	}
	a := newAxis(b.duration(), b.calls())
	for _, c := range []Chart{
		b.latency(a), b.throughput(a), b.availability(a), b.recovery(), b.clocks(),
		b.network(), b.loss(), b.coverage(),
	} {
		if len(c.Lines) > 0 || len(c.Points) > 0 {
			b.doc.Charts = append(b.doc.Charts, c)
		}
	}
}

// An axis divides the time of a run into buckets.
type axis struct {
	width time.Duration
	n     int
}

func newAxis(duration time.Duration, calls int) axis {
	n := min(max(calls/callsABucket, minBuckets), maxBuckets)
	width := max(duration/time.Duration(n), time.Microsecond)
	if width*time.Duration(n) < duration {
		width++
	}
	return axis{width, n}
}

// bucket returns the one that holds t.
func (a axis) bucket(t time.Duration) int { return min(int(t/a.width), a.n-1) }

// x returns the middles of the buckets.
func (a axis) x() []Time {
	x := make([]Time, a.n)
	for i := range x {
		x[i] = unit(time.Microsecond).of(a.width*time.Duration(i) + a.width/2)
	}
	return x
}

// rounded returns v with so many digits: a page is read by people, and sent.
func rounded(v float64, digits int) *float64 {
	short, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', digits, 64), 64)
	if err != nil {
		return nil
	}
	return &short
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// latency returns how long calls took that succeeded, in quantiles, and a sample of all.
func (b *builder) latency(a axis) Chart {
	quantiles := []struct {
		name    string
		percent int
	}{{"p50", 50}, {"p95", 95}, {"p99", 99}, {"max", 100}}
	c := Chart{ID: "latency", Title: "Latency", Unit: "µs", Log: true, X: a.x(), Points: b.points()}
	for _, q := range quantiles {
		c.Lines = append(c.Lines, Line{Name: q.name, Class: q.name, Values: make([]*float64, a.n)})
	}
	var took []time.Duration
	good := b.done[ok]
	for i := 0; i < len(good); {
		bucket := a.bucket(good[i].at)
		took = took[:0]
		for ; i < len(good) && a.bucket(good[i].at) == bucket; i++ {
			took = append(took, good[i].took)
		}
		slices.Sort(took)
		for line, q := range quantiles {
			c.Lines[line].Values[bucket] = rounded(micros(took[max(0, (len(took)*q.percent+99)/100-1)]), figures)
		}
	}
	c.Note = fmt.Sprintf("lines: of the calls that succeeded, by when they ended, %s at a time; a gap: none did", spell(a.width))
	if shown, all := len(c.Points), b.calls(); shown < all {
		c.Note += fmt.Sprintf("; points: %d of %d calls, the slowest of each outcome and some of the others", shown, all)
	}
	if len(good) == 0 {
		c.Lines, c.X = nil, nil
	}
	return c
}

// spell returns a duration as one reads it, of three digits.
func spell(d time.Duration) string {
	for unit := time.Second; unit >= 10; unit /= 10 {
		if d >= 10*unit {
			return d.Round(unit / 10).String()
		}
	}
	return d.String()
}

// points returns a sample of the calls that completed: of each outcome a fair share, and
// what one has too many of room for the others.
func (b *builder) points() []Point {
	room := [outcomes]int{}
	left := maxPoints
	for _, outcome := range []int{info, fail} { // as a rule there are few
		room[outcome] = min(len(b.done[outcome]), maxPointsEach)
		left -= room[outcome]
	}
	room[ok] = min(len(b.done[ok]), left)
	left -= room[ok]
	for _, outcome := range []int{info, fail} {
		more := min(len(b.done[outcome])-room[outcome], left)
		room[outcome] += more
		left -= more
	}
	var points []Point
	for outcome, name := range outcomeNames {
		for _, d := range sample(b.done[outcome], room[outcome]) {
			points = append(points, Point{X: b.unit.of(d.at), Y: *rounded(micros(d.took), figures), Class: name, Op: int(d.invoke)})
		}
	}
	slices.SortStableFunc(points, func(a, b Point) int { return cmp.Compare(a.X, b.X) })
	return points
}

// sample returns n of calls, in their order: the slowest ones, and others from all over the
// time. Which those are is drawn by their numbers, and so the same whoever draws.
func sample(calls []done, n int) []done {
	if len(calls) <= n {
		return calls
	}
	if n == 0 {
		return nil
	}
	slow := max(1, n/4)
	took := make([]time.Duration, len(calls))
	for i, c := range calls {
		took[i] = c.took
	}
	slices.Sort(took)
	threshold := took[len(took)-slow] // all above it are slow, and the first of those that took as long
	ties := slow
	for i := len(took) - 1; i >= 0 && took[i] > threshold; i-- {
		ties--
	}
	picked := make([]bool, len(calls))
	rest := make([]int32, 0, len(calls)-slow)
	for i, c := range calls {
		switch {
		case c.took > threshold:
			picked[i] = true
		case c.took == threshold && ties > 0:
			picked[i] = true
			ties--
		default:
			rest = append(rest, int32(i))
		}
	}
	strata := n - slow
	for s := range strata {
		from, to := s*len(rest)/strata, (s+1)*len(rest)/strata
		picked[rest[from+int(scramble(uint64(s))%uint64(to-from))]] = true
	}
	chosen := make([]done, 0, n)
	for i, c := range calls {
		if picked[i] {
			chosen = append(chosen, c)
		}
	}
	return chosen
}

// scramble returns a number that has no pattern in common with n: it is the step of
// splitmix64 (G. Steele, D. Lea, C. Flood, Fast splittable pseudorandom number
// generators, OOPSLA 2014).
func scramble(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// throughput returns how many calls completed a second, by outcome.
func (b *builder) throughput(a axis) Chart {
	c := Chart{ID: "throughput", Title: "Throughput", Unit: "op/s", X: a.x()}
	for outcome, name := range outcomeNames {
		if len(b.done[outcome]) == 0 {
			continue
		}
		counts := make([]int, a.n)
		for _, d := range b.done[outcome] {
			counts[a.bucket(d.at)]++
		}
		line := Line{Name: name, Class: name, Values: make([]*float64, a.n)}
		for i, n := range counts {
			line.Values[i] = rounded(float64(n)/a.width.Seconds(), figures)
		}
		c.Lines = append(c.Lines, line)
	}
	return c
}

// availability returns which part of the calls was answered, by node.
func (b *builder) availability(a axis) Chart {
	c := Chart{ID: "availability", Title: "Availability", Unit: "%", X: a.x(), Note: "which part of the calls of a node that ended was answered: " +
		"they succeeded, or were refused for what the system holds; a gap: none ended"}
	all, answered := make([][]int, len(b.nodes)), make([][]int, len(b.nodes))
	for i := range b.nodes {
		all[i], answered[i] = make([]int, a.n), make([]int, a.n)
	}
	for _, calls := range b.done {
		for _, d := range calls {
			if d.node < 0 {
				continue
			}
			bucket := a.bucket(d.at)
			all[d.node][bucket]++
			if d.answered {
				answered[d.node][bucket]++
			}
		}
	}
	order := make([]int, len(b.nodes))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return byName(b.nodes[i], b.nodes[j]) })
	for _, node := range order {
		line := Line{Name: b.nodes[node], Class: b.nodes[node], Values: make([]*float64, a.n)}
		for i, n := range all[node] {
			if n > 0 {
				line.Values[i] = rounded(100*float64(answered[node][i])/float64(n), figures)
			}
		}
		c.Lines = append(c.Lines, line)
	}
	if len(b.nodes) == maxNodes {
		c.Note += fmt.Sprintf("; of the first %d nodes at most", maxNodes)
	}
	return c
}

// recovery returns how long it took after each fault until the system answered.
func (b *builder) recovery() Chart {
	c := Chart{ID: "recovery", Title: "Answers after faults", Unit: "µs", Log: true}
	unseen := 0
	add := func(at, took Time, class string, op int) {
		if took == Open {
			unseen++
			return
		}
		c.Points = append(c.Points, Point{X: at, Y: max(float64(took), 1), Class: class, Op: op})
	}
	for i, f := range b.doc.Faults {
		if !held(b.spans[i]) || b.spans[i].From > b.mainEnd {
			continue
		}
		add(f.From, f.Answer, "begin", f.Begin)
		if f.To != Open && b.healedAt(b.spans[i]) <= b.mainEnd { // else nobody waited for an answer
			add(f.To, f.Recovery, "heal", f.End)
		}
	}
	slices.SortStableFunc(c.Points, func(a, b Point) int { return cmp.Compare(a.X, b.X) })
	c.Note = "how long it took from when a fault had begun, or was healed, until a call ended that was invoked after that and answered"
	if unseen > 0 {
		c.Note += fmt.Sprintf("; not seen: %d", unseen)
	}
	return c
}

// clocks returns by how much the clocks of nodes were off when that was measured.
func (b *builder) clocks() Chart {
	c := Chart{ID: "clocks", Title: "Clocks", Unit: "µs", Note: "by how much clocks were off when they were read, straight lines in between"}
	all := b.readings()
	if len(all) == 0 {
		return c
	}
	slices.SortFunc(all, func(a, b reading) int {
		return cmp.Or(cmp.Compare(a.at, b.at), byName(a.node, b.node), cmp.Compare(a.Realtime, b.Realtime), cmp.Compare(a.Monotonic, b.Monotonic))
	})
	// Where there are too many, of those that lie close together the last one stands.
	grid := time.Microsecond
	if len(distinct(all, grid)) > maxReadings {
		grid = max(grid, b.duration()/maxReadings)
	}
	var nodes []string
	lines := map[string][2]*Line{}
	at := map[time.Duration]int{}
	for i, t := range distinct(all, grid) {
		at[t] = i
		c.X = append(c.X, 0)
	}
	for _, r := range all {
		i := at[r.at/grid]
		c.X[i] = b.unit.of(r.at)
		pair, known := lines[r.node]
		if !known {
			if len(nodes) == maxNodes {
				continue
			}
			nodes = append(nodes, r.node)
			for which, name := range []string{"realtime", "monotonic"} {
				pair[which] = &Line{Name: r.node + " " + name, Class: r.node, Sparse: true, Values: make([]*float64, len(at))}
			}
			lines[r.node] = pair
		}
		pair[0].Values[i] = rounded(micros(r.Realtime), clockFigures)
		pair[1].Values[i] = rounded(micros(r.Monotonic), clockFigures)
	}
	slices.SortFunc(nodes, byName)
	for _, node := range nodes {
		c.Lines = append(c.Lines, *lines[node][0], *lines[node][1])
	}
	return c
}

// distinct returns the times of readings, which are sorted, in units of grid.
func distinct(all []reading, grid time.Duration) (times []time.Duration) {
	for _, r := range all {
		if t := r.at / grid; len(times) == 0 || t != times[len(times)-1] {
			times = append(times, t)
		}
	}
	return times
}

// network returns how much went over the links of each place.
func (b *builder) network() Chart {
	return b.rates(Chart{ID: "network", Title: "Network", Unit: "B/s", Note: "what a node sent and received"},
		func(g cluster.Gauge) uint64 { return g.SentBytes + g.ReceivedBytes })
}

// loss returns how many packets did not arrive that a place has sent.
func (b *builder) loss() Chart {
	return b.rates(Chart{ID: "loss", Title: "Lost packets", Unit: "packets/s", Note: "what a node sent and nobody received"},
		func(g cluster.Gauge) uint64 { return g.Lost })
}

// rates adds to c how fast a counter has grown, between one measurement and the next. A
// counter that never did is none.
func (b *builder) rates(c Chart, counter func(cluster.Gauge) uint64) Chart {
	var all []gauged // at most maxReadings, and one
	step := b.duration() / maxReadings
	for i, m := range b.gauges.all {
		if i == 0 || m.at-all[len(all)-1].at > step {
			all = append(all, m)
		}
	}
	grew := false
	for _, m := range all {
		c.X = append(c.X, b.unit.of(m.at))
	}
	for _, place := range b.gauges.places() {
		line := Line{Name: place, Class: place, Values: make([]*float64, len(all))}
		any := false
		for i := 1; i < len(all); i++ {
			before, known := all[i-1].by[place]
			now, still := all[i].by[place]
			if !known || !still || counter(now) < counter(before) {
				continue
			}
			grown := counter(now) - counter(before)
			grew = grew || grown > 0
			any = true
			line.Values[i] = rounded(float64(grown)/(all[i].at-all[i-1].at).Seconds(), figures)
		}
		if any {
			c.Lines = append(c.Lines, line)
		}
	}
	if !grew {
		c.Lines, c.X = nil, nil
	}
	return c
}

// coverage returns how many states of the cluster had been seen.
func (b *builder) coverage() Chart {
	c := Chart{ID: "coverage", Title: "States of the cluster seen", Unit: "states"}
	curve := nemesis.Covered(b.History).Curve
	if len(curve) == 0 {
		return c
	}
	line := Line{Name: "states", Class: "states", Steps: true}
	add := func(at Time, n int) {
		v := float64(n)
		if last := len(c.X) - 1; last >= 0 && c.X[last] == at {
			line.Values[last] = &v
			return
		}
		c.X, line.Values = append(c.X, at), append(line.Values, &v)
	}
	every := len(curve)/maxReadings + 1
	for i := 0; i < len(curve); i += every {
		add(b.unit.of(curve[i].Time), curve[i].Distinct)
	}
	add(b.unit.of(b.duration()), curve[len(curve)-1].Distinct)
	c.Lines = []Line{line}
	return c
}
