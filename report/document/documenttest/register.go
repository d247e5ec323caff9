// Package documenttest makes histories that tests and benchmarks of pages are about: as long
// as those of runs and like them, or of all that a page could trip on.
package documenttest

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// Quantiles of a run of register on raftkv, with partitions: microseconds, in steps of 5 %.
var (
	betweenCalls = []float64{2, 4, 5, 6, 6, 7, 8, 8, 9, 10, 11, 12, 13, 15, 18, 23, 29, 39, 62, 134, 3000}
	readTakes    = []float64{89, 240, 305, 366, 428, 497, 574, 666, 773, 897, 1036, 1204, 1402, 1660, 1978, 2391, 2921, 3659, 4841, 7015, 60000}
	writeTakes   = []float64{1844, 4583, 5464, 6062, 6627, 7156, 7631, 8117, 8684, 9171, 9724, 10283, 10838, 11561, 12272, 13171, 14278, 15709, 17785, 21931, 80000}
)

// drawn returns a duration of that distribution.
func drawn(rng *rand.Rand, quantiles []float64) time.Duration {
	at := rng.Float64() * float64(len(quantiles)-1)
	i := int(at)
	return time.Duration((quantiles[i] + (at-float64(i))*(quantiles[i+1]-quantiles[i])) * 1000)
}

// A worker of a run that is only imagined.
type worker struct {
	id, process int
	at          time.Duration // when its next step is due
	step        int           // 0 invokes, 1 takes effect, 2 completes
	end         time.Duration
	op          histories.Op
	key         string
	old, next   int
	fails       bool
	node        string
}

type byTime []*worker

func (w byTime) Len() int           { return len(w) }
func (w byTime) Less(i, j int) bool { return w[i].at < w[j].at }
func (w byTime) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *byTime) Push(any)          { panic("workers are what they are") }
func (w *byTime) Pop() any          { panic("workers are what they are") }

// A register of such a run.
type cell struct{ value, revision, written, known, calls int }

// Register returns a history of about that many calls, as register on raftkv has them: ten
// workers, five keys in use that are retired after some hundred calls, a cas that is refused
// often, timeouts, a nemesis and an observer. It is linearizable, and the same for the same
// seed. A million calls take some seconds and two gigabytes to make, most of which are free again.
func Register(calls int, seed uint64) (*histories.History, error) {
	var (
		rng     = rand.New(rand.NewPCG(seed, 7))
		ops     = make([]histories.Op, 0, 2*calls+100)
		cells   = map[string]*cell{}
		keys    []string
		made    int
		rev     int
		term    = 2
		nodes   = []string{"n1", "n2", "n3", "n4", "n5"}
		workers byTime
		last    time.Duration
		fault   = -1
		holds   bool
		turn    = 500 * time.Millisecond
	)
	add := func(op histories.Op) {
		last = max(op.Time, last+1)
		op.Index, op.Time = len(ops), last
		ops = append(ops, op)
	}
	fresh := func() string {
		key := "k" + strconv.Itoa(made)
		made++
		cells[key] = &cell{}
		return key
	}
	for range 5 {
		keys = append(keys, fresh())
	}
	for i := range 10 {
		workers = append(workers, &worker{id: i, process: i, at: drawn(rng, betweenCalls), node: nodes[i%5]})
	}
	for begun := 0; begun < calls; {
		w := workers[0]
		if w.at > turn { // something else happens
			turn += time.Duration(200+rng.IntN(400)) * time.Millisecond
			state := "{"
			for i, n := range nodes {
				state += fmt.Sprintf(`%q:{"role":%q,"term":%d,"leader":%q,"commit":%d,"applied":%d,"voters":["n1","n2","n3","n4","n5"]},`,
					n, []string{"follower", "leader"}[boolOf(i == term%5)], term, nodes[term%5], rev+i, rev)
			}
			add(histories.Op{Time: w.at, Process: histories.Observer, Type: histories.Event, F: histories.State, Value: []byte(state[:len(state)-1] + "}")})
			if rng.IntN(6) == 0 {
				if holds = !holds; holds {
					fault++
					term += rng.IntN(2)
				}
				f, value := "heal", fmt.Sprintf(`{"id":%d,"dropped":%d}`, fault, rng.IntN(5000))
				if holds {
					f, value = "partition", fmt.Sprintf(`{"id":%d,"fault":"partition","cut":[["n1","n2"],["n3","n4","n5"]]}`, fault)
				}
				add(histories.Op{Time: w.at, Process: histories.Nemesis, Type: histories.Invoke, F: f, Value: []byte(value)})
				add(histories.Op{Time: w.at + 80*time.Microsecond, Process: histories.Nemesis, Type: histories.Info, F: f, Value: []byte(value)})
			}
		}
		switch w.step {
		case 0:
			begun++
			at := rng.IntN(5)
			if c := cells[keys[at]]; c.calls >= 390 {
				keys[at] = fresh()
			}
			w.key = keys[at]
			c := cells[w.key]
			c.calls++
			takes := drawn(rng, writeTakes)
			w.op = histories.Op{Time: w.at, Process: histories.Process(w.process), Type: histories.Invoke}
			w.old, w.fails = c.known, false
			switch p := rng.IntN(100); {
			case p < 53:
				w.op.F, w.op.Value = "read", fmt.Appendf(nil, `[%q,null]`, w.key)
				takes = drawn(rng, readTakes)
			case p < 87:
				c.written++
				w.op.F, w.next = "write", c.written
				w.op.Value = fmt.Appendf(nil, `[%q,%d]`, w.key, w.next)
			default:
				c.written++
				w.op.F, w.next = "cas", c.written
				w.op.Value = fmt.Appendf(nil, `[%q,[%s,%d]]`, w.key, orNull(w.old), w.next)
			}
			if rng.IntN(2000) == 0 {
				takes = time.Second + time.Duration(rng.IntN(1e6))
			}
			add(w.op)
			w.end = w.at + takes
			w.at += takes * time.Duration(30+rng.IntN(65)) / 100
			w.step = 1
		case 1:
			c := cells[w.key]
			switch {
			case w.op.F == "read":
				w.op.Value = fmt.Appendf(nil, `[%q,%s]`, w.key, orNull(c.value))
			case w.op.F == "cas" && c.value != w.old:
				w.fails, w.old = true, c.value
			default:
				rev++
				c.value, c.revision = w.next, rev
			}
			w.op.Meta = fmt.Appendf(nil, `{"revision":%d,"term":%d}`, c.revision, term)
			if w.fails {
				w.op.Meta = fmt.Appendf(nil, `{"current":%d,"revision":%d,"term":%d}`, c.value, c.revision, term)
			}
			w.at, w.step = w.end, 2
		case 2:
			w.op.Time, w.op.Type, w.op.Node = w.at, histories.OK, w.node
			switch {
			case w.end-ops[0].Time > time.Second && rng.IntN(5000) == 0:
				w.op.Type, w.op.Error, w.op.Meta = histories.Info, "context deadline exceeded", nil
				w.process += 10
				w.node = nodes[rng.IntN(5)]
			case w.fails:
				w.op.Type, w.op.Error = histories.Fail, fmt.Sprintf("refused: it is %d", w.old)
			default:
				if c := cells[w.key]; w.op.F != "read" {
					c.known = max(c.known, w.next)
				}
			}
			add(w.op)
			w.at, w.step = w.at+drawn(rng, betweenCalls), 0
		}
		heap.Fix(&workers, 0)
	}
	return histories.FromOps(slices.Clip(ops))
}

func boolOf(b bool) int {
	if b {
		return 1
	}
	return 0
}

func orNull(v int) string {
	if v == 0 {
		return "null"
	}
	return strconv.Itoa(v)
}
