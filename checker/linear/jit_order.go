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
	parent int32 // the one before; -1-i for the beginning with start i
	at     int32 // at which return
	op     int32 // what took effect; its complement if it was hidden
}

// add records a group of operations, and returns its last record.
func (l *log) add(parent int32, ops []int32, hidden bool) int32 {
	for _, op := range ops {
		if hidden {
			op = ^op
		}
		l.records = append(l.records, record{parent, l.at, op})
		parent = int32(len(l.records) - 1)
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
		f: f, v: starts[-1-last], next: make([]int32, n+1), placed: make([]bool, n), tail: n, eve: n, left: make([]spot, r.Values+1),
	}
	o.next[n] = -1
	for j, x := range r.Returns {
		f.returns = int32(j)
		for ; o.called < n && r.Call[o.called] <= r.Return[x]; o.called++ {
			o.call(o.called)
		}
		for len(path) > 0 && l.records[path[len(path)-1]].at == int32(j) {
			op := l.records[path[len(path)-1]].op
			path = path[:len(path)-1]
			if op < 0 {
				o.hide(^op)
			} else {
				o.append(op)
			}
		}
		if !o.placed[x] {
			o.overlook(x)
		}
	}
	order := make([]int32, 0, n)
	for op := o.next[n]; op >= 0; op = o.next[op] {
		order = append(order, op)
	}
	return order
}

// ordering is an order in the making: a list of operations, from a head that is none.
type ordering struct {
	f          *future
	v          Value
	next       []int32
	placed     []bool
	tail       int32
	eve        int32 // what stands before the last plain write
	called     int32
	horizon    int32   // operations before it were called when that was appended
	waiting    []int32 // pure operations
	left       []spot  // by value: the last place where the register held it
	nameless   spot    // the last place where it held what nobody asked for
	departures int32
}

// A spot is after an operation, in the order in which the register left them.
type spot struct{ after, when int32 }

func (o *ordering) put(op, after int32) {
	o.next[op], o.next[after] = o.next[after], op
	o.placed[op] = true
	if after == o.tail {
		o.tail = op
	}
}

func (o *ordering) call(op int32) {
	if !o.f.r.Kind[op].Pure() {
		return
	}
	if _, possible := o.f.r.Step(o.v, op); possible {
		o.put(op, o.tail)
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

func (o *ordering) append(op int32) {
	o.departures++
	s := spot{o.tail, o.departures}
	if int(o.v) < len(o.left) {
		o.left[o.v] = s
	}
	if o.f.over(o.v) {
		o.nameless = s
	}
	if o.f.r.Kind[op] == Write {
		o.eve, o.horizon = o.tail, o.called
	}
	o.v, _ = o.f.r.Step(o.v, op)
	o.put(op, o.tail)
	o.serve(o.v, o.called+1, o.tail)
}

func (o *ordering) hide(op int32) {
	v, _ := o.f.r.Step(o.v, op)
	o.put(op, o.eve)
	o.eve = o.serve(v, o.horizon, op)
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
		o.hide(op)
	case o.v == v || o.f.over(o.v) && o.f.over(v):
		o.v = v
		o.put(op, o.tail)
	default:
		o.put(op, s.after)
	}
}
