package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/hacheck/hacheck/systems/vmsched/server/api"
)

// Run serves volumes until ctx ends, then stops and returns nil. If the disk fails it ends
// at once, with that error.
func Run(ctx context.Context, c Config, log *slog.Logger) (err error) {
	// First of all, so that a second one on the same disk comes no further.
	listener, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("volumes: listen: %w", err)
	}
	defer listener.Close() // for when nobody came to serve it
	s, err := New(c, log)
	if err != nil {
		return fmt.Errorf("volumes: %w", err)
	}
	server := grpc.NewServer(
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 5 * time.Second, Timeout: 5 * time.Second}),
	)
	api.RegisterVolumesServer(server, s)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	log.Info("serving volumes", "addr", listener.Addr().String(), "volumes", len(s.volumes), "bug", c.Bug)

	select {
	case <-ctx.Done():
		stopped := time.AfterFunc(time.Second, server.Stop)
		server.GracefulStop()
		stopped.Stop()
	case <-s.Failed():
		server.Stop()
	case err = <-served:
		err = fmt.Errorf("serve: %w", err)
	}
	if err = errors.Join(err, s.Close()); err != nil {
		return fmt.Errorf("volumes: %w", err)
	}
	return nil
}
