package vm

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// TestTracks runs the files of testdata/tracks: histories in the shorthand of [expand], with
// their tracks. Rewrite them with -rewrite, and read the diff.
func TestTracks(t *testing.T) {
	datadriven.Walk(t, filepath.Join("testdata", "tracks"), func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			tracks, err := Tracks(expanded(t, d))
			if err != nil {
				return "error: " + err.Error() + "\n"
			}
			var b strings.Builder
			for _, track := range tracks {
				fmt.Fprintf(&b, "%s: %s", track.Group, track.Name)
				if track.Node != "" {
					fmt.Fprintf(&b, " (on %s)", track.Node)
				}
				if track.Subject != "" {
					fmt.Fprintf(&b, " (of %s)", track.Subject)
				}
				if len(track.Keys) > 0 {
					fmt.Fprintf(&b, " (asked for by %s)", strings.Join(track.Keys, ", "))
				}
				b.WriteByte('\n')
				for _, s := range track.Slices {
					to := "…"
					if s.To != histories.Never {
						to = fmt.Sprint(s.To)
					}
					fmt.Fprintf(&b, "  %v to %s: %s [%s] op %d", s.From, to, s.Label, s.Class, s.Op)
					if s.Bad {
						b.WriteString(" bad")
					}
					b.WriteByte('\n')
				}
			}
			return b.String()
		})
	})
}

func expanded(t *testing.T, d *datadriven.TestData) *histories.History {
	t.Helper()
	text, err := expand(d.Input)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	h, err := checkertest.Parse(text)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return h
}

// TestTracksOfWhatTheCheckerIsTriedBy: whatever the checker is given, tracks are of that.
func TestTracksOfWhatTheCheckerIsTriedBy(t *testing.T) {
	datadriven.Walk(t, filepath.Join("testdata", "events"), func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if err := tracksOf(t, expanded(t, d)); err != nil {
				d.Fatalf(t, "%v", err)
			}
			return d.Expected
		})
	})
	for _, w := range []wrong{nothingWrong, noFence, sourceRuns, rejoinsStale, stopsNothing, volumeTakes, neverEnds} {
		for seed := range uint64(4) {
			h := newWorld(w, seed).history(t, 1000)
			if err := tracksOf(t, h); err != nil {
				t.Errorf("%q, seed %d: %v", w, seed, err)
			}
		}
	}
}

// tracksOf says what is wrong with the tracks of h.
func tracksOf(t *testing.T, h *histories.History) error {
	t.Helper()
	tracks, err := Tracks(h)
	if err != nil {
		return err
	}
	e, err := readEvents(t.Context(), h)
	if err != nil {
		return err
	}
	named := map[string]workloads.Track{}
	for _, track := range tracks {
		key := track.Group + " " + track.Name
		if _, twice := named[key]; twice || len(track.Slices) == 0 {
			return fmt.Errorf("there are two of %s, or it is empty", key)
		}
		named[key] = track
		for i, s := range track.Slices {
			switch op := h.At(s.Op); {
			case s.From != op.Time:
				return fmt.Errorf("%s: %+v does not begin with its op, at %v", key, s, op.Time)
			case s.To < s.From || i > 0 && s.From < track.Slices[i-1].From:
				return fmt.Errorf("%s: %+v is in no order", key, s)
			case s.Label == "" || s.Class == "":
				return fmt.Errorf("%s: %+v says nothing", key, s)
			}
		}
	}
	if err := subjects(h, named); err != nil {
		return err
	}
	r, err := Checker(checker.Budget{}).Check(t.Context(), h)
	if err != nil {
		return err
	}
	part := r.Parts[slices.IndexFunc(r.Parts, func(p checker.Result) bool { return p.Name == "one running copy" })]
	for _, m := range e.each() {
		ran := named["machines "+m.id].Slices
		for i := range m.signs {
			s := &m.signs[i]
			if !s.runs() {
				continue
			}
			of := func(slice workloads.Slice, class string) bool {
				return slice.From <= s.at && s.at <= slice.To && slice.Class == class && strings.HasSuffix(slice.Label, fmt.Sprintf(", epoch %d", s.Epoch))
			}
			if !slices.ContainsFunc(ran, func(slice workloads.Slice) bool { return of(slice, s.Host) }) {
				return fmt.Errorf("no slice of %s has the sign %d", m.id, s.op)
			}
			if !slices.ContainsFunc(named["hosts "+s.Host].Slices, func(slice workloads.Slice) bool { return of(slice, m.id) }) {
				return fmt.Errorf("no slice of %s has the sign %d", s.Host, s.op)
			}
		}
		bad := slices.ContainsFunc(ran, func(s workloads.Slice) bool { return s.Bad })
		found := slices.ContainsFunc(part.Anomalies, func(a checker.Anomaly) bool {
			return a.Kind == twoCopies && strings.HasPrefix(a.Note, m.id+" ran twice")
		})
		if found && !bad || bad && part.Verdict != checker.Invalid {
			return fmt.Errorf("%s has a bad slice: %v; that it ran twice was found: %v", m.id, bad, found)
		}
	}
	return nil
}

// subjects says what is wrong with what the tracks of machines say that they are about, by
// what stands in the ops.
func subjects(h *histories.History, named map[string]workloads.Track) error {
	about := map[int]string{}
	for _, track := range named {
		if track.Group != "machines" {
			continue
		}
		for i, op := range track.Events {
			if i > 0 && op <= track.Events[i-1] {
				return fmt.Errorf("events of %s are in no order: %v", track.Name, track.Events)
			}
			if before := about[op]; before != "" && before != track.About() {
				return fmt.Errorf("op %d is about %s and %s", op, before, track.About())
			}
			about[op] = track.About()
		}
	}
	for i, op := range h.All() {
		var value struct {
			VM json.RawMessage `json:"vm"`
		}
		of := func(raw json.RawMessage) (id string) { // a name, or an object that has one
			var v VM
			if json.Unmarshal(raw, &id) != nil && json.Unmarshal(raw, &v) == nil {
				id = v.ID
			}
			return id
		}
		switch {
		case op.Type == histories.Event:
			if json.Unmarshal(op.Value, &value) != nil {
				continue
			}
			id := of(value.VM)
			_, ran := named["machines "+id]
			_, known := named["machines "+id+" by the control plane"]
			if (ran || known) && about[i] != id || id == "" && about[i] != "" {
				return fmt.Errorf("op %d, %s %s, is about %q, not %q", i, op.F, op.Value, id, about[i])
			}
		case op.Process >= 0 && ofMachine(op.F):
			token, arg, err := workloads.ParseKeyed(op.Value)
			if err != nil {
				continue
			}
			track, ran := named["machines "+of(arg)]
			if ran && !slices.Contains(track.Keys, token) {
				return fmt.Errorf("op %d, %s %s, is about %s, which has only %v", i, op.F, op.Value, track.Name, track.Keys)
			}
		}
	}
	return nil
}

// BenchmarkTracks makes the tracks of a hundred thousand events, and says what one takes.
func BenchmarkTracks(b *testing.B) {
	w := newWorld(nothingWrong, 1)
	w.pace = 60
	h := w.history(b, 44_000)
	b.Run(fmt.Sprint(h.Len()), func(b *testing.B) {
		for b.Loop() {
			if tracks, err := Tracks(h); err != nil || len(tracks) == 0 {
				b.Fatal(tracks, err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(h.Len()), "ns/op-of-history")
	})
}
