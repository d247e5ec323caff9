package document

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/report/document/documenttest"
)

// checkOps packs a history and unpacks it, and complains of each op that is not as it was.
func checkOps(t *testing.T, h *histories.History, limit int, wanted []int) Index {
	t.Helper()
	x, data, err := index(t.Context(), h, nil, limit, wanted)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > limit {
		t.Errorf("%d bytes, more than %d", len(data), limit)
	}
	calls := 0
	for _, op := range h.All() {
		if op.Type == histories.Invoke || op.Type == histories.Event {
			calls++
		}
	}
	if x.Total != h.Len() || x.Calls != calls {
		t.Errorf("%d ops, %d calls, but it says %d, %d", h.Len(), calls, x.Total, x.Calls)
	}
	if text, err := json.Marshal(x); err != nil || bytes.Contains(text, []byte(":null")) {
		t.Errorf("as JSON: %s, %v", text[:min(len(text), 500)], err)
	}
	ops, err := unpackOps(x, unitOf(h), data)
	if err != nil {
		t.Fatal(err)
	}
	if len(ops) != h.Len() {
		t.Fatalf("%d ops of %d", len(ops), h.Len())
	}
	all := true
	for i, want := range h.All() {
		got := ops[i]
		all = all && got.detail
		if !got.core {
			continue
		}
		want.Value, want.Meta = oneLine(want.Value), oneLine(want.Meta)
		if !got.detail { // as much as the core says
			want.Time = want.Time.Truncate(time.Duration(unitOf(h)))
			want.Value, want.Meta, want.Error = nil, nil, ""
		}
		if !sameOp(got.Op, want) {
			t.Fatalf("op %d of process %v:\ngot  %+v\nwant %+v", i, want.Process, got.Op, want)
		}
		if completion := want.Type != histories.Invoke && want.Type != histories.Event; completion && got.pair != h.Pair(i) {
			t.Fatalf("op %d completes %d, not %d", i, got.pair, h.Pair(i))
		}
	}
	if all != (x.Left == "") {
		t.Errorf("all is there: %v, but it says %q", all, x.Left)
	}
	return x
}

func sameOp(a, b histories.Op) bool {
	return a.Index == b.Index && a.Time == b.Time && a.Process == b.Process && a.Type == b.Type && a.F == b.F &&
		bytes.Equal(a.Value, b.Value) && a.Error == b.Error && a.Node == b.Node && bytes.Equal(a.Meta, b.Meta)
}

func TestOpsOfRecordedHistories(t *testing.T) {
	n := 0
	for _, pattern := range []string{
		"../../workloads/*/testdata/recorded/*/*.jsonl",
		"../../histories/foreign/testdata/*/*.jsonl",
		"../../cmd/hacheck/testdata/recorded/*/*.jsonl",
	} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatal("there are none: ", pattern, err)
		}
		for _, name := range names {
			h := readHistory(t, name)
			if h == nil {
				continue // a file of another tool, which has rules of its own
			}
			n++
			t.Run(filepath.Base(name), func(t *testing.T) { checkOps(t, h, math.MaxInt, nil) })
		}
	}
	if n < 30 {
		t.Errorf("only %d are histories", n)
	}
}

func readHistory(t *testing.T, name string) *histories.History {
	t.Helper()
	h, err := histories.ReadFile(name)
	if err != nil {
		if os.IsNotExist(err) {
			t.Fatal(err)
		}
		return nil
	}
	return h
}

func TestOpsOfARun(t *testing.T) {
	h := registerRun(t, 50_000, 3)
	if x := checkOps(t, h, math.MaxInt, nil); len(x.Blocks) < 3 || len(x.Levels) != 3 {
		t.Errorf("%d blocks, %d levels: this tests less than it should", len(x.Blocks), len(x.Levels))
	}
}

func TestOpsOfLittle(t *testing.T) {
	for want, ops := range map[string][]histories.Op{
		"0 0 0": nil,
		"1 1 1": {{Index: 0, Time: 5, Type: histories.Invoke, F: "read"}},
		"1 1 2": {{Index: 0, Time: 1234567, Process: histories.Observer, Type: histories.Event, F: "state", Node: "n1"}},
	} {
		h, err := histories.FromOps(ops)
		if err != nil {
			t.Fatal(err)
		}
		x := checkOps(t, h, math.MaxInt, []int{-1, 0, 7})
		if got := fmt.Sprint(x.Calls, len(x.Blocks), len(x.Levels)); got != want {
			t.Errorf("calls, blocks, levels: got %s, want %s", got, want)
		}
	}
}

func TestOpsOfRandomHistories(t *testing.T) {
	for seed := range uint64(48) {
		rng := rand.New(rand.NewPCG(seed, 1))
		n := rng.IntN(1500)
		if seed%24 == 0 {
			n = blockOps + rng.IntN(blockOps)
		}
		h := randomHistory(t, rng, n)
		t.Run(fmt.Sprint(seed), func(t *testing.T) { checkOps(t, h, math.MaxInt, nil) })
	}
}

// FuzzOps packs ops with values, errors and names that were made up.
func FuzzOps(f *testing.F) {
	for _, text := range documenttest.Hostile {
		f.Add(text, text, "f", "n", int64(1000))
	}
	f.Fuzz(func(t *testing.T, value, fault, name, node string, step int64) {
		op := histories.Op{F: name, Value: json.RawMessage(value), Node: node}
		invoke, again := op, op
		invoke.Type, again.Type, again.Error, again.Meta = histories.Invoke, histories.OK, fault, invoke.Value
		ops := []histories.Op{invoke, again, invoke, again, invoke}
		for i := range ops {
			ops[i].Index, ops[i].Time = i, time.Duration(int64(i)*(step&math.MaxInt32+1))
		}
		ops[3].Type = histories.Fail
		h, err := histories.FromOps(ops)
		if err != nil {
			return // it is none
		}
		checkOps(t, h, math.MaxInt, nil)
	})
}

func TestOpsKeepToTheLimit(t *testing.T) {
	h := registerRun(t, 60_000, 5)
	whole, _, err := index(t.Context(), h, nil, math.MaxInt, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(whole.Blocks) != 4 {
		t.Fatalf("%d blocks", len(whole.Blocks))
	}
	levels, cores, details := 0, 0, 0
	for _, l := range whole.Levels {
		levels += l.Bytes
	}
	b := whole.Blocks
	for _, b := range b {
		cores += b.Core
		details += b.Detail
	}
	kept := func(x Index, of func(Block) int) string {
		var which []int
		for i, b := range x.Blocks {
			if of(b) > 0 {
				which = append(which, i)
			}
		}
		return fmt.Sprint(which)
	}
	last := h.Len() - 1
	for _, test := range []struct {
		limit          int
		wanted         []int
		levels         int
		cores, details string
		left           string
	}{
		{levels + cores + details, nil, 3, "[0 1 2 3]", "[0 1 2 3]", ""},
		{levels + cores + details - 1, []int{last, -3, h.Len() + 5 + blockOps}, 3, "[0 1 2 3]", "[1 2 3]", "nanoseconds of 32768 of the "},
		{levels + cores + b[0].Detail, []int{17}, 3, "[0 1 2 3]", "[0]", "nanoseconds of "},
		{levels + cores + b[2].Detail, []int{2*blockOps + 17}, 3, "[0 1 2 3]", "[2]", "nanoseconds of "},
		{levels + cores, nil, 3, "[0 1 2 3]", "[]", "nanoseconds of "},
		{levels + cores - b[0].Core, []int{blockOps, last}, 3, "[1 2 3]", "[]", "32768 of the "},
		{levels + b[1].Core + b[2].Core, []int{blockOps + 5, 2 * blockOps}, 3, "[1 2]", "[]", "ops, and values"},
		{levels + b[2].Core, []int{2 * blockOps}, 3, "[2]", "[]", "ops, and values"},
		{levels, nil, 3, "[]", "[]", fmt.Sprintf("%d of the %d ops; they are in history.jsonl", h.Len(), h.Len())},
		{whole.Levels[0].Bytes, nil, 1, "[]", "[]", ""},
		{0, nil, 0, "[]", "[]", ""},
	} {
		x := checkOps(t, h, test.limit, test.wanted)
		if got := len(x.Levels); got != test.levels {
			t.Errorf("%d bytes: %d levels, want %d", test.limit, got, test.levels)
		}
		if got := kept(x, func(b Block) int { return b.Core }); got != test.cores {
			t.Errorf("%d bytes: the cores of %s, want %s", test.limit, got, test.cores)
		}
		if got := kept(x, func(b Block) int { return b.Detail }); got != test.details {
			t.Errorf("%d bytes: the details of %s, want %s", test.limit, got, test.details)
		}
		if !strings.Contains(x.Left, test.left) {
			t.Errorf("%d bytes: left out %q, want %q in it", test.limit, x.Left, test.left)
		}
	}
}

func TestOpsEndWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := index(ctx, registerRun(t, 10, 1), nil, 1<<20, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
