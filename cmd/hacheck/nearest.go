package main

import (
	"fmt"
	"strings"

	"github.com/hacheck/hacheck/internal/spelling"
)

// suggest says what may have been meant by name, of names. all is the command
// that shows them; if empty they are named.
func suggest(name string, names []string, all string) string {
	if near := spelling.Nearest(name, names); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	if all != "" {
		return all + " shows all"
	}
	return "there is " + enumerate(names)
}

// enumerate returns "a, b and c".
func enumerate(names []string) string {
	if last := len(names) - 1; last > 0 {
		return strings.Join(names[:last], ", ") + " and " + names[last]
	}
	return strings.Join(names, "")
}
