// Command scaling measures how the cost of deciding a history grows with its length, with
// how many clients there are, and with how much is indeterminate. It prints docs/scaling.md.
package main

import (
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/checker/linear/lineartest"
)

func main() {
	p := plan{
		lengths: []int{10_000, 100_000, 1_000_000, 10_000_000},
		clients: []int{5, 10, 20, 50, 100, 200}, indeterminate: []int{10, 100, 1000},
		cpu: time.Minute, bytes: 4 << 30,
	}
	if err := write(os.Stdout, p, p.measure(func(r row) { fmt.Fprintln(os.Stderr, r) })); err != nil {
		fmt.Fprintln(os.Stderr, "scaling:", err)
		os.Exit(1)
	}
}

// A plan says what is measured.
type plan struct {
	lengths       []int // ascending
	clients       []int // nothing being indeterminate
	indeterminate []int // with ten clients
	// The budget of one history, beyond which it is given up.
	cpu   time.Duration
	bytes int64
}

// A row is what one history cost.
type row struct {
	lineartest.Load
	engine  string
	verdict linear.Verdict
	lineartest.Cost
	growth float64 // of CPU, over the history before, if the same decided that, or 0
	spared bool    // since the history before was too long already
}

// measure returns a row for each history, and hands it to each as soon as it is there.
func (p plan) measure(each func(row)) []row {
	var loads []lineartest.Load
	for _, values := range []int{0, 5} {
		for _, clients := range p.clients {
			loads = append(loads, lineartest.Load{Clients: clients, Values: values})
		}
		for _, never := range p.indeterminate {
			loads = append(loads, lineartest.Load{Clients: 10, Values: values, Indeterminate: never})
		}
	}
	var rows []row
	for _, l := range loads {
		last := row{}
		for _, ops := range p.lengths {
			l.Ops = ops
			now := row{Load: l}
			if now.spared = last.Ops > 0 && last.verdict == linear.Undecided; !now.spared {
				now = p.cost(l)
				if last.Ops > 0 && now.verdict != linear.Undecided && now.engine == last.engine {
					now.growth = now.CPU.Seconds() / last.CPU.Seconds()
				}
			}
			each(now)
			rows = append(rows, now)
			last = now
		}
	}
	return rows
}

// cost returns the row of one history. What takes little time is measured often, and the
// median counts.
func (p plan) cost(l lineartest.Load) row {
	r := row{Load: l}
	reg := lineartest.Simulate(rand.New(rand.NewPCG(1, 6)), l)
	var costs []lineartest.Cost
	for total := time.Duration(0); len(costs) == 0 || len(costs) < 7 && total < 2*time.Second; total += costs[len(costs)-1].CPU {
		costs = append(costs, lineartest.Measure(func() { r.engine, r.verdict = p.decide(reg) }))
	}
	slices.SortFunc(costs, func(a, b lineartest.Cost) int { return cmp.Compare(a.CPU, b.CPU) })
	r.Cost = costs[len(costs)/2]
	return r
}

// decide decides reg as whoever checks a register does, and says by what.
func (p plan) decide(reg *linear.Register) (engine string, v linear.Verdict) {
	begin := lineartest.Used()
	limit := func(bytes int64) bool { return lineartest.Used()-begin < p.cpu && bytes < p.bytes }
	if d := linear.Zones(reg, limit); d.Verdict != linear.Undecided {
		return "zones", d.Verdict
	}
	return "zones, jit", linear.JIT(reg, linear.JITOptions{Limit: limit}).Verdict
}

// String is r as a row of the table.
func (r row) String() string {
	cells := []string{thousands(r.Ops), strconv.Itoa(r.Clients), strconv.Itoa(r.Indeterminate), "unique", "", "", "", "", ""}
	if r.Values > 0 {
		cells[3] = strconv.Itoa(r.Values)
	}
	switch {
	case r.spared:
		cells[5] = "not tried"
	case r.verdict == linear.Undecided:
		cells[4], cells[5] = r.engine, "over budget"
		cells[7] = mebi(r.Peak)
	default:
		cells[4] = r.engine
		cells[5] = fmt.Sprintf("%.3g", r.CPU.Seconds())
		cells[6] = strconv.FormatInt(r.CPU.Nanoseconds()/int64(r.Ops), 10)
		cells[7] = mebi(r.Peak)
		if r.growth > 0 {
			cells[8] = fmt.Sprintf("× %.1f", r.growth)
		}
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

// thousands writes n as people do.
func thousands(n int) string {
	switch {
	case n >= 1_000_000 && n%1_000_000 == 0:
		return strconv.Itoa(n/1_000_000) + " M"
	case n >= 1_000 && n%1_000 == 0:
		return strconv.Itoa(n/1_000) + " k"
	}
	return strconv.Itoa(n)
}

func mebi(bytes int64) string {
	if bytes == 0 {
		return "unknown"
	}
	return strconv.FormatInt(bytes>>20, 10)
}

const preamble = `# How the cost of deciding grows

What it costs to decide whether the history of one register is linearizable: by its length, by how many clients
there are, and by how many of its operations are indeterminate. This file is written by

    make scaling

and was last in %s, with %s on %d cores (%s/%s) that other work shared: between two runs the figures differ by some
tenths.

- The histories are simulated: clients that wait for each answer, 1 ms for an operation (log-normal, σ 0.5), 0.1 ms
  between two; half are reads, three in ten are writes, two in ten are cas, which do not say what they found if they
  fail. All open operations are on the one register, so this is the worst that so many clients can do to it. Writes
  that are indeterminate take effect within 50 ms, or never.
- Values are unique, and a cas expects what its client last knew of; or there are five, at random.
- What decides is what hacheck would take: zones, and where they do not apply the just-in-time engine (zones, jit: the
  time of both counts). They do not where values are few, and hardly ever where a cas failed and did not say what it
  found. The order that explains the history is part of the answer. Porcupine's confirmation, which takes linear time,
  is not in these figures, and neither is reading a file.
- CPU-s are those of the whole process, the garbage collector's work on other cores included; the median of up to
  seven. The peak is what the process had resident, with the history itself, in MiB.
- Growth is that of CPU-s over the row before, which has a tenth of the operations: × 10 is linear. Where that was
  decided by another engine it would say nothing.
- A history that takes more than %d CPU-s or %d MiB is over budget, and longer ones are not tried.

| operations | clients | indeterminate | values | engine | CPU-s | ns/op | peak MiB | growth |
| ---: | ---: | ---: | --- | --- | ---: | ---: | ---: | ---: |
`

// steep is a growth over ten times as many operations that noise does not explain.
const steep = 14

// write writes the document.
func write(out io.Writer, p plan, rows []row) error {
	var text strings.Builder
	fmt.Fprintf(&text, preamble, time.Now().Format("January 2006"), strings.Replace(runtime.Version(), "go", "Go ", 1),
		runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, int(p.cpu.Seconds()), p.bytes>>20)
	for _, r := range rows {
		if r.verdict == linear.Illegal {
			return fmt.Errorf("%s is wrong: the history is linearizable, as it was simulated: %+v", r.engine, r.Load)
		}
		fmt.Fprintln(&text, r)
	}
	text.WriteString("\n## Where it is not linear\n\n")
	for _, line := range exceptions(rows) {
		fmt.Fprintln(&text, line)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// exceptions says of which rows more cannot be said than that they are not linear.
func exceptions(rows []row) []string {
	var lines []string
	for _, r := range rows {
		what := fmt.Sprintf("%s operations, %d clients, %d indeterminate, ", thousands(r.Ops), r.Clients, r.Indeterminate)
		if r.Values > 0 {
			what += fmt.Sprintf("%d values", r.Values)
		} else {
			what += "unique values"
		}
		switch {
		case r.spared:
		case r.verdict == linear.Undecided:
			lines = append(lines, fmt.Sprintf("- %s: over budget.", what))
		case r.growth > steep:
			lines = append(lines, fmt.Sprintf("- %s: × %.1f over a tenth of them.", what, r.growth))
		}
	}
	if lines == nil {
		return []string{fmt.Sprintf("Nowhere in this table: no growth is above × %d.", steep)}
	}
	return append([]string{fmt.Sprintf("Growth above × %d, and what was given up:\n", steep)}, lines...)
}
