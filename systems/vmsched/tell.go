package vmsched

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/nemesis"
	store "github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/vmsched/server/probe"
	"github.com/hacheck/hacheck/systems/vmsched/server/state"
	"github.com/hacheck/hacheck/workloads/vm"
)

// tellLate is for how long, when everything has ended, what has happened until then is
// still read.
const tellLate = 2 * time.Second

// Tell tells what guests, volumes and agents do, and what changes in the store, as the
// workload vm has it: see [vm.Record] and the functions behind it, and [histories.Step].
func (s *System) Tell(ctx context.Context, record func(event string, value any) error) error {
	var mu sync.Mutex
	one := func(event string, value any) error {
		mu.Lock()
		defer mu.Unlock()
		return record(event, value)
	}
	// Each goes on without the other: what can be told is.
	var telling sync.WaitGroup
	var signs, records error
	telling.Go(func() { signs = s.tellSigns(ctx, one) })
	telling.Go(func() { records = s.tellRecords(ctx, one) })
	telling.Wait()
	return errors.Join(signs, records)
}

// signs are the functions of events that are told through the pipe.
var signs = map[probe.Kind]string{
	probe.Boot: vm.Boot, probe.Resumed: vm.Resumed, probe.Beat: vm.Beat, probe.Paused: vm.Paused, probe.Continued: vm.Continued,
	probe.Fenced: vm.Fenced, probe.Took: vm.Took, probe.Refused: vm.Refused,
}

// tellSigns tells what comes through the pipe.
func (s *System) tellSigns(ctx context.Context, record func(event string, value any) error) error {
	ended := context.AfterFunc(ctx, func() { _ = s.pipe.SetReadDeadline(time.Unix(1, 0)) })
	defer ended()
	var rest []byte // of a line that has no end yet
	b := make([]byte, 64<<10)
	for read := s.pipe.Read; ; {
		n, err := read(b)
		rest = append(rest, b[:n]...)
		for {
			line, after, whole := bytes.Cut(rest, []byte{'\n'})
			if !whole {
				break
			}
			if err := s.tellSign(line, record); err != nil {
				return err
			}
			rest = after
		}
		rest = bytes.Clone(rest)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
			if err := s.pipe.SetReadDeadline(time.Now().Add(tellLate)); err != nil {
				return fmt.Errorf("read the observer's pipe: %w", err)
			}
			read = s.readNow
		case errors.Is(err, io.EOF):
			return nil // as readNow has it: there is nothing more
		case err != nil:
			return fmt.Errorf("read the observer's pipe: %w", err)
		}
	}
}

// readNow reads what is in the pipe; io.EOF: it is empty.
func (s *System) readNow(b []byte) (n int, err error) {
	raw, err := s.pipe.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, failed = syscall.Read(int(fd), b)
		return true
	})
	switch {
	case errors.Is(failed, syscall.EAGAIN):
		return 0, io.EOF
	case errors.Is(failed, syscall.EINTR):
		return 0, nil
	}
	return max(n, 0), errors.Join(err, failed)
}

func (s *System) tellSign(line []byte, record func(event string, value any) error) error {
	var e probe.Event
	if err := json.Unmarshal(line, &e); err != nil {
		return fmt.Errorf("the observer was told %q: %w", line, err)
	}
	event, known := signs[e.Kind]
	if !known {
		return fmt.Errorf("the observer was told %q, which is of no kind that it knows", line)
	}
	if e.Lost > 0 {
		if err := record(vm.Missed, vm.Sign{VM: e.VM, Host: e.Host, PID: e.PID, Lost: e.Lost}); err != nil {
			return err
		}
	}
	if e.PID != 0 {
		s.beating.told(e, time.Now())
	}
	return record(event, vm.Sign{VM: e.VM, Host: e.Host, Epoch: e.Epoch, PID: e.PID, Count: e.Count, Acked: e.Acked, Seq: e.Seq})
}

// beating are the guests that were heard of last.
type beating struct {
	mu   sync.Mutex
	last map[int]beat // by PID
}

type beat struct {
	vm, host string
	at       time.Time
}

// silence is for how long a guest that runs says nothing at the most; several beats.
const silence = 200 * time.Millisecond

func (b *beating) told(e probe.Event, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e.Kind {
	case probe.Boot, probe.Resumed, probe.Beat, probe.Continued:
		b.last[e.PID] = beat{e.VM, e.Host, now}
	case probe.Paused:
		delete(b.last, e.PID)
	}
}

// Guests returns the guests that run on a host, as far as they were heard of lately.
func (s *System) Guests(host string) (guests []cluster.Guest) {
	now := time.Now()
	s.beating.mu.Lock()
	defer s.beating.mu.Unlock()
	maps.DeleteFunc(s.beating.last, func(_ int, b beat) bool { return now.Sub(b.at) > silence })
	for pid, b := range s.beating.last {
		if b.host == host {
			guests = append(guests, cluster.Guest{Name: b.vm, PID: pid})
		}
	}
	return guests
}

// tellRecords tells what changes in the store, from its beginning, which it keeps.
func (s *System) tellRecords(ctx context.Context, record func(event string, value any) error) error {
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	w := s.store.Watch(watching, store.Prefix(state.Root), 1)
	defer w.Close()
	told := newTold()
	for asking, until := ctx, uint64(0); ; {
		b, err := w.Next(asking)
		switch {
		case err == nil:
		case until == 0 && ctx.Err() != nil:
			late, cancel := context.WithTimeout(watching, tellLate)
			defer cancel()
			now, err := s.store.Range(late, store.Key(state.CounterKey), store.RangeOptions{})
			if err != nil {
				return fmt.Errorf("nothing is told of the store behind revision %d: %w", told.revision, err)
			}
			asking, until = late, now.Revision
		default:
			return fmt.Errorf("nothing is told of the store behind revision %d: %w", told.revision, err)
		}
		if b.Compacted > 0 {
			return fmt.Errorf("of the store what was behind revision %d is not there any more: %d is the first", told.revision, b.Compacted)
		}
		if err := s.tellBatch(told, b, record); err != nil {
			return err
		}
		if until > 0 && told.revision >= until {
			return nil
		}
	}
}

// told is what was told of the store.
type told struct {
	revision uint64
	vms      map[string]state.VM
	alive    map[string]uint64 // incarnations
}

func newTold() *told { return &told{vms: map[string]state.VM{}, alive: map[string]uint64{}} }

// tellBatch tells what a watcher was told. After an error nothing more is.
func (s *System) tellBatch(t *told, b store.Batch, record func(event string, value any) error) error {
	all := make([]struct {
		changes []vm.Change
		steps   []string
		vm      state.VM
	}, len(b.Events))
	var last *vm.Change
	for i, e := range b.Events {
		var err error
		if all[i].changes, all[i].steps, err = t.change(e); err != nil {
			return err
		}
		for j := range all[i].changes {
			c := &all[i].changes[j]
			if last != nil && last.Revision == c.Revision {
				last.More = true
			}
			last = c
		}
		if kind, name := state.Of(e.KV.Key); kind == state.KindVM {
			all[i].vm = t.vms[name]
		}
	}
	for _, e := range all {
		for _, c := range e.changes {
			if err := record(vm.Record, c); err != nil {
				return err
			}
		}
		s.cast.saw(e.vm)
		for _, step := range e.steps {
			if err := record(histories.Step, cluster.Step{Name: step}); err != nil {
				return err
			}
		}
	}
	t.revision = max(t.revision, b.Revision)
	return nil
}

// change returns what is told of a change of one record, and the steps that were taken.
func (t *told) change(e store.Event) (changes []vm.Change, steps []string, err error) {
	at := e.KV.Mod
	switch kind, name := state.Of(e.KV.Key); {
	case kind == state.KindVM && !e.Deleted:
		now, err := state.Decode[state.VM](e.KV.Value)
		if err != nil {
			return nil, nil, err
		}
		steps = stepsOf(t.vms[name], now)
		t.vms[name] = now
		changes = append(changes, vm.Change{Revision: at, VM: machine(now)})
	case kind == state.KindHost && !e.Deleted:
		now, err := state.Decode[state.Host](e.KV.Value)
		if err != nil {
			return nil, nil, err
		}
		changes = append(changes, vm.Change{Revision: at, Host: host(now)})
	case kind == state.KindAlive:
		var now state.Alive // 0: none
		if !e.Deleted {
			if now, err = state.Decode[state.Alive](e.KV.Value); err != nil {
				return nil, nil, err
			}
		}
		was := t.alive[name]
		if t.alive[name] = now.Incarnation; now.Incarnation == was {
			break
		}
		if was > 0 {
			changes = append(changes, vm.Change{Revision: at, Ended: &vm.Alive{Host: name, Incarnation: was}})
		}
		if now.Incarnation > 0 {
			changes = append(changes, vm.Change{Revision: at, Alive: &vm.Alive{Host: name, Incarnation: now.Incarnation}})
		} else {
			steps = append(steps, nemesis.HostLost)
		}
	}
	return changes, steps, nil
}

// stepsOf returns the steps that a change of a machine takes.
func stepsOf(was, now state.VM) (steps []string) {
	if was.Host == "" && now.Host != "" {
		steps = append(steps, nemesis.VMPlaced)
	}
	var before, after state.Migration // zero: none
	if was.Migration != nil {
		before = *was.Migration
	}
	if now.Migration != nil {
		after = *now.Migration
	}
	if before.ID != 0 && before.ID != after.ID {
		steps = append(steps, nemesis.MigrationEnded)
	}
	if before.ID == after.ID && before.Phase == after.Phase {
		return steps
	}
	switch after.Phase {
	case state.Asked:
		steps = append(steps, nemesis.MigrationAsked)
	case state.Preparing:
		steps = append(steps, nemesis.MigrationPreparing)
	case state.Ready:
		steps = append(steps, nemesis.MigrationCopying)
	case state.Committed:
		steps = append(steps, nemesis.MigrationCommitted)
	}
	return steps
}

// machine and host say of a record what the workload knows.
func machine(v state.VM) *vm.VM {
	out := &vm.VM{
		ID: v.ID, Token: v.Token, Size: v.Size, Group: v.Group, Desired: string(v.Desired), State: string(v.State),
		Host: v.Host, Epoch: v.Epoch, Reason: v.Reason, Incarnation: v.Incarnation, Labels: v.Labels,
	}
	if v.Migration != nil {
		out.Target, out.Phase = v.Migration.Target, string(v.Migration.Phase)
	}
	return out
}

func host(h state.Host) *vm.Host {
	out := &vm.Host{
		Name: h.Name, Incarnation: h.Incarnation, Capacity: h.Capacity, Reserved: h.Taken(),
		Cordoned: h.Cordoned, Draining: h.Draining, Labels: h.Labels,
	}
	if len(h.Reserved) > 0 {
		out.Reservations = map[string]uint32{}
		for name, r := range h.Reserved {
			out.Reservations[name] = r.Size
		}
	}
	return out
}
