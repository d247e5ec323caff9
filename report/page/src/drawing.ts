// A drawing of a few calls: a row a process, a bar a call, arrows for the order that real
// time gives, and below them lanes of what went on beside. Begins and ends stand in the
// exact order of the history, even where its clock cannot tell them apart.

import { lay, place, type Axis } from "./axis";
import type { Call, Fault, Slice, Track } from "./document";
import { el, svg } from "./element";
import { exact, exactUnit, moment, span } from "./format";
import { readable } from "./readable";
import { labels as labelsOf } from "./labels";
import { onPrint, printed } from "./print";

/** How a call is shown: strong if it is what this is about, dim if it is beside it. */
export type Look = "" | "strong" | "dim" | "stuck";

export interface Subject {
  /** What the drawing is, for those who hear it. */
  label: string;
  calls: Call[];
  /** The key all of them are about: it is not said again on each. */
  key?: string;
  /** What is drawn, in microseconds: at least all begins, and ends that are known. */
  from: number;
  to: number;
  faults?: Fault[];
  lanes?: Track[];
  /** The number of a call on its bar. */
  tag?: (i: number) => string;
  look?: (i: number) => Look;
  arrows?: boolean;
  /** The call to be seen first, where not all fit; -1: none. */
  eye?: number;
  /** A call was chosen. */
  pick?: (call: Call) => void;
}

const rowHeight = 30;
const barHeight = 22;
const laneHeight = 20;
const longest = 230; // of a label, in pixels
const margin = 30; // at the right, for the last time
const open = -1;

/** Puts a drawing into the page, and draws it again when there is more or less room. */
export class Drawing {
  readonly element: HTMLElement;
  private readonly box: HTMLElement;
  private readonly readout: HTMLElement;
  private readonly note: HTMLElement;
  private width = 0;
  private focused = 0;

  constructor(private subject: Subject) {
    this.box = el("div", { class: "scroll", "data-part": "drawing-box" });
    this.readout = el("p", { class: "readout", "aria-live": "off" });
    this.note = el("span", { class: "faint" });
    this.element = el("figure", { class: "drawing", "data-part": "drawing" }, this.box, this.readout);
    new ResizeObserver(() => {
      const width = this.box.clientWidth;
      if (width > 0 && Math.abs(width - this.width) > 1) this.draw(width);
    }).observe(this.box);
    // What is printed may never have been on the screen.
    onPrint(() => this.draw(printed), () => { if (this.box.clientWidth > 0) this.draw(this.box.clientWidth); });
  }

  show(subject: Subject): void {
    this.subject = subject;
    if (this.width > 0) this.draw(this.width);
  }

  private draw(width: number): void {
    this.width = width;
    const had = this.box.contains(document.activeElement);
    const { names, picture, even, bars } = draw(this.subject, width);
    this.box.replaceChildren(names, picture);
    this.note.textContent = this.subject.from === this.subject.to ? "There is no clock: the order of begins and ends is all that is known." : even
      ? `From ${exact(this.subject.from)} ${exactUnit()}. `
      : `From ${exact(this.subject.from)} ${exactUnit()}. Order is exact; widths are not to scale, and long gaps are shortened. `;
    this.say(null);
    this.wire(bars);
    if (had) bars[this.focused]?.focus();
    const box = bars[this.subject.eye ?? -1]?.querySelector(".box");
    if (box) this.box.scrollLeft = Number(box.getAttribute("x")) - width / 2;
  }

  private say(call: Call | null): void {
    if (!call) {
      this.readout.replaceChildren(this.note);
      return;
    }
    const took = call.to > call.from ? `, ${span(call.to - call.from)}` : "";
    this.readout.textContent = readable(`${words(call)}${took}`);
  }

  /** One bar is reached by Tab, and the others from it with arrows. */
  private wire(bars: SVGGElement[]): void {
    const { calls, pick } = this.subject;
    this.focused = Math.min(this.focused, Math.max(bars.length - 1, 0));
    bars.forEach((bar, i) => {
      bar.setAttribute("tabindex", i === this.focused ? "0" : "-1");
      const say = () => { this.say(calls[i]); this.trace(i, bars); };
      bar.addEventListener("pointerenter", say);
      bar.addEventListener("pointerleave", () => { this.say(null); this.trace(-1, bars); });
      bar.addEventListener("focus", say);
      bar.addEventListener("blur", () => { this.say(null); this.trace(-1, bars); });
      if (pick) bar.addEventListener("click", () => pick(calls[i]));
      bar.addEventListener("keydown", (e) => {
        if ((e.key === "Enter" || e.key === " ") && pick) {
          e.preventDefault();
          pick(calls[i]); // and the focus goes where that is shown
          return;
        }
        let next = i;
        if (e.key === "ArrowRight" || e.key === "ArrowDown") next = Math.min(i + 1, bars.length - 1);
        else if (e.key === "ArrowLeft" || e.key === "ArrowUp") next = Math.max(i - 1, 0);
        else if (e.key === "Home") next = 0;
        else if (e.key === "End") next = bars.length - 1;
        else return;
        e.preventDefault();
        bars[i].setAttribute("tabindex", "-1");
        bars[next].setAttribute("tabindex", "0");
        this.focused = next;
        bars[next].focus();
      });
    });
  }

  /** Shows the order of one call alone. */
  private trace(i: number, bars: SVGGElement[]): void {
    const picture = bars[0]?.ownerSVGElement;
    if (!picture) return;
    picture.classList.toggle("tracing", i >= 0);
    for (const a of picture.querySelectorAll<SVGElement>(".arrow")) {
      a.classList.toggle("traced", a.dataset.a === String(i) || a.dataset.b === String(i));
    }
  }
}

/** A call in words, with its times. */
export function words(c: Call): string {
  const where = c.node ? ` at ${c.node}` : "";
  const until = c.to === open ? (c.outcome === "event" ? "" : ", end unknown") : ` to ${exact(c.to)}`;
  return `process ${c.process}: ${c.what}${where}, ${exact(c.from)}${until} ${exactUnit()}`;
}

/** Whether a had ended before b began. */
export function before(a: Call, b: Call): boolean {
  return a.to !== open && a.complete >= 0 && a.outcome !== "event" && a.complete < b.invoke;
}

/** The pairs of calls of which one was before the other, and nothing between them. */
export function order(calls: Call[]): [number, number][] {
  const pairs: [number, number][] = [];
  calls.forEach((a, i) => calls.forEach((b, j) => {
    if (before(a, b) && !calls.some((c) => before(a, c) && before(c, b))) pairs.push([i, j]);
  }));
  return pairs;
}

interface Moment { time: number; index: number }

/** The begins and ends that a drawing has places for, in the order of the history. */
function moments(s: Subject): Moment[] {
  const all: Moment[] = [];
  for (const c of s.calls) {
    all.push({ time: c.from, index: c.invoke });
    if (c.to !== open && c.complete >= 0) all.push({ time: c.to, index: c.complete });
  }
  const within = (t: number) => t > s.from && t < s.to;
  for (const track of s.lanes ?? []) {
    for (const slice of track.slices) {
      if (within(slice.from)) all.push({ time: slice.from, index: -1 });
      if (within(slice.to)) all.push({ time: slice.to, index: -1 });
    }
  }
  for (const f of s.faults ?? []) {
    if (within(f.from)) all.push({ time: f.from, index: f.begin });
    if (within(f.to)) all.push({ time: f.to, index: f.end });
  }
  all.sort((a, b) => a.time - b.time || a.index - b.index);
  const different = all.filter((m, i) => i === 0 || m.time !== all[i - 1].time || m.index !== all[i - 1].index);
  // Something is seen before the first and after the last: where what is open goes on.
  const first = different[0], last = different[different.length - 1];
  if (!first || s.from < first.time) different.unshift({ time: s.from, index: -1 });
  different.push({ time: Math.max(s.to, last?.time ?? 0), index: Number.MAX_SAFE_INTEGER });
  return different;
}

let drawn = 0; // what a drawing refers to within itself has its number

function draw(s: Subject, width: number): { names: SVGSVGElement; picture: SVGSVGElement; even: boolean; bars: SVGGElement[] } {
  const points = moments(s);
  const times = points.map((p) => p.time);
  const at = new Map<number, number>();
  points.forEach((p, i) => { if (p.index >= 0) at.set(p.index, i); });
  const last = points.length - 1;

  const rows = processes(s.calls);
  const rowNames = [...rows.map((r) => rowName(r)), ...(s.lanes ?? []).map((t) => t.name)];
  // Names stand beside what scrolls.
  const aside = Math.min(Math.max(...rowNames.map((n) => measure(n)), 30) + 10, width > 700 ? 210 : 110);
  const gutter = 4;

  const labels = labelsOf(s.calls, s.key).map((label, i) => {
    const tag = s.tag?.(i) ?? "";
    const text = clip(label, s.calls.length > 6 ? longest : longest * 1.6);
    return { tag, text, width: measure(text) + (tag ? measure(tag) + 7 : 0) + 14 };
  });
  const axis = lay(times, s.calls.map((c, i) => ({ from: at.get(c.invoke) ?? 0, to: end(c, at, last), need: labels[i].width })),
    Math.max(width - aside - gutter - margin, 120));
  const x = (i: number) => gutter + axis.x[i];
  const xt = (t: number) => gutter + place(times, axis, t);

  const bands = (s.faults ?? []).filter((f) => f.from <= s.to && (f.to === open || f.to >= s.from));
  const top = bands.length * 18 + 6;
  const lanesTop = top + rows.length * rowHeight + 4;
  const grouped = groups(s.lanes ?? []);
  const stacks = new Map((s.lanes ?? []).map((t) => [t, stack(t, s.from, s.to)]));
  const lanesHeight = grouped.reduce((h, g) => h + 18 + g.tracks.reduce((n, t) => n + stacks.get(t)!.rows * laneHeight, 0), 0);
  const axisTop = lanesTop + lanesHeight + (lanesHeight > 0 ? 6 : 0);
  const height = axisTop + 22;
  const total = gutter + axis.width + margin;

  const picture = svg("svg", {
    class: "calls", width: total, height, viewBox: `0 0 ${total} ${height}`, role: "group", "aria-label": s.label,
  }, defs(++drawn));
  const right = gutter + axis.width;
  const names = svg("svg", { class: "names", width: aside, height, viewBox: `0 0 ${aside} ${height}`, "aria-hidden": "true" });
  const name = (text: string, y: number) => names.append(svg("text", { class: "name", x: aside - 6, y, "text-anchor": "end" }, clip(text, aside - 8)));

  bands.forEach((f, i) => {
    const begins = f.from > s.from, ends = f.to !== open && f.to < s.to;
    const from = begins ? xt(f.from) : gutter, to = ends ? xt(f.to) : right;
    const text = `${f.what || f.name}, ${moment(f.from)} to ${f.to === open ? "the end" : moment(f.to)}`;
    picture.append(svg("rect", { class: "band", x: from, y: i * 18, width: Math.max(to - from, 2), height: 16 }));
    // One that held all the while is not drawn behind everything.
    if (begins || ends) picture.append(svg("rect", { class: "band", x: from, y: i * 18 + 16, width: Math.max(to - from, 2), height: axisTop - i * 18 - 16 }));
    for (const at of [begins && from, ends && to]) {
      if (at !== false) picture.append(svg("line", { class: "band-edge", x1: at, x2: at, y1: i * 18, y2: axisTop }));
    }
    picture.append(svg("text", { class: "band-name", x: from + 5, y: i * 18 + 12 }, clip(text, Math.max(right - from - 8, 40))));
  });

  rows.forEach((r, i) => {
    picture.append(svg("line", { class: "row", x1: gutter, x2: right, y1: middle(top, i), y2: middle(top, i) }));
    name(rowName(r), middle(top, i) + 4);
  });

  drawAxis(picture, s, points, axis, gutter, top, axisTop);
  if (s.arrows) {
    for (const [a, b] of order(s.calls)) {
      const ra = rows.indexOf(s.calls[a].process), rb = rows.indexOf(s.calls[b].process);
      const x1 = x(end(s.calls[a], at, last)), x2 = x(at.get(s.calls[b].invoke) ?? 0);
      picture.append(arrow(x1, middle(top, ra), x2, middle(top, rb), a, b));
    }
  }
  const bars = s.calls.map((c, i) => {
    const y = top + rows.indexOf(c.process) * rowHeight + (rowHeight - barHeight) / 2;
    const x1 = x(at.get(c.invoke) ?? 0), x2 = x(end(c, at, last));
    return bar(c, labels[i], s.look?.(i) ?? "", x1, x2, y, !!s.pick);
  });
  picture.append(...bars);

  let y = lanesTop;
  for (const g of grouped) {
    names.append(svg("text", { class: "group", x: aside - 6, y: y + 13, "text-anchor": "end" }, clip(g.name, aside - 8)));
    y += 18;
    for (const t of g.tracks) {
      name(t.name, y + 14);
      const { rows: high, slices } = stacks.get(t)!;
      for (const { slice, row } of slices) {
        const from = slice.from <= s.from ? gutter : xt(slice.from);
        const to = slice.to === open || slice.to >= s.to ? right : xt(slice.to);
        picture.append(lane(slice.label, slice.class, !!slice.bad, g.classes, from, Math.max(to - from, 2), y + row * laneHeight + 2,
          `${t.name}: ${slice.label}, ${moment(slice.from)} to ${slice.to === open ? "the end" : moment(slice.to)}${slice.bad ? ", which must not be" : ""}`));
      }
      y += high * laneHeight;
    }
  }
  return { names, picture, even: axis.even, bars };
}

function middle(top: number, row: number): number {
  return top + row * rowHeight + rowHeight / 2;
}

function end(c: Call, at: Map<number, number>, last: number): number {
  if (c.outcome === "event") return Math.min((at.get(c.invoke) ?? 0) + 1, last);
  return c.to === open ? last : (at.get(c.complete) ?? last);
}

/** Processes that have calls: those of clients by number, then others. */
function processes(calls: Call[]): string[] {
  const number = (p: string) => (/^\d+$/.test(p) ? Number(p) : Infinity);
  return [...new Set(calls.map((c) => c.process))].sort((a, b) => {
    const x = number(a), y = number(b);
    return x === y ? a.localeCompare(b) : x - y;
  });
}

function rowName(process: string): string {
  return /^\d+$/.test(process) ? `process ${process}` : process;
}

/** The slices of a track that are seen, those that overlap in rows below one another. */
function stack(track: Track, from: number, to: number): { rows: number; slices: { slice: Slice; row: number }[] } {
  const until: number[] = []; // of each row, when what is in it ends
  const slices = track.slices
    .filter((slice) => slice.from <= to && (slice.to === open || slice.to >= from))
    .sort((a, b) => a.from - b.from)
    .map((slice) => {
      const free = until.findIndex((t) => t <= slice.from);
      const row = free < 0 ? until.length : free;
      until[row] = slice.to === open ? Infinity : slice.to;
      return { slice, row };
    });
  return { rows: Math.max(until.length, 1), slices };
}

function groups(tracks: Track[]): { name: string; tracks: Track[]; classes: string[] }[] {
  const made: { name: string; tracks: Track[]; classes: string[] }[] = [];
  // One class has one colour in all groups: a host is the same wherever it is named.
  const classes = [...new Set(tracks.flatMap((t) => t.slices.map((slice) => slice.class)))].sort();
  for (const t of tracks) {
    const g = made.find((m) => m.name === t.group);
    if (g) g.tracks.push(t);
    else made.push({ name: t.group, tracks: [t], classes });
  }
  return made;
}

function bar(c: Call, label: { tag: string; text: string }, look: Look, x1: number, x2: number, y: number, chosen: boolean): SVGGElement {
  const g = svg("g", {
    class: `call ${outcome(c)} ${look}`, role: chosen ? "button" : "img", "data-op": c.invoke,
    "aria-label": `${label.tag ? label.tag + ": " : ""}${words(c)}${look === "stuck" ? "; cannot come next" : ""}`,
  });
  const width = Math.max(x2 - x1, 3), mid = y + barHeight / 2;
  if (c.outcome === "event") {
    g.append(svg("path", { class: "box", d: `M${x1} ${mid - 6}l6 6-6 6-6-6Z` }));
  } else if (c.to === open) {
    // It may have taken place at any time after its begin, or never: it fades out.
    g.append(svg("rect", { class: "box open", fill: `url(#fade-${drawn})`, x: x1, y, width, height: barHeight, rx: 2 }),
      svg("line", { class: "edge", x1, x2: x1, y1: y, y2: y + barHeight }));
  } else {
    g.append(svg("rect", { class: "box", x: x1, y, width, height: barHeight, rx: 2 }),
      svg("line", { class: "edge", x1, x2: x1, y1: y, y2: y + barHeight }),
      svg("line", { class: "edge", x1: x2, x2, y1: y, y2: y + barHeight }));
  }
  const text = svg("text", { class: "label", x: x1 + (c.outcome === "event" ? 10 : 7), y: mid + 4 });
  if (label.tag) text.append(svg("tspan", { class: "tag" }, label.tag), svg("tspan", { dx: 6 }, label.text));
  else text.append(label.text);
  g.append(text);
  return g;
}

function outcome(c: Call): string {
  return ["ok", "fail", "info", "event"].includes(c.outcome) ? c.outcome : "info";
}

function lane(label: string, of: string, bad: boolean, classes: string[], x: number, width: number, y: number, title: string): SVGGElement {
  const g = svg("g", { class: `slice series-${classes.indexOf(of) % 8 + 1}${bad ? " bad" : ""}` },
    svg("title", {}, title),
    svg("rect", { class: "box", x, y, width, height: laneHeight - 4, rx: 2 }));
  if (bad) g.append(svg("rect", { class: "hatch", fill: `url(#hatch-${drawn})`, x, y, width, height: laneHeight - 4, rx: 2 }));
  const text = clip(label, width - 8);
  if (width > 16 && text !== "") {
    // A hatched slice has its words on a plate, or they could not be read.
    if (bad) g.append(svg("rect", { class: "plate", x: x + 2, y: y + 1.5, width: Math.min(measure(text, 11) + 5, width - 4), height: laneHeight - 7, rx: 1 }));
    g.append(svg("text", { class: "label", x: x + 4, y: y + 12 }, text));
  }
  return g;
}

function arrow(x1: number, y1: number, x2: number, y2: number, a: number, b: number): SVGPathElement {
  const bend = Math.max(Math.min((x2 - x1) / 2, 28), 6);
  const d = y1 === y2 ? `M${x1} ${y1}H${x2 - 1}` : `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2 - 1} ${y2}`;
  return svg("path", { class: "arrow", d, "marker-end": `url(#arrow-${drawn})`, "data-a": a, "data-b": b });
}

function drawAxis(picture: SVGSVGElement, s: Subject, points: Moment[], axis: Axis, gutter: number, top: number, y: number): void {
  picture.append(svg("line", { class: "axis", x1: gutter, x2: gutter + axis.width, y1: y, y2: y }));
  let free = -Infinity;
  const breaks = axis.breaks.map((i) => {
    const gap = points[i + 1].time - points[i].time;
    const x = gutter + (axis.x[i] + axis.x[i + 1]) / 2;
    return { x, text: span(gap) };
  });
  points.forEach((p, i) => {
    if (i === points.length - 1) return;
    const x = gutter + axis.x[i];
    const text = i === 0 ? moment(p.time) : `+${span(p.time - s.from)}`;
    const half = i === 0 ? 0 : measure(text, 11) / 2;
    const fits = s.to > s.from && x - half > free && !breaks.some((b) => Math.abs(b.x - x) < half + 12);
    picture.append(svg("line", { class: fits ? "tick" : "tick minor", x1: x, x2: x, y1: fits ? top : y - 3, y2: y + (fits ? 4 : 2) }));
    if (!fits) return;
    picture.append(svg("text", { class: "time", x, y: y + 16, "text-anchor": i === 0 ? "start" : "middle" }, text));
    free = x + (i === 0 ? measure(text, 11) : half) + 12;
  });
  for (const b of breaks) {
    picture.append(
      svg("rect", { class: "cut", x: b.x - 4, y: y - 4, width: 8, height: 8 }),
      svg("path", { class: "break", d: `M${b.x - 5} ${y + 4}l4-8M${b.x + 1} ${y + 4}l4-8` }, svg("title", {}, `${b.text}, shortened`)));
  }
}

function defs(id: number): SVGDefsElement {
  return svg("defs", {},
    svg("marker", { id: `arrow-${id}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" },
      svg("path", { class: "arrowhead", d: "M0 1 7 4 0 7Z" })),
    svg("linearGradient", { id: `fade-${id}` },
      svg("stop", { class: "fade-from", offset: "0" }), svg("stop", { class: "fade-from", offset: "0.35" }), svg("stop", { class: "fade-to", offset: "1" })),
    svg("pattern", { id: `hatch-${id}`, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      svg("line", { class: "hatching", x1: 0, x2: 0, y1: 0, y2: 6 })));
}

const ruler = document.createElement("canvas").getContext("2d");
let family = "";

/** How wide a text is in a drawing. */
function measure(text: string, size = 12): number {
  if (!ruler) return text.length * size * 0.6;
  family ||= getComputedStyle(document.documentElement).getPropertyValue("--sans");
  ruler.font = `${size}px ${family}`;
  return ruler.measureText(text).width;
}

/** As much of a text as fits. */
export function clip(text: string, width: number): string {
  if (measure(text) <= width) return text;
  let low = 0, high = Math.min(text.length, 400);
  while (low < high) {
    const half = (low + high + 1) >> 1;
    if (measure(text.slice(0, half) + "…") <= width) low = half;
    else high = half - 1;
  }
  return low > 0 ? text.slice(0, low) + "…" : "";
}
