package store

import (
	"errors"
	"path/filepath"
	"testing"
)

func TestExclusive(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".lock")
	release, err := Exclusive(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Exclusive(path); !errors.Is(err, ErrHeld) {
		t.Fatalf("the second one was told %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	again, err := Exclusive(path)
	if err != nil {
		t.Fatalf("after it was released: %v", err)
	}
	if err := again(); err != nil {
		t.Fatal(err)
	}
	if _, err := Exclusive(filepath.Join(t.TempDir(), "none", ".lock")); err == nil || errors.Is(err, ErrHeld) {
		t.Fatalf("in a directory that is not there: %v", err)
	}
}
