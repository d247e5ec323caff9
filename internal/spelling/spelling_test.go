package spelling

import (
	"strings"
	"testing"
)

func TestTheNearestNameIsTheOneMeant(t *testing.T) {
	names := []string{"partition", "kill", "pause", "partition:ring"}
	for name, want := range map[string]string{
		"partiton": "partition", "Partition": "partition", "apuse": "pause", "kil": "kill",
		"part": "partition", "partition:r": "partition:ring", "x": "", "": "", "zebra": "",
	} {
		if got := Nearest(name, names); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestDistanceCountsEdits(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "acb", 1}, {"abc", "ac", 1}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance(c.b, c.a); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.b, c.a, got, c.want)
		}
	}
}

// Where a name is expected there may be a whole file.
func TestWhatIsLongIsNotGoneThrough(t *testing.T) {
	long := strings.Repeat("é", 1<<20)
	for name, most := range map[string]float64{long: 0, "kil": 50} {
		if n := testing.AllocsPerRun(1, func() { Nearest(name, []string{"partition", "kill"}) }); n > most {
			t.Errorf("of %d bytes it took %v allocations, more than %v", len(name), n, most)
		}
	}
}
