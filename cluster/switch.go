//go:build linux

package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A port is where a place is plugged into the switch. A frame is a virtio header
// (virtioHeader bytes), then a link-layer header if the switch has one, then an IP
// packet of up to 64 KiB: what the kernel has not segmented yet goes through
// whole, and the header tells the receiving kernel so. That is where the speed
// comes from: the switch never touches a checksum.
type port interface {
	io.ReadWriteCloser
}

const (
	virtioHeader = 10
	maxFrame     = virtioHeader + 14 + 1<<16
)

// A netSwitch moves packets between its ports, and is where links are cut and
// impaired. It has one goroutine for each port, which moves what comes from there,
// and one for packets that are to arrive later.
type netSwitch struct {
	places    []string        // by port
	ports     []port          // by place
	byAddr    map[[4]byte]int // IPv4 address -> port
	ip        int             // where the IP packet begins in a frame
	natural   bool            // heal lets TCP find out for itself
	pcap      *pcapWriter     // or nil
	log       *slog.Logger    // for what should not happen
	moving    sync.WaitGroup  // the ports' goroutines
	lost      atomic.Uint64   // packets that a port did not take, or a full queue
	begun     time.Time
	waiting   waitingRoom    // for packets that are delayed
	late      sync.WaitGroup // the goroutine that brings them
	resetting sync.Mutex     // held by Reset

	// mu makes Cut and Heal exact: a packet is judged and delivered while it is
	// held for reading, so that none is on its way when they return.
	mu    sync.RWMutex
	links [][]link // [from][to]
}

// A link is one direction between two ports. All but the counters is guarded by the
// switch's mu: the goroutine of the port that it comes from writes what changes with
// its packets under the read lock, being the only one that does, and all others
// under the write lock.
type link struct {
	cuts    int
	dropped atomic.Uint64
	gauge   linkGauge
	held    map[flow][]byte

	stages []*stage      // what impairs it; nothing waits where there are none
	last   time.Duration // when the last of those that keep their order is due
	queued int           // how many of them wait
	bytes  int           // of all that waits
	watch  *watch        // for connections to be reset, or nil
}

// A flow is one direction of a TCP connection on a link; and of its packets those
// that the other side must answer, or those that only acknowledge. A connection
// needs the last of either: what was said to it, and what it was told was heard.
type flow struct {
	src, dst uint16
	says     bool
}

// maxHeld bounds the packets that a link holds for its flows.
const maxHeld = 256

// newSwitch returns a switch that moves nothing yet; start does. Port i is that of
// places[i], which has address addrs[i]. l2 is the length of the link-layer header.
func newSwitch(places []string, addrs []netip.Addr, ports []port, l2 int, log *slog.Logger) *netSwitch {
	s := &netSwitch{
		places: places, ports: ports, ip: virtioHeader + l2, log: log,
		byAddr: map[[4]byte]int{}, links: make([][]link, len(places)),
	}
	for i, addr := range addrs {
		s.byAddr[addr.As4()] = i
		s.links[i] = make([]link, len(places))
	}
	return s
}

func (s *netSwitch) start() (err error) {
	s.begun = time.Now()
	if s.waiting.alarm, err = newAlarm(); err != nil {
		return err
	}
	s.late.Go(s.bring)
	for from := range s.ports {
		s.moving.Go(func() { s.move(from) })
	}
	return nil
}

// close ends the switch's goroutines by closing the ports under them.
func (s *netSwitch) close() error {
	errs := make([]error, len(s.ports))
	var closing sync.WaitGroup
	for i, p := range s.ports {
		closing.Go(func() { errs[i] = p.Close() }) // the kernel takes its time to remove a device
	}
	closing.Wait()
	s.moving.Wait()
	errs = append(errs, s.waiting.alarm.close())
	s.late.Wait()
	if lost := s.lost.Load(); lost > 0 {
		s.log.Warn("queues were full, and packets lost", "lost", lost)
	}
	return errors.Join(append(errs, s.pcap.flush())...)
}

// move moves what comes from one port until that is closed.
func (s *netSwitch) move(from int) {
	frame := make([]byte, maxFrame)
	for {
		n, err := s.ports[from].Read(frame)
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				s.log.Error("switch port failed", "place", s.places[from], "err", err)
			}
			return
		}
		if to, ok := s.destination(frame[:n]); ok {
			s.forward(from, to, frame[:n])
		}
	}
}

// destination returns the port that a frame is for. What is not IPv4, or for an
// address that nobody has, goes nowhere.
func (s *netSwitch) destination(frame []byte) (to int, ok bool) {
	if len(frame) < s.ip+20 {
		return 0, false
	}
	packet := frame[s.ip:]
	if packet[0]>>4 != 4 {
		return 0, false
	}
	to, ok = s.byAddr[[4]byte(packet[16:20])]
	return to, ok
}

// forward delivers a frame, or does to it what the link does.
func (s *netSwitch) forward(from, to int, frame []byte) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.send(from, to, frame)
}

// send is forward for those who hold mu.
func (s *netSwitch) send(from, to int, frame []byte) {
	l := &s.links[from][to]
	l.gauge.sent.add(onWire(frame, s.ip))
	switch {
	case l.cuts > 0:
		s.drop(l, frame)
	case l.watch != nil && s.reset(l.watch, from, to, frame):
		s.lose(l, frame)
	case len(l.stages) > 0:
		s.shape(from, to, frame)
	default:
		s.deliver(from, to, frame)
	}
}

// drop drops a frame because its link is cut.
func (s *netSwitch) drop(l *link, frame []byte) {
	l.dropped.Add(1)
	s.lose(l, frame)
	if s.natural {
		return
	}
	if f, ok := s.flowOf(frame); ok {
		if _, known := l.held[f]; !known && len(l.held) >= maxHeld {
			return
		}
		if l.held == nil {
			l.held = map[flow][]byte{}
		}
		l.held[f] = append(l.held[f][:0], frame...)
	}
}

// deliver delivers a frame that is said to come from a place.
func (s *netSwitch) deliver(from, to int, frame []byte) {
	s.pcap.packet(frame[s.ip:])
	l := &s.links[from][to]
	if _, err := s.ports[to].Write(frame); err != nil {
		s.lost.Add(1) // as a full queue does on any network; TCP sends it again
		s.lose(l, frame)
		return
	}
	l.gauge.received.add(onWire(frame, s.ip))
}

// lose counts a frame that does not arrive.
func (s *netSwitch) lose(l *link, frame []byte) {
	packets, _ := onWire(frame, s.ip)
	l.gauge.lost.Add(uint64(packets))
}

// flowOf returns the flow of a TCP packet.
func (s *netSwitch) flowOf(frame []byte) (f flow, ok bool) {
	packet := frame[s.ip:]
	header := int(packet[0]&0xf) * 4
	fragment := binary.BigEndian.Uint16(packet[6:8])&0x1fff != 0
	if packet[9] != 6 || fragment || len(packet) < header+20 {
		return flow{}, false
	}
	tcp := packet[header:]
	const synFinRst = 0x07
	f.src, f.dst = binary.BigEndian.Uint16(tcp), binary.BigEndian.Uint16(tcp[2:])
	f.says = len(tcp) > int(tcp[12]>>4)*4 || tcp[13]&synFinRst != 0
	return f, true
}

// Cut implements Network.
func (s *netSwitch) Cut(links ...Link) error {
	at, err := s.find(links)
	if err != nil {
		return fmt.Errorf("cut: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range at {
		s.link(at).cuts++
	}
	return nil
}

// Heal implements Network. Links that are whole again deliver the last packets
// that each TCP connection lost on them. Without that a connection that was cut
// for long stays silent for nearly as long again: its sender has backed off, and
// does not know that it could be heard (measured elsewhere: 53 s after a cut of
// 30 s). With it both ends learn at once.
func (s *netSwitch) Heal(links ...Link) error {
	at, err := s.find(links)
	if err != nil {
		return fmt.Errorf("heal: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, one := range at { // all or none; and one may be named twice
		l := s.link(one)
		if l.cuts == 0 {
			for _, other := range at[:i] {
				s.link(other).cuts++
			}
			return fmt.Errorf("heal: %v is not cut", links[i])
		}
		l.cuts--
	}
	for _, at := range at {
		l := s.link(at)
		if l.cuts > 0 {
			continue
		}
		for _, frame := range l.held {
			s.send(at[0], at[1], frame)
		}
		l.held = nil
	}
	return nil
}

// Dropped implements Network.
func (s *netSwitch) Dropped(links ...Link) []uint64 {
	counts := make([]uint64, len(links))
	for i, l := range links {
		if at, err := s.find([]Link{l}); err == nil {
			counts[i] = s.link(at[0]).dropped.Load()
		}
	}
	return counts
}

func (s *netSwitch) link(at [2]int) *link { return &s.links[at[0]][at[1]] }

// find returns the ports of links.
func (s *netSwitch) find(links []Link) ([][2]int, error) {
	at := make([][2]int, len(links))
	for i, l := range links {
		from, to := slices.Index(s.places, l.From), slices.Index(s.places, l.To)
		if from < 0 || to < 0 || from == to {
			return nil, fmt.Errorf("no such link: %v", l)
		}
		at[i] = [2]int{from, to}
	}
	return at, nil
}
