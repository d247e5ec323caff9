package campaign

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hacheck/hacheck/internal/gate"
)

// suspicions are n jobs that confirm something.
func suspicions(n int) []gate.Job {
	jobs := make([]gate.Job, n)
	for i := range jobs {
		jobs[i] = gate.Job{ID: fmt.Sprint("again-", i), Cell: "raftkv/register/partition", Purpose: gate.ForConfirmation, Seed: uint64(i)}
	}
	return jobs
}

func TestWhatConfirmsASuspicionComesFirst(t *testing.T) {
	c := open(t, Access{Server: serve(t, ServerOptions{})}, Options{})
	if err := c.Put(t.Context(), some(100)); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var order []string
	begun, goOn := make(chan bool), make(chan bool)
	work(t, c, WorkOptions{Perform: func(_ context.Context, j gate.Job) (gate.Outcome, string, error) {
		mu.Lock()
		order = append(order, j.ID)
		first := len(order) == 1
		mu.Unlock()
		if first {
			begun <- true
			<-goOn
		}
		return gate.Outcome{Class: gate.Valid}, "", nil
	}})
	<-begun
	for range 2 { // the second time changes nothing
		if err := c.Put(t.Context(), suspicions(3)); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := c.Status(t.Context()); err != nil || s.Put != 103 || s.Working != 1 || s.Waiting != 102 {
		t.Errorf("put %d, working %d, waiting %d, %v", s.Put, s.Working, s.Waiting, err)
	}
	if jobs, _, err := c.Restore(t.Context()); err != nil || len(jobs) != 103 {
		t.Errorf("%d jobs are restored, %v", len(jobs), err)
	}
	close(goOn)
	collect(t, c, 103)
	mu.Lock()
	defer mu.Unlock()
	if len(order) != 103 {
		t.Errorf("%d were performed", len(order))
	}
	for i, j := range suspicions(3) {
		if order[i+1] != j.ID {
			t.Errorf("%v were performed first", order[:4])
		}
	}
}

// TestAWorkerThatWaitsHearsOfBoth puts one at a time, when there is nothing else.
func TestAWorkerThatWaitsHearsOfBoth(t *testing.T) {
	c := open(t, Access{Server: serve(t, ServerOptions{})}, Options{Lease: time.Hour})
	performed := make(chan string, 10)
	work(t, c, WorkOptions{Perform: func(_ context.Context, j gate.Job) (gate.Outcome, string, error) {
		performed <- j.ID
		return gate.Outcome{Class: gate.Valid}, "", nil
	}})
	first, others := suspicions(4), some(4)
	for i := range first {
		for _, j := range []gate.Job{first[i], others[i]} {
			began := time.Now()
			if err := c.Put(t.Context(), []gate.Job{j}); err != nil {
				t.Fatal(err)
			}
			if id := <-performed; id != j.ID {
				t.Errorf("%s is performed, not %s", id, j.ID)
			}
			t.Logf("%s after %v", j.ID, time.Since(began))
		}
		// Both at the same moment: one may be given back, and is not lost.
		both := []gate.Job{{ID: fmt.Sprint("one-", i)}, {ID: fmt.Sprint("another-", i), Purpose: gate.ForConfirmation}}
		if err := c.Put(t.Context(), both); err != nil {
			t.Fatal(err)
		}
		if a, b := <-performed, <-performed; a == b {
			t.Errorf("%s twice", a)
		}
	}
	for id, o := range collect(t, c, 16) {
		if o.Deliveries != 0 {
			t.Errorf("%s was delivered %d times", id, o.Deliveries)
		}
	}
}

func TestWhatConfirmsASuspicionIsRedelivered(t *testing.T) {
	p := part{Role: "server", Dir: t.TempDir(), Listen: address(t), Token: "secret", Campaign: "again", Jobs: 1}
	start(t, p).says(t, "up")
	c := open(t, Access{URL: "nats://" + p.Listen, Token: p.Token}, Options{Name: p.Campaign})
	jobs := append([]gate.Job{{ID: "poison", Purpose: gate.ForConfirmation}}, suspicions(2)...)
	if err := c.Put(t.Context(), append(jobs, some(2)...)); err != nil {
		t.Fatal(err)
	}
	p.Role, p.Name = "worker", "lost"
	for range start(t, p).lines { // until the first one has taken it down
	}
	work(t, c, WorkOptions{Perform: func(context.Context, gate.Job) (gate.Outcome, string, error) {
		return gate.Outcome{Class: gate.Valid}, "", nil
	}})
	outcomes := collect(t, c, 5)
	if o := outcomes["poison"]; o.Class != gate.Valid || o.Deliveries != 2 {
		t.Errorf("it is %q, and was delivered %d times", o.Class, o.Deliveries)
	}
	if o := outcomes["again-1"]; o.Class != gate.Valid || o.Deliveries != 0 {
		t.Errorf("another one is %q, and was delivered %d times", o.Class, o.Deliveries)
	}
}

// TestACampaignOfAnEarlierVersion had one consumer, of everything, and no identity. It begins anew.
func TestACampaignOfAnEarlierVersion(t *testing.T) {
	s := serve(t, ServerOptions{})
	c := open(t, Access{Server: s}, Options{})
	if err := c.Put(t.Context(), some(1)); err != nil {
		t.Fatal(err)
	}
	js := c.link.js
	for _, consumer := range []string{consumerFirst, consumerWork} {
		if err := js.DeleteConsumer(t.Context(), c.stream("queue"), c.consumer(consumer)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.UpdateStream(t.Context(), jetstream.StreamConfig{Name: c.stream("queue"), Subjects: []string{c.subject("queue", ">")}, Retention: jetstream.WorkQueuePolicy,
		MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateConsumer(t.Context(), c.stream("queue"), jetstream.ConsumerConfig{Durable: consumerWork, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: time.Second, MaxDeliver: -1, MaxAckPending: -1, MaxWaiting: 10_000}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Access{Server: s}, Options{Name: "a", Existing: true}); !errors.Is(err, ErrNoCampaign) {
		t.Errorf("a worker finds it: %v", err)
	}
	c = open(t, Access{Server: s}, Options{}) // its lead makes it one of this version
	if jobs, outcomes, err := c.Restore(t.Context()); err != nil || len(jobs)+len(outcomes) != 0 {
		t.Errorf("%d jobs and %d outcomes are restored, %v", len(jobs), len(outcomes), err)
	}
	if err := c.Put(t.Context(), append(suspicions(1), some(1)...)); err != nil {
		t.Fatal(err)
	}
	work(t, open(t, Access{Server: s}, Options{Existing: true}), WorkOptions{Perform: perform})
	collect(t, c, 2)
}

// TestWhatTheServerLosesIsNoTry has it deliver a job, and nobody begin it, or begin it and be at it still.
func TestWhatTheServerLosesIsNoTry(t *testing.T) {
	t.Parallel()
	p := part{Role: "server", Dir: t.TempDir(), Listen: address(t), Token: "secret"}
	running := start(t, p)
	running.says(t, "up")
	access := Access{URL: "nats://" + p.Listen, Token: p.Token}
	c := open(t, access, Options{MaxTries: 1})
	if err := c.Put(t.Context(), some(1)); err != nil {
		t.Fatal(err)
	}
	queue, err := c.link.js.Consumer(t.Context(), c.stream("queue"), c.consumer(consumerWork))
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		batch, err := queue.Fetch(1)
		if err != nil {
			t.Fatal(err)
		}
		m := <-batch.Messages()
		if m == nil {
			t.Fatal(batch.Error())
		}
		if err := m.Nak(); err != nil {
			t.Fatal(err)
		}
	}
	begun, goOn := make(chan bool, 10), make(chan bool)
	work(t, c, WorkOptions{Name: "slow", Perform: func(context.Context, gate.Job) (gate.Outcome, string, error) {
		begun <- true
		<-goOn
		return gate.Outcome{Class: gate.Valid}, "", nil
	}})
	<-begun
	// The others have nothing to do but to take what the server thinks is lost.
	other := open(t, access, Options{Existing: true, Log: logged(t)})
	for i := range 2 {
		work(t, other, WorkOptions{Name: fmt.Sprint("quick-", i), Perform: func(context.Context, gate.Job) (gate.Outcome, string, error) {
			return gate.Outcome{Class: gate.Invalid}, "", nil
		}})
	}
	for range 2 {
		running.kill()
		<-time.After(3 * LeastLease / 2) // for longer than the lease, which is how long the server believes in a worker
		running = start(t, p)
		running.says(t, "up")
		for deadline := time.Now().Add(20 * time.Second); ; { // until it has been delivered to another one, who has given it back
			s, err := other.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(s.Outcomes) > 0 {
				t.Fatalf("it is %q by %s: %s", s.Outcomes[0].Class, s.Outcomes[0].Worker, s.Outcomes[0].Words)
			}
			if taken(s, "quick-0") || taken(s, "quick-1") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("nobody else is given it")
			}
			pause(t.Context(), 20*time.Millisecond)
		}
		for deadline := time.Now().Add(20 * time.Second); ; {
			s, err := other.Status(t.Context())
			if err != nil || len(s.Outcomes) > 0 || time.Now().After(deadline) {
				t.Fatalf("%v, outcomes %v", err, s.Outcomes)
			}
			if taken(s, "slow") && !taken(s, "quick-0") && !taken(s, "quick-1") {
				break
			}
			pause(t.Context(), 20*time.Millisecond)
		}
	}
	close(goOn)
	for _, o := range collect(t, c, 1) {
		if o.Class != gate.Valid || o.Worker != "slow" || o.Deliveries != 0 {
			t.Errorf("it is %q by %s, delivered %d times: %s", o.Class, o.Worker, o.Deliveries, o.Words)
		}
	}
}

func taken(s Status, worker string) bool {
	for _, w := range s.Workers {
		if w.Name == worker && len(w.At) > 0 {
			return true
		}
	}
	return false
}

// cells are jobs of n cells, rounds of each.
func cells(n, rounds int) (jobs []gate.Job) {
	for r := range rounds {
		for i := range n {
			jobs = append(jobs, gate.Job{ID: fmt.Sprintf("cell%d-%d", i, r), Cell: fmt.Sprint("cell", i)})
		}
	}
	return jobs
}

func TestAWorkerStopsWhereNothingComesToAVerdict(t *testing.T) {
	for name, test := range map[string]struct {
		jobs   []gate.Job
		places int
		class  func(j gate.Job) gate.Class
		most   int
		stops  bool
	}{
		"nothing does":                   {cells(4, 3), 1, func(gate.Job) gate.Class { return gate.Refused }, 5, true},
		"nothing does, with many places": {cells(4, 3), 3, func(gate.Job) gate.Class { return gate.Failed }, 5, true},
		"there is no limit":              {cells(4, 3), 1, func(gate.Job) gate.Class { return gate.Refused }, 0, false},
		"it is one cell":                 {cells(1, 8), 1, func(gate.Job) gate.Class { return gate.Failed }, 5, false},
		"other cells do": {cells(8, 2), 1, func(j gate.Job) gate.Class {
			return map[bool]gate.Class{true: gate.Valid, false: gate.Refused}[j.Cell < "cell2"]
		}, 5, false},
		"it did, and something has gone": {cells(5, 3), 1, func(j gate.Job) gate.Class {
			return map[bool]gate.Class{true: gate.Valid, false: gate.Failed}[strings.HasSuffix(j.ID, "-0")]
		}, 5, true},
		"each time before it is too many": {cells(5, 3), 1, func(j gate.Job) gate.Class {
			return map[bool]gate.Class{true: gate.Invalid, false: gate.Failed}[j.Cell == "cell4"]
		}, 5, false},
	} {
		t.Run(name, func(t *testing.T) {
			tries := 2
			if test.stops { // however slow it is, it uses none up
				tries = 100
			}
			c := open(t, Access{Server: serve(t, ServerOptions{})}, Options{MaxTries: tries})
			if err := c.Put(t.Context(), test.jobs); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			ctx, home := context.WithCancel(t.Context())
			defer home()
			go func() {
				ended <- c.Work(ctx, WorkOptions{Name: "w", Jobs: test.places, MaxBarren: test.most, RetryAfter: 50 * time.Millisecond,
					Perform: func(_ context.Context, j gate.Job) (gate.Outcome, string, error) {
						return gate.Outcome{Class: test.class(j), Words: "no iptables\nand more"}, "", nil
					}})
			}()
			if !test.stops {
				collect(t, c, len(test.jobs))
				home()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				return
			}
			err := <-ended
			if !errors.Is(err, ErrBarren) || !strings.Contains(err.Error(), "the last 5 jobs") || strings.Count(err.Error(), "(no iptables)") != 5 {
				t.Fatalf("%v", err)
			}
			t.Log(err)
			work(t, c, WorkOptions{Name: "good", Perform: func(context.Context, gate.Job) (gate.Outcome, string, error) {
				return gate.Outcome{Class: gate.Valid}, "", nil
			}})
			for id, o := range collect(t, c, len(test.jobs)) { // nothing is lost, and little was tried in vain
				if o.Class != gate.Valid {
					t.Errorf("%s is %q", id, o.Class)
				}
			}
		})
	}
}

// TestAWorkerWaitsForWhatItHasInHand before it says that nothing comes to a verdict.
func TestAWorkerWaitsForWhatItHasInHand(t *testing.T) {
	c := open(t, Access{Server: serve(t, ServerOptions{})}, Options{MaxTries: 1, Lease: time.Hour})
	long := gate.Job{ID: "long", Cell: "long", Purpose: gate.ForConfirmation}
	if err := c.Put(t.Context(), append([]gate.Job{long}, cells(2, 5)...)); err != nil {
		t.Fatal(err)
	}
	goOn := make(chan bool)
	work(t, c, WorkOptions{Jobs: 2, MaxBarren: 3, Perform: func(_ context.Context, j gate.Job) (gate.Outcome, string, error) {
		if j.ID == long.ID {
			<-goOn
			return gate.Outcome{Class: gate.Valid}, "", nil
		}
		return gate.Outcome{Class: gate.Refused}, "", nil
	}})
	collect(t, c, 3)
	close(goOn)
	collect(t, c, 11)
}
