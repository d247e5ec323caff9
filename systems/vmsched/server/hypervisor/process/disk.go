package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hacheck/hacheck/systems/vmsched/server/api"
)

// How a guest uses its volume: one write at a time, which is sent again, the same, until it
// is acknowledged.
const (
	writeEvery = 25 * time.Millisecond
	retryAfter = 50 * time.Millisecond
	callWithin = 500 * time.Millisecond
)

// errStale ends a guest whose epoch is not the newest: its machine runs elsewhere.
var errStale = errors.New("the volume has seen a newer epoch")

// A disk is a machine's volume, in an epoch of the machine.
type disk struct {
	*machine
	volumes api.VolumesClient
	vm      string
	epoch   uint64
}

// use opens the volume and writes to it until on ends, as long as that takes: a guest whose
// storage does not answer hangs. What is under way when on ends is finished if calls does
// not end, too. It returns errStale or nil.
func (d disk) use(on, calls context.Context) error {
	last, err := d.open(on, calls)
	next := time.NewTicker(writeEvery)
	defer next.Stop()
	for err == nil && wait(on, next.C) {
		w := d.next(last)
		err = d.write(on, calls, w)
		switch {
		case err == nil:
			last = w.Seq
		case api.Understand(err).Reason == api.Reason_REASON_GAP:
			// What is there is not what was acknowledged, so it is looked at again.
			last, err = d.open(on, calls)
		}
	}
	if errors.Is(err, errStale) {
		return err
	}
	return nil
}

// open makes the epoch the one that may write, and returns the last write that is there.
func (d disk) open(on, calls context.Context) (last uint64, _ error) {
	err := again(on, calls, func(ctx context.Context) error {
		r, err := d.volumes.Open(ctx, &api.OpenRequest{Vm: d.vm, Epoch: d.epoch})
		last = r.GetLast()
		return err
	})
	if err == nil {
		d.opened(last)
	}
	return last, err
}

func (d disk) write(on, calls context.Context, w write) error {
	err := again(on, calls, func(ctx context.Context) error {
		_, err := d.volumes.Write(ctx, &api.WriteRequest{Vm: d.vm, Epoch: d.epoch, Seq: w.Seq, Data: w.Data})
		return err
	})
	if err == nil {
		d.acked(w.Seq)
	}
	return err
}

// again does something until it is done, or the volume refuses it for good, or on ends.
func again(on, calls context.Context, do func(context.Context) error) error {
	for {
		ctx, cancel := context.WithTimeout(calls, callWithin)
		err := do(ctx)
		cancel()
		if err == nil {
			return nil
		}
		switch failed := api.Understand(err); {
		case failed.Definite && failed.Reason == api.Reason_REASON_STALE:
			return fmt.Errorf("%w: %w", errStale, failed)
		case failed.Definite && failed.Reason == api.Reason_REASON_GAP:
			return failed
		case failed.Definite:
			slog.Warn("the volume refuses", "error", failed)
		}
		if !wait(on, time.After(retryAfter)) {
			return context.Cause(on)
		}
	}
}

// wait says whether c came before on ended.
func wait(on context.Context, c <-chan time.Time) bool {
	select {
	case <-on.Done():
		return false
	case <-c:
		return on.Err() == nil
	}
}
