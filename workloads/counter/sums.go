package counter

import (
	"math/big"
)

// maxSpan bounds how far apart the sums are that are told from each other. Where
// they may be farther apart, only the least and the greatest are known.
const maxSpan = 1 << 17

// sums are the sums that subsets of some numbers make, the empty one's 0 included.
type sums struct {
	lo, hi int64
	bits   *big.Int // bit i: lo+i is one of them; nil if there may be too many
}

func newSums() *sums { return &sums{bits: big.NewInt(1)} }

func (s *sums) clone() *sums {
	c := *s
	if s.bits != nil {
		c.bits = new(big.Int).Set(s.bits)
	}
	return &c
}

// add adds a number to those of which subsets are made.
func (s *sums) add(n int64) {
	s.lo += min(n, 0)
	s.hi += max(n, 0)
	if s.bits == nil || s.hi-s.lo > maxSpan {
		s.bits = nil
		return
	}
	// With a negative number lo moves, too: then what is shifted are the old sums.
	s.bits.Or(s.bits, new(big.Int).Lsh(s.bits, uint(max(n, -n))))
}

// exact says whether contain is.
func (s *sums) exact() bool { return s.bits != nil }

// contain says whether sum is one of them; it may be, if they are not exact.
func (s *sums) contain(sum int64) bool {
	if sum < s.lo || sum > s.hi {
		return false
	}
	return s.bits == nil || s.bits.Bit(int(sum-s.lo)) == 1
}
