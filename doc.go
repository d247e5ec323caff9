// Package hacheck is the root of a module that tells whether a distributed system
// keeps its promises when machines die, networks split, disks lie and clocks
// drift.
//
// A run has a [System] on the nodes of a [Lab]. Clients of a workload run
// operations against it, chosen by a generator; a nemesis injects faults. Every
// event goes into one history, a file. When the clients have stopped and all is
// healed, a checker reads that file and says valid, invalid or unknown, with
// evidence.
//
// The program is in cmd/hacheck. ARCHITECTURE.md says what lies where and why;
// the test of this package keeps it so.
//
// [System]: https://pkg.go.dev/github.com/hacheck/hacheck/cluster#System
// [Lab]: https://pkg.go.dev/github.com/hacheck/hacheck/cluster#Lab
package hacheck
