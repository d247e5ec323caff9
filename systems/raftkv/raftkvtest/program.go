package raftkvtest

import (
	"context"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/hacheck/hacheck/systems/raftkv"
)

// Program is a node of raftkv in a lab, for test binaries: it looks at the arguments, and
// says whether they are those of a node, and how that ended.
func Program(args []string) (mine bool, status int) {
	if len(args) != 3 || args[0] != "node" || args[1] != raftkv.Name {
		return false, 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := raftkv.RunNode(ctx, args[2]); err != nil {
		fmt.Println(err)
		return true, 1
	}
	return true, 0
}
