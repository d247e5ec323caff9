// What the nodes printed about a moment that the reader chooses: all nodes in one list by
// time, or side by side.

import type { Log, LogLine } from "./document";
import { fileLink, table } from "./dom";
import { el, type Child } from "./element";
import { exact, moment, plural } from "./format";
import type { Page } from "./page";
import { Palette } from "./palette";

const most = 400; // lines shown

/** Makes the part of the page. */
export function logs(page: Page): HTMLElement {
  const { doc, view } = page;
  const palette = new Palette(doc);
  const first = doc.anomalies[0];
  let pointed: number | null = null; // where the reader pointed last
  view.listen((what) => {
    if (what !== "cursor" || view.cursor === null) return;
    pointed = view.cursor;
    last.disabled = false;
    last.textContent = `Where I pointed last: ${moment(pointed)}`;
  });

  const at = el("input", { type: "number", step: "any", min: 0, "aria-label": "Moment in seconds", "data-part": "moment" });
  const about = el("select", { "aria-label": "How much about it", "data-part": "about" },
    ...[0.01, 0.1, 0.5, 1, 2, 5].map((s) => el("option", { value: s, selected: s === 0.5 }, `± ${s < 1 ? s * 1000 + " ms" : s + " s"}`)));
  const jump = el("select", { "aria-label": "Go to", "data-part": "moments" },
    el("option", { value: "" }, "Go to …"),
    ...doc.anomalies.map((a, i) => el("option", { value: middle(a.from, a.to) }, `${i + 1}. ${a.kind}, ${moment(a.from)}`)),
    ...doc.faults.map((f) => el("option", { value: f.from }, `${f.name}, ${moment(f.from)}`)));
  const last = el("button", { type: "button", disabled: true, "data-part": "pointed", onclick: () => { if (pointed !== null) go(pointed); } }, "Where I pointed last");
  const shown = el("button", { type: "button", "data-part": "shown", onclick: () => { range(view.from, view.to); } }, "What the timeline shows");
  const beside = el("input", { type: "checkbox", "data-part": "beside" });
  const out = el("div", { "data-part": "log-lines" });
  const says = el("p", { class: "faint", "aria-live": "polite" });

  at.addEventListener("change", () => go(Number(at.value) * 1e6));
  about.addEventListener("change", () => go(Number(at.value) * 1e6));
  jump.addEventListener("change", () => {
    if (jump.value !== "") go(Number(jump.value));
    jump.value = "";
  });
  beside.addEventListener("change", () => range(present.from, present.to));

  const present = { from: 0, to: 0 };
  const element = el("div", { class: "logs", "data-part": "logs" },
    el("p", { class: "files" }, ...doc.logs.map((l) => el("span", {}, fileLink(l.path, l.node), " "))),
    el("div", { class: "actions" }, el("label", {}, "Around ", at, " s"), about, jump, last, shown, el("label", {}, beside, " side by side")),
    says, out);
  go(first ? middle(first.from, first.to) : 0);
  return element;

  function go(us: number): void {
    const half = Number(about.value) * 1e6;
    at.value = (us / 1e6).toFixed(3);
    range(us - half, us + half);
  }

  function range(from: number, to: number): void {
    present.from = from;
    present.to = to;
    const found = doc.logs.map((log): [Log, LogLine[]] => [log, (log.lines ?? []).filter((l) => l.time >= from && l.time <= to)]);
    const n = found.reduce((s, [, lines]) => s + lines.length, 0);
    says.textContent = n === 0
      ? `No line of a log that the page holds is from ${moment(Math.max(from, 0))} to ${moment(to)}; the files may have more.`
      : `${plural(n, "line")} from ${moment(Math.max(from, 0))} to ${moment(to)}${n > most ? `, of which the first ${most} are shown` : ""}. Clocks of nodes may be off.`;
    out.replaceChildren(n === 0 ? "" : beside.checked ? columns(found) : merged(found));
  }

  function merged(found: [Log, LogLine[]][]): HTMLElement {
    const all = found.flatMap(([log, lines]) => lines.map((l): [Log, LogLine] => [log, l]));
    all.sort((a, b) => a[1].time - b[1].time);
    const t = table("Lines of logs", ["time (s)", "node", "line", "text"], "><><", all.slice(0, most).map(([log, l]): Child[] => [
      exact(l.time), el("span", { class: "node" }, swatch(log.node), log.node), String(l.number), l.text,
    ]), { class: "lines" });
    t.classList.add("tall");
    return t;
  }

  function columns(found: [Log, LogLine[]][]): HTMLElement {
    return el("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "Lines of logs, side by side" },
      el("div", { class: "beside" }, ...found.map(([log, lines]) => el("div", {},
        el("h4", {}, swatch(log.node), log.node),
        ...lines.slice(0, most).map((l) => el("p", {}, el("span", { class: "faint" }, exact(l.time)), " ", l.text))))));
  }

  function swatch(node: string): HTMLElement {
    return el("span", { class: "swatch", style: `background: var(${palette.of(node).variable})` });
  }
}

function middle(from: number, to: number): number {
  return to > from ? (from + to) / 2 : from;
}
