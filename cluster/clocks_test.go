//go:build linux

package cluster

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/cluster/clock"
)

// playClock tells everybody who connects with port 7 what its clocks show, in
// nanoseconds: realtime, and the monotonic one since it began.
func playClock(args []string) int {
	begun := time.Now()
	listener, err := net.Listen("tcp4", ":7")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("ticking", strings.Join(args, " "))
	for {
		c, err := listener.Accept()
		if err != nil {
			return 1
		}
		fmt.Fprintln(c, time.Now().UnixNano(), time.Since(begun).Nanoseconds())
		c.Close()
	}
}

// A shown is what a node's own process says of its clocks, and when.
type shown struct {
	realtime, monotonic time.Duration // the former as an offset
	at                  time.Time
}

// showClock asks the process that runs on a node.
func showClock(t *testing.T, n Node) shown {
	t.Helper()
	c, err := net.DialTimeout("tcp4", n.Addr.String()+":7", 5*time.Second)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(5*time.Second)))
	var realtime, monotonic int64
	_, err = fmt.Fscan(bufio.NewReader(c), &realtime, &monotonic)
	must(t, err)
	now := time.Now()
	return shown{time.Unix(0, realtime).Sub(now), time.Duration(monotonic), now}
}

// near says that two times differ by no more than a busy machine makes them.
func near(a, b time.Duration) bool { return (a - b).Abs() < 2*time.Second }

// readClock is Read of one node.
func readClock(t *testing.T, l *Local, node string) Offsets {
	t.Helper()
	o, err := l.Clocks().Read(t.Context(), node)
	must(t, err)
	return o[node]
}

func needClocks(t *testing.T) {
	if err := clock.Supported(); err != nil {
		t.Skip(err)
	}
}

func TestNodesHaveClocksOfTheirOwn(t *testing.T) {
	needClocks(t)
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 2, Clocks: true})
	one, two := l.Nodes()[0], l.Nodes()[1]
	for _, n := range l.Nodes() {
		startPlay(t, l, n.Name, "clock", "ticking")
		if s := showClock(t, n); !near(s.realtime, 0) {
			t.Errorf("the clock of %s is off by %v, and nobody has set it", n.Name, s.realtime)
		}
	}
	for _, offset := range []time.Duration{time.Hour, -2 * time.Hour} {
		must(t, l.Clocks().Set("n1", Warp{Offset: offset}))
		if s := showClock(t, one); !near(s.realtime, offset) {
			t.Errorf("n1 was set off by %v, and shows %v", offset, s.realtime)
		}
		if s := showClock(t, two); !near(s.realtime, 0) {
			t.Errorf("n1 was set off by %v, and n2 shows %v", offset, s.realtime)
		}
		both, err := l.Clocks().Read(t.Context(), "n1", "n2")
		must(t, err)
		for name, want := range map[string]time.Duration{"n1": offset, "n2": 0} {
			if o := both[name]; (o.Realtime-want).Abs() > o.Within || o.Monotonic.Abs() > o.Within {
				t.Errorf("%s reads %+v, want %v", name, o, want)
			}
		}
	}

	// Another process on the node has what the one before had.
	must(t, l.Kill("n1"))
	startPlay(t, l, "n1", "clock", "ticking again", "again")
	if s := showClock(t, one); !near(s.realtime, -2*time.Hour) {
		t.Errorf("after a restart n1 shows %v", s.realtime)
	}

	// The monotonic clock runs fast, while the other does not, and keeps what it has
	// gained when it is set right.
	before := showClock(t, one)
	must(t, l.Clocks().Set("n1", Warp{MonotonicDrift: 50}))
	eventually(t, "n1 has gained a quarter of a minute", func() bool {
		s := showClock(t, one)
		return s.monotonic-before.monotonic-s.at.Sub(before.at) > 15*time.Second && near(s.realtime, 0)
	})
	must(t, l.Clocks().Set("n1", Warp{}))
	after, o := showClock(t, one), readClock(t, l, "n1")
	if again := showClock(t, one); !near(again.monotonic-after.monotonic, again.at.Sub(after.at)) || !near(again.realtime, 0) {
		t.Errorf("set right, n1 shows %v of realtime; and the monotonic clock goes on by %v in %v",
			again.realtime, again.monotonic-after.monotonic, again.at.Sub(after.at))
	}
	if gained := after.monotonic - before.monotonic - after.at.Sub(before.at); o.Realtime.Abs() > o.Within || !near(o.Monotonic, gained) {
		t.Errorf("set right, n1 reads %+v; it has gained %v", o, gained)
	}

	for _, err := range []error{
		l.Clocks().Set("n3", Warp{}),
		l.Clocks().Set("n1", Warp{MonotonicDrift: -1}),
		func() error { _, err := l.Clocks().Read(t.Context(), "n1", "n3"); return err }(),
		func() error { _, err := l.Clocks().Strobe("n1", Warp{}, time.Microsecond); return err }(),
	} {
		if err == nil {
			t.Error("clocks were set, or read, that cannot be")
		}
	}
}

func TestStrobedClocksJumpToAndFro(t *testing.T) {
	needClocks(t)
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 2, Clocks: true})
	n := l.Nodes()[0]
	startPlay(t, l, "n1", "clock", "ticking")
	s, err := l.Clocks().Strobe("n1", Warp{Offset: time.Hour}, 10*time.Millisecond)
	must(t, err)
	last, jumps := time.Duration(0), 0
	eventually(t, "the clock has jumped a dozen times", func() bool {
		now := showClock(t, n).realtime
		if !near(now, 0) && !near(now, time.Hour) {
			t.Fatalf("it shows %v", now)
		}
		if !near(now, last) {
			jumps++
		}
		last = now
		return jumps >= 12
	})
	if seen := s.Seen()["n1"]; seen < uint64(jumps) {
		t.Errorf("it has jumped %d times, and says %d", jumps, seen)
	}
	if err := l.Clocks().Set("n1", Warp{}); !errors.Is(err, errStrobed) {
		t.Errorf("a strobed clock was set: %v", err)
	}
	if _, err := l.Clocks().Strobe("n1", Warp{}, time.Second); !errors.Is(err, errStrobed) {
		t.Errorf("a strobed clock was strobed: %v", err)
	}
	must(t, l.Clocks().Set("n2", Warp{Offset: time.Hour})) // another one is none of its business
	must(t, s.End())
	must(t, s.End())
	seen := s.Seen()["n1"]
	for range 20 {
		if o := readClock(t, l, "n1"); o.Realtime.Abs() > o.Within {
			t.Errorf("the strobe has ended, and the clock shows %v", o.Realtime)
		}
	}
	if now := s.Seen()["n1"]; now != seen {
		t.Errorf("the strobe has ended, and acted %d times since", now-seen)
	}
	must(t, l.Clocks().Set("n1", Warp{Offset: time.Minute})) // it is nobody's again
	_, err = l.Clocks().Strobe("n1", Warp{Offset: time.Hour}, 10*time.Millisecond)
	must(t, err) // that the lab ends it newLab sees
}

// TestPausedProcessesHaveClocksToo: nobody traces them, and their clocks are set.
func TestPausedProcessesHaveClocksToo(t *testing.T) {
	needClocks(t)
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 1, Clocks: true})
	startPlay(t, l, "n1", "clock", "ticking")
	must(t, l.Pause("n1"))
	if p, ok := l.Process("n1"); !ok || p.State != "T" {
		t.Errorf("a paused process is in state %q", p.State)
	}
	must(t, l.Clocks().Set("n1", Warp{Offset: time.Hour}))
	if o := readClock(t, l, "n1"); (o.Realtime - time.Hour).Abs() > o.Within {
		t.Errorf("a paused node reads %+v", o)
	}
	must(t, l.Resume("n1"))
	if s := showClock(t, l.Nodes()[0]); !near(s.realtime, time.Hour) {
		t.Errorf("resumed, it shows %v", s.realtime)
	}
}

// TestClocksThatReachNobodyAreNotSet: as with a script, which executes another
// program.
func TestClocksThatReachNobodyAreNotSet(t *testing.T) {
	needClocks(t)
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 1, Clocks: true})
	must(t, l.Start("n1", Command{Path: "/bin/sh", Args: []string{"-c", "exec sleep 1000"}}))
	eventually(t, "the shell has executed another program", func() bool {
		err := l.Clocks().Set("n1", Warp{Offset: time.Hour})
		return err != nil && strings.Contains(err.Error(), "executed another program")
	})
	if _, err := l.Clocks().Strobe("n1", Warp{Offset: time.Hour}, time.Second); err == nil {
		t.Error("the clocks of a process were strobed that does not read them")
	}
	must(t, l.Clocks().Set("n1", Warp{})) // but they are right
	must(t, l.Kill("n1"))
	must(t, l.Clocks().Set("n1", Warp{Offset: time.Hour})) // for what will be started
}

func TestWithoutClocksThereAreNone(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 1})
	if c := l.Clocks(); c != nil {
		t.Errorf("a lab without clocks has %v", c)
	}
}

func TestClocksAreTriedOnThisKernel(t *testing.T) {
	needClocks(t)
	detail, err := tryClocks()
	skipRefused(t, err)
	must(t, err)
	t.Log(detail)
}
