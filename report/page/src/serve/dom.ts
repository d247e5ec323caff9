// Elements, made without markup: what is shown may be anybody's text.

export type Child = Node | string | null | undefined | false;
type Handler = (event: Event) => void;
export type Attributes = Record<string, string | number | boolean | Handler | null | undefined>;

/** Makes an element. Attributes that are false or missing are left out, true ones are empty;
 * a function is a listener for the event of its name. */
export function el<K extends keyof HTMLElementTagNameMap>(tag: K, attributes: Attributes = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const e = document.createElement(tag);
  set(e, attributes);
  add(e, children);
  return e;
}

/** Makes an element of SVG. */
export function svg<K extends keyof SVGElementTagNameMap>(tag: K, attributes: Attributes = {}, ...children: Child[]): SVGElementTagNameMap[K] {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  set(e, attributes);
  add(e, children);
  return e;
}

function set(e: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") e.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) e.setAttribute(name, value === true ? "" : String(value));
  }
}

function add(e: Element, children: Child[]): void {
  for (const c of children) if (c !== null && c !== undefined && c !== false) e.append(c);
}

/** A button that copies text, and says that it did. */
export function copyButton(text: string, what: string): HTMLButtonElement {
  const b = el("button", { type: "button", class: "small", "data-part": "copy", "aria-label": `Copy: ${what}` }, "Copy");
  b.addEventListener("click", () => {
    navigator.clipboard.writeText(text).then(
      () => say("Copied"),
      () => say("Not copied: select it"),
    );
  });
  let timer = 0;
  function say(words: string): void {
    b.textContent = words;
    clearTimeout(timer);
    timer = window.setTimeout(() => { b.textContent = "Copy"; }, 2000);
  }
  return b;
}

/** A command to be typed, with a button that copies it. */
export function command(purpose: string, text: string): HTMLElement {
  return el("div", { class: "command", "data-part": "command" },
    el("span", { class: "faint" }, purpose), el("code", { tabindex: 0 }, text), copyButton(text, purpose || text));
}

/** A table with a head, for which the cells are given. Columns whose name ends in a | are of
 * numbers. */
export function grid(part: string, caption: string, columns: string[], rows: Child[][], label?: (row: number) => string): HTMLElement {
  const numeric = columns.map((c) => c.endsWith("|"));
  const head = el("tr", {}, ...columns.map((c, i) => el("th", { scope: "col", class: numeric[i] && "number" }, c.replace(/\|$/, ""))));
  const body = rows.map((row, n) => el("tr", { class: label?.(n) }, ...row.map((cell, i) => i === 0
    ? el("th", { scope: "row" }, cell)
    : el("td", { class: numeric[i] && "number" }, cell))));
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption, "data-part": part },
    el("table", {}, el("caption", {}, caption), el("thead", {}, head), el("tbody", {}, ...body)));
}
