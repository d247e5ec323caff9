package register

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// chosen is a source of randomness that is none: its numbers are the fuzzer's.
type chosen struct {
	bytes []byte
	n     uint64
}

func (c *chosen) Uint64() uint64 {
	var b [8]byte
	n := copy(b[:], c.bytes)
	c.bytes = c.bytes[n:]
	c.n++ // or what draws until it likes a number would do so for ever
	// The upper bits are what small numbers are made of.
	return (binary.LittleEndian.Uint64(b[:]) + c.n) * 0x9e3779b97f4a7c15
}

// FuzzVerdict: from the text of a history to its verdict, which is that of brute force.
func FuzzVerdict(f *testing.F) {
	f.Add([]byte("a few numbers"))
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz"))
	f.Fuzz(func(t *testing.T, numbers []byte) {
		h := history(t, randomCalls(rand.New(&chosen{bytes: numbers})), same, "x")
		calls := relevant(t, h)
		if !slices.ContainsFunc(calls, func(c call) bool { return c.Type != histories.Info }) {
			return // nothing is known
		}
		want := checker.Invalid
		if linearizable(Absent, calls) {
			want = checker.Valid
		}
		if r := judged(t, h); r.Verdict != want {
			t.Errorf("got %v, want %v: %s", r.Verdict, want, r.Note)
		}
	})
}
