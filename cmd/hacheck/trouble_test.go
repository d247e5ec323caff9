package main

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/hacheck/hacheck/internal/runner"
	"github.com/hacheck/hacheck/internal/store"
)

func TestTroubleSaysWhereTheLogsAre(t *testing.T) {
	n3 := &runner.NodeError{Node: "n3", Err: errors.New("it runs no process")}
	n4 := &runner.NodeError{Node: "n4", Err: errors.New("it runs no process")}
	tr := &trial{run: &store.Run{Dir: "store/x"}}
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("odd"), "odd"},
		{fmt.Errorf("start: %w", n3), "start: n3: it runs no process\nits log: store/x/nodes/n3/n3.log"},
		{
			fmt.Errorf("w: %w", errors.Join(errors.New("late"), n3, n4)),
			"w: late\nn3: it runs no process\nn4: it runs no process\ntheir logs: store/x/nodes/*/*.log",
		},
	} {
		if got := tr.explain(c.err); got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
	if got := troubled(errors.Join(n4, n3)); !slices.Equal(got, []string{"n4", "n3"}) {
		t.Errorf("got %v", got)
	}
}
