// Package bug names the deliberate mistakes of raftkv: of its servers, of its clients
// and of whoever runs them. Each is a small seam where it is made, is modelled on one
// that was made in earnest, and is there so that a tester can show that it would be
// found. Without a name nothing of it happens.
package bug

import "slices"

// A Bug is a mistake that is made on request.
type Bug struct {
	Name string
	// Summary says in one line what goes wrong.
	Summary string
	// Place is where it is made.
	Place Place
}

// A Place is a part of the system.
type Place int

// The places of bugs.
const (
	Server   Place = iota // a node
	Client                // the client
	Operator              // who starts the nodes
)

// The bugs of what is agreed on, and of the disk below it.
const (
	// StaleRead is what Jepsen found in etcd and Consul in 2014: a node answered
	// reads by itself, because it held the data, or because it believed that it
	// still led.
	StaleRead = "stale-read"
	// LeaseRead is how a leader's lease goes wrong that is reckoned by the clock on
	// the wall, as CockroachDB's and YugabyteDB's were shown to where clocks jump:
	// it goes on to answer reads when another leads already.
	LeaseRead = "lease-read"
	// DirtyRead is what Jepsen found in MongoDB in 2015: a read sees what the leader
	// holds and no majority has agreed on, and what may be gone again.
	DirtyRead = "dirty-read"
	// AckBeforeCommit is what Jepsen showed of Redis with Sentinel and of MongoDB
	// in 2013: the primary acknowledges a write that nobody else holds yet, and a
	// failover forgets it.
	AckBeforeCommit = "ack-before-commit"
	// NoFsync is what Jepsen showed of NATS JetStream in 2025, and what etcd does with
	// --unsafe-no-fsync: what a node has acknowledged it has handed to the kernel, and
	// syncs later. A failure of power takes it back.
	NoFsync = "no-fsync"
	// TornVote is hashicorp/raft issue 661, which the server's Store keeps from
	// happening: a node that fails between the two writes of a vote is left with the new
	// term and the old candidate, to whom it gives its vote again, however old his log.
	TornVote = "torn-vote"
)

// The bugs of members.
const (
	// WipeRejoin starts a node whose disk was replaced as if nothing were, under the name
	// that it had: it votes anew in terms in which it has voted, and counts for entries that
	// it has lost. Members of etcd came to that with --initial-cluster-state=new, and those of
	// Consul when Kubernetes gave a pod a new disk and its old name.
	WipeRejoin = "wipe-rejoin"
	// SplitBrainBootstrap is what RabbitMQ's peer discovery and Consul's -bootstrap
	// did: a node that starts, and finds nobody to join, begins a cluster by itself.
	SplitBrainBootstrap = "split-brain-bootstrap"
	// LeaveEarly acknowledges that a member has left before a majority agrees. Camunda's
	// Raft took one to be gone from when that stood in the leader's log (camunda pull
	// request 58555); if the leader fails then, it is not.
	LeaveEarly = "leave-early"
	// MembersStale answers who the members are from what the node asked knows, as etcd did
	// before 3.5 (etcd issue 11198): what it knows may be old, or be taken back.
	MembersStale = "members-stale"
)

// The bugs of snapshots and restarts.
const (
	// SnapshotDropsKeys is a writer that forgets its last batch, unless it is full. A
	// snapshot that leaves out a part of the state is a mistake that is made again
	// and again: openstack-experimental/keystone issue 1293 is one of 2026.
	SnapshotDropsKeys = "snapshot-drops-keys"
	// SnapshotResurrects writes what keys held, and not that they were deleted since, as
	// Bitcask did when it merged files (issue 82): after a restart they are there again.
	SnapshotResurrects = "snapshot-resurrects"
	// SnapshotDropsSessions leaves out the sessions, as in KanishJebaMathewM/Truxify issue
	// 15677, where a command that is sent again is known by the log alone, and not
	// when a snapshot has replaced that.
	SnapshotDropsSessions = "snapshot-drops-sessions"
	// SnapshotDropsLeases leaves out the leases: keys never end that are attached to one. A
	// reviewer of d-engine found the like (pull request 176): a node that was restored from
	// a snapshot, and started once more, knew no times to live.
	SnapshotDropsLeases = "snapshot-drops-leases"
	// RevisionGoesBack is etcd issue 17780: the revision is reckoned, after a restart, from
	// the keys that are there, and the last ones had been deletes.
	RevisionGoesBack = "revision-goes-back"
)

// The bugs of transactions and keys.
const (
	// DoubleApply forgets sessions: a write that is sent again happens again. In
	// CurvineIO/curvine issue 676 the leader alone remembers what it has been sent, and when
	// it has failed the client sends it to the next.
	DoubleApply = "double-apply"
	// CheckThenAct compares before the transaction goes through the log, and not again, as
	// leaders of NATS JetStream did with what a publisher expects of a subject
	// (nats-server pull request 6194): of two that expect the same, both are made.
	CheckThenAct = "check-then-act"
	// FirstCompare looks at the first comparison alone. etcd did so with what comes after
	// them (issue 3803): of the operations of a branch the first alone was executed.
	FirstCompare = "first-compare"
	// TxnSplit makes each change of a transaction an entry of its own: HarperFast/harper
	// issue 1396, where readers see a half of it.
	TxnSplit = "txn-split"
	// KeyCollision takes keys for each other whose short hashes are the same, as sdb did
	// (radareorg/sdb issue 100).
	KeyCollision = "key-collision"
	// CompactLive forgets, with the revisions before it, what is still there: etcd issue
	// 22376, there of a key that was deleted and put at the revision to which it compacted.
	CompactLive = "compact-live"
	// VersionKept counts the versions of a key on when it was deleted in between, as OrientDB
	// does with records (issue 3679).
	VersionKept = "version-kept"
)

// The bugs of watching.
const (
	// WatchDrops drops events of a watcher that does not keep up, as streams of etcd 2 did
	// (etcd pull request 1253 makes the buffer larger).
	WatchDrops = "watch-drops"
	// WatchReorders sends the events of a batch by key, as Kubernetes did with those that a
	// watch begins with (issue 49745).
	WatchReorders = "watch-reorders"
	// WatchSkipsCompacted goes on silently where what was to be sent was compacted, as etcd
	// did with a delete at the very revision (issues 18089 and 19179).
	WatchSkipsCompacted = "watch-skips-compacted"
	// WatchEarlyProgress is etcd issue 15220: progress is told that is not in step with the
	// events of the stream, such as before what it covers is sent.
	WatchEarlyProgress = "watch-early-progress"
	// WatchUncommitted sends what no majority has agreed on. In atomix issue 1036 a leader
	// that was cut off made events of what it alone held.
	WatchUncommitted = "watch-uncommitted"
	// WatchRepeats resumes with the revision that was seen last. Until pull request 15248
	// etcd's client did so after a notice of progress: it went on with the revision that the
	// notice named, and not with the one after it.
	WatchRepeats = "watch-repeats"
	// WatchGap resumes with what is new, and not with what was missed: etcd pull request 4564
	// mended that in 2016, and dotnet-etcd's 310 in 2026.
	WatchGap = "watch-gap"
)

// The bugs of leases, locks and elections.
const (
	// LeaseForgottenByLeader: a new leader looks after those leases alone that it granted.
	// In etcd, checkpoints of how much of its time a lease has left stopped with the first
	// change of leaders (etcd pull request 13491), so that each that followed gave the time
	// back: leases might never end (etcd issue 9395).
	LeaseForgottenByLeader = "lease-forgotten"
	// LeaseDiesEarly keeps alive in the leader's memory, of which the next one knows
	// nothing. So do etcd and Consul, and therefore a new leader of theirs begins all leases
	// anew (etcd pull request 4778). Without that keys of clients end that are well: etcd
	// issue 2660.
	LeaseDiesEarly = "lease-dies-early"
	// LeaseRevives lets one that ended be kept alive, and its keys come back. In etcd a lease
	// could be kept alive whose keys its end had deleted (issue 14758, pull request 21389).
	LeaseRevives = "lease-revives"
	// LeaseKeepsKeys ends a lease and leaves those of its keys that were changed since they
	// were made. That keys were left was told of etcd (issue 11369), without a cause.
	LeaseKeepsKeys = "lease-keeps-keys"
	// LockTwice looks whether a lock is free, and then takes it: laravel/framework issue 43627.
	LockTwice = "lock-twice"
	// LockUnfenced writes what a lock protects without looking at the token. Jepsen lost
	// updates so with etcd's locks in 2020 (etcd issue 11456): leases end while their holders
	// are paused.
	LockUnfenced = "lock-unfenced"
	// ElectionUnfenced lets a leader write that has been deposed, and was not told:
	// kubernetes issue 23731, of client-go's leader election.
	ElectionUnfenced = "election-unfenced"
)

// The bugs of the client.
const (
	// TimeoutAsFail takes an operation whose outcome is not known for one that failed.
	// CockroachDB has an error code for what must not be taken so (40003, "result is
	// ambiguous").
	TimeoutAsFail = "timeout-as-fail"
	// TimeoutAsOK takes it for one that took place, as producers of Kafka do that ask for no
	// acknowledgement: librdkafka issue 382 is of messages that were lost so.
	TimeoutAsOK = "timeout-as-ok"
	// RetryRenumbered sends a write again as another one. What Jepsen found with jetcd in
	// 2024 came of that: its client sent transactions again that nothing told from new
	// ones (jetcd issue 1444).
	RetryRenumbered = "retry-renumbered"
	// SessionForgets reads what is older than what it has seen, when it comes to another
	// node: kubernetes issue 59848, of kubelets that saw pods again which they had seen
	// deleted.
	SessionForgets = "session-forgets"
	// QueuePeeks reads the head of a queue, and then deletes it, whoever did before.
	QueuePeeks = "queue-peeks"
	// LostUpdate adds to what it read, whatever is there by then.
	LostUpdate = "lost-update"
	// IDBlockReused takes numbers from a block of which it does not know that it got it.
	IDBlockReused = "id-block-reused"
)

// All are the bugs.
var All = []Bug{
	{StaleRead, "every node answers reads from its own state, without asking a majority", Server},
	{LeaseRead, "the leader answers reads by itself for as long as a lease lasts, by the clock on the wall", Server},
	{DirtyRead, "reads see puts that the leader holds and no majority has agreed on", Server},
	{AckBeforeCommit, "the leader acknowledges a put or delete before it is replicated", Server},
	{NoFsync, "a node acknowledges entries of the log up to a second before it syncs them", Server},
	{TornVote, "a node writes the term and the candidate of a vote one after the other", Server},
	{WipeRejoin, "a node that has lost its disk is started as the member that it was", Operator},
	{SplitBrainBootstrap, "a node that starts again, and finds no leader within a second, begins a cluster of its own", Server},
	{LeaveEarly, "the leader says that a member has left before a majority agrees", Server},
	{MembersStale, "every node answers who the members are from its own log", Server},
	{SnapshotDropsKeys, "a snapshot lacks the keys that were changed last", Server},
	{SnapshotResurrects, "a snapshot holds what deleted keys held", Server},
	{SnapshotDropsSessions, "a snapshot lacks the sessions, so that who starts from it refuses their writes", Server},
	{SnapshotDropsLeases, "a snapshot lacks the leases, so that their keys never end", Server},
	{RevisionGoesBack, "a node that starts from a snapshot reckons the revision from the keys that are there", Server},
	{DoubleApply, "a write that is sent again happens again", Server},
	{CheckThenAct, "the leader compares before a transaction goes through the log, and not again", Server},
	{FirstCompare, "of the comparisons of a transaction the first alone is made", Server},
	{TxnSplit, "the changes of a transaction go through the log one by one", Server},
	{KeyCollision, "keys with the same short hash are taken for each other", Server},
	{CompactLive, "compaction forgets keys that have not changed since", Server},
	{VersionKept, "a key that is made again goes on with the version it had", Server},
	{WatchDrops, "a watcher that does not keep up loses events", Server},
	{WatchReorders, "the events of a batch are sent in the order of keys", Server},
	{WatchSkipsCompacted, "a watcher that comes back too late is not told what it missed", Server},
	{WatchEarlyProgress, "progress is told before the events that it covers are sent", Server},
	{WatchUncommitted, "a watcher is sent what no majority has agreed on", Server},
	{WatchRepeats, "a watcher that comes back is sent the last revision again", Client},
	{WatchGap, "a watcher that comes back is sent what is new, and not what it missed", Client},
	{LeaseForgottenByLeader, "a new leader ends those leases alone that it granted", Server},
	{LeaseDiesEarly, "a lease is kept alive in the leader's memory, and not in the log", Server},
	{LeaseRevives, "a lease that has ended can be kept alive, and brings its keys back", Server},
	{LeaseKeepsKeys, "a lease that ends leaves keys that were changed since they were put", Server},
	{LockTwice, "a lock that was free is taken, whoever took it since", Client},
	{LockUnfenced, "who has lost a lock may still write what it protects", Client},
	{ElectionUnfenced, "a leader that was deposed may still write", Client},
	{TimeoutAsFail, "the client reports a write whose outcome it does not know as failed", Client},
	{TimeoutAsOK, "the client reports a write whose outcome it does not know as done", Client},
	{RetryRenumbered, "the client sends a write again under a new number", Client},
	{SessionForgets, "the client reads what is older than what it has seen", Client},
	{QueuePeeks, "the client takes the head of a queue without looking whether somebody else did", Client},
	{LostUpdate, "the client adds to what it read, whatever is there by then", Client},
	{IDBlockReused, "the client takes numbers from a block that it may not have got", Client},
}

// At returns name if it is a bug of a place, else nothing: a part of the system has no
// bugs but its own.
func At(place Place, name string) string {
	if slices.ContainsFunc(All, func(b Bug) bool { return b.Name == name && b.Place == place }) {
		return name
	}
	return ""
}

// Is says whether there is a bug of that name.
func Is(name string) bool {
	return slices.ContainsFunc(All, func(b Bug) bool { return b.Name == name })
}
