package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// A Store is a node's log and its stable state (term and vote) in one bbolt file.
// What it was given is on the disk when it returns.
//
// Raft writes a vote as two values, LastVoteTerm and then LastVoteCand. If the
// node fails between the two it holds the new term with the old candidate, and
// will grant that candidate a second time without looking whether its log is up
// to date: see hashicorp/raft issue 661. Therefore Store holds LastVoteTerm back
// and writes both in one transaction.
//
// The log has no gaps. Store does not tell Raft so, by being a
// [raft.MonotonicLogStore]: see [replaceLog].
type Store struct {
	db *bbolt.DB

	mu          sync.Mutex
	first, last uint64 // of the log; 0: it is empty
	// votedTerm is a LastVoteTerm that waits for its candidate. Nobody reads it
	// before it is written.
	votedTerm []byte
}

var (
	_ raft.LogStore    = (*Store)(nil)
	_ raft.StableStore = (*Store)(nil)
)

// Names of Raft's that it does not export.
var (
	lastVoteTerm = []byte("LastVoteTerm")
	lastVoteCand = []byte("LastVoteCand")
)

var (
	metaBucket   = []byte("meta")
	logBucket    = []byte("log")
	stableBucket = []byte("stable")
	formatKey    = []byte("format")
)

// storeFormat is written into each file, so that a later program can tell what it
// reads.
const storeFormat = "raftkv store 1"

// errNotFound is how a StableStore says that a key is not there: Raft compares
// the text.
var errNotFound = errors.New("not found")

// OpenStore opens the file at path, or creates it.
func OpenStore(path string) (*Store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		// Who else holds the lock is another node on the same directory; it does
		// not go away.
		Timeout: time.Second,
		// The list of free pages is found again by a scan when the file is opened;
		// not to write it halves the cost of a small commit.
		NoFreelistSync:  true,
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: 64 << 20, // so that growing seldom waits for readers
	})
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, fmt.Errorf("open store %s: another process has it open", path)
	case err != nil:
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	s := &Store{db: db}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", path, err), db.Close())
	}
	return s, nil
}

// prepare makes a new file a store, and makes sure that an old one is.
func (s *Store) prepare() error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		if meta == nil {
			if name, _ := tx.Cursor().First(); name != nil {
				return fmt.Errorf("it is some other program's (it has a bucket %q)", name)
			}
			for _, name := range [][]byte{metaBucket, logBucket, stableBucket} {
				if _, err := tx.CreateBucket(name); err != nil {
					return err
				}
			}
			return tx.Bucket(metaBucket).Put(formatKey, []byte(storeFormat))
		}
		if got := meta.Get(formatKey); string(got) != storeFormat {
			return fmt.Errorf("its format is %q; this program reads %q", got, storeFormat)
		}
		for _, name := range [][]byte{logBucket, stableBucket} {
			if tx.Bucket(name) == nil {
				return fmt.Errorf("it is damaged: bucket %q is missing", name)
			}
		}
		cursor := tx.Bucket(logBucket).Cursor()
		for _, end := range []struct {
			index *uint64
			move  func() ([]byte, []byte)
		}{{&s.first, cursor.First}, {&s.last, cursor.Last}} {
			key, _ := end.move()
			if key != nil && len(key) != 8 {
				return fmt.Errorf("it is damaged: log entry at key %q", key)
			}
			if key != nil {
				*end.index = binary.BigEndian.Uint64(key)
			}
		}
		return nil
	})
}

// Close closes the file.
func (s *Store) Close() error { return s.db.Close() }

// FirstIndex returns the index of the first entry, or 0.
func (s *Store) FirstIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first, nil
}

// LastIndex returns the index of the last entry, or 0.
func (s *Store) LastIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, nil
}

// GetLog reads an entry.
func (s *Store) GetLog(index uint64, log *raft.Log) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(logBucket).Get(logKey(index))
		if b == nil {
			return raft.ErrLogNotFound
		}
		if err := decodeLog(b, log); err != nil {
			return fmt.Errorf("log entry %d: %w", index, err)
		}
		log.Index = index
		return nil
	})
}

// StoreLog writes an entry.
func (s *Store) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs writes entries, all or none. They must follow the last one, if there
// is one. A gap is never right. A log that a snapshot goes beyond is empty by then;
// and Raft, if it took the end of the log back and then failed to write, still
// believes in the old end: what it puts behind that would hide the hole.
func (s *Store) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.last + 1
	if s.last == 0 {
		next = logs[0].Index
	}
	for i, l := range logs {
		if l.Index != next+uint64(i) {
			return fmt.Errorf("store log: entry %d where %d comes next", l.Index, next+uint64(i))
		}
	}
	err := s.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(logBucket)
		bucket.FillPercent = 0.95 // keys only grow
		for _, l := range logs {
			if err := bucket.Put(logKey(l.Index), encodeLog(l)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store log: %w", err)
	}
	if s.last == 0 {
		s.first = next
	}
	s.last = logs[len(logs)-1].Index
	return nil
}

// DeleteRange removes the entries from low to high, both included: from either
// end, since the log has no gaps.
func (s *Store) DeleteRange(low, high uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	low, high = max(low, s.first), min(high, s.last)
	if s.last == 0 || low > high {
		return nil
	}
	if low > s.first && high < s.last {
		return fmt.Errorf("delete log: %d to %d would leave a gap in %d to %d", low, high, s.first, s.last)
	}
	err := s.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(logBucket)
		for index := low; index <= high; index++ {
			if err := bucket.Delete(logKey(index)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete log: %w", err)
	}
	switch {
	case low == s.first && high == s.last:
		s.first, s.last = 0, 0
	case low == s.first:
		s.first = high + 1
	default:
		s.last = low - 1
	}
	return nil
}

// Set writes a value; with LastVoteCand goes the LastVoteTerm before it.
func (s *Store) Set(key, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var term []byte
	if string(key) == string(lastVoteCand) {
		// Whether or not this succeeds, the term belongs to no other candidate.
		term, s.votedTerm = s.votedTerm, nil
	}
	err := s.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(stableBucket)
		if term != nil {
			if err := bucket.Put(lastVoteTerm, term); err != nil {
				return err
			}
		}
		return bucket.Put(key, value)
	})
	if err != nil {
		return fmt.Errorf("store %s: %w", key, err)
	}
	return nil
}

// SetUint64 writes a number. LastVoteTerm waits for its candidate.
func (s *Store) SetUint64(key []byte, value uint64) error {
	b := binary.BigEndian.AppendUint64(nil, value)
	if string(key) != string(lastVoteTerm) {
		return s.Set(key, b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.votedTerm = b
	return nil
}

// Get returns what was written, never what waits.
func (s *Store) Get(key []byte) ([]byte, error) {
	var value []byte
	err := s.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(stableBucket).Get(key)
		if b == nil {
			return errNotFound
		}
		value = append([]byte{}, b...)
		return nil
	})
	return value, err
}

// GetUint64 returns a number that was written.
func (s *Store) GetUint64(key []byte) (uint64, error) {
	b, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("%s is damaged: %d bytes are no number", key, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

// logKey orders entries by index.
func logKey(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

// encodeLog writes an entry but for its index, which is its key: term, type, time
// and the two payloads, each with its length.
func encodeLog(l *raft.Log) []byte {
	b := make([]byte, 0, 32+len(l.Data)+len(l.Extensions))
	b = binary.AppendUvarint(b, l.Term)
	b = append(b, byte(l.Type))
	appended := int64(0)
	if !l.AppendedAt.IsZero() {
		appended = l.AppendedAt.UnixNano()
	}
	b = binary.AppendVarint(b, appended)
	b = binary.AppendUvarint(b, uint64(len(l.Data)))
	b = append(b, l.Data...)
	b = binary.AppendUvarint(b, uint64(len(l.Extensions)))
	return append(b, l.Extensions...)
}

// decodeLog is the inverse of encodeLog. It keeps nothing of b, which bbolt takes
// back.
func decodeLog(b []byte, l *raft.Log) error {
	*l = raft.Log{}
	d := decoder{b: b}
	l.Term = d.uvarint()
	l.Type = raft.LogType(d.byte())
	if at := d.varint(); at != 0 {
		l.AppendedAt = time.Unix(0, at)
	}
	l.Data = d.bytes()
	l.Extensions = d.bytes()
	if d.bad || len(d.b) > 0 {
		return errors.New("is damaged")
	}
	return nil
}

// A decoder takes an encoded entry apart, and remembers that it could not.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) {
	if n <= 0 || n > len(d.b) {
		d.bad, d.b = true, nil
		return
	}
	d.b = d.b[n:]
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	d.take(n)
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	d.take(n)
	return v
}

func (d *decoder) byte() (c byte) {
	if len(d.b) > 0 {
		c = d.b[0]
	}
	d.take(1)
	return c
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n == 0 || d.bad {
		return nil
	}
	if n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	out := append([]byte{}, d.b[:n]...)
	d.take(int(n))
	return out
}
