package workloads_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/hacheck/hacheck/workloads"
)

func TestKeyed(t *testing.T) {
	for _, test := range []struct{ value, key, argument string }{
		{`["k",null]`, `k`, `null`},
		{` [ "k" , 3 ] `, `k`, `3`},
		{`[7,"x"]`, `7`, `"x"`},
		{`[-7,{"a":[1,2]}]`, `-7`, `{"a":[1,2]}`},
		{`["",[1,2]]`, ``, `[1,2]`},
		{`["a,\"]\\","],\""]`, `a,"]\`, `"],\""`},
		{`["\u006b",[{"a":"}"},[]]]`, `k`, `[{"a":"}"},[]]`},
	} {
		key, argument, err := workloads.ParseKeyed(json.RawMessage(test.value))
		if err != nil || key != test.key || string(argument) != test.argument {
			t.Errorf("%s: got %q, %s, %v", test.value, key, argument, err)
		}
		again, argument, err := workloads.ParseKeyed(workloads.Keyed(key, argument))
		if err != nil || again != key || string(argument) != test.argument {
			t.Errorf("%s, again: got %q, %s, %v", test.value, again, argument, err)
		}
	}
	for _, value := range []string{``, `null`, `7`, `"k"`, `{}`, `[]`, `["k"]`, `[["k",1]]`, `["k",1,2]`, `["k",1,[2]]`, `[null,1]`, `[["k"],1]`, `[{},1]`, `[true,1]`} {
		if key, argument, err := workloads.ParseKeyed(json.RawMessage(value)); err == nil {
			t.Errorf("%s: got %q, %s", value, key, argument)
		}
	}
}

// TestParseKeyedAgreesWithJSON on whatever is JSON, spelt with all that it could trip on.
func TestParseKeyedAgreesWithJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	parts := []string{`"`, `\"`, `\\`, `,`, `[`, `]`, `{`, `}`, `:`, ` `, `1`, `-2`, `"a"`, `"b":`, `null`, `["k",`}
	tried, pairs := 0, 0
	for tried < 3000 {
		text := `["k",`
		if r.IntN(2) == 0 {
			text = `[`
		}
		for range 1 + r.IntN(8) {
			text += parts[r.IntN(len(parts))]
		}
		text += `]`
		var elements []json.RawMessage
		if json.Unmarshal([]byte(text), &elements) != nil {
			continue
		}
		tried++
		key, argument, err := workloads.ParseKeyed(json.RawMessage(text))
		var want any
		is := len(elements) == 2
		if is {
			if json.Unmarshal(elements[0], &want) != nil {
				t.Fatal(text)
			}
			switch want.(type) {
			case string:
			case float64:
				want = string(elements[0])
			default:
				is = false
			}
		}
		if is != (err == nil) || is && (key != want || string(argument) != string(elements[1])) {
			t.Fatalf("%s: got %q, %s, %v", text, key, argument, err)
		}
		if is {
			pairs++
		}
	}
	if pairs < 300 {
		t.Errorf("only %d of %d are pairs", pairs, tried)
	}
}
