package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// recordings are histories that others have recorded, and judged.
var recordings = filepath.Join("testdata", "recorded")

// A published history is a line of the manifest.
type published struct {
	file    string
	flags   []string // that say how to read it
	verdict string
}

func readPublished(t testing.TB) (all []published) {
	t.Helper()
	manifest, err := os.ReadFile(filepath.Join(recordings, "manifest.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(manifest)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(strings.TrimSpace(line), "\t")
		if len(fields) != 4 {
			t.Fatalf("a line of %d fields: %q", len(fields), line)
		}
		all = append(all, published{fields[0], strings.Fields(fields[2]), fields[3]})
	}
	return all
}

// check returns the verdict of the command.
func (r published) check(t testing.TB) string {
	t.Helper()
	args := append([]string{"hacheck", "check", "--only", "linearizable"}, r.flags...)
	var stdout, stderr bytes.Buffer
	status := hacheck(append(args, filepath.Join(recordings, r.file)), &stdout, &stderr)
	if stderr.Len() > 0 {
		t.Fatalf("%s: %s", r.file, &stderr)
	}
	return map[int]string{exitValid: "valid", exitInvalid: "invalid", exitUnknown: "unknown"}[status]
}

// TestRecordedHistories judges what others have judged before. All that is there is in
// the manifest.
func TestRecordedHistories(t *testing.T) {
	verdicts := map[string]map[string]int{} // by workload
	files := map[string]bool{}
	for _, r := range readPublished(t) {
		files[filepath.Join(recordings, r.file)] = true
		if got := r.check(t); got != r.verdict {
			t.Errorf("%s: got %s, want %s", r.file, got, r.verdict)
		}
		workload := r.flags[1]
		if verdicts[workload] == nil {
			verdicts[workload] = map[string]int{}
		}
		verdicts[workload][r.verdict]++
	}
	t.Log(verdicts)
	there, err := filepath.Glob(filepath.Join(recordings, "*", "*.jsonl"))
	if err != nil || len(there) != len(files) {
		t.Errorf("%d files, %d of them in the manifest; %v", len(there), len(files), err)
	}
	for _, f := range there {
		if !files[f] {
			t.Errorf("%s is not in the manifest", f)
		}
	}
	const want = "map[kv-append:map[invalid:2 valid:2] multi-register:map[valid:1] mutex:map[invalid:1] register:map[invalid:12 unknown:1 valid:21]]"
	if got := fmt.Sprint(verdicts); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// BenchmarkRecordedHistories judges each.
func BenchmarkRecordedHistories(b *testing.B) {
	for _, r := range readPublished(b) {
		b.Run(strings.ReplaceAll(r.file, "/", " "), func(b *testing.B) {
			for b.Loop() {
				if got := r.check(b); got != r.verdict {
					b.Fatalf("got %s, want %s", got, r.verdict)
				}
			}
		})
	}
}
