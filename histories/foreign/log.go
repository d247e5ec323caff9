package foreign

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/histories/edn"
)

// logger is who writes the operations into Jepsen's log, before "-" or ":".
var logger = []byte("jepsen.util")

// logLine returns where the first line with an operation begins; -1 if none does.
func logLine(text []byte) int {
	at := 0
	for line := range bytes.Lines(text) {
		if _, ok := logged(line); ok {
			return at
		}
		at += len(line)
	}
	return -1
}

// logged returns where in a line the operation begins, as in
//
//	INFO  jepsen.util - 4	:invoke	:cas	[1 3]
//
// which without what stands before the process is how history.txt has it. Other lines
// have none.
func logged(line []byte) (at int, ok bool) {
	if i := bytes.Index(line, logger); i >= 0 {
		at = i + len(logger)
		rest := bytes.TrimLeft(line[at:], " ")
		if len(rest) == 0 || rest[0] != '-' && rest[0] != ':' {
			return 0, false
		}
		at = len(line) - len(rest) + 1
	}
	fields := bytes.Fields(line[at:])
	if len(fields) < 3 || len(fields[1]) < 2 || fields[1][0] != ':' || fields[2][0] != ':' {
		return 0, false
	}
	_, isType := types[string(fields[1][1:])]
	isProcess := string(fields[0]) == ":nemesis" || len(bytes.Trim(fields[0], "0123456789")) == 0
	return at, isType && isProcess
}

// log reads the lines of a log that tell of operations.
func (d *decoder) log(in *bufio.Reader) error {
	d.in = edn.NewBytes(nil, edn.EDN)
	found, empty := false, true
	var long []byte
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		for long = long[:0]; errors.Is(err, bufio.ErrBufferFull); line, err = in.ReadSlice('\n') {
			long = append(long, line...)
		}
		if len(long) > 0 {
			line = append(long, line...)
		}
		if err != nil && err != io.EOF {
			return err
		}
		empty = empty && len(bytes.TrimSpace(line)) == 0
		if at, ok := logged(line); ok {
			found = true
			if err == io.EOF { // a crash has cut it, perhaps in the middle of a number
				d.built.Torn(n)
				return nil
			}
			e := d.logged(line[at:], n)
			if syntax, ok := errors.AsType[*edn.Error](e); ok {
				e = &edn.Error{Line: n, Column: syntax.Column + at, Reason: syntax.Reason}
			}
			if e != nil {
				return e
			}
		}
		if err == io.EOF {
			break
		}
	}
	if !found && !empty {
		return &histories.InvalidError{Line: 1, Reason: "no line of it tells of an operation; " + wanted}
	}
	return nil
}

// logged reads process, type, function, value and perhaps an error. A failure may have
// no value but its reason, a keyword.
func (d *decoder) logged(text []byte, line int) error {
	d.in.Reset(text)
	op := histories.Op{Index: histories.Unknown, Time: histories.Unknown}
	for _, name := range []string{"process", "type", "f"} {
		t, err := d.in.Next()
		if err != nil {
			return err
		}
		if d.scratch, err = d.in.AppendJSON(d.scratch[:0], t); err != nil {
			return err
		}
		if reason := d.set(&op, name, d.scratch); reason != "" {
			return &histories.InvalidError{Line: line, Reason: fmt.Sprintf("%q: %s", name, reason)}
		}
	}
	t, err := d.in.Next()
	if err != nil {
		return err
	}
	if t.Kind != edn.EOF {
		if d.value, err = d.in.AppendJSON(d.value[:0], t); err != nil {
			return err
		}
		op.Value = d.value
		op.Error = string(bytes.ToValidUTF8(bytes.TrimSpace(d.in.Rest()), []byte("\uFFFD")))
	}
	ended := op.Type == histories.Fail || op.Type == histories.Info
	if op.Process >= 0 && ended && t.Kind == edn.Keyword && op.Error == "" {
		op.Error = word(d.value)
		invoked, _ := d.built.Outstanding(op.Process)
		op.Value = invoked.Value
	}
	return d.add(op, line)
}
