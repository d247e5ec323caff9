package process

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor"
)

// A place is a name in the abstract namespace of unix sockets, which a guest has as long as
// it lives, and which says all of it that an agent has to know. It needs no file, which may be
// lost or lie; is gone with the guest, however that ends; is the host's alone, as that
// namespace is the network namespace's (unix(7)); and is read in /proc/net/unix, also if the guest
// stands still and answers nobody. A guest listens there for what it is told.
type place struct {
	Host, VM string
	Epoch    uint64
	PID      int
	State    string
}

// The states of a guest. One that stands has the name of one that runs, too.
const (
	waiting  = "waiting" // to be let boot, or to have come here and be let go on
	running  = "running"
	standing = "standing"
)

// all names begin so; the kernel shows the zero byte before that as @.
const prefix = "@vmsched"

func (p place) String() string {
	return strings.Join([]string{prefix, p.Host, p.VM, strconv.FormatUint(p.Epoch, 10), strconv.Itoa(p.PID), p.State}, "/")
}

// longest is how long a name may be: struct sockaddr_un.
const longest = 107

// check says why a guest cannot have such a place.
func (p place) check() error {
	if q, ok := parsePlace(p.String()); !ok || q != p || len(p.String()) > longest {
		return fmt.Errorf("%q cannot name a guest", p)
	}
	return nil
}

func parsePlace(name string) (place, bool) {
	part := strings.Split(name, "/")
	if len(part) != 6 || part[0] != prefix || strings.ContainsAny(name, " \t\n") {
		return place{}, false
	}
	epoch, err := strconv.ParseUint(part[3], 10, 64)
	if err != nil {
		return place{}, false
	}
	pid, err := strconv.Atoi(part[4])
	if err != nil || pid <= 0 {
		return place{}, false
	}
	return place{Host: part[1], VM: part[2], Epoch: epoch, PID: pid, State: part[5]}, true
}

func (p place) spec() hypervisor.Spec {
	return hypervisor.Spec{VM: p.VM, Host: p.Host, Epoch: p.Epoch}
}

// in returns the place of the same guest in another state.
func (p place) in(state string) place {
	p.State = state
	return p
}

// byLife sorts those that run first: a guest that was let go on has for a moment both names.
func byLife(places []place) []place {
	return slices.SortedStableFunc(slices.Values(places), func(a, b place) int {
		return strings.Compare(a.State, b.State) // running < standing < waiting
	})
}
