package campaign

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hacheck/hacheck/internal/gate"
)

// DefaultRetryAfter is how long a job that has failed waits for its next try.
const DefaultRetryAfter = 5 * time.Second

// grace is what an outcome has to be kept in, when ctx has ended at the same moment.
const grace = 3 * time.Second

// WorkOptions say who works, and how.
type WorkOptions struct {
	// Name is that of the worker, and no other's.
	Name string
	// Jobs is how many it performs at once, 1 or more.
	Jobs int
	// Perform performs a job. The directory that it returns is kept in the campaign, as that of
	// the last attempt; empty: there is none to keep. An error says that there is no outcome
	// because it was interrupted: the job is given to another, and if ctx had ended, this counts as
	// no try. It has to end soon when ctx does.
	Perform func(ctx context.Context, j gate.Job) (o gate.Outcome, dir string, err error)
	// Release is told when a directory that Perform has returned is no longer needed here; nil:
	// nobody is. It may be called by several at once.
	Release func(dir string)
	// RetryAfter is how long a job that has failed waits for its next try; 0:
	// DefaultRetryAfter.
	RetryAfter time.Duration
	// Most is how many bytes of a directory are kept; 0: DefaultMostKept.
	Most int64
}

// Work takes jobs and performs them, until ctx ends, the campaign is finished, or has been removed:
// then it gives back what it has not done. It returns nil in the first two cases, and else an
// error, which wraps ErrNoCampaign if the campaign is not there.
//
// While the server is away it goes on with what it has, and keeps outcomes until they are
// taken.
func (c *Campaign) Work(ctx context.Context, o WorkOptions) error {
	if o.Name == "" || len(o.Name) > mostID {
		return problem(ErrName, "worker %q: its name has 1 to %d bytes", o.Name, mostID)
	}
	if o.Jobs < 1 {
		return problem(ErrOptions, "worker %s: %d jobs at once (it is 1 at least)", o.Name, o.Jobs)
	}
	if o.RetryAfter == 0 {
		o.RetryAfter = DefaultRetryAfter
	}
	if o.Most == 0 {
		o.Most = DefaultMostKept
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	w := &worker{Campaign: c, o: o, hands: map[string]*hand{}, began: time.Now().UTC()}
	var at sync.WaitGroup
	at.Go(func() { stop(w.watch(ctx)) })
	for range o.Jobs {
		at.Go(func() {
			if err := w.slot(ctx); err != nil {
				stop(err)
			}
		})
	}
	resting := make(chan struct{})
	var alive sync.WaitGroup
	alive.Go(func() { w.live(ctx, resting) }) // for as long as anybody is at something
	at.Wait()
	close(resting)
	alive.Wait()
	if err := context.Cause(ctx); errors.Is(err, ErrNoCampaign) {
		return fmt.Errorf("worker %s: campaign %s: %w", o.Name, c.name, err)
	}
	return nil
}

// errFinished is why a worker stops when the campaign has.
var errFinished = errors.New("the campaign is finished")

// A worker is one call of Work.
type worker struct {
	*Campaign
	o     WorkOptions
	began time.Time

	mu    sync.Mutex
	hands map[string]*hand // by the ID of the job
	done  int
}

// A hand has a job in it.
type hand struct {
	job   gate.Job
	since time.Time
	try   int
	// message is how the queue is told about the job: that of its last delivery. It comes again
	// when the server was away for longer than the lease.
	message jetstream.Msg
}

// watch returns when the campaign is finished, or was removed.
func (w *worker) watch(ctx context.Context) error {
	stream, _ := w.ofBucket("meta")
	subject := "$KV." + w.stream("meta") + "." + metaFinished
	for {
		for m, err := range w.follow(ctx, source{stream: stream, subjects: subject}) {
			switch {
			case ctx.Err() != nil:
				return nil
			case errors.Is(err, ErrNoCampaign):
				return err
			case err != nil: // what keeps us from hearing of the end keeps nobody from working
				w.log.Warn("campaign: cannot see whether it is finished", "why", err)
			case !removed(m):
				return errFinished
			}
		}
		if !pause(ctx, time.Second) {
			return nil
		}
	}
}

// pause waits; it says false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// live tells the server three times in a lease what the worker is at, and of each job that it
// goes on, until resting.
func (w *worker) live(ctx context.Context, resting <-chan struct{}) {
	ctx = context.WithoutCancel(ctx) // jobs that are being brought to their end are still ours
	tick := time.NewTicker(w.lease / 3)
	defer tick.Stop()
	for {
		w.tell(ctx)
		select {
		case <-tick.C:
		case <-resting:
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			if w.link.conn.IsConnected() {
				_ = w.workers.Purge(ctx, key(w.o.Name)) // else it is forgotten after a lease
			}
			return
		}
	}
}

func (w *worker) tell(ctx context.Context) {
	me := Worker{Name: w.o.Name, Jobs: w.o.Jobs, Began: w.began, Seen: time.Now().UTC()}
	w.mu.Lock()
	me.Done = w.done
	for id, h := range w.hands {
		me.At = append(me.At, At{Job: id, Since: h.since, Try: h.try})
		// What fails here has failed because the server is away, and is done again.
		_ = h.message.InProgress()
	}
	w.mu.Unlock()
	text, err := json.Marshal(me)
	if err != nil || !w.link.conn.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, w.lease/3)
	defer cancel()
	if _, err := w.workers.Put(ctx, key(w.o.Name), text); err != nil {
		w.log.Debug("campaign: cannot tell that the worker is alive", "why", err)
	}
}

// slot performs one job after the other.
func (w *worker) slot(ctx context.Context) error {
	for {
		m, err := w.next(ctx)
		if err != nil || m == nil {
			return err
		}
		w.take(ctx, m)
	}
}

// next waits for a job; nil: ctx has ended.
func (w *worker) next(ctx context.Context) (jetstream.Msg, error) {
	var m jetstream.Msg
	for {
		err := w.link.try(ctx, patience, func(during context.Context) error {
			queue, err := w.link.js.Consumer(during, w.stream("queue"), consumer)
			if err != nil {
				return err
			}
			waiting, end, err := w.link.session(ctx) // without the limit of a request
			if err != nil {
				return err
			}
			defer end()
			messages, err := queue.Messages(jetstream.PullMaxMessages(1), jetstream.PullExpiry(30*time.Second),
				jetstream.PullHeartbeat(5*time.Second), jetstream.WithMessagesErrOnMissingHeartbeat(true))
			if err != nil {
				return err
			}
			m, err = messages.Next(jetstream.NextContext(waiting))
			if m == nil && ctx.Err() != nil {
				// One may have come at the same moment. It is not ours, and nobody else's.
				messages.Drain()
				if late, err := messages.Next(jetstream.NextMaxWait(time.Second)); err == nil {
					w.excuse(ctx, late.Subject()[len(w.subject("queue", "")):])
					_ = late.Nak()
				}
			}
			messages.Stop()
			return err
		})
		switch {
		case m != nil:
			return m, nil
		case ctx.Err() != nil:
			return nil, nil
		case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrConsumerNotFound):
			return nil, problem(ErrNoCampaign, "its queue has been removed")
		}
		w.log.Warn("campaign: the worker gets no jobs; trying on", "worker", w.o.Name, "why", err)
	}
}

// take performs the job of a message, unless that is done, and says what became of it.
func (w *worker) take(ctx context.Context, m jetstream.Msg) {
	about, err := m.Metadata()
	if err != nil {
		w.log.Error("campaign: a message that is none", "subject", m.Subject(), "why", err)
		return
	}
	var j gate.Job
	if err := json.Unmarshal(m.Data(), &j); err != nil || w.subject("queue", key(j.ID)) != m.Subject() {
		w.log.Error("campaign: what is in the queue is not a job; it is thrown away", "subject", m.Subject(), "why", err)
		_ = m.Term()
		return
	}
	h := &hand{job: j, since: time.Now().UTC(), try: int(about.NumDelivered), message: m}
	w.mu.Lock()
	if mine := w.hands[j.ID]; mine != nil {
		// The server was away for longer than the lease, and has given the job to us again, who are
		// still at it.
		mine.message = m
		w.mu.Unlock()
		return
	}
	w.hands[j.ID] = h
	w.mu.Unlock()
	if left := w.perform(ctx, h); left > 0 {
		w.giveBack(h, left)
	} else {
		w.strike(ctx, h)
	}
}

// letGo says that the job is no longer in our hands, and returns how to tell the queue so.
func (w *worker) letGo(h *hand) jetstream.Msg {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.hands, h.job.ID)
	return h.message
}

func (w *worker) giveBack(h *hand, after time.Duration) {
	if err := w.letGo(h).NakWithDelay(after); err != nil {
		w.log.Debug("campaign: a job is not given back, but runs into its lease", "job", h.job.ID, "why", err)
	}
}

// strike takes a job off the queue whose outcome is kept. If that fails it is given to somebody once
// more, who finds the outcome.
func (w *worker) strike(ctx context.Context, h *hand) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestLimit)
	defer cancel()
	during, end, err := w.link.session(ctx)
	if err != nil {
		w.letGo(h)
		return
	}
	defer end()
	if err := w.letGo(h).DoubleAck(during); err != nil {
		w.log.Debug("campaign: a job that is done is not struck off the queue yet", "job", h.job.ID, "why", err)
	}
}

// atOnce gives a job back without a delay.
const atOnce = time.Nanosecond

// perform brings about that there is an outcome, and returns 0; or after how long the job is
// to be given to somebody again.
func (w *worker) perform(ctx context.Context, h *hand) (again time.Duration) {
	j := h.job
	switch _, there, err := w.outcome(ctx, j.ID, endless); {
	case there: // also one that cannot be read: it is there
		return 0
	case ctx.Err() != nil:
		w.excuse(ctx, key(j.ID))
		return atOnce
	case err != nil:
		w.log.Error("campaign: an outcome that cannot be read", "job", j.ID, "why", err)
		return 0
	}
	try := h.try - w.excused(ctx, h)
	if try > w.maxTries {
		return w.keep(ctx, gate.Outcome{Job: j, Class: gate.SetAside, Began: h.since, Worker: w.o.Name,
			Words: fmt.Sprintf("it was given out %d times, and nobody has brought it to an end: it may take its worker down", w.maxTries)}, "")
	}
	o, dir, err := w.o.Perform(ctx, j)
	if dir != "" && w.o.Release != nil {
		defer w.o.Release(dir)
	}
	if err != nil {
		if ctx.Err() != nil {
			w.excuse(ctx, key(j.ID))
			return atOnce
		}
		w.log.Warn("campaign: a job was interrupted", "job", j.ID, "try", try, "why", err)
		return w.o.RetryAfter
	}
	// What this machine refuses another one may do.
	if (o.Class == gate.Failed || o.Class == gate.Refused) && try < w.maxTries {
		w.log.Info("campaign: a job was not done; it is tried again", "job", j.ID, "class", o.Class, "try", try, "of", w.maxTries)
		return w.o.RetryAfter
	}
	o.Job, o.Worker = j, w.o.Name
	if o.Began.IsZero() {
		o.Began = h.since
	}
	return w.keep(ctx, o, dir)
}

// keep keeps an outcome, and the directory before, so that whoever reads of it finds it. It goes on until
// that is done; when ctx ends, for a moment more.
func (w *worker) keep(ctx context.Context, o gate.Outcome, dir string) (again time.Duration) {
	ctx, cancel := lasting(ctx, grace)
	defer cancel()
	object := ""
	if last := o.Last(); dir != "" && last != nil {
		var err error
		if object, err = w.keepDir(ctx, o.Job.ID, dir); err != nil {
			w.log.Warn("campaign: a directory is not kept", "job", o.Job.ID, "why", err)
			last.Words = joined(last.Words, fmt.Sprintf("its directory could not be kept: %v", err))
		}
		last.Dir = object
	}
	text, err := encode(o, w.mostBytes())
	if err != nil { // more than anybody could read
		o.Class, o.Words, o.Attempts = gate.Failed, err.Error(), nil
		if text, err = encode(o, w.mostBytes()); err != nil {
			w.log.Error("campaign: an outcome cannot be kept", "job", o.Job.ID, "why", err)
			return w.o.RetryAfter
		}
	}
	mine := true
	err = w.link.try(ctx, endless, func(ctx context.Context) error {
		_, err := w.outcomes.Create(ctx, key(o.Job.ID), text)
		if errors.Is(err, jetstream.ErrKeyExists) {
			mine = false
			return nil
		}
		return err
	})
	if err != nil {
		w.log.Warn("campaign: an outcome is lost; the job is done again", "job", o.Job.ID, "why", err)
		return atOnce
	}
	if !mine {
		// Somebody was before us; or we were, and did not get the answer.
		if there, ok, err := w.outcome(ctx, o.Job.ID, patience); err == nil && ok && object != "" && (there.Last() == nil || there.Last().Dir != object) {
			_ = w.kept.Delete(ctx, object)
		}
	}
	w.mu.Lock()
	w.done++
	w.mu.Unlock()
	return 0
}

// lasting is a context that ends some time after ctx does.
func lasting(ctx context.Context, more time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		defer cancel()
		pause(longer, more)
	})
	return longer, func() { stop(); cancel() }
}

func joined(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// excuse says that a worker who was sent home has given a job back, which is not the job's fault. If that
// cannot be written, it counts as a try.
func (w *worker) excuse(ctx context.Context, job string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	n, revision := 0, uint64(0)
	if e, err := w.meta.Get(ctx, metaExcused+job); err == nil {
		revision = e.Revision()
		n, _ = strconv.Atoi(string(e.Value()))
	} else if !errors.Is(err, jetstream.ErrKeyNotFound) {
		return
	}
	if _, err := w.meta.Update(ctx, metaExcused+job, []byte(strconv.Itoa(n+1)), revision); err != nil {
		w.log.Debug("campaign: a try counts that should not", "job", job, "why", err)
	}
}

// excused is how many tries of a job do not count.
func (w *worker) excused(ctx context.Context, h *hand) (n int) {
	if h.try == 1 {
		return 0
	}
	_ = w.link.try(ctx, patience, func(ctx context.Context) error {
		e, err := w.meta.Get(ctx, metaExcused+key(h.job.ID))
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		n, _ = strconv.Atoi(string(e.Value()))
		return nil
	})
	return n
}
