package checker

import (
	"fmt"
	"slices"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// An object is what has one key, with all its calls and what is found of it.
type object[S comparable, In, Out any] struct {
	key  string
	all  []histories.Call[In, Out] // in the order of invocations, as is told
	told []histories.Call[In, Out] // those of them that the verdict rests on

	verdict  Verdict
	err      error // why it is Unknown
	furthest int   // see search
}

// objects sorts calls by their keys, in the order of the keys' first calls.
func (m *Model[S, In, Out]) objects(calls []histories.Call[In, Out]) []*object[S, In, Out] {
	var objects []*object[S, In, Out]
	byKey := map[string]*object[S, In, Out]{}
	for _, c := range calls {
		key := m.key(c.In)
		o := byKey[key]
		if o == nil {
			o = &object[S, In, Out]{key: key}
			byKey[key] = o
			objects = append(objects, o)
		}
		c, tells := m.tells(c)
		o.all = append(o.all, c)
		if tells {
			o.told = append(o.told, c)
		}
	}
	return objects
}

// difficulty is how many calls are open at once, at most: what the search is
// exponential in.
func (o *object[S, In, Out]) difficulty() int {
	var returns []time.Duration
	for _, c := range o.told {
		returns = append(returns, c.Completed)
	}
	slices.Sort(returns)
	most, returned := 0, 0
	for i, c := range o.told {
		for returns[returned] < c.Invoked {
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

func (o *object[S, In, Out]) unjudged() string { return fmt.Sprintf("%s (%v)", o.name(), o.err) }
