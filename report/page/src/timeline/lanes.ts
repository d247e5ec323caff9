// The calls of a history lane by lane, each lane by its starts, with what it takes to find
// those of a range at once, those too that began long before it.

import { Outcome, type Ops } from "../ops";

/** How calls are put into lanes. */
export type By = "process" | "key" | "node" | "machine";

/** Calls that overlap in a lane lie in rows of it, of which there are at most so many. */
export const deepest = 10;

const chunk = 256;

export interface Lanes {
  by: By;
  names: string[];
  /** Where lanes begin in what follows; one more than there are lanes. */
  first: Int32Array;
  /** By position: which call, and its columns once more, as they are read in this order. */
  call: Int32Array;
  start: Float64Array;
  end: Float64Array;
  /** As it is drawn: all that is not of clients is an event. */
  outcome: Uint8Array;
  /** The row within the lane. */
  row: Uint8Array;
  /** How many rows a lane has. */
  depth: Uint8Array;
  /** The last end in each chunk of positions. */
  lasts: Float64Array;
  /** How many calls there were when this was made. */
  calls: number;
}

/** Which lane a call is in, and what lanes are called. */
export interface Grouping {
  names: string[];
  lane(call: number): number;
  /** By process: the row that each lane is. */
  rows?: number[];
}

/** The lanes there are: first those that the whole run is known to have, so that they stay
 * where they are while calls are read, and then those that calls ask for. Of machines, `about`
 * says which a key is about; one that is about several has a lane of its own. */
export function grouping(by: By, ops: Ops, known: string[], tables: { keys: string[]; nodes: string[] }, about: Map<string, string[]>): Grouping {
  const names = [...known];
  if (by === "process") {
    // Rows are lanes. Who is in them first gives them their names.
    for (let i = 0, left = ops.rows - names.length; i < ops.length && left > 0; i++) {
      if (names[ops.row[i]] !== undefined) continue;
      names[ops.row[i]] = who(ops.process[i]);
      left--;
    }
    for (let r = 0; r < Math.max(ops.rows, names.length); r++) names[r] ??= String(r);
    const rank = (name: string): number => /^\d+$/.test(name) ? Number(name) : -1; // those that are no clients first
    const rows = names.map((_, r) => r).sort((a, b) => rank(names[a]) - rank(names[b]) || a - b);
    const lane = new Int32Array(rows.length);
    rows.forEach((row, l) => { lane[row] = l; });
    return { names: rows.map((r) => names[r]), rows, lane: (c) => lane[ops.row[c]] };
  }
  const at = new Map(names.map((n, i) => [n, i]));
  const lane = (name: string): number => {
    let i = at.get(name);
    if (i === undefined) {
      i = names.length;
      names.push(name);
      at.set(name, i);
    }
    return i;
  };
  // A number of a table is a lane once it is met.
  const met = (size: number, name: (n: number) => string): ((n: number) => number) => {
    const lanes = new Int32Array(size + 1).fill(-1);
    return (n) => {
      if (lanes[n + 1] < 0) lanes[n + 1] = lane(name(n));
      return lanes[n + 1];
    };
  };
  if (by === "node") {
    const node = met(tables.nodes.length, (n) => n < 0 ? "no node" : tables.nodes[n]);
    return { names, lane: (c) => node(ops.node[c]) };
  }
  const key = met(tables.keys.length, (n) => {
    if (by === "machine") return about.get(tables.keys[n])?.join(", ") ?? "other";
    return n < 0 ? "no key" : tables.keys[n];
  });
  return { names, lane: (c) => key(ops.key[c]) };
}

/** What a process is called. */
export function who(process: number): string {
  return process === -1 ? "nemesis" : process === -2 ? "observer" : String(process);
}

/** Puts the calls that are read into lanes. A call of which no completion is read ends with
 * the first gap behind its begin, in which it may have completed; with none, at the end. */
export function arrange(by: By, ops: Ops, of: Grouping, gaps: [number, number][]): Lanes {
  const n = ops.length;
  const lane = new Int32Array(n);
  const sizes: number[] = [];
  for (let i = 0; i < n; i++) {
    const l = of.lane(i);
    lane[i] = l;
    sizes[l] = (sizes[l] ?? 0) + 1;
  }
  const first = new Int32Array(of.names.length + 1);
  for (let l = 0; l < of.names.length; l++) first[l + 1] = first[l] + (sizes[l] ?? 0);
  const next = first.slice();
  const made: Lanes = {
    by, names: of.names, first, calls: n,
    call: new Int32Array(n), start: new Float64Array(n), end: new Float64Array(n),
    outcome: new Uint8Array(n), row: new Uint8Array(n), depth: new Uint8Array(of.names.length).fill(1),
    lasts: new Float64Array(Math.ceil(n / chunk)).fill(-1),
  };
  for (let i = 0; i < n; i++) {
    const p = next[lane[i]]++;
    made.call[p] = i;
    made.start[p] = ops.start[i];
    let end = ops.end[i];
    if (ops.outcome[i] === Outcome.Open) end = Math.min(end, gaps.find(([, to]) => to > ops.start[i])?.[1] ?? end);
    made.end[p] = end;
    // What the nemesis does is info whatever comes of it, which says nothing.
    made.outcome[p] = ops.process[i] < 0 ? Outcome.Event : ops.outcome[i];
    if (end > made.lasts[p >> 8]) made.lasts[p >> 8] = end;
  }
  for (let l = 0; l < of.names.length; l++) {
    made.depth[l] = pack(made.start, made.end, first[l], first[l + 1], made.row);
  }
  return made;
}

/** Gives each of some spans, which are sorted by their starts, the first row that is free
 * then; and the row that is free first if all that there may be are taken. Says how many
 * rows that took. */
export function pack(start: ArrayLike<number>, end: ArrayLike<number>, from: number, to: number, row: Uint8Array | number[], most = deepest): number {
  const free: number[] = [];
  for (let p = from; p < to; p++) {
    let r = 0;
    while (r < free.length && free[r] > start[p]) r++;
    if (r === free.length && r >= most) {
      r = 0;
      for (let k = 1; k < most; k++) if (free[k] < free[r]) r = k;
    }
    row[p] = r;
    free[r] = Math.max(end[p], free[r] ?? 0);
  }
  return Math.max(free.length, 1);
}

/** The first position of [from, to) whose value is not below x; to if there is none. */
export function lower(values: ArrayLike<number>, x: number, from: number, to: number): number {
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (values[middle] < x) from = middle + 1;
    else to = middle;
  }
  return from;
}

/** Calls back for stretches of positions [a, b) of a lane which hold all calls that touch a
 * range, and few others: who began before it is skipped a chunk at a time. */
export function stretches(lanes: Lanes, lane: number, from: number, to: number, each: (a: number, b: number) => void): void {
  const begin = lanes.first[lane];
  const within = lower(lanes.start, from, begin, lanes.first[lane + 1]);
  const stop = lower(lanes.start, to, within, lanes.first[lane + 1]);
  let a = begin;
  while (a < within) {
    const b = Math.min((a & ~(chunk - 1)) + chunk, within);
    if (lanes.lasts[a >> 8] >= from) each(a, b);
    a = b;
  }
  if (within < stop) each(within, stop);
}

/** How many calls begin in a range of a lane: about how many touch it. */
export function amount(lanes: Lanes, lane: number, from: number, to: number): number {
  const a = lower(lanes.start, from, lanes.first[lane], lanes.first[lane + 1]);
  return lower(lanes.start, to, a, lanes.first[lane + 1]) - a;
}

/** Where a call is in the lanes: its lane and its position. */
export function locate(lanes: Lanes, of: Grouping, call: number): { lane: number; position: number } | null {
  if (call >= lanes.calls) return null;
  const lane = of.lane(call);
  return { lane, position: lower(lanes.call, call, lanes.first[lane], lanes.first[lane + 1]) };
}

/** The outcomes that pictures tell apart, and what they are called. */
export const outcomes: Record<number, string> = {
  [Outcome.OK]: "ok", [Outcome.Fail]: "fail", [Outcome.Info]: "info", [Outcome.Event]: "event", [Outcome.Open]: "no completion",
};
