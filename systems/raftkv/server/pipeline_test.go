package server

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// A pipes is a raft.StreamLayer in memory, to one that listens.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accepted:
		return c, nil
	case <-p.closed:
		return nil, errors.New("closed")
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.IPAddr{} }

func (p *pipes) Dial(raft.ServerAddress, time.Duration) (net.Conn, error) {
	here, there := net.Pipe()
	p.accepted <- there
	return here, nil
}

// TestWhoIsRefusedIsNotSentToForEver plays what Raft does when a follower refuses entries:
// it listens no longer, and sends once or twice more before it sees so.
func TestWhoIsRefusedIsNotSentToForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: &pipes{make(chan net.Conn, 1), make(chan struct{})}, MaxPool: 1, MaxRPCsInFlight: 2,
			Logger: hclog.NewNullLogger(),
		})
		defer net.Close()
		over := make(chan struct{})
		defer close(over)
		go func() { // the follower
			for {
				select {
				case rpc := <-net.Consumer():
					rpc.Respond(&raft.AppendEntriesResponse{Success: false}, nil)
				case <-over:
					return
				}
			}
		}()
		p, err := newTransport(net, nil).AppendEntriesPipeline("n2", "n2")
		if err != nil {
			t.Fatal(err)
		}
		send := func() error {
			_, err := p.AppendEntries(&raft.AppendEntriesRequest{Term: 1}, new(raft.AppendEntriesResponse))
			return err
		}
		if err := send(); err != nil {
			t.Fatal(err)
		}
		if answer := <-p.Consumer(); answer.Response().Success {
			t.Fatal("it was not refused")
		}
		sent := make(chan error, 1)
		go func() {
			err := send()
			for range 2 {
				if err == nil {
					err = send()
				}
			}
			sent <- err
		}()
		select {
		case err := <-sent:
			if err == nil {
				t.Error("three more were sent, and nobody said that it is over")
			}
		case <-time.After(time.Hour):
			t.Error("it waits for ever")
		}
		if err := p.Close(); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Error(err)
		}
	})
}
