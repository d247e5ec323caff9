package volume

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/hacheck/hacheck/systems/raftkv/server/durable"
)

// A journal is a file that grows at its end, batch by batch. Each batch is on the disk when
// the next one is written, so a failure of power leaves at most the last one in pieces, which
// nobody was told of: it is cut off. Sectors of it that did not get there are zeros, or the
// file ends before them. Any other batch whose sum is wrong is damage, and so is one that is
// followed by another. What cannot be known for damage is a file from whose end whole
// batches were cut.
type journal struct {
	file journalFile
	end  int64  // behind the last batch
	last uint64 // its number
	buf  []byte
}

// A journalFile is what a journal needs of a file.
type journalFile interface {
	io.WriterAt
	io.Closer
	// Sync returns when all that was written is on the disk, and the size.
	Sync() error
}

// journalFormat is what the file begins with.
const journalFormat = "vmsched volumes 1\n"

// The head of a batch: a mark, how many bytes it holds, its number, and the sum of these two
// and of what it holds.
const (
	batchMark = "\xffVOL"
	lengthAt  = len(batchMark)
	numberAt  = lengthAt + 4
	batchSum  = numberAt + 8
	batchHead = batchSum + 4
)

const sectorSize = 512

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openJournal opens the journal in a directory, or begins one, and hands over what each
// batch holds. That is on the disk then, as is its name: a process that was killed may have
// left it in memory alone.
func openJournal(dir string, batch func(contents []byte) error) (*journal, error) {
	path := filepath.Join(dir, "volumes.journal")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		f, err = createJournal(path)
	}
	if err != nil {
		return nil, err
	}
	j, err := readJournal(f, batch)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = durable.SyncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return j, nil
}

// createJournal makes an empty journal, which is there whole or not at all.
func createJournal(path string) (_ *os.File, err error) {
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if _, err := f.WriteString(journalFormat); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return nil, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, err
}

// readJournal reads a journal, and cuts off what is left of a batch that was never whole.
func readJournal(f *os.File, batch func(contents []byte) error) (*journal, error) {
	in := bufio.NewReader(f)
	format := make([]byte, len(journalFormat))
	if n, err := io.ReadFull(in, format); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read its beginning: %w", err)
	} else if string(format) != journalFormat {
		return nil, fmt.Errorf("it is damaged, or no journal of volumes: it begins with %q", format[:n])
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	j := &journal{file: f, end: int64(len(journalFormat))}
	for j.end < info.Size() {
		contents, err := readBatch(in, j.last+1, info.Size()-j.end)
		if _, broken := errors.AsType[*brokenBatch](err); broken {
			return j, j.mend(f, info.Size(), err)
		}
		if err != nil {
			return nil, fmt.Errorf("read at byte %d: %w", j.end, err)
		}
		if err := batch(contents); err != nil {
			return nil, fmt.Errorf("batch %d, at byte %d: %w", j.last+1, j.end, err)
		}
		j.last++
		j.end += int64(batchHead + len(contents))
	}
	return j, nil
}

// A brokenBatch is the error of what is no whole batch.
type brokenBatch struct{ why string }

func (e *brokenBatch) Error() string { return e.why }

// readBatch reads the batch of that number, where so many bytes are left.
func readBatch(in io.Reader, number uint64, left int64) ([]byte, error) {
	if left < int64(batchHead) {
		return nil, &brokenBatch{"the file ends in the head of a batch"}
	}
	head := make([]byte, batchHead)
	if _, err := io.ReadFull(in, head); err != nil {
		return nil, err
	}
	length := int64(binary.BigEndian.Uint32(head[lengthAt:]))
	if string(head[:lengthAt]) != batchMark {
		return nil, &brokenBatch{"no batch begins there"}
	}
	if left-int64(batchHead) < length {
		return nil, &brokenBatch{"the file ends in a batch"}
	}
	contents := make([]byte, length)
	if _, err := io.ReadFull(in, contents); err != nil {
		return nil, err
	}
	if sumOf(head, contents) != binary.BigEndian.Uint32(head[batchSum:]) {
		return nil, &brokenBatch{"the sum of a batch is wrong"}
	}
	if n := binary.BigEndian.Uint64(head[numberAt:]); n != number {
		return nil, fmt.Errorf("it is damaged: there is batch %d, where %d should be", n, number)
	}
	return contents, nil
}

func sumOf(head, contents []byte) uint32 {
	return crc32.Update(crc32.Checksum(head[lengthAt:batchSum], castagnoli), castagnoli, contents)
}

// mend cuts off what is behind the last whole batch, if it is what a failure of power may
// have left of the next.
func (j *journal) mend(f *os.File, size int64, why error) error {
	rest := make([]byte, size-j.end)
	if _, err := f.ReadAt(rest, j.end); err != nil {
		return fmt.Errorf("read at byte %d: %w", j.end, err)
	}
	if at := j.wholeBehind(rest); at > 0 {
		return fmt.Errorf("it is damaged: at byte %d %w, and there is a whole one at byte %d", j.end, why, j.end+int64(at))
	}
	if !j.torn(rest) {
		return fmt.Errorf("it is damaged: at byte %d %w, and nothing of it is missing", j.end, why)
	}
	if err := f.Truncate(j.end); err != nil {
		return fmt.Errorf("cut off a batch that was not written whole: %w", err)
	}
	return nil
}

// wholeBehind returns where in what follows the last whole batch another begins that is
// whole, and was written after the one that should be there; 0: nowhere.
func (j *journal) wholeBehind(rest []byte) int {
	for at := 1; ; at++ {
		n := bytes.Index(rest[min(at, len(rest)):], []byte(batchMark))
		if n < 0 {
			return 0
		}
		at += n
		left := rest[at:]
		if len(left) < batchHead || int64(binary.BigEndian.Uint32(left[lengthAt:])) > int64(len(left)-batchHead) {
			continue
		}
		contents := left[batchHead:][:binary.BigEndian.Uint32(left[lengthAt:])]
		if sumOf(left, contents) == binary.BigEndian.Uint32(left[batchSum:]) && binary.BigEndian.Uint64(left[numberAt:]) > j.last {
			return at
		}
	}
}

// torn says whether some of a batch is missing: the file ends in it, or what of it is in one
// of its sectors is zeros.
func (j *journal) torn(rest []byte) bool {
	if len(rest) < batchHead {
		return true
	}
	batch := rest
	if string(rest[:lengthAt]) == batchMark {
		length := int64(batchHead) + int64(binary.BigEndian.Uint32(rest[lengthAt:]))
		if length > int64(len(rest)) {
			return true
		}
		batch = rest[:length]
	}
	for at := 0; at < len(batch); {
		next := min(len(batch), at+sectorSize-int((j.end+int64(at))%sectorSize))
		if len(bytes.Trim(batch[at:next], "\x00")) == 0 {
			return true
		}
		at = next
	}
	return false
}

// write writes a batch, and leaves it to the disk when.
func (j *journal) write(contents []byte) error {
	b := append(j.buf[:0], batchMark...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(contents)))
	b = binary.BigEndian.AppendUint64(b, j.last+1)
	b = binary.BigEndian.AppendUint32(b, sumOf(b, contents))
	b = append(b, contents...)
	j.buf = b
	if _, err := j.file.WriteAt(b, j.end); err != nil {
		return err
	}
	j.last++
	j.end += int64(len(b))
	return nil
}
