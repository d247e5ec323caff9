//go:build linux

package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// impair does e to links of the lab's network.
func impair(t testing.TB, l *Local, e Effect, links ...Link) Impairment {
	t.Helper()
	im, err := l.net.Impair(e, links...)
	must(t, err)
	return im
}

// both are the links between the tester and n1.
var both = []Link{{Tester, "n1"}, {"n1", Tester}}

// trip returns how long one byte takes there and back.
func (e *echo) trip(t testing.TB) time.Duration {
	t.Helper()
	begun := time.Now()
	must(t, e.round(10*time.Second))
	return time.Since(begun)
}

func TestDelayIsFeltOnBothWaysAndEndsAtOnce(t *testing.T) {
	if !inLab(t) {
		return
	}
	for _, kind := range bothPorts {
		t.Run(kind.name, func(t *testing.T) {
			l := newLab(t, Options{Nodes: 1, Ports: kind.ports})
			startPlay(t, l, "n1", "echo", "listening")
			c := dial(t, l.Nodes()[0])
			c.trip(t)
			there := impair(t, l, Effect{Delay: 30 * time.Millisecond}, both[0])
			if took := c.trip(t); took < 30*time.Millisecond {
				t.Errorf("a packet that is delayed by 30ms was back after %v", took)
			}
			again := impair(t, l, Effect{Delay: 50 * time.Millisecond}, both...)
			if took := c.trip(t); took < 130*time.Millisecond {
				t.Errorf("30 and 50 ms there, and 50 ms back took %v", took)
			}
			must(t, again.End())
			must(t, again.End()) // what has ended, has
			least := time.Hour   // a machine may be busy
			for range 20 {
				least = min(least, c.trip(t))
			}
			if least < 30*time.Millisecond || least > 40*time.Millisecond {
				t.Errorf("with one delay of 30ms left it took %v", least)
			}
			must(t, there.End())
			for range 20 {
				least = min(least, c.trip(t))
			}
			if least > 10*time.Millisecond {
				t.Errorf("without delays it took %v", least)
			}
			if seen := there.Seen(); seen[both[0].String()] < 22 || len(seen) != 1 {
				t.Errorf("the first has seen packets: %v", seen)
			}
			if seen := again.Seen(); seen[both[0].String()] == 0 || seen[both[1].String()] == 0 {
				t.Errorf("the second has seen packets: %v", seen)
			}
		})
	}
}

// A stream is of numbered UDP packets from the tester to n1, where they are read by
// a socket in the node's namespace.
type stream struct {
	out  *net.UDPConn
	in   *net.UDPConn
	sent uint32
	got  []uint32 // of the goroutine that reads, until it has ended
	n    atomic.Uint64
	done chan struct{}
}

func newStream(t testing.TB, l *Local) *stream {
	t.Helper()
	addr := &net.UDPAddr{IP: l.nodes[0].Addr.AsSlice(), Port: 9}
	s := &stream{done: make(chan struct{})}
	must(t, l.spaces[0].do(func() (err error) {
		s.in, err = net.ListenUDP("udp4", addr)
		return err
	}))
	var err error
	s.out, err = net.DialUDP("udp4", nil, addr)
	must(t, err)
	go func() {
		defer close(s.done)
		b := make([]byte, 100)
		for {
			n, err := s.in.Read(b)
			if err != nil {
				return
			}
			if n == 4 {
				s.got = append(s.got, binary.BigEndian.Uint32(b))
			}
			s.n.Add(1)
		}
	}()
	t.Cleanup(func() { s.out.Close(); s.end() })
	return s
}

func (s *stream) send(t testing.TB, n int) {
	t.Helper()
	for range n {
		_, err := s.out.Write(binary.BigEndian.AppendUint32(nil, s.sent))
		must(t, err)
		s.sent++
	}
}

// end returns what has arrived.
func (s *stream) end() []uint32 {
	s.in.Close()
	<-s.done
	return s.got
}

func TestDelayedPacketsKeepTheirOrderAlsoWhenItEnds(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 1})
	s := newStream(t, l)
	s.send(t, 50)
	eventually(t, "the first arrive", func() bool { return s.n.Load() == 50 })
	long := impair(t, l, Effect{Delay: time.Hour, Jitter: time.Minute}, both[0])
	short := impair(t, l, Effect{Delay: 20 * time.Millisecond, Jitter: 10 * time.Millisecond}, both[0])
	s.send(t, 50)
	eventually(t, "they are on their way", func() bool { return short.Seen()[both[0].String()] == 50 })
	must(t, long.End())
	s.send(t, 50)
	eventually(t, "what is delayed a little arrives", func() bool { return s.n.Load() == 150 })
	long = impair(t, l, Effect{Delay: time.Hour}, both[0])
	s.send(t, 50)
	eventually(t, "they are on their way", func() bool { return long.Seen()[both[0].String()] == 50 })
	must(t, short.End())
	must(t, long.End())
	s.send(t, 50)
	eventually(t, "everything arrives", func() bool { return s.n.Load() == uint64(s.sent) })
	if got := s.end(); !slices.IsSorted(got) {
		t.Errorf("out of order: %v", got)
	}
}

func TestLossAndDuplicatesAreCountedAndReplayable(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 1})
	link := both[0].String()
	arrived := func(e Effect) []uint32 {
		s := newStream(t, l)
		im := impair(t, l, e, both...)
		defer im.End()
		for range 20 { // no more than the socket holds
			s.send(t, 50)
			eventually(t, "all arrive that are not lost", func() bool {
				seen := im.Seen()[link]
				want := uint64(s.sent) - seen
				if e.Duplicate > 0 {
					want = uint64(s.sent) + seen
				}
				return s.n.Load() == want
			})
		}
		if n := im.Seen()[link]; n < 200 || n > 400 {
			t.Errorf("%+v did something to %d of 1000 packets", e, n)
		}
		if n := im.Seen()[both[1].String()]; n != 0 {
			t.Errorf("it did something to %d packets where there are none", n)
		}
		s.out.Close()
		return s.end()
	}
	lost := arrived(Effect{Loss: 0.3, Seed: 7})
	if again := arrived(Effect{Loss: 0.3, Seed: 7}); !slices.Equal(lost, again) {
		t.Error("the same seed lost other packets")
	}
	if other := arrived(Effect{Loss: 0.3, Seed: 8}); slices.Equal(lost, other) {
		t.Error("another seed lost the same packets")
	}
	if twice := arrived(Effect{Duplicate: 0.3}); !slices.IsSorted(twice) || len(slices.Compact(twice)) != 1000 {
		t.Error("with duplicates not every packet arrived in order")
	}
}

func TestReorderedPacketsArriveLate(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 1})
	s := newStream(t, l)
	im := impair(t, l, Effect{Reorder: 0.2, ReorderBy: 20 * time.Millisecond}, both[0])
	s.send(t, 200)
	eventually(t, "all arrive", func() bool { return s.n.Load() == 200 })
	must(t, im.End())
	seen := im.Seen()[both[0].String()]
	got := s.end()
	if seen < 20 || seen > 80 || slices.IsSorted(got) {
		t.Errorf("%d of 200 packets were reordered; in order: %v", seen, slices.IsSorted(got))
	}
	slices.Sort(got)
	if len(slices.Compact(got)) != 200 {
		t.Error("not every packet arrived")
	}
}

// flow sends data through the echo and returns what came back.
func (e *echo) flow(t testing.TB, data []byte) []byte {
	t.Helper()
	must(t, e.conn.SetDeadline(time.Now().Add(30*time.Second)))
	sent := make(chan error, 1)
	go func() {
		_, err := e.conn.Write(data)
		sent <- err
	}()
	got := make([]byte, len(data))
	if n, err := io.ReadFull(e.conn, got); err != nil {
		t.Fatalf("after %d bytes: %v", n, err)
	}
	must(t, <-sent)
	return got
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * i >> 7)
	}
	return b
}

func TestRateBoundsWhatPasses(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 1})
	startPlay(t, l, "n1", "echo", "listening")
	c := dial(t, l.Nodes()[0])
	data := pattern(4 << 20)
	im := impair(t, l, Effect{Rate: 8 << 20}, both[0])
	begun := time.Now()
	if !bytes.Equal(c.flow(t, data), data) {
		t.Error("other data came back")
	}
	if took := time.Since(begun); took < 450*time.Millisecond || took > 5*time.Second {
		t.Errorf("4 MiB at 8 MiB/s took %v", took)
	}
	if n := im.Seen()[both[0].String()]; n < 4<<20/1500 {
		t.Errorf("%d packets had to wait; these are not packets of a wire", n)
	}
}

func TestCorruptionThatChecksumsTellHarmsNobody(t *testing.T) {
	if !inLab(t) {
		return
	}
	for _, kind := range bothPorts {
		t.Run(kind.name, func(t *testing.T) {
			l := newLab(t, Options{Nodes: 1, Ports: kind.ports})
			startPlay(t, l, "n1", "echo", "listening")
			c := dial(t, l.Nodes()[0])
			im := impair(t, l, Effect{Corrupt: 0.02, Delay: 100 * time.Microsecond}, both...)
			data := pattern(2 << 20)
			if !bytes.Equal(c.flow(t, data), data) {
				t.Error("other data came back")
			}
			must(t, im.End())
			must(t, c.conn.Close())

			// And nothing else was wrong with those packets: without it none is sent again.
			s := newStream(t, l)
			im = impair(t, l, Effect{Corrupt: 1}, both[0])
			s.send(t, 50)
			eventually(t, "all are corrupted", func() bool { return im.Seen()[both[0].String()] == 50 })
			must(t, im.End())
			s.send(t, 1)
			eventually(t, "one that is not arrives", func() bool { return s.n.Load() > 0 })
			if got := s.end(); len(got) != 1 || got[0] != 50 {
				t.Errorf("got %v; want the one that was not corrupted", got)
			}
		})
	}
}

func TestSilentCorruptionReachesTheApplication(t *testing.T) {
	if !inLab(t) {
		return
	}
	for _, kind := range bothPorts {
		t.Run(kind.name, func(t *testing.T) {
			l := newLab(t, Options{Nodes: 1, Ports: kind.ports})
			startPlay(t, l, "n1", "echo", "listening")
			c := dial(t, l.Nodes()[0])
			im := impair(t, l, Effect{CorruptSilently: 0.05}, both...)
			data := pattern(2 << 20)
			got := c.flow(t, data)
			flipped := 0
			for i := range data {
				if data[i] != got[i] {
					flipped++
				}
			}
			must(t, im.End())
			var seen uint64
			for _, n := range im.Seen() {
				seen += n
			}
			// A packet that is sent again may be corrupted in vain.
			if flipped == 0 || uint64(flipped) > seen {
				t.Errorf("%d bytes are wrong, %d packets were corrupted", flipped, seen)
			}
			if !bytes.Equal(c.flow(t, data), data) {
				t.Error("other data came back after it had ended")
			}
		})
	}
}

// TestSilentCorruptionMakesNoWrongChecksumRight: of what something else has corrupted
// before, the receiver learns.
func TestSilentCorruptionMakesNoWrongChecksumRight(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 1})
	s := newStream(t, l)
	harm := func(effects ...Effect) {
		t.Helper()
		var last Impairment
		for _, e := range effects {
			last = impair(t, l, e, both[0])
			defer last.End()
		}
		s.send(t, 50)
		eventually(t, "they have passed", func() bool { return last.Seen()[both[0].String()] == 50 })
	}
	harm(Effect{Corrupt: 1}, Effect{CorruptSilently: 1})
	harm(Effect{Corrupt: 1, CorruptSilently: 1})
	s.send(t, 1)
	eventually(t, "the last one arrives", func() bool { return s.n.Load() > 0 })
	if n := s.n.Load(); n != 1 {
		t.Errorf("%d packets have arrived whose checksums were wrong", n-1)
	}
	harm(Effect{CorruptSilently: 1})
	eventually(t, "those arrive of which only the content is wrong", func() bool { return s.n.Load() == 51 })
}

func TestLinkThatIsHealedTwiceAtOnceMustBeCutTwice(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 1})
	there := both[0]
	must(t, l.net.Cut(there))
	if err := l.net.Heal(there, there); err == nil || !strings.Contains(err.Error(), "is not cut") {
		t.Errorf("a link was cut once and healed twice: %v", err)
	}
	if n := l.net.link([2]int{0, 1}).cuts; n != 1 {
		t.Errorf("it is cut %d times", n)
	}
	must(t, l.net.Cut(there))
	must(t, l.net.Heal(there, there))
	if n := l.net.link([2]int{0, 1}).cuts; n != 0 {
		t.Errorf("it was cut twice, healed twice, and is cut %d times", n)
	}
}

func TestResetBreaksBothEnds(t *testing.T) {
	if !inLab(t) {
		return
	}
	for _, kind := range bothPorts {
		t.Run(kind.name, func(t *testing.T) {
			l := newLab(t, Options{Nodes: 2, Ports: kind.ports})
			startPlay(t, l, "n2", "echo", "listening")
			other := dial(t, l.Nodes()[1])
			var listener net.Listener
			must(t, l.spaces[0].do(func() (err error) {
				listener, err = net.Listen("tcp4", l.Nodes()[0].Addr.String()+":7")
				return err
			}))
			defer listener.Close()
			c := dial(t, l.Nodes()[0]).conn
			far, err := listener.Accept()
			must(t, err)
			defer far.Close()
			ends := make(chan error, 2)
			for _, c := range []net.Conn{c, far} {
				go func() {
					_, err := io.Copy(io.Discard, c)
					ends <- err
				}()
			}
			idle := dial(t, l.Nodes()[0]).conn // nothing passes there
			farIdle, err := listener.Accept()
			must(t, err)
			defer farIdle.Close()

			stop, heard := make(chan struct{}), make(chan struct{})
			go func() { // the heartbeats of a connection that lives
				defer close(heard)
				tick := time.NewTicker(10 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-stop:
						return
					case <-tick.C:
						_, _ = c.Write([]byte("tick"))
						_ = other.round(5 * time.Second)
					}
				}
			}()
			counts, err := l.net.Reset(both[1])
			must(t, err)
			close(stop)
			<-heard
			if counts[both[1].String()] != 1 || len(counts) != 1 {
				t.Errorf("reset %v; want the one connection that spoke", counts)
			}
			for range 2 {
				if err := <-ends; !errors.Is(err, unix.ECONNRESET) {
					t.Errorf("an end saw %v, and no reset", err)
				}
			}
			must(t, other.round(5*time.Second))
			for _, c := range []net.Conn{idle, dial(t, l.Nodes()[0]).conn} { // after it there is no more of it
				_, err := c.Write([]byte("x"))
				must(t, err)
			}
			must(t, farIdle.SetReadDeadline(time.Now().Add(5*time.Second)))
			_, err = farIdle.Read(make([]byte, 1))
			must(t, err)
		})
	}
}

func TestDelayedPacketsDoNotPassALinkThatWasCutMeanwhile(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 1})
	startPlay(t, l, "n1", "echo", "listening")
	c := dial(t, l.Nodes()[0])
	c.trip(t)
	im := impair(t, l, Effect{Delay: 50 * time.Millisecond}, both[0])
	sent := make(chan error)
	go func() { sent <- c.round(5 * time.Second) }()
	eventually(t, "a packet is on its way", func() bool { return im.Seen()[both[0].String()] > 0 })
	must(t, l.net.Cut(both[0]))
	eventually(t, "it is dropped", func() bool { return l.net.Dropped(both[0])[0] > 0 })
	must(t, im.End())
	must(t, l.net.Heal(both[0]))
	must(t, <-sent)
}

func TestEffectsThatAreNone(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 1})
	for _, e := range []Effect{
		{}, {Seed: 1}, {ReorderBy: 1}, {Loss: 1.1}, {Loss: math.NaN()}, {Corrupt: -1},
		{Delay: -1}, {Rate: -1}, {Reorder: 0.5},
	} {
		if _, err := l.net.Impair(e, both[0]); err == nil {
			t.Errorf("%+v is an effect", e)
		}
	}
	for _, link := range []Link{{"n1", "n2"}, {"n1", "n1"}} {
		if _, err := l.net.Impair(Effect{Loss: 1}, both[0], link); err == nil {
			t.Errorf("%v was impaired, which is no link", link)
		}
		if _, err := l.net.Reset(link); err == nil {
			t.Errorf("%v was reset, which is no link", link)
		}
	}
	startPlay(t, l, "n1", "echo", "listening")
	dial(t, l.Nodes()[0]).trip(t) // and none of them did anything
}

// TestCaptureOpensInTshark: and there every packet's checksum is right that was sent
// by an impaired link.
func TestCaptureOpensInTshark(t *testing.T) {
	if !inLab(t) {
		return
	}
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	name := filepath.Join(t.TempDir(), "capture.pcap")
	file, err := os.Create(name)
	must(t, err)
	l := newLab(t, Options{Nodes: 1, Pcap: file})
	startPlay(t, l, "n1", "echo", "listening")
	impair(t, l, Effect{Delay: time.Millisecond}, both...)
	c := dial(t, l.Nodes()[0])
	data := pattern(1 << 20)
	if !bytes.Equal(c.flow(t, data), data) {
		t.Error("other data came back")
	}
	must(t, l.Close())
	must(t, file.Close())
	var trouble bytes.Buffer
	cmd := exec.CommandContext(t.Context(), tshark, "-r", name, "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE",
		"-T", "fields", "-e", "ip.src", "-e", "ip.checksum.status", "-e", "tcp.checksum.status", "-e", "tcp.len")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	cmd.Stderr = &trouble
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &trouble)
	}
	packets := 0
	for line := range strings.Lines(string(out)) {
		packets++
		if f := strings.Fields(line); len(f) != 4 || f[1] != "1" || f[2] != "1" { // 1 is good
			t.Fatalf("packet %d: %q", packets, line)
		}
	}
	if packets < 2<<20/1500 {
		t.Errorf("it saw %d packets", packets)
	}
}
