package scheduler

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/vmsched/server/api"
	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
	"github.com/hacheck/hacheck/systems/vmsched/server/state"
)

// callLimit is how long a call may take whose caller does not say.
const callLimit = 5 * time.Second

// Deps are what a scheduler needs from outside.
type Deps struct {
	// Store is a client of raftkv, for what users ask. It stays its owner's.
	Store *client.Client
	// Lead is another, for what a leader does: a client's writes wait for each other. Nil:
	// Store.
	Lead *client.Client
	Log  *slog.Logger
}

// A Scheduler answers users, and leads if it is elected: see [Scheduler.Lead]. It keeps
// nothing that is not in the store.
type Scheduler struct {
	api.UnimplementedControlPlaneServer
	config Config
	store  *client.Client
	own    *client.Client
	log    *slog.Logger
}

// New returns a scheduler, without a socket.
func New(c Config, d Deps) *Scheduler {
	return &Scheduler{config: c, store: d.Store, own: cmp.Or(d.Lead, d.Store), log: d.Log}
}

// CreateVM makes a machine, unless there is one that was asked for by the same token.
func (s *Scheduler) CreateVM(ctx context.Context, in *api.CreateVMRequest) (*api.VMResponse, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	if in.GetToken() == "" || in.GetSize() == 0 {
		return nil, invalid("a machine needs a token and a size")
	}
	for {
		token, _, err := s.read(ctx, state.TokenKey(in.GetToken()))
		if err != nil {
			return nil, err
		}
		if token.Mod != 0 && s.config.Bug != bug.CreateTwice {
			vm, revision, err := s.vm(ctx, string(token.Value))
			if err != nil {
				return nil, err
			}
			return s.answer(vm.Value, revision), nil
		}
		counter, _, err := s.read(ctx, state.CounterKey)
		if err != nil {
			return nil, err
		}
		var count uint64
		if counter.Mod != 0 {
			if count, err = strconv.ParseUint(string(counter.Value), 10, 64); err != nil {
				return nil, api.Definite(api.Reason_REASON_UNSPECIFIED, "the counter is damaged: %w", err)
			}
		}
		number := strconv.FormatUint(count+1, 10)
		vm := state.NewVM("vm"+number, in.GetToken(), in.GetSize(), in.GetGroup(), in.GetLabels())
		change := (&state.Change{}).
			If(client.IfMod(token.Key, client.Equal, token.Mod), client.IfMod(counter.Key, client.Equal, counter.Mod)).
			Then(client.OpPut(token.Key, []byte(vm.ID)), client.OpPut(counter.Key, []byte(number))).
			VM(state.Record[state.VM]{}, vm)
		revision, done, err := s.transact(ctx, change)
		if err != nil {
			return nil, err
		}
		if done {
			return s.answer(vm, revision), nil
		}
	}
}

// GetVM reads a machine.
func (s *Scheduler) GetVM(ctx context.Context, in *api.VMRequest) (*api.VMResponse, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	vm, revision, err := s.vm(ctx, in.GetId())
	if err != nil {
		return nil, err
	}
	return s.answer(vm.Value, revision), nil
}

// StartVM says that a machine is to run.
func (s *Scheduler) StartVM(ctx context.Context, in *api.VMRequest) (*api.VMResponse, error) {
	return s.alter(ctx, in.GetId(), func(v state.VM) (state.VM, error) { return v.Want(state.WantRunning) })
}

// StopVM says that a machine is to be stopped.
func (s *Scheduler) StopVM(ctx context.Context, in *api.VMRequest) (*api.VMResponse, error) {
	return s.alter(ctx, in.GetId(), func(v state.VM) (state.VM, error) { return v.Want(state.WantStopped) })
}

// DeleteVM says that a machine is to be gone.
func (s *Scheduler) DeleteVM(ctx context.Context, in *api.VMRequest) (*api.VMResponse, error) {
	return s.alter(ctx, in.GetId(), func(v state.VM) (state.VM, error) { return v.Want(state.WantDeleted) })
}

// MigrateVM asks for a machine to be moved. Whether there is a place for it is found out
// later.
func (s *Scheduler) MigrateVM(ctx context.Context, in *api.MigrateVMRequest) (*api.VMResponse, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	if target := in.GetTarget(); target != "" {
		host, _, err := s.read(ctx, state.HostKey(target))
		if err != nil {
			return nil, err
		}
		if host.Mod == 0 {
			return nil, unknown("host", target)
		}
	}
	return s.alter(ctx, in.GetId(), func(v state.VM) (state.VM, error) { return v.Move(in.GetTarget()) })
}

// alter changes a machine. One that is so already stays as it is.
func (s *Scheduler) alter(
	ctx context.Context, id string, alter func(state.VM) (state.VM, error),
) (*api.VMResponse, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	for {
		was, revision, err := s.vm(ctx, id)
		if err != nil {
			return nil, err
		}
		now, err := alter(was.Value)
		switch {
		case err != nil && was.Value.Desired == state.WantDeleted:
			return nil, api.Definite(api.Reason_REASON_NOT_FOUND, "%s is deleted", id)
		case err != nil:
			return nil, api.Definite(api.Reason_REASON_CONFLICT, "%w", err)
		case reflect.DeepEqual(was.Value, now):
			return s.answer(now, revision), nil
		}
		revision, done, err := s.transact(ctx, (&state.Change{}).VM(was, now))
		if err != nil {
			return nil, err
		}
		if done {
			return s.answer(now, revision), nil
		}
	}
}

// ListVMs reads all machines.
func (s *Scheduler) ListVMs(ctx context.Context, _ *api.ListVMsRequest) (*api.ListVMsResponse, error) {
	view, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	out := &api.ListVMsResponse{Revision: view.Revision, Node: s.config.Node}
	for _, id := range slices.SortedFunc(maps.Keys(view.VMs), older) {
		out.Vms = append(out.Vms, vmOf(view.VMs[id].Value))
	}
	return out, nil
}

// ListHosts reads all hosts.
func (s *Scheduler) ListHosts(ctx context.Context, _ *api.ListHostsRequest) (*api.ListHostsResponse, error) {
	view, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	out := &api.ListHostsResponse{Revision: view.Revision, Node: s.config.Node}
	for _, name := range slices.Sorted(maps.Keys(view.Hosts)) {
		out.Hosts = append(out.Hosts, hostOf(view, name))
	}
	return out, nil
}

// DrainHost has a host emptied, and kept so.
func (s *Scheduler) DrainHost(ctx context.Context, in *api.HostRequest) (*api.HostResponse, error) {
	return s.mark(ctx, in.GetHost(), func(h *state.Host) { h.Cordoned, h.Draining = true, true })
}

// CordonHost has nothing more placed on a host.
func (s *Scheduler) CordonHost(ctx context.Context, in *api.HostRequest) (*api.HostResponse, error) {
	return s.mark(ctx, in.GetHost(), func(h *state.Host) { h.Cordoned = true })
}

// UncordonHost makes a host one like all others.
func (s *Scheduler) UncordonHost(ctx context.Context, in *api.HostRequest) (*api.HostResponse, error) {
	return s.mark(ctx, in.GetHost(), func(h *state.Host) { h.Cordoned, h.Draining = false, false })
}

// mark changes a host.
func (s *Scheduler) mark(ctx context.Context, name string, mark func(*state.Host)) (*api.HostResponse, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	for {
		view, err := s.load(ctx)
		if err != nil {
			return nil, err
		}
		was := view.Hosts[name]
		if was.Mod == 0 {
			return nil, unknown("host", name)
		}
		now := was.Value
		mark(&now)
		out := &api.HostResponse{Revision: view.Revision, Node: s.config.Node}
		if !reflect.DeepEqual(was.Value, now) {
			change := (&state.Change{}).Host(was, now)
			revision, done, err := s.transact(ctx, change)
			if err != nil {
				return nil, err
			}
			if !done {
				continue
			}
			change.Apply(view, revision)
			out.Revision = revision
		}
		out.Host = hostOf(view, name)
		return out, nil
	}
}

// Leading reads who leads.
func (s *Scheduler) Leading(ctx context.Context, _ *api.LeadingRequest) (*api.LeadingResponse, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	leader, err := s.store.Observe(ctx, state.Election)
	if err != nil {
		return nil, failed(err)
	}
	return &api.LeadingResponse{Scheduler: leader.Value}, nil
}

// limited bounds a call whose caller does not.
func limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, callLimit)
}

// load reads everything.
func (s *Scheduler) load(ctx context.Context) (*state.View, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	view, err := state.Load(ctx, s.store)
	if err != nil {
		return nil, failed(err)
	}
	return view, nil
}

// read reads one key, and at which revision of the store. One that is not there has mod 0.
func (s *Scheduler) read(ctx context.Context, key string) (client.KeyValue, uint64, error) {
	r, err := s.store.Range(ctx, client.Key(key), client.RangeOptions{})
	if err != nil {
		return client.KeyValue{}, 0, failed(err)
	}
	if len(r.KVs) == 0 {
		return client.KeyValue{Key: key}, r.Revision, nil
	}
	return r.KVs[0], r.Revision, nil
}

// vm reads a machine that there is, or was.
func (s *Scheduler) vm(ctx context.Context, id string) (state.Record[state.VM], uint64, error) {
	kv, revision, err := s.read(ctx, state.VMKey(id))
	if err != nil {
		return state.Record[state.VM]{}, 0, err
	}
	if kv.Mod == 0 {
		return state.Record[state.VM]{}, 0, unknown("machine", id)
	}
	vm, err := state.Decode[state.VM](kv.Value)
	if err != nil {
		return state.Record[state.VM]{}, 0, api.Definite(api.Reason_REASON_UNSPECIFIED, "%w", err)
	}
	return state.Record[state.VM]{Value: vm, Mod: kv.Mod}, revision, nil
}

// transact tries a change, and says at which revision it was done. That it was not, since
// something is not any more as it was read, is no error while there is time to read
// again.
func (s *Scheduler) transact(ctx context.Context, c *state.Change) (revision uint64, done bool, err error) {
	r, err := s.store.Txn(ctx, c.Txn())
	switch {
	case err != nil:
		return 0, false, failed(err)
	case !r.Succeeded && ctx.Err() != nil:
		return 0, false, api.Definite(api.Reason_REASON_UNAVAILABLE, "others were faster: %w", context.Cause(ctx))
	}
	return r.Revision, r.Succeeded, nil
}

// failed says what an error of the store says of a call. Whatever the call has tried before has
// not taken place.
func failed(err error) error {
	if client.IsDefinite(err) {
		return api.Definite(api.Reason_REASON_UNAVAILABLE, "the store: %w", err)
	}
	return api.Indeterminate(api.Reason_REASON_UNAVAILABLE, "the store: %w", err)
}

func invalid(why string) error { return api.Definite(api.Reason_REASON_INVALID, "%s", why) }

func unknown(what, name string) error {
	return api.Definite(api.Reason_REASON_NOT_FOUND, "there is no %s %q", what, name)
}

func (s *Scheduler) answer(v state.VM, revision uint64) *api.VMResponse {
	return &api.VMResponse{Vm: vmOf(v), Revision: revision, Node: s.config.Node}
}

// vmOf is a machine as users are told of it.
func vmOf(v state.VM) *api.VM {
	out := &api.VM{
		Id: v.ID, Token: v.Token, Size: v.Size, Group: v.Group, Labels: v.Labels,
		Desired: string(v.Desired), State: string(v.State), Host: v.Host, Epoch: v.Epoch, Reason: v.Reason,
	}
	if v.Migration != nil {
		out.Target, out.Phase = v.Migration.Target, string(v.Migration.Phase)
	}
	return out
}

// hostOf is a host as users are told of it.
func hostOf(view *state.View, name string) *api.Host {
	h, guests := view.Hosts[name].Value, view.Guests[name].Value
	out := &api.Host{
		Name: name, Alive: view.Lives(name, h.Incarnation), Incarnation: h.Incarnation,
		Capacity: h.Capacity, Reserved: h.Taken(), Labels: h.Labels, Cordoned: h.Cordoned, Draining: h.Draining,
	}
	for _, id := range slices.SortedFunc(maps.Keys(guests.Epochs), older) {
		out.Guests = append(out.Guests, &api.Guest{Vm: id, Epoch: guests.Epochs[id]})
	}
	return out
}
