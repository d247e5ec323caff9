package serve

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/internal/store"
)

// A Live is what is told of a run to those who look on. Each tells what has changed since
// the one before; the first tells all. Times are microseconds of the history.
type Live struct {
	State   string `json:"state"` // see store.State; "deleted" if it has gone
	Outcome string `json:"outcome"`
	Phase   string `json:"phase"` // empty: not known
	// Elapsed is the time of the last op, Limit that of the main phase.
	Elapsed int64 `json:"elapsed"`
	Limit   int64 `json:"limit"`
	// Operations of clients so far, by outcome, and those that have not completed.
	OK   int64 `json:"ok"`
	Fail int64 `json:"fail"`
	Info int64 `json:"info"`
	Open int64 `json:"open"`
	// Width is that of a column, in which OKs, Fails and Infos count those that completed
	// in it, from column From on. A column may change until the next has begun.
	Width int64   `json:"width"`
	From  int     `json:"from"`
	OKs   []int64 `json:"oks"`
	Fails []int64 `json:"fails"`
	Infos []int64 `json:"infos"`
	// Faults and Leaders are left out where they have not changed.
	Faults  []Span   `json:"faults,omitempty"`
	Leaders []Leader `json:"leaders,omitempty"`
	// Found is the first anomaly; Judged says how far the run is judged, in words.
	Found  *Found `json:"found,omitempty"`
	Judged string `json:"judged,omitempty"`
	Report bool   `json:"report"` // there is a page of it
	// Trouble is what is wrong with the run, or with reading it.
	Trouble []string `json:"trouble"`
}

// A Leader is who led from a time on.
type Leader struct {
	Time int64  `json:"time"`
	Node string `json:"node"` // empty: nobody
	Term string `json:"term"`
}

// A Found is an anomaly that was found while a run went on.
type Found struct {
	Kind string `json:"kind"`
	Note string `json:"note"`
	Ops  []int  `json:"ops"`
	Time int64  `json:"time"`
}

const (
	// followEvery is the time between two looks at what a run has recorded, and stateEvery
	// that between two looks at how far it is.
	followEvery = 250 * time.Millisecond
	stateEvery  = time.Second
	// readAtOnce is how many ops are read before those who look on are told.
	readAtOnce = 1 << 14
	// maxColumns is how many columns there are at most. Where there would be more, they
	// become twice as wide.
	maxColumns  = 2048
	firstColumn = time.Second
	maxLeaders  = 500
	// maxLog is what is read of a log at once.
	maxLog = 1 << 20
)

// A following is a run that somebody looks on at. One goroutine reads what it records,
// however many do.
type following struct {
	server  *Server
	run     string
	end     context.CancelFunc
	viewers int // guarded by Server.mu

	mu      sync.Mutex // guards what follows
	now     progress
	changed chan struct{} // closed when now has changed
	ended   bool          // it does not change any more
}

// A progress is how far a run has come.
type progress struct {
	entry   store.Entry
	deleted bool
	phase   string
	elapsed time.Duration
	counts  [3]int64 // by outcome
	open    int64
	width   time.Duration
	columns [3][]int64
	widths  int // times that the width has changed
	faults  []Span
	leaders []Leader
	found   *Found
	judged  string
	trouble []string
	// versions count changes of faults and leaders.
	faultsAt, leadersAt int
}

// follow returns the following of a run. The caller calls done when it looks on no more;
// the last one to do so ends it. It is not ok when the server has ended.
func (s *Server) follow(e *store.Entry) (f *following, done func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil, nil, false
	}
	f, ok = s.followed[e.Path]
	if !ok || f.isOver() {
		ctx, end := context.WithCancel(s.ctx)
		f = &following{server: s, run: e.Path, end: end, changed: make(chan struct{})}
		f.now = progress{entry: *e, width: firstColumn}
		s.followed[e.Path] = f
		s.working.Go(func() { f.watch(ctx) })
	}
	f.viewers++
	return f, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if f.viewers--; f.viewers > 0 {
			return
		}
		f.end()
		if s.followed[f.run] == f {
			delete(s.followed, f.run)
		}
	}, true
}

func (f *following) isOver() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended
}

// update changes what is told.
func (f *following) update(change func(p *progress)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.now)
	close(f.changed)
	f.changed = make(chan struct{})
}

// watch reads what the run records until it ends, or ctx does.
func (f *following) watch(ctx context.Context) {
	var judging sync.WaitGroup
	defer judging.Wait()
	ctx, end := context.WithCancel(ctx)
	defer end() // who judges ends with it
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.ended = true
		close(f.changed)
	}()
	t := &tail{following: f, book: newBook()}
	defer t.close()
	if live := f.server.Live(f.now.entry.Workload); live != nil && f.now.entry.State == store.Running {
		judging.Go(func() { f.judge(ctx, live) })
	}
	tick := time.NewTimer(0)
	defer tick.Stop()
	var stateAt time.Time
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		// How far it is, is looked at before what it has recorded: so when it has ended,
		// what is read then is all.
		over := false
		if now := time.Now(); now.Sub(stateAt) >= stateEvery {
			stateAt = now
			over = t.look()
		}
		all := t.read(ctx)
		if over && !all && ctx.Err() == nil {
			stateAt = time.Time{} // there is more: look again
			over = false
		}
		if over {
			return
		}
		if all {
			tick.Reset(followEvery)
		} else {
			tick.Reset(0)
		}
	}
}

// A tail is what is read of a run that is followed. It belongs to the goroutine that reads.
type tail struct {
	*following
	history  io.ReadCloser
	follower *histories.Follower
	book     *book
	log      io.ReadCloser
	line     []byte // the begin of the log's next line
	broken   bool
}

func (t *tail) close() {
	if t.history != nil {
		t.history.Close()
	}
	if t.log != nil {
		t.log.Close()
	}
}

// look sees how far the run is, and whether it is over.
func (t *tail) look() (over bool) {
	e, err := t.server.index.Read(t.run)
	deleted := errors.Is(err, fs.ErrNotExist)
	phase := t.phase()
	t.update(func(p *progress) {
		if p.deleted = deleted; !deleted && err == nil {
			p.entry = e
		}
		if phase != "" {
			p.phase = phase
		}
		if l := p.entry.Live; l != nil && p.found == nil {
			p.found = &Found{Kind: l.Kind, Note: l.Note, Ops: list(l.Ops), Time: l.Time.Std().Microseconds()}
		}
	})
	return deleted || err == nil && !e.State.Ongoing()
}

// phase returns the one that the log tells of last since the last look; empty: none. It is
// not in the history, and nothing rests on it.
func (t *tail) phase() (phase string) {
	if t.log == nil {
		name := path.Join(t.run, "run.log")
		if about, err := t.server.index.Root().Stat(name); err != nil || !about.Mode().IsRegular() {
			return ""
		}
		f, err := t.server.index.Root().Open(name)
		if err != nil {
			return ""
		}
		t.log = f
	}
	b, _ := io.ReadAll(io.LimitReader(t.log, maxLog))
	t.line = append(t.line, b...)
	for {
		line, rest, ok := bytes.Cut(t.line, []byte("\n"))
		if !ok {
			t.line = slices.Clone(t.line[max(0, len(t.line)-maxLog):])
			return phase
		}
		t.line = rest
		if _, name, ok := bytes.Cut(line, []byte(" msg=phase name=")); ok {
			phase = string(name)
		}
	}
}

// read reads on, for a while, and says whether that is all there is.
func (t *tail) read(ctx context.Context) (all bool) {
	if t.broken {
		return true
	}
	if t.follower == nil {
		f, err := t.server.open(t.run)
		if errors.Is(err, fs.ErrNotExist) { // it is about to begin
			return true
		}
		if err != nil {
			t.breaks(err)
			return true
		}
		t.history, t.follower = f, histories.Follow(f)
	}
	var read []histories.Op
	for len(read) < readAtOnce && ctx.Err() == nil {
		op, err := t.follower.Next()
		if errors.Is(err, io.EOF) {
			all = true
			break
		}
		if err == nil && op.Process == histories.Nemesis {
			err = t.book.add(op)
		}
		if err != nil {
			t.tell(read)
			t.breaks(err)
			return true
		}
		read = append(read, op)
	}
	t.tell(read)
	return all
}

// breaks notes that the history cannot be read any more.
func (t *tail) breaks(err error) {
	t.broken = true
	t.update(func(p *progress) { p.trouble = append(p.trouble, "its history cannot be read: "+reason(err)) })
}

// tell adds ops to what is told.
func (t *tail) tell(ops []histories.Op) {
	if len(ops) == 0 {
		return
	}
	var faults []Span
	var wrong error
	if slices.ContainsFunc(ops, func(op histories.Op) bool { return op.Process == histories.Nemesis }) {
		faults, wrong = t.book.spans()
	}
	t.update(func(p *progress) {
		for _, op := range ops {
			p.add(op)
		}
		if faults != nil {
			p.faults = faults
			p.faultsAt++
		}
		if wrong != nil && !slices.Contains(p.trouble, wrong.Error()) {
			p.trouble = append(p.trouble, wrong.Error())
		}
	})
}

// add counts an op.
func (p *progress) add(op histories.Op) {
	p.elapsed = op.Time
	if op.Process == histories.Observer && op.F == histories.State {
		p.lead(op)
	}
	if op.Process < 0 {
		return
	}
	if op.Type == histories.Invoke {
		p.open++
		return
	}
	at := int(op.Type - histories.OK)
	if at < 0 || at > 2 {
		return
	}
	p.open--
	p.counts[at]++
	column := int(op.Time / p.width)
	for column >= maxColumns {
		p.widen()
		column = int(op.Time / p.width)
	}
	for i := range p.columns {
		if n := column + 1 - len(p.columns[i]); n > 0 {
			p.columns[i] = append(p.columns[i], make([]int64, n)...)
		}
	}
	p.columns[at][column]++
}

// widen makes one column of two.
func (p *progress) widen() {
	p.width *= 2
	p.widths++
	for i, c := range p.columns {
		wide := make([]int64, (len(c)+1)/2)
		for j, n := range c {
			wide[j/2] += n
		}
		p.columns[i] = wide
	}
}

// lead notes who leads, by what the nodes say of themselves. Of several the one of the
// highest term does.
func (p *progress) lead(op histories.Op) {
	var nodes map[string]struct {
		Role string `json:"role"`
		Term uint64 `json:"term"`
	}
	if json.Unmarshal(op.Value, &nodes) != nil {
		return
	}
	l := Leader{Time: op.Time.Microseconds()}
	var term uint64
	for node, n := range nodes {
		if n.Role == "leader" && (l.Node == "" || cmp.Or(cmp.Compare(n.Term, term), strings.Compare(l.Node, node)) > 0) {
			l.Node, l.Term, term = node, fmt.Sprint(n.Term), n.Term
		}
	}
	if n := len(p.leaders); n > 0 && p.leaders[n-1].Node == l.Node && p.leaders[n-1].Term == l.Term {
		return
	}
	// Those who are told have the old one.
	p.leaders = append(slices.Clone(p.leaders[max(0, len(p.leaders)-maxLeaders):]), l)
	p.leadersAt++
}

// A told is what somebody has been told already.
type told struct {
	column, widths, faultsAt, leadersAt int
}

// since returns what has changed since somebody was told t, and what that is then. The
// caller holds the lock.
func (p *progress) since(t told) (Live, told) {
	l := Live{
		State: string(p.entry.State), Outcome: outcome(&p.entry), Phase: p.phase,
		Elapsed: p.elapsed.Microseconds(), Limit: p.entry.Limit.Std().Microseconds(),
		OK: p.counts[0], Fail: p.counts[1], Info: p.counts[2], Open: p.open, Width: p.width.Microseconds(),
		Found: p.found, Judged: p.judged, Report: p.entry.Report,
		Trouble: list(slices.Concat(p.trouble, p.entry.Trouble)),
	}
	if p.entry.Flaw != "" {
		l.Trouble = append(l.Trouble, p.entry.Flaw)
	}
	switch {
	case p.deleted:
		l.State, l.Outcome = "deleted", "deleted"
	case p.entry.State == store.Judging:
		l.Phase = string(store.Judging)
	}
	if t.widths == p.widths {
		l.From = t.column
	}
	l.OKs, l.Fails, l.Infos = p.from(0, l.From), p.from(1, l.From), p.from(2, l.From)
	if t.faultsAt != p.faultsAt {
		l.Faults = p.faults
	}
	if t.leadersAt != p.leadersAt {
		l.Leaders = p.leaders
	}
	return l, told{max(0, len(p.columns[0])-1), p.widths, p.faultsAt, p.leadersAt}
}

func (p *progress) from(outcome, column int) []int64 {
	c := p.columns[outcome]
	return append([]int64{}, c[min(column, len(c)):]...)
}

// apiLive tells how a run goes on until it ends, or who asks has gone. Events named "live"
// have a Live; the one named "end" is the last.
func (s *Server) apiLive(w http.ResponseWriter, r *http.Request) {
	e, ok := s.run(w, r, strings.TrimSuffix(r.PathValue("path"), "/"))
	if !ok {
		return
	}
	st, end, ok := s.stream(w, r)
	if !ok {
		return
	}
	defer end()
	f, done, ok := s.follow(e)
	if !ok {
		return
	}
	defer done()
	beat := time.NewTicker(beating)
	defer beat.Stop()
	var t told
	for {
		f.mu.Lock()
		var l Live
		l, t = f.now.since(t)
		ended, changed := f.ended, f.changed
		f.mu.Unlock()
		if s.ctx.Err() != nil {
			return // the run may go on
		}
		if err := st.send("live", l); err != nil {
			return
		}
		if ended {
			_ = st.send("end", Change{})
			return
		}
		select {
		case <-changed:
		case <-beat.C:
			if st.beat() != nil {
				return
			}
		case <-r.Context().Done():
			return
		case <-s.ctx.Done():
			return
		}
	}
}
