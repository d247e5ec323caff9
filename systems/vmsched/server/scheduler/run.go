package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/vmsched/server/api"
	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
)

// Run runs a scheduler until ctx ends, then stops it and returns nil.
func Run(ctx context.Context, c Config, log *slog.Logger) (err error) {
	if c.Bug != "" && !bug.Is(c.Bug) {
		return fmt.Errorf("vmsched has no bug %q", c.Bug)
	}
	listener, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("scheduler %s: listen for users: %w", c.Node, err)
	}
	defer listener.Close() // for when nobody came to serve it
	var clients [2]*client.Client
	for i := range clients {
		if clients[i], err = client.New(c.Store); err != nil {
			return fmt.Errorf("scheduler %s: %w", c.Node, err)
		}
		defer func() { err = errors.Join(err, clients[i].Close()) }()
	}
	s := New(c, Deps{Store: clients[0], Lead: clients[1], Log: log})

	server := grpc.NewServer(
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 5 * time.Second, Timeout: 5 * time.Second}),
	)
	api.RegisterControlPlaneServer(server, s)
	reflection.Register(server)
	state := health.NewServer()
	grpc_health_v1.RegisterHealthServer(server, state)
	state.SetServingStatus(api.ControlPlane_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)

	life, end := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait() // before the clients are closed
	defer end()
	running.Go(func() { s.Lead(life) })
	served := make(chan error, 1)
	running.Go(func() { served <- server.Serve(listener) })
	log.Info("serving", "users", listener.Addr(), "bug", c.Bug)

	select {
	case <-ctx.Done():
	case err = <-served:
		err = fmt.Errorf("scheduler %s: serve users: %w", c.Node, err)
	}
	end() // first of all, so that another leads soon
	state.Shutdown()
	stopped := time.AfterFunc(time.Second, server.Stop)
	server.GracefulStop()
	stopped.Stop()
	return err
}
