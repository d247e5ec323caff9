package cluster

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Local is the lab on this machine. Only [Inside] can there be one.
type Local struct {
	nodes  []Node
	spaces []namespace // of the nodes
	hub    namespace   // where the switch is plugged in, if not everywhere
	net    *netSwitch
	ports  Ports // what the network is made of
	why    error // it is not made of the first choice, or nil
	log    *slog.Logger

	// What else can be broken; nil without it.
	disks     *disks
	clocks    *clocks
	resources *resources

	mu        sync.Mutex
	processes map[string]*process // by node; those that run
	closed    bool

	stills []standstill // of the nodes
}

// process is what runs on a node.
type process struct {
	pid    int
	exited chan struct{} // closed when it is gone and its end is noted in the log
}

// NewLocal brings up a lab whose nodes run nothing yet.
func NewLocal(o Options) (_ *Local, err error) {
	if !inside {
		return nil, errors.New("lab: not inside its namespaces (see Enter)")
	}
	if o.Nodes < 1 || o.Nodes > MaxNodes {
		return nil, fmt.Errorf("lab: %d nodes; it has 1 to %d", o.Nodes, MaxNodes)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Local{log: o.Log, processes: map[string]*process{}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("lab: %w", err), l.Close())
		}
	}()
	if o.Dir != "" {
		if o.Dir, err = filepath.Abs(o.Dir); err != nil { // processes run elsewhere
			return nil, err
		}
	}
	places := []string{Tester}
	addrs := []netip.Addr{addrOf(250)}
	for i := 1; i <= o.Nodes; i++ {
		n := Node{Name: fmt.Sprintf("n%d", i), Addr: addrOf(i)}
		if o.Dir != "" {
			n.Dir = filepath.Join(o.Dir, n.Name, "data")
			if err := os.MkdirAll(n.Dir, 0o755); err != nil {
				return nil, err
			}
		}
		ns, err := newNamespace()
		l.spaces = append(l.spaces, ns)
		if err != nil {
			return nil, err
		}
		l.nodes = append(l.nodes, n)
		places, addrs = append(places, n.Name), append(addrs, n.Addr)
	}
	l.stills = make([]standstill, o.Nodes)
	if err := l.equip(o); err != nil {
		return nil, err
	}
	own, err := currentNamespace()
	if err != nil {
		return nil, err
	}
	defer own.close()
	ports, l2, err := l.plugIn(append([]namespace{own}, l.spaces...), addrs, o.Ports)
	if err != nil {
		return nil, err
	}
	l.net = newSwitch(places, addrs, ports, l2, o.Log)
	l.net.natural, l.net.pcap = o.Natural, newPcap(o.Pcap)
	if err := l.net.start(); err != nil {
		return nil, err
	}
	return l, nil
}

// equip gives the nodes what the options ask for beside a network.
func (l *Local) equip(o Options) (err error) {
	if o.Disks {
		if l.disks, err = newDisks(l, o); err != nil {
			return err
		}
	}
	if o.Clocks {
		if l.clocks, err = newClocks(l); err != nil {
			return err
		}
	}
	if o.Resources {
		if l.resources, err = newResources(l); err != nil {
			return err
		}
	}
	return nil
}

func addrOf(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, byte(n)}) }

// plugIn makes a port for each place.
func (l *Local) plugIn(spaces []namespace, addrs []netip.Addr, kind Ports) (ports []port, l2 int, err error) {
	if kind != PacketSockets {
		ports, err = openAll(spaces, func(i int) (p port, err error) {
			err = spaces[i].do(func() error {
				p, err = openTun(addrs[i])
				return err
			})
			return p, err
		})
		l.ports = TunDevices
		refused, ok := errors.AsType[*RefusedError](err)
		if !ok || kind == TunDevices {
			return ports, 0, err
		}
		l.why = refused
	}
	l.ports = PacketSockets
	if l.hub, err = newNamespace(); err != nil {
		return nil, 0, err
	}
	ports, err = openAll(spaces, func(i int) (port, error) { return openVeth(l.hub, spaces[i], i, addrs[i]) })
	if err != nil {
		return nil, 0, errors.Join(l.why, err) // either would do
	}
	return ports, ethernet, nil
}

// openAll opens a port for each space, or none.
func openAll(spaces []namespace, open func(i int) (port, error)) (ports []port, err error) {
	for i := range spaces {
		p, err := open(i)
		if err != nil {
			for _, p := range ports {
				p.Close()
			}
			return nil, err
		}
		ports = append(ports, p)
	}
	return ports, nil
}

// Nodes implements Lab.
func (l *Local) Nodes() []Node { return slices.Clone(l.nodes) }

// Facts say what this machine gave the lab, by mechanism, for the record.
func (l *Local) Facts() map[string]string {
	facts := map[string]string{"namespaces": "as root", "network": l.ports.String()}
	// In the first user namespace every user is mapped.
	if b, err := os.ReadFile("/proc/self/uid_map"); err == nil && !strings.Contains(string(b), "4294967295") {
		facts["namespaces"] = "in a user namespace"
	}
	if l.disks != nil {
		facts["disks"] = l.disks.Made()
	}
	if l.resources != nil {
		facts["resources"] = l.resources.Method()
	}
	return facts
}

// Fallback says why the lab is not made as it is where nothing is missing, or nil.
// It is as good.
func (l *Local) Fallback() error { return l.why }

// Network implements Lab.
func (l *Local) Network() Network { return l.net }

// Disks implements Lab.
func (l *Local) Disks() Disks {
	if l.disks == nil {
		return nil
	}
	return l.disks
}

// Clocks implements Lab.
func (l *Local) Clocks() Clocks {
	if l.clocks == nil {
		return nil
	}
	return l.clocks
}

// Resources implements Lab.
func (l *Local) Resources() Resources {
	if l.resources == nil {
		return nil
	}
	return l.resources
}

// Start implements Lab. What the process prints goes to the node's log, which is
// in the lab's directory and named after the node.
func (l *Local) Start(node string, c Command) error {
	at, err := l.find(node)
	if err != nil {
		return err
	}
	l.bury(at)
	if l.disks != nil {
		defer l.disks.present(at)()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return fmt.Errorf("start %s: the lab is closed", node)
	case l.nodes[at].Dir == "":
		return fmt.Errorf("start %s: the lab has no directory", node)
	case l.processes[node] != nil:
		return fmt.Errorf("start %s: it runs process %d", node, l.processes[node].pid)
	}
	log, err := os.OpenFile(l.logFile(l.nodes[at]), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", node, err)
	}
	if c.Path == "" {
		c.Path = "/proc/self/exe"
	}
	cmd := exec.Command(c.Path, c.Args...)
	if c.Path == "/proc/self/exe" {
		cmd.Args[0] = os.Args[0]
	}
	cmd.Dir = l.nodes[at].Dir
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}          // no signal of the terminal reaches it
	note(log, "starting: %s", short(strings.Join(cmd.Args, " "))) // before anything that it prints
	start := cmd.Start
	if l.clocks != nil {
		start = func() error { return l.clocks.start(at, cmd) }
	}
	if err := l.spaces[at].do(start); err != nil {
		note(log, "not started: %v", err)
		log.Close()
		return fmt.Errorf("start %s: %w", node, err)
	}
	p := &process{pid: cmd.Process.Pid, exited: make(chan struct{})}
	l.processes[node] = p
	if l.resources != nil {
		if err := l.resources.started(at, p.pid); err != nil && !errors.Is(err, syscall.ESRCH) { // it has ended
			l.log.Error("limit what was started", "node", node, "err", err)
		}
	}
	go func() { // ends with the process, which Close kills and waits for
		_ = cmd.Wait()
		note(log, "process %d ended: %v", p.pid, cmd.ProcessState)
		log.Close()
		l.mu.Lock()
		delete(l.processes, node)
		l.mu.Unlock()
		close(p.exited)
	}()
	return nil
}

// short keeps a line readable that has a whole configuration in it.
func short(line string) string {
	const most = 120
	if len(line) > most {
		return strings.ToValidUTF8(line[:most], "") + "..."
	}
	return line
}

// note adds a line of the lab's own to a node's log.
func note(log io.Writer, format string, args ...any) {
	fmt.Fprintf(log, "--- %s %s\n", time.Now().Format(time.RFC3339Nano), fmt.Sprintf(format, args...))
}

// signal sends s to the node's process and those of its group, if it runs one.
func (l *Local) signal(node string, s syscall.Signal) (*process, error) {
	if _, err := l.find(node); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.processes[node]
	if p == nil {
		return nil, nil
	}
	if err := syscall.Kill(-p.pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return p, fmt.Errorf("signal %v to %s: %w", s, node, err)
	}
	return p, nil
}

// Exited implements Lab.
func (l *Local) Exited(node string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.processes[node]; p != nil {
		return p.exited
	}
	exited := make(chan struct{})
	close(exited)
	return exited
}

// Log implements Lab.
func (l *Local) Log(node string, lines int) []string {
	at, err := l.find(node)
	if err != nil {
		return nil
	}
	return tail(l.logFile(l.nodes[at]), lines)
}

func (l *Local) logFile(n Node) string { return filepath.Join(filepath.Dir(n.Dir), n.Name+".log") }

// tail returns the last lines of a file, as far as they are in its last 64 KiB.
func tail(name string, lines int) []string {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	const most = 64 << 10
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-most), io.SeekStart)
	}
	b, _ := io.ReadAll(io.LimitReader(f, most))
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return all[max(0, len(all)-lines):]
}

// Close implements Lab. Closing twice is harmless.
func (l *Local) Close() error {
	l.mu.Lock()
	closed := l.closed
	l.closed = true
	l.mu.Unlock()
	if closed {
		return nil
	}
	var errs []error
	var killing sync.WaitGroup
	for _, n := range l.nodes {
		killing.Go(func() {
			if err := l.Kill(n.Name); err != nil {
				l.log.Error("kill node", "node", n.Name, "err", err)
			}
		})
	}
	killing.Wait()
	if l.net != nil {
		errs = append(errs, l.net.close())
	}
	if l.disks != nil {
		errs = append(errs, l.disks.close())
	}
	if l.clocks != nil {
		errs = append(errs, l.clocks.close())
	}
	if l.resources != nil {
		errs = append(errs, l.resources.close())
	}
	for _, ns := range append(l.spaces, l.hub) {
		ns.close()
	}
	return errors.Join(errs...)
}

func (l *Local) find(node string) (int, error) {
	at := slices.IndexFunc(l.nodes, func(n Node) bool { return n.Name == node })
	if at < 0 {
		return 0, fmt.Errorf("lab: no such node: %q", node)
	}
	return at, nil
}
