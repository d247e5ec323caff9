package vm

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// A wrong is what goes wrong in a [world], each time that it can.
type wrong string

const (
	nothingWrong  wrong = ""
	noFence       wrong = "machines of a host that was cut off are placed at once"
	sourceRuns    wrong = "the source goes on after it handed over"
	unreserved    wrong = "machines are placed without a reservation"
	leaks         wrong = "aborted migrations keep their reservation"
	epochKept     wrong = "guests that ended are started again in their epoch"
	epochsSkipped wrong = "machines are placed two epochs later"
	volumeForgets wrong = "a volume forgets its last writes when a host dies"
	stopsNothing  wrong = "who stops a machine does not stop its guest"
	unnoticed     wrong = "guests that ended are not noticed"
	forgotten     wrong = "a machine is forgotten"
	overCommits   wrong = "hosts have room for anything"
	groupsIgnored wrong = "groups are ignored"
	labelsIgnored wrong = "labels are ignored"
	volumeTakes   wrong = "volumes take writes of old epochs"
	forgetsMemory wrong = "targets of migrations begin anew"
	startsUnasked wrong = "machines that were to be stopped are placed when their host dies"
	rejoinsStale  wrong = "hosts that come back start what they had"
	neverEnds     wrong = "migrations never end"
	hostsLie      wrong = "hosts say that they run what they do not"
	neitherGoesOn wrong = "the target of a migration is recorded to run, and does not"
	standsLong    wrong = "migrations take seven seconds"
	comesBack     wrong = "a deleted machine comes back"
	ranUnrecorded wrong = "targets go on before the epoch is recorded, and it never is"
	epochFalls    wrong = "the epoch falls when a machine is stopped"
)

// tick is how often guests beat.
const tick = 20 * time.Millisecond

// someHosts are the labels of hosts, but not of the last.
var someHosts = map[string]string{"disk": "ssd"}

// A runner is a guest of a world.
type runner struct {
	guest
	vm           string
	count, acked uint64
	stands       bool
}

// A world is hosts, machines and a control plane in virtual time, right but for one mistake.
// It is as small as can be, and judged by nothing but its own records and signs.
type world struct {
	wrong
	chance   *rand.Rand
	now      time.Duration
	ops      []histories.Op
	late     []histories.Op // records that are not heard of yet
	cut      bool           // and why: the tester was cut off
	revision uint64
	pids     int
	vms      map[string]*VM
	hosts    map[string]*Host
	reach    map[string]time.Duration // hosts that are cut off or dead, since when
	dead     map[string]bool
	guests   []*runner
	volumes  map[string]*Volume
	carried  map[string]*runner // by machine: what the target of its migration has in memory
	stood    map[string]int     // by machine: ticks for which it has been paused
	calm     bool               // nobody does anything any more
	pace     int                // how many ticks go by between what users do
}

func newWorld(w wrong, seed uint64) *world {
	s := &world{
		wrong: w, pace: 15, chance: rand.New(rand.NewPCG(seed, 7)), vms: map[string]*VM{}, hosts: map[string]*Host{},
		reach: map[string]time.Duration{}, dead: map[string]bool{}, volumes: map[string]*Volume{}, carried: map[string]*runner{}, stood: map[string]int{},
	}
	for _, name := range []string{"n4", "n5", "n6", "n7"} {
		s.hosts[name] = &Host{Name: name, Capacity: 3, Reservations: map[string]uint32{}}
		if name != "n7" {
			s.hosts[name].Labels = someHosts
		}
		s.register(name)
	}
	return s
}

func (w *world) add(p histories.Process, t histories.Type, f string, value any) {
	op := histories.Op{Process: p, Type: t, F: f}
	if value != nil {
		op.Value = encode(value)
	}
	if f == Record && (w.cut || len(w.late) > 0) {
		w.late = append(w.late, op)
		return
	}
	w.put(op)
}

func (w *world) put(op histories.Op) {
	at := w.now
	if n := len(w.ops); n > 0 {
		at = max(at, w.ops[n-1].Time+time.Microsecond)
	}
	op.Index, op.Time = len(w.ops), at
	w.ops = append(w.ops, op)
}

// call is an operation that takes no time.
func (w *world) call(f string, in, out any) {
	w.add(1, histories.Invoke, f, in)
	w.add(1, histories.OK, f, out)
}

func (w *world) sign(kind string, r *runner) {
	w.add(histories.Observer, histories.Event, kind, Sign{
		VM: r.vm, Host: r.host, Epoch: r.epoch, PID: r.pid, Count: r.count, Acked: r.acked,
	})
}

// change is a transaction: what it changed is recorded.
func (w *world) change(vm *VM, hosts ...*Host) {
	var all []Change
	if vm != nil {
		v := *vm
		all = append(all, Change{VM: &v})
	}
	for _, host := range hosts {
		if host != nil {
			h := *host
			h.Alive, h.Reservations = false, maps.Clone(host.Reservations)
			all = append(all, Change{Host: &h})
		}
	}
	w.transact(all...)
}

func (w *world) transact(all ...Change) {
	w.revision++
	for i, c := range all {
		c.Revision, c.More = w.revision, i < len(all)-1
		w.add(histories.Observer, histories.Event, Record, c)
	}
}

func (w *world) register(name string) {
	h := w.hosts[name]
	h.Incarnation++
	h.Alive = true
	now := *h
	now.Alive, now.Reservations = false, maps.Clone(h.Reservations)
	w.transact(Change{Host: &now}, Change{Alive: &Alive{name, h.Incarnation}})
}

func (w *world) is(wrong wrong) bool { return w.wrong == wrong }

func (w *world) fits(h *Host, v *VM) bool {
	taken := uint32(0)
	for id, size := range h.Reservations {
		taken += size
		if other := w.vms[id]; !w.is(groupsIgnored) && v.Group != "" && other != nil && other.Group == v.Group && id != v.ID {
			return false
		}
	}
	return h.Alive && h.Name != v.Host && (h.suits(*v) || w.is(labelsIgnored)) && (taken+v.Size <= h.Capacity || w.is(overCommits))
}

// room returns a host that has room for v, or nil.
func (w *world) room(v *VM) *Host {
	for _, i := range w.chance.Perm(len(w.hosts)) {
		if h := w.hosts[fmt.Sprintf("n%d", i+4)]; w.fits(h, v) {
			return h
		}
	}
	return nil
}

// rest is what becomes of a machine that is nowhere.
func (w *world) rest(v *VM) *Host {
	h := w.hosts[v.Host]
	delete(h.Reservations, v.ID)
	v.Host, v.Incarnation, v.Target, v.Phase = "", 0, "", ""
	if v.State = v.Desired; v.Desired == "running" {
		v.State = "pending"
	}
	return h
}

func (w *world) start(v *VM, kind string, from *runner) {
	w.pids++
	r := &runner{guest: guest{v.Host, v.Epoch, w.pids}, vm: v.ID, count: 1}
	if from != nil {
		r.count, r.acked = from.count, from.acked
		if w.is(forgetsMemory) {
			r.count = 1
		}
	}
	w.guests = append(w.guests, r)
	w.sign(kind, r)
}

func (w *world) find(id, host string) *runner {
	i := slices.IndexFunc(w.guests, func(r *runner) bool { return r.vm == id && r.host == host })
	if i < 0 {
		return nil
	}
	return w.guests[i]
}

func (w *world) end(gone func(*runner) bool) { w.guests = slices.DeleteFunc(w.guests, gone) }

// step lets 20 ms pass.
func (w *world) step() {
	w.now += tick
	w.cut = !w.calm && (w.cut != (w.chance.IntN(60) == 0))
	for !w.cut && len(w.late) > 0 {
		w.put(w.late[0])
		w.late = w.late[1:]
	}
	for _, r := range w.guests {
		if !r.stands && !w.dead[r.host] {
			r.count++
			w.write(r)
			w.sign(Beat, r)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.hosts)) {
		w.host(w.hosts[name])
	}
	for _, id := range slices.Sorted(maps.Keys(w.vms)) {
		w.machine(w.vms[id])
	}
}

// write has a guest write, if it can.
func (w *world) write(r *runner) {
	v := w.volumes[r.vm]
	n := len(v.Extents)
	if w.is(volumeTakes) && n > 1 && w.chance.IntN(50) == 0 { // what was on the way from a guest that is gone
		v.Last++
		v.Extents = append(v.Extents, [3]uint64{v.Extents[n-1][0] - 1, v.Last, v.Last})
		w.add(histories.Observer, histories.Event, Took, Sign{VM: r.vm, Epoch: v.Extents[n][0], Seq: v.Last})
		return
	}
	switch {
	case w.chance.IntN(3) > 0:
		return
	case n > 0 && v.Extents[n-1][0] > r.epoch:
		w.add(histories.Observer, histories.Event, Refused, Sign{VM: r.vm, Epoch: r.epoch, Seq: v.Last + 1})
		return
	}
	v.Last++
	if n == 0 || v.Extents[n-1][0] != r.epoch {
		v.Extents = append(v.Extents, [3]uint64{r.epoch, v.Last, v.Last})
		w.add(histories.Observer, histories.Event, Took, Sign{VM: r.vm, Epoch: r.epoch, Seq: v.Last})
	}
	v.Extents[len(v.Extents)-1][2] = v.Last
	r.acked = v.Last
}

const (
	fenceAfter = 3200 * time.Millisecond
	leaseTTL   = 5 * time.Second
)

// host is what happens to a host in a tick.
func (w *world) host(h *Host) {
	since, gone := w.reach[h.Name]
	here := func(r *runner) bool { return r.host == h.Name }
	switch {
	case !gone && !w.calm && !w.is(standsLong) && w.chance.IntN(400) == 0: // or migrations have no time
		w.reach[h.Name] = w.now
		w.fault("host-partition", h.Name)
		if w.dead[h.Name] = w.chance.IntN(2) == 0; w.dead[h.Name] {
			w.end(here)
			if w.is(volumeForgets) {
				w.truncate()
			}
		}
	case !gone:
	case w.now-since == fenceAfter && !w.dead[h.Name] && !w.is(noFence):
		w.end(here)
		w.add(histories.Observer, histories.Event, Fenced, Sign{Host: h.Name})
	case w.now-since == leaseTTL:
		h.Alive = false
		w.transact(Change{Ended: &Alive{h.Name, h.Incarnation}})
	case w.now-since > leaseTTL && (w.calm || w.chance.IntN(100) == 0):
		w.end(here)
		delete(w.reach, h.Name)
		w.fault(histories.Heal, h.Name)
		w.dead[h.Name] = false
		w.register(h.Name)
		if w.is(rejoinsStale) {
			for _, id := range slices.Sorted(maps.Keys(w.vms)) {
				if v := *w.vms[id]; v.Host != "" && v.Host != h.Name && v.State == "running" && v.Epoch > 1 {
					v.Host = h.Name
					v.Epoch--
					w.start(&v, Boot, nil)
					break
				}
			}
		}
	}
}

// fault is an op of the nemesis.
func (w *world) fault(f, host string) {
	op := histories.Fault{ID: int(host[1] - '0'), Name: "host-partition", Detail: encode(map[string]any{"nodes": []string{host}}), Acted: 1}
	w.add(histories.Nemesis, histories.Invoke, f, op)
	w.add(histories.Nemesis, histories.Info, f, op)
}

// truncate has the volumes lose what was written last.
func (w *world) truncate() {
	for _, v := range w.volumes {
		if n := len(v.Extents); n > 0 && v.Extents[n-1][2]-v.Extents[n-1][1] > 12 {
			v.Last -= 10
			v.Extents[n-1][2] = v.Last
		}
	}
}

// lives says that the control plane takes a machine's host to have it still.
func (w *world) lives(v *VM) bool {
	since, gone := w.reach[v.Host]
	if w.is(noFence) && gone && w.now-since > time.Second {
		return false
	}
	h := w.hosts[v.Host]
	return h.Alive && h.Incarnation == v.Incarnation
}

// machine is what the control plane and hosts do about a machine in a tick.
func (w *world) machine(v *VM) {
	if v.Host != "" && !w.lives(v) {
		var target *Host
		if v.State == "migrating" && v.Phase != "asked" && v.Phase != "committed" {
			target = w.hosts[v.Target]
			delete(target.Reservations, v.ID)
		}
		h := w.rest(v)
		if w.is(startsUnasked) && v.State == "stopped" {
			v.State = "pending"
		}
		w.change(v, h, target)
		return
	}
	_, cutOff := w.reach[v.Host]
	if cutOff && v.Host != "" || w.chance.IntN(3) == 0 {
		return
	}
	r := w.find(v.ID, v.Host)
	switch v.State {
	case "pending":
		h := w.room(v)
		switch {
		case h == nil && v.Reason == "":
			v.Reason = "no host has room"
			w.change(v)
		case h != nil:
			v.State, v.Host, v.Incarnation, v.Reason = "starting", h.Name, h.Incarnation, ""
			v.Epoch++
			if w.is(epochsSkipped) {
				v.Epoch++
			}
			if !w.is(unreserved) {
				h.Reservations[v.ID] = v.Size
			}
			w.change(v, h)
		}
	case "starting":
		switch {
		case v.Desired != "running":
			v.State = "stopping"
		case r == nil:
			w.start(v, Boot, nil)
			return
		default:
			v.State = "running"
		}
		w.change(v)
	case "running":
		switch {
		case v.Desired != "running":
			v.State = "stopping"
			w.change(v)
		case r == nil && !w.is(unnoticed) && !w.is(neitherGoesOn):
			v.State = "starting"
			if !w.is(epochKept) {
				v.Epoch++
			}
			w.change(v)
		case r != nil && !w.calm && w.chance.IntN(500) == 0:
			w.end(func(o *runner) bool { return o == r })
		case r != nil && !w.calm && w.chance.IntN(100) == 0:
			v.State, v.Phase = "migrating", "asked"
			w.change(v)
		}
	case "migrating":
		w.migrate(v, r)
	case "stopping":
		if !w.is(stopsNothing) {
			w.end(func(o *runner) bool { return o.vm == v.ID && o.host == v.Host })
		}
		if w.is(epochFalls) && v.Epoch > 1 {
			v.Epoch--
		}
		w.change(v, w.rest(v))
	case "deleted":
		if w.is(comesBack) && w.chance.IntN(50) == 0 {
			v.State = "pending"
			w.change(v)
		}
	}
}

// migrate takes a migration one step further.
func (w *world) migrate(v *VM, r *runner) {
	if w.is(neverEnds) {
		return
	}
	target := w.hosts[v.Target]
	abort := func() {
		v.State, v.Phase, v.Target = "running", "", ""
		if target != nil && !w.is(leaks) {
			delete(target.Reservations, v.ID)
		}
		if r != nil && r.stands {
			r.stands = false
			w.sign(Continued, r)
		}
		w.change(v, target)
	}
	_, unreachable := w.reach[v.Target]
	switch {
	case v.Phase == "committed" && r == nil && unreachable:
	case v.Phase == "committed" && r == nil:
		from := w.carried[v.ID]
		if !w.is(neitherGoesOn) || w.now < 5*time.Second {
			w.start(v, Resumed, from)
		}
		if w.is(sourceRuns) && slices.Contains(w.guests, from) {
			from.stands = false
			w.sign(Continued, from)
		}
		v.State, v.Phase, v.Target = "running", "", ""
		w.change(v)
	case r == nil || v.Desired != "running":
		abort()
	case v.Phase == "asked":
		if target = w.room(v); target == nil {
			abort()
			return
		}
		v.Phase, v.Target = "preparing", target.Name
		target.Reservations[v.ID] = v.Size
		w.change(v, target)
	case !target.Alive || unreachable:
		abort()
	case v.Phase == "preparing":
		v.Phase = "ready"
		w.change(v)
	case !r.stands:
		r.stands = true
		w.stood[v.ID] = 0
		w.sign(Paused, r)
	case w.is(standsLong) && w.stood[v.ID] < 350:
		w.stood[v.ID]++
	case w.chance.IntN(4) == 0:
		abort()
	default:
		source := w.hosts[v.Host]
		w.carried[v.ID] = r
		if !w.is(sourceRuns) {
			w.end(func(o *runner) bool { return o == r })
		}
		delete(source.Reservations, v.ID)
		if w.is(ranUnrecorded) {
			now := *v
			now.Host = target.Name
			now.Epoch++
			w.start(&now, Resumed, r)
			w.call(Get, workloads.Keyed(v.Token, VM{ID: v.ID}), workloads.Keyed(v.Token, v))
			w.end(func(o *runner) bool { return o.vm == v.ID && o != r })
		}
		v.Phase, v.Host, v.Incarnation = "committed", target.Name, target.Incarnation
		v.Epoch++
		w.change(v, source)
	}
}

func (w *world) user() {
	var known []*VM
	for _, id := range slices.Sorted(maps.Keys(w.vms)) {
		if v := w.vms[id]; v.Desired != "deleted" {
			known = append(known, v)
		}
	}
	if len(known) < 6 {
		n := len(w.vms) + 1
		v := &VM{
			ID: fmt.Sprintf("vm%d", n), Token: fmt.Sprintf("t%d", n), Size: 1, Desired: "running", State: "pending",
			Group: []string{"", "g"}[w.chance.IntN(2)],
		}
		if w.chance.IntN(3) == 0 {
			v.Labels = someHosts
		}
		w.vms[v.ID], w.volumes[v.ID] = v, &Volume{}
		w.change(v)
		w.call(Create, workloads.Keyed(v.Token, Spec{v.Size, v.Group, v.Labels}), workloads.Keyed(v.Token, v))
		return
	}
	v := known[w.chance.IntN(len(known))]
	f := []string{Stop, Start, Delete}[min(2, w.chance.IntN(9)/4)]
	v.Desired = map[string]string{Stop: "stopped", Start: "running", Delete: "deleted"}[f]
	switch {
	case v.Host != "":
	case v.Desired == "running" && v.State != "pending":
		v.State = "pending"
	case v.Desired != "running":
		v.State = v.Desired
	}
	w.change(v)
	w.call(f, workloads.Keyed(v.Token, VM{ID: v.ID}), workloads.Keyed(v.Token, v))
}

func (w *world) snapshot() Snapshot {
	s := Snapshot{Revision: w.revision}
	for _, id := range slices.Sorted(maps.Keys(w.vms)) {
		if w.is(forgotten) && id == "vm3" {
			continue
		}
		s.VMs = append(s.VMs, *w.vms[id])
	}
	for _, name := range slices.Sorted(maps.Keys(w.hosts)) {
		h := *w.hosts[name]
		for _, size := range h.Reservations {
			h.Reserved += size
		}
		h.Reservations, h.Guests = nil, map[string]uint64{}
		for _, r := range w.guests {
			if r.host == name && !(w.is(hostsLie) && name == "n5") {
				h.Guests[r.vm] = r.epoch
			}
		}
		s.Hosts = append(s.Hosts, h)
	}
	return s
}

func (w *world) settle() bool {
	s := w.snapshot()
	w.add(2, histories.Invoke, Settle, nil)
	if len(moving(s)) > 0 {
		w.put(histories.Op{Process: 2, Type: histories.Fail, F: Settle, Meta: encode(looked{&s})})
		return false
	}
	w.add(2, histories.OK, Settle, s)
	return true
}

// history lets the world go on for some time, has it come to rest, and returns what was told.
func (w *world) history(t testing.TB, ticks int) *histories.History {
	t.Helper()
	for range ticks {
		w.step()
		if w.chance.IntN(w.pace) == 0 {
			w.user()
		}
	}
	w.calm = true
	for i := 0; i < 1500; i++ {
		w.step()
		if i%20 == 0 && len(w.reach) == 0 && w.settle() {
			break
		}
	}
	for range settlePause / tick {
		w.step()
	}
	w.add(2, histories.Invoke, Rest, nil)
	for range 35 {
		w.step()
	}
	if s := w.snapshot(); len(moving(s)) == 0 {
		w.add(2, histories.OK, Rest, s)
	} else {
		w.put(histories.Op{Process: 2, Type: histories.Fail, F: Rest, Meta: encode(looked{&s})})
	}
	w.call(Volumes, slices.Sorted(maps.Keys(w.vms)), w.volumes)
	h, err := histories.FromOps(w.ops)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// judgeEvents returns what the parts find that judge by events, by their names.
func judgeEvents(t testing.TB, h *histories.History) map[string]checker.Result {
	t.Helper()
	r, err := checker.Compose("events", (&reader{}).parts()...).Check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]checker.Result{}
	for _, p := range r.Parts {
		parts[p.Name] = p
	}
	return parts
}

func TestAWorldThatIsRightIsValid(t *testing.T) {
	total := map[string]int64{}
	for seed := range uint64(12) {
		h := newWorld(nothingWrong, seed).history(t, 1500)
		for name, p := range judgeEvents(t, h) {
			if p.Verdict != checker.Valid {
				t.Errorf("seed %d: %s is %v: %s, %v", seed, name, p.Verdict, p.Note, p.Anomalies)
			}
			for what, n := range p.Counts {
				total[name+": "+what] += n
			}
		}
	}
	for _, what := range []string{
		"fenced before restart: restarts", "fenced before restart: handed_over", "migrations are atomic: committed",
		"migrations are atomic: aborted", "no machine lost: writes", "failover: failovers", "failover: moved",
	} {
		if total[what] < 20 {
			t.Errorf("%s: only %d in all runs", what, total[what])
		}
	}
}

func TestWhatIsWrongWithAWorldIsFound(t *testing.T) {
	for w, kinds := range map[wrong][]string{
		noFence:       {notFenced, twoCopies},
		sourceRuns:    {bothRan, twoCopies},
		unreserved:    {notReserved},
		leaks:         {leaked},
		epochKept:     {epochShared},
		epochsSkipped: {epochSkipped},
		volumeForgets: {lostWrite},
		stopsNothing:  {orphan},
		unnoticed:     {ghost, silentMachine},
		forgotten:     {lostMachine},
		overCommits:   {overCapacity},
		groupsIgnored: {groupTogether},
		labelsIgnored: {unlabelled},
		volumeTakes:   {staleWrite},
		forgetsMemory: {memoryLost},
		startsUnasked: {unwantedStart},
		rejoinsStale:  {oldEpochStart, twoCopies},
		neverEnds:     {stuckMigrating, stuck},
		hostsLie:      {misheard},
		neitherGoesOn: {neitherRan},
		standsLong:    {longPause},
		comesBack:     {backFromDead},
		ranUnrecorded: {epochUnknown},
		epochFalls:    {epochBack},
	} {
		t.Run(string(w), func(t *testing.T) {
			found := map[string]int{}
			missing := func(kind string) bool { return found[kind] == 0 }
			for seed := uint64(0); seed < 10 && slices.ContainsFunc(kinds, missing); seed++ {
				for _, p := range judgeEvents(t, newWorld(w, seed).history(t, 1000)) {
					for _, a := range p.Anomalies {
						found[a.Kind]++
						if !slices.IsSorted(a.Ops) || len(a.Ops) == 0 {
							t.Errorf("evidence %v of %s", a.Ops, a.Note)
						}
					}
				}
			}
			for _, kind := range kinds {
				if missing(kind) {
					t.Errorf("%s is not found, but %v", kind, found)
				}
			}
		})
	}
}

// TestAPrefixAccusesNobodyFalsely: what is wrong in a prefix is wrong in the whole, as runs are
// judged while they go on.
func TestAPrefixAccusesNobodyFalsely(t *testing.T) {
	for _, w := range []wrong{nothingWrong, noFence, unnoticed, leaks} {
		h := newWorld(w, 3).history(t, 600)
		whole := judgeEvents(t, h)
		var ops []histories.Op
		for _, op := range h.All() {
			ops = append(ops, op)
		}
		for i := range 40 {
			prefix, err := histories.FromOps(ops[:len(ops)*(i+1)/40])
			if err != nil {
				t.Fatal(err)
			}
			for name, p := range judgeEvents(t, prefix) {
				if p.Verdict == checker.Invalid && whole[name].Verdict != checker.Invalid {
					t.Fatalf("%s: %s is invalid after %d ops, and %v after %d: %v", w, name, prefix.Len(), whole[name].Verdict, h.Len(), p.Anomalies)
				}
			}
		}
	}
}

// relabelled returns h with other names for hosts and machines.
func relabelled(t *testing.T, h *histories.History) *histories.History {
	t.Helper()
	var ops []histories.Op
	for _, op := range h.All() {
		op.Value, op.Meta = rename(t, op.Value), rename(t, op.Meta)
		ops = append(ops, op)
	}
	r, err := histories.FromOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func rename(t *testing.T, b json.RawMessage) json.RawMessage {
	if len(b) == 0 {
		return b
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	name := func(s string) string {
		var n int
		switch _, err := fmt.Sscanf(s, "vm%d", &n); {
		case err == nil:
			return fmt.Sprintf("vm%d", 100-n)
		case len(s) == 2 && s[0] == 'n':
			return fmt.Sprintf("n%d", 10-(s[1]-'0'))
		}
		return s
	}
	var walk func(v any) any
	walk = func(v any) any {
		switch v := v.(type) {
		case string:
			return name(v)
		case []any:
			for i := range v {
				v[i] = walk(v[i])
			}
		case map[string]any:
			m := map[string]any{}
			for k, x := range v {
				m[name(k)] = walk(x)
			}
			return m
		}
		return v
	}
	return encode(walk(v))
}

// kindsOf counts what was found by kind, as far as it depends on no order of names.
func kindsOf(parts map[string]checker.Result) map[string]int64 {
	kinds := map[string]int64{}
	for name, p := range parts {
		kinds[name+" "+p.Verdict.String()]++
		for _, a := range p.Anomalies {
			kinds[a.Kind] = p.Counts[a.Kind]
		}
	}
	return kinds
}

func TestNamesDoNotMatter(t *testing.T) {
	for _, w := range []wrong{nothingWrong, noFence, sourceRuns, leaks, volumeForgets, rejoinsStale, groupsIgnored, labelsIgnored} {
		h := newWorld(w, 5).history(t, 600)
		before, after := kindsOf(judgeEvents(t, h)), kindsOf(judgeEvents(t, relabelled(t, h)))
		if !maps.Equal(before, after) {
			t.Errorf("%s: found %v, and with other names %v", w, before, after)
		}
	}
}

// TestSilenceIsNoProofOfTwoCopies: to hear less of guests shows no more of them at once.
func TestSilenceIsNoProofOfTwoCopies(t *testing.T) {
	for seed := range uint64(10) {
		chance := rand.New(rand.NewPCG(seed, 1))
		var ops []histories.Op
		for _, op := range newWorld(nothingWrong, seed).history(t, 600).All() {
			if op.F == Beat && chance.IntN(2) == 0 {
				continue
			}
			op.Index = len(ops)
			ops = append(ops, op)
		}
		h, err := histories.FromOps(ops)
		if err != nil {
			t.Fatal(err)
		}
		for name, p := range judgeEvents(t, h) {
			if p.Verdict != checker.Valid {
				t.Errorf("seed %d: %s: %s, %v", seed, name, p.Note, p.Anomalies)
			}
		}
	}
}

// TestEvidenceStandsAlone: the signs that show two copies show them without all others.
func TestEvidenceStandsAlone(t *testing.T) {
	shown := 0
	for seed := range uint64(6) {
		h := newWorld(noFence, seed).history(t, 600)
		for _, a := range judgeEvents(t, h)["one running copy"].Anomalies {
			if a.Kind != twoCopies {
				continue
			}
			alone, err := checkertest.Pick(h, a.Ops)
			if err != nil {
				t.Fatal(err)
			}
			if p := judgeEvents(t, alone)["one running copy"]; p.Verdict != checker.Invalid {
				t.Errorf("%s: alone it is %v", a.Note, p.Verdict)
			}
			shown++
		}
	}
	if shown == 0 {
		t.Error("nothing was found")
	}
}

// BenchmarkEvents judges histories of a million events, and says what one takes.
func BenchmarkEvents(b *testing.B) {
	for _, ticks := range []int{20_000, 200_000} {
		w := newWorld(nothingWrong, 1)
		w.pace = ticks / 300
		h := w.history(b, ticks)
		b.Run(fmt.Sprint(h.Len()), func(b *testing.B) {
			for b.Loop() {
				if r, err := checker.Compose("events", (&reader{}).parts()...).Check(b.Context(), h); err != nil || r.Verdict != checker.Valid {
					b.Fatal(r, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(cmp.Or(h.Len(), 1)), "ns/op-of-history")
		})
	}
}
