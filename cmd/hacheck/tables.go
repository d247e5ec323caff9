package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/nemesis"
	"github.com/hacheck/hacheck/systems/raftkv"
	"github.com/hacheck/hacheck/systems/vmsched"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/appends"
	"github.com/hacheck/hacheck/workloads/counter"
	"github.com/hacheck/hacheck/workloads/election"
	"github.com/hacheck/hacheck/workloads/kv"
	"github.com/hacheck/hacheck/workloads/lease"
	"github.com/hacheck/hacheck/workloads/lock"
	"github.com/hacheck/hacheck/workloads/member"
	"github.com/hacheck/hacheck/workloads/queue"
	"github.com/hacheck/hacheck/workloads/recorded"
	"github.com/hacheck/hacheck/workloads/register"
	"github.com/hacheck/hacheck/workloads/session"
	"github.com/hacheck/hacheck/workloads/set"
	"github.com/hacheck/hacheck/workloads/uniqueids"
	"github.com/hacheck/hacheck/workloads/vm"
	"github.com/hacheck/hacheck/workloads/watch"
)

// What there is to choose from. To add to it is to add a line here: nothing
// registers itself.

// A system is a system under test.
type system struct {
	name, about string
	bugs        []named
	// tunes are what makes it perform otherwise.
	tunes []tune
	// limits are the faults that it does not claim to bear, as in "disk:rollback", each
	// with the reason.
	limits map[string]string
	// offers are the workloads whose clients it has; it is what they are run on unless
	// somebody asks for another that offers them, too.
	offers []string
	// nodes is how many it has by default, and least how many it needs.
	nodes, least int
	// interval and timeLimit are the defaults of runs: what it does about a fault takes less
	// time than the one, and several faults fit into the other.
	interval, timeLimit time.Duration
	// clean are the flags of runs that are to be valid: shorter ones, with faults that are.
	clean []string
	// parts says which nodes do what, of so many; nil: all do the same.
	parts func(nodes []string) []cluster.Part
	// roles are those that its nodes play, and clockRate is by how much faster one of their
	// monotonic clocks may run than another; 0: it does not say.
	roles     []string
	clockRate float64
	// hypervisors are those that can run its guests, the default first; none if it has no
	// guests.
	hypervisors []named
	// seams are those of its bugs that are in one hypervisor, which they need.
	seams map[string]string
	// lacks says what this machine lacks for a hypervisor, if so; nil: it has none.
	lacks func(hypervisor string) error
	// install makes one in a lab. It starts nothing yet.
	install func(l cluster.Lab, o *options) (installed, error)
	// node is what hacheck does when a lab has started it to be a node; see
	// cluster.Command.
	node func(ctx context.Context, config string) error
}

type named struct{ name, about string }

// hypervisor returns that which runs the guests by default; empty: there are none.
func (s system) hypervisor() string {
	if len(s.hypervisors) == 0 {
		return ""
	}
	return s.hypervisors[0].name
}

// An installed is a system in a lab, with a client for every workload that it offers:
// those of a store, or of machines.
type installed interface {
	cluster.System
	io.Closer
}

// A keyValueStore is a system that offers the workloads of a key-value store: each of these
// connects the client of a worker.
type keyValueStore interface {
	OpenRegister(ctx context.Context, worker int) (register.KV, error)
	OpenKV(ctx context.Context, worker int) (kv.Store, error)
	OpenSet(ctx context.Context, worker int) (set.Set, error)
	OpenAppend(ctx context.Context, worker int) (appends.Store, error)
	OpenCounter(ctx context.Context, worker int) (counter.Counter, error)
	OpenIDs(ctx context.Context, worker int) (uniqueids.IDs, error)
	OpenQueue(ctx context.Context, worker int) (queue.Queue, error)
	OpenLock(ctx context.Context, worker int) (lock.Locks, error)
	OpenLease(ctx context.Context, worker int) (lease.Leases, error)
	OpenWatch(ctx context.Context, worker int) (watch.Store, error)
	OpenElection(ctx context.Context, worker int) (election.Elections, error)
	OpenMember(ctx context.Context, worker int) (member.Cluster, error)
	OpenSession(ctx context.Context, worker int) (session.Session, error)
}

// A cloud is a system that runs machines.
type cloud interface {
	OpenVM(ctx context.Context, worker int) (vm.Cluster, error)
	// Parts are its nodes, of which some are hosts.
	cluster.Parted
	// Labels are what some of the hosts are labelled.
	Labels() map[string]string
}

var systems = []system{
	{
		name:     raftkv.Name,
		about:    "a key-value store on hashicorp/raft, with a gRPC API",
		bugs:     raftkvBugs(),
		tunes:    raftkvTunes,
		limits:   raftkv.Limits(),
		offers:   raftkvWorkloads,
		nodes:    5,
		least:    1,
		interval: 3 * time.Second, timeLimit: 20 * time.Second,
		clean:   []string{"--time-limit", "8s", "--interval", "2s"},
		install: installRaftkv,
		node:    raftkv.RunNode,
	},
	{
		name:        vmsched.Name,
		about:       "a control plane of virtual machines: schedulers, hosts that fence themselves, live migration",
		bugs:        vmschedBugs(),
		tunes:       vmschedTunes,
		limits:      raftkv.Limits(), // of the store that its control nodes are
		offers:      []string{"vm"},
		nodes:       vmsched.DefaultNodes,
		least:       vmsched.MinNodes,
		interval:    8 * time.Second, // a host has to be gone for longer than its lease
		timeLimit:   25 * time.Second,
		clean:       []string{"--time-limit", "20s", "--interval", "5s"},
		parts:       vmschedParts,
		roles:       vmsched.Roles(),
		clockRate:   vmsched.ClockRate,
		hypervisors: vmschedHypervisors,
		seams:       map[string]string{"image-lock-off": vmsched.HypervisorQEMU},
		lacks:       vmsched.Lacks,
		install:     installVmsched,
		node:        vmsched.RunNode,
	},
}

// A workload is what clients do.
type workload struct {
	name, about string
	// functions are what its clients invoke, by which a history is recognised; none if it
	// is judged as another one, whose histories look the same.
	functions []string
	// takes says whether its clients may say what an op of theirs does, invoked or ok, where
	// others have functions of the same names; nil: they may say anything. keyed is whether
	// the calls before it had keys.
	takes func(op histories.Op, keyed bool) bool
	// keyless is whether the number of keys says nothing to it.
	keyless bool
	// absent is how many of so many nodes its clients may have made no members; nil: none.
	absent  func(nodes int) int
	checker func(checker.Budget) checker.Checker
	// as is checker, of histories of others, for what these flags of [semantics] say; nil
	// if they say nothing to it.
	as        func(register.Semantics, checker.Budget) checker.Checker
	semantics []string
	// live is what judges a run while it goes on; nil: the checker does, over and over.
	live func() checker.Live
	// timeout is how long one operation may take; 0: as long as the runner says.
	timeout time.Duration
	// tracks are what a history shows beside its ops; nil: nothing.
	tracks func(*histories.History) ([]workloads.Track, error)
	// new is what is played; nil of what others play, and we can but check.
	new func(s installed, o *options) workloads.Workload
}

// unbounded makes a checker that takes what it takes one with a budget: it needs none.
func unbounded(c func() checker.Checker) func(checker.Budget) checker.Checker {
	return func(checker.Budget) checker.Checker { return c() }
}

var allWorkloads = []workload{
	{
		name:      "register",
		about:     "read, write and compare-and-set keys; each must be linearizable",
		functions: []string{register.Read, register.Write, register.CAS},
		takes:     takesRegister,
		checker:   register.Checker,
		as:        register.Semantics.Checker,
		semantics: []string{initialFlag, nilReadsFlag, failedCASFlag},
		live:      register.Live,
		new: func(s installed, o *options) workloads.Workload {
			return register.New(register.Options{Keys: o.keysInUse(), Rate: o.rate}, s.(keyValueStore).OpenRegister, checker.Budget{})
		},
	},
	{
		name:      "cas-register",
		about:     "the same, and most changes are compare-and-sets",
		checker:   register.Checker,
		as:        register.Semantics.Checker,
		semantics: []string{initialFlag, nilReadsFlag, failedCASFlag},
		live:      register.Live,
		new: func(s installed, o *options) workloads.Workload {
			return register.New(register.Options{Keys: o.keysInUse(), Rate: o.rate, CAS: true}, s.(keyValueStore).OpenRegister, checker.Budget{})
		},
	},
	{
		name:      "kv",
		about:     "puts, deletes, ranges and transactions; the whole store must be linearizable over its revisions",
		functions: []string{kv.Get, kv.Range, kv.Put, kv.Delete, kv.Transact, kv.Compact},
		takes:     takesStore,
		checker:   unbounded(kv.Checker),
		new: func(s installed, o *options) workloads.Workload {
			return kv.New(kv.Options{Keys: o.keys, Rate: o.rate}, s.(keyValueStore).OpenKV)
		},
	},
	{
		name:      "set",
		about:     "add elements and read whole sets; what was added must be in every later read, once",
		functions: []string{set.Add, set.Read},
		takes:     takesSet,
		checker:   unbounded(set.Checker),
		new: func(s installed, o *options) workloads.Workload {
			return set.New(set.Options{Sets: o.keys, Rate: o.rate}, s.(keyValueStore).OpenSet)
		},
	},
	{
		name:      "append",
		about:     "transactions that append to lists and read them; they must be strictly serializable",
		functions: []string{appends.Txn},
		takes:     takesAppend,
		checker:   unbounded(appends.Checker),
		new: func(s installed, o *options) workloads.Workload {
			return appends.New(appends.Options{Keys: o.keys, Rate: o.rate}, s.(keyValueStore).OpenAppend)
		},
	},
	{
		name:      "counter",
		about:     "add to sums, up and down, and read them; every read must be a sum that can be",
		functions: []string{counter.Add, counter.Read},
		takes:     takesCounter,
		checker:   unbounded(counter.Checker),
		new: func(s installed, o *options) workloads.Workload {
			return counter.New(counter.Options{Counters: o.keys, Rate: o.rate}, s.(keyValueStore).OpenCounter)
		},
	},
	{
		name:      "unique-ids",
		about:     "take identifiers; none may be handed out twice",
		functions: []string{uniqueids.Generate},
		checker:   unbounded(uniqueids.Checker),
		keyless:   true,
		new: func(s installed, o *options) workloads.Workload {
			return uniqueids.New(uniqueids.Options{Rate: o.rate}, s.(keyValueStore).OpenIDs)
		},
	},
	{
		name:      "queue",
		about:     "enqueue and dequeue values; each must come out once, in order",
		functions: []string{queue.Enqueue, queue.Dequeue},
		takes:     takesQueue,
		checker:   unbounded(func() checker.Checker { return queue.Checker(true) }),
		new: func(s installed, o *options) workloads.Workload {
			return queue.New(queue.Options{Queues: o.keys, Rate: o.rate}, s.(keyValueStore).OpenQueue)
		},
	},
	{
		name:      "lock",
		about:     "take locks and write what they protect; one holder at a time, fenced by tokens",
		functions: []string{lock.Acquire, lock.Renew, lock.Release, lock.Write, lock.Read},
		takes:     takesLock,
		checker:   unbounded(lock.Checker),
		tracks:    lock.Tracks,
		new: func(s installed, o *options) workloads.Workload {
			return lock.New(lock.Options{Locks: o.keys, Rate: o.rate}, s.(keyValueStore).OpenLock)
		},
	},
	{
		name:      "lease",
		about:     "keep leases alive, or not; their keys must live as long, and hardly longer",
		functions: []string{lease.Grant, lease.KeepAlive, lease.Revoke, lease.Read},
		checker:   unbounded(lease.Checker),
		tracks:    lease.Tracks,
		new: func(s installed, o *options) workloads.Workload {
			return lease.New(lease.Options{Keys: o.keys, Rate: o.rate}, s.(keyValueStore).OpenLease)
		},
	},
	{
		name:      "watch",
		about:     "write keys and watch them; each watcher must be told every change once, in order",
		functions: []string{watch.Put, watch.Delete, watch.Compact, watch.Status, watch.Watch},
		takes:     takesStore,
		checker:   unbounded(watch.Checker),
		keyless:   true,
		new: func(s installed, o *options) workloads.Workload {
			return watch.New(watch.Options{Rate: o.rate}, s.(keyValueStore).OpenWatch)
		},
	},
	{
		name:      "election",
		about:     "campaign, proclaim and resign; one leader a term, and who is deposed is fenced off",
		functions: []string{election.Campaign, election.Proclaim, election.Resign, election.Observe},
		checker:   unbounded(election.Checker),
		tracks:    election.Tracks,
		new: func(s installed, o *options) workloads.Workload {
			return election.New(election.Options{Elections: o.keys, Rate: o.rate}, s.(keyValueStore).OpenElection)
		},
	},
	{
		name:      "member",
		about:     "nodes leave and join under reads and writes; no write may be lost, and who is a member is linearizable",
		functions: []string{member.Read, member.Write, member.Members, member.Leave, member.Join, member.Transfer},
		takes:     takesKeyedRegister,
		absent:    member.Absent,
		checker:   member.Checker,
		new: func(s installed, o *options) workloads.Workload {
			return member.New(member.Options{Keys: o.keys, Rate: o.rate}, s.(keyValueStore).OpenMember, checker.Budget{})
		},
	},
	{
		name:      "session",
		about:     "read from any node; each client must see its own writes, and nothing go back",
		functions: []string{session.Write, session.Read},
		takes:     takesKeyedRegister,
		checker:   unbounded(session.Checker),
		keyless:   true,
		new: func(s installed, o *options) workloads.Workload {
			return session.New(session.Options{Rate: o.rate}, s.(keyValueStore).OpenSession)
		},
	},
	{
		name:      "vm",
		tracks:    vm.Tracks,
		about:     "create, move and delete machines, and drain hosts; none may run twice, be lost, or lose what it wrote",
		functions: vm.Functions(),
		checker:   vm.Checker,
		timeout:   2 * time.Second, // what it does in the end takes most of one
		keyless:   true,
		new:       newVM,
	},
}

// recordedWorkloads are those that others have recorded, and that are checked and not run.
var recordedWorkloads = []workload{
	{
		name:      "mutex",
		about:     "acquire and release locks, whoever holds them; one holder at a time",
		functions: recorded.MutexFunctions(),
		takes:     takesMutex,
		checker:   recorded.Mutex,
	},
	{
		name:      "multi-register",
		about:     "transactions that read and write registers; all of those must be linearizable as one",
		functions: recorded.MultiRegisterFunctions(),
		takes:     takesMultiRegister,
		checker:   func(b checker.Budget) checker.Checker { return recorded.MultiRegister(nil, b) },
		as:        asMultiRegister,
		semantics: []string{initialFlag},
	},
	{
		name:      "kv-append",
		about:     "get, put and append to texts; each must be linearizable",
		functions: recorded.KVAppendFunctions(),
		takes:     takesTexts,
		checker:   recorded.KVAppend,
	},
	{
		name:      "fifo-queue",
		about:     "enqueue and dequeue values, which may be equal; each queue must be linearizable",
		functions: recorded.FIFOQueueFunctions(),
		checker:   recorded.FIFOQueue,
	},
	{
		name:      totalQueue,
		about:     "enqueue and dequeue values; each must come out once, in any order",
		functions: []string{queue.Enqueue, queue.Dequeue},
		takes:     takesQueue,
		checker:   unbounded(func() checker.Checker { return queue.Checker(false) }),
	},
	{
		name:      "linearizable-set",
		about:     "add, remove and look for elements; each must be linearizable",
		functions: recorded.SetFunctions(),
		checker:   recorded.Set,
	},
}

// checkedWorkloads returns all that can be checked.
func checkedWorkloads() []workload { return slices.Concat(allWorkloads, recordedWorkloads) }

// faults are what a nemesis can do.
var faults = []nemesis.Fault{
	nemesis.Kill(),
	nemesis.Pause(),
	nemesis.Restart(),
	nemesis.Partition(),
	nemesis.Packet(),
	nemesis.Clock(),
	nemesis.Disk(),
	nemesis.Resource(),
	nemesis.Member(),
	nemesis.Leader(),
	nemesis.HostKill(),
	nemesis.HostPause(),
	nemesis.HostRestart(),
	nemesis.HostPartition(),
	nemesis.HostClock(),
	nemesis.GuestKill(),
	nemesis.AgentRestart(),
	nemesis.StorageKill(),
	nemesis.StorageDisk(),
}

// units are what the evidence of faults counts, one and many: by fault and variant, or
// by fault where variants make no difference, or were drawn.
var units = map[string][2]string{
	"partition":     {"packet dropped", "packets dropped"},
	"kill":          {"process ended", "processes ended"},
	"restart":       {"process ended", "processes ended"},
	"pause":         {"process stopped", "processes stopped"},
	"packet":        {"packet touched", "packets touched"},
	"packet:reset":  {"connection reset", "connections reset"},
	"disk":          {"effect on a disk", "effects on disks"},
	"disk:power":    {"write, name or process lost", "writes, names and processes lost"},
	"disk:xfs":      {"write, name or process lost", "writes, names and processes lost"},
	"disk:eio":      {"operation failed", "operations failed"},
	"disk:full":     {"operation without space", "operations without space"},
	"disk:slow":     {"sync slowed", "syncs slowed"},
	"disk:bitflip":  {"file with flipped bits", "files with flipped bits"},
	"disk:truncate": {"file cut short", "files cut short"},
	"disk:rollback": {"disk rolled back", "disks rolled back"},
	"clock":         {"clock read wrong", "clocks read wrong"},
	"resource":      {"limit hit", "limits hit"},
	"member":        {"node replaced", "nodes replaced"},
	"leader":        {"election", "elections"},

	"host-kill":      {"process ended", "processes ended"},
	"host-pause":     {"process stopped", "processes stopped"},
	"host-restart":   {"process ended", "processes ended"},
	"host-partition": {"packet dropped", "packets dropped"},
	"host-clock":     {"clock read wrong", "clocks read wrong"},
	"guest-kill":     {"guest killed", "guests killed"},
	"agent-restart":  {"agent restarted", "agents restarted"},
	"storage-kill":   {"process ended", "processes ended"},
	"storage-disk":   {"effect on a disk", "effects on disks"},
}

// evidence says what the evidence of a fault counts: n of it.
func evidence(fault string, n int64) string {
	words := strings.SplitN(fault, ":", 3)
	unit, ok := units[strings.Join(words[:min(2, len(words))], ":")]
	if !ok { // the second word is a target
		unit = units[words[0]]
	}
	if n == 1 {
		return "1 " + cmp.Or(unit[0], "evidence")
	}
	return fmt.Sprintf("%d %s", n, cmp.Or(unit[1], "evidence"))
}

// systemFor returns the system that a workload is run on by default.
func systemFor(workload string) *system {
	at := slices.IndexFunc(systems, func(s system) bool { return slices.Contains(s.offers, workload) })
	return &systems[max(at, 0)]
}

// offering returns the names of the systems that offer a workload.
func offering(workload string) (names []string) {
	for _, s := range systems {
		if slices.Contains(s.offers, workload) {
			names = append(names, s.name)
		}
	}
	return names
}

func systemNames() (names []string) {
	for _, s := range systems {
		names = append(names, s.name)
	}
	return names
}

// names returns those of what has them.
func names(of []named) (names []string) {
	for _, n := range of {
		names = append(names, n.name)
	}
	return names
}

// workloadNames returns what run --workload takes.
func workloadNames() []string { return namesOf(allWorkloads) }

// checkedNames returns what check --workload takes.
func checkedNames() []string { return namesOf(checkedWorkloads()) }

func namesOf(workloads []workload) (names []string) {
	for _, w := range workloads {
		names = append(names, w.name)
	}
	return names
}

// nemesisNames returns what --nemesis takes.
func nemesisNames() []string { return append(nemesis.Names(faults), "none") }

func findSystem(name string) *system {
	return &systems[slices.IndexFunc(systems, func(s system) bool { return s.name == name })]
}

func findWorkload(name string) *workload {
	all := checkedWorkloads()
	return &all[slices.IndexFunc(all, func(w workload) bool { return w.name == name })]
}
