package nemesis

import (
	"fmt"
	"slices"
	"sync"

	"github.com/hacheck/hacheck/cluster"
)

// cuts are the books of all partitions of a network. They may overlap: what a link
// drops is then the doing of the one that cut it first, for the others changed
// nothing there as long as that one lasts.
type cuts struct {
	network cluster.Network

	mu sync.Mutex
	by map[cluster.Link]*blame
}

// blame says who is to be blamed for what a link drops.
type blame struct {
	cutters []*heldCut // in the order in which they cut the link
	since   uint64     // what it had dropped when the first of them became the first
}

// begin cuts the links of h.
func (c *cuts) begin(h *heldCut) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.network.Dropped(h.links...)
	if err := c.network.Cut(h.links...); err != nil {
		return fmt.Errorf("cut: %w", err)
	}
	for i, l := range h.links {
		b := c.by[l]
		if b == nil {
			b = &blame{since: before[i]}
			if c.by == nil {
				c.by = map[cluster.Link]*blame{}
			}
			c.by[l] = b
		}
		b.cutters = append(b.cutters, h)
	}
	return nil
}

// end heals the links of h and adds up what it made them drop.
func (c *cuts) end(h *heldCut) (dropped map[cluster.Link]uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.network.Heal(h.links...); err != nil {
		return nil, fmt.Errorf("heal: %w", err)
	}
	dropped = map[cluster.Link]uint64{}
	for i, now := range c.network.Dropped(h.links...) {
		l := h.links[i]
		b := c.by[l]
		if b.cutters[0] == h {
			if n := now - b.since; n > 0 {
				dropped[l] = n
			}
			b.since = now
		}
		at := slices.Index(b.cutters, h)
		b.cutters = slices.Delete(b.cutters, at, at+1)
		if len(b.cutters) == 0 {
			delete(c.by, l)
		}
	}
	return dropped, nil
}
