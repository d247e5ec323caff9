//go:build linux

package raftkv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/cluster/clustertest"
	"github.com/hacheck/hacheck/systems/raftkv"
	"github.com/hacheck/hacheck/systems/raftkv/raftkvtest"
	"github.com/hacheck/hacheck/workloads/register"
)

// The test binary is the node of raftkv, too.
func TestMain(m *testing.M) { os.Exit(clustertest.Main(m.Run, raftkvtest.Program)) }

// The load that is measured: each client does one thing after the other, with a key of
// its own, for some seconds.
const (
	loadNodes   = 5
	loadClients = 20
	loadTime    = 4 * time.Second
	loadRounds  = 3
)

// A store is what load is put on.
type store interface {
	// load does puts or gets, and returns how many were answered.
	load(op string) (int64, error)
}

// BenchmarkThroughput measures how many linearizable reads and how many writes a second
// raftkv and etcd do in the same kind of lab, in turn: five nodes, each of which syncs
// what it has promised, and twenty clients. What a machine does at the moment it does to
// both. Each round of each is a process, since there is one lab in one.
func BenchmarkThroughput(b *testing.B) {
	if system := os.Getenv(loadedSystem); system != "" {
		benchLoad(b, system)
		return
	}
	etcd := buildEtcd(b)
	rates := map[string][]float64{}
	for range loadRounds {
		for _, system := range []string{raftkv.Name, "etcd"} {
			args := []string{"-test.run=^$", "-test.bench=^BenchmarkThroughput$", "-test.benchtime=1x", "-test.timeout=5m"}
			out, refused, err := clustertest.Inside(b.Context(), args, etcdPrograms+"="+etcd, loadedSystem+"="+system)
			if refused != "" {
				b.Skip("the lab does not run here:", refused)
			}
			if err != nil {
				b.Fatalf("%s: %v\n%s", system, err, out)
			}
			for line := range strings.Lines(string(out)) {
				var op string
				var n int64
				if got, _ := fmt.Sscanf(line, "answered %s %d", &op, &n); got == 2 {
					rates[system+"-"+op+"s"] = append(rates[system+"-"+op+"s"], float64(n)/loadTime.Seconds())
				}
			}
		}
	}
	for name, all := range rates {
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2], name+"/s")
	}
	b.ReportMetric(0, "ns/op") // it says nothing
}

// loadedSystem in the environment is the system that is measured by this process.
const loadedSystem = "TEST_LOADED_SYSTEM"

func benchLoad(b *testing.B, system string) {
	s := newEtcdStore
	if system == raftkv.Name {
		s = newRaftkvStore
	}
	loaded := s(b)
	for _, op := range []string{"get", "put"} {
		n, err := loaded.load(op)
		if err != nil {
			b.Fatalf("%s: %v", op, err)
		}
		fmt.Printf("\nanswered %s %d\n", op, n)
	}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func newBenchLab(b *testing.B) *cluster.Local {
	lab, err := cluster.NewLocal(cluster.Options{Nodes: loadNodes, Dir: b.TempDir()})
	must(b, err)
	b.Cleanup(func() { must(b, lab.Close()) })
	return lab
}

type raftkvStore struct{ clients []register.KV }

func newRaftkvStore(b *testing.B) store {
	lab := newBenchLab(b)
	system, err := raftkv.New(lab, raftkv.Options{})
	must(b, err)
	b.Cleanup(func() { must(b, system.Close()) })
	for _, n := range lab.Nodes() {
		must(b, system.Start(n.Name))
	}
	ctx, cancel := context.WithTimeout(b.Context(), 20*time.Second)
	defer cancel()
	must(b, system.Ready(ctx))
	s := &raftkvStore{}
	for i := range loadClients {
		c, err := system.OpenRegister(ctx, 2*i+1) // which knows all nodes, as etcd's do
		must(b, err)
		b.Cleanup(func() { must(b, c.Close()) })
		_, err = c.Write(ctx, loadKey(i), register.Of(0))
		must(b, err)
		s.clients = append(s.clients, c)
	}
	return s
}

func loadKey(i int) string { return "k" + strconv.Itoa(i) }

func (s *raftkvStore) load(op string) (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), loadTime)
	defer cancel()
	var working sync.WaitGroup
	var done atomic.Int64
	failed := make([]error, len(s.clients))
	for i, c := range s.clients {
		working.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				var err error
				if op == "put" {
					_, err = c.Write(ctx, loadKey(i), register.Of(int64(n)))
				} else {
					_, err = c.Read(ctx, loadKey(i))
				}
				switch {
				case err == nil:
					done.Add(1)
				case ctx.Err() == nil:
					failed[i] = err
					return
				}
			}
		})
	}
	working.Wait()
	return done.Load(), errors.Join(failed...)
}

// etcdPrograms in the environment is the folder with etcd and the program that puts load
// on it.
const etcdPrograms = "TEST_ETCD"

// buildEtcd builds both from their modules.
func buildEtcd(b *testing.B) (dir string) {
	dir = b.TempDir()
	for name, what := range map[string]string{"etcd": "go.etcd.io/etcd/server/v3", "load": "."} {
		cmd := exec.CommandContext(b.Context(), "go", "build", "-o", filepath.Join(dir, name), what)
		cmd.Dir = "../../tools/etcd"
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	return dir
}

type etcdStore struct {
	programs  string
	endpoints []string
}

func newEtcdStore(b *testing.B) store {
	lab := newBenchLab(b)
	s := &etcdStore{programs: os.Getenv(etcdPrograms)}
	url := func(n cluster.Node, port uint16) string {
		return "http://" + netip.AddrPortFrom(n.Addr, port).String()
	}
	var all []string
	for _, n := range lab.Nodes() {
		s.endpoints = append(s.endpoints, url(n, 2379))
		all = append(all, n.Name+"="+url(n, 2380))
	}
	for _, n := range lab.Nodes() {
		must(b, lab.Start(n.Name, cluster.Command{
			Path: filepath.Join(s.programs, "etcd"),
			Args: []string{
				"--name", n.Name, "--data-dir", filepath.Join(n.Dir, "etcd"), "--log-level", "error",
				"--listen-client-urls", url(n, 2379), "--advertise-client-urls", url(n, 2379),
				"--listen-peer-urls", url(n, 2380), "--initial-advertise-peer-urls", url(n, 2380),
				"--initial-cluster", strings.Join(all, ","), "--initial-cluster-state", "new",
			},
		}))
	}
	return s
}

func (s *etcdStore) load(op string) (int64, error) {
	cmd := exec.Command(filepath.Join(s.programs, "load"), append([]string{op, strconv.Itoa(loadClients), loadTime.String()}, s.endpoints...)...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, complaint.String())
	}
	return strconv.ParseInt(strings.TrimSpace(out.String()), 10, 64)
}
