// Package edn reads and writes the notation of Clojure's data, as far as it says the
// same as JSON (https://github.com/edn-format/edn). That is what Jepsen writes histories
// in.
//
// A [Reader] takes a text of any length apart, form by form, and gives each as JSON. It
// reads JSON, too, which is nearly a part of EDN: the grammars differ in what stands
// between forms, and in the spelling of null.
package edn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// A Kind is what a token is.
type Kind uint8

// The kinds of tokens.
const (
	EOF     Kind = iota // nothing follows
	Nil                 // nil, or null
	Bool                // true or false
	Number              // as JSON may spell it: 12, -0.5e3
	Exact               // a number that JSON has no spelling for: 1/3, 0x1F, 36rZZ
	String              // between quotes, escapes as they stand
	Char                // \a, without the backslash
	Keyword             // :a/b, without the colon
	Symbol              // a/b
	Tag                 // #a/b, without the hash; a form follows
	Open                // (, [, { or #{
	Close               // ), ] or }
)

// A Token is the smallest part of a text. Its Text is good until the next is asked for.
type Token struct {
	Kind         Kind
	Text         []byte
	Line, Column int // where it begins, from 1; columns are bytes
}

// An Error says what is wrong with a text, and where.
type Error struct {
	Line, Column int
	Reason       string
	// Truncated says that more text could have made it right.
	Truncated bool
}

func (e *Error) Error() string {
	return fmt.Sprintf("line %d: column %d: %s", e.Line, e.Column, e.Reason)
}

// A Syntax is what a [Reader] reads.
type Syntax uint8

// The syntaxes.
const (
	EDN  Syntax = iota
	JSON        // several values may stand in a row
)

// maxDepth bounds nesting, as encoding/json does.
const maxDepth = 1000

// A Reader takes a text apart. It checks that brackets match, that maps have a value for
// each key and, of JSON, that commas and colons stand where they must.
type Reader struct {
	src    io.Reader // nil if all is in buf
	err    error     // of src, io.EOF too
	buf    []byte
	pos    int // what is before it has been read
	start  int // of the token, before which buf is done with
	line   int
	margin int    // where in buf the line begins: may be negative
	at     [2]int // line and column of the token
	json   bool
	stack  []frame
	tagged bool // the last token was a tag
	skips  int  // forms being passed over, one in front of the other
}

// A frame is a collection that is open, or the text itself.
type frame struct {
	open  byte
	forms int
}

// NewReader returns a reader of src.
func NewReader(src io.Reader, syntax Syntax) *Reader {
	return &Reader{src: src, buf: make([]byte, 0, 64<<10), line: 1, json: syntax == JSON, stack: make([]frame, 1, 8)}
}

// Reset makes a reader of the text in b alone, which it does not change.
func (r *Reader) Reset(b []byte) {
	r.src, r.err, r.buf = nil, io.EOF, b
	r.pos, r.start, r.line, r.margin, r.tagged, r.skips = 0, 0, 1, 0, false, 0
	r.stack = append(r.stack[:0], frame{})
}

// NewBytes returns a reader of the text in b.
func NewBytes(b []byte, syntax Syntax) *Reader {
	r := &Reader{json: syntax == JSON}
	r.Reset(b)
	return r
}

// Rest returns what of the text in memory has not been read.
func (r *Reader) Rest() []byte { return r.buf[r.pos:] }

// more gets more of the text, behind what there is; false if nothing follows.
func (r *Reader) more() bool {
	for r.err == nil {
		if r.start > 0 {
			n := copy(r.buf, r.buf[r.start:])
			r.buf, r.pos, r.margin, r.start = r.buf[:n], r.pos-r.start, r.margin-r.start, 0
		}
		if len(r.buf) > cap(r.buf)/2 { // a long token: reading little by little would be quadratic
			r.buf = append(make([]byte, 0, 2*cap(r.buf)), r.buf...)
		}
		n, err := r.src.Read(r.buf[len(r.buf):cap(r.buf)])
		r.buf, r.err = r.buf[:len(r.buf)+n], err
		if n > 0 {
			return true
		}
	}
	return false
}

// peek returns the next byte; false if there is none.
func (r *Reader) peek() (byte, bool) {
	if r.pos < len(r.buf) || r.more() {
		return r.buf[r.pos], true
	}
	return 0, false
}

// fail returns an error at the token that has begun.
func (r *Reader) fail(format string, args ...any) error {
	return &Error{Line: r.at[0], Column: r.at[1], Reason: fmt.Sprintf(format, args...)}
}

// broken returns the error of a token that has no end, or a wrong one: at the end of the
// text it may only have been cut.
func (r *Reader) broken(format string, args ...any) error {
	if _, ok := r.peek(); !ok {
		return r.truncated()
	}
	return r.fail(format, args...)
}

func (r *Reader) truncated() error {
	if !errors.Is(r.err, io.EOF) {
		return fmt.Errorf("line %d: %w", r.line, r.err)
	}
	return &Error{Line: r.line, Column: r.pos - r.margin + 1, Reason: "ends in the middle", Truncated: true}
}

// Next returns the next token. Comments and what is discarded are passed over.
func (r *Reader) Next() (Token, error) {
	var before byte // the comma or colon before the token, or 'x' for several
	for {
		r.start = r.pos
		r.at = [2]int{r.line, r.pos - r.margin + 1}
		c, ok := r.peek()
		if !ok {
			return r.eof(before)
		}
		switch {
		case c == '\n':
			r.pos++
			r.line++
			r.margin = r.pos
		case c == ' ' || c == '\t' || c == '\r':
			r.pos++
		case !r.json && (c == ',' || c == '\f'):
			r.pos++
		case r.json && (c == ',' || c == ':'):
			if r.pos++; before != 0 {
				c = 'x'
			}
			before = c
		case !r.json && c == ';':
			for ok && c != '\n' {
				r.pos++
				r.start = r.pos
				c, ok = r.peek()
			}
		default:
			t, again, err := r.token(c)
			if err == nil && !again {
				err = r.place(t, before)
			}
			if err != nil || !again {
				return t, err
			}
		}
	}
}

func (r *Reader) eof(before byte) (Token, error) {
	if !errors.Is(r.err, io.EOF) || len(r.stack) > 1 || r.tagged {
		return Token{}, r.truncated()
	}
	if before != 0 {
		return Token{}, r.fail("nothing follows %q", before)
	}
	return Token{Kind: EOF, Line: r.at[0], Column: r.at[1]}, nil
}

// token reads the token that begins with c. again says that there was none, only
// something to be passed over.
func (r *Reader) token(c byte) (t Token, again bool, err error) {
	t = Token{Line: r.at[0], Column: r.at[1]}
	if r.json && bytes.IndexByte([]byte(`()#\^`), c) >= 0 {
		return t, false, r.fail("want a value, got %q", c)
	}
	r.pos++
	switch c {
	case '(', '[', '{':
		t.Kind = Open
	case ')', ']', '}':
		t.Kind = Close
	case '"':
		t.Kind = String
		err = r.text()
	case '#':
		return r.dispatch(t)
	case '\\':
		t.Kind = Char
		if err = r.char(); err == nil {
			t.Text = r.buf[r.start+1 : r.pos]
		}
		return t, false, err
	case '^': // metadata says nothing of what it stands before
		return t, true, r.skip()
	default:
		return r.atom(t)
	}
	t.Text = r.buf[r.start:r.pos]
	return t, false, err
}

// dispatch reads what begins with a hash.
func (r *Reader) dispatch(t Token) (Token, bool, error) {
	c, ok := r.peek()
	switch {
	case !ok:
		return t, false, r.truncated()
	case c == '{':
		r.pos++
		t.Kind, t.Text = Open, r.buf[r.start:r.pos]
		return t, false, nil
	case c == '_':
		r.pos++
		return t, true, r.skip()
	case c == '#': // ##Inf, ##NaN
		r.pos++
		r.run()
		t.Kind, t.Text = Symbol, r.buf[r.start:r.pos]
		return t, false, nil
	}
	r.run()
	t.Kind, t.Text = Tag, r.buf[r.start+1:r.pos]
	if len(t.Text) == 0 {
		return t, false, r.fail("want a tag or a set after '#', got %q", c)
	}
	return t, false, nil
}

// place puts the token into the collection that is open, if it may stand there.
func (r *Reader) place(t Token, before byte) error {
	top := &r.stack[len(r.stack)-1]
	bounded := t.Kind == Open || t.Kind == Close || t.Kind == String
	if !bounded && len(r.stack) > 1 && r.pos == len(r.buf) && r.err != nil {
		return r.truncated() // there may be more of it, that means something else
	}
	if t.Kind == Close {
		switch {
		case r.tagged:
			return r.fail("want what is tagged, got %q", t.Text)
		case len(r.stack) == 1:
			return r.fail("%q closes nothing", t.Text)
		case t.Text[0] != closing(top.open):
			return r.fail("want %q, got %q", closing(top.open), t.Text)
		case top.open == '{' && top.forms%2 == 1:
			return r.fail("a key without a value")
		case before != 0:
			return r.fail("nothing follows %q", before)
		}
		r.stack = r.stack[:len(r.stack)-1]
		return nil
	}
	if r.json {
		if want := top.due(); before != want {
			if want == 0 {
				return r.fail("%q where none is due", before)
			}
			return r.fail("want %q before %q", want, t.Text)
		}
		if top.open == '{' && top.forms%2 == 0 && t.Kind != String {
			return r.fail("want a string, got %q", t.Text)
		}
	}
	if r.tagged = t.Kind == Tag; r.tagged {
		return nil
	}
	top.forms++
	if t.Kind == Open {
		if len(r.stack) > maxDepth {
			return r.fail("nested more than %d deep", maxDepth)
		}
		open := t.Text[0]
		if open == '#' {
			open = 's'
		}
		r.stack = append(r.stack, frame{open: open})
	}
	return nil
}

// due returns what JSON has before the next form: a comma, a colon, or nothing.
func (f *frame) due() byte {
	switch {
	case f.open == '{' && f.forms%2 == 1:
		return ':'
	case f.open != 0 && f.forms > 0:
		return ','
	}
	return 0
}

func closing(open byte) byte {
	switch open {
	case '(':
		return ')'
	case '[':
		return ']'
	}
	return '}'
}

// skip passes over the next form.
func (r *Reader) skip() error {
	depth, forms, tagged := len(r.stack), r.stack[len(r.stack)-1].forms, r.tagged
	r.tagged = false
	if r.skips++; r.skips > maxDepth {
		return r.fail("nested more than %d deep", maxDepth)
	}
	defer func() { r.skips-- }()
	for {
		t, err := r.Next()
		switch {
		case err != nil:
			return err
		case t.Kind == EOF:
			return r.truncated()
		case len(r.stack) < depth:
			return r.fail("want what is discarded, got %q", t.Text)
		}
		if t.Kind != Tag && len(r.stack) == depth {
			r.stack[depth-1].forms, r.tagged = forms, tagged
			return nil
		}
	}
}

// text reads a string from behind its first quote.
func (r *Reader) text() error {
	for {
		i := r.pos
		for i < len(r.buf) && r.buf[i] != '"' && r.buf[i] != '\\' && r.buf[i] >= 0x20 {
			i++
		}
		r.pos = i
		c, ok := r.peek()
		if !ok {
			return r.truncated()
		}
		switch {
		case c == '"':
			r.pos++
			return nil
		case c == '\\':
			r.pos++
			if err := r.escape(); err != nil {
				return err
			}
		case c < 0x20 && r.json:
			return r.fail("a control character in a string")
		default:
			if r.pos++; c == '\n' {
				r.line++
				r.margin = r.pos
			}
		}
	}
}

func (r *Reader) escape() error {
	c, ok := r.peek()
	if !ok {
		return r.truncated()
	}
	if r.pos++; c != 'u' {
		if bytes.IndexByte([]byte(`"\/bfnrt`), c) < 0 {
			return r.fail("\\%c is no escape", c)
		}
		return nil
	}
	for range 4 {
		if c, ok = r.peek(); !ok {
			return r.truncated()
		}
		if !isHex(c) {
			return r.fail("want four hexadecimal digits after \\u")
		}
		r.pos++
	}
	return nil
}

// delimiters end atoms: white space, and what begins or ends other forms.
var delimiters = func() (set [256]bool) {
	for _, c := range []byte(" \t\r\n\f,;\"()[]{}\\^") {
		set[c] = true
	}
	return set
}()

// run goes to the end of the atom.
func (r *Reader) run() {
	for {
		c, ok := r.peek()
		if !ok || delimiters[c] || r.json && c == ':' {
			return
		}
		r.pos++
	}
}

// char reads a character from behind its backslash.
func (r *Reader) char() error {
	c, ok := r.peek()
	if !ok {
		return r.truncated()
	}
	r.pos++
	if c >= 0x80 || !delimiters[c] { // else it is one, such as \( or \"
		r.run()
	}
	if _, ok := char(r.buf[r.start+1 : r.pos]); !ok {
		return r.broken("\\%s is no character", string(r.buf[r.start+1:r.pos]))
	}
	return nil
}

// atom reads a number, a keyword or a symbol, all but the first byte.
func (r *Reader) atom(t Token) (Token, bool, error) {
	r.run()
	t.Text = r.buf[r.start:r.pos]
	switch c := t.Text[0]; {
	case c == ':' && len(t.Text) == 1:
		return t, false, r.broken("a colon without a name")
	case c == ':':
		t.Kind, t.Text = Keyword, t.Text[1:]
	case isDigit(c) || (c == '-' || c == '+') && len(t.Text) > 1 && isDigit(t.Text[1]):
		if t.Kind, t.Text = number(t.Text, r.json); t.Kind == EOF {
			return t, false, r.broken("%q is no number", string(r.buf[r.start:r.pos]))
		}
	case string(t.Text) == "nil" && !r.json, string(t.Text) == "null" && r.json:
		t.Kind = Nil
	case string(t.Text) == "true", string(t.Text) == "false":
		t.Kind = Bool
	case r.json || c < 0x20 || c == 0x7F:
		return t, false, r.broken("want a value, got %q", string(t.Text))
	default:
		t.Kind = Symbol
	}
	return t, false, nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }
