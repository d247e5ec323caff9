//go:build linux

package disk

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// A machine does to a disk what the kernel would, without one.
type machine struct {
	t *testing.T
	d *Disk
	s *session
}

func newMachine(t *testing.T, c Config) *machine {
	t.Helper()
	dir := t.TempDir()
	c.Dir, c.Scratch = filepath.Join(dir, "data"), filepath.Join(dir, "scratch")
	if err := os.Mkdir(c.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	m := &machine{t: t, d: d}
	m.start()
	return m
}

func (m *machine) start() {
	m.s = &session{RawFileSystem: fuse.NewDefaultRawFileSystem(), d: m.d, dead: make(chan struct{})}
}

// crash loses the power and starts again.
func (m *machine) crash(mode Mode, seed uint64) Lost {
	m.t.Helper()
	lost, err := m.d.Restart(mode, seed)
	if err != nil {
		m.t.Fatal(err)
	}
	m.start()
	return lost
}

func (m *machine) must(status fuse.Status, what ...any) {
	m.t.Helper()
	if !status.Ok() {
		m.t.Fatalf("%v: %v", fmt.Sprint(what...), status)
	}
}

// find looks a path up; 0 is none.
func (m *machine) find(p string) uint64 {
	id := uint64(topID)
	for _, base := range strings.Split(p, "/") {
		if p == "" {
			break
		}
		var out fuse.EntryOut
		if status := m.s.Lookup(nil, &fuse.InHeader{NodeId: id}, base, &out); !status.Ok() {
			return 0
		}
		id = out.NodeId
	}
	return id
}

func (m *machine) parent(p string) (fuse.InHeader, string) {
	dir, base := path.Split(p)
	owner := fuse.Owner{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid())}
	return fuse.InHeader{NodeId: m.find(strings.TrimSuffix(dir, "/")), Caller: fuse.Caller{Owner: owner}}, base
}

func (m *machine) create(p string) fuse.Status {
	h, base := m.parent(p)
	var out fuse.CreateOut
	status := m.s.Create(nil, &fuse.CreateIn{InHeader: h, Flags: unix.O_EXCL | unix.O_RDWR, Mode: 0o644}, base, &out)
	if status.Ok() {
		m.s.Release(nil, &fuse.ReleaseIn{InHeader: fuse.InHeader{NodeId: out.NodeId}})
	}
	return status
}

func (m *machine) mkdir(p string) fuse.Status {
	h, base := m.parent(p)
	return m.s.Mkdir(nil, &fuse.MkdirIn{InHeader: h, Mode: 0o755}, base, &fuse.EntryOut{})
}

func (m *machine) link(old, p string) fuse.Status {
	h, base := m.parent(p)
	return m.s.Link(nil, &fuse.LinkIn{InHeader: h, Oldnodeid: m.find(old)}, base, &fuse.EntryOut{})
}

func (m *machine) unlink(p string) fuse.Status {
	h, base := m.parent(p)
	return m.s.Unlink(nil, &h, base)
}

func (m *machine) rmdir(p string) fuse.Status {
	h, base := m.parent(p)
	return m.s.Rmdir(nil, &h, base)
}

func (m *machine) rename(old, p string, flags uint32) fuse.Status {
	from, oldBase := m.parent(old)
	to, base := m.parent(p)
	return m.s.Rename(nil, &fuse.RenameIn{InHeader: from, Newdir: to.NodeId, Flags: flags}, oldBase, base)
}

func (m *machine) write(p string, off int64, b []byte) fuse.Status {
	_, status := m.s.Write(nil, &fuse.WriteIn{InHeader: fuse.InHeader{NodeId: m.find(p)}, Offset: uint64(off)}, b)
	return status
}

func (m *machine) truncate(p string, size int64) fuse.Status {
	in := &fuse.SetAttrIn{}
	in.NodeId, in.Valid, in.Size = m.find(p), fuse.FATTR_SIZE, uint64(size)
	return m.s.SetAttr(nil, in, &fuse.AttrOut{})
}

func (m *machine) sync(p string) fuse.Status {
	return m.s.Fsync(nil, &fuse.FsyncIn{InHeader: fuse.InHeader{NodeId: m.find(p)}})
}

// do does a line of a scenario.
func (m *machine) do(line string) {
	m.t.Helper()
	f := append(strings.Fields(line), "", "")
	switch p, q := strings.TrimPrefix(f[1], "/"), f[2]; f[0] {
	case "write": // a new file with a text, or the beginning of an old one
		if m.find(p) == 0 {
			m.must(m.create(p), line)
		}
		m.must(m.write(p, 0, []byte(q)), line)
	case "mkdir":
		m.must(m.mkdir(p), line)
	case "link":
		m.must(m.link(p, q), line)
	case "rm":
		m.must(m.unlink(p), line)
	case "rmdir":
		m.must(m.rmdir(p), line)
	case "mv":
		m.must(m.rename(p, q, 0), line)
	case "swap":
		m.must(m.rename(p, q, unix.RENAME_EXCHANGE), line)
	case "cut":
		m.must(m.truncate(p, 0), line)
	case "sync":
		m.must(m.sync(p), line)
	default:
		m.t.Fatalf("unknown: %s", line)
	}
}

// tree returns what the directory holds: paths, and what files say.
func (m *machine) tree() string { return treeOf(m.t, m.d.config.Dir) }

func treeOf(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, p)
		switch {
		case err != nil || rel == ".":
		case e.IsDir():
			all = append(all, rel+"/")
		default:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			all = append(all, rel+"="+string(b))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func TestPowerLossUndoesWhatWasNotSynced(t *testing.T) {
	for _, c := range []struct{ done, left, strict string }{
		{"", "", ""},
		{"write a x", "", ""},
		{"write a x; sync a", "a=x", ""},
		{"write a x; sync /", "a=", "a="},
		{"write a x; sync a; sync /", "a=x", "a=x"},
		{"write a x; sync a; sync /; write a yy", "a=x", "a=x"},
		{"write a x; sync a; sync /; cut a", "a=x", "a=x"},
		{"write a x; sync a; sync /; rm a", "a=x", "a=x"},
		{"write a x; sync a; sync /; rm a; sync /", "", ""},
		{"write a x; sync a; sync /; rm a; write a y", "a=x", "a=x"},
		{"write a x; sync a; sync /; rm a; write a y; sync a", "a=y", "a=x"},
		// A file replaced as it should be, and with one sync forgotten after the other.
		{"write a x; sync a; sync /; write b y; sync b; mv b a; sync /", "a=y", "a=y"},
		{"write a x; sync a; sync /; write b y; sync b; mv b a", "a=x b=y", "a=x"},
		{"write a x; sync a; sync /; write b y; mv b a; sync /", "a=", "a="},
		{"write a x; sync a; sync /; write b y; mv b a", "a=x", "a=x"},
		{"write a x; sync a; sync /; write b y; mv b a; sync a", "a=y", "a=x"},
		// Two replacements, neither of them durable.
		{"write a x; sync a; sync /; write b y; mv b a; write b z; mv b a", "a=x", "a=x"},
		// Directories.
		{"mkdir d", "", ""},
		{"mkdir d; sync d", "d/", "d/"},
		{"mkdir d; write d/a x; sync d/a", "d/ d/a=x", ""},
		{"mkdir d; write d/a x; sync d/a; sync d", "d/ d/a=x", "d/ d/a=x"},
		{"mkdir d; write d/a x; sync d/a; sync /", "d/ d/a=x", "d/"},
		{"mkdir d; mkdir d/e; write d/e/a x; sync d/e/a", "d/ d/e/ d/e/a=x", ""},
		// As hashicorp/raft makes a snapshot.
		{"mkdir d.tmp; write d.tmp/a x; sync d.tmp/a; mv d.tmp d; sync /", "d/ d/a=x", "d/"},
		{"mkdir d; sync /; write d/a x; sync d/a; sync d; rm d/a; rmdir d", "d/ d/a=x", "d/ d/a=x"},
		{"mkdir d; sync /; write d/a x; sync d/a; sync d; rm d/a; rmdir d; sync /", "", ""},
		{"mkdir d; sync /; write d/a x; sync d/a; sync d; mv d e; write e/b y; sync e/b", "e/ e/a=x e/b=y", "d/ d/a=x"},
		// Between directories: in both or in neither.
		{"mkdir d; mkdir e; write d/a x; sync d/a; sync d; sync e; mv d/a e/a", "d/ d/a=x e/", "d/ d/a=x e/"},
		{"mkdir d; mkdir e; write d/a x; sync d/a; sync d; sync e; mv d/a e/a; sync d", "d/ e/ e/a=x", "d/ e/ e/a=x"},
		{"mkdir d; mkdir e; write d/a x; sync d/a; sync d; sync e; mv d/a e/a; sync e", "d/ e/ e/a=x", "d/ e/ e/a=x"},
		{"mkdir d; sync d; write a x; sync a; sync /; mkdir e; mv a e/a; sync /", "d/ e/ e/a=x", "d/ e/ e/a=x"},
		{"mkdir d; mkdir d/e; sync d; sync d/e; mv d/e e; mv d e/d; sync e", "e/ e/d/", "e/ e/d/"},
		// Links.
		{"write a x; sync a; sync /; link a b", "a=x", "a=x"},
		{"write a x; sync a; sync /; link a b; rm a; sync /", "b=x", "b=x"},
		{"write a x; sync a; sync /; link a b; rm a", "a=x", "a=x"},
		{"write a x; link a b; sync a; sync /; rm a; rm b; write b y", "a=x b=x", "a=x b=x"},
		{"write a x; link a b; sync a; sync /; mv a b", "a=x b=x", "a=x b=x"}, // which does nothing
		{"write a x; write b y; sync a; sync b; sync /; swap a b", "a=x b=y", "a=x b=y"},
		{"write a x; write b y; sync a; sync b; sync /; swap a b; sync /", "a=y b=x", "a=y b=x"},
	} {
		for strict, want := range map[bool]string{false: c.left, true: c.strict} {
			m := newMachine(t, Config{Strict: strict})
			for line := range strings.SplitSeq(c.done, "; ") {
				if line != "" {
					m.do(line)
				}
			}
			before := m.tree()
			lost := m.crash(All, 1)
			if got := m.tree(); got != want {
				t.Errorf("%s (strict: %v):\nwas  %s\nleft %s\nwant %s", c.done, strict, before, got, want)
			}
			if (lost.Writes+lost.Names > 0) != (before != want) && !strings.Contains(c.done, "rm") { // one may undo the other
				t.Errorf("%s (strict: %v): lost %+v", c.done, strict, lost)
			}
			if lost.Kept > 0 {
				t.Errorf("%s (strict: %v): kept something: %+v", c.done, strict, lost)
			}
			if lost := m.crash(All, 1); lost.Writes+lost.Names > 0 {
				t.Errorf("%s (strict: %v): lost twice: %+v", c.done, strict, lost)
			}
			if left, _ := os.ReadDir(filepath.Join(m.d.config.Scratch, "removed")); len(left) > 0 {
				t.Errorf("%s (strict: %v): %v is left over", c.done, strict, left)
			}
		}
	}
}

// TestSectorsHoldWhatTheyOnceHeld: after any loss each sector is as it was after
// one of the writes since the last sync, and so is the size.
func TestSectorsHoldWhatTheyOnceHeld(t *testing.T) {
	tear := 0
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 7))
		m := newMachine(t, Config{})
		m.must(m.create("f"))
		m.must(m.sync("f"))
		versions := [][]byte{{}} // since the last sync; the last is what there is
		for range 1 + r.IntN(30) {
			now := slices.Clone(versions[len(versions)-1])
			switch r.IntN(8) {
			case 0:
				m.must(m.sync("f"))
				versions = [][]byte{now}
				continue
			case 1:
				size := r.IntN(6000)
				m.must(m.truncate("f", int64(size)))
				now = append(now, make([]byte, max(0, size-len(now)))...)[:size]
			default:
				off, b := r.IntN(5000), make([]byte, 1+r.IntN(3000))
				if r.IntN(2) == 0 {
					off = len(now)
				}
				for i := range b {
					b[i] = byte(1 + r.IntN(255))
				}
				m.must(m.write("f", int64(off), b))
				now = append(now, make([]byte, max(0, off+len(b)-len(now)))...)
				copy(now[off:], b)
			}
			versions = append(versions, now)
		}
		file := filepath.Join(m.d.config.Dir, "f")
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, versions[len(versions)-1]) {
			t.Fatalf("seed %d: the file does not hold what was written", seed)
		}
		mode := []Mode{All, Subset, Torn}[seed%3]
		lost := m.crash(mode, seed)
		tear += int(lost.Torn)
		got, err = os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if mode == All && !bytes.Equal(got, versions[0]) {
			t.Fatalf("seed %d: what was synced is not there:\n%d bytes, want %d", seed, len(got), len(versions[0]))
		}
		if n := int(lost.Writes + lost.Kept); n != len(versions)-1 {
			t.Errorf("seed %d: %d writes were lost or kept, of %d", seed, n, len(versions)-1)
		}
		if !slices.ContainsFunc(versions, func(v []byte) bool { return len(v) == len(got) }) {
			t.Fatalf("seed %d, %s: %d bytes, as never before", seed, mode, len(got))
		}
		for at := 0; at < len(got); at += sector {
			is := at2(got, at, len(got))
			if !slices.ContainsFunc(versions, func(v []byte) bool { return bytes.Equal(is, at2(v, at, len(got))) }) {
				t.Fatalf("seed %d, %s: the sector at %d holds what it never held", seed, mode, at)
			}
		}
	}
	if tear == 0 {
		t.Error("nothing was torn")
	}
}

// at2 returns a sector of a file that is cut at size: what is missing is zeros.
func at2(file []byte, at, size int) []byte {
	b := make([]byte, sector)
	copy(b, file[min(at, len(file)):])
	clear(b[min(sector, size-at):])
	return b
}

// TestAnyLossLeavesAFileSystem: whatever is done and lost, no file that was durable
// and has not been removed is gone, none is doubled, and what was synced last is
// what it says.
func TestAnyLossLeavesAFileSystem(t *testing.T) {
	gone := uint64(0)
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 8))
		m := newMachine(t, Config{Strict: seed%2 == 0})
		dirs := []string{"", "d", "e", "d/e", "e/d"}
		names := []string{"a", "b", "d", "e"}
		any := func() string { return strings.TrimPrefix(dirs[r.IntN(len(dirs))]+"/"+names[r.IntN(len(names))], "/") }
		durable := map[string]bool{} // what files say that are in the root for good
		for n := range 60 {
			p, q := any(), any()
			switch r.IntN(24) {
			case 0, 1, 2, 3, 4:
				if m.hasParent(p) && m.create(p).Ok() {
					m.must(m.write(p, 0, fmt.Appendf(nil, "%d", n)))
					m.must(m.sync(p))
				}
			case 5, 6, 7, 8:
				if m.hasParent(p) {
					m.mkdir(p)
				}
			case 9, 10:
				m.rmdirIfThere(p)
			case 11:
				if d := dirs[r.IntN(len(dirs))]; m.find(d) != 0 {
					m.must(m.sync(d))
				}
			case 12:
				keep := fmt.Sprintf("keep%d", n)
				m.must(m.create(keep))
				m.must(m.write(keep, 0, []byte(keep)))
				m.must(m.sync(keep))
				m.must(m.sync(""))
				durable[keep] = true
				if m.hasParent(p) && m.find(p) == 0 {
					m.must(m.rename(keep, p, 0))
					// It may be renamed over, and so removed.
					delete(durable, keep)
				}
			default:
				if m.hasParent(p) && m.hasParent(q) && !strings.HasPrefix(q+"/", p+"/") && !strings.HasPrefix(p+"/", q+"/") {
					m.rename(p, q, []uint32{0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE}[r.IntN(3)])
				}
			}
		}
		before := m.tree()
		lost := m.crash([]Mode{All, Subset, Torn}[seed%3], seed)
		gone += lost.Names
		after := m.tree()
		said := map[string]int{}
		for _, f := range strings.Fields(after) {
			if p, text, isFile := strings.Cut(f, "="); isFile {
				said[text]++
				if text == "" {
					t.Errorf("seed %d: %s is empty, and was synced", seed, p)
				}
			}
		}
		for text, times := range said {
			if times > 1 {
				t.Errorf("seed %d: %s is there %d times\nbefore %s\nafter  %s", seed, text, times, before, after)
			}
		}
		for text := range durable {
			if said[text] == 0 {
				t.Errorf("seed %d: %s is gone\nbefore %s\nafter  %s", seed, text, before, after)
			}
		}
		if memory := m.remembered(); memory != after {
			t.Errorf("seed %d: the disk believes %s\nit is %s", seed, memory, after)
		}
		if t.Failed() {
			return
		}
	}
	if gone < 200 {
		t.Errorf("only %d changes of names were lost", gone)
	}
}

func (m *machine) hasParent(p string) bool {
	h, _ := m.parent(p)
	i, err := m.d.find(h.NodeId)
	return err == nil && i.isDir()
}

func (m *machine) rmdirIfThere(p string) {
	if m.find(p) != 0 {
		m.rmdir(p)
	}
}

// remembered is tree, as the disk sees it.
func (m *machine) remembered() string {
	var all []string
	var walk func(i *inode, at string)
	walk = func(i *inode, at string) {
		for _, base := range slices.Sorted(maps.Keys(i.children)) {
			child := i.children[base].inode
			p := path.Join(at, base)
			if child.isDir() {
				all = append(all, p+"/")
				walk(child, p)
				continue
			}
			buf := make([]byte, 100)
			result, status := m.s.Read(nil, &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: child.id}}, buf)
			m.must(status)
			b, _ := result.Bytes(buf)
			all = append(all, p+"="+string(b))
		}
	}
	walk(m.d.top, "")
	return strings.Join(all, " ")
}

func TestSubsetKeepsLaterWritesAndLosesEarlierOnes(t *testing.T) {
	holes := 0
	for seed := range uint64(30) {
		m := newMachine(t, Config{})
		m.must(m.create("f"))
		m.must(m.truncate("f", 20*sector))
		m.must(m.sync("f"))
		for n := range int64(20) {
			m.must(m.write("f", n*sector, bytes.Repeat([]byte{1}, sector)))
		}
		lost := m.crash(Subset, seed)
		if lost.Torn > 0 || lost.Writes+lost.Kept != 20 || lost.Bytes != lost.Writes*sector {
			t.Fatalf("seed %d: %+v", seed, lost)
		}
		b, err := os.ReadFile(filepath.Join(m.d.config.Dir, "f"))
		if err != nil {
			t.Fatal(err)
		}
		first, last := bytes.IndexByte(b, 0), bytes.LastIndexByte(b, 1)
		if first >= 0 && last > first {
			holes++
		}
	}
	if holes < 20 {
		t.Errorf("in %d of 30 losses an earlier write was lost and a later one was not", holes)
	}
}

// TestKeptWriteIsNotUndoneByAnEarlierOne, of the same sector, that is lost.
func TestKeptWriteIsNotUndoneByAnEarlierOne(t *testing.T) {
	last := 0
	for seed := range uint64(60) {
		m := newMachine(t, Config{})
		m.do("write f 0")
		m.do("sync f")
		for n := range 9 {
			m.must(m.write("f", 0, fmt.Append(nil, n+1)))
		}
		m.crash(Subset, seed)
		if m.tree() == "f=9" {
			last++
		}
	}
	if last < 15 || last > 45 {
		t.Errorf("the last write was there after %d of 60 losses", last)
	}
}

// TestNoDirectoryComesToBeInItself: one is moved out of another, and that into it; to
// lose the first move alone would make a ring.
func TestNoDirectoryComesToBeInItself(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(40) {
		m := newMachine(t, Config{})
		for _, line := range []string{"mkdir y", "mkdir y/w", "mkdir y/w/x", "sync /", "sync y", "sync y/w", "mv y/w w", "mv y w/x/y"} {
			m.do(line)
		}
		m.crash(Subset, seed)
		left := m.tree()
		seen[left] = true
		if strings.Count(left, " ") != 2 {
			t.Errorf("seed %d: left %s", seed, left)
		}
	}
	if len(seen) != 3 {
		t.Errorf("saw %v", slices.Collect(maps.Keys(seen)))
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	m := newMachine(t, Config{})
	m.must(m.create("f"))
	b := make([]byte, 128<<10)
	for range 2 * mostBytes / len(b) * 2 {
		m.must(m.write("f", 0, b))
	}
	for n := range 3 * mostChanges {
		m.must(m.create(fmt.Sprint("g", n)))
		m.must(m.unlink(fmt.Sprint("g", n)))
	}
	if m.d.bytes > mostBytes || len(m.d.changes) > mostChanges {
		t.Errorf("%d bytes and %d changes are remembered", m.d.bytes, len(m.d.changes))
	}
	sum := int64(0)
	for _, i := range m.d.inodes {
		for _, w := range i.writes {
			sum += w.cost()
		}
	}
	if sum != m.d.bytes {
		t.Errorf("%d bytes are remembered, and %d accounted for", sum, m.d.bytes)
	}
	if left, _ := os.ReadDir(filepath.Join(m.d.config.Scratch, "removed")); len(left) > mostChanges {
		t.Errorf("%d removed files are kept", len(left))
	}
	m.must(m.sync(""))
	m.must(m.sync("f"))
	if m.d.bytes != 0 || len(m.d.changes) != 0 {
		t.Errorf("%d bytes and %d changes are remembered after all was synced", m.d.bytes, len(m.d.changes))
	}
}

// TestNoDescriptorGoesPastUs: were the kernel given one, it would write to the
// directory itself, and nothing could be undone.
func TestNoDescriptorGoesPastUs(t *testing.T) {
	m := newMachine(t, Config{})
	m.must(m.create("f"))
	var out fuse.OpenOut
	m.must(m.s.Open(nil, &fuse.OpenIn{InHeader: fuse.InHeader{NodeId: m.find("f")}, Flags: unix.O_RDWR}, &out))
	if out.BackingID != 0 || out.OpenFlags&fuse.FOPEN_PASSTHROUGH != 0 {
		t.Errorf("opened with %+v", out)
	}
	if _, status := m.s.CopyFileRange(nil, &fuse.CopyFileRangeIn{}); status != fuse.ENOSYS {
		t.Errorf("copied a range: %v", status)
	}
}

func TestFaultsMeetWhatTheyAreFor(t *testing.T) {
	m := newMachine(t, Config{})
	m.do("write old text")
	m.do("sync old")
	for _, c := range []struct {
		fault Fault
		kind  string
		do    func() fuse.Status
		want  fuse.Status
	}{
		{Fault{Write: 1}, "write", func() fuse.Status { return m.write("old", 0, []byte("new")) }, fuse.EIO},
		{Fault{Write: 1}, "write", func() fuse.Status { return m.truncate("old", 0) }, fuse.EIO},
		{Fault{Sync: 1}, "sync", func() fuse.Status { return m.sync("old") }, fuse.EIO},
		{Fault{Read: 1}, "read", func() fuse.Status {
			_, status := m.s.Read(nil, &fuse.ReadIn{InHeader: fuse.InHeader{NodeId: m.find("old")}}, make([]byte, 9))
			return status
		}, fuse.EIO},
		{Fault{Full: true}, "full", func() fuse.Status { return m.create("new") }, fuse.Status(unix.ENOSPC)},
		{Fault{Full: true}, "full", func() fuse.Status { return m.mkdir("new") }, fuse.Status(unix.ENOSPC)},
		{Fault{Full: true}, "full", func() fuse.Status { return m.write("old", 2, []byte("xyz")) }, fuse.Status(unix.ENOSPC)},
		{Fault{Full: true}, "", func() fuse.Status { return m.write("old", 0, []byte("text")) }, fuse.OK},
		{Fault{SyncDelay: 1}, "slow sync", func() fuse.Status { return m.sync("old") }, fuse.OK},
	} {
		i := m.d.Impair(c.fault)
		if got := c.do(); got != c.want {
			t.Errorf("%+v: got %v, want %v", c.fault, got, c.want)
		}
		if seen := i.Seen(); c.kind != "" && seen[c.kind] != 1 || c.kind == "" && len(seen) > 0 {
			t.Errorf("%+v: saw %v", c.fault, seen)
		}
		i.End()
		i.End()
		if got := c.do(); !got.Ok() && c.want != fuse.OK {
			t.Errorf("%+v: after its end %v", c.fault, got)
		}
		m.unlink("new")
		m.rmdir("new")
		m.must(m.truncate("old", 4))
	}
	m.must(m.truncate("old", 1<<20)) // a hole
	defer m.d.Impair(Fault{Full: true}).End()
	if got := m.write("old", 1<<19, []byte("x")); got != fuse.Status(unix.ENOSPC) {
		t.Errorf("filled a hole of a full disk: %v", got)
	}
}

func TestFailedSyncMakesNothingDurable(t *testing.T) {
	m := newMachine(t, Config{})
	m.do("write a x")
	m.do("sync a")
	m.do("write a y")
	i := m.d.Impair(Fault{Sync: 1})
	if status := m.sync("a"); status != fuse.EIO {
		t.Error(status)
	}
	i.End()
	m.crash(All, 1)
	if got := m.tree(); got != "a=x" {
		t.Error(got)
	}
}

func TestDamageChangesOneFileAndRollbackAll(t *testing.T) {
	m := newMachine(t, Config{})
	if _, err := m.d.Damage(Rollback, 1); err == nil {
		t.Error("rolled back to nothing")
	}
	if done, err := m.d.Damage(Bits, 1); err != nil || len(done) > 0 {
		t.Errorf("damaged %v, %v, where there is no file", done, err)
	}
	text := strings.Repeat("x", 3000)
	m.do("mkdir d")
	m.do("write d/a " + text)
	m.do("write b " + text)
	if err := m.d.Keep(); err != nil {
		t.Fatal(err)
	}
	kept := m.tree()
	for seed := range uint64(20) {
		kind := []Damage{Bits, Truncate}[seed%2]
		done, err := m.d.Damage(kind, seed)
		if err != nil || len(done) != 1 {
			t.Fatalf("%v: %v, %v", kind, done, err)
		}
		m.start()
		after := m.tree()
		if after == kept || len(after) != len(kept) && kind == Bits || len(after) >= len(kept) && kind == Truncate {
			t.Errorf("%v did %v", kind, done)
		}
		for file := range done {
			is, err := os.ReadFile(filepath.Join(m.d.config.Dir, file))
			if err != nil || string(is) == text {
				t.Errorf("%s was not damaged, %v", file, err)
			}
		}
		if remembered := m.find("b"); remembered == 0 {
			t.Error("b is gone")
		}
		m.do("write new x")
		if _, err := m.d.Damage(Rollback, 0); err != nil {
			t.Fatal(err)
		}
		m.start()
		if got := m.tree(); got != kept {
			t.Fatalf("rolled back to %s", got)
		}
	}
	if err := m.d.Wipe(); err != nil {
		t.Fatal(err)
	}
	m.start()
	m.crash(All, 1)
	if got := m.tree(); got != "" {
		t.Errorf("wiped, and there is %s", got)
	}
}

// TestWritesAtTheEndAreBounded, although they replace nothing.
func TestWritesAtTheEndAreBounded(t *testing.T) {
	m := newMachine(t, Config{})
	m.must(m.create("log"))
	i, err := m.d.find(m.find("log"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 * mostBytes / 64 {
		m.d.wrote(i, write{at: int64(n) * sector, span: sector, resized: true})
	}
	if m.d.bytes > mostBytes || len(i.writes) > mostBytes/64 {
		t.Errorf("%d writes are remembered, and take %d bytes", len(i.writes), m.d.bytes)
	}
	m.d.forgetWrites(i, len(i.writes)) // they were none
}
