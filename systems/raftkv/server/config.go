package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// A Config is what a node is told when it starts. Its zero durations and numbers
// stand for what [Config.withDefaults] says.
type Config struct {
	// ID is the node's name; it stands among Peers.
	ID string `json:"id"`
	// Member is what it is called among the members: its name, which is meant if this
	// is empty, or, if it has lost its disk since it was a member first, its name with
	// "#" and something behind that was never there before. What is on its disk must
	// be of the same member.
	Member string `json:"member,omitempty"`
	// Empty is what it may do if it has no state. Only who starts it knows whether it
	// has never had any, or has lost it. Empty itself: it must have.
	Empty string `json:"empty,omitempty"`
	// RaftAddr and ClientAddr are where it listens for other nodes and for
	// clients, as host:port. Nodes forward to each other's ClientAddr. RaftAddr is one that
	// no member before it has ever had.
	RaftAddr   string `json:"raft_addr"`
	ClientAddr string `json:"client_addr"`
	// Dir holds its log, votes and snapshots.
	Dir string `json:"dir"`
	// Peers are all nodes of the cluster, itself too; the same list in the same
	// order everywhere.
	Peers []Peer `json:"peers"`
	// Bug is the name of a deliberate bug of a server, or empty: see package bug.
	Bug string `json:"bug,omitempty"`

	// Heartbeat is how long a follower hears nothing of its leader before it
	// stands for election, [DefaultHeartbeat] if it is not given; Election how long a
	// candidate waits for votes; Lease how long a leader that reaches no majority goes
	// on. The others follow from Heartbeat unless they are given.
	Heartbeat Duration `json:"heartbeat,omitzero"`
	Election  Duration `json:"election,omitzero"`
	Lease     Duration `json:"lease,omitzero"`
	// Patience is how long at most a node that knows no leader keeps a call.
	Patience Duration `json:"patience,omitzero"`
	// Delay is by how much later each call of a client is answered than it could be: see
	// [Node.Answer].
	Delay Duration `json:"delay,omitzero"`

	// A snapshot is taken when SnapshotThreshold entries came since the last one,
	// looked at every SnapshotInterval or so; TrailingLogs entries are kept for
	// followers that are behind by less.
	SnapshotInterval  Duration `json:"snapshot_interval,omitzero"`
	SnapshotThreshold uint64   `json:"snapshot_threshold,omitempty"`
	TrailingLogs      uint64   `json:"trailing_logs,omitempty"`

	// KeepRevisions is how many revisions remain at least that no client compacts, as
	// [mvcc.Options] says; the same everywhere.
	KeepRevisions uint64 `json:"keep_revisions,omitempty"`
}

// What a node may do that has no state.
const (
	// EmptyFounds: it begins the cluster, with all of Peers.
	EmptyFounds = "founds"
	// EmptyJoins: it waits until it is made a member.
	EmptyJoins = "joins"
)

// A Peer is a node as the others know it.
type Peer struct {
	ID         string `json:"id"`
	RaftAddr   string `json:"raft_addr"`
	ClientAddr string `json:"client_addr"`
}

// A Duration is a time.Duration that JSON spells as people do: "500ms".
type Duration time.Duration

// String returns the duration as time.Duration spells it.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes it as text.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads it from text.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return fmt.Errorf("a duration is text such as \"500ms\": %w", err)
	}
	parsed, err := time.ParseDuration(text)
	*d = Duration(parsed)
	return err
}

// DefaultHeartbeat is [Config.Heartbeat] of a node that is told nothing else.
const DefaultHeartbeat = 500 * time.Millisecond

// withDefaults fills in what is not given. The timeouts suit five nodes that
// share two busy cores: long enough that a starved leader is not deposed, short
// enough that a run of seconds sees elections. The snapshots suit such a run,
// too: at a thousand writes a second there are several, and a node that was cut
// two seconds needs one.
//
// Where the heartbeat is longer so is Patience, which is to outlast a change of leaders. Where
// it is shorter it is not: how soon a call is refused is for its caller to say.
func (c Config) withDefaults() Config {
	defaultTo(&c.Member, c.ID)
	defaultTo(&c.Heartbeat, Duration(DefaultHeartbeat))
	defaultTo(&c.Election, c.Heartbeat)
	defaultTo(&c.Lease, c.Heartbeat/2)
	defaultTo(&c.Patience, max(Duration(2*time.Second), 4*c.Heartbeat))
	defaultTo(&c.SnapshotInterval, Duration(time.Second))
	defaultTo(&c.SnapshotThreshold, 2000)
	defaultTo(&c.TrailingLogs, 1000)
	return c
}

func defaultTo[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c Config) validate() error {
	if c.ID == "" {
		return errors.New("the node has no id")
	}
	seen := map[string]bool{}
	for _, p := range c.Peers {
		if p.ID == "" || p.RaftAddr == "" {
			return fmt.Errorf("peer %+v lacks an id or an address", p)
		}
		if seen[p.ID] {
			return fmt.Errorf("two peers are called %q", p.ID)
		}
		seen[p.ID] = true
	}
	if strings.Contains(c.ID, "#") || nodeOf(raft.ServerID(c.Member)) != c.ID {
		return fmt.Errorf("node %q is no member %q", c.ID, c.Member)
	}
	if c.Empty == EmptyFounds && c.Member != c.ID {
		return fmt.Errorf("member %q is no founder: it has been one before", c.Member)
	}
	if !slices.Contains([]string{"", EmptyFounds, EmptyJoins}, c.Empty) {
		return fmt.Errorf("a node without state does nothing that is called %q", c.Empty)
	}
	if !seen[c.ID] {
		return fmt.Errorf("node %q is not among its peers", c.ID)
	}
	if bug.At(bug.Server, c.Bug) != c.Bug {
		return fmt.Errorf("a server has no bug %q", c.Bug)
	}
	if c.Delay < 0 {
		return fmt.Errorf("no call can be answered %v earlier than it could be", -c.Delay)
	}
	return nil
}

// founders are the members of a cluster that begins.
func (c Config) founders() raft.Configuration {
	var all raft.Configuration
	for _, p := range c.Peers {
		all.Servers = append(all.Servers, raft.Server{ID: raft.ServerID(p.ID), Address: raft.ServerAddress(p.RaftAddr)})
	}
	return all
}
