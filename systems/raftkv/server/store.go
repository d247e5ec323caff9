package server

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hacheck/hacheck/systems/raftkv/server/durable"
)

// A Store is a node's log and its stable state (term and vote) in one file, a [journal].
// What it was given is on the disk when it returns.
//
// Raft writes a vote as two values, LastVoteTerm and then LastVoteCand. If the
// node fails between the two it holds the new term with the old candidate, and
// will grant that candidate a second time without looking whether its log is up
// to date: see hashicorp/raft issue 661. Therefore Store holds LastVoteTerm back
// and writes both in one batch.
//
// The log has no gaps. Store does not tell Raft so, by being a
// [raft.MonotonicLogStore]: see [replaceLog].
//
// Everything in it is covered by a sum, so that a disk which gives back something
// else than it was given is noticed: what can be read is what was written. What
// cannot be noticed is a whole file from an earlier time.
//
// Each update is one write and one sync, of as few sectors as it fits into: that is
// what a node spends most of its time on. A tree of pages, as bbolt's, writes the path
// to what changes and syncs twice, and keeps in order what comes in order. Here what is
// no more stays where it is, until it is more than the rest and the file would have to
// grow: then it is written anew.
//
// A write that failed is the last one. What of it is on the disk is not known, and
// the kernel, which may have dropped what it could not write, would say that all is
// well when asked again. See [Store.Failed].
type Store struct {
	path   string
	fresh  bool          // nobody has claimed it yet, so nobody has promised anything by it
	failed chan struct{} // closed when err is set

	// updating is held by an update as long as it takes.
	updating sync.Mutex
	// votedTerm is a LastVoteTerm that waits for its candidate. Nobody reads it
	// before it is written.
	votedTerm []byte
	next      batch // empty but for while there is an update

	// mu is held to look at what is on the disk, and to change it for what has come
	// there. Nobody waits for a disk with it but to read.
	mu sync.RWMutex
	onDisk
	err error // of the first write that failed
}

// onDisk is what a file holds.
type onDisk struct {
	head    head
	at      []place // of the entries of the log
	journal *journal
}

// A head is all but the entries.
type head struct {
	// Member is whose disk it is.
	Member string
	// First and Last are the bounds of the log; 0: it is empty.
	First, Last uint64
	Values      map[string][]byte
}

// A place is that of an entry in a journal.
type place struct {
	position int64
	length   int
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

// storeFormat is what each file begins with, so that a later program can tell what it
// reads.
const storeFormat = "raftkv store 3"

// errNotFound is how a StableStore says that a key is not there: Raft compares
// the text.
var errNotFound = errors.New("not found")

var errInUse = errors.New("another process has it open")

// OpenStore opens the file at path, or creates it.
//
// A file that is there is read as a whole, checked, and written anew. So all that
// the node goes on from is on the disk, also if the process before had to end since
// a write had failed: what the kernel shows of such a file need not be.
func OpenStore(path string) (*Store, error) {
	s, err := loadStore(path)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return s, nil
}

func loadStore(path string) (_ *Store, err error) {
	s := &Store{path: path, failed: make(chan struct{}), onDisk: onDisk{head: head{Values: map[string][]byte{}}}}
	f, err := openLocked(path, os.O_RDWR)
	switch {
	case errors.Is(err, os.ErrNotExist): // it begins empty
	case err != nil:
		return nil, err
	default:
		defer f.Close()
		if s.journal, err = readJournal(f, s.apply); err != nil {
			return nil, err
		}
		s.journal.file = &storeFile{f, path}
	}
	if s.onDisk, err = s.writeAnew(); err != nil {
		return nil, err
	}
	s.fresh = s.head.Member == ""
	return s, nil
}

// openLocked opens a file that nobody else has open, or may replace.
func openLocked(path string, flag int) (_ *os.File, err error) {
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if alone, err := lock(f); err != nil || !alone {
		return nil, cmp.Or(err, errInUse)
	}
	// Who had it before may have put another in its place.
	ours, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if now, err := os.Stat(path); err != nil || !os.SameFile(ours, now) {
		return nil, errInUse
	}
	return f, nil
}

// A storeFile is a [journalFile] whose errors do not speak of the name that it was made
// under.
type storeFile struct {
	*os.File
	path string
}

func (f *storeFile) ReadAt(b []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(b, at)
	return n, f.named(err)
}

func (f *storeFile) WriteAt(b []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(b, at)
	return n, f.named(err)
}

func (f *storeFile) named(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return &os.PathError{Op: e.Op, Path: f.path, Err: e.Err}
	}
	return err
}

func (f *storeFile) Sync() error { return datasync(f.File) }

// writeAnew writes all that is on the disk into a new file, which takes the place of the
// one that is there, if there is one.
func (s *Store) writeAnew() (anew onDisk, err error) {
	f, err := openLocked(s.path+".new", os.O_RDWR|os.O_CREATE)
	if err != nil {
		return anew, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if _, err := os.Stat(s.path); s.journal == nil && !errors.Is(err, os.ErrNotExist) {
		return anew, cmp.Or(err, errInUse) // it has come since
	}
	if err := f.Truncate(0); err != nil { // one may be there that was not finished
		return anew, err
	}
	anew = onDisk{head: head{Values: map[string][]byte{}}, journal: newJournal(&storeFile{f, s.path})}
	if err := anew.fill(&s.onDisk); err != nil {
		return anew, err
	}
	if err := os.Rename(f.Name(), s.path); err != nil {
		return anew, err
	}
	return anew, durable.SyncDir(filepath.Dir(s.path))
}

// fill writes what an old file holds into a new one.
func (d *onDisk) fill(old *onDisk) error {
	const most = 1 << 20 // in a batch, or a little more
	var b batch
	write := func() error {
		position, err := d.journal.write(b.contents)
		if err != nil {
			return err
		}
		err = d.apply(position, b.contents)
		b.contents = b.contents[:0]
		return err
	}
	b.member(old.head.Member)
	for _, key := range slices.Sorted(maps.Keys(old.head.Values)) {
		b.value(key, old.head.Values[key])
	}
	for index := old.head.First; index <= old.head.Last && index > 0; index++ {
		var l raft.Log
		if err := old.entry(index, &l); err != nil {
			return fmt.Errorf("log entry %d: %w", index, err)
		}
		b.entry(&l)
		if len(b.contents) >= most {
			if err := write(); err != nil {
				return err
			}
		}
	}
	if len(b.contents) > 0 {
		if err := write(); err != nil {
			return err
		}
	}
	return d.journal.finish()
}

// entry reads one that is there.
func (d *onDisk) entry(index uint64, l *raft.Log) error {
	p := d.at[index-d.head.First]
	b, err := d.journal.read(p.position, p.length)
	if err != nil {
		return err
	}
	return decodeLog(b, l)
}

// wasteful says that most of the file is no more.
func (d *onDisk) wasteful() bool {
	const least = 2 << 20 // for which it is worth while
	lives := int64(0)
	for _, p := range d.at {
		lives += int64(p.length)
	}
	return d.journal.end*sectorRoom > 2*lives+least
}

// Close closes the file.
func (s *Store) Close() error {
	s.updating.Lock()
	defer s.updating.Unlock()
	return s.journal.file.Close()
}

// Failed returns a channel that is closed when a write has failed. The process has
// to end then: see [Store].
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Err returns the error of the write that failed.
func (s *Store) Err() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.err
}

// Claim makes the store a member's, or fails if it is another's.
func (s *Store) Claim(member string) error {
	s.updating.Lock()
	defer s.updating.Unlock()
	switch s.head.Member {
	case member:
		return nil
	case "":
		s.next.member(member)
		return s.update()
	}
	return fmt.Errorf("the disk is that of member %q, not of %q", s.head.Member, member)
}

// update writes the next batch. The caller holds updating.
func (s *Store) update() error {
	defer func() { s.next.contents = s.next.contents[:0] }()
	if s.err != nil {
		return fmt.Errorf("an earlier write failed: %w", s.err)
	}
	err := s.write(s.next.contents)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.err = err
		close(s.failed)
	}
	return err
}

func (s *Store) write(contents []byte) error {
	if !s.journal.fits(contents) && s.wasteful() {
		anew, err := s.writeAnew()
		if err != nil {
			return fmt.Errorf("write the file anew: %w", err)
		}
		s.mu.Lock()
		old := s.journal.file
		s.onDisk = anew
		s.mu.Unlock()
		if err := old.Close(); err != nil {
			return err
		}
	}
	position, err := s.journal.append(contents)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.apply(position, contents)
}

// FirstIndex returns the index of the first entry, or 0.
func (s *Store) FirstIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.head.First, nil
}

// LastIndex returns the index of the last entry, or 0.
func (s *Store) LastIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.head.Last, nil
}

// GetLog reads an entry.
func (s *Store) GetLog(index uint64, log *raft.Log) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if index == 0 || index < s.head.First || index > s.head.Last {
		return raft.ErrLogNotFound
	}
	if err := s.entry(index, log); err != nil {
		return fmt.Errorf("log entry %d: %w", index, err)
	}
	return nil
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
	s.updating.Lock()
	defer s.updating.Unlock()
	next := s.head.Last + 1
	if s.head.Last == 0 {
		next = max(1, logs[0].Index)
	}
	for i, l := range logs {
		if l.Index != next+uint64(i) {
			return fmt.Errorf("store log: entry %d where %d comes next", l.Index, next+uint64(i))
		}
	}
	for _, l := range logs {
		s.next.entry(l)
	}
	if err := s.update(); err != nil {
		return fmt.Errorf("store log: %w", err)
	}
	return nil
}

// DeleteRange removes the entries from low to high, both included: from either
// end, since the log has no gaps.
func (s *Store) DeleteRange(low, high uint64) error {
	s.updating.Lock()
	defer s.updating.Unlock()
	first, last := s.head.First, s.head.Last
	low, high = max(low, first), min(high, last)
	switch {
	case last == 0 || low > high:
		return nil
	case low > first && high < last:
		return fmt.Errorf("delete log: %d to %d would leave a gap in %d to %d", low, high, first, last)
	case low == first && high == last:
		s.next.keep(0, 0)
	case low == first:
		s.next.keep(high+1, last)
	default:
		s.next.keep(first, low-1)
	}
	if err := s.update(); err != nil {
		return fmt.Errorf("delete log: %w", err)
	}
	return nil
}

// Set writes a value; with LastVoteCand goes the LastVoteTerm before it.
func (s *Store) Set(key, value []byte) error {
	s.updating.Lock()
	defer s.updating.Unlock()
	return s.set(key, value)
}

func (s *Store) set(key, value []byte) error {
	values := map[string][]byte{string(key): value}
	if string(key) == string(lastVoteCand) && s.votedTerm != nil {
		values[string(lastVoteTerm)] = s.votedTerm
		// Whether or not this succeeds, the term belongs to no other candidate.
		s.votedTerm = nil
	}
	for key, value := range values {
		if key != string(currentTerm) && key != string(lastVoteTerm) {
			continue
		}
		// Raft would come back to a term it had left only by a mistake, and to vote
		// in it, or to follow who leads in it, would be a worse one.
		if before, now := number(s.head.Values[key]), number(value); now < before {
			return fmt.Errorf("store %s: %d after %d", key, now, before)
		}
	}
	for key, value := range values {
		s.next.value(key, value)
	}
	if err := s.update(); err != nil {
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
	s.updating.Lock()
	defer s.updating.Unlock()
	s.votedTerm = b
	return nil
}

// Get returns what was written, never what waits.
func (s *Store) Get(key []byte) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
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

// A batch is what an update writes: some records, each of a kind.
type batch struct {
	contents []byte
	encoded  []byte // room for an entry
}

// The kinds of records.
const (
	recordNone   = iota // and none comes behind it: a sector is filled up with zeros
	recordEntry         // one that follows the last
	recordKeep          // the first and the last entry of those that stay
	recordValue         // a key and a value
	recordMember        // whose disk it is
)

func (b *batch) entry(l *raft.Log) {
	b.encoded = appendLog(b.encoded[:0], l)
	b.contents = appendBytes(append(b.contents, recordEntry), b.encoded)
}

func (b *batch) keep(first, last uint64) {
	b.contents = binary.AppendUvarint(binary.AppendUvarint(append(b.contents, recordKeep), first), last)
}

func (b *batch) value(key string, value []byte) {
	b.contents = appendBytes(appendBytes(append(b.contents, recordValue), []byte(key)), value)
}

func (b *batch) member(name string) {
	b.contents = appendBytes(append(b.contents, recordMember), []byte(name))
}

// apply does what a batch says, which is on the disk, to what is known of it: when it was
// written, and when it is read.
func (d *onDisk) apply(position int64, contents []byte) error {
	r := decoder{b: contents}
	h := &d.head
	for len(r.b) > 0 {
		switch kind := r.byte(); kind {
		case recordNone:
			r.bad = r.bad || !isZero(r.b)
			r.b = nil
		case recordEntry:
			b := r.bytes()
			var l raft.Log
			if r.bad || decodeLog(b, &l) != nil || l.Index == 0 || h.Last != 0 && l.Index != h.Last+1 {
				return fmt.Errorf("it is damaged: log entry %d behind %d", l.Index, h.Last)
			}
			if h.Last == 0 {
				h.First = l.Index
			}
			h.Last = l.Index
			d.at = append(d.at, place{position + int64(len(contents)-len(r.b)-len(b)), len(b)})
		case recordKeep:
			first, last := r.uvarint(), r.uvarint()
			switch {
			case first == 0 && last == 0:
				d.at = nil
			case h.Last == 0 || first < h.First || first > last || last > h.Last:
				return fmt.Errorf("it is damaged: of log entries %d to %d stay %d to %d", h.First, h.Last, first, last)
			default:
				d.at = d.at[first-h.First : last-h.First+1]
			}
			h.First, h.Last = first, last
		case recordValue:
			key, value := r.bytes(), r.bytes()
			h.Values[string(key)] = bytes.Clone(value)
		case recordMember:
			h.Member = string(r.bytes())
		default:
			return fmt.Errorf("it is damaged: there is no record of kind %d", kind)
		}
		if r.bad {
			return errors.New("it is damaged: a record does not end")
		}
	}
	return nil
}

// appendLog writes an entry: index, term, type, time and the two payloads.
func appendLog(b []byte, l *raft.Log) []byte {
	b = binary.AppendUvarint(b, l.Index)
	b = binary.AppendUvarint(b, l.Term)
	b = append(b, byte(l.Type))
	appended := int64(0)
	if !l.AppendedAt.IsZero() {
		appended = l.AppendedAt.UnixNano()
	}
	b = binary.AppendVarint(b, appended)
	return appendBytes(appendBytes(b, l.Data), l.Extensions)
}

func appendBytes(b, what []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(what))), what...)
}

// decodeLog is the inverse of appendLog. The entry keeps b.
func decodeLog(b []byte, l *raft.Log) error {
	d := decoder{b: b}
	*l = raft.Log{Index: d.uvarint(), Term: d.uvarint(), Type: raft.LogType(d.byte())}
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

// A decoder takes apart what was encoded, and remembers that it could not.
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

// bytes returns a part of what there is, no copy of it.
func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n == 0 || d.bad {
		return nil
	}
	if n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}
