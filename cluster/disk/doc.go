// Package disk is a file system that can lose its power.
//
// A [Disk] lies over a directory. Everything that is done to it is done to the
// directory at once, so that it can be read there at any time; but how to undo it
// is remembered until it is synced. When the power fails, what was not synced is
// undone: all of it, or a part, as when a kernel had already written some of it.
//
// # What is durable
//
// Of a file, what fsync, fdatasync, msync or a write with O_SYNC or O_DSYNC has
// been acknowledged for: its bytes and its size. Every sector of 512 bytes holds
// what it held at one of the times since then, never a mixture; where the file
// grew and the sector was not written, zeros. Modes, owners and times are durable
// at once.
//
// Of a directory, what its own fsync has been acknowledged for: names that were
// made, moved and removed. A rename is durable in both of its directories or in
// neither. Also, an fsync of a file or a directory makes the change that gave it
// its name durable. POSIX does not ask for that, but every file system of Linux
// does it, and respectable stores rely on it: bbolt never syncs the directory of a
// new database, nor hashicorp/raft that of a new snapshot. With [Config.Strict] it
// is not so for files.
//
// What was built on something else is lost with it, and makes it durable with
// itself: a name in a directory needs that directory, a second rename the first,
// the removal of a directory the removals in it.
//
// Nothing has to be lost, so the oldest of what is not synced becomes durable when
// there is too much of it to remember, as a kernel writes back too. That an fsync
// failed changes nothing: it is the next that counts.
//
// # Limits
//
// A sync(2) or syncfs(2) is not passed on by the kernel and makes nothing durable.
// Hence a program that relies on it loses what it need not.
package disk

// A Mode is a way to lose what was not synced.
type Mode string

// The ways.
const (
	All    Mode = "all"    // everything
	Subset Mode = "subset" // some writes and some names
	Torn   Mode = "torn"   // and of some writes only a part of the sectors
)

// Lost is what the loss of power made of what was not synced.
type Lost struct {
	Writes uint64            // that are not there, or not as a whole
	Torn   uint64            // those of them of which a part is there
	Names  uint64            // changes of names that are not there
	Bytes  uint64            // in the sectors that are as they were before
	Kept   uint64            // writes and changes of names that are there all the same
	Files  map[string]uint64 // those that lost something, with the bytes
}

// A Damage is a way to change files while nobody looks.
type Damage string

// The ways.
const (
	Bits     Damage = "bitflip"  // some bits of one file
	Truncate Damage = "truncate" // one file, cut short
	Rollback Damage = "rollback" // all, as they were when last kept
)
