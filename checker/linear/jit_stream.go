package linear

// A Stream decides the same while a history is written. It knows nothing of what is to
// come, and forgets what is over: it holds what is open, and what is indeterminate.
//
// Where there are many configurations it goes on with the most promising ones, and where
// a return takes too long it stops. So it may come to an end that is none: see
// [Stream.Sure] and [Stream.Stopped].
type Stream struct {
	e     *engine
	asked int // since the last return
}

const (
	// streamBeam is more than the beam at first, as it must do for good. With a hundred
	// clients and five values, or ten and 500 writes that are indeterminate, a return takes
	// 0.2 ms, and an order is left in the end.
	streamBeam = 128
	// streamAsks bounds what one return may take, in times that it asks, of some
	// milliseconds each: together less than a second.
	streamAsks = 32
)

// NewStream returns the history of a register that holds start, before anything happened.
func NewStream(start Value) *Stream {
	e := newEngine()
	e.sparse = map[Value]int32{}
	e.beam = streamBeam
	e.start(start, 0)
	return newStream(e)
}

func newStream(e *engine) *Stream {
	s := &Stream{e: e}
	e.limit = func(int64) bool { s.asked++; return s.asked < streamAsks }
	return s
}

// Call tells of an operation that is called, not before those told of so far, and returns
// a name for it, until it returns. What it saw has to be known: tell of it late, and of
// what happened after it later. One that is not determinate never returns, and takes
// effect at any time from now on or not at all.
func (s *Stream) Call(kind Kind, a, b Value, determinate bool) (id int32) {
	if kind == CAS && a == b {
		kind = Read
	}
	return s.e.begin(-1, kind, a, b, !determinate, never)
}

// Return tells that an operation returns. It is false if no order explains what has been
// told, or none that it has followed. The operation is left out then: it may go on.
func (s *Stream) Return(id int32) bool {
	if s.e.stopped {
		return true
	}
	s.asked, s.e.work = 0, 0
	explained := s.e.returns(id)
	s.e.tidy()
	return explained
}

// Sure says that it has followed all orders: where it finds none there is none.
func (s *Stream) Sure() bool { return !s.e.trimmed }

// Stopped says that a return took too long. Nothing is found any more.
func (s *Stream) Stopped() bool { return s.e.stopped }

// Fork returns a copy, that goes its own way.
func (s *Stream) Fork() *Stream { return newStream(s.e.clone()) }

// Bytes returns how many bytes it holds, about.
func (s *Stream) Bytes() int64 { return s.e.bytes() }
