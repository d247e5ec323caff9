package campaign

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hacheck/hacheck/internal/gate"
)

func TestJobsArePutDoneAndCounted(t *testing.T) {
	c := open(t, Access{Server: serve(t, ServerOptions{})}, Options{Log: logged(t)})
	asked, began, err := c.Begin(t.Context(), []byte("the plan"))
	if err != nil || string(asked) != "the plan" || time.Since(began) > time.Minute {
		t.Fatalf("asked for %q at %v, %v", asked, began, err)
	}
	if asked, again, err := c.Begin(t.Context(), []byte("another plan")); err != nil || string(asked) != "the plan" || !again.Equal(began) {
		t.Errorf("asked for %q at %v, %v", asked, again, err)
	}
	jobs := some(300)
	for range 2 { // the second time changes nothing
		if err := c.Put(t.Context(), jobs); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.Jobs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(got, jobs, func(a, b gate.Job) bool { return a.ID == b.ID && a.Seed == b.Seed }) {
		t.Errorf("%d jobs, or not in their order", len(got))
	}
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Put != 300 || s.Waiting != 300 || s.Working != 0 || string(s.Asked) != "the plan" || !s.Finished.IsZero() {
		t.Errorf("status %+v", s)
	}
	var mu sync.Mutex
	var order []string
	finished := make(chan error, 1)
	go func() {
		finished <- c.Work(t.Context(), WorkOptions{Name: "w.1", Jobs: 1, Perform: func(_ context.Context, j gate.Job) (gate.Outcome, string, error) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, j.ID)
			return gate.Outcome{Class: gate.Invalid, Attempts: []gate.Attempt{{Class: gate.Invalid}}}, "", nil
		}})
	}()
	outcomes := collect(t, c, 300)
	for _, j := range jobs {
		if o := outcomes[j.ID]; o.Class != gate.Invalid || o.Worker != "w.1" || o.Job.Seed != j.Seed || o.Began.IsZero() {
			t.Errorf("%s: %+v", j.ID, o)
		}
	}
	mu.Lock()
	for i, j := range jobs {
		if i < len(order) && order[i] != j.ID {
			t.Errorf("the %dth that was performed is %s", i, order[i])
		}
	}
	mu.Unlock()
	if s, err = c.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Waiting+s.Working != 0 || s.Done[gate.Invalid] != 300 || len(s.Workers) != 1 || s.Workers[0].Name != "w.1" {
		t.Errorf("put %d, waiting %d, working %d, done %v, workers %v", s.Put, s.Waiting, s.Working, s.Done, s.Workers)
	}
	if err := c.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-finished; err != nil { // the worker goes home
		t.Error(err)
	}
	if s, err = c.Status(t.Context()); err != nil || s.Finished.IsZero() || len(s.Workers) != 0 {
		t.Errorf("%v, finished %v, workers %v", err, s.Finished, s.Workers)
	}
}

func TestAnIDIsOneJob(t *testing.T) {
	c := open(t, Access{Server: serve(t, ServerOptions{})}, Options{})
	jobs := some(1)
	if err := c.Put(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	jobs[0].Seed++
	if err := c.Put(t.Context(), jobs); !errors.Is(err, ErrDiffers) || !strings.Contains(err.Error(), jobs[0].ID) {
		t.Errorf("%v", err)
	}
	for _, id := range []string{"", strings.Repeat("x", mostID+1)} {
		if err := c.Put(t.Context(), []gate.Job{{ID: id}}); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", id, err)
		}
	}
	strange := []gate.Job{{ID: "a.b c/>*=é"}, {ID: "a.b"}, {ID: "a=2Eb"}}
	if err := c.Put(t.Context(), strange); err != nil {
		t.Fatal(err)
	}
	work(t, c, WorkOptions{Perform: perform})
	for id := range collect(t, c, 4) {
		if !slices.ContainsFunc(append(strange, jobs...), func(j gate.Job) bool { return j.ID == id }) {
			t.Errorf("%q is nobody's", id)
		}
	}
}

// TestWhoIsKilledBetweenRecordAndQueue makes what such a lead leaves behind.
func TestWhoIsKilledBetweenRecordAndQueue(t *testing.T) {
	for how, again := range map[string]func(*Campaign, []gate.Job) error{
		"put again": func(c *Campaign, jobs []gate.Job) error { return c.Put(t.Context(), jobs) },
		"restored": func(c *Campaign, jobs []gate.Job) error {
			got, _, err := c.Restore(t.Context())
			if len(got) != len(jobs) {
				t.Errorf("%d jobs are restored", len(got))
			}
			return err
		},
	} {
		t.Run(how, func(t *testing.T) {
			c := open(t, Access{Server: serve(t, ServerOptions{})}, Options{})
			jobs := some(3)
			if err := c.Put(t.Context(), jobs[:1]); err != nil {
				t.Fatal(err)
			}
			texts := [][]byte{[]byte(`{"id":"` + jobs[1].ID + `"}`), []byte(`{"id":"` + jobs[2].ID + `"}`)}
			jobs[1], jobs[2] = gate.Job{ID: jobs[1].ID}, gate.Job{ID: jobs[2].ID}
			if _, err := c.publish(t.Context(), c.recorded, jobs[1:], texts); err != nil {
				t.Fatal(err)
			}
			if err := again(c, jobs); err != nil {
				t.Fatal(err)
			}
			work(t, c, WorkOptions{Perform: perform})
			collect(t, c, 3)
			s, err := c.link.js.Stream(t.Context(), c.stream("queue"))
			if err != nil {
				t.Fatal(err)
			}
			if n := s.CachedInfo().State.LastSeq; n != 3 {
				t.Errorf("they were queued %d times", n)
			}
		})
	}
}

func TestAJobThatWasNotDoneIsTriedAgain(t *testing.T) {
	c := open(t, Access{Server: serve(t, ServerOptions{})}, Options{MaxTries: 3})
	if err := c.Put(t.Context(), some(3)); err != nil {
		t.Fatal(err)
	}
	var tries [3]atomic.Int32
	work(t, c, WorkOptions{Jobs: 3, Perform: func(_ context.Context, j gate.Job) (gate.Outcome, string, error) {
		switch n := tries[j.Seed].Add(1); {
		case j.Seed != 1 && n == 2:
			return gate.Outcome{Class: gate.Valid}, "", nil
		case j.Seed == 2: // another machine may do it
			return gate.Outcome{Class: gate.Refused}, "", nil
		}
		return gate.Outcome{Class: gate.Failed, Words: "the machine"}, "", nil
	}})
	outcomes := collect(t, c, 3)
	for _, i := range []int{0, 2} {
		if o := outcomes[some(3)[i].ID]; o.Class != gate.Valid || tries[i].Load() != 2 || o.Deliveries != 2 {
			t.Errorf("%d: %q after %d tries, delivered %d times", i, o.Class, tries[i].Load(), o.Deliveries)
		}
	}
	if o := outcomes[some(3)[1].ID]; o.Class != gate.Failed || o.Words != "the machine" || tries[1].Load() != 3 {
		t.Errorf("%q after %d tries: %s", o.Class, tries[1].Load(), o.Words)
	}
}

// TestWhoIsSentHomeGivesBackWhatItHas, more often than a job has tries.
func TestWhoIsSentHomeGivesBackWhatItHas(t *testing.T) {
	c := open(t, Access{Server: serve(t, ServerOptions{})}, Options{MaxTries: 2, Lease: time.Hour})
	if err := c.Put(t.Context(), some(1)); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		begun := make(chan bool)
		stop := work(t, c, WorkOptions{Perform: func(ctx context.Context, _ gate.Job) (gate.Outcome, string, error) {
			begun <- true
			<-ctx.Done()
			return gate.Outcome{}, "", ctx.Err()
		}})
		<-begun
		stop()
	}
	work(t, c, WorkOptions{Perform: perform})
	for _, o := range collect(t, c, 1) {
		if o.Class != gate.Valid {
			t.Errorf("it is %q: %s", o.Class, o.Words)
		}
	}
}

// TestWhoComesSecondDropsItsOwn has two workers at one job: the first has lost its lease.
func TestWhoComesSecondDropsItsOwn(t *testing.T) {
	c := open(t, Access{Server: serve(t, ServerOptions{})}, Options{})
	j := some(1)[0]
	if err := c.Put(t.Context(), []gate.Job{j}); err != nil {
		t.Fatal(err)
	}
	begun, goOn, released := make(chan bool), make(chan bool), make(chan string, 1)
	dir := directory(t, map[string]string{"history.json": "slow"})
	work(t, c, WorkOptions{Name: "slow", Release: func(dir string) { released <- dir }, Perform: func(context.Context, gate.Job) (gate.Outcome, string, error) {
		begun <- true
		<-goOn
		return gate.Outcome{Class: gate.Invalid, Attempts: []gate.Attempt{{Class: gate.Invalid}}}, dir, nil
	}})
	<-begun
	fast := gate.Outcome{Job: j, Class: gate.Valid, Worker: "fast", Attempts: []gate.Attempt{{Class: gate.Valid}}}
	w := &worker{Campaign: c, o: WorkOptions{Name: "fast", Most: 1 << 20}}
	if again := w.keep(t.Context(), fast, directory(t, map[string]string{"history.json": "fast"})); again != 0 {
		t.Fatal("it is not kept")
	}
	close(goOn)
	if <-released != dir {
		t.Error("the directory is still needed")
	}
	outcomes := collect(t, c, 1)
	if o := outcomes[j.ID]; o.Worker != "fast" || o.Class != gate.Valid {
		t.Errorf("it is %q by %s", o.Class, o.Worker)
	}
	objects, err := c.kept.List(t.Context())
	if err != nil || len(objects) != 1 || objects[0].Name != fast.Last().Dir {
		t.Errorf("%d directories are kept, %v", len(objects), err)
	}
}

func TestTwoCampaignsOnOneServer(t *testing.T) {
	s := serve(t, ServerOptions{})
	stop := map[string]func(){}
	for i, name := range []string{"a", "a_jobs"} {
		c := open(t, Access{Server: s}, Options{Name: name})
		if err := c.Put(t.Context(), some(i+2)); err != nil {
			t.Fatal(err)
		}
		stop[name] = work(t, c, WorkOptions{Name: name, Perform: perform})
	}
	for i, name := range []string{"a", "a_jobs"} {
		c := open(t, Access{Server: s}, Options{Name: name, Existing: true})
		for id, o := range collect(t, c, i+2) {
			if o.Worker != name {
				t.Errorf("%s of %s was done by %s", id, name, o.Worker)
			}
		}
		if s, err := c.Status(t.Context()); err != nil || s.Put != i+2 || len(s.Outcomes) != i+2 {
			t.Errorf("%s: put %d, done %d, %v", name, s.Put, len(s.Outcomes), err)
		}
	}
	stop["a"]()
	a := open(t, Access{Server: s}, Options{Name: "a", Existing: true})
	if err := a.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Access{Server: s}, Options{Name: "a", Existing: true}); !errors.Is(err, ErrNoCampaign) {
		t.Errorf("removed: %v", err)
	}
	open(t, Access{Server: s}, Options{Name: "a_jobs", Existing: true})
}

func TestAWorkerOfACampaignThatIsRemovedGoesHome(t *testing.T) {
	c := open(t, Access{Server: serve(t, ServerOptions{})}, Options{})
	ended := make(chan error, 1)
	go func() { ended <- c.Work(t.Context(), WorkOptions{Name: "w", Jobs: 1, Perform: perform}) }()
	for { // until it is there
		s, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Workers) == 1 {
			break
		}
	}
	if err := c.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, ErrNoCampaign) {
		t.Errorf("%v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	s := serve(t, ServerOptions{})
	for want, o := range map[error]Options{
		ErrName:    {Name: "a b"},
		ErrOptions: {Name: "a", Lease: time.Millisecond},
		// There is one server, which says so itself.
		ErrReplicas:   {Name: "three", Replicas: 3},
		ErrNoCampaign: {Name: "nobody", Existing: true},
	} {
		if _, err := Open(t.Context(), Access{Server: s}, o); !errors.Is(err, want) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	c := open(t, Access{Server: s}, Options{})
	for _, o := range []WorkOptions{{Jobs: 1}, {Name: "w"}} {
		if err := c.Work(t.Context(), o); !errors.Is(err, ErrName) && !errors.Is(err, ErrOptions) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestAWorkerHasTheLeaseOfTheCampaign(t *testing.T) {
	s := serve(t, ServerOptions{})
	open(t, Access{Server: s}, Options{Lease: 7 * time.Second, MaxTries: 9})
	c := open(t, Access{Server: s}, Options{Existing: true})
	if c.lease != 7*time.Second || c.maxTries != 9 {
		t.Errorf("a lease of %v, %d tries", c.lease, c.maxTries)
	}
}

func TestPoisonIsSetAsideAndTheRestIsDone(t *testing.T) {
	t.Parallel()
	p := part{Role: "server", Dir: t.TempDir(), Listen: address(t), Token: "secret", Campaign: "poison", Jobs: 1, MaxTries: 2}
	start(t, p).says(t, "up")
	c := open(t, Access{URL: "nats://" + p.Listen, Token: p.Token}, Options{Name: p.Campaign, MaxTries: p.MaxTries})
	jobs := append([]gate.Job{{ID: "poison"}}, some(5)...)
	if err := c.Put(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	p.Role = "worker"
	done := collecting(t, c, len(jobs))
	died := 0
	for i := 0; ; i++ {
		p.Name = fmt.Sprint("w", i)
		w := start(t, p)
		ended := make(chan bool)
		go func() {
			for range w.lines {
			}
			close(ended)
		}()
		select {
		case <-ended:
			died++
			continue
		case outcomes := <-done:
			if died != 2 {
				t.Errorf("it took down %d workers", died)
			}
			for id, o := range outcomes {
				if want := map[bool]gate.Class{true: gate.SetAside, false: gate.Valid}[id == "poison"]; o.Class != want || o.Job.ID != id || want == gate.SetAside && !strings.Contains(o.Words, "2 times") {
					t.Errorf("%s is %q: %s", id, o.Class, o.Words)
				}
			}
		}
		return
	}
}
