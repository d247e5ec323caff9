package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
	"github.com/hacheck/hacheck/systems/raftkv/server/stored"
)

// A team is a cluster of nodes in memory, in a bubble. Calls between them are direct.
type team struct {
	t     *testing.T
	names []string
	nodes map[string]*Node

	mu         sync.Mutex
	transports map[string]*raft.InmemTransport
	cutOff     map[string]bool
}

// with runs test with a team of n, of whom the first one asked leads.
func with(t *testing.T, n int, c Config, test func(t *testing.T, m *team)) {
	synctest.Test(t, func(t *testing.T) {
		m := &team{t: t, nodes: map[string]*Node{}, transports: map[string]*raft.InmemTransport{}, cutOff: map[string]bool{}}
		for i := range n {
			name := fmt.Sprintf("n%d", i+1)
			m.names = append(m.names, name)
			c.Peers = append(c.Peers, Peer{ID: name, RaftAddr: name})
		}
		c.Empty = EmptyFounds
		for _, name := range m.names {
			c.ID = name
			m.start(c)
		}
		defer func() {
			for _, n := range m.nodes {
				must(t, n.Close())
			}
		}()
		test(t, m)
	})
}

func (m *team) start(c Config) *Node {
	m.t.Helper()
	_, transport := raft.NewInmemTransportWithTimeout(raft.ServerAddress(c.ID), raftTimeout)
	transport.Connect(transport.LocalAddr(), transport)
	for _, other := range m.transports {
		other.Connect(transport.LocalAddr(), transport)
		transport.Connect(other.LocalAddr(), other)
	}
	m.transports[c.ID] = transport
	disk := raft.NewInmemStore()
	n, err := NewNode(c, Deps{
		Logs: disk, Stable: disk, Snapshots: raft.NewInmemSnapshotStore(), Transport: transport, Log: hclog.NewNullLogger(),
		Peer: func(id string) (api.Conn, error) { return &direct{team: m, from: c.ID, to: id}, nil },
	})
	must(m.t, err)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes[c.ID] = n
	return n
}

// cut cuts a node off from the others, or undoes that.
func (m *team) cut(name string, off bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cutOff[name] = off
	for other, t := range m.transports {
		if other == name {
			continue
		}
		if off {
			t.Disconnect(raft.ServerAddress(name))
			m.transports[name].Disconnect(raft.ServerAddress(other))
		} else {
			t.Connect(raft.ServerAddress(name), m.transports[name])
			m.transports[name].Connect(raft.ServerAddress(other), t)
		}
	}
}

// leader waits until one of the nodes that are not cut off leads, and knows all that was
// agreed on.
func (m *team) leader() *Node {
	m.t.Helper()
	for range 1000 {
		for _, name := range m.names {
			if n := m.nodes[name]; n != nil && !m.cutOff[name] && n.raft.State() == raft.Leader {
				if _, err := n.mayRead(m.t.Context()); err == nil {
					return n
				}
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	m.t.Fatal("nobody leads")
	return nil
}

// other is a node that does not lead.
func (m *team) other(leader *Node) *Node {
	for _, name := range m.names {
		if name != leader.config.ID {
			return m.nodes[name]
		}
	}
	return nil
}

// handOver makes another lead.
func (m *team) handOver(to *Node) {
	m.t.Helper()
	_, err := m.leader().TransferLeadership(m.t.Context(), &api.TransferLeadershipRequest{To: to.config.ID})
	must(m.t, err)
	if m.leader() != to {
		m.t.Fatal("it does not lead")
	}
}

// A direct connection calls the methods of a node.
type direct struct {
	team     *team
	from, to string
}

func (*direct) Ready(context.Context) error { return nil }
func (*direct) Close() error                { return nil }
func (*direct) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.New("no streams")
}

func (d *direct) Invoke(ctx context.Context, method string, in, out any, _ ...grpc.CallOption) error {
	d.team.mu.Lock()
	to, cut := d.team.nodes[d.to], d.team.cutOff[d.to] || d.team.cutOff[d.from]
	d.team.mu.Unlock()
	if to == nil || cut {
		<-ctx.Done()
		return ctx.Err()
	}
	for _, m := range api.RaftKV_ServiceDesc.Methods {
		if strings.HasSuffix(method, "/"+m.MethodName) {
			answer, err := m.Handler(to, ctx, func(to any) error {
				proto.Merge(to.(proto.Message), in.(proto.Message))
				return nil
			}, nil)
			if err == nil {
				proto.Merge(out.(proto.Message), answer.(proto.Message))
			}
			return err
		}
	}
	return errors.New("no such method")
}

// txn performs a transaction that a command holds.
func txn(n *Node, ctx context.Context, c *stored.Command) (*api.TxnResponse, error) {
	t := c.GetTxn()
	in := &api.TxnRequest{Compare: t.Compare, Success: t.Success, Failure: t.Failure}
	if c.Session != 0 {
		in.Write = &api.Write{Session: c.Session, Number: c.Number}
	}
	return n.Txn(ctx, in)
}

// reads says what a range of one key finds, or why it does not.
func reads(n *Node, ctx context.Context, in *api.RangeRequest) string {
	out, err := n.Range(ctx, in)
	if err != nil {
		e := api.Understand(err)
		if e.Definite {
			return "not done: " + e.Reason.Text()
		}
		return e.Reason.Text()
	}
	if len(out.Kvs) == 0 {
		return "nothing"
	}
	return string(out.Kvs[0].Value)
}

func one(key string) *api.Span { return &api.Span{Key: key} }

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestEveryNodeReadsAndWritesThroughTheLeader(t *testing.T) {
	with(t, 3, Config{}, func(t *testing.T, m *team) {
		lead := m.leader()
		for _, name := range m.names {
			n := m.nodes[name]
			out, err := txn(n, t.Context(), put("k", name))
			must(t, err)
			if out.Stamp.Node != lead.config.ID || out.Stamp.Term != lead.raft.CurrentTerm() || out.Stamp.Index == 0 {
				t.Errorf("at %s: %v", name, out.Stamp)
			}
			for _, other := range m.names {
				if got := reads(m.nodes[other], t.Context(), &api.RangeRequest{Span: one("k")}); got != name {
					t.Errorf("%s reads %s, after %s", other, got, name)
				}
			}
		}
		redirect := &api.RangeRequest{Route: &api.Route{Redirect: true}, Span: one("k")}
		if _, err := m.other(lead).Range(t.Context(), redirect); api.Understand(err).Leader != lead.config.ID {
			t.Errorf("who leads is not told: %v", err)
		}
	})
}

func TestSerializableReadWaitsForTheRevisionThatItsSessionHasSeen(t *testing.T) {
	with(t, 3, Config{}, func(t *testing.T, m *team) {
		lead := m.leader()
		behind := m.other(lead)
		old, err := txn(lead, t.Context(), put("k", "old"))
		must(t, err)
		if got := reads(behind, t.Context(), &api.RangeRequest{Span: one("k"), Serializable: true, AtLeast: old.Revision}); got != "old" {
			t.Errorf("it reads %s", got)
		}
		m.cut(behind.config.ID, true)
		now, err := txn(lead, t.Context(), put("k", "new"))
		must(t, err)
		at := func(least uint64) *api.RangeRequest {
			return &api.RangeRequest{Span: one("k"), Serializable: true, AtLeast: least}
		}
		if got := reads(behind, within(t, time.Second), at(0)); got != "old" {
			t.Errorf("cut off, it reads %s", got)
		}
		begun := time.Now()
		if got := reads(behind, within(t, time.Second), at(now.Revision)); got != "not done: not yet" {
			t.Errorf("cut off, it reads %s", got)
		}
		if took := time.Since(begun); took != 750*time.Millisecond {
			t.Errorf("it gave up after %v", took)
		}
		got := make(chan string)
		go func() { got <- reads(behind, within(t, time.Minute), at(now.Revision)) }()
		synctest.Wait()
		m.cut(behind.config.ID, false)
		if got := <-got; got != "new" {
			t.Errorf("it waited for %s", got)
		}
		if got := reads(lead, t.Context(), &api.RangeRequest{Span: one("k"), Revision: old.Revision}); got != "old" {
			t.Errorf("of the past it reads %s", got)
		}
		if got := reads(lead, t.Context(), &api.RangeRequest{Span: one("k"), Revision: now.Revision + 1}); got != "not done: not yet" {
			t.Errorf("of the future it reads %s", got)
		}
	})
}

func TestCompactedRevisionsAreGoneEverywhere(t *testing.T) {
	with(t, 3, Config{}, func(t *testing.T, m *team) {
		lead := m.leader()
		for i := range 5 {
			_, err := txn(lead, t.Context(), put("k", fmt.Sprint(i+1)))
			must(t, err)
		}
		if _, err := m.other(lead).Compact(t.Context(), &api.CompactRequest{Revision: 6}); api.Understand(err).Reason != api.Reason_REASON_NOT_YET {
			t.Errorf("what is yet to come was compacted: %v", err)
		}
		out, err := m.other(lead).Compact(t.Context(), &api.CompactRequest{Revision: 3})
		if err != nil || out.Compacted != 3 {
			t.Errorf("%v, %v", out, err)
		}
		for revision, want := range map[uint64]string{2: "not done: compacted", 3: "3", 5: "5"} {
			if got := reads(lead, t.Context(), &api.RangeRequest{Span: one("k"), Revision: revision}); got != want {
				t.Errorf("at revision %d it reads %s", revision, got)
			}
		}
		s, err := lead.Status(t.Context(), &api.StatusRequest{})
		if err != nil || s.Revision != 5 || s.Compacted != 3 {
			t.Errorf("its status: %v, %v", s, err)
		}
	})
}

// TestRevisionsAreKeptAsManyAsWasSaid, and not more by far.
func TestRevisionsAreKeptAsManyAsWasSaid(t *testing.T) {
	with(t, 1, Config{KeepRevisions: 8}, func(t *testing.T, m *team) {
		for range 100 {
			_, err := txn(m.leader(), t.Context(), put("k", "v"))
			must(t, err)
		}
		if last, compacted := m.leader().machine.revisions(); last != 100 || compacted < 90 || compacted > 92 {
			t.Errorf("of %d, %d is the first that remains", last, compacted)
		}
	})
}

func TestWhatMakesNoSenseIsRefusedAtOnce(t *testing.T) {
	with(t, 1, Config{}, func(t *testing.T, m *team) {
		n := m.leader()
		before := n.raft.LastIndex()
		long := strings.Repeat("k", longestKey+1)
		of := func(err error) string { return api.Understand(err).Error() }
		for name, got := range map[string]func() error{
			"no key":       func() error { _, err := txn(n, t.Context(), put("", "v")); return err },
			"a long key":   func() error { _, err := txn(n, t.Context(), put(long, "v")); return err },
			"a long value": func() error { _, err := txn(n, t.Context(), put("k", strings.Repeat("v", longestValue+1))); return err },
			"no session":   func() error { _, err := n.Txn(t.Context(), &api.TxnRequest{Write: &api.Write{Number: 1}}); return err },
			"two puts": func() error {
				_, err := n.Txn(t.Context(), &api.TxnRequest{Success: []*api.Op{putOp("k", "1", 0), putOp("k", "2", 0)}})
				return err
			},
			"many ops": func() error {
				ops := slices.Repeat([]*api.Op{{Op: &api.Op_Range{Range: one("k")}}}, mostOps+1)
				_, err := n.Txn(t.Context(), &api.TxnRequest{Failure: ops})
				return err
			},
			"no span": func() error { _, err := n.Range(t.Context(), &api.RangeRequest{}); return err },
			"a long end": func() error {
				_, err := n.Range(t.Context(), &api.RangeRequest{Span: &api.Span{Key: "a", End: long}})
				return err
			},
			"a span to delete": func() error {
				_, err := n.Txn(t.Context(), &api.TxnRequest{Success: []*api.Op{{Op: &api.Op_Delete{}}}})
				return err
			},
			"a span to watch": func() error { return n.Watch(&api.WatchRequest{}, nil) },
		} {
			if err := got(); err == nil || !strings.HasPrefix(of(err), "not done") || api.Understand(err).Reason != api.Reason_REASON_INVALID {
				t.Errorf("%s: %v", name, err)
			}
		}
		if now := n.raft.LastIndex(); now != before {
			t.Errorf("%d entries were made", now-before)
		}
		if _, err := n.GrantLease(t.Context(), &api.GrantLeaseRequest{}); api.Understand(err).Reason != api.Reason_REASON_INVALID {
			t.Errorf("a lease for no time: %v", err)
		}
	})
}

// cutOffLeader returns a leader that was just cut off and does not know it, with what the
// others hold: of "k" "old".
func cutOffLeader(t *testing.T, m *team) *Node {
	t.Helper()
	lead := m.leader()
	_, err := txn(lead, t.Context(), put("k", "old"))
	must(t, err)
	must(t, lead.raft.Barrier(0).Error())
	m.cut(lead.config.ID, true)
	return lead
}

// TestBugsOfTheLeaderThatIsCutOff: what it alone holds is acknowledged, read and watched,
// and by the others overwritten.
func TestBugsOfTheLeaderThatIsCutOff(t *testing.T) {
	for name, want := range map[string]string{
		"":                   "put: deadline; read: not done: deadline; watched: []",
		bug.AckBeforeCommit:  "put: 2; read: not done: deadline; watched: []",
		bug.DirtyRead:        "put: deadline; read: new; watched: []",
		bug.WatchUncommitted: "put: deadline; read: not done: deadline; watched: [k=new@2]",
		bug.StaleRead:        "put: deadline; read: old; watched: []",
		bug.LeaseRead:        "put: deadline; read: old; watched: []",
	} {
		t.Run(name, func(t *testing.T) {
			with(t, 3, Config{Bug: name}, func(t *testing.T, m *team) {
				lead := cutOffLeader(t, m)
				if name == bug.LeaseRead {
					lead.readLease.extend(time.Now())
				}
				w := watch(t, lead, &api.WatchRequest{Span: one("k"), From: 2})
				var puts, got string
				var calls sync.WaitGroup
				calls.Go(func() {
					out, err := txn(lead, within(t, 200*time.Millisecond), put("k", "new"))
					if puts = fmt.Sprint(out.GetRevision()); err != nil {
						puts = api.Understand(err).Reason.Text()
					}
				})
				synctest.Wait()
				time.Sleep(20 * time.Millisecond)
				calls.Go(func() { got = reads(lead, within(t, 100*time.Millisecond), &api.RangeRequest{Span: one("k")}) })
				calls.Wait()
				if got := fmt.Sprintf("put: %s; read: %s; watched: %v", puts, got, w.events()); got != want {
					t.Errorf("%s, want %s", got, want)
				}
				if out, err := txn(m.leader(), t.Context(), put("k", "other")); err != nil || out.Revision != 2 {
					t.Errorf("the others: %v, %v", out, err)
				}
				m.cut(lead.config.ID, false)
			})
		})
	}
}

func TestComparisonsAreMadeWhereTheyHold(t *testing.T) {
	for _, name := range []string{"", bug.CheckThenAct} {
		with(t, 3, Config{Bug: name}, func(t *testing.T, m *team) {
			lead := m.leader()
			_, err := txn(lead, t.Context(), put("k", "0"))
			must(t, err)
			if out, err := txn(lead, t.Context(), swap("k", "1", "2")); err != nil || out.Succeeded {
				t.Errorf("bug %q: what does not hold: %v, %v", name, out, err)
			}
			m.cut(lead.config.ID, true) // so that all come before the first is done
			swapped := make(chan bool)
			for i := range 10 {
				go func() {
					out, err := txn(lead, t.Context(), swap("k", "0", fmt.Sprint(i+1)))
					swapped <- err == nil && out.Succeeded
				}()
			}
			synctest.Wait()
			m.cut(lead.config.ID, false)
			n := 0
			for range 10 {
				if <-swapped {
					n++
				}
			}
			if n == 0 || n > 1 != (name == bug.CheckThenAct) {
				t.Errorf("bug %q: %d of them swapped it", name, n)
			}
		})
	}
}

func TestTransactionIsOneRevision(t *testing.T) {
	for name, want := range map[string]string{
		"":           "1 [] [] [2]; [a=1@1 b=2@1]",
		bug.TxnSplit: "2 [] [] [2]; [a=1@1 b=2@2]",
	} {
		with(t, 1, Config{Bug: name}, func(t *testing.T, m *team) {
			n := m.leader()
			w := watch(t, n, &api.WatchRequest{Span: &api.Span{Prefix: true}, From: 1})
			out, err := n.Txn(t.Context(), &api.TxnRequest{
				Compare: []*api.Compare{{Key: "a", Target: &api.Compare_Version{}}},
				Success: []*api.Op{putOp("a", "1", 0), putOp("b", "2", 0), {Op: &api.Op_Range{Range: one("b")}}},
				Failure: []*api.Op{putOp("a", "3", 0)},
			})
			must(t, err)
			var found []string
			for _, r := range out.Results {
				var values []string
				for _, kv := range r.Kvs {
					values = append(values, string(kv.Value))
				}
				found = append(found, fmt.Sprint(values))
			}
			synctest.Wait()
			if got := fmt.Sprintf("%d %s; %v", out.Revision, strings.Join(found, " "), w.events()); got != want || !out.Succeeded {
				t.Errorf("bug %q: %s, want %s", name, got, want)
			}
		})
	}
}
