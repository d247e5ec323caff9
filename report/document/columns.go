package document

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"math/bits"
)

// A column is bytes of a part that are alike. Numbers that may be large are in it as uvarints
// (7 bits a byte, the lowest first), and those that may be negative zigzag (0, -1, 1, -2, ...).
type column []byte

func (c *column) byte(b byte)   { *c = append(*c, b) }
func (c *column) uint(v uint64) { *c = binary.AppendUvarint(*c, v) }
func (c *column) int(v int64)   { c.uint(zigzag(v)) }

func zigzag(v int64) uint64 { return uint64(v)<<1 ^ uint64(v>>63) }

// A bitColumn is a column of numbers of few bits, the lowest bit first. They are those that
// nothing makes smaller.
type bitColumn struct {
	column
	rest uint64
	n    int // bits in rest: fewer than 8
}

// bits adds the lowest n bits of v, which has no others; n is at most 56.
func (c *bitColumn) bits(v uint64, n int) {
	c.rest |= v << c.n
	for c.n += n; c.n >= 8; c.n -= 8 {
		c.byte(byte(c.rest))
		c.rest >>= 8
	}
}

// finish returns the whole column. Nothing may be added after it.
func (c *bitColumn) finish() column {
	if c.n > 0 {
		c.byte(byte(c.rest))
		c.n = 0
	}
	return c.column
}

// farAhead is the symbol of a duration that is too long for one.
const farAhead = 255

// duration adds a number as a symbol, which is about its logarithm, and the bits that the symbol
// does not tell: those below the highest four. Symbols have a distribution, and so become
// small; the lower bits do not.
func duration(symbols *column, rest *bitColumn, v uint64) {
	n := max(bits.Len64(v)-4, 0)
	if n > 29 {
		symbols.byte(farAhead)
		rest.bits(v, 56)
		return
	}
	symbols.byte(byte(8*n + int(v>>n)))
	rest.bits(v&(1<<n-1), n)
}

// A recent gives numbers by how recently they were given last, since what is in use is soon
// used again.
type recent []int32

// unranked is the rank of what was not given, or too long ago.
const unranked = 255

// code adds the rank of n, or that it has none. It goes to the front.
func (r *recent) code(ranks *column, n int32) (ranked bool) {
	list := *r
	for i, m := range list {
		if m == n {
			copy(list[1:i+1], list[:i])
			list[0] = n
			ranks.byte(byte(i))
			return true
		}
	}
	ranks.byte(unranked)
	if len(list) < unranked {
		list = append(list, 0)
	}
	copy(list[1:], list)
	list[0] = n
	*r = list
	return false
}

// A numbering is a recent of numbers that begin with 0 and are new one after the other. One
// without a rank is in misses: 0 if it is new, else itself and 1.
type numbering struct {
	recent
	count int32
}

func (b *numbering) code(ranks, misses *column, n int32) {
	if b.recent.code(ranks, n) {
		return
	}
	if n == b.count {
		b.count++
		misses.uint(0)
		return
	}
	misses.uint(uint64(n) + 1)
}

// wide is the byte of a number that a column of bytes has no room for, and another has.
const wide = 255

// small adds a number that is mostly below [wide].
func small(bytes, wides *column, v uint64) {
	if v < wide {
		bytes.byte(byte(v))
		return
	}
	bytes.byte(wide)
	wides.uint(v)
}

// A sticky is a number, or -1, that mostly stays what it was.
type sticky int32

// code adds 0 if n is what it was; else n and 2.
func (s *sticky) code(bytes, wides *column, n int32) {
	if sticky(n) == *s {
		bytes.byte(0)
		return
	}
	*s = sticky(n)
	small(bytes, wides, uint64(n)+2)
}

// A packer compresses. Its zero value is ready.
type packer struct {
	huffman, repeats *flate.Writer
	a, b             bytes.Buffer
}

// ownCode is how large a column has to be for a code of its own.
const ownCode = 1 << 10

// part packs columns, with their lengths before them.
func (p *packer) part(columns []column) []byte {
	var head column
	head.uint(uint64(len(columns)))
	for _, c := range columns {
		head.uint(uint64(len(c)))
	}
	return p.deflate(append([]column{head}, columns...))
}

// deflate compresses columns into one stream, in which each that is large has a Huffman code of
// its own, after a search for what repeats, if that is smaller. (Streams of deflate that were
// flushed may follow each other, since the second refers to nothing before it.)
func (p *packer) deflate(columns []column) []byte {
	var out, pending []byte
	for _, c := range columns {
		if len(c) < ownCode {
			pending = append(pending, c...)
			continue
		}
		out = p.segment(out, pending)
		pending = pending[:0]
		out = p.segment(out, c)
	}
	out = p.segment(out, pending)
	return append(out, 3, 0) // an empty block that is the last
}

func (p *packer) segment(out, text []byte) []byte {
	if len(text) == 0 {
		return out
	}
	if p.huffman == nil {
		p.huffman, p.repeats = newWriter(flate.HuffmanOnly), newWriter(flate.DefaultCompression)
	}
	p.a.Reset()
	squeeze(p.huffman, &p.a, text)
	best := p.a.Bytes()
	if 4*len(best) < 3*len(text) {
		p.b.Reset()
		squeeze(p.repeats, &p.b, text)
		if p.b.Len() < len(best) {
			best = p.b.Bytes()
		}
	}
	return append(out, best...)
}

func newWriter(level int) *flate.Writer {
	w, err := flate.NewWriter(nil, level)
	if err != nil {
		panic("document: " + err.Error()) // there is no such level
	}
	return w
}

// squeeze compresses into memory, where nothing can fail.
func squeeze(w *flate.Writer, to *bytes.Buffer, text []byte) {
	w.Reset(to)
	_, err := w.Write(text)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		panic("document: " + err.Error())
	}
}
