// Package spelling finds out what somebody may have meant who misspelled a name.
package spelling

import (
	"strings"
	"unicode/utf8"
)

// Nearest returns the one of names that begins with name, or else the one that takes the
// fewest edits to become it, or "" if that is most of it.
func Nearest(name string, names []string) string {
	for _, n := range names {
		if len(name) > 1 && strings.HasPrefix(n, name) {
			return n
		}
	}
	long := utf8.RuneCountInString(name)
	best, fewest := "", long/2+1
	for _, n := range names {
		if long-utf8.RuneCountInString(n) >= fewest {
			continue // so many letters are too many: what is a megabyte long is not gone through
		}
		if d := distance(strings.ToLower(name), strings.ToLower(n)); d < fewest {
			best, fewest = n, d
		}
	}
	return best
}

// distance is how many letters must be inserted, deleted, replaced, or swapped
// with their neighbour to make b of a.
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	d := make([][]int, len(s)+1) // d[i][j]: for the first i of s and j of t
	for i := range d {
		d[i] = make([]int, len(t)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(s); i++ {
		for j := 1; j <= len(t); j++ {
			change := 1
			if s[i-1] == t[j-1] {
				change = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+change)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(s)][len(t)]
}
