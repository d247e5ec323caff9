//go:build linux

package nemesis

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hacheck/hacheck/cluster"
)

// playHail is what nodes do that hail all others over and over, and write down how often
// they were hailed, by whom.
func playHail() {
	conn, err := net.ListenPacket("udp4", ":9")
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		for range time.Tick(2 * time.Millisecond) {
			for n := range 5 {
				_, _ = conn.WriteTo([]byte("hail"), &net.UDPAddr{IP: net.IPv4(10, 77, 0, byte(n+1)), Port: 9})
			}
		}
	}()
	heard, written, b := map[string]int{}, time.Time{}, make([]byte, 16)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) // and what was heard is written, if it is the last
		if _, from, err := conn.ReadFrom(b); err == nil {
			heard[from.(*net.UDPAddr).IP.String()]++
		}
		if time.Since(written) < 10*time.Millisecond {
			continue
		}
		written = time.Now()
		if os.WriteFile("heard.new", encode(heard), 0o600) != nil || os.Rename("heard.new", "heard") != nil {
			os.Exit(1)
		}
	}
}

// playAgent is what a host does: two guests run there, beside the agent, which finds them
// when it is started again.
func playAgent() {
	var guests []cluster.Guest
	if b, err := os.ReadFile("guests"); err == nil {
		_ = json.Unmarshal(b, &guests)
	}
	for i, g := range guests {
		if syscall.Kill(g.PID, 0) != nil {
			guests[i].PID = 0
		}
	}
	if len(guests) == 0 {
		guests = []cluster.Guest{{Name: "vm1"}, {Name: "vm2"}}
	}
	for i := range guests {
		if guests[i].PID != 0 {
			continue
		}
		guest := exec.Command("/bin/sleep", "1000")
		guest.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := guest.Start(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		guests[i].PID = guest.Process.Pid
		go func() { _ = guest.Wait() }()
	}
	if err := os.WriteFile("guests.new", encode(guests), 0o600); err != nil || os.Rename("guests.new", "guests") != nil {
		os.Exit(1)
	}
	if err := os.WriteFile("settled", fmt.Append(nil, os.Getpid()), 0o600); err != nil {
		os.Exit(1)
	}
}

// A manor is the system whose nodes are of three parts, and all play the same part.
type manor struct {
	player
	dirs map[string]string
}

func (manor) Parts() []cluster.Part {
	return []cluster.Part{
		{Name: cluster.PartControl, Nodes: []string{"n1"}},
		{Name: cluster.PartHost, Nodes: []string{"n2", "n3", "n4"}},
		{Name: cluster.PartStorage, Nodes: []string{"n5"}},
	}
}

// Guests implements cluster.Hosting.
func (m manor) Guests(host string) (running []cluster.Guest) {
	b, err := os.ReadFile(filepath.Join(m.dirs[host], "guests"))
	if err != nil || json.Unmarshal(b, &running) != nil {
		return nil
	}
	return slices.DeleteFunc(running, func(g cluster.Guest) bool { return syscall.Kill(g.PID, 0) != nil })
}

func newManor(t *testing.T, part string) (manor, Env) {
	t.Helper()
	lab, err := cluster.NewLocal(cluster.Options{Nodes: 5, Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if refused, ok := errors.AsType[*cluster.RefusedError](err); ok && os.Getenv("CI") == "" {
		t.Skip(refused)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	m := manor{player{lab, part}, map[string]string{}}
	for _, n := range lab.Nodes() {
		m.dirs[n.Name] = n.Dir
		if err := m.Start(n.Name); err != nil {
			t.Fatal(err)
		}
	}
	return m, NewEnv(lab, m).withBooks()
}

// TestHostPartitionCutsRealLinks: those of the plane, in the direction, and no others.
func TestHostPartitionCutsRealLinks(t *testing.T) {
	if !inLab(t) {
		return
	}
	m, env := newManor(t, "hail")
	places := map[string]string{} // names by address
	for _, n := range m.lab.Nodes() {
		places[n.Addr.String()] = n.Name
	}
	places["10.77.0.250"] = cluster.Tester
	conn, err := net.ListenPacket("udp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	heard := func() map[cluster.Link]int {
		all := map[cluster.Link]int{}
		for _, n := range m.lab.Nodes() {
			_, _ = conn.WriteTo([]byte("hail"), &net.UDPAddr{IP: n.Addr.AsSlice(), Port: 9})
			b, err := os.ReadFile(filepath.Join(n.Dir, "heard"))
			by := map[string]int{}
			if err != nil || json.Unmarshal(b, &by) != nil {
				continue
			}
			for addr, times := range by {
				if places[addr] != n.Name {
					all[cluster.Link{From: places[addr], To: n.Name}] = times
				}
			}
		}
		return all
	}
	const links = 5*4 + 5
	// more waits until as much was heard again over all links that are whole, and returns
	// what was heard.
	more := func(what string, cut []string) map[cluster.Link]int {
		t.Helper()
		before := heard()
		var now map[cluster.Link]int
		eventually(t, what, func() bool {
			now = heard()
			grown := 0
			for l, times := range now {
				if times >= before[l]+10 {
					grown++
				}
			}
			return grown >= links-len(cut)
		})
		return now
	}
	more("all hear all", nil)
	for _, test := range []struct {
		spec, direction string
		want            []string
	}{
		{"host-partition:management:n2", "", []string{"n1→n2", "n2→n1"}},
		{"host-partition:storage:n3", inward, []string{"n5→n3"}},
		{"host-partition:both:n4", outward, []string{"n4→n1", "n4→n2", "n4→n3", "n4→n5"}},
		{"host-partition:both:n2", "", []string{"n1→n2", "n2→n1", "n2→n3", "n2→n4", "n2→n5", "n3→n2", "n4→n2", "n5→n2"}},
		{"host-partition:storage:all", "", []string{"n2→n5", "n3→n5", "n4→n5", "n5→n2", "n5→n3", "n5→n4"}},
	} {
		b := breaker(t, HostPartition(), env, test.spec)
		d := b.Draw(drawing(1)).(*Severance)
		d.Direction = test.direction
		h, err := b.Begin(t.Context(), encode(d))
		if err != nil {
			t.Fatalf("%s: %v", test.spec, err)
		}
		first := more(test.spec+": who is not cut off hears", test.want) // and what was under way is read
		second := more(test.spec+": who is not cut off goes on hearing", test.want)
		for _, l := range test.want {
			from, to, _ := strings.Cut(l, "→")
			if link := (cluster.Link{From: from, To: to}); second[link] != first[link] {
				t.Errorf("%s: %v was cut, and %d came through", test.spec, link, second[link]-first[link])
			}
		}
		acted, evidence, err := h.End(t.Context())
		dropped := evidence.(map[string]uint64)
		if got := slices.Sorted(maps.Keys(dropped)); err != nil || acted == 0 || !slices.Equal(got, test.want) {
			t.Errorf("%s: acted %d, and dropped %v: %v", test.spec, acted, dropped, err)
		}
		t.Logf("%s: %s", test.spec, encode(evidence))
		more(test.spec+": healed, all hear all", nil)
	}
}

func TestGuestsAndAgentsDieAlone(t *testing.T) {
	if !inLab(t) {
		return
	}
	m, env := newManor(t, "agent")
	hosts := m.Parts()[1].Nodes
	// settled waits until the agent that now runs has done all it does.
	settled := func(host string) {
		t.Helper()
		eventually(t, host+" has settled", func() bool {
			p, running := env.Processes.Process(host)
			said, err := os.ReadFile(filepath.Join(m.dirs[host], "settled"))
			return err == nil && running && string(said) == fmt.Sprint(p.PID) && len(m.Guests(host)) == 2
		})
	}
	for _, host := range hosts {
		settled(host)
	}
	h, err := begin(t, breaker(t, AgentRestart(), env, "agent-restart:all"), 1)
	if err != nil {
		t.Fatal(err)
	}
	acted, evidence, err := h.End(t.Context())
	if err != nil || acted != 3 {
		t.Errorf("acted %d, %v", acted, err)
	}
	t.Logf("%s", encode(evidence))
	for host, o := range evidence.(map[string]*Orphaning) {
		p, running := env.Processes.Process(host)
		if !running || o.Again != p.PID || o.PID == p.PID || len(o.Lived) != 2 || len(o.Lost) != 0 || o.Error != "" {
			t.Errorf("%s: %+v; it runs %+v", host, o, p)
		}
		settled(host)
	}

	before := map[string]cluster.Process{}
	for _, node := range nodes(5) {
		before[node], _ = env.Processes.Process(node)
	}
	b := breaker(t, GuestKill(), env, "guest-kill:n3")
	d := b.Draw(drawing(1)).(*Cull)
	for _, d.Each = range []int{1, 0} {
		guests := m.Guests("n3")
		if h, err = b.Begin(t.Context(), encode(d)); err != nil {
			t.Fatal(err)
		}
		acted, evidence, err = h.End(t.Context())
		if err != nil || acted != 1 {
			t.Errorf("of %v, acted on %d: %v", guests, acted, err)
		}
		// The dead have their numbers until they are buried.
		eventually(t, "one is left less", func() bool { return len(m.Guests("n3")) == len(guests)-1 })
		t.Logf("%s", encode(evidence))
	}
	for _, node := range nodes(5) {
		if p, _ := env.Processes.Process(node); p.PID != before[node].PID {
			t.Errorf("%s ran %+v, and runs %+v", node, before[node], p)
		}
	}

	// A host that is killed takes its guests along.
	if h, err = begin(t, breaker(t, HostKill(), env, "host-kill:n2"), 1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "n2 has no guests", func() bool { return len(m.Guests("n2")) == 0 })
	if left := m.Guests("n4"); len(left) != 2 {
		t.Errorf("n4 was not killed, and has %v", left)
	}
	if acted, _, err := h.End(t.Context()); err != nil || acted != 1 {
		t.Errorf("acted %d, %v", acted, err)
	}
	settled("n2")
	if p, _ := env.Processes.Process("n2"); p.PID == before["n2"].PID {
		t.Error("the host has not died")
	}
}
