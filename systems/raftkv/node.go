package raftkv

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/hacheck/hacheck/systems/raftkv/server"
)

// RunNode runs a node until ctx ends, as [System.Start] has told it to be.
func RunNode(ctx context.Context, config string) error {
	var c server.Config
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return fmt.Errorf("read its configuration: %w", err)
	}
	return server.Run(ctx, c)
}
