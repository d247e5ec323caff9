package main

import (
	"context"
	"fmt"
	"os/signal"
	"slices"
	"syscall"

	"github.com/urfave/cli/v2"
)

// node plays a node of a system that ships with hacheck: node SYSTEM CONFIG. The
// system's adapter has the lab start it so; see cluster.Command.
func (p *program) node(c *cli.Context) error {
	args := c.Args().Slice()
	if len(args) != 2 || !slices.Contains(systemNames(), args[0]) {
		return usage("node: the lab alone starts nodes: node SYSTEM CONFIG")
	}
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := findSystem(args[0]).node(ctx, args[1]); err != nil && context.Cause(ctx) == nil {
		return fmt.Errorf("node of %s: %w", args[0], err)
	}
	return nil
}
