package server

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A journal is a file that grows at its end, batch by batch. A batch is on the disk,
// whole, when append returns; one that the power took apart is not there at all.
//
// The file consists of sectors, which a disk writes whole or not at all. The first one
// tells what the file is; a batch takes as many of the following ones as it needs. Each
// says of which batch it is, and which part of how many, and has a sum of that and of
// what it holds. The sum is also of the sector's number, and of a number drawn by lot for
// the file, so that what belongs elsewhere is known for such.
//
// Behind the last batch there are zeros, and they are on the disk before a batch is
// written over them. So a sync has nothing to write but the batch: neither the size of
// the file nor where it lies changes with it. And there are three things only that a
// failure of power can leave in the place of a sector: what was written, zeros, or, where
// the file was about to grow, nothing. Of one batch at most some sectors are there and some
// zeros, which nobody was told of, since the next is written when it is on the disk: it
// is dropped. All else is damage.
//
// A file that was cut short is known by its size: each sector says how large the file
// was at least, and no batch reaches to its end. A cut in a batch leaves the beginning of
// the batch, which says so, or the one before, which has zeros behind it, and says that
// they go on. What cannot be known for damage is a last batch of which the disk returns
// a sector, or all, as zeros: so it would be had it never been written.
type journal struct {
	file   journalFile
	salt   []byte
	salted uint32 // its sum, with which every sum begins
	last   uint64 // the number of the last batch
	end    int64  // the sector behind it
	size   int64  // of the file, in sectors
	buf    []byte // for the next batch
}

// A journalFile is what a journal needs of a file.
type journalFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync returns when all that was written is on the disk, and the size.
	Sync() error
}

// A sector is: sum, number of the batch, part, parts, size of the file, contents.
const (
	sectorSize = 512
	sectorHead = 4 + 8 + 4 + 4 + 4
	sectorRoom = sectorSize - sectorHead
)

// The first sector is: format, salt, end of the batches that were on the disk before the
// file had its name, size of the file then; and, at its end, its sum.
const (
	saltAt = 32
	endAt  = saltAt + 8
	sizeAt = endAt + 8
	sumAt  = sectorSize - 4
)

// growth is by how many sectors a file grows at a time. So seldom is it that a node whose
// disk is full need not end at once.
const growth = 1 << 20 / sectorSize

// zeros are what is behind the last batch.
var zeros [growth * sectorSize]byte

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// newJournal begins a journal in an empty file. It is none before finish.
func newJournal(f journalFile) *journal {
	j := &journal{file: f, end: 1, salt: make([]byte, 8)}
	rand.Read(j.salt)
	j.salted = crc32.Checksum(j.salt, castagnoli)
	return j
}

// finish makes a journal of what was written into a new file, and syncs it.
func (j *journal) finish() error {
	size := roundUp(j.end + 1)
	b := make([]byte, sectorSize)
	copy(b, storeFormat)
	copy(b[saltAt:], j.salt)
	binary.BigEndian.PutUint64(b[endAt:], uint64(j.end))
	binary.BigEndian.PutUint64(b[sizeAt:], uint64(size))
	binary.BigEndian.PutUint32(b[sumAt:], crc32.Checksum(b[:sumAt], castagnoli))
	if _, err := j.file.WriteAt(b, 0); err != nil {
		return err
	}
	return j.grow(j.end, size)
}

// readJournal reads a journal, hands over what each batch holds, and makes sure that there
// is nothing else.
func readJournal(r io.Reader, batch func(position int64, contents []byte) error) (*journal, error) {
	in := bufio.NewReaderSize(r, 16<<10)
	b := make([]byte, sectorSize)
	if _, err := io.ReadFull(in, b); err != nil {
		return nil, fmt.Errorf("it is damaged, or no store: read its beginning: %w", err)
	}
	if err := checkBeginning(b); err != nil {
		return nil, err
	}
	j := &journal{end: 1, salt: bytes.Clone(b[saltAt:endAt])}
	j.salted = crc32.Checksum(j.salt, castagnoli)
	begun := int64(binary.BigEndian.Uint64(b[endAt:]))
	j.size = int64(binary.BigEndian.Uint64(b[sizeAt:]))
	var (
		contents []byte // of the batch that begins at j.end
		missing  bool   // a part of it, so it is the last one
		n        = int64(1)
	)
	for ; ; n++ {
		read, err := io.ReadFull(in, b)
		short := errors.Is(err, io.ErrUnexpectedEOF)
		if errors.Is(err, io.EOF) || short && isZero(b[:read]) {
			break
		}
		if short {
			return nil, fmt.Errorf("it is damaged: it was cut short in sector %d", n)
		}
		if err != nil {
			return nil, fmt.Errorf("read sector %d: %w", n, err)
		}
		if isZero(b) {
			missing = true
			continue
		}
		s, err := j.open(n, b)
		if err != nil {
			return nil, err
		}
		if s.batch != j.last+1 || n-s.part != j.end {
			return nil, fmt.Errorf("it is damaged: sector %d is the %dth of batch %d, where batch %d begins in sector %d",
				n, s.part+1, s.batch, j.last+1, j.end)
		}
		j.size = max(j.size, s.size)
		if missing {
			continue
		}
		contents = append(contents, s.contents...)
		if s.part+1 < s.parts {
			continue
		}
		if err := batch(j.end*sectorRoom, contents); err != nil {
			return nil, err
		}
		j.last++
		j.end += s.parts
		contents = contents[:0]
	}
	switch {
	case n < j.size:
		return nil, fmt.Errorf("it is damaged: it was cut short to %d sectors, and had %d", n, j.size)
	case j.end < begun:
		return nil, fmt.Errorf("it is damaged: there is nothing in sector %d or behind it, and there was to %d", j.end, begun-1)
	}
	return j, nil
}

// checkBeginning says what is wrong with a first sector.
func checkBeginning(b []byte) error {
	format, _, _ := bytes.Cut(b[:saltAt], []byte{0})
	switch {
	case binary.LittleEndian.Uint32(b[16:]) == 0xED0CDAED: // bbolt's magic number
		return fmt.Errorf("it is of bbolt, as an earlier version of this program wrote it; this one reads %q", storeFormat)
	case !bytes.HasPrefix(format, []byte("raftkv store ")):
		return errors.New("it is damaged, or no store")
	case string(format) != storeFormat:
		return fmt.Errorf("its format is %q; this program reads %q", format, storeFormat)
	case binary.BigEndian.Uint32(b[sumAt:]) != crc32.Checksum(b[:sumAt], castagnoli):
		return errors.New("it is damaged: the sum of its first sector is wrong")
	}
	return nil
}

func isZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }

// A sector is what one that is whole says.
type sector struct {
	batch       uint64
	part, parts int64
	size        int64
	contents    []byte
}

// open checks a sector.
func (j *journal) open(number int64, b []byte) (sector, error) {
	if binary.BigEndian.Uint32(b) != j.sum(number, b[4:]) {
		return sector{}, fmt.Errorf("it is damaged: the sum of sector %d is wrong", number)
	}
	return sector{
		batch:    binary.BigEndian.Uint64(b[4:]),
		part:     int64(binary.BigEndian.Uint32(b[12:])),
		parts:    int64(binary.BigEndian.Uint32(b[16:])),
		size:     int64(binary.BigEndian.Uint32(b[20:])),
		contents: b[sectorHead:],
	}, nil
}

// read returns what batches hold. A position counts the contents of all sectors, one
// after the other, also of the first.
func (j *journal) read(position int64, length int) ([]byte, error) {
	first, last := position/sectorRoom, (position+int64(length)-1)/sectorRoom
	b := make([]byte, (last-first+1)*sectorSize)
	if _, err := j.file.ReadAt(b, first*sectorSize); err != nil {
		return nil, fmt.Errorf("read sectors %d to %d: %w", first, last, err)
	}
	contents := b[:0]
	for n := first; n <= last; n++ {
		s, err := j.open(n, b[(n-first)*sectorSize:][:sectorSize])
		if err != nil {
			return nil, err
		}
		contents = append(contents, s.contents...) // before what it is taken from
	}
	return contents[position%sectorRoom:][:length], nil
}

// sum is that of what a sector holds behind its sum.
func (j *journal) sum(number int64, b []byte) uint32 {
	var at [8]byte
	binary.BigEndian.PutUint64(at[:], uint64(number))
	return crc32.Update(crc32.Update(j.salted, castagnoli, at[:]), castagnoli, b)
}

// fits says whether there is room for a batch.
func (j *journal) fits(contents []byte) bool { return j.end+partsOf(contents) < j.size }

func partsOf(contents []byte) int64 { return int64((len(contents) + sectorRoom - 1) / sectorRoom) }

// append writes a batch, and returns the position of what it holds: see [journal.read].
func (j *journal) append(contents []byte) (position int64, err error) {
	if !j.fits(contents) {
		if err := j.grow(j.size, roundUp(j.end+partsOf(contents)+1)); err != nil {
			return 0, fmt.Errorf("make room: %w", err)
		}
	}
	if position, err = j.write(contents); err == nil {
		err = j.file.Sync()
	}
	return position, err
}

// grow writes zeros from one sector to another, where the file is to end, and syncs it.
func (j *journal) grow(from, to int64) error {
	for at := from; at < to; {
		n := min(to-at, growth)
		if _, err := j.file.WriteAt(zeros[:n*sectorSize], at*sectorSize); err != nil {
			return err
		}
		at += n
	}
	j.size = to
	return j.file.Sync()
}

func roundUp(sectors int64) int64 { return (sectors + growth - 1) / growth * growth }

// write writes a batch.
func (j *journal) write(contents []byte) (position int64, err error) {
	position = j.end * sectorRoom
	parts := partsOf(contents)
	b := j.buf[:0]
	for part := range parts {
		n := min(sectorRoom, len(contents))
		begin := len(b)
		b = append(b, 0, 0, 0, 0)
		b = binary.BigEndian.AppendUint64(b, j.last+1)
		b = binary.BigEndian.AppendUint32(b, uint32(part))
		b = binary.BigEndian.AppendUint32(b, uint32(parts))
		b = binary.BigEndian.AppendUint32(b, uint32(j.size))
		b = append(b, contents[:n]...)
		b = append(b, zeros[:sectorRoom-n]...)
		binary.BigEndian.PutUint32(b[begin:], j.sum(j.end+part, b[begin+4:]))
		contents = contents[n:]
	}
	j.buf = b
	if _, err := j.file.WriteAt(b, j.end*sectorSize); err != nil {
		return 0, err
	}
	j.last++
	j.end += parts
	return position, nil
}
