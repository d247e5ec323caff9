package cluster

import "sync/atomic"

// A linkGauge counts what went over a link. The goroutine of the port that the link comes
// from counts nearly all of it, so that nobody waits for a cache line.
type linkGauge struct {
	sent, received packetCount
	lost           atomic.Uint64 // packets
}

type packetCount struct{ packets, bytes atomic.Uint64 }

func (c *packetCount) add(packets, bytes int) {
	c.packets.Add(uint64(packets))
	c.bytes.Add(uint64(bytes))
}

var _ Gauged = (*Local)(nil)

// Gauges implements Gauged. What is lost or has arrived was counted as sent before, also
// while packets pass. Nodes that run nothing have clocks all the same, which show what
// they would to what starts there.
func (l *Local) Gauges() map[string]Gauge {
	gauges := l.net.gauges()
	if l.clocks == nil {
		return gauges
	}
	for i, n := range l.nodes {
		off, err := l.clocks.of[i].Offsets()
		if err != nil {
			continue // the lab is closed
		}
		g := gauges[n.Name]
		g.Clocks = (*Offsets)(&off)
		gauges[n.Name] = g
	}
	return gauges
}

// gauges returns what went over the links of each place.
func (s *netSwitch) gauges() map[string]Gauge {
	all := make([]Gauge, len(s.places))
	for from := range s.links {
		for to := range s.links[from] {
			l := &s.links[from][to].gauge
			all[to].Received += l.received.packets.Load()
			all[to].ReceivedBytes += l.received.bytes.Load()
			all[from].Lost += l.lost.Load()
			all[from].Sent += l.sent.packets.Load()
			all[from].SentBytes += l.sent.bytes.Load()
		}
	}
	gauges := make(map[string]Gauge, len(all))
	for i, place := range s.places {
		gauges[place] = all[i]
	}
	return gauges
}
