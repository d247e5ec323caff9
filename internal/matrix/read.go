package matrix

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v4"

	"github.com/hacheck/hacheck/internal/spelling"
)

// A reader goes through a file and gathers what is wrong with it. Its methods return a zero
// value for what is wrong, and have told it.
type reader struct {
	name   string
	known  Known
	faults []fault
}

// A fault is something that is wrong with a file.
type fault struct {
	line int
	text string
}

// fault tells that something is wrong, on one line, whatever a file has in its words.
func (r *reader) fault(line int, format string, args ...any) {
	text := strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, fmt.Sprintf(format, args...))
	r.faults = append(r.faults, fault{line, text})
}

// err returns all that is wrong, by line, each once; nil: nothing is.
func (r *reader) err() error {
	slices.SortFunc(r.faults, func(a, b fault) int {
		return cmp.Or(cmp.Compare(a.line, b.line), strings.Compare(a.text, b.text))
	})
	told := map[fault]bool{}
	var errs []error
	for _, f := range r.faults {
		if !told[f] && len(told) < maxErrors {
			errs = append(errs, fmt.Errorf("%s:%d: %s", r.name, f.line, f.text))
		}
		told[f] = true
	}
	if more := len(told) - len(errs); more > 0 {
		errs = append(errs, fmt.Errorf("%s: and %d more like these", r.name, more))
	}
	return errors.Join(errs...)
}

// strange tells of what YAML has and a plan has not: aliases, tags and merges. Other methods
// pass over what is wrong in this way, by [reader.plain].
func (r *reader) strange(root *yaml.Node) {
	var anchors []*yaml.Node
	used := map[*yaml.Node]bool{}
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		switch {
		case n.Kind == yaml.AliasNode:
			used[n.Alias] = true
			r.fault(n.Line, "*%s is an alias, and none is read; write out what stands on line %d, or, if it is of all rows, write it once above the matrix, in options or promises", n.Value, n.Alias.Line)
			return // what it stands for is gone through where it stands
		case n.Style&yaml.TaggedStyle != 0:
			r.fault(n.Line, "%s is a tag, and none is read; strike it out", cut(n.Tag))
		}
		if n.Anchor != "" {
			anchors = append(anchors, n)
		}
		for i, c := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 0 && c.ShortTag() == "!!merge" {
				r.fault(c.Line, "<< merges, which is not read; write the keys out, or, if they are of all rows, write them once above the matrix, in options or promises")
			}
			walk(c)
		}
	}
	walk(root)
	for _, n := range anchors {
		if !used[n] { // else it goes with its aliases
			r.fault(n.Line, "&%s is an anchor, and no alias is read; strike it out", cut(n.Anchor))
		}
	}
}

// plain says whether it is what it looks like: no alias, and nothing with a tag.
func (r *reader) plain(n *yaml.Node) bool {
	return n.Kind != yaml.AliasNode && n.Style&yaml.TaggedStyle == 0
}

// empty says whether there is no value, of what is plain.
func empty(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// form says what somebody wrote.
func form(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	}
	return strconv.Quote(cut(n.Value))
}

// cut returns the beginning of what may be as long as a file.
func cut(text string) string {
	const most = 60
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return text
}

// each calls for each key of a mapping with its value, if it is one and says something; what
// names it and example shows it. A key that stands twice is told, and its first value
// counts.
func (r *reader) each(n *yaml.Node, what, example string, do func(key, value *yaml.Node)) {
	switch {
	case !r.plain(n):
		return
	case empty(n):
		r.fault(n.Line, "%s has no value; write %s", what, example)
		return
	case n.Kind != yaml.MappingNode:
		r.fault(n.Line, "%s is no mapping, but %s; write %s", what, form(n), example)
		return
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case !r.plain(key) || key.ShortTag() == "!!merge":
		case key.Kind != yaml.ScalarNode:
			r.fault(key.Line, "%s is where a key of %s stands; a key is a word", form(key), what)
		case lines[key.Value] != 0:
			r.fault(key.Line, "%s stands twice, first on line %d; strike one out", cut(key.Value), lines[key.Value])
		default:
			lines[key.Value] = key.Line
			do(key, value)
		}
	}
}

// mapping returns the values of a mapping by key, of which there are those that are known.
func (r *reader) mapping(n *yaml.Node, what, example string, known ...string) map[string]*yaml.Node {
	values := map[string]*yaml.Node{}
	r.each(n, what, example, func(key, value *yaml.Node) {
		if !slices.Contains(known, key.Value) {
			hint := suggest(key.Value, known)
			switch {
			case slices.Contains(known, "matrix") && slices.Contains(rowKeys, key.Value):
				hint = "it stands in the rows of the matrix"
			case slices.Contains(known, "nemeses") && slices.Contains(planKeys, key.Value):
				hint = "it is of all rows, and stands above the matrix"
			}
			r.fault(key.Line, "unknown key %q of %s; %s", cut(key.Value), what, hint)
			return
		}
		values[key.Value] = value
	})
	return values
}

// suggest says what may have been meant, or what there is.
func suggest(name string, known []string) string {
	if near := spelling.Nearest(name, known); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return "there is " + strings.Join(known, ", ")
}

// items returns those of a list that is not empty.
func (r *reader) items(n *yaml.Node, what, example string) []*yaml.Node {
	switch {
	case !r.plain(n):
	case empty(n):
		r.fault(n.Line, "%s has no value; write a list such as %s", what, example)
	case n.Kind != yaml.SequenceNode:
		r.fault(n.Line, "%s is no list, but %s; write one such as %s", what, form(n), example)
	case len(n.Content) == 0:
		r.fault(n.Line, "%s is an empty list, and nothing would be run; write one such as %s", what, example)
	default:
		return n.Content
	}
	return nil
}

// scalar returns the text of a word or a number; false: it is none, which was told, with
// what to write.
func (r *reader) scalar(n *yaml.Node, what, write string) (string, bool) {
	switch {
	case !r.plain(n):
	case empty(n):
		r.fault(n.Line, "%s has no value; %s", what, write)
	case n.Kind != yaml.ScalarNode:
		r.fault(n.Line, "%s is %s; %s", what, form(n), write)
	default:
		return n.Value, true
	}
	return "", false
}

// quoted says whether a number stands in quotes, so that it is a text.
func quoted(n *yaml.Node) bool {
	return n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
}

// The notations of values. The schema has the same ones.
var (
	times  = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(us|ms|s|m|h))+$`)
	shares = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?%$`)
	number = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)
	whole  = regexp.MustCompile(`^[0-9]+$`)
)

// time reads a time that is more than none.
func (r *reader) time(n *yaml.Node, what, example string) time.Duration {
	write := "write a time such as " + example
	text, ok := r.scalar(n, what, write)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(text)
	switch {
	case number.MatchString(text):
		r.fault(n.Line, "%s: %s has no unit; write %[2]ss, %[2]sms or %[2]sm", what, cut(text))
	case !times.MatchString(text):
		r.fault(n.Line, "%s: %q is no time; write one such as %s, with the units us, ms, s, m, h", what, cut(text), example)
	case err == nil && d == 0:
		r.fault(n.Line, "%s: that is no time at all; %s, or strike it out", what, write)
	case err != nil || d > maxTime:
		r.fault(n.Line, "%s: %s is longer than 30 days; %s", what, cut(text), write)
	default:
		return d
	}
	return 0
}

// share reads a share of at most so many percent, and returns it as one of 1.
func (r *reader) share(n *yaml.Node, what string, most float64) float64 {
	text, ok := r.scalar(n, what, "write a share such as 99.5%")
	if !ok {
		return 0
	}
	digits := strings.TrimSuffix(text, "%")
	percent, err := strconv.ParseFloat(digits, 64)
	switch {
	case number.MatchString(text):
		r.fault(n.Line, "%s: %s has no unit; a share has a sign, as in 99.5%%", what, cut(text))
	case !shares.MatchString(text):
		r.fault(n.Line, "%s: %q is no share such as 99.5%%", what, cut(text))
	case err != nil || percent > most:
		r.fault(n.Line, "%s: %s is more than %v%%", what, cut(text), most)
	default:
		of1, _ := strconv.ParseFloat(digits+"e-2", 64) // 99.9/100 is a little more than what 99.9% of 1000 is
		return of1
	}
	return 0
}

// count reads a whole number within bounds.
func (r *reader) count(n *yaml.Node, what string, least, most int) int {
	text, ok := r.scalar(n, what, fmt.Sprintf("write a whole number from %d to %d", least, most))
	if !ok {
		return 0
	}
	got, err := strconv.Atoi(text)
	switch {
	case quoted(n) && err == nil:
		r.fault(n.Line, "%s: %q is a text; write it without quotes", what, cut(text))
	case err != nil || !whole.MatchString(text) || got < least || got > most:
		r.fault(n.Line, "%s: %q is no whole number from %d to %d", what, cut(text), least, most)
	default:
		return got
	}
	return 0
}

// choice reads one of a few words.
func (r *reader) choice(n *yaml.Node, what string, words ...string) string {
	write := "write " + strings.Join(words, " or ")
	text, ok := r.scalar(n, what, write)
	switch {
	case !ok:
	case quoted(n) && words[0] == "true":
		r.fault(n.Line, "%s: %q is a text; write it without quotes", what, cut(text))
	case !slices.Contains(words, text):
		r.fault(n.Line, "%s: %q is none of its values; %s", what, cut(text), write)
	default:
		return text
	}
	return ""
}
