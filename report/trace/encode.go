package trace

import (
	"bufio"
	"io"
	"strconv"
	"time"
	"unicode/utf8"
)

// An encoder writes events, a line each, and remembers the first error.
type encoder struct {
	w    *bufio.Writer
	line []byte
	any  bool  // an event was written
	args bool  // the object args of the line is open
	n    int64 // bytes written
	err  error
}

func newEncoder(w io.Writer) *encoder {
	return &encoder{w: bufio.NewWriterSize(w, 64<<10)}
}

// raw writes text that is no event.
func (e *encoder) raw(text string) {
	if e.err == nil {
		_, e.err = e.w.WriteString(text)
	}
	e.n += int64(len(text))
}

// open begins an event of a phase at a time on a track.
func (e *encoder) open(ph byte, on track, at time.Duration) {
	e.line = e.line[:0]
	if e.any {
		e.line = append(e.line, ',')
	}
	e.any = true
	e.line = append(e.line, "\n{\"ph\":\""...)
	e.line = append(e.line, ph)
	e.line = append(e.line, `","pid":`...)
	e.line = strconv.AppendInt(e.line, int64(on.pid), 10)
	if on.tid != 0 { // else it is of the process
		e.line = append(e.line, `,"tid":`...)
		e.line = strconv.AppendInt(e.line, int64(on.tid), 10)
	}
	if ph == 'M' { // it holds for all time
		return
	}
	e.line = append(e.line, `,"ts":`...)
	e.line = appendMicros(e.line, at)
}

// text and number write a field of the event, or of its args once they are begun.
func (e *encoder) text(name, value string) {
	e.name(name)
	e.line = appendText(e.line, value)
}

func (e *encoder) number(name string, value int64) {
	e.name(name)
	e.line = strconv.AppendInt(e.line, value, 10)
}

func (e *encoder) float(name string, value float64) {
	e.name(name)
	e.line = strconv.AppendFloat(e.line, value, 'f', -1, 64)
}

func (e *encoder) micros(name string, value time.Duration) {
	e.name(name)
	e.line = appendMicros(e.line, value)
}

// payload writes JSON as text: an object of its own would be taken apart into a row for
// each of its elements, of which a list that grows has thousands.
func (e *encoder) payload(name string, value []byte) {
	switch {
	case len(value) > maxPayload:
		e.text(name, clip(value))
	case len(value) > 0:
		e.name(name)
		e.line = appendText(e.line, value)
	}
}

// beginArgs says that the fields that follow are those of the args.
func (e *encoder) beginArgs() {
	e.line = append(e.line, `,"args":{`...)
	e.args = true
}

// done ends the event.
func (e *encoder) done() {
	if e.args {
		e.line = append(e.line, '}')
		e.args = false
	}
	e.line = append(e.line, '}')
	if e.err == nil {
		_, e.err = e.w.Write(e.line)
	}
	e.n += int64(len(e.line))
}

func (e *encoder) name(name string) {
	if e.line[len(e.line)-1] != '{' {
		e.line = append(e.line, ',')
	}
	e.line = appendText(e.line, name)
	e.line = append(e.line, ':')
}

// appendMicros appends a time in microseconds, the nanoseconds as a fraction.
func appendMicros(b []byte, t time.Duration) []byte {
	if t < 0 {
		b, t = append(b, '-'), -t
	}
	b = strconv.AppendInt(b, int64(t/time.Microsecond), 10)
	nanos := int(t % time.Microsecond)
	if nanos == 0 {
		return b
	}
	b = append(b, '.', byte('0'+nanos/100), byte('0'+nanos/10%10), byte('0'+nanos%10))
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	return b
}

const hex = "0123456789abcdef"

// appendText appends a string of JSON. What is not UTF-8 is replaced visibly.
func appendText[T string | []byte](b []byte, s T) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		size := 1
		if c >= utf8.RuneSelf {
			var r rune
			if r, size = utf8.DecodeRuneInString(string(s[i:min(len(s), i+utf8.UTFMax)])); r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		b = append(b, s[from:i]...)
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = append(b, `\u00`...)
			b = append(b, hex[c>>4], hex[c&15])
		default:
			b = append(b, "\uFFFD"...)
		}
		i += size
		from = i
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

// maxPayload is how many bytes of a value are shown. The history has the rest, at the
// index that stands beside it.
const maxPayload = 1000

func clip(value []byte) string {
	if len(value) <= maxPayload {
		return string(value)
	}
	cut := maxPayload
	for cut > maxPayload-utf8.UTFMax && !utf8.RuneStart(value[cut]) {
		cut--
	}
	return string(value[:cut]) + "… (" + strconv.Itoa(len(value)) + " bytes)"
}
