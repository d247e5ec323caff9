package histories

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// flaw says why op, by itself, is not one that could be read back; "" if it is.
func (op *Op) flaw() string {
	switch {
	case op.Type < Invoke || op.Type > Event:
		return "op without a type"
	case op.F == "":
		return "op without a function"
	case op.Process < Observer || op.Process > maxLen:
		return "op of no process"
	case op.Type == Event && op.Process >= 0:
		return "event of a client"
	case len(op.Value) > 0 && !isJSON(op.Value):
		return "value is not JSON"
	case len(op.Meta) > 0 && !isJSON(op.Meta):
		return "meta is not JSON"
	}
	return ""
}

func isJSON(raw []byte) bool {
	s := scanner{b: raw}
	if s.skip(0) != nil {
		return false
	}
	s.space()
	return s.i == len(raw)
}

// appendOp appends op as one JSON line. It is written by hand since it runs
// inside the journal's lock: a third of encoding/json's time, no allocation.
func appendOp(b []byte, op *Op) []byte {
	b = append(b, `{"index":`...)
	b = strconv.AppendInt(b, int64(op.Index), 10)
	b = append(b, `,"time":`...)
	b = strconv.AppendInt(b, int64(op.Time), 10)
	b = append(b, `,"process":`...)
	b = strconv.AppendInt(b, int64(op.Process), 10)
	b = append(b, `,"type":"`...)
	b = append(b, op.Type.String()...)
	b = append(b, `","f":`...)
	b = appendString(b, op.F)
	b = appendRaw(b, `,"value":`, op.Value)
	if op.Error != "" {
		b = append(b, `,"error":`...)
		b = appendString(b, op.Error)
	}
	if op.Node != "" {
		b = append(b, `,"node":`...)
		b = appendString(b, op.Node)
	}
	b = appendRaw(b, `,"meta":`, op.Meta)
	return append(b, '}', '\n')
}

// appendRaw appends a payload, if there is one, on one line whatever its author
// did: a line feed between tokens is legal JSON but would end our line.
func appendRaw(b []byte, key string, raw json.RawMessage) []byte {
	if len(raw) == 0 {
		return b
	}
	b = append(b, key...)
	if bytes.IndexByte(raw, '\n') < 0 {
		return append(b, raw...)
	}
	var one bytes.Buffer
	if err := json.Compact(&one, raw); err != nil {
		panic("histories: " + err.Error()) // cannot be: see flaw
	}
	return append(b, one.Bytes()...)
}

func appendString(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic("histories: " + err.Error()) // cannot be: a string always marshals
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
