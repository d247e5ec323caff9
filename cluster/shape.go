//go:build linux

package cluster

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// What the switch does to packets beside dropping them all. What impairs a link is
// a row of stages, one for each impairment, and a packet passes them all at the
// moment in which it comes. What they add to its way is a time to wait, each its
// own, so that an impairment that ends takes back what it has added: packets that
// nothing delays any more arrive at once, in their order, when End returns.
//
// A frame is taken apart before (see finish), so that what happens happens to
// packets as they are on a wire.

// A stage is an impairment on one link. It belongs to the goroutine of the port
// that the link comes from, as the link does.
type stage struct {
	Effect
	rand    *rand.Rand    // of its own, so that other links' packets change nothing
	free    time.Duration // when the rate lets the next packet pass
	touched atomic.Uint64
}

// patience is how long a packet waits at most for its turn at a rate.
const patience = time.Second

// A parcel is a packet on its way over an impaired link.
type parcel struct {
	frame    []byte
	from, to int
	sent     time.Duration // all times are since the switch began
	due      time.Duration // when it arrives
	waits    []wait        // why not at once
	loose    bool          // it does not keep its place among the others
	number   uint64        // the order in which they were sent
}

// A wait is what a stage makes a parcel wait.
type wait struct {
	stage *stage
	time  time.Duration
}

func (p *parcel) waiting() (all time.Duration) {
	for _, w := range p.waits {
		all += w.time
	}
	return all
}

// happens draws whether something does that has this chance. What has none draws
// nothing.
func (st *stage) happens(chance float64) bool { return chance > 0 && st.rand.Float64() < chance }

// pass returns what becomes of a parcel: nothing, itself, or two of it; and how many of
// these were lost.
func (st *stage) pass(p *parcel, ip int) (left []*parcel, lost int) {
	touched, all := false, []*parcel{p}
	if st.happens(st.Loss) {
		st.touched.Add(1)
		return nil, 1
	}
	if st.happens(st.Corrupt) {
		touched = st.flip(p.frame, ip, false) || touched
	}
	if st.happens(st.CorruptSilently) {
		touched = st.flip(p.frame, ip, true) || touched
	}
	if st.happens(st.Duplicate) {
		touched = true
		twin := *p
		twin.frame, twin.waits = slices.Clone(p.frame), slices.Clone(p.waits)
		all = append(all, &twin)
	}
	for _, p := range all {
		wait := wait{stage: st, time: st.Delay}
		if st.Jitter > 0 {
			wait.time += time.Duration(st.rand.Int64N(int64(st.Jitter) + 1))
		}
		if st.Rate > 0 {
			turn := max(st.free, p.sent)
			if turn-p.sent > patience {
				touched = true
				continue
			}
			st.free = turn + time.Duration(float64(len(p.frame)-ip)/float64(st.Rate)*float64(time.Second))
			wait.time += st.free - p.sent
		}
		if st.happens(st.Reorder) {
			p.loose, touched = true, true
			wait.time += 1 + time.Duration(st.rand.Int64N(int64(st.ReorderBy)))
		}
		if wait.time > 0 {
			p.waits, touched = append(p.waits, wait), true
		}
		left = append(left, p)
	}
	if touched {
		st.touched.Add(1)
	}
	return left, len(all) - len(left)
}

// flip flips a bit of what an application sent, and says whether there was one. Of
// that nobody learns who does not look, if silently; else the checksum is that of
// what was sent. One that is wrong already stays wrong.
func (st *stage) flip(frame []byte, ip int, silently bool) bool {
	f, ok := parse(frame, ip)
	if !ok || f.payload == len(frame) {
		return false
	}
	bit := st.rand.IntN(8 * (len(frame) - f.payload))
	at := f.payload + bit/8
	was := frame[at]
	frame[at] ^= 1 << (bit % 8)
	if silently {
		f.adjust(frame, at, was)
	}
	return true
}

// shape sends a frame over a link with stages. The caller holds mu for reading, and
// is the goroutine of the port; or holds it for writing.
func (s *netSwitch) shape(from, to int, frame []byte) {
	l := &s.links[from][to]
	now := s.now()
	for _, frame := range finish(frame, s.ip) {
		parcels := []*parcel{{frame: frame, from: from, to: to, sent: now}}
		for _, st := range l.stages {
			var passed []*parcel
			for _, p := range parcels {
				left, lost := st.pass(p, s.ip)
				passed = append(passed, left...)
				l.gauge.lost.Add(uint64(lost))
			}
			parcels = passed
		}
		for _, p := range parcels {
			p.due = now + p.waiting()
			if !p.loose {
				p.due = max(p.due, l.last)
			}
			switch {
			case p.due <= now && (p.loose || l.queued == 0):
				s.deliver(from, to, p.frame)
			case l.bytes+len(p.frame) > maxQueued:
				s.lost.Add(1)
				s.lose(l, p.frame)
			default:
				l.count(p, 1)
				if !p.loose {
					l.last = p.due
				}
				s.waiting.add(p, now)
			}
		}
	}
}

// maxQueued is how many bytes may wait on a link. What is more is lost, as where a
// queue is full.
const maxQueued = 64 << 20

// count keeps count of what waits on the link: n is 1 or -1.
func (l *link) count(p *parcel, n int) {
	l.bytes += n * len(p.frame)
	if !p.loose {
		l.queued += n
	}
}

// A waitingRoom is where parcels of all links wait. Its alarm is set to the first.
type waitingRoom struct {
	mu      sync.Mutex
	parcels parcels
	number  uint64
	alarm   *alarm
}

func (w *waitingRoom) add(p *parcel, now time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.number++
	p.number = w.number
	heap.Push(&w.parcels, p)
	if w.parcels[0] == p {
		w.rouse(p.due - now)
	}
}

// next takes out the first parcel if it is due; otherwise it sets the alarm.
func (w *waitingRoom) next(now time.Duration) *parcel {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.parcels) == 0 {
		return nil
	}
	if first := w.parcels[0]; first.due > now {
		w.rouse(first.due - now)
		return nil
	}
	return heap.Pop(&w.parcels).(*parcel)
}

// eve is how long before a parcel is due the alarm goes off a first time. A processor
// that has had nothing to do for milliseconds is slow to wake (an alarm after 50 ms was
// 80 µs late, and is 36); one that was just awake is not.
const eve = 100 * time.Microsecond

// rouse sets the alarm for what is due in d, or for its eve if that is far away: then
// next sets it once more.
func (w *waitingRoom) rouse(d time.Duration) {
	if d > 2*eve {
		d -= eve
	}
	w.alarm.set(d)
}

// parcels are a heap: what is due first is first, and of those that are due at the
// same time, what was sent first.
type parcels []*parcel

func (h parcels) Len() int      { return len(h) }
func (h parcels) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *parcels) Push(x any)   { *h = append(*h, x.(*parcel)) }
func (h parcels) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].due, h[j].due), cmp.Compare(h[i].number, h[j].number)) < 0
}

func (h *parcels) Pop() any {
	last := len(*h) - 1
	p := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return p
}

// now is the time since the switch began.
func (s *netSwitch) now() time.Duration { return time.Since(s.begun) }

// bring delivers parcels when they are due, until the alarm is closed.
func (s *netSwitch) bring() {
	for s.waiting.alarm.wait() == nil {
		s.mu.Lock()
		s.bringDue()
		s.mu.Unlock()
	}
}

// bringDue delivers what is due, or drops it if its link was cut meanwhile. The
// caller holds mu for writing.
func (s *netSwitch) bringDue() {
	for now := s.now(); ; {
		p := s.waiting.next(now)
		if p == nil {
			return
		}
		l := &s.links[p.from][p.to]
		l.count(p, -1)
		if l.cuts > 0 {
			s.drop(l, p.frame)
		} else {
			s.deliver(p.from, p.to, p.frame)
		}
	}
}

// An impairment is an effect in force.
type impairment struct {
	on     *netSwitch
	links  []Link
	at     [][2]int
	stages []*stage // by link
}

// Impair implements Shaper. The choices of a link depend on the effect's seed and
// on the packets of that link, not on those of others.
func (s *netSwitch) Impair(e Effect, links ...Link) (Impairment, error) {
	at, err := s.find(links)
	if err == nil {
		err = e.check()
	}
	if err != nil {
		return nil, fmt.Errorf("impair: %w", err)
	}
	im := &impairment{on: s, links: slices.Clone(links), at: at}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range at {
		place := uint64(at[0])<<32 | uint64(at[1])
		st := &stage{Effect: e, rand: rand.New(rand.NewPCG(e.Seed, place))}
		im.stages = append(im.stages, st)
		l := s.link(at)
		l.stages = append(l.stages, st)
	}
	return im, nil
}

// check says what is wrong with an effect.
func (e Effect) check() error {
	for _, chance := range []float64{e.Loss, e.Duplicate, e.Reorder, e.Corrupt, e.CorruptSilently} {
		if !(chance >= 0 && chance <= 1) { // nor is NaN a chance
			return fmt.Errorf("%v is no chance", chance)
		}
	}
	seedless := e
	seedless.Seed, seedless.ReorderBy = 0, 0
	switch {
	case e.Delay < 0 || e.Jitter < 0 || e.ReorderBy < 0 || e.Rate < 0:
		return errors.New("less than nothing is asked for")
	case e.Reorder > 0 && e.ReorderBy == 0:
		return errors.New("it does not say by how much packets are reordered")
	case seedless == Effect{}:
		return errors.New("nothing is asked for")
	}
	return nil
}

// Seen implements Impairment.
func (im *impairment) Seen() map[string]uint64 {
	seen := map[string]uint64{}
	for i, st := range im.stages {
		if n := st.touched.Load(); n > 0 {
			seen[im.links[i].String()] += n
		}
	}
	return seen
}

// End implements Impairment. Packets that wait for no other reason arrive before it
// returns.
func (im *impairment) End() error {
	s := im.on
	s.mu.Lock()
	defer s.mu.Unlock()
	ended := map[*stage]bool{}
	for i, at := range im.at {
		l := s.link(at)
		ended[im.stages[i]] = true
		l.stages = slices.DeleteFunc(l.stages, func(st *stage) bool { return st == im.stages[i] })
	}
	s.hurry(ended)
	s.bringDue()
	return nil
}

// hurry takes from all parcels what stages made them wait that are no more. The
// caller holds mu for writing.
func (s *netSwitch) hurry(ended map[*stage]bool) {
	w := &s.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := map[*link]bool{}
	for _, p := range w.parcels {
		before := len(p.waits)
		p.waits = slices.DeleteFunc(p.waits, func(w wait) bool { return ended[w.stage] })
		if l := &s.links[p.from][p.to]; len(p.waits) < before {
			changed[l], l.last = true, 0
		}
	}
	slices.SortFunc(w.parcels, func(a, b *parcel) int { return cmp.Compare(a.number, b.number) })
	for _, p := range w.parcels {
		l := &s.links[p.from][p.to]
		if !changed[l] {
			continue
		}
		p.due = p.sent + p.waiting()
		if !p.loose {
			p.due = max(p.due, l.last)
			l.last = p.due
		}
	}
	heap.Init(&w.parcels)
}
