package state

import "github.com/hacheck/hacheck/systems/raftkv/client"

// A Change is a transaction on records as somebody has read them: it takes place only if
// they are still so.
type Change struct {
	// Blind has it take place anyway: a deliberate mistake.
	Blind bool

	compares []client.Compare
	ops      []client.Op
	vms      []VM
	hosts    []Host
}

// VM changes a machine.
func (c *Change) VM(was Record[VM], now VM) *Change {
	c.vms = append(c.vms, now)
	return c.put(VMKey(now.ID), was.Mod, Encode(now))
}

// Host changes a host.
func (c *Change) Host(was Record[Host], now Host) *Change {
	c.hosts = append(c.hosts, now)
	return c.put(HostKey(now.Name), was.Mod, Encode(now))
}

// HostAnyway changes a host whatever it is by now: a deliberate mistake.
func (c *Change) HostAnyway(now Host) *Change {
	c.hosts = append(c.hosts, now)
	return c.Then(client.OpPut(HostKey(now.Name), Encode(now)))
}

// Unchanged has it take place only if a host is still as it was read.
func (c *Change) Unchanged(was Record[Host]) *Change {
	c.compares = append(c.compares, client.IfMod(HostKey(was.Value.Name), client.Equal, was.Mod))
	return c
}

// Alive has it take place only if the host's Alive is still as it was read: there, of some
// incarnation, or not there at all (Mod 0). What lives is so never declared dead, and what
// is dead never given anything.
func (c *Change) Alive(host string, was Record[Alive]) *Change {
	c.compares = append(c.compares, client.IfMod(AliveKey(host), client.Equal, was.Mod))
	return c
}

// If adds a condition, Then a change of something else.
func (c *Change) If(compares ...client.Compare) *Change {
	c.compares = append(c.compares, compares...)
	return c
}

// Then adds a change of something else.
func (c *Change) Then(ops ...client.Op) *Change {
	c.ops = append(c.ops, ops...)
	return c
}

func (c *Change) put(key string, mod uint64, value []byte) *Change {
	c.compares = append(c.compares, client.IfMod(key, client.Equal, mod))
	c.ops = append(c.ops, client.OpPut(key, value))
	return c
}

// Txn returns the transaction.
func (c *Change) Txn() client.Txn {
	if c.Blind {
		return client.Txn{Then: c.ops}
	}
	return client.Txn{If: c.compares, Then: c.ops}
}

// Apply has a view show the machines and hosts as the transaction left them, which took
// place at a revision. Who has made it does so need not wait to be told of it. The view
// stays at its own revision.
func (c *Change) Apply(to *View, revision uint64) {
	for _, v := range c.vms {
		to.VMs[v.ID] = Record[VM]{v, revision}
	}
	for _, h := range c.hosts {
		to.Hosts[h.Name] = Record[Host]{h, revision}
	}
}
