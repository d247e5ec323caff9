package raftkv

import (
	"context"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/workloads/register"
)

// registers are keys: values are written as decimal text, and an absent one is a key that
// is not there.
type registers struct{ client *client.Client }

func (k *registers) Close() error { return k.client.Close() }

func (k *registers) Read(ctx context.Context, key string) (register.Result, error) {
	r, err := k.client.Get(ctx, key)
	if err != nil {
		return result(r), classify(err)
	}
	out := result(r)
	out.Value = value(r)
	return out, nil
}

func (k *registers) Write(ctx context.Context, key string, v register.Value) (register.Result, error) {
	var r client.Result
	var err error
	if v.Present {
		r, err = k.client.Put(ctx, key, text(v))
	} else {
		r, err = k.client.Delete(ctx, key)
	}
	return result(r), classify(err)
}

func (k *registers) CAS(ctx context.Context, key string, old, v register.Value) (register.Result, error) {
	expect := client.Absent()
	if old.Present {
		expect = client.Holds(text(old))
	}
	var r client.Result
	var err error
	if v.Present {
		r, err = k.client.CAS(ctx, key, expect, text(v))
	} else {
		r, err = k.client.CompareAndDelete(ctx, key, expect)
	}
	if err != nil {
		return result(r), classify(err)
	}
	if r.Swapped {
		return result(r), nil
	}
	return result(r), &register.Refused{Current: value(r)}
}

func result(r client.Result) register.Result {
	return register.Result{Said: said(r.Stamp, r.Revision)}
}

func text(v register.Value) []byte {
	if v.IsText() {
		return []byte(v.Text())
	}
	return decimal(v.Number)
}

// value reads what a key holds. What is no number as [text] spells it, no client
// wrote. That is an answer all the same, and a finding: not for here to hide.
func value(r client.Result) register.Value {
	if !r.Found {
		return register.Absent
	}
	if n, ok := number(r.Value); ok {
		return register.Of(n)
	}
	return register.Text(string(r.Value))
}
