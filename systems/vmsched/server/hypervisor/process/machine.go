package process

import (
	"encoding/binary"
	"hash/crc32"
	"sync"
)

// A machine is what a guest has in memory, all of which migrates: its counter, how far it is
// with its volume, and pages that it changes with each count.
type machine struct {
	mu sync.Mutex
	state
	memory []byte
	dirty  []bool // by page: it was changed since it was copied last
}

// A state is what a machine has in registers, as it were.
type state struct {
	Count uint64 `json:"count"`
	Acked uint64 `json:"acked"` // the last write that the volume is known to have; 0: none
	// Flight is the write that was begun and of which nothing was heard, or nil.
	Flight *write `json:"flight,omitempty"`
}

// A write is one to a volume.
type write struct {
	Seq  uint64 `json:"seq"`
	Data []byte `json:"data"` // the count, big-endian
}

// Its memory. How fast it changes, and how fast it is sent, say how long a migration takes.
const (
	pageSize  = 4 << 10
	pageCount = 512
	atATime   = 2 // pages, with each count
)

func newMachine() *machine {
	return &machine{memory: make([]byte, pageCount*pageSize), dirty: make([]bool, pageCount)}
}

func (m *machine) page(i int) []byte { return m.memory[i*pageSize : (i+1)*pageSize] }

// tick counts, and changes memory: its next pages are filled with the count. So what is to
// be in each page follows from the count, see [machine.whole].
func (m *machine) tick() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Count++
	for i := range atATime {
		at := int((m.Count*atATime + uint64(i)) % pageCount)
		for word := m.page(at); len(word) > 0; word = word[8:] {
			binary.BigEndian.PutUint64(word, m.Count)
		}
		m.dirty[at] = true
	}
}

// whole says whether memory is what counting has made of it, and nothing older.
func (m *machine) whole() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	const every = pageCount / atATime // counts a page is changed
	for at := range pageCount {
		var last uint64 // the count that changed it last
		if back := (m.Count + every - uint64(at/atATime)) % every; back < m.Count {
			last = m.Count - back
		}
		for word := m.page(at); len(word) > 0; word = word[8:] {
			if binary.BigEndian.Uint64(word) != last {
				return false
			}
		}
	}
	return true
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum returns a checksum of all its memory, while nobody changes it.
func (m *machine) sum() uint32 { return crc32.Checksum(m.memory, castagnoli) }

// now returns its state.
func (m *machine) now() state {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// soil makes all pages dirty, and stains returns those that are.
func (m *machine) soil() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.dirty {
		m.dirty[i] = true
	}
}

func (m *machine) stains() (pages []int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, dirty := range m.dirty {
		if dirty {
			pages = append(pages, i)
		}
	}
	return pages
}

// copy copies a page, which is not dirty then.
func (m *machine) copy(to []byte, page int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	copy(to, m.page(page))
	m.dirty[page] = false
}

// opened has it know the number of the last write that the volume has. What was on the way
// may be there, or has to be sent again; what comes next follows that. If a volume has lost what
// it had acknowledged, the guest says so, by what it tells from now on.
func (m *machine) opened(last uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Acked = last
	// If it is not the next, it is there, or the volume has lost what it had acknowledged.
	if m.Flight != nil && m.Flight.Seq != last+1 {
		m.Flight = nil
	}
}

// next returns the write that is on the way, or else begins one behind the last.
func (m *machine) next(last uint64) write {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Flight == nil {
		m.Flight = &write{Seq: last + 1, Data: binary.BigEndian.AppendUint64(nil, m.Count)}
	}
	return *m.Flight
}

// acked says that the write that was on the way is there.
func (m *machine) acked(seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Acked, m.Flight = max(m.Acked, seq), nil
}
