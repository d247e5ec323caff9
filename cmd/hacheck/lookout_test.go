package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// A recording is a history's file, while a journal writes it.
type recording struct {
	mu sync.Mutex
	b  []byte
}

func (r *recording) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.b = append(r.b, b...)
	return len(b), nil
}

// reader returns one from its begin.
func (r *recording) reader() io.Reader { return &recordingReader{r, 0} }

type recordingReader struct {
	of *recording
	at int
}

func (r *recordingReader) Read(b []byte) (int, error) {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	n := copy(b, r.of.b[r.at:])
	if r.at += n; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// A told is what a lookout told, and when.
type told struct {
	*checker.Finding
	lag  time.Duration
	when time.Time
}

// newLookout returns a lookout with that live checker, what it tells, and what it logs.
func newLookout(r *recording, live checker.Live) (l *lookout, tells *[]told, logs *[]string) {
	tells, logs = new([]told), new([]string)
	return &lookout{
		Lookout: checker.Lookout{
			Live: live, Follower: histories.Follow(r.reader()),
			Again: func() (io.ReadCloser, error) { return io.NopCloser(r.reader()), nil },
			Log:   func(what string, err error) { *logs = append(*logs, fmt.Sprintf("%s: %v", what, err)) },
		},
		over: func() bool { return false },
		tell: func(f *checker.Finding, lag time.Duration) {
			*tells = append(*tells, told{f, lag, time.Now()})
		},
	}, tells, logs
}

// journal returns a journal of r whose times are those of now on.
func journal(t *testing.T, r *recording) (j *histories.Journal, do func(process histories.Process, typ histories.Type, f, value string)) {
	began := time.Now()
	j = histories.NewJournal(r, func() time.Duration { return time.Since(began) })
	return j, func(process histories.Process, typ histories.Type, f, value string) {
		t.Helper()
		op := histories.Op{Process: process, Type: typ, F: f}
		if value != "" {
			op.Value = []byte(value)
		}
		if _, err := j.Append(op); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestViolationsAreToldAtOnce: while a process hangs, of a workload that is judged op by
// op, and of one that is judged as a whole.
func TestViolationsAreToldAtOnce(t *testing.T) {
	for _, c := range []struct {
		workload, write string
		saw             func(n int) string // by a read after n was written
		wrong           string
	}{
		{"register", "write", func(n int) string { return fmt.Sprintf(`["k",%d]`, n) }, `["k",7]`},
		{"set", "add", func(n int) string { return fmt.Sprintf(`["k",%s]`, upTo(n)) }, `["k",[1,2]]`},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := &recording{}
			l, tells, logs := newLookout(r, findWorkload(c.workload).judgeLive())
			ctx, cancel := context.WithCancel(t.Context())
			var watching sync.WaitGroup
			watching.Go(func() {
				if err := l.watch(ctx); err != nil {
					t.Error(err)
				}
			})
			j, do := journal(t, r)
			write := func(n int) {
				value := fmt.Sprintf(`["k",%d]`, n)
				do(0, histories.Invoke, c.write, value)
				do(0, histories.OK, c.write, value)
			}
			read := func(saw string) {
				do(1, histories.Invoke, "read", `["k",null]`)
				do(1, histories.OK, "read", saw)
			}
			do(9, histories.Invoke, "read", `["k",null]`)
			for n := range 500 {
				write(n)
				read(c.saw(n))
			}
			if synctest.Wait(); len(*tells) > 0 {
				t.Fatalf("%s: told %+v of what is right", c.workload, (*tells)[0])
			}
			read(c.wrong)
			at, shown := j.Len()-1, time.Now()
			for n := range 500 {
				if synctest.Wait(); len(*tells) == 0 {
					write(1000 + n)
				}
			}
			cancel()
			watching.Wait()
			if err := j.Close(); err != nil {
				t.Error(err)
			}
			if len(*tells) != 1 {
				t.Fatalf("%s: told %v; log %v", c.workload, *tells, *logs)
			}
			got := (*tells)[0]
			if wait := got.when.Sub(shown); wait > leastRest+10*time.Millisecond {
				t.Errorf("%s: told after %v", c.workload, wait)
			}
			if got.lag < 0 || got.lag > leastRest+20*time.Millisecond {
				t.Errorf("%s: it says it was after %v", c.workload, got.lag)
			}
			if !slices.Contains(got.Ops, at) || got.Kind == "not linearizable" {
				t.Errorf("%s: told %+v, want op %d among it", c.workload, got.Anomaly, at)
			}
		})
	}
}

// upTo is the set of the numbers up to n.
func upTo(n int) string {
	var b strings.Builder
	for i := range n + 1 {
		fmt.Fprintf(&b, ",%d", i)
	}
	return "[" + b.String()[1:] + "]"
}

// A fake is a Live that does as it is told.
type fake struct {
	feed    func(histories.Op) error
	look    func() (*checker.Finding, error)
	explain func(ctx context.Context, f *checker.Finding, ops int) error
	gaveUp  int
}

func (f fake) GaveUp() int { return f.gaveUp }

func (f fake) Feed(op histories.Op) error {
	if f.feed == nil {
		return nil
	}
	return f.feed(op)
}

func (f fake) Look(context.Context) (*checker.Finding, error) {
	if f.look == nil {
		return nil, nil
	}
	return f.look()
}

func (f fake) Explain(ctx context.Context, found *checker.Finding, history iter.Seq2[histories.Op, error]) error {
	n := 0
	for _, err := range history {
		if err != nil {
			return err
		}
		n++
	}
	if f.explain == nil {
		return nil
	}
	return f.explain(ctx, found, n)
}

// opened is a recording of one op.
func opened() *recording {
	return &recording{b: []byte(`{"index":0,"time":1,"type":"invoke","process":0,"f":"read"}` + "\n" + `{"index":1,"ti`)}
}

// TestWhatFailsWhileLookingFailsNothingElse: it is returned, and that is the end of it.
func TestWhatFailsWhileLookingFailsNothingElse(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		live fake
		b    string
		want string
	}{
		"panic in feed": {fake{feed: func(histories.Op) error { panic("oh") }}, "", "panicked: oh"},
		"panic in look": {fake{look: func() (*checker.Finding, error) { panic("oh") }}, "", "panicked: oh"},
		"panic in words": {fake{
			look:    func() (*checker.Finding, error) { return &checker.Finding{}, nil },
			explain: func(context.Context, *checker.Finding, int) error { panic("oh") },
		}, "", "panicked: oh"},
		"error in feed": {fake{feed: func(histories.Op) error { return broken }}, "", "broken"},
		"error in look": {fake{look: func() (*checker.Finding, error) { return nil, broken }}, "", "broken"},
		"not a history": {fake{}, "me 1,\"type\"\n", "line 2: "},
		"ops are amiss": {fake{}, "me\":2,\"type\":\"ok\",\"process\":5,\"f\":\"read\"}\n", "line 2: process 5 completes"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := opened()
			r.b = append(r.b, c.b...)
			l, tells, logs := newLookout(r, c.live)
			err := l.watch(t.Context())
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%s: got %v, want %s", name, err, c.want)
			}
			if panicked := strings.HasPrefix(c.want, "panicked"); len(*tells) > 0 || panicked != (len(*logs) == 1) {
				t.Errorf("%s: told %v, logged %v", name, *tells, *logs)
			}
			if l.words(time.Second) != "" {
				t.Errorf("%s: it says %q, and looks no more", name, l.words(time.Second))
			}
		})
	}
}

// TestWhatIsNotConfirmedIsNotTold: it goes on with the next.
func TestWhatIsNotConfirmedIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		found := []*checker.Finding{{At: 1}, {At: 2}, nil, {At: 3}}
		l, tells, logs := newLookout(opened(), fake{
			look: func() (f *checker.Finding, err error) {
				f, found = found[0], found[1:]
				return f, nil
			},
			explain: func(_ context.Context, f *checker.Finding, ops int) error {
				if ops != 1 {
					t.Errorf("it was shown %d ops", ops)
				}
				if f.At < 3 {
					return errors.New("all is well")
				}
				return nil
			},
		})
		if err := l.watch(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(*tells) != 1 || (*tells)[0].At != 3 || len(*logs) != 2 {
			t.Errorf("told %v, logged %v", *tells, *logs)
		}
	})
}

// TestWhatHasNoWordsIsToldWithoutThem: in time.
func TestWhatHasNoWordsIsToldWithoutThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, tells, _ := newLookout(opened(), fake{
			look: func() (*checker.Finding, error) { return &checker.Finding{At: 5}, nil },
			explain: func(ctx context.Context, _ *checker.Finding, _ int) error {
				<-ctx.Done()
				return nil
			},
		})
		began := time.Now()
		if err := l.watch(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); len(*tells) != 1 || took > time.Second+leastRest {
			t.Errorf("told %v after %v", *tells, took)
		}
		l, tells, logs := newLookout(opened(), fake{look: func() (*checker.Finding, error) { return &checker.Finding{At: 5}, nil }})
		l.Again = func() (io.ReadCloser, error) { return nil, errors.New("too many open files") }
		if err := l.watch(t.Context()); err != nil || len(*tells) != 1 || len(*logs) != 1 {
			t.Errorf("told %v, logged %v, %v", *tells, *logs, err)
		}
	})
}

// TestWhatIsSuspectedIsNotToldUnread: who cannot read the history cannot prove it.
func TestWhatIsSuspectedIsNotToldUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		found := []*checker.Finding{{At: 1, Suspected: true}, {At: 2}}
		l, tells, logs := newLookout(opened(), fake{look: func() (f *checker.Finding, err error) {
			f, found = found[0], found[1:]
			return f, nil
		}})
		l.Again = func() (io.ReadCloser, error) { return nil, errors.New("too many open files") }
		if err := l.watch(t.Context()); err != nil || len(*tells) != 1 || (*tells)[0].At != 2 || len(*logs) != 2 {
			t.Errorf("told %v, logged %v, %v", *tells, *logs, err)
		}
	})
}

// TestLookingTakesAQuarter: where looks take long, they are rare.
func TestLookingTakesAQuarter(t *testing.T) {
	for _, takes := range []time.Duration{0, time.Millisecond, time.Second, 20 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			var looks int
			l, _, _ := newLookout(opened(), fake{look: func() (*checker.Finding, error) {
				time.Sleep(takes)
				looks++
				return nil, nil
			}})
			const run = 10 * time.Minute
			ctx, cancel := context.WithTimeout(t.Context(), run)
			defer cancel()
			if err := l.watch(ctx); err != nil {
				t.Fatal(err)
			}
			if looks < 5 || time.Duration(looks)*takes > run/4+takes {
				t.Errorf("%d looks of %v", looks, takes)
			}
			if looks > int(run/leastRest)+1 {
				t.Errorf("%d looks", looks)
			}
		})
	}
}

// TestItIsSaidHowFarItHasLooked: what is not looked at yet is behind.
func TestItIsSaidHowFarItHasLooked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, _ := newLookout(opened(), fake{look: func() (*checker.Finding, error) {
			time.Sleep(3 * time.Second)
			return nil, nil
		}, gaveUp: 2})
		ctx, cancel := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		watching.Go(func() {
			if err := l.watch(ctx); err != nil {
				t.Error(err)
			}
		})
		began := time.Now() // of the history, too, but for a nanosecond
		// The first look is over at 3 s, the second, of what there is at 12 s, at 15 s.
		for _, c := range []struct {
			at   time.Duration
			want string
		}{
			{2 * time.Second, "judged 2.0s behind"},
			{4 * time.Second, "judged 4.0s behind but for 2 keys"},
			{14 * time.Second, "judged 14.0s behind but for 2 keys"},
			{16 * time.Second, "judged 4.0s behind but for 2 keys"},
		} {
			time.Sleep(c.at - time.Since(began))
			if got := l.words(time.Since(began)); got != c.want {
				t.Errorf("after %v: got %q, want %q", c.at, got, c.want)
			}
		}
		cancel()
		watching.Wait()
	})
}

// TestWhatCannotBeReadAtOnceIsBehind: a look comes in between.
func TestWhatCannotBeReadAtOnceIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recording{}
		j, do := journal(t, r)
		for range 1000 { // a millisecond each
			do(0, histories.Invoke, "read", "")
			do(0, histories.OK, "read", "")
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		fed, looks := 0, []int{}
		l, _, _ := newLookout(r, fake{
			feed: func(histories.Op) error {
				fed++
				time.Sleep(time.Millisecond)
				return nil
			},
			look: func() (*checker.Finding, error) {
				looks = append(looks, fed)
				return nil, nil
			},
		})
		l.over = func() bool {
			if n := len(looks); n > 0 && fed < 2000 && l.judged.Load() != int64(time.Duration(fed-1)*time.Millisecond) {
				t.Errorf("%d ops were looked at, and it is judged up to %v", fed, time.Duration(l.judged.Load()))
			}
			return fed == 2000
		}
		if err := l.watch(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, n := range looks {
			before := 0
			if i > 0 {
				before = looks[i-1]
			}
			if most := 200 + 64; n-before > most {
				t.Errorf("looked after %v ops, want one after %d", looks, most)
			}
		}
	})
}

// TestNobodyLooksForNothing: with nothing to end, it ends.
func TestNobodyLooksForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		l, _, _ := newLookout(opened(), fake{look: func() (*checker.Finding, error) { looks++; return nil, nil }})
		l.over = func() bool { return looks == 3 }
		if err := l.watch(t.Context()); err != nil || looks != 3 {
			t.Errorf("%d looks, %v", looks, err)
		}
	})
}
