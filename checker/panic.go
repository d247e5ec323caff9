package checker

import (
	"fmt"
	"io"
)

// panicked is the error of code that panicked while judging. A bug in a checker
// or a model must neither end hacheck nor pass for a verdict.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panicked: %v", p.value) }

// artifact is the text that a programmer wants to see.
func (p *panicked) artifact(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%v\n\n%s", p.value, p.stack)
	return err
}
