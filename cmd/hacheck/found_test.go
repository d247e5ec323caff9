package main

import (
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
		if o.bug == "" || o.timeLimit > time.Minute {
			t.Errorf("%v is no run of at most a minute of a system with a bug", f.arguments())
		}
	}
}
