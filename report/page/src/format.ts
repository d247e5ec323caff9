// Times and numbers as people read them. What is said of microseconds holds for the times of a
// counter, too, which are written as they are: in nanoseconds.

import type { Document } from "./document";
import { counted } from "./unit";

/** How long something took: three digits, and the unit that suits it. */
export function span(us: number): string {
  if (counted()) return nanos(us);
  const a = Math.abs(us);
  if (a < 1000) return `${digits(us)} µs`;
  if (a < 999_500) return `${digits(us / 1000)} ms`;
  if (a < 119.5e6) return `${digits(us / 1e6)} s`;
  const s = Math.round(a / 1e6);
  return `${us < 0 ? "-" : ""}${Math.floor(s / 60)} min ${s % 60} s`;
}

function nanos(ns: number): string {
  return `${count(Math.round(ns))} ns`;
}

/** As span, but a dash for what there is not. */
export function spanOrNone(us: number): string {
  return us < 0 ? "–" : span(us);
}

/** How long was waited for something; what nobody waited for has a dash. */
export function waited(us: number): string {
  return us === -1 ? "not seen" : spanOrNone(us);
}

/** A moment of the run, in seconds, to the microsecond. */
export function exact(us: number): string {
  return counted() ? String(us) : (us / 1e6).toFixed(6);
}

/** What the numbers of exact are of. */
export function exactUnit(): string {
  return counted() ? "ns" : "s";
}

/** A moment as exact as it is known, with its unit. */
export function instant(us: number): string {
  return counted() ? nanos(us) : `${exact(us)} s`;
}

/** A moment of the run, in seconds. */
export function moment(us: number): string {
  if (counted()) return nanos(us);
  return `${(us / 1e6).toFixed(3)} s`;
}

/** A moment, or a question mark for the end of what did not end. */
export function momentOrOpen(us: number): string {
  return us < 0 ? "not healed" : moment(us);
}

export function count(n: number): string {
  return n.toLocaleString("en-US");
}

/** How many calls the page is about: operations of clients, and beside them events and faults. */
export function calls(doc: Document): string {
  const clients = doc.functions.reduce((n, f) => n + f.ok + f.fail + f.info, 0);
  return doc.ops.calls === clients ? plural(clients, "operation") : plural(doc.ops.calls, "operation or event", "operations and events");
}

/** "1 fault", "2 faults". */
export function plural(n: number, one: string, many = one + "s"): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** A value of a chart, with its unit. */
export function quantity(v: number, unit: string): string {
  switch (unit) {
    case "µs": return span(v);
    case "B/s": case "B": return scaled(v, unit, 1000);
    case "%": return `${digits(v)} %`;
  }
  return `${Math.abs(v) < 1e4 ? digits(v) : count(Math.round(v))}${unit ? " " + unit : ""}`;
}

/** A value on an axis: shorter, since its neighbours say the rest. */
export function tick(v: number, unit: string): string {
  if (unit === "µs") {
    if (v === 0) return "0";
    return Math.abs(v) >= 60e6 ? `${digits(v / 1e6)} s` : span(v);
  }
  if (unit === "B/s" || unit === "B") return scaled(v, unit, 1000);
  if (unit === "%") return `${digits(v)} %`;
  return Math.abs(v) >= 1e4 ? `${digits(v / 1000)}k` : digits(v);
}

function scaled(v: number, unit: string, by: number): string {
  for (const prefix of ["", "k", "M", "G"]) {
    if (Math.abs(v) < by || prefix === "G") return `${digits(v)} ${prefix}${unit}`;
    v /= by;
  }
  return "";
}

/** Three digits, without zeros that say nothing. */
function digits(v: number): string {
  const a = Math.abs(v);
  if (a >= 100 || v === 0) return String(Math.round(v));
  return String(parseFloat(v.toPrecision(3)));
}
