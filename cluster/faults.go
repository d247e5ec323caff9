package cluster

import (
	"context"
	"time"
)

// What can be broken in a lab beside its processes. Each of these undoes what it
// did and no more, so that what is done twice may overlap.

// An Impairment is something that a lab does to what lives in it, until it is
// ended.
type Impairment interface {
	// Seen returns how often it has acted so far, by what it acted on: a link, a
	// file, a kind of event.
	Seen() map[string]uint64
	// End undoes it. It is called again if it fails; to end what has ended is no
	// error.
	End() error
}

// A Network can be cut. Each direction of each pair is a link of its own. A link that was cut twice is whole again when it was healed twice, so that
// faults may overlap.
type Network interface {
	// Cut drops from now on every packet on the links: all at the same time.
	Cut(links ...Link) error
	// Heal undoes one Cut of each of the links.
	Heal(links ...Link) error
	// Dropped returns how many packets each of the links has dropped so far because
	// it was cut.
	Dropped(links ...Link) []uint64
}

// A Shaper is a network that can do more to packets than drop them all.
type Shaper interface {
	Network
	// Impair does e to the packets on the links. Several impairments of a link act
	// one after the other, in the order of their begin. It counts packets by link.
	Impair(e Effect, links ...Link) (Impairment, error)
	// Reset breaks the TCP connections that packets went over on the links lately:
	// both ends see a reset. It returns their number by link.
	Reset(links ...Link) (map[string]uint64, error)
}

// An Effect is what happens to packets on a link. Fields that are zero do nothing;
// chances are of a packet, from 0 to 1.
type Effect struct {
	// Delay is how much later a packet arrives, and Jitter the most that is added to
	// it at random. Packets keep their order.
	Delay  time.Duration `json:"delay,omitempty"`
	Jitter time.Duration `json:"jitter,omitempty"`
	// Loss is the chance of a packet to be dropped, Duplicate to arrive twice,
	// Reorder to arrive up to ReorderBy later than packets that were sent after it.
	Loss      float64       `json:"loss,omitempty"`
	Duplicate float64       `json:"duplicate,omitempty"`
	Reorder   float64       `json:"reorder,omitempty"`
	ReorderBy time.Duration `json:"reorder_by,omitempty"`
	// Rate is how many bytes a second pass; what is more waits, and what would wait
	// for more than a second is dropped.
	Rate int64 `json:"rate,omitempty"`
	// Corrupt is the chance of a bit of a packet's payload to be flipped so that
	// checksums tell, and CorruptSilently that they do not: the application sees it.
	Corrupt         float64 `json:"corrupt,omitempty"`
	CorruptSilently float64 `json:"corrupt_silently,omitempty"`
	// Seed is that of all that is drawn.
	Seed uint64 `json:"seed,omitempty"`
}

// A Disks is what the nodes' data directories lie on.
type Disks interface {
	// Made says of what they are: DisksFUSE can do everything, DisksXFS cannot be
	// impaired, and decide themselves what they lose.
	Made() string
	// PowerOff ends what runs on the node as a failure of its power does: writes fail
	// from now on, the processes are gone, and then what was not synced is lost. When
	// it returns the disk is in order again, and holds what a disk may hold then.
	PowerOff(node string, p PowerLoss) (Lost, error)
	// Impair does f to what the node does with its disk from now on. It counts
	// operations by kind.
	Impair(node string, f DiskFault) (Impairment, error)
	// Damage changes files of a node that runs nothing. It returns what it did, by
	// file; nothing if there was no file to damage.
	Damage(node string, d Damage) (map[string]string, error)
	// Keep remembers what the node's disk holds; [DamageRollback] goes back there.
	Keep(node string) error
}

// What disks are made of.
const (
	DisksFUSE = "FUSE"
	DisksXFS  = "XFS"
)

// A PowerLoss says what becomes of writes that were not synced, and of names that
// were made, moved or removed without syncing their directory.
type PowerLoss struct {
	Mode LossMode `json:"mode"`
	Seed uint64   `json:"seed"` // of the choice, if there is one
}

// A LossMode is a way for a disk to lose what was not synced.
type LossMode string

// The ways.
const (
	LoseAll    LossMode = "all"    // everything
	LoseSubset LossMode = "subset" // some of the writes, and not the last ones alone
	LoseTorn   LossMode = "torn"   // as LoseSubset, and of some writes only a part of the 512-byte sectors
)

// Lost is what a power failure made of what was not synced.
type Lost struct {
	Writes uint64 `json:"writes"` // that were lost, or torn
	Torn   uint64 `json:"torn,omitempty"`
	Names  uint64 `json:"names,omitempty"` // creations, renames and removals that were lost
	Bytes  uint64 `json:"bytes"`
	Kept   uint64 `json:"kept,omitempty"` // writes that were not synced, and are there all the same
	// Files are those that lost something, with the bytes they lost.
	Files map[string]uint64 `json:"files,omitempty"`
}

// A DiskFault is what goes wrong on a disk that works on.
type DiskFault struct {
	// Read, Write and Sync are the chances of such an operation to fail with EIO.
	Read  float64 `json:"read,omitempty"`
	Write float64 `json:"write,omitempty"`
	Sync  float64 `json:"sync,omitempty"`
	// Full makes whatever needs space fail with ENOSPC.
	Full bool `json:"full,omitempty"`
	// SyncDelay is how much longer a sync takes.
	SyncDelay time.Duration `json:"sync_delay,omitempty"`
	Seed      uint64        `json:"seed,omitempty"`
}

// A Damage is what happens to files that nobody has open.
type Damage struct {
	Kind DamageKind `json:"kind"`
	Seed uint64     `json:"seed"`
}

// A DamageKind is a way to damage files.
type DamageKind string

// The ways.
const (
	DamageBits     DamageKind = "bitflip"  // a few bits of one file, flipped
	DamageTruncate DamageKind = "truncate" // one file, cut short
	DamageRollback DamageKind = "rollback" // all files, as they were when last kept
)

// Clocks are those that the nodes' processes read.
type Clocks interface {
	// Set makes the clocks of a node's processes differ from the true ones, from now
	// on and also for processes that start later. The zero Warp sets them right: the
	// monotonic clock never goes back and so keeps what it has gained.
	Set(node string, w Warp) error
	// Strobe sets the node's clocks to w and right again, in turn, every period,
	// until it is ended; then they are right.
	Strobe(node string, w Warp, every time.Duration) (Impairment, error)
	// Read asks the node itself how far its clocks are off: a process on it, started
	// as the system's are, reads them. Several nodes at once, to be comparable.
	Read(ctx context.Context, nodes ...string) (map[string]Offsets, error)
}

// A Warp is how clocks differ from the true ones.
type Warp struct {
	// Realtime jumps by Offset, and from then on gains Drift seconds a second.
	Offset time.Duration `json:"offset,omitempty"`
	Drift  float64       `json:"drift,omitempty"`
	// MonotonicDrift is what the monotonic clock gains.
	MonotonicDrift float64 `json:"monotonic_drift,omitempty"`
}

// Offsets are by how much a node's clocks differ from the true ones.
type Offsets struct {
	Realtime  time.Duration `json:"realtime"`
	Monotonic time.Duration `json:"monotonic"`
	// Within is how far from the truth both may be.
	Within time.Duration `json:"within"`
}

// Resources are what processes use up.
type Resources interface {
	// Limit holds a node's processes, also those that start later, to l.
	Limit(node string, l Limit) (Impairment, error)
	// Usage returns what the node's processes use.
	Usage(node string) (Usage, error)
	// Method says by what a limit is kept: "cgroup v1", "cgroup v2", or without them.
	Method() string
}

// A Limit is what a node's processes may use. Fields that are zero limit nothing.
type Limit struct {
	// CPU is the part of one core: 0.2 is a fifth.
	CPU float64 `json:"cpu,omitempty"`
	// Memory, in bytes, is what kills a process that uses more.
	Memory int64 `json:"memory,omitempty"`
	// Files is how many descriptors each process may have open.
	Files uint64 `json:"files,omitempty"`
}

// Usage is what processes use.
type Usage struct {
	CPU    time.Duration `json:"cpu"`    // time on a core so far
	Memory int64         `json:"memory"` // bytes now
	Files  int           `json:"files"`  // descriptors now
}

// A Process is what runs on a node: the one that was started there.
type Process struct {
	PID int
	// State is a letter, as in /proc: T is stopped.
	State string
}
