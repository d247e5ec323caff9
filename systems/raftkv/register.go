package raftkv

import (
	"bytes"
	"context"
	"strconv"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/register"
)

// TimeoutAsFail is a bug of a client, not of a node: it takes an operation whose
// outcome it does not know for one that failed. CockroachDB has an error code for
// what must not be taken so (40003, "result is ambiguous").
const TimeoutAsFail = "timeout-as-fail"

// Register returns c as the registers of the workload of that name: values are
// written as decimal text, and an absent one is a key that is not there. The bug
// is the client's, if it is one of those.
func Register(c *client.Client, bug string) register.KV {
	return &kv{c, bug == TimeoutAsFail}
}

type kv struct {
	client        *client.Client
	timeoutAsFail bool
}

func (k *kv) Close() error { return k.client.Close() }

func (k *kv) Read(ctx context.Context, key string) (register.Result, error) {
	r, err := k.client.Get(ctx, key)
	if err != nil {
		return result(r), k.classify(err)
	}
	out := result(r)
	out.Value = value(r)
	return out, nil
}

func (k *kv) Write(ctx context.Context, key string, v register.Value) (register.Result, error) {
	var r client.Result
	var err error
	if v.Present {
		r, err = k.client.Put(ctx, key, text(v))
	} else {
		r, err = k.client.Delete(ctx, key)
	}
	return result(r), k.classify(err)
}

func (k *kv) CAS(ctx context.Context, key string, old, v register.Value) (register.Result, error) {
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
		return result(r), k.classify(err)
	}
	if r.Swapped {
		return result(r), nil
	}
	return result(r), &register.Refused{Current: value(r)}
}

// classify marks what is definite.
func (k *kv) classify(err error) error {
	if client.IsDefinite(err) || k.timeoutAsFail {
		return workloads.Definite(err)
	}
	return err
}

func result(r client.Result) register.Result {
	return register.Result{Said: workloads.Said{Node: r.Node, Revision: r.Revision, Term: r.Term}}
}

func text(v register.Value) []byte {
	if v.IsText() {
		return []byte(v.Text())
	}
	return strconv.AppendInt(nil, v.Number, 10)
}

// value reads what a key holds. What is no number as [text] spells it, no client
// wrote. That is an answer all the same, and a finding: not for here to hide.
func value(r client.Result) register.Value {
	if !r.Found {
		return register.Absent
	}
	n, err := strconv.ParseInt(string(r.Value), 10, 64)
	if v := register.Of(n); err == nil && bytes.Equal(r.Value, text(v)) {
		return v
	}
	return register.Text(string(r.Value))
}
