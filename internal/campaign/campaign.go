package campaign

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hacheck/hacheck/internal/gate"
)

// Defaults of [Options].
const (
	DefaultLease    = 30 * time.Second
	DefaultMaxTries = 3
)

// LeastLease is the shortest lease: workers renew it three times in each.
const LeastLease = time.Second

// Options say which campaign, and how it treats its workers.
type Options struct {
	// Name is that of the campaign: letters, digits, "-" and "_", 64 at most. Several campaigns
	// can have one server.
	Name string
	// Existing says that it is not made if it is not there, and keeps the lease and the tries it has: as
	// workers want it, and who only looks.
	Existing bool
	// Lease is how long a worker may be silent before its jobs are given to others; 0:
	// DefaultLease.
	Lease time.Duration
	// MaxTries is how many times a job is given out, to be performed, before it is left as it is: as
	// failed, or as set aside if no worker has lived to tell. 0: DefaultMaxTries.
	MaxTries int
	// Replicas is how many servers of a cluster keep it; 0: one.
	Replicas int
	// Log is told what goes on beside results; nil: nobody.
	Log *slog.Logger
}

// A Campaign is one, on a server. Its methods may be called by many at once.
type Campaign struct {
	name     string
	lease    time.Duration
	maxTries int
	log      *slog.Logger
	link     *link

	outcomes, meta, workers jetstream.KeyValue
	kept                    jetstream.ObjectStore
}

// names of what a campaign has on its server.
func (c *Campaign) stream(what string) string     { return "hacheck_" + c.name + "_" + what }
func (c *Campaign) subject(what, k string) string { return "hacheck." + c.name + "." + what + "." + k }
func (c *Campaign) ofBucket(what string) (stream, subjects string) {
	return "KV_" + c.stream(what), "$KV." + c.stream(what) + ".>"
}

// consumer is the one of the queue.
const consumer = "work"

// metaTries is where the consumer has the tries.
const metaTries = "hacheck-max-tries"

var names = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Open makes a campaign, or finds it if it is there. It waits a few seconds for a server at most. Then on
// the connection comes back by itself whenever the server does. An error wraps
// ErrUnreachable, ErrCredentials, ErrCertificate, ErrJetStream, ErrPermission, ErrFull, ErrName,
// ErrOptions or ErrNoCampaign where it is one of these.
func Open(ctx context.Context, a Access, o Options) (_ *Campaign, err error) {
	if !names.MatchString(o.Name) {
		return nil, problem(ErrName, "campaign %q (letters, digits, - and _, 64 at most)", o.Name)
	}
	if o.Lease == 0 {
		o.Lease = DefaultLease
	}
	if o.Lease < LeastLease {
		return nil, problem(ErrOptions, "a lease of %v (it is %v at least)", o.Lease, LeastLease)
	}
	if o.MaxTries == 0 {
		o.MaxTries = DefaultMaxTries
	}
	if o.MaxTries < 0 {
		return nil, problem(ErrOptions, "%d tries (it is 1 at least)", o.MaxTries)
	}
	c := &Campaign{name: o.Name, lease: o.Lease, maxTries: o.MaxTries, log: o.Log}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.link, err = connect(a, c.log); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 6*requestLimit)
	defer cancel()
	if err := c.find(ctx, o); err != nil {
		c.Close()
		return nil, fmt.Errorf("campaign %s: %w", o.Name, err)
	}
	return c, nil
}

// Close ends the connection. The campaign stays.
func (c *Campaign) Close() { c.link.close() }

// Name is that of the campaign.
func (c *Campaign) Name() string { return c.name }

// Lease is how long a worker may be silent.
func (c *Campaign) Lease() time.Duration { return c.lease }

// find makes what is missing. The consumer comes last: where it is, all else is.
func (c *Campaign) find(ctx context.Context, o Options) error {
	js := c.link.js
	of := func(err error) error {
		if errors.Is(err, nats.ErrNoResponders) {
			return problem(ErrJetStream, "%s (switch it on for the server and the account)", c.link.shown)
		}
		return c.link.of(err)
	}
	limited, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	if _, err := js.AccountInfo(limited); err != nil {
		return of(err)
	}
	if o.Existing {
		found, err := js.Consumer(ctx, c.stream("queue"), consumer)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrConsumerNotFound):
			return problem(ErrNoCampaign, "%s (start it first: who leads it makes it)", c.link.shown)
		case err != nil:
			return of(err)
		}
		config := found.CachedInfo().Config
		c.lease = config.AckWait
		if n, err := strconv.Atoi(config.Metadata[metaTries]); err == nil && n > 0 {
			c.maxTries = n
		}
	}
	for _, s := range []jetstream.StreamConfig{
		{
			Name: c.stream("jobs"), Subjects: []string{c.subject("jobs", ">")},
			Description: "jobs of the campaign " + c.name,
		},
		{
			Name: c.stream("queue"), Subjects: []string{c.subject("queue", ">")}, Retention: jetstream.WorkQueuePolicy,
			Description: "jobs without an outcome of the campaign " + c.name,
		},
	} {
		// One message for each job, and the first one stays.
		s.MaxMsgsPerSubject, s.Discard, s.DiscardNewPerSubject = 1, jetstream.DiscardNew, true
		s.Replicas, s.AllowDirect = o.Replicas, true
		if err := c.makeStream(ctx, s); err != nil {
			return of(err)
		}
	}
	var err error
	for _, b := range []struct {
		what   string
		bucket *jetstream.KeyValue
		ttl    time.Duration
	}{{"outcomes", &c.outcomes, 0}, {"meta", &c.meta, 0}, {"workers", &c.workers, c.lease}} {
		*b.bucket, err = js.KeyValue(ctx, c.stream(b.what))
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			*b.bucket, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: c.stream(b.what), TTL: b.ttl, Replicas: o.Replicas})
		}
		if err != nil {
			return of(err)
		}
	}
	c.kept, err = js.ObjectStore(ctx, c.stream("kept"))
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		c.kept, err = js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: c.stream("kept"), Replicas: o.Replicas})
	}
	if err != nil {
		return of(err)
	}
	if o.Existing {
		return nil
	}
	_, err = js.CreateOrUpdateConsumer(ctx, c.stream("queue"), jetstream.ConsumerConfig{
		Durable: consumer, AckPolicy: jetstream.AckExplicitPolicy, AckWait: c.lease,
		MaxDeliver: -1, MaxAckPending: -1, MaxWaiting: 10_000,
		Metadata: map[string]string{metaTries: strconv.Itoa(c.maxTries)},
	})
	return of(err)
}

// makeStream makes a stream unless it is there; of two who make it at once both succeed.
func (c *Campaign) makeStream(ctx context.Context, s jetstream.StreamConfig) error {
	_, err := c.link.js.Stream(ctx, s.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = c.link.js.CreateStream(ctx, s)
	}
	return err
}

// key is an ID as a token of a subject: what may not be in one is =XX, in hex.
func key(id string) string {
	var b strings.Builder
	for _, c := range []byte(id) {
		if c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// mostID bounds IDs of jobs and names of workers, in bytes.
const mostID = 200

const (
	// batch is how many jobs are put before their being put is waited for.
	batch = 256
	// patience is how long a server that is there may refuse: a cluster chooses a leader meanwhile.
	patience = 10 * time.Second
)

// Put puts jobs, in their order. One that was put before is not put again, but queued again
// if it has no outcome and is not queued. So whoever does not know whether a job was put puts it.
//
// It waits while the server is away, until ctx ends. An error says that some of them may not be
// there: put them again. It wraps ErrDiffers for a job whose ID another one has, and
// ErrFull where the server has no room.
func (c *Campaign) Put(ctx context.Context, jobs []gate.Job) error {
	texts := make([][]byte, len(jobs))
	for i, j := range jobs {
		if j.ID == "" || len(j.ID) > mostID {
			return problem(ErrName, "job %q: its ID has 1 to %d bytes", j.ID, mostID)
		}
		text, err := json.Marshal(j)
		if err != nil {
			return fmt.Errorf("job %s: %w", j.ID, err)
		}
		if len(text) > c.mostBytes() {
			return problem(ErrOptions, "job %s: it has %d bytes, and the server takes %d", j.ID, len(text), c.mostBytes())
		}
		texts[i] = text
	}
	for from := 0; from < len(jobs); from += batch {
		to := min(from+batch, len(jobs))
		if err := c.put(ctx, jobs[from:to], texts[from:to]); err != nil {
			return fmt.Errorf("put jobs of campaign %s: %w", c.name, err)
		}
	}
	return nil
}

func (c *Campaign) put(ctx context.Context, jobs []gate.Job, texts [][]byte) error {
	var old []gate.Job
	err := c.link.try(ctx, patience, func(ctx context.Context) error {
		there, err := c.publish(ctx, "jobs", jobs, texts)
		old = there
		return err
	})
	if err != nil {
		return err
	}
	// Those that are recorded already were put before; or just now, by a try whose answer was lost. They
	// are done, or queued, or neither. New ones are neither.
	done := map[string]bool{}
	for _, j := range old {
		if err := c.same(ctx, j); err != nil {
			return err
		}
		switch _, ok, err := c.outcome(ctx, j.ID, patience); {
		case err != nil:
			return err
		case ok:
			done[j.ID] = true
		}
	}
	var queue []gate.Job
	var queued [][]byte
	for i, j := range jobs {
		if !done[j.ID] {
			queue, queued = append(queue, j), append(queued, texts[i])
		}
	}
	return c.link.try(ctx, patience, func(ctx context.Context) error {
		_, err := c.publish(ctx, "queue", queue, queued)
		return err
	})
}

// publish sends jobs to a stream of one message for each of them, and returns those that it
// had.
func (c *Campaign) publish(ctx context.Context, what string, jobs []gate.Job, texts [][]byte) (there []gate.Job, err error) {
	acks := make([]jetstream.PubAckFuture, len(jobs))
	for i, j := range jobs {
		if acks[i], err = c.link.js.PublishAsync(c.subject(what, key(j.ID)), texts[i]); err != nil {
			return nil, err
		}
	}
	for i, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			if !present(err) {
				return nil, err
			}
			there = append(there, jobs[i])
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return there, nil
}

// same says whether the job that has been recorded under an ID is this one.
func (c *Campaign) same(ctx context.Context, j gate.Job) error {
	return c.link.try(ctx, patience, func(ctx context.Context) error {
		stream, err := c.link.js.Stream(ctx, c.stream("jobs"))
		if err != nil {
			return err
		}
		m, err := stream.GetLastMsgForSubject(ctx, c.subject("jobs", key(j.ID)))
		if err != nil {
			return err
		}
		// Both as they are when they come back: what is empty and what is missing is one there.
		var recorded, asked gate.Job
		if err := json.Unmarshal(m.Data, &recorded); err != nil {
			return final{fmt.Errorf("job %s: %w", j.ID, err)}
		}
		text, err := json.Marshal(j)
		if err != nil {
			return final{err}
		}
		if err := json.Unmarshal(text, &asked); err != nil {
			return final{err}
		}
		if !reflect.DeepEqual(recorded, asked) {
			return final{problem(ErrDiffers, "job %s: campaign %s (give the campaign another name)", j.ID, c.name)}
		}
		return nil
	})
}

// outcome reads that of a job, if there is one.
func (c *Campaign) outcome(ctx context.Context, id string, patience time.Duration) (o gate.Outcome, ok bool, err error) {
	err = c.link.try(ctx, patience, func(ctx context.Context) error {
		e, err := c.outcomes.Get(ctx, key(id))
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			ok = false
			return nil
		}
		if err != nil {
			return err
		}
		ok = true
		if err := json.Unmarshal(e.Value(), &o); err != nil {
			return final{fmt.Errorf("outcome of job %s: %w", id, err)}
		}
		return nil
	})
	return o, ok, err
}

// Jobs returns the jobs that were put, in their order.
func (c *Campaign) Jobs(ctx context.Context) ([]gate.Job, error) {
	var jobs []gate.Job
	for m, err := range c.follow(ctx, source{stream: c.stream("jobs"), subjects: c.subject("jobs", ">"), stop: true}) {
		if err != nil {
			return nil, fmt.Errorf("jobs of campaign %s: %w", c.name, err)
		}
		var j gate.Job
		if err := json.Unmarshal(m.Data(), &j); err != nil {
			return nil, fmt.Errorf("jobs of campaign %s: %s: %w", c.name, m.Subject(), err)
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// Restore is for a lead that begins again: it returns the jobs that were put and the outcomes that are there, and queues
// those of the jobs again that are neither done nor queued, because whoever put them was killed
// in between.
func (c *Campaign) Restore(ctx context.Context) ([]gate.Job, []gate.Outcome, error) {
	jobs, err := c.Jobs(ctx)
	if err != nil {
		return nil, nil, err
	}
	outcomes, err := c.done(ctx)
	if err != nil {
		return nil, nil, err
	}
	have := map[string]bool{}
	for _, o := range outcomes {
		have[o.Job.ID] = true
	}
	var open []gate.Job
	for _, j := range jobs {
		if !have[j.ID] {
			open = append(open, j)
		}
	}
	if err := c.Put(ctx, open); err != nil {
		return nil, nil, err
	}
	return jobs, outcomes, nil
}

// What meta has.
const (
	metaAsked    = "asked"
	metaFinished = "finished"
	metaExcused  = "excused." // and the key of a job
)

// Begin says what the campaign is asked for, such as the text of its plan. Who comes first says it: later ones
// get what it said, and when. A campaign that was finished goes on.
func (c *Campaign) Begin(ctx context.Context, what []byte) (asked []byte, began time.Time, err error) {
	err = c.link.try(ctx, patience, func(ctx context.Context) error {
		if _, err := c.meta.Create(ctx, metaAsked, what); err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
			return err
		}
		if err := c.meta.Purge(ctx, metaFinished); err != nil {
			return err
		}
		e, err := c.meta.Get(ctx, metaAsked)
		if err == nil {
			asked, began = e.Value(), e.Created()
		}
		return err
	})
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("begin campaign %s: %w", c.name, err)
	}
	return asked, began, nil
}

// Finish says that there will be no more jobs, and that nobody waits for those that are left:
// workers go home.
func (c *Campaign) Finish(ctx context.Context) error {
	err := c.link.try(ctx, patience, func(ctx context.Context) error {
		_, err := c.meta.Put(ctx, metaFinished, []byte("{}"))
		return err
	})
	if err != nil {
		return fmt.Errorf("finish campaign %s: %w", c.name, err)
	}
	return nil
}

// Remove takes all of the campaign from the server, its outcomes too.
func (c *Campaign) Remove(ctx context.Context) error {
	js := c.link.js
	// First the queue: without it there is no campaign.
	for _, remove := range []func(context.Context) error{
		func(ctx context.Context) error { return js.DeleteStream(ctx, c.stream("queue")) },
		func(ctx context.Context) error { return js.DeleteStream(ctx, c.stream("jobs")) },
		func(ctx context.Context) error { return js.DeleteKeyValue(ctx, c.stream("outcomes")) },
		func(ctx context.Context) error { return js.DeleteKeyValue(ctx, c.stream("meta")) },
		func(ctx context.Context) error { return js.DeleteKeyValue(ctx, c.stream("workers")) },
		func(ctx context.Context) error { return js.DeleteObjectStore(ctx, c.stream("kept")) },
	} {
		err := c.link.try(ctx, patience, func(ctx context.Context) error {
			err := remove(ctx)
			if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrBucketNotFound) {
				return nil
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("remove campaign %s: %w", c.name, err)
		}
	}
	return nil
}

// A Status is how far a campaign is.
type Status struct {
	Name string
	// Asked is what it was asked for, Began when; zero: nobody has said so yet.
	Asked []byte
	Began time.Time
	// Finished is when it was; zero: it goes on.
	Finished time.Time
	// Put is how many jobs were put; each of them is waiting, or given to a worker who has not
	// brought it back, or has an outcome. Looked at one after the other, these may be off by as
	// many as move meanwhile.
	Put, Waiting, Working int
	Done                  map[gate.Class]int
	Workers               []Worker
	// Outcomes are those that are there, in the order in which they came.
	Outcomes []gate.Outcome
}

// A Worker is one who has been heard of within the last lease.
type Worker struct {
	Name  string    `json:"name"`
	Jobs  int       `json:"jobs"` // at once
	Began time.Time `json:"began"`
	Seen  time.Time `json:"seen"`
	// Done is how many outcomes it has kept.
	Done int  `json:"done"`
	At   []At `json:"at,omitempty"`
}

// At is a job that a worker is at.
type At struct {
	Job   string    `json:"job"`
	Since time.Time `json:"since"`
	Try   int       `json:"try"`
}

// Status says how far it is.
func (c *Campaign) Status(ctx context.Context) (Status, error) {
	s, err := c.status(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("status of campaign %s: %w", c.name, err)
	}
	return s, nil
}

func (c *Campaign) status(ctx context.Context) (Status, error) {
	s := Status{Name: c.name, Done: map[gate.Class]int{}}
	err := c.link.try(ctx, patience, func(ctx context.Context) error {
		e, err := c.meta.Get(ctx, metaAsked)
		switch {
		case err == nil:
			s.Asked, s.Began = e.Value(), e.Created()
		case !errors.Is(err, jetstream.ErrKeyNotFound):
			return err
		}
		e, err = c.meta.Get(ctx, metaFinished)
		switch {
		case err == nil:
			s.Finished = e.Created()
		case !errors.Is(err, jetstream.ErrKeyNotFound):
			return err
		}
		jobs, err := c.link.js.Stream(ctx, c.stream("jobs"))
		if err != nil {
			return err
		}
		work, err := c.link.js.Consumer(ctx, c.stream("queue"), consumer)
		if err != nil {
			return err
		}
		s.Put, s.Working = int(jobs.CachedInfo().State.Msgs), work.CachedInfo().NumAckPending
		return nil
	})
	if err != nil {
		return s, err
	}
	if s.Outcomes, err = c.done(ctx); err != nil {
		return s, err
	}
	for _, o := range s.Outcomes {
		s.Done[o.Class]++
	}
	s.Working = min(s.Working, max(0, s.Put-len(s.Outcomes)))
	s.Waiting = max(0, s.Put-len(s.Outcomes)-s.Working)
	stream, subjects := c.ofBucket("workers")
	seen := map[string]int{}
	for m, err := range c.follow(ctx, source{stream: stream, subjects: subjects, stop: true}) {
		if err != nil {
			return s, err
		}
		var w Worker
		if removed(m) || json.Unmarshal(m.Data(), &w) != nil {
			continue // it has gone home
		}
		if i, ok := seen[w.Name]; ok { // it has spoken again while we read
			s.Workers[i] = w
			continue
		}
		seen[w.Name] = len(s.Workers)
		s.Workers = append(s.Workers, w)
	}
	return s, nil
}
