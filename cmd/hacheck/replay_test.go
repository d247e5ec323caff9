package main

import (
	"math"
	"testing"
	"time"

	"github.com/hacheck/hacheck/internal/store"
)

func TestOptionsInAFileAreLookedAt(t *testing.T) {
	right := store.Options{
		Nodes: 5, Concurrency: 10, Keys: 5, TimeLimit: store.Duration(20 * time.Second), Interval: store.Duration(3 * time.Second), Heal: "kick",
	}
	if got := implausible(systems[0], right); got != "" {
		t.Errorf("nothing is wrong, but %s", got)
	}
	old := right
	right.Tune = "timeouts=2,delay=5ms"
	if got := implausible(systems[0], right); got != "" {
		t.Errorf("nothing is wrong with a tuned one, but %s", got)
	}
	old.Interval, old.Heal = 0, "" // of a run that had none yet
	if got := implausible(systems[0], old); got != "" {
		t.Errorf("nothing is wrong with an old one, but %s", got)
	}
	for want, change := range map[string]func(o *store.Options){
		"nodes 0":        func(o *store.Options) { o.Nodes = 0 },
		"nodes 500":      func(o *store.Options) { o.Nodes = 500 },
		"concurrency -1": func(o *store.Options) { o.Concurrency = -1 },
		"keys -4":        func(o *store.Options) { o.Keys = -4 },
		"rate 1e+300":    func(o *store.Options) { o.Rate = 1e300 },
		"rate NaN":       func(o *store.Options) { o.Rate = math.NaN() },
		"time_limit 0s":  func(o *store.Options) { o.TimeLimit = 0 },
		"interval -1s":   func(o *store.Options) { o.Interval = store.Duration(-time.Second) },
		`tune "delay=1h" (delay=1h: want a time from 1ms to 250ms)`: func(o *store.Options) { o.Tune = "delay=1h" },
		`heal "by itself"`:     func(o *store.Options) { o.Heal = "by itself" },
		"time_limit 8760h0m0s": func(o *store.Options) { o.TimeLimit = store.Duration(365 * 24 * time.Hour) },
	} {
		o := right
		change(&o)
		if got := implausible(systems[0], o); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
