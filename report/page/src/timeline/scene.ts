// What the pictures of the timeline are drawn from, and which part of it lies where.

import { instant, span } from "../format";
import type { Data } from "../data";
import type { Document, Fault, Level, Slice, Track } from "../document";
import type { View } from "../view";
import { arrange, grouping, stretches, type By, type Grouping, type Lanes } from "./lanes";
import type { Palette } from "./colours";
import { ofEvents, type Filter } from "./raster";
import { laneHeight, layout, rowHeight, stack, visible, type Layout, type Row } from "./rows";

/** What levels call the lane of all that they have no lane for. */
const others = "(others)";

/** How high a line about a machine is. */
export const lineHeight = 14;

export const axisHeight = 20, anomalyHeight = 18, faultHeight = 15, stripHeight = 16;

/** What lies at a point. */
export type Hit =
  | { kind: "call"; call: number; more: number }
  | { kind: "slice"; slice: Slice; track: Track }
  | { kind: "fold"; group: string }
  | { kind: "label"; row: Row }
  | { kind: "anomaly"; anomaly: number }
  | { kind: "fault"; faults: Fault[] }
  | { kind: "gap" };

export class Scene {
  by: By = "process";
  lanes!: Lanes;
  of!: Grouping;
  layout!: Layout;
  level: { level: Level; data: number; lane: Int32Array } | null = null;
  /** Where no calls are read, or can be. */
  gaps: [number, number][] = [];
  filter: Filter | null = null;
  folded = new Set<string>();
  /** The size of the picture and how far its rows are scrolled, in CSS pixels. */
  width = 300;
  height = 300;
  scroll = 0;
  dpr = 1;
  /** Whether levels are there, and whether all calls that the page holds are read. */
  drawable = false;
  finished = false;
  /** Whether calls were drawn as columns of pixels last. */
  dense = true;
  colours!: Palette;
  /** The call that is selected, and those that are marked; -1: none. */
  selected = -1;
  marked: number[] = [];
  /** A range that is being chosen, in pixels. */
  brush: [number, number] | null = null;
  /** What calls did in words, as far as it is known. */
  readonly words = new Map<number, string>();
  /** Labels of faults lie in rows, so many. */
  readonly faultRows: number;
  readonly strips: Track[];
  readonly tracks: Track[];
  /** What was told of each machine: its guests, as a rule, and behind them what others knew. */
  private readonly machines = new Map<string, Track[]>();
  private readonly lines: number; // of the machine of which the most was told
  /** The machines that keys are about. */
  private readonly about = new Map<string, string[]>();
  private readonly classes = new Map<string, number>();

  constructor(readonly doc: Document, readonly data: Data, readonly view: View) {
    this.strips = doc.strips.slice(0, 6);
    this.tracks = [...doc.strips.slice(6), ...doc.tracks];
    const rows = stack(doc.faults.map((f) => ({ at: f.from, width: Math.max(view.duration / 8, 1) })), 3);
    this.faultRows = doc.faults.length === 0 ? 0 : rows.includes(-1) ? 3 : Math.max(...rows) + 1;
    for (const t of [...doc.strips, ...doc.tracks]) {
      for (const s of t.slices) if (!this.classes.has(s.class)) this.classes.set(s.class, this.classes.size);
    }
    for (const t of this.tracks) {
      if (t.group !== "machines") continue;
      const machine = subject(t);
      this.machines.set(machine, [...(this.machines.get(machine) ?? []), t]);
      for (const key of [machine, ...(t.keys ?? [])]) {
        const others = this.about.get(key) ?? [];
        if (!others.includes(machine)) this.about.set(key, [...others, machine]);
      }
    }
    this.lines = Math.max(1, ...[...this.machines.values()].map((tracks) => tracks.length));
    this.arrange(this.by);
  }

  /** Puts all calls that are read by now into lanes, and lays them out. */
  arrange(by: By): void {
    this.by = by;
    const { ops, levels } = this.data;
    const index = this.doc.ops;
    const n = index.levels.findIndex((l) => l.by === by); // none counts by machines
    this.gaps = this.missing();
    // A level has a last lane for all that it has no lane for, which calls have.
    let inLevel = n >= 0 ? index.levels[n].lanes : [];
    const rest = inLevel.at(-1) === others;
    if (rest) inLevel = inLevel.slice(0, -1);
    // Of the processes of a row, the first gives it its name.
    const first = by === "process" ? inLevel.map((name) => name.split(", ")[0]) : inLevel;
    this.of = grouping(by, ops, by === "machine" ? [...this.machines.keys()] : first, index, this.about);
    if (rest && this.gaps.length > 0) this.of.names.push(others);
    this.lanes = arrange(by, ops, this.of, this.gaps);
    this.level = null;
    if (this.drawable && n >= 0 && n < levels.length) {
      const at = new Map(index.levels[n].lanes.map((name, i) => [name, i]));
      const lane = (name: string, i: number): number => {
        const known = this.of.rows ? this.of.rows[i] : i;
        return known !== undefined && known < inLevel.length ? known : at.get(name) ?? -1;
      };
      this.level = { level: index.levels[n], data: n, lane: Int32Array.from(this.of.names, lane) };
    }
    this.lay();
  }

  /** Lays the rows out again. */
  lay(): void {
    // Of machines the rows above the lanes are those of others: each has its own behind its ops.
    const tracks = this.by === "machine" ? this.tracks.filter((t) => t.group !== "machines") : this.tracks;
    this.layout = layout(tracks, this.folded, this.lanes.depth, this.below, this.shownLanes());
  }

  private shownLanes(): Uint8Array | null {
    if (!this.filter || !this.filter.hide) return null;
    const { call, first, names } = this.lanes;
    const shown = new Uint8Array(names.length);
    for (let l = 0; l < names.length; l++) {
      for (let p = first[l]; p < first[l + 1]; p++) {
        if (this.filter.bits[call[p]] === 1) {
          shown[l] = 1;
          break;
        }
      }
    }
    return shown;
  }

  /** The times of which no calls are read yet, or ever. */
  private missing(): [number, number][] {
    const blocks = this.doc.ops.blocks;
    const end = Math.max(this.view.duration, 1);
    const read = this.data.ops.length > 0 ? this.data.ops.start[this.data.ops.length - 1] : -1;
    const made: [number, number][] = [];
    blocks.forEach((b, i) => {
      const to = i + 1 < blocks.length ? blocks[i + 1].from : end;
      const from = i === 0 ? 0 : b.from;
      if (b.core === 0) made.push([from, to]);
      else if (!this.finished && to > read) made.push([Math.max(from, read), to]);
    });
    return made;
  }

  /** Whether the completion of a call may be where no ops are read: then it is not known
   * whether it has one. */
  mayHaveCompleted(call: number): boolean {
    const start = this.data.ops.start[call];
    return this.data.ops.complete[call] < 0 && this.gaps.some(([, to]) => to > start);
  }

  get gutter(): number { return this.width < 560 ? 58 : 104; }
  /** The room below the calls of a lane, for what was told of a machine, a line each. */
  get below(): number { return this.by === "machine" ? this.lines * lineHeight : 0; }
  get anomaliesTop(): number { return axisHeight; }
  get faultsTop(): number { return axisHeight + (this.doc.anomalies.length > 0 ? anomalyHeight : 0); }
  get stripsTop(): number { return this.faultsTop + this.faultRows * faultHeight; }
  get bodyTop(): number { return this.stripsTop + this.strips.length * stripHeight + 2; }
  get plot(): number { return Math.max(this.width - this.gutter, 1); }

  x(t: number): number {
    return this.gutter + (t - this.view.from) / (this.view.to - this.view.from) * this.plot;
  }

  time(x: number): number {
    return this.view.from + (x - this.gutter) / this.plot * (this.view.to - this.view.from);
  }

  /** The end of something that may have none. */
  until(to: number): number {
    return to < 0 ? Math.max(this.view.duration, 1) : to;
  }

  series(of: string): string {
    return this.colours.series[(this.classes.get(of) ?? 0) % this.colours.series.length];
  }

  rows(): Row[] {
    return visible(this.layout, this.scroll, this.scroll + this.height - this.bodyTop);
  }

  /** Where the bar of a position lies, without regard to what is visible. */
  bar(row: Row & { kind: "lane" }, position: number): { x: number; y: number; width: number; height: number } {
    const { start, end, row: rows, depth } = this.lanes;
    const x = Math.max(this.x(start[position]), this.gutter - 2);
    const to = Math.min(this.x(end[position]), this.width + 2);
    const d = depth[row.lane];
    const y = this.bodyTop + row.top - this.scroll + 2 + rows[position] * rowHeight(d);
    return { x, y, width: Math.max(to - x, 1.5), height: rowHeight(d) - (d > 1 ? 2 : 0) };
  }

  lane(lane: number): Row & { kind: "lane" } {
    return { kind: "lane", lane, top: this.layout.tops[lane], height: laneHeight(this.lanes.depth[lane]) + this.below };
  }

  /** What was told of the machine that a lane is of. The first is drawn behind its calls, too. */
  machine(lane: number): Track[] {
    return this.by === "machine" ? this.machines.get(this.lanes.names[lane]) ?? [] : [];
  }

  /** Where a line about a machine begins, in a row at a height. */
  line(row: Row & { kind: "lane" }, line: number): number {
    return row.top + row.height - this.below + line * lineHeight;
  }

  /** Whether a lane of the level has nothing but events. */
  ofEvents(level: Level, lane: number): boolean {
    return level.by === "key" ? this.machines.has(level.lanes[lane]) : ofEvents(level, lane);
  }

  /** What lies at a point of the picture, the nearest first. */
  at(x: number, y: number): Hit | null {
    const t = this.time(x);
    if (y < this.bodyTop) {
      if (x < this.gutter) return null;
      if (this.doc.anomalies.length > 0 && y >= this.anomaliesTop && y < this.anomaliesTop + anomalyHeight) {
        let best = -1, distance = 12;
        this.doc.anomalies.forEach((a, i) => {
          const d = Math.abs(this.x((a.from + this.until(a.to)) / 2) - x);
          if (d < distance) [best, distance] = [i, d];
        });
        if (best >= 0) return { kind: "anomaly", anomaly: best };
      }
      const strip = Math.floor((y - this.stripsTop) / stripHeight);
      if (strip >= 0 && strip < this.strips.length) return this.sliceAt(this.strips[strip], t);
      return this.faultsAt(t);
    }
    const down = y - this.bodyTop + this.scroll;
    const row = visible(this.layout, down, down + 1).find((r) => r.top <= down && down < r.top + r.height);
    if (!row) return x < this.gutter ? null : this.faultsAt(t);
    if (row.kind === "fold") return { kind: "fold", group: row.group };
    if (x < this.gutter) return { kind: "label", row };
    if (row.kind === "track") return this.sliceAt(row.track, t) ?? this.faultsAt(t);
    const machine = this.machine(row.lane);
    const line = machine.findIndex((_, i) => down >= this.line(row, i) && down < this.line(row, i + 1));
    if (line >= 0) return this.sliceAt(machine[line], t) ?? this.faultsAt(t);
    const call = this.callAt(row, x, y);
    if (call) return call;
    const slice = machine.length > 0 ? this.sliceAt(machine[0], t) : null;
    if (slice) return slice;
    if (this.gaps.some(([a, b]) => t >= a && t < b)) return { kind: "gap" };
    return this.faultsAt(t);
  }

  private sliceAt(track: Track, t: number): Hit | null {
    const slack = (this.view.to - this.view.from) / this.plot * 2;
    for (let i = track.slices.length - 1; i >= 0; i--) {
      const s = track.slices[i];
      if (s.from - slack <= t && t <= this.until(s.to) + slack) return { kind: "slice", slice: s, track };
    }
    return null;
  }

  private faultsAt(t: number): Hit | null {
    const slack = (this.view.to - this.view.from) / this.plot * 2;
    const faults = this.doc.faults.filter((f) => f.from - slack <= t && t <= this.until(f.to) + slack);
    return faults.length > 0 ? { kind: "fault", faults } : null;
  }

  private callAt(row: Row & { kind: "lane" }, x: number, y: number): Hit | null {
    const slack = (this.view.to - this.view.from) / this.plot * 3;
    const from = this.time(x) - slack, to = this.time(x) + slack, middle = this.time(x);
    const { start, end, call } = this.lanes;
    let best = -1, least = Infinity, more = -1;
    stretches(this.lanes, row.lane, from, to, (a, b) => {
      for (let p = a; p < b; p++) {
        if (end[p] < from || start[p] > to) continue;
        if (this.filter && this.filter.bits[call[p]] === 0 && this.filter.hide) continue;
        more++;
        const bar = this.bar(row, p);
        const above = this.dense ? 0 : Math.max(0, bar.y - y, y - bar.y - bar.height);
        const beside = Math.max(0, start[p] - middle, middle - end[p]) / slack * 3;
        const far = above * 4 + beside + (this.filter && this.filter.bits[call[p]] === 0 ? 2 : 0);
        if (far < least) [best, least] = [p, far];
      }
    });
    return best < 0 ? null : { kind: "call", call: call[best], more };
  }
}

/** What a track tells of. */
export function subject(t: Track): string {
  return t.subject ?? t.name;
}

/** A fault in words. */
export function faultText(f: Fault): string {
  const nodes = f.nodes && f.nodes.length > 0 ? ` on ${f.nodes.join(", ")}` : "";
  const until = f.failed && f.to === f.from ? "" : f.to < 0 ? "not healed" : `to ${instant(f.to)} (${span(f.to - f.from)})`;
  const lines = [`${f.what || f.name}${nodes}`, `${instant(f.from)} ${until}`.trim()];
  if (f.evidence) lines.push(f.evidence);
  if (!f.acted) lines.push("It is not known to have done anything.");
  if (f.failed) lines.push(`It failed: ${f.failed}`);
  lines.push(`while it held: ${f.ok} ok, ${f.fail} fail, ${f.info} info`);
  if (f.recovery >= 0) lines.push(`recovered ${span(f.recovery)} after its end`);
  return lines.join("\n");
}
