package process

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// What a source sends: a line that says whose memory it is; pages, each behind its number; a
// number that no page has; a line with the rest. Then the target says in a line that it has
// everything, or why not.

// A greeting says what comes.
type greeting struct {
	VM    string `json:"vm"`
	Pages int    `json:"pages"`
}

// A rest is what is sent when the machine stands.
type rest struct {
	State state  `json:"state"`
	Sum   uint32 `json:"sum"` // of all pages: see machine.sum
}

const noPage = pageCount

// How memory is sent. A machine of 2 MiB takes some 400 ms, so that what goes wrong meanwhile
// can; and when it is stopped, there is no more to send than a network takes in a moment.
const (
	pageTime  = 600 * time.Microsecond // for each page: about 7 MB/s
	batch     = 16                     // pages that are sent before it waits
	few       = 16                     // pages that are left when it is stopped
	maxRounds = 10                     // after which it is stopped with whatever is left
)

// send sends a machine: its pages while it runs, then those that have changed meanwhile, until
// few are left; then it has it stopped, and sends the rest. When it returns nil the target
// has everything.
func (m *machine) send(ctx context.Context, conn net.Conn, vm string, stop func() error) error {
	defer expire(ctx, conn)()
	out := bufio.NewWriterSize(conn, batch*(pageSize+4))
	if err := line(out, greeting{VM: vm, Pages: pageCount}); err != nil {
		return because(ctx, err)
	}
	m.soil()
	began, sent := time.Now(), 0
	for range maxRounds {
		pages := m.stains()
		if len(pages) <= few {
			break
		}
		for _, page := range pages {
			if err := m.sendPage(out, page); err != nil {
				return because(ctx, err)
			}
			if sent++; sent%batch != 0 {
				continue
			}
			if err := out.Flush(); err != nil {
				return because(ctx, err)
			}
			select {
			case <-time.After(time.Until(began.Add(time.Duration(sent) * pageTime))):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	if err := stop(); err != nil {
		return err
	}
	for _, page := range m.stains() {
		if err := m.sendPage(out, page); err != nil {
			return because(ctx, err)
		}
	}
	if err := binary.Write(out, binary.BigEndian, uint32(noPage)); err != nil {
		return because(ctx, err)
	}
	if err := line(out, rest{State: m.now(), Sum: m.sum()}); err != nil {
		return because(ctx, err)
	}
	if err := out.Flush(); err != nil {
		return because(ctx, err)
	}
	if _, err := newTalk(conn).answer(ctx); err != nil {
		return fmt.Errorf("the target: %w", err)
	}
	return nil
}

func (m *machine) sendPage(out io.Writer, page int) error {
	var b [4 + pageSize]byte
	binary.BigEndian.PutUint32(b[:], uint32(page))
	m.copy(b[4:], page)
	_, err := out.Write(b[:])
	return err
}

// errOther is what a source gets that has come to the wrong target: the machine may come yet.
var errOther = errors.New("another machine is awaited")

// receive fills an empty machine with what a source sends. When it returns nil that is all,
// and as it was there; the source does not know it yet.
func (m *machine) receive(ctx context.Context, in *bufio.Reader, vm string) error {
	var hello greeting
	if err := readLine(in, &hello); err != nil {
		return fmt.Errorf("%w: %w", errOther, because(ctx, err))
	}
	if hello.VM != vm || hello.Pages != pageCount {
		return errOther
	}
	for {
		var page uint32
		if err := binary.Read(in, binary.BigEndian, &page); err != nil {
			return because(ctx, err)
		}
		if page == noPage {
			break
		}
		if page > noPage {
			return fmt.Errorf("there is no page %d", page)
		}
		if _, err := io.ReadFull(in, m.page(int(page))); err != nil {
			return because(ctx, err)
		}
	}
	var r rest
	if err := readLine(in, &r); err != nil {
		return because(ctx, err)
	}
	if sum := m.sum(); sum != r.Sum {
		return fmt.Errorf("memory has the sum %08x, and had %08x", sum, r.Sum)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = r.State
	return nil
}
