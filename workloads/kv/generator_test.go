package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/hacheck/hacheck/generator/generatortest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// played returns what a simulation makes of the workload: its main phase to the limit,
// then the final reads.
func played(t *testing.T, o Options, limit time.Duration, s generatortest.Simulation) []histories.Op {
	t.Helper()
	ops, err := workloadtest.Simulate(New(o, nil), limit, s)
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

func TestMixOfOperations(t *testing.T) {
	for _, keys := range []int{1, 2, DefaultKeys} {
		counts, values, special := map[string]int{}, map[string]bool{}, map[string]int{}
		all := 0
		h := performed(t, Options{Keys: keys}, 3*time.Second, "", 0.01, 1)
		for _, op := range h.All() {
			if op.Type == histories.Event || op.Process < 0 {
				continue
			}
			in, err := ParseInput(op.F, op.Value)
			if err != nil {
				t.Fatalf("%v: %v", op, err)
			}
			if op.Type == histories.Fail && in.At > 0 {
				special["refused"]++
			}
			if op.Type != histories.Invoke {
				continue
			}
			counts[op.F]++
			all++
			for _, a := range append([]Action{{op.F, in.Key, in.Value}}, append(in.Then, in.Else...)...) {
				if a.F == Put && values[a.Value] {
					t.Errorf("%v: put before", op)
				}
				if a.F == Put {
					values[a.Value] = true
				}
			}
			switch {
			case in.At > 0:
				special["past"]++
			case in.Serializable:
				special["serializable"]++
			}
		}
		for f, want := range map[string]int{Get: 26, Range: 26, Put: 27, Delete: 6, Transact: 15} {
			if got := 100 * counts[f] / all; got < want-5 || got > want+5 {
				t.Errorf("%d%% are %s, want %d%%", got, f, want)
			}
		}
		if special["past"] < all/50 || special["serializable"] < all/20 {
			t.Errorf("%v of %d", special, all)
		}
		if special["refused"] == 0 || special["refused"] > special["past"]/2 || counts[Compact] != 3 {
			t.Errorf("%v, %d compactions", special, counts[Compact])
		}
	}
}

// TestTransactionsDoBoth: conditions hold often enough, and fail often enough.
func TestTransactionsDoBoth(t *testing.T) {
	held, all := 0, 0
	for _, op := range performed(t, Options{}, 2*time.Second, "", 0, 5).All() {
		if op.F != Transact || op.Type != histories.OK {
			continue
		}
		out, err := parseOutput(op.F, op.Value)
		if err != nil {
			t.Fatal(err)
		}
		all++
		if out.Succeeded {
			held++
		}
	}
	if held < all/10 || held > all*9/10 {
		t.Errorf("%d of %d held", held, all)
	}
}

func TestAnyNumberOfWorkersAndARate(t *testing.T) {
	for _, workers := range []int{1, 2, 10, 25} {
		n := 0
		for _, op := range played(t, Options{Rate: 50}, 20*time.Second, generatortest.Simulation{Workers: workers}) {
			if op.Type == histories.Invoke && op.Time < 20*time.Second {
				n++
			}
		}
		if n < 850 || n > 1150 {
			t.Errorf("%d workers: %d operations in 20 s", workers, n)
		}
	}
}

func TestFinalPhaseEnds(t *testing.T) {
	if err := workloadtest.FinalEnds(New(Options{FinalLimit: 2 * time.Second}, nil), 2*time.Second); err != nil {
		t.Error(err)
	}
}

// A stub is a Store that says what it is told.
type stub struct {
	call    string
	said    workloads.Said
	kvs     []KV
	results []Result
	err     error
}

func (s *stub) Get(_ context.Context, key string, m Mode) (Read, error) {
	s.call = fmt.Sprint("get ", key, " ", m)
	return Read{s.kvs, s.said}, s.err
}
func (s *stub) Range(_ context.Context, prefix string, m Mode) (Read, error) {
	s.call = fmt.Sprint("range ", prefix, " ", m)
	return Read{s.kvs, s.said}, s.err
}
func (s *stub) Put(_ context.Context, key, value string) (Written, error) {
	s.call = fmt.Sprint("put ", key, " ", value)
	return Written{Said: s.said}, s.err
}
func (s *stub) Delete(_ context.Context, key string) (Written, error) {
	s.call = fmt.Sprint("delete ", key)
	return Written{true, s.said}, s.err
}
func (s *stub) Txn(_ context.Context, t Txn) (Decided, error) {
	s.call = fmt.Sprint("txn ", t)
	return Decided{true, s.results, s.said}, s.err
}
func (s *stub) Compact(_ context.Context, revision uint64) (workloads.Said, error) {
	s.call = fmt.Sprint("compact ", revision)
	return s.said, s.err
}
func (s *stub) Close() error { return nil }

func TestOpsBecomeCalls(t *testing.T) {
	seven := workloads.Said{Node: "n2", Revision: 7, Term: 2}
	silent := errors.New("no answer")
	a := KV{"a", "1", 2, 5, 3}
	for _, test := range []struct {
		f, value string
		stub     stub

		call, reply string
		definite    bool
	}{
		{"get", `{"key":"a"}`, stub{kvs: []KV{a}}, "get a {0 false}", `{"revision":7,"kvs":[["a","1",2,5,3]]}`, false},
		{"get", `{"key":"a","at":5}`, stub{}, "get a {5 false}", `{"revision":7}`, false},
		{"range", `{"prefix":"a","serializable":true}`, stub{kvs: []KV{a}}, "range a {0 true}", `{"revision":7,"kvs":[["a","1",2,5,3]]}`, false},
		{"put", `{"key":"a","value":"1"}`, stub{}, "put a 1", `{"revision":7}`, false},
		{"put", `{"key":"a","value":"1"}`, stub{err: silent}, "put a 1", ``, false},
		{"put", `{"key":"a","value":"1"}`, stub{err: workloads.Definite(silent)}, "put a 1", ``, true},
		{"delete", `{"key":"a"}`, stub{}, "delete a", `{"revision":7,"deleted":true}`, false},
		{"compact", `{"revision":5}`, stub{}, "compact 5", `{"revision":5}`, false},
		{"compact", `{"revision":5}`, stub{err: workloads.Definite(silent)}, "compact 5", ``, true},
		{"txn", `{"if":[["a","value","1"],["b","mod",0]],"then":[["get","a"],["delete","b"],["put","c","2"]],"else":[["get","a"]]}`,
			stub{results: []Result{{KV: &a}, {Deleted: true}, {}}},
			"txn {[{a value 1 0} {b mod  0}] [{get a } {delete b } {put c 2}] [{get a }]}",
			`{"revision":7,"succeeded":true,"results":[["a","1",2,5,3],true,null]}`, false},
		{"txn", `{"then":[["get","a"]]}`, stub{}, "txn {[] [{get a }] []}", ``, false},
		{"txn", `{"then":[["put","a","1"],["get","a"]]}`, stub{}, "", ``, true},
		{"txn", `{"then":[["put","a","1"],["put","a","2"]]}`, stub{}, "", ``, true},
		{"txn", `{"if":[["a","create",1]]}`, stub{}, "", ``, true},
		{"txn", `{"then":[["move","a"]]}`, stub{}, "", ``, true},
		{"push", `{"key":"a"}`, stub{}, "", ``, true},
	} {
		s := test.stub
		s.said = seven
		w := New(Options{}, func(context.Context, int) (Store, error) { return &s, nil })
		c, err := w.Open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := c.Invoke(t.Context(), histories.Op{F: test.f, Value: json.RawMessage(test.value)})
		name := test.f + " " + test.value
		if s.call != test.call {
			t.Errorf("%s: called %s, want %s", name, s.call, test.call)
		}
		if got := string(reply.Value); got != test.reply {
			t.Errorf("%s: got %s, want %s", name, got, test.reply)
		}
		if test.call != "" && (reply.Node != "n2" || string(reply.Meta) != `{"term":2}`) {
			t.Errorf("%s: %s of %s", name, reply.Meta, reply.Node)
		}
		if workloads.IsDefinite(err) != test.definite || (err == nil) != (test.reply != "") {
			t.Errorf("%s: got %v", name, err)
		}
		if err != nil {
			continue
		}
		out, err := parseOutput(test.f, reply.Value)
		if err != nil || !reflect.DeepEqual(out.KVs, test.stub.kvs) || !reflect.DeepEqual(out.Results, test.stub.results) {
			t.Errorf("%s: read back as %+v, %v", name, out, err)
		}
	}
}

func TestBadTuples(t *testing.T) {
	for _, bad := range []string{`["a","1",2,3]`, `["a","1",2,3,4,5]`, `{}`, `["a",1,2,3,4]`, `3`} {
		var kv KV
		if err := json.Unmarshal([]byte(bad), &kv); err == nil {
			t.Errorf("%s was read as %v", bad, kv)
		}
	}
}
