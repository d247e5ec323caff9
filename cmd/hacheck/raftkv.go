package main

import (
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/raftkv"
)

func raftkvBugs() []named {
	var bugs []named
	for _, b := range raftkv.Bugs() {
		bugs = append(bugs, named{b.Name, b.Summary})
	}
	return bugs
}

// raftkvWorkloads are those of a key-value store.
var raftkvWorkloads = []string{
	"register", "cas-register", "kv", "set", "append", "counter", "unique-ids", "queue", "lock", "lease", "watch", "election", "member", "session",
}

var _ keyValueStore = (*raftkv.System)(nil)

// raftkvTunes are what it can be tuned by.
var raftkvTunes = []tune{
	factor("timeouts", "how long nodes wait for their leader, for votes and for a majority",
		raftkv.MinTimeouts, raftkv.MaxTimeouts, timeouts),
	span("delay", "by how much later each call of a client is answered", time.Millisecond, raftkv.MaxDelay, delay),
}

func installRaftkv(l cluster.Lab, o *options) (installed, error) {
	return raftkv.New(l, raftkv.Options{
		Bug: o.bug, Tuning: raftkv.Tuning{Timeouts: o.tuned.timeouts, Delay: o.tuned.delay},
		// Else a watcher that comes back late would be right to be told that what it missed was
		// compacted, though no client asked for that.
		KeepRevisions: o.workload == "watch",
	})
}
