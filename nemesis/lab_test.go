//go:build linux

package nemesis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/cluster/clock"
	"github.com/hacheck/hacheck/cluster/clustertest"
	"github.com/hacheck/hacheck/systems/raftkv/raftkvtest"
)

// The test binary is also what tests run in the lab: themselves, and the nodes'
// processes.
func TestMain(m *testing.M) {
	os.Exit(clustertest.Main(m.Run, raftkvtest.Program, func(args []string) (mine bool, status int) {
		if len(args) > 1 && args[0] == "play" {
			play(args[1])
		}
		return false, 0
	}))
}

func inLab(t *testing.T) bool {
	t.Helper()
	return clustertest.InLab(t)
}

// play is the program of the nodes.
func play(part string) {
	fmt.Println("playing", part)
	switch part {
	case "echo":
		playEcho()
	case "hail":
		playHail()
	case "agent":
		playAgent()
	case "burn": // time
		for n := 0; n >= 0; n++ {
		}
	case "clock": // tell the time, again and again
		begun := time.Now()
		for range time.Tick(time.Millisecond) {
			told := fmt.Sprint(time.Now().UnixNano(), time.Since(begun).Nanoseconds())
			if os.WriteFile("time.new", []byte(told), 0o600) != nil || os.Rename("time.new", "time") != nil {
				os.Exit(1)
			}
		}
	case "eat": // memory, more and more
		var eaten [][]byte
		for range time.Tick(5 * time.Millisecond) {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = byte(i)
			}
			eaten = append(eaten, b)
			if len(eaten) == 256 {
				os.Exit(0)
			}
		}
	case "write": // to files, and sync the one and not the other
		playWrite()
	case "open": // files, more and more
		var files []*os.File
		for range time.Tick(time.Millisecond) {
			f, err := os.Open("/dev/null")
			if err != nil {
				fmt.Println(err)
				continue
			}
			files = append(files, f)
			if len(files) == 10_000 {
				os.Exit(0)
			}
		}
	}
	select {}
}

// newLab returns what there is to break in a lab whose nodes all play a part.
func newLab(t *testing.T, part string) (*cluster.Local, Env) {
	t.Helper()
	lab, err := cluster.NewLocal(cluster.Options{
		Nodes: 3, Dir: t.TempDir(), Resources: true, Clocks: clock.Supported() == nil, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
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
	env := NewEnv(lab, player{lab, part}).withBooks()
	for _, node := range env.Nodes {
		if err := env.Start(node); err != nil {
			t.Fatal(err)
		}
		eventually(t, node+" plays", func() bool { return strings.Contains(strings.Join(lab.Log(node, 3), "\n"), "playing "+part) })
	}
	return lab, env
}

// A player is the system whose nodes play a part.
type player struct {
	lab  *cluster.Local
	part string
}

func (player) Name() string                { return "player" }
func (player) Ready(context.Context) error { return nil }
func (p player) Start(node string) error {
	return p.lab.Start(node, cluster.Command{Args: []string{"play", p.part}})
}

// eventually waits for something that real processes bring about.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	if !poll(t.Context(), 20*time.Second, is) {
		t.Fatalf("it did not come about that %s", what)
	}
}

// allRun checks that every node runs, and is not stopped.
func allRun(t *testing.T, env Env, after string) {
	t.Helper()
	for _, node := range env.Nodes {
		if p, running := env.Processes.Process(node); !running || p.State == "T" {
			t.Errorf("after %s, %s is %+v, %v", after, node, p, running)
		}
	}
}

func TestProcessFaultsActOnRealProcesses(t *testing.T) {
	if !inLab(t) {
		return
	}
	_, env := newLab(t, "wait")
	for _, test := range []struct {
		fault Fault
		spec  string
		down  int    // nodes that run nothing while it is in force
		state string // of those it hits
	}{
		{Kill(), "kill:majority", 2, ""},
		{Kill(), "kill:all", 3, ""},
		{Pause(), "pause:minority", 0, "T"},
		{Pause(), "pause:all", 0, "T"},
		{Restart(), "restart:down:n2", 1, ""},
		{Restart(), "restart:rolling", 0, ""},
	} {
		before := map[string]cluster.Process{}
		for _, node := range env.Nodes {
			before[node], _ = env.Processes.Process(node)
		}
		h, err := begin(t, breaker(t, test.fault, env, test.spec), 5)
		if err != nil {
			t.Fatalf("%s: %v", test.spec, err)
		}
		hit := h.Detail().(Strike).Nodes
		if test.spec == "restart:rolling" {
			hit = env.Nodes
			eventually(t, "all are others", func() bool {
				others := 0
				for _, node := range env.Nodes {
					if p, running := env.Processes.Process(node); running && p.PID != before[node].PID {
						others++
					}
				}
				return others == len(env.Nodes)
			})
		}
		down := 0
		for _, node := range env.Nodes {
			p, running := env.Processes.Process(node)
			if !running {
				down++
			} else if p.PID == before[node].PID && (p.State == "T") != (test.state == "T" && slices.Contains(hit, node)) {
				t.Errorf("%s of %v: %s is %s", test.spec, hit, node, p.State)
			}
		}
		if down != test.down {
			t.Errorf("%s: %d nodes are down", test.spec, down)
		}
		acted, evidence, err := h.End(t.Context())
		if err != nil || acted != uint64(len(hit)) {
			t.Errorf("%s: acted %d, want %d: %v", test.spec, acted, len(hit), err)
		}
		for node, hit := range evidence.(map[string]*Hit) {
			if p, _ := env.Processes.Process(node); hit.PID != before[node].PID || hit.Error != "" || hit.Again != 0 && hit.Again != p.PID {
				t.Errorf("%s: %s: %+v; it was %+v and is %+v", test.spec, node, hit, before[node], p)
			}
		}
		t.Logf("%s: %s", test.spec, encode(evidence))
		allRun(t, env, test.spec)
	}
}

func TestShortagesActOnRealProcesses(t *testing.T) {
	if !inLab(t) {
		return
	}
	for _, test := range []struct {
		part, spec string
		felt       func(lab *cluster.Local, before cluster.Usage) bool // it has acted
	}{
		{"burn", "resource:cpu:n2", func(lab *cluster.Local, before cluster.Usage) bool {
			u, err := lab.Resources().Usage("n2") // it is limited by periods: of a few nothing can be said
			return err == nil && u.CPU > before.CPU+100*time.Millisecond
		}},
		{"eat", "resource:memory:n2", func(lab *cluster.Local, _ cluster.Usage) bool {
			_, running := lab.Process("n2")
			return !running
		}},
		{"open", "resource:files:n2", func(lab *cluster.Local, _ cluster.Usage) bool {
			return strings.Contains(strings.Join(lab.Log("n2", 50), "\n"), "too many open files")
		}},
	} {
		t.Run(test.part, func(t *testing.T) {
			lab, env := newLab(t, test.part)
			b := breaker(t, Resource(), env, test.spec)
			detail := b.Draw(rand.New(rand.NewPCG(1, 1))).(*Shortage)
			detail.Memory, detail.CPU = min(detail.Memory, 1.1), 0.03 // on a busy machine, more is not missed
			h, err := b.Begin(t.Context(), encode(detail))
			if err != nil {
				t.Fatal(err)
			}
			node := h.(*heldShortage).nodes["n2"]
			eventually(t, "it is felt", func() bool { return test.felt(lab, node.seen.Before) })
			eventually(t, "it is seen", func() bool {
				for _, n := range node.limit.Seen() {
					return n > 0
				}
				return false
			})
			acted, evidence, err := h.End(t.Context())
			short := evidence.(map[string]*Short)["n2"]
			if err != nil || acted == 0 || short.Error != "" {
				t.Errorf("acted %d: %v: %+v", acted, err, short)
			}
			t.Logf("%s, by %s: %s", test.spec, lab.Resources().Method(), encode(evidence))
			if test.part == "burn" && (short.Core == 0 || short.Core > 2*detail.CPU+0.1) {
				t.Errorf("it may have %.2f of a core, and had %.2f", detail.CPU, short.Core)
			}
			if p, _ := lab.Process("n2"); test.part == "eat" && (short.Ended == 0 || short.Again != p.PID) {
				t.Errorf("it was killed, and is %+v: %+v", p, short)
			}
			allRun(t, env, test.spec)
		})
	}
}

// showsTime returns by how much realtime is off that a node's process shows, and its
// monotonic clock.
func showsTime(t *testing.T, lab *cluster.Local, node string) (off, monotonic time.Duration) {
	t.Helper()
	at := slices.IndexFunc(lab.Nodes(), func(n cluster.Node) bool { return n.Name == node })
	name := filepath.Join(lab.Nodes()[at].Dir, "time")
	_ = os.Remove(name) // what was told before
	var told []byte
	eventually(t, node+" tells the time", func() (ok bool) {
		var err error
		told, err = os.ReadFile(name)
		return err == nil
	})
	var realtime int64
	if _, err := fmt.Sscan(string(told), &realtime, &monotonic); err != nil {
		t.Fatalf("%q: %v", told, err)
	}
	return time.Until(time.Unix(0, realtime)), monotonic
}

func TestClockFaultsActOnRealProcesses(t *testing.T) {
	if err := clock.Supported(); err != nil {
		t.Skip(err)
	}
	if !inLab(t) {
		return
	}
	lab, env := newLab(t, "clock")
	const near = 2 * time.Second // a busy machine is late
	for _, spec := range []string{"clock:jump:majority", "clock:skew:all", "clock:drift:n2", "clock:monotonic:minority", "clock:strobe:n3"} {
		b := breaker(t, Clock(), env, spec)
		detail := b.Draw(rand.New(rand.NewPCG(1, 1))).(*Warping)
		for i := range detail.Drawn { // so much that a busy machine is told from it
			switch detail.Variant {
			case clockJump, clockSkew, clockStrobe:
				detail.Drawn[i].Offset = -time.Duration(i+1) * time.Hour
			case clockDrift:
				detail.Drawn[i].Drift = 50
			case clockMonotonic:
				detail.Drawn[i].MonotonicDrift = 50
			}
		}
		h, err := b.Begin(t.Context(), encode(detail))
		if err != nil {
			t.Fatalf("%s: %v", spec, err)
		}
		warps := h.Detail().(Warping).Warps
		if len(warps) == 0 || len(h.Detail().(Warping).Read) != len(warps) {
			t.Errorf("%s: it hits %v, and read %v", spec, warps, h.Detail())
		}
		for _, node := range env.Nodes {
			begun := time.Now()
			_, first := showsTime(t, lab, node)
			eventually(t, spec+": "+node+" shows what it was set to", func() bool {
				off, monotonic := showsTime(t, lab, node)
				w := warps[node]
				gained := monotonic - first - time.Since(begun)
				switch {
				case w.Drift != 0:
					return off > near
				case w.MonotonicDrift != 0:
					return gained > near && off.Abs() < near
				}
				return (off-w.Offset).Abs() < near && gained.Abs() < near
			})
		}
		acted, evidence, err := h.End(t.Context())
		if err != nil || acted != uint64(len(warps)) {
			t.Errorf("%s: acted %d on %v: %v", spec, acted, warps, err)
		}
		t.Logf("%s: %s", spec, encode(evidence))
		for _, node := range env.Nodes {
			if off, _ := showsTime(t, lab, node); off.Abs() > near {
				t.Errorf("%s: healed, %s is off by %v", spec, node, off)
			}
		}
		allRun(t, env, spec)
	}
}
