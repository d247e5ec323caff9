package member

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
)

// An admin generates the changes of members. It knows of the members what it has read
// and what has succeeded since.
type admin struct {
	pause time.Duration // between two changes, on average

	nodes   map[string]bool // all that ever were members; true: it has a vote, as far as is known
	known   bool            // the members were read, and no change since has failed
	goal    change          // what is to be brought about; none if its f is ""
	tries   int             // to do so
	next    time.Duration   // not before then
	process histories.Process
	running string // the function that is under way on process

	indeterminate int // changes
	// loose are the nodes that were to leave when nobody knows what became of that: they
	// may leave at any time.
	loose map[string]bool
	// unsure are the nodes whose last leave did not succeed.
	unsure map[string]bool

	// restoring says that it is the end: all are to be members, and that is to be seen; and
	// one of them has to have joined.
	restoring, joined bool
}

// A change is one of a node: its function, and whether the node joins again at once if
// it leaves.
type change struct {
	f, node string
	replace bool
}

const (
	// retryPause is how long the admin waits after what failed: an election takes
	// longer.
	retryPause = 50 * time.Millisecond
	// maxTries is how often it tries to have a node leave. One that has left must
	// join, however often that is tried.
	maxTries = 5
)

// restore has the admin see to it that all nodes are members.
func (a *admin) restore() generator.Generator {
	a.restoring, a.known, a.goal, a.next = true, false, change{}, 0
	return a
}

// handOver returns the operation by which somebody leads in the end who may not have: in a
// short run none may have succeeded before.
func (a *admin) handOver() (ops []histories.Op) {
	if voters := a.voters(); len(voters) > 0 {
		ops = append(ops, histories.Op{F: Transfer, Value: encode(voters[0])})
	}
	return ops
}

func (a *admin) Next(c generator.Context) generator.Step {
	switch {
	case a.running != "":
		return generator.Step{}
	case a.restoring && a.known && len(a.missing()) == 0 && (a.joined || len(a.free()) == 0):
		return generator.Step{Done: true}
	case len(c.Free) == 0:
		return generator.Step{}
	case a.next > c.Now:
		return generator.Step{Wait: a.next - c.Now}
	}
	op := &histories.Op{Type: histories.Invoke, Process: c.Free[0], F: Members}
	if a.known {
		if a.goal.f == "" {
			a.goal, a.tries = a.choose(c), 0
		}
		op.F, op.Value = a.goal.f, encode(a.goal.node)
	}
	a.process, a.running = op.Process, op.F
	return generator.Step{Op: op}
}

// choose returns what to do next. There is something, since somebody was a member.
func (a *admin) choose(c generator.Context) change {
	missing, voters, free := a.missing(), a.voters(), a.free()
	pick := func(nodes []string) string { return nodes[c.Rand.IntN(len(nodes))] }
	switch draw := c.Rand.IntN(10); {
	case a.restoring && len(missing) > 0:
		return a.back(missing[0])
	case a.restoring:
		return change{f: Leave, node: free[0], replace: true}
	case draw < 2:
		return change{f: Transfer, node: pick(voters)}
	case len(missing) > 0 && (len(free) == 0 || draw < 6):
		return a.back(pick(missing))
	case len(free) > 0:
		return change{f: Leave, node: pick(free), replace: c.Rand.IntN(2) == 0}
	}
	return change{f: Transfer, node: pick(voters)}
}

// back returns what brings back a node that is missing. One of which only a read says
// that it has left has to leave in so many words: whoever runs it may know no more.
func (a *admin) back(node string) change {
	if a.unsure[node] {
		return change{f: Leave, node: node, replace: true}
	}
	return change{f: Join, node: node}
}

// free returns the voters that may leave: a majority of all nodes must stay, also
// without those that may leave at any time.
func (a *admin) free() []string {
	if a.indeterminate >= maxIndeterminate {
		return nil
	}
	voters := a.voters()
	return slices.DeleteFunc(slices.Clone(voters), func(node string) bool {
		stay := 0
		for _, other := range voters {
			if other != node && !a.loose[other] {
				stay++
			}
		}
		return stay < len(a.nodes)/2+1
	})
}

func (a *admin) missing() []string { return a.those(false) }
func (a *admin) voters() []string  { return a.those(true) }

func (a *admin) those(vote bool) (nodes []string) {
	for _, node := range slices.Sorted(maps.Keys(a.nodes)) {
		if a.nodes[node] == vote {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

func (a *admin) Update(c generator.Context, op histories.Op) {
	if a.running == "" || op.Process != a.process || op.Type == histories.Invoke {
		return
	}
	f, goal := a.running, a.goal
	a.running = ""
	switch {
	case f == Members:
		m, err := parseMembers(op.Value)
		if op.Type != histories.OK || err != nil {
			a.next = c.Now + retryPause
			return
		}
		a.know(m)
		if goal.f == Leave && a.tries >= maxTries {
			a.goal = change{}
		}
	case f == Transfer: // what became of it is for the members to see
		a.goal = change{}
		a.rest(c)
	case op.Type != histories.OK:
		a.known = false
		a.tries++
		a.next = c.Now + retryPause
		if f == Leave {
			a.unsure[goal.node] = true
		}
		if op.Type == histories.Info {
			a.indeterminate++
			a.loose[goal.node] = a.loose[goal.node] || f == Leave
		}
	default:
		a.nodes[goal.node], a.goal = f == Join, change{}
		a.joined = a.joined || f == Join
		if f == Leave {
			delete(a.unsure, goal.node)
		}
		switch {
		case goal.replace:
			a.goal, a.tries = change{f: Join, node: goal.node}, 0
		case a.restoring:
			a.known, a.next = false, c.Now // to be seen
		default:
			a.rest(c)
		}
	}
}

// rest lets everything be for a while.
func (a *admin) rest(c generator.Context) {
	if !a.restoring {
		a.next = c.Now + time.Duration(c.Rand.Int64N(int64(2*a.pause)+1))
	}
}

// know takes note of who is a member.
func (a *admin) know(m Membership) {
	a.known = true
	for node := range a.nodes {
		a.nodes[node] = false
	}
	for _, node := range m.Learners {
		a.nodes[node] = false
	}
	for _, node := range m.Voters {
		a.nodes[node] = true
	}
}

func encode(node string) json.RawMessage {
	b, err := json.Marshal(node)
	if err != nil {
		panic("member: " + err.Error()) // strings always marshal
	}
	return b
}
