package campaign

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/internal/gate"
)

// held is a Perform that says when it has begun, and goes on when it is told to, whatever its context says: its
// machine was asleep.
func held(class gate.Class) (perform func(context.Context, gate.Job) (gate.Outcome, string, error), begun, goOn chan bool) {
	begun, goOn = make(chan bool), make(chan bool)
	return func(context.Context, gate.Job) (gate.Outcome, string, error) {
		begun <- true
		<-goOn
		return gate.Outcome{Class: class, Attempts: []gate.Attempt{{Class: class}}}, "", nil
	}, begun, goOn
}

// TestAWorkerOfTheCampaignBefore was away while its campaign was removed, and another one of the same name was
// made, with the same jobs. What it brings back is of the one before.
func TestAWorkerOfTheCampaignBefore(t *testing.T) {
	s := serve(t, ServerOptions{})
	before := open(t, Access{Server: s}, Options{Log: logged(t)})
	if _, _, err := before.Begin(t.Context(), []byte("the plan")); err != nil {
		t.Fatal(err)
	}
	if err := before.Put(t.Context(), some(1)); err != nil {
		t.Fatal(err)
	}
	old, oldBegun, oldGoesOn := held(gate.Invalid)
	dir := directory(t, map[string]string{"history.json": "old"})
	ended := make(chan error, 1)
	go func() {
		ended <- before.Work(t.Context(), WorkOptions{Name: "old", Jobs: 1, Perform: func(ctx context.Context, j gate.Job) (gate.Outcome, string, error) {
			o, _, err := old(ctx, j)
			return o, dir, err
		}})
	}()
	<-oldBegun

	lead := open(t, Access{Server: s}, Options{})
	if err := lead.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	lead = open(t, Access{Server: s}, Options{})
	if asked, _, err := lead.Begin(t.Context(), []byte("another plan")); err != nil || string(asked) != "another plan" {
		t.Fatalf("asked for %q, %v", asked, err)
	}
	if err := lead.Put(t.Context(), some(1)); err != nil {
		t.Fatal(err)
	}
	fresh, freshBegun, freshGoesOn := held(gate.Valid)
	work(t, open(t, Access{Server: s}, Options{Existing: true}), WorkOptions{Name: "fresh", Perform: fresh})
	<-freshBegun

	close(oldGoesOn)
	if err := <-ended; !errors.Is(err, ErrNoCampaign) {
		t.Errorf("the worker of the one before ends with %v", err)
	}
	status, err := lead.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(status.Outcomes) != 0 || status.Put != 1 || status.Working != 1 || len(status.Workers) != 1 || status.Workers[0].Name != "fresh" {
		t.Errorf("outcomes %+v, put %d, working %d, workers %+v", status.Outcomes, status.Put, status.Working, status.Workers)
	}
	queue, err := lead.link.js.Stream(t.Context(), lead.stream("queue"))
	if err != nil {
		t.Fatal(err)
	}
	if n := queue.CachedInfo().State.Msgs; n != 1 {
		t.Errorf("the queue has %d jobs: another one has struck it off", n)
	}
	if kept, err := lead.kept.List(t.Context()); err == nil && len(kept) != 0 {
		t.Errorf("%d directories are kept", len(kept))
	}
	close(freshGoesOn)
	for _, o := range collect(t, lead, 1) {
		if o.Worker != "fresh" || o.Class != gate.Valid || o.Deliveries != 0 {
			t.Errorf("it is %q by %s, delivered %d times", o.Class, o.Worker, o.Deliveries)
		}
	}
	// Whoever leads the one before hears that it is gone, and gets nothing of the other.
	if _, _, err := before.Restore(t.Context()); !errors.Is(err, ErrNoCampaign) {
		t.Errorf("the one before is restored: %v", err)
	}
	if err := before.Finish(t.Context()); err == nil {
		if status, err := lead.Status(t.Context()); err != nil || !status.Finished.IsZero() {
			t.Errorf("it was finished by the lead of the one before: %v, %v", status.Finished, err)
		}
	}
}

// TestWhatIsHalfRemovedIsNone has a Remove be killed after its first step.
func TestWhatIsHalfRemovedIsNone(t *testing.T) {
	s := serve(t, ServerOptions{})
	before := open(t, Access{Server: s}, Options{})
	if _, _, err := before.Begin(t.Context(), []byte("the plan")); err != nil {
		t.Fatal(err)
	}
	if err := before.Put(t.Context(), some(2)); err != nil {
		t.Fatal(err)
	}
	stop := work(t, before, WorkOptions{Perform: perform})
	collect(t, before, 2)
	stop()
	if err := before.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := before.link.js.DeleteStream(t.Context(), before.stream("queue")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Access{Server: s}, Options{Name: "a", Existing: true}); !errors.Is(err, ErrNoCampaign) {
		t.Errorf("a worker finds it: %v", err)
	}
	c := open(t, Access{Server: s}, Options{})
	if asked, _, err := c.Asked(t.Context()); err != nil || asked != nil {
		t.Errorf("it was asked for %q, %v", asked, err)
	}
	if jobs, outcomes, err := c.Restore(t.Context()); err != nil || len(jobs)+len(outcomes) != 0 {
		t.Errorf("%d jobs and %d outcomes are restored, %v", len(jobs), len(outcomes), err)
	}
	if err := c.Put(t.Context(), some(2)); err != nil {
		t.Fatal(err)
	}
	if status, err := c.Status(t.Context()); err != nil || status.Put != 2 || status.Waiting != 2 || len(status.Outcomes) != 0 || !status.Finished.IsZero() {
		t.Errorf("%+v, %v", status, err)
	}
	work(t, open(t, Access{Server: s}, Options{Existing: true}), WorkOptions{Perform: perform})
	collect(t, c, 2)
}

func TestWhoAsksForSomethingElseChangesNothing(t *testing.T) {
	c := open(t, Access{Server: serve(t, ServerOptions{})}, Options{})
	if asked, _, err := c.Asked(t.Context()); err != nil || asked != nil {
		t.Errorf("asked for %q, %v", asked, err)
	}
	if _, _, err := c.Begin(t.Context(), []byte("the plan")); err != nil {
		t.Fatal(err)
	}
	if err := c.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		ask      string
		finished bool
	}{{"another plan", true}, {"the plan", false}} {
		if asked, _, err := c.Begin(t.Context(), []byte(test.ask)); err != nil || string(asked) != "the plan" {
			t.Errorf("asked for %q, %v", asked, err)
		}
		if s, err := c.Status(t.Context()); err != nil || s.Finished.IsZero() == test.finished {
			t.Errorf("after %q: finished %v, %v", test.ask, s.Finished, err)
		}
	}
	if asked, _, err := c.Asked(t.Context()); err != nil || string(asked) != "the plan" {
		t.Errorf("asked for %q, %v", asked, err)
	}
}

// TestAWorkerThatComesAtTheEnd goes home, and does not wait for a server that nobody needs any more.
func TestAWorkerThatComesAtTheEnd(t *testing.T) {
	t.Run("it is finished", func(t *testing.T) {
		c := open(t, Access{Server: serve(t, ServerOptions{})}, Options{Lease: time.Hour})
		if err := c.Put(t.Context(), some(1)); err != nil {
			t.Fatal(err)
		}
		if err := c.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		err := c.Work(t.Context(), WorkOptions{Name: "late", Jobs: 1, Perform: func(context.Context, gate.Job) (gate.Outcome, string, error) {
			t.Error("it performs a job")
			return gate.Outcome{Class: gate.Valid}, "", nil
		}})
		if err != nil {
			t.Error(err)
		}
		if s, err := c.Status(t.Context()); err != nil || len(s.Workers) != 0 {
			t.Errorf("workers %+v, %v", s.Workers, err)
		}
	})
	t.Run("it shows before it looks", func(t *testing.T) {
		c := open(t, Access{Server: serve(t, ServerOptions{})}, Options{Lease: time.Hour})
		w := &worker{Campaign: c, o: WorkOptions{Name: "early", Jobs: 1}}
		if finished, err := w.join(t.Context()); finished || err != nil {
			t.Fatalf("finished %v, %v", finished, err)
		}
		if err := c.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s, err := c.Status(t.Context()); err != nil || len(s.Workers) != 1 || s.Workers[0].Name != "early" {
			t.Errorf("workers %+v, %v", s.Workers, err)
		}
	})
	t.Run("the server has gone", func(t *testing.T) {
		t.Parallel()
		p := part{Role: "server", Dir: t.TempDir(), Listen: address(t), Token: "secret"}
		running := start(t, p)
		running.says(t, "up")
		c := open(t, Access{URL: "nats://" + p.Listen, Token: p.Token}, Options{})
		running.kill()
		began := time.Now()
		if err := c.Work(t.Context(), WorkOptions{Name: "late", Jobs: 1, Perform: perform}); !errors.Is(err, ErrUnreachable) {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took > joinLimit+5*time.Second {
			t.Errorf("it waits for %v", took)
		}
	})
}

// TestAServerThatGoesAwayWhileItIsOpened answers the connection, and then no request.
func TestAServerThatGoesAwayWhileItIsOpened(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // it ends with the listener
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		l.Close()
		fmt.Fprintf(conn, "INFO {\"server_id\":\"A\",\"version\":\"2.15.0\",\"proto\":1,\"max_payload\":1048576,\"headers\":true}\r\n")
		for s := bufio.NewScanner(conn); s.Scan(); {
			switch line, _, _ := strings.Cut(s.Text(), " "); line {
			case "PING":
				fmt.Fprint(conn, "PONG\r\n")
			case "PUB", "HPUB": // the first request
				return
			}
		}
	}()
	began := time.Now()
	_, err = Open(t.Context(), Access{URL: "nats://" + l.Addr().String()}, Options{Name: "a", Existing: true})
	if !errors.Is(err, ErrUnreachable) {
		t.Errorf("%v", err)
	}
	if took := time.Since(began); took > requestLimit {
		t.Errorf("it takes %v", took)
	}
}

func TestAChangedLeaseReachesTheWorkersBucket(t *testing.T) {
	s := serve(t, ServerOptions{})
	for _, lease := range []time.Duration{5 * time.Second, 10 * time.Minute, 3 * time.Second, 3 * time.Second} {
		c := open(t, Access{Server: s}, Options{Lease: lease})
		open(t, Access{Server: s}, Options{Existing: true, Lease: time.Hour}) // who has no say in it
		for what, want := range map[string]time.Duration{"workers": lease, "outcomes": 0, "meta": 0} {
			bucket, err := c.link.js.KeyValue(t.Context(), c.stream(what))
			if err != nil {
				t.Fatal(err)
			}
			status, err := bucket.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if status.TTL() != want {
				t.Errorf("a lease of %v: %s are forgotten after %v", lease, what, status.TTL())
			}
		}
	}
}

// TestAStrangerWritesAmongTheJobs keeps nobody from the others.
func TestAStrangerWritesAmongTheJobs(t *testing.T) {
	var told strings.Builder // all that is written there is written by calls of ours
	c := open(t, Access{Server: serve(t, ServerOptions{})}, Options{Log: slog.New(slog.NewTextHandler(&told, nil))})
	if err := c.Put(t.Context(), some(2)); err != nil {
		t.Fatal(err)
	}
	for subject, text := range map[string]string{"not-json": "{", "of-another": `{"id":"` + some(1)[0].ID + `"}`} {
		if _, err := c.link.js.Publish(t.Context(), c.subject("jobs", c.mine(subject)), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.link.js.Publish(t.Context(), c.queued(gate.Job{ID: "not-json"}), []byte("{")); err != nil {
		t.Fatal(err)
	}
	if s, err := c.Status(t.Context()); err != nil || s.Put != 2 || s.Strange != 2 || s.Waiting != 2 {
		t.Errorf("put %d, strange %d, waiting %d, %v", s.Put, s.Strange, s.Waiting, err)
	}
	if text := told.String(); strings.Count(text, "left out") != 2 || !strings.Contains(text, "not-json") {
		t.Errorf("the log says %q", text)
	}
	if jobs, _, err := c.Restore(t.Context()); err != nil || len(jobs) != 2 {
		t.Errorf("%d jobs are restored, %v", len(jobs), err)
	}
	if err := c.Put(t.Context(), []gate.Job{{ID: "not-json"}}); !errors.Is(err, ErrDiffers) {
		t.Errorf("a job whose place is taken: %v", err)
	}
	work(t, c, WorkOptions{Perform: perform})
	collect(t, c, 2)
}
