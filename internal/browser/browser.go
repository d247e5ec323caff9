// Package browser opens pages in a real browser, for tests and for pictures of them. It
// takes down whatever a page has to complain of: errors, and requests for what is not its
// own.
package browser

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto"
	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// ErrMissing is what Start returns where there is no browser.
var ErrMissing = errors.New("no Chromium is installed (Debian, Ubuntu: sudo apt-get install chromium)")

// names are how the browser is called on several systems.
var names = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"}

// patience bounds one action: a page that hangs is a failure, and not a wait.
const patience = 60 * time.Second

// A Browser is one that runs.
type Browser struct {
	ctx context.Context
	end []func()
}

// Start starts a browser without a window, which ends with ctx, or when it is closed.
// Fonts and sizes are the same everywhere as far as it goes.
func Start(ctx context.Context) (*Browser, error) {
	path := ""
	for _, name := range names {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		return nil, ErrMissing
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.Flag("disable-gpu", true),
		chromedp.Flag("force-color-profile", "srgb"),
		chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-dev-shm-usage", true), // which is small in containers
		chromedp.NoSandbox,                           // root has none, others may be refused one, and pages are our own
	)
	allocator, endAllocator := chromedp.NewExecAllocator(ctx, options...)
	b := &Browser{end: []func(){endAllocator}}
	var endTab func()
	b.ctx, endTab = chromedp.NewContext(allocator)
	b.end = append(b.end, endTab)
	if err := chromedp.Do(b.ctx); err != nil {
		b.Close()
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return b, nil
}

// Close ends the browser with all its pages.
func (b *Browser) Close() {
	for i := len(b.end) - 1; i >= 0; i-- {
		b.end[i]()
	}
}

// A Look says how a page is looked at.
type Look struct {
	Width, Height int
	Dark          bool
	// Print says that it is laid out for paper.
	Print bool
	// Touch says that there are fingers, and no mouse.
	Touch bool
}

// Keys without a letter, for Press.
const (
	Tab    = kb.Tab
	Enter  = kb.Enter
	Escape = kb.Escape
	Left   = kb.ArrowLeft
	Right  = kb.ArrowRight
	Up     = kb.ArrowUp
	Down   = kb.ArrowDown
	Delete = kb.Delete
	Home   = kb.Home
	End    = kb.End
)

// A Modifier is a key that is held meanwhile.
type Modifier = chromedp.Modifier

// The modifiers.
const (
	Shift = chromedp.ModifierShift
	Ctrl  = chromedp.ModifierCtrl
)

// A Page is a page in a tab of its own.
type Page struct {
	ctx    context.Context
	cancel func()

	mu         sync.Mutex
	own        []string // prefixes of what it may ask for
	complaints []string
}

// Open opens a page, and returns when it has loaded. It may ask the server that it is from, or
// for files beside its own, and for nothing else. What it stores, no other page finds.
func (b *Browser) Open(address string, l Look) (*Page, error) {
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	p := &Page{ctx: ctx, cancel: cancel, own: []string{beside(address), "data:", "blob:", "about:"}}
	err := p.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		if err := chromedp.Listen(ctx, p.hear); err != nil {
			return err
		}
		if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
			return err
		}
		if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
			return err
		}
		return p.as(ctx, l)
	}), chromedp.Navigate(address))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("open %s: %w", address, err)
	}
	return p, nil
}

// beside is how addresses begin of what a page may ask for.
func beside(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return u.Scheme + "://" + u.Host + "/"
	}
	return address[:strings.LastIndex(address, "/")+1]
}

// As changes how the page is looked at.
func (p *Page) As(l Look) error {
	return p.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error { return p.as(ctx, l) }))
}

func (p *Page) as(ctx context.Context, l Look) error {
	scheme, media := "light", ""
	if l.Dark {
		scheme = "dark"
	}
	if l.Print {
		media = "print"
	}
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Media: media, Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	})
	if err != nil {
		return err
	}
	_, err = chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: int64(l.Width), Height: int64(l.Height), DeviceScaleFactor: 1,
	})
	if err != nil {
		return err
	}
	_, err = chromedp.Call(ctx, emulation.SetTouchEmulationEnabled, emulation.SetTouchEmulationEnabledParams{Enabled: l.Touch})
	return err
}

// Visit goes to another page in the same tab, and returns when it has loaded.
func (p *Page) Visit(address string) error {
	if err := p.do(chromedp.Navigate(address)); err != nil {
		return fmt.Errorf("visit %s: %w", address, err)
	}
	return nil
}

// Reload loads the page again, and returns when that is done.
func (p *Page) Reload() error { return p.do(chromedp.Reload()) }

// hear takes down what there is to complain of.
func (p *Page) hear(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *cdpruntime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil && x.Description != "" {
			text = x.Description
		}
		p.complaints = append(p.complaints, "exception: "+text)
	case *cdpruntime.EventConsoleAPICalled:
		if e.Type != cdpruntime.ConsoleAPICalledTypeError && e.Type != cdpruntime.ConsoleAPICalledTypeWarning {
			return
		}
		var words []string
		for _, a := range e.Args {
			words = append(words, strings.Trim(string(a.Value), `"`)+a.Description)
		}
		p.complaints = append(p.complaints, "console: "+strings.Join(words, " "))
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			p.complaints = append(p.complaints, fmt.Sprintf("log: %s %s", e.Entry.Text, e.Entry.URL))
		}
	case *network.EventRequestWillBeSent:
		for _, prefix := range p.own {
			if strings.HasPrefix(e.Request.URL, prefix) {
				return
			}
		}
		p.complaints = append(p.complaints, "request: "+e.Request.URL)
	}
}

// Complaints returns what was wrong with the page so far.
func (p *Page) Complaints() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.complaints...)
}

// Close closes the tab.
func (p *Page) Close() { p.cancel() }

func (p *Page) do(steps ...chromedp.Action[chromedp.Void]) error {
	_, err := run(p, chromedp.Steps(steps...))
	return err
}

func run[T any](p *Page, a chromedp.Action[T]) (T, error) {
	if _, bounded := p.ctx.Deadline(); !bounded && chromedp.FromContext(p.ctx).Target != nil {
		ctx, cancel := context.WithTimeout(p.ctx, patience)
		defer cancel()
		return chromedp.Run(ctx, a)
	}
	return chromedp.Run(p.ctx, a) // what makes the tab must not end it
}

// Eval returns what an expression, or the promise that it is, comes to.
func Eval[T any](p *Page, expression string) (T, error) {
	v, err := run(p, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		return v, fmt.Errorf("%s: %w", expression, err)
	}
	return v, nil
}

// Wait waits until an expression is true, of this page or of the one that it leads to
// meanwhile. The page's policy may forbid to make functions of
// texts, which whoever evaluates for the browser's tools need not.
func (p *Page) Wait(expression string) error {
	const loop = `(async () => {
		for (const end = performance.now() + %d; performance.now() < end;) {
			if (%s) return true;
			await new Promise((go) => setTimeout(go, 5));
		}
		return false;
	})()`
	for end := time.Now().Add(patience / 2); ; {
		is, err := run(p, chromedp.Evaluate[bool](fmt.Sprintf(loop, time.Until(end).Milliseconds(), expression), chromedp.EvalAwaitPromise))
		if _, left := errors.AsType[*cdproto.Error](err); left && time.Now().Before(end) {
			continue // the page has been left, and the next one is there, or soon
		}
		if err == nil && !is {
			err = context.DeadlineExceeded
		}
		if err != nil {
			return fmt.Errorf("wait until %s: %w", expression, err)
		}
		return nil
	}
}

// Click clicks on the middle of the first element that a selector finds, which is brought
// into view.
func (p *Page) Click(selector string) error {
	if err := p.do(chromedp.Click(chromedp.CSS(selector))); err != nil {
		return fmt.Errorf("click %s: %w", selector, err)
	}
	return nil
}

// Type types into an element.
func (p *Page) Type(selector, keys string) error {
	if err := p.do(chromedp.SendKeys(chromedp.CSS(selector), keys)); err != nil {
		return fmt.Errorf("type into %s: %w", selector, err)
	}
	return nil
}

// Press presses keys wherever the focus is, and modifiers with them.
func (p *Page) Press(keys string, with ...Modifier) error {
	return p.do(chromedp.KeyEvent(keys, chromedp.KeyModifiers(with...)))
}

// Insert writes a text where the focus is, at once.
func (p *Page) Insert(text string) error {
	return p.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, input.InsertText, input.InsertTextParams{Text: text})
		return err
	}))
}

// Text returns what can be read in an element.
func (p *Page) Text(selector string) (string, error) {
	text, err := run(p, chromedp.Text(chromedp.CSS(selector)))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", selector, err)
	}
	return text, nil
}

// Move moves the mouse to a place of the view.
func (p *Page) Move(x, y float64) error { return p.do(chromedp.MouseEvent(chromedp.MouseMoved, x, y)) }

// Drag presses the button of the mouse at one place of the view and lets it go at another.
func (p *Page) Drag(fromX, fromY, toX, toY float64, with ...Modifier) error {
	const steps = 4
	held := chromedp.ButtonModifiers(with...)
	all := []chromedp.Action[chromedp.Void]{
		chromedp.MouseEvent(chromedp.MouseMoved, fromX, fromY, held),
		chromedp.MouseEvent(chromedp.MousePressed, fromX, fromY, chromedp.ButtonLeft, chromedp.ClickCount(1), held),
	}
	for i := 1.0; i <= steps; i++ {
		all = append(all, chromedp.MouseEvent(chromedp.MouseMoved, fromX+(toX-fromX)*i/steps, fromY+(toY-fromY)*i/steps, chromedp.ButtonLeft, held))
	}
	return p.do(append(all, chromedp.MouseEvent(chromedp.MouseReleased, toX, toY, chromedp.ButtonLeft, chromedp.ClickCount(1), held))...)
}

// Wheel turns the wheel of the mouse at a place of the view, downwards if by is positive.
func (p *Page) Wheel(x, y, by float64, with ...Modifier) error {
	// Both deltas have to be there, also where one is 0, which the library leaves out.
	type turn struct {
		Type      string  `json:"type"`
		X         float64 `json:"x"`
		Y         float64 `json:"y"`
		Modifiers int64   `json:"modifiers"`
		DeltaX    float64 `json:"deltaX"`
		DeltaY    float64 `json:"deltaY"`
	}
	t := turn{Type: "mouseWheel", X: x, Y: y, DeltaY: by}
	for _, m := range with {
		t.Modifiers |= int64(m)
	}
	return p.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, cdp.Command[turn, cdp.Empty]{Method: input.CommandDispatchMouseEvent}, t)
		return err
	}))
}

// ClickAt clicks on a place of the view, so many times in a row, which is at once as far as the
// page can tell, however long it takes.
func (p *Page) ClickAt(x, y float64, times int) error {
	now := input.TimeSinceEpoch(float64(time.Now().UnixNano()) / 1e9)
	at := func(e *input.DispatchMouseEventParams) { e.Timestamp = now }
	for n := 1; n <= times; n++ {
		if err := p.do(chromedp.MouseClickXY(x, y, chromedp.ClickCount(n), at)); err != nil {
			return err
		}
	}
	return nil
}

// Pinch puts two fingers on a line across the view at y, from and -from beside x, moves them to
// where they are to and -to beside it, and lifts them. If from is 0, it is one finger, which
// taps.
func (p *Page) Pinch(x, y, from, to float64) error {
	touch := func(kind input.DispatchTouchEventType, beside ...float64) chromedp.Action[chromedp.Void] {
		return chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
			points := []*input.TouchPoint{}
			for i, d := range beside {
				id := float64(i)
				points = append(points, &input.TouchPoint{X: x + d, Y: y, ID: &id})
			}
			_, err := chromedp.Call(ctx, input.DispatchTouchEvent, input.DispatchTouchEventParams{Type: kind, TouchPoints: points})
			return err
		})
	}
	if from == 0 {
		return p.do(touch(input.DispatchTouchEventTypeTouchStart, 0), touch(input.DispatchTouchEventTypeTouchEnd))
	}
	return p.do(touch(input.DispatchTouchEventTypeTouchStart, -from, from), touch(input.DispatchTouchEventTypeTouchMove, -(from+to)/2, (from+to)/2), touch(input.DispatchTouchEventTypeTouchMove, -to, to), touch(input.DispatchTouchEventTypeTouchEnd))
}

// Download clicks on an element, and returns the file that is downloaded then, which lies in
// folder, with the name that it is to have.
func (p *Page) Download(selector, folder string) (name string, content []byte, err error) {
	err = p.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		ended := make(chan cdpbrowser.DownloadProgressState, 1)
		begun := make(chan string, 1)
		err := chromedp.ListenBrowser(ctx, func(event any) {
			switch e := event.(type) {
			case *cdpbrowser.EventDownloadWillBegin:
				select {
				case begun <- e.SuggestedFilename:
				default: // it is not the first
				}
			case *cdpbrowser.EventDownloadProgress:
				if e.State != cdpbrowser.DownloadProgressStateInProgress {
					select {
					case ended <- e.State:
					default:
					}
				}
			}
		})
		if err != nil {
			return err
		}
		told := true
		_, err = chromedp.CallBrowser(ctx, cdpbrowser.SetDownloadBehavior, cdpbrowser.SetDownloadBehaviorParams{
			Behavior: cdpbrowser.SetDownloadBehaviorBehaviorAllow, BrowserContextID: chromedp.FromContext(ctx).BrowserContextID,
			DownloadPath: folder, EventsEnabled: &told,
		})
		if err != nil {
			return err
		}
		if _, err := chromedp.Click(chromedp.CSS(selector))(ctx, t); err != nil {
			return err
		}
		select {
		case state := <-ended:
			if state != cdpbrowser.DownloadProgressStateCompleted {
				return fmt.Errorf("it was %s", state)
			}
			name = <-begun
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}))
	if err == nil {
		content, err = os.ReadFile(filepath.Join(folder, name))
	}
	if err != nil {
		return "", nil, fmt.Errorf("download from %s: %w", selector, err)
	}
	return name, content, nil
}

// Screenshot returns a PNG of what is in view.
func (p *Page) Screenshot() ([]byte, error) { return run(p, chromedp.CaptureScreenshot()) }

// PDF returns the page as it is printed.
func (p *Page) PDF() ([]byte, error) { return run(p, chromedp.PrintToPDF()) }
