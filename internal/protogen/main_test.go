package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCommittedCodeIsWhatGenerateMakes: whoever changes a .proto file runs go
// generate, and whoever changes the generated code by hand is found out.
func TestCommittedCodeIsWhatGenerateMakes(t *testing.T) {
	protos := map[string][]string{} // by folder
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return fs.SkipDir
		}
		if filepath.Ext(path) == ".proto" {
			protos[filepath.Dir(path)] = append(protos[filepath.Dir(path)], d.Name())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(protos) == 0 {
		t.Fatal("found no .proto files")
	}
	for dir, files := range protos {
		slices.Sort(files)
		made, err := generate(t.Context(), dir, files)
		if err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		for name, want := range made {
			got, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Errorf("%v: run go generate there", err)
			} else if !bytes.Equal(got, want) {
				t.Errorf("%s is not what its .proto file makes: run go generate there", filepath.Join(dir, name))
			}
		}
		committed, err := filepath.Glob(filepath.Join(dir, "*.pb.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range committed {
			if made[filepath.Base(path)] == nil {
				t.Errorf("%s belongs to no .proto file: remove it", path)
			}
		}
	}
}

func TestBadProtoFileIsNamedWithItsLine(t *testing.T) {
	dir := t.TempDir()
	bad := "syntax = \"proto3\";\nmessage M { strin g = 1; }\n"
	if err := os.WriteFile(filepath.Join(dir, "bad.proto"), []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := generate(t.Context(), dir, []string{"bad.proto"})
	if err == nil || !strings.Contains(err.Error(), "bad.proto:2:") {
		t.Errorf("got %v, want an error that names bad.proto:2", err)
	}
}
