package campaign

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hacheck/hacheck/internal/gate"
)

// TestChaosKillsEveryPartAtAnyMoment has 500 jobs performed by four workers, while each of
// them, and the lead, and the server, are killed again and again.
func TestChaosKillsEveryPartAtAnyMoment(t *testing.T) {
	const n = 500
	base := part{Dir: t.TempDir(), Listen: address(t), Token: "secret", Campaign: "chaos", Jobs: 2, Put: n, MaxTries: 20, Pace: 500 * time.Millisecond}
	if testing.Short() {
		base.Pace /= 5
	}
	parts := map[string]part{}
	for _, role := range []string{"server", "lead"} {
		p := base
		p.Role = role
		parts[role] = p
	}
	for i := range 4 {
		p := base
		p.Role, p.Name = "worker", fmt.Sprint("worker-", i)
		parts[p.Name] = p
	}
	names := []string{"server", "lead", "worker-0", "worker-1", "worker-2", "worker-3"}
	running := map[string]*process{}
	for _, name := range names {
		running[name] = start(t, parts[name])
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	draw := rand.New(rand.NewPCG(seed, 0))
	kills := map[string]int{}
	began := time.Now()
	limit := time.After(2 * time.Minute)
	for done := false; !done; {
		select {
		case line, ok := <-running["lead"].lines:
			switch {
			case line == "done":
				done = true
			case !ok, len(line) > 7 && line[:7] == "failed:":
				t.Fatalf("the lead says %q (%v)", line, ok)
			}
		case <-time.After(time.Duration(50+draw.IntN(500)) * time.Millisecond):
			name := names[draw.IntN(len(names))]
			running[name].kill()
			kills[name]++
			running[name] = start(t, parts[name])
		case <-limit:
			t.Fatalf("not done; killed %v", kills)
		}
	}
	t.Logf("done in %v; killed %v", time.Since(began), kills)
	for name, r := range running {
		if name != "server" {
			r.kill()
		}
	}
	c := open(t, Access{URL: "nats://" + base.Listen, Token: base.Token}, Options{Name: "chaos", Existing: true})
	jobs, err := c.Jobs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]gate.Job{}
	for _, j := range jobs {
		if _, twice := known[j.ID]; twice {
			t.Errorf("%s was put twice", j.ID)
		}
		known[j.ID] = j
	}
	if len(known) != n {
		t.Errorf("%d jobs were put, want %d", len(known), n)
	}
	outcomes, err := c.done(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(outcomes) != n {
		t.Errorf("%d outcomes, want %d", len(outcomes), n)
	}
	for _, o := range outcomes {
		if _, ok := known[o.Job.ID]; !ok {
			t.Errorf("%s was done twice, or never put", o.Job.ID)
		}
		delete(known, o.Job.ID)
		if o.Class != gate.Valid || o.Last() == nil || o.Last().Words != proof(o.Job.Seed) {
			t.Errorf("%s: %q by %s: %s", o.Job.ID, o.Class, o.Worker, o.Words)
		}
	}
	for id := range known {
		t.Errorf("%s is lost", id)
	}
	// An outcome that had been written over would have left a gap.
	stream, _ := c.ofBucket("outcomes", ">")
	s, err := c.link.js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	if st := s.CachedInfo().State; st.LastSeq != n || st.Msgs != n {
		t.Errorf("outcomes were written %d times, and %d are there", st.LastSeq, st.Msgs)
	}
}
