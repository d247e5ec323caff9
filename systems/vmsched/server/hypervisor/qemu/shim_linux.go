package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor/watchdog"
	"github.com/hacheck/hacheck/systems/vmsched/server/probe"
)

// A shimConfig is what a shim is told when it starts.
type shimConfig struct {
	Spec   hypervisor.Spec  `json:"spec"`
	Until  watchdog.Instant `json:"until"`
	Scope  string           `json:"scope"`
	Image  string           `json:"image"`
	Lock   bool             `json:"lock"`             // QEMU is to lock the image
	Listen string           `json:"listen,omitempty"` // it is to be received, at this address
	Probe  string           `json:"probe,omitempty"`
}

// A report is what a shim writes on its standard output: one when it can be found, before it
// starts QEMU, and one when the guest runs, or a source can connect, or neither.
type report struct {
	PID   int    `json:"pid,omitempty"`
	Addr  string `json:"addr,omitempty"`
	Error string `json:"error,omitempty"`
}

// A request is what a shim is asked. All but permit are answered with a reply.
type request struct {
	Do    string           `json:"do"`
	Until watchdog.Instant `json:"until,omitempty"` // permit
	Addr  string           `json:"addr,omitempty"`  // send
	Epoch uint64           `json:"epoch,omitempty"` // resume
}

type reply struct {
	Error string `json:"error,omitempty"`
}

const (
	permit  = "permit"
	send    = "send"
	goOn    = "continue"
	resume  = "resume"
	shutOff = "stop"
)

// What a migration is slowed down to: pre-copy of a guest that has a quarter of a MiB takes some
// tenths of a second, as those of big ones take long, so that something may happen meanwhile.
const (
	preCopyBytes  = 1 << 20 // a second
	downtimeLimit = 20      // ms
)

// settle is how long a shim waits for QEMU to say how something ended that has ended.
const settle = time.Second

// A shim is what is between one QEMU and everybody else.
type shim struct {
	config  shimConfig
	teller  *probe.Teller
	monitor *monitor
	serial  syscall.RawConn
	qemu    *exec.Cmd
	alive   chan struct{} // closed at the first line after a start, or after a resume
	ended   chan string   // how a migration did
	moving  chan struct{} // held by who sends, continues or resumes

	permits sync.Mutex // of until
	until   watchdog.Instant

	mu       sync.Mutex
	board    board
	epoch    uint64
	state    state
	first    probe.Kind // what the next line is told as, if it is the first
	stopping bool
	partial  []byte
	count    uint64
	acked    uint64
}

// RunShim runs a guest: it returns when that is gone, or ctx ends, which ends it. It uses
// standard output to report to who started it.
func RunShim(ctx context.Context, config json.RawMessage) error {
	signal.Ignore(syscall.SIGPIPE) // what it writes may be for nobody any more
	s := &shim{alive: make(chan struct{}), ended: make(chan string, 1), moving: make(chan struct{}, 1)}
	if err := json.Unmarshal(config, &s.config); err != nil {
		return fmt.Errorf("shim: read %s: %w", config, err)
	}
	err := s.run(ctx)
	if err != nil {
		_ = s.report(report{Error: err.Error()}) // else who started it sees that it is gone
		return fmt.Errorf("shim of %s: %w", s.config.Spec.VM, err)
	}
	return nil
}

func (s *shim) report(r report) error { return json.NewEncoder(os.Stdout).Encode(r) }

func (s *shim) run(ctx context.Context) (err error) {
	// Before all else: nothing that it does, nor QEMU, outlives its permit.
	if err := watchdog.Arm(s.config.Until); err != nil {
		return err
	}
	s.until = s.config.Until
	if s.teller, err = probe.Open(s.config.Probe); err != nil {
		return err
	}
	defer func() { _ = s.teller.Close() }()

	n := namesOf(s.config.Scope, s.config.Spec.VM, os.Getpid())
	alive, err := n.listen(life)
	if err != nil {
		return err
	}
	defer func() { _ = alive.Close() }()
	asked, err := n.listen(control)
	if err != nil {
		return err
	}
	defer func() { _ = asked.Close() }()
	s.board.names = n
	s.epoch, s.state, s.first = s.config.Spec.Epoch, running, probe.Boot
	if s.config.Listen != "" {
		s.state, s.first = incoming, ""
	}
	if err := s.board.show(s.epoch, s.state); err != nil {
		return err
	}
	// Who started it may be gone, and its successor may not have seen it. Then nothing is to
	// start, and nothing does: this fails.
	if err := s.report(report{PID: os.Getpid()}); err != nil {
		return err
	}

	// PR_SET_PDEATHSIG is of threads: the child dies with the one that has started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var complaints tail
	serial, monitor, err := s.start(alive, &complaints)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { s.monitor.listen(s.happened) })
	group.Go(func() { s.hear() })
	exited := make(chan error, 1)
	group.Go(func() { exited <- s.qemu.Wait() })
	defer func() {
		cancel()
		_ = s.qemu.Process.Kill()
		_ = asked.Close()
		_ = serial.Close()
		_ = monitor.Close()
		group.Wait()
	}()

	ready := make(chan error, 1)
	var addr string
	group.Go(func() {
		var err error
		addr, err = s.prepare(ctx)
		ready <- err
	})
	select {
	case err = <-ready:
	case err = <-exited:
		return errors.Join(errNoQEMU, complaints.error(), err)
	case <-ctx.Done():
		return ctx.Err()
	}
	if errors.Is(err, errNoQEMU) { // its own words say more
		return errors.Join(err, complaints.error(), <-exited)
	}
	if err != nil {
		return err
	}
	// If nobody reads this any more, whoever comes next finds the guest.
	_ = s.report(report{Addr: addr})
	_ = os.Stdout.Close()
	group.Go(func() { s.serve(ctx, asked, &group) })
	select {
	case err = <-exited:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && !s.stopping {
		return errors.Join(errNoQEMU, complaints.error(), err)
	}
	return nil
}

// start starts QEMU, and returns our ends of its serial line and its monitor.
func (s *shim) start(alive *net.UnixListener, complaints *tail) (serial, control *os.File, err error) {
	held, err := alive.File()
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = held.Close() }()
	serial, itsSerial, err := socketPair("serial line")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = itsSerial.Close() }()
	control, itsControl, err := socketPair("monitor")
	if err != nil {
		_ = serial.Close()
		return nil, nil, err
	}
	defer func() { _ = itsControl.Close() }()
	defer func() {
		if err != nil {
			_, _ = serial.Close(), control.Close()
		}
	}()
	if s.serial, err = serial.SyscallConn(); err != nil {
		return nil, nil, err
	}
	s.monitor = newMonitor(control)
	s.qemu = exec.Command(program, arguments(s.config)...)
	s.qemu.ExtraFiles = []*os.File{itsSerial, itsControl, held} // from 3 on
	s.qemu.Stderr = io.MultiWriter(complaints, os.Stderr)
	s.qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return serial, control, s.qemu.Start()
}

// arguments returns QEMU's.
func arguments(c shimConfig) []string {
	lock := "off"
	if c.Lock {
		lock = "on"
	}
	// Cached, since a folder that is shared may not know O_DIRECT: the guest has the disk flush
	// its cache before it counts a write, and QEMU drops what it has cached when it takes over an image.
	disk, err := json.Marshal(map[string]any{
		"node-name": "disk", "driver": "raw",
		"file": map[string]any{"driver": "file", "filename": c.Image, "locking": lock},
	})
	if err != nil {
		panic("qemu: " + err.Error()) // strings
	}
	a := []string{
		"-name", strings.ReplaceAll(c.Spec.VM, ",", ",,"), "-accel", "tcg", "-M", "pc,usb=off", "-m", "2M",
		"-nodefaults", "-no-user-config", "-display", "none",
		"-chardev", "socket,id=serial,fd=3", "-serial", "chardev:serial",
		"-chardev", "socket,id=monitor,fd=4", "-mon", "chardev=monitor,mode=control",
		// An error is the guest's to see: by itself QEMU would stop it when the disk is full.
		"-blockdev", string(disk), "-device", "ide-hd,bus=ide.0,unit=0,drive=disk,rerror=report,werror=report",
	}
	if c.Listen != "" {
		a = append(a, "-S", "-incoming", "defer")
	}
	return a
}

// socketPair returns two ends of a connection, ours first.
func socketPair(name string) (ours, its *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a %s: %w", name, err)
	}
	if err := syscall.SetNonblock(fds[0], true); err != nil {
		return nil, nil, errors.Join(err, syscall.Close(fds[0]), syscall.Close(fds[1]))
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}

// prepare returns when the guest runs, or, for one that is to be received, where a source
// can connect.
func (s *shim) prepare(ctx context.Context) (addr string, err error) {
	if err := s.monitor.ask(ctx, "qmp_capabilities", nil, nil); err != nil {
		return "", err
	}
	// With a return path the source has an end only when the target has said that it has
	// everything. The image is not taken before the guest is let go on.
	err = s.monitor.ask(ctx, "migrate-set-capabilities", map[string]any{"capabilities": []map[string]any{
		{"capability": "events", "state": true},
		{"capability": "return-path", "state": true},
		{"capability": "late-block-activate", "state": true},
	}}, nil)
	if err != nil {
		return "", err
	}
	if s.config.Listen == "" {
		select {
		case <-s.alive:
			return "", nil
		case <-s.monitor.gone:
			return "", errNoQEMU
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	uri := "tcp:" + net.JoinHostPort(s.config.Listen, "0")
	if err := s.monitor.ask(ctx, "migrate-incoming", map[string]any{"uri": uri}, nil); err != nil {
		return "", err
	}
	m, err := s.migration(ctx)
	if err != nil {
		return "", err
	}
	if len(m.Addrs) == 0 {
		return "", errors.New("QEMU does not say where it listens")
	}
	return net.JoinHostPort(m.Addrs[0].Host, m.Addrs[0].Port), nil
}

// A migration is what query-migrate says of it.
type migration struct {
	Status string `json:"status"`
	Error  string `json:"error-desc"`
	Addrs  []struct {
		Host string `json:"host"`
		Port string `json:"port"`
	} `json:"socket-address"`
}

func (s *shim) migration(ctx context.Context) (m migration, err error) {
	return m, s.monitor.ask(ctx, "query-migrate", nil, &m)
}

// serve answers who asks.
func (s *shim) serve(ctx context.Context, asked *net.UnixListener, group *sync.WaitGroup) {
	for {
		conn, err := asked.AcceptUnix()
		if err != nil {
			return // it was closed, since QEMU is gone
		}
		group.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			defer func() { _ = conn.Close() }()
			s.answer(ctx, conn)
		})
	}
}

// answer does what is asked over one connection, one thing after the other, until the other
// side says that it asks no more. Then what is being done ends early.
func (s *shim) answer(ctx context.Context, conn io.ReadWriter) {
	requests := make(chan request)
	var reader sync.WaitGroup
	defer reader.Wait()
	ctx, hangUp := context.WithCancel(ctx)
	defer hangUp()
	reader.Go(func() {
		defer close(requests)
		defer hangUp()
		for d := json.NewDecoder(conn); ; {
			var r request
			if err := d.Decode(&r); err != nil {
				return
			}
			if r.Do == permit { // not to wait for what else is being done
				if err := s.allow(r.Until); err != nil {
					return
				}
				continue
			}
			select {
			case requests <- r:
			case <-ctx.Done():
				return
			}
		}
	})
	for r := range requests {
		var a reply
		if err := s.do(ctx, r); err != nil {
			a.Error = err.Error()
		}
		if err := json.NewEncoder(conn).Encode(a); err != nil {
			return
		}
	}
}

// allow has the shim be killed later: of all that it was permitted the last instant holds.
func (s *shim) allow(until watchdog.Instant) error {
	s.permits.Lock()
	defer s.permits.Unlock()
	if until <= s.until {
		return nil
	}
	if err := watchdog.Arm(until); err != nil {
		return err
	}
	s.until = until
	return nil
}

func (s *shim) do(ctx context.Context, r request) error {
	if r.Do == shutOff {
		return s.stop(ctx)
	}
	select {
	case s.moving <- struct{}{}:
		defer func() { <-s.moving }()
	case <-ctx.Done():
		return ctx.Err()
	}
	switch r.Do {
	case send:
		return s.send(ctx, r.Addr)
	case goOn:
		return s.monitor.ask(ctx, "cont", nil, nil)
	case resume:
		return s.resume(ctx, r.Epoch)
	}
	return fmt.Errorf("%q is nothing that a guest does", r.Do)
}

// stop ends QEMU.
func (s *shim) stop(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	if err := s.monitor.ask(ctx, "stop", nil, nil); err != nil {
		return err
	}
	return s.monitor.ask(ctx, "quit", nil, nil)
}

// send migrates the guest to addr. If ctx ends first it takes that back.
func (s *shim) send(ctx context.Context, addr string) error {
	err := s.monitor.ask(ctx, "migrate-set-parameters",
		map[string]any{"max-bandwidth": preCopyBytes, "downtime-limit": downtimeLimit}, nil)
	if err != nil {
		return err
	}
	// If ctx ends before that is answered, it may have begun, or will: it is taken back below.
	err = s.monitor.ask(ctx, "migrate", map[string]any{"uri": "tcp:" + addr}, nil)
	if err != nil && ctx.Err() == nil {
		return err
	}
	var status string
	select {
	case status = <-s.ended:
	case <-s.monitor.gone:
		return errNoQEMU
	case <-ctx.Done():
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), settle)
		defer cancel()
		if err := s.monitor.ask(late, "migrate_cancel", nil, nil); err != nil {
			return err
		}
		select {
		case status = <-s.ended: // it may have been too late
		case <-late.Done(): // a connection that is not answered takes longer
			return fmt.Errorf("migrate to %s: %w, and was not taken back yet", addr, ctx.Err())
		}
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), settle)
	defer cancel()
	if err := s.settled(late); err != nil {
		return err
	}
	if status == "completed" {
		return nil
	}
	m, err := s.migration(late)
	return errors.Join(fmt.Errorf("migrate to %s: %s: %s", addr, status, m.Error), err)
}

// settled waits for a migration that has an end to be done with: until then the guest cannot be
// continued, or has not been. There is no event for it.
func (s *shim) settled(ctx context.Context) error {
	every := time.NewTicker(time.Millisecond)
	defer every.Stop()
	for {
		var is struct{ Status string }
		if err := s.monitor.ask(ctx, "query-status", nil, &is); err != nil {
			return err
		}
		if is.Status != "finish-migrate" {
			return nil
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return fmt.Errorf("the migration has ended, and is not done: %w", ctx.Err())
		}
	}
}

// resume lets a guest go on that was received.
func (s *shim) resume(ctx context.Context, epoch uint64) error {
	s.mu.Lock()
	was := s.state
	s.mu.Unlock()
	if was != incoming {
		return fmt.Errorf("the guest is %s: it is resumed once", was)
	}
	// The source may hear that all is here a moment before we do.
	late, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	m, err := s.migration(ctx)
	for err == nil && m.Status == "active" {
		select {
		case m.Status = <-s.ended:
		case <-s.monitor.gone:
			return errNoQEMU
		case <-late.Done():
			err = late.Err()
		}
	}
	if err != nil || m.Status != "completed" {
		return errors.Join(fmt.Errorf("the guest is not here: its migration is %q", m.Status), err)
	}
	s.mu.Lock()
	s.epoch, s.state, s.first = epoch, running, probe.Resumed
	err = s.board.show(s.epoch, s.state)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err := s.monitor.ask(ctx, "cont", nil, nil); err != nil {
		return err
	}
	select {
	case <-s.alive:
		return nil
	case <-s.monitor.gone:
		return errNoQEMU
	case <-ctx.Done():
		return ctx.Err()
	}
}

// happened is told what QEMU says of itself.
func (s *shim) happened(name, status string) {
	switch name {
	case "MIGRATION":
		switch status {
		case "setup":
			select {
			case <-s.ended: // of one before, that was given up
			default:
			}
		case "completed", "failed", "cancelled":
			select {
			case s.ended <- status:
			default: // nobody waits
			}
		}
	case "STOP":
		// What the guest has said before is on the line by now, and is told before this.
		s.heard()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.state == running && !s.stopping {
			s.become(standing, probe.Paused)
		}
	case "RESUME":
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.state == standing {
			s.become(running, probe.Continued)
		}
	}
}

// become shows and tells another state. s.mu is held.
func (s *shim) become(to state, kind probe.Kind) {
	s.state = to
	if err := s.board.show(s.epoch, s.state); err != nil {
		// Who looks would take it for what it is not: better that it is gone.
		_ = s.qemu.Process.Kill()
		return
	}
	s.tell(kind)
}

// hear tells what the guest says, until it says nothing any more.
func (s *shim) hear() {
	// It reads until there is nothing, and then waits for more.
	_ = s.serial.Read(func(fd uintptr) bool { return s.pump(int(fd)) })
}

// heard tells what the guest has said.
func (s *shim) heard() {
	_ = s.serial.Control(func(fd uintptr) { s.pump(int(fd)) })
}

// pump tells the newest of the lines that can be read, and says whether it was the last. The
// older ones are of a time when this was not running, and say no more.
func (s *shim) pump(fd int) (last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var newest []byte
	for chunk := make([]byte, 512); ; {
		n, err := syscall.Read(fd, chunk)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			last = !errors.Is(err, syscall.EAGAIN)
			break
		}
		s.partial = append(s.partial, chunk[:n]...)
		if end := bytes.LastIndexByte(s.partial, '\n'); end >= 0 {
			newest = bytes.Clone(s.partial[bytes.LastIndexByte(s.partial[:end], '\n')+1 : end])
			s.partial = append(s.partial[:0], s.partial[end+1:]...)
		}
	}
	if count, acked, ok := parseLine(newest); ok {
		s.count, s.acked = count, acked
		s.beat()
	}
	return last
}

// beat tells that the guest has said something. s.mu is held.
func (s *shim) beat() {
	switch {
	case s.first != "":
		s.tell(s.first)
		s.first = ""
		close(s.alive)
		return
	case s.state == standing: // QEMU's word comes by another way
		s.become(running, probe.Continued)
	}
	s.tell(probe.Beat)
}

// tell tells the observer. s.mu is held.
func (s *shim) tell(kind probe.Kind) {
	s.teller.Tell(probe.Event{
		Kind: kind, VM: s.config.Spec.VM, Host: s.config.Spec.Host, Epoch: s.epoch,
		PID: s.qemu.Process.Pid, Count: s.count, Acked: s.acked,
	})
}

// parseLine reads a line of the guest: two numbers of 8 hex digits.
func parseLine(line []byte) (count, acked uint64, ok bool) {
	if len(line) != 17 || line[8] != ' ' {
		return 0, 0, false
	}
	count, err := strconv.ParseUint(string(line[:8]), 16, 32)
	if err != nil {
		return 0, 0, false
	}
	acked, err = strconv.ParseUint(string(line[9:]), 16, 32)
	return count, acked, err == nil
}

// A tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	const most = 2048
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-most):]
	return len(p), nil
}

// error returns it as an error, if there is something.
func (t *tail) error() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text := strings.TrimSpace(string(t.text)); text != "" {
		return errors.New(text)
	}
	return nil
}
