package documenttest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/hacheck/hacheck/histories"
)

const (
	long = 4 << 10 // bytes of a value: more than most that a page takes to pieces
	many = 2_000   // names: more than a page numbers
)

// Hostile are values of ops that something may trip on: not all are JSON.
var Hostile = []string{
	``, `null`, `""`, `"</script><!--"`, `"\u2028\u2029"`, "\"\u2028\"", `"\ud800"`, `"\udc00\ud800"`, "\"\x7f\"",
	`0`, `-0`, `123456789012345678901234567890`, `-9223372036854775808`, `1e400`, `0.000120034`, `1000000000000000`,
	`999999999999999`, `["k1",0]`, `["k1",null]`, `["k1","k1"]`, `["k01",[1,2]]`, `[5,[1,2]]`, `[5,5]`, `["",1]`, `["k\"1",1]`, `["\u006b1",1]`,
	`[ "k1" , 1 ]`, "[\"k1\",\t1]", `["k1",18446744073709551616]`, strings.Repeat("[", 900) + strings.Repeat("]", 900),
	`[` + strings.Repeat(`7,`, 63) + `7]`, `[` + strings.Repeat(`7,`, 64) + `7]`, `"` + strings.Repeat("x", long) + `"`,
	`"` + strings.Repeat("é", long) + `"`, "\"\xff\xfe\"", `{"a":{"b":[1,{"c":2}]},"00":"007"}`,
}

// Random returns a history of n ops of all kinds that there can be, with names and values such
// as nobody writes.
func Random(rng *rand.Rand, n int) (*histories.History, error) {
	names := []string{"read", "w</script>", "é", "a<b", "\u2028", "\x00\n\"\\", "cas"}
	errors := []string{"", "", "refused: it is ", "timeout", "bad \"name\"\n", "</script>\u2029", "\ufffd 007"}
	clocks := []time.Duration{1, 1000, 1_000_000, 100, 40 * time.Minute, 7}
	tick := clocks[rng.IntN(len(clocks))]
	unique := rng.IntN(4) == 0
	texts := Hostile
	switch rng.IntN(3) {
	case 0:
		texts = []string{`["k1",7]`, `["k2",[3,4]]`, `["k3",null]`, ``}
	case 1:
		texts = []string{`[1,7]`, `7`, `[2,3]`, `null`}
	}
	payload := func() json.RawMessage {
		if unique {
			return fmt.Appendf(nil, `["key%d",{"f%x":%d}]`, rng.IntN(1<<20), rng.IntN(1<<16), rng.Int64())
		}
		return json.RawMessage(strings.ReplaceAll(texts[rng.IntN(len(texts))], "7", strconv.Itoa(rng.IntN(1000))))
	}
	if unique {
		for i := range many {
			names = append(names, "f"+strconv.Itoa(i))
		}
	}
	type state struct {
		id          histories.Process
		outstanding string
		value       json.RawMessage
	}
	clients := make([]*state, 1+rng.IntN(400))
	next := histories.Process(0)
	for i := range clients {
		clients[i] = &state{id: next}
		next += 1 + histories.Process(rng.IntN(3))
	}
	clients[0].id = histories.Nemesis
	var ops []histories.Op
	now := time.Duration(rng.IntN(100))
	for i := range n {
		c := clients[rng.IntN(len(clients))]
		op := histories.Op{Index: i, Time: now, Process: c.id, Value: payload()}
		now += tick * time.Duration(1+rng.ExpFloat64()*float64(rng.IntN(50)))
		if rng.IntN(3) == 0 {
			op.Meta = payload()
		}
		if rng.IntN(2) == 0 {
			op.Node = names[rng.IntN(len(names))]
		}
		switch {
		case rng.IntN(20) == 0:
			op.Process, op.Type, op.F = histories.Observer+histories.Process(rng.IntN(2)), histories.Event, names[rng.IntN(len(names))]
		case c.outstanding == "":
			op.Type, op.F = histories.Invoke, names[rng.IntN(len(names))]
			c.outstanding, c.value = op.F, op.Value
		default:
			op.Type, op.F = histories.OK+histories.Type(rng.IntN(3)), c.outstanding
			c.outstanding = ""
			if rng.IntN(2) == 0 {
				op.Value = c.value
			}
			if op.Error = errors[rng.IntN(len(errors))]; op.Error != "" && rng.IntN(2) == 0 {
				op.Error += strconv.Itoa(rng.IntN(3000))
			}
			if op.Type == histories.Info && c.id >= 0 {
				c.id = next
				next++
			}
		}
		ops = append(ops, op)
	}
	return histories.FromOps(ops)
}
