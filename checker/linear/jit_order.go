package linear

import "slices"

// A log is how configurations came about: for each, the changes that were decided on, from
// the last one back. What is sure to follow from those is not in it: it is found again
// when the order is asked for. What no configuration goes back to is dropped every now and
// then, so the log is about as long as there are changes in the history.
type log struct {
	records []record
	trunk   int   // so many of the first ones are what all configurations go back to, one after the other
	at      int32 // the return that is being explained
	limit   int
}

type record struct {
	parent int32  // the one before; -1-i for the beginning with start i
	at     int32  // at which return
	op     uint32 // what took effect, and how in the upper two bits
}

// How an operation took effect.
const (
	appended uint32 = iota << 30
	hidden          // before the last plain write; several are a group
	atEnd           // at an end, the latest one mentioned
	theEnd          // this is no operation, but the end: the value is what the next one is a cas from
	how      = 3 << 30
)

// add records a group of operations, and returns its last record.
func (l *log) add(parent int32, ops []int32, p place) int32 {
	add := func(op uint32) {
		l.records = append(l.records, record{parent, l.at, op})
		parent = int32(len(l.records) - 1)
	}
	mode := appended
	if p.end {
		mode = atEnd
		add(uint32(p.before) | theEnd)
	} else if p.hidden {
		mode = hidden
	}
	for _, op := range ops {
		add(uint32(op) | mode)
	}
	return parent
}

// collect drops what no configuration of e goes back to, if that is worth while.
func (l *log) collect(e *engine) {
	if len(l.records) < l.limit {
		return
	}
	young := l.records[l.trunk:]
	moved := make([]int32, len(young)) // where to; 0 is nowhere
	for i := range e.now.n {
		for r := int(e.at(&e.now, i).record()) - l.trunk; r >= 0 && moved[r] == 0; r = int(young[r].parent) - l.trunk {
			moved[r] = 1
		}
	}
	n := int32(l.trunk)
	to := func(r int32) int32 {
		if int(r) < l.trunk {
			return r
		}
		return moved[int(r)-l.trunk]
	}
	for i, r := range young {
		if moved[i] != 0 {
			moved[i] = n
			r.parent = to(r.parent)
			l.records[n] = r
			n++
		}
	}
	l.records = l.records[:n]
	// Of several records the last one is not what all go back to, unless it is the only one.
	heads := make([]int32, e.now.n)
	for i := range heads {
		c := e.at(&e.now, i)
		c.setRecord(to(c.record()))
		heads[i] = c.record()
	}
	for {
		slices.Sort(heads)
		heads = slices.Compact(heads)
		last := heads[len(heads)-1]
		if len(heads) == 1 {
			l.trunk = max(l.trunk, int(last)+1)
			break
		}
		if last < 0 {
			break
		}
		heads[len(heads)-1] = l.records[last].parent
	}
	l.limit = len(l.records) + (len(l.records) - l.trunk) + 4096
}

// order replays what the log says up to a record, and returns the order of operations.
//
// Pure operations go to the first place where they are possible. A write that returns
// and that nothing was decided on is hidden right before the last plain write or, if it
// was called after that was appended, goes to the last place where the register held its
// value anyway: there it changes nothing, or, if its value is over, nothing anybody sees.
func (l *log) order(f *future, starts []Value, last int32) []int32 {
	var path []int32
	for ; last >= 0; last = l.records[last].parent {
		path = append(path, last)
	}
	r := f.r
	n := int32(r.Len())
	o := &ordering{
		f: f, v: starts[-1-last], next: make([]int32, n+1), prev: make([]int32, n+1), placed: make([]bool, n), last: n, left: make([]spot, r.Values+1),
	}
	o.next[n], o.prev[n] = n, n
	var group []int32
	for j, x := range r.Returns {
		f.returns = int32(j)
		for ; o.called < n && r.Call[o.called] <= r.Return[x]; o.called++ {
			o.call(o.called)
		}
		group = group[:0]
		before, end := o.horizon, false
		for len(path) > 0 && l.records[path[len(path)-1]].at == int32(j) {
			op := l.records[path[len(path)-1]].op
			path = path[:len(path)-1]
			switch op & how {
			case appended:
				o.append(int32(op))
			case theEnd:
				before, end = int32(op&^how), true
			default:
				group = append(group, int32(op&^how))
			}
		}
		if len(group) > 0 {
			o.hide(group, before, end)
		}
		if !o.placed[x] {
			o.overlook(x)
		}
	}
	order := make([]int32, 0, n)
	for op := o.next[n]; op != n; op = o.next[op] {
		order = append(order, op)
	}
	return order
}

// orderBytes is how much order takes, about.
func (l *log) orderBytes(r *Register) int64 {
	return 13*int64(r.Len()) + 8*int64(r.Values) + 5*int64(len(l.records))
}

// ordering is an order in the making: operations in a ring, with a head that is none.
type ordering struct {
	f          *future
	v          Value
	next, prev []int32
	placed     []bool
	last       int32 // the plain write that was appended last, or the head
	called     int32
	horizon    int32   // operations before it were called when that was appended
	waiting    []int32 // pure operations
	cas        []int32
	ends       []ordered
	left       []spot // by value: the last place where the register held it
	nameless   spot   // the last place where it held what nobody asked for
	departures int32
}

// ordered is an end in the order.
type ordered struct {
	v             Value
	before, after int32
}

// A spot is after an operation, in the order in which the register left them.
type spot struct{ after, when int32 }

func (o *ordering) put(op, after int32) {
	next := o.next[after]
	o.next[op], o.prev[op] = next, after
	o.next[after], o.prev[next] = op, op
	o.placed[op] = true
}

func (o *ordering) tail() int32 { return o.prev[len(o.placed)] }

func (o *ordering) call(op int32) {
	if o.f.r.Kind[op] == CAS {
		o.cas = append(o.cas, op)
	}
	if !o.f.r.Kind[op].Pure() {
		return
	}
	if _, possible := o.f.r.Step(o.v, op); possible {
		o.put(op, o.tail())
	} else {
		o.waiting = append(o.waiting, op)
	}
}

// serve puts those that wait and are possible where the register holds v, and that were
// called before the horizon, after an operation, and returns the last one.
func (o *ordering) serve(v Value, horizon, after int32) int32 {
	keep := o.waiting[:0]
	for _, op := range o.waiting {
		if _, possible := o.f.r.Step(v, op); possible && op < horizon {
			o.put(op, after)
			after = op
		} else {
			keep = append(keep, op)
		}
	}
	o.waiting = keep
	return after
}

// offer notes an end, of v, if there is a cas for it.
func (o *ordering) offer(v Value, before, after int32) {
	r := o.f.r
	o.cas = slices.DeleteFunc(o.cas, func(op int32) bool { return o.placed[op] })
	wanted := func(v Value) bool {
		return slices.ContainsFunc(o.cas, func(op int32) bool { return r.A[op] == v })
	}
	if !wanted(v) {
		return
	}
	if len(o.ends) > 2*len(o.cas)+16 {
		o.ends = slices.DeleteFunc(o.ends, func(d ordered) bool { return !wanted(d.v) })
	}
	o.ends = append(o.ends, ordered{v, before, after})
}

func (o *ordering) append(op int32) {
	o.departures++
	tail := o.tail()
	s := spot{tail, o.departures}
	if int(o.v) < len(o.left) {
		o.left[o.v] = s
	}
	if o.f.over(o.v) {
		o.nameless = s
	}
	v, _ := o.f.r.Step(o.v, op)
	o.put(op, tail)
	if o.f.r.Kind[op] == Write {
		o.offer(o.v, o.called, tail)
		o.last, o.horizon = op, o.called
	}
	o.v = v
	o.serve(v, o.called, op)
}

// hide puts a group before the last plain write, or at the earliest end that will do.
func (o *ordering) hide(group []int32, before int32, end bool) {
	r := o.f.r
	after := o.prev[o.last]
	if end {
		best := -1
		for i, d := range o.ends {
			if d.v == r.A[group[0]] && d.before >= before && (best < 0 || d.before < o.ends[best].before) {
				best = i
			}
		}
		before, after = o.ends[best].before, o.ends[best].after
		o.ends = slices.Delete(o.ends, best, best+1)
	}
	var v Value
	for _, op := range group {
		v, _ = r.Step(r.A[op], op)
		o.put(op, after)
		after = o.serve(v, before, op)
	}
	o.offer(v, before, after)
}

// overlook places a write that changes nothing.
func (o *ordering) overlook(op int32) {
	v := o.f.r.A[op]
	s := o.left[v]
	if o.f.over(v) && s.when < o.nameless.when {
		s = o.nameless
	}
	switch {
	case op < o.horizon:
		o.hide([]int32{op}, o.horizon, false)
	case o.v == v || o.f.over(o.v) && o.f.over(v):
		o.v = v
		o.put(op, o.tail())
	default:
		o.put(op, s.after)
	}
}
