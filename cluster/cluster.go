// Package cluster is the lab: the place where the nodes of a system under test
// live, and where what goes on between and around them can be broken.
//
// [Lab] is what the rest of hacheck sees of it. [Local] is the lab on this
// machine: each node is a real process in a network namespace of its own, and a
// switch in the tester moves their packets. Other labs, such as remote hosts, can
// stand beside it.
package cluster

import (
	"context"
	"net/netip"
)

// A Node is a machine as the system under test sees it.
type Node struct {
	Name string     // "n1", "n2", ...
	Addr netip.Addr // its own
	Dir  string     // its data directory: it survives the death of processes
}

// A Command is a program to run on a node.
type Command struct {
	// Path is the program; if empty it is this one, so that the systems that ship
	// with hacheck need no second build.
	Path string
	Args []string // without the program's name
	Env  []string // beside the tester's own environment
}

// A Lab runs one process on each of its nodes. Its methods are safe for
// concurrent use.
type Lab interface {
	// Nodes returns the nodes, in order.
	Nodes() []Node
	// Start runs c on a node that runs nothing.
	Start(node string, c Command) error
	// Stop asks the node's process to end, with SIGTERM, and waits for it; what
	// has not ended when ctx does is killed. Nothing to stop is no error.
	Stop(ctx context.Context, node string) error
	// Kill ends the node's process at once, with SIGKILL, and waits until it is
	// gone. Nothing to kill is no error.
	Kill(node string) error
	// KillOne ends one process of those that run on the node, by its number, and waits until
	// it is gone: the one that was started there, or another. All others go on. None of that
	// number is an error.
	KillOne(node string, pid int) error
	// Pause stops the node's processes where they are, with SIGSTOP, and returns when
	// they have stopped. What is paused twice runs again when it was resumed twice. A
	// process that starts meanwhile is not paused.
	Pause(node string) error
	// Resume undoes one Pause. Processes that are gone are no error.
	Resume(node string) error
	// Process returns the process that was started on the node, if it runs.
	Process(node string) (p Process, running bool)
	// Wipe empties the data directory of a node that runs nothing.
	Wipe(node string) error
	// Exited returns a channel that is closed while the node runs no process.
	Exited(node string) <-chan struct{}
	// Log returns the last lines that processes on the node have printed.
	Log(node string, lines int) []string
	// Network returns the network between the nodes and the tester.
	Network() Network
	// Disks, Clocks and Resources return what else can be broken, or nil where the
	// lab was made without: see [Options].
	Disks() Disks
	Clocks() Clocks
	Resources() Resources
	// Close ends all processes and takes the lab down.
	Close() error
}

// Tester is the name of the tester's own place on the network: clients are there.
const Tester = "tester"

// A Link is one direction between two places on a network: nodes, or the tester.
type Link struct{ From, To string }

func (l Link) String() string { return l.From + "→" + l.To }

// A System is a system under test, installed in a lab.
type System interface {
	// Name names the system.
	Name() string
	// Start starts the system on a node, for the first time or again.
	Start(node string) error
	// Ready returns when the system answers clients on every node that runs. If
	// it does not before ctx ends, or cannot any more, the error says why.
	Ready(ctx context.Context) error
}

// A Leader is a system that knows of a leader, which faults may aim at.
type Leader interface {
	// Leader returns the node that leads.
	Leader(ctx context.Context) (node string, err error)
}

// An Elector is a system whose leader can be told to go.
type Elector interface {
	Leader
	// Transfer makes the leader hand over to the node, or, if that is empty, to
	// whom it likes.
	Transfer(ctx context.Context, to string) error
	// Elect makes a node that does not lead stand for election. The one that leads
	// may win again, in a later term.
	Elect(ctx context.Context, node string) error
}

// Members is a system whose nodes can leave and join.
type Members interface {
	// Leave makes a node a member no more, and when it is none ends what runs there and
	// wipes its data: nothing of what it was comes back. After an error it may be called
	// again, and goes on from there.
	Leave(ctx context.Context, node string) error
	// Join makes a node that has left a member: it is started, learns what there is, and
	// then has a vote. One that somebody else has begun to have leave since, and has given
	// up, leaves first.
	Join(ctx context.Context, node string) error
}

// A Parted is a system whose nodes do different things. What is aimed at nodes is aimed at
// those of one part: faults that no part is named by, at those of the first.
type Parted interface {
	// Parts returns the parts: each node is of one.
	Parts() []Part
}

// A Part are nodes that do the same.
type Part struct {
	Name  string // in the singular: "host"
	Nodes []string
}

// The parts that faults know of.
const (
	PartControl = "control" // nodes that agree by majorities
	PartHost    = "host"    // those that run guests
	PartStorage = "storage" // those that keep what guests write
)

// A Cast is a system some of whose nodes play roles, each for a while, such as the source of
// a migration.
type Cast interface {
	// Roles returns the names of the roles.
	Roles() []string
	// Plays returns the node that plays a role now, or played it last.
	Plays(ctx context.Context, role string) (node string, err error)
}

// A Hosting is a system on whose hosts guests run, in processes of their own.
type Hosting interface {
	// Guests returns those that run on a host.
	Guests(host string) []Guest
}

// A Guest is one that runs.
type Guest struct {
	Name string
	PID  int
}

// A Timed is a system that bears monotonic clocks that run at different rates, but within
// bounds.
type Timed interface {
	// ClockRate returns by how much faster one may run than another: 1.25 is a quarter.
	ClockRate() float64
}

// A Telling is a system that tells what happens in it, beside what clients are answered.
type Telling interface {
	// Tell calls record with each event, by its name and with its value, one at a time and in
	// their order, until ctx ends. It returns when all that had happened by then is told, or
	// with why there will be no more.
	Tell(ctx context.Context, record func(event string, value any) error) error
}

// A Step is a value of the events that faults may be tied to, called histories.Step: that
// something has come to a step that it takes, such as the copying of a migration.
type Step struct {
	Name string `json:"step"`
}

// A Limited is a system that does not claim to bear every fault.
type Limited interface {
	// Limits returns the faults that it does not claim to bear, as in
	// "disk:rollback", each with the reason.
	Limits() map[string]string
}

// An Observed is a system that shows its state. Faults hook on it, and what they
// have covered is told by it.
type Observed interface {
	// Observe returns how each node sees the cluster now, of those that answer soon.
	Observe(ctx context.Context) (State, error)
}

// A State is how a system's nodes see themselves, by node. One that did not answer
// is not there.
type State map[string]NodeState

// A NodeState is how one node sees itself and its cluster.
type NodeState struct {
	Role    Role   `json:"role"`
	Term    uint64 `json:"term"`
	Leader  string `json:"leader,omitempty"` // as far as it knows
	Commit  uint64 `json:"commit"`           // the index up to which it knows entries to be committed
	Applied uint64 `json:"applied"`          // that up to which its state has come
	Last    uint64 `json:"last"`             // that of its log's end
	// Voters and Learners are the members by its own account, and Changing says that
	// a change of them is under way.
	Voters   []string `json:"voters,omitempty"`
	Learners []string `json:"learners,omitempty"`
	Changing bool     `json:"changing,omitempty"`
	// Snapshot says that it is taking, sending or installing a snapshot.
	Snapshot bool `json:"snapshot,omitempty"`
}

// A Role is what a node is in its cluster.
type Role string

// The roles.
const (
	RoleLeader    Role = "leader"
	RoleFollower  Role = "follower"
	RoleCandidate Role = "candidate"
	RoleLearner   Role = "learner"
)

// A Gauged is a lab that measures what goes on in it.
type Gauged interface {
	// Gauges returns what is measured now, by place: nodes, and the tester.
	Gauges() map[string]Gauge
}

// A Gauge is what is measured of one place. Counters grow from the lab's start on. What
// they count are IP packets as they are on a wire, and their bytes. What was sent has
// arrived, or is lost, or still on its way, but for these: each copy that the network makes
// of a packet arrives or is lost, too; where it breaks a connection, it loses a packet and both
// ends receive a reset; and what it sends again when a link is whole again, as the last
// packet of a connection, counts as sent twice.
type Gauge struct {
	// Sent and Received are the packets and bytes that went over its links, Lost the packets
	// that it sent and that did not arrive, for whatever reason.
	Sent          uint64 `json:"sent,omitempty"`
	SentBytes     uint64 `json:"sent_bytes,omitempty"`
	Received      uint64 `json:"received,omitempty"`
	ReceivedBytes uint64 `json:"received_bytes,omitempty"`
	Lost          uint64 `json:"lost,omitempty"`
	// Clocks are by how much its clocks are off, by what they were told; nil where the lab
	// has no clocks of its own.
	Clocks *Offsets `json:"clocks,omitempty"`
}
