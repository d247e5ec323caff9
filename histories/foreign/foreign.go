// Package foreign reads the histories of other tools, and writes ours for them.
//
// What it reads are hacheck's own JSON lines, Jepsen's EDN, JSON as Elle takes it, and
// the logs that Jepsen and porcupine's tests have of operations, each also compressed.
// The shapes of values become those of our workloads, as far as they can be told by the
// function.
package foreign

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/histories/edn"
)

// A Format is a way to write a history down.
type Format string

// The formats.
const (
	JSONL Format = "jsonl" // hacheck's own: see package histories
	EDN   Format = "edn"   // Jepsen's history.edn: maps or records, one by one or in a vector
	JSON  Format = "json"  // objects with Jepsen's keys, one by one or in an array
	Log   Format = "log"   // lines with process, type, function and value; it is only read
)

// A Recording is what was read.
type Recording struct {
	History *histories.History
	Format  Format
	// Notes say what was mended, for people.
	Notes []string
	// LeftOut are the fields that a History has no place for, and in how many ops.
	LeftOut map[string]int
}

// LeftOutNote says what is left out, or "".
func (r *Recording) LeftOutNote() string {
	var fields []string
	for _, name := range slices.Sorted(maps.Keys(r.LeftOut)) {
		fields = append(fields, fmt.Sprintf("%s (%d)", name, r.LeftOut[name]))
	}
	if len(fields) == 0 {
		return ""
	}
	return "left out, with the number of ops that had it: " + strings.Join(fields, ", ")
}

// Read reads the history in a file of that name. The content tells its format, and the
// name where that is not enough. What is no history is refused with a
// [histories.InvalidError].
func Read(file io.ReadSeeker, name string) (*Recording, error) {
	in, err := open(file)
	if err != nil {
		return nil, err
	}
	format, err := detect(in, name)
	if err != nil {
		return nil, err
	}
	if format != JSONL {
		return read(in, format)
	}
	begin, err := in.Peek(window)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch text := bytes.TrimLeft(begin, blanks); {
	case len(text) == 0 && err != nil:
		h, _ := histories.NewBuilder().History()
		return &Recording{Format: JSONL, History: h}, nil
	case len(text) > 0 && text[0] != '{' && text[0] != '[':
		return nil, &histories.InvalidError{Line: 1, Reason: fmt.Sprintf("it begins with %q; %s", text[:min(len(text), 16)], wanted)}
	}
	h, err := histories.Read(in)
	strict, ok := errors.AsType[*histories.InvalidError](err)
	if err == nil {
		r := &Recording{Format: JSONL, LeftOut: h.LeftOut()}
		r.History, r.Notes, err = settle(h)
		return r, err
	}
	if !ok {
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if in, err = open(file); err != nil {
		return nil, err
	}
	r, err := read(in, JSON)
	if invalid, ok := errors.AsType[*histories.InvalidError](err); ok && invalid.Line <= strict.Line {
		if _, ok := errors.AsType[*edn.Error](invalid.Cause); ok {
			return nil, strict // it knows our own files better
		}
	}
	if err == nil {
		r.Notes = slices.Insert(r.Notes, 0, fmt.Sprintf("read as the history of another tool, since hacheck's own are not so: %v", strict))
	}
	return r, err
}

func read(in *bufio.Reader, format Format) (r *Recording, err error) {
	d := newDecoder(format)
	if format == Log {
		err = d.log(in)
	} else {
		err = d.ops(in)
	}
	if e, ok := errors.AsType[*edn.Error](err); ok {
		err = &histories.InvalidError{Line: e.Line, Reason: fmt.Sprintf("column %d: %s", e.Column, e.Reason), Cause: e}
	}
	if err != nil {
		return nil, err
	}
	r = &Recording{Format: format, LeftOut: d.leftOut}
	if r.History, r.Notes, err = d.history(); err != nil {
		return nil, err
	}
	return r, nil
}

// wanted is what can be read.
const wanted = "want JSON lines, Jepsen's EDN, Elle's JSON or a log of Jepsen's, each also compressed"

// blanks are what may stand before the first op.
const blanks = " \t\r\n"

// The first bytes of what is compressed, and of text that says how it is encoded.
var (
	zstdMagic = []byte{0x28, 0xB5, 0x2F, 0xFD}
	gzipMagic = []byte{0x1F, 0x8B}
	utf8Mark  = []byte{0xEF, 0xBB, 0xBF}
)

// window is how much of a file is looked at, and read at once.
const window = 128 << 10

// maxWindow bounds what a compressed file may have us keep; it is what zstd --long has.
const maxWindow = 1 << 27

// open returns a reader of the text in a file, which may be compressed.
func open(file io.Reader) (*bufio.Reader, error) {
	in := bufio.NewReaderSize(file, window)
	magic, err := in.Peek(len(zstdMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var text io.Reader
	switch {
	case bytes.HasPrefix(magic, zstdMagic):
		// With a concurrency of one it starts no goroutine, and nothing needs to be closed.
		text, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	case bytes.HasPrefix(magic, gzipMagic):
		text, err = gzip.NewReader(in)
	default:
		return in, plain(in)
	}
	if err != nil {
		return nil, &histories.InvalidError{Line: 1, Reason: err.Error()}
	}
	in = bufio.NewReaderSize(damaged{text}, window)
	return in, plain(in)
}

// plain passes over the mark of UTF-8, which some editors write, and refuses what is no
// text. What cannot be read is left to those who read on.
func plain(in *bufio.Reader) error {
	begin, _ := in.Peek(window)
	if bytes.HasPrefix(begin, utf8Mark) {
		if _, err := in.Discard(len(utf8Mark)); err != nil {
			return err
		}
	}
	if bytes.IndexByte(begin, 0) >= 0 {
		return &histories.InvalidError{Line: 1, Reason: "it is no text in UTF-8; " + wanted}
	}
	return nil
}

// damaged makes of what is wrong with compressed text what is wrong with the file.
type damaged struct{ io.Reader }

func (d damaged) Read(b []byte) (int, error) {
	n, err := d.Reader.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &histories.InvalidError{Line: 1, Reason: "it cannot be decompressed: " + err.Error() + "; compress it anew"}
	}
	return n, err
}

// detect finds the format of a text by its beginning, or by its name.
func detect(in *bufio.Reader, name string) (Format, error) {
	begin, err := in.Peek(window)
	if err != nil && err != io.EOF && len(begin) == 0 {
		return "", err
	}
	text := bytes.TrimLeft(begin, blanks)
	if len(text) > 0 {
		var next byte // what follows the first, commas and white space aside
		if rest := bytes.TrimLeft(text[1:], ", \t\r\n"); len(rest) > 0 {
			next = rest[0]
		}
		switch c := text[0]; {
		case c == '{' && (next == '"' || next == '}'):
			return JSONL, nil
		case c == '[' && next == '{' && isObject(text):
			return JSON, nil
		case c == '{', c == '#', c == ';', (c == '[' || c == '(') && strings.IndexByte("{#;", next) >= 0:
			return EDN, nil
		case logLine(text) >= 0:
			return Log, nil
		}
	}
	for strings.ContainsRune(name, '.') {
		ending := filepath.Ext(name)
		switch ending {
		case ".jsonl":
			return JSONL, nil
		case ".json":
			return JSON, nil
		case ".edn":
			return EDN, nil
		case ".log", ".txt":
			return Log, nil
		}
		name = strings.TrimSuffix(name, ending)
		if ending == "" {
			break
		}
	}
	return JSONL, nil
}

// isObject says whether an array begins with an object of JSON: its keys are strings.
func isObject(text []byte) bool {
	object := bytes.TrimLeft(text[bytes.IndexByte(text, '{')+1:], " \t\r\n")
	return len(object) > 0 && (object[0] == '"' || object[0] == '}')
}

// Compress returns a writer that compresses with zstd. Close it.
func Compress(w io.Writer) (io.WriteCloser, error) {
	return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
}
