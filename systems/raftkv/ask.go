package raftkv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/raftkv/server/api"
)

// readyKey is a key that nobody writes.
const readyKey = "ready?"

// askFor bounds one question to a node, so that a lost one is asked again.
const askFor = 500 * time.Millisecond

// Answers returns when the node of c, which is bound to it, knows a leader and
// answers a linearizable read; or ctx ends. A node with the bug stale-read answers
// long before there is a leader.
func Answers(ctx context.Context, c *client.Client) error {
	var last error // of those that did not come of the end of ctx
	for {
		err := answer(ctx, c)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if ctx.Err() != nil {
			return last
		}
	}
}

func answer(ctx context.Context, c *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	if _, err := c.Get(ctx, readyKey); err != nil {
		return err // at the end of ctx: the client tries until then
	}
	for _, s := range c.Status(ctx) {
		if s.GetLeader() != "" {
			return nil
		}
	}
	<-ctx.Done() // asked again soon enough
	return errors.New("it knows no leader")
}

// These bound the question who leads: a node answers that at once, or not. Whoever asks
// may have something urgent to do, so a node that is gone is not waited for as long as
// one that may be slow.
const (
	leaderConnecting = 100 * time.Millisecond
	leaderFor        = 500 * time.Millisecond
)

// leader asks all nodes who leads. That nobody said so in time says nothing of the
// nodes if it was the caller's time that ended.
func leader(ctx context.Context, c *client.Client) (string, error) {
	asking, cancel := context.WithTimeout(ctx, leaderFor)
	defer cancel()
	connecting, cancelConnecting := context.WithTimeout(asking, leaderConnecting)
	defer cancelConnecting()
	node, err := Leading(c.StatusOf(asking, connecting))
	if err != nil && ctx.Err() != nil {
		return "", fmt.Errorf("ask who leads: %w", context.Cause(ctx))
	}
	return node, err
}

// Leading returns the node that claims to lead in the highest term: one that was
// deposed and has not heard of it claims a lower one. A nil status says nothing.
func Leading(all []*api.StatusResponse) (string, error) {
	var best *api.StatusResponse
	answered := 0
	for _, s := range all {
		if s == nil {
			continue
		}
		answered++
		if s.State == "leader" && s.Term > best.GetTerm() {
			best = s
		}
	}
	switch {
	case best != nil:
		return best.Id, nil
	case answered == 0:
		return "", errors.New("no node says who leads")
	}
	return "", fmt.Errorf("none of the %d nodes that answered leads", answered)
}
