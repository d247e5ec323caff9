package scheduler

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
	"github.com/hacheck/hacheck/systems/vmsched/server/state"
)

const (
	// renewals is how often a leader says that it is still there in the time for which it leads
	// otherwise.
	renewals = 4
	// storeLimit is how long the store is waited for.
	storeLimit = 2 * time.Second
	// lookEvery is how often deadlines are looked at. What is new is looked at when it comes.
	lookEvery = 250 * time.Millisecond
	// pauseAfter is what follows a failure.
	pauseAfter = 100 * time.Millisecond
)

// Lead stands for election, does what a leader does while it leads, and stands again,
// until ctx ends.
func (s *Scheduler) Lead(ctx context.Context) {
	for ctx.Err() == nil {
		l, err := s.own.Campaign(ctx, state.Election, s.config.Node, s.config.leads())
		if err != nil {
			if ctx.Err() == nil {
				s.log.Warn("cannot stand for election", "error", err)
			}
			pause(ctx, pauseAfter)
			continue
		}
		s.reign(ctx, l)
	}
}

// reign does what a leader does, until it is none.
func (s *Scheduler) reign(ctx context.Context, l *client.Leadership) {
	log := s.log.With("term", l.Token)
	log.Info("leads")
	reign, end := context.WithCancel(ctx)
	c := &controller{
		store: s.own, leadership: l, bug: s.config.Bug, log: log,
		memory: memory{bug: s.config.Bug, vms: map[string]sighting{}},
	}
	var renewing sync.WaitGroup
	renewing.Go(func() {
		renew(reign, l, s.config.leads()/renewals, log)
		if s.config.Bug == bug.TwoLeaders {
			c.deposed.Store(true)
			return
		}
		end()
	})
	c.run(reign)
	end()
	renewing.Wait()
	log.Info("leads no more")
	if ctx.Err() != nil { // so that another may lead at once
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if _, err := l.Resign(ctx); err != nil {
			log.Warn("cannot resign", "error", err)
		}
	}
}

// renew keeps a leadership by saying so every so often, and returns when it was lost for certain. Who does not hear from the
// store may have lost it before that: what keeps a deposed leader from doing harm is that the
// store refuses its transactions. It may lead still, too, for no lease ends while the store has no
// leader; then it goes on as soon as that is back, and nobody has to wait for its lease to end.
func renew(ctx context.Context, l *client.Leadership, every time.Duration, log *slog.Logger) {
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, storeLimit)
		_, err := l.Renew(attempt)
		cancel()
		if _, expired := errors.AsType[*client.Expired](err); expired && client.IsDefinite(err) {
			log.Warn("the leadership is lost", "error", err)
			return
		}
		pause(ctx, every)
	}
}

// A controller does what a leader does. One goroutine runs it, and owns its view.
type controller struct {
	store      *client.Client
	leadership *client.Leadership
	bug        string
	log        *slog.Logger

	view   *state.View
	memory memory

	// These are of bugs.
	deposed atomic.Bool
	silent  map[string]bool
	asked   time.Time // when hosts were listened for last
}

// errDeposed ends a controller.
var errDeposed = errors.New("another leads, or nobody")

// run runs the controller until ctx ends, or it finds itself deposed.
func (c *controller) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := c.follow(ctx)
		if errors.Is(err, errDeposed) {
			return
		}
		if ctx.Err() == nil {
			c.log.Warn("reads everything again", "error", err)
		}
		pause(ctx, pauseAfter)
	}
}

// follow reads everything, and acts on that and on what changes after it.
func (c *controller) follow(ctx context.Context) error {
	if err := c.load(ctx); err != nil {
		return err
	}
	watcher := c.store.Watch(ctx, client.Prefix(state.Root), c.view.Revision+1)
	defer watcher.Close()
	for {
		if err := c.act(ctx); err != nil {
			return err
		}
		if err := c.hear(ctx, watcher); err != nil {
			return err
		}
	}
}

func (c *controller) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	v, err := state.Load(ctx, c.store)
	if err == nil {
		c.view = v
	}
	return err
}

// hear waits for what is new, and not too long.
func (c *controller) hear(ctx context.Context, from *client.Watcher) error {
	next, cancel := context.WithTimeout(ctx, lookEvery)
	defer cancel()
	b, err := from.Next(next)
	switch {
	case err != nil && next.Err() != nil && ctx.Err() == nil:
		return nil
	case err != nil:
		return err
	case b.Compacted > 0:
		return errors.New("what came next was compacted")
	}
	return c.view.Apply(b)
}

// act does what is to be done, until there is nothing more. What was done on an old view has
// not taken place, and is decided anew; of what may have taken place or not, the store is
// asked.
func (c *controller) act(ctx context.Context) error {
	for {
		now := time.Now()
		c.memory.see(c.view, now)
		k := knowledge{View: c.view, age: c.memory.ages(now), handed: c.memory.handed(), deposed: c.deposed.Load()}
		if c.bug == bug.NoFence {
			k.silent = c.listen(ctx)
		}
		p := decide(k, c.bug)
		if len(p.actions) == 0 {
			return ctx.Err()
		}
		if k.deposed {
			pause(ctx, pauseAfter) // it is not what it was
		}
		r, err := c.perform(ctx, p, k.deposed)
		switch {
		case errors.Is(err, errDeposed):
			return err
		case client.IsDefinite(err):
			c.log.Warn("cannot change anything", "error", err)
			return ctx.Err() // to try again when there is something new, or it is time
		case err != nil || !r.Succeeded:
			if err != nil {
				c.log.Warn("does not know what became of it", "error", err)
			}
			if err := c.load(ctx); err != nil {
				return err
			}
		default:
			for _, a := range p.actions {
				c.log.Info(string(a.what), "vm", a.vm, "host", a.host, "why", a.why, "revision", r.Revision)
			}
			p.change.Apply(c.view, r.Revision)
		}
	}
}

// perform performs a plan, as long as this one leads.
func (c *controller) perform(ctx context.Context, p plan, deposed bool) (client.TxnResult, error) {
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	t := p.change.Txn()
	if !deposed {
		t = c.leadership.Fenced(t)
		t.Else = []client.Op{client.OpRange(client.Key(c.leadership.Key()))}
	}
	r, err := c.store.Txn(ctx, t)
	if err != nil || r.Succeeded {
		return r, err
	}
	if leader := r.Results[0]; len(leader) == 0 || leader[0].Create != c.leadership.Token {
		if c.bug == bug.TwoLeaders {
			c.deposed.Store(true)
			return r, nil
		}
		return r, errDeposed
	}
	return r, nil
}

// listen is [bug.NoFence]: it says which hosts have not been heard of for a second, as what is
// left of their leases tells.
func (c *controller) listen(ctx context.Context) map[string]bool {
	if time.Since(c.asked) < lookEvery {
		return c.silent
	}
	c.asked, c.silent = time.Now(), map[string]bool{}
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	for host := range c.view.Alive {
		r, err := c.store.Range(ctx, client.Key(state.AliveKey(host)), client.RangeOptions{})
		if err != nil || len(r.KVs) == 0 {
			continue
		}
		if lease, err := c.store.Describe(ctx, r.KVs[0].Lease); err == nil {
			c.silent[host] = lease.Left < lease.TTL-time.Second
		}
	}
	return c.silent
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
