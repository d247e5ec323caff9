package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// restPause is how long Rest waits between its two looks. Guests beat every 20 ms, and
// agents report at once what changes; an operation is given a second, all in all.
const restPause = 600 * time.Millisecond

// input is the argument of an operation, of which each has some.
type input struct {
	Token string // of a machine
	Spec  Spec   // that is to be created
	VM    string // what the system calls it
	Host  string
	VMs   []string
}

// payload returns the argument of function f as an op carries it.
func (in input) payload(f string) json.RawMessage {
	switch f {
	case Create:
		return workloads.Keyed(in.Token, in.Spec)
	case Drain, Cordon, Uncordon:
		return encode(hostArgument{in.Host})
	case Settle, Rest:
		return nil
	case Volumes:
		return encode(in.VMs)
	}
	return workloads.Keyed(in.Token, VM{ID: in.VM})
}

type hostArgument struct {
	Host string `json:"host"`
}

// encode returns v as an op carries it.
func encode(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic("vm: " + err.Error()) // what this package has always marshals
	}
	return b
}

// parseInput reads the argument of function f.
func parseInput(f string, value json.RawMessage) (in input, err error) {
	var arg json.RawMessage
	switch f {
	case Create:
		if in.Token, arg, err = workloads.ParseKeyed(value); err == nil {
			err = json.Unmarshal(arg, &in.Spec)
		}
	case Get, Start, Stop, Delete, Migrate:
		var vm VM
		if in.Token, arg, err = workloads.ParseKeyed(value); err == nil {
			err = json.Unmarshal(arg, &vm)
		}
		if in.VM = vm.ID; err == nil && in.VM == "" {
			err = errors.New("names no machine")
		}
	case Drain, Cordon, Uncordon:
		var host hostArgument
		err = json.Unmarshal(value, &host)
		if in.Host = host.Host; err == nil && in.Host == "" {
			err = errors.New("names no host")
		}
	case Settle, Rest: // whatever stands where the result will: null, or nothing
	case Volumes:
		err = json.Unmarshal(value, &in.VMs)
	default:
		err = errors.New("is no function of this workload")
	}
	return in, err
}

// ofMachine says that f is on one machine, and completed by that.
func ofMachine(f string) bool {
	switch f {
	case Create, Get, Start, Stop, Delete, Migrate:
		return true
	}
	return false
}

// parseMachine reads what an operation on one machine found: the zero VM, if there is
// none. Of other functions it reads nothing.
func parseMachine(f string, value json.RawMessage) (v VM, err error) {
	if !ofMachine(f) {
		return v, nil
	}
	_, result, err := workloads.ParseKeyed(value)
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(result, &v)
}

// looked is the meta of a Settle or a Rest that failed.
type looked struct {
	Snapshot *Snapshot `json:"snapshot"`
}

// found returns what a completion of Settle or Rest saw, if it did.
func found(op histories.Op) (s Snapshot, ok bool, err error) {
	switch {
	case op.F != Settle && op.F != Rest:
		return s, false, nil
	case op.Type == histories.OK:
		err = json.Unmarshal(op.Value, &s)
		return s, err == nil, err
	case op.Type != histories.Fail || len(op.Meta) == 0:
		return s, false, nil
	}
	var meta looked
	if err = json.Unmarshal(op.Meta, &meta); err != nil || meta.Snapshot == nil {
		return s, false, err
	}
	return *meta.Snapshot, true, nil
}

// perform performs an op by a call of a Cluster.
func perform(ctx context.Context, c Cluster, op histories.Op) (workloads.Reply, error) {
	in, err := parseInput(op.F, op.Value)
	if err != nil {
		return workloads.Unreadable(op, err)
	}
	switch op.F {
	case Drain:
		return said(c.Drain(ctx, in.Host))
	case Cordon:
		return said(c.Cordon(ctx, in.Host))
	case Uncordon:
		return said(c.Uncordon(ctx, in.Host))
	case Settle:
		s, said, err := c.Look(ctx)
		if err != nil {
			return said.Reply(), err
		}
		return conclude(s, said, moving(s))
	case Rest:
		return rest(ctx, c)
	case Volumes:
		volumes, err := c.Volumes(ctx, in.VMs)
		if err != nil {
			return workloads.Reply{}, err
		}
		return workloads.Reply{Value: encode(volumes)}, nil
	}
	var a Answer
	switch op.F {
	case Create:
		a, err = c.Create(ctx, in.Token, in.Spec)
	case Get:
		a, err = c.Get(ctx, in.VM)
	case Start:
		a, err = c.Start(ctx, in.VM)
	case Stop:
		a, err = c.Stop(ctx, in.VM)
	case Delete:
		a, err = c.Delete(ctx, in.VM)
	case Migrate:
		a, err = c.Migrate(ctx, in.VM)
	}
	reply := a.Reply()
	switch {
	case err != nil:
	case a.VM.ID == "":
		reply.Value = workloads.Keyed(in.Token, nil)
	default:
		reply.Value = workloads.Keyed(in.Token, a.VM)
	}
	return reply, err
}

func said(s workloads.Said, err error) (workloads.Reply, error) { return s.Reply(), err }

// rest looks twice.
func rest(ctx context.Context, c Cluster) (workloads.Reply, error) {
	before, said, err := c.Look(ctx)
	if err != nil {
		return said.Reply(), err
	}
	pause := time.NewTimer(restPause)
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return said.Reply(), ctx.Err()
	case <-pause.C:
	}
	after, said, err := c.Look(ctx)
	if err != nil {
		return said.Reply(), err
	}
	return conclude(after, said, append(moving(after), changed(before, after)...))
}

// conclude returns the reply to a look, of which not says what stands against it.
func conclude(s Snapshot, said workloads.Said, not []string) (workloads.Reply, error) {
	reply := said.Reply()
	if len(not) == 0 {
		reply.Value = encode(s)
		return reply, nil
	}
	reply.Meta = encode(looked{&s})
	const most = 5
	if more := len(not) - most; more > 0 {
		not = append(slices.Clip(not[:most]), fmt.Sprintf("and %d more", more))
	}
	return reply, workloads.Definite(errors.New(strings.Join(not, "; ")))
}

// moving says which machines of s are not what they were to be, or are on the move.
func moving(s Snapshot) (not []string) {
	for _, v := range s.VMs {
		if v.atRest(s) {
			continue
		}
		what := v.ID + " is " + v.State
		if v.Phase != "" {
			what += " (" + v.Phase + ")"
		}
		if what += ", wanted " + v.Desired; v.Host != "" {
			what += ", on " + v.Host
		}
		not = append(not, what)
	}
	return not
}

// atRest says that a machine of s is what it was to be; or that the system says why it is
// not, and that is not known to be wrong.
func (v VM) atRest(s Snapshot) bool {
	switch v.State {
	case "running":
		return v.Desired == v.State && v.Phase == ""
	case "stopped", "deleted":
		return v.Desired == v.State
	case "failed":
		return v.Desired == "running" && v.Reason != ""
	case "pending":
		return v.Desired == "running" && v.Reason != "" && !slices.ContainsFunc(s.Hosts, func(h Host) bool { return s.hasRoom(h, v) })
	}
	return false
}

// hasRoom says that h, of s, could take a machine that is nowhere.
func (s Snapshot) hasRoom(h Host, v VM) bool {
	return h.Alive && !h.Cordoned && !h.Draining && h.Reserved+v.Size <= h.Capacity && h.suits(v) &&
		!slices.ContainsFunc(s.VMs, func(other VM) bool {
			return v.Group != "" && other.Group == v.Group && other.ID != v.ID && (other.Host == h.Name || other.Target == h.Name)
		})
}

// changed says which machines and hosts are not in after as they are in before.
func changed(before, after Snapshot) (not []string) {
	differ(before.VMs, after.VMs, func(v VM) string { return v.ID }, &not)
	differ(before.Hosts, after.Hosts, func(h Host) string { return h.Name }, &not)
	return not
}

func differ[T any](before, after []T, name func(T) string, not *[]string) {
	was := make(map[string]T, len(before))
	for _, v := range before {
		was[name(v)] = v
	}
	for _, v := range after {
		if old, ok := was[name(v)]; !ok || !bytes.Equal(encode(old), encode(v)) {
			*not = append(*not, name(v)+" has changed")
		}
		delete(was, name(v))
	}
	for _, v := range slices.Sorted(maps.Keys(was)) {
		*not = append(*not, v+" is gone")
	}
}
