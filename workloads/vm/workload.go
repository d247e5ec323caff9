package vm

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Options say what clients do. Zero fields mean the defaults.
type Options struct {
	// Rate is the number of operations per second, all clients together; 0 means
	// [DefaultRate]. How often machines are changed does not depend on it.
	Rate float64
	// Hosts are those that are drained, one at a time.
	Hosts []string
	// Labels are what some of the hosts have: some machines are for those alone. None means
	// that all machines are for all hosts.
	Labels map[string]string
	// VMs is the number of machines that there are at a time. All have size 1. Those that
	// are in groups are three to a group, or fewer.
	VMs int
	// FinalLimit bounds each of the final phases but the first that waits for machines.
	FinalLimit time.Duration
}

// The default options. A control plane is no store: what it is asked for takes hosts some
// time, and there is little to be seen in between.
const (
	DefaultRate = 40
	DefaultVMs  = 10
)

// How often machines are changed, in the mean; and how long a host is drained for at least,
// and at most twice that.
const (
	powerEvery   = 700 * time.Millisecond // one is stopped, or started
	moveEvery    = 750 * time.Millisecond // one is migrated, or a host is drained: three to one
	replaceEvery = 2 * time.Second        // one is deleted, and another takes its place
	drainFor     = time.Second
	uncordonWait = 200 * time.Millisecond // before it is asked for again
	// before a machine is created again: that is doubled each time, up to a bound
	createWait    = 100 * time.Millisecond
	maxCreateWait = 2 * time.Second
)

const (
	// groupSize is how many machines a group has at most: they fit on three hosts.
	groupSize = 3
	// maxIndeterminate is how many changes of a machine may end indeterminate. It is
	// replaced then: judging is exponential in them.
	maxIndeterminate = 8
	// recent is how many machines that are gone are still asked for.
	recent = 5
)

// settleLimit is how long machines have, after everything has healed, until they are what
// they were to be; restLimit how long until nothing changes any more.
const (
	settleLimit = 30 * time.Second
	restLimit   = 5 * time.Second
	lookPause   = 200 * time.Millisecond
	// settlePause is how long nobody looks then: hosts that have just come back may be about to do
	// what the records say that they do. See [healing].
	settlePause = healing + 100*time.Millisecond
)

// New returns the workload: machines are created, until there are as many as there are to
// be, and looked at, mostly soon after something was done to them. They are stopped, started
// and migrated, hosts are drained or cordoned, and some machines give way to others. A create
// is sent again if nobody knows what became of it, and sometimes for no reason, also by
// two clients at once.
//
// In the end what never succeeded is done once more; then all hosts are uncordoned, and
// machines of which nobody knows whether there are any are created again. When all has come
// to rest it is looked at for a moment in which nobody does anything; then volumes are read,
// and each machine once more. open connects the client of a worker.
func New(o Options, open func(ctx context.Context, worker int) (Cluster, error), b checker.Budget) workloads.Workload {
	f := &fleet{
		hosts: o.Hosts, labels: o.Labels, vms: cmp.Or(o.VMs, DefaultVMs), members: map[string]*member{}, heard: map[string]bool{},
		did: map[string]bool{},
	}
	return workloads.Workload{
		Name:    "vm",
		Main:    generator.OnClients(generator.Any(workloads.AtRate(cmp.Or(o.Rate, DefaultRate), f), twins{f})),
		Final:   f.final(cmp.Or(o.FinalLimit, workloads.DefaultFinalLimit)),
		Open:    workloads.Connect(open, perform),
		Checker: Checker(b),
	}
}

// A member is what the generator knows of a machine.
type member struct {
	token string
	spec  Spec
	// vm is what it was last seen to be; without an ID nobody knows whether it is there.
	vm VM
	// creating is how many creates are outstanding.
	creating int
	// again is when it is to be created again, if nobody has heard of it by then, and wait
	// how long it was put off for the last time.
	again, wait time.Duration
	// unsure says that a create ended indeterminate.
	unsure bool
	// unseen says that it was not looked at since it was changed, or that no look
	// succeeded.
	unseen bool
	// indeterminate counts its changes of which nobody knows what became.
	indeterminate int
	// leaving says that it was to be deleted.
	leaving bool
	// gone says that it was deleted.
	gone bool
}

// A fleet generates what is done to machines, and remembers what came of that.
type fleet struct {
	hosts  []string
	labels map[string]string
	vms    int

	members map[string]*member // by token
	pool    []*member          // those that may be there, in the order of their tokens
	former  []*member          // those that are gone, the last ones
	heard   map[string]bool    // the IDs of all that were seen
	order   []string           // of heard

	twice *member // is to be created by one more client; see [twins]

	drained  string          // the host that is drained or cordoned, or may be; empty: none
	asked    bool            // an operation on it is outstanding
	closed   int             // how many times a host was, for certain
	did      map[string]bool // by function: whether one on a machine ever succeeded
	uncordon time.Duration

	power, move, replace pace
}

// A pace says when something is next to be done.
type pace struct {
	next  time.Duration
	begun bool
}

// due says that it is. It begins when it is first asked.
func (p *pace) due(c generator.Context, mean time.Duration) bool {
	if !p.begun {
		p.begun = true
		p.done(c, mean)
	}
	return c.Now >= p.next
}

func (p *pace) done(c generator.Context, mean time.Duration) {
	p.next = c.Now + time.Duration(c.Rand.Int64N(int64(2*mean)))
}

func (f *fleet) Next(c generator.Context) generator.Step {
	if len(c.Free) == 0 {
		return generator.Step{}
	}
	if wait := f.wait(c); wait > 0 {
		return generator.Step{Wait: wait}
	}
	function, in := f.choose(c)
	return invoke(c, function, in)
}

// invoke invokes a function on the process that has been idle longest.
func invoke(c generator.Context, function string, in input) generator.Step {
	return generator.Step{Op: &histories.Op{
		Type: histories.Invoke, Process: c.Free[0], F: function, Value: in.payload(function),
	}}
}

// wait says how long there is nothing to do: nobody has heard of any machine, and all
// were asked for, some moment ago. It is 0 if there is something.
func (f *fleet) wait(c generator.Context) time.Duration {
	if len(f.pool) < f.vms {
		return 0
	}
	wait := createWait // for those that are outstanding
	if f.drained != "" && !f.asked {
		wait = min(wait, f.uncordon-c.Now)
	}
	for _, m := range f.pool {
		if m.vm.ID != "" || m.due(c) {
			return 0
		}
		if m.creating == 0 {
			wait = min(wait, m.again-c.Now)
		}
	}
	return max(wait, 0)
}

// due says that a machine of which nobody has heard is to be created again.
func (m *member) due(c generator.Context) bool {
	return m.vm.ID == "" && m.creating == 0 && c.Now >= m.again
}

// choose says what is done next.
func (f *fleet) choose(c generator.Context) (string, input) {
	if f.drained != "" && !f.asked && c.Now >= f.uncordon {
		return Uncordon, input{Host: f.drained}
	}
	if len(f.pool) < f.vms {
		m := f.add(c)
		if c.Rand.IntN(4) == 0 {
			f.twice = m
		}
		return m.create()
	}
	unknown := pick(c.Rand, f.pool, func(m *member) bool { return m.due(c) })
	switch {
	case unknown == nil || c.Rand.IntN(2) == 0:
	case unknown.unsure || c.Rand.IntN(2) == 0:
		return unknown.create()
	default: // it was refused, and so is not there: that is seen in the end, if nobody asks again
		f.leave(unknown)
		m := f.add(c)
		m.wait = unknown.wait
		return m.create()
	}
	if function, in, ok := f.change(c); ok {
		return function, in
	}
	known := func(m *member) bool { return m.vm.ID != "" }
	if m := pick(c.Rand, f.pool, func(m *member) bool { return known(m) && m.unseen }); m != nil && c.Rand.IntN(4) > 0 {
		m.unseen = false
		return m.do(Get)
	}
	if c.Rand.IntN(40) == 0 {
		if m := pick(c.Rand, slices.Concat(f.pool, f.former), known); m != nil {
			if c.Rand.IntN(2) == 0 {
				f.twice = m
			}
			return m.create()
		}
	}
	from := f.pool
	if len(f.former) > 0 && c.Rand.IntN(6) == 0 {
		from = f.former
	}
	if m := pick(c.Rand, from, known); m != nil {
		return m.do(Get)
	}
	return unknown.create() // nobody has heard of any; and there is one, or there was nothing to do
}

// change says what is done to some machine, if it is time and there is one for it.
func (f *fleet) change(c generator.Context) (string, input, bool) {
	stays := func(m *member) bool { return m.vm.ID != "" && !m.leaving }
	wanted := func(w wanted) func(*member) bool {
		return func(m *member) bool { return stays(m) && m.vm.Desired == string(w) }
	}
	if m := pick(c.Rand, f.pool, func(m *member) bool { return stays(m) && m.indeterminate >= maxIndeterminate }); m != nil {
		return m.remove()
	}
	// What was to be deleted and is still there is so once more, if somebody has looked.
	if m := pick(c.Rand, f.pool, func(m *member) bool { return m.leaving && !m.unseen }); m != nil && c.Rand.IntN(8) == 0 {
		return m.remove()
	}
	if f.replace.due(c, replaceEvery) {
		f.replace.done(c, replaceEvery)
		if m := pick(c.Rand, f.pool, stays); m != nil {
			return m.remove()
		}
	}
	if f.power.due(c, powerEvery) {
		f.power.done(c, powerEvery)
		if m := pick(c.Rand, f.pool, wanted(stopped)); m != nil && c.Rand.IntN(2) == 0 {
			return m.changed(Start)
		}
		if m := pick(c.Rand, f.pool, wanted(running)); m != nil {
			return m.changed(Stop)
		}
	}
	if f.move.due(c, moveEvery) {
		f.move.done(c, moveEvery)
		if f.drained == "" && len(f.hosts) > 0 && c.Rand.IntN(5) < 2 {
			function := closing(f.closed)
			f.drained = f.hosts[c.Rand.IntN(len(f.hosts))]
			f.uncordon = c.Now + drainFor + time.Duration(c.Rand.Int64N(int64(drainFor)))
			return function, input{Host: f.drained}, true
		}
		movable := func(m *member) bool { return wanted(running)(m) && m.vm.State == m.vm.Desired }
		if c.Rand.IntN(6) == 0 {
			movable = func(m *member) bool { return m.vm.ID != "" } // or it is to be refused
		}
		if m := pick(c.Rand, f.pool, movable); m != nil {
			return m.changed(Migrate)
		}
	}
	return "", input{}, false
}

// closing is what is done to the host that is closed when so many were. It is not drawn: a
// short run is to have both.
func closing(closed int) string {
	if closed%4 == 1 {
		return Cordon
	}
	return Drain
}

func (m *member) remove() (string, input, bool) {
	m.leaving = true
	return m.changed(Delete)
}

// pick returns one of ms for which is holds; nil if there is none.
func pick(r *rand.Rand, ms []*member, is func(*member) bool) *member {
	var those []*member
	for _, m := range ms {
		if is(m) {
			those = append(those, m)
		}
	}
	if len(those) == 0 {
		return nil
	}
	return those[r.IntN(len(those))]
}

// add makes a machine of a new token.
func (f *fleet) add(c generator.Context) *member {
	m := &member{token: "t" + strconv.Itoa(len(f.members)), spec: Spec{Size: 1}}
	switch c.Rand.IntN(4) {
	case 0, 1:
		inGroup := map[string]int{}
		for _, other := range f.pool {
			inGroup[other.spec.Group]++
		}
		for i := range max(1, f.vms/(2*groupSize)+1) {
			if name := "g" + strconv.Itoa(i); inGroup[name] < groupSize {
				m.spec.Group = name
				break
			}
		}
	case 2:
		m.spec.Labels = f.labels
	}
	f.members[m.token] = m
	f.pool = append(f.pool, m)
	return m
}

func (m *member) create() (string, input) { return Create, input{Token: m.token, Spec: m.spec} }

func (m *member) do(function string) (string, input) {
	return function, input{Token: m.token, VM: m.vm.ID}
}

// changed is do, of what is to be looked at afterwards.
func (m *member) changed(function string) (string, input, bool) {
	m.unseen = true
	f, in := m.do(function)
	return f, in, true
}

// twins generates creates by one more client, at once.
type twins struct{ *fleet }

func (t twins) Next(c generator.Context) generator.Step {
	m := t.twice
	if m == nil || len(c.Free) == 0 {
		return generator.Step{}
	}
	t.twice = nil
	function, in := m.create()
	return invoke(c, function, in)
}

// Update does nothing: the fleet is told by itself.
func (twins) Update(generator.Context, histories.Op) {}

func (f *fleet) Update(c generator.Context, op histories.Op) {
	if op.Process < 0 {
		return
	}
	switch {
	case op.F == Drain || op.F == Cordon || op.F == Uncordon:
		f.host(c, op)
	case ofMachine(op.F):
		if token, _, err := workloads.ParseKeyed(op.Value); err == nil && f.members[token] != nil {
			f.member(c, f.members[token], op)
		}
	default:
		if s, ok, err := found(op); ok && err == nil {
			for _, v := range s.VMs {
				f.hear(v.ID)
			}
		}
	}
}

// host takes note of an op on one.
func (f *fleet) host(c generator.Context, op histories.Op) {
	in, err := parseInput(op.F, op.Value)
	if err != nil || in.Host != f.drained {
		return
	}
	if f.asked = op.Type == histories.Invoke; f.asked {
		return
	}
	switch {
	case op.F != Uncordon: // it stays so for a while, and is asked to be in any case
		if op.Type == histories.OK {
			f.closed++
		}
	case op.Type == histories.OK:
		f.drained = ""
	default:
		f.uncordon = c.Now + uncordonWait
	}
}

// member takes note of an op on one.
func (f *fleet) member(c generator.Context, m *member, op histories.Op) {
	if op.F == Create {
		if op.Type == histories.Invoke {
			m.creating++
			return
		}
		m.creating--
		m.wait = min(max(2*m.wait, createWait), maxCreateWait)
		m.again = c.Now + m.wait
		m.unsure = m.unsure || op.Type == histories.Info
	}
	switch op.Type {
	case histories.Invoke:
		return
	case histories.Info:
		if m.unseen = true; op.F != Get {
			m.indeterminate++
		}
		return
	case histories.Fail:
		m.unseen = m.unseen || op.F == Get
		return
	}
	f.did[op.F] = true
	v, err := parseMachine(op.F, op.Value)
	if err != nil {
		return
	}
	if v.ID != "" && v.Desired != string(deleted) {
		f.hear(v.ID)
		m.vm = v
		m.unseen = m.unseen || op.F != Get
		return
	}
	// It is deleted: it keeps its name, to be asked for.
	m.vm.ID = cmp.Or(m.vm.ID, v.ID)
	f.hear(m.vm.ID)
	f.leave(m)
}

// leave takes a machine out of the pool.
func (f *fleet) leave(m *member) {
	if m.gone {
		return
	}
	m.gone = true
	f.pool = slices.DeleteFunc(f.pool, func(other *member) bool { return other == m })
	if m.vm.ID == "" {
		return
	}
	if f.former = append(f.former, m); len(f.former) > recent {
		f.former = f.former[1:]
	}
}

// hear takes note that there is, or was, such a machine.
func (f *fleet) hear(id string) {
	if id != "" && !f.heard[id] {
		f.heard[id] = true
		f.order = append(f.order, id)
	}
}

// final returns what is done in the end.
func (f *fleet) final(limit time.Duration) generator.Generator {
	one := func(function string) generator.Generator {
		return generator.UntilOK(lookPause, histories.Op{F: function})
	}
	return &final{f, generator.Phases(
		workloads.Final(limit, f.catchUp),
		workloads.Final(limit, f.clearUp),
		generator.OnClients(generator.TimeLimit(settleLimit, one(Settle))),
		generator.Sleep(settlePause),
		generator.OnClients(generator.TimeLimit(restLimit, one(Rest))),
		workloads.Final(limit, f.volumes),
		workloads.Final(limit, f.lastLook),
	)}
}

// final is the final phase, of which the fleet takes note.
type final struct {
	fleet *fleet
	generator.Generator
}

func (l *final) Update(c generator.Context, op histories.Op) {
	l.fleet.Update(c, op)
	l.Generator.Update(c, op)
}

// catchUp returns what has never succeeded, of what is asked for so seldom that this may be the
// doing of faults alone: a host to be drained, and one to be cordoned; and changes of machines,
// each of another, since all are made at once.
func (f *fleet) catchUp() (ops []histories.Op) {
	for i := f.closed; i < 2 && len(f.hosts) > 0; i++ {
		function := closing(i)
		ops = append(ops, histories.Op{F: function, Value: input{Host: f.hosts[i%len(f.hosts)]}.payload(function)})
	}
	left := slices.Clone(f.pool)
	for _, function := range []string{Migrate, Start, Stop, Delete} {
		at := slices.IndexFunc(left, func(m *member) bool {
			runs := m.vm.Desired == string(running) && m.vm.State == m.vm.Desired
			return m.vm.ID != "" && (!m.leaving || function == Delete) && (function != Migrate || runs)
		})
		if f.did[function] || at < 0 {
			continue
		}
		function, in := left[at].do(function)
		ops = append(ops, histories.Op{F: function, Value: in.payload(function)})
		left = slices.Delete(left, at, at+1)
	}
	return ops
}

// clearUp returns what has nothing left over that nobody knows of: all hosts are to be
// uncordoned, and machines created, of which nobody knows whether they are there.
func (f *fleet) clearUp() (ops []histories.Op) {
	for _, host := range f.hosts {
		ops = append(ops, histories.Op{F: Uncordon, Value: input{Host: host}.payload(Uncordon)})
	}
	for _, m := range f.pool {
		if m.vm.ID == "" && m.unsure {
			function, in := m.create()
			ops = append(ops, histories.Op{F: function, Value: in.payload(function)})
		}
	}
	return ops
}

// volumes returns the look at the volumes of all machines that were heard of, if any was.
func (f *fleet) volumes() []histories.Op {
	if len(f.order) == 0 {
		return nil
	}
	return []histories.Op{{F: Volumes, Value: input{VMs: f.order}.payload(Volumes)}}
}

// lastLook returns a get of each machine that clients know.
func (f *fleet) lastLook() (ops []histories.Op) {
	for i := range len(f.members) {
		if m := f.members["t"+strconv.Itoa(i)]; m.vm.ID != "" {
			function, in := m.do(Get)
			ops = append(ops, histories.Op{F: function, Value: in.payload(function)})
		}
	}
	return ops
}

// Functions returns those of clients.
func Functions() []string {
	return []string{Create, Get, Start, Stop, Delete, Migrate, Drain, Cordon, Uncordon, Settle, Rest, Volumes}
}
