package main

import (
	"bytes"
	"os"
	"slices"
	"testing"
	"time"
)

func TestEachBugIsFoundBySomething(t *testing.T) {
	for _, s := range systems {
		for _, b := range s.bugs {
			if !slices.ContainsFunc(finds, func(f find) bool { return f.system == s.name && f.bug == b.name }) {
				t.Errorf("nothing is said to find bug %s of %s", b.name, s.name)
			}
		}
	}
	t.Chdir("../..") // where the files are that are named
	for _, f := range finds {
		o := parse(t, f.arguments()[1:])
		o.store = t.TempDir()
		if err := o.check(); err != nil {
			t.Errorf("%v: %v", f.arguments(), err)
		}
		if i := slices.Index(f.flags, "--schedule"); i >= 0 {
			onDisk, err := os.ReadFile(f.flags[i+1])
			if inside, ok := scheduleFile(f.flags[i+1]); err != nil || !ok || !bytes.Equal(inside, onDisk) {
				t.Errorf("%v: the schedule is not in this program as it is in the repository: %v", f.arguments(), err)
			}
		}
		if o.bug == "" || o.timeLimit > time.Minute {
			t.Errorf("%v is no run of at most a minute of a system with a bug", f.arguments())
		}
	}
}
