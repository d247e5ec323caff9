// Package checkertest writes histories and results small enough to be read in a
// test.
package checkertest

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// Parse reads a history, one op a line:
//
//	[time] process type function [value] [node=n1] [error=text] [meta=json]
//
// Ops are 1 ms apart unless they say when they are, as in "120ms". A process is
// a number or "nemesis"; types may be cut short to three letters. A value is
// JSON without spaces, or x for ["x",null], or x=v for ["x",v]; a completion
// without one repeats its invocation's. What follows # is a comment.
//
//	0 invoke write x=1
//	1 invoke read x
//	0 info write
//	1 ok read x=1
func Parse(text string) (*histories.History, error) {
	var ops []histories.Op
	outstanding := map[histories.Process]json.RawMessage{}
	now := time.Duration(0)
	for n, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		now += time.Millisecond
		if at, err := time.ParseDuration(fields[0]); err == nil && unicode.IsLetter(rune(fields[0][len(fields[0])-1])) {
			now, fields = at, fields[1:]
		}
		op, err := parseOp(fields)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n+1, err)
		}
		op.Index, op.Time = len(ops), now
		if op.Type == histories.Invoke {
			outstanding[op.Process] = op.Value
		} else if op.Value == nil {
			op.Value = outstanding[op.Process]
		}
		ops = append(ops, op)
	}
	return histories.FromOps(ops)
}

var types = map[string]histories.Type{
	"invoke": histories.Invoke, "ok": histories.OK, "fail": histories.Fail,
	"info": histories.Info, "event": histories.Event,
}

func parseOp(fields []string) (op histories.Op, err error) {
	if len(fields) < 3 {
		return op, fmt.Errorf("want process, type and function, got %q", fields)
	}
	if fields[0] == "nemesis" {
		op.Process = histories.Nemesis
	} else if _, err := fmt.Sscan(fields[0], &op.Process); err != nil {
		return op, fmt.Errorf("process %q: %w", fields[0], err)
	}
	if op.Type = types[fields[1]]; op.Type == 0 {
		return op, fmt.Errorf("no such type: %q", fields[1])
	}
	op.F = fields[2]
	for _, field := range fields[3:] {
		name, rest, _ := strings.Cut(field, "=")
		switch name {
		case "node":
			op.Node = rest
		case "error":
			op.Error = rest
		case "meta":
			op.Meta = json.RawMessage(rest)
		default:
			op.Value = value(field)
		}
	}
	return op, nil
}

func value(field string) json.RawMessage {
	if json.Valid([]byte(field)) {
		return json.RawMessage(field)
	}
	key, v, _ := strings.Cut(field, "=")
	if v == "" {
		v = "null"
	}
	return json.RawMessage(fmt.Sprintf("[%q,%s]", key, v))
}

// Pick returns some ops of a history as one of their own: is the evidence that an anomaly
// names wrong by itself?
func Pick(h *histories.History, indices []int) (*histories.History, error) {
	var ops []histories.Op
	for _, i := range indices {
		op := h.At(i)
		op.Index = len(ops)
		ops = append(ops, op)
	}
	return histories.FromOps(ops)
}

// Format writes a result for people who compare: verdicts, notes, anomalies with
// the indices of their ops, parts below what they are part of.
func Format(r checker.Result) string {
	var b strings.Builder
	format(&b, r, "")
	return b.String()
}

func format(b *strings.Builder, r checker.Result, indent string) {
	fmt.Fprintf(b, "%s%s: %v (%s)\n", indent, r.Name, r.Verdict, r.Note)
	for _, a := range r.Anomalies {
		fmt.Fprintf(b, "%s  %s %v: %s\n", indent, a.Kind, a.Ops, a.Note)
	}
	for _, p := range r.Parts {
		format(b, p, indent+"  ")
	}
}
