package document

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/report"
)

// facts adds what was asked for and found out, of a run that says so.
func (b *builder) facts() {
	add := func(name, text string) {
		if text != "" {
			b.doc.Facts = append(b.doc.Facts, Fact{Name: name, Text: text})
		}
	}
	if torn := report.Torn(b.History); torn != "" {
		b.trouble("%s", torn)
	}
	if !b.clock() && b.History.Len() > 0 {
		add("clock", "none: all of it took less than a millisecond, so times are taken for those of a counter")
	}
	i := b.Info
	if i == nil {
		add("ops", strconv.Itoa(b.History.Len()))
		return
	}
	if !i.Began.IsZero() {
		b.doc.Began = i.Began.Format(time.RFC3339Nano)
	}
	o := i.Options
	add("system", i.System)
	add("hypervisor", o.Hypervisor)
	add("deliberate bug", i.Bug)
	add("tuned", o.Tune)
	add("workload", i.Workload)
	faults := strings.Join(i.Nemesis, ", ")
	if faults == "" && len(i.Schedule) == 0 {
		faults = "none"
	}
	add("nemesis", faults)
	if n := len(i.Schedule); n > 0 {
		add("schedule", checker.Count(n, "fault"))
	}
	add("replays", i.Replays)
	add("policy", o.Policy)
	if o.Unguarded {
		add("quorum guard", "off: faults may have taken more nodes than any system can bear to lose")
	}
	add("nodes", strconv.Itoa(o.Nodes))
	add("clients", strconv.Itoa(o.Concurrency))
	add("keys", strconv.Itoa(o.Keys))
	add("seed", strconv.FormatUint(o.Seed, 10))
	add("time limit", o.TimeLimit.String())
	add("between faults", o.Interval.String())
	rate := "as many operations as go"
	if o.Rate > 0 {
		rate = strconv.FormatFloat(o.Rate, 'g', -1, 64) + " operations per second"
	}
	add("rate", rate)
	add("heal", o.Heal)
	for _, left := range i.LeftOut {
		add("not among all", left)
	}
	for _, limit := range i.Limits {
		add("not claimed by the system", limit)
	}
	add("began", b.doc.Began)
	if i.Ended != nil {
		add("ended", i.Ended.Format(time.RFC3339Nano))
	} else {
		b.trouble("the run did not come to its end: the history is a part of one")
	}
	if l := i.Live; l != nil {
		stopped := ""
		if l.Stopped {
			stopped = "; the run ended for it"
		}
		add("found while it ran", fmt.Sprintf("%s, at %s, told %s later%s",
			l.Kind, checker.Brief(l.Time.Std()), checker.Brief(l.Lag.Std()), stopped))
	}
	add("hacheck", i.Versions.Hacheck)
	add("go", i.Versions.Go)
	add("os", i.Versions.OS)
	add("kernel", i.Versions.Kernel)
	for _, name := range slices.Sorted(maps.Keys(i.Lab)) {
		add("lab: "+name, i.Lab[name])
	}
}
