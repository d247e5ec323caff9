package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"github.com/hacheck/hacheck/systems/raftkv/server/durable"
)

// A memory is what an agent knows of itself after it was restarted. It is on the disk
// before anything comes of it.
type memory struct {
	path string

	mu sync.Mutex
	remembered
}

// What is remembered is of one incarnation: what is placed in the next has higher epochs
// than anything before.
type remembered struct {
	Incarnation uint64 `json:"incarnation"`
	Lease       uint64 `json:"lease"`
	// Epochs are the highest, by machine, in which a guest may have been started.
	Epochs map[string]uint64 `json:"epochs,omitempty"`
	// Ran is for bug.StaleRejoin: what ran when the incarnation ended.
	Ran map[string]uint64 `json:"ran,omitempty"`
}

// recall reads what is remembered in a directory. Nothing, or what cannot be read, is what a
// new host remembers; then the error says why.
func recall(dir string) (*memory, error) {
	m := &memory{path: filepath.Join(dir, "agent.json")}
	b, err := os.ReadFile(m.path)
	if errors.Is(err, os.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &m.remembered)
	}
	if err != nil {
		m.remembered = remembered{}
		return m, fmt.Errorf("recall %s: %w", m.path, err)
	}
	return m, nil
}

// begin remembers a new incarnation.
func (m *memory) begin(incarnation, lease uint64) error {
	return m.change(func(r *remembered) {
		r.Incarnation, r.Lease, r.Epochs = incarnation, lease, nil
	})
}

// seen returns the highest epoch in which a guest may have been started.
func (m *memory) seen(vm string) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.Epochs[vm]
}

// starting remembers that a guest is about to be started.
func (m *memory) starting(vm string, epoch uint64) error {
	return m.change(func(r *remembered) { r.Epochs = with(r.Epochs, vm, epoch) })
}

// runs remembers that a guest runs; 0: none does, as it was told.
func (m *memory) runs(vm string, epoch uint64) error {
	return m.change(func(r *remembered) {
		if r.Ran = with(r.Ran, vm, epoch); epoch == 0 {
			delete(r.Ran, vm)
		}
	})
}

// ran returns what ran.
func (m *memory) ran() map[string]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.Ran)
}

func with(all map[string]uint64, vm string, epoch uint64) map[string]uint64 {
	if all = maps.Clone(all); all == nil {
		all = map[string]uint64{}
	}
	all[vm] = epoch
	return all
}

// change changes what is remembered, on the disk first.
func (m *memory) change(how func(*remembered)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.remembered
	how(&next)
	b, err := json.Marshal(next)
	if err != nil {
		panic("agent: " + err.Error()) // what is remembered is made to be encoded
	}
	if err := durable.Replace(m.path, b); err != nil {
		return fmt.Errorf("remember: %w", err)
	}
	m.remembered = next
	return nil
}
