// What is searched for: terms such as f:write key:k2 node:n1 outcome:info process:3
// error:timeout 3.2s..4s, each of which - in front turns into its opposite, and words.

import type { Index } from "../document";
import { Outcome, type Ops } from "../ops";
import { parse as time } from "./axis";

export type Field = "f" | "key" | "node" | "outcome" | "process" | "error";

export interface Term { field: Field; value: string; not: boolean }

export interface Query {
  terms: Term[];
  words: { text: string; not: boolean }[];
  from: number | null;
  to: number | null;
  /** What could not be understood, in words. */
  problems: string[];
}

const names = new Map<string, Field>(Object.entries({
  f: "f", function: "f", key: "key", k: "key", node: "node", n: "node", outcome: "outcome", type: "outcome",
  process: "process", p: "process", error: "error", e: "error",
}));
const ends = new Map<string, number[]>(Object.entries({
  ok: [Outcome.OK], fail: [Outcome.Fail], info: [Outcome.Info, Outcome.Open], event: [Outcome.Event], open: [Outcome.Open],
}));

/** Reads a query. Nothing is an error: what is no term is a word. */
export function parse(text: string): Query {
  const q: Query = { terms: [], words: [], from: null, to: null, problems: [] };
  for (const m of text.matchAll(/(-?)(?:(\w+):)?(?:"([^"\\]*(?:\\.[^"\\]*)*)"?|(\S+))/gs)) {
    const not = m[1] === "-";
    const value = m[3]?.replace(/\\(.)/gs, "$1") ?? m[4];
    if (m[2] !== undefined) {
      const field = names.get(m[2].toLowerCase());
      if (field) q.terms.push({ field, value, not });
      else if (/^\d+$/.test(m[2]) && range(q, `${m[2]}:${value}`)) continue; // 1:30..2:00
      else q.words.push({ text: `${m[2]}:${value}`.toLowerCase(), not });
    } else if (m[3] === undefined && value.includes("..") && range(q, value)) {
      continue;
    } else if (value !== "") {
      q.words.push({ text: value.toLowerCase(), not });
    }
  }
  return q;
}

function range(q: Query, value: string): boolean {
  const parts = value.split("..");
  if (parts.length !== 2) return false;
  const [from, to] = parts.map((p) => p === "" ? null : time(p));
  if ((from === null && parts[0] !== "") || (to === null && parts[1] !== "")) return false;
  q.from = from;
  q.to = to;
  return true;
}

export function empty(q: Query): boolean {
  return q.terms.length === 0 && q.words.length === 0 && q.from === null && q.to === null;
}

/** A term as it is written: within quotes, a quote and a backslash have a backslash in front. */
export function written(field: Field, value: string): string {
  return value === "" || /[\s"]/.test(value) ? `${field}:"${value.replace(/["\\]/g, "\\$&")}"` : `${field}:${value}`;
}

/** Puts a term into a query's text, or takes it out if it is there. */
export function toggled(text: string, term: string): string {
  const parts: string[] = text.match(/[^\s"]*"[^"\\]*(?:\\.[^"\\]*)*"?|\S+/gs) ?? [];
  return (parts.includes(term) ? parts.filter((p) => p !== term) : [...parts, term]).join(" ");
}

export interface Found {
  /** 1 for each call that matches. */
  bits: Uint8Array;
  count: number;
}

/** A set of the numbers of a table; number -1 is at 0. */
function marked(table: string[], is: (name: string) => boolean): Uint8Array {
  const made = new Uint8Array(table.length + 1);
  table.forEach((name, i) => { if (is(name)) made[i + 1] = 1; });
  return made;
}

/** Whether a name is what a term says: the same, or, with a * at its end, begins so. */
function same(value: string): (name: string) => boolean {
  if (value.endsWith("*")) return (name) => name.startsWith(value.slice(0, -1));
  return (name) => name === value;
}

/** The calls that a query is about, by what their columns say. Words are looked for in
 * functions, keys, nodes and errors: `maybe` has those calls that lack a word there, but
 * pass in all else, and so may match by what is in their values. */
export function find(q: Query, ops: Ops, index: Index): Found & { maybe: Uint8Array | null } {
  const n = ops.length;
  const bits = new Uint8Array(n).fill(1);
  const tables: Record<"f" | "key" | "node" | "error", [string[], ArrayLike<number>]> = {
    f: [index.functions, ops.f], key: [index.keys, ops.key], node: [index.nodes, ops.node], error: [index.errors, ops.error],
  };
  // Terms of one field that are not negated are alternatives.
  const asked = new Map<Field, Term[]>();
  for (const t of q.terms) if (!t.not) asked.set(t.field, [...(asked.get(t.field) ?? []), t]);
  const groups = [...asked.values(), ...q.terms.filter((t) => t.not).map((t) => [t])];
  for (const terms of groups) {
    const { field, not } = terms[0];
    const keep = not ? 0 : 1;
    if (field === "outcome") {
      const set = new Uint8Array(8);
      for (const t of terms) {
        const known = ends.get(t.value.toLowerCase());
        if (!known) q.problems.push(`no outcome is called ${t.value}: ok, fail, info, event, open`);
        for (const o of known ?? []) set[o] = 1;
      }
      const column = ops.outcome;
      for (let i = 0; i < n; i++) if (set[column[i]] !== keep) bits[i] = 0;
      continue;
    }
    if (field === "process") {
      const set = new Set(terms.map((t) => t.value === "nemesis" ? -1 : t.value === "observer" ? -2 : Number(t.value)));
      if (set.has(NaN)) q.problems.push("a process is a number, nemesis or observer");
      const one = set.size === 1 ? [...set][0] : null;
      const column = ops.process;
      for (let i = 0; i < n; i++) if ((one === null ? set.has(column[i]) : column[i] === one) === not) bits[i] = 0;
      continue;
    }
    const [table, column] = tables[field];
    const set = new Uint8Array(table.length + 1);
    for (const t of terms) {
      const is = field === "error" ? (name: string) => name.toLowerCase().includes(t.value.toLowerCase()) : same(t.value);
      let any = 0;
      marked(table, is).forEach((m, i) => { if (m) { set[i] = 1; any = 1; } });
      if (!any) q.problems.push(`there is no ${{ f: "function", key: "key", node: "node", error: "error" }[field]} ${t.value}`);
    }
    for (let i = 0; i < n; i++) if (set[column[i] + 1] !== keep) bits[i] = 0;
  }
  if (q.from !== null) for (let i = 0; i < n; i++) if (ops.end[i] < q.from) bits[i] = 0;
  if (q.to !== null) for (let i = 0; i < n; i++) if (ops.start[i] > q.to) bits[i] = 0;

  const maybe = q.words.length > 0 ? bits.slice() : null;
  for (const { text, not } of q.words) {
    const hit = new Uint8Array(n);
    for (const [table, column] of Object.values(tables)) {
      const set = marked(table, (name) => name.toLowerCase().includes(text));
      if (set.includes(1)) for (let i = 0; i < n; i++) hit[i] |= set[column[i] + 1];
    }
    const keep = not ? 0 : 1;
    for (let i = 0; i < n; i++) if (hit[i] !== keep) bits[i] = 0;
  }
  let count = 0;
  for (let i = 0; i < n; i++) count += bits[i];
  return { bits, count, maybe };
}

/** Whether the text of a call's two ops, with the names of its columns, has the words. */
export function says(q: Query, text: string): boolean {
  const low = text.toLowerCase();
  return q.words.every((w) => low.includes(w.text) !== w.not);
}
