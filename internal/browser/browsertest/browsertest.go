// Package browsertest asks of a page what is asked of every page. It must fit a telephone, be
// legible, and be operable by those who have a keyboard alone, or who do not see it.
package browsertest

import (
	"context"
	"fmt"
	"sync"

	"github.com/hacheck/hacheck/internal/browser"
)

var (
	start   sync.Once
	shared  *browser.Browser
	failure error
)

// Shared returns the browser of all tests of a package, which is started when the first one
// asks for it.
func Shared() (*browser.Browser, error) {
	start.Do(func() { shared, failure = browser.Start(context.Background()) })
	return shared, failure
}

// Close closes the shared browser, if anybody has asked for it. Nobody may ask any more.
func Close() {
	if shared != nil {
		shared.Close()
	}
}

// The sizes that pages are looked at in.
var (
	Desk  = browser.Look{Width: 1280, Height: 900}
	Phone = browser.Look{Width: 360, Height: 740, Touch: true}
)

// Unfold opens all that is folded up, again and again, since there may be more in it.
func Unfold(p *browser.Page) error {
	return p.Wait(`(() => {
		const closed = [...document.querySelectorAll("details:not([open])")];
		for (const d of closed) d.open = true;
		return closed.length === 0;
	})()`)
}

// outside finds what stands beside the view, and does not scroll by itself.
const outside = `(() => {
	const scrolls = (e) => e && e !== document.body && (getComputedStyle(e).overflowX !== "visible" || scrolls(e.parentElement));
	return [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e.parentElement))
		.slice(0, 12).map((e) => e.tagName + "." + (e.className.baseVal ?? e.className) + " in " + e.parentElement.className + " to " + e.getBoundingClientRect().right + ": " + e.textContent.slice(0, 40));
})()`

// drawn is what an expression comes to when all that waits for a change of the view has been
// told of it.
func drawn(expression string) string {
	return "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(" + expression + "))))"
}

// Fits returns what is wrong with a page that is wider than the view.
func Fits(p *browser.Page) (flaws []string, err error) {
	wide, err := browser.Eval[int](p, drawn("document.documentElement.scrollWidth - innerWidth"))
	if err != nil || wide <= 0 {
		return nil, err
	}
	beside, err := browser.Eval[[]string](p, outside)
	return append([]string{fmt.Sprintf("the page is %d pixels wider than the view", wide)}, beside...), err
}

// controls finds all that can be operated and is to be seen, of the page in its present
// state. What is behind a dialog is not to be operated.
const controls = `[...(document.querySelector("dialog[open]") ?? document).querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")].filter((e) =>
	e.tabIndex >= 0 && !e.matches(":disabled") && e.checkVisibility({ visibilityProperty: true }))`

// naming is what a control is called, as far as it is told.
const naming = `((e) => [e.getAttribute("aria-label"), ...[...(e.labels ?? [])].map((l) => l.textContent), e.matches("input, select") ? "" : e.textContent,
	document.getElementById(e.getAttribute("aria-labelledby") ?? "")?.textContent].find((t) => t && t.trim() !== "") ?? "")`

// Named returns what can be operated and has no name, and pictures that neither have one nor
// are hidden from those who do not see them. There has to be something to operate.
func Named(p *browser.Page) (flaws []string, err error) {
	return browser.Eval[[]string](p, "(() => { const all = "+controls+`;
		const unnamed = [...all, ...document.querySelectorAll("[role=img], [role=region], nav, aside, dialog")].filter((e) => `+naming+`(e) === "");
		const pictures = [...document.querySelectorAll("canvas, svg")].filter((e) => e.tabIndex < 0 && !e.hasAttribute("aria-label") && !e.closest("[aria-hidden=true], [role=img]"));
		return [...(all.length === 0 ? ["there is nothing to operate"] : []), ...unnamed.map((e) => "it has no name: " + e.outerHTML.slice(0, 200)),
			...pictures.map((e) => "it is neither named nor hidden: " + e.outerHTML.slice(0, 200))];
	})()`)
}

// Reached returns what can be operated and is not reached by Tab, or does not show that it has
// the focus; what is drawn may show it in ways of its own.
func Reached(p *browser.Page) (flaws []string, err error) {
	n, err := browser.Eval[int](p, `(() => { window.all = `+controls+`; scrollTo(0, 0); document.activeElement.blur(); window.met = []; document.addEventListener("focusin", (e) => met.push(e.target)); return all.length; })()`)
	if err != nil {
		return nil, err
	}
	for range n + 5 {
		if err := p.Press(browser.Tab); err != nil {
			return nil, err
		}
		if round, err := browser.Eval[bool](p, "met.length > 1 && met[met.length - 1] === met[0]"); err != nil || round {
			break // the next look at it says what is wrong
		}
	}
	return browser.Eval[[]string](p, `[...all.filter((e) => !met.includes(e)).map((e) => "Tab does not reach it: " + e.outerHTML.slice(0, 200)),
		...all.filter((e) => { e.focus(); return e instanceof HTMLElement && getComputedStyle(e).outlineStyle === "none"; }).map((e) => "it does not show that it has the focus: " + e.outerHTML.slice(0, 200))]`)
}

// contrasts measures all text against what is behind it, and returns what is hard to read:
// less than 4.5 to 1, as the guidelines for accessible pages want it at least.
const contrasts = `(() => {
	const ctx = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
	const cache = new Map();
	const rgba = (colour) => { // whatever it is written in
		let c = cache.get(colour);
		if (!c) {
			ctx.clearRect(0, 0, 1, 1);
			ctx.fillStyle = colour;
			ctx.fillRect(0, 0, 1, 1);
			cache.set(colour, c = [...ctx.getImageData(0, 0, 1, 1).data].map((v) => v / 255));
		}
		return c;
	};
	const over = (c, alpha, ground) => ground.map((g, i) => c[i] * c[3] * alpha + g * (1 - c[3] * alpha));
	const light = (c) => c.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
	const ground = (e) => {
		if (!e) return [1, 1, 1];
		const s = getComputedStyle(e);
		let g = ground(e.parentElement);
		if (e instanceof SVGElement) { // on what is drawn below it
			const box = e.matches("g") && e.querySelector(":scope > .plate, :scope > .box");
			if (!box) return g;
			const b = getComputedStyle(box);
			return b.fill.startsWith("url") ? g : over(rgba(b.fill), Number(b.opacity), g);
		}
		return over(rgba(s.backgroundColor), 1, g);
	};
	const fade = (e) => (e ? Number(getComputedStyle(e).opacity) * fade(e.parentElement) : 1);
	const bad = [];
	let n = 0;
	for (const e of document.querySelectorAll("body *")) {
		const text = [...e.childNodes].filter((c) => c.nodeType === Node.TEXT_NODE).map((c) => c.data).join("").trim();
		if (text === "" || !e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) || e.closest(":disabled, script, noscript, style, title, [aria-hidden=true] option")) continue;
		if (e.closest("button[aria-pressed=false]") && e.closest(".legend")) continue;
		n++;
		const s = getComputedStyle(e);
		const behind = ground(e);
		const front = over(rgba(e instanceof SVGElement ? s.fill : s.color), fade(e), behind);
		const [a, b] = [light(front), light(behind)].sort((x, y) => y - x);
		const ratio = (a + 0.05) / (b + 0.05);
		if (ratio < 4.5) bad.push(ratio.toFixed(2) + " " + e.tagName + "." + (e.className.baseVal ?? e.className) + " in " + e.parentElement.className + ": " + text.slice(0, 40));
	}
	return { N: n, Bad: [...new Set(bad)] };
})()`

// Legible returns what is hard to read, in light and in dark. There has to be something to
// read.
func Legible(p *browser.Page, l browser.Look) (flaws []string, err error) {
	for _, theme := range []string{"light", "dark"} {
		l.Dark = theme == "dark"
		if err := p.As(l); err != nil {
			return nil, err
		}
		if err := p.Wait("document.documentElement.dataset.theme === '" + theme + "'"); err != nil {
			return nil, err
		}
		found, err := browser.Eval[struct {
			N   int
			Bad []string
		}](p, drawn(contrasts))
		if err != nil {
			return nil, err
		}
		if found.N == 0 {
			flaws = append(flaws, theme+": there is nothing to read")
		}
		for _, bad := range found.Bad {
			flaws = append(flaws, theme+": it is hard to read: "+bad)
		}
	}
	return flaws, nil
}
