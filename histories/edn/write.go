package edn

import (
	"bytes"
	"errors"
)

// Append appends a JSON value as EDN: arrays as vectors, objects as maps, whose keys are
// keywords where they can be. What [Reader.AppendJSON] makes of it is the value again,
// but for white space and the spelling of strings.
//
// In vectors that lie heads deep, counted from 1, the first element names what the rest
// is for, as in [:append "x" 1], and is written as a keyword; 0 is for no such vectors.
func Append(dst []byte, json []byte, heads int) ([]byte, error) {
	p := printer{r: NewBytes(json, JSON), heads: heads}
	t, err := p.r.Next()
	if err != nil {
		return dst, err
	}
	if dst, err = p.form(dst, t, 0); err != nil {
		return dst, err
	}
	if t, err = p.r.Next(); err == nil && t.Kind != EOF {
		err = errors.New("text after the value")
	}
	return dst, err
}

type printer struct {
	r     *Reader
	heads int
}

func (p *printer) form(dst []byte, t Token, depth int) ([]byte, error) {
	switch t.Kind {
	case Nil:
		return append(dst, "nil"...), nil
	case Number:
		dst = append(dst, t.Text...)
		if len(t.Text) > 18 && isRun(bytes.TrimPrefix(t.Text, []byte{'-'}), isDigit) {
			dst = append(dst, 'N') // it may take more than 64 bits
		}
		return dst, nil
	case String:
		return appendString(dst, t.Text), nil
	case Open:
		return p.collection(dst, t, depth+1)
	case EOF, Close:
		return dst, errors.New("no value")
	case Bool, Exact, Char, Keyword, Symbol, Tag:
	}
	return append(dst, t.Text...), nil
}

func (p *printer) collection(dst []byte, open Token, depth int) ([]byte, error) {
	isMap := open.Text[0] == '{'
	dst = append(dst, open.Text...)
	for n := 0; ; n++ {
		t, err := p.r.Next()
		switch {
		case err != nil:
			return dst, err
		case t.Kind == Close:
			return append(dst, t.Text...), nil
		case isMap && n%2 == 0 && n > 0:
			dst = append(dst, ',', ' ')
		case n > 0:
			dst = append(dst, ' ')
		}
		named := isMap && n%2 == 0 || !isMap && n == 0 && depth == p.heads
		if named && t.Kind == String {
			dst = AppendName(dst, t.Text)
			continue
		}
		if dst, err = p.form(dst, t, depth); err != nil {
			return dst, err
		}
	}
}

// appendString appends a string of JSON, all of whose escapes but one are EDN's, too.
func appendString(dst, text []byte) []byte {
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' {
			if i++; text[i] != '/' {
				dst = append(dst, '\\')
			}
		}
		dst = append(dst, text[i])
	}
	return dst
}

// AppendName appends a name as a keyword, or as a string if it can be none; that is a
// string of JSON.
func AppendName(dst, name []byte) []byte {
	if text := name[1 : len(name)-1]; isName(text) {
		return append(append(dst, ':'), text...)
	}
	return appendString(dst, name)
}

// isName says whether a text can be a keyword that any reader takes.
func isName(b []byte) bool {
	for i, c := range b {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_'
		if !letter && (i == 0 || !isDigit(c) && c != '-' && c != '?' && c != '!') {
			return false
		}
	}
	return len(b) > 0
}
