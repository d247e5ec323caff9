package document

import (
	"bytes"
	"encoding/json"
	"math"
	"math/bits"
	"strconv"
	"unicode/utf8"

	"github.com/hacheck/hacheck/histories"
)

// The columns of a detail: what the lines of a history have beside what its core says. Each op
// has three texts, its value, its error and its meta, as they stand in its line; "" is one that
// it does not have.
//
// A text is a template with its numbers: runs of digits, wherever they stand, are holes. Of
// what most systems say there are few templates, and the numbers are near others that stood
// before; see [predictor].
const (
	detailUnit       = iota // uvarint: what all nanoseconds are multiples of, which divides 1000
	detailNanos             // bits, as many as the largest has: of each op, what the core leaves of its time, in units
	detailTemplates         // the templates, in the order in which they come first, each with a line feed behind it
	detailValues            // by invocation or event: rank of its value's template, in a recent by function and type
	detailErrors            // the same of its error, by function, type and the core's number of the error
	detailMetas             // the same of its meta, by function and type
	detailAnswers           // by completion, as detailValues
	detailFailures          // by completion, as detailErrors
	detailExtras            // by completion, as detailMetas
	detailMisses            // of those without a rank: 0 if the template is new, else its number and 1
	detailLarge             // bytes of numbers that are too large for one, the lowest first
	detailLong              // uvarints, by text that is long: how much of the last such text it begins with; how much of it it ends with; how many other bytes are between
	detailBytes             // those other bytes
	detailNames             // functions, and then nodes, that are others in the index: each a uvarint length, and bytes
	detailPredictors        // by field: the number of its predictor
	detailFields            // and a column for each: by number, what it is more than was predicted
)

// The numbers of templates that are none, and of the first that is one.
const (
	sameTemplate = iota // the value of the invocation, which is in the block
	noTemplate          // there is no text
	longTemplate        // a text of its own, compared with the last such one
	firstTemplate
)

// Holes of a template. In a text of JSON no such bytes stand, and no line feed.
const (
	holeNumber = 0 // up to 15 digits, the first of them 0 only if it is alone
	holeText   = 1 // the key, with quotes
	holeKey    = 2 // the key, without
)

const (
	maxDigits = 15      // a number that all languages hold exactly
	maxHoles  = 64      // a text with more is long
	maxLength = 4 << 10 // and one of more bytes
	maxBefore = 16      // bytes
	maxFields = 1000    // that have a column of their own
	maxSample = 8192    // ops that predictors are chosen by
)

// largest is how large a number may be, after zigzag, to be one byte; a larger one has
// largest and how many bytes it has, less one.
const largest = 248

// A template is text with holes, as it stands in detailTemplates. Its number is its position
// there, and [firstTemplate].
type template struct {
	number int32
	// families are what its numbers belong to, which is by what stands before them, from the
	// hole before or for up to 16 bytes, and by which of an op's texts it is. So what belongs to
	// one name in objects of JSON is one family, whatever else these have.
	families []int32
}

// A field is the numbers of a family in ops of the same function and type. They have one
// predictor, and are in one column.
type field struct {
	family    int32
	predictor predictor
	column    column
}

type fieldKey struct {
	family, f int32
	typ       histories.Type
}

type shapeKey struct {
	template, f int32
	typ         histories.Type
}

type contextKey struct {
	kind   byte // which of the op's texts
	f, err int32
	typ    histories.Type
}

// A told is a text of an op, taken apart.
type told struct {
	op      int32 // in the block
	first   bool  // of its op
	answer  bool  // the value of a completion that is ok
	key     int32 // in the order of the block; -1: none
	fields  []int32
	numbers []int64
}

// A detail makes the detail of a block. What it has of another is overwritten.
type detail struct {
	h      *histories.History
	survey *survey
	first  int
	ops    []coreOp

	out       []column
	templates [3]map[string]*template // by which of an op's texts it is
	made      int32
	families  map[string]int32
	fieldOf   map[fieldKey]int32
	shapes    map[shapeKey][]int32
	contexts  map[contextKey]*recent
	longs     map[contextKey][]byte
	fields    []*field
	numbers   []int64 // of all texts
	told      []told
	values    []int // by op: the position of its value in told, or -1

	pattern []byte // the template that is being made
	holes   []int64
	before  [][2]int // by hole: where in pattern that begins and ends which stands before it
}

// newDetail returns what makes details of blocks of h, one after the other.
func newDetail(h *histories.History, s *survey) *detail { return &detail{h: h, survey: s} }

// block returns the detail of the ops from first on, of which the core says ops.
func (d *detail) block(first int, ops []coreOp) []column {
	*d = detail{
		h: d.h, survey: d.survey, first: first, ops: ops,
		out:       make([]column, detailFields),
		templates: [3]map[string]*template{{}, {}, {}}, families: map[string]int32{}, fieldOf: map[fieldKey]int32{},
		shapes: map[shapeKey][]int32{}, contexts: map[contextKey]*recent{}, longs: map[contextKey][]byte{},
		numbers: d.numbers[:0], told: d.told[:0], values: d.values[:0],
		pattern: d.pattern, holes: d.holes, before: d.before,
	}
	d.nanos()
	for i, c := range ops {
		op := d.h.At(first + i)
		d.op(int32(i), &op, c)
	}
	d.names(d.survey.functions, func(op *histories.Op) string { return op.F })
	d.names(d.survey.nodes, func(op *histories.Op) string { return op.Node })
	d.choosePredictors()
	d.predict()
	for _, f := range d.fields {
		d.out[detailPredictors].byte(byte(f.predictor))
		d.out = append(d.out, f.column)
	}
	return d.out
}

// nanos puts down what the core leaves of the times.
func (d *detail) nanos() {
	whole := uint64(unitOf(d.h))
	left := func(i int) uint64 { return uint64(d.h.At(d.first+i).Time) % whole }
	unit := uint64(1000)
	for i := range d.ops {
		unit = gcd(unit, left(i))
	}
	d.out[detailUnit].uint(unit)
	var rest bitColumn
	width := bits.Len64(1000/unit - 1)
	for i := range d.ops {
		rest.bits(left(i)/unit, width)
	}
	d.out[detailNanos] = rest.finish()
}

func gcd(a, b uint64) uint64 {
	for b > 0 {
		a, b = b, a%b
	}
	return a
}

// op puts down the texts of an op.
func (d *detail) op(i int32, op *histories.Op, c coreOp) {
	value, fault, meta := oneLine(op.Value), quote(op.Error), oneLine(op.Meta)
	columns := [...]int{detailValues, detailErrors, detailMetas}
	if op.Type != histories.Invoke && op.Type != histories.Event {
		columns = [...]int{detailAnswers, detailFailures, detailExtras}
	}
	key := ""
	if c.key >= 0 {
		key = d.survey.keys.list[c.key]
	}
	d.values = append(d.values, len(d.told))
	t := told{op: i, first: true, answer: op.Type == histories.OK, key: c.local}
	context := contextKey{f: c.f, typ: op.Type}
	if c.invoked >= 0 && len(value) > 0 && bytes.Equal(value, oneLine(d.h.At(c.invoked).Value)) {
		d.rank(columns[0], context, sameTemplate, false)
		t.numbers = d.told[d.values[c.invoked-d.first]].numbers
		d.told = append(d.told, t)
	} else {
		d.text(columns[0], value, key, t, context)
	}
	t.first, t.answer = false, false
	d.text(columns[1], fault, key, t, contextKey{kind: 1, f: c.f, typ: op.Type, err: c.err})
	d.text(columns[2], meta, key, t, contextKey{kind: 2, f: c.f, typ: op.Type})
}

// text puts down a text of an op.
func (d *detail) text(ranks int, text []byte, key string, t told, context contextKey) {
	switch {
	case len(text) == 0:
		d.rank(ranks, context, noTemplate, false)
	case len(text) > maxLength || !d.takeApart(text, key):
		d.rank(ranks, context, longTemplate, false)
		context.err = t.key // what was said of the same key
		d.long(text, context)
	default:
		made, fresh := d.template(context.kind)
		d.rank(ranks, context, made.number, fresh)
		t.fields = d.shape(made, context.f, context.typ)
		start := len(d.numbers)
		d.numbers = append(d.numbers, d.holes...)
		t.numbers = d.numbers[start:len(d.numbers):len(d.numbers)]
	}
	if t.first || len(t.fields) > 0 {
		d.told = append(d.told, t)
	}
}

// rank puts down which template a text has.
func (d *detail) rank(ranks int, context contextKey, template int32, fresh bool) {
	r := d.contexts[context]
	if r == nil {
		r = &recent{sameTemplate, noTemplate, longTemplate}
		d.contexts[context] = r
	}
	switch {
	case r.code(&d.out[ranks], template):
	case fresh:
		d.out[detailMisses].uint(0)
	default:
		d.out[detailMisses].uint(uint64(template) + 1)
	}
}

// long puts down a text by what it shares with the last one of its context.
func (d *detail) long(text []byte, context contextKey) {
	last := d.longs[context]
	d.longs[context] = text
	begin := 0
	for begin < min(len(text), len(last)) && text[begin] == last[begin] {
		begin++
	}
	end := 0
	for end < min(len(text), len(last))-begin && text[len(text)-1-end] == last[len(last)-1-end] {
		end++
	}
	own := text[begin : len(text)-end]
	for _, n := range [...]int{begin, end, len(own)} {
		d.out[detailLong].uint(uint64(n))
	}
	d.out[detailBytes] = append(d.out[detailBytes], own...)
}

// takeApart makes pattern and holes of a text, and says whether it is a template.
func (d *detail) takeApart(text []byte, key string) bool {
	d.pattern, d.holes, d.before = d.pattern[:0], d.holes[:0], d.before[:0]
	i, from := 0, 0
	if n := len(key); n > 0 && len(text) > n+3 && text[0] == '[' {
		switch {
		case text[1] == '"' && string(text[2:2+n]) == key && text[2+n] == '"' && text[3+n] == ',':
			d.pattern = append(d.pattern, '[', holeText)
			i = n + 3
		case string(text[1:1+n]) == key && text[1+n] == ',':
			d.pattern = append(d.pattern, '[', holeKey)
			i = n + 1
		}
		from = len(d.pattern)
	}
	for i < len(text) {
		c := text[i]
		if !digit(c) || c == '0' && i+1 < len(text) && digit(text[i+1]) {
			d.pattern = append(d.pattern, c)
			i++
			continue
		}
		if len(d.holes) == maxHoles {
			return false
		}
		n := int64(0)
		for end := min(i+maxDigits, len(text)); i < end && digit(text[i]); i++ {
			n = 10*n + int64(text[i]-'0')
		}
		d.before = append(d.before, [2]int{max(from, len(d.pattern)-maxBefore), len(d.pattern)})
		d.pattern = append(d.pattern, holeNumber)
		from = len(d.pattern)
		d.holes = append(d.holes, n)
	}
	return true
}

// template returns the template of pattern, and whether there was none before.
func (d *detail) template(kind byte) (t *template, fresh bool) {
	if t = d.templates[kind][string(d.pattern)]; t != nil {
		return t, false
	}
	t = &template{number: firstTemplate + d.made}
	d.made++
	d.templates[kind][string(d.pattern)] = t
	d.out[detailTemplates] = append(append(d.out[detailTemplates], d.pattern...), '\n')
	for _, span := range d.before {
		name := string(kind) + string(d.pattern[span[0]:span[1]])
		family, ok := d.families[name]
		if !ok && len(d.families) < maxFields-1 {
			family = int32(len(d.families)) + 1
			d.families[name] = family
		}
		t.families = append(t.families, family)
	}
	return t, true
}

// shape returns the fields of a template's numbers in ops of that function and type.
func (d *detail) shape(t *template, f int32, typ histories.Type) []int32 {
	key := shapeKey{t.number, f, typ}
	fields, ok := d.shapes[key]
	if ok {
		return fields
	}
	for _, family := range t.families {
		key := fieldKey{family, f, typ}
		n, ok := d.fieldOf[key]
		if !ok && len(d.fields) < maxFields {
			n = int32(len(d.fields))
			d.fieldOf[key] = n
			d.fields = append(d.fields, &field{family: family})
		}
		fields = append(fields, n)
	}
	d.shapes[key] = fields
	return fields
}

// names puts down the names that the index has no number for.
func (d *detail) names(n names, of func(*histories.Op) string) {
	if n.others < 0 {
		return
	}
	for i := range d.ops {
		op := d.h.At(d.first + i)
		if name := of(&op); name != "" && n.number[name] == n.others {
			d.out[detailNames].uint(uint64(len(name)))
			d.out[detailNames] = append(d.out[detailNames], name...)
		}
	}
}

// choosePredictors gives each field the predictor that is best for the first ops.
func (d *detail) choosePredictors() {
	costs := make([]*[predictors]cost, len(d.fields))
	m := newModel(len(d.families) + 1)
	for _, f := range m.families {
		f.use(lastAfter)
		f.use(lastAlike)
	}
	for _, t := range d.told {
		if t.op >= maxSample {
			break
		}
		m.begin(t.first)
		for i, v := range t.numbers {
			if t.fields == nil {
				m.pass(v)
				continue
			}
			n := t.fields[i]
			if costs[n] == nil {
				costs[n] = new([predictors]cost)
			}
			family := m.families[d.fields[n].family]
			for p := range costs[n] {
				costs[n][p].add(zigzag(v - m.predict(predictor(p), family, t.key)))
			}
			m.learn(family, t.key, v)
		}
		m.end(t.answer, t.key, t.numbers)
	}
	for n, f := range d.fields {
		f.predictor = lastOfKey
		if costs[n] == nil {
			continue
		}
		best := math.Inf(1)
		for p := range costs[n] {
			if bits := costs[n][p].bits(); bits < best {
				best, f.predictor = bits, predictor(p)
			}
		}
	}
}

// predict puts down by how much predictions are wrong.
func (d *detail) predict() {
	m := newModel(len(d.families) + 1)
	for _, f := range d.fields {
		m.families[f.family].use(f.predictor)
	}
	for _, t := range d.told {
		m.begin(t.first)
		for i, v := range t.numbers {
			if t.fields == nil {
				m.pass(v)
				continue
			}
			f := d.fields[t.fields[i]]
			family := m.families[f.family]
			wrong := zigzag(v - m.predict(f.predictor, family, t.key))
			m.learn(family, t.key, v)
			if wrong < largest {
				f.column.byte(byte(wrong))
				continue
			}
			n := (bits.Len64(wrong) + 7) / 8
			f.column.byte(byte(largest + n - 1))
			for range n {
				d.out[detailLarge].byte(byte(wrong))
				wrong >>= 8
			}
		}
		m.end(t.answer, t.key, t.numbers)
	}
}

// oneLine returns a payload as it stands in the line of its op.
func oneLine(raw json.RawMessage) []byte {
	if bytes.IndexByte(raw, '\n') < 0 {
		return raw
	}
	var one bytes.Buffer
	if err := json.Compact(&one, raw); err != nil {
		panic("document: " + err.Error()) // cannot be: a history has JSON only
	}
	return one.Bytes()
}

// quote returns a text as it stands in the line of its op; "" is not in it.
func quote(text string) []byte {
	if text == "" {
		return nil
	}
	for i := range len(text) {
		if c := text[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, err := json.Marshal(text)
			if err != nil {
				panic("document: " + err.Error()) // cannot be: a text always marshals
			}
			return quoted
		}
	}
	return strconv.AppendQuote(nil, text) // nothing in it that JSON and Go quote differently: see above
}
