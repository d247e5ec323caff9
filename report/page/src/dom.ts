// What pages of a run are made of: tables, links to files, and what is made when it is seen.

import { el, type Attributes, type Child } from "./element";
import { onPrint } from "./print";

/** Makes a table in a box of its own, which scrolls if the page is too narrow. align has a
 * character a column: "<" for words, ">" for numbers. */
export function table(label: string, columns: string[], align: string, rows: Child[][], attributes: Attributes = {}): HTMLElement {
  const side = (i: number) => (align[i] === ">" ? "number" : undefined);
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
    el("table", attributes,
      el("thead", {}, el("tr", {}, ...columns.map((c, i) => el("th", { scope: "col", class: side(i) }, c)))),
      el("tbody", {}, ...rows.map((row) =>
        el("tr", {}, ...row.map((cell, i) => el("td", { class: side(i) }, cell)))))));
}

/** A link to a file beside the page. Whatever the path is, it is one below the page's folder:
 * a scheme in it, or a way up, is a part of a name. */
export function fileLink(path: string, text: string, attributes: Attributes = {}): HTMLAnchorElement {
  const steps = path.split("/").filter((s) => s !== "" && s !== "." && s !== "..");
  return el("a", { href: "./" + steps.map(encodeURIComponent).join("/"), ...attributes }, text);
}

/** Calls back once an element is near the part of the page that is looked at, or the page is
 * printed. */
export function whenNear(e: Element, build: () => void): void {
  let done = false;
  const once = () => {
    if (done) return;
    done = true;
    watch.disconnect();
    build();
  };
  const watch = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) once();
  }, { rootMargin: "400px" });
  watch.observe(e);
  onPrint(once);
}

/** Details whose content is made when they are opened. They are for print, unless they are
 * long: then what is open is printed. */
export function details(summary: Child[], attributes: Attributes, build: (into: HTMLElement) => void, long = false): HTMLDetailsElement {
  const d = el("details", attributes, el("summary", {}, ...summary));
  let built = false;
  const once = () => {
    if (built) return;
    built = true;
    build(d);
  };
  d.addEventListener("toggle", () => { if (d.open) once(); });
  let was = false;
  if (!long) onPrint(() => { was = d.open; d.open = true; once(); }, () => { d.open = was; });
  if (d.open) once();
  return d;
}
