package clock

import (
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestGainIsExactBeyond64Bits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		c := column{since: r.Int64N(1 << 62), delta: r.Int64N(1<<61) - 1<<60}
		now := c.since + r.Int64N(1<<r.IntN(55)+1)
		if r.IntN(4) == 0 { // realtime was set back
			now = c.since - r.Int64N(1<<r.IntN(55)+1)
		}
		c.drift = fixed(MinDrift + r.Float64()*math.Pow(2, float64(r.IntN(7)-3)))
		want := new(big.Int).Mul(big.NewInt(now-c.since), big.NewInt(c.drift))
		want.Rsh(want, 32).Add(want, big.NewInt(c.delta)) // Rsh rounds down too
		if got := c.at(now); !want.IsInt64() || got != want.Int64() {
			t.Fatalf("%+v at %d: got %d, want %v", c, now, got, want)
		}
	}
}

func TestPageIsAsTheHooksHaveIt(t *testing.T) {
	var p page
	for what, sizes := range map[string][2]uintptr{
		"ring":   {unsafe.Offsetof(p.ring), 128},
		"slot":   {unsafe.Sizeof(p.ring[0]), 128},
		"column": {unsafe.Sizeof(column{}), 24},
		"slots":  {uintptr(len(p.ring)), 32},
		"pages":  {(unsafe.Sizeof(p) + 4095) / 4096 * 4096, pageSize},
	} {
		if sizes[0] != sizes[1] {
			t.Errorf("%s: %d, and the hooks have %d", what, sizes[0], sizes[1])
		}
	}
	if ids[monotonic] != unix.CLOCK_MONOTONIC {
		t.Errorf("column %d is not that of the monotonic clock", monotonic)
	}
}

// TestOffsetsAreWhatThePageSays at every time of a ring of changes, also while one of them
// is published and not yet in force, and when the machine's clock was set back.
func TestOffsetsAreWhatThePageSays(t *testing.T) {
	var p page
	if got := p.at(realtime, 1<<60); got != 0 {
		t.Errorf("a clock that nobody has set is off by %d", got)
	}
	const changes = 100
	for i := range uint64(changes) {
		p.ring[(i+1)%32].columns[realtime] = column{since: 1000 * int64(i+1), delta: int64(i + 1), drift: fixed(1)}
		p.published.Store(i + 1)
	}
	for now, want := range map[int64]int64{
		1000 * changes:          changes,
		1000*changes + 7:        changes + 7,
		1000*changes - 1:        changes - 1 + 999,
		1000 * (changes - 30):   changes - 30,
		1000*(changes-30) - 500: changes - 30 - 500, // before the oldest that counts
	} {
		if got := p.at(realtime, now); got != want {
			t.Errorf("at %d it is off by %d, want %d", now, got, want)
		}
	}
}

func TestOffsetsFollowSet(t *testing.T) {
	c, err := New()
	if err != nil {
		t.Fatal(err)
	}
	off := func() Offsets {
		t.Helper()
		o, err := c.Offsets()
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	if o := off(); o != (Offsets{}) {
		t.Errorf("a clock that nobody has set is off by %+v", o)
	}
	for _, w := range []Warp{{Offset: time.Hour}, {Offset: -time.Hour, Drift: 1, MonotonicDrift: 2}} {
		if err := c.Set(w); err != nil {
			t.Fatal(err)
		}
		if o := off(); o.Within != 0 || o.Realtime < w.Offset || w.Drift == 0 && o != (Offsets{Realtime: w.Offset}) {
			t.Errorf("set to %+v it is off by %+v", w, o)
		}
	}
	before := off()
	if err := c.Set(Warp{}); err != nil { // which lasts a millisecond, in which it gains two
		t.Fatal(err)
	}
	if o := off(); o.Realtime != 0 || o.Monotonic <= before.Monotonic || o != off() {
		t.Errorf("off by %+v before, it is set right and off by %+v", before, o)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if o, err := c.Offsets(); err == nil {
		t.Errorf("a closed clock is off by %+v", o)
	}
}

func TestWarpsThatCannotBe(t *testing.T) {
	c, err := New()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []Warp{
		{Offset: MaxOffset + 1}, {Offset: math.MinInt64}, {Drift: -1}, {MonotonicDrift: -1}, {MonotonicDrift: MaxDrift + 1},
		{Drift: math.NaN()}, {MonotonicDrift: math.Inf(1)},
	} {
		if err := c.Set(w); err == nil {
			t.Errorf("clocks were made to differ by %+v", w)
		}
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := c.Set(Warp{}); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a closed clock was set: %v", err)
	}
	if _, err := c.Reaches("/proc/self"); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a closed clock reaches somebody: %v", err)
	}
}

// BenchmarkSet changes a clock that others may read. Nearly all of it is waiting
// until the change is in force.
func BenchmarkSet(b *testing.B) {
	c, err := New()
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for b.Loop() {
		if err := c.Set(Warp{Offset: time.Hour}); err != nil {
			b.Fatal(err)
		}
	}
}
