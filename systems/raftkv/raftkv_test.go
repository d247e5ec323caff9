package raftkv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/raftkv/server"
	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
	"github.com/hacheck/hacheck/workloads/appends"
	"github.com/hacheck/hacheck/workloads/queue"
	"github.com/hacheck/hacheck/workloads/register"
)

// A fakeLab runs its nodes in this process, each on a loopback address of its own.
type fakeLab struct {
	cluster.Lab // panics where it is not faked
	nodes       []cluster.Node
	broken      string // a node whose process exits at once
	keeps       bool   // it wipes nothing

	mu      sync.Mutex
	running map[string]*process
}

type process struct {
	stop   context.CancelFunc
	exited chan struct{}
}

func newFakeLab(t *testing.T, n int) *fakeLab {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux answers on all of 127.0.0.0/8")
	}
	l := &fakeLab{running: map[string]*process{}}
	dir := t.TempDir()
	net := [2]byte{byte(1 + rand.IntN(254)), byte(rand.IntN(255))}
	for i := range n {
		name := fmt.Sprintf("n%d", i+1)
		l.nodes = append(l.nodes, cluster.Node{
			Name: name, Addr: netip.AddrFrom4([4]byte{127, net[0], net[1], byte(i + 1)}), Dir: filepath.Join(dir, name),
		})
	}
	t.Cleanup(func() {
		for _, p := range l.running {
			p.stop()
			<-p.exited
		}
	})
	return l
}

func (l *fakeLab) Nodes() []cluster.Node { return l.nodes }

func (l *fakeLab) Start(node string, c cluster.Command) error {
	if c.Path != "" || len(c.Args) != 3 || c.Args[0] != "node" || c.Args[1] != Name {
		return fmt.Errorf("no way to start a node: %+v", c)
	}
	var config server.Config
	if err := json.Unmarshal([]byte(c.Args[2]), &config); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{cancel, make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running[node] = p
	if node == l.broken {
		cancel()
		close(p.exited)
		return nil
	}
	go func() {
		defer close(p.exited)
		if err := server.Run(ctx, config); err != nil {
			fmt.Println(err)
		}
	}()
	return nil
}

func (l *fakeLab) Process(node string) (cluster.Process, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.running[node]
	if p == nil {
		return cluster.Process{}, false
	}
	select {
	case <-p.exited:
		return cluster.Process{}, false
	default:
		return cluster.Process{PID: 1}, true
	}
}

func (l *fakeLab) Exited(node string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.running[node].exited
}

func (l *fakeLab) Log(node string, lines int) []string { return []string{"the last words of " + node} }

func (l *fakeLab) Kill(node string) error {
	l.mu.Lock()
	p := l.running[node]
	l.mu.Unlock()
	p.stop()
	<-p.exited
	return nil
}

func (l *fakeLab) Wipe(node string) error {
	if l.keeps {
		return nil
	}
	return os.RemoveAll(l.nodes[slices.IndexFunc(l.nodes, func(n cluster.Node) bool { return n.Name == node })].Dir)
}

func startAll(t *testing.T, l *fakeLab, o Options) *System {
	t.Helper()
	s, err := New(l, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, n := range l.nodes {
		if err := s.Start(n.Name); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestSystemServesRegistersAndKnowsItsLeader(t *testing.T) {
	l := newFakeLab(t, 3)
	s := startAll(t, l, Options{})
	if err := s.Ready(within(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	leader, err := s.Leader(within(t, 5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for worker := range 4 {
		kv, err := s.OpenRegister(t.Context(), worker)
		if err != nil {
			t.Fatal(err)
		}
		showRegisters(t, kv, fmt.Sprint("k", worker))
		if err := kv.Close(); err != nil {
			t.Error(err)
		}
	}
	must(t, l.Kill(leader))
	if err := s.Ready(within(t, 30*time.Second)); err == nil || !strings.Contains(err.Error(), leader+": its process has exited: the last words of "+leader) {
		t.Errorf("without %s: %v", leader, err)
	}
	if err := s.Start(leader); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(within(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
}

// showRegisters shows that a KV is what the workload asks for.
func showRegisters(t *testing.T, kv register.KV, key string) {
	t.Helper()
	ctx := within(t, 20*time.Second)
	read := func(want register.Value) register.Result {
		t.Helper()
		r, err := kv.Read(ctx, key)
		if err != nil || r.Value != want || r.Node == "" {
			t.Fatalf("read %+v, %v; want %v", r, err, want)
		}
		return r
	}
	cas := func(old, v register.Value, want error) {
		t.Helper()
		_, err := kv.CAS(ctx, key, old, v)
		refused, _ := errors.AsType[*register.Refused](err)
		if want == nil && err != nil || want != nil && (refused == nil || refused.Error() != want.Error()) {
			t.Fatalf("cas %v to %v: %v, want %v", old, v, err, want)
		}
	}
	write := func(v register.Value) register.Result {
		t.Helper()
		r, err := kv.Write(ctx, key, v)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	read(register.Absent)
	cas(register.Of(1), register.Of(2), &register.Refused{Current: register.Absent})
	cas(register.Absent, register.Of(1), nil)
	cas(register.Absent, register.Of(2), &register.Refused{Current: register.Of(1)})
	w := write(register.Of(-5))
	if r := read(register.Of(-5)); r.Revision != w.Revision || r.Term == 0 {
		t.Errorf("read %+v after %+v", r, w)
	}
	cas(register.Of(-5), register.Absent, nil)
	read(register.Absent)
	write(register.Of(7))
	write(register.Absent)
	read(register.Absent)
}

func TestReadyTellsOfANodeThatDoesNotStart(t *testing.T) {
	l := newFakeLab(t, 3)
	l.broken = "n2"
	s := startAll(t, l, Options{})
	begun := time.Now()
	err := s.Ready(within(t, 30*time.Second))
	if err == nil || !strings.Contains(err.Error(), "n2: its process has exited") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestMistakenOptionsAreRefused(t *testing.T) {
	if _, err := New(newFakeLab(t, 1), Options{Bug: "stale-reed"}); err == nil {
		t.Error("an unknown bug was taken")
	}
	if _, err := New(newFakeLab(t, 0), Options{}); err == nil {
		t.Error("a lab without nodes was taken")
	}
	for _, tuned := range []Tuning{
		{Timeouts: 0.49}, {Timeouts: 10.1}, {Timeouts: -1}, {Timeouts: math.NaN()}, {Delay: -1}, {Delay: MaxDelay + 1},
	} {
		if _, err := New(newFakeLab(t, 1), Options{Tuning: tuned}); err == nil {
			t.Errorf("%+v was taken", tuned)
		}
	}
	s, err := New(newFakeLab(t, 1), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Start("n2"); err == nil {
		t.Error("a node that is not there was started")
	}
	if err := s.Ready(t.Context()); err == nil {
		t.Error("nothing was started, and it is ready")
	}
}

func TestNodeIsToldItsOwnBugsOnly(t *testing.T) {
	for name, want := range map[string]string{"": "", bug.StaleRead: bug.StaleRead, bug.TimeoutAsFail: ""} {
		s, err := New(newFakeLab(t, 3), Options{Bug: name})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		c, err := s.config("n2")
		if err != nil {
			t.Fatal(err)
		}
		if c.Bug != want {
			t.Errorf("bug %q: the node is told %q", name, c.Bug)
		}
		if c.ID != "n2" || c.Member != "n2" || c.Empty != server.EmptyFounds || c.Dir != s.nodes[1].Dir || c.ClientAddr != c.Peers[1].ClientAddr || c.RaftAddr != c.Peers[1].RaftAddr || len(c.Peers) != 3 {
			t.Errorf("the node is told %+v", c)
		}
	}
}

func TestNodesAreToldHowTheyAreTuned(t *testing.T) {
	for tuned, want := range map[Tuning]server.Config{
		{}:            {},
		{Timeouts: 2}: {Heartbeat: server.Duration(time.Second)},
		{Timeouts: MinTimeouts, Delay: 5 * time.Millisecond}: {
			Heartbeat: server.Duration(server.DefaultHeartbeat / 2), Delay: server.Duration(5 * time.Millisecond),
		},
		{Timeouts: MaxTimeouts, Delay: MaxDelay}: {
			Heartbeat: server.Duration(5 * time.Second), Delay: server.Duration(MaxDelay),
		},
	} {
		s, err := New(newFakeLab(t, 3), Options{Tuning: tuned})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		c, err := s.config("n2")
		if err != nil {
			t.Fatal(err)
		}
		if c.Heartbeat != want.Heartbeat || c.Delay != want.Delay || c.Election != 0 || c.Lease != 0 || c.Patience != 0 {
			t.Errorf("%+v: the node is told %+v", tuned, c)
		}
	}
}

func TestEveryOtherWorkerIsBoundToANode(t *testing.T) {
	nodes := []string{"n1", "n2", "n3"}
	for worker, want := range []string{"n1", "n1 n2 n3", "n2", "n2 n3 n1", "n3", "n3 n1 n2", "n1", "n1 n2 n3"} {
		if got := strings.Join(NodesFor(nodes, worker), " "); got != want {
			t.Errorf("worker %d has %s, want %s", worker, got, want)
		}
	}
}

func TestLeaderIsWhoClaimsTheHighestTerm(t *testing.T) {
	deposed := &api.StatusResponse{Id: "n1", State: "leader", Term: 4}
	leads := &api.StatusResponse{Id: "n2", State: "leader", Term: 5}
	follows := &api.StatusResponse{Id: "n3", State: "follower", Term: 6}
	if got, err := Leading([]*api.StatusResponse{deposed, nil, follows, leads}); got != "n2" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for _, none := range [][]*api.StatusResponse{nil, {nil, nil}, {follows, nil}} {
		if got, err := Leading(none); err == nil {
			t.Errorf("of %v, %q leads", none, got)
		}
	}
}

// TestWhatNoClientWroteIsAnAnswer: the history gets it, for the checker to find.
func TestWhatNoClientWroteIsAnAnswer(t *testing.T) {
	l := newFakeLab(t, 1)
	s := startAll(t, l, Options{})
	if err := s.Ready(within(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	kv := &registers{s.all}
	ctx := within(t, 20*time.Second)
	for i, c := range []struct {
		raw  string
		want register.Value
	}{
		{"garbage", register.Text("garbage")},
		{"", register.Text("")},
		{"12 ", register.Text("12 ")},
		{"007", register.Text("007")}, // who wrote 7 wrote "7"
		{"9223372036854775808", register.Text("9223372036854775808")},
		{"\xff", register.Text("\uFFFD")},
		{"-9223372036854775808", register.Of(-1 << 63)},
	} {
		key := fmt.Sprint("k", i)
		put, err := s.all.Put(ctx, key, []byte(c.raw))
		if err != nil {
			t.Fatal(err)
		}
		if r, err := kv.Read(ctx, key); err != nil || r.Value != c.want || r.Revision != put.Revision {
			t.Errorf("read of %q: %+v, %v", c.raw, r, err)
		}
		_, err = kv.CAS(ctx, key, register.Of(1), register.Of(2))
		if refused, ok := errors.AsType[*register.Refused](err); !ok || refused.Current != c.want {
			t.Errorf("cas of %q: %v", c.raw, err)
		}
	}
	// A text goes back as it came.
	if _, err := kv.CAS(ctx, "k0", register.Text("garbage"), register.Text("more")); err != nil {
		t.Error(err)
	}
	if r, err := kv.Read(ctx, "k0"); err != nil || r.Value != register.Text("more") {
		t.Errorf("after a cas: %+v, %v", r, err)
	}
}

// TestWhatNobodyAppendedOrEnqueuedIsAnAnswer: it is told of, and so are those who append
// after it, and those who take it out.
func TestWhatNobodyAppendedOrEnqueuedIsAnAnswer(t *testing.T) {
	l := newFakeLab(t, 1)
	s := startAll(t, l, Options{})
	must(t, s.Ready(within(t, 30*time.Second)))
	ctx := within(t, 20*time.Second)
	for i, raw := range []string{"garbage", "", "[1,2", `[1,"2"]`, "7 ", "007"} {
		name := fmt.Sprint("x", i)
		for _, key := range []string{listKey(name), queueKey(name) + "1"} {
			_, err := s.all.Put(ctx, key, []byte(raw))
			must(t, err)
		}
		lists := &lists{s.all}
		if r, err := lists.Txn(ctx, []appends.Mop{{F: appends.Append, Key: name, Element: 3}}); err != nil || len(r.Mops) != 1 {
			t.Errorf("append to %q: %+v, %v", raw, r, err)
		}
		if r, err := lists.Txn(ctx, []appends.Mop{{F: appends.Read, Key: name}}); err != nil || len(r.Mops) != 1 || !slices.Equal(r.Mops[0].List, []int64{appends.Garbage, 3}) {
			t.Errorf("read of %q: %+v, %v", raw, r, err)
		}
		q := &queues{client: s.all}
		if r, err := q.Dequeue(ctx, name); err != nil || r.Empty || r.Value != queue.Garbage {
			t.Errorf("dequeue of %q: %+v, %v", raw, r, err)
		}
		if r, err := q.Dequeue(ctx, name); err != nil || !r.Empty {
			t.Errorf("dequeue after %q: %+v, %v", raw, r, err)
		}
	}
}

// A leaderless node answers one read, as one with a bug does, and a question how
// it is; then nothing any more.
type leaderless struct {
	api.Conn
	reads int
}

func (*leaderless) Ready(ctx context.Context) error { return ctx.Err() }
func (*leaderless) Close() error                    { return nil }

func (l *leaderless) Invoke(ctx context.Context, method string, _, _ any, _ ...grpc.CallOption) error {
	if method == api.RaftKV_Range_FullMethodName {
		l.reads++
	}
	if l.reads > 1 {
		<-ctx.Done()
	}
	return ctx.Err()
}

func clientOf(t *testing.T, conn api.Conn) *client.Client {
	t.Helper()
	c, err := client.NewWith([]client.Node{{Name: "n1"}}, client.Options{
		Dial: func(client.Node) (api.Conn, error) { return conn, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestErrorIsOfWhatHappenedBeforeTimeWasUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &leaderless{}
		err := Answers(within(t, askFor*3/2), clientOf(t, l))
		if err == nil || err.Error() != "it knows no leader" || l.reads < 2 {
			t.Errorf("got %v after %d reads", err, l.reads)
		}
	})
}

func TestCallerWhoseTimeIsUpLearnsNothingOfTheNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := clientOf(t, &leaderless{reads: 2})
		if _, err := leader(t.Context(), silent); err == nil || err.Error() != "no node says who leads" {
			t.Errorf("while there is time: got %v", err)
		}
		if _, err := leader(within(t, leaderFor/2), silent); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("when time is up: got %v", err)
		}
	})
}

func TestNodeLeavesAndComesBackAsAnother(t *testing.T) {
	l := newFakeLab(t, 3)
	s := startAll(t, l, Options{})
	must(t, s.Ready(within(t, 30*time.Second)))
	put := func(value string) {
		t.Helper()
		_, err := s.all.Put(within(t, 20*time.Second), "k", []byte(value))
		must(t, err)
	}
	put("before")
	l.keeps = true
	must(t, s.Leave(within(t, 20*time.Second), "n2"))
	must(t, s.Leave(within(t, 20*time.Second), "n2")) // it has
	must(t, s.Ready(within(t, 30*time.Second)))       // without it
	must(t, s.Start("n2"))                            // somebody else has killed it, and heals
	if _, running := l.Process("n2"); running {
		t.Error("a node that has left was started")
	}
	put("meanwhile")
	if got := seenVoters(t, s); got != "n1 n3" {
		t.Errorf("members are %s", got)
	}

	// With its old disk it is not taken back.
	if err := s.Join(within(t, 2*time.Second), "n2"); err == nil {
		t.Error("it joined with the disk of another member")
	}
	<-l.Exited("n2")
	l.keeps = false
	must(t, s.Leave(within(t, 20*time.Second), "n2"))
	if _, err := os.Stat(l.nodes[1].Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what it was is still there: %v", err)
	}
	must(t, s.Join(within(t, 20*time.Second), "n2"))
	must(t, s.Join(within(t, 20*time.Second), "n2")) // it has
	if got := seenVoters(t, s); got != "n1 n2 n3" {
		t.Errorf("members are %s", got)
	}
	must(t, s.Ready(within(t, 30*time.Second)))
	put("after")
	must(t, l.Kill("n2"))
	must(t, s.Start("n2"))
	must(t, s.Ready(within(t, 30*time.Second)))

	// What it has now is needed: who loses it does not come back.
	must(t, l.Kill("n2"))
	must(t, os.RemoveAll(l.nodes[1].Dir))
	must(t, s.Start("n2"))
	<-l.Exited("n2")
	put("in the end")
}

// seenVoters returns the members with a vote, by the leader's account.
func seenVoters(t *testing.T, s *System) string {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		state, err := s.Observe(t.Context())
		must(t, err)
		for _, n := range state {
			if n.Role == cluster.RoleLeader && !n.Changing {
				return strings.Join(slices.Sorted(slices.Values(n.Voters)), " ")
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody leads: %+v", state)
		}
	}
}

func TestLeadershipGoesWhereItIsTold(t *testing.T) {
	l := newFakeLab(t, 3)
	s := startAll(t, l, Options{})
	must(t, s.Ready(within(t, 30*time.Second)))
	leads := func() (string, uint64) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; {
			state, err := s.Observe(t.Context())
			must(t, err)
			for name, n := range state {
				if n.Role == cluster.RoleLeader {
					return name, n.Term
				}
			}
			if time.Now().After(deadline) {
				t.Fatalf("nobody leads: %+v", state)
			}
		}
	}
	old, term := leads()
	var next string
	for _, n := range l.nodes {
		if n.Name != old {
			next = n.Name
		}
	}
	must(t, s.Transfer(within(t, 20*time.Second), next))
	for name, now := leads(); name != next; name, now = leads() {
		if name != old && now > term+1 {
			t.Fatalf("%s leads term %d, not %s", name, now, next)
		}
	}
	if err := s.Elect(within(t, 5*time.Second), next); err == nil {
		t.Error("the leader stood for election")
	}
	_, term = leads()
	must(t, s.Elect(within(t, 5*time.Second), old))
	for _, now := leads(); now <= term; _, now = leads() {
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
