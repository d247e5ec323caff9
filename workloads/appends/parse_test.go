package appends

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// TestSpellings: however a transaction is spelt, it is what encoding/json makes of it.
func TestSpellings(t *testing.T) {
	texts := []string{
		`[]`, `null`, `[["r","x",null]]`, `[["r","x",[]]]`, `[["r","x",[1]],["append","x",2]]`,
		`[["r",5,[1,2]],["append",5,3]]`, `[ ["r", "x", [1, 2]] ]`, `[["append","é",-7]]`, `[["append","a\"]b",7]]`,
		`[["append","]",7],["r","[,",[7]]]`, `[["append","",0]]`, `[["append","x",-0]]`, `[["append",-5,1]]`,
		`[["append","x",9223372036854775807],["append","x",-9223372036854775808]]`,
		`[["append","x",9223372036854775808]]`, `[["append","x",1.5]]`, `[["append","x",1e3]]`, `[["append","x",null]]`,
		`[["append","x","1"]]`, `[["append","x",[1]]]`, `[["r","x",1]]`, `[["r","x",[null]]]`, `[["r","x",[1,"2"]]]`,
		`[["r","x",[[1]]]]`, `[["r","x",[1]],["w","x",1]]`, `[["r","x"]]`, `[["r","x",[1],2]]`, `[["r",["x"],[1]]]`,
		`[["r",1.5,[1]]]`, `[["r",null,[1]]]`, `[["append","x",1],null]`, `["append","x",1]`, `{"append":1}`, `7`,
		"[[\"append\",\"x\xff\",1]]", "[[\"append\",\"x\u007f\",1]]",
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range workloadtest.Cases(200) {
		mops := make([]Mop, 1+r.IntN(3))
		for i := range mops {
			mops[i] = Mop{F: Append, Key: string(rune('x' + r.IntN(2))), Element: r.Int64() >> r.IntN(64)}
			if r.IntN(2) == 0 {
				mops[i] = Mop{F: Read, Key: mops[i].Key, List: []int64{1, -r.Int64N(1000)}[:r.IntN(3)]}
			}
		}
		texts = append(texts, string(payload(mops)))
	}
	for _, text := range texts {
		var want []Mop
		errWant := json.Unmarshal([]byte(text), &want)
		got, err := parse(Txn, json.RawMessage(text))
		if (err == nil) != (errWant == nil) || err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v; want %+v, %v", text, got, err, want, errWant)
		}
	}
}

// TestParsingIsCheap: a long list costs no more than itself, and its key.
func TestParsingIsCheap(t *testing.T) {
	list := make([]int64, DefaultAppendsPerKey)
	for i := range list {
		list[i] = int64(i)
	}
	text := payload([]Mop{{F: Append, Key: "l17", Element: 505}, {F: Read, Key: "l16", List: list}, {F: Read, Key: "l3", List: list}})
	allocated := testing.AllocsPerRun(100, func() {
		if _, err := parse(Txn, text); err != nil {
			t.Fatal(err)
		}
	})
	if most := 7.0; allocated > most && !workloadtest.Raced {
		t.Errorf("%v allocations, want %v at most", allocated, most)
	}
}
