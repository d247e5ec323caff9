package api

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"
)

// A Conn is a connection to a node. A call on it, or a stream that cannot be begun, whose
// error is not understood (see [Understand]) as definite may have arrived.
type Conn interface {
	grpc.ClientConnInterface
	// Ready waits until there is a connection to send a call on. Its error is
	// definite, of course.
	Ready(ctx context.Context) error
	Close() error
}

// These make a connection that was cut come back within half a second of the
// network's healing, and notice a peer that is gone without a word. gRPC hands
// peerGone to the kernel as TCP_USER_TIMEOUT: data may be on the way no longer.
const (
	connectTimeout   = 500 * time.Millisecond
	reconnectAfter   = 50 * time.Millisecond
	reconnectAtMost  = 300 * time.Millisecond
	peerGone         = 1500 * time.Millisecond
	peerAskedAfter   = 10 * time.Second // the least that gRPC allows
	idleNever        = 0
	headersAtTheMost = 16 << 10
)

// Window is how many bytes may be on their way to one end of a connection. gRPC would
// measure how many are best, by a ping with every call, which is as much work as the call.
const Window = 1 << 20

// Dial returns a connection to the node at a network address. It connects in the
// background. Whatever options it is given come after its own.
func Dial(addr string, options ...grpc.DialOption) (Conn, error) {
	cc, err := grpc.NewClient("passthrough:///"+addr, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// Who may repeat a call, and when, is for those to say who know what it
		// does. What gRPC still repeats is what the peer said it never looked at.
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
		grpc.WithIdleTimeout(idleNever),
		grpc.WithMaxHeaderListSize(headersAtTheMost),
		grpc.WithConnectParams(grpc.ConnectParams{
			MinConnectTimeout: connectTimeout,
			Backoff: backoff.Config{
				BaseDelay: reconnectAfter, MaxDelay: reconnectAtMost, Multiplier: 1.6, Jitter: 0.2,
			},
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: peerAskedAfter, Timeout: peerGone, PermitWithoutStream: true,
		}),
		grpc.WithStatsHandler(sentHandler{}),
		grpc.WithStaticStreamWindowSize(Window),
		grpc.WithStaticConnWindowSize(Window),
		// A range may hold more than the four megabytes that gRPC would take.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)),
	}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	cc.Connect()
	return &conn{cc, addr}, nil
}

type conn struct {
	*grpc.ClientConn
	addr string
}

func (c *conn) Ready(ctx context.Context) error {
	for {
		state := c.GetState()
		switch state {
		case connectivity.Ready:
			return nil
		case connectivity.Idle:
			c.Connect()
		case connectivity.Shutdown:
			return Definite(Reason_REASON_NOT_SENT, "connection to %s is closed", c.addr)
		}
		if !c.WaitForStateChange(ctx, state) {
			return Definite(Reason_REASON_NOT_SENT, "no connection to %s (%v): %w", c.addr, state, context.Cause(ctx))
		}
	}
}

// Invoke calls, and says of an error whether the call was ever sent.
func (c *conn) Invoke(ctx context.Context, method string, in, out any, options ...grpc.CallOption) error {
	var sent atomic.Bool
	err := c.ClientConn.Invoke(context.WithValue(ctx, sentKey{}, &sent), method, in, out, options...)
	if err != nil && !sent.Load() {
		return Definite(Reason_REASON_NOT_SENT, "never sent to %s: %w", c.addr, err)
	}
	return err
}

// NewStream begins a stream, and says of an error whether it was ever sent.
func (c *conn) NewStream(
	ctx context.Context, desc *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	var sent atomic.Bool
	stream, err := c.ClientConn.NewStream(context.WithValue(ctx, sentKey{}, &sent), desc, method, options...)
	if err != nil && !sent.Load() {
		return nil, Definite(Reason_REASON_NOT_SENT, "never sent to %s: %w", c.addr, err)
	}
	return stream, err
}

type sentKey struct{}

// A sentHandler notes that a call's headers were handed to a connection: from
// then on it may arrive. gRPC tells so before Invoke returns, from its goroutine.
type sentHandler struct{}

func (sentHandler) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutHeader); !ok {
		return
	}
	if sent, ok := ctx.Value(sentKey{}).(*atomic.Bool); ok {
		sent.Store(true)
	}
}

func (sentHandler) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (sentHandler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (sentHandler) HandleConn(context.Context, stats.ConnStats)                       {}
