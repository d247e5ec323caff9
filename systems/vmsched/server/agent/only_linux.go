package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"syscall"
)

// only returns when this is the only agent of a host: as long as what it returns is open, no
// other one gets so far. The error is that of ctx, or why nobody can tell.
//
// What an agent holds is a name in the abstract namespace of unix sockets, which is the
// network namespace's, as those of guests are (unix(7)). The kernel takes it away when the
// process ends, however it does, and not while it only stands still.
func only(ctx context.Context, host string, log *slog.Logger) (io.Closer, error) {
	name := "@vmsched-agent/" + host
	for told := false; ; told = true {
		l, err := net.Listen("unix", name)
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("be the only agent of %s: %w", host, err)
		}
		if !told {
			log.Warn("another agent of this host is there: this one waits for its end", "host", host)
		}
		gone(ctx, name)
		if err := pause(ctx); err != nil { // and if it could not be asked, before the next look
			return nil, err
		}
	}
}

// gone returns when who holds a name is gone, or ctx ends. A connection to it, which nobody ever
// accepts, ends with it.
func gone(ctx context.Context, name string) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", name)
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_, _ = io.Copy(io.Discard, conn) // nothing is ever sent
}
