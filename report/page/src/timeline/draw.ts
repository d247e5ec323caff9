// Draws the timeline: what stays while only the cursor moves, and, on a canvas above it, the
// cursor, what is selected and what is marked.

import { Outcome } from "../ops";
import type { Slice } from "../document";
import { readable } from "../readable";
import * as axis from "./axis";
import { amount, locate, stretches } from "./lanes";
import { context } from "./colours";
import { count, kindOf, kinds, paint, paintLevel, units } from "./raster";
import { rowHeight, stack, type Row } from "./rows";
import { anomalyHeight, axisHeight, faultHeight, lineHeight, stripHeight, subject, type Scene } from "./scene";

/** With more calls than these in sight, they are drawn as columns of pixels. */
const mostBars = 4000;

type Context = CanvasRenderingContext2D;

/** Calls that are drawn wide enough for words of their own, if there were any. */
export type Wanted = number[];

/** Draws all but the cursor. It keeps what it needs from frame to frame. */
export class Drawing {
  private counted = new Int32Array(0);
  private readonly strip = document.createElement("canvas");
  private pixels = new ImageData(1, 1);
  private readonly cut = new Map<string, string>();
  private font = "";

  /** Draws, and returns the calls whose words it lacked. */
  draw(ctx: Context, s: Scene): Wanted {
    const c = s.colours;
    ctx.setTransform(s.dpr, 0, 0, s.dpr, 0, 0);
    ctx.fillStyle = c.paper;
    ctx.fillRect(0, 0, s.width, s.height);
    ctx.textBaseline = "middle";
    const rows = s.rows();

    ctx.save();
    ctx.beginPath();
    ctx.rect(s.gutter, s.bodyTop, s.plot, s.height - s.bodyTop);
    ctx.clip();
    this.grounds(ctx, s, rows);
    const sample = axis.label(s.view.to, axis.step(s.view.to - s.view.from, s.plot / 90), s.view.to);
    const ticks = axis.ticks(s.view.from, s.view.to, s.plot / Math.max(90, sample.length * 8));
    ctx.fillStyle = c.line;
    for (const t of ticks) ctx.fillRect(crisp(s.x(t.at), s.dpr), s.bodyTop, 1 / s.dpr, s.height);
    this.bands(ctx, s, false);
    for (const row of rows) {
      if (row.kind !== "track") continue;
      for (const slice of row.track.slices) this.slice(ctx, s, slice, s.bodyTop + row.top - s.scroll + 1, row.height - 2, 0.3);
    }
    const wanted = this.calls(ctx, s, rows);
    this.bands(ctx, s, true);
    this.missing(ctx, s);
    ctx.restore();

    this.gutter(ctx, s, rows);
    this.head(ctx, s, ticks);
    return wanted;
  }

  /** Sets the font, of which it also depends what fits. */
  private write(ctx: Context, font: string): void {
    ctx.font = font;
    if (font !== this.font) this.cut.clear();
    this.font = font;
  }

  /** As much of a text as fits. */
  private fit(ctx: Context, text: string, width: number): string {
    if (width < 8) return "";
    // Few widths are told apart, so that the same text is measured once while one pans.
    const room = Math.floor(width / 4) * 4;
    const key = `${room} ${text}`;
    let made = this.cut.get(key);
    if (made !== undefined) return made;
    made = readable(text.length > 200 ? text.slice(0, 200) : text);
    if (ctx.measureText(made).width > room) {
      let a = 0, b = made.length;
      while (a < b) {
        const m = (a + b + 1) >> 1;
        if (ctx.measureText(made.slice(0, m) + "…").width <= room) a = m;
        else b = m - 1;
      }
      made = a === 0 ? "" : made.slice(0, a) + "…";
    }
    if (this.cut.size > 5000) this.cut.clear();
    this.cut.set(key, made);
    return made;
  }

  /** Every other lane on a ground of its own, and behind the lane of a machine what it was. */
  private grounds(ctx: Context, s: Scene, rows: Row[]): void {
    for (const row of rows) {
      const y = s.bodyTop + row.top - s.scroll;
      if (row.kind === "lane" && row.lane % 2 === 1) {
        ctx.fillStyle = s.colours.raised;
        ctx.fillRect(s.gutter, y, s.plot, row.height);
      }
      if (row.kind !== "lane") continue;
      s.machine(row.lane).forEach((track, line) => {
        const top = s.bodyTop + s.line(row, line) - s.scroll;
        for (const slice of track.slices) {
          if (line > 0) this.slice(ctx, s, slice, top, lineHeight - 1, 0.3);
          else this.slice(ctx, s, slice, y + 1, top + lineHeight - 2 - y, 0.22, top + lineHeight / 2 - 1);
        }
      });
    }
    for (const [a, b] of s.gaps) {
      if (b < s.view.from || a > s.view.to) continue;
      ctx.fillStyle = s.colours.hatchedGap;
      const x = Math.max(s.x(a), s.gutter);
      const top = s.bodyTop + Math.max(0, (s.layout.tops[0] ?? 0) - s.scroll);
      ctx.globalAlpha = 0.35;
      ctx.fillRect(x, top, Math.min(s.x(b), s.width) - x, s.layout.total - s.scroll + s.bodyTop - top);
      ctx.globalAlpha = 1;
    }
  }

  /** Says where there are counts only, and no calls. */
  private missing(ctx: Context, s: Scene): void {
    this.write(ctx, `11px ${s.colours.sans}`);
    for (const [a, b] of s.gaps) {
      if (b < s.view.from || a > s.view.to) continue;
      const x = Math.max(s.x(a), s.gutter);
      const text = this.fit(ctx, `${s.level ? "counts only: " : ""}${s.finished ? "these operations are not in this page" : "operations are being read"}`, Math.min(s.x(b), s.width) - x - 12);
      if (text === "") continue;
      ctx.fillStyle = s.colours.paper;
      ctx.fillRect(x + 4, s.height - 22, ctx.measureText(text).width + 8, 17);
      ctx.fillStyle = s.colours.ink;
      ctx.fillText(text, x + 8, s.height - 13);
    }
  }

  /** The bands of faults, and, above all else, where they begin and end. */
  private bands(ctx: Context, s: Scene, edges: boolean): void {
    for (const f of s.doc.faults) {
      const to = s.until(f.to);
      if (to < s.view.from || f.from > s.view.to) continue;
      const x = Math.max(s.x(f.from), s.gutter - 2);
      const end = Math.min(s.x(to), s.width + 2);
      if (!edges) {
        ctx.fillStyle = s.colours.fault;
        ctx.fillRect(x, s.bodyTop, Math.max(end - x, 1), s.height);
        continue;
      }
      ctx.fillStyle = s.colours.faultLine;
      ctx.globalAlpha = 0.6;
      ctx.fillRect(x, s.bodyTop, 1, s.height);
      if (f.to >= 0) ctx.fillRect(end - 1, s.bodyTop, 1, s.height);
      ctx.globalAlpha = 1;
    }
  }

  private slice(ctx: Context, s: Scene, slice: Slice, y: number, height: number, alpha: number, middle = y + height / 2 + 0.5): void {
    const to = s.until(slice.to);
    if (to < s.view.from || slice.from > s.view.to) return;
    const x = Math.max(s.x(slice.from), s.gutter - 1);
    const width = Math.max(Math.min(s.x(to), s.width + 1) - x, 1.5);
    ctx.fillStyle = s.colours.paper; // no band shines through what has a colour of its own
    ctx.fillRect(x, y, width, height);
    ctx.fillStyle = s.series(slice.class);
    ctx.globalAlpha = alpha;
    ctx.fillRect(x, y, width, height);
    ctx.globalAlpha = 1;
    ctx.fillRect(x, y, Math.min(2, width), height);
    if (slice.bad) {
      ctx.strokeStyle = s.colours.mark;
      ctx.lineWidth = 2;
      ctx.strokeRect(x + 1, y + 1, Math.max(width - 2, 1), height - 2);
    }
    if (width < 14) return;
    this.write(ctx, `${slice.bad ? "bold " : ""}11px ${s.colours.sans}`);
    ctx.fillStyle = s.colours.ink;
    ctx.fillText(this.fit(ctx, (slice.bad ? "✗ " : "") + slice.label, width - 7), x + 5, middle);
  }

  private calls(ctx: Context, s: Scene, rows: Row[]): Wanted {
    const lanes = rows.filter((r) => r.kind === "lane");
    let n = 0;
    for (const r of lanes) n += amount(s.lanes, r.lane, s.view.from, s.view.to);
    s.dense = n > mostBars;
    this.raster(ctx, s, lanes);
    return s.dense ? [] : this.bars(ctx, s, lanes);
  }

  /** Columns of pixels: of calls where there are many, and of a level where none are read. */
  private raster(ctx: Context, s: Scene, lanes: (Row & { kind: "lane" })[]): void {
    const gaps = s.gaps.filter(([a, b]) => b >= s.view.from && a <= s.view.to);
    const levels = s.level !== null && gaps.length > 0;
    if (lanes.length === 0 || (!s.dense && !levels)) return;
    const columns = Math.max(1, Math.round(s.plot * s.dpr));
    const height = lanes.length * units;
    if (this.pixels.width !== columns || this.pixels.height < height) {
      this.pixels = new ImageData(columns, height + 10 * units);
      this.strip.width = columns;
      this.strip.height = this.pixels.height;
    }
    if (this.counted.length < kinds * (columns + 1)) this.counted = new Int32Array(kinds * (columns + 1));
    const out = new Uint32Array(this.pixels.data.buffer);
    out.fill(0, 0, columns * height);
    lanes.forEach((row, i) => {
      const at = i * units * columns;
      if (s.dense) {
        this.counted.fill(0);
        count(s.lanes, row.lane, s.view.from, s.view.to, columns, s.filter, this.counted);
        paint(this.counted, columns, s.colours.shades, out, at);
      }
      const of = s.level ? s.level.lane[row.lane] : -1;
      if (s.level && levels && of >= 0) {
        paintLevel(s.level.level, s.data.levels[s.level.data], of, s.view.from, s.view.to, columns, gaps, s.filter !== null, s.ofEvents(s.level.level, of), s.colours.shades, out, at);
      }
    });
    context(this.strip).putImageData(this.pixels, 0, 0, 0, 0, columns, height);
    ctx.imageSmoothingEnabled = false;
    lanes.forEach((row, i) => {
      ctx.drawImage(this.strip, 0, i * units, columns, units, s.gutter, s.bodyTop + row.top - s.scroll + 2, s.plot, row.height - s.below - 4);
    });
  }

  /** A bar a call, each outcome with a sign of its own. */
  private bars(ctx: Context, s: Scene, lanes: (Row & { kind: "lane" })[]): Wanted {
    const { start, end, outcome, call } = s.lanes;
    const c = s.colours;
    // All bars of a kind are drawn together: to change a colour costs more than a bar.
    const made: number[][] = [[], [], [], [], []]; // x, y, width, height of each
    const texts: { x: number; y: number; width: number; height: number; call: number; kind: number }[] = [];
    for (const row of lanes) {
      stretches(s.lanes, row.lane, s.view.from, s.view.to, (a, b) => {
        for (let p = a; p < b; p++) {
          if (end[p] < s.view.from || start[p] > s.view.to) continue;
          const matches = !s.filter || s.filter.bits[call[p]] === 1;
          if (!matches && s.filter?.hide) continue;
          const r = s.bar(row, p);
          const kind = matches ? kindOf[outcome[p]] : 4;
          made[kind].push(r.x, r.y, r.width, r.height);
          if (r.width >= 26 && rowHeight(s.lanes.depth[row.lane]) >= 12) texts.push({ ...r, call: call[p], kind });
        }
      });
    }
    const each = (kind: number, f: (x: number, y: number, w: number, h: number) => void): void => {
      const m = made[kind];
      for (let i = 0; i < m.length; i += 4) f(m[i], m[i + 1], m[i + 2], m[i + 3]);
    };
    ctx.fillStyle = c.line;
    each(4, (x, y, w, h) => ctx.fillRect(x, y + h / 3, w, h / 3));
    ctx.fillStyle = c.event;
    each(3, (x, y, w, h) => ctx.fillRect(x, y + h / 4, w, h / 2));
    ctx.fillStyle = c.ok;
    each(0, (x, y, w, h) => ctx.fillRect(x, y, w, h));
    ctx.fillStyle = c.hatchedInfo;
    each(2, (x, y, w, h) => ctx.fillRect(x, y, w, h));
    ctx.fillStyle = c.info;
    each(2, (x, y, w, h) => {
      ctx.fillRect(x, y, w, 2);
      ctx.fillRect(x, y + h - 1, w, 1);
      ctx.fillRect(x, y, Math.min(w, 1.5), h);
    });
    ctx.fillStyle = c.fail;
    ctx.globalAlpha = 0.25;
    each(1, (x, y, w, h) => ctx.fillRect(x, y, w, h));
    ctx.globalAlpha = 1;
    ctx.strokeStyle = c.fail;
    ctx.lineWidth = 1.5;
    each(1, (x, y, w, h) => {
      if (w < 3) {
        ctx.fillRect(x, y, w, h);
        return;
      }
      ctx.strokeRect(x + 0.75, y + 0.75, w - 1.5, h - 1.5);
      if (w < 10) return;
      const d = Math.min(h - 6, 7), l = x + 4, t = y + (h - d) / 2; // a cross
      ctx.beginPath();
      ctx.moveTo(l, t);
      ctx.lineTo(l + d, t + d);
      ctx.moveTo(l + d, t);
      ctx.lineTo(l, t + d);
      ctx.stroke();
    });

    const wanted: Wanted = [];
    this.write(ctx, `11px ${c.sans}`);
    for (const t of texts) {
      let words = s.words.get(t.call);
      if (words === undefined) {
        if (wanted.length < 300) wanted.push(t.call);
        words = name(s, t.call);
      }
      const left = Math.max(t.x, s.gutter) + (t.kind === 1 ? 14 : 4);
      const text = this.fit(ctx, words, Math.min(t.x + t.width, s.width) - left - 3);
      if (text === "") continue;
      const y = t.y + t.height / 2 + 0.5;
      if (t.kind === 2 || t.kind === 4) {
        ctx.fillStyle = c.paper;
        ctx.fillRect(left - 2, t.y + 2, ctx.measureText(text).width + 4, t.height - 3);
      }
      ctx.fillStyle = t.kind === 0 ? c.paper : t.kind === 4 ? c.faint : c.ink;
      ctx.fillText(text, left, y);
    }
    return wanted;
  }

  private gutter(ctx: Context, s: Scene, rows: Row[]): void {
    const c = s.colours;
    ctx.fillStyle = c.paper;
    ctx.fillRect(0, s.bodyTop, s.gutter, s.height);
    ctx.fillStyle = c.line;
    ctx.fillRect(s.gutter - 1, 0, 1, s.height);
    for (const row of rows) {
      const y = s.bodyTop + row.top - s.scroll;
      if (row.kind === "fold") {
        ctx.fillStyle = c.raised;
        ctx.fillRect(0, y, s.width, row.height - 1);
        this.write(ctx, `bold 11px ${c.sans}`);
        ctx.fillStyle = c.ink;
        ctx.fillText(this.fit(ctx, `${row.folded ? "▸" : "▾"} ${row.group} (${row.tracks})`, s.width - 12), 6, y + row.height / 2);
        continue;
      }
      this.write(ctx, `11px ${c.sans}`);
      ctx.fillStyle = c.ink;
      ctx.textAlign = "right";
      const text = row.kind === "track" ? row.track.name : s.lanes.names[row.lane];
      ctx.fillText(this.fit(ctx, text, s.gutter - 12), s.gutter - 6, y + Math.min(row.height, 22) / 2 + 0.5);
      if (row.kind === "lane") this.lines(ctx, s, row);
      ctx.textAlign = "left";
    }
  }

  /** What the lines about a machine are, where they are not its own. */
  private lines(ctx: Context, s: Scene, row: Row & { kind: "lane" }): void {
    s.machine(row.lane).forEach((track, line) => {
      const of = subject(track);
      if (track.name === of) return;
      const rest = track.name.startsWith(`${of} `) ? track.name.slice(of.length + 1) : track.name;
      ctx.fillStyle = s.colours.faint;
      ctx.fillText(this.fit(ctx, rest, s.gutter - 8), s.gutter - 6, s.bodyTop + s.line(row, line) - s.scroll + lineHeight / 2);
    });
  }

  private head(ctx: Context, s: Scene, ticks: axis.Tick[]): void {
    const c = s.colours;
    ctx.fillStyle = c.paper;
    ctx.fillRect(0, 0, s.width, s.bodyTop);
    ctx.fillStyle = c.faint;
    this.write(ctx, `11px ${c.sans}`);
    ctx.textAlign = "right";
    ctx.fillText("time", s.gutter - 6, axisHeight / 2);
    ctx.textAlign = "left";
    ctx.save();
    ctx.beginPath();
    ctx.rect(s.gutter, 0, s.plot, s.bodyTop);
    ctx.clip();
    for (const t of ticks) {
      const x = s.x(t.at);
      ctx.fillStyle = c.line;
      ctx.fillRect(crisp(x, s.dpr), 12, 1 / s.dpr, s.bodyTop);
      ctx.fillStyle = c.faint;
      ctx.fillText(t.text, x + 3, axisHeight / 2);
    }
    this.faults(ctx, s);
    s.strips.forEach((strip, i) => {
      const y = s.stripsTop + i * stripHeight;
      ctx.fillStyle = c.paper;
      ctx.fillRect(s.gutter, y, s.plot, stripHeight);
      for (const slice of strip.slices) this.slice(ctx, s, slice, y + 1, stripHeight - 2, 0.3);
    });
    this.anomalies(ctx, s);
    ctx.restore();
    ctx.fillStyle = c.ink;
    this.write(ctx, `11px ${c.sans}`);
    ctx.textAlign = "right";
    if (s.doc.anomalies.length > 0) ctx.fillText(this.fit(ctx, "anomalies", s.gutter - 8), s.gutter - 6, s.anomaliesTop + anomalyHeight / 2);
    if (s.faultRows > 0) ctx.fillText(this.fit(ctx, "faults", s.gutter - 8), s.gutter - 6, s.faultsTop + faultHeight / 2);
    s.strips.forEach((t, i) => ctx.fillText(this.fit(ctx, t.name, s.gutter - 8), s.gutter - 6, s.stripsTop + (i + 0.5) * stripHeight));
    ctx.textAlign = "left";
    ctx.fillStyle = c.line;
    ctx.fillRect(0, s.bodyTop - 1, s.width, 1);
  }

  private faults(ctx: Context, s: Scene): void {
    const shown = s.doc.faults.filter((f) => s.until(f.to) >= s.view.from && f.from <= s.view.to);
    this.write(ctx, `11px ${s.colours.sans}`);
    const places = shown.map((f) => {
      const at = Math.max(s.x(f.from), s.gutter);
      return { at, width: Math.min(Math.max(ctx.measureText(f.name).width + 12, 20), 180) };
    });
    const rows = stack(places, s.faultRows);
    shown.forEach((f, i) => {
      const { at, width } = places[i];
      const y = s.faultsTop + Math.max(rows[i], 0) * faultHeight;
      ctx.fillStyle = s.colours.faultLine;
      // Those that no row has room for have their line at least.
      ctx.fillRect(at, rows[i] < 0 ? s.stripsTop - 3 : y + 1, 2, rows[i] < 0 ? 3 : s.stripsTop - y - 1);
      if (rows[i] < 0) return;
      ctx.globalAlpha = 0.18;
      ctx.fillRect(at, y + 1, Math.max(Math.min(s.x(s.until(f.to)), s.width) - at, 2), faultHeight - 2);
      ctx.globalAlpha = 1;
      ctx.fillStyle = s.colours.ink;
      ctx.fillText(this.fit(ctx, f.name, width - 6), at + 5, y + faultHeight / 2 + 0.5);
    });
  }

  private anomalies(ctx: Context, s: Scene): void {
    const y = s.anomaliesTop;
    let last = -Infinity;
    s.doc.anomalies.forEach((a, i) => {
      const from = s.x(a.from), to = s.x(s.until(a.to));
      if (to < s.gutter || from > s.width) return;
      ctx.fillStyle = s.colours.mark;
      ctx.fillRect(from, y + anomalyHeight - 4, Math.max(to - from, 2), 3);
      const x = Math.min(Math.max((from + to) / 2, s.gutter + 7), s.width - 7);
      if (x - last < 12) return;
      last = x;
      ctx.beginPath();
      ctx.moveTo(x - 6, y + 2);
      ctx.lineTo(x + 6, y + 2);
      ctx.lineTo(x, y + anomalyHeight - 4);
      ctx.fill();
      this.write(ctx, `bold 11px ${s.colours.sans}`);
      ctx.fillText(String(i + 1), x + 8, y + 8);
    });
  }
}

/** Draws the cursor, what is selected and marked, and a range that is being chosen. */
export function drawOver(ctx: Context, s: Scene): void {
  const c = s.colours;
  ctx.setTransform(s.dpr, 0, 0, s.dpr, 0, 0);
  ctx.clearRect(0, 0, s.width, s.height);
  const outline = (call: number, colour: string, width: number): void => {
    const at = locate(s.lanes, s.of, call);
    if (!at) return;
    const row = s.lane(at.lane);
    const r = s.bar(row, at.position);
    const y = s.dense ? s.bodyTop + row.top - s.scroll + 1 : r.y - 1;
    const h = s.dense ? row.height - s.below - 2 : r.height + 2;
    if (r.x > s.width || r.x + r.width < s.gutter || y + h < s.bodyTop) return;
    for (const [style, thick] of [[c.paper, width + 3], [colour, width]] as const) {
      ctx.strokeStyle = style;
      ctx.lineWidth = thick;
      ctx.strokeRect(r.x - 2, y, r.width + 4, h);
    }
    if (r.width > 8) return;
    ctx.fillStyle = colour; // an arrow to what is too narrow to be seen
    ctx.beginPath();
    ctx.moveTo(r.x - 4, y - 6);
    ctx.lineTo(r.x + r.width + 4, y - 6);
    ctx.lineTo(r.x + r.width / 2, y - 1);
    ctx.fill();
  };
  ctx.save();
  ctx.beginPath();
  ctx.rect(s.gutter, s.bodyTop - 6, s.plot, s.height);
  ctx.clip();
  for (const m of s.marked) outline(m, c.mark, 2);
  if (s.selected >= 0) outline(s.selected, c.ink, 2);
  ctx.restore();
  if (s.brush) {
    const [a, b] = s.brush;
    ctx.fillStyle = c.select;
    ctx.globalAlpha = 0.18;
    ctx.fillRect(Math.min(a, b), axisHeight, Math.abs(b - a), s.height);
    ctx.globalAlpha = 1;
    ctx.fillRect(a, axisHeight, 1, s.height);
    ctx.fillRect(b, axisHeight, 1, s.height);
  }
  const t = s.view.cursor;
  if (t === null || t < s.view.from || t > s.view.to) return;
  const x = s.x(t);
  ctx.fillStyle = c.ink;
  ctx.globalAlpha = 0.5;
  ctx.fillRect(crisp(x, s.dpr), axisHeight, 1 / s.dpr, s.height);
  ctx.globalAlpha = 1;
  ctx.font = `11px ${c.sans}`;
  ctx.textBaseline = "middle";
  const text = axis.label(t, axis.step(s.view.to - s.view.from, s.plot), s.view.to);
  const width = ctx.measureText(text).width + 8;
  const left = Math.min(x, s.width - width);
  ctx.fillStyle = c.ink;
  ctx.fillRect(left, 2, width, axisHeight - 4);
  ctx.fillStyle = c.paper;
  ctx.fillText(text, left + 4, axisHeight / 2);
}

/** A call by what its columns say. */
export function name(s: Scene, call: number): string {
  const { ops } = s.data;
  const { functions, keys, errors } = s.doc.ops;
  const f = functions[ops.f[call]] ?? "?";
  const key = ops.key[call] >= 0 ? ` ${keys[ops.key[call]]}` : "";
  const ended = ops.outcome[call];
  const error = ops.error[call] >= 0 && (ended === Outcome.Fail || ended === Outcome.Info) ? `: ${errors[ops.error[call]]}` : "";
  return f + key + error;
}

function crisp(x: number, dpr: number): number {
  return Math.round(x * dpr) / dpr;
}
