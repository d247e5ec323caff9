//go:build linux

package cluster

import (
	"testing"
	"time"
)

// traffic is what the gauges say of the packets of a place.
func traffic(l *Local, place string) Gauge {
	g := l.Gauges()[place]
	g.Clocks = nil
	return g
}

// TestGaugesCountWhatWasSentAndLost, whatever it was lost by.
func TestGaugesCountWhatWasSentAndLost(t *testing.T) {
	if !inLab(t) {
		return
	}
	for _, kind := range bothPorts {
		t.Run(kind.name, func(t *testing.T) {
			l := newLab(t, Options{Nodes: 2, Ports: kind.ports})
			s := newStream(t, l)
			const size = 20 + 8 + 4 // IP, UDP, and a number
			var sent, received, lost uint64
			send := func(what string, packets, arrive, get uint64) {
				t.Helper()
				s.send(t, int(packets))
				sent, received, lost = sent+packets, received+arrive, lost+get
				here := Gauge{Sent: sent, SentBytes: sent * size, Lost: lost}
				there := Gauge{Received: received, ReceivedBytes: received * size}
				eventually(t, what, func() bool { return traffic(l, Tester) == here && traffic(l, "n1") == there })
			}
			gauges := l.Gauges()
			if len(gauges) != 3 || gauges[Tester] != (Gauge{}) || gauges["n1"] != (Gauge{}) || gauges["n2"] != (Gauge{}) {
				t.Errorf("nothing was sent, and the gauges say %+v", gauges)
			}
			send("all arrives", 50, 50, 0)

			must(t, l.net.Cut(both[0]))
			send("what is sent over a link that is cut is lost", 30, 0, 30)
			must(t, l.net.Heal(both[0]))
			send("all arrives when the link is whole again", 10, 10, 0)

			for what, test := range map[string]struct {
				Effect
				arrive, lost uint64 // of ten
			}{
				"what the network loses is lost":       {Effect{Loss: 1}, 0, 10},
				"what it duplicates arrives twice":     {Effect{Duplicate: 1}, 20, 0},
				"what it has changed arrives, too":     {Effect{CorruptSilently: 1}, 10, 0},
				"what waits for too long is lost":      {Effect{Rate: 1}, 0, 9},
				"what is delayed is on its way":        {Effect{Delay: time.Hour}, 0, 0},
				"what is late arrives, before an hour": {Effect{Delay: time.Millisecond}, 10, 0},
			} {
				im := impair(t, l, test.Effect, both[0])
				send(what, 10, test.arrive, test.lost)
				must(t, im.End())
				send("what has waited arrives: "+what, 0, 10-min(10, test.arrive+test.lost), 0)
			}

			im := impair(t, l, Effect{Duplicate: 1, Delay: time.Hour}, both[0])
			send("both copies are on their way", 1, 0, 0)
			must(t, l.net.Cut(both[0]))
			must(t, im.End())
			send("both copies are lost", 0, 0, 2)
			if g := l.Gauges()["n2"]; g != (Gauge{}) {
				t.Errorf("n2 had no part in it, and the gauges say %+v", g)
			}
		})
	}
}

// TestGaugesCountWhatIsOnAWire: not what the kernel has left undone.
func TestGaugesCountWhatIsOnAWire(t *testing.T) {
	if !inLab(t) {
		return
	}
	for _, kind := range bothPorts {
		t.Run(kind.name, func(t *testing.T) {
			l := newLab(t, Options{Nodes: 1, Ports: kind.ports})
			startPlay(t, l, "n1", "echo", "listening")
			c := dial(t, l.Nodes()[0])
			// What is taken apart on its way was counted as it should be before.
			im := impair(t, l, Effect{Delay: 100 * time.Microsecond}, both...)
			const data = 4 << 20
			c.flow(t, pattern(data))
			must(t, im.End())
			c.flow(t, pattern(data))
			for _, way := range [][2]string{{Tester, "n1"}, {"n1", Tester}} {
				eventually(t, "all that was sent arrives", func() bool {
					here, there := traffic(l, way[0]), traffic(l, way[1])
					return here.Sent == there.Received+here.Lost && (here.Lost > 0 || here.SentBytes == there.ReceivedBytes)
				})
				g := traffic(l, way[0])
				if g.Sent < 2*data/1500 || g.SentBytes > 1500*g.Sent || g.SentBytes < 2*data+40*2*data/1500 {
					t.Errorf("of %d bytes on a wire with packets of 1500 the gauges say %+v", 2*data, g)
				}
			}

			// A reset is received by both, and sent by nobody.
			total := func() (all Gauge) {
				for _, g := range l.Gauges() {
					all.Sent, all.Received, all.Lost = all.Sent+g.Sent, all.Received+g.Received, all.Lost+g.Lost
				}
				return all
			}
			before := total()
			reset := make(chan error, 1)
			go func() {
				_, err := l.net.Reset(both...)
				reset <- err
			}()
			eventually(t, "the connection is reset", func() bool { return c.round(5*time.Second) != nil })
			must(t, <-reset)
			after := total()
			if after.Lost == before.Lost || after.Received-before.Received < after.Sent-before.Sent-(after.Lost-before.Lost)+2 {
				t.Errorf("before a reset the gauges say %+v, and then %+v", before, after)
			}
		})
	}
}

// TestGaugesTellWhatClocksWereSetTo, and the nodes read them as that.
func TestGaugesTellWhatClocksWereSetTo(t *testing.T) {
	needClocks(t)
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 2, Clocks: true})
	off := func(place string) Offsets {
		t.Helper()
		o := l.Gauges()[place].Clocks
		if o == nil {
			t.Fatalf("of the clocks of %s the gauges say nothing", place)
		}
		return *o
	}
	for _, node := range []string{"n1", "n2"} {
		if o := off(node); o != (Offsets{}) {
			t.Errorf("nobody has set the clocks of %s, and the gauges say %+v", node, o)
		}
	}
	for _, offset := range []time.Duration{time.Hour, -time.Minute, 0} {
		must(t, l.Clocks().Set("n1", Warp{Offset: offset}))
		if one, two := off("n1"), off("n2"); one != (Offsets{Realtime: offset}) || two != (Offsets{}) {
			t.Errorf("n1 was set off by %v, and the gauges say n1 %+v, n2 %+v", offset, one, two)
		}
	}
	must(t, l.Clocks().Set("n1", Warp{Offset: time.Second, Drift: 1, MonotonicDrift: 0.5}))
	before, read, after := off("n1"), readClock(t, l, "n1"), off("n1")
	if within := 2 * read.Within; read.Realtime < before.Realtime-within || read.Realtime > after.Realtime+within ||
		read.Monotonic < before.Monotonic-within || read.Monotonic > after.Monotonic+within || after.Monotonic <= before.Monotonic {
		t.Errorf("the node reads %+v, and before and after that the gauges say %+v and %+v", read, before, after)
	}
	if g := l.Gauges()[Tester]; g.Clocks != nil {
		t.Errorf("the tester has no clocks of its own, and the gauges say %+v", g.Clocks)
	}
	must(t, l.Close())
	if g := l.Gauges()["n1"]; g.Clocks != nil {
		t.Errorf("the lab is closed, and of its clocks the gauges say %+v", g.Clocks)
	}
}
