package qemu

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// names are those of a shim's sockets, which are abstract (unix(7)): they live in the host's
// network namespace for as long as somebody holds the socket, and everybody there sees
// them, in /proc/net/unix. So an agent that was restarted finds its guests without a word from
// them, also those that stand still, and whatever has become of the disk. Behind the names'
// common part is
//
//   - life, which shim and QEMU hold. Nobody accepts a connection to it, so one ends when both
//     are gone.
//   - control, which the shim holds. There it is asked.
//   - the state, as order.epoch.state; of several the last in order holds.
type names string

const (
	life    = "life"
	control = "control"
)

// A state is what a guest does.
type state string

// The states. A guest is running from before QEMU is started, and from before one that was
// received is let go on: whoever finds it must expect that.
const (
	running  state = "running"
	incoming state = "incoming" // what is to be received is not here, or not let go on
	standing state = "standing" // stopped, as it was sent
)

// scopeOf returns how the names of a host's shims begin. Hosts may share a network namespace
// in tests, and so may labs.
func scopeOf(host, dir string) string {
	sum := sha256.Sum256([]byte(host + "\x00" + filepath.Clean(dir)))
	return fmt.Sprintf("@vmsched-qemu/%x/", sum[:6])
}

func namesOf(scope, vm string, pid int) names {
	return names(fmt.Sprintf("%s%s/%d/", scope, url.PathEscape(vm), pid))
}

// vm returns the machine.
func (n names) vm() (string, error) {
	parts := strings.Split(string(n), "/")
	if len(parts) < 4 {
		return "", fmt.Errorf("%q is no shim's name", string(n))
	}
	return url.PathUnescape(parts[2])
}

func (n names) addr(what string) *net.UnixAddr {
	return &net.UnixAddr{Net: "unix", Name: string(n) + what}
}

func (n names) listen(what string) (*net.UnixListener, error) {
	return net.ListenUnix("unix", n.addr(what))
}

// A board shows a guest's state.
type board struct {
	names names
	order int
	shown *net.UnixListener
}

func (b *board) show(epoch uint64, s state) error {
	b.order++
	next, err := b.names.listen(fmt.Sprintf("%d.%d.%s", b.order, epoch, s))
	if err != nil {
		return err
	}
	if b.shown != nil {
		_ = b.shown.Close() // the next one holds already
	}
	b.shown = next
	return nil
}

// A sight is what is seen of a guest from outside. Without a state its shim is gone, or about
// to show one.
type sight struct {
	order int
	epoch uint64
	state state
}

// look returns what is seen of all guests whose names begin with scope.
func look(scope string) (map[names]sight, error) {
	f, err := os.Open("/proc/self/net/unix")
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	seen := map[names]sight{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		at := strings.Index(lines.Text(), scope)
		if at < 0 {
			continue
		}
		name := lines.Text()[at:]
		cut := strings.LastIndexByte(name, '/') + 1
		n, what := names(name[:cut]), name[cut:]
		s := seen[n] // it is there, whatever is seen of it
		if parts := strings.SplitN(what, ".", 3); len(parts) == 3 {
			order, err := strconv.Atoi(parts[0])
			if err != nil {
				return nil, fmt.Errorf("a socket is named %q: %w", name, err)
			}
			epoch, err := strconv.ParseUint(parts[1], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("a socket is named %q: %w", name, err)
			}
			if order > s.order {
				s = sight{order: order, epoch: epoch, state: state(parts[2])}
			}
		}
		seen[n] = s
	}
	return seen, lines.Err()
}

// sorted returns the names of what was seen, in an order that does not change.
func sorted(seen map[names]sight) []names { return slices.Sorted(maps.Keys(seen)) }
