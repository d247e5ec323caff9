package nemesis

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
)

// A watch follows a run by what is recorded of it: the events of the observer and
// the ops of the nemesis. Schedules use it while the run goes on, and coverage is
// told by it from a history, so that both see the same.
type watch struct {
	view   cluster.State // as last seen; nil if it was never
	leader string        // who leads now, if anybody does
	term   uint64        // the highest seen
	led    struct {
		leader string
		term   uint64
	} // who led last
	members string // as last seen
	// change is what was last seen to become of the members: who leads says so, as others
	// may have heard of a change, but not yet that it was agreed on.
	change struct{ under, learning bool }
	most   int // nodes that were seen at a time
	// happened counts events, by what an [Anchor] calls them.
	happened map[string]int

	held []int // IDs of faults in force
	last begun
}

// begun is the fault that began last.
type begun struct {
	family string
	id     int
	nodes  []string // that it was aimed at
	part   string   // of the system that they are of, if it is not the first
	term   uint64   // the highest then
}

// watched says whether an op may tell a watch something: those of the nemesis may, and of
// what the observer records, states and steps.
func watched(op histories.Op) bool {
	return op.Process == histories.Nemesis || op.Process == histories.Observer && (op.F == histories.State || op.F == histories.Step)
}

// note takes in an op.
func (w *watch) note(op histories.Op) {
	switch {
	case op.Process == histories.Observer && op.Type == histories.Event && op.F == histories.State:
		var s cluster.State
		if json.Unmarshal(op.Value, &s) == nil {
			w.see(s)
		}
	case op.Process == histories.Observer && op.Type == histories.Event && op.F == histories.Step:
		var s cluster.Step
		if json.Unmarshal(op.Value, &s) == nil {
			w.happen(s.Name)
		}
	case op.Process == histories.Nemesis && op.Type == histories.Info && op.Error == "":
		var f histories.Fault
		if json.Unmarshal(op.Value, &f) == nil && f.Name != "" {
			w.fault(op.F, f)
		}
	}
}

func (w *watch) fault(function string, f histories.Fault) {
	w.held = slices.DeleteFunc(w.held, func(id int) bool { return id == f.ID })
	if function == histories.Heal {
		return
	}
	w.held = append(w.held, f.ID)
	w.last = begun{family: function, id: f.ID, term: w.term}
	w.last.nodes, w.last.part = hit(f.Detail)
}

// hit returns the nodes that a detail says were hit, and the part that they are of.
func hit(detail json.RawMessage) (nodes []string, part string) {
	var d struct {
		Nodes []string `json:"nodes"` // of an [Aim]
		Part  string   `json:"part"`
		Node  string   `json:"node"` // of a [Cut]
	}
	switch {
	case json.Unmarshal(detail, &d) != nil:
		return nil, ""
	case len(d.Nodes) > 0:
		return d.Nodes, d.Part
	case d.Node != "":
		return []string{d.Node}, ""
	}
	return nil, ""
}

// happen counts an event.
func (w *watch) happen(event string) {
	if w.happened == nil {
		w.happened = map[string]int{}
	}
	w.happened[event]++
}

// see takes in how the nodes see themselves, and counts what has happened since.
func (w *watch) see(s cluster.State) {
	before, first := *w, w.view == nil
	w.view = s
	for _, n := range s {
		w.term = max(w.term, n.Term)
	}
	var term uint64
	w.leader, term = leaderOf(s)
	w.most = max(w.most, len(s))
	if members := membership(s, w.leader); members != "" {
		w.members = members
		w.most = max(w.most, strings.Count(members, " ")+1)
	}
	if w.leader != "" {
		if w.led.leader != "" && (w.led.leader != w.leader || w.led.term != term) {
			w.happen(LeaderChange)
		}
		w.led.leader, w.led.term = w.leader, term
		w.change.under, w.change.learning = s[w.leader].Changing, len(s[w.leader].Learners) > 0
	}
	if first {
		return
	}
	if w.changing() && !before.changing() || before.members != "" && before.members != w.members && !before.changing() {
		w.happen(MemberChange)
	}
	for node := range s {
		if s[node].Snapshot && !before.view[node].Snapshot {
			w.happen(Snapshot)
			break
		}
	}
}

// leaderOf returns the node that leads: that says so, and that a majority of the
// members follow in its term.
func leaderOf(s cluster.State) (node string, term uint64) {
	for name, n := range s {
		if n.Role != cluster.RoleLeader || n.Term <= term {
			continue
		}
		follow, of := 0, n.Voters
		if of == nil {
			for other := range s {
				of = append(of, other)
			}
		}
		for _, voter := range of {
			if v, ok := s[voter]; ok && v.Term == n.Term && (v.Leader == name || voter == name) {
				follow++
			}
		}
		if follow > len(of)/2 {
			node, term = name, n.Term
		}
	}
	return node, term
}

// membership returns the members by the account of the leader; without one, nobody
// knows.
func membership(s cluster.State, leader string) string {
	n, ok := s[leader]
	if !ok || len(n.Voters)+len(n.Learners) == 0 {
		return ""
	}
	voters := slices.Sorted(slices.Values(n.Voters))
	for _, l := range slices.Sorted(slices.Values(n.Learners)) {
		voters = append(voters, l+"?")
	}
	return strings.Join(voters, " ")
}

// goesOn says whether an event is going on.
func (w *watch) goesOn(event string) bool {
	switch event {
	case LeaderChange:
		return w.view != nil && w.leader == ""
	case MemberChange:
		return w.changing()
	case Snapshot:
		return w.snapshot()
	}
	return false
}

// changing says whether members change, or learn.
func (w *watch) changing() bool {
	return w.change.under || w.change.learning
}

func (w *watch) snapshot() bool {
	for _, n := range w.view {
		if n.Snapshot {
			return true
		}
	}
	return false
}

// A situation is what is left of a cluster's state, and of what was done to it, when
// all is taken away that makes every moment different from every other. So there
// are few enough to be told apart, and counted.
type situation struct {
	role     string // of the node that the last fault was aimed at, or its part if that is not the first
	quorum   string
	terms    int // that have begun since that fault: 3 are many
	lag      int // of the node that knows least to be committed
	members  string
	snapshot bool
	fault    string // the kind of the last one
	inForce  bool   // it still is
}

// situation returns the present one.
func (w *watch) situation() situation {
	s := situation{
		quorum: w.quorum(), lag: lag(w.view), members: w.phase(), snapshot: w.snapshot(),
		fault: w.last.family, inForce: slices.Contains(w.held, w.last.id),
	}
	if w.last.family != "" {
		s.terms = int(min(w.term-w.last.term, 3))
	}
	switch {
	case len(w.last.nodes) == 0 || w.view == nil:
	case w.last.part != "": // it does not show its state
		s.role = w.last.part
	default:
		s.role = "silent"
		if n, ok := w.view[w.last.nodes[0]]; ok {
			s.role = string(n.Role)
		}
	}
	return s
}

// quorum says whether clients can hope for an answer: as seen from where they are.
func (w *watch) quorum() string {
	switch {
	case w.view == nil:
		return "unknown"
	case w.leader != "":
		return "led"
	case len(w.view) > w.most/2:
		return "leaderless"
	}
	return "lost"
}

// phase says how far a change of members has come.
func (w *watch) phase() string {
	switch {
	case w.change.under:
		return "changing"
	case w.changing():
		return "learning"
	case w.members != "" && strings.Count(w.members, " ")+1 < w.most:
		return "fewer"
	}
	return "steady"
}

// lag returns the bucket of how far the commit index of the last node is behind
// that of the first: 0 below a hundred, and one more for each factor of ten. What
// is less comes of asking the nodes one after the other, while they commit.
func lag(s cluster.State) (bucket int) {
	most := commits(s)
	for _, n := range s {
		bucket = max(bucket, behind(most-n.Commit))
	}
	return bucket
}

func behind(entries uint64) (bucket int) {
	for ; entries >= 100 && bucket < 3; entries /= 10 {
		bucket++
	}
	return bucket
}

func (s situation) String() string {
	var words []string
	switch {
	case s.fault == "":
		words = append(words, "no fault")
	case s.inForce:
		words = append(words, s.fault)
	default:
		words = append(words, "after "+s.fault)
	}
	if s.role != "" {
		words = append(words, "target "+s.role)
	}
	words = append(words, s.quorum)
	if s.terms > 0 {
		words = append(words, fmt.Sprintf("term +%d", s.terms))
	}
	if s.lag > 0 {
		words = append(words, fmt.Sprintf("lag 1e%d", s.lag+1))
	}
	if s.members != "steady" {
		words = append(words, "members "+s.members)
	}
	if s.snapshot {
		words = append(words, "snapshot")
	}
	return strings.Join(words, ", ")
}

// Differs says whether what an observer has seen is to be recorded after what it saw
// before: whether anything has changed beside indices that grow with every write.
func Differs(before, now cluster.State) bool {
	if len(before) != len(now) {
		return true
	}
	first, second := commits(before), commits(now)
	for node, n := range now {
		b, ok := before[node]
		if !ok || behind(first-b.Commit) != behind(second-n.Commit) {
			return true
		}
		if b.Role != n.Role || b.Term != n.Term || b.Leader != n.Leader || b.Changing != n.Changing || b.Snapshot != n.Snapshot ||
			!slices.Equal(b.Voters, n.Voters) || !slices.Equal(b.Learners, n.Learners) {
			return true
		}
	}
	return false
}

// commits returns the highest commit index.
func commits(s cluster.State) (most uint64) {
	for _, n := range s {
		most = max(most, n.Commit)
	}
	return most
}
