package campaign

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	// MaxBarren is how many jobs in a row, of more than one cell, may come to no verdict here, refused or
	// failed, before the worker takes no more: a machine that lacks something would empty the
	// queue. 0: there is no limit, as for the only worker, which has nobody to leave them to.
	MaxBarren int
}

// DefaultMaxBarren is the MaxBarren of workers that are one of several.
const DefaultMaxBarren = 5

// Work takes jobs and performs them, until ctx ends, the campaign is finished, or has been removed:
// then it gives back what it has not done. It returns nil in the first two cases, and else an
// error, which wraps ErrNoCampaign if the campaign is not there, or is another one than it was at Open, ErrUnreachable if
// the server goes away before it has let the worker in, and ErrBarren if no job comes to a verdict here.
//
// Later on, while the server is away it goes on with what it has, and keeps outcomes until they are
// taken.
func (c *Campaign) Work(ctx context.Context, o WorkOptions) error {
	if o.Name == "" || len(o.Name) > mostID {
		return problem(ErrName, "worker %q: its name has 1 to %d bytes", o.Name, mostID)
	}
	if o.Jobs < 1 {
		return problem(ErrOptions, "worker %s: %d jobs at once (it is 1 at least)", o.Name, o.Jobs)
	}
	if o.MaxBarren < 0 {
		return problem(ErrOptions, "worker %s: a limit of %d jobs without a verdict (it is 0, for none, or more)", o.Name, o.MaxBarren)
	}
	if o.RetryAfter == 0 {
		o.RetryAfter = DefaultRetryAfter
	}
	if o.Most == 0 {
		o.Most = DefaultMostKept
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	w := &worker{Campaign: c, o: o, hands: map[string]*hand{}, free: make(chan struct{}), judged: map[string]bool{}, began: time.Now().UTC()}
	switch finished, err := w.join(ctx); {
	case ctx.Err() != nil, finished && err == nil:
		return nil
	case err != nil:
		return fmt.Errorf("worker %s: campaign %s: %w", o.Name, c.name, err)
	}
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
	if err := context.Cause(ctx); errors.Is(err, ErrNoCampaign) || errors.Is(err, ErrBarren) {
		return fmt.Errorf("worker %s: campaign %s: %w", o.Name, c.name, err)
	}
	return nil
}

// joinLimit bounds how long a worker waits to be let in.
const joinLimit = 2 * requestLimit

// join tells the server of the worker, and only then looks whether the campaign is finished. Who leads it does it the other
// way round: says that it is finished, and then looks who is there. So one of the two sees the other, and nobody
// waits for a server that has gone for good.
func (w *worker) join(ctx context.Context) (finished bool, err error) {
	text, err := json.Marshal(w.about())
	if err != nil {
		return false, err
	}
	limited, cancel := context.WithTimeout(ctx, joinLimit)
	defer cancel()
	err = w.link.try(limited, patience, func(ctx context.Context) error {
		if err := w.current(ctx); err != nil {
			return err
		}
		if _, err := w.workers.Put(ctx, w.mine(key(w.o.Name)), text); err != nil {
			return err
		}
		_, err := w.meta.Get(ctx, w.mine(metaFinished))
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return nil
		}
		finished = err == nil
		return err
	})
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = w.link.gone()
	}
	if finished || err != nil {
		w.leave(ctx)
	}
	return finished, err
}

// leave says that the worker has gone home; else it is forgotten after a lease.
func (w *worker) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if w.link.conn.IsConnected() {
		_ = w.workers.Purge(ctx, w.mine(key(w.o.Name)))
	}
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
	free  chan struct{}    // closed, and made anew, when a hand gets free
	done  int
	// barren are the outcomes without a verdict since the last one with one, each job once;
	// judged are the cells that had a verdict here.
	barren []gate.Outcome
	judged map[string]bool
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
	stream, subject := w.ofBucket("meta", metaFinished)
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
			w.leave(ctx)
			return
		}
	}
}

// about is what the server is told of the worker.
func (w *worker) about() Worker {
	return Worker{Name: w.o.Name, Jobs: w.o.Jobs, Began: w.began, Seen: time.Now().UTC()}
}

func (w *worker) tell(ctx context.Context) {
	me := w.about()
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
	if _, err := w.workers.Put(ctx, w.mine(key(w.o.Name)), text); err != nil {
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
		if err := w.fruitless(ctx); err != nil {
			return err
		}
	}
}

// learn is told what became of a job here, before anybody decides whether it is tried again.
//
// What is refused here, while other cells are judged, is what this machine does not do, and says nothing new about
// it: at the end of a campaign nothing else may be left. A cell that was judged here before, and now is not,
// says that something has gone.
func (w *worker) learn(j gate.Job, o gate.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case o.Class.Judged():
		w.barren, w.judged[j.Cell] = nil, true
	case len(w.judged) > 0 && !w.judged[j.Cell]:
	case !slices.ContainsFunc(w.barren, func(b gate.Outcome) bool { return b.Job.ID == j.ID }):
		o.Job = j
		w.barren = append(w.barren, o)
	}
}

// fruitless says why the worker should take no more jobs; nil: it should. While it has others in its
// hands it waits for what becomes of them.
func (w *worker) fruitless(ctx context.Context) error {
	for {
		w.mu.Lock()
		barren, busy, free := w.barren, len(w.hands) > 0, w.free
		w.mu.Unlock()
		cells := map[string]bool{}
		for _, o := range barren {
			cells[o.Job.Cell] = true
		}
		switch {
		case w.o.MaxBarren == 0, len(barren) < w.o.MaxBarren, len(cells) < 2:
			return nil
		case !busy:
			var why []string
			for _, o := range barren[len(barren)-w.o.MaxBarren:] {
				words := o.Words
				if last := o.Last(); last != nil {
					words = joined(words, last.Words)
				}
				words, _, _ = strings.Cut(words, "\n")
				why = append(why, fmt.Sprintf("%s is %s (%s)", o.Job.ID, o.Class, words))
			}
			return problem(ErrBarren, "the last %d jobs came to no verdict here: %s; mend this machine, or run the worker elsewhere",
				w.o.MaxBarren, strings.Join(why, "; "))
		}
		select {
		case <-free:
		case <-ctx.Done():
			return nil
		}
	}
}

// next waits for a job; nil: ctx has ended.
func (w *worker) next(ctx context.Context) (jetstream.Msg, error) {
	for {
		var m jetstream.Msg
		err := w.link.try(ctx, patience, func(during context.Context) (err error) {
			var queues []jetstream.Consumer
			for _, consumer := range []string{consumerFirst, consumerWork} {
				queue, err := w.link.js.Consumer(during, w.stream("queue"), w.consumer(consumer))
				if err != nil {
					return err
				}
				queues = append(queues, queue)
			}
			for _, queue := range queues {
				if m, err = ask(queue); m != nil || err != nil {
					return err
				}
			}
			waiting, end, err := w.link.session(ctx) // without the limit of a request
			if err != nil {
				return err
			}
			defer end()
			m, err = wait(waiting, queues)
			return err
		})
		switch {
		case ctx.Err() != nil:
			if m != nil {
				_ = m.Nak()
			}
			return nil, nil
		case m != nil:
			return m, nil
		case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrConsumerNotFound):
			return nil, problem(ErrNoCampaign, "its queue has been removed")
		}
		w.log.Warn("campaign: the worker gets no jobs; trying on", "worker", w.o.Name, "why", err)
	}
}

// ask returns a message that is there; nil: there is none.
func ask(queue jetstream.Consumer) (jetstream.Msg, error) {
	batch, err := queue.FetchNoWait(1)
	if err != nil {
		return nil, err
	}
	m := <-batch.Messages() // one, or it is closed
	if m == nil {
		return nil, batch.Error()
	}
	return m, nil
}

// wait waits for a message of any of the queues. If several come at the same moment, that of the
// foremost is returned, and the others are given back. None has come when ctx has ended.
func wait(ctx context.Context, queues []jetstream.Consumer) (jetstream.Msg, error) {
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	came, failed := make([]jetstream.Msg, len(queues)), make([]error, len(queues))
	var at sync.WaitGroup
	for i, queue := range queues {
		at.Go(func() {
			defer enough()
			came[i], failed[i] = waitFor(ctx, queue)
		})
	}
	at.Wait()
	var first jetstream.Msg
	for _, m := range came {
		switch {
		case m == nil:
		case first == nil:
			first = m
		default:
			_ = m.Nak()
		}
	}
	if first != nil {
		return first, nil
	}
	return nil, errors.Join(failed...)
}

// waitFor waits for a message of one queue. One that comes at the moment at which ctx ends is returned
// too: it is ours, and nobody else's.
func waitFor(ctx context.Context, queue jetstream.Consumer) (jetstream.Msg, error) {
	messages, err := queue.Messages(jetstream.PullMaxMessages(1), jetstream.PullExpiry(30*time.Second),
		jetstream.PullHeartbeat(5*time.Second), jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return nil, err
	}
	defer messages.Stop()
	m, err := messages.Next(jetstream.NextContext(ctx))
	if err == nil || ctx.Err() == nil {
		return m, err
	}
	messages.Drain()
	m, _ = messages.Next(jetstream.NextMaxWait(time.Second))
	return m, nil
}

// take performs the job of a message, unless that is done, and says what became of it.
func (w *worker) take(ctx context.Context, m jetstream.Msg) {
	var j gate.Job
	if err := json.Unmarshal(m.Data(), &j); err != nil || w.queued(j) != m.Subject() {
		w.log.Error("campaign: what is in the queue is not a job; it is thrown away", "subject", m.Subject(), "why", err)
		_ = m.Term()
		return
	}
	h := &hand{job: j, since: time.Now().UTC(), try: 1, message: m}
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
	close(w.free)
	w.free = make(chan struct{})
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
		return atOnce
	case err != nil:
		w.log.Error("campaign: an outcome that cannot be read", "job", j.ID, "why", err)
		return 0
	}
	tries, err := w.note(ctx, h, true)
	switch {
	case ctx.Err() != nil:
		w.excuse(ctx, h)
		return atOnce
	case err != nil:
		w.log.Error("campaign: a job is not begun", "job", j.ID, "why", err)
		return w.o.RetryAfter
	}
	try := len(tries)
	if try > w.maxTries {
		return w.setAside(ctx, h, tries[:try-1])
	}
	w.mu.Lock()
	h.try = try
	w.mu.Unlock()
	o, dir, err := w.o.Perform(ctx, j)
	if dir != "" && w.o.Release != nil {
		defer w.o.Release(dir)
	}
	if err != nil {
		if ctx.Err() != nil {
			w.excuse(ctx, h)
			return atOnce
		}
		w.log.Warn("campaign: a job was interrupted", "job", j.ID, "try", try, "why", err)
		return w.o.RetryAfter
	}
	w.learn(j, o)
	// What this machine refuses another one may do.
	if (o.Class == gate.Failed || o.Class == gate.Refused) && try < w.maxTries {
		w.log.Info("campaign: a job was not done; it is tried again", "job", j.ID, "class", o.Class, "try", try, "of", w.maxTries)
		return w.o.RetryAfter
	}
	o.Job, o.Worker = j, w.o.Name
	if try > 1 {
		o.Deliveries = try
	}
	if o.Began.IsZero() {
		o.Began = h.since
	}
	return w.keep(ctx, o, dir)
}

// setAside leaves a job alone whose tries are used up, unless one who has begun it is still at it: then
// it was given to us because the server was away.
func (w *worker) setAside(ctx context.Context, h *hand, tries []begun) (again time.Duration) {
	there, err := w.others(ctx, h.job.ID)
	switch {
	case ctx.Err() != nil:
		w.excuse(ctx, h)
		return atOnce
	case err != nil:
		w.excuse(ctx, h)
		w.log.Warn("campaign: cannot see who is at a job; trying on", "job", h.job.ID, "why", err)
		return w.lease
	case there:
		w.excuse(ctx, h)
		return w.lease
	}
	o := gate.Outcome{Job: h.job, Class: gate.SetAside, Began: h.since, Worker: w.o.Name,
		Words: fmt.Sprintf("it was given out %d times, and nobody has brought it to an end: it may take its worker down", len(tries))}
	if len(tries) > 1 {
		o.Deliveries = len(tries)
	}
	return w.keep(ctx, o, "")
}

// keep keeps an outcome, and the directory before, so that whoever reads of it finds it. It goes on until
// that is done; when ctx ends, for a moment more. Where the campaign has been removed meanwhile there is nothing to keep it in:
// another one of the same name does not want it.
func (w *worker) keep(ctx context.Context, o gate.Outcome, dir string) (again time.Duration) {
	ctx, cancel := lasting(ctx, grace)
	defer cancel()
	if err := w.link.try(ctx, endless, w.current); err != nil {
		w.log.Warn("campaign: an outcome is dropped", "job", o.Job.ID, "why", err)
		return atOnce
	}
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
		_, err := w.outcomes.Create(ctx, w.mine(key(o.Job.ID)), text)
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

// A begun is a try that a worker has begun, as it is noted.
type begun struct {
	Worker string    `json:"worker"`
	At     time.Time `json:"at"`
}

// note notes that a job is being begun, or, if it was given back by a worker who was sent home, that it was not. It
// returns the tries that have been begun, this one too. It goes on until that is done, or ctx ends.
func (w *worker) note(ctx context.Context, h *hand, begins bool) (tries []begun, err error) {
	mine := func(b begun) bool { return b.Worker == w.o.Name && b.At.Equal(h.since) }
	err = w.link.try(ctx, endless, func(ctx context.Context) error {
		tries = nil
		revision := uint64(0)
		switch e, err := w.meta.Get(ctx, w.mine(metaBegun+key(h.job.ID))); {
		case err == nil:
			revision = e.Revision()
			if err := json.Unmarshal(e.Value(), &tries); err != nil {
				return final{fmt.Errorf("who has begun job %s: %w", h.job.ID, err)}
			}
		case !errors.Is(err, jetstream.ErrKeyNotFound):
			return err
		}
		if slices.ContainsFunc(tries, mine) == begins {
			return nil // it was, and the answer was lost
		}
		if begins {
			tries = append(tries, begun{Worker: w.o.Name, At: h.since})
		} else {
			tries = slices.DeleteFunc(tries, mine)
		}
		text, err := json.Marshal(tries)
		if err != nil {
			return final{err}
		}
		_, err = w.meta.Update(ctx, w.mine(metaBegun+key(h.job.ID)), text, revision)
		return err
	})
	return tries, err
}

// excuse says that a worker who was sent home has given a job back, which is not the job's fault. If that
// cannot be written, it counts as a try.
func (w *worker) excuse(ctx context.Context, h *hand) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if _, err := w.note(ctx, h, false); err != nil {
		w.log.Debug("campaign: a try counts that should not", "job", h.job.ID, "why", err)
	}
}

// others says whether another worker is at a job. It gives those who have come back with the server a
// lease to be heard of, and those who are lost one to be forgotten.
func (w *worker) others(ctx context.Context, job string) (bool, error) {
	if !pause(ctx, w.lease) {
		return false, ctx.Err()
	}
	workers, err := w.heard(ctx)
	return slices.ContainsFunc(workers, func(other Worker) bool {
		return other.Name != w.o.Name && slices.ContainsFunc(other.At, func(at At) bool { return at.Job == job })
	}), err
}
