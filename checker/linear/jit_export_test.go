package linear

// JITBeam is [JIT] that keeps so many configurations at first.
var JITBeam = jit
