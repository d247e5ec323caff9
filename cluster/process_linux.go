package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The processes of a node are the one that was started there and whatever that has
// brought forth, also what has left its group and session: a process inherits its
// network namespace, and so can be told by it.

// A member is a process of a node, as it was when somebody looked.
type member struct {
	pid, parent int
	dir         string // of it in /proc
	threads     int
	state       string // a letter
	forked      bool   // it executes the program of its parent yet
}

// members returns the processes of the node at a position that are not dead.
//
// Not among them is what the tester itself has started there beside the node's own
// process, such as one that reads a clock, and the tester: its threads go in and out
// of the nodes' namespaces.
func (l *Local) members(at int) ([]member, error) {
	info, err := l.spaces[at].f.Stat()
	if err != nil {
		return nil, err
	}
	space := fmt.Sprintf("net:[%d]", info.Sys().(*syscall.Stat_t).Ino)
	main := 0
	if p := l.running(at); p != nil {
		main = p.pid
	}
	names, err := procNames()
	if err != nil {
		return nil, err
	}
	var found []member
	for _, name := range names {
		dir := "/proc/" + name
		// What cannot be read has ended meanwhile.
		if ns, err := os.Readlink(dir + "/ns/net"); err != nil || ns != space {
			continue
		}
		m, err := readMember(dir)
		if err != nil || m.dead() || m.pid == os.Getpid() || m.parent == os.Getpid() && m.pid != main {
			continue
		}
		found = append(found, m)
	}
	return found, nil
}

// procNames returns the names of the processes in /proc.
func procNames() ([]string, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for processes: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(0)
	if err != nil {
		return nil, fmt.Errorf("look for processes: %w", err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return name[0] < '0' || name[0] > '9' }), nil
}

// ownProc says whether /proc shows the lab's processes by the numbers they have in
// the lab. Where it could not be mounted anew it has their numbers outside.
var ownProc = sync.OnceValue(func() bool {
	self, err := os.Readlink("/proc/self")
	return err == nil && self == strconv.Itoa(os.Getpid())
})

// readMember reads what /proc says of the process with a directory there.
func readMember(dir string) (member, error) {
	m := member{dir: dir}
	b, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return m, err
	}
	name, rest, ok := strings.Cut(string(b), "(")
	rest = rest[strings.LastIndexByte(rest, ')')+1:] // a program's name may have one, too
	fields := strings.Fields(rest)
	if !ok || len(fields) < 18 {
		return m, fmt.Errorf("%s/stat: %q", dir, b)
	}
	m.state = fields[0]
	m.pid, _ = strconv.Atoi(strings.TrimSpace(name))
	m.parent, _ = strconv.Atoi(fields[1])
	m.threads, _ = strconv.Atoi(fields[17])
	const forkNoExec = 0x40 // PF_FORKNOEXEC
	flags, _ := strconv.ParseUint(fields[6], 10, 64)
	m.forked = flags&forkNoExec != 0
	if !ownProc() {
		return m.translated()
	}
	return m, nil
}

// translated gives m the numbers that its process and its parent have in the lab.
func (m member) translated() (member, error) {
	pid, err := numberInLab(m.dir)
	if err != nil {
		return m, err
	}
	m.pid = pid
	// The parent of one whose own has ended is the lab's init; that of the init, none.
	m.parent, _ = numberInLab("/proc/" + strconv.Itoa(m.parent))
	return m, nil
}

// numberInLab returns the number of a process in the lab's PID namespace.
func numberInLab(dir string) (int, error) {
	numbers, err := numbersOf(dir)
	if err != nil {
		return 0, err
	}
	own, err := numbersOf("/proc/self")
	if err != nil {
		return 0, err
	}
	if len(numbers) < len(own) {
		return 0, fmt.Errorf("%s is not of the lab", dir)
	}
	return strconv.Atoi(numbers[len(own)-1])
}

// numbersOf returns the numbers of a process, from that in the PID namespace that
// /proc shows to that in its own.
func numbersOf(dir string) ([]string, error) {
	b, err := os.ReadFile(dir + "/status")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			return strings.Fields(numbers), nil
		}
	}
	return nil, fmt.Errorf("%s/status: no NSpid", dir)
}

// dead says that the process is gone but for its exit status, and that no thread
// goes on without the first.
func (m member) dead() bool {
	return (m.state == "Z" || m.state == "X") && m.threads <= 1
}

// gone says whether the process has died meanwhile.
func (m member) gone() bool {
	now, err := readMember(m.dir)
	return err != nil || now.dead()
}

// stopped says whether every thread of the process has stopped: one that still
// waits for a disk may yet write.
func (m member) stopped() bool {
	threads, err := filepath.Glob(m.dir + "/task/[0-9]*")
	if err != nil {
		return false
	}
	for _, dir := range threads {
		b, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue // it has ended
		}
		_, state, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
		if state == "" || !strings.Contains("TZX", state[:1]) {
			return false
		}
	}
	return true
}

// signalAll sends s to all processes of a node and returns them. Those that are gone
// by now are no error.
func (l *Local) signalAll(at int, s syscall.Signal) ([]member, error) {
	found, err := l.members(at)
	if err != nil {
		return nil, fmt.Errorf("signal %v to %s: %w", s, l.nodes[at].Name, err)
	}
	for _, m := range found {
		if err := syscall.Kill(m.pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
			return found, fmt.Errorf("signal %v to process %d of %s: %w", s, m.pid, l.nodes[at].Name, err)
		}
	}
	return found, nil
}

// running returns the process that was started on a node, or nil.
func (l *Local) running(at int) *process {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.processes[l.nodes[at].Name]
}

// Process implements Lab.
func (l *Local) Process(node string) (Process, bool) {
	at, err := l.find(node)
	if err != nil {
		return Process{}, false
	}
	p := l.running(at)
	if p == nil {
		return Process{}, false
	}
	m, err := l.memberOf(p)
	if err != nil || m.dead() {
		return Process{}, false
	}
	return Process{PID: p.pid, State: m.state}, true
}

// bury waits until the end of a process that has died is noted, too: whoever has seen it
// dead may start another.
func (l *Local) bury(at int) {
	p := l.running(at)
	if p == nil {
		return
	}
	if m, err := l.memberOf(p); err == nil && !m.dead() {
		return
	}
	limit := time.NewTimer(killLimit)
	defer limit.Stop()
	select {
	case <-p.exited:
	case <-limit.C:
	}
}

// memberOf looks for a process that was started on a node.
func (l *Local) memberOf(p *process) (member, error) {
	if ownProc() {
		return readMember("/proc/" + strconv.Itoa(p.pid))
	}
	names, err := procNames()
	if err != nil {
		return member{}, err
	}
	for _, name := range names {
		if m, err := readMember("/proc/" + name); err == nil && m.pid == p.pid && m.parent == os.Getpid() && m.ofLab() {
			return m, nil
		}
	}
	return member{}, fmt.Errorf("process %d: %w", p.pid, os.ErrNotExist)
}

// ofLab says whether the process is in the lab's PID namespace: that of another lab
// may have the same numbers.
func (m member) ofLab() bool {
	its, err := os.Readlink(m.dir + "/ns/pid")
	if err != nil {
		return false
	}
	own, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && its == own
}

// Stop implements Lab. The node's process is asked, and with it those of its group.
// What it leaves behind is killed.
func (l *Local) Stop(ctx context.Context, node string) error {
	p, err := l.signal(node, syscall.SIGTERM)
	if err != nil {
		return err
	}
	if p != nil {
		select {
		case <-p.exited:
		case <-ctx.Done():
		}
	}
	return l.Kill(node)
}

// Kill implements Lab.
func (l *Local) Kill(node string) error {
	at, err := l.find(node)
	if err != nil {
		return err
	}
	seen, err := l.signalAll(at, syscall.SIGKILL)
	if err != nil {
		return err
	}
	p, err := l.signal(node, syscall.SIGKILL) // it may have started only now
	if err != nil {
		return err
	}
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	limit := time.NewTimer(killLimit)
	defer limit.Stop()
	for {
		// One may have been about to fork when it was killed: until none is left. And
		// while threads of one still end, it may be found no more and yet not be gone.
		left, err := l.signalAll(at, syscall.SIGKILL)
		if err != nil {
			return err
		}
		for _, m := range left {
			if !slices.ContainsFunc(seen, func(s member) bool { return s.dir == m.dir }) {
				seen = append(seen, m)
			}
		}
		seen = slices.DeleteFunc(seen, member.gone)
		if len(seen) == 0 && p.hasExited() {
			return nil
		}
		select {
		case <-again.C:
		case <-limit.C:
			if len(seen) > 0 {
				return fmt.Errorf("kill %s: process %d does not die: it waits for the kernel", node, seen[0].pid)
			}
			return fmt.Errorf("kill %s: process %d does not end", node, p.pid)
		}
	}
}

// KillOne implements Lab.
func (l *Local) KillOne(node string, pid int) error {
	at, err := l.find(node)
	if err != nil {
		return err
	}
	all, err := l.members(at)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(m member) bool { return m.pid == pid })
	if i < 0 {
		return fmt.Errorf("kill a process of %s: it has none of the number %d", node, pid)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill process %d of %s: %w", pid, node, err)
	}
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	limit := time.NewTimer(killLimit)
	defer limit.Stop()
	for p := l.running(at); !all[i].gone() || p != nil && p.pid == pid && !p.hasExited(); {
		select {
		case <-again.C:
		case <-limit.C:
			return fmt.Errorf("kill process %d of %s: it does not die", pid, node)
		}
	}
	return nil
}

// hasExited says whether a process, if there is one, was seen to end.
func (p *process) hasExited() bool {
	if p == nil {
		return true
	}
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// killLimit is how long a process may take to die, or to stop. One that is waiting
// for a disk may take for ever.
const killLimit = 10 * time.Second

// A standstill keeps the books of who has stopped the processes of a node: faults,
// which count, and a limit of CPU time, which stops them and lets them go all the
// time, but not those that a fault has stopped.
type standstill struct {
	mu     sync.Mutex // held while signals are sent, so that the last one is the right one
	pauses int
	// of is what ran on the node at the last pause. What is started later runs.
	of *process
}

// Pause implements Lab.
func (l *Local) Pause(node string) error {
	at, err := l.find(node)
	if err != nil {
		return err
	}
	s := &l.stills[at]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pauses++
	s.of = l.running(at)
	if err := l.stop(at); err != nil {
		return errors.Join(fmt.Errorf("pause %s: %w", node, err), l.resume(at))
	}
	return nil
}

// stop sends SIGSTOP to the processes of a node until it sees all of them stopped, and
// no more than had stopped before: those cannot have forked meanwhile.
func (l *Local) stop(at int) error {
	var before map[int]bool
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	limit := time.NewTimer(killLimit)
	defer limit.Stop()
	for {
		found, err := l.signalAll(at, syscall.SIGSTOP)
		if err != nil {
			return err
		}
		going, stood, more := map[int]bool{}, map[int]bool{}, false
		for _, m := range found {
			if m.stopped() {
				stood[m.pid], more = true, more || !before[m.pid]
			} else {
				going[m.pid] = true
			}
		}
		before = stood
		switch {
		case len(going) == 0 && !more:
			return nil
		case len(going) == 0:
			continue
		}
		// Who has called vfork does not stop before its child has executed a program,
		// and that must not stop before it has.
		for _, m := range found {
			if m.forked && going[m.parent] {
				_ = syscall.Kill(m.pid, syscall.SIGCONT) // or it has ended
			}
		}
		select {
		case <-again.C:
		case <-limit.C:
			return fmt.Errorf("processes %v do not stop: they wait for the kernel", slices.Sorted(maps.Keys(going)))
		}
	}
}

// Resume implements Lab.
func (l *Local) Resume(node string) error {
	at, err := l.find(node)
	if err != nil {
		return err
	}
	s := &l.stills[at]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pauses == 0 {
		return fmt.Errorf("resume %s: it is not paused", node)
	}
	if err := l.resume(at); err != nil {
		return fmt.Errorf("resume %s: %w", node, err)
	}
	return nil
}

// resume undoes a pause. Its standstill is locked.
func (l *Local) resume(at int) error {
	s := &l.stills[at]
	if s.pauses > 1 {
		s.pauses--
		return nil
	}
	if _, err := l.signalAll(at, syscall.SIGCONT); err != nil {
		return err
	}
	s.pauses, s.of = 0, nil
	return nil
}

// halt stops the given processes of a node for a moment, or lets them go on if halted
// is false. It leaves alone what a fault has stopped.
func (l *Local) halt(at int, found []member, halted bool) error {
	s := &l.stills[at]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pauses > 0 && s.of == l.running(at) {
		return nil
	}
	signal := syscall.SIGCONT
	if halted {
		signal = syscall.SIGSTOP
	}
	for _, m := range found {
		if err := syscall.Kill(m.pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("signal %v to process %d of %s: %w", signal, m.pid, l.nodes[at].Name, err)
		}
	}
	return nil
}

// Wipe implements Lab. The directory itself stays: it may be where a disk is mounted.
func (l *Local) Wipe(node string) error {
	at, err := l.find(node)
	if err != nil {
		return err
	}
	if p := l.running(at); p != nil {
		return fmt.Errorf("wipe %s: it runs process %d", node, p.pid)
	}
	left, err := l.members(at)
	if err != nil {
		return fmt.Errorf("wipe %s: %w", node, err)
	}
	if len(left) > 0 {
		return fmt.Errorf("wipe %s: process %d is left there", node, left[0].pid)
	}
	dir := l.nodes[at].Dir
	if dir == "" {
		return fmt.Errorf("wipe %s: the lab has no directory", node)
	}
	if l.disks != nil {
		if err := l.disks.wipe(node); err != nil {
			return fmt.Errorf("wipe %s: %w", node, err)
		}
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("wipe %s: %w", node, err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("wipe %s: %w", node, err)
		}
	}
	return nil
}

// cpuTime returns how long a process has been on a core.
func cpuTime(pid int) time.Duration {
	var t unix.Timespec
	// The clock of a process is its number with bits that say so: see
	// clock_getcpuclockid(3). One that is gone has used no more.
	if unix.ClockGettime(int32(^pid)<<3|2, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
