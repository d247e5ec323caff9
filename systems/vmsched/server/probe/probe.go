// Package probe tells somebody who watches the data plane from outside what happens
// there: that a guest runs, what of its writes was acknowledged, which epochs a volume
// takes writes of. It goes past the network, by a pipe with a name, so that no cut link
// delays it.
//
// Each event is one write of at most PIPE_BUF bytes, which the kernel neither divides
// nor mixes with others: so the order in which they are read is the order in which they
// were written, whoever wrote them. That is worth more than any clock: what a guest told
// before and after another guest told something, it told while that one was running.
package probe

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// An Event is what is told.
type Event struct {
	Kind Kind   `json:"kind"`
	VM   string `json:"vm,omitempty"`
	// Host is the node that the teller is on.
	Host  string `json:"host,omitempty"`
	Epoch uint64 `json:"epoch,omitempty"`
	// PID is the process that is the guest: each start of one is another. Where a
	// hypervisor runs it, it is that one's.
	PID int `json:"pid,omitempty"`
	// Count is the guest's counter: it goes up while it runs, in memory alone, and on over
	// a live migration.
	Count uint64 `json:"count,omitempty"`
	// Acked is the last of its writes that the volume has acknowledged, in whatever epoch:
	// 0 is none. It goes back if the volume says that it has less.
	Acked uint64 `json:"acked,omitempty"`
	// Seq is the number of a write that a volume took, or refused.
	Seq uint64 `json:"seq,omitempty"`
	// Lost is how many events this teller had to drop before this one.
	Lost uint64 `json:"lost,omitempty"`
}

// A Kind is what happened.
type Kind string

// The kinds.
const (
	// Boot is the first that a guest does that was started, and Resumed the first after a
	// migration, on the target.
	Boot    Kind = "boot"
	Resumed Kind = "resumed"
	// Beat is told by a guest every [BeatEvery] while it runs.
	Beat Kind = "beat"
	// Paused is told by a guest that is stopped for its migration, the last that it does on
	// the source unless it is Continued there, when the migration came to nothing.
	Paused    Kind = "paused"
	Continued Kind = "continued"
	// Fenced is told by an agent that has stopped its guests since its lease may have
	// ended.
	Fenced Kind = "fenced"
	// Took is told by a volume of a write that it took, if the last one that it took was of
	// another epoch, and Refused of one that it refused for its epoch.
	Took    Kind = "took"
	Refused Kind = "refused"
)

// longest is how long an event may be: what POSIX has PIPE_BUF be at the least.
const longest = 512

// BeatEvery is how often a guest beats.
const BeatEvery = 20 * time.Millisecond

// A Teller tells.
type Teller struct {
	mu   sync.Mutex
	pipe *os.File // nil: nobody is told
	lost uint64
}

// Open returns who tells over the pipe of that name; empty: nobody is told.
func Open(path string) (*Teller, error) {
	if path == "" {
		return &Teller{}, nil
	}
	// Without O_NONBLOCK it would wait here for a reader, and stand still later when that one
	// does: a guest must not.
	fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the observer's pipe %s: %w", path, err)
	}
	return &Teller{pipe: os.NewFile(uintptr(fd), path)}, nil
}

// Tell tells e, if the pipe has room; else the next one says that it was lost.
func (t *Teller) Tell(e Event) {
	if t.pipe == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e.Lost = t.lost
	line, err := json.Marshal(e)
	if err != nil {
		panic("probe: " + err.Error()) // events are made to be encoded
	}
	if line = append(line, '\n'); len(line) > longest {
		t.lost++
		return
	}
	// Not by os.File.Write, which would wait for room.
	raw, err := t.pipe.SyscallConn()
	if err != nil {
		t.lost++
		return
	}
	var n int
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		n, failed = syscall.Write(int(fd), line)
		return true
	})
	if err != nil || failed != nil || n != len(line) {
		t.lost++
		return
	}
	t.lost = 0
}

// Close ends it.
func (t *Teller) Close() error {
	if t.pipe == nil {
		return nil
	}
	return t.pipe.Close()
}
