package volume

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/server/durable"
	"github.com/hacheck/hacheck/systems/vmsched/server/api"
	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
	"github.com/hacheck/hacheck/systems/vmsched/server/probe"
)

// A Service implements api.VolumesServer.
//
// What is asked changes what is in memory at once, in the order of arrival, and goes into
// the batch that is to be written next. It is answered when that is on the disk, as is who
// was told of something that is in it. While one batch is synced the next one fills, so
// that all who ask meanwhile share the next sync.
type Service struct {
	api.UnimplementedVolumesServer

	node   string
	bug    string
	log    *slog.Logger
	teller *probe.Teller
	seed   maphash.Seed

	mu      sync.Mutex
	volumes map[string]*volume
	// filling is the batch that is written next, syncing the one that is being written, or
	// nil.
	filling, syncing *batch
	closed           bool
	err              error // why nothing is written any more
	refusals         map[attempt]time.Time

	work    chan struct{} // holds one when there is something to write
	failed  chan struct{} // closed with err
	writing sync.WaitGroup
	journal *journal
}

// A batch is what is written at once.
type batch struct {
	contents []byte
	done     chan struct{} // closed when it is on the disk, or will not be
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// A volume is what is known of one.
type volume struct {
	epoch   uint64 // the highest that was opened
	last    uint64
	extents []*api.Extent // never changed once they were handed out, but for the last
	// recent are the sums of the last writes, by number: for those that come again.
	recent [remembered]uint64
}

// remembered is of how many writes of a volume it is known what they held. A guest has one
// under way.
const remembered = 16

// An attempt is to write in an epoch that has ended.
type attempt struct {
	vm    string
	epoch uint64
}

// refusedEvery is how often it is told of such attempts, of each epoch of each machine.
const refusedEvery = time.Second

// These are of [bug.VolumeNoEpoch]: some writes are on their way for longer than who has sent
// them may live, as on a network of storage that holds what it cannot deliver yet.
const (
	heldEvery = 4
	heldFor   = 400 * time.Millisecond
)

// What may be asked for.
const (
	maxName = 255
	maxData = 64 << 10
)

// New returns the service of the volumes in c.Dir, which listens nowhere. If there are none,
// it begins with none.
func New(c Config, log *slog.Logger) (*Service, error) {
	if c.Bug != "" && !bug.Is(c.Bug) {
		return nil, fmt.Errorf("vmsched has no bug %q", c.Bug)
	}
	if err := durable.MakeDir(c.Dir); err != nil {
		return nil, err
	}
	s := &Service{
		node: c.Node, bug: c.Bug, log: log, seed: maphash.MakeSeed(),
		volumes: map[string]*volume{}, filling: newBatch(), refusals: map[attempt]time.Time{},
		work: make(chan struct{}, 1), failed: make(chan struct{}),
	}
	var err error
	if s.journal, err = openJournal(c.Dir, s.replay); err != nil {
		return nil, fmt.Errorf("open the volumes: %w", err)
	}
	if s.teller, err = probe.Open(c.Probe); err != nil {
		return nil, errors.Join(err, s.journal.file.Close())
	}
	s.writing.Go(s.write)
	return s, nil
}

// Close writes what is to be written and ends the service.
func (s *Service) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	close(s.work) // nobody sends any more
	s.writing.Wait()
	return errors.Join(s.err, s.journal.file.Close(), s.teller.Close())
}

// Failed is closed when the disk has failed; then nothing is taken any more.
func (s *Service) Failed() <-chan struct{} { return s.failed }

// Err returns how it did, once it has.
func (s *Service) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// write writes one batch after the other.
func (s *Service) write() {
	for range s.work {
		s.mu.Lock()
		b := s.filling
		if len(b.contents) == 0 { // it went with the one before
			s.mu.Unlock()
			continue
		}
		s.filling, s.syncing = newBatch(), b
		s.mu.Unlock()
		err := s.journal.write(b.contents)
		if err == nil && s.bug != bug.VolumeNoSync {
			err = s.journal.file.Sync()
		}
		s.mu.Lock()
		s.syncing = nil
		if err != nil {
			// What a sync that failed has left on the disk nobody knows, and the next one may not
			// say so again.
			s.err = fmt.Errorf("write to the disk: %w", err)
			close(s.failed)
			close(s.filling.done)
		}
		close(b.done)
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// add adds a record to the batch that is written next. It is called with mu held.
func (s *Service) add(record func([]byte) []byte) {
	s.filling.contents = record(s.filling.contents)
	select {
	case s.work <- struct{}{}:
	default: // it will be written, and this with it
	}
}

// settled returns when all that is in memory is on the disk. It is called with mu held, and
// gives it up.
func (s *Service) settled(ctx context.Context) error {
	b := s.syncing
	if len(s.filling.contents) > 0 {
		b = s.filling
	}
	s.mu.Unlock()
	if b == nil {
		return s.broken()
	}
	select {
	case <-b.done:
		return s.broken()
	case <-ctx.Done():
		return api.Indeterminate(api.Reason_REASON_UNSPECIFIED, "wait for the disk: %w", context.Cause(ctx))
	}
}

// broken is the error of who has changed something in memory and does not know of the disk.
func (s *Service) broken() error {
	if err := s.Err(); err != nil {
		return api.Indeterminate(api.Reason_REASON_UNSPECIFIED, "%w", err)
	}
	return nil
}

// errEnded is why a service that was closed takes nothing.
var errEnded = errors.New("the service has ended")

// begin takes mu for a call on a volume, unless nothing is written any more.
func (s *Service) begin(vm string) error {
	if vm == "" || len(vm) > maxName {
		return api.Definite(api.Reason_REASON_INVALID, "no volume is called %.300q", vm)
	}
	s.mu.Lock()
	if s.closed || s.err != nil {
		defer s.mu.Unlock()
		return api.Definite(api.Reason_REASON_UNAVAILABLE, "%w", cmp.Or(s.err, errEnded))
	}
	return nil
}

// Open implements api.VolumesServer.
func (s *Service) Open(ctx context.Context, in *api.OpenRequest) (*api.OpenResponse, error) {
	vm, epoch := in.GetVm(), in.GetEpoch()
	if epoch == 0 {
		return nil, api.Definite(api.Reason_REASON_INVALID, "epochs begin with 1")
	}
	if err := s.begin(vm); err != nil {
		return nil, err
	}
	v := s.volumes[vm]
	if v != nil && epoch < v.epoch && s.bug != bug.VolumeNoEpoch {
		defer s.mu.Unlock()
		return nil, stale(vm, epoch, v.epoch)
	}
	if v == nil || epoch > v.epoch {
		v = s.opened(vm, epoch)
		s.add(func(b []byte) []byte { return appendOpen(b, vm, epoch) })
	}
	out := &api.OpenResponse{Last: v.last}
	return out, s.settled(ctx)
}

// Write implements api.VolumesServer.
func (s *Service) Write(ctx context.Context, in *api.WriteRequest) (*api.WriteResponse, error) {
	vm, epoch, seq, data := in.GetVm(), in.GetEpoch(), in.GetSeq(), in.GetData()
	switch {
	case epoch == 0 || seq == 0:
		return nil, api.Definite(api.Reason_REASON_INVALID, "epochs and writes begin with 1")
	case len(data) > maxData:
		return nil, api.Definite(api.Reason_REASON_INVALID, "a write of %d bytes: %d are the most", len(data), maxData)
	}
	if s.bug == bug.VolumeNoEpoch && seq%heldEvery == 0 {
		time.Sleep(heldFor)
	}
	if err := s.begin(vm); err != nil {
		return nil, err
	}
	v := s.volumes[vm]
	if v == nil {
		v = &volume{}
	}
	switch {
	case s.bug == bug.VolumeNoEpoch:
		if s.volumes[vm] == nil {
			s.volumes[vm] = v
		}
		seq = v.last + 1
	case epoch != v.epoch:
		s.refuse(vm, epoch, seq)
		defer s.mu.Unlock()
		return nil, stale(vm, epoch, v.epoch)
	case v.holds(epoch, seq, maphash.Bytes(s.seed, data)):
		return &api.WriteResponse{}, s.settled(ctx)
	case seq != v.last+1:
		defer s.mu.Unlock()
		return nil, api.Definite(api.Reason_REASON_GAP, "write %d of %s, of which %d is the last", seq, vm, v.last)
	}
	if v.lastEpoch() != epoch {
		s.teller.Tell(probe.Event{Kind: probe.Took, VM: vm, Host: s.node, Epoch: epoch, Seq: seq})
	}
	v.take(epoch, seq, maphash.Bytes(s.seed, data))
	s.add(func(b []byte) []byte { return appendWrite(b, vm, epoch, seq, data) })
	return &api.WriteResponse{}, s.settled(ctx)
}

// Read implements api.VolumesServer.
func (s *Service) Read(ctx context.Context, in *api.ReadRequest) (*api.ReadResponse, error) {
	if err := s.begin(in.GetVm()); err != nil {
		return nil, err
	}
	out := &api.ReadResponse{}
	if v := s.volumes[in.GetVm()]; v != nil {
		out.Last, out.Extents = v.last, slices.Clone(v.extents)
		if n := len(out.Extents); n > 0 {
			e := v.extents[n-1]
			out.Extents[n-1] = &api.Extent{Epoch: e.Epoch, From: e.From, To: e.To}
		}
	}
	return out, s.settled(ctx)
}

func stale(vm string, epoch, current uint64) error {
	return api.Definite(api.Reason_REASON_STALE, "epoch %d of %s, of which %d was opened last", epoch, vm, current)
}

// refuse tells of a write that was refused for its epoch, unless it has just told of such.
func (s *Service) refuse(vm string, epoch, seq uint64) {
	a, now := attempt{vm, epoch}, time.Now()
	if told, ok := s.refusals[a]; ok && now.Sub(told) < refusedEvery {
		return
	}
	for old, told := range s.refusals { // there are few
		if now.Sub(told) >= refusedEvery {
			delete(s.refusals, old)
		}
	}
	s.refusals[a] = now
	s.teller.Tell(probe.Event{Kind: probe.Refused, VM: vm, Host: s.node, Epoch: epoch, Seq: seq})
	s.log.Info("refused a write", "vm", vm, "epoch", epoch, "seq", seq)
}

// opened notes that an epoch was opened.
func (s *Service) opened(vm string, epoch uint64) *volume {
	v := s.volumes[vm]
	if v == nil {
		v = &volume{}
		s.volumes[vm] = v
	}
	v.epoch = max(v.epoch, epoch)
	return v
}

// lastEpoch is that of the last write; 0: there is none.
func (v *volume) lastEpoch() uint64 {
	if len(v.extents) == 0 {
		return 0
	}
	return v.extents[len(v.extents)-1].Epoch
}

// take notes a write, the next one.
func (v *volume) take(epoch, seq, sum uint64) {
	v.last = seq
	v.recent[seq%remembered] = sum
	if v.lastEpoch() == epoch {
		v.extents[len(v.extents)-1].To = seq
		return
	}
	v.extents = append(v.extents, &api.Extent{Epoch: epoch, From: seq, To: seq})
}

// holds says whether a write is there, of that epoch and with that sum, as far as it is
// remembered.
func (v *volume) holds(epoch, seq, sum uint64) bool {
	if seq > v.last || v.last-seq >= remembered || v.recent[seq%remembered] != sum {
		return false
	}
	for _, e := range slices.Backward(v.extents) {
		if e.From <= seq {
			return e.Epoch == epoch
		}
	}
	return false
}

// The records of the journal: what it is, the machine, the epoch, and of a write its number
// and its data. Texts are preceded by their length, and numbers are varints.
const (
	recordOpen  = 1
	recordWrite = 2
)

func appendOpen(b []byte, vm string, epoch uint64) []byte {
	b = appendText(append(b, recordOpen), []byte(vm))
	return binary.AppendUvarint(b, epoch)
}

func appendWrite(b []byte, vm string, epoch, seq uint64, data []byte) []byte {
	b = appendText(append(b, recordWrite), []byte(vm))
	b = binary.AppendUvarint(b, epoch)
	b = binary.AppendUvarint(b, seq)
	return appendText(b, data)
}

func appendText(b, text []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// replay does again what a batch of the journal says.
func (s *Service) replay(contents []byte) error {
	for in := bytes.NewReader(contents); in.Len() > 0; {
		kind, _ := in.ReadByte()
		vm, err := readText(in)
		if err != nil {
			return err
		}
		epoch, err := binary.ReadUvarint(in)
		if err != nil {
			return fmt.Errorf("read an epoch: %w", err)
		}
		switch kind {
		case recordOpen:
			s.opened(string(vm), epoch)
		case recordWrite:
			seq, err := binary.ReadUvarint(in)
			if err != nil {
				return fmt.Errorf("read the number of a write: %w", err)
			}
			data, err := readText(in)
			if err != nil {
				return err
			}
			v := s.opened(string(vm), 0)
			if seq != v.last+1 {
				return fmt.Errorf("write %d of %s follows write %d", seq, vm, v.last)
			}
			v.take(epoch, seq, maphash.Bytes(s.seed, data))
		default:
			return fmt.Errorf("a record of kind %d", kind)
		}
	}
	return nil
}

func readText(in *bytes.Reader) ([]byte, error) {
	n, err := binary.ReadUvarint(in)
	if err != nil {
		return nil, fmt.Errorf("read how long a text is: %w", err)
	}
	if n > uint64(in.Len()) {
		return nil, fmt.Errorf("a text of %d bytes, where %d are left", n, in.Len())
	}
	b := make([]byte, n)
	_, _ = in.Read(b) // it has as many
	return b, nil
}
