package nemesis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hacheck/hacheck/cluster"
)

// The variants of trouble with disks.
const (
	diskPower    = "power"
	diskXFS      = "xfs"
	diskErrors   = "eio"
	diskFull     = "full"
	diskSlow     = "slow"
	diskBits     = "bitflip"
	diskTruncate = "truncate"
	diskRollback = "rollback"
)

// undamaging are those after which the nodes have on disk what they should.
var undamaging = []string{diskErrors, diskFull, diskSlow}

// Disk makes trouble with what nodes have on disk. Nodes that lose their power, or
// end for the trouble, are started again, at the latest when it is healed. One that
// has noticed damage and refuses to run is replaced: it leaves, is wiped, and joins
// as a new member, where the system can do that.
//
// Its evidence is the bytes and files that were lost or changed, and the operations
// that failed. That a process was ended by the loss of power counts, too.
func Disk() Fault {
	const silent = "few systems claim to notice what changes while they do not run"
	f := Fault{
		Name:  "disk",
		About: "lose what was not synced, fail, fill up, or damage files",
		Variants: []Variant{
			{Name: diskPower, About: "the power fails: what was not synced is lost, all of it, a part, or torn at 512 bytes"},
			{Name: diskErrors, About: "some reads, writes or syncs fail with EIO"},
			{Name: diskFull, About: "no space is left: ENOSPC"},
			{Name: diskSlow, About: "a sync takes 5 to 200 ms longer"},
			{Name: diskBits, About: "a few bits of a file are flipped while the node is down", OnRequest: silent},
			{Name: diskTruncate, About: "a file is cut short while the node is down", OnRequest: silent},
			{Name: diskRollback, About: "when it is healed all files are as they were when it began", OnRequest: "no system that counts on its disk bears it"},
			{Name: diskXFS, About: "the power of an XFS fails, by its own shutdown", Needs: []Need{NeedXFS}, OnRequest: "it takes other disks, and root"},
		},
		Targets: fewNodes,
		Needs:   []Need{NeedDisks},
	}
	return f.madeBy(func(env Env, f Fault, s Spec) (Breaker, error) { return newTrouble(env, f, s) })
}

// A Trouble is the detail of such a fault. Where several nodes are hit, each has the
// next seed.
type Trouble struct {
	Variant string `json:"variant"`
	Aim
	Power *cluster.PowerLoss `json:"power,omitempty"`
	// Down says that nodes which have lost their power stay off until it is healed.
	Down   bool               `json:"down,omitempty"`
	Fault  *cluster.DiskFault `json:"fault,omitempty"`
	Damage *cluster.Damage    `json:"damage,omitempty"`
}

// harm is what it does to the nodes: that goes by what is done, for in a schedule that
// somebody wrote the variant may say something else.
func (t Trouble) harm() harm {
	switch f := t.Fault; {
	case f == nil:
		return damages
	case f.Read+f.Write+f.Sync > 0 || f.Full:
		return stops
	}
	return slows
}

// check says what is wrong with it, if anything.
func (t Trouble) check() error {
	n := 0
	for _, is := range []bool{t.Power != nil, t.Fault != nil, t.Damage != nil} {
		if is {
			n++
		}
	}
	if n != 1 {
		return errors.New("it has to say one thing to do: power, fault or damage")
	}
	return nil
}

// A Scar is what a fault left of a node's disk: its evidence, by node.
type Scar struct {
	PID  int  `json:"pid,omitempty"`  // the process that ran when it began
	Gone bool `json:"gone,omitempty"` // there is no such process any more
	// Lost is what the loss of power took, Damage what was changed, by file, and Seen
	// the operations that failed or were late, by kind.
	Lost   *cluster.Lost     `json:"lost,omitempty"`
	Damage map[string]string `json:"damage,omitempty"`
	Seen   map[string]uint64 `json:"seen,omitempty"`
	// Again is the process that was started instead. If that has ended, too, the node
	// was Replaced, or is down for good.
	Again    int    `json:"again,omitempty"`
	Replaced bool   `json:"replaced,omitempty"`
	Down     bool   `json:"down,omitempty"`
	Error    string `json:"error,omitempty"`

	impaired cluster.Impairment
	done     bool   // what is to be done only once
	back     func() // tells the guard that it is a member again; nil: it never left
}

// acted returns how often the fault was seen to do what it does.
func (s *Scar) acted() (n uint64) {
	if s.Lost != nil {
		n += s.Lost.Writes + s.Lost.Names
		if s.Gone {
			n++
		}
	}
	for _, times := range s.Seen {
		n += times
	}
	return n + uint64(len(s.Damage))
}

// A trouble is the breaker of such faults.
type trouble struct{ aiming }

func newTrouble(env Env, f Fault, s Spec) (*trouble, error) {
	switch {
	case env.Disks == nil:
		return nil, errors.New("the lab has no disks that can be broken")
	case env.Processes == nil || env.Start == nil:
		return nil, errors.New("there are no processes")
	case (env.Disks.Made() == cluster.DisksXFS) != (s.Variant == diskXFS):
		return nil, fmt.Errorf("the lab's disks are made of %s: disk:xfs takes a run without other faults of disks", env.Disks.Made())
	}
	a, err := newAiming(env, f, s)
	if err != nil {
		return nil, err
	}
	if fewOf(len(env.Nodes)-env.Absent) == 0 && !env.Unguarded && s.Target != Any {
		a.variants = slices.DeleteFunc(a.variants, func(v Variant) bool { return !slices.Contains(undamaging, v.Name) })
		if len(a.variants) == 0 {
			return nil, fmt.Errorf("%w; its target \"any\" does not ask", noMinority(env.Nodes, env.Absent))
		}
	}
	return &trouble{a}, nil
}

// Draw draws the loss of power as often as all others together: most of what goes
// wrong with disks goes wrong there.
func (b *trouble) Draw(r *rand.Rand) any {
	t := &Trouble{Variant: b.variant(r)}
	if b.variants[0].Name == diskPower && r.IntN(2) == 0 {
		t.Variant = diskPower
	}
	t.Aim = b.aim(r)
	seed := r.Uint64() >> 12 // readers of JSON may know no larger numbers
	switch t.Variant {
	case diskPower, diskXFS:
		modes := []cluster.LossMode{cluster.LoseAll, cluster.LoseSubset, cluster.LoseTorn}
		t.Power = &cluster.PowerLoss{Mode: modes[r.IntN(len(modes))], Seed: seed}
		if t.Variant == diskXFS {
			t.Power.Mode = cluster.LoseAll // as far as anybody knows
		}
		t.Down = r.IntN(2) == 0
	case diskErrors:
		chance := hundredths(0.02 + 0.3*r.Float64())
		t.Fault = &cluster.DiskFault{Seed: seed}
		of := []*float64{&t.Fault.Read, &t.Fault.Write, &t.Fault.Sync, &t.Fault.Sync}
		*of[r.IntN(len(of))] = chance
	case diskFull:
		t.Fault = &cluster.DiskFault{Full: true}
	case diskSlow:
		t.Fault = &cluster.DiskFault{SyncDelay: time.Duration(5+r.IntN(196)) * time.Millisecond}
	case diskBits:
		t.Damage = &cluster.Damage{Kind: cluster.DamageBits, Seed: seed}
	case diskTruncate:
		t.Damage = &cluster.Damage{Kind: cluster.DamageTruncate, Seed: seed}
	case diskRollback:
		t.Damage = &cluster.Damage{Kind: cluster.DamageRollback}
	}
	return t
}

func (b *trouble) Begin(ctx context.Context, detail json.RawMessage) (Held, error) {
	var t Trouble
	if err := json.Unmarshal(detail, &t); err != nil {
		return nil, fmt.Errorf("%s: %w", b.fault.Name, err)
	}
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", b.fault.Name, err)
	}
	release, err := b.env.claim(ctx, &t.Aim, t.harm())
	if err != nil {
		return nil, err
	}
	h := &heldTrouble{trouble: t, env: b.env, release: release, scars: map[string]*Scar{}}
	var hitting sync.WaitGroup
	for n, node := range t.Nodes { // all at the same time
		scar := &Scar{}
		h.scars[node] = scar
		if p, running := b.env.Processes.Process(node); running {
			scar.PID = p.PID
		}
		hitting.Go(func() {
			if err := h.hit(node, uint64(n), scar); err != nil {
				scar.Error = err.Error()
			}
		})
	}
	hitting.Wait()
	var errs []error
	for node, scar := range h.scars {
		if scar.Error != "" {
			errs = append(errs, fmt.Errorf("%s %s: %s", b.fault.Name, node, scar.Error))
		}
	}
	if len(errs) == len(t.Nodes) {
		// What it has killed runs again. If that cannot be done now it is in force, or
		// nobody would try again.
		if _, _, err := h.End(context.WithoutCancel(ctx)); err == nil {
			return nil, errors.Join(errs...)
		}
	}
	return h, nil
}

// A heldTrouble is trouble in force.
type heldTrouble struct {
	trouble Trouble
	env     Env
	release func()
	scars   map[string]*Scar
}

func (h *heldTrouble) Detail() any { return h.trouble }

// hit makes trouble on a node: the one at a position of those that are hit.
func (h *heldTrouble) hit(node string, at uint64, scar *Scar) error {
	t := h.trouble
	switch {
	case t.Fault != nil:
		f := *t.Fault
		f.Seed += at
		var err error
		scar.impaired, err = h.env.Disks.Impair(node, f)
		return err
	case t.Power != nil:
		p := *t.Power
		p.Seed += at
		lost, err := h.env.Disks.PowerOff(node, p)
		if err != nil {
			return err
		}
		scar.Lost = &lost
		h.look(node, scar)
		if t.Down {
			return nil
		}
		return h.start(node, scar)
	case t.Damage.Kind == cluster.DamageRollback:
		return h.env.Disks.Keep(node)
	}
	if err := h.damage(node, at, scar); err != nil {
		return err
	}
	return h.start(node, scar)
}

// damage damages files of a node, which it ends for that.
func (h *heldTrouble) damage(node string, at uint64, scar *Scar) error {
	if err := h.env.Processes.Kill(node); err != nil {
		return err
	}
	h.look(node, scar)
	d := *h.trouble.Damage
	d.Seed += at
	done, err := h.env.Disks.Damage(node, d)
	scar.Damage, scar.done = done, err == nil
	return err
}

// look notes whether the process is gone that ran when it began.
func (h *heldTrouble) look(node string, scar *Scar) {
	p, running := h.env.Processes.Process(node)
	scar.Gone = scar.PID != 0 && (!running || p.PID != scar.PID)
}

// start starts a node that runs nothing.
func (h *heldTrouble) start(node string, scar *Scar) error {
	if _, running := h.env.Processes.Process(node); running {
		return nil
	}
	if err := h.env.Start(node); err != nil {
		return err
	}
	if p, running := h.env.Processes.Process(node); running {
		scar.Again = p.PID
	}
	return nil
}

func (h *heldTrouble) End(ctx context.Context) (acted uint64, evidence any, err error) {
	var errs []error
	forGood := false
	for _, node := range h.trouble.Nodes {
		scar := h.scars[node]
		if err := h.heal(ctx, node, scar); err != nil {
			errs = append(errs, fmt.Errorf("heal the disk of %s: %w", node, err))
		}
		forGood = forGood || scar.Down
		acted += scar.acted()
	}
	if err := errors.Join(errs...); err != nil {
		return 0, nil, err
	}
	if !forGood { // else the guard is to know
		h.release()
	}
	return acted, h.scars, nil
}

// heal ends the trouble of a node, and sees to it that it runs.
func (h *heldTrouble) heal(ctx context.Context, node string, scar *Scar) error {
	if scar.impaired != nil {
		if err := scar.impaired.End(); err != nil {
			return err
		}
		scar.Seen = scar.impaired.Seen()
		h.look(node, scar)
	}
	if h.trouble.harm() == slows {
		return nil // it has ended nobody
	}
	if d := h.trouble.Damage; d != nil && d.Kind == cluster.DamageRollback && !scar.done && scar.Error == "" {
		if err := h.damage(node, 0, scar); err != nil {
			return err
		}
	}
	if len(scar.Damage) > 0 {
		return h.repair(ctx, node, scar)
	}
	return h.start(node, scar)
}

// refusalLimit is how long a process may take to find that it cannot go on.
const refusalLimit = time.Second

// repair sees to it that a node runs whose files were damaged. One that has ended for
// it did well: it is replaced.
func (h *heldTrouble) repair(ctx context.Context, node string, scar *Scar) error {
	if scar.Replaced || scar.Down {
		return nil
	}
	if scar.back == nil {
		runs, err := h.bears(ctx, node, scar)
		if runs || err != nil {
			return err
		}
		if h.env.Members == nil {
			scar.Down = true
			return nil
		}
		if scar.back, err = h.env.guard.replace(node, h.trouble.Target); err != nil {
			return err
		}
	}
	if err := h.env.Members.Leave(ctx, node); err != nil {
		return err
	}
	if err := h.env.Members.Join(ctx, node); err != nil {
		return err
	}
	scar.back()
	scar.Replaced = true
	return nil
}

// bears starts a node whose files were damaged, unless that was done, and says whether
// it goes on.
func (h *heldTrouble) bears(ctx context.Context, node string, scar *Scar) (runs bool, err error) {
	if scar.Again == 0 {
		if err := h.start(node, scar); err != nil {
			return false, err
		}
	}
	ended := func() bool {
		_, running := h.env.Processes.Process(node)
		return !running
	}
	return !poll(ctx, refusalLimit, ended), nil
}
