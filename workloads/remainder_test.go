package workloads_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/hacheck/hacheck/workloads"
)

func TestRemainder(t *testing.T) {
	var r workloads.Remainder
	if n, unread, err := r.Unread(0); n != 0 || unread != nil || err != nil {
		t.Errorf("got %d, %v, %v of nothing", n, unread, err)
	}
	r.Holds("late", 5*time.Second)
	r.Holds("early", 0)
	r.Holds("late", 7*time.Second)
	r.Holds("late", 6*time.Second)
	r.Holds("again", 0)
	r.Read("late", 7*time.Second)
	r.Read("early", 3*time.Second)
	r.Read("again", 9*time.Second)
	r.Read("again", time.Second)
	r.Read("nothing there", 9*time.Second)
	for since, want := range map[time.Duration][]string{
		2 * time.Second: {"late"},
		3 * time.Second: {"late", "early"},
		9 * time.Second: {"late", "early", "again"},
	} {
		if n, unread, err := r.Unread(since); n != 3 || !reflect.DeepEqual(unread, want) || err != nil {
			t.Errorf("since %v: got %d, %v, %v; want %v", since, n, unread, err, want)
		}
	}
}
