package scheduler

import (
	"time"

	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
	"github.com/hacheck/hacheck/systems/vmsched/server/state"
)

// A memory is what a leader has seen of machines that their records do not say: since when
// each is what it is, by the leader's monotonic clock. Another leader begins anew.
type memory struct {
	bug string
	vms map[string]sighting
}

// A sighting is of a machine in one state, epoch and migration.
type sighting struct {
	state            state.State
	epoch, migration uint64
	since            time.Time

	at, from site // where it is, and was before that, if it was handed over: see [bug.SourceLost]
}

// A site is an incarnation of a host.
type site struct {
	host        string
	incarnation uint64
}

// see looks at all machines.
func (m *memory) see(v *state.View, now time.Time) {
	for id, r := range v.VMs {
		was, is := m.vms[id], sighting{
			state: r.Value.State, epoch: r.Value.Epoch, migration: r.Value.Migrations,
			since: now, at: site{r.Value.Host, r.Value.Incarnation},
		}
		if was.state == is.state && was.epoch == is.epoch && was.migration == is.migration {
			continue
		}
		if m.bug == bug.SourceLost {
			switch {
			case is.epoch == was.epoch:
				is.from = was.from
			case is.epoch == was.epoch+1 && was.state == state.Migrating && is.at.host != was.at.host:
				is.from = was.at
			}
		}
		m.vms[id] = is
	}
}

// ages says for how long each machine has been what it is.
func (m *memory) ages(now time.Time) map[string]time.Duration {
	ages := map[string]time.Duration{}
	for id, s := range m.vms {
		ages[id] = now.Sub(s.since)
	}
	return ages
}

// handed says where machines were handed over from.
func (m *memory) handed() map[string]site {
	all := map[string]site{}
	for id, s := range m.vms {
		if s.from.host != "" {
			all[id] = s.from
		}
	}
	return all
}
