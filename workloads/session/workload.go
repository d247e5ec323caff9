package session

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Options say what clients do. Zero fields mean the defaults.
type Options struct {
	// Rate is the number of operations per second, all clients together; 0 means as
	// many as they can.
	Rate float64
	// FinalLimit bounds the final reads.
	FinalLimit time.Duration
}

// New returns the workload: each process writes two keys of its own, now one and now
// the other, and reads its own and those of a few others, often one again, or the
// other key of the same writer, which was written just before or just after. In the
// end each process writes once more and then reads all keys: it must find there all
// that was acknowledged before. open begins the session of a worker's process.
func New(o Options, open func(ctx context.Context, worker int) (Session, error)) workloads.Workload {
	o.FinalLimit = cmp.Or(o.FinalLimit, workloads.DefaultFinalLimit)
	users := &users{of: map[int]*user{}}
	main := generator.Of(users.op)
	final := generator.EachProcess(func(p histories.Process) generator.Generator {
		return &final{users: users, process: p}
	})
	return workloads.Workload{
		Name:    "session",
		Main:    generator.OnClients(workloads.AtRate(o.Rate, main)),
		Final:   generator.OnClients(generator.TimeLimit(o.FinalLimit, final)),
		Open:    workloads.Connect(open, perform),
		Checker: Checker(),
	}
}

// users are the processes that live, by their workers, and the keys that were ever
// written.
type users struct {
	of   map[int]*user
	keys []string
}

// A user is what was chosen for a process so far.
type user struct {
	process  histories.Process
	versions [2]int64 // the last one that was to be written to each of its keys
	last     touch    // what it wrote or read last
}

// A touch is of one of the two keys of a user.
type touch struct {
	of    *user
	which int
}

// key returns the name of one of a user's keys.
func (u *user) key(which int) string { return fmt.Sprintf("p%d.%d", u.process, which) }

// user returns the user of a process. One that follows a process that died has keys
// of its own, as who knows what that one may still write.
func (s *users) user(c generator.Context, p histories.Process) *user {
	w := c.Worker(p)
	if s.of[w] == nil || s.of[w].process != p {
		s.of[w] = &user{process: p}
	}
	return s.of[w]
}

// neighbours is how many other workers' keys a worker reads. There are few, so that
// what somebody reads was read by those whose writes it reads, too.
const neighbours = 3

// op chooses what a process does: of twenty operations eight write, three read what it
// wrote or read last, four read the other key of who wrote that, and five read a
// neighbour's.
func (s *users) op(c generator.Context, p histories.Process) histories.Op {
	u := s.user(c, p)
	draw := c.Rand.IntN(20)
	if draw < 8 || u.last.of == nil {
		return s.write(u)
	}
	next := u.last
	switch {
	case draw < 11:
	case draw < 15:
		next.which = 1 - next.which
	default:
		at := (c.Worker(p) + 1 + c.Rand.IntN(neighbours)) % c.Workers
		if s.of[at] != nil {
			next = touch{s.of[at], c.Rand.IntN(2)}
		}
	}
	if next.of.versions[next.which] == 0 {
		next.which = 0 // which is written first
	}
	u.last = next
	return histories.Op{F: Read, Value: payload(next.of.key(next.which), 0)}
}

// write writes the next version of one of a user's keys: now of the one, now of the
// other.
func (s *users) write(u *user) histories.Op {
	which := 0
	if u.versions[1] < u.versions[0] {
		which = 1
	}
	u.versions[which]++
	u.last = touch{u, which}
	if u.versions[which] == 1 {
		s.keys = append(s.keys, u.key(which))
	}
	return histories.Op{F: Write, Value: payload(u.key(which), u.versions[which])}
}

// final is what a process does in the end: it writes, and then reads every key, each
// until that succeeds.
type final struct {
	users   *users
	process histories.Process
	wrote   bool
	keys    []string // those that are left to be read
	from    time.Duration
}

func (f *final) Next(c generator.Context) generator.Step {
	switch {
	case f.wrote && len(f.keys) == 0:
		return generator.Step{Done: true}
	case len(c.Free) == 0:
		return generator.Step{}
	case c.Now < f.from:
		return generator.Step{Wait: f.from - c.Now}
	}
	var op histories.Op
	if f.wrote {
		op = histories.Op{F: Read, Value: payload(f.keys[0], 0)}
	} else {
		op = f.users.write(f.users.user(c, f.process))
	}
	op.Type, op.Process = histories.Invoke, f.process
	return generator.Step{Op: &op}
}

func (f *final) Update(c generator.Context, op histories.Op) {
	switch {
	case op.Type == histories.Invoke:
	case op.Type != histories.OK:
		f.from = c.Now + workloads.FinalPause
	case f.wrote:
		f.keys = f.keys[1:]
	default:
		// Each worker begins elsewhere, so that all keys are read soon.
		f.wrote = true
		all := f.users.keys
		first := c.Worker(f.process) * len(all) / c.Workers
		f.keys = append(append(f.keys, all[first:]...), all[:first]...)
	}
}
