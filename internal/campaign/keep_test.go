package campaign

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hacheck/hacheck/internal/gate"
)

// directory makes one with files.
func directory(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func sameFiles(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		rel, _ := filepath.Rel(dir, name)
		text, err := os.ReadFile(name)
		if string(text) != want[filepath.ToSlash(rel)] {
			t.Errorf("%s has %d bytes, want %d", rel, len(text), len(want[filepath.ToSlash(rel)]))
		}
		return err
	})
	if err != nil || n != len(want) {
		t.Errorf("%d files, want %d; %v", n, len(want), err)
	}
}

func TestADirectoryIsKeptWithItsOutcome(t *testing.T) {
	c := open(t, Access{Server: serve(t, ServerOptions{})}, Options{})
	noise := make([]byte, 9<<20) // more than is sent ahead, and no packing makes it less
	rand.NewChaCha8([32]byte{}).Read(noise)
	files := map[string]string{"run.json": "{}", "nodes/n1/data": string(noise), "nodes/n1/empty": ""}
	dir := directory(t, files)
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := c.Put(t.Context(), some(1)); err != nil {
		t.Fatal(err)
	}
	work(t, c, WorkOptions{Perform: func(context.Context, gate.Job) (gate.Outcome, string, error) {
		return gate.Outcome{Class: gate.Invalid, Attempts: []gate.Attempt{{Class: gate.Unknown}, {Class: gate.Invalid}}}, dir, nil
	}})
	o := collect(t, c, 1)[some(1)[0].ID]
	if o.Attempts[0].Dir != "" || o.Attempts[1].Dir == "" {
		t.Fatalf("kept as %q, %q", o.Attempts[0].Dir, o.Attempts[1].Dir)
	}
	to := filepath.Join(t.TempDir(), "fetched")
	if err := c.Fetch(t.Context(), o.Last().Dir, to); err != nil {
		t.Fatal(err)
	}
	files[LeftOutFile] = "link: not a file\n"
	sameFiles(t, to, files)
	if err := c.Fetch(t.Context(), "nothing", filepath.Join(t.TempDir(), "fetched")); !errors.Is(err, ErrNotKept) {
		t.Errorf("%v", err)
	}
}

func TestWhatHasNoRoomIsLeftOutAndTold(t *testing.T) {
	dir := directory(t, map[string]string{"run.json": "{}", "history.jsonl": strings.Repeat("h", 50), "nodes/n1/wal": strings.Repeat("w", 60), "nodes/n2/log": "l"})
	var b bytes.Buffer
	leftOut, err := Archive(&b, dir, 100)
	if err != nil || !slices.Equal(leftOut, []string{"nodes/n1/wal: 60 bytes, for which there is no room"}) {
		t.Fatalf("%q, %v", leftOut, err)
	}
	for range 2 { // what was fetched is kept again as it is
		to := t.TempDir()
		if err := Extract(&b, to, 1<<20); err != nil {
			t.Fatal(err)
		}
		sameFiles(t, to, map[string]string{"run.json": "{}", "history.jsonl": strings.Repeat("h", 50), "nodes/n2/log": "l", LeftOutFile: leftOut[0] + "\n"})
		b.Reset()
		if _, err := Archive(&b, to, 100); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnArchiveStaysInItsDirectory(t *testing.T) {
	type entry struct {
		header tar.Header
		text   string
	}
	for name, entries := range map[string][]entry{
		"above":    {{tar.Header{Name: "../x"}, "x"}},
		"absolute": {{tar.Header{Name: "/x"}, "x"}},
		"a link":   {{tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/"}, ""}},
		"twice":    {{tar.Header{Name: "x"}, "1"}, {tar.Header{Name: "./x"}, "2"}},
		"too much": {{tar.Header{Name: "x"}, strings.Repeat("x", 2000)}},
		"existing": {{tar.Header{Name: "there"}, "x"}},
		"through":  {{tar.Header{Name: "out/x"}, "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			w := tar.NewWriter(z)
			for _, e := range entries {
				e.header.Size, e.header.Mode = int64(len(e.text)), 0o666
				if err := w.WriteHeader(&e.header); err != nil {
					t.Fatal(err)
				}
				w.Write([]byte(e.text))
			}
			w.Close()
			z.Close()
			outside := t.TempDir()
			dir := directory(t, map[string]string{"there": "as it was"})
			if err := os.Symlink(outside, filepath.Join(dir, "out")); err != nil {
				t.Fatal(err)
			}
			if err := Extract(&b, dir, 1000); err == nil {
				t.Error("it is taken")
			}
			if text, _ := os.ReadFile(filepath.Join(dir, "there")); string(text) != "as it was" {
				t.Error("it has written over what was there")
			}
			if left, _ := os.ReadDir(outside); len(left) != 0 {
				t.Error("it has written outside")
			}
		})
	}
	if err := Extract(strings.NewReader("no archive"), t.TempDir(), 1000); err == nil {
		t.Error("what is no archive is taken")
	}
}

func TestALargeOutcomeIsCut(t *testing.T) {
	c := open(t, Access{Server: serve(t, ServerOptions{})}, Options{})
	if err := c.Put(t.Context(), some(2)); err != nil {
		t.Fatal(err)
	}
	var many []gate.Attempt
	for range 50_000 {
		many = append(many, gate.Attempt{Class: gate.Unknown, Words: "too long"})
	}
	work(t, c, WorkOptions{Perform: func(_ context.Context, j gate.Job) (gate.Outcome, string, error) {
		o := gate.Outcome{Class: gate.Invalid, Attempts: []gate.Attempt{{Class: gate.Invalid, Witness: strings.Repeat("é<", 1<<20), Repeat: []string{"run"},
			Findings: []gate.Finding{{Checker: "linear", Kind: "stale", Note: "short"}}}}}
		if j.Seed == 1 {
			o.Attempts = append(slices.Clone(many), o.Attempts...)
		}
		return o, "", nil
	}})
	for id, o := range collect(t, c, 2) {
		last := o.Last()
		if last == nil || last.Class != gate.Invalid || len(last.Findings) != 1 || last.Findings[0].Note != "short" || last.Repeat[0] != "run" {
			t.Fatalf("%s: %+v", id, last)
		}
		if !strings.Contains(last.Witness, "cut") || !utf8.ValidString(last.Witness) {
			t.Errorf("%s: a witness of %d bytes", id, len(last.Witness))
		}
	}
}
