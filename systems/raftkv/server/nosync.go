package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A lazyLog is for [bug.NoFsync]: the log of a Store to whose end entries come late. They
// are written to a file beside it, which nobody syncs, and are in the Store, and synced,
// within lazyFor. If the process ends before that they are found in the file. If the
// power fails they are not, or not all.
type lazyLog struct {
	*Store

	mu      sync.Mutex
	file    *os.File
	pending []*raft.Log // those in the file
	flushed *time.Timer // when they are to be in the Store; nil: there are none
}

// lazyFor is as long as Redis, which syncs its log every second, may lose.
const lazyFor = time.Second

// openLazyLog opens the file at path, or creates it, and takes what is in it into the
// Store: as many entries as are whole, and go on from there.
func openLazyLog(path string, s *Store) (*lazyLog, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	l := &lazyLog{Store: s, file: f}
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	for len(b) >= 8 {
		sum, length := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
		if uint64(length) > uint64(len(b)-8) {
			break
		}
		var entry raft.Log
		if encoded := b[8 : 8+length]; sum != crc32.Checksum(encoded, castagnoli) || decodeLog(encoded, &entry) != nil {
			break
		}
		b = b[8+length:]
		switch next := s.head.Last + 1; {
		case s.head.Last != 0 && entry.Index < next: // it had come there before
			continue
		case s.head.Last == 0 || entry.Index == next:
			err = s.StoreLog(&entry)
		default:
			err = fmt.Errorf("entry %d where %d comes next", entry.Index, next)
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return l, l.empty()
}

// empty empties the file.
func (l *lazyLog) empty() error {
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err := l.file.Seek(0, io.SeekStart)
	return err
}

// flush takes the entries into the Store. The caller holds mu.
func (l *lazyLog) flush() error {
	if len(l.pending) == 0 {
		return nil
	}
	l.flushed.Stop()
	if err := l.Store.StoreLogs(l.pending); err != nil {
		return err
	}
	l.pending, l.flushed = nil, nil
	return l.empty()
}

// Close takes the entries into the Store and closes the file.
func (l *lazyLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.flush(), l.file.Close())
}

// FirstIndex returns the index of the first entry, or 0.
func (l *lazyLog) FirstIndex() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first, err := l.Store.FirstIndex()
	if first == 0 && len(l.pending) > 0 {
		first = l.pending[0].Index
	}
	return first, err
}

// LastIndex returns the index of the last entry, or 0.
func (l *lazyLog) LastIndex() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.pending); n > 0 {
		return l.pending[n-1].Index, nil
	}
	return l.Store.LastIndex()
}

// GetLog reads an entry.
func (l *lazyLog) GetLog(index uint64, log *raft.Log) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) > 0 && index >= l.pending[0].Index && index <= l.pending[len(l.pending)-1].Index {
		*log = *l.pending[index-l.pending[0].Index]
		return nil
	}
	return l.Store.GetLog(index, log)
}

// StoreLog writes an entry, to the file.
func (l *lazyLog) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

// StoreLogs writes entries, to the file. What does not follow the last one is for the
// Store to refuse.
func (l *lazyLog) StoreLogs(logs []*raft.Log) error {
	last, err := l.LastIndex()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var b []byte
	for i, entry := range logs {
		if last == 0 || entry.Index != last+1+uint64(i) {
			return errors.Join(l.flush(), l.Store.StoreLogs(logs))
		}
		encoded := appendLog(nil, entry)
		b = binary.BigEndian.AppendUint32(b, crc32.Checksum(encoded, castagnoli))
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(encoded))), encoded...)
	}
	if _, err := l.file.Write(b); err != nil {
		return fmt.Errorf("store log: %w", err)
	}
	l.pending = append(l.pending, logs...)
	if l.flushed == nil {
		l.flushed = time.AfterFunc(lazyFor, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			_ = l.flush() // if it fails the Store says so
		})
	}
	return nil
}

// DeleteRange removes entries, when all are in the Store.
func (l *lazyLog) DeleteRange(low, high uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.flush(); err != nil {
		return err
	}
	return l.Store.DeleteRange(low, high)
}
