package server

import "sync"

// News are told to whoever waits for them. They say "look again", and not what is new.
type news struct {
	mu   sync.Mutex
	told chan struct{} // nil: nobody waits
}

// next returns a channel that is closed when there are news. It is taken before one
// looks, so that none are missed.
func (n *news) next() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.told == nil {
		n.told = make(chan struct{})
	}
	return n.told
}

// tell wakes all who wait.
func (n *news) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.told != nil {
		close(n.told)
		n.told = nil
	}
}
