package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/internal/matrix"
)

// A schedule is known by what is in it, and not by where it is.
func TestAScheduleIsKnownByItsContent(t *testing.T) {
	dir := t.TempDir()
	digest := func(name, content string) (string, error) {
		t.Helper()
		if content != "" {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		text := "matrix:\n  - workloads: [lock]\n    nemeses: [none]\n    options: {schedule: " + name + "}\n"
		plan, err := matrix.Read(strings.NewReader(text), filepath.Join(dir, defaultPlan), new(program).knownTo())
		if err != nil {
			return "", err
		}
		return plan.Cells[0].Digest(), nil
	}
	early, late := "- {at: 1s, fault: kill}\n", "- {at: 2s, fault: kill}\n"
	was, err := digest("a.yaml", early)
	if err != nil {
		t.Fatal(err)
	}
	if elsewhere, err := digest("b.yaml", early); elsewhere != was || err != nil {
		t.Errorf("under another name it is %q, and was %q: %v", elsewhere, was, err)
	}
	if changed, err := digest("a.yaml", late); changed == was || err != nil {
		t.Errorf("with something else in it, it is %q, as it was: %v", changed, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "d.yaml"), 0o777); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"c.yaml": "there is no such file", "d.yaml": "it is a directory"} {
		if _, err := digest(name, ""); err == nil || !strings.HasPrefix(err.Error(), filepath.Join(dir, defaultPlan)+":4: options: schedule: ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
