package vmsched

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/hacheck/hacheck/systems/raftkv"
	"github.com/hacheck/hacheck/systems/vmsched/client"
	"github.com/hacheck/hacheck/systems/vmsched/server/api"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor/qemu"
	"github.com/hacheck/hacheck/systems/vmsched/server/state"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/vm"
)

// OpenVM connects a worker's client of machines: which schedulers it knows
// [raftkv.NodesFor] says.
func (s *System) OpenVM(_ context.Context, worker int) (vm.Cluster, error) {
	c, err := client.New(raftkv.NodesFor(s.schedulers(), worker))
	if err != nil {
		return nil, fmt.Errorf("open client of worker %d: %w", worker, err)
	}
	return &machines{c, s.readVolume}, nil
}

// machines are those of the client.
type machines struct {
	client *client.Client
	volume func(ctx context.Context, vm string) (vm.Volume, error)
}

func (m *machines) Close() error { return m.client.Close() }

func (m *machines) Create(ctx context.Context, token string, s vm.Spec) (vm.Answer, error) {
	return answer(m.client.CreateVM(ctx, token, s.Size, s.Group, s.Labels))
}

func (m *machines) Get(ctx context.Context, id string) (vm.Answer, error) {
	v, stamp, err := m.client.GetVM(ctx, id)
	if client.IsNotFound(err) || err == nil && v.State == string(state.Deleted) {
		return vm.Answer{Said: said(stamp)}, nil
	}
	return answer(v, stamp, err)
}

func (m *machines) Start(ctx context.Context, id string) (vm.Answer, error) {
	return answer(m.client.StartVM(ctx, id))
}

func (m *machines) Stop(ctx context.Context, id string) (vm.Answer, error) {
	return answer(m.client.StopVM(ctx, id))
}

func (m *machines) Delete(ctx context.Context, id string) (vm.Answer, error) {
	return answer(m.client.DeleteVM(ctx, id))
}

func (m *machines) Migrate(ctx context.Context, id string) (vm.Answer, error) {
	return answer(m.client.MigrateVM(ctx, id, ""))
}

func (m *machines) Drain(ctx context.Context, host string) (workloads.Said, error) {
	_, stamp, err := m.client.DrainHost(ctx, host)
	return said(stamp), classify(err)
}

func (m *machines) Cordon(ctx context.Context, host string) (workloads.Said, error) {
	_, stamp, err := m.client.CordonHost(ctx, host)
	return said(stamp), classify(err)
}

func (m *machines) Uncordon(ctx context.Context, host string) (workloads.Said, error) {
	_, stamp, err := m.client.UncordonHost(ctx, host)
	return said(stamp), classify(err)
}

// Look asks for machines and hosts in turn, until both were so at one revision of the store.
func (m *machines) Look(ctx context.Context) (vm.Snapshot, workloads.Said, error) {
	var vms []client.VM
	var hosts []client.Host
	var atVMs, atHosts client.Stamp
	var err error
	for machines := true; ; machines = !machines {
		if machines {
			vms, atVMs, err = m.client.ListVMs(ctx)
		} else {
			hosts, atHosts, err = m.client.ListHosts(ctx)
		}
		if err != nil {
			return vm.Snapshot{}, said(atHosts), workloads.Definite(err) // it was a read
		}
		if atVMs.Revision == atHosts.Revision {
			break
		}
	}
	out := vm.Snapshot{Revision: atHosts.Revision}
	for _, v := range vms {
		out.VMs = append(out.VMs, machineOf(v))
	}
	for _, h := range hosts {
		out.Hosts = append(out.Hosts, vm.Host{
			Name: h.Name, Alive: h.Alive, Incarnation: h.Incarnation, Capacity: h.Capacity, Reserved: h.Reserved,
			Cordoned: h.Cordoned, Draining: h.Draining, Labels: h.Labels, Guests: h.Guests,
		})
	}
	return out, said(atHosts), nil
}

func (m *machines) Volumes(ctx context.Context, vms []string) (map[string]vm.Volume, error) {
	out := map[string]vm.Volume{}
	for _, name := range vms {
		v, err := m.volume(ctx, name)
		if err != nil {
			return nil, workloads.Definite(fmt.Errorf("read the volume of %s: %w", name, err))
		}
		out[name] = v
	}
	return out, nil
}

// readVolume reads what is on the volume of a machine.
func (s *System) readVolume(ctx context.Context, name string) (vm.Volume, error) {
	if s.options.Hypervisor == HypervisorQEMU {
		last, err := qemu.ReadVolume(s.images, name)
		if errors.Is(err, fs.ErrNotExist) { // it was never started
			err = nil
		}
		return vm.Volume{Last: last, Sectors: true}, err
	}
	r, err := api.NewVolumesClient(s.storage).Read(ctx, &api.ReadRequest{Vm: name})
	if err != nil {
		return vm.Volume{}, err
	}
	v := vm.Volume{Last: r.GetLast()}
	for _, e := range r.GetExtents() {
		v.Extents = append(v.Extents, [3]uint64{e.GetEpoch(), e.GetFrom(), e.GetTo()})
	}
	return v, nil
}

func answer(v client.VM, at client.Stamp, err error) (vm.Answer, error) {
	if err != nil {
		return vm.Answer{Said: said(at)}, classify(err)
	}
	return vm.Answer{VM: machineOf(v), Said: said(at)}, nil
}

func machineOf(v client.VM) vm.VM {
	return vm.VM{
		ID: v.ID, Token: v.Token, Size: v.Size, Group: v.Group, Desired: v.Desired, State: v.State,
		Host: v.Host, Epoch: v.Epoch, Target: v.Target, Phase: v.Phase, Reason: v.Reason, Labels: v.Labels,
	}
}

// said is what the control plane has said beside an answer.
func said(s client.Stamp) workloads.Said { return workloads.Said{Node: s.Node, Revision: s.Revision} }

// classify marks what is definite.
func classify(err error) error {
	if client.IsDefinite(err) {
		return workloads.Definite(err)
	}
	return err
}
