// Screenshots makes the pictures of pages that the README and docs show: of runs that it
// performs, in a real browser. It is called by make screenshots, at the root of the module.
package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hacheck/hacheck/internal/browser"
)

// folder is where the pictures go.
const folder = "docs/pictures"

// A shown is a run, and what of its page is shown.
type shown struct {
	picture string
	run     []string
	status  int    // that it has to end with
	tries   int    // how often it is performed until it does
	ready   string // an expression: the page is drawn; empty: as the page of a run says
	prepare string // an expression: what a reader does before the picture is taken
	look    browser.Look
}

// drawn says that the page of a run has drawn itself.
const drawn = "performance.getEntriesByName('hacheck:first-drawing').length > 0"

var pictures = []shown{
	{
		picture: "valid.png", run: []string{"--workload", "register", "--nemesis", "partition,kill"}, status: 0, tries: 1,
		look: browser.Look{Width: 1280, Height: 900},
	},
	{
		picture: "invalid-register.png", run: []string{"--workload", "register", "--nemesis", "partition", "--bug", "stale-read"}, status: 1, tries: 3,
		prepare: "document.querySelector('#evidence').scrollIntoView()",
		look:    browser.Look{Width: 1280, Height: 900},
	},
	{
		picture: "invalid-vm.png", run: []string{"--workload", "vm", "--time-limit", "30s", "--nemesis", "host-partition:management", "--interval", "3s", "--bug", "no-fence"}, status: 1, tries: 3,
		prepare: "document.querySelector('#evidence').scrollIntoView()",
		look:    browser.Look{Width: 1280, Height: 900, Dark: true},
	},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "screenshots:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	work, err := os.MkdirTemp("", "hacheck-screenshots-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	program := filepath.Join(work, "hacheck") // so called in the pictures
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/hacheck").CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	b, err := browser.Start(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	site, end, err := serve(ctx, work)
	if err != nil {
		return err
	}
	defer end()
	for _, s := range pictures {
		dir, err := s.perform(ctx, work)
		if err != nil {
			return err
		}
		if err := take(b, site+"run/"+dir+"/report.html", s); err != nil {
			return fmt.Errorf("%s: %w", s.picture, err)
		}
	}
	return take(b, site, shown{picture: "runs.png", look: browser.Look{Width: 1280, Height: 470}, ready: "document.querySelector('[data-run]')"})
}

// perform performs the run, in a store beside the program, and returns its directory there.
func (s shown) perform(ctx context.Context, work string) (dir string, err error) {
	for range s.tries {
		fmt.Println("hacheck", strings.Join(s.run, " "))
		c := exec.CommandContext(ctx, "./hacheck", append([]string{"run", "--quiet"}, s.run...)...)
		c.Dir = work
		out, err := c.CombinedOutput()
		if code := c.ProcessState.ExitCode(); code != s.status {
			err = fmt.Errorf("it ended with %d and not with %d: %w\n%s", code, s.status, err, out)
			if code != 0 && code != 1 && code != 2 {
				return "", err
			}
			fmt.Println(err)
			continue
		}
		latest, err := filepath.EvalSymlinks(filepath.Join(work, "store", "latest"))
		if err != nil {
			return "", err
		}
		root, err := filepath.EvalSymlinks(filepath.Join(work, "store"))
		if err != nil {
			return "", err
		}
		return filepath.Rel(root, latest)
	}
	return "", fmt.Errorf("%s: %d runs ended otherwise", strings.Join(s.run, " "), s.tries)
}

// serve serves the store, and returns its address.
func serve(ctx context.Context, work string) (address string, end func(), err error) {
	if err := os.MkdirAll(filepath.Join(work, "store"), 0o777); err != nil {
		return "", nil, err
	}
	c := exec.CommandContext(ctx, "./hacheck", "serve", "--listen", "127.0.0.1:0")
	c.Dir, c.Stderr = work, os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := c.Start(); err != nil {
		return "", nil, err
	}
	end = func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		end()
		return "", nil, err
	}
	for _, word := range strings.Fields(line) {
		if strings.HasPrefix(word, "http://") {
			return word, end, nil
		}
	}
	end()
	return "", nil, fmt.Errorf("hacheck serve does not say where: %q", line)
}

// take takes a picture of a page.
func take(b *browser.Browser, url string, s shown) error {
	p, err := b.Open(url, s.look)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.Wait(cmp.Or(s.ready, drawn)); err != nil {
		return err
	}
	if _, err := browser.Eval[any](p, "void ("+cmp.Or(s.prepare, "0")+")"); err != nil {
		return err
	}
	// What is drawn is drawn in the frame after the next, at the latest.
	if _, err := browser.Eval[any](p, "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))"); err != nil {
		return err
	}
	png, err := p.Screenshot()
	if err != nil {
		return err
	}
	if complaints := p.Complaints(); len(complaints) > 0 {
		return fmt.Errorf("the page complains: %s", strings.Join(complaints, "\n"))
	}
	path := filepath.Join(folder, s.picture)
	fmt.Println(path)
	return os.WriteFile(path, png, 0o644)
}
