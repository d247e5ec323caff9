package state

import (
	"context"

	"github.com/hacheck/hacheck/systems/raftkv/client"
)

// A Record is one as it was read. Mod is the revision of its last change; 0: there is
// none.
type Record[T any] struct {
	Value T
	Mod   uint64
}

// A View is everything at one revision of the store.
type View struct {
	Revision uint64
	VMs      map[string]Record[VM]     // by ID
	Hosts    map[string]Record[Host]   // by name
	Alive    map[string]Record[Alive]  // by name of the host
	Guests   map[string]Record[Guests] // the same
}

// Load reads everything, by a linearizable read.
func Load(ctx context.Context, c *client.Client) (*View, error) {
	r, err := c.Range(ctx, client.Prefix(root), client.RangeOptions{})
	if err != nil {
		return nil, err
	}
	v := &View{
		Revision: r.Revision, VMs: map[string]Record[VM]{}, Hosts: map[string]Record[Host]{},
		Alive: map[string]Record[Alive]{}, Guests: map[string]Record[Guests]{},
	}
	for _, kv := range r.KVs {
		if err := v.set(kv); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// Apply brings the view up to what a watcher was told that began one revision above it, or
// earlier: what is older than the view, or than a record of it ([Change.Apply]), changes
// nothing.
func (v *View) Apply(b client.Batch) error {
	for _, e := range b.Events {
		kind, name := Of(e.KV.Key)
		if e.KV.Mod <= max(v.Revision, v.mod(kind, name)) {
			continue
		}
		if !e.Deleted {
			if err := v.set(e.KV); err != nil {
				return err
			}
			continue
		}
		switch kind {
		case KindVM:
			delete(v.VMs, name)
		case KindHost:
			delete(v.Hosts, name)
		case KindAlive:
			delete(v.Alive, name)
		case KindGuests:
			delete(v.Guests, name)
		}
	}
	v.Revision = max(v.Revision, b.Revision)
	return nil
}

// mod is when a record was changed last.
func (v *View) mod(kind Kind, name string) uint64 {
	switch kind {
	case KindVM:
		return v.VMs[name].Mod
	case KindHost:
		return v.Hosts[name].Mod
	case KindAlive:
		return v.Alive[name].Mod
	case KindGuests:
		return v.Guests[name].Mod
	}
	return 0
}

func (v *View) set(kv client.KeyValue) error {
	switch kind, name := Of(kv.Key); kind {
	case KindVM:
		return set(v.VMs, name, kv)
	case KindHost:
		return set(v.Hosts, name, kv)
	case KindAlive:
		return set(v.Alive, name, kv)
	case KindGuests:
		return set(v.Guests, name, kv)
	}
	return nil
}

func set[T VM | Host | Alive | Guests](in map[string]Record[T], name string, kv client.KeyValue) error {
	value, err := Decode[T](kv.Value)
	if err == nil {
		in[name] = Record[T]{value, kv.Mod}
	}
	return err
}

// Lives says whether an incarnation of a host has a lease that has not ended.
func (v *View) Lives(host string, incarnation uint64) bool {
	a := v.Alive[host]
	return a.Mod != 0 && a.Value.Incarnation == incarnation
}
