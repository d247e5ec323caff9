package main

import (
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv"
	"github.com/hacheck/hacheck/systems/vmsched"
)

// A find is a deliberate bug of a system, and a run that finds it. What is worth
// telling of a tester is what it finds, so that there is one for each bug; prove runs
// them, and list tells.
type find struct {
	system, bug string
	workload    string
	nemesis     string        // as --nemesis takes it; empty if a schedule is among the flags
	timeLimit   time.Duration // that is enough as a rule
	flags       []string      // what else it takes; files are named from the root of the repository
}

var finds = []find{
	{system: "raftkv", bug: "stale-read", workload: "register", nemesis: "partition", timeLimit: 20 * time.Second},
	{system: "raftkv", bug: "lease-read", workload: "register", nemesis: "clock:jump:leader,partition:leader", timeLimit: 40 * time.Second, flags: []string{"--interval", "1s"}},
	{system: "raftkv", bug: "dirty-read", workload: "register", nemesis: "partition:leader", timeLimit: 20 * time.Second, flags: []string{"--interval", "1s"}},
	{system: "raftkv", bug: "ack-before-commit", workload: "register", nemesis: "partition", timeLimit: 30 * time.Second},
	{system: "raftkv", bug: "no-fsync", workload: "register", nemesis: "disk:power:any,kill", timeLimit: time.Minute, flags: []string{"--interval", "1s"}},
	{
		// It takes a candidate whose log is old, in the very term of a vote that was torn:
		// with faults that were drawn, none of a dozen runs had that.
		system: "raftkv", bug: "torn-vote", workload: "register", timeLimit: 55 * time.Second,
		flags: []string{"--schedule", "systems/raftkv/schedules/torn-vote.yaml", "--nodes", "3", "--no-quorum-guard"},
	},
	{system: "raftkv", bug: "wipe-rejoin", workload: "register", nemesis: "member:rolling", timeLimit: time.Minute},
	{system: "raftkv", bug: "split-brain-bootstrap", workload: "register", nemesis: "kill,partition", timeLimit: 45 * time.Second, flags: []string{"--interval", "1s"}},
	{system: "raftkv", bug: "leave-early", workload: "member", nemesis: "partition:leader", timeLimit: 30 * time.Second, flags: []string{"--interval", "1s"}},
	{system: "raftkv", bug: "members-stale", workload: "member", nemesis: "partition:isolate", timeLimit: 30 * time.Second, flags: []string{"--interval", "2s"}},
	{system: "raftkv", bug: "snapshot-drops-keys", workload: "set", nemesis: "restart,kill", timeLimit: 40 * time.Second, flags: []string{"--interval", "2s"}},
	{system: "raftkv", bug: "snapshot-resurrects", workload: "kv", nemesis: "restart,kill", timeLimit: 40 * time.Second, flags: []string{"--interval", "2s"}},
	{system: "raftkv", bug: "snapshot-drops-sessions", workload: "register", nemesis: "restart,kill", timeLimit: 40 * time.Second, flags: []string{"--interval", "2s"}},
	{system: "raftkv", bug: "snapshot-drops-leases", workload: "lease", nemesis: "restart,kill", timeLimit: 30 * time.Second, flags: []string{"--interval", "2s"}},
	{system: "raftkv", bug: "revision-goes-back", workload: "kv", nemesis: "restart,kill", timeLimit: 40 * time.Second, flags: []string{"--interval", "2s"}},
	{system: "raftkv", bug: "double-apply", workload: "kv", nemesis: "kill:leader,partition", timeLimit: 30 * time.Second, flags: []string{"--interval", "1s"}},
	{system: "raftkv", bug: "check-then-act", workload: "cas-register", nemesis: "none", timeLimit: 15 * time.Second},
	{system: "raftkv", bug: "first-compare", workload: "kv", nemesis: "none", timeLimit: 15 * time.Second},
	{system: "raftkv", bug: "txn-split", workload: "append", nemesis: "none", timeLimit: 15 * time.Second},
	{system: "raftkv", bug: "key-collision", workload: "set", nemesis: "none", timeLimit: 15 * time.Second},
	{system: "raftkv", bug: "compact-live", workload: "kv", nemesis: "none", timeLimit: 20 * time.Second},
	{system: "raftkv", bug: "version-kept", workload: "kv", nemesis: "none", timeLimit: 15 * time.Second},
	{system: "raftkv", bug: "watch-drops", workload: "watch", nemesis: "partition", timeLimit: 30 * time.Second, flags: []string{"--interval", "1s"}},
	{system: "raftkv", bug: "watch-reorders", workload: "watch", nemesis: "partition", timeLimit: 30 * time.Second, flags: []string{"--interval", "1s"}},
	{system: "raftkv", bug: "watch-skips-compacted", workload: "watch", nemesis: "partition:client", timeLimit: 40 * time.Second, flags: []string{"--interval", "1s"}},
	{system: "raftkv", bug: "watch-early-progress", workload: "watch", nemesis: "kill,partition:client", timeLimit: 30 * time.Second, flags: []string{"--interval", "1s"}},
	{system: "raftkv", bug: "watch-uncommitted", workload: "watch", nemesis: "partition:leader", timeLimit: 30 * time.Second, flags: []string{"--interval", "1s"}},
	{system: "raftkv", bug: "watch-repeats", workload: "watch", nemesis: "kill,partition", timeLimit: 30 * time.Second, flags: []string{"--interval", "1s"}},
	{system: "raftkv", bug: "watch-gap", workload: "watch", nemesis: "kill,partition", timeLimit: 30 * time.Second, flags: []string{"--interval", "1s"}},
	{system: "raftkv", bug: "lease-forgotten", workload: "lease", nemesis: "leader", timeLimit: 20 * time.Second, flags: []string{"--interval", "2s"}},
	{system: "raftkv", bug: "lease-dies-early", workload: "lease", nemesis: "leader", timeLimit: 20 * time.Second, flags: []string{"--interval", "1s"}},
	{system: "raftkv", bug: "lease-revives", workload: "lease", nemesis: "none", timeLimit: 15 * time.Second},
	{system: "raftkv", bug: "lease-keeps-keys", workload: "lease", nemesis: "none", timeLimit: 15 * time.Second},
	{system: "raftkv", bug: "lock-twice", workload: "lock", nemesis: "none", timeLimit: 15 * time.Second},
	{system: "raftkv", bug: "lock-unfenced", workload: "lock", nemesis: "none", timeLimit: 15 * time.Second},
	{system: "raftkv", bug: "election-unfenced", workload: "election", nemesis: "none", timeLimit: 15 * time.Second},
	{system: "raftkv", bug: "timeout-as-fail", workload: "register", nemesis: "partition,partition:client", timeLimit: 30 * time.Second},
	{system: "raftkv", bug: "timeout-as-ok", workload: "register", nemesis: "partition,partition:client", timeLimit: 30 * time.Second},
	{system: "raftkv", bug: "retry-renumbered", workload: "queue", nemesis: "kill:leader,partition:client", timeLimit: 30 * time.Second, flags: []string{"--interval", "1s"}},
	{system: "raftkv", bug: "session-forgets", workload: "session", nemesis: "partition", timeLimit: 20 * time.Second, flags: []string{"--interval", "1s"}},
	{system: "raftkv", bug: "queue-peeks", workload: "queue", nemesis: "none", timeLimit: 15 * time.Second},
	{system: "raftkv", bug: "lost-update", workload: "counter", nemesis: "none", timeLimit: 15 * time.Second},
	{system: "raftkv", bug: "id-block-reused", workload: "unique-ids", nemesis: "kill:leader,partition", timeLimit: 30 * time.Second, flags: []string{"--interval", "1s"}},

	// A host's lease is 4 s: what shows in a failover takes a host that is gone for longer.
	{system: "vmsched", bug: "no-fence", workload: "vm", nemesis: "host-partition:management", timeLimit: 30 * time.Second, flags: []string{"--interval", "3s"}},
	{system: "vmsched", bug: "wall-clock-fence", workload: "vm", timeLimit: 30 * time.Second, flags: vmSchedule("wall-clock-fence")},
	{system: "vmsched", bug: "paused-thread", workload: "vm", timeLimit: 30 * time.Second, flags: vmSchedule("paused-thread")},
	{system: "vmsched", bug: "stale-rejoin", workload: "vm", timeLimit: 30 * time.Second, flags: vmSchedule("hosts-die")},
	{system: "vmsched", bug: "adopt-unwatched", workload: "vm", timeLimit: 30 * time.Second, flags: vmSchedule("adopt-unwatched")},
	{system: "vmsched", bug: "volume-no-epoch", workload: "vm", nemesis: "guest-kill", timeLimit: 20 * time.Second, flags: []string{"--interval", "1s"}},
	{system: "vmsched", bug: "volume-no-sync", workload: "vm", timeLimit: 15 * time.Second, flags: vmSchedule("volume-no-sync")},
	{system: "vmsched", bug: "image-lock-off", workload: "vm", nemesis: "none", timeLimit: 20 * time.Second, flags: []string{"--hypervisor", "qemu"}},
	{system: "vmsched", bug: "epoch-kept", workload: "vm", nemesis: "guest-kill", timeLimit: 15 * time.Second, flags: []string{"--interval", "1s"}},
	{system: "vmsched", bug: "resume-source", workload: "vm", timeLimit: 25 * time.Second, flags: vmSchedule("resume-source")},
	{system: "vmsched", bug: "source-lost", workload: "vm", timeLimit: 25 * time.Second, flags: vmSchedule("source-lost")},
	{system: "vmsched", bug: "target-left", workload: "vm", timeLimit: 25 * time.Second, flags: vmSchedule("target-left")},
	{system: "vmsched", bug: "stuck-migrating", workload: "vm", timeLimit: 16 * time.Second, flags: vmSchedule("stuck-migrating")},
	{system: "vmsched", bug: "two-leaders", workload: "vm", nemesis: "pause:scheduler", timeLimit: 30 * time.Second, flags: []string{"--interval", "3s"}},
	{system: "vmsched", bug: "capacity-leaked", workload: "vm", nemesis: "guest-kill", timeLimit: 12 * time.Second, flags: []string{"--interval", "1s"}},
	{system: "vmsched", bug: "over-commit", workload: "vm", timeLimit: 30 * time.Second, flags: vmSchedule("hosts-die")},
	{system: "vmsched", bug: "labels-ignored", workload: "vm", nemesis: "none", timeLimit: 30 * time.Second},
	{system: "vmsched", bug: "affinity-ignored", workload: "vm", nemesis: "none", timeLimit: 30 * time.Second, flags: []string{"--nodes", "7"}},
	{system: "vmsched", bug: "create-twice", workload: "vm", nemesis: "none", timeLimit: 15 * time.Second},
	{system: "vmsched", bug: "delete-resurrected", workload: "vm", nemesis: "none", timeLimit: 25 * time.Second},
	{system: "vmsched", bug: "stop-forgotten", workload: "vm", timeLimit: 30 * time.Second, flags: vmSchedule("hosts-die")},
}

// vmSchedule returns the flags of a schedule of vmsched.
func vmSchedule(name string) []string {
	return []string{"--schedule", vmSchedules + name + ".yaml"}
}

const vmSchedules = "systems/vmsched/schedules/"

// scheduleFile returns the file of a schedule that the flags name, by its name from the root of
// the repository: this program has them in it.
func scheduleFile(name string) (text []byte, ok bool) {
	if name == "systems/raftkv/schedules/torn-vote.yaml" {
		return raftkv.TornVoteSchedule, true
	}
	if inside, is := strings.CutPrefix(name, "systems/vmsched/"); is {
		text, err := vmsched.Schedules.ReadFile(inside)
		return text, err == nil
	}
	return nil, false
}

// options returns those of the run, but for the bug and its system.
func (f find) options() []string {
	options := []string{"--workload", f.workload, "--time-limit", f.timeLimit.String()}
	if f.nemesis != "" {
		options = append(options, "--nemesis", f.nemesis)
	}
	return append(options, f.flags...)
}

// arguments returns the command of the run, without the program's name.
func (f find) arguments() []string {
	return slices.Concat([]string{"run", "--system", f.system, "--bug", f.bug}, f.options())
}
