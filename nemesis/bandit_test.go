package nemesis

import (
	"testing"
)

func TestBanditTriesAllAndThenWhatPays(t *testing.T) {
	for seed := range uint64(20) {
		r := drawing(seed)
		b := newBandit(5)
		counts := make([]int, 5)
		for i := range 300 {
			arm := b.choose(r, nil)
			counts[arm]++
			if i == 4 {
				for a, n := range counts {
					if n != 1 {
						t.Fatalf("seed %d: arm %d was tried %d times in the first five", seed, a, n)
					}
				}
			}
			pay := 0.1
			if arm == 2 {
				pay = 0.8
			}
			b.pay(arm, pay)
		}
		for a, n := range counts {
			if a != 2 && (n > counts[2]/2 || n < 5) {
				t.Errorf("seed %d: got %v: the second pays most, and none is given up for good", seed, counts)
			}
		}
	}
}

func TestBanditForgets(t *testing.T) {
	r := drawing(1)
	b := newBandit(2)
	late := 0
	for i := range 400 {
		arm := b.choose(r, nil)
		pay := 0.0
		if arm == 0 == (i < 200) {
			pay = 0.8
		}
		b.pay(arm, pay)
		if i >= 300 && arm == 1 {
			late++
		}
	}
	if late < 60 {
		t.Errorf("the arm that has come to pay is chosen %d times of 100", late)
	}
}

func TestRewardGrowsWithWhatIsNew(t *testing.T) {
	last := -1.0
	for fresh := range 100 {
		r := reward(fresh)
		if r <= last || r < 0 || r >= 1 {
			t.Errorf("%d new states are worth %v, one less %v", fresh, r, last)
		}
		last = r
	}
	if reward(0) != 0 {
		t.Error("nothing new is worth something")
	}
}
