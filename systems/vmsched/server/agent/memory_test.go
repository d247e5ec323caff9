package agent

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestMemory(t *testing.T) {
	dir := t.TempDir()
	m, err := recall(dir)
	if err != nil || m.Incarnation != 0 || m.seen("vm1") != 0 {
		t.Fatalf("a new host remembers %+v, %v", m.remembered, err)
	}
	must(t, m.begin(3, 77))
	must(t, m.starting("vm1", 5))
	must(t, m.starting("vm2", 1))
	must(t, m.starting("vm1", 6))
	must(t, m.runs("vm1", 6))
	must(t, m.runs("vm2", 1))
	must(t, m.runs("vm2", 0))
	again, err := recall(dir)
	want := remembered{3, 77, map[string]uint64{"vm1": 6, "vm2": 1}, map[string]uint64{"vm1": 6}}
	if err != nil || !reflect.DeepEqual(again.remembered, want) {
		t.Errorf("got %+v, %v, want %+v", again.remembered, err, want)
	}
	must(t, again.begin(4, 78))
	if again.seen("vm1") != 0 {
		t.Error("epochs of an older incarnation are kept")
	}

	path := filepath.Join(dir, "agent.json")
	whole, err := os.ReadFile(path)
	must(t, err)
	for n := range len(whole) {
		must(t, os.WriteFile(path, whole[:n], 0o644))
		if m, err := recall(dir); err == nil || !reflect.DeepEqual(m.remembered, remembered{}) {
			t.Errorf("of %q it remembers %+v, %v", whole[:n], m.remembered, err)
		}
	}
	must(t, os.RemoveAll(dir))
	if err := again.starting("vm1", 9); err == nil || again.seen("vm1") == 9 {
		t.Error("what is not on the disk is remembered")
	}
}
