package serve

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/internal/store"
)

func TestWhatWasReplacedIsNotShownOld(t *testing.T) {
	s := serve(t)
	r := s.put("a", noon, nil)
	write := func(text string, at time.Time) {
		s.write(r.File(store.ReportFile), text)
		if err := os.Chtimes(r.File(store.ReportFile), at, at); err != nil {
			t.Fatal(err)
		}
	}
	get := func(headers http.Header, name string) *httptest.ResponseRecorder {
		return s.ask("GET", link("/run", one, store.ReportFile), func(r *http.Request) {
			for _, sent := range []struct{ from, as string }{{"ETag", "If-None-Match"}, {"Last-Modified", "If-Modified-Since"}} {
				if v := headers.Get(sent.from); v != "" && (name == "" || name == sent.as) {
					r.Header.Set(sent.as, v)
				}
			}
		})
	}
	write("old", noon)
	old := get(nil, "")
	if w := get(old.Header(), ""); w.Code != http.StatusNotModified {
		t.Errorf("as it was: %d", w.Code)
	}
	write("new", noon.Add(time.Millisecond)) // within a second, and as long
	for _, name := range []string{"", "If-None-Match", "If-Modified-Since"} {
		if w := get(old.Header(), name); w.Code != http.StatusOK || w.Body.String() != "new" {
			t.Errorf("replaced: %d %s", w.Code, w.Body)
		}
	}
	// What belongs to the old is no part of the new.
	w := s.ask("GET", link("/run", one, store.ReportFile), with("Range", "bytes=1-"), with("If-Range", old.Header().Get("ETag")))
	if w.Code != http.StatusOK || w.Body.String() != "new" {
		t.Errorf("the rest of the old: %d %s", w.Code, w.Body)
	}
}

func TestAPathIsNoLongerThanPathsAre(t *testing.T) {
	s := serve(t)
	s.put("a", noon, nil)
	for _, prefix := range []string{"/run/", "/live/", "/api/zip/"} {
		if w := s.ask("GET", prefix+strings.Repeat("a/", 100_000)+"b"); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", prefix, w.Code)
		}
	}
}

func TestWhoAsksForTheHeadOfAStreamIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		s.run(t)
		began := time.Now()
		for _, path := range []string{"/api/events", "/api/live/" + one} {
			w := s.ask("HEAD", path, func(r *http.Request) {
				ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
				t.Cleanup(cancel)
				*r = *r.WithContext(ctx)
			})
			if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/event-stream" || time.Since(began) > time.Second {
				t.Errorf("%s: %d %v after %v", path, w.Code, w.Header(), time.Since(began))
			}
		}
		if n := s.streams.Load(); n != 0 {
			t.Errorf("%d streams are left", n)
		}
	})
}

// TestAZipOfWhatIsDeletedIsNotWhole deletes a run while it is packed.
func TestAZipOfWhatIsDeletedIsNotWhole(t *testing.T) {
	s := serve(t)
	r := s.put("a", noon, nil)
	noise := make([]byte, 1<<20)
	if _, err := rand.NewChaCha8([32]byte{}).Read(noise); err != nil {
		t.Fatal(err)
	}
	s.write(r.File("a.log"), string(noise))
	s.write(r.File("z.log"), "the last")
	s.ask("GET", "/api/runs")
	deleted := false
	w := &leaving{ResponseRecorder: httptest.NewRecorder(), left: 100_000}
	w.gone = func() {
		if !deleted {
			deleted = true
			if w := s.ask("DELETE", "/api/runs/"+one, with(deleteHeader, "delete")); w.Code != http.StatusNoContent {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		}
		w.left = 1 << 30
	}
	aborted := func() (cause any) {
		defer func() { cause = recover() }()
		s.ServeHTTP(staying{w}, httptest.NewRequest(http.MethodGet, "http://localhost/api/zip/"+one, nil).WithContext(t.Context()))
		return nil
	}()
	if err, _ := aborted.(error); !deleted || !errors.Is(err, http.ErrAbortHandler) {
		t.Errorf("it ends with %v, as if it were whole", aborted)
	}
}

// A staying is a writer that tells when some bytes have been written, and goes on.
type staying struct{ *leaving }

func (s staying) Write(b []byte) (int, error) {
	if s.left -= len(b); s.left < 0 {
		s.gone()
	}
	return s.ResponseRecorder.Write(b)
}

// TestNamesInAZipStayInIt has files whose names are paths elsewhere, to somebody.
func TestNamesInAZipStayInIt(t *testing.T) {
	s := serve(t)
	r := s.put("a", noon, nil)
	for _, name := range []string{`..\..\evil.txt`, `C:\evil.txt`, "a\nb", "é\xff"} {
		s.write(r.File(name), "x")
	}
	w := s.ask("GET", "/api/zip/"+one)
	z, err := zip.NewReader(bytes.NewReader(w.Body.Bytes()), int64(w.Body.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if len(z.File) != 5 {
		t.Errorf("%d files", len(z.File))
	}
	for _, f := range z.File {
		if strings.Contains(f.Name, `\`) || !filepath.IsLocal(f.Name) || !strings.HasPrefix(f.Name, one+"/") {
			t.Errorf("%q", f.Name)
		}
	}
}

// TestAStoreThatIsGoneIsSaid removes a store, and puts another one in its place.
func TestAStoreThatIsGoneIsSaid(t *testing.T) {
	s := serve(t)
	s.put("a", noon, nil)
	get[Runs](s, "/api/runs")
	gone := func(words string) {
		t.Helper()
		for _, path := range []string{"/api/runs", "/run/" + one + "/run.json", "/api/run/" + one} {
			if w := s.ask("GET", path); w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), words) {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
	}
	if err := os.Rename(s.root, s.root+"-moved"); err != nil {
		t.Fatal(err)
	}
	gone("is not there any more")
	s.put("b", noon, nil)
	gone("is another directory now")
	if err := os.RemoveAll(s.root); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.root+"-moved", s.root); err != nil {
		t.Fatal(err)
	}
	if runs := get[Runs](s, "/api/runs"); runs.Total != 1 || runs.Rows[0].Path != one {
		t.Errorf("got %+v", runs)
	}
}

// TestHostileResultsAreComparedInPart has results with more parts than any run has, with
// names that are long, and inside one another.
func TestHostileResultsAreComparedInPart(t *testing.T) {
	s := serve(t)
	long := strings.Repeat("long", 1_000)
	var flat, counts []string
	for i := range 50_000 {
		flat = append(flat, fmt.Sprintf(`{"name": "p%d", "verdict": "invalid", "anomalies": [{"kind": "k%d"}]}`, i, i))
		counts = append(counts, fmt.Sprintf(`"c%d": 1`, i))
	}
	r := s.put("a", noon, nil)
	s.write(r.File(store.ResultsFile), `{"verdict": "invalid", "parts": [`+strings.Join(flat, ",")+`]}`)
	s.write(s.put("b", noon, nil).File(store.ResultsFile), `{"verdict": "invalid", "parts": [{"name": "x", "counts": {`+strings.Join(counts, ",")+`}}]}`)
	deep := s.put("c", noon, nil)
	s.write(deep.File(store.ResultsFile), strings.Repeat(`{"name": "`+long+`", "counts": {"a": 1}, "parts": [`, 2_000)+strings.Repeat("]}", 2_000))
	s.write(s.put("d", noon, nil).File(store.ResultsFile), strings.Repeat(`{"parts":[`, 100_000))
	pipe := s.put("e", noon, nil)
	if err := syscall.Mkfifo(pipe.File(store.ResultsFile), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		path := name + "/20261124T120000Z"
		w := s.ask("GET", "/api/compare?a="+path+"&b="+path)
		if w.Code != http.StatusOK || w.Body.Len() > 4<<20 {
			t.Errorf("%s: %d, %d bytes", name, w.Code, w.Body.Len())
		}
		if c := get[Comparison](s, "/api/compare?a="+path+"&b="+one); len(c.Notes) == 0 {
			t.Errorf("%s: nothing is said of what is not there", name)
		}
	}
}
