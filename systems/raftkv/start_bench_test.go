//go:build linux

package raftkv_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/cluster/clustertest"
	"github.com/hacheck/hacheck/systems/raftkv"
)

// BenchmarkStartStop measures how long it takes until a lab of five nodes is there and
// raftkv answers in it, and until nothing of them is there any more: what each run costs
// beside what it does. Each time is a process, since there is one lab in one.
func BenchmarkStartStop(b *testing.B) {
	if cluster.Inside() {
		benchStartStop(b)
		return
	}
	const rounds = 5
	var starts, stops, all []float64
	for range rounds {
		args := []string{"-test.run=^$", "-test.bench=^BenchmarkStartStop$", "-test.benchtime=1x", "-test.timeout=1m"}
		begun := time.Now()
		out, refused, err := clustertest.Inside(b.Context(), args)
		if refused != "" {
			b.Skip("the lab does not run here:", refused)
		}
		if err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		all = append(all, float64(time.Since(begun).Milliseconds()))
		for line := range strings.Lines(string(out)) {
			var start, stop float64
			if got, _ := fmt.Sscanf(line, "start %f stop %f", &start, &stop); got == 2 {
				starts, stops = append(starts, start), append(stops, stop)
			}
		}
	}
	if len(starts) < rounds {
		b.Fatalf("%d of %d told how long it took", len(starts), rounds)
	}
	for name, times := range map[string][]float64{"start-ms": starts, "stop-ms": stops, "process-ms": all} {
		slices.Sort(times)
		b.ReportMetric(times[len(times)/2], name)
	}
	b.ReportMetric(0, "ns/op") // it says nothing
}

func benchStartStop(b *testing.B) {
	ctx, cancel := context.WithTimeout(b.Context(), 30*time.Second)
	defer cancel()
	begun := time.Now()
	lab, err := cluster.NewLocal(cluster.Options{Nodes: loadNodes, Dir: b.TempDir()})
	must(b, err)
	system, err := raftkv.New(lab, raftkv.Options{})
	must(b, err)
	for _, n := range lab.Nodes() {
		must(b, system.Start(n.Name))
	}
	must(b, system.Ready(ctx))
	started := time.Now()
	must(b, system.Close())
	must(b, lab.Close())
	fmt.Printf("\nstart %d stop %d\n", started.Sub(begun).Milliseconds(), time.Since(started).Milliseconds())
}
