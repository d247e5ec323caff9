package linear

// A Stream decides the same while a history is written. It knows nothing of what is to
// come, and forgets what is over: it holds what is open, and what is indeterminate.
type Stream struct{ e *engine }

// NewStream returns the history of a register that holds start, before anything happened.
func NewStream(start Value) *Stream {
	e := newEngine()
	e.sparse = map[Value]int32{}
	e.start(start, 0)
	return &Stream{e}
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
// told. The operation is left out then: it may go on.
func (s *Stream) Return(id int32) bool {
	explained := s.e.returns(id)
	s.e.tidy()
	return explained
}

// Fork returns a copy, that goes its own way.
func (s *Stream) Fork() *Stream { return &Stream{s.e.clone()} }

// Bytes returns how many bytes it holds, about.
func (s *Stream) Bytes() int64 { return s.e.bytes() }
