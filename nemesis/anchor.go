package nemesis

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// An Anchor ties a fault to something that goes on in the cluster, as
// [cluster.Observed] shows it. The zero Anchor ties it to nothing.
type Anchor struct {
	// Event is one of Events.
	Event string
	// During says that the fault begins when the event is seen to go on, and is healed
	// when it is over, or earlier if it is to hold for less. Otherwise it begins when
	// the event is seen to happen.
	During bool
	// From and To bound how much later than that it begins: a time between them is
	// drawn for each.
	From, To time.Duration
}

// The events that a fault can be tied to.
const (
	// LeaderChange happens when a node leads that did not lead before, or leads in
	// another term; it goes on as long as nobody leads.
	LeaderChange = "leader-change"
	// MemberChange happens when the members become others, or are about to; it goes on
	// as long as a node says that they are changing, or some are still learning.
	MemberChange = "member-change"
	// Snapshot happens when a node begins to take, send or install one, and goes on as
	// long as any is at it.
	Snapshot = "snapshot"
)

// Events are those that a fault can be tied to.
func Events() []string { return []string{LeaderChange, MemberChange, Snapshot} }

// ParseAnchor reads an anchor: "on leader-change", "on leader-change +20ms",
// "on leader-change +0..50ms", "during member-change".
func ParseAnchor(text string) (Anchor, error) {
	var a Anchor
	words := strings.Fields(text)
	if len(words) < 2 || len(words) > 3 || words[0] != "on" && words[0] != "during" {
		return a, fmt.Errorf(`%q is neither "on EVENT" nor "during EVENT", with "+TIME" or "+TIME..TIME" behind it or not`, text)
	}
	a.During = words[0] == "during"
	a.Event = words[1]
	if !slices.Contains(Events(), a.Event) {
		return a, &UnknownError{What: "event", Name: a.Event, Known: Events()}
	}
	if len(words) == 2 {
		return a, nil
	}
	window, ok := strings.CutPrefix(words[2], "+")
	if !ok {
		return a, fmt.Errorf(`%q is no window such as "+20ms" or "+0..50ms"`, words[2])
	}
	from, to, ranged := strings.Cut(window, "..")
	var err error
	if a.From, err = time.ParseDuration(from); err != nil {
		return a, fmt.Errorf("window %q: %w", words[2], err)
	}
	a.To = a.From
	if ranged {
		if a.To, err = time.ParseDuration(to); err != nil {
			return a, fmt.Errorf("window %q: %w", words[2], err)
		}
	}
	if a.From < 0 || a.To < a.From {
		return a, fmt.Errorf("window %q ends before it begins", words[2])
	}
	return a, nil
}

// String returns the anchor as [ParseAnchor] reads it, and nothing for the zero one.
func (a Anchor) String() string {
	if a.Event == "" {
		return ""
	}
	return a.how() + " " + a.where()
}

func (a Anchor) how() string {
	if a.During {
		return "during"
	}
	return "on"
}

func (a Anchor) where() string {
	switch {
	case a.To == 0:
		return a.Event
	case a.From == a.To:
		return fmt.Sprintf("%s +%v", a.Event, a.From)
	}
	return fmt.Sprintf("%s +%v..%v", a.Event, a.From, a.To)
}

// later draws how much later than its event the fault begins.
func (a Anchor) later(r *rand.Rand) time.Duration {
	return a.From + time.Duration(r.Int64N(int64(a.To-a.From)+1))
}
