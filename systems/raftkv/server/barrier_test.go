package server

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestReadsShareTheNextEntryNotTheOneUnderWay: a read must not be answered by an
// entry whose place was taken before the read began.
func TestReadsShareTheNextEntryNotTheOneUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := uint64(0)
		finish := make(chan error)
		b := &barrier{pass: func(context.Context) (position, error) {
			begun++
			at := position{index: begun}
			return at, <-finish
		}}
		got := make(chan uint64, 10)
		read := func() {
			at, err := b.wait(t.Context(), t.Context())
			if err != nil {
				at.index = 1000
			}
			got <- at.index
		}
		expect := func(want uint64, times int) {
			t.Helper()
			for range times {
				if index := <-got; index != want {
					t.Errorf("a read was answered by entry %d, want %d", index, want)
				}
			}
		}
		go read()
		synctest.Wait()
		for range 3 {
			go read()
		}
		synctest.Wait()
		finish <- nil
		expect(1, 1)
		synctest.Wait()
		go read()
		synctest.Wait()
		finish <- nil
		expect(2, 3)
		finish <- errors.New("deposed")
		expect(1000, 1)
		if begun != 3 {
			t.Errorf("%d entries, want 3", begun)
		}
	})
}

func TestReadThatGivesUpHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		finish := make(chan struct{})
		b := &barrier{pass: func(context.Context) (position, error) { <-finish; return position{index: 1}, nil }}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.wait(ctx, t.Context()); classify(err).Definite {
			t.Errorf("got %v", err)
		}
		close(finish)
		if at, err := b.wait(t.Context(), t.Context()); err != nil || at.index != 1 {
			t.Errorf("the next read: %v, %v", at, err)
		}
	})
}
