package histories

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// A Journal writes a history as it happens. It is safe for concurrent use.
//
// A line reaches the writer as soon as the previous write returned, without
// waiting for more: one goroutine writes while Append fills the next batch. If
// hacheck dies, what is lost is a suffix of the history, and any prefix of a
// history is itself a history, with ops outstanding at its end.
type Journal struct {
	w   io.Writer
	now func() time.Duration

	mu     sync.Mutex
	filled sync.Cond // batch is not empty, or closed; the writer waits on it
	batch  []byte    // encoded ops not handed to w yet
	next   int       // index of the next op
	last   time.Duration
	closed bool
	err    error // the first failure of w; sticky

	done chan struct{} // closed when the writer has ended
}

// NewJournal returns a journal that writes to w. Times are now()'s, which must
// not go back; where two readings are equal the later op is moved on by 1 ns.
// Close it to end its goroutine.
func NewJournal(w io.Writer, now func() time.Duration) *Journal {
	j := &Journal{w: w, now: now, last: -1, done: make(chan struct{})}
	j.filled.L = &j.mu
	go j.write()
	return j
}

// Append stamps op with its index and time and records it. Both happen under
// one lock, so that file, index and time order agree, and so that no effect of
// an operation can be seen outside the window its two events enclose; the lock
// is also the memory barrier that a bare clock reading lacks (porcupine issue
// 40: spurious violations on ARM). Append the invocation before the call and
// the completion after it, on the goroutine that calls.
//
// It returns the op as recorded. The error is the first failure of the writer,
// now or earlier: the history on disk is then incomplete and the run must end.
// An op that could not be read back is a programmer's doing, and panics: written,
// it would make the whole history unreadable.
func (j *Journal) Append(op Op) (Op, error) {
	if flaw := op.flaw(); flaw != "" {
		panic("histories: " + flaw + ": " + op.String())
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return op, fmt.Errorf("journal is closed")
	}
	op.Index = j.next
	op.Time = max(j.now(), j.last+1)
	j.next++
	j.last = op.Time
	j.batch = appendOp(j.batch, &op)
	j.filled.Signal()
	return op, j.err
}

// Len returns the number of ops recorded so far.
func (j *Journal) Len() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.next
}

// Close waits until everything is written and returns the first failure of the
// writer. It does not close the writer. Closing twice is harmless.
func (j *Journal) Close() error {
	j.mu.Lock()
	j.closed = true
	j.filled.Signal()
	j.mu.Unlock()
	<-j.done
	return j.err // no longer written: the writer has ended
}

// write is the only goroutine that touches w.
func (j *Journal) write() {
	defer close(j.done)
	var spare []byte
	j.mu.Lock()
	defer j.mu.Unlock()
	for {
		for len(j.batch) == 0 && !j.closed {
			j.filled.Wait()
		}
		if len(j.batch) == 0 {
			return
		}
		full := j.batch
		j.batch = spare[:0]
		failed := j.err != nil
		j.mu.Unlock()
		var err error
		if !failed { // after a failure nothing may follow: the file stays a prefix
			_, err = j.w.Write(full)
		}
		spare = full
		j.mu.Lock()
		if err != nil {
			j.err = fmt.Errorf("write history: %w", err)
		}
	}
}
