package server

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io"
	"maps"
	"os"
	"path/filepath"
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
//
// Everything in it is covered by a sum, so that a disk which gives back something
// else than it was given is noticed: what can be read is what was written. A head
// says what there has to be, or a part that is gone would not be missed. What
// cannot be noticed is a whole file from an earlier time.
//
// A write that failed is the last one. What of it is on the disk is not known, and
// the kernel, which may have dropped what it could not write, would say that all is
// well when asked again. See [Store.Failed].
type Store struct {
	db     *bbolt.DB
	fresh  bool          // there was no file
	failed chan struct{} // closed when err is set

	mu   sync.Mutex
	err  error // of the first write that failed
	head head
	// votedTerm is a LastVoteTerm that waits for its candidate. Nobody reads it
	// before it is written.
	votedTerm []byte
}

// A head is what the file says of itself.
type head struct {
	Format string `json:"format"`
	// Member is whose disk it is.
	Member string `json:"member,omitempty"`
	// First and Last are the bounds of the log; 0: it is empty.
	First  uint64            `json:"first"`
	Last   uint64            `json:"last"`
	Values map[string][]byte `json:"values"`
}

var (
	_ raft.LogStore    = (*Store)(nil)
	_ raft.StableStore = (*Store)(nil)
)

// Names of Raft's that it does not export.
var (
	currentTerm  = []byte("CurrentTerm")
	lastVoteTerm = []byte("LastVoteTerm")
	lastVoteCand = []byte("LastVoteCand")
)

var (
	headBucket = []byte("raftkv")
	headKey    = []byte("head")
	logBucket  = []byte("log")
)

// storeFormat is written into each file, so that a later program can tell what it
// reads.
const storeFormat = "raftkv store 2"

// pageSize is bbolt's. It is fixed so that a file can be read on another machine,
// and its beginning be found.
const pageSize = 4096

// errNotFound is how a StableStore says that a key is not there: Raft compares
// the text.
var errNotFound = errors.New("not found")

// OpenStore opens the file at path, or creates it.
//
// A file that is there is read as a whole, checked, and written anew. So all that
// the node goes on from is on the disk, also if the process before had to end since
// a write had failed: what the kernel shows of such a file need not be. And no
// damage to the structure of the file, which bbolt does not check, is left to show
// later.
func OpenStore(path string) (*Store, error) {
	s, err := loadStore(path)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return s, nil
}

func loadStore(path string) (_ *Store, err error) {
	s := &Store{failed: make(chan struct{}), head: head{Format: storeFormat, Values: map[string][]byte{}}}
	var old *bbolt.DB
	if _, err := os.Stat(path); err == nil {
		if old, err = openOld(path); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, old.Close()) }()
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	s.fresh = old == nil

	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	s.db, err = bbolt.Open(fresh, 0o600, &bbolt.Options{
		// The list of free pages is found again by a scan when the file is opened;
		// not to write it halves the cost of a small commit.
		NoFreelistSync:  true,
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: 64 << 20, // so that growing seldom waits for readers
		PageSize:        pageSize,
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.db.Close())
		}
	}()
	s.db.AllocSize = 256 << 10 // by which the file grows: of what is in it, most means something
	s.db.NoSync = true         // until all is there
	if err := s.fill(old); err != nil {
		return nil, err
	}
	if err := s.db.Sync(); err != nil {
		return nil, err
	}
	s.db.NoSync = false
	if err := os.Rename(fresh, path); err != nil {
		return nil, err
	}
	return s, syncDir(filepath.Dir(path))
}

// openOld opens a file to read it, and returns it if both of its beginnings are
// whole. bbolt would go on from the one that is, which is a step back if the other
// is the later one; and make an empty file a new one. Neither is left so by a write
// that was interrupted: each fits into a sector.
func openOld(path string) (db *bbolt.DB, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	start := make([]byte, 2*pageSize)
	_, err = io.ReadFull(f, start)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("it is damaged, or no store: read its beginning: %w", err)
	}
	for page := range 2 {
		meta := start[page*pageSize+16:] // behind the page's own head
		sum := fnv.New64a()
		sum.Write(meta[:56])
		if binary.NativeEndian.Uint64(meta[56:]) != sum.Sum64() {
			return nil, fmt.Errorf("it is damaged, or no store: the sum of page %d is wrong", page)
		}
	}
	err = protected(func() error {
		// Who else holds the lock is another node on the same directory; it does
		// not go away.
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second, PageSize: pageSize})
		return err
	})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, errors.New("another process has it open")
	}
	return db, err
}

// fill makes a new file a store with what an old one holds, if there is one.
func (s *Store) fill(old *bbolt.DB) error {
	if old != nil {
		if err := protected(func() error { return s.readHead(old) }); err != nil {
			return err
		}
	}
	err := s.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{headBucket, logBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return s.putHead(tx, s.head)
	})
	if err != nil || old == nil {
		return err
	}
	return protected(func() error {
		return old.View(func(from *bbolt.Tx) error { return s.copyLog(from.Bucket(logBucket)) })
	})
}

func (s *Store) readHead(db *bbolt.DB) error {
	return db.View(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(headBucket)
		if bucket == nil {
			name, _ := tx.Cursor().First()
			return fmt.Errorf("it is damaged, or of another program or version (it has a bucket %q)", name)
		}
		if !only(tx.Cursor(), logBucket, headBucket) || !only(bucket.Cursor(), headKey) {
			return errors.New("it is damaged: there is something else in it, or something is missing")
		}
		b, err := unseal(headKey, bucket.Get(headKey))
		if err != nil {
			return fmt.Errorf("its head: %w", err)
		}
		if err := json.Unmarshal(b, &s.head); err != nil {
			return fmt.Errorf("its head: %w", err)
		}
		if s.head.Format != storeFormat {
			return fmt.Errorf("its format is %q; this program reads %q", s.head.Format, storeFormat)
		}
		return nil
	})
}

// only says whether these are the keys, and there is nothing behind them. How many there
// are on a page no sum covers, and where it is too large a number bbolt may find what
// stood there before, whose sum is right.
func only(c *bbolt.Cursor, keys ...[]byte) bool {
	key, _ := c.First()
	for _, want := range keys {
		if !bytes.Equal(key, want) {
			return false
		}
		key, _ = c.Next()
	}
	return key == nil
}

// copyLog copies the entries, and makes sure that they are those that there have to
// be.
func (s *Store) copyLog(from *bbolt.Bucket) error {
	const batch = 1000
	next, last := s.head.First, s.head.Last
	cursor := from.Cursor()
	key, value := cursor.First()
	for key != nil {
		err := s.db.Update(func(tx *bbolt.Tx) error {
			bucket := tx.Bucket(logBucket)
			bucket.FillPercent = fullPages
			for n := 0; key != nil && n < batch; n++ {
				if next == 0 || next > last || !bytes.Equal(key, logKey(next)) {
					return fmt.Errorf("it is damaged: log entry %x where %d of %d comes next", key, next, last)
				}
				if err := decodeLog(key, value, &raft.Log{}); err != nil {
					return fmt.Errorf("log entry %d: %w", next, err)
				}
				if err := bucket.Put(key, value); err != nil {
					return err
				}
				next++
				key, value = cursor.Next()
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if last != 0 && next != last+1 {
		return fmt.Errorf("it is damaged: log entries %d to %d are missing", next, last)
	}
	return nil
}

// fullPages is how full the pages of the log are made: keys only grow.
const fullPages = 0.95

// putHead writes the head.
func (s *Store) putHead(tx *bbolt.Tx, h head) error {
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return tx.Bucket(headBucket).Put(headKey, seal(headKey, b))
}

// Close closes the file, unless a write has failed: a transaction that met with
// damage holds its lock for ever, and Close would wait for it, while the process has
// to end.
func (s *Store) Close() error {
	if s.Err() != nil {
		return nil
	}
	return s.db.Close()
}

// Failed returns a channel that is closed when a write has failed. The process has
// to end then: see [Store].
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Err returns the error of the write that failed.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Claim makes the store a member's, or fails if it is another's.
func (s *Store) Claim(member string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.head.Member {
	case member:
		return nil
	case "":
		h := s.head
		h.Member = member
		return s.update(h, nil)
	}
	return fmt.Errorf("the disk is that of member %q, not of %q", s.head.Member, member)
}

// update makes h the head in one transaction with what else there is to change. The
// caller holds mu.
func (s *Store) update(h head, change func(log *bbolt.Bucket) error) error {
	if s.err != nil {
		return fmt.Errorf("an earlier write failed: %w", s.err)
	}
	err := protected(func() error {
		return s.db.Update(func(tx *bbolt.Tx) error {
			if change != nil {
				if err := change(tx.Bucket(logBucket)); err != nil {
					return err
				}
			}
			return s.putHead(tx, h)
		})
	})
	if err != nil {
		s.err = err
		close(s.failed)
		return err
	}
	s.head = h
	return nil
}

// FirstIndex returns the index of the first entry, or 0.
func (s *Store) FirstIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head.First, nil
}

// LastIndex returns the index of the last entry, or 0.
func (s *Store) LastIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head.Last, nil
}

// GetLog reads an entry.
func (s *Store) GetLog(index uint64, log *raft.Log) error {
	err := protected(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			key := logKey(index)
			b := tx.Bucket(logBucket).Get(key)
			if b == nil {
				return raft.ErrLogNotFound
			}
			return decodeLog(key, b, log)
		})
	})
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		return fmt.Errorf("log entry %d: %w", index, err)
	}
	return err
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
	h := s.head
	next := h.Last + 1
	if h.Last == 0 {
		next = logs[0].Index
		h.First = next
	}
	for i, l := range logs {
		if l.Index != next+uint64(i) {
			return fmt.Errorf("store log: entry %d where %d comes next", l.Index, next+uint64(i))
		}
	}
	h.Last = logs[len(logs)-1].Index
	err := s.update(h, func(bucket *bbolt.Bucket) error {
		bucket.FillPercent = fullPages
		for _, l := range logs {
			key := logKey(l.Index)
			if err := bucket.Put(key, encodeLog(key, l)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store log: %w", err)
	}
	return nil
}

// DeleteRange removes the entries from low to high, both included: from either
// end, since the log has no gaps.
func (s *Store) DeleteRange(low, high uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.head
	low, high = max(low, h.First), min(high, h.Last)
	switch {
	case h.Last == 0 || low > high:
		return nil
	case low > h.First && high < h.Last:
		return fmt.Errorf("delete log: %d to %d would leave a gap in %d to %d", low, high, h.First, h.Last)
	case low == h.First && high == h.Last:
		h.First, h.Last = 0, 0
	case low == h.First:
		h.First = high + 1
	default:
		h.Last = low - 1
	}
	err := s.update(h, func(bucket *bbolt.Bucket) error {
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
	return nil
}

// Set writes a value; with LastVoteCand goes the LastVoteTerm before it.
func (s *Store) Set(key, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.head
	h.Values = maps.Clone(h.Values)
	h.Values[string(key)] = bytes.Clone(value)
	if string(key) == string(lastVoteCand) && s.votedTerm != nil {
		h.Values[string(lastVoteTerm)] = s.votedTerm
		// Whether or not this succeeds, the term belongs to no other candidate.
		s.votedTerm = nil
	}
	for _, key := range [][]byte{currentTerm, lastVoteTerm} {
		// Raft would come back to a term it had left only by a mistake, and to vote
		// in it, or to follow who leads in it, would be a worse one.
		if before, now := number(s.head.Values[string(key)]), number(h.Values[string(key)]); now < before {
			return fmt.Errorf("store %s: %d after %d", key, now, before)
		}
	}
	if err := s.update(h, nil); err != nil {
		return fmt.Errorf("store %s: %w", key, err)
	}
	return nil
}

// number reads what SetUint64 has written; what is no number is 0.
func number(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
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
	s.mu.Lock()
	defer s.mu.Unlock()
	value, found := s.head.Values[string(key)]
	if !found {
		return nil, errNotFound
	}
	return append([]byte{}, value...), nil
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

// seal appends a sum to what is written under a key; it is of the key, too.
func seal(key, b []byte) []byte { return binary.BigEndian.AppendUint32(b, sumOf(key, b)) }

// unseal returns what was sealed. It is no copy.
func unseal(key, b []byte) ([]byte, error) {
	n := len(b) - 4
	if n < 0 || binary.BigEndian.Uint32(b[n:]) != sumOf(key, b[:n]) {
		return nil, errors.New("is damaged: its sum is wrong")
	}
	return b[:n], nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sumOf(key, b []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, b)
}

// encodeLog writes an entry but for its index, which is its key: term, type, time
// and the two payloads, each with its length.
func encodeLog(key []byte, l *raft.Log) []byte {
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
	return seal(key, append(b, l.Extensions...))
}

// decodeLog is the inverse of encodeLog. It keeps nothing of b, which bbolt takes
// back.
func decodeLog(key, b []byte, l *raft.Log) error {
	b, err := unseal(key, b)
	if err != nil {
		return err
	}
	*l = raft.Log{Index: binary.BigEndian.Uint64(key)}
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
