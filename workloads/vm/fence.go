package vm

import "fmt"

// The kinds of what [fenced] finds.
const (
	notFenced = "restart without fence"
	deadPlace = "dead host given a machine"
)

// A place is one incarnation of a host.
type place struct {
	host        string
	incarnation uint64
}

func (p place) String() string { return fmt.Sprintf("%s (incarnation %d)", p.host, p.incarnation) }

// at returns where a machine is by its record; the zero place: nowhere.
func (v *VM) at() place {
	if v.Host == "" {
		return place{}
	}
	return place{v.Host, v.Incarnation}
}

// committed says that now is what was, handed over to the target of its migration: which
// the source does itself, when the guest stands still.
func committed(was, now *VM) bool {
	return was.State == migrating && was.Phase == phaseReady && now.Phase == phaseCommitted && now.Host == was.Target
}

// givenUp says that the host of a machine says itself that it runs it no more: it was to
// stop it, or could not start it.
func givenUp(was *VM) bool { return was.State == stopping || was.State == starting }

// given says that a machine was given to where it is now, or has begun to run there: what takes a
// place that lives.
func given(was, now *VM) bool {
	begun := now.State == string(running) && (was.State == starting || was.Phase == phaseCommitted)
	return was.at() != now.at() || now.Epoch > was.Epoch || begun
}

// The states and phases of a machine that judging it knows by name; what users may want it
// to be are a [wanted].
const (
	pending        = "pending"
	starting       = "starting"
	migrating      = "migrating"
	stopping       = "stopping"
	failed         = "failed"
	phaseAsked     = "asked"
	phaseReady     = "ready"
	phaseCommitted = "committed"
)

// fenced judges whether a machine is put elsewhere only when the place that it had is over,
// by the records alone and in the order of their revisions. A place is over when
//
//   - its lease has ended, or a later incarnation of its host has registered, which ends
//     whatever ran there first; in the same transaction at the latest;
//   - or its host said so itself: it had stopped the machine, had not started it, or handed
//     it over to the target of a migration, which was ready.
//
// To be put again where it was is its own host's business, as long as that lives: nobody gives a
// machine, or an epoch of one, to an incarnation that is over, nor is one said to have started there.
func fenced(e *events, j *judgement) {
	type holding struct {
		place
		epoch    uint64
		op       int // of the record that put it there, or left it there
		released int // the op of the record that took it from there without cause; -1: none did
	}
	over, by := map[string]uint64{}, map[string]*record{} // by host: up to which incarnation, and what says so
	holds := map[string]*holding{}
	was := map[string]*record{}
	restarts, handed := 0, 0 // put elsewhere after a fence, or by the source of a migration
	for group := range e.transactions() {
		for _, r := range group {
			var p place
			switch {
			case r.Ended != nil:
				p = place{r.Ended.Host, r.Ended.Incarnation}
			case r.Alive != nil && r.Alive.Incarnation > 0:
				p = place{r.Alive.Host, r.Alive.Incarnation - 1}
			}
			if p.incarnation > over[p.host] {
				over[p.host], by[p.host] = p.incarnation, r
			}
		}
		for _, r := range group {
			if r.VM == nil {
				continue
			}
			v, before := r.VM, was[r.VM.ID]
			was[v.ID] = r
			h := holds[v.ID]
			if at := v.at(); at != (place{}) && over[at.host] >= at.incarnation && before != nil && given(before.VM, v) {
				j.found(deadPlace, []int{by[at.host].op, before.op, r.op}, "%s is %s on %v in epoch %d at revision %d, and that was over at revision %d",
					v.ID, v.State, at, v.Epoch, r.Revision, by[at.host].Revision)
			}
			switch {
			case v.Host == "" && h == nil:
			case v.Host == "" && h.released < 0 && givenUp(before.VM):
				delete(holds, v.ID)
			case v.Host == "" && h.released < 0:
				h.released = r.op
			case v.Host == "":
			case h == nil || h.place == v.at():
				holds[v.ID] = &holding{v.at(), v.Epoch, r.op, -1}
			default:
				switch {
				case committed(before.VM, v):
					handed++
				case over[h.host] >= h.incarnation:
					restarts++
				default:
					ops := []int{h.op, r.op}
					if h.released >= 0 {
						ops = append(ops, h.released)
					}
					j.found(notFenced, ops,
						"%s was put on %s in epoch %d at revision %d, while it was on %v in epoch %d: the lease of that had not ended, %s had not come back, and had not given it up",
						v.ID, v.Host, v.Epoch, r.Revision, h.place, h.epoch, h.host)
				}
				holds[v.ID] = &holding{v.at(), v.Epoch, r.op, -1}
			}
		}
	}
	j.counts["records"], j.counts["restarts"], j.counts["handed_over"] = int64(len(e.records)), int64(restarts), int64(handed)
	j.note("records: %d; put elsewhere after a fence: %d, handed over: %d", len(e.records), restarts, handed)
}
