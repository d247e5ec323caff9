package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// up starts the system and waits until it answers.
func (r *run) up(ctx context.Context) error {
	if r.System == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	var listening sync.WaitGroup
	listening.Go(func() {
		select {
		case <-r.Interrupt:
			cancel()
		case <-ctx.Done():
		}
	})
	err := r.start()
	if err == nil {
		err = r.ready(ctx)
	}
	cancel()
	listening.Wait()
	if isClosed(r.Interrupt) {
		return ErrInterrupted
	}
	return err
}

// start starts the system on all nodes at once.
func (r *run) start() error {
	if r.Lab == nil {
		return nil
	}
	var starting errgroup.Group
	for _, n := range r.Lab.Nodes() {
		starting.Go(func() error {
			if err := r.System.Start(n.Name); err != nil {
				return r.last(n.Name, fmt.Errorf("start: %w", err))
			}
			return nil
		})
	}
	return starting.Wait()
}

// ready waits until the system answers, or a node has ended before it does.
func (r *run) ready(ctx context.Context) error {
	waiting, over := context.WithCancel(ctx)
	defer over()
	var group errgroup.Group
	var ended atomic.Bool
	if r.Lab != nil {
		for _, n := range r.Lab.Nodes() {
			group.Go(func() error {
				exited := r.Lab.Exited(n.Name)
				select {
				case <-exited:
				case <-waiting.Done():
					if !isClosed(exited) { // else the system may have noticed first
						return nil
					}
				}
				ended.Store(true)
				over()
				return r.last(n.Name, errors.New("its process ended before the system was ready"))
			})
		}
	}
	err := r.System.Ready(waiting)
	over()
	if exited := group.Wait(); ended.Load() {
		return exited
	}
	if err == nil {
		return nil
	}
	errs := []error{fmt.Errorf("wait for the system: %w", err)}
	if r.Lab != nil {
		for _, n := range r.Lab.Nodes() {
			errs = append(errs, r.last(n.Name, errors.New("it runs, but the system is not ready")))
		}
	}
	return errors.Join(errs...)
}

// ended tells of nodes that run no process.
func (r *run) ended() error {
	if r.Lab == nil {
		return nil
	}
	var errs []error
	for _, n := range r.Lab.Nodes() {
		if isClosed(r.Lab.Exited(n.Name)) {
			errs = append(errs, r.last(n.Name, errors.New("it runs no process")))
		}
	}
	return errors.Join(errs...)
}

// stop stops the system on all nodes at once.
func (r *run) stop(ctx context.Context) error {
	if r.Lab == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	nodes := r.Lab.Nodes()
	errs := make([]error, len(nodes))
	var stopping sync.WaitGroup
	for i, n := range nodes {
		stopping.Go(func() {
			if err := r.Lab.Stop(ctx, n.Name); err != nil {
				errs[i] = fmt.Errorf("stop %s: %w", n.Name, err)
			}
		})
	}
	stopping.Wait()
	return errors.Join(errs...)
}

// lastLines is how many of a node's last lines are told with its trouble.
const lastLines = 10

// A NodeError is trouble with a node, with the last lines that it printed.
type NodeError struct {
	Node  string
	Err   error
	Lines []string
}

func (e *NodeError) Error() string {
	s := e.Node + ": " + e.Err.Error()
	if len(e.Lines) > 0 {
		s += "; its last lines:\n\t" + strings.Join(e.Lines, "\n\t")
	}
	return s
}

func (e *NodeError) Unwrap() error { return e.Err }

// last adds to err what the node printed last, from the beginning of a panic if it
// ended with one: below its first line there are only stacks.
func (r *run) last(node string, err error) error {
	const stacks = 2000
	lines := r.Lab.Log(node, stacks)
	at := max(0, len(lines)-lastLines)
	for i, line := range lines {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			at = i
		}
	}
	return &NodeError{Node: node, Err: err, Lines: lines[at:min(at+lastLines, len(lines))]}
}
