// Times as people read and write them, and where an axis has its ticks. All times are
// microseconds, or those of a counter, which are written as they are: in nanoseconds.

import { span } from "../format";
import { counted } from "../unit";

export interface Tick { at: number; text: string }

const ms = 1e3, s = 1e6, min = 60 * s, hour = 60 * min;
// Steps of an axis above a second; below, they are 1, 2 and 5 of powers of ten.
const steps = [1, 2, 5, 10, 15, 30].map((n) => n * s)
  .concat([1, 2, 5, 10, 15, 30].map((n) => n * min), [1, 2, 3, 6, 12, 24].map((n) => n * hour));

/** The smallest good step of which at most `most` fit into a width. */
export function step(width: number, most: number): number {
  const least = width / Math.max(most, 1);
  if (least > s) {
    for (const c of steps) if (c >= least) return c;
    return Math.ceil(least / (24 * hour)) * 24 * hour;
  }
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  for (const n of [1, 2, 5, 10]) if (n * power >= least) return n * power;
  return 10 * power;
}

/** Ticks within a range, at most about `most`. */
export function ticks(from: number, to: number, most: number): Tick[] {
  const by = step(to - from, most);
  const made: Tick[] = [];
  for (let n = Math.ceil(from / by); n * by <= to; n++) made.push({ at: n * by, text: label(n * by, by, to) });
  return made;
}

/** A time as exact as a step asks for, in the unit that fits the end of what is shown. */
export function label(t: number, by: number, to: number): string {
  if (t === 0) return "0";
  if (counted()) return span(t);
  if (to < ms) return `${t} µs`;
  if (to < s) return `${(t / ms).toFixed(digits(by, ms))} ms`;
  if (to < 2 * min) return `${(t / s).toFixed(digits(by, s))} s`;
  const minutes = Math.floor(t / min);
  const seconds = (t - minutes * min) / s;
  if (by >= min && to >= 2 * hour) return `${Math.floor(minutes / 60)} h ${minutes % 60}`;
  const d = digits(by, s);
  return `${minutes}:${seconds.toFixed(d).padStart(d > 0 ? 3 + d : 2, "0")} min`;
}

function digits(by: number, unit: number): number {
  return Math.max(0, Math.ceil(Math.log10(unit) - Math.log10(by) - 1e-9));
}

const units: Record<string, number> = { us: 1, "µs": 1, "μs": 1, ms, s, "": s, m: min, min, h: hour };

/** What somebody wrote as a time: 3.2s, 400ms, 2min, 1:30.5; of no unit, seconds. That of a
 * counter is a number, which may stand before ns. */
export function parse(text: string): number | null {
  if (counted()) {
    const number = /^(\d+)\s*(ns)?$/.exec(text);
    return number ? Number(number[1]) : null;
  }
  const clock = /^(\d+):(\d{1,2}(?:\.\d+)?)$/.exec(text);
  if (clock) return Math.round(Number(clock[1]) * min + Number(clock[2]) * s);
  const plain = /^(\d+(?:\.\d+)?|\.\d+)\s*(us|µs|μs|ms|s|m|min|h|)$/.exec(text);
  if (!plain) return null;
  return Math.round(Number(plain[1]) * units[plain[2]]);
}
