package edn

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// number tells the kind of a number, and its spelling in JSON; EOF of what is none.
func number(b []byte, json bool) (Kind, []byte) {
	text := b
	if text[0] == '+' && !json {
		text = text[1:]
	}
	digits := bytes.TrimPrefix(text, []byte{'-'})
	i := 0
	for i < len(digits) && isDigit(digits[i]) {
		i++
	}
	whole, rest := digits[:i], digits[i:]
	switch {
	case len(rest) == 0 && len(whole) == 1, isDecimal(whole, rest):
		return Number, text
	case json:
		return EOF, nil
	case len(rest) == 1 && rest[0] == 'N' && isDecimal(whole, nil), len(rest) > 0 && rest[len(rest)-1] == 'M' && isDecimal(whole, rest[:len(rest)-1]):
		return Number, text[:len(text)-1]
	case len(rest) > 1 && rest[0] == '/' && isRun(rest[1:], isDigit),
		string(whole) == "0" && len(rest) > 1 && rest[0]|0x20 == 'x' && isRun(rest[1:], isHex),
		len(rest) > 1 && rest[0]|0x20 == 'r' && isRun(rest[1:], func(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' }):
		return Exact, b
	}
	return EOF, nil
}

// isDecimal says whether a number with these digits and this behind them is one of
// JSON's.
func isDecimal(whole, rest []byte) bool {
	if len(whole) == 0 || whole[0] == '0' && len(whole) > 1 {
		return false
	}
	if len(rest) > 0 && rest[0] == '.' {
		i := 1
		for i < len(rest) && isDigit(rest[i]) {
			i++
		}
		if i == 1 {
			return false
		}
		rest = rest[i:]
	}
	if len(rest) == 0 {
		return true
	}
	if rest[0]|0x20 != 'e' {
		return false
	}
	if rest = rest[1:]; len(rest) > 0 && (rest[0] == '+' || rest[0] == '-') {
		rest = rest[1:]
	}
	return isRun(rest, isDigit)
}

// isRun says whether all of b, and something, is in the set.
func isRun(b []byte, in func(byte) bool) bool {
	for _, c := range b {
		if !in(c) {
			return false
		}
	}
	return len(b) > 0
}

// characters are those that have names.
var characters = map[string]rune{
	"newline": '\n', "space": ' ', "tab": '\t', "return": '\r', "formfeed": '\f', "backspace": '\b',
}

// char returns the character that stands behind a backslash.
func char(name []byte) (rune, bool) {
	if c, n := utf8.DecodeRune(name); n == len(name) && c != utf8.RuneError {
		return c, true
	}
	if c, ok := characters[string(name)]; ok {
		return c, true
	}
	if len(name) == 5 && name[0] == 'u' && isRun(name[1:], isHex) {
		n, err := strconv.ParseUint(string(name[1:]), 16, 16)
		return rune(n), err == nil
	}
	return 0, false
}

// AppendJSON appends to dst, as JSON, the form that begins with t, and reads up to its
// end. Vectors, lists and sets become arrays, and maps objects, whose keys are texts.
// Keywords, symbols and characters become texts, and so do numbers that JSON cannot
// spell. Other numbers are spelt as they were, however large. Tags are dropped.
func (r *Reader) AppendJSON(dst []byte, t Token) ([]byte, error) {
	for t.Kind == Tag {
		var err error
		if t, err = r.Next(); err != nil {
			return dst, err
		}
	}
	switch t.Kind {
	case Nil:
		return append(dst, "null"...), nil
	case Bool, Number:
		return append(dst, t.Text...), nil
	case String:
		return appendText(dst, t.Text), nil
	case Char:
		c, _ := char(t.Text)
		return appendQuoted(dst, utf8.AppendRune(nil, c)), nil
	case Open:
		return r.appendCollection(dst, t)
	case EOF, Close:
		return dst, r.fail("want a value")
	case Exact, Keyword, Symbol, Tag:
	}
	return appendQuoted(dst, t.Text), nil
}

func (r *Reader) appendCollection(dst []byte, open Token) ([]byte, error) {
	isMap := open.Text[0] == '{'
	brackets := "[]"
	if isMap {
		brackets = "{}"
	}
	dst = append(dst, brackets[0])
	for n := 0; ; n++ {
		t, err := r.Next()
		switch {
		case err != nil:
			return dst, err
		case t.Kind == Close:
			return append(dst, brackets[1]), nil
		case isMap && n%2 == 1:
			dst = append(dst, ':')
		case n > 0:
			dst = append(dst, ',')
		}
		begin := len(dst)
		if dst, err = r.AppendJSON(dst, t); err != nil {
			return dst, err
		}
		if isMap && n%2 == 0 && dst[begin] != '"' {
			key := bytes.Clone(dst[begin:])
			dst = appendQuoted(dst[:begin], key)
		}
	}
}

const hexDigits = "0123456789abcdef"

// appendText appends a string token: its escapes are JSON's, but in EDN control
// characters may stand as they are.
func appendText(dst, text []byte) []byte {
	for _, c := range text {
		if c < 0x20 {
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// appendQuoted appends plain text as a JSON string.
func appendQuoted(dst, text []byte) []byte {
	dst = append(dst, '"')
	for _, c := range text {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\', c)
		} else {
			dst = appendText(dst, []byte{c})
		}
	}
	return append(dst, '"')
}
