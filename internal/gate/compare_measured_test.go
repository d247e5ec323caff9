package gate

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// measuredSessions returns runs of raftkv under partitions, 48 in four sessions on a shared machine with
// two cores and two runs at once, as hacheck has measured them: by session. They took five seconds, so
// that most have too few windows without faults for a throughput: it is that of all of the run.
func measuredSessions(t *testing.T) [][]map[string]Statistics {
	t.Helper()
	f, err := os.Open("testdata/measured.baseline.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := ReadBaseline(f, f.Name())
	if err != nil {
		t.Fatal(err)
	}
	var sessions [][]map[string]Statistics
	for _, s := range b.machines[0].Cells[0].Sessions {
		sessions = append(sessions, s.Runs)
		for _, run := range s.Runs {
			for name := range run {
				if _, ok := MetricOf(name); !ok {
					t.Fatalf("nobody knows the metric %s", name)
				}
			}
		}
	}
	if len(sessions) != 4 || len(sessions[0]) != 12 {
		t.Fatalf("there are %d sessions", len(sessions))
	}
	return sessions
}

// slower returns a run in which a metric is greater by a factor.
func slower(run map[string]Statistics, metric string, by float64) map[string]Statistics {
	run = maps.Clone(run)
	of := Statistics{}
	for name, s := range run[metric] {
		of[name] = Statistic{Value: fourDigits(s.Value * by), Least: s.Least}
	}
	run[metric] = of
	return run
}

// cutOff returns a run whose end nobody saw: its recovery took as long as its greatest at least, or as a
// part of it.
func cutOff(run map[string]Statistics, r *rand.Rand) map[string]Statistics {
	run = maps.Clone(run)
	of := Statistics{}
	least := fourDigits(run["recovery"]["max"].Value * (0.3 + 0.7*r.Float64()))
	for name, s := range run["recovery"] {
		of[name] = s
		if s.Value >= least {
			of[name] = Statistic{Value: least, Least: true}
		}
	}
	run["recovery"] = of
	return run
}

// resampledGate is a gate of cells whose runs are drawn from measured ones, a session from a session.
// The baseline has two sessions drawn from each measured one; if days are drawn, too, it is of
// eight that are drawn, so that today's is of none of them in a tenth of the gates. A share of the runs
// is cut off.
func resampledGate(sessions [][]map[string]Statistics, cells int, r *rand.Rand, drawDays bool, cut float64, metric string, by float64) (suspects int, regressed []string) {
	const days, screen, confirm = 8, 5, 15
	draw := func(n int, session []map[string]Statistics) (all []map[string]Statistics) {
		for range n {
			run := session[r.IntN(len(session))]
			if cut > 0 && r.Float64() < cut {
				run = cutOff(run, r)
			}
			all = append(all, run)
		}
		return all
	}
	policy := Regression{ErrorRate: 0.01, Least: 0.25, Confirm: confirm}
	before := make([][]BaselineRun, cells)
	for day := range days {
		session := sessions[day%len(sessions)]
		if drawDays {
			session = sessions[r.IntN(len(sessions))]
		}
		for i := range cells {
			for _, run := range draw(5, session) {
				before[i] = append(before[i], BaselineRun{Session: fmt.Sprint(day), Measures: run})
			}
		}
	}
	today := sessions[r.IntN(len(sessions))]
	fresh := func(n int) []map[string]Statistics {
		all := draw(n, today)
		for i := range all {
			if metric != "" {
				all[i] = slower(all[i], metric, by)
			}
		}
		return all
	}
	screened := make([][]map[string]Statistics, cells)
	suspected := make([]bool, cells)
	for i := range cells {
		screened[i] = fresh(screen)
		for _, x := range compareReduced(before[i], screened[i], nil, policy, 1) {
			if x.Suspected {
				suspects++
				suspected[i] = true
			}
		}
	}
	for i := range cells {
		if !suspected[i] {
			continue
		}
		for _, x := range compareReduced(before[i], screened[i], fresh(confirm), policy, suspects) {
			if x.Regressed {
				regressed = append(regressed, x.Metric+" "+x.Statistic+" is "+x.Words)
			}
		}
	}
	return suspects, regressed
}

// The bounds of a power below 95 are what these runs allow, so that a loss of it shows: their
// throughput differs by a factor of 1.6 from run to run. Runs that are cut off raise no alarms, and
// cost much: in the baseline they may have taken for ever.
func TestMeasuredRunsKeepTheClaims(t *testing.T) {
	t.Parallel()
	sessions := measuredSessions(t)
	for _, c := range []struct {
		metric       string
		by           float64
		cells, gates int
		drawDays     bool
		cut          float64
		least, most  int
	}{
		{"", 1, 4, 200, false, 0, 0, 2},
		// Of a day like none of the baseline's nobody can know that it is the day.
		{"", 1, 4, 200, true, 0, 0, 6},
		{"recovery", 2, 4, 100, false, 0, 95, 100}, {"recovery", 2, 1, 100, false, 0, 63, 100}, {"recovery", 1.5, 4, 100, false, 0, 60, 100}, {"recovery", 1.25, 4, 100, false, 0, 0, 10},
		{"", 1, 4, 100, false, 0.2, 0, 1}, {"recovery", 2, 4, 50, false, 0.2, 22, 50},
		{"throughput", 0.5, 4, 50, false, 0, 2, 50}, {"latency.read.p50", 2, 4, 50, false, 0, 17, 50},
		{"recovery", 0.5, 1, 100, false, 0, 0, 1}, {"throughput", 2, 1, 100, false, 0, 0, 1}, {"latency.read.p50", 0.5, 1, 100, false, 0, 0, 1},
	} {
		r := rand.New(rand.NewPCG(5, 5))
		red, better, suspects := 0, 0, 0
		for range c.gates {
			n, regressed := resampledGate(sessions, c.cells, r, c.drawDays, c.cut, c.metric, c.by)
			suspects += n
			if len(regressed) > 0 {
				if red++; red == 1 {
					t.Log(regressed[0])
				}
			}
			for _, words := range regressed {
				if c.most <= 1 && c.metric != "" && strings.HasPrefix(words, c.metric+" ") {
					better++
				}
			}
		}
		t.Logf("%s by %v in %d cells, %v cut off: %d of %d gates are red, %.2f comparisons of a gate are suspected", c.metric, c.by, c.cells, c.cut, red, c.gates, float64(suspects)/float64(c.gates))
		if red < c.least || red > c.most {
			t.Errorf("%s by %v in %d cells: %d of %d gates are red, want %d to %d", c.metric, c.by, c.cells, red, c.gates, c.least, c.most)
		}
		if better > 0 {
			t.Errorf("%s by %v, which is better, is told %d times as a regression of it", c.metric, c.by, better)
		}
	}
}
