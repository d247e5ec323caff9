package nemesis

import (
	"fmt"
	"slices"

	"github.com/hacheck/hacheck/cluster"
)

// The faults of nodes that are not of a system's first part. What they do there is what
// other faults do to the first; only roles, and what has books, are the part's own.

// HostKill is [Kill] of hosts: with each end the guests that run there.
func HostKill() Fault {
	return Kill().on(cluster.PartHost, "host-kill", "kill -9 all that runs on hosts, guests as well, and start the hosts again with the same disk", anyHosts)
}

// HostPause is [Pause] of hosts and all guests on them.
func HostPause() Fault {
	return Pause().on(cluster.PartHost, "host-pause", "stop hosts where they are, guests as well, with SIGSTOP, and let them go on", anyHosts)
}

// HostRestart is [Restart] of hosts.
func HostRestart() Fault {
	return Restart().on(cluster.PartHost, "host-restart", "stop hosts in order, kill what is left of their guests, and start them again", anyHosts)
}

// HostClock is [Clock] of hosts.
func HostClock() Fault {
	return Clock().on(cluster.PartHost, "host-clock", "make hosts read wrong clocks", anyHosts)
}

// StorageKill is [Kill] of storage.
func StorageKill() Fault {
	return Kill().on(cluster.PartStorage, "storage-kill", "kill -9 a storage node, and start it again with the same disk", oneNode)
}

// StorageDisk is [Disk] of storage: what one node alone may be asked to bear.
func StorageDisk() Fault {
	f := Disk()
	f.Variants = slices.DeleteFunc(slices.Clone(f.Variants), func(v Variant) bool {
		return !slices.Contains([]string{diskPower, diskFull, diskSlow}, v.Name)
	})
	return f.on(cluster.PartStorage, "storage-disk", "the disk of a storage node loses what was not synced, fills up, or is slow", oneNode)
}

// on returns f as a fault of its own: one of another part's nodes, with its own targets.
func (f Fault) on(part, name, about string, targets []Target) Fault {
	f.Part, f.Name, f.About, f.Targets = part, name, about, targets
	return f.madeBy(f.by)
}

// In says whether a system of these parts has nodes that the fault can be aimed at. One
// that has not knows nothing of it, and does not leave it out of [All].
func (f Fault) In(parts []cluster.Part) bool {
	return f.Part == "" || len(nodesOf(parts, f.Part)) > 0
}

func nodesOf(parts []cluster.Part, name string) []string {
	for _, p := range parts {
		if p.Name == name {
			return p.Nodes
		}
	}
	return nil
}

// part returns what there is to break of one part: its nodes, with a guard of their own.
// Those of another part than the first are no quorum, do not lead, and do not show their
// state. All parts have the same network, and so books of cuts, and of clocks.
func (e Env) part(name string) (Env, error) {
	e = e.withBooks()
	if name == "" || len(e.Parts) > 0 && e.Parts[0].Name == name {
		return e, nil
	}
	nodes := nodesOf(e.Parts, name)
	if len(nodes) == 0 {
		return e, e.lacks(nodeOf(name) + "s")
	}
	e.of, e.Nodes, e.guard = name, nodes, e.guards[name]
	e.Absent, e.Unguarded = 0, true
	e.Leader, e.Elector, e.Members, e.Observed = nil, nil, nil, nil
	return e, nil
}

// each returns what there is to break, part by part.
func (e Env) each() []Env {
	all := []Env{e}
	for i, p := range e.Parts {
		if part, err := e.part(p.Name); i > 0 && err == nil { // or it has no nodes
			all = append(all, part)
		}
	}
	return all
}

// nodeOf returns what a node of a part is called.
func nodeOf(part string) string {
	if part == cluster.PartHost {
		return part
	}
	return part + " node"
}

// kind returns what the nodes of e are called.
func (e Env) kind() string {
	switch {
	case e.of != "":
		return nodeOf(e.of)
	case len(e.Parts) > 0:
		return nodeOf(e.Parts[0].Name)
	}
	return "node"
}

// system returns the name of the system, for people.
func (e Env) system() string {
	if e.System == "" {
		return "the system"
	}
	return e.System
}

// lacks is why a fault is refused that takes what the system has none of.
func (e Env) lacks(what string) error { return fmt.Errorf("%s has no %s", e.system(), what) }
