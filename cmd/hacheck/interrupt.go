package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/hacheck/hacheck/cluster"
)

// An interruption is what signals ask of a run. What the first one means depends
// on how far the run is; the second gives up; a third is the system's affair.
type interruption struct {
	told  io.Writer // what is going to happen
	phase atomic.Value

	begun   chan struct{}   // closed if the main phase is to end, or not to begin
	end     func()          // closes it, however often it is called
	run     context.Context // ends if the run is given up
	giveUp  context.CancelFunc
	judging context.Context // ends with run, or if judging is to end
	settle  context.CancelCauseFunc
	drawing context.Context // ends if nothing more is to be drawn of a verdict
	hurry   context.CancelCauseFunc

	deciding sync.Mutex
	decided  bool // the verdict stands
}

// phaseJudging follows the phases that the runner goes through.
const phaseJudging = "judging"

// What an interrupted run says.
var (
	errInterrupted = errors.New("interrupted") // of what was not judged, or not drawn
	errGivenUp     = errors.New("given up, since it was interrupted twice")
)

func newInterruption(told io.Writer) *interruption {
	i := &interruption{told: told, begun: make(chan struct{})}
	i.end = sync.OnceFunc(func() { close(i.begun) })
	i.phase.Store("start")
	i.run, i.giveUp = context.WithCancel(context.Background())
	i.judging, i.settle = context.WithCancelCause(i.run)
	i.drawing, i.hurry = context.WithCancelCause(i.run)
	return i
}

// listen heeds signals until the returned function is called.
func (i *interruption) listen() (stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, endings()...)
	cluster.Listening()
	over := make(chan struct{})
	var listening sync.WaitGroup
	listening.Go(func() {
		defer signal.Stop(signals)
		for _, act := range []func(){i.first, i.second} {
			select {
			case <-signals:
				act()
			case <-over:
				return
			}
		}
	})
	return func() {
		close(over)
		listening.Wait()
		i.giveUp()
		i.hurry(nil)
	}
}

// early says whether it is to end before the main phase.
func (i *interruption) early() bool {
	select {
	case <-i.begun:
		return true
	default:
		return false
	}
}

// enter takes note of a phase that begins.
func (i *interruption) enter(phase string) { i.phase.Store(phase) }

// decide says whether the run was not given up. From then on its verdict stands, and it
// cannot be.
func (i *interruption) decide() bool {
	i.deciding.Lock()
	defer i.deciding.Unlock()
	i.decided = i.run.Err() == nil
	return i.decided
}

func (i *interruption) first() {
	i.deciding.Lock()
	defer i.deciding.Unlock()
	if i.decided {
		i.leaveOut()
		return
	}
	switch i.phase.Load() {
	case "start":
		i.say("it ends before the main phase; there is nothing to judge")
		i.end()
	case "main":
		i.say("the main phase ends, and what there is will be judged; once more gives up")
		i.end()
	case phaseJudging:
		i.say("judging ends with what it has; once more gives up")
		i.settle(errInterrupted)
	default:
		i.say("what is left of the run goes on; once more gives up")
	}
}

func (i *interruption) second() {
	i.deciding.Lock()
	defer i.deciding.Unlock()
	if i.decided {
		i.leaveOut()
		return
	}
	i.say("it is given up")
	i.giveUp()
}

// leaveOut keeps what is not drawn yet of a verdict from being drawn.
func (i *interruption) leaveOut() {
	if i.drawing.Err() == nil {
		i.say("the verdict stands; what is not drawn of it yet is left out")
		i.hurry(errInterrupted)
	}
}

// ending says whether the main phase is over, or is about to be.
func (i *interruption) ending() bool {
	phase := i.phase.Load()
	return phase != "start" && phase != "main" || i.early()
}

// enough ends the main phase, if it goes on: nobody asked, but there is nothing more to be
// had of it.
func (i *interruption) enough() bool {
	if i.ending() {
		return false
	}
	i.end()
	return true
}

// say tells what happens now. Nobody listening is no reason for it not to.
func (i *interruption) say(what string) { fmt.Fprintln(i.told, "interrupted:", what) }

// endings are the signals that end what goes on in an orderly way. One that was ignored from the
// beginning, as nohup has it for the end of a terminal, stays so.
func endings() []os.Signal {
	signals := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}
