package linear

// JITBeam is [JIT] that keeps so many configurations at first.
var JITBeam = jit

// Beam has s follow so many orders, about; 0: all.
func (s *Stream) Beam(n int) { s.e.beam = n }
