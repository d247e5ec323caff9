package report

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// Printable returns s without what is not for eyes, each such character replaced by one that
// shows that it was there: control characters by their pictures, bytes that are no UTF-8,
// marks that turn the direction of text, and what no XML may have, by U+FFFD. Tabs and ends
// of lines stay.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r < ' ':
			return '␀' + r
		case r == 0x7f:
			return '␡'
		case r >= 0x80 && r < 0xa0, // control characters, too, without pictures
			r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069,
			r == 0xfffe, r == 0xffff:
			return utf8.RuneError
		}
		return r
	}, s)
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:,=@%+-]+$`)

// Quote returns words as a shell takes them, each for one of its own.
func Quote(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		if quoted[i] = w; !plainWord.MatchString(w) {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}
