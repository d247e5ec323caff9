package serve

import (
	"archive/zip"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/internal/store"
)

// What files of a run may do. A page of a run needs its own scripts, and may have been
// written by anybody: it is put into an origin of its own, where nothing of ours is in
// reach, and has nobody to talk to.
const (
	runPage = "sandbox allow-scripts allow-modals allow-popups allow-downloads; default-src 'none'; script-src 'unsafe-inline'; " +
		"style-src 'unsafe-inline'; img-src data: blob:; font-src data:; worker-src blob:; frame-ancestors 'none'"
	runPicture = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
	runText    = "sandbox; default-src 'none'; frame-ancestors 'none'"
)

// maxListed bounds a listing of a directory.
const maxListed = 5_000

// A files is what is shown of a directory.
type files struct {
	Crumbs []crumb
	Zip    string
	Rows   []fileRow
	More   string // what is not shown
}

type crumb struct{ Name, Link string }

type fileRow struct {
	Name, Link, About string
	Size              int64
	Counted           bool // it has a size
	Changed           time.Time
}

// link returns a path of the server to what is named, whatever the names are.
func link(prefix string, names ...string) string {
	l := prefix
	for _, name := range names {
		for _, n := range strings.Split(name, "/") {
			l += "/" + url.PathEscape(n)
		}
	}
	return l
}

// inRun takes the path of a request apart: the run, and what is asked for in its
// directory. Runs may be in one another; it is the innermost. It answers if there is none.
func (s *Server) inRun(w http.ResponseWriter, r *http.Request) (e *store.Entry, name string, ok bool) {
	asked := strings.TrimSuffix(r.PathValue("path"), "/")
	for _, old := range []time.Duration{s.stale, 0} { // it may have begun since
		v, err := s.view(old)
		if err != nil {
			s.fail(w, r, err)
			return nil, "", false
		}
		for dir := asked; dir != "." && dir != "/"; dir = path.Dir(dir) {
			if e, ok := v.Entry(dir); ok {
				return e, strings.TrimPrefix(strings.TrimPrefix(asked, dir), "/"), true
			}
		}
	}
	s.refuse(w, r, http.StatusNotFound, "there is no such run")
	return nil, "", false
}

// file serves a file of a run, or lists a directory.
func (s *Server) file(w http.ResponseWriter, r *http.Request) {
	e, name, ok := s.inRun(w, r)
	if !ok {
		return
	}
	full := path.Join(e.Path, name)
	about, err := s.index.Root().Stat(full)
	switch {
	case isOutside(err):
		s.refuse(w, r, http.StatusNotFound, "there is nothing of that name")
	case err != nil:
		s.fail(w, r, err)
	case about.IsDir():
		s.listing(w, r, e, name)
	case !about.Mode().IsRegular(): // who opens a pipe may wait for ever
		s.refuse(w, r, http.StatusNotFound, "it is no file")
	default:
		s.content(w, r, full, name)
	}
}

// isOutside says whether err is of a path that leaves the store. Package os has no name
// for it.
func isOutside(err error) bool {
	e, ok := errors.AsType[*fs.PathError](err)
	return ok && !errors.Is(e.Err, fs.ErrNotExist) && !errors.Is(e.Err, fs.ErrPermission)
}

func (s *Server) content(w http.ResponseWriter, r *http.Request, full, name string) {
	f, err := s.index.Root().Open(full)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer f.Close()
	about, err := f.Stat()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	kind, policy := kindOf(name)
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Security-Policy", policy)
	h.Set("Cache-Control", "no-cache")
	if kind == "application/octet-stream" {
		h.Set("Content-Disposition", "attachment")
	}
	// A time in a header has no more than seconds, in which a page may be written twice.
	h.Set("ETag", fmt.Sprintf(`"%x-%x"`, about.ModTime().UnixNano(), about.Size()))
	http.ServeContent(w, r, "", time.Time{}, f)
}

// kindOf returns the type of a file in a run's directory, and what it may do. Only what the
// tester itself has written is a page or a picture: what is deeper down is of the nodes.
func kindOf(name string) (kind, policy string) {
	ours := !strings.Contains(name, "/")
	switch ext := strings.ToLower(path.Ext(name)); ext {
	case ".html":
		if ours {
			return "text/html; charset=utf-8", runPage
		}
	case ".svg":
		if ours {
			return "image/svg+xml", runPicture
		}
	case ".log", ".txt", ".json", ".jsonl", ".yaml", ".yml", ".xml", ".md", ".edn", ".csv", ".toml", ".conf":
	default:
		return "application/octet-stream", runText
	}
	return "text/plain; charset=utf-8", runText
}

// listing lists a directory of a run.
func (s *Server) listing(w http.ResponseWriter, r *http.Request, e *store.Entry, name string) {
	entries, more, err := s.list(path.Join(e.Path, name))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	shown := &files{Zip: link("/api/zip", e.Path), Crumbs: []crumb{{"all runs", "/"}, {e.Path, link("/run", e.Path)}}}
	if more {
		shown.More = fmt.Sprintf("There are more than the %d that are listed. The zip has all.", maxListed)
	}
	if name != "" {
		names := strings.Split(name, "/")
		for i, n := range names {
			shown.Crumbs = append(shown.Crumbs, crumb{n, link("/run", e.Path, path.Join(names[:i+1]...))})
		}
	}
	for _, d := range entries {
		about, err := d.Info()
		if err != nil {
			continue // it has gone
		}
		row := fileRow{Name: d.Name(), Changed: about.ModTime()}
		switch {
		case d.IsDir():
			row.Name += "/"
			row.Link = link("/run", path.Join(e.Path, name, d.Name()))
		case d.Type().IsRegular():
			row.Link, row.Size, row.Counted = link("/run", path.Join(e.Path, name, d.Name())), about.Size(), true
			if name == "" {
				row.About = purposes[d.Name()]
			}
		case d.Type()&fs.ModeSymlink != 0:
			row.About = "a symlink"
		default:
			row.About = "no file"
		}
		shown.Rows = append(shown.Rows, row)
	}
	s.page(w, http.StatusOK, shell{Title: path.Join(e.Path, name) + " – hacheck", Page: "files", Run: e.Path, Files: shown})
}

// purposes say what the files of a run are for.
var purposes = map[string]string{
	store.ReportFile:  "the page of the run",
	store.HistoryFile: "all that happened, an op a line",
	store.ResultsFile: "the verdict",
	store.InfoFile:    "what was asked for and found out",
	store.NodesDir:    "what the nodes kept and printed",
	"run.log":         "what the tester logged",
	"trace.json":      "for Perfetto",
	"junit.xml":       "for CI",
	"net.pcap":        "the network's packets",
}

// list returns what is in a directory: pages first, then other files, then directories.
func (s *Server) list(dir string) (entries []fs.DirEntry, more bool, err error) {
	f, err := s.index.Root().Open(dir)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	entries, err = f.ReadDir(maxListed + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	more = len(entries) > maxListed
	entries = entries[:min(len(entries), maxListed)]
	rank := func(d fs.DirEntry) int {
		switch {
		case d.Name() == store.ReportFile:
			return 0
		case d.IsDir():
			return 2
		}
		return 1
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int {
		return cmp.Or(rank(a)-rank(b), cmp.Compare(a.Name(), b.Name()))
	})
	return entries, more, nil
}

// each calls do for each regular file in the directory of a run, which is root, by its path
// in there. It follows no symlink.
func (s *Server) each(ctx context.Context, run string, do func(root *os.Root, name string, d fs.DirEntry) error) error {
	root, err := s.index.Root().OpenRoot(run)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist) && name != ".": // a run that goes on may take it away
			return nil
		case err != nil:
			return err
		case !d.Type().IsRegular() || d.Name() == store.HoldFile:
			return nil
		}
		return do(root, name, d)
	})
}

// apiZip streams the directory of a run as a zip. It is written as it is read: if that
// fails in the middle the connection ends without an end of the file.
func (s *Server) apiZip(w http.ResponseWriter, r *http.Request) {
	e, ok := s.run(w, r, strings.TrimSuffix(r.PathValue("path"), "/"))
	if !ok {
		return
	}
	folder, stamp := path.Base(path.Dir(e.Path)), path.Base(e.Path)
	h := w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s-%s.zip"`, store.FileName(folder), store.FileName(stamp)))
	if r.Method == http.MethodHead {
		return
	}
	packed := zip.NewWriter(w)
	err := s.each(r.Context(), e.Path, func(root *os.Root, name string, d fs.DirEntry) error {
		// To some who unpack, a backslash is a slash.
		return pack(r.Context(), packed, root, name, path.Join(folder, stamp, strings.ReplaceAll(name, `\`, "_")), d)
	})
	if err == nil { // what has gone meanwhile is left out, but not if all of it goes
		_, err = s.index.Root().Stat(e.Path)
	}
	if err == nil {
		err = packed.Close()
	}
	if err != nil {
		if r.Context().Err() == nil {
			s.Log.Warn("a zip was cut short", "run", e.Path, "error", err)
		}
		panic(http.ErrAbortHandler)
	}
}

// pack puts a file below root into a zip, as long as it is now.
func pack(ctx context.Context, packed *zip.Writer, root *os.Root, file, name string, d fs.DirEntry) error {
	f, err := root.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has gone meanwhile
	}
	if err != nil {
		return err
	}
	defer f.Close()
	about, err := f.Stat()
	if err != nil {
		return err
	}
	if !about.Mode().IsRegular() {
		return fmt.Errorf("%s: %w", d.Name(), os.ErrInvalid)
	}
	head, err := zip.FileInfoHeader(about)
	if err != nil {
		return err
	}
	head.Name, head.Method = name, zip.Deflate
	into, err := packed.CreateHeader(head)
	if err != nil {
		return err
	}
	_, err = io.Copy(into, io.LimitReader(reader{ctx, f}, about.Size()))
	return err
}

// A reader ends with its context: who has gone is not read for.
type reader struct {
	ctx context.Context // of one call
	r   io.Reader
}

func (r reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}

// apiDelete removes a run.
func (s *Server) apiDelete(w http.ResponseWriter, r *http.Request) {
	if why := s.mayDelete(r); why != "" {
		s.refuse(w, r, http.StatusForbidden, why)
		return
	}
	run := strings.TrimSuffix(r.PathValue("path"), "/")
	if _, ok := s.run(w, r, run); !ok {
		return
	}
	s.lookout.Lock()
	err := s.index.Remove(run)
	s.show(s.index.Listing())
	s.lookout.Unlock()
	switch {
	case errors.Is(err, store.ErrOngoing):
		s.refuse(w, r, http.StatusConflict, err.Error())
	case err != nil:
		s.fail(w, r, err)
	default:
		s.Log.Info("a run was deleted", "run", run)
		w.WriteHeader(http.StatusNoContent)
	}
}
