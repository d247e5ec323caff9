package raftkvtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hacheck/hacheck/cluster"
)

// A message takes between minDelay and maxDelay, each by itself: a network without
// delay would let clients go on for ever at one moment of a bubble's time.
const (
	minDelay = 200 * time.Microsecond
	maxDelay = 2 * time.Millisecond
)

// A network carries messages between nodes and the tester. What comes to a link
// that is cut waits for its healing, as TCP would repeat it, until the sender gives
// up.
type network struct {
	mu      sync.Mutex
	random  *rand.Rand
	cuts    map[cluster.Link]*cut
	dropped map[cluster.Link]uint64
	// transports are those of the nodes that run.
	transports map[raft.ServerAddress]*transport
}

// A cut is the state of a link that is cut.
type cut struct {
	times  int
	healed chan struct{} // closed when it is whole again
}

func newNetwork(seed uint64) *network {
	return &network{
		random:     rand.New(rand.NewPCG(seed, 0)),
		cuts:       map[cluster.Link]*cut{},
		dropped:    map[cluster.Link]uint64{},
		transports: map[raft.ServerAddress]*transport{},
	}
}

// Cut cuts the links, all at once.
func (n *network) Cut(links ...cluster.Link) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range links {
		if n.cuts[l] == nil {
			n.cuts[l] = &cut{healed: make(chan struct{})}
		}
		n.cuts[l].times++
	}
	return nil
}

// Heal undoes one Cut of each of the links.
func (n *network) Heal(links ...cluster.Link) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var err error
	for _, l := range links {
		c := n.cuts[l]
		if c == nil {
			err = errors.Join(err, fmt.Errorf("heal %v: it is not cut", l))
			continue
		}
		if c.times--; c.times == 0 {
			close(c.healed)
			delete(n.cuts, l)
		}
	}
	return err
}

// Dropped returns how many messages met each of the links while it was cut.
func (n *network) Dropped(links ...cluster.Link) []uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	counts := make([]uint64, len(links))
	for i, l := range links {
		counts[i] = n.dropped[l]
	}
	return counts
}

// carry returns when a message has come over a link, or ctx has ended before.
func (n *network) carry(ctx context.Context, l cluster.Link) error {
	n.mu.Lock()
	delay := minDelay + time.Duration(n.random.Int64N(int64(maxDelay-minDelay)))
	n.mu.Unlock()
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		n.mu.Lock()
		c := n.cuts[l]
		if c != nil {
			n.dropped[l]++
		}
		n.mu.Unlock()
		if c == nil {
			return ctx.Err()
		}
		select {
		case <-c.healed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
