package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/raftkv"
	"github.com/hacheck/hacheck/systems/raftkv/server"
)

func raftkvBugs() []named {
	var bugs []named
	for _, b := range raftkv.Bugs() {
		bugs = append(bugs, named{b.Name, b.Summary})
	}
	return bugs
}

func installRaftkv(l cluster.Lab, o *options) (installed, error) {
	return raftkv.New(l, raftkv.Options{
		Bug: o.bug,
		// Else a watcher that comes back late would be right to be told that what it missed was
		// compacted, though no client asked for that.
		KeepRevisions: o.workload == "watch",
	})
}

func raftkvNode(ctx context.Context, config string) error {
	var c server.Config
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return fmt.Errorf("read its configuration: %w", err)
	}
	return server.Run(ctx, c)
}
