// Package member is the workload of a cluster whose members change: nodes leave, join
// again with nothing of what they had, and lead in turn, while clients read and write
// registers. No acknowledged write may be lost on the way, and who is a member must
// itself be linearizable.
package member

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/hacheck/hacheck/workloads"
)

// The functions of the workload, with the payloads of their ops. Those of the
// registers are as Jepsen writes them.
const (
	Read     = "read"     // ["k",null], completed by ["k",3]; null: nothing is there
	Write    = "write"    // ["k",3]: no other write to that key has the value
	Members  = "members"  // null, completed by {"voters":["n1","n2"],"learners":["n3"]}
	Leave    = "leave"    // "n3"
	Join     = "join"     // "n3"
	Transfer = "transfer" // "n3": it is to lead
)

// A Cluster is what a system under test offers to this workload, as one client sees
// it. Its calls come one at a time and return soon after ctx has ended, also if what
// they began goes on: that is not waited for, and the error leaves open what becomes of
// it. What an error means is what [workloads.Client] says.
//
// One client at a time changes members, and another one only when that one has ended
// or failed: it finishes what the first has begun.
type Cluster interface {
	// Read returns what key holds.
	Read(ctx context.Context, key string) (Result, error)
	// Write sets key to v, which is not negative.
	Write(ctx context.Context, key string, v int64) (workloads.Said, error)
	// Members returns who is a member, as linearizable as a read is: not what some
	// node believes.
	Members(ctx context.Context) (Membership, error)
	// Leave takes a node out of the cluster, with a vote or without. That one that is no
	// member leaves is no error.
	Leave(ctx context.Context, node string) error
	// Join makes a node that is none a member with a vote, and begins with its disk
	// empty: what it was before it left must not come back. A call for a node that has
	// left is called again until it succeeds, which means that the node has a vote, and
	// each goes on from where the last one was. A node that does not catch up is an error
	// when ctx has ended.
	Join(ctx context.Context, node string) error
	// Transfer makes a node lead, if it can.
	Transfer(ctx context.Context, node string) error
	// Close ends the connection.
	Close() error
}

// Garbage is the value of an answer to a read that no client can have written. It is
// no error, or nobody would hear of it.
const Garbage int64 = -1

// A Result is what a system said of a read.
type Result struct {
	Value   int64
	Present bool // false: nothing is there
	workloads.Said
}

// A Membership is what a system said of its members, by the names of their nodes.
type Membership struct {
	Voters         []string `json:"voters"`
	Learners       []string `json:"learners,omitempty"` // members without a vote
	workloads.Said `json:"-"`
}

// A register is an operation on a register: its argument.
type register struct {
	key string
	v   int64 // of a write
}

// A value is what a register holds.
type value struct {
	n       int64
	present bool
}

func (v value) String() string {
	if !v.present {
		return "null"
	}
	return strconv.FormatInt(v.n, 10)
}

// parseValue reads the value of an op on a register.
func parseValue(b json.RawMessage) (key string, v value, err error) {
	key, arg, err := workloads.ParseKeyed(b)
	if err != nil || string(arg) == "null" {
		return key, value{}, err
	}
	v = value{present: true}
	if v.n, err = strconv.ParseInt(string(arg), 10, 64); err != nil {
		return "", value{}, fmt.Errorf("%s is neither a whole number nor null", arg)
	}
	return key, v, nil
}

// parseRegister reads the argument of an op on a register.
func parseRegister(f string, b json.RawMessage) (register, error) {
	key, v, err := parseValue(b)
	switch {
	case err != nil:
		return register{}, err
	case f == Write && !v.present:
		return register{}, errors.New("writes nothing")
	}
	return register{key, v.n}, nil
}

// parseNode reads the argument of a change.
func parseNode(b json.RawMessage) (node string, err error) {
	if json.Unmarshal(b, &node) != nil || node == "" {
		return "", errors.New("is no node")
	}
	return node, nil
}

// parseMembers reads what a read of the members found.
func parseMembers(b json.RawMessage) (m Membership, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil || m.Voters == nil {
		return Membership{}, errors.New("are no members")
	}
	return m, nil
}
