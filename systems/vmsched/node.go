package vmsched

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/hacheck/hacheck/cluster"
	raftkvserver "github.com/hacheck/hacheck/systems/raftkv/server"
	"github.com/hacheck/hacheck/systems/vmsched/server/agent"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor/process"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor/qemu"
	"github.com/hacheck/hacheck/systems/vmsched/server/scheduler"
	"github.com/hacheck/hacheck/systems/vmsched/server/volume"
)

// program runs this program again as a part of the system, which is told as JSON behind it.
var program = []string{"/proc/self/exe", "node", Name}

// A part is what a process is: one of these.
type part struct {
	Control *control        `json:"control,omitempty"`
	Host    *agent.Config   `json:"host,omitempty"`
	Storage *volume.Config  `json:"storage,omitempty"`
	Guest   json.RawMessage `json:"guest,omitempty"` // of package process
	Shim    json.RawMessage `json:"shim,omitempty"`  // of package qemu
}

// A control is a node of the control plane.
type control struct {
	RaftKV    raftkvserver.Config `json:"raftkv"`
	Scheduler scheduler.Config    `json:"scheduler"`
}

// command is this program as that part.
func (p part) command() cluster.Command {
	told, err := json.Marshal(p)
	if err != nil {
		panic("vmsched: " + err.Error()) // configurations are made to be encoded
	}
	return cluster.Command{Args: slices.Concat(program[1:], []string{string(told)})}
}

// RunNode runs a part of the system until ctx ends, as [System.Start] has told it to be, or
// a hypervisor. It logs to standard error.
func RunNode(ctx context.Context, config string) error {
	var p part
	if err := json.Unmarshal([]byte(config), &p); err != nil {
		return fmt.Errorf("read its configuration: %w", err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	switch {
	case p.Control != nil:
		return runControl(ctx, *p.Control, log)
	case p.Host != nil:
		return runHost(ctx, *p.Host, log)
	case p.Storage != nil:
		return volume.Run(ctx, *p.Storage, log)
	case p.Guest != nil:
		return process.RunGuest(ctx, p.Guest)
	case p.Shim != nil:
		return qemu.RunShim(ctx, p.Shim)
	}
	return errors.New("its configuration is of no part")
}

// runControl ends the scheduler first, so that it can resign.
func runControl(ctx context.Context, c control, log *slog.Logger) error {
	storing, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	either, ctx := errgroup.WithContext(ctx)
	either.Go(func() error { return raftkvserver.Run(storing, c.RaftKV) })
	either.Go(func() error {
		defer end()
		return scheduler.Run(ctx, c.Scheduler, log)
	})
	return either.Wait()
}

func runHost(ctx context.Context, c agent.Config, log *slog.Logger) error {
	var h hypervisor.Hypervisor
	var err error
	switch c.Hypervisor {
	case HypervisorProcess:
		h, err = process.New(process.Config{
			Host: c.Host, Addr: c.Addr, Volumes: c.Volumes, Probe: c.Probe, Program: c.Program,
		})
	case HypervisorQEMU:
		h, err = qemu.New(qemu.Config{
			Host: c.Host, Addr: c.Addr, Dir: c.Dir, Images: c.Images, Probe: c.Probe, Program: c.Program, Bug: c.Bug,
		})
	default:
		err = fmt.Errorf("there is no hypervisor %q", c.Hypervisor)
	}
	if err != nil {
		return fmt.Errorf("host %s: %w", c.Host, err)
	}
	return agent.Run(ctx, c, h, log)
}
