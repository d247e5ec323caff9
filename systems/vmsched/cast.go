package vmsched

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hacheck/hacheck/nemesis"
	"github.com/hacheck/hacheck/systems/vmsched/server/state"
)

// A cast is who played the roles of the last migration, as far as [System.Tell] has seen.
type cast struct {
	mu    sync.Mutex
	plays map[string]string
}

func (c *cast) saw(v state.VM) {
	m := v.Migration
	if m == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plays[nemesis.Source], c.plays[nemesis.Destination] = m.Source, m.Target
	if m.Phase == state.Asked {
		c.plays[nemesis.Destination] = "" // it is to be chosen yet; what is there is a wish
	}
}

// Roles returns the names of the roles that nodes play.
func Roles() []string { return []string{nemesis.Scheduler, nemesis.Source, nemesis.Destination} }

// Roles returns the names of the roles.
func (s *System) Roles() []string { return Roles() }

// Plays returns the node that plays a role now, or played it last.
func (s *System) Plays(ctx context.Context, role string) (node string, err error) {
	switch role {
	case nemesis.Scheduler:
		if node, err = s.users.Leading(ctx); err == nil && node == "" {
			err = errors.New("no scheduler leads")
		}
		return node, err
	case nemesis.Source, nemesis.Destination:
		s.cast.mu.Lock()
		defer s.cast.mu.Unlock()
		if node = s.cast.plays[role]; node == "" {
			err = fmt.Errorf("nobody is the %s of a migration yet", role)
		}
		return node, err
	}
	return "", fmt.Errorf("vmsched has no role %q", role)
}
