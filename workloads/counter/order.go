package counter

import (
	"context"
	"math/bits"
)

const (
	// maxOpen bounds how many calls are open at once: they are the bits of a set.
	maxOpen = 64
	// maxSteps bounds the search for one counter's order, by its ops.
	maxSteps = 1 << 10
)

// A search looks for an order of a counter's calls that explains what its reads
// returned, in the order of time: the calls that are open may have taken effect or
// not, and it keeps the sets of those that can have. It is Lowe's just-in-time
// linearization ("Testing for Linearizability", 2017): nothing takes effect before
// it has to. That is when it returns, and for adds when an open read needs them.
type search struct {
	base  int64          // of all adds that have returned
	open  [maxOpen]int64 // by bits: what an add adds, or a read will return
	used  uint64         // bits of calls that are open
	reads uint64         // those that are reads
	sets  map[uint64]bool
	steps int
	most  int // of steps
}

// verdict is how a search ended.
type verdict int

const (
	explained verdict = iota
	refuted
	gaveUp // there are too many sets, or too many calls are open at once
)

// order says whether some order of the calls explains all reads. If none does it
// returns the first read, by its return, at which that shows.
func (o *object) order(ctx context.Context) (verdict, *call) {
	s := search{sets: map[uint64]bool{0: true}, most: maxSteps * len(o.events)}
	bit := map[*call]int{}
	for _, e := range o.events {
		c := e.call
		if !e.end {
			if s.used == ^uint64(0) || ctx.Err() != nil {
				return gaveUp, nil
			}
			at := bits.TrailingZeros64(^s.used)
			bit[c] = at
			s.invoke(c, at)
			continue
		}
		if s.complete(bit[c]); s.steps > s.most {
			return gaveUp, nil
		}
		if len(s.sets) == 0 {
			return refuted, c
		}
		delete(bit, c)
	}
	return explained, nil
}

func (s *search) invoke(c *call, at int) {
	s.used |= 1 << at
	if c.F == Add {
		s.open[at] = c.In.delta
		return
	}
	s.open[at] = c.Out.sum
	s.reads |= 1 << at
	sets := make(map[uint64]bool, len(s.sets))
	for set := range s.sets {
		sets[s.satisfied(set, s.sum(set))] = true
	}
	s.sets = sets
}

// complete lets the call at a bit return: it has taken effect in what remains.
func (s *search) complete(at int) {
	before := s.sets
	s.sets = map[uint64]bool{}
	visited := map[uint64]bool{}
	for set := range before {
		s.extend(set, 1<<at, visited)
	}
	if s.reads&(1<<at) == 0 {
		s.base += s.open[at]
	}
	s.used &^= 1 << at
	s.reads &^= 1 << at
}

// extend lets further calls of a set take effect until the one in question has.
func (s *search) extend(set, call uint64, visited map[uint64]bool) {
	if s.steps > s.most || visited[set] {
		return
	}
	s.steps++
	visited[set] = true
	if set&call != 0 {
		s.sets[set&^call] = true
		return
	}
	sum := s.sum(set)
	adds := s.used &^ s.reads &^ set &^ call
	for waiting := s.reads &^ set; waiting != 0; {
		at := bits.TrailingZeros64(waiting)
		wanted := s.open[at]
		same := s.satisfied(0, wanted) & waiting
		waiting &^= same
		for _, more := range s.subsets(adds, wanted-sum) {
			s.extend(set|more|same, call, visited)
		}
	}
	if s.reads&call == 0 {
		set |= call
		s.sets[s.satisfied(set, s.sum(set))&^call] = true
	}
}

// subsets returns those of adds that make up a difference.
func (s *search) subsets(adds uint64, difference int64) []uint64 {
	type choice struct {
		add  uint64
		n    int64
		rest *sums // of this and those before
	}
	var choices []choice
	made := newSums()
	for ; adds != 0; adds &= adds - 1 {
		n := s.open[bits.TrailingZeros64(adds)]
		made = made.clone()
		made.add(n)
		choices = append(choices, choice{adds & -adds, n, made})
	}
	s.steps += len(choices)
	if !made.contain(difference) {
		return nil
	}
	var found []uint64
	var choose func(chosen uint64, left int, difference int64)
	choose = func(chosen uint64, left int, difference int64) {
		switch s.steps++; {
		case s.steps > s.most:
		case left == 0 && difference == 0:
			found = append(found, chosen)
		case left > 0 && choices[left-1].rest.contain(difference):
			c := choices[left-1]
			choose(chosen, left-1, difference)
			choose(chosen|c.add, left-1, difference-c.n)
		}
	}
	choose(0, len(choices), difference)
	return found
}

// satisfied returns a set with all open reads that want a sum.
func (s *search) satisfied(set uint64, sum int64) uint64 {
	for reads := s.reads; reads != 0; reads &= reads - 1 {
		if at := bits.TrailingZeros64(reads); s.open[at] == sum {
			set |= 1 << at
		}
	}
	return set
}

// sum returns what the counter is when a set has taken effect.
func (s *search) sum(set uint64) int64 {
	sum := s.base
	for adds := set &^ s.reads; adds != 0; adds &= adds - 1 {
		sum += s.open[bits.TrailingZeros64(adds)]
	}
	return sum
}
