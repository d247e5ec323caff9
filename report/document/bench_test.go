package document

import (
	"fmt"
	"testing"
)

// BenchmarkOps packs a run of register. B/call is what a page is larger by for a call.
func BenchmarkOps(b *testing.B) {
	for _, calls := range []int{10_000, 1_000_000} {
		h := registerRun(b, calls, 1)
		b.Run(fmt.Sprintf("calls=%d", calls), func(b *testing.B) {
			b.ReportAllocs()
			var size, n int
			for b.Loop() {
				x, data, err := index(b.Context(), h, nil, 1<<30, nil)
				if err != nil || x.Left != "" {
					b.Fatal(err, x.Left)
				}
				size, n = len(data), x.Calls
			}
			b.ReportMetric(float64(size)/float64(n), "B/call")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/call")
		})
	}
}
