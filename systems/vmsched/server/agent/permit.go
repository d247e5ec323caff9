package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor/watchdog"
)

// A permit is for how long guests may run: until the host's lease can have ended. It is
// the one thing that guards against a machine running twice, so all of its reckoning is here.
//
// The store counts a lease from when it took the keep-alive, which is after that was sent.
// So counted from the sending, by a clock that goes at most [ClockRate] slower than the
// store's, the lease is there for TTL/ClockRate. When an answer was heard says nothing: it
// may have lain about for as long as the host stood still. And so may what the agent tells a
// guest: that is an instant of the kernel's clock, and not for how long.
type permit struct {
	bug string
	// moment reads both clocks.
	moment func() (moment, error)
	// ended is called of each term that ends, once, in a goroutine that must not wait.
	ended func(*term)

	mu     sync.Mutex
	closed bool
	until  moment        // by whichever clock it comes first
	term   *term         // nil: guests may not run
	news   chan struct{} // closed at the next change
}

// A moment is what both clocks of an agent show: its own monotonic one, and the kernel's.
type moment struct {
	own    time.Time
	kernel watchdog.Instant
}

// moment reads them. Who is stopped after that, or between the two, has old readings, and that
// does no harm: a keep-alive is sent after both, and what guests are permitted does not depend on
// when they are told.
func (a *Agent) moment() (moment, error) {
	kernel, err := a.Now()
	return moment{time.Now(), kernel}, err
}

// A term is a time in which guests may run without a gap. Those that run by it are killed
// when it ends, also if another begins soon: what is told to be fenced stays so.
type term struct {
	ctx context.Context // ends with it
	end context.CancelFunc
	// guests are those that run by it, or are about to. None is added after its end.
	guests sync.WaitGroup
}

// errFenced is why a guest may not run.
var errFenced = errors.New("the host's lease may have ended")

func newPermit(mistake string, read func() (moment, error), ended func(*term)) *permit {
	return &permit{bug: mistake, moment: read, ended: ended, news: make(chan struct{})}
}

// left returns how long it is to a moment by the clock that shows less, and nothing if the
// clocks cannot be read.
func (p *permit) left(until moment) time.Duration {
	now, err := p.moment()
	if err != nil {
		return 0
	}
	if p.bug == bug.WallClockFence {
		now.own = now.own.Round(0)
	}
	return min(until.own.Sub(now.own), until.kernel.Sub(now.kernel))
}

// unwatched is what the kernel's clock has to show by bugs that do without.
const unwatched = time.Hour

// extend lets guests run on, as a lease of ttl was granted, or kept alive, and asked for at
// sent. An answer that comes when that time is over is of no use.
func (p *permit) extend(sent moment, ttl time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lapse()
	lasts := permits(ttl)
	until := moment{sent.own.Add(lasts), sent.kernel.Add(lasts)}
	switch p.bug {
	case bug.PausedThread:
		until = moment{time.Now().Add(lasts), sent.kernel.Add(unwatched)}
	case bug.WallClockFence:
		until = moment{sent.own.Round(0).Add(lasts), sent.kernel.Add(unwatched)}
	}
	if p.closed || p.left(until) <= 0 {
		return
	}
	p.until = until
	if p.term == nil {
		ctx, end := context.WithCancel(context.Background())
		p.term = &term{ctx: ctx, end: end}
	}
	p.changed()
}

// close ends it now, for good.
func (p *permit) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until, p.closed = moment{}, true
	p.finish()
}

// lapse ends the term if its time is up, whoever it is that notices first.
func (p *permit) lapse() {
	if p.bug != bug.PausedThread { // whose only thread calls check
		p.finish()
	}
}

func (p *permit) finish() {
	if p.term == nil || p.left(p.until) > 0 {
		return
	}
	p.term.end()
	p.ended(p.term)
	p.term = nil
	p.changed()
}

func (p *permit) changed() {
	close(p.news)
	p.news = make(chan struct{})
}

// check ends the term if its time is up.
func (p *permit) check() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finish()
}

// next is closed at the next change.
func (p *permit) next() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.news
}

// enter has one more guest run by the present term, until an instant at first. Whoever enters
// calls guests.Done of it when the guest is gone.
func (p *permit) enter() (*term, watchdog.Instant, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lapse()
	if p.term == nil {
		return nil, 0, errFenced
	}
	p.term.guests.Add(1)
	return p.term, p.until.kernel, nil
}

// holds says whether guests may run now.
func (p *permit) holds() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lapse()
	return p.term != nil
}

// of returns until when guests of a term may run. The error is errFenced if it has ended.
func (p *permit) of(t *term) (watchdog.Instant, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lapse()
	if p.term != t {
		return 0, errFenced
	}
	return p.until.kernel, nil
}

// watch ends terms as their time is up, until ctx ends.
func (p *permit) watch(ctx context.Context) {
	for {
		p.mu.Lock()
		p.lapse()
		news, end := p.news, p.left(p.until)
		if p.term == nil || end <= 0 {
			end = unwatched // there is none to end, or not here
		}
		p.mu.Unlock()
		timer := time.NewTimer(end)
		select {
		case <-timer.C:
		case <-news:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}
