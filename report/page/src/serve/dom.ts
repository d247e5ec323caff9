// What the pages of a store are made of: tables, and commands to copy.

import { el, type Child } from "../element";

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
