// The faults of two runs, one below the other, on one axis.

import { onChange } from "../theme";
import type { Past, Span } from "./api";
import { grid } from "./dom";
import { el, svg } from "../element";
import { spanOrNone } from "../format";
import { count, plural } from "./words";

const bar = 18, gap = 4, left = 28, axis = 24, head = 22;
/** More bars than these are not drawn; the table has them. */
const most = 400;
/** More are not listed. */
const listed = 500;

export function schedules(a: Past, b: Past): HTMLElement {
  const box = el("div", { class: "schedules" });
  const colours = new Map<string, number>();
  for (const s of [...a.spans, ...b.spans]) {
    const family = s.name.split(":")[0]!;
    if (!colours.has(family)) colours.set(family, colours.size % 8 + 1);
  }
  const parts: HTMLElement[] = [];
  for (const [name, p] of [["A", a], ["B", b]] as const) {
    if (p.note) parts.push(el("p", { class: "problem", "data-part": "past-note" }, `${name}: ${p.note}`));
  }
  if (a.spans.length + b.spans.length === 0) {
    return el("div", {}, ...parts, el("p", { "data-part": "no-faults" }, "Neither has any."));
  }
  const draw = (): void => box.replaceChildren(drawing(a, b, colours, Math.max(300, box.clientWidth)));
  new ResizeObserver(draw).observe(box);
  onChange(draw);
  const legend = el("ul", { class: "legend", "aria-hidden": "true" }, ...[...colours].map(([family, n]) =>
    el("li", {}, svg("svg", { width: 14, height: 14 }, svg("rect", { width: 14, height: 14, class: `series-${n}` })), family)),
    el("li", {}, svg("svg", { width: 14, height: 14 }, svg("rect", { x: 1, y: 1, width: 12, height: 12, class: "idle" })), "nothing shows that it acted"));
  const rows = (name: string, p: Past): [string, string, string, string, string][] => p.spans.slice(0, listed).map((s) =>
    [s.what, name, spanOrNone(s.from), s.to < 0 ? "not healed" : s.heal_failed ? `${spanOrNone(s.to)}; to heal it failed: ${s.heal_failed}` : spanOrNone(s.to), s.failed ? `${s.held_back ? "held back" : "failed"}: ${s.failed}` : s.acted > 0 ? count(s.acted) : "nothing"]);
  const cut = a.spans.length > listed || b.spans.length > listed;
  parts.push(box, legend, el("details", {}, el("summary", {}, `As a table: ${plural(a.spans.length + b.spans.length, "fault")}`),
    grid("schedules-table", cut ? `Faults, the first ${listed} of each` : "Faults", ["Fault", "Run", "From|", "To|", "Evidence|"], [...rows("A", a), ...rows("B", b)])));
  return el("div", { "data-part": "schedules-drawing" }, ...parts);
}

function drawing(a: Past, b: Past, colours: Map<string, number>, width: number): SVGElement {
  const end = Math.max(a.duration, b.duration, ...a.spans.map((s) => s.to), ...b.spans.map((s) => s.to), 1);
  const x = (t: number): number => left + (width - left - 8) * t / end;
  const root = svg("svg", { width, role: "img", "aria-label": `Faults over time: ${plural(a.spans.length, "fault")} in A, ${plural(b.spans.length, "fault")} in B; the table below has them all` });
  let y = 0;
  for (const [name, p] of [["A", a], ["B", b]] as const) {
    const lanes = stacked(p.spans.slice(0, most), p.duration);
    const rows = Math.max(1, ...lanes.map((l) => l.lane + 1));
    const height = rows * (bar + gap) + gap;
    root.append(svg("text", { x: 4, y: y + head - 7, class: "side" }, p.spans.length === 0 ? `${name}: no faults` : p.spans.length > most ? `${name}: the first ${most} of ${count(p.spans.length)}` : name),
      svg("rect", { x: left, y: y + head, width: Math.max(1, x(p.duration) - left), height, class: "ground" }));
    for (const { span, lane } of lanes) root.append(one(span, p, x, y + head + gap + lane * (bar + gap), colours));
    y += head + height;
  }
  for (let step = tick(end / Math.max(2, width / 110)), t = 0; t <= end; t += step) {
    root.append(svg("line", { x1: x(t), x2: x(t), y1: head, y2: y + 4, class: "tick" }),
      svg("text", { x: x(t), y: y + 17, class: "tick", "text-anchor": t === 0 ? "start" : "middle" }, `${+(t / 1e6).toFixed(2)} s`));
  }
  root.setAttribute("height", String(y + axis));
  return root;
}

function one(s: Span, p: Past, x: (t: number) => number, y: number, colours: Map<string, number>): SVGElement {
  const to = s.to < 0 ? p.duration : s.to;
  const width = Math.max(2, x(to) - x(s.from));
  const idle = s.failed !== undefined || s.acted === 0;
  const words = `${s.what}, ${spanOrNone(s.from)} to ${s.to < 0 ? "the end: not healed" : spanOrNone(s.to)}${s.heal_failed ? `; to heal it failed: ${s.heal_failed}` : ""}${s.failed ? `; ${s.held_back ? "held back" : "failed"}: ${s.failed}` : s.acted > 0 ? `; evidence: ${count(s.acted)}` : "; nothing shows that it acted"}`;
  const g = svg("g", { "data-part": "fault" }, svg("title", {}, words),
    svg("rect", { x: x(s.from), y, width, height: bar, rx: 2, class: idle ? "idle" : `box series-${colours.get(s.name.split(":")[0]!) ?? 1}` }));
  const room = Math.floor((width - 6) / 6.6);
  if (room >= 3) g.append(svg("text", { x: x(s.from) + 4, y: y + 13, class: "in" }, s.name.length <= room ? s.name : s.name.slice(0, room - 1) + "…"));
  return g;
}

/** Puts spans into as few lanes as they need, so that none covers another. */
function stacked(spans: Span[], duration: number): { span: Span; lane: number }[] {
  const ends: number[] = [];
  return spans.map((span) => {
    let lane = ends.findIndex((e) => e <= span.from);
    if (lane < 0) lane = ends.length;
    ends[lane] = span.to < 0 ? duration : span.to;
    return { span, lane };
  });
}

/** A step of 1, 2 or 5 and zeros that is no less than t. */
function tick(t: number): number {
  const power = 10 ** Math.floor(Math.log10(t));
  return power * ([1, 2, 5, 10].find((n) => n * power >= t) ?? 10);
}
