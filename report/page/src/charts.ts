// Charts over the time of the run. All have the range and the cursor of the view, and so of
// the timeline, and the faults as bands behind them. Each is made when the reader comes near.

import uPlot from "../lib/uplot/uPlot.esm.js";
import { bands } from "./bands";
import type { Chart, Document } from "./document";
import { whenNear } from "./dom";
import { el, svg, type Child } from "./element";
import { count, moment, quantity, span, tick } from "./format";
import type { Page } from "./page";
import { again, Palette, type Ink } from "./palette";
import { points, type Points } from "./points";
import { onPrint, printed } from "./print";
import { readable } from "./readable";
import { colour, onChange } from "./theme";
import { counted } from "./unit";

/** The room of all y axes: that of the timeline's names, so that times stand below each
 * other. */
const gutter = (width: number) => (width < 560 ? 58 : 104);

/** Makes the section's content. */
export function charts(page: Page): Child[] {
  const { doc } = page;
  const drawable = doc.charts.filter((c) => c.lines.length > 0 || (c.points?.length ?? 0) > 0);
  if (drawable.length === 0) return [el("p", { class: "faint" }, counted() ? "This history has no clock, but a counter: nothing can be measured by that." : "Nothing was measured over time.")];
  const palette = new Palette(doc);
  return [toolbar(page), ...drawable.map((c) => new Plot(page, c, palette).element)];
}

/** What is looked at, with buttons to look at something else. */
function toolbar(page: Page): HTMLElement {
  const { view } = page;
  const says = el("span", { class: "range", "data-part": "range", "aria-live": "polite" });
  const say = () => {
    const all = view.from <= 0 && view.to >= view.duration;
    says.textContent = all ? `the whole run, ${span(view.duration)}` : `${moment(view.from)} to ${moment(view.to)}, ${span(view.to - view.from)} of ${span(view.duration)}`;
  };
  view.listen((what) => { if (what === "range") say(); });
  say();
  const button = (label: string, text: string, part: string, act: () => void) =>
    el("button", { type: "button", title: label, "aria-label": label, "data-part": part, onclick: act }, text);
  return el("div", { class: "actions toolbar" },
    button("Zoom in", "+", "zoom-in", () => zoom(page, 0.5)), button("Zoom out", "−", "zoom-out", () => zoom(page, 2)),
    button("Earlier", "◀", "earlier", () => pan(page, -0.5)), button("Later", "▶", "later", () => pan(page, 0.5)),
    button("Show the whole run", "Whole run", "whole", () => view.show(0, view.duration)), says);
}

function zoom(page: Page, by: number, about?: number): void {
  const { view } = page;
  const at = about ?? (view.from + view.to) / 2;
  view.show(at - (at - view.from) * by, at + (view.to - at) * by);
}

function pan(page: Page, by: number): void {
  const { view } = page;
  const d = (view.to - view.from) * by;
  view.show(view.from + d, view.to + d);
}

class Plot {
  readonly element: HTMLElement;
  private plot: uPlot | null = null;
  private readonly box: HTMLElement;
  private readonly values: HTMLElement[] = [];
  private readonly now: HTMLElement;
  private readonly points: Points;
  private seen = false;
  private stale = false;
  private mine = false; // the cursor is moved by this one

  constructor(private readonly page: Page, private readonly chart: Chart, private readonly palette: Palette) {
    this.points = points(chart, palette);
    const height = this.height();
    this.box = el("div", {
      class: "plot", tabindex: 0, role: "img", "data-part": "plot", style: `min-height: ${height}px`,
      "aria-label": `${chart.title}: ${chart.lines.map((l) => l.name).join(", ")} over time. Arrows move the cursor, plus and minus zoom, 0 shows the whole run, Enter shows the operation nearest to the cursor.`,
    });
    this.now = el("span", { class: "now" });
    this.element = el("figure", { class: "chart", id: `chart-${chart.id}`, "data-part": "chart", "data-chart": chart.id },
      el("div", { class: "head" }, el("h3", {}, chart.title), this.legend(), this.now),
      this.box, chart.note && el("figcaption", { class: "faint" }, chart.note));
    this.box.addEventListener("keydown", (e) => this.key(e));
    whenNear(this.box, () => this.make());
  }

  private height(): number {
    return this.chart.id === "latency" ? 280 : 170;
  }

  private legend(): HTMLElement {
    return el("ul", { class: "legend" }, ...this.chart.lines.map((line, i) => {
      const ink = this.ink(i);
      const value = el("span", { class: "value" });
      this.values.push(value);
      const button = el("button", { type: "button", "aria-pressed": "true", "data-part": "legend", "data-line": line.name },
        svg("svg", { width: 22, height: 8, "aria-hidden": "true" },
          svg("line", { x1: 0, x2: 22, y1: 4, y2: 4, "stroke-width": 2, "stroke-dasharray": ink.dash.join(" ") || undefined, style: `stroke: var(${ink.variable})` })),
        line.name, value);
      button.addEventListener("click", () => {
        const show = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(show));
        this.plot?.setSeries(i + 1, { show });
      });
      return el("li", {}, button);
    }), ...this.points.classes.map((of) => {
      const button = el("button", { type: "button", "aria-pressed": "true", "data-part": "legend-points", "data-class": of },
        this.points.sign(of), this.chart.lines.length > 0 ? `single ${of}` : of);
      button.addEventListener("click", () => {
        const show = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(show));
        if (show) this.points.hidden.delete(of);
        else this.points.hidden.add(of);
        this.plot?.setScale("x", { min: this.page.view.from / 1e6, max: this.page.view.to / 1e6 });
        this.plot?.redraw(false);
      });
      return el("li", {}, button);
    }));
  }

  private make(): void {
    const { chart, page } = this;
    const x = chart.x.map((t) => t / 1e6);
    const data: uPlot.AlignedData = [x, ...chart.lines.map((l) =>
      chart.log ? l.values.map((v) => (v !== null && v > 0 ? v : null)) : l.values)];
    if (x.length === 0) {
      // Points alone need a scale to stand on.
      const all = this.points.list;
      data[0] = [0, page.view.duration / 1e6];
      for (let i = 1; i < data.length; i++) data[i] = [null, null];
      if (data.length === 1) data.push(all.length > 0 ? [null, null] : []);
    }
    const options: uPlot.Options = {
      width: Math.max(this.box.clientWidth, 200), height: this.height(),
      padding: [bands.height, 1, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
      scales: {
        x: { time: false, min: page.view.from / 1e6, max: page.view.to / 1e6, auto: false },
        y: { distr: chart.log ? 3 : 1, range: (_u, min, max) => this.range(min, max) },
      },
      axes: [
        { ...axis(), size: 26,
          values: (u, at, _i, _space, step) => at.map((v) => (u.valToPos(v, "x") > u.bbox.width / devicePixelRatio - 14 ? "" : seconds(v, step))) },
        { ...axis(), values: (_u, at) => at.map((v) => (v === null ? "" : tick(v, chart.unit))), size: (u) => gutter(u.width), space: 28, ...(chart.log ? decades() : {}) },
      ],
      series: [{}, ...chart.lines.map((l, i) => this.series(l.name, !!l.steps, i))],
      hooks: {
        drawClear: [(u) => bands.draw(u, page.doc)],
        drawAxes: [(u) => this.points.draw(u)], // below the lines
        setSelect: [(u) => this.selected(u)],
        setCursor: [(u) => this.moved(u)],
      },
    };
    if (chart.lines.length === 0) options.series.push({ show: true, paths: () => null });
    if (data.length < options.series.length) data.push([null, null]);
    const plot = this.plot = new uPlot(options, data, this.box);
    this.box.style.minHeight = "";
    [...this.values].forEach((_, i) => {
      if (this.element.querySelectorAll("[data-part=legend]")[i]?.getAttribute("aria-pressed") === "false") plot.setSeries(i + 1, { show: false });
    });
    plot.over.addEventListener("dblclick", () => page.view.show(0, page.view.duration));
    let pressed = 0;
    plot.over.addEventListener("pointerdown", (e) => { pressed = e.clientX; });
    plot.over.addEventListener("click", (e) => {
      if (Math.abs(e.clientX - pressed) > 3) return; // it was a drag
      const p = this.points.near(plot, plot.cursor.left ?? -1, plot.cursor.top ?? -1);
      if (p) page.reveal(p.op);
    });
    new ResizeObserver(() => this.fit(this.box.clientWidth)).observe(this.box);
    onPrint(() => this.fit(printed), () => this.fit(this.box.clientWidth));
    onChange(() => plot.redraw(false, true));
    new IntersectionObserver((entries) => {
      this.seen = entries[entries.length - 1].isIntersecting;
      if (this.seen && this.stale) this.follow();
    }).observe(this.box);
    page.view.listen((what) => {
      if (what === "cursor") this.point();
      else if (this.seen) this.follow();
      else this.stale = true;
    });
  }

  /** The ink of a line. Lines of one class, such as the clocks of a node, have its colour,
   * and dashes of their own. */
  private ink(i: number): Ink {
    const { lines } = this.chart;
    const ink = this.palette.of(lines[i].class, i);
    const before = lines.slice(0, i).filter((l) => l.class === lines[i].class).length;
    return before === 0 ? ink : { ...ink, dash: again(ink.dash, before) };
  }

  private series(name: string, steps: boolean, i: number): uPlot.Series {
    const ink = this.ink(i);
    return {
      label: name, stroke: () => colour(ink.variable), width: 1.6, dash: ink.dash, spanGaps: false,
      paths: steps ? uPlot.paths.stepped?.({ align: 1 }) : undefined,
      points: { show: true, size: 4, filter: alone },
    };
  }

  /** What y has to show: lines and points of what is looked at. */
  private range(min: number | null, max: number | null): uPlot.Range.MinMax {
    const { log, unit } = this.chart;
    let low = min ?? Infinity, high = max ?? -Infinity;
    const { from, to } = this.page.view;
    for (const p of this.points.list) {
      if (p.x < from || p.x > to || this.points.hidden.has(p.class) || (log && p.y <= 0)) continue;
      low = Math.min(low, p.y);
      high = Math.max(high, p.y);
    }
    if (!(low <= high)) return log ? [1, 1000] : [0, 1];
    if (log) return uPlot.rangeLog(low, high, 10, true);
    if (unit === "%") return [Math.min(0, low), Math.max(100, high) * 1.04];
    if (low >= 0) return uPlot.rangeNum(0, high || 1, 0.08, true);
    return uPlot.rangeNum(low, high, 0.1, true);
  }

  private selected(u: uPlot): void {
    const { left, width } = u.select;
    if (width > 2) this.page.view.show(u.posToVal(left, "x") * 1e6, u.posToVal(left + width, "x") * 1e6);
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  }

  private moved(u: uPlot): void {
    const left = u.cursor.left ?? -1;
    this.mine = true;
    this.page.view.point(left >= 0 ? u.posToVal(left, "x") * 1e6 : null);
    this.mine = false;
    const p = left >= 0 ? this.points.near(u, left, u.cursor.top ?? -1) : null;
    u.over.classList.toggle("on-point", p !== null);
    if (p) this.now.textContent = `${quantity(p.y, this.chart.unit)}, ${p.class}: click to see op ${count(p.op)}`;
  }

  /** Follows the view's cursor. */
  private point(): void {
    const u = this.plot, at = this.page.view.cursor;
    if (!u) return;
    if (!this.mine) u.setCursor({ left: at === null ? -10 : u.valToPos(at / 1e6, "x"), top: at === null ? -10 : 0 }, false);
    const i = at === null ? null : u.valToIdx(at / 1e6);
    this.values.forEach((v, n) => {
      const y = i === null ? null : this.chart.lines[n].values[i];
      v.textContent = i === null ? "" : y === null || y === undefined ? "–" : quantity(y, this.chart.unit);
    });
    this.now.textContent = at === null ? "" : readable(`${moment(at)}${inForce(this.page.doc, at)}`);
  }

  private follow(): void {
    this.stale = false;
    this.plot?.setScale("x", { min: this.page.view.from / 1e6, max: this.page.view.to / 1e6 });
  }

  private fit(width: number): void {
    if (this.plot && width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: this.height() });
  }

  private key(e: KeyboardEvent): void {
    const { view } = this.page;
    const step = (view.to - view.from) / 100;
    const at = view.cursor ?? (view.from + view.to) / 2;
    switch (e.key) {
      case "ArrowLeft": view.point(Math.max(view.from, at - step)); break;
      case "ArrowRight": view.point(Math.min(view.to, at + step)); break;
      case "+": case "=": zoom(this.page, 0.5, at); break;
      case "-": zoom(this.page, 2, at); break;
      case "0": view.show(0, view.duration); break;
      case "Escape": view.point(null); break;
      case "Enter": {
        const p = this.points.nearest(at);
        if (p) this.page.reveal(p.op);
        break;
      }
      default: return;
    }
    e.preventDefault();
  }
}

function axis(): uPlot.Axis {
  return {
    stroke: () => colour("--faint"), font: `11px ${colour("--sans")}`, gap: 4,
    grid: { stroke: () => colour("--grid"), width: 1 }, ticks: { stroke: () => colour("--grid"), width: 1, size: 4 },
  };
}

/** Lines of a logarithmic scale at powers of ten alone. */
function decades(): Pick<uPlot.Axis, "grid" | "ticks"> {
  const filter = (_u: uPlot, at: number[]) => at.map((v) => (Math.abs(Math.log10(v) - Math.round(Math.log10(v))) < 1e-9 ? v : null));
  const { grid, ticks } = axis();
  return { grid: { ...grid, filter }, ticks: { ...ticks, filter } };
}

/** Points of a line that have no neighbour: without a dot they would not be seen. */
function alone(u: uPlot, series: number): number[] {
  const v = u.data[series];
  const found: number[] = [];
  for (let i = 0; i < v.length; i++) {
    if (typeof v[i] === "number" && typeof v[i - 1] !== "number" && typeof v[i + 1] !== "number") found.push(i);
  }
  return found;
}

function seconds(v: number, step: number): string {
  const decimals = Math.max(0, Math.min(6, Math.ceil(-Math.log10(step) - 1e-9)));
  return `${v.toFixed(decimals)} s`;
}

function inForce(doc: Document, at: number): string {
  const names = doc.faults.filter((f) => f.from <= at && (f.to < 0 || f.to >= at)).map((f) => f.name);
  return names.length > 0 ? ` · ${names.join(", ")}` : "";
}
