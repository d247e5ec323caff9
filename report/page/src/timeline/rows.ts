// What lies where below the head of the timeline: tracks, by groups that fold, and lanes.

import type { Track } from "../document";
import { lower } from "./lanes";

export const foldHeight = 20, trackHeight = 18;

export type Row =
  | { kind: "fold"; top: number; height: number; group: string; tracks: number; folded: boolean }
  | { kind: "track"; top: number; height: number; track: Track }
  | { kind: "lane"; top: number; height: number; lane: number };

export interface Layout {
  extra: Row[];
  /** Where lanes begin, and the last ends. */
  tops: Float64Array;
  total: number;
}

/** How high a lane is, and each row in it. */
export function laneHeight(depth: number): number {
  return depth <= 1 ? 22 : depth * 14 + 4;
}

export function rowHeight(depth: number): number {
  return depth <= 1 ? 18 : 14;
}

/** Lays out rows: tracks first, those of folded groups left out; then lanes, each with some
 * room below its calls, those left out that are hidden. */
export function layout(tracks: Track[], folded: Set<string>, depth: ArrayLike<number>, room: number, shown: Uint8Array | null): Layout {
  const extra: Row[] = [];
  let top = 0;
  const groups = new Map<string, Track[]>();
  for (const t of tracks) groups.set(t.group, [...(groups.get(t.group) ?? []), t]);
  for (const [group, members] of groups) {
    extra.push({ kind: "fold", top, height: foldHeight, group, tracks: members.length, folded: folded.has(group) });
    top += foldHeight;
    if (folded.has(group)) continue;
    for (const track of members) {
      extra.push({ kind: "track", top, height: trackHeight, track });
      top += trackHeight;
    }
  }
  if (extra.length > 0) top += 6;
  const tops = new Float64Array(depth.length + 1);
  for (let l = 0; l < depth.length; l++) {
    tops[l] = top;
    if (!shown || shown[l]) top += laneHeight(depth[l]) + room;
  }
  tops[depth.length] = top;
  return { extra, tops, total: top };
}

/** The rows that a range of heights shows. */
export function visible(of: Layout, from: number, to: number): Row[] {
  const rows = of.extra.filter((r) => r.top < to && r.top + r.height > from);
  const lanes = of.tops.length - 1;
  for (let l = Math.max(0, lower(of.tops, from + 1e-6, 0, lanes + 1) - 1); l < lanes && of.tops[l] < to; l++) {
    const height = of.tops[l + 1] - of.tops[l];
    if (height > 0) rows.push({ kind: "lane", top: of.tops[l], height, lane: l });
  }
  return rows;
}

/** Puts labels of some widths, in order of their places, into rows in which they do not
 * overlap; -1 where all rows are taken. */
export function stack(places: { at: number; width: number }[], most: number): number[] {
  const free: number[] = new Array<number>(most).fill(-Infinity);
  return places.map(({ at, width }) => {
    const r = free.findIndex((f) => f <= at);
    if (r >= 0) free[r] = at + width;
    return r;
  });
}
