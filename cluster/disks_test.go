//go:build linux

package cluster

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// playStore is a program for a node: it adds one key after the other to a bbolt
// database, and says so when it may rely on that. Before, it says how many there are.
func playStore(args []string) int {
	if err := store(args[0] == "nosync"); err != nil {
		fmt.Println("broken:", err)
		return 1
	}
	return 0
}

func store(noSync bool) error {
	db, err := bbolt.Open("db", 0o644, &bbolt.Options{NoSync: noSync, NoGrowSync: noSync, Timeout: time.Second})
	if err != nil {
		return err
	}
	bucket, count := []byte("b"), uint64(0)
	err = db.Update(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			return err
		}
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		return b.ForEach(func(k, _ []byte) error {
			count++
			if n := binary.BigEndian.Uint64(k); n != count {
				return fmt.Errorf("key %d comes at place %d", n, count)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	fmt.Println("has", count)
	for {
		count++
		err := db.Update(func(tx *bbolt.Tx) error {
			return tx.Bucket(bucket).Put(binary.BigEndian.AppendUint64(nil, count), make([]byte, 300))
		})
		if err != nil {
			return err
		}
		fmt.Println("acked", count)
	}
}

// storeRound starts the store, waits until it has acknowledged a few more, and lets
// the power fail. It returns how many it had at first and how many were
// acknowledged at last; one that was broken has said why.
func storeRound(t *testing.T, l *Local, node, how string, p PowerLoss, acks int) (has, acked int, broken string, lost Lost) {
	t.Helper()
	already := len(l.Log(node, 1e9))
	if err := l.Start(node, Command{Args: []string{"play", "store", how}}); err != nil {
		t.Error(err)
		return
	}
	look := func() {
		has, acked = -1, 0
		for _, line := range l.Log(node, 1e9)[already:] {
			word, rest, _ := strings.Cut(line, " ")
			n, _ := strconv.Atoi(rest)
			switch word {
			case "has":
				has, acked = n, n
			case "acked":
				acked = n
			case "broken:", "panic:", "fatal", "SIGBUS:":
				broken = line
			}
		}
	}
	eventually(t, node+" works", func() bool {
		look()
		select {
		case <-l.Exited(node):
			look()
			if broken == "" {
				broken = "it ended: " + strings.Join(l.Log(node, 3), "; ")
			}
		default:
		}
		return broken != "" || has >= 0 && acked >= has+acks
	})
	lost, err := l.Disks().PowerOff(node, p)
	if err != nil {
		t.Error(err)
	}
	was := broken
	look()
	broken = was // when the power fails it comes to errors, too
	must(t, os.Truncate(l.logFile(Node{Name: node, Dir: l.dirOf(node)}), 0))
	return has, acked, broken, lost
}

func (l *Local) dirOf(node string) string {
	at, _ := l.find(node)
	return l.nodes[at].Dir
}

// TestStoreThatSyncsLosesNothing: bbolt, as it is meant to be used.
func TestStoreThatSyncsLosesNothing(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 3, Disks: true})
	var all sync.WaitGroup
	for n, mode := range []LossMode{LoseAll, LoseSubset, LoseTorn} {
		all.Go(func() {
			node, acked, sum := l.Nodes()[n].Name, 0, Lost{}
			for round := range 50 {
				has, now, broken, lost := storeRound(t, l, node, "sync", PowerLoss{mode, uint64(round)}, 1+round%7)
				if broken != "" || has < acked {
					t.Errorf("%s, round %d: it had acknowledged %d keys and has %d %s", mode, round, acked, has, broken)
					return
				}
				acked = now
				sum.Writes, sum.Torn, sum.Kept = sum.Writes+lost.Writes, sum.Torn+lost.Torn, sum.Kept+lost.Kept
			}
			t.Logf("%s: %d keys in 50 losses of power; lost %+v", mode, acked, sum)
			if acked < 50 || sum.Writes == 0 {
				t.Errorf("%s: %d keys were acknowledged, and lost was %+v", mode, acked, sum)
			}
		})
	}
	all.Wait()
}

// TestStoreThatDoesNotSyncIsCaught: bbolt with NoSync, each time from the beginning.
func TestStoreThatDoesNotSyncIsCaught(t *testing.T) {
	if !inLab(t) {
		return
	}
	const rounds = 8
	l := newLab(t, Options{Nodes: 3, Disks: true})
	var all sync.WaitGroup
	for n, mode := range []LossMode{LoseAll, LoseSubset, LoseTorn} {
		all.Go(func() {
			node, caught := l.Nodes()[n].Name, 0
			for round := range rounds {
				if err := l.Wipe(node); err != nil {
					t.Error(err)
				}
				_, acked, _, _ := storeRound(t, l, node, "nosync", PowerLoss{mode, uint64(round)}, 50)
				has, _, broken, _ := storeRound(t, l, node, "nosync", PowerLoss{mode, uint64(round)}, 0)
				if broken != "" || has < acked {
					caught++
				}
			}
			t.Logf("%s: %d of %d", mode, caught, rounds)
			if caught <= rounds/2 {
				t.Errorf("%s: caught %d times of %d", mode, caught, rounds)
			}
		})
	}
	all.Wait()
}

// playScript is a program for a node: it does what its arguments say to files, one
// after the other, says so, and stays with the files open.
func playScript(args []string) int {
	for _, line := range args {
		if err := doLine(strings.Fields(line)); err != nil {
			fmt.Printf("%s: %v\n", line, err)
			continue
		}
		fmt.Println(line, "done")
	}
	fmt.Println("all done")
	select {}
}

// keptOpen are the files that a script does not close.
var keptOpen []*os.File

func doLine(f []string) error {
	f = append(f, "", "")
	open := func(flags int) (*os.File, error) {
		file, err := os.OpenFile(f[1], flags, 0o644)
		keptOpen = append(keptOpen, file)
		return file, err
	}
	write := func(flags int) error {
		file, err := open(flags)
		if err == nil {
			_, err = file.WriteString(f[2])
		}
		return err
	}
	switch f[0] {
	case "write":
		return write(os.O_CREATE | os.O_WRONLY | os.O_TRUNC)
	case "append":
		return write(os.O_CREATE | os.O_WRONLY | os.O_APPEND)
	case "write-sync":
		return write(os.O_CREATE | os.O_WRONLY | unix.O_SYNC)
	case "write-dsync":
		return write(os.O_CREATE | os.O_WRONLY | unix.O_DSYNC)
	case "write-direct":
		return write(os.O_CREATE | os.O_WRONLY | unix.O_DIRECT)
	case "sync":
		file, err := os.Open(f[1])
		if err != nil {
			return err
		}
		defer file.Close()
		return file.Sync()
	case "datasync":
		file, err := os.OpenFile(f[1], os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		return unix.Fdatasync(int(file.Fd()))
	case "syncrange":
		file, err := os.OpenFile(f[1], os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		return unix.SyncFileRange(int(file.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
	case "map", "map-sync": // writes through memory
		file, err := open(os.O_RDWR)
		if err != nil {
			return err
		}
		b, err := unix.Mmap(int(file.Fd()), 0, len(f[2]), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		copy(b, f[2])
		if f[0] == "map-sync" {
			return unix.Msync(b, unix.MS_SYNC)
		}
		return nil
	case "copy":
		in, err := os.Open(f[1])
		if err != nil {
			return err
		}
		f = f[1:]
		out, err := open(os.O_CREATE | os.O_WRONLY)
		if err != nil {
			return err
		}
		_, err = unix.CopyFileRange(int(in.Fd()), nil, int(out.Fd()), nil, 100, 0)
		return err
	case "allocate":
		file, err := open(os.O_CREATE | os.O_RDWR)
		if err != nil {
			return err
		}
		return unix.Fallocate(int(file.Fd()), 0, 0, 3)
	case "lock", "flock":
		file, err := open(os.O_CREATE | os.O_RDWR)
		if err != nil {
			return err
		}
		if f[0] == "flock" {
			return unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		}
		return unix.FcntlFlock(file.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	case "mkdir":
		return os.Mkdir(f[1], 0o755)
	case "rm":
		return os.Remove(f[1])
	case "mv":
		return os.Rename(f[1], f[2])
	case "link":
		return os.Link(f[1], f[2])
	case "symlink":
		return os.Symlink(f[1], f[2])
	case "fifo":
		return unix.Mkfifo(f[1], 0o600)
	case "chmod":
		return os.Chmod(f[1], 0o400)
	}
	return errors.New("unknown")
}

// files returns what a directory holds.
func files(t testing.TB, dir string) string {
	t.Helper()
	var all []string
	must(t, filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, p)
		switch {
		case err != nil || rel == ".":
		case e.IsDir():
			rel += "/"
			all = append(all, rel)
		case e.Type().IsRegular():
			b, err := os.ReadFile(p)
			must(t, err)
			all = append(all, fmt.Sprintf("%s=%s", rel, strings.ReplaceAll(string(b), "\x00", "0")))
		case e.Type() == os.ModeSymlink:
			to, err := os.Readlink(p)
			must(t, err)
			all = append(all, rel+"->"+to)
		default:
			all = append(all, rel+"?")
		}
		return err
	}))
	return strings.Join(all, " ")
}

func runScript(t testing.TB, l *Local, node string, lines string) {
	t.Helper()
	must(t, l.Start(node, Command{Args: append([]string{"play", "script"}, strings.Split(lines, "; ")...)}))
	eventually(t, lines+" is done", func() bool { return strings.Contains(strings.Join(l.Log(node, 1), ""), "all done") })
}

// TestProcessLosesWhatItDidNotSync: through the kernel, by each of the ways that a
// program has to write and to sync.
func TestProcessLosesWhatItDidNotSync(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 1, Disks: true})
	dir := l.Nodes()[0].Dir
	for _, c := range []struct{ done, there, left string }{
		{"write a x", "a=x", ""},
		{"write a x; sync a", "a=x", "a=x"},
		{"write a x; datasync a; append a y", "a=xy", "a=x"},
		{"write a x; datasync a; append a y; syncrange a", "a=xy", "a=x"},
		{"write-sync a x", "a=x", "a=x"},
		{"write-dsync a x; write b y", "a=x b=y", "a=x"},
		{"write-direct a x; sync .", "a=x", "a="},
		{"write a xxx; sync a; map a yy", "a=yyx", "a=xxx"},
		{"write a xxx; sync a; map-sync a yy", "a=yyx", "a=yyx"},
		{"write a x; sync a; copy a b; sync .", "a=x b=x", "a=x b="},
		{"write a x; sync a; copy a b; sync b", "a=x b=x", "a=x b=x"},
		{"allocate a; sync a; write a x", "a=x", "a=000"},
		{"allocate a; sync .", "a=000", "a="},
		{"lock a; flock b; sync .", "a= b=", "a= b="},
		{"write a x; sync a; rm a", "", "a=x"},
		{"write a x; sync a; rm a; sync .", "", ""},
		{"write a x; sync a; write b y; sync b; mv b a", "a=y", "a=x b=y"},
		{"write a x; sync a; write b y; sync b; mv b a; sync .", "a=y", "a=y"},
		{"mkdir d; write d/a x; sync d/a; link d/a d/b; symlink d/a c", "c->d/a d/ d/a=x d/b=x", "d/ d/a=x"},
		{"mkdir d; write d/a x; sync d/a; link d/a d/b; symlink d/a c; sync .; sync d", "c->d/a d/ d/a=x d/b=x", "c->d/a d/ d/a=x d/b=x"},
		{"fifo f; sync .; rm f", "", "f?"},
		{"write a x; sync a; chmod a; rm a", "", "a=x"},
	} {
		must(t, l.Wipe("n1"))
		runScript(t, l, "n1", c.done)
		if got := files(t, dir); got != c.there {
			t.Errorf("%s:\nthere is %s\nwant     %s\n%s", c.done, got, c.there, strings.Join(l.Log("n1", 9), "\n"))
		}
		lost, err := l.Disks().PowerOff("n1", PowerLoss{Mode: LoseAll})
		must(t, err)
		if got := files(t, dir); got != c.left {
			t.Errorf("%s:\nleft %s\nwant %s", c.done, got, c.left)
		}
		if !strings.Contains(c.done, "map a") && (c.there != c.left) != (lost.Writes+lost.Names > 0) {
			t.Errorf("%s: lost %+v", c.done, lost)
		}
		if _, running := l.Process("n1"); running {
			t.Error("it runs without power")
		}
		runScript(t, l, "n1", "write a new; sync a") // the disk is in order
		if got := files(t, dir); !strings.Contains(got, "a=new") && !strings.Contains(c.done, "chmod") {
			t.Errorf("%s: afterwards there is %s", c.done, got)
		}
		must(t, l.Kill("n1"))
	}
}

// TestKilledProcessLosesNothing: its machine goes on.
func TestKilledProcessLosesNothing(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 1, Disks: true})
	dir := l.Nodes()[0].Dir
	runScript(t, l, "n1", "write a xx; map a yy")
	must(t, l.Kill("n1"))
	if got := files(t, dir); got != "a=yy" {
		t.Errorf("there is %s", got)
	}
	must(t, l.Close())
	if got := files(t, dir); got != "a=yy" {
		t.Errorf("after the lab's end there is %s", got)
	}
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) != 2 {
		t.Errorf("beside the data and the log there is %v, %v", left, err)
	}
}

func TestDiskFaultsAreSeenByTheProcess(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 1, Disks: true})
	says := func(lines string) string {
		runScript(t, l, "n1", lines)
		log := l.Log("n1", 1+len(strings.Split(lines, "; ")))
		must(t, l.Kill("n1"))
		return strings.Join(log, "\n")
	}
	says("write a x; sync a")
	for _, c := range []struct {
		fault    DiskFault
		do, says string
		kind     string
	}{
		{DiskFault{Write: 1}, "append a y", "input/output error", "write"},
		{DiskFault{Sync: 1}, "sync a", "input/output error", "sync"},
		{DiskFault{Full: true}, "append a y", "no space left", "full"},
		{DiskFault{Full: true}, "write b y", "no space left", "full"},
		{DiskFault{SyncDelay: time.Millisecond}, "sync a", "sync a done", "slow sync"},
	} {
		i, err := l.Disks().Impair("n1", c.fault)
		must(t, err)
		if got := says(c.do); !strings.Contains(got, c.says) {
			t.Errorf("%+v: it says %s", c.fault, got)
		}
		if i.Seen()[c.kind] == 0 {
			t.Errorf("%+v: seen %v", c.fault, i.Seen())
		}
		must(t, i.End())
		must(t, i.End())
		if got := says(c.do); !strings.Contains(got, "\n"+c.do+" done") && !strings.HasPrefix(got, c.do+" done") {
			t.Errorf("after %+v: it says %s", c.fault, got)
		}
	}
}

func TestDamageNeedsANodeThatRunsNothing(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 1, Disks: true})
	dir := l.Nodes()[0].Dir
	runScript(t, l, "n1", "write a xxxx")
	if done, err := l.Disks().Damage("n1", Damage{Kind: DamageBits}); err == nil {
		t.Errorf("damaged %v of a node that runs", done)
	}
	must(t, l.Kill("n1"))
	must(t, l.Disks().Keep("n1"))
	done, err := l.Disks().Damage("n1", Damage{Kind: DamageBits, Seed: 1})
	must(t, err)
	if got := files(t, dir); got == "a=xxxx" || len(got) != len("a=xxxx") || len(done) != 1 {
		t.Errorf("after %v there is %s", done, got)
	}
	done, err = l.Disks().Damage("n1", Damage{Kind: DamageTruncate, Seed: 1})
	must(t, err)
	if got := files(t, dir); len(got) >= len("a=xxxx") {
		t.Errorf("after %v there is %s", done, got)
	}
	_, err = l.Disks().Damage("n1", Damage{Kind: DamageRollback})
	must(t, err)
	if got := files(t, dir); got != "a=xxxx" {
		t.Errorf("rolled back to %s", got)
	}
}

// TestNobodyInheritsTheKernelsSide: whoever has /dev/fuse open keeps processes alive
// that wait for an answer, even if they are killed.
func TestNobodyInheritsTheKernelsSide(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 2, Disks: true})
	startPlay(t, l, "n1", "stubborn", "here I stand", "child")
	have := 0
	procs, err := filepath.Glob("/proc/[0-9]*")
	must(t, err)
	server := strconv.Itoa(l.disks.made.(*fuseDisks).server.Process.Pid)
	for _, proc := range procs {
		fds, _ := filepath.Glob(proc + "/fd/*")
		for _, fd := range fds {
			if to, _ := os.Readlink(fd); to != "/dev/fuse" {
				continue
			}
			have++
			if filepath.Base(proc) != server {
				t.Errorf("%s has it open", proc)
			}
			info, err := os.ReadFile(strings.Replace(fd, "/fd/", "/fdinfo/", 1))
			must(t, err)
			if flags := strings.Fields(string(info))[3]; !strings.HasPrefix(flags, "02") {
				t.Errorf("%s would be inherited: flags %s", fd, flags)
			}
		}
	}
	if have != 2 {
		t.Errorf("%d are open, of two disks", have)
	}
}

// TestBlockedDiskDiesWithTheTester: a process that waits for a disk cannot be killed,
// so when the tester is, the disk must go.
func TestBlockedDiskDiesWithTheTester(t *testing.T) {
	if token := os.Getenv("BLOCKED_WORLD"); token != "" {
		blockedWorld(t, token)
	}
	for _, victim := range []string{"outside", "inside", "server"} {
		t.Run(victim, func(t *testing.T) {
			token := fmt.Sprintf("token-%d-%s", os.Getpid(), victim)
			c := exec.Command("/proc/self/exe", "-test.run=^TestBlockedDiskDiesWithTheTester$", "-test.v", "-test.timeout=60s")
			c.Env = append(os.Environ(), "BLOCKED_WORLD="+token, "TMPDIR="+t.TempDir())
			out, err := c.StdoutPipe()
			must(t, err)
			must(t, c.Start())
			lines := bufio.NewScanner(out)
			for lines.Scan() && !strings.Contains(lines.Text(), "blocked") {
				if strings.Contains(lines.Text(), "SKIP") {
					_ = c.Wait()
					t.Skip("the machine refuses a lab with disks")
				}
			}
			pids, namespaces := worlds(t, token)
			if len(pids) == 0 {
				t.Fatal("nobody is blocked")
			}
			kill := c.Process.Pid
			switch victim {
			case "inside":
				kill = tester(t, c.Process.Pid)
			case "server":
				kill = tester(t, c.Process.Pid)
				children := strings.Fields(string(childrenByStat(t, kill)))
				kill = 0
				for _, child := range children {
					if line, _ := os.ReadFile("/proc/" + child + "/cmdline"); strings.Contains(string(line), roleDisks) {
						kill, err = strconv.Atoi(child)
						must(t, err)
					}
				}
			}
			begun := time.Now()
			must(t, syscall.Kill(kill, syscall.SIGKILL))
			if victim == "server" { // then the process comes to an error
				for lines.Scan() && !strings.Contains(lines.Text(), "not connected") && !strings.Contains(lines.Text(), "connection abort") {
				}
				must(t, syscall.Kill(c.Process.Pid, syscall.SIGKILL))
			}
			_ = c.Wait()
			eventually(t, "all processes are gone", func() bool {
				pids, _ = worlds(t, token)
				return len(pids) == 0
			})
			for _, ns := range []string{"net", "pid", "mnt", "user"} {
				own, _ := os.Readlink("/proc/self/ns/" + ns)
				delete(namespaces, own)
			}
			eventually(t, "all namespaces are gone", func() bool { return len(inhabited(t, namespaces)) == 0 })
			t.Logf("gone %v after the kill", time.Since(begun))
		})
	}
}

func blockedWorld(t *testing.T, token string) {
	if !Inside() {
		exit, err := Enter(t.Context(), os.Args[1:])
		t.Skip(exit, err)
	}
	l := newLab(t, Options{Nodes: 1, Disks: true})
	_, err := l.Disks().Impair("n1", DiskFault{SyncDelay: time.Hour})
	must(t, err)
	must(t, l.Start("n1", Command{Args: []string{"play", "script", "write " + token + " x", "sync " + token}}))
	eventually(t, "it waits for the disk", func() bool {
		log := strings.Join(l.Log("n1", 2), "\n")
		return strings.Contains(log, "write "+token+" x done")
	})
	fmt.Println("blocked")
	for said := ""; ; { // when it comes to an error
		if now := strings.Join(l.Log("n1", 9), "\n"); now != said {
			fmt.Println(now)
			said = now
		}
		<-time.After(5 * time.Millisecond)
	}
}

// TestXFSLosesWhatWasNotSynced: the same by the kernel's own means.
func TestXFSLosesWhatWasNotSynced(t *testing.T) {
	if !inLab(t) {
		return
	}
	tried, err := NewLocal(Options{Nodes: 1, Dir: t.TempDir(), Disks: true, XFS: true})
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		t.Skip(refused) // root's tests must not; see .ci/skips
	}
	must(t, err)
	must(t, tried.Close())
	loops := busyLoops(t)
	l := newLab(t, Options{Nodes: 2, Disks: true, XFS: true})
	dir := l.Nodes()[0].Dir
	runScript(t, l, "n1", "write a x; sync a; sync .; write b y; append a z; mkdir d; write d/c x; map a q")
	lost, err := l.Disks().PowerOff("n1", PowerLoss{Mode: LoseAll})
	must(t, err)
	if got := files(t, dir); got != "a=x" {
		t.Errorf("left %s", got)
	}
	if lost.Writes != 1 || lost.Names != 2 || lost.Bytes == 0 {
		t.Errorf("lost %+v", lost)
	}
	if _, running := l.Process("n1"); running {
		t.Error("it runs without power")
	}
	has, acked, broken, _ := storeRound(t, l, "n1", "sync", PowerLoss{Mode: LoseAll}, 20)
	has2, _, broken2, _ := storeRound(t, l, "n1", "sync", PowerLoss{Mode: LoseAll}, 1)
	if broken+broken2 != "" || has != 0 || has2 < acked {
		t.Errorf("bbolt with sync had acknowledged %d and has %d; %s %s", acked, has2, broken, broken2)
	}
	if _, err := l.Disks().Impair("n1", DiskFault{Full: true}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("an impaired XFS: %v", err)
	}
	must(t, l.Close())
	if got := files(t, dir); !strings.HasPrefix(got, "a=x db=") {
		t.Errorf("after the lab's end there is %.40s", got)
	}
	if left := busyLoops(t); left != loops {
		t.Errorf("%d loop devices are in use, %d were", left, loops)
	}
}

// TestKilledTesterFreesItsLoopDevices: the mounts end with their namespace, and the
// devices with the mounts.
func TestKilledTesterFreesItsLoopDevices(t *testing.T) {
	if os.Getenv("XFS_WORLD") != "" {
		if !Inside() {
			exit, err := Enter(t.Context(), os.Args[1:])
			t.Skip(exit, err)
		}
		newLab(t, Options{Nodes: 2, Disks: true, XFS: true})
		fmt.Println("all is up")
		select {}
	}
	loops := busyLoops(t)
	c := exec.Command("/proc/self/exe", "-test.run=^TestKilledTesterFreesItsLoopDevices$", "-test.v", "-test.timeout=60s")
	c.Env = append(os.Environ(), "XFS_WORLD=1", "TMPDIR="+t.TempDir())
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	for lines := bufio.NewScanner(out); lines.Scan() && !strings.Contains(lines.Text(), "all is up"); {
		if strings.Contains(lines.Text(), "SKIP") {
			_ = c.Wait()
			t.Skip("the machine refuses XFS disks")
		}
	}
	if busy := busyLoops(t); busy < loops+2 {
		t.Errorf("%d loop devices are in use, %d were", busy, loops)
	}
	must(t, c.Process.Kill())
	_ = c.Wait()
	eventually(t, "the loop devices are free", func() bool { return busyLoops(t) <= loops })
}

// busyLoops counts the loop devices in use.
func busyLoops(t *testing.T) int {
	t.Helper()
	found, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	must(t, err)
	return len(found)
}

// TestDiskIsThereAfterDamageThatFailed: else a node would write past it, to what no loss
// of power undoes.
func TestDiskIsThereAfterDamageThatFailed(t *testing.T) {
	if !inLab(t) {
		return
	}
	l := newLab(t, Options{Nodes: 1, Disks: true})
	if done, err := l.Disks().Damage("n1", Damage{Kind: DamageRollback}); err == nil {
		t.Errorf("rolled back to nothing: %v", done)
	}
	runScript(t, l, "n1", "write a x")
	lost, err := l.Disks().PowerOff("n1", PowerLoss{Mode: LoseAll})
	must(t, err)
	if got := files(t, l.Nodes()[0].Dir); got != "" || lost.Names == 0 {
		t.Errorf("there is %s; lost %+v", got, lost)
	}
}
