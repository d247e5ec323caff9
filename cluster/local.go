package cluster

import (
	"io"
	"log/slog"
)

// Options describe a local lab.
type Options struct {
	// Nodes is how many there are: 1 to MaxNodes.
	Nodes int
	// Dir holds a directory for each node: its data, and what its processes print.
	// Without one no processes can be started.
	Dir string
	// Pcap receives every packet that is delivered, in the format of libpcap, if
	// it is not nil.
	Pcap io.Writer
	// Natural heals links without telling their TCP connections; see Heal.
	Natural bool
	// Ports chooses what the network is made of. By default it is TUN devices, or
	// where a machine has none, packet sockets.
	Ports Ports
	// Disks puts each node's data on a disk that can lose it, Clocks gives the nodes
	// clocks that can be set, and Resources limits what they may use. Without them
	// the nodes have the machine's own.
	Disks     bool
	Clocks    bool
	Resources bool
	// XFS makes the disks of XFS, which it takes root for; else they are of FUSE.
	XFS bool
	// StrictNames lets FUSE disks forget the name of a new file that was synced unless
	// its directory was synced too. POSIX allows that, and no file system of Linux
	// does it.
	StrictNames bool
	// Log may be nil.
	Log *slog.Logger
}

// MaxNodes bounds the nodes of a local lab, so that their addresses end in their
// numbers.
const MaxNodes = 200

// Ports are what the network of a local lab is made of.
type Ports int

// The kinds of ports. Both are as fast and can be cut alike.
const (
	AnyPorts      Ports = iota
	TunDevices          // one for each place
	PacketSockets       // on veth devices
)

// String returns the kind in words.
func (p Ports) String() string {
	return [...]string{AnyPorts: "any", TunDevices: "TUN devices", PacketSockets: "packet sockets"}[p]
}
