//go:build linux

package cluster

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// playUser is a program that uses something up.
func playUser(part string, args []string) int {
	switch part {
	case "burn": // as much time as there is on two cores
		fmt.Println("burning")
		for range 2 {
			go func() {
				for n := 0; ; n++ {
					runtime.KeepAlive(n)
				}
			}()
		}
		select {}
	case "eat": // so many MiB, then as many again for each byte that comes to port 7
		mib, err := strconv.Atoi(args[0])
		if err != nil {
			return 1
		}
		listener, err := net.Listen("tcp4", ":7")
		if err != nil {
			fmt.Println(err)
			return 1
		}
		var eaten [][]byte
		for {
			b := make([]byte, mib<<20)
			for i := range b {
				b[i] = byte(i)
			}
			eaten = append(eaten, b)
			fmt.Println("eaten", len(eaten))
			c, err := listener.Accept()
			if err != nil {
				return 1
			}
			_, _ = io.ReadFull(c, make([]byte, 1))
			c.Close()
		}
	case "open": // a file for each byte that comes to port 7, and says so
		listener, err := net.Listen("tcp4", ":7")
		if err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println("listening")
		c, err := listener.Accept()
		if err != nil {
			return 1
		}
		var files []*os.File
		for {
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				return 1
			}
			said := byte('y')
			if f, err := os.Open("/dev/null"); err != nil {
				said = 'n'
			} else {
				files = append(files, f)
			}
			_, _ = c.Write([]byte{said})
			runtime.KeepAlive(files)
		}
	case "family": // ends when it is told; its child, in a session of its own, does not
		child := exec.Command("/proc/self/exe", "play", "stubborn")
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := child.Start(); err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println("all are here")
		select {}
	}
	return 1
}

// newLimitedLab returns a lab that limits by control groups, or by hand.
func newLimitedLab(t *testing.T, nodes int, groups bool) *Local {
	t.Helper()
	l := newLab(t, Options{Nodes: nodes, Resources: true})
	switch {
	case groups && l.resources.groups == nil:
		t.Skip("this user may not make control groups")
	case !groups && l.resources.groups != nil:
		must(t, l.resources.groups.remove())
		l.resources.groups = nil
		for _, n := range l.resources.nodes {
			n.group = nil
		}
	}
	t.Log(l.Resources().Method())
	return l
}

// share returns the part of a core that a node uses until it has used so much time.
func share(t *testing.T, l *Local, node string, until time.Duration) float64 {
	t.Helper()
	before, err := l.Resources().Usage(node)
	must(t, err)
	begun := time.Now()
	var used time.Duration
	eventually(t, fmt.Sprintf("%s uses %v", node, until), func() bool {
		u, err := l.Resources().Usage(node)
		must(t, err)
		used = u.CPU - before.CPU
		return used >= until
	})
	return used.Seconds() / time.Since(begun).Seconds()
}

func TestTimeIsLimitedAndGivenBack(t *testing.T)    { testTime(t, false) }
func TestGroupsLimitTimeAndGiveItBack(t *testing.T) { testTime(t, true) }

func testTime(t *testing.T, groups bool) {
	if !inLab(t) {
		return
	}
	l := newLimitedLab(t, 2, groups)
	startPlay(t, l, "n1", "burn", "burning")
	free := share(t, l, "n1", 100*time.Millisecond)
	i, err := l.Resources().Limit("n1", Limit{CPU: 0.1})
	must(t, err)
	j, err := l.Resources().Limit("n1", Limit{CPU: 0.4})
	must(t, err)
	ten := share(t, l, "n1", 100*time.Millisecond)
	must(t, i.End())
	forty := share(t, l, "n1", 300*time.Millisecond)
	stops := i.Seen()["throttled"]
	if stops == 0 {
		t.Errorf("it was limited, and seen: %v", i.Seen())
	}
	must(t, j.End())
	must(t, j.End())
	again := share(t, l, "n1", 200*time.Millisecond)
	t.Logf("alone %.2f of a core, limited to a tenth %.2f, to two fifths %.2f, and then %.2f; throttled %d times", free, ten, forty, again, stops)
	if ten > 0.2 || forty < ten || forty > 0.6 || again < ten {
		t.Error("that is not as it should be")
	}
	if got := i.Seen()["throttled"]; got != stops {
		t.Errorf("it has ended, and goes on to count: %d, %d", stops, got)
	}
	if p, _ := l.Process("n1"); p.State == "T" {
		t.Error("the limits are lifted, and it stands still")
	}
}

// TestLimitOfTimeLeavesThePausedAlone: what lets processes go on does not know of the
// fault that stopped them.
func TestLimitOfTimeLeavesThePausedAlone(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLimitedLab(t, 1, false)
	startPlay(t, l, "n1", "burn", "burning")
	i, err := l.Resources().Limit("n1", Limit{CPU: 0.3})
	must(t, err)
	eventually(t, "it is stopped for a moment", func() bool { return i.Seen()["throttled"] > 1 })
	must(t, l.Pause("n1"))
	before, err := l.Resources().Usage("n1")
	must(t, err)
	looks := 0
	end := time.Now().Add(10 * keeperPeriod)
	eventually(t, "some periods go by", func() bool {
		looks++
		if p, _ := l.Process("n1"); p.State != "T" {
			t.Fatalf("it is paused, and is %s", p.State)
		}
		return time.Now().After(end)
	})
	must(t, i.End())
	if p, _ := l.Process("n1"); p.State != "T" {
		t.Errorf("it is paused, and is %s after the limit was lifted", p.State)
	}
	after, err := l.Resources().Usage("n1")
	must(t, err)
	if after.CPU != before.CPU || looks < 10 {
		t.Errorf("it was paused, and has used %v (%d looks)", after.CPU-before.CPU, looks)
	}
	must(t, l.Resume("n1"))
	share(t, l, "n1", 10*time.Millisecond)

	// The other way round: what starts under a pause is limited all the same.
	must(t, l.Pause("n1"))
	must(t, l.Kill("n1"))
	startPlay(t, l, "n1", "burn", "burning")
	i, err = l.Resources().Limit("n1", Limit{CPU: 0.1})
	must(t, err)
	if got := share(t, l, "n1", 100*time.Millisecond); got > 0.2 {
		t.Errorf("what was started under a pause uses %.2f of a core, and may use 0.1", got)
	}
	must(t, i.End())
	must(t, l.Resume("n1"))
}

func TestWhoeverHasTooMuchMemoryIsKilled(t *testing.T)   { testMemory(t, false) }
func TestGroupsKillWhoeverHasTooMuchMemory(t *testing.T) { testMemory(t, true) }

func testMemory(t *testing.T, groups bool) {
	if !inLab(t) {
		return
	}
	l := newLimitedLab(t, 2, groups)
	for _, n := range l.Nodes() {
		startPlay(t, l, n.Name, "eat", "eaten 1", "40")
	}
	u, err := l.Resources().Usage("n1")
	must(t, err)
	if u.Memory < 40<<20 || u.Memory > 200<<20 { // a race detector needs much of its own
		t.Errorf("it has 40 MiB and a little, and uses %d", u.Memory)
	}
	// First what would be too much with one more.
	i, err := l.Resources().Limit("n1", Limit{Memory: u.Memory + 20<<20})
	must(t, err)
	for _, n := range l.Nodes() {
		_, err = dial(t, n).conn.Write([]byte{1})
		must(t, err)
	}
	<-l.Exited("n1")
	if log := strings.Join(l.Log("n1", 2), "\n"); !strings.Contains(log, "signal: killed") {
		t.Errorf("it had too much memory:\n%s", log)
	}
	eventually(t, "the killing is seen", func() bool { return i.Seen()["killed"] > 0 })
	eventually(t, "the other one has eaten twice", func() bool {
		return strings.Contains(strings.Join(l.Log("n2", 1), ""), "eaten 2")
	})
	must(t, i.End())
	if _, running := l.Process("n2"); !running {
		t.Error("another node's process is gone, too")
	}

	// Now what is too much already.
	startPlay(t, l, "n1", "eat", "eaten 1", "40")
	i, err = l.Resources().Limit("n1", Limit{Memory: 20 << 20})
	must(t, err)
	<-l.Exited("n1")
	eventually(t, "the killing is seen", func() bool { return i.Seen()["killed"] > 0 })
	must(t, i.End())

	// And what starts later, and is no more once the limit is lifted.
	i, err = l.Resources().Limit("n1", Limit{Memory: 20 << 20})
	must(t, err)
	must(t, l.Start("n1", Command{Args: []string{"play", "eat", "40"}}))
	<-l.Exited("n1")
	must(t, i.End())
	if i.Seen()["killed"] == 0 {
		t.Errorf("seen: %v", i.Seen())
	}
	startPlay(t, l, "n1", "eat", "eaten 1", "40")
}

func TestDescriptorsAreLimitedAndGivenBack(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLimitedLab(t, 1, false)
	soft := func() uint64 {
		p, running := l.Process("n1")
		if !running {
			t.Fatal("it does not run")
		}
		var r unix.Rlimit
		must(t, unix.Prlimit(p.PID, unix.RLIMIT_NOFILE, nil, &r))
		return r.Cur
	}
	startPlay(t, l, "n1", "open", "listening")
	before := soft()
	u, err := l.Resources().Usage("n1")
	must(t, err)
	if u.Files < 4 || u.Files > 50 {
		t.Errorf("it has %d descriptors", u.Files)
	}
	c := dial(t, l.Nodes()[0])
	opens := func() byte {
		t.Helper()
		must(t, c.conn.SetDeadline(time.Now().Add(5*time.Second)))
		b := []byte{1}
		_, err := c.conn.Write(b)
		must(t, err)
		_, err = io.ReadFull(c.conn, b)
		must(t, err)
		return b[0]
	}
	if opens() != 'y' {
		t.Fatal("it cannot open a file")
	}
	u, err = l.Resources().Usage("n1")
	must(t, err)
	wide, err := l.Resources().Limit("n1", Limit{Files: uint64(u.Files) + 10})
	must(t, err)
	i, err := l.Resources().Limit("n1", Limit{Files: uint64(u.Files) + 3})
	must(t, err)
	said := ""
	for range 6 {
		said += string(opens())
	}
	// Numbers are what is limited: one that inherited high ones has some more.
	if !strings.HasPrefix(said, "yyy") || !strings.HasSuffix(said, "n") {
		t.Errorf("three more it could have opened: %s", said)
	}
	eventually(t, "that is seen", func() bool { return i.Seen()["at the limit"] > 0 })
	must(t, i.End())
	if opens() != 'y' {
		t.Error("the limit is lifted, and it cannot open a file")
	}
	if n := wide.Seen()["at the limit"]; n != i.Seen()["at the limit"] {
		t.Logf("both have seen %d", n)
	}
	must(t, wide.End())
	if got := soft(); got != before {
		t.Errorf("its limit was %d, and is %d", before, got)
	}

	// What starts later is limited, too, although it raises its limit when it starts.
	i, err = l.Resources().Limit("n1", Limit{Files: 50})
	must(t, err)
	must(t, l.Kill("n1"))
	startPlay(t, l, "n1", "open", "listening")
	eventually(t, "it is limited", func() bool { return soft() == 50 })
	must(t, i.End())
	if got := soft(); got != before {
		t.Errorf("its limit is %d, and it was %d", got, before)
	}
}

// TestLimitOfDescriptorsIsTakenFromWhoWasForkedUnderIt, also just before it ends.
func TestLimitOfDescriptorsIsTakenFromWhoWasForkedUnderIt(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLimitedLab(t, 1, false)
	must(t, l.Start("n1", Command{Path: "/bin/sh", Args: []string{"-c", "trap 'sleep 1000 &' USR1; echo ready; sleep 1000 & while :; do wait; done"}}))
	eventually(t, "it is ready", func() bool { return slices.Contains(l.Log("n1", 1), "ready") })
	shell, _ := l.Process("n1")
	soft := func(pid int) uint64 {
		var r unix.Rlimit
		must(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &r))
		return r.Cur
	}
	before := soft(shell.PID)
	for processes := 2; processes < 8; processes++ {
		pidsOf(t, l, "n1", processes)
		i, err := l.Resources().Limit("n1", Limit{Files: 60})
		must(t, err)
		must(t, syscall.Kill(shell.PID, syscall.SIGUSR1))
		all := pidsOf(t, l, "n1", processes+1)
		stricter, err := l.Resources().Limit("n1", Limit{Files: 50})
		must(t, err)
		must(t, stricter.End())
		must(t, i.End())
		for _, pid := range all {
			if got := soft(pid); got != before {
				t.Errorf("the limit of process %d was %d, and is %d after all ended", pid, before, got)
			}
		}
	}
}

func TestLimitsThatAreNone(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 1, Resources: true})
	for _, limit := range []Limit{{}, {CPU: -1}, {Memory: -1}} {
		if _, err := l.Resources().Limit("n1", limit); err == nil {
			t.Errorf("%+v is a limit", limit)
		}
	}
	if _, err := l.Resources().Limit("n2", Limit{CPU: 1}); err == nil || !strings.Contains(err.Error(), `no such node: "n2"`) {
		t.Errorf("got %v", err)
	}
	if _, err := l.Resources().Usage("n2"); err == nil {
		t.Error("a node that is none uses something")
	}
	u, err := l.Resources().Usage("n1")
	if must(t, err); u != (Usage{}) {
		t.Errorf("a node that runs nothing uses %+v", u)
	}
	if _, err := l.Resources().Limit("n1", Limit{CPU: 0.5, Memory: 1 << 30, Files: 10}); err != nil {
		t.Error(err) // closing the lab lifts it
	}
	name := must1(labName("/proc/self"))
	if dirs := groupDirs(name); strings.HasPrefix(l.Resources().Method(), "cgroup") != (len(dirs) > 0) {
		t.Errorf("limits are kept by %s; groups: %v", l.Resources().Method(), dirs)
	}
	must(t, l.Close())
	if dirs := groupDirs(name); len(dirs) > 0 {
		t.Errorf("groups are left: %v", dirs)
	}
}

// TestHierarchiesAsMachinesHaveThem: what is mounted where differs.
func TestHierarchiesAsMachinesHaveThem(t *testing.T) {
	for _, test := range []struct {
		name, mounts, memberships string
		v2                        bool
		parents                   []string // of the first one
	}{
		{"version 2, of systemd", "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
			"0::/user.slice/user-1000.slice/session-2.scope\n", true,
			[]string{"/sys/fs/cgroup/user.slice/user-1000.slice/session-2.scope", "/sys/fs/cgroup/user.slice/user-1000.slice", "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup"}},
		{"version 1, two controllers in one", "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n",
			"4:cpu,cpuacct:/a\n", false, []string{"/sys/fs/cgroup/cpu,cpuacct/a", "/sys/fs/cgroup/cpu,cpuacct"}},
		{"version 1, in a container", "31 30 0:27 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
			"9:name=systemd:/x\n4:memory:/docker/abc\n", false, []string{"/sys/fs/cgroup/memory"}},
		{"version 1, of systemd alone", "31 30 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n", "4:cpu:/\n", false, nil},
		{"none", "23 1 0:22 / /proc rw - proc proc rw\n", "", false, nil},
	} {
		got := readHierarchies(test.mounts, test.memberships)
		if len(got) == 0 && test.parents == nil {
			continue
		}
		if len(got) != 1 || got[0].v2 != test.v2 || !slices.Equal(got[0].parents(), test.parents) {
			t.Errorf("%s: got %+v", test.name, got)
		}
	}
}

// TestNoGroupIsLeftWhereNoneCanBeMade: containers have theirs for reading alone.
func TestNoGroupIsLeftWhereNoneCanBeMade(t *testing.T) {
	if !inLab(t) {
		return
	}
	dir := t.TempDir()
	must(t, unix.Mount("groups", dir, "tmpfs", unix.MS_RDONLY, ""))
	defer func() { must(t, unix.Unmount(dir, 0)) }()
	if err := os.Remove(filepath.Join(dir, "lab")); !errors.Is(err, unix.EROFS) {
		t.Errorf("what is not there was not removed: %v", err)
	}
	must(t, removeGroups(filepath.Join(dir, "lab")))
}

// TestGroupsAreMadeWhereProcessesMayBeMovedTo: to make one is not enough.
func TestGroupsAreMadeWhereProcessesMayBeMovedTo(t *testing.T) {
	mount := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(mount, "a", "b"), 0o755))
	must(t, os.WriteFile(filepath.Join(mount, "a", "cgroup.procs"), nil, 0o600))
	for v2, want := range map[bool]string{true: "a/lab", false: "a/b/lab"} {
		h := hierarchy{v2: v2, mount: mount, own: "/a/b"}
		if got := h.newGroup("lab"); got != filepath.Join(mount, want) {
			t.Errorf("version 2: %v: made %q, want %s", v2, got, want)
		}
	}
}

// TestGroupsOfVersion2AreTold what they are to be told; those of version 1 are there
// to be tried.
func TestGroupsOfVersion2AreTold(t *testing.T) {
	dir := t.TempDir()
	g := &group{v2: true, cpu: dir, memory: dir}
	for _, test := range []struct {
		do         func() error
		file, want string
	}{
		{func() error { return g.limitCPU(0.25) }, "cpu.max", "25000"},
		{func() error { return g.limitCPU(0.001) }, "cpu.max", "1000"},
		{func() error { return g.limitCPU(0) }, "cpu.max", "max"},
		{func() error { return g.limitMemory(1 << 20) }, "memory.max", "1048576"},
		{func() error { return g.limitMemory(0) }, "memory.max", "max"},
		{func() error { return g.add(17) }, "cgroup.procs", "17"},
	} {
		name := filepath.Join(dir, test.file)
		must(t, os.WriteFile(name, nil, 0o600))
		must(t, test.do())
		b, err := os.ReadFile(name)
		if must(t, err); string(b) != test.want {
			t.Errorf("%s is told %q, want %q", test.file, b, test.want)
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, "cpu.stat"), []byte("usage_usec 5\nnr_periods 4\nnr_throttled 3\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "memory.events"), []byte("oom 9\noom_kill 2\n"), 0o600))
	if throttled, killed := g.counts(); throttled != 3 || killed != 2 {
		t.Errorf("read %d, %d", throttled, killed)
	}
}
