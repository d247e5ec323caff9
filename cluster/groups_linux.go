package cluster

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Control groups are directories, and belong to the machine: they do not go with the
// lab. They have its name, by which the janitor finds them.

// groups are the control groups of a lab: one, and in it one for each node.
type groups struct {
	v2 bool
	// The lab's directories. Version 2 has one for both.
	cpu, memory string
}

// newGroups makes the lab's groups, or returns nil where that cannot be: nobody but
// root may, unless somebody has left it to them.
func newGroups(name string) *groups {
	all := hierarchies()
	for _, h := range all {
		if !h.v2 {
			continue
		}
		if dir := h.newGroup(name, "cpu.max", "memory.max"); dir != "" {
			// Its children have only what it passes on.
			if os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+cpu +memory"), 0) == nil {
				return &groups{v2: true, cpu: dir, memory: dir}
			}
			_ = removeGroups(dir)
		}
	}
	var g groups
	for _, h := range all {
		switch {
		case h.v2:
		case slices.Contains(h.controllers, "cpu"):
			g.cpu = h.newGroup(name, "cpu.cfs_quota_us")
		case slices.Contains(h.controllers, "memory"):
			g.memory = h.newGroup(name, "memory.limit_in_bytes")
		}
	}
	if g.cpu == "" || g.memory == "" {
		_ = g.remove()
		return nil
	}
	return &g
}

// remove removes the lab's groups, in which nothing runs any more.
func (g *groups) remove() error {
	var errs []error
	for _, dir := range []string{g.cpu, g.memory} {
		if dir != "" {
			errs = append(errs, removeGroups(dir))
		}
	}
	return errors.Join(errs...)
}

// of makes a node's group.
func (g *groups) of(node string) (*group, error) {
	n := &group{v2: g.v2, cpu: filepath.Join(g.cpu, node), memory: filepath.Join(g.memory, node)}
	for _, dir := range n.dirs() {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, fmt.Errorf("control group: %w", err)
		}
	}
	// Who may swap is not killed for want of memory.
	if g.v2 {
		_ = n.write(n.memory, "memory.swap.max", "0")
	} else {
		_ = n.write(n.memory, "memory.swappiness", "0")
	}
	return n, nil
}

// A group is a node's.
type group struct {
	v2          bool
	cpu, memory string
}

func (g *group) dirs() []string { return slices.Compact([]string{g.cpu, g.memory}) }

// add puts a process into the group.
func (g *group) add(pid int) error {
	for _, dir := range g.dirs() {
		if err := g.write(dir, "cgroup.procs", strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	return nil
}

func (g *group) write(dir, file, text string) error {
	if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0); err != nil {
		return fmt.Errorf("control group: %w", err)
	}
	return nil
}

// limitCPU gives the group a share of a core, or, if that is 0, all it wants.
func (g *group) limitCPU(share float64) error {
	const period, least = 100_000, 1_000 // µs, of the kernel
	quota := strconv.Itoa(max(least, int(share*period)))
	switch {
	case g.v2 && share == 0:
		return g.write(g.cpu, "cpu.max", "max")
	case g.v2:
		return g.write(g.cpu, "cpu.max", quota)
	case share == 0:
		quota = "-1"
	}
	return g.write(g.cpu, "cpu.cfs_quota_us", quota)
}

// limitMemory gives the group so many bytes, or, if that is 0, all it wants.
func (g *group) limitMemory(most int64) error {
	bytes := strconv.FormatInt(most, 10)
	switch {
	case g.v2 && most == 0:
		return g.write(g.memory, "memory.max", "max")
	case g.v2:
		return g.write(g.memory, "memory.max", bytes)
	case most == 0:
		bytes = "-1"
	}
	return g.write(g.memory, "memory.limit_in_bytes", bytes)
}

// counts returns in how many periods the group was refused CPU time, and how many of
// its processes were killed for want of memory.
func (g *group) counts() (throttled, killed uint64) {
	events := "memory.oom_control"
	if g.v2 {
		events = "memory.events"
	}
	return countIn(filepath.Join(g.cpu, "cpu.stat"), "nr_throttled"), countIn(filepath.Join(g.memory, events), "oom_kill")
}

// countIn returns a number out of a file of lines with a name and a number.
func countIn(file, name string) uint64 {
	b, _ := os.ReadFile(file)
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == name {
			n, _ := strconv.ParseUint(fields[1], 10, 64)
			return n
		}
	}
	return 0
}

// A hierarchy is one of control groups, as it is mounted.
type hierarchy struct {
	v2          bool
	controllers []string // of version 1
	mount       string
	own         string // the group that this process is in, from the mount on
}

// hierarchies returns those that are mounted.
func hierarchies() []hierarchy {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	memberships, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	return readHierarchies(string(mounts), string(memberships))
}

// readHierarchies reads proc_pid_mountinfo(5) and cgroups(7).
func readHierarchies(mounts, memberships string) []hierarchy {
	own := map[string]string{} // by controller; "" is version 2
	for line := range strings.Lines(memberships) {
		if parts := strings.SplitN(strings.TrimSpace(line), ":", 3); len(parts) == 3 {
			for controller := range strings.SplitSeq(parts[1], ",") {
				own[controller] = parts[2]
			}
		}
	}
	var all []hierarchy
	for line := range strings.Lines(mounts) {
		place, kind, _ := strings.Cut(line, " - ")
		p, k := strings.Fields(place), strings.Fields(kind)
		if len(p) < 5 || len(k) < 3 || k[0] != "cgroup" && k[0] != "cgroup2" {
			continue
		}
		h := hierarchy{v2: k[0] == "cgroup2", mount: p[4]}
		controller := ""
		if !h.v2 {
			h.controllers = strings.Split(k[2], ",")
			at := slices.IndexFunc(h.controllers, func(c string) bool { _, ok := own[c]; return ok && c != "" })
			if at < 0 {
				continue
			}
			controller = h.controllers[at]
		}
		// What is mounted may be a part of the hierarchy.
		h.own = path.Clean("/" + strings.TrimPrefix(own[controller], p[3]))
		all = append(all, h)
	}
	return all
}

// parents returns the groups in which one might be made: this process's own, where
// it is within what binds that, and those around it.
func (h hierarchy) parents() []string {
	var dirs []string
	for own := h.own; ; own = path.Dir(own) {
		dirs = append(dirs, filepath.Join(h.mount, own))
		if own == "/" {
			return dirs
		}
	}
}

// newGroup makes a group that has the files, where it can, or returns "".
func (h hierarchy) newGroup(name string, files ...string) string {
	for _, parent := range h.parents() {
		// Version 2 moves processes only for whom it lets move them in what the old and
		// the new group have in common.
		if h.v2 && unix.Access(filepath.Join(parent, "cgroup.procs"), unix.W_OK) != nil {
			continue
		}
		dir := filepath.Join(parent, name)
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		if !slices.ContainsFunc(files, func(f string) bool {
			return unix.Access(filepath.Join(dir, f), unix.W_OK) != nil
		}) {
			return dir
		}
		_ = os.Remove(dir)
	}
	return ""
}

// removeGroups removes a group and those in it. Their last processes may be about to
// end.
func removeGroups(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil // of one that is not there a mount for reading alone would say that it may not be removed
	}
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	limit := time.NewTimer(killLimit)
	defer limit.Stop()
	for {
		children, _ := filepath.Glob(filepath.Join(dir, "*", "cgroup.procs"))
		for _, child := range children {
			_ = os.Remove(filepath.Dir(child))
		}
		err := os.Remove(dir)
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			return err
		}
		select {
		case <-again.C:
		case <-limit.C:
			return fmt.Errorf("control group: %w", err)
		}
	}
}
