// What was covered, in detail: each fault with what it did, what was measured, and the
// numbers of each checker.

import { details, table } from "./dom";
import { el, type Child } from "./element";
import { count, moment, momentOrOpen, span, waited } from "./format";
import type { Page } from "./page";

/** Makes the section's content. */
export function coverage(page: Page): Child[] {
  const { doc } = page;
  const counted = doc.parts.filter((p) => p.counts && Object.keys(p.counts).length > 0);
  return [
    el("h3", {}, "Faults"),
    faults(page),
    ...doc.tables.flatMap((t): Child[] => [
      el("h3", {}, t.title || "Measured"),
      table(t.title || "Measured", t.columns, t.align, t.rows, { "data-part": "table" }),
    ]),
    counted.length > 0 && details(["The numbers of each checker", el("span", { class: "faint" }, ` ${count(counted.length)}`)],
      { class: "sub", "data-part": "counts" }, (into) => {
        into.append(el("div", { class: "columns narrow" }, ...counted.map((p) =>
          el("div", {}, el("h4", {}, p.name), table(`Numbers of ${p.name}`, ["", ""], "<>",
            Object.entries(p.counts ?? {}).map(([name, n]) => [el("code", {}, name), count(n)]), { class: "counts" })))));
      }),
    doc.ops.left && el("p", { class: "faint", "data-part": "left" }, `Of the operations themselves: ${doc.ops.left}`),
  ];
}

function faults(page: Page): HTMLElement {
  const { doc } = page;
  if (doc.faults.length === 0) return el("p", { class: "faint", "data-part": "faults" }, "The history tells of no fault.");
  const rows = doc.faults.map((f): Child[] => {
    const held = !f.failed || f.to !== f.from;
    const to = f.to < 0 ? doc.duration : f.to;
    const pad = Math.max((to - f.from) / 6, 1000);
    return [
      el("button", { type: "button", class: "op", "data-part": "fault-jump", title: "Show it in the timeline", onclick: () => page.look(f.from - pad, to + pad) }, moment(f.from)),
      held ? momentOrOpen(f.to) : "–", !held ? "–" : f.to < 0 ? "" : span(f.to - f.from), el("code", {}, f.name), f.what === f.name ? "" : f.what,
      f.held_back ? `held back: ${f.failed ?? ""}` : f.failed ? el("b", { class: "cannot" }, `failed: ${f.failed}`) : f.acted ? (f.evidence || "acted") : el("b", {}, f.evidence || "did nothing that was seen"),
      count(f.ok), count(f.fail), count(f.info), waited(f.answer), waited(f.recovery),
    ];
  });
  return table("Faults", ["from", "to", "held", "fault", "what", "evidence", "ok", "fail", "info", "answer", "recovery"], ">>><<<>>>>>", rows, { class: "faults", "data-part": "faults" });
}
