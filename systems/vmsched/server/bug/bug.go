// Package bug names the deliberate mistakes of vmsched. Each is a small seam where it is
// made, is modelled on one that was made in earnest, and is there so that a tester can
// show that it would be found. Without a name nothing of it happens.
package bug

import "slices"

// A Bug is a mistake that is made on request.
type Bug struct {
	Name string
	// Summary says in one line what goes wrong.
	Summary string
}

// The bugs of fencing.
const (
	// NoFence restarts the machines of a host that has not been heard of for a second, as
	// OpenStack's evacuate does whenever it is told to, and as clusters of Pacemaker do with
	// stonith-enabled=false.
	NoFence = "no-fence"
	// WallClockFence reckons the end of a host's lease by the clock on the wall, as the
	// leases of many a system did: one that is set back runs guests for longer.
	WallClockFence = "wall-clock-fence"
	// PausedThread counts a lease from when the thread that keeps it alive has got the
	// answer, and not from when it has asked, and has no watchdog but itself: who was paused
	// in between goes on, as Jepsen and M. Kleppmann have shown of clients of lock services.
	PausedThread = "paused-thread"
	// StaleRejoin has a host that comes back start again what it ran when it was last heard
	// of, as hypervisors that start guests by themselves after a reboot do.
	StaleRejoin = "stale-rejoin"
	// AdoptUnwatched has an agent that was restarted forget to watch over the guests that it
	// finds: they run on when its lease ends.
	AdoptUnwatched = "adopt-unwatched"
	// VolumeNoEpoch has volumes take writes of any epoch, as shared images without a lock do:
	// what was on the way from a guest that is gone arrives behind what its successor wrote.
	VolumeNoEpoch = "volume-no-epoch"
	// VolumeNoSync has volumes acknowledge what they have not synced, as caches set to unsafe
	// do.
	VolumeNoSync = "volume-no-sync"
	// ImageLockOff starts QEMU with file.locking=off, as management layers did to have live
	// migration over NFS: two of them may have one image.
	ImageLockOff = "image-lock-off"
	// EpochKept starts a guest again in the epoch that it had.
	EpochKept = "epoch-kept"
)

// The bugs of live migration.
const (
	// ResumeSource has the source of a migration go on if it has not heard soon that it was
	// committed: KubeVirt 1.6.0 to 1.6.2 ran machines twice after a migration (issues 15373,
	// 15711, 16622).
	ResumeSource = "resume-source"
	// SourceLost forgets a machine whose source dies after it was handed over, as KubeVirt
	// did (issue 13112): the target is ended, and the source is gone.
	SourceLost = "source-lost"
	// TargetLeft leaves the target of a migration running that was cancelled, or failed.
	TargetLeft = "target-left"
	// StuckMigrating waits for ever for a migration whose target has died, as KubeVirt did
	// (issue 2495).
	StuckMigrating = "stuck-migrating"
)

// The bugs of the control plane.
const (
	// TwoLeaders has schedulers go on that were deposed, and change things as they see them:
	// without the condition that they lead, or that nothing has changed since.
	TwoLeaders = "two-leaders"
	// CapacityLeaked does not give back what was reserved for a migration that came to
	// nothing, as schedulers do that keep claims apart from what they are for.
	CapacityLeaked = "capacity-leaked"
	// OverCommit places machines by a view that it does not make sure of: two at once may get
	// the last place of a host.
	OverCommit = "over-commit"
	// AffinityIgnored ignores groups when a host is drained, as Nova's live migration did
	// with server groups.
	AffinityIgnored = "affinity-ignored"
	// LabelsIgnored ignores labels when a machine is migrated, as Nova's live migration did
	// when it was told to force a host: it asked the scheduler's filters no more.
	LabelsIgnored = "labels-ignored"
	// CreateTwice makes another machine when a create is sent again.
	CreateTwice = "create-twice"
	// DeleteResurrected has a slow agent say that a machine runs without looking whether it
	// was deleted meanwhile.
	DeleteResurrected = "delete-resurrected"
	// StopForgotten starts a machine again that was to be stopped when its host died.
	StopForgotten = "stop-forgotten"
)

// All are the bugs.
var All = []Bug{
	{NoFence, "machines are started elsewhere before their host is fenced"},
	{WallClockFence, "hosts reckon the end of their lease by the clock on the wall"},
	{PausedThread, "hosts count their lease from the answer, and have no watchdog"},
	{StaleRejoin, "a host that comes back starts what it ran before"},
	{AdoptUnwatched, "an agent that was restarted does not watch over the guests it finds"},
	{VolumeNoEpoch, "volumes take writes of old epochs"},
	{VolumeNoSync, "volumes acknowledge writes that are not synced"},
	{ImageLockOff, "QEMU does not lock images, and the source of a migration goes on"},
	{EpochKept, "a guest is started again in the epoch that it had"},
	{ResumeSource, "the source of a migration goes on if it does not hear of the end soon"},
	{SourceLost, "a machine is forgotten whose source dies after it was handed over"},
	{TargetLeft, "the target of a migration that was cancelled goes on"},
	{StuckMigrating, "a migration whose target has died is waited for"},
	{TwoLeaders, "schedulers that were deposed go on"},
	{CapacityLeaked, "the reservation of a migration that came to nothing is kept"},
	{OverCommit, "machines are placed by an old view of their host"},
	{AffinityIgnored, "drains put machines of a group on one host"},
	{LabelsIgnored, "machines are migrated to hosts without the labels they need"},
	{CreateTwice, "a create that is sent again makes another machine"},
	{DeleteResurrected, "a slow agent brings a deleted machine back"},
	{StopForgotten, "a stopped machine is started again when its host dies"},
}

// Is says whether there is a bug of that name.
func Is(name string) bool {
	return slices.ContainsFunc(All, func(b Bug) bool { return b.Name == name })
}
