//go:build linux

package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inLab runs the calling test once more inside the lab, and says whether this is
// that run. What a machine cannot do is skipped, with the reason; but CI's can.
func inLab(t testing.TB) bool {
	t.Helper()
	if Inside() {
		return true
	}
	var out bytes.Buffer
	exit, err := enter(t.Context(), &out, []string{roleTester, "-test.run=^" + t.Name() + "$", "-test.count=1", "-test.v"})
	skipRefused(t, err)
	if err != nil || exit != 0 {
		t.Fatalf("inside: exit %d, %v\n%s", exit, err, &out)
	}
	if strings.Contains(out.String(), "--- SKIP") {
		t.Skipf("inside:\n%s", &out)
	}
	return false
}

// newLab returns a lab that closes with the test, and with which every goroutine
// ends.
func newLab(t testing.TB, o Options) *Local {
	t.Helper()
	before := runtime.NumGoroutine()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	l, err := NewLocal(o)
	skipRefused(t, err)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before })
	})
	return l
}

// eventually waits for something that real processes or packets bring about.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second) // a busy machine takes ten to remove a namespace
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come about that %s", what)
		}
		<-tick.C
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startPlay starts a part of the test binary on a node and waits for its first line.
func startPlay(t testing.TB, l *Local, node, part, says string, args ...string) {
	t.Helper()
	must(t, l.Start(node, Command{Args: append([]string{"play", part}, args...)}))
	eventually(t, node+" says "+says, func() bool {
		said := strings.Join(l.Log(node, 5), "\n")
		if at := strings.LastIndex(said, " starting: "); at >= 0 { // what ran before may have said the same
			_, said, _ = strings.Cut(said[at:], "\n")
		}
		return strings.Contains(said, says)
	})
}

var bothPorts = []struct {
	name  string
	ports Ports
}{{"tun", TunDevices}, {"packet", PacketSockets}}

func TestEveryPlaceReachesEveryOther(t *testing.T) {
	if !inLab(t) {
		return
	}
	for _, kind := range bothPorts {
		t.Run(kind.name, func(t *testing.T) {
			l := newLab(t, Options{Nodes: 4, Ports: kind.ports})
			if got := l.Facts()["network"]; got != kind.ports.String() {
				t.Errorf("the network is made of %s", got)
			}
			for _, from := range l.Nodes() {
				for _, to := range l.Nodes() {
					if from == to {
						continue
					}
					e, err := l.echo(from.Name, to.Name)
					if err != nil {
						t.Fatalf("%s to %s: %v", from.Name, to.Name, err)
					}
					if err := e.round(5 * time.Second); err != nil {
						t.Errorf("%s to %s: %v", from.Name, to.Name, err)
					}
					host, _, _ := net.SplitHostPort(e.conn.LocalAddr().String())
					if host != from.Addr.String() {
						t.Errorf("%s speaks from %s, its address is %v", from.Name, host, from.Addr)
					}
					e.close()
				}
				startPlay(t, l, from.Name, "echo", "listening")
				c := dial(t, from) // the tester, by a plain dial
				if err := c.round(5 * time.Second); err != nil {
					t.Errorf("tester to %s: %v", from.Name, err)
				}
			}
		})
	}
}

// dial connects the tester with the echo on a node.
func dial(t testing.TB, n Node) *echo {
	t.Helper()
	c, err := net.DialTimeout("tcp4", n.Addr.String()+":7", 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &echo{conn: c}
}

func TestBulkDataArrivesAsItWasSent(t *testing.T) {
	if !inLab(t) {
		return
	}
	for _, kind := range bothPorts {
		t.Run(kind.name, func(t *testing.T) {
			l := newLab(t, Options{Nodes: 1, Ports: kind.ports})
			startPlay(t, l, "n1", "echo", "listening")
			c := dial(t, l.Nodes()[0]).conn
			want := make([]byte, 32<<20)
			for i := range want {
				want[i] = byte(i * i >> 7)
			}
			sent := make(chan error, 1)
			go func() {
				_, err := c.Write(want)
				sent <- err
			}()
			must(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
			got := make([]byte, len(want))
			begun := time.Now()
			if n, err := io.ReadFull(c, got); err != nil {
				t.Fatalf("after %d bytes: %v", n, err)
			}
			must(t, <-sent)
			if !bytes.Equal(got, want) {
				t.Error("the data that came back is other data")
			}
			t.Logf("%.0f MB/s there and back", float64(len(want))/1e6/time.Since(begun).Seconds())
		})
	}
}

func TestOneDirectionIsCutAndTheOthersAreNot(t *testing.T) {
	if !inLab(t) {
		return
	}
	for _, kind := range bothPorts {
		t.Run(kind.name, func(t *testing.T) {
			l := newLab(t, Options{Nodes: 3, Ports: kind.ports})
			for _, n := range l.Nodes() {
				startPlay(t, l, n.Name, "echo", "listening")
			}
			there, back := Link{Tester, "n1"}, Link{"n1", Tester}
			one, two := dial(t, l.Nodes()[0]), dial(t, l.Nodes()[1])
			must(t, one.round(5*time.Second))
			must(t, two.round(5*time.Second))

			must(t, l.Network().Cut(back)) // what is sent arrives, the answer does not
			if err := one.round(50 * time.Millisecond); err == nil {
				t.Error("an answer came over a link that was cut")
			}
			must(t, two.round(5*time.Second))
			if d := l.Network().Dropped(back, there, Link{Tester, "n2"}); d[0] == 0 || d[1] != 0 || d[2] != 0 {
				t.Errorf("dropped packets: %d, want some on the cut link and none on the others", d)
			}
			must(t, l.Network().Heal(back))
			if err := one.answer(5 * time.Second); err != nil {
				t.Errorf("after heal: %v", err)
			}
		})
	}
}

func TestOverlappingCutsAreHealedOneByOne(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 2})
	e, err := l.echo("n1", "n2")
	must(t, err)
	defer e.close()
	link := Link{"n1", "n2"}
	must(t, l.Network().Cut(link))
	must(t, l.Network().Cut(link, Link{"n2", "n1"}))
	must(t, l.Network().Heal(link, Link{"n2", "n1"}))
	if err := e.round(50 * time.Millisecond); err == nil {
		t.Error("one of two faults was healed, and the link with it")
	}
	must(t, l.Network().Heal(link))
	must(t, e.answer(5*time.Second))
	if err := l.Network().Heal(link); err == nil {
		t.Error("what is whole was healed without an error")
	}
	for _, l2 := range []Link{{"n1", "n3"}, {"n1", "n1"}, {"", "n1"}} {
		if err := l.Network().Cut(l2); err == nil {
			t.Errorf("%v was cut, which is no link", l2)
		}
	}
}

// TestHealedConnectionsSpeakAtOnce: a connection that was silenced long enough for
// its sender to back off goes on when the link is healed, not when that tries again.
func TestHealedConnectionsSpeakAtOnce(t *testing.T) {
	if !inLab(t) {
		return
	}
	for _, kind := range bothPorts {
		t.Run(kind.name, func(t *testing.T) {
			gap := map[bool]time.Duration{}
			const tries = 3 // a busy machine may be slow to hear of it
			for try := range tries {
				for _, natural := range []bool{false, true} {
					l := newLab(t, Options{Nodes: 2, Ports: kind.ports, Natural: natural})
					e, err := l.echo("n1", "n2")
					must(t, err)
					must(t, e.round(5*time.Second))
					link := Link{"n1", "n2"}
					must(t, l.Network().Cut(link))
					if err := e.round(10 * time.Millisecond); err == nil {
						t.Fatal("the link is not cut")
					}
					// Tail loss probe and retransmissions, each at twice the time before.
					eventually(t, "the sender backs off", func() bool { return l.Network().Dropped(link)[0] >= 5 })
					healed := time.Now()
					must(t, l.Network().Heal(link))
					must(t, e.answer(10*time.Second))
					gap[natural] = time.Since(healed)
					e.close()
					must(t, l.Close()) // there is one lab at a time
				}
				t.Logf("silence after heal: %v, naturally %v", gap[false], gap[true])
				if gap[false] < gap[true]/4 {
					return
				}
				if try == tries-1 {
					t.Errorf("after heal it took %v, and naturally %v", gap[false], gap[true])
				}
			}
		})
	}
}

func TestProcessesStartStopAndDie(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 1})
	exited := func() bool {
		select {
		case <-l.Exited("n1"):
			return true
		default:
			return false
		}
	}
	if !exited() {
		t.Error("nothing was started, and yet it runs")
	}
	must(t, l.Stop(t.Context(), "n1"))
	must(t, l.Kill("n1"))

	startPlay(t, l, "n1", "echo", "listening")
	if exited() {
		t.Error("it runs, and is said not to")
	}
	if err := l.Start("n1", Command{Args: []string{"play", "echo"}}); err == nil {
		t.Error("a second process was started on a node")
	}
	must(t, os.WriteFile(filepath.Join(l.Nodes()[0].Dir, "data"), []byte("x"), 0o600))
	must(t, l.Stop(t.Context(), "n1"))
	if !exited() {
		t.Error("it was stopped, and runs")
	}

	startPlay(t, l, "n1", "stubborn", "here I stand")
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	must(t, l.Stop(short, "n1")) // it will not, so it is killed
	if log := strings.Join(l.Log("n1", 3), "\n"); !exited() || !strings.Contains(log, "ended: signal: killed") {
		t.Errorf("it did not stop when asked, and was not killed:\n%s", log)
	}

	must(t, l.Start("n1", Command{Args: []string{"play", "fail"}}))
	<-l.Exited("n1")
	log := l.Log("n1", 4)
	for i, want := range []string{"starting: ", "I cannot go on", "for want of a nail", "ended: exit status 3"} {
		if len(log) != 4 || !strings.Contains(log[i], want) {
			t.Errorf("log: %q\nwant a line with %q", log, want)
		}
	}
	if _, err := os.Stat(filepath.Join(l.Nodes()[0].Dir, "data")); err != nil {
		t.Errorf("data did not survive the death of processes: %v", err)
	}

	if err := l.Start("n1", Command{Path: "/no/such/program"}); err == nil {
		t.Error("what is not there was started")
	}
	for _, err := range []error{l.Start("n2", Command{}), l.Stop(t.Context(), "n2"), l.Kill("n2")} {
		if err == nil || !strings.Contains(err.Error(), `no such node: "n2"`) {
			t.Errorf("got %v", err)
		}
	}
	must(t, l.Close())
	if err := l.Start("n1", Command{Args: []string{"play", "echo"}}); err == nil {
		t.Error("a process was started in a lab that is closed")
	}
}

// TestWithoutTunPacketSocketsDo: and what is missing is named.
func TestWithoutTunPacketSocketsDo(t *testing.T) {
	if !inLab(t) {
		return
	}
	// Over what is mounted in this lab's own namespace nobody else stumbles.
	must(t, unix.Mount("none", filepath.Dir(tunPath), "tmpfs", 0, ""))
	l := newLab(t, Options{Nodes: 2})
	if got := l.Facts()["network"]; got != PacketSockets.String() {
		t.Errorf("the network is made of %s", got)
	}
	refused, ok := errors.AsType[*RefusedError](l.Fallback())
	if !ok || refused.What != "TUN devices" || !strings.Contains(refused.Remedy, "mknod") {
		t.Errorf("the lab says of what is missing: %v", l.Fallback())
	}
	e, err := l.echo("n1", "n2")
	must(t, err)
	must(t, e.round(5*time.Second))
	e.close()
	must(t, l.Close())
	if _, err := NewLocal(Options{Nodes: 2, Ports: TunDevices}); err == nil {
		t.Error("got TUN devices where there are none")
	}
}

func TestRefusalsNameWhatPermitsIt(t *testing.T) {
	for _, test := range []struct {
		refused func(error) error
		err     error
		remedy  string // "" if it is no refusal
	}{
		{tunRefused, unix.EACCES, "sudo chmod 666 /dev/net/tun"},
		{tunRefused, unix.ENOENT, "sudo modprobe tun"},
		{tunRefused, unix.EPERM, "--privileged"},
		{tunRefused, unix.EBUSY, ""},
		{vethRefused, unix.EOPNOTSUPP, "sudo modprobe"},
		{vethRefused, fmt.Errorf("add: %w", unix.EPERM), "--privileged"},
		{vethRefused, unix.EEXIST, ""},
	} {
		err := test.refused(test.err)
		refused, ok := errors.AsType[*RefusedError](err)
		if ok != (test.remedy != "") || ok && !strings.Contains(refused.Error(), test.remedy) || !errors.Is(err, test.err) {
			t.Errorf("%v: got %v, want a remedy with %q", test.err, err, test.remedy)
		}
	}
}

func TestLabsThatCannotBe(t *testing.T) {
	if !inLab(t) {
		return
	}
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for _, o := range []Options{{Nodes: 0}, {Nodes: MaxNodes + 1}, {Nodes: 1, Dir: file}} {
		if l, err := NewLocal(o); err == nil {
			l.Close()
			t.Errorf("%+v: got a lab", o)
		}
	}
}

func TestOutsideThereIsNoLab(t *testing.T) {
	if Inside() {
		t.Fatal("this test runs outside")
	}
	if _, err := NewLocal(Options{Nodes: 1, Dir: t.TempDir()}); err == nil {
		t.Error("got a lab without its namespaces")
	}
}

func TestDoctorFindsWhatWorks(t *testing.T) {
	found := map[string]Finding{}
	for _, f := range Doctor(t.Context()) {
		t.Logf("%+v", f)
		found[f.Mechanism] = f
	}
	if f := found["namespaces"]; !f.Works {
		if os.Getenv("CI") == "" {
			t.Skip(f.Detail)
		}
		t.Fatal(f.Detail)
	}
	for _, needed := range []string{"TUN devices", "packet sockets", "network"} {
		if f := found[needed]; !f.Works && (os.Getenv("CI") != "" || f.Remedy == "") {
			t.Errorf("%s: %s", needed, f.Detail)
		}
	}
}

// TestTwoLabsDoNotMeet: the same names and addresses, at the same time.
func TestTwoLabsDoNotMeet(t *testing.T) {
	if Inside() {
		l := newLab(t, Options{Nodes: 2})
		startPlay(t, l, "n1", "echo", "listening")
		must(t, dial(t, l.Nodes()[0]).round(5*time.Second))
		if _, err := net.DialTimeout("tcp4", l.Nodes()[1].Addr.String()+":7", 50*time.Millisecond); err == nil {
			t.Error("reached what runs on nobody's n2")
		}
		fmt.Println("met nobody")
		return
	}
	outs := make([]bytes.Buffer, 4)
	errs := make([]error, len(outs))
	var running sync.WaitGroup
	for i := range outs {
		running.Go(func() {
			_, errs[i] = enter(t.Context(), &outs[i], []string{roleTester, "-test.run=^TestTwoLabsDoNotMeet$", "-test.v"})
		})
	}
	running.Wait()
	for i := range outs {
		skipRefused(t, errs[i])
		if errs[i] != nil || !strings.Contains(outs[i].String(), "met nobody") {
			t.Errorf("lab %d: %v\n%s", i, errs[i], &outs[i])
		}
	}
}

func TestCaptureHoldsWhatWasDelivered(t *testing.T) {
	if !inLab(t) {
		return
	}
	var file bytes.Buffer
	l := newLab(t, Options{Nodes: 2, Pcap: &file})
	e, err := l.echo("n1", "n2")
	must(t, err)
	must(t, e.round(5*time.Second))
	link := Link{"n1", "n2"}
	must(t, l.Network().Cut(link))
	if e.round(20*time.Millisecond) == nil {
		t.Error("the link is not cut")
	}
	e.close()
	must(t, l.Close())
	b := file.Bytes()
	order := binary.LittleEndian
	if order.Uint32(b) != 0xa1b23c4d || order.Uint32(b[20:]) != 101 {
		t.Fatalf("no header of a capture with nanoseconds and raw packets: %x", b[:24])
	}
	var syn int
	payload := map[uint32]bool{} // by sequence number: TCP may send a byte twice
	for b = b[24:]; len(b) > 0; {
		at := time.Unix(int64(order.Uint32(b)), int64(order.Uint32(b[4:])))
		if d := time.Since(at); d < 0 || d > time.Minute {
			t.Errorf("a packet of %v", at)
		}
		n := order.Uint32(b[8:])
		packet := b[16 : 16+n]
		b = b[16+n:]
		from, to := net.IP(packet[12:16]).String(), net.IP(packet[16:20]).String()
		if from == "10.77.0.1" && to == "10.77.0.2" && packet[9] == 6 {
			tcp := packet[20:]
			if tcp[13]&2 != 0 {
				syn++
			}
			for i := range len(tcp) - int(tcp[12]>>4)*4 {
				payload[binary.BigEndian.Uint32(tcp[4:])+uint32(i)] = true
			}
		}
	}
	if syn == 0 || len(payload) != 1 {
		t.Errorf("n1 sent n2 %d SYN and %d bytes; want some, and the 1 that was sent before the cut", syn, len(payload))
	}
}

// BenchmarkLab brings five nodes up and down, each with a process.
func BenchmarkLab(b *testing.B) {
	if !Inside() {
		exit, err := Enter(b.Context(), []string{"-test.run=^$", "-test.bench=^BenchmarkLab$"})
		skipRefused(b, err)
		if err != nil || exit != 0 {
			b.Fatal(exit, err)
		}
		b.Skip("see inside, above")
	}
	dir := b.TempDir()
	for _, kind := range bothPorts {
		b.Run(kind.name, func(b *testing.B) { benchmarkLab(b, dir, kind.ports) })
	}
}

func benchmarkLab(b *testing.B, dir string, ports Ports) {
	var up, down time.Duration
	for b.Loop() {
		begun := time.Now()
		l, err := NewLocal(Options{Nodes: 5, Dir: dir, Ports: ports})
		must(b, err)
		for _, n := range l.Nodes() {
			must(b, l.Start(n.Name, Command{Args: []string{"play", "echo"}}))
		}
		ready := time.Now()
		must(b, l.Close())
		up += ready.Sub(begun)
		down += time.Since(ready)
	}
	b.ReportMetric(float64(up.Milliseconds())/float64(b.N), "ms-up/op")
	b.ReportMetric(float64(down.Milliseconds())/float64(b.N), "ms-down/op")
}
