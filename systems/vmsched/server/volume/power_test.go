//go:build linux

package volume

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/cluster/clustertest"
	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
)

func TestMain(m *testing.M) { os.Exit(clustertest.Main(m.Run)) }

// TestPowerLoss: what was answered is there, whatever else the power takes away. With the
// bug that syncs nothing it is not, so this can fail.
func TestPowerLoss(t *testing.T) {
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
	writeAll := func(c Config, last uint64) (after string) {
		t.Helper()
		s := open(t, c)
		is(t, "open", s.doOpen(t, "vm1", 1), fmt.Sprint("ok ", last))
		is(t, "write", s.doWrite(t, "vm1", 1, last+1, "text"), "ok")
		must(t, s.Close()) // which syncs nothing
		powerFails()
		s = open(t, c)
		defer func() { must(t, s.Close()) }()
		return s.doRead(t, "vm1")
	}
	sound := Config{Dir: filepath.Join(node.Dir, "volumes")}
	for last := range uint64(3) {
		is(t, "after the power failed", writeAll(sound, last), fmt.Sprintf("%d 1:1-%d", last+1, last+1))
	}
	// What the next process reads may have been in memory alone, and is told to whoever asks.
	s := open(t, Config{Dir: sound.Dir, Bug: bug.VolumeNoSync})
	is(t, "write", s.doWrite(t, "vm1", 1, 4, "text"), "ok")
	must(t, s.Close())
	s = open(t, sound)
	is(t, "write again", s.doWrite(t, "vm1", 1, 4, "text"), "ok")
	must(t, s.Close())
	powerFails()
	s = open(t, sound)
	is(t, "after the power failed", s.doRead(t, "vm1"), "4 1:1-4")
	must(t, s.Close())
	is(t, "after the power failed, not synced", writeAll(Config{Dir: filepath.Join(node.Dir, "loose"), Bug: bug.VolumeNoSync}, 0), "0")
}
