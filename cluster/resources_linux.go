package cluster

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// resources implement Resources. CPU time and memory are limited by control groups
// where this user may make some. Where not, a keeper does by hand what the kernel
// would: it stops a node's processes while they have had more time than is theirs,
// and kills the largest when they have more memory. Descriptors are limited process
// by process; the keeper sees to it that new ones are, too, and those that have
// raised their limit: Go programs do so when they start.
type resources struct {
	lab    *Local
	groups *groups // nil without control groups
	nodes  []*limited
}

// newResources prepares to limit what l's nodes use.
func newResources(l *Local) (*resources, error) {
	name, err := labName("/proc/self")
	if err != nil {
		return nil, err
	}
	r := &resources{lab: l, groups: newGroups(name)}
	for at, n := range l.nodes {
		limited := &limited{lab: l, at: at}
		if r.groups != nil {
			if limited.group, err = r.groups.of(n.Name); err != nil {
				return nil, errors.Join(err, r.groups.remove())
			}
		}
		r.nodes = append(r.nodes, limited)
	}
	return r, nil
}

// started puts a process that was started on the node at a position into the node's
// control group. What it starts itself will be there, too.
func (r *resources) started(at, pid int) error {
	if g := r.nodes[at].group; g != nil {
		return g.add(pid)
	}
	return nil
}

// close lifts all limits. The nodes run nothing any more.
func (r *resources) close() error {
	var errs []error
	for _, n := range r.nodes {
		n.mu.Lock()
		limits := slices.Clone(n.limits)
		n.mu.Unlock()
		for _, l := range limits {
			errs = append(errs, l.End())
		}
	}
	if r.groups != nil {
		errs = append(errs, r.groups.remove())
	}
	return errors.Join(errs...)
}

// Method implements Resources.
func (r *resources) Method() string {
	switch {
	case r.groups == nil:
		return "signals and polling"
	case r.groups.v2:
		return "cgroup v2"
	}
	return "cgroup v1"
}

// Usage implements Resources.
func (r *resources) Usage(node string) (Usage, error) {
	at, err := r.lab.find(node)
	if err != nil {
		return Usage{}, err
	}
	found, err := r.lab.members(at)
	if err != nil {
		return Usage{}, fmt.Errorf("usage of %s: %w", node, err)
	}
	var u Usage
	for _, m := range found {
		u.CPU += cpuTime(m.pid)
		u.Memory += m.memory()
		u.Files += m.files()
	}
	return u, nil
}

// memory returns the bytes that are a process's own: what is mapped from files can be
// had again, and does not count.
func (m member) memory() int64 {
	b, err := os.ReadFile(m.dir + "/statm")
	fields := strings.Fields(string(b))
	if err != nil || len(fields) < 3 {
		return 0 // it has ended
	}
	resident, _ := strconv.ParseInt(fields[1], 10, 64)
	shared, _ := strconv.ParseInt(fields[2], 10, 64)
	return (resident - shared) * int64(os.Getpagesize())
}

// files returns how many descriptors a process has open.
func (m member) files() int {
	d, err := os.Open(m.dir + "/fd")
	if err != nil {
		return 0
	}
	defer d.Close()
	names, _ := d.Readdirnames(0)
	return len(names)
}

// Limit implements Resources.
func (r *resources) Limit(node string, l Limit) (Impairment, error) {
	at, err := r.lab.find(node)
	if err != nil {
		return nil, err
	}
	if l.CPU < 0 || l.Memory < 0 || l == (Limit{}) {
		return nil, fmt.Errorf("limit %s: %+v limits nothing", node, l)
	}
	n := r.nodes[at]
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.find(); err != nil {
		return nil, fmt.Errorf("limit %s: %w", node, err)
	}
	i := &limit{Limit: l, node: n, base: n.counts()}
	n.limits = append(n.limits, i)
	if err := n.apply(); err != nil {
		n.limits = n.limits[:len(n.limits)-1]
		return nil, errors.Join(fmt.Errorf("limit %s: %w", node, err), n.apply())
	}
	n.keep()
	return i, nil
}

// A limit is one that is, or was, in force.
type limit struct {
	Limit
	node *limited

	// Guarded by the node's mutex:
	base counts  // of the node, when it began
	last *counts // when it ended
}

// counts are how often limits of a node have acted.
type counts struct {
	throttled uint64 // periods without CPU time, or stops
	killed    uint64
	atLimit   uint64 // looks that found a process with as many descriptors as it may have
}

// Seen implements Impairment.
func (i *limit) Seen() map[string]uint64 {
	i.node.mu.Lock()
	defer i.node.mu.Unlock()
	now := i.last
	if now == nil {
		c := i.node.counts()
		now = &c
	}
	seen := map[string]uint64{}
	if i.CPU > 0 {
		seen["throttled"] = now.throttled - i.base.throttled
	}
	if i.Memory > 0 {
		seen["killed"] = now.killed - i.base.killed
	}
	if i.Files > 0 {
		seen["at the limit"] = now.atLimit - i.base.atLimit
	}
	return seen
}

// End implements Impairment.
func (i *limit) End() error {
	n := i.node
	n.mu.Lock()
	at := slices.Index(n.limits, i)
	if at < 0 {
		n.mu.Unlock()
		return nil
	}
	if i.last == nil {
		c := n.counts()
		i.last = &c
	}
	err := n.find()
	n.limits = slices.Delete(n.limits, at, at+1)
	if err = errors.Join(err, n.apply()); err != nil {
		n.limits = append(n.limits, i)
		n.mu.Unlock()
		return fmt.Errorf("lift a limit of %s: %w", n.lab.nodes[n.at].Name, err)
	}
	var done chan struct{}
	if len(n.limits) == 0 {
		close(n.stop)
		done, n.stop = n.done, nil
	}
	n.mu.Unlock()
	if done != nil {
		<-done
	}
	return nil
}

// A limited is a node that can be limited.
type limited struct {
	lab   *Local
	at    int
	group *group // nil without control groups

	mu     sync.Mutex
	limits []*limit      // in force
	stop   chan struct{} // closed to end the keeper; nil if there is none
	done   chan struct{} // closed by the keeper at its end
	found  []member      // the node's processes when somebody last looked
	seen   counts        // what the keeper did

	// Of CPU time.
	halted bool
	looked time.Time             // when times were read
	times  map[int]time.Duration // by process
	debt   time.Duration         // time that the processes have had and was not theirs

	// Of memory.
	squeeze bool         // the group does not take the limit: the processes have more
	dying   map[int]bool // processes that were killed, and may be there still

	// Of descriptors.
	files map[int]uint64 // what the limits of processes were, by process
	usual uint64         // what one of them was; what a process has forked inherited a lower one
}

// The keeper's times.
const (
	keeperTick   = 5 * time.Millisecond   // it stops and lets go
	keeperPeriod = 20 * time.Millisecond  // it looks at memory and descriptors; what time was not used by then is lost
	keeperSearch = 100 * time.Millisecond // it looks for processes
	longestStop  = time.Second
)

// effective is the strictest of the limits in force.
func (n *limited) effective() (e Limit) {
	for _, l := range n.limits {
		if l.CPU > 0 && (e.CPU == 0 || l.CPU < e.CPU) {
			e.CPU = l.CPU
		}
		if l.Memory > 0 && (e.Memory == 0 || l.Memory < e.Memory) {
			e.Memory = l.Memory
		}
		if l.Files > 0 && (e.Files == 0 || l.Files < e.Files) {
			e.Files = l.Files
		}
	}
	return e
}

// counts returns how often limits have acted so far.
func (n *limited) counts() counts {
	c := n.seen
	if n.group != nil {
		throttled, killed := n.group.counts()
		c.throttled += throttled
		c.killed += killed
	}
	return c
}

// find looks for the node's processes, and enters into the books what it finds: with
// what is in force, that is, before it changes.
func (n *limited) find() error {
	found, err := n.lab.members(n.at)
	if err != nil {
		return err
	}
	n.found = found
	if n.group != nil {
		for _, m := range found { // one may have been forked before its parent was in the group
			if err := n.group.add(m.pid); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	if e := n.effective(); e.Files > 0 {
		return n.limitFiles(e.Files) // one that was forked has inherited the limit
	}
	return nil
}

// apply makes what is in force what ought to be.
func (n *limited) apply() error {
	e := n.effective()
	if n.group != nil {
		if err := n.group.limitCPU(e.CPU); err != nil {
			return err
		}
		if err := n.limitMemory(e.Memory); err != nil {
			return err
		}
	} else if e.CPU == 0 && n.halted {
		if err := n.lab.halt(n.at, n.found, false); err != nil {
			return err
		}
		n.halted = false
	}
	if e.CPU == 0 {
		n.times, n.debt = nil, 0
	}
	if e.Files == 0 {
		return n.restoreFiles()
	}
	return n.limitFiles(e.Files)
}

// limitMemory tells the group. One of version 1 refuses a limit below what there is.
func (n *limited) limitMemory(most int64) error {
	err := n.group.limitMemory(most)
	n.squeeze = errors.Is(err, unix.EBUSY)
	if n.squeeze {
		return nil // killing is for the keeper
	}
	return err
}

// keep starts the keeper, if there is none.
func (n *limited) keep() {
	if n.stop != nil {
		return
	}
	n.stop, n.done = make(chan struct{}), make(chan struct{})
	go n.run(n.stop, n.done)
}

// run is the keeper: it ends when stop is closed.
func (n *limited) run(stop <-chan struct{}, done chan<- struct{}) {
	defer close(done)
	every := keeperTick
	if n.group != nil {
		every = keeperPeriod // CPU time is no matter of its own
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var looked, searched time.Time
	for {
		select {
		case <-stop:
			return
		case now := <-tick.C:
			n.mu.Lock()
			var err error
			if now.Sub(searched) >= keeperSearch {
				searched, err = now, n.find()
			}
			all := now.Sub(looked) >= keeperPeriod
			if all {
				looked = now
			}
			err = errors.Join(err, n.look(all))
			n.mu.Unlock()
			if err != nil {
				n.lab.log.Error("keep limits", "node", n.lab.nodes[n.at].Name, "err", err)
			}
		}
	}
}

// look does what is to be done now, and, if all, also what is not done at every tick.
func (n *limited) look(all bool) (err error) {
	e := n.effective()
	if e.CPU > 0 && n.group == nil {
		err = n.throttle(e.CPU)
	}
	if all && e.Memory > 0 {
		// A group does not know of what its processes had before they were in it.
		err = errors.Join(err, n.killLargest(e.Memory))
		if n.squeeze {
			err = errors.Join(err, n.limitMemory(e.Memory))
		}
	}
	if all && e.Files > 0 {
		err = errors.Join(err, n.limitFiles(e.Files))
		for _, m := range n.found {
			if uint64(m.files()) >= e.Files {
				n.seen.atLimit++
				break
			}
		}
	}
	return err
}

// throttle stops the processes while they have had more than a share of the time that
// went by.
func (n *limited) throttle(share float64) error {
	of := func(d time.Duration) time.Duration { return time.Duration(share * float64(d)) }
	now := time.Now()
	times := map[int]time.Duration{}
	for _, m := range n.found {
		t := cpuTime(m.pid)
		times[m.pid] = t
		if before, known := n.times[m.pid]; known && t > before {
			n.debt += t - before
		}
	}
	if n.times != nil {
		n.debt -= of(now.Sub(n.looked))
	}
	n.times, n.looked = times, now
	n.debt = min(max(n.debt, -of(keeperPeriod)), of(longestStop))

	halted := n.debt > 0
	if !halted && !n.halted {
		return nil
	}
	if halted && !n.halted {
		n.seen.throttled++
	}
	n.halted = halted
	// Again and again: who ends a pause lets go of all.
	return n.lab.halt(n.at, n.found, halted)
}

// killLargest kills the largest of the processes if together they have too much.
func (n *limited) killLargest(most int64) error {
	var total, size int64
	largest, dying := 0, map[int]bool{}
	for _, m := range n.found {
		if n.dying[m.pid] {
			dying[m.pid] = true // and its memory is as good as free
			continue
		}
		b := m.memory()
		total += b
		if b > size {
			largest, size = m.pid, b
		}
	}
	n.dying = dying
	if total <= most {
		return nil
	}
	if err := syscall.Kill(largest, syscall.SIGKILL); err != nil {
		if errors.Is(err, syscall.ESRCH) {
			return nil
		}
		return fmt.Errorf("kill process %d: %w", largest, err)
	}
	n.dying[largest] = true
	n.seen.killed++
	return nil
}

// limitFiles lowers the limits of the processes. Only the soft ones: to raise a hard
// one again takes rights.
func (n *limited) limitFiles(most uint64) error {
	was := map[int]uint64{}
	for _, m := range n.found {
		var now unix.Rlimit
		if err := unix.Prlimit(m.pid, unix.RLIMIT_NOFILE, nil, &now); err != nil {
			if errors.Is(err, unix.ESRCH) {
				continue
			}
			return fmt.Errorf("limit of process %d: %w", m.pid, err)
		}
		before, known := n.files[m.pid]
		switch {
		case !known && now.Cur < most: // its own
			continue
		case !known && now.Cur == most && n.usual > 0: // inherited
			before = n.usual
		case !known || now.Cur > most && now.Cur > before: // or it has raised it
			before = now.Cur
		}
		if want := min(most, before); now.Cur != want {
			replaced, err := setFiles(m.pid, want, now.Max)
			if err != nil {
				return err
			}
			if replaced > now.Cur { // it has raised it just now
				before = max(before, replaced)
			}
		}
		was[m.pid] = before
		n.usual = before
	}
	n.files = was
	return nil
}

// restoreFiles gives the processes the limits that they had. Who was forked while it
// is at that has inherited what is lifted, and comes after.
func (n *limited) restoreFiles() error {
	if len(n.files) == 0 {
		return nil
	}
	for pid, before := range n.files {
		if err := raiseFiles(pid, before); err != nil {
			return err
		}
	}
	found, err := n.lab.members(n.at)
	if err != nil {
		return err
	}
	for _, m := range found {
		_, known := n.files[m.pid]
		if before, forked := n.files[m.parent]; forked && !known {
			if err := raiseFiles(m.pid, before); err != nil {
				return err
			}
		}
	}
	n.files, n.usual = nil, 0
	return nil
}

// raiseFiles raises the soft limit of a process, if it is still there.
func raiseFiles(pid int, soft uint64) error {
	var now unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &now); err != nil {
		return nil // it has ended
	}
	_, err := setFiles(pid, min(soft, now.Max), now.Max)
	return err
}

// setFiles sets the limits of a process, if it is still there, and returns the soft one
// that this replaced.
func setFiles(pid int, soft, hard uint64) (replaced uint64, err error) {
	var was unix.Rlimit
	err = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: soft, Max: hard}, &was)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return 0, fmt.Errorf("limit of process %d: %w", pid, err)
	}
	return was.Cur, nil
}

// tryResources limits a process that takes what it can get: first its time, then its
// memory.
func tryResources() (detail string, err error) {
	dir, err := tempDir()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l, err := NewLocal(Options{Nodes: 1, Dir: dir, Resources: true})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	node := l.nodes[0].Name
	if err := l.Start(node, Command{Args: []string{roleGlutton}}); err != nil {
		return "", err
	}
	cpu, err := l.resources.Limit(node, Limit{CPU: 0.2, Files: 1000})
	if err != nil {
		return "", err
	}
	if err := await("refused time", func() bool { return cpu.Seen()["throttled"] > 0 }); err != nil {
		return "", err
	}
	if err := cpu.End(); err != nil {
		return "", err
	}
	memory, err := l.resources.Limit(node, Limit{Memory: 1})
	if err != nil {
		return "", err
	}
	if err := await("killed", func() bool { return memory.Seen()["killed"] > 0 }); err != nil {
		return "", err
	}
	if err := memory.End(); err != nil {
		return "", err
	}
	return "time, memory and descriptors limited by " + l.resources.Method(), nil
}

// await waits until a process that was limited feels it.
func await(what string, is func() bool) error {
	again := time.NewTicker(keeperTick)
	defer again.Stop()
	limit := time.NewTimer(5 * time.Second)
	defer limit.Stop()
	for !is() {
		select {
		case <-again.C:
		case <-limit.C:
			return fmt.Errorf("a process was limited, and not %s", what)
		}
	}
	return nil
}

// runGlutton takes time, as much as there is.
func runGlutton() int {
	for n := 0; ; n++ {
		if n < 0 {
			return n
		}
	}
}
