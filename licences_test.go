package hacheck

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A licence that what we link may have, and how to tell it by its text.
type licence struct {
	name string
	text *regexp.Regexp
	why  string
}

var licences = []licence{
	{"MPL-2.0", regexp.MustCompile(`Mozilla Public License,? [Vv]ersion 2\.0`), "binds its own files: we link them, and copy nothing out of them"},
	{"Apache-2.0", regexp.MustCompile(`Apache License\s+Version 2\.0, January 2004`), "ours"},
	{"BSD", regexp.MustCompile(`Redistribution and use in source and binary forms`), "asks for its notice, which lies with its source"},
	{"MIT", regexp.MustCompile(`Permission is hereby granted, free of charge`), "asks for its notice, which lies with its source"},
}

// TestLicences reads the licence of every module that some package of ours is
// linked with.
func TestLicences(t *testing.T) {
	if _, err := os.Stat("go.sum"); err != nil { // and so the test runs again when it changes
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	lines := slices.Compact(slices.Sorted(strings.Lines(string(out))))
	if len(lines) < 5 {
		t.Fatalf("found only %d modules", len(lines))
	}
	for _, line := range lines {
		module, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
		if module == "" {
			continue
		}
		if name := licenceOf(t, dir); name == "" {
			t.Errorf("%s: no licence that is known to agree with ours, in %s", module, dir)
		} else {
			t.Logf("%-10s %s", name, module)
		}
	}
}

// licenceOf returns the name of the licence that lies in dir, if we know it.
func licenceOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "[LC]*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if base := strings.ToUpper(filepath.Base(file)); !strings.HasPrefix(base, "LICEN") && !strings.HasPrefix(base, "COPYING") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range licences {
			if l.text.Match(text) {
				return l.name
			}
		}
	}
	return ""
}
