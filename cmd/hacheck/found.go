package main

import (
	"slices"
	"time"
)

// A find is a deliberate bug of a system, and a run that finds it. What is worth
// telling of a tester is what it finds, so that there is one for each bug; "make
// bugs" measures how often, and list tells.
type find struct {
	system, bug string
	workload    string
	nemesis     string        // as --nemesis takes it
	timeLimit   time.Duration // that is enough as a rule
	flags       []string      // what else it takes
}

var finds = []find{
	{system: "raftkv", bug: "stale-read", workload: "register", nemesis: "partition", timeLimit: 20 * time.Second},
	{system: "raftkv", bug: "ack-before-commit", workload: "register", nemesis: "partition", timeLimit: 30 * time.Second},
	{system: "raftkv", bug: "timeout-as-fail", workload: "register", nemesis: "partition,partition:client", timeLimit: 30 * time.Second},
	{system: "raftkv", bug: "no-fsync", workload: "register", nemesis: "disk:power:any,kill", timeLimit: time.Minute, flags: []string{"--interval", "1s"}},
	{system: "raftkv", bug: "torn-vote", workload: "register", nemesis: "disk:power,kill", timeLimit: time.Minute},
	{system: "raftkv", bug: "lease-read", workload: "register", nemesis: "clock:jump:leader,partition:leader", timeLimit: 40 * time.Second, flags: []string{"--interval", "1s"}},
	{system: "raftkv", bug: "snapshot-drops-keys", workload: "register", nemesis: "restart,kill", timeLimit: time.Minute, flags: []string{"--interval", "2s"}},
	{system: "raftkv", bug: "wipe-rejoin", workload: "register", nemesis: "member:replace,partition", timeLimit: time.Minute, flags: []string{"--interval", "1s"}},
	{system: "raftkv", bug: "split-brain-bootstrap", workload: "register", nemesis: "kill,partition", timeLimit: 45 * time.Second, flags: []string{"--interval", "1s"}},
}

// options returns those of the run, but for the bug and its system.
func (f find) options() []string {
	return slices.Concat([]string{"--workload", f.workload, "--nemesis", f.nemesis, "--time-limit", f.timeLimit.String()}, f.flags)
}

// arguments returns the command of the run, without the program's name.
func (f find) arguments() []string {
	return slices.Concat([]string{"run", "--system", f.system, "--bug", f.bug}, f.options())
}
