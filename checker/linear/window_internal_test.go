package linear

import "testing"

// TestMemoForgetsAheadAndNotBehind: on the way the memo holds what lies close; from the
// first time that the search goes back to what it has forgotten, all.
func TestMemoForgetsAheadAndNotBehind(t *testing.T) {
	const n = 4 * forgetful
	p := Problem[int]{Starts: []int{0}}
	for i := range Time(n) { // writes, the first two at once, and then one by one
		p.Call, p.Return = append(p.Call, 2*i), append(p.Return, 2*i+1)
	}
	p.Return[0] = p.Call[1]
	end := Time(2 * n)
	p.Call, p.Return = append(p.Call, end), append(p.Return, end)
	last := 0 // that the state says, by its sign, of the first two
	p.Step = func(s int, op int32) (int, bool) {
		switch {
		case op == n:
			return s, last == 0 || s*last > 0
		case op == 0:
			return 1, true
		case op == 1:
			return -1, true
		case s > 0:
			return int(op), true
		}
		return -int(op), true
	}
	for _, want := range []struct {
		last  int
		all   bool
		nodes int
	}{{-1, false, 2 * forgetful}, {1, true, n}} {
		last = want.last
		w := newWindow(p, nil)
		if v := w.search(0); v != Linearizable {
			t.Fatal(v)
		}
		if w.forgotten < 0 || w.all != want.all {
			t.Errorf("%+v: it has forgotten what lies before %d, and remembers all: %v", want, w.forgotten, w.all)
		}
		if nodes := len(w.memo.nodes) + len(w.old.nodes); want.all != (nodes >= want.nodes) {
			t.Errorf("%+v: it holds %d nodes", want, nodes)
		}
	}
}
