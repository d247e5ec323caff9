package nemesis

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/hacheck/hacheck/cluster"
)

// GuestKill ends guests as their own crash does: their host goes on, and has to notice.
// To start them again is a matter of the system, so there is nothing to undo.
//
// Its evidence is that their processes are gone.
func GuestKill() Fault {
	return Fault{
		Name:    "guest-kill",
		About:   "kill -9 guests of hosts, one or all of each",
		Part:    cluster.PartHost,
		Targets: anyHosts,
	}.madeBy(newGuestKill)
}

// A Cull is the detail of such a fault. Hosts without guests are passed over.
type Cull struct {
	Aim
	// Each is how many guests of each host are killed, drawn by Seed among those that run
	// there when it begins; 0: all.
	Each int    `json:"each,omitempty"`
	Seed uint64 `json:"seed,omitempty"`
}

// A Culled is a guest that was killed: the evidence, by host.
type Culled struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	Gone bool   `json:"gone,omitempty"` // there is no such process any more
	// Again is the process of the guest that ran on that host when the fault was healed.
	Again int    `json:"again,omitempty"`
	Error string `json:"error,omitempty"`
}

// errNoGuests is why a system's guests cannot be hit.
var errNoGuests = errors.New("the system does not tell what guests run")

// A guestKill is the breaker of such faults.
type guestKill struct{ aiming }

func newGuestKill(env Env, f Fault, s Spec) (Breaker, error) {
	switch {
	case env.Processes == nil:
		return nil, errors.New("there are no processes")
	case env.Guests == nil:
		return nil, errNoGuests
	}
	a, err := newAiming(env, f, s)
	if err != nil {
		return nil, err
	}
	return &guestKill{a}, nil
}

func (b *guestKill) Draw(r *rand.Rand) any {
	c := &Cull{Aim: b.aim(r)}
	if r.IntN(3) > 0 {
		c.Each, c.Seed = 1, r.Uint64()>>12 // readers of JSON may know no larger numbers
	}
	return c
}

func (b *guestKill) Begin(ctx context.Context, detail json.RawMessage) (Held, error) {
	var c Cull
	if err := json.Unmarshal(detail, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", b.fault.Name, err)
	}
	drawn := c.Order
	c.Order = slices.DeleteFunc(slices.Clone(drawn), func(host string) bool { return len(b.env.Guests.Guests(host)) == 0 })
	if len(c.Order) == 0 && len(drawn) > 0 {
		return nil, fmt.Errorf("%s: no guest runs", b.fault.Name)
	}
	release, err := b.env.claim(ctx, &c.Aim, slows)
	c.Order = drawn
	if err != nil {
		return nil, err
	}
	defer release() // it is soon over
	h := &heldCull{cull: c, guests: b.env.Guests, culled: map[string][]*Culled{}}
	var killing sync.WaitGroup
	for i, host := range c.Nodes { // all at the same time
		for _, g := range c.among(b.env.Guests.Guests(host), i) {
			culled := &Culled{Name: g.Name, PID: g.PID}
			h.culled[host] = append(h.culled[host], culled)
			killing.Go(func() {
				if err := b.env.Processes.KillOne(host, g.PID); err != nil {
					culled.Error = err.Error()
				}
				culled.Gone = culled.Error == ""
			})
		}
	}
	killing.Wait()
	if h.gone() == 0 {
		return nil, fmt.Errorf("%s: no guest of %v could be killed: %s", b.fault.Name, c.Nodes, encode(h.culled))
	}
	return h, nil
}

// among returns those that are killed of the guests of the host at a position.
func (c Cull) among(guests []cluster.Guest, at int) []cluster.Guest {
	guests = slices.SortedFunc(slices.Values(guests), func(a, b cluster.Guest) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.PID, b.PID))
	})
	if c.Each == 0 || c.Each >= len(guests) {
		return guests
	}
	rand.New(rand.NewPCG(c.Seed, uint64(at))).Shuffle(len(guests), func(i, j int) { guests[i], guests[j] = guests[j], guests[i] })
	return guests[:c.Each]
}

// A heldCull is such a fault, which is over.
type heldCull struct {
	cull   Cull
	guests cluster.Hosting
	culled map[string][]*Culled
}

func (h *heldCull) Detail() any { return h.cull }

func (h *heldCull) gone() (n uint64) {
	for _, culled := range h.culled {
		for _, c := range culled {
			if c.Gone {
				n++
			}
		}
	}
	return n
}

func (h *heldCull) End(context.Context) (acted uint64, evidence any, err error) {
	for host, culled := range h.culled {
		running := h.guests.Guests(host)
		for _, c := range culled {
			c.Again = pidOf(running, c.Name, c.PID)
		}
	}
	return h.gone(), h.culled, nil
}

// pidOf returns the process of a guest, if it is another than it was.
func pidOf(guests []cluster.Guest, name string, was int) int {
	for _, g := range guests {
		if g.Name == name && g.PID != was {
			return g.PID
		}
	}
	return 0
}
