package server

// A Bug is a mistake that a node makes on request, so that a tester can show that
// it would be found.
type Bug struct {
	Name string
	// Summary says in one line what goes wrong.
	Summary string
}

// The bugs a node can have.
const (
	// StaleRead is what Jepsen found in etcd and Consul in 2014: a node answered
	// reads by itself, because it held the data, or because it believed that it
	// still led.
	StaleRead = "stale-read"
	// AckBeforeCommit is what Jepsen showed of Redis with Sentinel and of MongoDB
	// in 2013: the primary acknowledges a write that nobody else holds yet, and a
	// failover forgets it.
	AckBeforeCommit = "ack-before-commit"
)

// Bugs are the bugs a node can have.
var Bugs = []Bug{
	{StaleRead, "every node answers reads from its own state, without asking a majority"},
	{AckBeforeCommit, "the leader acknowledges a put or delete before it is replicated"},
}
