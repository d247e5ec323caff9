package campaign

import (
	"archive/tar"
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// DefaultMostKept is how many bytes of a directory are kept, before they are compressed.
const DefaultMostKept int64 = 1 << 30

// LeftOutFile is in an archive from which something was left out, and says what.
const LeftOutFile = "left-out.txt"

// readLimit bounds the reading of a directory back.
const readLimit = 30 * time.Minute

// Archive writes a directory as tar.gz, with most bytes of files in it at most, and returns what it
// has left out, a line each. Files that are nearer to the top come first, and of those at the same
// depth smaller ones: what tells of a run is at its top, and data of nodes are below.
// Links and what is no file are left out.
func Archive(w io.Writer, dir string, most int64) (leftOut []string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	type file struct {
		name  string
		info  fs.FileInfo
		depth int
	}
	var files []file
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			leftOut = append(leftOut, fmt.Sprintf("%s: %v", name, err))
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		info, err := d.Info()
		switch {
		case err != nil:
			leftOut = append(leftOut, fmt.Sprintf("%s: %v", name, err))
		case name == LeftOutFile && info.Mode().IsRegular() && info.Size() < 1<<20: // it was kept before, and fetched
			text, err := root.ReadFile(name)
			if err != nil {
				return err
			}
			leftOut = append(leftOut, strings.Split(strings.TrimRight(string(text), "\n"), "\n")...)
		case !info.Mode().IsRegular() || name == LeftOutFile:
			leftOut = append(leftOut, fmt.Sprintf("%s: not a file", name))
		default:
			files = append(files, file{name, info, strings.Count(name, "/")})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(files, func(a, b file) int {
		return cmp.Or(cmp.Compare(a.depth, b.depth), cmp.Compare(a.info.Size(), b.info.Size()), cmp.Compare(a.name, b.name))
	})
	zipped, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	out := tar.NewWriter(zipped)
	room := most
	for _, f := range files {
		if f.info.Size() > room {
			leftOut = append(leftOut, fmt.Sprintf("%s: %d bytes, for which there is no room", f.name, f.info.Size()))
			continue
		}
		took, err := archiveFile(out, root, f.name, f.info)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(dir, f.name), err)
		}
		if !took {
			leftOut = append(leftOut, fmt.Sprintf("%s: cannot be read", f.name))
			continue
		}
		room -= f.info.Size()
	}
	if len(leftOut) > 0 {
		text := strings.Join(leftOut, "\n") + "\n"
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: LeftOutFile, Mode: 0o666, Size: int64(len(text))}); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(out, text); err != nil {
			return nil, err
		}
	}
	return leftOut, errors.Join(out.Close(), zipped.Close())
}

// archiveFile writes a file as long as it was when it was looked at. It says false, and writes
// nothing, of one that cannot be opened.
func archiveFile(out *tar.Writer, root *os.Root, name string, info fs.FileInfo) (bool, error) {
	f, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return false, nil
	}
	defer f.Close()
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(info.Mode().Perm()), Size: info.Size(), ModTime: info.ModTime()}
	if err := out.WriteHeader(header); err != nil {
		return false, err
	}
	if _, err := io.CopyN(out, f, info.Size()); err != nil {
		return false, err
	}
	return true, nil
}

// Extract writes the files of an archive into a directory, which it makes. Whatever their names are,
// nothing is written outside of it, nor through a link in it, nor over what is there. It
// takes most bytes at most.
func Extract(r io.Reader, dir string, most int64) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	zipped, err := gzip.NewReader(r)
	if err != nil {
		return fmt.Errorf("not an archive: %w", err)
	}
	in := tar.NewReader(zipped)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("not an archive: %w", err)
		}
		if h.Typeflag != tar.TypeReg {
			return fmt.Errorf("%q in the archive is not a file", h.Name)
		}
		if !filepath.IsLocal(filepath.FromSlash(h.Name)) {
			return fmt.Errorf("%q in the archive leads out of the directory", h.Name)
		}
		if most -= h.Size; most < 0 {
			return fmt.Errorf("the archive is larger than it may be: %q is too much", h.Name)
		}
		if err := extractFile(root, h, in); err != nil {
			return err
		}
	}
	// To its end: who sends it says there whether it was whole.
	if _, err := io.Copy(io.Discard, zipped); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return err
}

func extractFile(root *os.Root, h *tar.Header, in io.Reader) error {
	name := filepath.FromSlash(path.Clean(h.Name))
	if err := root.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600|os.FileMode(h.Mode)&0o777)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	return errors.Join(err, f.Close())
}

// keepDir keeps a directory, and returns the name under which Kept has it. The name is unlike
// any other of the same job: two workers may be at that.
func (w *worker) keepDir(ctx context.Context, id, dir string) (string, error) {
	name := fmt.Sprintf("%s.%s.tar.gz", id, rand.Text())
	err := w.link.try(ctx, patience, func(context.Context) error {
		during, end, err := w.link.session(ctx) // it takes longer than a request
		if err != nil {
			return err
		}
		defer end()
		r, piped := io.Pipe()
		archived := make(chan error, 1)
		go func() {
			leftOut, err := Archive(piped, dir, w.o.Most)
			if len(leftOut) > 0 {
				w.log.Warn("campaign: of a directory not all is kept", "dir", dir, "files", len(leftOut), "first", leftOut[0])
			}
			piped.CloseWithError(err)
			archived <- err
		}()
		_, err = w.kept.Put(during, jetstream.ObjectMeta{Name: name}, &paced{ctx: during, c: w.Campaign, r: bufio.NewReaderSize(r, chunk)})
		r.Close() // which ends the archiving, if that is still at it
		switch failed := <-archived; {
		case failed != nil && !errors.Is(failed, io.ErrClosedPipe):
			return final{failed}
		case err != nil && full(err):
			return final{w.link.of(err)} // the outcome is smaller, and matters more
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return name, nil
}

const (
	chunk = 128 << 10
	// ahead is how much is sent before the server has written what came before. The client
	// sends as fast as it can read, and a server throws away what it cannot buffer.
	ahead = 4 << 20
)

// paced is a reader of what goes to an object, which waits for the server now and then: by a
// message in the same stream, whose answer comes when all before it is written. There is one of
// them at most, and it is part of no object.
type paced struct {
	ctx  context.Context
	c    *Campaign
	r    io.Reader
	sent int
}

func (p *paced) Read(b []byte) (int, error) {
	if p.sent >= ahead {
		p.sent = 0
		m := nats.NewMsg("$O." + p.c.stream("kept") + ".C.pace")
		m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
		if _, err := p.c.link.js.PublishMsg(p.ctx, m); err != nil {
			return 0, err
		}
	}
	n, err := io.ReadFull(p.r, b[:min(len(b), chunk)])
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // the next one is the end
	}
	p.sent += n
	return n, err
}

// Kept writes the archive of a directory that is kept under a name, as an attempt has it. An error
// wraps ErrNotKept if there is none.
func (c *Campaign) Kept(ctx context.Context, name string, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	var object jetstream.ObjectResult
	err := c.link.try(ctx, patience, func(context.Context) error {
		var err error
		object, err = c.kept.Get(ctx, name) // the context is that of the reading, too
		if errors.Is(err, jetstream.ErrObjectNotFound) {
			return final{problem(ErrNotKept, "directory %s of campaign %s", name, c.name)}
		}
		return err
	})
	if err != nil {
		return err
	}
	defer object.Close()
	if _, err := io.Copy(w, object); err != nil {
		return fmt.Errorf("directory %s of campaign %s: %w", name, c.name, err)
	}
	return object.Error()
}

// Fetch writes the files of a directory that is kept under a name into dir.
func (c *Campaign) Fetch(ctx context.Context, name, dir string) error {
	r, w := io.Pipe()
	read := make(chan error, 1)
	go func() {
		err := c.Kept(ctx, name, w)
		w.CloseWithError(err)
		read <- err
	}()
	err := Extract(r, dir, DefaultMostKept+1<<20)
	r.CloseWithError(err)
	if failed := <-read; failed != nil && err == nil || errors.Is(failed, ErrNotKept) {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("fetch directory %s: %w", name, err)
	}
	return nil
}
