package raftkvtest

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/raftkv/server/api"
)

// brokenAfter is for how long a message of a stream is sent again before the
// connection counts as broken: what gRPC hands to the kernel as TCP_USER_TIMEOUT.
const brokenAfter = 1500 * time.Millisecond

// window is how many messages of a stream are on their way, or wait for who receives
// them: behind these, who sends waits.
const window = 16

// A stream is a call with one request and many answers. Its messages arrive in order. One
// that does not for [brokenAfter] breaks it, and of that both ends hear in the end; not
// at once, as with real connections, of which neither end sees the other.
type stream struct {
	conn *conn
	// ctx is the caller's, serving the node's.
	ctx, serving context.Context
	stop         context.CancelFunc // of serving
	handler      grpc.StreamHandler
	request      chan proto.Message
	sent         chan proto.Message // by the node
	arrived      chan proto.Message
	// ended is closed when nothing arrives any more; then err says why.
	ended chan struct{}
	err   error
}

var (
	_ grpc.ClientStream = (*stream)(nil)
	_ grpc.ServerStream = (*served)(nil)
)

// NewStream begins a call of a method of the service whose answers are many.
func (c *conn) NewStream(ctx context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	for _, m := range api.RaftKV_ServiceDesc.Streams {
		if method == fullName(m.StreamName) {
			return c.begin(ctx, m.Handler), nil
		}
	}
	return nil, status.Errorf(codes.Unimplemented, "no method %s", method)
}

func (c *conn) begin(ctx context.Context, handler grpc.StreamHandler) *stream {
	s := &stream{
		conn: c, ctx: ctx, handler: handler,
		request: make(chan proto.Message, 1), sent: make(chan proto.Message, window),
		arrived: make(chan proto.Message), ended: make(chan struct{}),
	}
	s.serving, s.stop = context.WithCancel(c.cluster.life)
	c.cluster.calls.Go(func() {
		defer close(s.ended)
		defer s.stop()
		s.err = s.serve()
	})
	c.cluster.calls.Go(s.tellThatItEnded)
	return s
}

// serve is the stream from its request to its end.
func (s *stream) serve() error {
	in, err := receive(s.ctx, s.request)
	if err == nil {
		err = s.carry(s.ctx, s.conn.there())
	}
	if err != nil {
		return status.FromContextError(err).Err()
	}
	server := s.conn.cluster.server(s.conn.to)
	if server == nil {
		return s.conn.nobody()
	}
	handled := make(chan error, 1)
	s.conn.cluster.calls.Go(func() {
		err := s.handler(server, &served{s, in})
		close(s.sent)
		handled <- err
	})
	if err := s.deliver(); err != nil {
		s.stop()
		return status.Errorf(codes.Unavailable, "connection to %s is broken: %v", s.conn.to, err)
	}
	return <-handled
}

// deliver makes what was sent arrive, and returns nil when that was all.
func (s *stream) deliver() error {
	for m := range s.sent {
		if err := s.carry(s.serving, s.conn.back()); err != nil {
			return err
		}
		select {
		case s.arrived <- m:
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-s.serving.Done():
			return s.serving.Err()
		}
	}
	return s.carry(s.serving, s.conn.back())
}

// carry returns when a message has come over a link, or the connection is broken.
func (s *stream) carry(ctx context.Context, l cluster.Link) error {
	ctx, cancel := context.WithTimeout(ctx, brokenAfter)
	defer cancel()
	return s.conn.cluster.carry(ctx, l)
}

// tellThatItEnded tells the node that the caller is gone: if no message gets through the
// connection is broken by then.
func (s *stream) tellThatItEnded() {
	select {
	case <-s.ctx.Done():
		_ = s.carry(s.serving, s.conn.there())
		s.stop()
	case <-s.serving.Done():
	}
}

func receive(ctx context.Context, from <-chan proto.Message) (proto.Message, error) {
	select {
	case m := <-from:
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// SendMsg sends the request.
func (s *stream) SendMsg(m any) error {
	select {
	case s.request <- proto.Clone(m.(proto.Message)):
		return nil
	default:
		return errors.New("a stream has one request")
	}
}

// RecvMsg receives what has arrived.
func (s *stream) RecvMsg(m any) error {
	select {
	case got := <-s.arrived:
		proto.Merge(m.(proto.Message), got)
		return nil
	case <-s.ended:
		if s.err == nil {
			return io.EOF
		}
		return s.err
	case <-s.ctx.Done():
		return status.FromContextError(s.ctx.Err()).Err()
	}
}

// Context is the caller's.
func (s *stream) Context() context.Context { return s.ctx }

// CloseSend says what is known: that there is one request.
func (*stream) CloseSend() error { return nil }

// Header is empty.
func (*stream) Header() (metadata.MD, error) { return nil, nil }

// Trailer is empty.
func (*stream) Trailer() metadata.MD { return nil }

// A served stream is what the node has of it.
type served struct {
	*stream
	in proto.Message
}

// RecvMsg receives the request.
func (s *served) RecvMsg(m any) error {
	proto.Merge(m.(proto.Message), s.in)
	return nil
}

// SendMsg sends an answer. It waits while too many are on their way.
func (s *served) SendMsg(m any) error {
	select {
	case s.sent <- proto.Clone(m.(proto.Message)):
		return nil
	case <-s.serving.Done():
		return status.FromContextError(s.serving.Err()).Err()
	}
}

// Context ends when the node knows that nobody listens any more.
func (s *served) Context() context.Context { return s.serving }

// SetHeader drops it.
func (*served) SetHeader(metadata.MD) error { return nil }

// SendHeader drops it.
func (*served) SendHeader(metadata.MD) error { return nil }

// SetTrailer drops it.
func (*served) SetTrailer(metadata.MD) {}
