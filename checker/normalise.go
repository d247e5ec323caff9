package checker

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
)

// An object is what has one key, in normal form, and what is found of it. Its calls are
// those that the verdict rests on, in the order of their invocations; their times are
// indices of the history, so that a call can be had from there again.
type object[S comparable, In, Out any] struct {
	key       string
	call, ret []linear.Time
	register  *linear.Register          // if it is one
	decoded   []histories.Call[In, Out] // of a register only if asked for; see judgement.told

	verdict   Verdict
	err       error  // why it is Unknown
	by        engine // which decided
	confirmed bool   // by porcupine
	// reached is the op up to which all is well, if the engine knows: what completed
	// before it is linearizable.
	reached int
	// Between these times completed what a search could not get over, if one ended there.
	after, before linear.Time
	violations    int               // how many calls no order explains, if that is known
	more          bool              // than these there may be
	found         *excerpt[In, Out] // that shows it is Invalid, if it is at hand
	doubt         error             // what an engine did that porcupine does not agree with
}

// An engine is what can decide: one of these, or by the name of a model's [Decider].
type engine string

const (
	byZones     engine = "zones"     // linear.Zones
	byJIT       engine = "jit"       // linear.JIT
	bySearch    engine = "search"    // linear.Search
	byPorcupine engine = "porcupine" // alone
)

// engines are all that may have decided, in the order in which they are tried.
func (m *Model[S, In, Out]) engines() []engine {
	all := []engine{byZones, byJIT, bySearch, byPorcupine}
	if m.Decider != nil {
		all = slices.Insert(all, 0, engine(m.Decider.Name))
	}
	return all
}

// unread is the reached of an object of which nothing is known.
const unread = -1

// normalise sorts the calls of h by their keys, in the order of the keys' first calls,
// and leaves out what tells nothing. It counts all calls by their types.
func (j *judgement[S, In, Out]) normalise(ctx context.Context) (counts map[string]int64, err error) {
	counts = map[string]int64{}
	var types [histories.Event + 1]int64
	byKey := map[string]*intake[S, In, Out]{}
	var all []*intake[S, In, Out]
	m := j.model
	read := 0
	for c, err := range j.calls() {
		if err != nil {
			return nil, err
		}
		if read++; read&(1<<14-1) == 0 && ctx.Err() != nil {
			j.partly = true
			break // every object is unknown, as judgeOne will say
		}
		types[c.Type]++
		key := m.key(c.In)
		in := byKey[key]
		if in == nil {
			in = m.intake(key)
			byKey[key] = in
			all = append(all, in)
		}
		if c, tells := m.tells(c); tells {
			in.add(c)
		}
	}
	for t, n := range types {
		if n > 0 {
			counts[histories.Type(t).String()] = n
		}
	}
	for _, in := range all {
		j.objects = append(j.objects, in.done())
	}
	return counts, nil
}

// calls yields the calls of the history that are the model's to judge, up to the first
// that cannot be decoded.
func (j *judgement[S, In, Out]) calls() iter.Seq2[histories.Call[In, Out], error] {
	return func(yield func(histories.Call[In, Out], error) bool) {
		for i, op := range j.history.All() {
			if op.Process < 0 || op.Type != histories.Invoke || !j.model.judges(op.F) {
				continue
			}
			c, err := histories.CallAt(j.history, i, j.model.In, j.model.Out)
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}

// An intake makes an object call by call.
type intake[S comparable, In, Out any] struct {
	*object[S, In, Out]
	model  *Model[S, In, Out]
	values map[S]linear.Value // of a register
}

func (m *Model[S, In, Out]) intake(key string) *intake[S, In, Out] {
	in := &intake[S, In, Out]{object: &object[S, In, Out]{key: key, reached: unread}, model: m}
	if m.Register != nil {
		in.register = &linear.Register{}
		in.values = map[S]linear.Value{m.Init: linear.Initial}
	}
	return in
}

func (in *intake[S, In, Out]) add(c histories.Call[In, Out]) {
	call, ret := Interval(c)
	if in.register == nil {
		in.call, in.ret = append(in.call, call), append(in.ret, ret)
		in.decoded = append(in.decoded, c)
		return
	}
	switch a := in.model.Register(c); {
	case a.Kind == 0:
	case a.Impossible:
		in.register.Add(linear.Read, linear.Nothing, 0, call, ret)
	case a.Kind == linear.CAS:
		in.register.Add(a.Kind, in.value(a.Old), in.value(a.New), call, ret)
	case a.Kind == linear.Write:
		in.register.Add(a.Kind, in.value(a.New), 0, call, ret)
	default:
		in.register.Add(a.Kind, in.value(a.Old), 0, call, ret)
	}
}

// value numbers s.
func (in *intake[S, In, Out]) value(s S) linear.Value {
	v, known := in.values[s]
	if !known {
		v = linear.Value(len(in.values))
		in.values[s] = v
	}
	return v
}

func (in *intake[S, In, Out]) done() *object[S, In, Out] {
	o := in.object
	if o.register != nil {
		o.register.Finish()
		o.call, o.ret = o.register.Call, o.register.Return
	}
	return o
}

// Interval returns when c was invoked and completed, as indices of its history.
func Interval[In, Out any](c histories.Call[In, Out]) (call, ret linear.Time) {
	if c.Completed == histories.Never {
		return linear.Time(c.Index), linear.Never
	}
	return linear.Time(c.Index), linear.Time(c.Completion)
}

// at returns a call of o.
func (j *judgement[S, In, Out]) at(o *object[S, In, Out], op int32) histories.Call[In, Out] {
	if o.decoded != nil {
		return o.decoded[op]
	}
	c, err := histories.CallAt(j.history, int(o.call[op]), j.model.In, j.model.Out)
	if err != nil {
		panic("checker: a payload cannot be read twice: " + err.Error())
	}
	c, _ = j.model.tells(c)
	return c
}

// told returns the calls of o.
func (j *judgement[S, In, Out]) told(o *object[S, In, Out]) []histories.Call[In, Out] {
	if o.decoded == nil {
		calls := make([]histories.Call[In, Out], len(o.call))
		for op := range calls {
			calls[op] = j.at(o, int32(op))
		}
		o.decoded = calls
	}
	return o.decoded
}

// all returns the calls on each of some objects in the order of their invocations, as is
// told, also those that tell nothing. It goes through the history once.
func (j *judgement[S, In, Out]) all(objects []*object[S, In, Out]) map[*object[S, In, Out]][]histories.Call[In, Out] {
	if len(objects) == 0 {
		return nil
	}
	byKey := map[string]*object[S, In, Out]{}
	all := map[*object[S, In, Out]][]histories.Call[In, Out]{}
	for _, o := range objects {
		byKey[o.key] = o
		all[o] = make([]histories.Call[In, Out], 0, len(o.call))
	}
	for c, err := range j.calls() {
		if err != nil {
			break // normalise would have said so
		}
		if o := byKey[j.model.key(c.In)]; o != nil {
			c, _ = j.model.tells(c)
			all[o] = append(all[o], c)
		}
	}
	return all
}

// difficulty is how many calls are open at once, at most: what a search is exponential
// in.
func (o *object[S, In, Out]) difficulty() int {
	returns := slices.Clone(o.ret)
	slices.Sort(returns)
	most, returned := 0, 0
	for i, call := range o.call {
		for returns[returned] < call {
			returned++
		}
		most = max(most, i+1-returned)
	}
	return most
}

func (o *object[S, In, Out]) name() string {
	if o.key == "" {
		return "the object"
	}
	return o.key
}

// unjudged says why o has no verdict, and how far it could be judged.
func (o *object[S, In, Out]) unjudged() string {
	s := fmt.Sprintf("%s (%v", o.name(), o.err)
	if o.reached > 0 {
		s += fmt.Sprintf("; valid up to op %d", o.reached)
	}
	return s + ")"
}
