package campaign

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"regexp"
	"slices"
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

// MaxReplicas is how many servers keep a campaign at most; JetStream takes no more.
const MaxReplicas = 5

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
	// MaxTries is how many times workers begin to perform a job before it is left as it is: as
	// failed, or as set aside if no worker has lived to tell. What the server loses, when it is
	// killed, is no try. 0: DefaultMaxTries.
	MaxTries int
	// Replicas is how many servers of a cluster keep it, [MaxReplicas] at most. A campaign that is there has
	// those that it was made with: 0, or the same. 0: one.
	Replicas int
	// Log is told what goes on beside results; nil: nobody.
	Log *slog.Logger
}

// A Campaign is one, on a server. Its methods may be called by many at once.
type Campaign struct {
	name     string
	identity string // what tells it from others that had its name, or will have it
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

// mine is a key, or the end of a subject, as this campaign has it, and none before or after it of the
// same name: who was away while it was removed, and made anew, does not get into the new one by what he
// says to the old one.
func (c *Campaign) mine(k string) string { return c.identity + "." + k }

// consumer is one of the queue. A worker of a campaign that is gone does not find it, and what he says of a
// message of the old one is said to nobody.
func (c *Campaign) consumer(which string) string { return which + "_" + c.identity }

func (c *Campaign) ofBucket(what, k string) (stream, subjects string) {
	return "KV_" + c.stream(what), "$KV." + c.stream(what) + "." + c.mine(k)
}

// The consumers of the queue, each with subjects of its own. A worker asks the first one first: a
// suspicion waits for its fresh runs, and nothing waits for one more run of the matrix.
const (
	consumerFirst = "first"
	consumerWork  = "work"
)

// queued is the subject under which a job is queued. A job always has the same one.
func (c *Campaign) queued(j gate.Job) string {
	if j.Purpose == gate.ForConfirmation {
		return c.subject("first", c.mine(key(j.ID)))
	}
	return c.subject("queue", c.mine(key(j.ID)))
}

// recorded is the subject under which it is recorded.
func (c *Campaign) recorded(j gate.Job) string { return c.subject("jobs", c.mine(key(j.ID))) }

// metaTries is where the consumers have the tries, metaIdentity where the queue has the identity of the campaign.
const (
	metaTries    = "hacheck-max-tries"
	metaIdentity = "hacheck-identity"
)

var names = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Open makes a campaign, or finds it if it is there. It waits a few seconds for a server at most. Then on
// the connection comes back by itself whenever the server does. An error wraps
// ErrUnreachable, ErrCredentials, ErrCertificate, ErrJetStream, ErrPermission, ErrFull, ErrReplicas, ErrName,
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
	if o.Replicas < 0 || o.Replicas > MaxReplicas {
		return nil, problem(ErrOptions, "%d replicas (it is 1 to %d)", o.Replicas, MaxReplicas)
	}
	c := &Campaign{name: o.Name, lease: o.Lease, maxTries: o.MaxTries, log: o.Log}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.link, err = connect(a, c.log); err != nil {
		return nil, err
	}
	limit := 6 * requestLimit
	if o.Existing { // there is nothing to be made
		limit = 2 * requestLimit
	}
	err = c.once(ctx, limit, func(ctx context.Context) error { return c.find(ctx, o) })
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("campaign %s: %w", o.Name, err)
	}
	return c, nil
}

// once does something within a limit, and at once says ErrUnreachable if the server goes away meanwhile: who has not
// been let in yet does not know that it will come back.
func (c *Campaign) once(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	during, end, err := c.link.session(limited)
	if err == nil {
		defer end()
		err = f(during)
	}
	switch {
	case err == nil, ctx.Err() != nil:
		return err
	case during == nil, during.Err() != nil && limited.Err() == nil:
		return c.link.gone()
	}
	return err
}

// Close ends the connection. The campaign stays.
func (c *Campaign) Close() { c.link.close() }

// Name is that of the campaign.
func (c *Campaign) Name() string { return c.name }

// Lease is how long a worker may be silent.
func (c *Campaign) Lease() time.Duration { return c.lease }

// find makes what is missing. The first consumer comes last: where it is, all else is.
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
		return c.findExisting(ctx, of)
	}
	for _, s := range []jetstream.StreamConfig{
		{
			Name: c.stream("jobs"), Subjects: []string{c.subject("jobs", ">")},
			Description: "jobs of the campaign " + c.name,
		},
		{
			Name: c.stream("queue"), Subjects: []string{c.subject("first", ">"), c.subject("queue", ">")}, Retention: jetstream.WorkQueuePolicy,
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
	identity, err := c.whose(ctx)
	if err != nil {
		return of(err)
	}
	c.identity = identity
	for _, b := range []struct {
		what   string
		bucket *jetstream.KeyValue
		ttl    time.Duration
	}{{"outcomes", &c.outcomes, 0}, {"meta", &c.meta, 0}, {"workers", &c.workers, c.lease}} {
		*b.bucket, err = js.KeyValue(ctx, c.stream(b.what))
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			*b.bucket, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: c.stream(b.what), TTL: b.ttl, Replicas: o.Replicas})
		}
		if err == nil && b.ttl != 0 {
			err = c.forget(ctx, b.what, b.ttl)
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
	if err := c.clear(ctx); err != nil {
		return of(err)
	}
	for _, of := range []struct{ consumer, subjects string }{{consumerWork, "queue"}, {consumerFirst, "first"}} {
		_, err = js.CreateOrUpdateConsumer(ctx, c.stream("queue"), jetstream.ConsumerConfig{
			Durable: c.consumer(of.consumer), FilterSubject: c.subject(of.subjects, c.mine(">")), AckPolicy: jetstream.AckExplicitPolicy, AckWait: c.lease,
			MaxDeliver: -1, MaxAckPending: -1, MaxWaiting: 10_000,
			Metadata: map[string]string{metaTries: strconv.Itoa(c.maxTries)},
		})
		if err != nil {
			break
		}
	}
	return of(err)
}

// findExisting finds all that a campaign has, and makes nothing: not of one that is being removed at the moment either.
func (c *Campaign) findExisting(ctx context.Context, of func(error) error) error {
	js := c.link.js
	missing := func(err error) error {
		switch {
		case errors.Is(err, ErrNoCampaign), errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrBucketNotFound):
			return problem(ErrNoCampaign, "%s (start it first: who leads it makes it)", c.link.shown)
		}
		return of(err)
	}
	var err error
	if c.identity, err = c.whose(ctx); err != nil {
		return missing(err)
	}
	found, err := js.Consumer(ctx, c.stream("queue"), c.consumer(consumerFirst))
	if err != nil {
		return missing(err)
	}
	config := found.CachedInfo().Config
	c.lease = config.AckWait
	if n, err := strconv.Atoi(config.Metadata[metaTries]); err == nil && n > 0 {
		c.maxTries = n
	}
	for what, bucket := range map[string]*jetstream.KeyValue{"outcomes": &c.outcomes, "meta": &c.meta, "workers": &c.workers} {
		if *bucket, err = js.KeyValue(ctx, c.stream(what)); err != nil {
			return missing(err)
		}
	}
	c.kept, err = js.ObjectStore(ctx, c.stream("kept"))
	return missing(err)
}

// makeStream makes a stream unless it is there; of two who make it at once both succeed. One that
// an earlier version has made gets the subjects that it lacks, and the queue its identity.
func (c *Campaign) makeStream(ctx context.Context, s jetstream.StreamConfig) error {
	queue := s.Name == c.stream("queue")
	found, err := c.link.js.Stream(ctx, s.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if queue {
			s.Metadata = map[string]string{metaIdentity: rand.Text()}
		}
		_, err = c.link.js.CreateStream(ctx, s)
		if queue && errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return nil // another one was first, and its identity is that of the campaign
		}
		return err
	}
	if err != nil {
		return err
	}
	there := found.CachedInfo().Config
	if s.Replicas != 0 && s.Replicas != there.Replicas {
		return problem(ErrOptions, "%d replicas: it was made with %d (leave it at that, or give the campaign another name)", s.Replicas, there.Replicas)
	}
	unknown := queue && there.Metadata[metaIdentity] == ""
	if unknown {
		there.Metadata = maps.Clone(there.Metadata)
		if there.Metadata == nil {
			there.Metadata = map[string]string{}
		}
		there.Metadata[metaIdentity] = rand.Text()
	}
	if unknown || !slices.Equal(there.Subjects, s.Subjects) {
		there.Subjects = s.Subjects
		_, err = c.link.js.UpdateStream(ctx, there)
	}
	return err
}

// whose is the identity of the campaign that has the name now. It is in the configuration of the queue: so it comes
// and goes with that in one step, and no server of a cluster tells an old one.
func (c *Campaign) whose(ctx context.Context) (string, error) {
	queue, err := c.link.js.Stream(ctx, c.stream("queue"))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return "", problem(ErrNoCampaign, "its queue has been removed")
	}
	if err != nil {
		return "", err
	}
	identity := queue.CachedInfo().Config.Metadata[metaIdentity]
	if identity == "" {
		return "", problem(ErrNoCampaign, "another version has made it")
	}
	return identity, nil
}

// current says, as a final error that wraps ErrNoCampaign, that this campaign is gone, though there may be another
// one of its name.
func (c *Campaign) current(ctx context.Context) error {
	identity, err := c.whose(ctx)
	switch {
	case errors.Is(err, ErrNoCampaign):
		return final{err}
	case err != nil:
		return err
	case identity != c.identity:
		return final{problem(ErrNoCampaign, "it has been removed, and another one has its name")}
	}
	return nil
}

// forget has a bucket forget what is as old as that.
func (c *Campaign) forget(ctx context.Context, bucket string, after time.Duration) error {
	found, err := c.link.js.Stream(ctx, "KV_"+c.stream(bucket))
	if err != nil {
		return err
	}
	config := found.CachedInfo().Config
	if config.MaxAge == after {
		return nil
	}
	// The window in which a message is recognised by its ID is no longer than that, and two minutes else.
	config.MaxAge, config.Duplicates = after, min(after, 2*time.Minute)
	_, err = c.link.js.UpdateStream(ctx, config)
	return err
}

// clear removes consumers of the queue that are not of this campaign: those of an earlier version want what ours
// do, and a queue allows that to one.
func (c *Campaign) clear(ctx context.Context) error {
	queue, err := c.link.js.Stream(ctx, c.stream("queue"))
	if err != nil {
		return err
	}
	names := queue.ConsumerNames(ctx)
	var others []string
	for name := range names.Name() {
		if name != c.consumer(consumerFirst) && name != c.consumer(consumerWork) {
			others = append(others, name)
		}
	}
	if err := names.Err(); err != nil {
		return err
	}
	for _, name := range others {
		if err := queue.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return err
		}
	}
	return nil
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
// there: put them again. It wraps ErrDiffers for a job whose ID another one has, ErrNoCampaign if the campaign
// has been removed, and ErrFull where the server has no room.
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
		if err := c.current(ctx); err != nil {
			return err
		}
		there, err := c.publish(ctx, c.recorded, jobs, texts)
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
		_, err := c.publish(ctx, c.queued, queue, queued)
		return err
	})
}

// publish sends jobs to a stream of one message for each subject, and returns those that it
// had.
func (c *Campaign) publish(ctx context.Context, subject func(gate.Job) string, jobs []gate.Job, texts [][]byte) (there []gate.Job, err error) {
	acks := make([]jetstream.PubAckFuture, len(jobs))
	for i, j := range jobs {
		if acks[i], err = c.link.js.PublishAsync(subject(j), texts[i]); err != nil {
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
		m, err := stream.GetLastMsgForSubject(ctx, c.recorded(j))
		if err != nil {
			return err
		}
		// Both as they are when they come back: what is empty and what is missing is one there.
		var recorded, asked gate.Job
		if err := json.Unmarshal(m.Data, &recorded); err != nil {
			return final{problem(ErrDiffers, "job %s: campaign %s has something there that is no job (%v): somebody else has written it; give the campaign another name", j.ID, c.name, err)}
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
		e, err := c.outcomes.Get(ctx, c.mine(key(id)))
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
	jobs, _, err := c.jobs(ctx)
	return jobs, err
}

// jobs also counts what is among them and is none: somebody else has written it. It is logged, and keeps nobody
// from the others.
func (c *Campaign) jobs(ctx context.Context) (jobs []gate.Job, strange int, err error) {
	for m, err := range c.follow(ctx, source{stream: c.stream("jobs"), subjects: c.subject("jobs", c.mine(">")), stop: true}) {
		if err != nil {
			return nil, 0, fmt.Errorf("jobs of campaign %s: %w", c.name, err)
		}
		var j gate.Job
		if err := json.Unmarshal(m.Data(), &j); err != nil || c.recorded(j) != m.Subject() {
			strange++
			c.log.Warn("campaign: what is among the jobs is none; it is left out", "campaign", c.name, "subject", m.Subject(), "why", err)
			continue
		}
		jobs = append(jobs, j)
	}
	return jobs, strange, nil
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
	metaBegun    = "begun." // and the key of a job
)

// Begin says what the campaign is asked for, such as the text of its plan. Who comes first says it: later ones
// get what it said, and when. A campaign that was finished goes on if it was asked for the same; else
// nothing changes.
func (c *Campaign) Begin(ctx context.Context, what []byte) (asked []byte, began time.Time, err error) {
	err = c.link.try(ctx, patience, func(ctx context.Context) error {
		if _, err := c.meta.Create(ctx, c.mine(metaAsked), what); err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
			return err
		}
		e, err := c.meta.Get(ctx, c.mine(metaAsked))
		if err != nil {
			return err
		}
		if asked, began = e.Value(), e.Created(); !bytes.Equal(asked, what) {
			return nil
		}
		return c.meta.Purge(ctx, c.mine(metaFinished))
	})
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("begin campaign %s: %w", c.name, err)
	}
	return asked, began, nil
}

// Asked returns what Begin was told first, and when; nil: nobody has said so yet. It is how a worker sees for
// whom it would work.
func (c *Campaign) Asked(ctx context.Context) (asked []byte, began time.Time, err error) {
	asked, began, err = c.noted(ctx, metaAsked)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("what campaign %s was asked for: %w", c.name, err)
	}
	return asked, began, nil
}

// noted reads what meta has under a key, and since when; zero: it has nothing.
func (c *Campaign) noted(ctx context.Context, k string) (value []byte, since time.Time, err error) {
	err = c.link.try(ctx, patience, func(ctx context.Context) error {
		e, err := c.meta.Get(ctx, c.mine(k))
		switch {
		case err == nil:
			value, since = e.Value(), e.Created()
		case errors.Is(err, jetstream.ErrKeyNotFound):
			return nil
		}
		return err
	})
	return value, since, err
}

// Finish says that there will be no more jobs, and that nobody waits for those that are left: workers go home. A
// worker that has come shows in a [Campaign.Status] from then on, until it has; one that does not show comes
// later, and finds that it is finished.
func (c *Campaign) Finish(ctx context.Context) error {
	err := c.link.try(ctx, patience, func(ctx context.Context) error {
		_, err := c.meta.Put(ctx, c.mine(metaFinished), []byte("{}"))
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
	// First the queue: without it there is no campaign, and who makes it again makes another one. What is left of
	// this one, if we are killed on the way, counts for nothing there.
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
	// Strange is how many messages among the jobs are none: somebody else has access, and has written them.
	Strange int
	Done    map[gate.Class]int
	Workers []Worker
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
	var err error
	if s.Asked, s.Began, err = c.noted(ctx, metaAsked); err != nil {
		return s, err
	}
	if _, s.Finished, err = c.noted(ctx, metaFinished); err != nil {
		return s, err
	}
	jobs, strange, err := c.jobs(ctx)
	if err != nil {
		return s, err
	}
	s.Put, s.Strange = len(jobs), strange
	err = c.link.try(ctx, patience, func(ctx context.Context) error {
		s.Working = 0
		for _, consumer := range []string{consumerFirst, consumerWork} {
			queue, err := c.link.js.Consumer(ctx, c.stream("queue"), c.consumer(consumer))
			if err != nil {
				return err
			}
			s.Working += queue.CachedInfo().NumAckPending
		}
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
	s.Workers, err = c.heard(ctx)
	return s, err
}

// heard returns the workers that were heard of within the last lease.
func (c *Campaign) heard(ctx context.Context) (workers []Worker, err error) {
	stream, subjects := c.ofBucket("workers", ">")
	seen := map[string]int{}
	for m, err := range c.follow(ctx, source{stream: stream, subjects: subjects, stop: true}) {
		if err != nil {
			return nil, err
		}
		var w Worker
		if removed(m) || json.Unmarshal(m.Data(), &w) != nil {
			continue // it has gone home
		}
		if i, ok := seen[w.Name]; ok { // it has spoken again while we read
			workers[i] = w
			continue
		}
		seen[w.Name] = len(workers)
		workers = append(workers, w)
	}
	return workers, nil
}
