package raftkv

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/raftkv/server"
)

// nodeCommand is this program as a node that is told c.
func nodeCommand(c server.Config) cluster.Command {
	told, err := json.Marshal(c)
	if err != nil {
		panic("raftkv: " + err.Error()) // configurations are made to be encoded
	}
	return cluster.Command{Args: []string{"node", Name, string(told)}}
}

// RunNode runs a node until ctx ends, as [System.Start] has told it to be.
func RunNode(ctx context.Context, config string) error {
	var c server.Config
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return fmt.Errorf("read its configuration: %w", err)
	}
	return server.Run(ctx, c)
}
