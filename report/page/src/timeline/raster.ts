// What a lane looks like where calls are denser than pixels: a column of pixels for all
// calls that touch its time. Each outcome has its place in the height of the lane besides
// its colour: info at the top, fail in the middle, ok and events at the bottom.

import type { Level } from "../document";
import type { LevelData } from "../data";
import { Outcome } from "../ops";
import { stretches, type Lanes } from "./lanes";

/** ok, fail, info, event, and what does not match. */
export const kinds = 5;
/** How many pixels a lane is high before it is stretched. */
export const units = 6;

/** The kind of each outcome. */
export const kindOf = new Uint8Array(8);
kindOf[Outcome.Fail] = 1;
kindOf[Outcome.Info] = kindOf[Outcome.Open] = 2;
kindOf[Outcome.Event] = 3;

/** What matches a search, by call, and whether the others are still drawn. */
export interface Filter { bits: Uint8Array; hide: boolean }

/** Counts the calls of a lane into columns of a range: for each kind, how many more there
 * are than in the column before. `into` has kinds * (columns + 1) numbers. */
export function count(lanes: Lanes, lane: number, from: number, to: number, columns: number, filter: Filter | null, into: Int32Array): void {
  const { start, end, outcome, call } = lanes;
  const scale = columns / (to - from);
  const stride = columns + 1;
  const bits = filter ? filter.bits : null;
  const hide = filter !== null && filter.hide;
  stretches(lanes, lane, from, to, (a, b) => {
    for (let p = a; p < b; p++) {
      const e = end[p];
      if (e < from) continue;
      let at = kindOf[outcome[p]] * stride;
      if (bits !== null && bits[call[p]] === 0) {
        if (hide) continue;
        at = 4 * stride;
      }
      const s = start[p];
      const x0 = s > from ? ((s - from) * scale) | 0 : 0;
      const x1 = e < to ? ((e - from) * scale) | 0 : columns - 1;
      into[at + (x0 < columns ? x0 : columns - 1)]++;
      into[at + (x1 < columns ? x1 : columns - 1) + 1]--;
    }
  });
}

const shadeOf = new Uint8Array(256);
for (let n = 1; n < 256; n++) shadeOf[n] = Math.min(15, Math.round(3 * Math.log2(n)));

/** Paints what was counted as pixels, columns wide and units high. */
export function paint(counted: Int32Array, columns: number, shades: Uint32Array, out: Uint32Array, at: number): void {
  const stride = columns + 1;
  let ok = 0, fail = 0, info = 0, event = 0, other = 0;
  for (let x = 0; x < columns; x++) {
    ok += counted[x];
    fail += counted[stride + x];
    info += counted[2 * stride + x];
    event += counted[3 * stride + x];
    other += counted[4 * stride + x];
    if ((ok | fail | info | event | other) === 0) continue;
    column(ok, fail, info, event, other, shades, out, at + x, columns);
  }
}

function column(ok: number, fail: number, info: number, event: number, other: number, shades: Uint32Array, out: Uint32Array, at: number, columns: number): void {
  // From the top: info, fail, and the rest for the others, of which ok comes first.
  const base = ok > 0 ? ok : event > 0 ? event : 0;
  const kind = ok > 0 ? 0 : event > 0 ? 3 : 4;
  const rest = base > 0 || (other > 0 && info + fail === 0);
  let i = 0, f = 0;
  if (info > 0) i = !rest && fail === 0 ? units : part(info, base, fail > 0);
  if (fail > 0) f = !rest ? units - i : part(fail, base, info > 0);
  const ci = shades[32 + shadeOf[info < 255 ? info : 255]];
  const cf = shades[16 + shadeOf[fail < 255 ? fail : 255]];
  const cb = base > 0 ? shades[kind * 16 + shadeOf[base < 255 ? base : 255]] : shades[64];
  for (let u = 0; u < units; u++) {
    out[at + u * columns] = u < i ? ci : u < i + f ? cf : cb;
  }
}

/** How much of the height something takes beside others: it is seen if it is one of a
 * thousand, and is never more than half. */
function part(n: number, base: number, three: boolean): number {
  if (n * 20 < base) return 1;
  return three || n <= base ? 2 : 3;
}

/** Paints a lane of a level into the columns of a range that lie in gaps: where no calls are
 * read. In a lane of events, all are such. Dim, it says only that there are some, since what is searched for cannot be told. */
export function paintLevel(level: Level, data: LevelData, lane: number, from: number, to: number, columns: number, gaps: [number, number][], dim: boolean, event: boolean, shades: Uint32Array, out: Uint32Array, at: number): void {
  const [ok, fail, info] = data.counts;
  const per = (to - from) / columns;
  for (const [a, b] of gaps) {
    const x0 = Math.max(0, Math.ceil((a - from) / per));
    const x1 = Math.min(columns, Math.ceil((b - from) / per));
    for (let x = x0; x < x1; x++) {
      // A pixel stands for all cells of the level that it covers.
      const c0 = Math.floor((from + x * per) / level.width);
      const c1 = Math.min(level.columns - 1, Math.max(c0, Math.ceil((from + (x + 1) * per) / level.width) - 1));
      let o = 0, f = 0, i = 0;
      for (let c = c0; c <= c1; c++) {
        const cell = lane * level.columns + c;
        if (ok[cell] > o) o = ok[cell];
        if (fail[cell] > f) f = fail[cell];
        if (info[cell] > i) i = info[cell];
      }
      if ((o | f | i) === 0) continue;
      if (dim) column(0, 0, 0, 0, 1, shades, out, at + x, columns);
      else if (event) column(0, 0, 0, calls[o] + calls[f] + calls[i], 0, shades, out, at + x, columns);
      else column(calls[o], calls[f], calls[i], 0, 0, shades, out, at + x, columns);
    }
  }
}

/** How many calls a byte of a level stands for: it is 8 times the logarithm of one more. */
const calls = Float64Array.from({ length: 256 }, (_, byte) => Math.round(2 ** (byte / 8) - 1));

/** Whether a lane of a level is of somebody who is no client. */
export function ofEvents(level: Level, lane: number): boolean {
  return level.by === "process" && (level.lanes[lane] === "nemesis" || level.lanes[lane] === "observer");
}

/** All clients of a level together, in so many columns: how many calls were ok, fail and
 * info, the most of the cells of a column. */
export function sum(level: Level, data: LevelData, duration: number, columns: number): Float64Array[] {
  return data.counts.map((counts) => {
    const made = new Float64Array(columns);
    for (let c = 0; c < level.columns; c++) {
      let n = 0;
      for (let lane = 0; lane < level.lanes.length; lane++) {
        if (ofEvents(level, lane)) continue;
        n += calls[counts[lane * level.columns + c]];
      }
      if (n === 0) continue;
      const x0 = Math.floor(c * level.width / duration * columns);
      const x1 = Math.max(x0, Math.ceil((c + 1) * level.width / duration * columns) - 1);
      for (let x = x0; x <= x1 && x < columns; x++) made[x] = Math.max(made[x], n);
    }
    return made;
  });
}
