package browser

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

// TestComplaints shows a page that does what pages must not: what is clean says little if
// nothing would have been heard.
func TestComplaints(t *testing.T) {
	b, err := Start(t.Context())
	if errors.Is(err, ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	outside := httptest.NewServer(http.NotFoundHandler())
	defer outside.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		switch r.URL.Path {
		case "/deep/down/clean": // which has a file of another folder of its server
			w.Write([]byte(`<!doctype html><link rel="icon" href="data:,"><link rel="stylesheet" href="/style.css"><p id="p">hello</p>`))
		case "/leaves":
			w.Write([]byte(`<!doctype html><link rel="icon" href="data:,"><script>setTimeout(() => { location.href = "/clean"; }, 50)</script>`))
		case "/style.css":
			w.Header().Set("Content-Type", "text/css")
		case "/clean":
			w.Write([]byte(`<!doctype html><link rel="icon" href="data:,"><title>clean</title><p id="p">hello</p>`))
		case "/bad":
			w.Write([]byte(`<!doctype html><link rel="icon" href="data:,"><script>
				console.error("one thing"); console.warn("another");
				fetch("` + outside.URL + `/x").catch(() => {});
				setTimeout(() => { window.done = true; throw new Error("a third"); }, 0);
			</script>`))
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()

	for _, path := range []string{"/clean", "/deep/down/clean"} {
		clean, err := b.Open(server.URL+path, Look{Width: 600, Height: 400})
		if err != nil {
			t.Fatal(err)
		}
		defer clean.Close()
		if text, err := clean.Text("#p"); err != nil || text != "hello" {
			t.Errorf("the page says %q, %v", text, err)
		}
		if c := clean.Complaints(); len(c) > 0 {
			t.Errorf("complaints of a clean page: %q", c)
		}
	}
	leaves, err := b.Open(server.URL+"/leaves", Look{Width: 600, Height: 400})
	if err != nil {
		t.Fatal(err)
	}
	defer leaves.Close()
	if err := leaves.Wait("location.pathname === '/clean' && document.title === 'clean'"); err != nil {
		t.Error(err)
	}
	bad, err := b.Open(server.URL+"/bad", Look{Width: 600, Height: 400})
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Close()
	if err := bad.Wait("window.done"); err != nil {
		t.Fatal(err)
	}
	all := strings.Join(bad.Complaints(), "\n")
	for _, want := range []string{"one thing", "another", "request: " + outside.URL, "a third"} {
		if !strings.Contains(all, want) {
			t.Errorf("nobody heard of %q:\n%s", want, all)
		}
	}
}

// TestActions does what hands do, and asks the page what it saw of it.
func TestActions(t *testing.T) {
	b, err := Start(t.Context())
	if errors.Is(err, ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Security-Policy", "script-src 'unsafe-inline'") // and so no eval
		w.Write([]byte(`<!doctype html><link rel="icon" href="data:,"><body style="touch-action: none; height: 400px"><script>
			window.seen = [];
			const held = (e) => (e.shiftKey ? " shift" : "") + (e.ctrlKey ? " ctrl" : "");
			for (const kind of ["pointerdown", "pointermove", "pointerup"]) document.addEventListener(kind, (e) => {
				if (kind !== "pointermove" || e.buttons > 0) seen.push(kind + " " + e.pointerType + " " + e.clientX + "," + e.clientY + held(e));
			});
			const ups = [];
			document.addEventListener("pointerup", (e) => ups.push(e.timeStamp));
			document.addEventListener("dblclick", () => seen.push("dblclick " + Math.round(ups[1] - ups[0])));
			document.addEventListener("wheel", (e) => { seen.push("wheel " + e.deltaY + held(e)); e.preventDefault(); }, { passive: false });
			document.addEventListener("keydown", (e) => seen.push("key " + e.key + held(e)));
			seen.push("stored " + localStorage.getItem("x"));
			localStorage.setItem("x", "before");
		</script>`))
	}))
	defer server.Close()

	for _, test := range []struct {
		name string
		do   func(p *Page) error
		want []string
	}{
		{"nothing", func(*Page) error { return nil }, []string{"stored null"}},
		{"reload", (*Page).Reload, []string{"stored before"}},
		{"drag", func(p *Page) error { return p.Drag(10, 20, 90, 20, Shift) },
			[]string{"pointerdown mouse 10,20 shift", "pointermove mouse 50,20 shift", "pointerup mouse 90,20 shift"}},
		{"wheel", func(p *Page) error { return p.Wheel(50, 50, -120, Ctrl) }, []string{"wheel -120 ctrl"}},
		{"double", func(p *Page) error { return p.ClickAt(30, 30, 2) }, []string{"pointerdown mouse 30,30", "dblclick 0"}},
		{"keys", func(p *Page) error { return errors.Join(p.Press("n"), p.Press(Right, Shift), p.Press(Tab)) },
			[]string{"key n", "key ArrowRight shift", "key Tab"}},
		{"pinch", func(p *Page) error { return p.Pinch(100, 60, 20, 40) },
			[]string{"pointerdown touch 80,60", "pointerdown touch 120,60", "pointermove touch 60,60", "pointermove touch 140,60", "pointerup touch 60,60"}},
		{"tap", func(p *Page) error { return p.Pinch(100, 60, 0, 0) }, []string{"pointerdown touch 100,60", "pointerup touch 100,60"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := b.Open(server.URL+"/", Look{Width: 600, Height: 400, Touch: true})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if err := test.do(p); err != nil {
				t.Fatal(err)
			}
			for _, want := range test.want {
				if err := p.Wait("seen.includes(" + strconv.Quote(want) + ")"); err != nil {
					seen, _ := Eval[[]string](p, "seen")
					t.Errorf("not seen: %q, but %q", want, seen)
				}
			}
		})
	}
}
