package nemesis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/hacheck/hacheck/cluster"
)

// The variants of a host's partition: the planes that it is cut off from.
const (
	planeManagement = "management"
	planeStorage    = "storage"
	planeBoth       = "both"
)

// HostPartition cuts hosts off from who manages them, from storage, or from all other
// nodes. The links to the tester stay.
//
// Its evidence is the number of packets that each link dropped.
func HostPartition() Fault {
	return Fault{
		Name:  "host-partition",
		About: "cut links of hosts: both ways, or one",
		Part:  cluster.PartHost,
		Variants: []Variant{
			{Name: planeManagement, About: "hosts from the control nodes"},
			{Name: planeStorage, About: "hosts from storage"},
			{Name: planeBoth, About: "hosts from control nodes, storage and all other hosts"},
		},
		Targets: anyHosts,
	}.madeBy(newSeverance)
}

// A Severance is the detail of such a fault.
type Severance struct {
	Variant string `json:"variant"`
	Aim
	// Direction is that of a cut that goes one way, as the hosts see it.
	Direction string `json:"direction,omitempty"`
	// Links are what was cut, as [cluster.Link] prints.
	Links []string `json:"links,omitempty"`
}

func (s Severance) check() error {
	if !slices.Contains([]string{planeManagement, planeStorage, planeBoth}, s.Variant) {
		return fmt.Errorf("%q is no plane", s.Variant)
	}
	if !slices.Contains([]string{"", inward, outward}, s.Direction) {
		return fmt.Errorf("%q is no direction", s.Direction)
	}
	return nil
}

// A severance is the breaker of such faults.
type severance struct{ aiming }

func newSeverance(env Env, f Fault, s Spec) (Breaker, error) {
	if env.Network == nil {
		return nil, errors.New("there is no network to cut")
	}
	a, err := newAiming(env, f, s)
	if err != nil {
		return nil, err
	}
	// Who has no such plane is not cut off from it.
	for plane, part := range map[string]string{planeManagement: cluster.PartControl, planeStorage: cluster.PartStorage} {
		if len(nodesOf(env.Parts, part)) > 0 {
			continue
		}
		if s.Variant == plane {
			return nil, env.lacks(nodeOf(part) + "s")
		}
		a.variants = slices.DeleteFunc(a.variants, func(v Variant) bool { return v.Name == plane })
	}
	if len(a.variants) == 0 {
		return nil, env.lacks("planes that it claims to bear the loss of")
	}
	return &severance{a}, nil
}

func (b *severance) Draw(r *rand.Rand) any {
	s := &Severance{Variant: b.variant(r)}
	s.Aim = b.aim(r)
	if r.IntN(2) == 0 {
		s.Direction = pick(r, []string{inward, outward})
	}
	return s
}

func (b *severance) Begin(ctx context.Context, detail json.RawMessage) (Held, error) {
	var s Severance
	if err := json.Unmarshal(detail, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", b.fault.Name, err)
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", b.fault.Name, err)
	}
	release, err := b.env.claim(ctx, &s.Aim, parts)
	if err != nil {
		return nil, err
	}
	links := s.links(b.env.Parts)
	if len(links) == 0 {
		release()
		return nil, fmt.Errorf("%s: %v have no such links", b.fault.Name, s.Nodes)
	}
	s.Links = nil
	for _, l := range links {
		s.Links = append(s.Links, l.String())
	}
	h := &heldSeverance{&heldCut{links: links, cuts: b.env.cuts, release: release}, s}
	if err := h.cuts.begin(h.heldCut); err != nil {
		release()
		return nil, err
	}
	return h, nil
}

// links returns what is cut in a system of these parts.
func (s Severance) links(of []cluster.Part) (links []cluster.Link) {
	var peers []string
	for _, p := range of {
		if s.Variant == planeBoth || s.Variant == planeManagement && p.Name == cluster.PartControl || s.Variant == planeStorage && p.Name == cluster.PartStorage {
			peers = append(peers, p.Nodes...)
		}
	}
	add := func(from, to string) {
		if l := (cluster.Link{From: from, To: to}); from != to && !slices.Contains(links, l) { // two that are hit share some
			links = append(links, l)
		}
	}
	for _, host := range s.Nodes {
		for _, peer := range peers {
			if s.Direction != outward {
				add(peer, host)
			}
			if s.Direction != inward {
				add(host, peer)
			}
		}
	}
	return links
}

// A heldSeverance is such a fault in force.
type heldSeverance struct {
	*heldCut
	severance Severance
}

func (h *heldSeverance) Detail() any { return h.severance }
