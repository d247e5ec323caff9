package document

import (
	"math"
	"slices"

	"github.com/hacheck/hacheck/histories"
)

const (
	levelColumns = 1024
	rowLanes     = 256 // lanes of their own, that is; what has none is in one lane more
	keyLanes     = 256
	nodeLanes    = 64
)

// levels count calls, for a picture of the whole run. A call counts in each column in which
// something of it lies, and one that nobody knows the end of up to where that was said. An event
// counts as ok.
type levels struct {
	width   Time
	columns int
	survey  *survey
	rows    []string // names of the rows
	by      [3]level // row, key, node
	lane    []int32  // by key
	keys    []string // of the lanes
}

// A level is lanes of calls. What is added is noted at its ends, and summed up later.
type level struct {
	most  int // lanes, but for one more
	lanes [][]int32
}

// A packedLevel is a level with its data.
type packedLevel struct {
	Level
	data []byte
}

func newLevels(h *histories.History, s *survey) *levels {
	l := &levels{survey: s}
	duration := unitOf(h).of(h.Duration())
	l.width = duration/levelColumns + 1
	l.columns = int(duration/l.width) + 1
	l.by = [3]level{{most: rowLanes}, {most: keyLanes}, {most: nodeLanes}}

	calls := slices.Clone(s.keyCalls)
	if s.keys.others >= 0 {
		calls[s.keys.others] = -1 // many keys, of which none has many calls
	}
	order := make([]int, len(calls)) // the keys with the most calls have lanes
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return calls[b] - calls[a] })
	l.lane = make([]int32, len(order))
	for i := range l.lane {
		l.lane[i] = keyLanes
	}
	order = order[:min(len(order), keyLanes)]
	slices.Sort(order) // and those are in the order in which they came
	for lane, key := range order {
		l.lane[key] = int32(lane)
		l.keys = append(l.keys, s.keys.list[key])
	}
	return l
}

// outcome returns the position of a type in a level.
func outcome(t histories.Type) int { return int(t - histories.OK) }

// add counts a call, from one time to another.
func (l *levels) add(row, key int32, node string, t histories.Type, from, to Time) {
	begin, end := int(from/l.width), int(to/l.width)
	l.by[0].add(row, t, begin, end, l.columns)
	if key >= 0 {
		l.by[1].add(l.lane[key], t, begin, end, l.columns)
	}
	if n := l.survey.nodes.of(node); n >= 0 {
		l.by[2].add(n, t, begin, end, l.columns)
	}
}

// add notes that there is one call more from column begin, and one less after column end.
func (l *level) add(lane int32, t histories.Type, begin, end, columns int) {
	n := min(int(lane), l.most)
	for n >= len(l.lanes) {
		l.lanes = append(l.lanes, make([]int32, 3*(columns+1)))
	}
	notes := l.lanes[n][outcome(t)*(columns+1):]
	notes[begin]++
	notes[end+1]--
}

// pack returns the levels that have lanes.
func (l *levels) pack(p *packer) []packedLevel {
	names := [...][]string{l.rows, l.keys, l.survey.nodes.list}
	var made []packedLevel
	for i, by := range [...]string{"process", "key", "node"} {
		level := &l.by[i]
		if len(level.lanes) == 0 {
			continue
		}
		lanes := slices.Clone(names[i][:min(len(names[i]), level.most, len(level.lanes))])
		if len(level.lanes) > len(lanes) {
			lanes = append(lanes, "(others)")
		}
		data := p.deflate(level.cells(l.columns))
		made = append(made, packedLevel{
			Level: Level{By: by, Lanes: lanes, Width: l.width, Columns: l.columns, Bytes: len(data)},
			data:  data,
		})
	}
	return made
}

// cells returns a byte a cell, for each outcome.
func (l *level) cells(columns int) []column {
	cells := make([]column, 3)
	for outcome := range cells {
		for _, notes := range l.lanes {
			calls := 0
			for _, change := range notes[outcome*(columns+1):][:columns] {
				calls += int(change)
				cells[outcome] = append(cells[outcome], shade(calls))
			}
		}
	}
	return cells
}

// shade returns how a cell of n calls looks: 8 times the logarithm of n+1 to the base 2.
func shade(n int) byte { return byte(min(math.Round(8*math.Log2(float64(n+1))), 255)) }
