package runner_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/nemesis/nemesistest"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/register"
)

// A memory is a replicated store as a whole run needs it, as small as can be: a
// leader that a majority hears and that hears it, what is committed, and what each
// node holds. Messages take virtual time, and the network can lose them.
type memory struct {
	network nemesistest.Network
	nodes   []string
	bug     string         // "", or one of the bugs below
	serving sync.WaitGroup // what nodes still have to do

	mu        sync.Mutex
	leading   string
	committed map[string]register.Value
	holds     map[string]map[string]register.Value // by node
	believes  map[string]bool                      // that it leads: until it hears of another
}

// The bugs of a memory.
const (
	staleRead       = "stale-read"        // a node answers reads from what it holds
	ackBeforeCommit = "ack-before-commit" // a leader that nobody hears goes on
	timeoutAsFail   = "timeout-as-fail"   // the client takes silence for a refusal
)

func newMemory(nodes int, bug string) *memory {
	m := &memory{bug: bug, committed: map[string]register.Value{}, holds: map[string]map[string]register.Value{}, believes: map[string]bool{}}
	for i := range nodes {
		n := fmt.Sprintf("n%d", i+1)
		m.nodes = append(m.nodes, n)
		m.holds[n] = map[string]register.Value{}
	}
	m.elect()
	return m
}

func (m *memory) Name() string       { return "memory" }
func (m *memory) Start(string) error { return nil }

// Ready returns when every node can serve.
func (m *memory) Ready(ctx context.Context) error {
	for _, n := range m.nodes {
		for !m.canServe(n) {
			if err := pause(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *memory) Leader(context.Context) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.elect(), nil
}

// reaches says whether two nodes hear each other.
func (m *memory) reaches(a, b string) bool {
	return a == b || m.network.Deliver(a, b) && m.network.Deliver(b, a)
}

func (m *memory) hasMajority(node string) bool {
	n := 0
	for _, other := range m.nodes {
		if m.reaches(node, other) {
			n++
		}
	}
	return n > len(m.nodes)/2
}

// elect returns who leads: another, if the last one lost its majority; if nobody
// has one, nobody. Who leads anew holds what is committed.
func (m *memory) elect() string {
	if m.leading != "" && m.hasMajority(m.leading) {
		return m.leading
	}
	m.leading = ""
	if at := slices.IndexFunc(m.nodes, m.hasMajority); at >= 0 {
		m.leading = m.nodes[at]
		m.believes[m.leading] = true
		m.holds[m.leading] = maps.Clone(m.committed)
	}
	return m.leading
}

func (m *memory) canServe(node string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	leader := m.elect()
	return leader != "" && m.reaches(node, leader)
}

// A session is a client's, bound to a node.
type session struct {
	*memory
	node string
	rand *rand.Rand
}

// open connects a client: every second one follows the leader.
func (m *memory) open(_ context.Context, worker int) (register.KV, error) {
	s := &session{memory: m, rand: rand.New(rand.NewPCG(uint64(worker), 0))}
	if worker%2 == 0 {
		s.node = m.nodes[worker/2%len(m.nodes)]
	}
	return s, nil
}

func (s *session) Close() error { return nil }

func (s *session) Read(ctx context.Context, key string) (register.Result, error) {
	return s.do(ctx, key, func(v register.Value) (register.Value, error) { return v, nil }, true)
}

func (s *session) Write(ctx context.Context, key string, v register.Value) (register.Result, error) {
	return s.do(ctx, key, func(register.Value) (register.Value, error) { return v, nil }, false)
}

func (s *session) CAS(ctx context.Context, key string, old, v register.Value) (register.Result, error) {
	return s.do(ctx, key, func(held register.Value) (register.Value, error) {
		if held != old {
			return held, &register.Refused{Current: held}
		}
		return v, nil
	}, false)
}

// do sends an operation to the session's node and waits for the answer.
func (s *session) do(ctx context.Context, key string, f func(register.Value) (register.Value, error), read bool) (register.Result, error) {
	node := s.node
	if node == "" {
		node, _ = s.Leader(ctx)
	}
	r := register.Result{Said: workloads.Said{Node: node}}
	err := s.travel(ctx, cluster.Tester, node)
	if err == nil {
		r.Value, err = s.serve(ctx, node, key, f, read)
		if lost := s.travel(ctx, node, cluster.Tester); lost != nil {
			err = lost
		}
	}
	if err != nil && ctx.Err() != nil && s.bug == timeoutAsFail {
		err = workloads.Definite(err)
	}
	return r, err
}

// travel takes the time of a message. If it gets lost nobody answers before ctx ends.
func (s *session) travel(ctx context.Context, from, to string) error {
	if err := pause(ctx, time.Duration(1+s.rand.Int64N(int64(5*time.Millisecond)))); err != nil {
		return err
	}
	if s.network.Deliver(from, to) {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// patience is how long a node keeps an operation that it cannot serve. The client
// does not wait as long, and so cannot know.
const patience = 4 * time.Second

// serve lets node apply f as soon as it can.
func (s *session) serve(ctx context.Context, node, key string, f func(register.Value) (register.Value, error), read bool) (register.Value, error) {
	var v register.Value
	var err error
	served := make(chan struct{})
	s.serving.Go(func() {
		defer close(served)
		kept, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		for ok := false; !ok && err == nil; {
			if v, err, ok = s.apply(node, key, f, read); !ok {
				err = pause(kept, 20*time.Millisecond)
			}
		}
	})
	select {
	case <-served:
		return v, err
	case <-ctx.Done():
		return register.Absent, ctx.Err()
	}
}

func (m *memory) apply(node, key string, f func(register.Value) (register.Value, error), read bool) (v register.Value, err error, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	leader := m.elect()
	cutOff := leader == "" || !m.reaches(node, leader)
	switch {
	case read && m.bug == staleRead:
		return m.holds[node][key], nil, true
	case cutOff && m.believes[node] && m.bug == ackBeforeCommit:
		v, err = f(m.holds[node][key])
		m.holds[node][key] = v
		return v, err, true
	case cutOff:
		return v, nil, false
	}
	v, err = f(m.committed[key])
	m.committed[key] = v
	for _, n := range m.nodes {
		if m.reaches(leader, n) {
			m.holds[n] = maps.Clone(m.committed)
			m.believes[n] = n == leader
		}
	}
	return v, err, true
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
