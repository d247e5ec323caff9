package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/counter"
	"github.com/hacheck/hacheck/workloads/lock"
	"github.com/hacheck/hacheck/workloads/queue"
	"github.com/hacheck/hacheck/workloads/register"
	"github.com/hacheck/hacheck/workloads/set"
)

// recognise finds the workload that the history is of: the one asked for, or the
// run's, or the one that its functions tell, and what they say.
func (r *judged) recognise(asked string) error {
	functions := clientFunctions(r.history)
	if r.workload = asked; asked != "" {
		own := findWorkload(asked).functions
		for _, f := range functions {
			if len(own) > 0 && !slices.Contains(own, f) {
				return usage("check: --workload %q: %s is not of it: it has no function %s; its own are %s",
					asked, r.path, f, enumerate(own))
			}
		}
		return nil
	}
	if w := r.info.Workload; w != "" {
		if !slices.Contains(workloadNames(), w) {
			return usage("check: %s is of workload %q, which this hacheck does not know; it knows %s",
				r.path, w, enumerate(workloadNames()))
		}
		r.workload = w
		return nil
	}
	fit, nearest := r.fitting(functions)
	switch len(fit) {
	case 0:
		if nearest.workload == "" {
			return usage("check: %s: no workload has all of its functions (%s); name one with --workload: %s",
				r.path, strings.Join(functions, ", "), enumerate(checkedNames()))
		}
		op := r.history.At(nearest.op)
		return usage("check: %s: what it says fits no workload: %s has its functions (%s), but not line %d, %s %s; name one with --workload all the same: %s",
			r.path, nearest.workload, strings.Join(functions, ", "), r.history.Line(nearest.op), op.F, beginning(op.Value), enumerate(checkedNames()))
	case 1:
		r.workload = fit[0]
		return nil
	}
	all := "both"
	if len(fit) > 2 {
		all = "all"
	}
	return usage("check: %s may be of workload %s, %s of which have its functions (%s); say which it is with --workload %s",
		r.path, strings.Join(fit, " or "), all, strings.Join(functions, ", "), strings.Join(fit, " or --workload "))
}

// fitting returns the workloads that the history, with these functions, may be of: those
// that have them all, and take what its calls say. Who has no other functions is preferred.
// Most histories that others have recorded are of registers, which is what they are taken
// for if they may be; hacheck's own are not: to read and to write is what sessions do, too,
// of which less is promised. What only others record is thought of last. If there are none,
// nearest is the workload that takes the most.
func (r *judged) fitting(functions []string) (fit []string, nearest misfit) {
	for _, workloads := range [][]workload{allWorkloads, recordedWorkloads} {
		if fit = r.fittingOf(workloads, functions, &nearest); len(fit) > 0 {
			break
		}
	}
	return fit, nearest
}

// A misfit is a workload that has the functions of a history, and does not take this op.
type misfit struct {
	workload string // or "", if none has the functions
	op       int
}

func (r *judged) fittingOf(workloads []workload, functions []string, nearest *misfit) []string {
	var fit, exactly []string
	for _, w := range workloads {
		if len(w.functions) == 0 || slices.ContainsFunc(functions, func(f string) bool { return !slices.Contains(w.functions, f) }) {
			continue
		}
		if op := w.misfit(r.history); op >= 0 {
			if nearest.workload == "" || op > nearest.op {
				*nearest = misfit{w.name, op}
			}
			continue
		}
		fit = append(fit, w.name)
		if w.name == allWorkloads[0].name && !ours(r.history) {
			return fit
		}
		if len(w.functions) == len(functions) {
			exactly = append(exactly, w.name)
		}
	}
	if len(exactly) == 1 {
		return exactly
	}
	return fit
}

// misfit returns the first op of a client that is none of w, by what it says; or -1.
func (w *workload) misfit(h *histories.History) int {
	if w.takes == nil {
		return -1
	}
	told, keyed := false, false // by the first call that says anything
	for i, op := range h.All() {
		if op.Process < 0 || op.Type != histories.Invoke && op.Type != histories.OK {
			continue
		}
		if !told {
			var begins byte
			_, begins, keyed = argument(op)
			told = begins != 'n' || keyed
		}
		if !w.takes(op, keyed) {
			return i
		}
	}
	return -1
}

// maxQuoted bounds how much of a value is quoted.
const maxQuoted = 100

// beginning is a value, cut short.
func beginning(value []byte) string {
	if len(value) <= maxQuoted {
		return string(value)
	}
	return strings.ToValidUTF8(string(value[:maxQuoted]), "") + "..."
}

// totalQueue is the workload of queues without an order.
const totalQueue = "total-queue"

// hint says what else the history, if others have recorded it, may mean: it came to nothing
// as what it was taken for, or is invalid by what nobody may have promised. named says that
// the workload was asked for by name.
func (r *judged) hint(named bool) string {
	if r.run != nil || r.result.Verdict == checker.Valid {
		return ""
	}
	functions := clientFunctions(r.history)
	if len(functions) == 0 || !slices.Contains(workloadNames(), r.workload) {
		return ""
	}
	switch others := r.fittingOf(recordedWorkloads, functions, new(misfit)); {
	case r.result.Verdict == checker.Unknown && len(others) > 0 && !named:
		return fmt.Sprintf("if it is not of workload %s, say so: --workload %s", r.workload, strings.Join(others, " or --workload "))
	case r.result.Verdict != checker.Invalid || ours(r.history):
		return ""
	case slices.Contains(others, totalQueue) && !named:
		return "if this queue promises no order, say so: --workload " + totalQueue
	case r.found("null", nilReadsFlag):
		return "if a read of null does not say what it found, as in Knossos and Jepsen, say so: --" + nilReadsFlag + " any"
	case r.found("0", initialFlag):
		return "if registers hold 0 at first, say so: --" + initialFlag + " 0"
	}
	return ""
}

// found says whether a read of the evidence found a value of which a flag, that was not
// given, says more.
func (r *judged) found(value, flag string) bool {
	if !slices.Contains(findWorkload(r.workload).semantics, flag) || slices.Contains(r.semantics.given, flag) {
		return false
	}
	for _, i := range evidenceOps(r.result) {
		if i < 0 || i >= r.history.Len() {
			continue
		}
		done := r.history.Pair(i)
		if done < i {
			done = i
		}
		op := r.history.At(done)
		if arg, _, _ := argument(op); op.Type == histories.OK && op.F == register.Read && string(arg) == value {
			return true
		}
	}
	return false
}

// ours says whether hacheck has recorded a history: then it tells of the state of the
// system, or of how it recovered.
func ours(h *histories.History) bool {
	for _, op := range h.All() {
		if op.Process == histories.Nemesis && op.F == histories.Recover && op.Type == histories.Invoke && string(op.Value) == "{}" {
			return true
		}
	}
	return observed(h)
}

// observed says whether a history tells of the state of the system.
func observed(h *histories.History) bool {
	for _, op := range h.All() {
		if op.Process == histories.Observer && op.F == histories.State {
			return true
		}
	}
	return false
}

// clientFunctions returns the functions that clients invoked, sorted.
func clientFunctions(h *histories.History) []string {
	var functions []string
	for _, op := range h.All() {
		if op.Process >= 0 && !slices.Contains(functions, op.F) {
			functions = append(functions, op.F)
		}
	}
	slices.Sort(functions)
	return functions
}

// What follows tells workloads apart whose functions have the same names: whether the
// clients of one may say what an op says. It looks at no more than it takes for that. What
// else is wrong with a value, the checker knows better.

// argument returns what an op says beside its key, if it has one, and how it begins.
func argument(op histories.Op) (arg []byte, begins byte, keyed bool) {
	arg = op.Value
	if _, a, err := workloads.ParseKeyed(op.Value); err == nil {
		arg, keyed = a, true
	}
	if arg = bytes.TrimSpace(arg); len(arg) == 0 {
		arg = []byte("null")
	}
	return arg, arg[0], keyed
}

// takesRegister: what is read and written are no lists and no maps.
func takesRegister(op histories.Op, _ bool) bool {
	_, begins, _ := argument(op)
	return begins != '{' && (begins != '[' || op.F == register.CAS)
}

// takesKeyedRegister: and has a key.
func takesKeyedRegister(op histories.Op, _ bool) bool {
	_, _, keyed := argument(op)
	return op.F != register.Read && op.F != register.Write || keyed && takesRegister(op, keyed)
}

// takesLock: there is a key, and a lock that was acquired has a token.
func takesLock(op histories.Op, _ bool) bool {
	_, begins, keyed := argument(op)
	return keyed && (begins == '{' || begins == 'n' && (op.F != lock.Acquire || op.Type != histories.OK))
}

// takesMutex: there are no tokens, and nobody says who he is.
func takesMutex(op histories.Op, _ bool) bool {
	_, begins, _ := argument(op)
	return begins == 'n'
}

// takesSet: what is read are lists. [1, 0] is one, or what a counter with a key is read.
func takesSet(op histories.Op, keyed bool) bool { return !readOK(op, set.Read) || isList(op, keyed) }

// takesCounter: what is read are no lists.
func takesCounter(op histories.Op, keyed bool) bool {
	return !readOK(op, counter.Read) || !isList(op, keyed)
}

func readOK(op histories.Op, read string) bool { return op.Type == histories.OK && op.F == read }

func isList(op histories.Op, keyed bool) bool {
	list := bytes.TrimSpace(op.Value)
	if keyed {
		list, _, _ = argument(op)
	}
	return bytes.HasPrefix(list, []byte{'['})
}

// takesQueue: elements are numbers.
func takesQueue(op histories.Op, _ bool) bool {
	_, begins, _ := argument(op)
	return op.F != queue.Enqueue || begins == '-' || begins >= '0' && begins <= '9'
}

// takesAppend: a transaction is a list, and writes nothing but what it appends.
func takesAppend(op histories.Op, _ bool) bool {
	return isList(op, false) && !bytes.Contains(op.Value, []byte(`["w",`))
}

// takesMultiRegister: it appends nothing.
func takesMultiRegister(op histories.Op, _ bool) bool {
	return isList(op, false) && !bytes.Contains(op.Value, []byte(`["append",`))
}

// takesStore: what a store with revisions is told has names, as a key has.
func takesStore(op histories.Op, _ bool) bool {
	_, begins, _ := argument(op)
	return begins == '{' || begins == 'n'
}

// takesTexts: a text, or nothing, and perhaps its key.
func takesTexts(op histories.Op, _ bool) bool {
	_, begins, _ := argument(op)
	return begins == '"' || begins == 'n'
}
