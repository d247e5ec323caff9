package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"regexp"
	"sync"
	"syscall"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/internal/campaign"
	"github.com/hacheck/hacheck/internal/gate"
)

// A leading puts the jobs of a gate into a campaign, and takes what became of them. Who performs
// them, this process or others, is all the same to it.
type leading struct {
	gate     *gate.Gate
	campaign *campaign.Campaign
	server   *campaign.Server // within this process; nil: it is elsewhere
	// perform performs jobs in this process until ctx ends or there are no more; nil: others do.
	perform func(ctx context.Context) error
	tell    func(format string, args ...any)

	trouble []string

	mu    sync.Mutex
	put   map[string]bool
	taken map[string]bool
	at    map[string]bool // what is performed in this process
}

// An urge says until when a gate or a campaign goes on.
type urge struct {
	context.Context                 // ends when it is interrupted, or its time is up
	interrupted     context.Context // ends when somebody wants it to
}

// urged heeds signals, and a budget unless that is 0, until the returned function is called.
func urged(parent context.Context, budget time.Duration) (urge, func()) {
	interrupted, stop := signal.NotifyContext(parent, endings()...)
	context.AfterFunc(interrupted, stop) // the second one is the system's affair
	signal.Ignore(syscall.SIGPIPE)       // as in runInside
	if budget <= 0 {
		return urge{interrupted, interrupted}, stop
	}
	ctx, cancel := context.WithTimeoutCause(interrupted, budget, errBudget)
	return urge{ctx, interrupted}, func() { cancel(); stop() }
}

// errElsewhere says that a campaign was ended while it was led here.
var errElsewhere = errors.New("somebody else has led the same campaign, and finished it: the same command tells what it came to")

// run leads, and performs jobs beside that if it is to, until all is done or it is urged to end. An
// error says why it could not go on; early that it was urged, which is none.
func (l *leading) run(u urge) (early bool, err error) {
	l.put, l.taken, l.at = map[string]bool{}, map[string]bool{}, map[string]bool{}
	working, end := heed(u, l.server)
	defer end(nil)
	var worker sync.WaitGroup
	if l.perform != nil {
		worker.Go(func() {
			err := l.perform(working)
			if err == nil && working.Err() == nil { // it was sent home, and not by us
				err = errElsewhere
			}
			if err != nil {
				end(err)
			}
		})
	}
	err = l.lead(working)
	if err != nil && u.Err() == nil && working.Err() != nil {
		err = context.Cause(working) // what the worker or the server has failed of
	}
	end(nil)
	worker.Wait()
	if err != nil && l.perform != nil && (l.server == nil || l.server.Err() == nil) {
		if lost := l.late(); lost != nil {
			l.trouble = append(l.trouble, fmt.Sprintf("what came last was not taken: %v", lost))
		}
	}
	if ended(u, err) {
		return true, nil
	}
	return false, err
}

// lead goes on until every job has an outcome, or ctx ends. It goes on with what the campaign
// holds already.
func (l *leading) lead(ctx context.Context) error {
	jobs, outcomes, err := l.campaign.Restore(ctx)
	if err != nil {
		return err
	}
	l.recall(jobs, outcomes)
	due := l.gate.First
	if len(jobs)+len(outcomes) > 0 {
		due = func() []gate.Job { return l.gate.Restore(jobs, outcomes) }
		l.tell("%d of %s done before", len(outcomes), checker.Count(len(jobs), "job"))
	}
	if err := l.hand(ctx, due()); err != nil {
		return err
	}
	if l.gate.Done() {
		return nil
	}
	for o, err := range l.campaign.Outcomes(ctx) {
		if err != nil {
			return err
		}
		if l.known(o) {
			continue
		}
		l.tell("%s", became(o))
		l.mu.Lock()
		more := l.gate.Take(o)
		l.mu.Unlock()
		if err := l.hand(ctx, more); err != nil {
			return err
		}
		if l.gate.Done() {
			return nil
		}
	}
	return context.Cause(ctx)
}

// recall notes what was put and taken before.
func (l *leading) recall(jobs []gate.Job, outcomes []gate.Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, j := range jobs {
		l.put[j.ID] = true
	}
	for _, o := range outcomes {
		l.taken[o.Job.ID] = true
	}
}

// heed ends ctx with why a server within this process can no longer go on, if that comes to be.
func heed(ctx context.Context, server *campaign.Server) (context.Context, context.CancelCauseFunc) {
	ctx, end := context.WithCancelCause(ctx)
	if server != nil {
		go func() { // until ctx ends, which whoever asked for it sees to
			select {
			case <-server.Failed():
				end(server.Err())
			case <-ctx.Done():
			}
		}()
	}
	return ctx, end
}

// ended says whether it is the end of ctx that an error tells of.
func ended(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, context.Cause(ctx)) || errors.Is(err, ctx.Err()))
}

// late takes what came to an end while the leading did: an outcome is kept for a while after
// everybody was told to stop.
func (l *leading) late() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	status, err := l.campaign.Status(ctx)
	if err != nil {
		return err
	}
	for _, o := range status.Outcomes {
		if !l.known(o) {
			l.tell("%s", became(o))
			l.mu.Lock()
			l.gate.Take(o) // there is no time for what it asks for
			l.mu.Unlock()
		}
	}
	return nil
}

// known says whether an outcome was taken before, and that it is now.
func (l *leading) known(o gate.Outcome) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.taken[o.Job.ID]
	l.taken[o.Job.ID] = true
	return before
}

// hand puts jobs into the queue.
func (l *leading) hand(ctx context.Context, jobs []gate.Job) error {
	if len(jobs) == 0 {
		return nil
	}
	if err := l.campaign.Put(ctx, jobs); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, j := range jobs {
		l.put[j.ID] = true
	}
	return nil
}

// report is what it came to so far.
func (l *leading) report() gate.Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gate.Report()
}

// end says of a report how the gate came to its end. One that was interrupted has not passed,
// whatever it has seen.
func (l *leading) end(u urge, early bool) gate.Report {
	r := l.report()
	r.Interrupted = u.interrupted.Err() != nil
	r.OutOfTime = early && !r.Interrupted
	if r.Interrupted && r.Status == exitValid {
		r.Status = exitUnknown
	}
	return r
}

// fails says of a report what went wrong beside the verdicts: failed is why it could not go on, or
// nil.
func (l *leading) fails(r *gate.Report, failed error) {
	r.Trouble = append(r.Trouble, l.trouble...)
	if failed != nil {
		r.Trouble = append(r.Trouble, withoutSecrets(failed.Error()))
		if r.Status != exitInvalid {
			r.Status = exitFailed
		}
	}
}

// standing says how far it is, and what is performed here.
func (l *leading) standing() (far string, running []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.at {
		running = append(running, id)
	}
	return fmt.Sprintf("%d of %s done", len(l.taken), checker.Count(len(l.put), "job")), running
}

// begun and ended note what is performed here.
func (l *leading) begun(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at[id] = true
}

func (l *leading) ended(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.at, id)
}

// became says what became of a job, on a line.
func became(o gate.Outcome) string {
	words := fmt.Sprintf("%s: %s (%s)", o.Job.ID, o.Class, checker.Brief(time.Duration(o.Took*float64(time.Second))))
	if n := len(o.Attempts); n > 1 {
		words += fmt.Sprintf(", at the %s attempt", ordinal(n))
	}
	if o.Ran > 0 {
		words += fmt.Sprintf(", and %d of %s of its schedule", o.Showed, checker.Count(o.Ran, "rerun"))
	}
	why := o.Words
	if last := o.Last(); last != nil && (why == "" || len(last.Findings) > 0) {
		why = last.Words
		if len(last.Findings) > 0 {
			why = last.Findings[0].Kind
		}
	}
	if why != "" {
		words += ": " + gist(why)
	}
	return words
}

func ordinal(n int) string {
	switch n {
	case 2:
		return "second"
	case 3:
		return "third"
	}
	return fmt.Sprintf("%dth", n)
}

// usageOf makes a usage error of what is wrong with a server, or with how it was asked for; other
// errors stay what they are.
func usageOf(who string, err error) error {
	for _, mine := range []error{
		campaign.ErrUnreachable, campaign.ErrCredentials, campaign.ErrCertificate, campaign.ErrJetStream, campaign.ErrPermission,
		campaign.ErrTaken, campaign.ErrLocked, campaign.ErrWritable, campaign.ErrNoCampaign, campaign.ErrName, campaign.ErrOptions, campaign.ErrReplicas,
	} {
		if errors.Is(err, mine) {
			return usage("%s: %s", who, withoutSecrets(err.Error()))
		}
	}
	return err
}

// secrets are what stands before the host in the address of a server.
var secrets = regexp.MustCompile(`//[^/\s]*@`)

// withoutSecrets returns words that may hold addresses of servers, without what lets one in there.
func withoutSecrets(words string) string { return secrets.ReplaceAllString(words, "//…@") }
