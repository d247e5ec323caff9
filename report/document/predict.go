package document

import (
	"math"
	"math/bits"
)

// A predictor says what a number will be, by those before it in its block. What nothing is
// known of is 0.
type predictor byte

const (
	lastOfAll   predictor = iota // what the last number of the family was
	lastOfKey                    // the same, of ops of the same key
	nextOfKey                    // one more than the largest of the family, of ops of the same key
	nextOfAll                    // the same, of any key
	answerOfKey                  // the last number of the last value that an op of the same key had which was ok
	beforeIt                     // the number before it in its op
	lastAfter                    // what the family's was when it last stood behind the number before it, in an op of the same key; else as nextOfAll
	lastAlike                    // what the family's was in the last op with the same first number; else as lastOfAll
	nothing                      // 0
	predictors
)

// A family is what predictors know of numbers that belong together.
type family struct {
	last, most           int64
	lastOf, mostOf       []int64 // by key of the block and 1, as far as there were any
	after                map[[2]int64]int64
	alike                map[int64]int64
	usesAfter, usesAlike bool
}

// use says that p will be asked for. Else it need not be remembered what only p knows by.
func (f *family) use(p predictor) {
	f.usesAfter = f.usesAfter || p == lastAfter
	f.usesAlike = f.usesAlike || p == lastAlike
}

// A model is what is known at one number of a block.
type model struct {
	families      []*family
	answers       []int64 // by key of the block and 1
	first, before int64   // numbers of the op
	begun         bool    // there was a first
}

func newModel(families int) *model {
	m := &model{families: make([]*family, families)}
	for i := range m.families {
		m.families[i] = &family{after: map[[2]int64]int64{}, alike: map[int64]int64{}}
	}
	return m
}

// begin is called before each text.
func (m *model) begin(first bool) {
	if first {
		m.begun, m.first, m.before = false, 0, 0
	}
}

func (m *model) predict(p predictor, f *family, key int32) int64 {
	switch p {
	case lastOfAll:
		return f.last
	case lastOfKey:
		return at(f.lastOf, key)
	case nextOfKey:
		return at(f.mostOf, key) + 1
	case nextOfAll:
		return f.most + 1
	case answerOfKey:
		return at(m.answers, key)
	case beforeIt:
		return m.before
	case lastAfter:
		if v, ok := f.after[[2]int64{int64(key), m.before}]; ok {
			return v
		}
		return f.most + 1
	case lastAlike:
		if v, ok := f.alike[m.first]; ok && m.begun {
			return v
		}
		return f.last
	}
	return 0
}

// learn takes in the number that it was.
func (m *model) learn(f *family, key int32, v int64) {
	if f.usesAfter {
		f.after[[2]int64{int64(key), m.before}] = v
	}
	if f.usesAlike && m.begun {
		f.alike[m.first] = v
	}
	f.last, f.most = v, max(f.most, v)
	*slot(&f.lastOf, key) = v
	most := slot(&f.mostOf, key)
	*most = max(*most, v)
	m.pass(v)
}

// pass takes in a number that is known already.
func (m *model) pass(v int64) {
	m.before = v
	if !m.begun {
		m.begun, m.first = true, v
	}
}

// end is called after each text; answer is whether it is the value of an op that is ok.
func (m *model) end(answer bool, key int32, numbers []int64) {
	if answer && len(numbers) > 0 {
		*slot(&m.answers, key) = numbers[len(numbers)-1]
	}
}

// at returns what there is of a key.
func at(by []int64, key int32) int64 {
	if int(key)+1 < len(by) {
		return by[key+1]
	}
	return 0
}

// slot returns where that of a key is.
func slot(by *[]int64, key int32) *int64 {
	for int(key)+1 >= len(*by) {
		*by = append(*by, 0)
	}
	return &(*by)[key+1]
}

// A cost is how many bits numbers would take.
type cost struct {
	counts [256]uint32
	large  int // bytes of numbers that are too large for one
}

func (c *cost) add(v uint64) {
	if v >= largest {
		n := (bits.Len64(v) + 7) / 8
		c.large += n
		v = uint64(largest + n - 1)
	}
	c.counts[v]++
}

func (c *cost) bits() float64 {
	sum, total := float64(8*c.large), 0
	for _, n := range c.counts {
		if n > 0 {
			sum -= float64(n) * math.Log2(float64(n))
			total += int(n)
		}
	}
	if total > 0 {
		sum += float64(total) * math.Log2(float64(total))
	}
	return sum
}
