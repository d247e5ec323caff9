package agent

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor/watchdog"
)

const permitted5s = 3750 * time.Millisecond // of a lease of five seconds

// Clocks are those of a host. The kernel's is ahead by as long as the host was suspended.
type clocks struct {
	suspended time.Duration
	broken    error
}

func (c *clocks) now() moment {
	return moment{time.Now(), watchdog.Instant(time.Now().UnixNano()).Add(c.suspended)}
}

// begun returns a permit, its clocks, and how many of its terms have ended.
func begun(mistake string) (p *permit, c *clocks, ended *int) {
	c, ended = new(clocks), new(int)
	return newPermit(mistake, func() (moment, error) { return c.now(), c.broken }, func(*term) { *ended++ }), c, ended
}

func TestPermitCountsFromWhenItWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c, ended := begun("")
		if _, _, err := p.enter(); err == nil || p.holds() {
			t.Error("guests may run before anything was permitted")
		}
		sent := c.now()
		end := sent.kernel.Add(permitted5s)
		time.Sleep(time.Second)
		p.extend(sent, 5*time.Second)
		first, until, err := p.enter()
		if err != nil || until != end {
			t.Errorf("it lasts until %v, want %v; %v", until, end, err)
		}
		first.guests.Done()
		time.Sleep(until.Sub(c.now().kernel) - 1)
		if of, err := p.of(first); err != nil || of != end || !p.holds() || first.ctx.Err() != nil {
			t.Error("it ends too early")
		}
		time.Sleep(time.Nanosecond)
		if _, err := p.of(first); err == nil || p.holds() || first.ctx.Err() == nil || *ended != 1 {
			t.Error("it does not end")
		}
		sent = c.now()
		time.Sleep(permitted5s)
		p.extend(sent, 5*time.Second)
		if p.holds() {
			t.Error("an answer that came too late permits something")
		}
		p.extend(c.now(), 5*time.Second)
		second, _, err := p.enter()
		if err != nil || second == first {
			t.Errorf("what has ended goes on: %v", err)
		}
		if _, err := p.of(first); err == nil {
			t.Error("who ran by what has ended may run on")
		}
		second.guests.Done()
		p.close()
		p.extend(c.now(), 5*time.Second)
		if p.holds() || second.ctx.Err() == nil || *ended != 2 {
			t.Error("it goes on after its end")
		}
	})
}

// TestEitherClockEndsAPermit: the kernel's goes on while the host is suspended, and the
// agent's own does not; and the agent's may be the faster one.
func TestEitherClockEndsAPermit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c, ended := begun("")
		p.extend(c.now(), 5*time.Second)
		c.suspended = permitted5s - 1
		if !p.holds() {
			t.Error("it ends too early")
		}
		c.suspended++
		if p.holds() || *ended != 1 {
			t.Error("it goes on behind the kernel's watchdogs")
		}

		sent := c.now()
		c.suspended += permitted5s
		if p.extend(sent, 5*time.Second); p.holds() {
			t.Error("an answer that lay about while the host was suspended permits something")
		}

		p.extend(c.now(), 5*time.Second)
		c.suspended -= time.Hour // by the kernel's there would be more
		time.Sleep(permitted5s - 1)
		if !p.holds() {
			t.Error("it ends too early")
		}
		time.Sleep(time.Nanosecond)
		if p.holds() || *ended != 2 {
			t.Error("it goes on by the slower clock")
		}

		p.extend(c.now(), 5*time.Second)
		if !p.holds() {
			t.Error("there is none")
		}
		c.broken = errors.New("no clock")
		if p.holds() {
			t.Error("it lasts by no clock")
		}
	})
}

// TestWatchSleepsByTheNearerEnd: a term ends on time by the kernel's clock, too.
func TestWatchSleepsByTheNearerEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c, _ := begun("")
		begin := time.Now()
		p.extend(c.now(), 5*time.Second)
		now, _, err := p.enter()
		must(t, err)
		now.guests.Done()
		c.suspended = 2 * time.Second
		go p.watch(t.Context())
		<-now.ctx.Done()
		if lasted := time.Since(begin); lasted != permitted5s-2*time.Second {
			t.Errorf("it lasted %v", lasted)
		}
	})
}

// TestAnswerThatComesTooLateIsNotInTime: the term has ended, whoever notices first.
func TestAnswerThatComesTooLateIsNotInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c, ended := begun("")
		p.extend(c.now(), 5*time.Second)
		old, _, err := p.enter()
		must(t, err)
		old.guests.Done()
		time.Sleep(permitted5s)
		sent := c.now()
		time.Sleep(time.Second)
		p.extend(sent, 5*time.Second)
		if old.ctx.Err() == nil || *ended != 1 || !p.holds() {
			t.Errorf("%d terms have ended", *ended)
		}
	})
}

func TestPermitIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c, _ := begun("")
		go p.watch(t.Context())
		for range 3 {
			begin := time.Now()
			for range 10 {
				p.extend(c.now(), 5*time.Second)
				time.Sleep(time.Second)
			}
			now, _, err := p.enter()
			must(t, err)
			now.guests.Done()
			<-now.ctx.Done()
			if lasted := time.Since(begin); lasted != 9*time.Second+permitted5s {
				t.Errorf("it lasted %v", lasted)
			}
		}
	})
}

func TestPermitsBugs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c, _ := begun(bug.PausedThread)
		p.extend(c.now(), 5*time.Second)
		sent := c.now()
		time.Sleep(20 * time.Second) // the host stands still
		p.extend(sent, 5*time.Second)
		if p.check(); !p.holds() {
			t.Error("the answer was not enough")
		}
		if now, until, err := p.enter(); err != nil || until != sent.kernel.Add(unwatched) {
			t.Errorf("the kernel watches: %v, %v", until, err)
		} else {
			now.guests.Done()
		}
		time.Sleep(5 * time.Second)
		if p.check(); p.holds() {
			t.Error("it is never over")
		}

		p, c, _ = begun(bug.WallClockFence)
		p.extend(c.now(), 5*time.Second)
		if p.until.own != p.until.own.Round(0) {
			t.Error("it is not the clock on the wall that counts")
		}
		if now, until, err := p.enter(); err != nil || until != c.now().kernel.Add(unwatched) {
			t.Errorf("the kernel watches: %v, %v", until, err)
		} else {
			now.guests.Done()
		}
		time.Sleep(5 * time.Second)
		if p.holds() {
			t.Error("it is never over")
		}
	})
}
