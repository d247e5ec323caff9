package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	raftkv "github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/vmsched/server/api"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor/watchdog"
	"github.com/hacheck/hacheck/systems/vmsched/server/probe"
)

// A guestConfig is what the process of a guest is told.
type guestConfig struct {
	Spec    hypervisor.Spec  `json:"spec"`
	Volumes string           `json:"volumes"`
	Probe   string           `json:"probe,omitempty"`
	Until   watchdog.Instant `json:"until"`            // when it is killed, unless it is permitted more
	Listen  string           `json:"listen,omitempty"` // where to wait for a source, instead of booting
}

// countEvery is how often a guest counts.
const countEvery = 5 * time.Millisecond

// RunGuest is the program of a guest: this process is one, until it is stopped, killed, or
// cannot go on. Its standard input is a connection to the hypervisor that has started it.
func RunGuest(ctx context.Context, config json.RawMessage) error {
	var c guestConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return fmt.Errorf("a guest's config: %w", err)
	}
	// Before all else: whatever holds this process up from here on, it does not outlive its
	// permit.
	if err := watchdog.Arm(c.Until); err != nil {
		return err
	}
	conn, err := net.FileConn(os.Stdin)
	if err != nil {
		return fmt.Errorf("a guest's standard input: %w", err)
	}
	parent := newTalk(conn)
	defer conn.Close()
	g, addr, err := newGuest(c)
	if err != nil {
		_ = parent.say(answer{Error: err.Error()})
		return err
	}
	return g.live(ctx, parent, addr)
}

// A guest is one, in its own process.
type guest struct {
	config  guestConfig
	tell    *probe.Teller
	disk    raftkv.Conn
	listen  net.Listener // for a source; nil: it boots
	machine *machine

	life context.Context
	end  context.CancelCauseFunc // with errStopped, or why else
	busy sync.WaitGroup          // all goroutines but live's

	turn  sync.Mutex // of whoever changes what follows
	epoch uint64
	names map[string]net.Listener // by state
	run   *run                    // nil: it stands, or has not begun
	begun bool
	whole bool // a source has sent everything
	send  *sending
	until watchdog.Instant // that it may run
}

// errStopped ends a guest that was to end.
var errStopped = errors.New("the guest was stopped")

// newGuest returns a guest that nobody has let begin yet, but everybody can find.
func newGuest(c guestConfig) (_ *guest, addr string, err error) {
	g := &guest{config: c, machine: newMachine(), epoch: c.Spec.Epoch, names: map[string]net.Listener{}, until: c.Until}
	if g.tell, err = probe.Open(c.Probe); err != nil {
		return nil, "", err
	}
	if g.disk, err = raftkv.Dial(c.Volumes); err != nil {
		return nil, "", err
	}
	if c.Listen != "" {
		if g.listen, err = net.Listen("tcp", c.Listen); err != nil {
			return nil, "", err
		}
		addr = g.listen.Addr().String()
	}
	return g, addr, nil
}

// live is a guest's life.
func (g *guest) live(ctx context.Context, parent *talk, addr string) error {
	g.life, g.end = context.WithCancelCause(ctx)
	defer func() {
		g.end(errStopped)
		g.turn.Lock()
		for _, l := range g.names {
			l.Close()
		}
		g.turn.Unlock()
		if g.listen != nil {
			g.listen.Close()
		}
		g.busy.Wait()
		g.disk.Close()
		_ = g.tell.Close()
	}()
	g.turn.Lock()
	err := g.call(waiting)
	g.turn.Unlock()
	if err != nil {
		_ = parent.say(answer{Error: err.Error()})
		return err
	}
	if err := parent.say(answer{Addr: addr}); err != nil {
		return fmt.Errorf("whoever has started the guest is gone: %w", err)
	}
	g.busy.Go(func() {
		g.serve(parent, g.begin)
		g.turn.Lock()
		defer g.turn.Unlock()
		if !g.begun {
			g.end(errors.New("whoever has started the guest is gone"))
		}
	})
	<-g.life.Done()
	g.turn.Lock()
	if g.run != nil {
		g.run.finish()
	}
	g.turn.Unlock()
	if err := context.Cause(g.life); ctx.Err() == nil && !errors.Is(err, errStopped) {
		return fmt.Errorf("guest %s in epoch %d: %w", g.config.Spec.VM, g.config.Spec.Epoch, err)
	}
	return nil
}

// place returns where the guest is in a state.
func (g *guest) place(state string) place {
	return place{Host: g.config.Spec.Host, VM: g.config.Spec.VM, Epoch: g.epoch, PID: os.Getpid(), State: state}
}

// call gives the guest the name that it has in a state, by which it can be asked from now on.
func (g *guest) call(state string) error {
	l, err := net.Listen("unix", g.place(state).String())
	if err != nil {
		return err
	}
	g.names[state] = l
	g.busy.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					g.end(fmt.Errorf("listen to agents: %w", err))
				}
				return
			}
			g.busy.Go(func() { g.serve(newTalk(conn), g.obey) })
		}
	})
	return nil
}

// uncall takes it away.
func (g *guest) uncall(state string) {
	g.names[state].Close()
	delete(g.names, state)
}

// serve answers what is asked on a connection, until that ends.
func (g *guest) serve(t *talk, do func(context.Context, request) answer) {
	defer t.conn.Close()
	defer context.AfterFunc(g.life, func() { t.conn.Close() })()
	// It reads while it works, to notice the end.
	ctx, cancel := context.WithCancel(g.life)
	asked := make(chan request)
	g.busy.Go(func() {
		defer cancel()
		defer close(asked)
		for {
			var r request
			if t.hear(&r) != nil {
				return
			}
			select {
			case asked <- r:
			case <-ctx.Done():
				return
			}
		}
	})
	defer cancel()
	for r := range asked {
		err := t.say(do(ctx, r))
		if r.Do == doStop {
			g.end(errStopped)
		}
		if err != nil {
			return
		}
	}
}

// begin does what is asked by who has started it.
func (g *guest) begin(_ context.Context, r request) answer {
	g.turn.Lock()
	defer g.turn.Unlock()
	if r.Do != doBegin || g.begun {
		return answer{Error: fmt.Sprintf("cannot %s", r.Do)}
	}
	g.begun = true
	if g.listen != nil {
		g.busy.Go(func() {
			if err := g.receive(); err != nil {
				g.end(fmt.Errorf("what was to migrate here did not: %w", err))
			}
		})
		return answer{}
	}
	return failing(g.goOn(probe.Boot))
}

// obey does what an agent asks.
func (g *guest) obey(ctx context.Context, r request) answer {
	switch r.Do {
	case doPermit:
		return failing(g.allow(r.Until))
	case doSend:
		return failing(g.sendTo(ctx, r.Addr))
	case doContinue:
		return failing(g.goOnHere())
	case doResume:
		return failing(g.resume(r.Epoch))
	case doStatus:
		return answer{Status: g.status()}
	case doStop: // when it is answered
		return answer{}
	}
	return answer{Error: fmt.Sprintf("a guest cannot %s", r.Do)}
}

func failing(err error) answer {
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{}
}

// allow has the guest be killed later. A request that is read late, by a guest that was
// stopped with the request before it, allows nothing more than it did when it was made. Of two
// that are then read in any order the one that says more counts: both are true.
func (g *guest) allow(until watchdog.Instant) error {
	g.turn.Lock()
	defer g.turn.Unlock()
	if until <= g.until {
		return nil
	}
	if err := watchdog.Arm(until); err != nil {
		return err
	}
	g.until = until
	return nil
}

// goOn has the guest run, from the place that it is at: it is its turn. What it tells comes
// before all that it does.
func (g *guest) goOn(as probe.Kind) error {
	if g.life.Err() != nil {
		return context.Cause(g.life)
	}
	if g.names[running] == nil {
		if err := g.call(running); err != nil {
			return err
		}
	}
	g.say(as)
	on, stop := context.WithCancel(g.life)
	calls, giveUp := context.WithCancel(context.Background())
	g.run = &run{stop: stop, giveUp: giveUp}
	d := disk{machine: g.machine, volumes: api.NewVolumesClient(g.disk), vm: g.config.Spec.VM, epoch: g.epoch}
	g.run.busy.Go(func() { g.count(on) })
	g.run.busy.Go(func() {
		if err := d.use(on, calls); err != nil {
			g.end(err)
		}
	})
	for _, before := range []string{waiting, standing} {
		if g.names[before] != nil {
			g.uncall(before)
		}
	}
	return nil
}

// A run is a time in which a guest runs.
type run struct {
	busy         sync.WaitGroup
	stop, giveUp func() // counting, and new writes; and the write that is on the way
}

// halt ends it. When it returns the guest does nothing more.
func (r *run) halt() {
	r.stop()
	r.giveUp()
	r.busy.Wait()
}

// finish ends it when the write that is on the way is acknowledged, or was not in time.
func (r *run) finish() {
	r.stop()
	r.busy.Wait()
	r.giveUp()
}

// count counts and beats.
func (g *guest) count(on context.Context) {
	count, beat := time.NewTicker(countEvery), time.NewTicker(probe.BeatEvery)
	defer count.Stop()
	defer beat.Stop()
	for {
		select {
		case <-on.Done():
			return
		case <-count.C:
			g.machine.tick()
		case <-beat.C:
			if on.Err() == nil {
				g.say(probe.Beat)
			}
		}
	}
}

// say tells the observer.
func (g *guest) say(k probe.Kind) {
	now := g.machine.now()
	g.tell.Tell(probe.Event{
		Kind: k, VM: g.config.Spec.VM, Host: g.config.Spec.Host, Epoch: g.epoch, PID: os.Getpid(),
		Count: now.Count, Acked: now.Acked,
	})
}

// status is what the console shows.
func (g *guest) status() *Status {
	g.turn.Lock()
	defer g.turn.Unlock()
	now := g.machine.now()
	s := &Status{State: waiting, Epoch: g.epoch, Count: now.Count, Acked: now.Acked}
	if g.names[running] != nil {
		s.State, s.Sound = running, g.machine.whole()
	}
	if g.names[standing] != nil {
		s.State = standing
	}
	return s
}

// A sending is a migration from here.
type sending struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// sendTo sends the guest to a target. It ends with ctx, which does with the connection of who
// wanted it: a guest of whose migration nobody hears is not stopped for it.
func (g *guest) sendTo(ctx context.Context, addr string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.turn.Lock()
	if g.run == nil || g.send != nil {
		g.turn.Unlock()
		return errors.New("the guest does not run, or is being sent already")
	}
	s := &sending{cancel: cancel, done: make(chan struct{})}
	g.send = s
	g.turn.Unlock()
	defer func() {
		g.turn.Lock()
		g.send = nil
		g.turn.Unlock()
		close(s.done)
	}()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	return g.machine.send(ctx, conn, g.config.Spec.VM, func() error { return g.pause(ctx) })
}

// pause has the guest stand, unless ctx has ended.
func (g *guest) pause(ctx context.Context) error {
	g.turn.Lock()
	defer g.turn.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := g.call(standing); err != nil {
		return err
	}
	g.run.halt()
	g.run = nil
	g.say(probe.Paused)
	return nil
}

// goOnHere has a guest that stands go on, and takes back whatever would have it stand.
func (g *guest) goOnHere() error {
	g.turn.Lock()
	s := g.send
	g.turn.Unlock()
	if s != nil {
		s.cancel()
		<-s.done
	}
	g.turn.Lock()
	defer g.turn.Unlock()
	if g.names[standing] == nil {
		if g.run == nil {
			return errors.New("the guest has not begun")
		}
		return nil
	}
	return g.goOn(probe.Continued)
}

// receive waits for a source, and takes what it sends.
func (g *guest) receive() error {
	for {
		conn, err := g.listen.Accept()
		if err != nil {
			return err
		}
		err = g.receiveFrom(conn)
		conn.Close()
		if !errors.Is(err, errOther) {
			return err
		}
	}
}

func (g *guest) receiveFrom(conn net.Conn) error {
	defer expire(g.life, conn)()
	t := newTalk(conn)
	if err := g.machine.receive(g.life, t.in, g.config.Spec.VM); err != nil {
		_ = t.say(answer{Error: err.Error()})
		return err
	}
	g.turn.Lock()
	g.whole = true
	g.turn.Unlock()
	// If the source does not hear of it, it goes on there, or is asked again: this one has
	// everything in any case, and what comes of it is not for it to say.
	_ = t.say(answer{})
	return nil
}

// resume has a guest that has come here go on, in a new epoch.
func (g *guest) resume(epoch uint64) error {
	g.turn.Lock()
	defer g.turn.Unlock()
	if !g.whole || g.names[waiting] == nil {
		return errors.New("the guest does not have everything")
	}
	g.epoch = epoch
	return g.goOn(probe.Resumed)
}
