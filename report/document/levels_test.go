package document

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// TestLevelsCount compares with counting, column by column, what lies in it.
func TestLevelsCount(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 2))
		h := randomHistory(t, rng, 1+rng.IntN(1500))
		x, data, err := index(t.Context(), h, nil, math.MaxInt, nil)
		if err != nil {
			t.Fatal(err)
		}
		ops, err := unpackOps(x, unitOf(h), data)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range x.Levels {
			cells, err := inflate(data[:l.Bytes])
			if err != nil {
				t.Fatal(err)
			}
			data = data[l.Bytes:]
			counts := make([]int, len(cells))
			count := func(lane int, t histories.Type, from, to Time) {
				if lane < 0 {
					return
				}
				if lane = min(lane, len(l.Lanes)-1); t == histories.Event {
					t = histories.OK
				}
				for c := from / l.Width; c <= to/l.Width; c++ {
					counts[(int(t-histories.OK)*len(l.Lanes)+lane)*l.Columns+int(c)]++
				}
			}
			for i, op := range ops {
				begin, typ, from, to := op, op.Type, unitOf(h).of(op.Time), unitOf(h).of(op.Time)
				switch {
				case op.Type == histories.Invoke && h.Pair(i) >= 0:
					continue
				case op.Type == histories.Invoke:
					typ, to = histories.Info, unitOf(h).of(h.Duration())
				case op.Type != histories.Event:
					begin = ops[op.pair]
					from = unitOf(h).of(begin.Time)
				}
				switch l.By {
				case "process":
					count(op.row, typ, from, to)
				case "key":
					lane := int(begin.key)
					if lane >= 0 {
						lane = slices.Index(l.Lanes, x.Keys[lane])
						if lane < 0 {
							lane = len(l.Lanes) - 1
						}
					}
					count(lane, typ, from, to)
				case "node":
					node := op.node
					if node < 0 {
						node = begin.node
					}
					count(int(node), typ, from, to)
				}
			}
			for i, n := range counts {
				if cells[i] != shade(n) {
					t.Fatalf("seed %d: cell %d by %s: %d calls are %d, not %d", seed, i, l.By, n, shade(n), cells[i])
				}
			}
		}
	}
}

// A process that has died, or does nothing any more, gives its row to the next one.
func TestRowsAreGivenAgain(t *testing.T) {
	var ops []histories.Op
	add := func(p histories.Process, t histories.Type) {
		ops = append(ops, histories.Op{Index: len(ops), Time: time.Duration(len(ops)) * time.Millisecond, Process: p, Type: t, F: "f"})
	}
	add(5, histories.Invoke)
	add(3, histories.Invoke)
	add(5, histories.Info)
	add(8, histories.Invoke) // in the row of 5
	add(9, histories.Invoke) // in one of its own
	add(3, histories.OK)
	add(histories.Observer, histories.Event)
	add(3, histories.Invoke)
	add(3, histories.Fail)
	add(11, histories.Invoke) // in that of 3
	add(histories.Nemesis, histories.Invoke)
	h, err := histories.FromOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	x, data, err := index(t.Context(), h, nil, math.MaxInt, nil)
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := unpackOps(x, unitOf(h), data)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[histories.Process]int{}
	for _, op := range unpacked {
		rows[op.Process] = op.row
	}
	want := map[histories.Process]int{histories.Nemesis: 0, histories.Observer: 1, 5: 2, 3: 3, 8: 2, 9: 4, 11: 3}
	if fmt.Sprint(rows) != fmt.Sprint(want) {
		t.Errorf("rows: got %v, want %v", rows, want)
	}
	if got, want := fmt.Sprintf("%q", x.Levels[0].Lanes), `["nemesis" "observer" "5, 8" "3, 11" "9"]`; got != want {
		t.Errorf("lanes: got %s, want %s", got, want)
	}
}
