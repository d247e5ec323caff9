package report

import (
	"strings"
	"unicode/utf8"
)

// width returns how many columns s takes up. NB: a column a rune, which is right
// for all that hacheck itself writes.
func width(s string) int { return utf8.RuneCountInString(s) }

func pad(s string, columns int) string {
	return s + strings.Repeat(" ", max(0, columns-width(s)))
}

// clip cuts s to columns; what is gone is marked.
func clip(s string, columns int) string {
	if width(s) <= columns {
		return s
	}
	return string([]rune(s)[:max(0, columns-1)]) + "…"
}

// Wrap breaks words into lines of at most columns. Only a word that is longer than
// a line is broken itself.
func Wrap(words string, columns int) []string {
	columns = max(columns, 1)
	var lines []string
	line := ""
	for _, word := range strings.Fields(words) {
		if line != "" && width(line)+1+width(word) > columns {
			lines = append(lines, line)
			line = ""
		}
		for letters := []rune(word); len(letters) > columns; letters = []rune(word) {
			lines = append(lines, string(letters[:columns]))
			word = string(letters[columns:])
		}
		line = join(line, word)
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
