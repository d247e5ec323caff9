package workloadtest

import (
	"math/rand/v2"
	"slices"

	"github.com/hacheck/hacheck/histories"
)

// ops returns a history's ops, to be changed.
func ops(h *histories.History) []histories.Op {
	all := make([]histories.Op, 0, h.Len())
	for _, op := range h.All() {
		all = append(all, op)
	}
	return all
}

// Forgetful returns h with n operations of clients, chosen by r, indeterminate that
// were ok or fail. What their processes did next others do.
func Forgetful(h *histories.History, r *rand.Rand, n int) (*histories.History, error) {
	all := ops(h)
	next := histories.Process(0)
	for _, op := range all {
		next = max(next, op.Process+1)
	}
	for range n {
		i := r.IntN(len(all))
		for all[i].Process < 0 || all[i].Type != histories.OK && all[i].Type != histories.Fail {
			i = (i + 1) % len(all)
		}
		p := all[i].Process
		all[i].Type, all[i].Value, all[i].Meta = histories.Info, all[h.Pair(i)].Value, nil
		for j := range all[i+1:] {
			if op := &all[i+1+j]; op.Process == p {
				op.Process = next
			}
		}
		next++
	}
	return histories.FromOps(all)
}

// Without returns h without the operations that failed and that drop says say
// nothing, by their completions.
func Without(h *histories.History, drop func(histories.Op) bool) (*histories.History, error) {
	dropped := func(op histories.Op) bool {
		if op.Process < 0 {
			return false
		}
		if op.Type == histories.Invoke && h.Pair(op.Index) >= 0 {
			op = h.At(h.Pair(op.Index))
		}
		return op.Type == histories.Fail && drop(op)
	}
	kept := slices.DeleteFunc(ops(h), dropped)
	for i := range kept {
		kept[i].Index = i
	}
	return histories.FromOps(kept)
}

// Renumbered returns h with other numbers for the processes of clients.
func Renumbered(h *histories.History, number func(histories.Process) histories.Process) (*histories.History, error) {
	all := ops(h)
	for i := range all {
		if all[i].Process >= 0 {
			all[i].Process = number(all[i].Process)
		}
	}
	return histories.FromOps(all)
}
