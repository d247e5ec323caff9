package nemesis

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// An Anchor ties a fault to something that goes on in the cluster, as
// [cluster.Observed] shows it, or to a step that [cluster.Telling] tells. The zero
// Anchor ties it to nothing.
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

// The steps that a fault can be tied to, of a system that tells them (see
// [cluster.Step]). Each is a moment, and does not go on.
const (
	// MigrationAsked, that somebody has asked for a guest to migrate, is the first of a
	// migration. MigrationPreparing follows when the target is chosen, MigrationCopying when
	// it waits for the guest and the source begins to copy, MigrationCommitted when the
	// guest is the target's. MigrationEnded is the last, however far it has come.
	MigrationAsked     = "migration-asked"
	MigrationPreparing = "migration-preparing"
	MigrationCopying   = "migration-copying"
	MigrationCommitted = "migration-committed"
	MigrationEnded     = "migration-ended"
	// HostLost happens when a host counts as lost: what ran there is to run elsewhere.
	HostLost = "host-lost"
	// VMPlaced happens when it is decided on which host a machine is to start.
	VMPlaced = "vm-placed"
)

// Events are those that a fault can be tied to.
func Events() []string { return slices.Concat([]string{LeaderChange, MemberChange, Snapshot}, steps) }

var steps = []string{
	MigrationAsked, MigrationPreparing, MigrationCopying, MigrationCommitted, MigrationEnded, HostLost, VMPlaced,
}

func isStep(event string) bool { return slices.Contains(steps, event) }

// check says why nothing can be tied so, if so. How long a migration goes on cannot be
// told from its steps, as there may be several at a time.
func (a Anchor) check() error {
	if a.During && isStep(a.Event) {
		return fmt.Errorf(`%s is a moment, which does not go on; write "on %s", and how long the fault is to hold`, a.Event, a.Event)
	}
	return nil
}

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
	if err := a.check(); err != nil {
		return a, err
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
