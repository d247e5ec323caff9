package checker

import (
	"context"
	"errors"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/hacheck/hacheck/histories"
)

// A Part is a checker with its name in a composition.
type Part struct {
	Name string
	Checker
	// Coverage says that it asks whether the run tried enough, and proves no anomaly.
	// While the run goes on nobody asks.
	Coverage bool
}

// Compose returns a checker that runs parts side by side and gives their results
// in the order of parts, under their names. One part's trouble is its own: an
// error or a panic makes that part Unknown and leaves the others standing.
func Compose(name string, parts ...Part) Checker { return &composition{name, parts} }

type composition struct {
	name  string
	parts []Part
}

func (c *composition) Check(ctx context.Context, h *histories.History) (Result, error) {
	result := Result{Name: c.name, Parts: make([]Result, len(c.parts))}
	var running sync.WaitGroup
	free := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, part := range c.parts {
		free <- struct{}{}
		running.Go(func() {
			defer func() { <-free }()
			result.Parts[i] = part.guarded(ctx, h)
		})
	}
	running.Wait()
	result.Verdict, result.Note = summary(result.Parts)
	return result, nil
}

// proving returns c without the parts that prove nothing.
func (c *composition) proving() Checker {
	return &composition{c.name, slices.DeleteFunc(slices.Clone(c.parts), func(p Part) bool { return p.Coverage })}
}

// guarded returns what the part finds, or Unknown if it fails to tell.
func (p Part) guarded(ctx context.Context, h *histories.History) (result Result) {
	defer func() {
		if r := recover(); r != nil {
			result = failed(p.Name, &panicked{r, debug.Stack()})
		}
	}()
	result, err := p.Check(ctx, h)
	if err != nil {
		return failed(p.Name, err)
	}
	result.Name = p.Name
	return result
}

// failed returns the result of a checker that could not judge.
func failed(name string, err error) Result {
	result := Result{Name: name, Note: err.Error()}
	if p, ok := errors.AsType[*panicked](err); ok {
		result.Artifacts = map[string]func(io.Writer) error{fileName("panic", name) + ".txt": p.artifact}
	}
	return result
}

// summary returns the verdict over parts, and which of them decided it.
func summary(parts []Result) (Verdict, string) {
	if len(parts) == 0 {
		return Unknown, "nothing was checked"
	}
	verdict := Valid
	for _, p := range parts {
		verdict = verdict.And(p.Verdict)
	}
	var names []string
	for _, p := range parts {
		if p.Verdict == verdict {
			names = append(names, p.Name)
		}
	}
	return verdict, verdict.String() + ": " + strings.Join(names, ", ")
}
