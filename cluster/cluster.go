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
	// Exited returns a channel that is closed while the node runs no process.
	Exited(node string) <-chan struct{}
	// Log returns the last lines that processes on the node have printed.
	Log(node string, lines int) []string
	// Network returns the network between the nodes and the tester.
	Network() Network
	// Close ends all processes and takes the lab down.
	Close() error
}

// Tester is the name of the tester's own place on the network: clients are there.
const Tester = "tester"

// A Link is one direction between two places on a network: nodes, or the tester.
type Link struct{ From, To string }

func (l Link) String() string { return l.From + "→" + l.To }

// A Network can be cut. Each direction of each pair is a link of its own. A link
// that was cut twice is whole again when it was healed twice, so that faults may
// overlap.
type Network interface {
	// Cut drops from now on every packet on the links: all at the same time.
	Cut(links ...Link) error
	// Heal undoes one Cut of each of the links.
	Heal(links ...Link) error
	// Dropped returns how many packets each of the links has dropped so far.
	Dropped(links ...Link) []uint64
}

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
