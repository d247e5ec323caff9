package foreign

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/histories/edn"
)

// Formats are those that Write writes.
var Formats = []Format{JSONL, EDN, JSON}

// Write writes a history. What [Read] makes of it is the same history: an observation,
// for which Jepsen has no type, is an info that says so in a field of its own.
func Write(w io.Writer, h *histories.History, format Format) error {
	switch format {
	case JSONL:
		return histories.Write(w, h)
	case EDN:
		return writeEDN(w, h)
	case JSON:
		return writeJSON(w, h)
	case Log:
	}
	return fmt.Errorf("histories are not written as %s", format)
}

// typed returns the type as Jepsen has it, and whether to say that it is none of its.
func typed(t histories.Type) (name string, event bool) {
	if t == histories.Event {
		return histories.Info.String(), true
	}
	return t.String(), false
}

// writeEDN writes a map for each op, a line each.
func writeEDN(w io.Writer, h *histories.History) error {
	out := bufio.NewWriterSize(w, window)
	var b []byte
	for i, op := range h.All() {
		typ, event := typed(op.Type)
		b = append(b[:0], "{:index "...)
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, ", :time "...)
		b = strconv.AppendInt(b, int64(op.Time), 10)
		b = append(b, ", :process "...)
		if op.Process < 0 {
			b = append(b, ':')
		}
		b = append(b, op.Process.String()...)
		b = append(append(b, ", :type :"...), typ...)
		b = edn.AppendName(append(b, ", :f "...), quoted(op.F))
		for _, field := range []struct {
			name  string
			value []byte
		}{{"value", op.Value}, {"error", quoted(op.Error)}, {"node", quoted(op.Node)}, {"meta", op.Meta}} {
			if len(field.value) == 0 || field.name != "value" && string(field.value) == `""` {
				continue
			}
			heads := 0
			if field.name == "value" && op.F == txn {
				heads = 2
			}
			b = append(append(append(b, ", :"...), field.name...), ' ')
			var err error
			if b, err = edn.Append(b, field.value, heads); err != nil {
				return fmt.Errorf("op %d: %w", i, err)
			}
		}
		if event {
			b = append(b, ", :event true"...)
		}
		if _, err := out.Write(append(b, '}', '\n')); err != nil {
			return err
		}
	}
	return out.Flush()
}

// quoted returns a text as JSON.
func quoted(text string) []byte {
	b, err := json.Marshal(text)
	if err != nil {
		panic("foreign: " + err.Error()) // texts always marshal
	}
	return b
}

// writeJSON writes an array of objects, a line each.
func writeJSON(w io.Writer, h *histories.History) error {
	out := bufio.NewWriterSize(w, window)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	separator := "[\n"
	for i, op := range h.All() {
		object := struct {
			Index   int             `json:"index"`
			Time    time.Duration   `json:"time"`
			Process any             `json:"process"`
			Type    string          `json:"type"`
			F       string          `json:"f"`
			Value   json.RawMessage `json:"value,omitempty"`
			Error   string          `json:"error,omitempty"`
			Node    string          `json:"node,omitempty"`
			Meta    json.RawMessage `json:"meta,omitempty"`
			Event   bool            `json:"event,omitempty"`
		}{Index: i, Time: op.Time, Process: int(op.Process), F: op.F, Value: op.Value, Error: op.Error, Node: op.Node, Meta: op.Meta}
		object.Type, object.Event = typed(op.Type)
		if op.Process < 0 {
			object.Process = op.Process.String()
		}
		b.Reset()
		b.WriteString(separator)
		if err := e.Encode(object); err != nil {
			return fmt.Errorf("op %d: %w", i, err)
		}
		b.Truncate(b.Len() - 1)
		separator = ",\n"
		if _, err := b.WriteTo(out); err != nil {
			return err
		}
	}
	end := "\n]\n"
	if h.Len() == 0 {
		end = "[]\n"
	}
	if _, err := out.WriteString(end); err != nil {
		return err
	}
	return out.Flush()
}
