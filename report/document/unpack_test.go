package document

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// What a page does to the data, done in Go: so that what is written can be read is tested
// without a browser.

// An unpackedOp is an op as its block has it.
type unpackedOp struct {
	histories.Op        // of an op whose detail is left out, only what the core says
	f, err, key, node   int32
	pair, row           int // pair: of a completion: index of the op that it completes; else -1
	core, detail, event bool
}

// unpackOps returns the ops of an index and its data, those that are left out as zero.
func unpackOps(x Index, whole unit, data []byte) (ops []unpackedOp, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("not as it is described: %v", p)
		}
	}()
	for _, l := range x.Levels {
		cells, err := inflate(data[:l.Bytes])
		if err != nil {
			return nil, err
		}
		if len(cells) != 3*len(l.Lanes)*l.Columns {
			return nil, fmt.Errorf("%s: %d cells", l.By, len(cells))
		}
		data = data[l.Bytes:]
	}
	for _, b := range x.Blocks {
		if b.First != len(ops) {
			return nil, fmt.Errorf("block begins with %d, not %d", b.First, len(ops))
		}
		core, detail := data[:b.Core], data[b.Core:b.Core+b.Detail]
		data = data[b.Core+b.Detail:]
		if b.Core == 0 {
			if b.Detail > 0 {
				return nil, errors.New("a detail without its core")
			}
			ops = append(ops, make([]unpackedOp, b.Ops)...)
			continue
		}
		got, local, err := unpackCore(x, whole, b, core)
		if err == nil && b.Detail > 0 {
			err = unpackDetail(x, b, detail, got, local)
		}
		if err != nil {
			return nil, fmt.Errorf("block of %d: %w", b.First, err)
		}
		ops = append(ops, got...)
	}
	if len(data) > 0 {
		return nil, fmt.Errorf("%d bytes are of nothing", len(data))
	}
	return ops, nil
}

func inflate(data []byte) ([]byte, error) {
	r := bytes.NewReader(data)
	text, err := io.ReadAll(flate.NewReader(r))
	if err == nil && r.Len() > 0 {
		err = fmt.Errorf("%d bytes behind the end", r.Len())
	}
	return text, err
}

// A columnReader is a column that is read.
type columnReader struct {
	*bytes.Reader
	rest uint64
	n    int
}

func (r *columnReader) byte() byte {
	b, err := r.ReadByte()
	if err != nil {
		panic(err)
	}
	return b
}

func (r *columnReader) uint() uint64 {
	v, err := binary.ReadUvarint(r)
	if err != nil {
		panic(err)
	}
	return v
}

func (r *columnReader) int() int64 { return unzigzag(r.uint()) }

func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

func (r *columnReader) bits(n int) (v uint64) {
	for got := 0; got < n; {
		if r.n == 0 {
			r.rest, r.n = uint64(r.byte()), 8
		}
		take := min(n-got, r.n)
		v |= r.rest & (1<<take - 1) << got
		r.rest >>= take
		r.n -= take
		got += take
	}
	return v
}

func (r *columnReader) take(n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		panic(err)
	}
	return b
}

func (r *columnReader) small(wides *columnReader) uint64 {
	if b := r.byte(); b < wide {
		return uint64(b)
	}
	return wides.uint()
}

func (r *columnReader) sticky(wides *columnReader, last *int32) int32 {
	if v := r.small(wides); v > 0 {
		*last = int32(v) - 2
	}
	return *last
}

func (r *columnReader) duration(rest *columnReader) uint64 {
	symbol := int(r.byte())
	if symbol == farAhead {
		return rest.bits(56)
	}
	if symbol < 16 {
		return uint64(symbol)
	}
	n := symbol/8 - 1
	return uint64(symbol-8*n)<<n | rest.bits(n)
}

// rank returns the number that has that rank, or false.
func (r *recent) at(rank byte) (int32, bool) {
	if rank == unranked {
		return 0, false
	}
	n := (*r)[rank]
	r.front(int(rank), n)
	return n, true
}

func (r *recent) front(from int, n int32) {
	*r = slices.Insert(slices.Delete(*r, from, min(from+1, len(*r))), 0, n)
	*r = (*r)[:min(len(*r), unranked)]
}

func (b *numbering) read(ranks, misses *columnReader) int32 {
	if n, ok := b.at(ranks.byte()); ok {
		return n
	}
	n := int32(misses.uint()) - 1
	if n < 0 {
		n = b.count
		b.count++
	}
	b.front(len(b.recent), n)
	return n
}

func columnsOf(part []byte) ([]*columnReader, error) {
	text, err := inflate(part)
	if err != nil {
		return nil, err
	}
	head := &columnReader{Reader: bytes.NewReader(text)}
	lengths := make([]int, head.uint())
	for i := range lengths {
		lengths[i] = int(head.uint())
	}
	columns := make([]*columnReader, len(lengths))
	for i, n := range lengths {
		columns[i] = &columnReader{Reader: bytes.NewReader(head.take(n))}
	}
	if head.Len() > 0 {
		return nil, fmt.Errorf("%d bytes in no column", head.Len())
	}
	return columns, nil
}

// rested complains of columns that were not read to their ends.
func rested(columns []*columnReader) error {
	for i, c := range columns {
		if c.Len() > 0 {
			return fmt.Errorf("%d bytes of column %d are of nothing", c.Len(), i)
		}
	}
	return nil
}

func unpackCore(x Index, whole unit, b Block, part []byte) (ops []unpackedOp, local []int32, err error) {
	c, err := columnsOf(part)
	if err != nil {
		return nil, nil, err
	}
	type process struct {
		number, row         int
		open                bool
		began               int // which op is open, if it is of a block before
		f                   int32
		invokedAt, answered int32
	}
	var (
		processes        []*process
		number           int64
		who, which       numbering
		keys             []int32
		lastSlot         = int32(-1)
		completed        bool
		now              = b.From
		errs             = map[[2]int32]*int32{}
		localOf, keyOf   = map[int]int32{}, map[int]int32{}
		wides, durations = c[coreWide], c[coreTimes]
	)
	for c[coreProcess].Len() > 0 {
		number += c[coreProcess].int()
		p := &process{number: int(number), row: int(c[coreRow].uint()), invokedAt: -1, answered: -1}
		if f := c[coreOpen].uint(); f > 0 {
			p.open, p.f = true, int32(f)-1
			p.began = b.First - int(c[coreBegan].uint())
		}
		processes = append(processes, p)
	}
	key := int64(0)
	for c[coreKeyTable].Len() > 0 {
		key += c[coreKeyTable].int()
		keys = append(keys, int32(key))
	}
	for i := range b.Ops {
		ranks, times := c[coreOther], c[coreLater]
		if completed {
			ranks = c[coreAfter]
		}
		slot := who.read(ranks, c[coreMisses])
		if slot == lastSlot {
			times = c[coreSoon]
		}
		now += Time(times.duration(durations))
		p := processes[slot]
		lastSlot = slot
		id := histories.Process(p.number)
		op := unpackedOp{core: true, key: -1, pair: -1, row: p.row}
		op.Index, op.Time, op.Process = b.First+i, time.Duration(now)*time.Duration(whole), id
		op.event = p.number < 0 && c[coreEvents].byte() == 1
		l := int32(-1)
		if completed = !op.event && p.open; completed {
			op.f = p.f
			op.Type = histories.OK + histories.Type(c[coreOutcomes+min(int(p.f), outcomeColumns-1)].byte())
			op.node = c[coreCompleted].sticky(wides, &p.answered)
			p.open = false
			op.pair = p.began
			if p.began >= b.First {
				l, op.key = localOf[p.began], keyOf[p.began]
			}
		} else {
			op.Type = histories.Event
			op.f = int32(c[coreFunctions].small(wides))
			l = which.read(c[coreKeys], c[coreKeyMisses])
			if op.key = keys[l]; op.key < 0 {
				l = -1
			}
			op.node = c[coreInvoked].sticky(wides, &p.invokedAt)
			if !op.event {
				op.Type = histories.Invoke
				p.open, p.f, p.began = true, op.f, op.Index
				localOf[op.Index], keyOf[op.Index] = l, op.key
			}
		}
		context := [2]int32{op.f, int32(op.Type)}
		if errs[context] == nil {
			errs[context] = new(int32)
			*errs[context] = -1
		}
		told := c[coreErrors]
		if op.Type == histories.Fail || op.Type == histories.Info {
			told = c[coreFailures]
		}
		op.err = told.sticky(wides, errs[context])
		op.F = x.Functions[op.f]
		if op.node >= 0 {
			op.Node = x.Nodes[op.node]
		}
		ops, local = append(ops, op), append(local, l)
	}
	if now != b.To {
		return nil, nil, fmt.Errorf("ends at %d, not %d", now, b.To)
	}
	return ops, local, rested(c)
}

func unpackDetail(x Index, b Block, part []byte, ops []unpackedOp, local []int32) error {
	c, err := columnsOf(part)
	if err != nil {
		return err
	}
	unit := c[detailUnit].uint()
	width := 0
	for 1<<width < 1000/unit {
		width++
	}
	type shapeOf struct {
		template string
		families []int32
		fields   map[[2]int32][]int32 // by function and type
	}
	type text struct {
		text    []byte
		numbers []int64
	}
	var (
		templates = make([]*shapeOf, firstTemplate)
		texts     = bytes.Split(c[detailTemplates].take(c[detailTemplates].Len()), []byte("\n"))
		families  = map[string]int32{}
		fieldOf   = map[fieldKey]int32{}
		fields    []int32 // their families
		contexts  = map[contextKey]*recent{}
		longs     = map[contextKey][]byte{}
		values    = map[int]text{}
	)
	var chosen []predictor
	for c[detailPredictors].Len() > 0 {
		chosen = append(chosen, predictor(c[detailPredictors].byte()))
	}
	// The model has to know what it has to remember, and so which field is of which family: of
	// each family, all is remembered here, which changes no prediction.
	m := newModel(maxFields + 1)
	for _, f := range m.families {
		f.use(lastAfter)
		f.use(lastAlike)
	}
	for i := range ops {
		op := &ops[i]
		op.detail = true
		op.Time += time.Duration(c[detailNanos].bits(width) * unit)
		columns := [...]int{detailValues, detailErrors, detailMetas}
		if op.Type != histories.Invoke && op.Type != histories.Event {
			columns = [...]int{detailAnswers, detailFailures, detailExtras}
		}
		var made [3]text
		for kind := range made {
			context := contextKey{kind: byte(kind), f: op.f, typ: op.Type}
			if kind == 1 {
				context.err = op.err
			}
			r := contexts[context]
			if r == nil {
				r = &recent{sameTemplate, noTemplate, longTemplate}
				contexts[context] = r
			}
			number, ok := r.at(c[columns[kind]].byte())
			if !ok {
				if number = int32(c[detailMisses].uint()) - 1; number < 0 {
					number = int32(len(templates))
					t := &shapeOf{template: string(texts[number-firstTemplate]), fields: map[[2]int32][]int32{}}
					from := 0
					for j := range len(t.template) {
						switch t.template[j] {
						case holeText, holeKey:
							from = j + 1
						case holeNumber:
							name := string(rune(kind)) + t.template[max(from, j-maxBefore):j]
							family, ok := families[name]
							if !ok && len(families) < maxFields-1 {
								family = int32(len(families)) + 1
								families[name] = family
							}
							t.families = append(t.families, family)
							from = j + 1
						}
					}
					templates = append(templates, t)
				}
				r.front(len(*r), number)
			}
			m.begin(kind == 0)
			switch number {
			case noTemplate:
			case sameTemplate:
				made[kind] = values[op.pair]
				for _, v := range made[kind].numbers {
					m.pass(v)
				}
			case longTemplate:
				context.err = local[i]
				begin, end, own := int(c[detailLong].uint()), int(c[detailLong].uint()), int(c[detailLong].uint())
				last := longs[context]
				made[kind].text = slices.Concat(last[:begin], c[detailBytes].take(own), last[len(last)-end:])
				longs[context] = made[kind].text
			default:
				t := templates[number]
				ctx := [2]int32{op.f, int32(op.Type)}
				shape, ok := t.fields[ctx]
				if !ok {
					for _, family := range t.families {
						key := fieldKey{family, op.f, op.Type}
						n, ok := fieldOf[key]
						if !ok && len(fields) < maxFields {
							n = int32(len(fields))
							fieldOf[key] = n
							fields = append(fields, family)
						}
						shape = append(shape, n)
					}
					t.fields[ctx] = shape
				}
				for _, b := range []byte(t.template) {
					key := ""
					if op.key >= 0 {
						key = x.Keys[op.key]
					}
					switch b {
					case holeText:
						made[kind].text = append(made[kind].text, `"`+key+`"`...)
					case holeKey:
						made[kind].text = append(made[kind].text, key...)
					case holeNumber:
						n := shape[len(made[kind].numbers)]
						wrong := uint64(c[detailFields+int(n)].byte())
						if wrong >= largest {
							size := int(wrong) - largest + 1
							wrong = 0
							for j, b := range c[detailLarge].take(size) {
								wrong |= uint64(b) << (8 * j)
							}
						}
						family := m.families[fields[n]]
						v := m.predict(chosen[n], family, local[i]) + unzigzag(wrong)
						m.learn(family, local[i], v)
						made[kind].numbers = append(made[kind].numbers, v)
						made[kind].text = strconv.AppendInt(made[kind].text, v, 10)
					default:
						made[kind].text = append(made[kind].text, b)
					}
				}
			}
			m.end(kind == 0 && op.Type == histories.OK, local[i], made[kind].numbers)
		}
		values[op.Index] = made[0]
		op.Value, op.Meta = made[0].text, made[2].text
		if len(made[1].text) > 0 {
			if err := json.Unmarshal(made[1].text, &op.Error); err != nil {
				return err
			}
		}
	}
	for _, n := range [...]struct {
		others int
		of     func(op *unpackedOp) (int32, *string)
	}{
		{x.Others.Function, func(op *unpackedOp) (int32, *string) { return op.f, &op.F }},
		{x.Others.Node, func(op *unpackedOp) (int32, *string) { return op.node, &op.Node }},
	} {
		for i := range ops {
			if number, name := n.of(&ops[i]); number >= 0 && int(number) == n.others {
				*name = string(c[detailNames].take(int(c[detailNames].uint())))
			}
		}
	}
	return rested(c)
}
