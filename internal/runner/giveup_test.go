package runner

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// TestNothingCompletesBeforeItsInvocation: if all of hacheck is stopped between
// the handing over of an op and the record of its invocation, the deadline passes
// in between. An op that completed then would be one that never began.
func TestNothingCompletesBeforeItsInvocation(t *testing.T) {
	var history bytes.Buffer
	in := &interpreter{
		journal: histories.NewJournal(&history, func() time.Duration { return 0 }),
		begun:   time.Now(),
		log:     slog.New(slog.DiscardHandler),
		open:    func(context.Context, int) (workloads.Client, error) { return idleClient{}, nil },
		grace:   time.Second,
	}
	stopped := &worker{todo: make(chan task), ended: make(chan struct{})} // nobody is behind it
	close(stopped.ended)
	in.workers = []*worker{stopped}
	in.context = generator.Context{Now: time.Minute, Workers: 1, Busy: []histories.Process{0}}
	stopped.op = histories.Op{Type: histories.Invoke, F: "write"}
	g := generator.Nothing()

	if err := in.giveUp(g); err != nil || in.journal.Len() != 0 || len(in.context.Busy) != 1 {
		t.Fatalf("it completed %d ops that had not begun (%v)", in.journal.Len(), err)
	}
	if in.look != time.Minute+time.Second {
		t.Errorf("looks again at %v", in.look)
	}
	stopped.stage.Store(invoked)
	in.context.Now = in.look
	if err := in.giveUp(g); err != nil || in.journal.Len() != 1 || len(in.context.Busy) != 0 {
		t.Errorf("it was not given up, though it had begun (%v)", err)
	}
	if err := in.close(); err != nil {
		t.Error(err)
	}
	if err := in.journal.Close(); err != nil {
		t.Error(err)
	}
}
