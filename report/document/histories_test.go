package document

import (
	"math/rand/v2"
	"testing"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/report/document/documenttest"
)

func registerRun(tb testing.TB, calls int, seed uint64) *histories.History {
	tb.Helper()
	h, err := documenttest.Register(calls, seed)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func randomHistory(tb testing.TB, rng *rand.Rand, n int) *histories.History {
	tb.Helper()
	h, err := documenttest.Random(rng, n)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}
