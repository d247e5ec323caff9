package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// A monitor speaks QMP, the protocol by which QEMU is asked, and tells what happens: JSON
// values one behind the other (docs/interop/qmp-spec.txt of QEMU).
type monitor struct {
	conn io.ReadWriter
	gone chan struct{} // closed when QEMU says nothing any more

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan answer
}

// An answer is what comes for a command; an event has a name, and comes for none.
type answer struct {
	ID     uint64          `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
	Data  struct {
		Status string `json:"status"`
	} `json:"data"`
}

var errNoQEMU = errors.New("QEMU is gone")

func newMonitor(conn io.ReadWriter) *monitor {
	return &monitor{conn: conn, gone: make(chan struct{}), waiting: map[uint64]chan answer{}}
}

// listen reads what QEMU says until that ends. It calls event for what happens, in order:
// an answer is given when all has been called that came before. event must not ask QEMU.
func (m *monitor) listen(event func(name, status string)) {
	defer close(m.gone)
	d := json.NewDecoder(m.conn)
	for {
		var a answer
		if err := d.Decode(&a); err != nil {
			return
		}
		if a.Event != "" {
			event(a.Event, a.Data.Status)
			continue
		}
		m.mu.Lock()
		if c := m.waiting[a.ID]; c != nil { // not the greeting
			c <- a
			delete(m.waiting, a.ID)
		}
		m.mu.Unlock()
	}
}

// ask has QEMU do something, and puts what it returns into result, unless that is nil.
func (m *monitor) ask(ctx context.Context, command string, arguments map[string]any, result any) error {
	if arguments == nil {
		arguments = map[string]any{}
	}
	c := make(chan answer, 1)
	m.mu.Lock()
	m.last++
	id := m.last
	m.waiting[id] = c
	err := json.NewEncoder(m.conn).Encode(map[string]any{"execute": command, "arguments": arguments, "id": id})
	m.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	select {
	case a := <-c:
		if a.Error != nil {
			return fmt.Errorf("%s: %s", command, a.Error.Desc)
		}
		if result != nil {
			return json.Unmarshal(a.Return, result)
		}
		return nil
	case <-m.gone:
		return fmt.Errorf("%s: %w", command, errNoQEMU)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", command, ctx.Err())
	}
}
