package workloadtest

import (
	"math/rand/v2"
	"slices"
)

// Repeats are requests that reach a system in memory once more, as when an answer gets
// lost and its client asks again, or the network doubles what it carries.
type Repeats struct{ late []func() }

// Repeat has what is asked come again at once, or later, or not at all; and perhaps
// something that was asked before.
func (r *Repeats) Repeat(chance *rand.Rand, ask func()) {
	switch chance.IntN(4) {
	case 0:
		ask()
	case 1:
		r.late = append(r.late, ask)
	}
	if n := len(r.late); n > 0 && chance.IntN(4) == 0 {
		i := chance.IntN(n)
		r.late[i]()
		r.late = slices.Delete(r.late, i, i+1)
	}
}
