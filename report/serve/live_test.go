package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/internal/store"
)

// A listener is somebody who reads a stream.
type listener struct {
	testing.TB
	events <-chan event
	leave  func()
	done   chan struct{} // closed when the handler has returned
}

// A piped is a response that is read while it is written.
type piped struct {
	http.ResponseWriter
	w io.Writer
}

func (p piped) Write(b []byte) (int, error) { return p.w.Write(b) }
func (p piped) Flush()                      {}

// listen reads a stream of the server. Within a bubble nothing of it waits for the kernel.
func (s *shelf) listen(t testing.TB, path string) *listener {
	r, w := io.Pipe()
	to := make(chan event, 10_000)
	ctx, leave := context.WithCancel(t.Context())
	l := &listener{t, to, leave, make(chan struct{})}
	request := httptest.NewRequest("GET", "http://localhost"+path, nil).WithContext(ctx)
	go func() {
		defer close(l.done)
		defer w.Close()
		s.ServeHTTP(piped{httptest.NewRecorder(), w}, request)
	}()
	go events(r, to)
	return l
}

// next returns the next event, or one without anything if the stream has ended.
func (l *listener) next() event { return <-l.events }

// until returns the state after all that is told up to an event for which is says so.
func (l *listener) until(is func(v *heard) bool) *heard {
	l.Helper()
	v := &heard{}
	for e := range l.events {
		v.take(l, e)
		if is(v) {
			return v
		}
	}
	l.Fatal("the stream ended before that")
	return nil
}

// A heard is what a page makes of a stream.
type heard struct {
	Live
	columns [3][]int64
	faults  []Span
	leaders []Leader
	ended   bool
	events  int
}

func (v *heard) take(t testing.TB, e event) {
	t.Helper()
	v.events++
	switch e.name {
	case "end":
		v.ended = true
	case "live":
		v.Live = Live{}
		if err := json.Unmarshal([]byte(e.data), &v.Live); err != nil {
			t.Fatal(err)
		}
		for i, c := range [][]int64{v.OKs, v.Fails, v.Infos} {
			v.columns[i] = append(slices.Clone(v.columns[i][:min(v.From, len(v.columns[i]))]), c...)
		}
		if v.Faults != nil {
			v.faults = v.Faults
		}
		if v.Leaders != nil {
			v.leaders = v.Leaders
		}
	case "":
	default:
		t.Errorf("an event named %q", e.name)
	}
}

// A running is a run that goes on.
type running struct {
	*shelf
	*store.Run
	info    store.Info
	release func() error
	file    *os.File
	journal *histories.Journal
	now     time.Duration
}

func (s *shelf) run(t testing.TB) *running {
	t.Helper()
	r, err := store.Create(s.root, "a", noon)
	if err != nil {
		t.Fatal(err)
	}
	n := &running{shelf: s, Run: r}
	if n.release, err = r.Hold(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.release() })
	n.info = store.Info{System: "raftkv", Workload: "register", Began: noon, Options: store.Options{TimeLimit: store.Duration(20 * time.Second)}}
	n.save()
	if n.file, err = r.CreateFile(store.HistoryFile); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.file.Close() })
	n.journal = histories.NewJournal(n.file, func() time.Duration { return n.now })
	t.Cleanup(func() { n.journal.Close() })
	return n
}

func (r *running) save() {
	r.Helper()
	if err := r.WriteInfo(r.info); err != nil {
		r.Fatal(err)
	}
}

// record writes ops at a time, in a bubble.
func (r *running) record(at time.Duration, ops ...histories.Op) {
	r.Helper()
	r.happens(at, ops...)
	synctest.Wait() // until it is written
}

// calls are n operations of a type, one after the other.
func calls(process histories.Process, n int, typ histories.Type) (ops []histories.Op) {
	for range n {
		ops = append(ops, histories.Op{Process: process, Type: histories.Invoke, F: "read"}, histories.Op{Process: process, Type: typ, F: "read"})
	}
	return ops
}

func nemesisOp(typ histories.Type, f, value string) histories.Op {
	return histories.Op{Process: histories.Nemesis, Type: typ, F: f, Value: json.RawMessage(value)}
}

func leads(node string, term int) histories.Op {
	return histories.Op{
		Process: histories.Observer, Type: histories.Event, F: histories.State,
		Value: fmt.Appendf(nil, `{"n1":{"role":"follower","term":1},%q:{"role":"leader","term":%d},"n9":{"role":"leader","term":1}}`, node, term),
	}
}

// end ends the run as the tester does.
func (r *running) end() {
	r.Helper()
	ended := noon.Add(time.Minute)
	r.info.Ended, r.info.Verdict = &ended, "invalid"
	r.write(r.File(store.ResultsFile), results)
	r.write(r.File(store.ReportFile), "")
	r.save()
	if err := r.release(); err != nil {
		r.Fatal(err)
	}
}

func TestARunIsFollowedToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		r := s.run(t)
		r.write(r.File("run.log"), "time=x level=INFO msg=phase name=start\ntime=x level=INFO msg=phase name=main\ntime=x msg=pha")
		r.record(500*time.Millisecond, calls(0, 3, histories.OK)...)
		l := s.listen(t, "/api/live/"+one)
		v := l.until(func(v *heard) bool { return v.OK == 3 })
		if v.State != "running" || v.Phase != "main" || v.Limit != 20_000_000 || v.Width != 1_000_000 || len(v.columns[0]) != 1 {
			t.Errorf("got %+v", v.Live)
		}
		begin := `{"id":0,"fault":"partition:ring","detail":{"shape":"ring"}}`
		r.record(1500*time.Millisecond, nemesisOp(histories.Invoke, "partition", begin), nemesisOp(histories.Info, "partition", begin), leads("n2", 3))
		r.record(2500*time.Millisecond, append(calls(0, 2, histories.Fail), calls(1, 1, histories.Info)...)...)
		r.record(2600*time.Millisecond, histories.Op{Process: 0, Type: histories.Invoke, F: "read"})
		v = l.until(func(v *heard) bool { return v.Info == 1 && v.Open == 1 })
		if len(v.faults) != 1 || v.faults[0].To != -1 || v.faults[0].What != "partition:ring" || v.faults[0].From/1e6 != 1 {
			t.Errorf("faults: %+v", v.faults)
		}
		if len(v.leaders) != 1 || v.leaders[0].Node != "n2" || v.leaders[0].Term != "3" {
			t.Errorf("leaders: %+v", v.leaders)
		}
		heal := `{"id":0,"fault":"partition:ring","acted":7}`
		r.record(3500*time.Millisecond, nemesisOp(histories.Invoke, histories.Heal, heal), nemesisOp(histories.Info, histories.Heal, heal), leads("n2", 3), leads("n3", 4))
		v = l.until(func(v *heard) bool { return len(v.leaders) == 2 })
		if len(v.faults) != 1 || v.faults[0].To/1e6 != 3 || v.faults[0].Acted != 7 {
			t.Errorf("faults: %+v", v.faults)
		}
		r.end()
		r.shelf.write(r.File("run.log"), "") // nothing rests on it
		v = l.until(func(v *heard) bool { return v.ended })
		if v.State != "ended" || v.Outcome != "invalid" || !v.Report {
			t.Errorf("at the end: %+v", v.Live)
		}
		<-l.done
		// Who comes later is told all of it at once.
		late := s.listen(t, "/api/live/"+one).until(func(v *heard) bool { return v.ended })
		want := [3][]int64{{3, 0, 0}, {0, 0, 2}, {0, 0, 1}}
		for i := range want {
			if !slices.Equal(late.columns[i], want[i]) {
				t.Errorf("columns: got %v, want %v", late.columns, want)
			}
		}
		if late.OK != 3 || late.Fail != 2 || late.Info != 1 || late.Open != 1 || late.Elapsed/1e5 != 35 || len(late.leaders) != 2 {
			t.Errorf("got %+v", late.Live)
		}
		synctest.Wait()
		if len(s.followed) != 0 {
			t.Errorf("%d are followed by nobody", len(s.followed))
		}
	})
}

// TestALongRunIsToldToItsEnd has a run that has ended, and is longer than what is read at
// once.
func TestALongRunIsToldToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		r := s.run(t)
		r.record(time.Second, calls(0, readAtOnce, histories.OK)...)
		r.end()
		if v := s.listen(t, "/api/live/"+one).until(func(v *heard) bool { return v.ended }); v.OK != readAtOnce {
			t.Errorf("it tells of %d operations of %d", v.OK, readAtOnce)
		}
	})
}

// TestStreamsGoOverTheNetwork has a client that hears of things while they happen, and
// that the server notices to have gone.
func TestStreamsGoOverTheNetwork(t *testing.T) {
	s := serve(t)
	r := s.put("a", noon, func(i *store.Info) { i.Ended = nil })
	release, err := r.Hold()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	real := httptest.NewServer(s)
	defer real.Close()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	for _, path := range []string{"/api/live/" + one, "/api/events"} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, real.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if kind := answer.Header.Get("Content-Type"); kind != "text/event-stream" {
			t.Errorf("%s: %s", path, kind)
		}
		heard := make(chan event, 1000)
		go events(answer.Body, heard)
		if e := <-heard; e.name == "" {
			t.Errorf("%s: got %+v", path, e)
		}
	}
	s.mu.Lock()
	f := s.followed[one]
	s.mu.Unlock()
	leave()
	for { // it ends when nobody looks on
		f.mu.Lock()
		ended, changed := f.ended, f.changed
		f.mu.Unlock()
		if ended {
			break
		}
		<-changed
	}
}

// TestNobodyWaitsForALook asks while what is known is a little old.
func TestNobodyWaitsForALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		s.stale = stale
		s.put("a", noon, nil)
		total := func() int { return get[Runs](s, "/api/runs").Total }
		if n := total(); n != 1 {
			t.Errorf("at first there are %d", n)
		}
		s.put("b", noon, nil)
		if n := total(); n != 1 {
			t.Errorf("it looks for every request: %d", n)
		}
		time.Sleep(stale)
		if n := total(); n != 1 {
			t.Errorf("it waits for a look: %d", n)
		}
		synctest.Wait()
		if n := total(); n != 2 {
			t.Errorf("nobody has looked: %d", n)
		}
		s.put("c", noon, nil)
		time.Sleep(tolerable)
		if n := total(); n != 3 {
			t.Errorf("what is told is far too old: %d", n)
		}
	})
}

func TestManyShareOneWhoFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		r := s.run(t)
		r.record(time.Second, calls(0, 5, histories.OK)...)
		var all []*listener
		for range 4 {
			all = append(all, s.listen(t, "/api/live/"+one))
		}
		for _, l := range all {
			l.until(func(v *heard) bool { return v.OK == 5 })
		}
		f := s.followed[one]
		if len(s.followed) != 1 || f.viewers != 4 {
			t.Fatalf("%d are followed, the one by %d", len(s.followed), f.viewers)
		}
		for i, l := range all {
			if f.isOver() {
				t.Errorf("it ended with %d who look on", len(all)-i)
			}
			l.leave()
			<-l.done
			synctest.Wait()
		}
		if !f.isOver() || len(s.followed) != 0 {
			t.Error("it goes on, and nobody looks on")
		}
	})
}

func TestADeadRunIsNotRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		r := s.run(t)
		r.record(time.Second, calls(0, 5, histories.OK)...)
		r.file.WriteString(`{"index":10,"time":2000000000,"process":0,"ty`) // its last line is torn
		l := s.listen(t, "/api/live/"+one)
		l.until(func(v *heard) bool { return v.OK == 5 && v.State == "running" })
		r.release() // as the kernel does when a process dies
		if v := l.until(func(v *heard) bool { return v.ended }); v.State != "dead" || v.Outcome != "ended early" {
			t.Errorf("got %+v", v.Live)
		}
		if row := get[Runs](s, "/api/runs").Rows[0]; row.State != "dead" || row.Outcome != "ended early" {
			t.Errorf("in the table: %+v", row)
		}
	})
}

func TestARunThatIsDeletedEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		r := s.run(t)
		r.record(time.Second, calls(0, 5, histories.OK)...)
		l := s.listen(t, "/api/live/"+one)
		l.until(func(v *heard) bool { return v.OK == 5 })
		os.RemoveAll(r.Dir)
		if v := l.until(func(v *heard) bool { return v.ended }); v.State != "deleted" || v.OK != 5 {
			t.Errorf("got %+v", v.Live)
		}
	})
}

func TestARunWithoutAHistoryIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		r := s.run(t)
		os.Remove(r.History())
		l := s.listen(t, "/api/live/"+one)
		v := l.until(func(v *heard) bool { return v.events > 3 })
		if v.State != "running" || len(v.Trouble) > 0 {
			t.Errorf("got %+v", v.Live)
		}
		l.leave()
		<-l.done
	})
}

func TestWhatIsNoHistoryIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		r := s.run(t)
		r.record(time.Second, calls(0, 5, histories.OK)...)
		r.file.WriteString("garbage\n")
		l := s.listen(t, "/api/live/"+one)
		v := l.until(func(v *heard) bool { return len(v.Trouble) > 0 })
		if v.OK != 5 || !strings.Contains(v.Trouble[0], "line 11") || strings.Contains(v.Trouble[0], s.root) {
			t.Errorf("got %+v", v.Live)
		}
		r.end()
		if v := l.until(func(v *heard) bool { return v.ended }); v.Outcome != "invalid" {
			t.Errorf("got %+v", v.Live)
		}
	})
}

func TestClosingEndsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		r := s.run(t)
		r.record(time.Second, calls(0, 5, histories.OK)...)
		live, changes := s.listen(t, "/api/live/"+one), s.listen(t, "/api/events")
		live.until(func(v *heard) bool { return v.OK == 5 })
		changes.next()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		<-live.done
		<-changes.done
		for e := range live.events {
			if e.name == "end" {
				t.Error("it is told that the run has ended")
			}
		}
	})
}

func TestChangesOfTheStoreAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		s.put("a", noon, nil)
		l := s.listen(t, "/api/events")
		change := func() (c Change) {
			t.Helper()
			for {
				e := l.next()
				if e.name == "" && e.data != "" {
					continue // a sign of life
				}
				if e.name != "runs" {
					t.Fatalf("got %+v", e)
				}
				if err := json.Unmarshal([]byte(e.data), &c); err != nil {
					t.Fatal(err)
				}
				return c
			}
		}
		first := change()
		if first.Total != 1 {
			t.Errorf("got %+v", first)
		}
		began := time.Now()
		if e := l.next(); e.name != "" || !strings.HasPrefix(e.data, ": ") {
			t.Errorf("nothing has changed, and it tells %+v", e)
		}
		if took := time.Since(began); took < beating || took > beating+looking {
			t.Errorf("a sign of life after %v", took)
		}
		s.put("b", noon, nil)
		began = time.Now()
		if c := change(); c.Total != 2 || c.Version == first.Version {
			t.Errorf("got %+v after %+v", c, first)
		}
		if took := time.Since(began); took > looking {
			t.Errorf("it took %v", took)
		}
		if runs := get[Runs](s, "/api/runs"); runs.Total != 2 {
			t.Errorf("the table has %d", runs.Total)
		}
		l.leave()
		<-l.done
	})
}

func TestStreamsAreBounded(t *testing.T) {
	s := serve(t)
	s.streams.Store(maxStreams)
	if w := s.ask("GET", "/api/events"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("got %d", w.Code)
	}
	if n := s.streams.Load(); n != maxStreams {
		t.Errorf("%d are counted", n)
	}
}

// A script is a Live that finds what a test says.
type script struct {
	fed     int
	at      int // it finds something when so many ops were fed
	found   *checker.Finding
	err     error
	explain func(f *checker.Finding, ops int) error
	panics  bool
}

func (s *script) Feed(histories.Op) error { s.fed++; return nil }
func (s *script) GaveUp() int             { return 1 }

func (s *script) Look(context.Context) (*checker.Finding, error) {
	if s.panics {
		panic("at nothing")
	}
	if s.fed < s.at || s.found == nil {
		return nil, s.err
	}
	f := s.found
	s.found = nil
	return f, s.err
}

func (s *script) Explain(_ context.Context, f *checker.Finding, history iter.Seq2[histories.Op, error]) error {
	ops := 0
	for _, err := range history {
		if err != nil {
			return err
		}
		ops++
	}
	return s.explain(f, ops)
}

func TestTheFirstAnomalyIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		judge := &script{
			at:    20,
			found: &checker.Finding{Anomaly: checker.Anomaly{Kind: "stale read", Note: "suspected", Ops: []int{3, 5}}, Time: 2 * time.Second, Suspected: true},
			explain: func(f *checker.Finding, ops int) error {
				f.Note = fmt.Sprintf("explained by %d ops", ops)
				return nil
			},
		}
		var asked []string
		s := serve(t, func(o *Options) { o.Live = func(w string) checker.Live { asked = append(asked, w); return judge } })
		r := s.run(t)
		r.record(time.Second, calls(0, 5, histories.OK)...)
		l := s.listen(t, "/api/live/"+one)
		v := l.until(func(v *heard) bool { return v.Judged != "" })
		if !strings.Contains(v.Judged, "nothing found up to 1.0 s") || !strings.Contains(v.Judged, "given up for 1 object") || v.Found != nil {
			t.Errorf("got %+v", v.Live)
		}
		r.record(2*time.Second, calls(0, 5, histories.OK)...)
		v = l.until(func(v *heard) bool { return v.Found != nil })
		if want := (Found{"stale read", "explained by 20 ops", []int{3, 5}, 2_000_000}); v.Found.Kind != want.Kind || v.Found.Note != want.Note || v.Found.Time != want.Time || !slices.Equal(v.Found.Ops, want.Ops) {
			t.Errorf("got %+v", v.Found)
		}
		if !slices.Equal(asked, []string{"register"}) {
			t.Errorf("judged as %q", asked)
		}
		l.leave()
		<-l.done
	})
}

func TestWhatIsNotConfirmedIsNotTold(t *testing.T) {
	for name, judge := range map[string]*script{
		"refuted": {found: &checker.Finding{Suspected: true}, explain: func(*checker.Finding, int) error { return errors.New("it was none") }},
		"failed":  {err: errors.New("out of memory")},
		"panic":   {panics: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, func(o *Options) { o.Live = func(string) checker.Live { return judge } })
			r := s.run(t)
			r.record(time.Second, calls(0, 5, histories.OK)...)
			l := s.listen(t, "/api/live/"+one)
			v := l.until(func(v *heard) bool { return v.Judged != "" })
			if v.Found != nil || strings.Contains(v.Judged, "not judged any further") != (name != "refuted") {
				t.Errorf("%s: got %+v", name, v.Live)
			}
			l.leave()
			<-l.done
		})
	}
}

func TestWhatWasFoundWhileItRanIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		r := s.run(t)
		r.record(time.Second, calls(0, 5, histories.OK)...)
		r.info.Live = &store.Live{Kind: "lost write", Note: "it was", Time: store.Duration(time.Second)}
		r.end()
		v := s.listen(t, "/api/live/"+one).until(func(v *heard) bool { return v.ended })
		if v.Found == nil || v.Found.Kind != "lost write" || v.Found.Time != 1_000_000 {
			t.Errorf("got %+v", v.Found)
		}
	})
}

func TestLongRunsHaveWiderColumns(t *testing.T) {
	p := progress{width: firstColumn}
	seen := told{}
	v := &heard{}
	var want int64
	for i := range 5 * maxColumns {
		p.add(histories.Op{Process: 0, Type: histories.OK, Time: time.Duration(i) * firstColumn})
		want++
		if i%700 == 0 { // somebody is told now and then
			var l Live
			l, seen = p.since(seen)
			b, _ := json.Marshal(l)
			v.take(t, event{"live", string(b)})
		}
	}
	l, _ := p.since(seen)
	b, _ := json.Marshal(l)
	v.take(t, event{"live", string(b)})
	if len(v.columns[0]) > maxColumns || !slices.Equal(v.columns[0], p.columns[0]) || p.width != 8*firstColumn {
		t.Errorf("%d columns of %v; the page has %d", len(p.columns[0]), p.width, len(v.columns[0]))
	}
	var sum int64
	for _, n := range v.columns[0] {
		sum += n
	}
	if sum != want {
		t.Errorf("they count %d, want %d", sum, want)
	}
}

func TestThePastOfAHistory(t *testing.T) {
	var b bytes.Buffer
	now := time.Duration(0)
	j := histories.NewJournal(&b, func() time.Duration { now += time.Second; return now })
	begin, heal := `{"id":0,"fault":"kill","detail":{"target":"leader"}}`, `{"id":0,"fault":"kill","acted":1}`
	for _, op := range slices.Concat(calls(0, 1, histories.OK), []histories.Op{
		nemesisOp(histories.Invoke, "kill", begin), nemesisOp(histories.Info, "kill", begin),
		nemesisOp(histories.Invoke, histories.Heal, heal), nemesisOp(histories.Info, histories.Heal, heal),
		nemesisOp(histories.Invoke, "kill", `{"id":1,"fault":"kill"}`),
	}) {
		if _, err := j.Append(op); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
	p := readPast(t.Context(), bytes.NewReader(b.Bytes()))
	want := []Span{{Name: "kill", What: "kill leader", From: 4e6, To: 5e6, Acted: 1}, {Name: "kill", What: "kill", From: 7e6, To: -1, Failed: "never completed", Pending: "begin"}}
	if !slices.Equal(p.Spans, want) || p.Duration != 7e6 || p.Ops != 7 || p.Note != "" {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
	// What is there is drawn, and what is not is said.
	torn := readPast(t.Context(), bytes.NewReader(append(b.Bytes(), "garbage\n"...)))
	if !slices.Equal(torn.Spans, want) || !strings.Contains(torn.Note, "up to 7.0 s") {
		t.Errorf("got %+v", torn)
	}
}
