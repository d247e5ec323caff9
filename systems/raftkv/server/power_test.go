//go:build linux

package server

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/cluster/clustertest"
	"github.com/hacheck/hacheck/systems/raftkv/server/durable"
)

func TestMain(m *testing.M) { os.Exit(clustertest.Main(m.Run)) }

// TestNamesOutliveThePower: a file that is synced is gone all the same if its name was
// not, and the disk here takes that by the letter. So each of these would lose what it
// has acknowledged if it did not sync a directory.
func TestNamesOutliveThePower(t *testing.T) {
	if !clustertest.InLab(t) {
		return
	}
	lab, err := cluster.NewLocal(cluster.Options{
		Nodes: 1, Dir: t.TempDir(), Disks: true, StrictNames: true, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if refused, ok := errors.AsType[*cluster.RefusedError](err); ok && os.Getenv("CI") == "" {
		t.Skip(refused)
	}
	must(t, err)
	defer func() { must(t, lab.Close()) }()
	node := lab.Nodes()[0]
	powerFails := func() {
		t.Helper()
		_, err := lab.Disks().PowerOff(node.Name, cluster.PowerLoss{Mode: cluster.LoseAll})
		must(t, err)
	}
	in := func(name string) string { return filepath.Join(node.Dir, name) }
	isThere := func(name string) {
		t.Helper()
		if _, err := os.Stat(in(name)); err != nil {
			t.Errorf("after the power failed: %v", err)
		}
	}

	// That something is lost at all.
	must(t, os.WriteFile(in("loose"), []byte("text"), 0o600))
	powerFails()
	if _, err := os.Stat(in("loose")); err == nil {
		t.Error("what was not synced is there")
	}

	must(t, durable.MakeDir(in("a/b")))
	powerFails()
	isThere("a/b")

	openSnapshots(t, in("snapshots"))
	powerFails()
	isThere("snapshots")

	for n := uint64(1); n <= 3; n++ { // a new file each time, in the place of the old one
		s := openStore(t, in("raft.db"))
		if n > 1 && bounds(t, s) != [2]uint64{1, n - 1} {
			t.Errorf("the log holds %v, want 1 to %d", bounds(t, s), n-1)
		}
		must(t, s.StoreLogs(entries(n, n, 1)))
		must(t, s.Close())
		powerFails()
		isThere("raft.db")

		snapshots := openSnapshots(t, in("snapshots"))
		id := take(t, snapshots, 1, n, fmt.Sprint("state ", n))
		powerFails()
		if all, err := snapshots.List(); err != nil || len(all) != 1 || all[0].ID != id {
			t.Errorf("the last snapshot is %v, %v; want %s", all, err, id)
		}
	}

	s := openStore(t, in("raft.db"))
	for n, begun := uint64(4), s.journal.salt; bytes.Equal(s.journal.salt, begun); n++ { // until it is written anew
		must(t, s.StoreLog(&raft.Log{Index: n, Data: make([]byte, 200_000)}))
		must(t, s.DeleteRange(1, n-1))
	}
	want := contents(t, &s.onDisk)
	for range 2 { // after an update, and after none
		must(t, s.Close())
		powerFails()
		s = openStore(t, in("raft.db"))
		if got := contents(t, &s.onDisk); got != want {
			t.Errorf("it holds\n%s\ninstead of\n%s", got, want)
		}
	}
	votes, err := openTornVotes(in("raft.vote"), s)
	must(t, err)
	must(t, votes.Set(lastVoteCand, []byte("n2")))
	must(t, s.Close())
	powerFails()
	isThere("raft.vote")
}
