package server

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

func openSnapshots(t *testing.T, dir string) *Snapshots {
	t.Helper()
	s, err := OpenSnapshots(dir)
	must(t, err)
	return s
}

// take saves a snapshot that holds text.
func take(t *testing.T, s *Snapshots, term, index uint64, text string) string {
	t.Helper()
	sink, err := s.Create(1, index, term, configurationOfFollower(), 1, nil)
	must(t, err)
	_, err = sink.Write([]byte(text))
	must(t, err)
	must(t, sink.Close())
	return sink.ID()
}

func TestLastSnapshotIsKeptWholeAndAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "snapshots")
	s := openSnapshots(t, dir)
	if all, err := s.List(); err != nil || len(all) != 0 {
		t.Errorf("at first there are %v, %v", all, err)
	}
	take(t, s, 9, 100, "old")
	id := take(t, s, 10, 200, "new")
	take(t, s, 9, 150, "late")
	s = openSnapshots(t, dir)
	all, err := s.List()
	must(t, err)
	if len(all) != 1 || all[0].ID != id || all[0].Index != 200 || all[0].Term != 10 || all[0].Size != 3 ||
		len(all[0].Configuration.Servers) != 3 || all[0].ConfigurationIndex != 1 {
		t.Fatalf("there is %+v", all)
	}
	_, r, err := s.Open(id)
	must(t, err)
	if b, err := io.ReadAll(r); string(b) != "new" || err != nil {
		t.Errorf("it holds %q, %v", b, err)
	}
	take(t, s, 10, 300, "newer")
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("the directory holds %v, %v", files, err)
	}
}

func TestUnfinishedSnapshotIsNone(t *testing.T) {
	dir := t.TempDir()
	s := openSnapshots(t, dir)
	sink, err := s.Create(1, 5, 1, raft.Configuration{}, 1, nil)
	must(t, err)
	_, err = sink.Write([]byte("text"))
	must(t, err)
	must(t, sink.Cancel())
	must(t, sink.Close())
	left := filepath.Join(dir, "123"+unfinished)
	must(t, os.WriteFile(left, []byte("text"), 0o600))
	s = openSnapshots(t, dir)
	if all, err := s.List(); err != nil || len(all) != 0 {
		t.Errorf("there are %v, %v", all, err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("what was left unfinished is still there")
	}
}

func TestDamagedSnapshotIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := openSnapshots(t, dir)
	path := s.path(take(t, s, 1, 5, strings.Repeat("text", 30)))
	whole, err := os.ReadFile(path)
	must(t, err)
	refused := func(what string, at int, b []byte) {
		t.Helper()
		must(t, os.WriteFile(path, b, 0o600))
		if all, err := s.List(); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s at %d: there are %v, %v", what, at, all, err)
		}
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 4
		refused("flipped", i, b)
		refused("cut", i, whole[:i])
	}
	must(t, os.WriteFile(filepath.Join(dir, "00000000000000000002-00000000000000000005.snapshot"), whole, 0o600))
	if all, err := s.List(); err == nil {
		t.Errorf("under another's name there is %v", all)
	}
}

// TestNodeDoesNotStartWithoutWhatItsLogGoesOnFrom: neither from an earlier snapshot
// nor from none.
func TestNodeDoesNotStartWithoutWhatItsLogGoesOnFrom(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "raft.db"))
	must(t, s.StoreLogs(entries(51, 60, 2)))
	snapshots := openSnapshots(t, t.TempDir())
	if err := finishReplacing(s, snapshots); err == nil || !strings.Contains(err.Error(), "entry 51") {
		t.Errorf("without a snapshot: %v", err)
	}
	take(t, snapshots, 2, 49, "")
	if err := finishReplacing(s, snapshots); err == nil || !strings.Contains(err.Error(), "from 50") {
		t.Errorf("from 49: %v", err)
	}
	take(t, snapshots, 2, 50, "")
	must(t, finishReplacing(s, snapshots))
}
