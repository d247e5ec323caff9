//go:build !race

package workloadtest

// Raced says that the race detector is on, so that few cases are tried: how much they
// show is not to be asked then.
const Raced = false
