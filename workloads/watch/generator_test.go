package watch

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

// played returns what a simulation makes of the workload, in which nobody is ever told
// anything: its main phase to the limit, then the end.
func played(t *testing.T, o Options, workers int, limit time.Duration, s generatortest.Simulation) []histories.Op {
	t.Helper()
	s.Workers = workers
	ops, err := workloadtest.Simulate(New(o, nil), limit, s)
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

// TestWatchersKeepTheirWorkers whatever becomes of their processes, and all else is
// done by others, if there are others.
func TestWatchersKeepTheirWorkers(t *testing.T) {
	for _, workers := range []int{1, 3, 4, 5, 10} {
		counts, values := map[string]int{}, map[string]bool{}
		for _, op := range played(t, Options{FinalLimit: time.Second}, workers, 20*time.Second, generatortest.Simulation{
			Outcome: generatortest.Mixed(20 * time.Millisecond),
		}) {
			if op.Type != histories.Invoke {
				continue
			}
			in, err := ParseInput(op.F, op.Value)
			if err != nil {
				t.Fatalf("%v: %v", op, err)
			}
			counts[op.F]++
			worker := int(op.Process) % workers
			if op.F == Watch && *in.Watcher != worker {
				t.Errorf("%v, by worker %d", op, worker)
			}
			if op.F != Watch && op.Time < 20*time.Second && workers > DefaultWatchers && worker < DefaultWatchers {
				t.Errorf("%v, by a watcher", op)
			}
			if op.F == Put && values[in.Value] {
				t.Errorf("%v: put before", op)
			}
			values[in.Value] = true
		}
		if counts[Put] < 3*counts[Delete] || counts[Delete] < 5*counts[Status] || counts[Status] == 0 || counts[Watch] < 100 {
			t.Errorf("%d workers: %v", workers, counts)
		}
	}
}

// TestCompactions stay behind, and come as often as they are to.
func TestCompactions(t *testing.T) {
	w := New(Options{}, nil)
	n := 0
	ops := performed(t, 2*time.Second, "", 0, 3)
	for _, op := range ops.All() {
		if in, err := ParseInput(op.F, op.Value); op.Type == histories.Invoke && op.F == Compact {
			n++
			if err != nil || in.Revision == 0 {
				t.Errorf("%v: %v", op, err)
			}
		}
	}
	if n < 20 || w.Name != "watch" {
		t.Errorf("%d compactions", n)
	}
}

func TestFinalPhaseEnds(t *testing.T) {
	if err := workloadtest.FinalEnds(New(Options{FinalLimit: 2 * time.Second}, nil), 2*time.Second); err != nil {
		t.Error(err)
	}
}

// A stub is a Store that says what it is told.
type stub struct {
	calls []string
	said  workloads.Said
	batch Batch
	err   error
}

func (s *stub) say(format string, args ...any) (workloads.Said, error) {
	s.calls = append(s.calls, fmt.Sprintf(format, args...))
	return s.said, s.err
}

func (s *stub) Put(_ context.Context, key, value string) (workloads.Said, error) {
	return s.say("put %s=%s", key, value)
}
func (s *stub) Delete(_ context.Context, key string) (workloads.Said, error) {
	return s.say("delete %s", key)
}
func (s *stub) Compact(_ context.Context, revision uint64) (workloads.Said, error) {
	return s.say("compact %d", revision)
}
func (s *stub) Revision(context.Context) (workloads.Said, error) { return s.say("revision") }
func (s *stub) Watch(_ context.Context, r Request) (Batch, error) {
	said, err := s.say("watch %s %s from %d for %v", r.Keys.Key, r.Keys.End, r.From, r.Wait)
	s.batch.Said = said
	return s.batch, err
}
func (s *stub) Close() error { return nil }

func TestOpsBecomeCalls(t *testing.T) {
	nine := workloads.Said{Node: "n2", Revision: 9, Term: 2}
	silent := errors.New("no answer")
	for _, test := range []struct {
		f, value string
		batch    Batch
		err      error

		call, reply string
		definite    bool
	}{
		{"put", `{"key":"a","value":"3"}`, Batch{}, nil, "put a=3", `{"key":"a","value":"3","revision":9}`, false},
		{"put", `{"key":"a","value":"3"}`, Batch{}, silent, "put a=3", ``, false},
		{"put", `{"key":"a","value":"3"}`, Batch{}, workloads.Definite(silent), "put a=3", ``, true},
		{"delete", `{"key":"a"}`, Batch{}, nil, "delete a", `{"key":"a","revision":9}`, false},
		{"compact", `{"revision":4}`, Batch{}, nil, "compact 4", `{"revision":4}`, false},
		{"status", `{}`, Batch{}, nil, "revision", `{"revision":9}`, false},
		{"watch", `{"watcher":0,"key":"a","end":"c","from":3}`,
			Batch{Events: []Event{{3, false, "a", "1"}, {5, true, "b", ""}}, To: 6, Resumed: 1}, nil,
			"watch a c from 3 for 200ms", `{"watcher":0,"from":3,"to":6,"events":[[3,"put","a","1"],[5,"delete","b"]],"resumed":1}`, false},
		{"watch", `{"watcher":2,"key":"a","from":3}`, Batch{To: 2, Compacted: 8}, nil,
			"watch a  from 3 for 200ms", `{"watcher":2,"from":3,"to":2,"compacted":8}`, false},
		{"watch", `{"watcher":2,"key":"a","from":3}`, Batch{To: 2}, silent, "watch a  from 3 for 200ms", ``, false},
		{"watch", `{"key":"a"}`, Batch{}, nil, "", ``, true},
		{"push", `{"key":"a"}`, Batch{}, nil, "", ``, true},
	} {
		s := &stub{said: nine, batch: test.batch, err: test.err}
		w := New(Options{}, func(context.Context, int) (Store, error) { return s, nil })
		c, err := w.Open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := c.Invoke(t.Context(), histories.Op{F: test.f, Value: json.RawMessage(test.value)})
		name := test.f + " " + test.value
		if got := fmt.Sprint(s.calls); got != "["+test.call+"]" {
			t.Errorf("%s: called %s, want %s", name, got, test.call)
		}
		if got := string(reply.Value); got != test.reply {
			t.Errorf("%s: got %s, want %s", name, got, test.reply)
		}
		if test.call != "" && (reply.Node != "n2" || string(reply.Meta) != `{"term":2}`) {
			t.Errorf("%s: %s of %s", name, reply.Meta, reply.Node)
		}
		if workloads.IsDefinite(err) != test.definite || (err == nil) != (test.err == nil && test.call != "") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestEventsAreReadBack(t *testing.T) {
	for _, bad := range []string{`[1,"put","a"]`, `[1,"delete","a","1"]`, `[1,"move","a"]`, `[]`, `{}`, `["1","put","a","2"]`} {
		var e Event
		if err := json.Unmarshal([]byte(bad), &e); err == nil {
			t.Errorf("%s was read as %v", bad, e)
		}
	}
	want := Output{Events: []Event{{3, false, "a", "1"}, {5, true, "b", ""}}}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parseOutput(Watch, b); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s was read as %+v, %v", b, got, err)
	}
}
