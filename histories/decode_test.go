package histories

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// A jsonOp is how encoding/json sees a line: the oracle of parseOp.
type jsonOp struct {
	Index, Time, Process int64
	Type, F, Error, Node string
	Value, Meta          json.RawMessage
}

func TestDecoderAgreesWithEncodingJSON(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 0))
		line := randomLine(r)
		var want jsonOp
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatalf("seed %d: encoding/json refuses %s: %v", seed, line, err)
		}
		var op parsedOp
		if err := parseOp(line, &op); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, line)
		}
		got := jsonOp{
			op.index, op.time, op.process, op.typ.String(), string(op.f), string(op.err), string(op.node),
			op.value, op.meta,
		}
		if got.Index != want.Index || got.Time != want.Time || got.Process != want.Process || got.Type != want.Type ||
			got.F != want.F || got.Error != want.Error || got.Node != want.Node ||
			!bytes.Equal(got.Value, want.Value) || !bytes.Equal(got.Meta, want.Meta) {
			t.Fatalf("seed %d:\ngot  %+v\nwant %+v\n%s", seed, got, want, line)
		}
		// A line with one byte changed is accepted only if it is still JSON.
		broken := slices.Clone(line)
		broken[r.IntN(len(broken))] = byte(r.IntN(256))
		if parseOp(broken, &op) == nil && !json.Valid(broken) {
			t.Fatalf("seed %d: accepted, but is no JSON: %s", seed, broken)
		}
	}
}

// randomLine returns an op with its fields in any order, and others between.
func randomLine(r *rand.Rand) []byte {
	fields := []string{
		fmt.Sprintf(`"index":%d`, r.Int64()), fmt.Sprintf(`"time":%s%d`, space(r), r.Int64()),
		fmt.Sprintf(`"process":%d`, r.Int64N(100)-2), fmt.Sprintf(`"type"%s:"%v"`, space(r), Type(r.IntN(5)+1)),
		`"f":` + randomString(r, 1),
	}
	for _, field := range []string{"error", "node"} {
		if r.IntN(2) == 0 {
			fields = append(fields, fmt.Sprintf(`"%s":%s`, field, randomString(r, 0)))
		}
	}
	for _, field := range []string{"value", "meta", "clock-offsets", "x\\\"y"} {
		if r.IntN(2) == 0 {
			fields = append(fields, fmt.Sprintf(`"%s":%s`, field, randomValue(r, 3)))
		}
	}
	r.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	return []byte(space(r) + "{" + space(r) + strings.Join(fields, space(r)+","+space(r)) + space(r) + "}" + space(r) + "\n")
}

func space(r *rand.Rand) string { return strings.Repeat(" \t\r"[r.IntN(3):], r.IntN(5)/4) }

func randomString(r *rand.Rand, shortest int) string {
	parts := []string{"a", "β", "😀", `\n`, `\"`, `\\`, `\u00e9`, `\ud83d\ude00`, `\ud83d`, "/", `\/`, "<", "\u2028", "k1"}
	var b strings.Builder
	b.WriteByte('"')
	for range shortest + r.IntN(6) {
		b.WriteString(parts[r.IntN(len(parts))])
	}
	b.WriteByte('"')
	return b.String()
}

func randomValue(r *rand.Rand, depth int) string {
	kinds := 9
	if depth == 0 {
		kinds = 7
	}
	switch r.IntN(kinds) {
	case 0:
		return "null"
	case 1:
		return "true"
	case 2:
		return "false"
	case 3:
		return fmt.Sprint(r.Int64N(1000) - 500)
	case 4:
		return []string{"-0", "0.5", "1e9", "-12.25E-3", "10e+1", "123456789012345678901234567890"}[r.IntN(6)]
	case 5, 6:
		return randomString(r, 0)
	case 7:
		var elements []string
		for range r.IntN(4) {
			elements = append(elements, randomValue(r, depth-1))
		}
		return "[" + space(r) + strings.Join(elements, ","+space(r)) + space(r) + "]"
	}
	var members []string
	for range r.IntN(4) {
		members = append(members, randomString(r, 0)+space(r)+":"+space(r)+randomValue(r, depth-1))
	}
	return "{" + strings.Join(members, space(r)+",") + space(r) + "}"
}

// FuzzScanner: the scanner takes for JSON what encoding/json does, and takes for
// the beginning of JSON only what can become some.
func FuzzScanner(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,-2.5e+3,true,false,null,"é\u00e9\n"],"b":{}}`, `[]`, `-`, `01`, `1.`, `"\ud800"`, `{"a" 1}`, `[1,]`, "\"\x00\"", `tru`, ` 0 `, "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := scanner{b: data}
		_, err := s.value()
		s.space()
		valid := err == nil && s.i == len(data)
		if deep := bytes.Count(data, []byte("["))+bytes.Count(data, []byte("{")) > maxDepth; deep {
			return
		}
		if valid != json.Valid(data) {
			t.Errorf("%q: got %v (%v)", data, valid, err)
		}
		if errors.Is(err, errTruncated) && json.Valid(data) {
			t.Errorf("%q is whole, but is called truncated", data)
		}
	})
}

func TestStringsAreWrittenAsTheyAreRead(t *testing.T) {
	for r := range rune(0x300) {
		s := string(r) + "x" + string(r)
		raw := appendString(nil, s)
		if got, err := text(raw); err != nil || string(got) != s {
			t.Errorf("%q is written as %s and read as %q, %v", s, raw, got, err)
		}
	}
	if got, err := text(appendString(nil, "a\xffb")); err != nil || !utf8.Valid(got) {
		t.Errorf("what is no UTF-8 was read as %q, %v", got, err)
	}
}
