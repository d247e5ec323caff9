//go:build linux

package cluster

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A reset only breaks a connection if its sequence number is the very one that the
// receiver expects next; what is near is answered with a challenge. The switch does
// not keep account of every connection. It looks at packets for a short time
// instead: who sends one says in it what it expects next, so that it can be reset
// exactly; and where nothing was lost on the way, its own number is what the other
// side expects. The packet itself goes nowhere. If the other side is not where the
// packet would have it, it is reset when it speaks next: by the same rule, or by the
// first one's kernel, which knows of no connection any more.

// watched is how long connections have to show themselves: some heartbeats.
const watched = 500 * time.Millisecond

// A watch looks for the connections on a pair of links, one of each direction.
type watch struct {
	mu    sync.Mutex
	seen  map[connection]bool // whether it was reset; if not, it is younger than the watch
	count map[[2]int]uint64   // of those that were reset, by the direction first seen
}

// A connection is named from the side of the lesser port, then address.
type connection struct{ a, b [6]byte }

// reset breaks the connection that a frame is of, and says whether it did.
func (s *netSwitch) reset(w *watch, from, to int, frame []byte) bool {
	f, ok := parse(frame, s.ip)
	if !ok || f.proto != protoTCP {
		return false
	}
	tcp := frame[f.transport:]
	if tcp[13]&tcpRST != 0 {
		return false
	}
	var a, b [6]byte
	copy(a[:], frame[s.ip+12:])
	copy(b[:], frame[s.ip+16:])
	copy(a[4:], tcp[0:2])
	copy(b[4:], tcp[2:4])
	c := connection{a, b}
	if string(a[:]) > string(b[:]) {
		c = connection{b, a}
	}
	w.mu.Lock()
	old, known := w.seen[c]
	switch {
	case tcp[13]&tcpSYN != 0:
		if !old {
			w.seen[c] = false
		}
	case !known:
		w.seen[c], old = true, true
		w.count[[2]int{from, to}]++
	}
	w.mu.Unlock()
	if !old || tcp[13]&tcpSYN != 0 || tcp[13]&tcpACK == 0 {
		return false
	}
	s.deliver(to, from, s.resetOf(frame, f, binary.BigEndian.Uint32(tcp[8:]), true))
	s.deliver(from, to, s.resetOf(frame, f, binary.BigEndian.Uint32(tcp[4:]), false))
	return true
}

// resetOf returns a reset of the connection that a frame is of, with a sequence
// number: to who sent the frame, if back, or else to whom it was sent to.
func (s *netSwitch) resetOf(frame []byte, f fields, number uint32, back bool) []byte {
	r := make([]byte, s.ip+40)
	copy(r[virtioHeader:], frame[virtioHeader:s.ip]) // the link-layer header
	header, tcp := r[s.ip:s.ip+20], r[s.ip+20:]
	header[0], header[8], header[9] = 0x45, 64, protoTCP
	binary.BigEndian.PutUint16(header[2:], 40)
	copy(header[12:20], frame[s.ip+12:])
	copy(tcp[0:4], frame[f.transport:])
	if back {
		copy(header[12:16], frame[s.ip+16:])
		copy(header[16:20], frame[s.ip+12:])
		copy(tcp[0:2], frame[f.transport+2:])
		copy(tcp[2:4], frame[f.transport:])
	}
	binary.BigEndian.PutUint16(header[10:], ^fold(sum(header)))
	binary.BigEndian.PutUint32(tcp[4:], number)
	tcp[12], tcp[13] = 5<<4, tcpRST
	fields{ip: s.ip, proto: protoTCP, transport: s.ip + 20}.sum(r)
	return r
}

// Reset implements Shaper. It takes half a second, in which it breaks each
// connection with a packet on one of the links or on its way back; those that begin
// meanwhile are spared.
func (s *netSwitch) Reset(links ...Link) (map[string]uint64, error) {
	at, err := s.find(links)
	if err != nil {
		return nil, fmt.Errorf("reset: %w", err)
	}
	s.resetting.Lock() // one after the other
	defer s.resetting.Unlock()
	watches := map[[2]int]*watch{} // by pair
	s.mu.Lock()
	for _, at := range at {
		pair := [2]int{min(at[0], at[1]), max(at[0], at[1])}
		if watches[pair] == nil {
			watches[pair] = &watch{seen: map[connection]bool{}, count: map[[2]int]uint64{}}
		}
		s.link(at).watch = watches[pair]
		s.links[at[1]][at[0]].watch = watches[pair]
	}
	s.mu.Unlock()
	time.Sleep(watched)
	s.mu.Lock()
	for pair := range watches {
		s.link(pair).watch = nil
		s.links[pair[1]][pair[0]].watch = nil
	}
	s.mu.Unlock()
	counts := map[string]uint64{}
	for _, w := range watches {
		for way, n := range w.count {
			if !slices.Contains(at, way) { // it showed itself on the way back
				way = [2]int{way[1], way[0]}
			}
			counts[Link{s.places[way[0]], s.places[way[1]]}.String()] += n
		}
	}
	return counts, nil
}
