// Package nemesistest has a network in memory, for tests of what breaks networks
// and of what has to survive that.
package nemesistest

import (
	"fmt"
	"sync"

	"github.com/hacheck/hacheck/cluster"
)

// A Network keeps the books of a [cluster.Network] and moves nothing: whoever
// would send asks it. The zero Network is whole. It is safe for concurrent use.
type Network struct {
	mu      sync.Mutex
	cuts    map[cluster.Link]int
	dropped map[cluster.Link]uint64
	err     error
}

// Cut cuts links.
func (n *Network) Cut(links ...cluster.Link) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return n.err
	}
	for _, l := range links {
		if n.cuts == nil {
			n.cuts = map[cluster.Link]int{}
		}
		n.cuts[l]++
	}
	return nil
}

// Heal undoes one Cut of each of the links. A link that is whole is an error.
func (n *Network) Heal(links ...cluster.Link) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return n.err
	}
	for _, l := range links {
		if n.cuts[l] == 0 {
			return fmt.Errorf("%v is not cut", l)
		}
	}
	for _, l := range links {
		n.cuts[l]--
		if n.cuts[l] == 0 {
			delete(n.cuts, l)
		}
	}
	return nil
}

// Dropped returns how many messages each of the links has dropped.
func (n *Network) Dropped(links ...cluster.Link) []uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	dropped := make([]uint64, len(links))
	for i, l := range links {
		dropped[i] = n.dropped[l]
	}
	return dropped
}

// Deliver says whether a message arrives that is sent now. One that does not is
// counted as dropped.
func (n *Network) Deliver(from, to string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := cluster.Link{From: from, To: to}
	if n.cuts[l] == 0 {
		return true
	}
	if n.dropped == nil {
		n.dropped = map[cluster.Link]uint64{}
	}
	n.dropped[l]++
	return false
}

// Down returns the number of links that are cut.
func (n *Network) Down() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.cuts)
}

// Fail makes Cut and Heal fail with err from now on, or work again if it is nil.
func (n *Network) Fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err = err
}
