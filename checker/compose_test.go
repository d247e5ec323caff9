package checker_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
)

func says(v checker.Verdict) checker.Checker {
	return checker.Func(func(context.Context, *histories.History) (checker.Result, error) {
		return checker.Result{Verdict: v}, nil
	})
}

func TestOnePartsTroubleIsItsOwn(t *testing.T) {
	fails := checker.Func(func(context.Context, *histories.History) (checker.Result, error) {
		return checker.Result{Verdict: checker.Valid}, errors.New("no idea")
	})
	panics := checker.Func(func(context.Context, *histories.History) (checker.Result, error) {
		panic("index out of range")
	})
	c := checker.Compose("all",
		checker.Part{Name: "fine", Checker: says(checker.Valid)},
		checker.Part{Name: "fails", Checker: fails},
		checker.Part{Name: "panics", Checker: panics},
		checker.Part{Name: "bad", Checker: says(checker.Invalid)},
		checker.Part{Name: "last", Checker: says(checker.Valid)},
	)
	r, err := c.Check(t.Context(), parse(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	const want = `all: invalid (invalid: bad)
  fine: valid ()
  fails: unknown (no idea)
  panics: unknown (panicked: index out of range)
  bad: invalid ()
  last: valid ()
`
	if got := checkertest.Format(r); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	var stack bytes.Buffer
	if err := r.Parts[2].Artifacts["panic-panics.txt"](&stack); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(stack.String(), "compose_test.go") {
		t.Errorf("the stack does not lead to the panic:\n%s", &stack)
	}
}

func TestNothingCheckedIsUnknown(t *testing.T) {
	r, err := checker.Compose("all").Check(t.Context(), parse(t, ""))
	if err != nil || r.Verdict != checker.Unknown {
		t.Errorf("got %v, %v", r.Verdict, err)
	}
}

func parse(t *testing.T, text string) *histories.History {
	t.Helper()
	h, err := checkertest.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return h
}
