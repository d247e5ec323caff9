//go:build linux

package cluster

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What the lab's network costs, side by side with what the kernel does by itself:
// the loopback of one namespace, and a bridge between namespaces. The nodes are
// processes, and read and write as plainly as a C program does, so that what is
// measured is the network.

// networks are what is compared.
var networks = []struct {
	name string
	make func(b *testing.B, nodes int) *Local
}{
	{"loopback", newLoopback},
	{"bridge", newBridge},
	{"tun", func(b *testing.B, nodes int) *Local { return newBenchLab(b, nodes, TunDevices) }},
	{"packet", func(b *testing.B, nodes int) *Local { return newBenchLab(b, nodes, PacketSockets) }},
}

func newBenchLab(b *testing.B, nodes int, ports Ports) *Local {
	l, err := NewLocal(Options{Nodes: nodes, Dir: b.TempDir(), Ports: ports})
	skipRefused(b, err)
	must(b, err)
	b.Cleanup(func() { must(b, l.Close()) })
	return l
}

// bareLab returns a lab with a namespace for each of its nodes, and no network.
func bareLab(b *testing.B, nodes int) *Local {
	l := &Local{processes: map[string]*process{}}
	b.Cleanup(func() { must(b, l.Close()) })
	dir := b.TempDir()
	for i := 1; i <= nodes; i++ {
		n := Node{Name: fmt.Sprintf("n%d", i), Addr: addrOf(i), Dir: fmt.Sprintf("%s/n%d/data", dir, i)}
		must(b, os.MkdirAll(n.Dir, 0o755))
		ns, err := newNamespace()
		must(b, err)
		l.nodes, l.spaces = append(l.nodes, n), append(l.spaces, ns)
	}
	return l
}

// newLoopback returns a lab whose nodes are in one namespace.
func newLoopback(b *testing.B, nodes int) *Local {
	l := bareLab(b, nodes)
	for i := range l.nodes {
		if i > 0 {
			l.spaces[i].close()
			l.spaces[i] = l.spaces[0]
		}
		must(b, l.spaces[0].do(func() error {
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			return netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: l.nodes[i].Addr.AsSlice(), Mask: net.CIDRMask(32, 32)}})
		}))
	}
	return l
}

// newBridge returns a lab whose nodes are on a bridge of the kernel.
func newBridge(b *testing.B, nodes int) *Local {
	l := bareLab(b, nodes)
	var err error
	l.hub, err = newNamespace()
	must(b, err)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "bridge"
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	err = l.hub.do(func() error { return netlink.LinkAdd(bridge) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		b.Skip("the kernel has no bridge")
	}
	must(b, err)
	for i := range l.nodes {
		must(b, l.hub.do(func() error {
			attrs := netlink.NewLinkAttrs()
			attrs.Name, attrs.MasterIndex = fmt.Sprintf("port%d", i), bridge.Index
			if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: device, PeerNamespace: netlink.NsFd(int(l.spaces[i].f.Fd()))}); err != nil {
				return err
			}
			return linkUp(attrs.Name)
		}))
		must(b, l.spaces[i].do(func() error {
			if err := setAddr(device, l.nodes[i].Addr.As4()); err != nil {
				return err
			}
			return linkUp(device)
		}))
	}
	must(b, l.hub.do(func() error { return linkUp("bridge") }))
	return l
}

// benchInside runs the calling benchmark once more inside the lab, and says whether
// this is that run.
func benchInside(b *testing.B) bool {
	if Inside() {
		return true
	}
	// The part of the filter that chooses among this one's own goes with it.
	filter := "^" + b.Name() + "$"
	if _, own, ok := strings.Cut(flag.Lookup("test.bench").Value.String(), "/"); ok {
		filter += "/" + own
	}
	args := []string{"-test.run=^$", "-test.bench=" + filter}
	for _, name := range []string{"test.benchtime", "test.count", "test.cpuprofile"} {
		args = append(args, "-"+name+"="+flag.Lookup(name).Value.String())
	}
	exit, err := Enter(b.Context(), args)
	skipRefused(b, err)
	if err != nil || exit != 0 {
		b.Fatal(exit, err)
	}
	b.Skip("see inside, above")
	return false
}

// BenchmarkNetwork is what the lab's network does beside what others do.
func BenchmarkNetwork(b *testing.B) {
	if !benchInside(b) {
		return
	}
	for _, load := range []struct {
		name  string
		nodes int
		// plays are what each node does.
		plays func(l *Local, n int) [][]string
	}{
		{"1-pair", 2, func(l *Local, n int) [][]string {
			return [][]string{{"0"}, {strconv.Itoa(n), l.nodes[0].Addr.String()}}
		}},
		{"6-pairs", 3, func(l *Local, n int) (all [][]string) {
			for i := range l.nodes {
				one := []string{strconv.Itoa(n/6 + 1)}
				for j, peer := range l.nodes {
					if i != j {
						one = append(one, peer.Addr.String())
					}
				}
				all = append(all, one)
			}
			return all
		}},
		{"bulk", 2, func(l *Local, n int) [][]string {
			return [][]string{{"0"}, {strconv.Itoa(-n), l.nodes[0].Addr.String()}}
		}},
	} {
		for _, network := range networks {
			b.Run(load.name+"/"+network.name, func(b *testing.B) {
				l := network.make(b, load.nodes)
				for i, args := range load.plays(l, b.N) {
					must(b, l.Start(l.nodes[i].Name, Command{Args: append([]string{"play", "pingpong", l.nodes[i].Addr.String()}, args...)}))
				}
				var perSecond, middle float64
				var pairs int
				for _, n := range l.nodes {
					for _, said := range awaitPairs(b, l, n.Name) {
						perSecond += said[0]
						middle += said[1]
						pairs++
					}
				}
				b.ReportMetric(0, "ns/op")
				if load.name == "bulk" {
					b.ReportMetric(perSecond*bulk/1e6, "MB/s")
					return
				}
				b.ReportMetric(perSecond, "roundtrips/s")
				b.ReportMetric(middle/float64(pairs), "µs-p50")
			})
		}
	}
}

// awaitPairs waits until the node has done its part, and returns what it measured.
func awaitPairs(b *testing.B, l *Local, node string) (said [][2]float64) {
	deadline := time.Now().Add(30 * time.Second)
	for tick := time.Tick(5 * time.Millisecond); ; <-tick {
		log := l.Log(node, 20)
		for _, line := range log {
			switch {
			case line == "done":
				for _, line := range log {
					var s [2]float64
					if n, _ := fmt.Sscanf(line, "pair %g %g", &s[0], &s[1]); n == 2 {
						said = append(said, s)
					}
				}
				return said
			case strings.HasPrefix(line, "error"), time.Now().After(deadline):
				b.Fatalf("%s: %q", node, log)
			}
		}
	}
}

const (
	small = 16      // bytes of a small message
	bulk  = 1 << 18 // bytes of a large one
)

// playPingPong is a program for a node: it answers at its own address, and plays
// with each of the others that are given, so many times; or if that is less than 0,
// sends them so many large messages.
func playPingPong(args []string) int {
	count, err := strconv.Atoi(args[1])
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	listener, err := net.Listen("tcp4", args[0]+":7")
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go pong(plain(c))
		}
	}()
	var playing sync.WaitGroup
	for _, peer := range args[2:] {
		playing.Go(func() {
			var c net.Conn
			for deadline := time.Now().Add(10 * time.Second); ; {
				if c, err = net.DialTimeout("tcp4", peer+":7", time.Second); err == nil {
					break
				}
				if time.Now().After(deadline) {
					fmt.Println("error", err)
					return
				}
			}
			if count > 0 {
				ping(plain(c), count)
			} else {
				pour(plain(c), -count)
			}
		})
	}
	playing.Wait()
	fmt.Println("done")
	select {}
}

// plain returns the connection's descriptor as a program has it that does one thing
// at a time: whoever reads it waits in the kernel.
func plain(c net.Conn) int {
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		panic(err)
	}
	c.Close()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		panic(err)
	}
	f.Close()
	_ = unix.SetNonblock(fd, false)
	return fd
}

// pong answers small messages, and counts large ones, which begin with an 'x'.
func pong(fd int) {
	defer unix.Close(fd)
	buf := make([]byte, bulk)
	var large, answered int
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case err == unix.EINTR:
		case err != nil || n == 0:
			return
		case large > 0 || buf[0] == 'x':
			for large += n; answered < large/bulk; answered++ {
				_, _ = unix.Write(fd, []byte{'y'})
			}
		default:
			_, _ = unix.Write(fd, buf[:n])
		}
	}
}

func ping(fd, count int) {
	defer unix.Close(fd)
	message, answer := bytes.Repeat([]byte{'o'}, small), make([]byte, small)
	took := make([]time.Duration, count)
	begun := time.Now()
	for i := range took {
		sent := time.Now()
		if err := whole(unix.Write, fd, message); err != nil {
			fmt.Println("error", err)
			return
		}
		if err := whole(unix.Read, fd, answer); err != nil {
			fmt.Println("error", err)
			return
		}
		took[i] = time.Since(sent)
	}
	all := time.Since(begun)
	slices.Sort(took)
	fmt.Printf("pair %g %g\n", float64(count)/all.Seconds(), float64(took[count/2].Nanoseconds())/1e3)
}

// pour sends large messages, of which each is acknowledged, and no more than a few
// are under way.
func pour(fd, count int) {
	defer unix.Close(fd)
	message := bytes.Repeat([]byte{'x'}, bulk)
	begun := time.Now()
	heard := make(chan error, 1)
	go func() {
		buf := make([]byte, 1)
		for range count {
			if err := whole(unix.Read, fd, buf); err != nil {
				heard <- err
				return
			}
		}
		heard <- nil
	}()
	for range count {
		if err := whole(unix.Write, fd, message); err != nil {
			fmt.Println("error", err)
			return
		}
	}
	if err := <-heard; err != nil {
		fmt.Println("error", err)
		return
	}
	fmt.Printf("pair %g 0\n", float64(count)/time.Since(begun).Seconds())
}

func whole(do func(fd int, b []byte) (int, error), fd int, b []byte) error {
	for len(b) > 0 {
		n, err := do(fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF
		default:
			b = b[n:]
		}
	}
	return nil
}

// BenchmarkSetUp brings labs of several sizes up, and down again.
func BenchmarkSetUp(b *testing.B) {
	if !benchInside(b) {
		return
	}
	for _, nodes := range []int{3, 9, 20} {
		for _, kind := range bothPorts {
			b.Run(fmt.Sprintf("%d-nodes/%s", nodes, kind.name), func(b *testing.B) {
				dir := b.TempDir()
				var up time.Duration
				for b.Loop() {
					begun := time.Now()
					l, err := NewLocal(Options{Nodes: nodes, Dir: dir, Ports: kind.ports})
					must(b, err)
					up += time.Since(begun)
					must(b, l.Close())
				}
				b.ReportMetric(float64(up.Microseconds())/1e3/float64(b.N), "ms-up/op")
			})
		}
	}
}

// BenchmarkFaults is how soon faults of the network begin and end, while packets
// pass: cutting one of five nodes off and healing that, and delaying its packets and
// ending that.
func BenchmarkFaults(b *testing.B) {
	if !benchInside(b) {
		return
	}
	l := newBenchLab(b, 5, AnyPorts)
	var links []Link
	for i := 2; i <= 5; i++ {
		n := fmt.Sprintf("n%d", i)
		links = append(links, Link{"n1", n}, Link{n, "n1"})
	}
	must(b, l.Start("n2", Command{Args: []string{"play", "pingpong", l.nodes[1].Addr.String(), "0"}}))
	must(b, l.Start("n3", Command{Args: []string{"play", "pingpong", l.nodes[2].Addr.String(), "5000000", l.nodes[1].Addr.String()}}))
	var cut, heal, impair, end time.Duration
	lap := func(of *time.Duration, do func() error) {
		begun := time.Now()
		must(b, do())
		*of += time.Since(begun)
	}
	for b.Loop() {
		lap(&cut, func() error { return l.net.Cut(links...) })
		lap(&heal, func() error { return l.net.Heal(links...) })
		var im Impairment
		lap(&impair, func() (err error) {
			im, err = l.net.Impair(Effect{Delay: time.Millisecond}, links...)
			return err
		})
		lap(&end, func() error { return im.End() })
	}
	for name, took := range map[string]time.Duration{"cut": cut, "heal": heal, "impair": impair, "end": end} {
		b.ReportMetric(float64(took.Nanoseconds())/1e3/float64(b.N), "µs-"+name)
	}
}

// BenchmarkDelay is by how much a delay is felt later than it should: half of what a
// round trip takes beyond it.
func BenchmarkDelay(b *testing.B) {
	if !benchInside(b) {
		return
	}
	for _, delay := range []time.Duration{500 * time.Microsecond, 5 * time.Millisecond, 50 * time.Millisecond} {
		b.Run(delay.String(), func(b *testing.B) {
			l := newBenchLab(b, 2, AnyPorts)
			e, err := l.echo("n1", "n2")
			must(b, err)
			defer e.close()
			im, err := l.net.Impair(Effect{Delay: delay}, Link{"n1", "n2"}, Link{"n2", "n1"})
			must(b, err)
			defer im.End()
			var took []time.Duration
			for b.Loop() {
				begun := time.Now()
				must(b, e.round(time.Second))
				took = append(took, time.Since(begun))
			}
			slices.Sort(took)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64((took[len(took)/2]-2*delay).Nanoseconds())/2e3, "µs-late-p50")
		})
	}
}
