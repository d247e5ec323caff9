package clock

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The page that the hooks read. It is a ring of slots, each of which holds from the
// time on that it names until the next one does. A change is published a little
// before it comes into force, so that all processes agree on what the clocks show
// at every moment, to the nanosecond, and no monotonic clock goes back: a reader
// whose time is before the newest slot's takes the one before.
//
// The hooks in hook/*.S know its layout.
type page struct {
	published atomic.Uint64 // how many changes there were; the last is at this, modulo the ring
	_         [120]byte
	ring      [32]slot
}

type slot struct {
	columns [len(ids)]column
	_       int64
}

// A column says what a clock shows: its true time, and delta, and drift times 2^-32
// of the time since. Each clock is told by its own true time alone, since a second
// one could not be read at the same moment.
type column struct{ since, delta, drift int64 }

// pageSize is the size of the mapping: whole pages of the machine.
const pageSize = 8192

// ids are the clocks that there are columns for, in their order. Coarse clocks
// share those of the exact ones.
var ids = [...]int32{unix.CLOCK_REALTIME, unix.CLOCK_TAI, unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME, unix.CLOCK_MONOTONIC_RAW}

const (
	realtime  = 0 // the column of CLOCK_REALTIME
	monotonic = 2 // that of CLOCK_MONOTONIC; those from here on never go back
)

// at returns what c adds to the clock at a time. The hook computes the same.
func (c column) at(now int64) int64 {
	since, drift, sign := uint64(now-c.since), uint64(c.drift), (c.drift < 0) != (now < c.since)
	if now < c.since {
		since = -since
	}
	if c.drift < 0 {
		drift = -drift
	}
	high, low := bits.Mul64(since, drift)
	if sign { // rounded down, as an arithmetic shift does
		low, high = -low, ^high
		if low == 0 {
			high++
		}
	}
	return c.delta + int64(high<<32|low>>32)
}

// A Clock is what the programs that were started with it read. At first it is
// right. Its methods are safe for concurrent use.
type Clock struct {
	mu   sync.Mutex
	file *os.File // the page, to be mapped by children; nil when closed
	mem  []byte
}

// name is what the page is called in /proc.
const name = "hacheck-clock"

var errClosed = errors.New("clock: closed")

// New returns a clock.
func New() (*Clock, error) {
	// Nobody executes what is on it, and some machines want that said.
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("clock: shared memory: %w", err)
	}
	c := &Clock{file: os.NewFile(uintptr(fd), name)}
	err = unix.Ftruncate(fd, pageSize)
	if err == nil {
		c.mem, err = unix.Mmap(fd, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		c.file.Close()
		return nil, fmt.Errorf("clock: shared memory: %w", err)
	}
	return c, nil
}

// Close lets go of the clock. Programs that read it go on to, as it is.
func (c *Clock) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return nil
	}
	err := errors.Join(c.file.Close(), unix.Munmap(c.mem))
	c.file, c.mem = nil, nil
	return err
}

// How long before it comes into force a change is published. The tester may be
// kept from running for about half as long without any harm.
const lead = time.Millisecond

// Set makes the clock differ from the true ones by w, from about a millisecond after
// the call on, and returns when it does. What it differed by before is of no account
// to realtime: the zero Warp sets that right. The monotonic clock goes on from where
// it is.
func (c *Clock) Set(w Warp) error {
	if err := w.Check(); err != nil {
		return fmt.Errorf("clock: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return errClosed
	}
	p := (*page)(unsafe.Pointer(&c.mem[0]))
	n := p.published.Load()
	last, next := &p.ring[n%uint64(len(p.ring))], &p.ring[(n+1)%uint64(len(p.ring))]
	for {
		for i, id := range ids {
			now, err := read(id)
			if err != nil {
				return err
			}
			then := now + int64(lead)
			if i < monotonic {
				next.columns[i] = column{then, int64(w.Offset), fixed(w.Drift)}
			} else {
				next.columns[i] = column{then, last.columns[i].at(then), fixed(w.MonotonicDrift)}
			}
		}
		now, err := read(unix.CLOCK_MONOTONIC)
		if err != nil {
			return err
		}
		left := next.columns[monotonic].since - now
		if left < int64(lead/2) {
			continue // too late for some, perhaps; it is published to nobody yet
		}
		p.published.Store(n + 1)
		time.Sleep(time.Duration(left)) // then it is in force
		return nil
	}
}

// Offsets returns by how much the clocks differ from the true ones now, as the page says.
// That is exact, and asks no process: one that does not read the page has other clocks. It
// waits for a Set that is under way.
func (c *Clock) Offsets() (Offsets, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return Offsets{}, errClosed
	}
	p := (*page)(unsafe.Pointer(&c.mem[0]))
	var shown [2]time.Duration
	for i, column := range []int{realtime, monotonic} {
		now, err := read(ids[column])
		if err != nil {
			return Offsets{}, err
		}
		shown[i] = time.Duration(p.at(column, now))
	}
	return Offsets{Realtime: shown[0], Monotonic: shown[1]}, nil
}

// at returns what is added to the clock of a column at a time: by the last slot that this is
// not before; or, if realtime was set back before all of them, by the oldest. The one that
// may be written now is left out. The hook does the same.
func (p *page) at(clock int, now int64) int64 {
	n := p.published.Load()
	var c column
	for back := range uint64(len(p.ring) - 1) {
		c = p.ring[(n-back)%uint64(len(p.ring))].columns[clock]
		if now >= c.since {
			break
		}
	}
	return c.at(now)
}

// read returns what a clock shows, in nanoseconds: truly, since this is a system
// call.
func read(id int32) (int64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0, fmt.Errorf("clock: read clock %d: %w", id, err)
	}
	return ts.Nano(), nil
}

// Reaches says whether a process has the clock's page, as those have that were
// started with it, and their forks. The process is named by its directory in /proc.
// Of one that has ended it returns os.ErrProcessDone.
func (c *Clock) Reaches(dir string) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return false, errClosed
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(c.file.Fd()), &stat); err != nil {
		return false, fmt.Errorf("clock: %w", err)
	}
	maps, err := os.ReadFile(filepath.Join(dir, "maps"))
	if len(maps) == 0 && err == nil || errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return false, os.ErrProcessDone
	}
	if err != nil {
		return false, fmt.Errorf("clock: %w", err)
	}
	inode := strconv.FormatUint(stat.Ino, 10)
	for line := range strings.Lines(string(maps)) {
		// address, rights, offset, device, inode, name
		if f := strings.Fields(line); len(f) > 5 && f[4] == inode && strings.Contains(f[5], name) {
			return true, nil
		}
	}
	return false, nil
}
