package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hacheck/hacheck/cluster/clock"
)

// clocks implement Clocks. Each node has one that all processes read which are
// started there, so that they keep what it is set to when they are started anew.
type clocks struct {
	lab *Local
	of  []*nodeClock
}

// A nodeClock is a node's.
type nodeClock struct {
	*clock.Clock
	mu     sync.Mutex
	strobe *strobe // that sets it, or nil
}

// newClocks gives l's nodes clocks of their own.
func newClocks(l *Local) (_ *clocks, err error) {
	c := &clocks{lab: l}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if err := clock.Supported(); err != nil {
		return nil, &RefusedError{What: "clocks for the nodes", Err: err}
	}
	for range l.nodes {
		one, err := clock.New()
		if err != nil {
			return nil, clocksRefused(err)
		}
		c.of = append(c.of, &nodeClock{Clock: one})
	}
	// What is asked for now would else be missed when the first node is started.
	if _, err := c.of[0].read(); err != nil {
		return nil, clocksRefused(err)
	}
	return c, nil
}

// clocksRefused is the error for a machine on which no process can be given a clock.
func clocksRefused(err error) error {
	remedy := privilegedRemedy()
	const scope = "/proc/sys/kernel/yama/ptrace_scope"
	if b, _ := os.ReadFile(scope); len(b) > 0 && b[0] == '3' {
		remedy = "kernel.yama.ptrace_scope=1 in /etc/sysctl.d, and a reboot"
	}
	return &RefusedError{What: "clocks for the nodes", Err: err, Remedy: remedy}
}

// start starts cmd with the clocks of the node at a position. It is called on a
// locked thread, in the node's network namespace.
func (c *clocks) start(at int, cmd *exec.Cmd) error { return c.of[at].Start(cmd) }

// close forgets the clocks. The nodes run nothing any more.
func (c *clocks) close() error {
	var errs []error
	for _, n := range c.of {
		if s := n.strobing(); s != nil {
			errs = append(errs, s.End())
		}
		errs = append(errs, n.Close())
	}
	return errors.Join(errs...)
}

func (n *nodeClock) strobing() *strobe {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.strobe
}

// Set implements Clocks. A process that cannot be reached, since what was started
// has executed another program, is an error; but then its clocks are right.
func (c *clocks) Set(node string, w Warp) error {
	n, err := c.find(node)
	if err == nil && w != (Warp{}) {
		err = c.reach(node, n)
	}
	if err == nil {
		err = n.set(w)
	}
	if err != nil {
		return fmt.Errorf("set clocks of %s: %w", node, err)
	}
	return nil
}

func (n *nodeClock) set(w Warp) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.strobe != nil {
		return errStrobed
	}
	return n.Clock.Set(clock.Warp(w))
}

var errStrobed = errors.New("they are being strobed")

func (c *clocks) find(node string) (*nodeClock, error) {
	at, err := c.lab.find(node)
	if err != nil {
		return nil, err
	}
	return c.of[at], nil
}

// reach returns an error if the node's process does not read its clock.
func (c *clocks) reach(node string, n *nodeClock) error {
	at, err := c.lab.find(node)
	if err != nil {
		return err
	}
	p := c.lab.running(at)
	if p == nil {
		return nil
	}
	processes, err := c.lab.members(at)
	if err != nil {
		return err
	}
	for _, m := range processes {
		if m.pid != p.pid {
			continue
		}
		reaches, err := n.Reaches(m.dir)
		if errors.Is(err, os.ErrProcessDone) {
			return nil
		}
		if err != nil {
			return err
		}
		if !reaches {
			return fmt.Errorf("process %d does not read them: what was started there has executed another program, which has to be started itself", m.pid)
		}
	}
	return nil
}

// Read implements Clocks.
func (c *clocks) Read(ctx context.Context, nodes ...string) (map[string]Offsets, error) {
	var (
		reading sync.WaitGroup
		offsets = make([]clock.Offsets, len(nodes))
		errs    = make([]error, len(nodes))
	)
	for i, node := range nodes {
		at, err := c.lab.find(node)
		if err != nil {
			return nil, err
		}
		reading.Go(func() {
			if errs[i] = ctx.Err(); errs[i] == nil { // it takes a millisecond or two
				errs[i] = c.lab.spaces[at].do(func() (err error) {
					offsets[i], err = c.of[at].read()
					return err
				})
			}
			if errs[i] != nil {
				errs[i] = fmt.Errorf("read clocks of %s: %w", node, errs[i])
			}
		})
	}
	reading.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	found := map[string]Offsets{}
	for i, node := range nodes {
		found[node] = Offsets(offsets[i])
	}
	return found, nil
}

// read asks a process that it starts, and that is this program; which one it is does
// not matter, for it gets no further than that.
func (n *nodeClock) read() (clock.Offsets, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args[0] = os.Args[0]
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return n.Read(cmd)
}

// Strobe implements Clocks. It counts how often the node's clocks were set.
func (c *clocks) Strobe(node string, w Warp, every time.Duration) (Impairment, error) {
	n, err := c.find(node)
	if err == nil {
		err = c.reach(node, n)
	}
	var s *strobe
	if err == nil {
		s, err = n.begin(node, w, every)
	}
	if err != nil {
		return nil, fmt.Errorf("strobe clocks of %s: %w", node, err)
	}
	return s, nil
}

// fastest is the shortest period of a strobe: setting a clock takes a millisecond.
const fastest = 5 * time.Millisecond

// A strobe sets a node's clocks again and again.
type strobe struct {
	node  *nodeClock
	name  string
	times atomic.Uint64
	stop  chan struct{}
	done  chan struct{} // closed when the owner has ended, with err
	err   error

	mu    sync.Mutex
	ended bool
}

func (n *nodeClock) begin(name string, w Warp, every time.Duration) (*strobe, error) {
	if every < fastest {
		return nil, fmt.Errorf("every %v is more often than every %v", every, fastest)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.strobe != nil {
		return nil, errStrobed
	}
	if err := n.Clock.Set(clock.Warp(w)); err != nil {
		return nil, err
	}
	n.strobe = &strobe{node: n, name: name, stop: make(chan struct{}), done: make(chan struct{})}
	n.strobe.times.Store(1)
	go n.strobe.run(w, every)
	return n.strobe, nil
}

// run is the owner of the clock until it is stopped.
func (s *strobe) run(w Warp, every time.Duration) {
	defer close(s.done)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for off := false; ; off = !off {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		next := clock.Warp{}
		if off {
			next = clock.Warp(w)
		}
		if s.err = s.node.Clock.Set(next); s.err != nil {
			return
		}
		s.times.Add(1)
	}
}

// Seen implements Impairment.
func (s *strobe) Seen() map[string]uint64 { return map[string]uint64{s.name: s.times.Load()} }

// End implements Impairment.
func (s *strobe) End() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil
	}
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	<-s.done
	if err := errors.Join(s.err, s.node.Clock.Set(clock.Warp{})); err != nil {
		s.err = nil // told
		return fmt.Errorf("set clocks of %s right: %w", s.name, err)
	}
	s.node.mu.Lock()
	s.node.strobe = nil
	s.node.mu.Unlock()
	s.ended = true
	return nil
}

// tryClocks starts a process with a clock of its own, sets that, and sees whether
// the process does: the hooks are tried on this kernel.
func tryClocks() (detail string, err error) {
	if err := clock.Supported(); err != nil {
		return "", &RefusedError{What: "clocks for the nodes", Err: err}
	}
	c, err := clock.New()
	if err != nil {
		return "", clocksRefused(err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	n := &nodeClock{Clock: c}
	if _, err := n.read(); err != nil {
		return "", clocksRefused(err)
	}
	begun := time.Now()
	if err := c.Set(clock.Warp{Offset: -time.Hour, MonotonicDrift: 10}); err != nil {
		return "", err
	}
	set := time.Now()
	jumped, err := n.read()
	if err != nil {
		return "", err
	}
	read := time.Since(set)
	if err := c.Set(clock.Warp{}); err != nil {
		return "", err
	}
	right, err := n.read()
	if err != nil {
		return "", err
	}
	if off := (jumped.Realtime + time.Hour).Abs(); off > jumped.Within {
		return "", fmt.Errorf("realtime was set back by an hour, and a process saw it at %v of the true one", jumped.Realtime)
	}
	if right.Realtime.Abs() > right.Within || jumped.Monotonic <= jumped.Within || right.Monotonic < jumped.Monotonic-right.Within {
		return "", fmt.Errorf("a process saw its clocks at %v and %v of the true ones, and when they were set right at %v and %v; the monotonic one had to gain",
			jumped.Realtime, jumped.Monotonic, right.Realtime, right.Monotonic)
	}
	return fmt.Sprintf("set in %v, read by a process in %v; to jump and to drift, and right again",
		set.Sub(begun).Round(100*time.Microsecond), read.Round(100*time.Microsecond)), nil
}
