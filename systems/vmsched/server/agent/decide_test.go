package agent

import (
	"testing"

	"github.com/hacheck/hacheck/systems/vmsched/server/state"
)

func TestDecide(t *testing.T) {
	me := self{"h1", 7}
	type vm = state.VM
	mine := func(s state.State, epoch uint64) vm {
		return vm{ID: "vm1", Host: "h1", Incarnation: 7, State: s, Epoch: epoch}
	}
	moving := func(v vm, p state.Phase, target string, incarnation uint64) vm {
		v.State = state.Migrating
		v.Migration = &state.Migration{ID: 2, Phase: p, Source: "h0", Target: target, Incarnation: incarnation}
		return v
	}
	elsewhere := vm{ID: "vm1", Host: "h2", Incarnation: 1, State: state.Running, Epoch: 3}
	old := mine(state.Starting, 3)
	old.Incarnation = 6
	guest := here{guest: true, epoch: 3, seen: 3}
	stands := here{guest: true, epoch: 3, seen: 3, standing: true}
	sent := here{guest: true, epoch: 3, seen: 3, standing: true, sent: 2}

	for name, c := range map[string]struct {
		v    vm
		h    here
		want action
	}{
		"no record, nothing":                   {vm{}, here{}, nothing},
		"no record, a guest":                   {vm{}, guest, kill},
		"no record, one to be received":        {vm{}, here{incoming: 1}, drop},
		"it is elsewhere":                      {elsewhere, here{}, nothing},
		"it is elsewhere, and here":            {elsewhere, guest, kill},
		"it is elsewhere, and stands here":     {elsewhere, sent, kill},
		"it is nowhere, and here":              {vm{State: state.Stopped, Epoch: 3}, guest, kill},
		"it was placed in an older life":       {old, here{}, nothing},
		"it was started in an older life":      {old, guest, kill},
		"it is elsewhere, and was to come":     {elsewhere, here{incoming: 2}, drop},
		"it is to start":                       {mine(state.Starting, 3), here{seen: 2}, start},
		"it is to start, and has":              {mine(state.Starting, 3), guest, started},
		"it is to start, and an old one runs":  {mine(state.Starting, 4), guest, kill},
		"it is to start, and ended":            {mine(state.Starting, 3), here{seen: 3}, notStarted},
		"it is to start in an old epoch":       {mine(state.Starting, 3), here{seen: 5}, notStarted},
		"it runs":                              {mine(state.Running, 3), guest, nothing},
		"it has ended":                         {mine(state.Running, 3), here{seen: 3}, again},
		"it stands, and no migration is there": {mine(state.Running, 3), stands, carryOn},
		"it was sent, and that was aborted":    {mine(state.Running, 3), sent, carryOn},
		"it runs in an old epoch":              {mine(state.Running, 4), guest, kill},
		"it runs, and waits to be received":    {mine(state.Running, 3), here{guest: true, epoch: 3, incoming: 2}, drop},
		"it is to stop":                        {mine(state.Stopping, 3), guest, stop},
		"it is to stop, and an old one runs":   {mine(state.Stopping, 4), guest, stop},
		"it is to stop, and has":               {mine(state.Stopping, 3), here{seen: 3}, left},

		"asked":                       {moving(mine("", 3), state.Asked, "h2", 0), guest, nothing},
		"asked, and it ended":         {moving(mine("", 3), state.Asked, "h2", 0), here{seen: 3}, abort},
		"preparing":                   {moving(mine("", 3), state.Preparing, "h2", 1), guest, nothing},
		"preparing, and it stands":    {moving(mine("", 3), state.Preparing, "h2", 1), stands, carryOn},
		"preparing, and it ended":     {moving(mine("", 3), state.Preparing, "h2", 1), here{seen: 3}, abort},
		"ready":                       {moving(mine("", 3), state.Ready, "h2", 1), guest, send},
		"ready, and sent before":      {moving(mine("", 3), state.Ready, "h2", 1), here{guest: true, epoch: 3, sent: 1}, send},
		"ready, and it is sent":       {moving(mine("", 3), state.Ready, "h2", 1), sent, commit},
		"ready, and it is not sent":   {moving(mine("", 3), state.Ready, "h2", 1), here{guest: true, epoch: 3, failed: 2}, abort},
		"ready, and it stands":        {moving(mine("", 3), state.Ready, "h2", 1), stands, abort},
		"ready, and it goes on":       {moving(mine("", 3), state.Ready, "h2", 1), here{guest: true, epoch: 3, sent: 2}, abort},
		"ready, and it ended":         {moving(mine("", 3), state.Ready, "h2", 1), here{seen: 3}, abort},
		"it is to come":               {moving(elsewhere, state.Preparing, "h1", 7), here{}, receive},
		"it is to come to an old one": {moving(elsewhere, state.Preparing, "h1", 6), here{}, nothing},
		"it is to come, waited for":   {moving(elsewhere, state.Preparing, "h1", 7), here{incoming: 2}, await},
		"it is to come, anew":         {moving(elsewhere, state.Preparing, "h1", 7), here{incoming: 1}, drop},
		"it is to come, was here":     {moving(elsewhere, state.Preparing, "h1", 7), guest, kill},
		"it cannot come":              {moving(elsewhere, state.Preparing, "h1", 7), here{failed: 2}, abort},
		"it comes":                    {moving(elsewhere, state.Ready, "h1", 7), here{incoming: 2}, nothing},
		"it comes, and is lost":       {moving(elsewhere, state.Ready, "h1", 7), here{}, abort},
		"it goes elsewhere":           {moving(elsewhere, state.Ready, "h3", 7), here{}, nothing},
		"it has come":                 {moving(mine("", 4), state.Committed, "h1", 7), here{incoming: 2, seen: 3}, resume},
		"it has come and goes on":     {moving(mine("", 4), state.Committed, "h1", 7), here{guest: true, epoch: 4, seen: 4}, resumed},
		"it has come, and is lost":    {moving(mine("", 4), state.Committed, "h1", 7), here{seen: 3}, again},
		"another has come":            {moving(mine("", 4), state.Committed, "h1", 7), here{incoming: 1}, drop},
		"it was handed over":          {moving(elsewhere, state.Committed, "h2", 1), sent, kill},
	} {
		if got := me.decide(c.v, c.h); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestDecideStartsNothingThatIsElsewhere: of all records and all that can be here.
func TestDecideStartsNothingThatIsElsewhere(t *testing.T) {
	me := self{"h1", 7}
	states := []state.State{
		state.Pending, state.Starting, state.Running, state.Migrating, state.Stopping, state.Stopped, state.Failed, state.Deleted,
	}
	phases := []state.Phase{state.Asked, state.Preparing, state.Ready, state.Committed}
	bits := []bool{false, true}
	tried := 0
	for _, s := range states {
		for _, phase := range phases {
			for _, host := range []string{"", "h1", "h2"} {
				for _, target := range []string{"h1", "h2"} {
					for _, incarnation := range []uint64{6, 7} {
						for _, g := range bits {
							for _, standing := range bits {
								for n := range uint64(81) {
									v := state.VM{Host: host, Incarnation: incarnation, State: s, Epoch: 3}
									if s == state.Migrating {
										v.Migration = &state.Migration{ID: 2, Phase: phase, Target: target, Incarnation: 7}
									}
									h := here{guest: g, standing: g && standing, epoch: 2 + n%3, seen: 2 + n/3%3, incoming: n / 9 % 3, sent: n / 27 % 3}
									own := host == "h1" && incarnation == 7
									tried++
									switch got := me.decide(v, h); got {
									case start, carryOn, resume, again, commit, send, started, resumed:
										if !own {
											t.Errorf("%+v, %+v: %q", v, h, got)
										}
										if (got == start || got == resume) && (g || got == start && v.Epoch <= h.seen) {
											t.Errorf("%+v, %+v: %q", v, h, got)
										}
									case nothing:
										if !own && g || own && g && h.epoch != v.Epoch {
											t.Errorf("%+v, %+v: it runs on", v, h)
										}
									}
								}
							}
						}
					}
				}
			}
		}
	}
	if tried < 10000 {
		t.Errorf("tried only %d", tried)
	}
}
