// The verdict, first: the word, what each checker says, and what it covers in short.

import type { Document, Fault } from "./document";
import { table } from "./dom";
import { el, type Child } from "./element";
import { kinds } from "./evidence";
import { count, plural, span, spanOrNone, waited } from "./format";
import { known, sign, verdictOf } from "./shapes";
import * as unit from "./unit";

/** Makes the section's content. */
export function verdict(doc: Document): Child[] {
  const word = known(doc.verdict);
  return [
    el("p", { class: `word ${word}`, "data-part": "word" }, sign(word, 34), word),
    el("h1", { "data-part": "title" }, doc.title),
    doc.note && !says(doc, doc.note) && el("p", { class: "note", "data-part": "note" }, doc.note),
    kinds(doc),
    trouble(doc),
    figures(doc),
    el("div", { class: "columns" },
      el("div", {}, el("h3", {}, "What was checked"), parts(doc)),
      el("div", {}, el("h3", {}, "What was done"), functions(doc), el("h3", {}, "What was broken"), faults(doc))),
  ];
}

/** A note that only names what the table of parts says as well. */
function says(doc: Document, note: string): boolean {
  return doc.parts.some((p) => p.note === note || note === `${p.verdict}: ${p.name}`);
}

function trouble(doc: Document): HTMLElement | null {
  if (!doc.trouble || doc.trouble.length === 0) return null;
  return el("div", { class: "trouble", "data-part": "trouble" },
    el("b", {}, "Out of the ordinary"), el("ul", {}, ...doc.trouble.map((t) => el("li", {}, t))));
}

/** A few numbers in one line. */
function figures(doc: Document): HTMLElement {
  const all = doc.functions.reduce((s, f) => ({ ok: s.ok + f.ok, fail: s.fail + f.fail, info: s.info + f.info }), { ok: 0, fail: 0, info: 0 });
  const { begun, acted, held } = tally(doc.faults);
  const list: [name: string, text: string, more?: string][] = [
    ["operations", count(doc.functions.length > 0 ? all.ok + all.fail + all.info : doc.ops.calls)],
    ["faults", count(begun), [begun > 0 && (acted === begun ? "all acted" : `${count(acted)} acted`), held > 0 && `${count(held)} held back`].filter(Boolean).join(", ")],
  ];
  if (!unit.counted()) list.splice(1, 0, ["duration", span(doc.duration)]);
  const keys = counted(doc, "keys"), states = counted(doc, "states");
  if (keys !== null) list.push(["keys", count(keys)]);
  if (states !== null) list.push(["states seen", count(states)]);
  if (doc.began) list.push(["began", doc.began.replace("T", " ").replace(/(\.\d+)?Z$/, " UTC")]);
  return el("dl", { class: "figures", "data-part": "figures" },
    ...list.map(([name, text, more]) => el("div", {}, el("dt", {}, name), el("dd", {}, text, more && el("small", {}, ` ${more}`)))));
}

/** The first count of a name that a part has. */
function counted(doc: Document, name: string): number | null {
  for (const p of doc.parts) {
    const n = p.counts?.[name];
    if (n !== undefined) return n;
  }
  return null;
}

/** Those that found something come first. */
function parts(doc: Document): HTMLElement {
  const rank = ["invalid", "unknown", "valid"];
  const sorted = doc.parts.toSorted((a, b) => rank.indexOf(known(a.verdict)) - rank.indexOf(known(b.verdict)));
  return table("Checkers", ["checker", "verdict", "note"], "<<<", sorted.map((p): Child[] => [
    el("b", {}, p.name), verdictOf(p.verdict),
    el("div", {}, p.note ?? "", p.remarks && p.remarks.length > 0 && el("ul", { class: "remarks" }, ...p.remarks.map((r) => el("li", {}, r)))),
  ]), { class: "parts", "data-part": "parts" });
}

function functions(doc: Document): HTMLElement {
  const took = (us: number) => (unit.counted() ? "–" : us === 0 ? "<1 µs" : spanOrNone(us));
  if (doc.functions.length === 0) return el("p", { class: "faint" }, doc.ops.calls > 0 ? "What was called has not been counted." : "Nothing was called.");
  return table("Functions", ["function", "ok", "fail", "info", "median", "p99", "ok under faults"], "<>>>>>>", doc.functions.map((f): Child[] => [
    el("code", {}, f.name), count(f.ok), count(f.fail), count(f.info), took(f.median), took(f.p99), count(f.faulty),
  ]), { "data-part": "functions" });
}

/** How many faults began, how many of them acted, and how many others were not let begin. */
export function tally(faults: Fault[]): { begun: number; acted: number; held: number } {
  const held = faults.filter((f) => f.held_back).length;
  return { begun: faults.length - held, acted: faults.filter((f) => f.acted).length, held };
}

/** Faults by what they are called, with what they did. */
function faults(doc: Document): HTMLElement {
  if (doc.faults.length === 0) return el("p", { class: "faint" }, "The history tells of no fault.");
  const by = new Map<string, Fault[]>();
  for (const f of doc.faults) by.set(f.name, [...(by.get(f.name) ?? []), f]);
  const sum = (list: Fault[], of: (f: Fault) => number) => count(list.reduce((s, f) => s + of(f), 0));
  return el("div", {}, table("Faults by name", ["fault", "begun", "acted", "held back", "longest answer", "ok", "fail", "info"], "<>>>>>>>", [...by].map(([name, list]): Child[] => [
    el("code", {}, name), ...[tally(list)].flatMap((t) => [count(t.begun), count(t.acted), count(t.held)]),
    longest(list), sum(list, (f) => f.ok), sum(list, (f) => f.fail), sum(list, (f) => f.info),
  ]), { "data-part": "faults-by-name" }),
  el("p", { class: "hint" }, `ok, fail and info are operations while it held; the longest answer is the longest time from a begin to the next answer. ${plural(tally(doc.faults).begun, "fault")} with evidence: see `, el("a", { href: "#coverage" }, "coverage"), "."));
}

function longest(all: Fault[]): string {
  const list = all.filter((f) => !f.held_back);
  if (list.length === 0) return "";
  if (list.some((f) => f.answer === -1)) return waited(-1);
  return waited(Math.max(...list.map((f) => f.answer)));
}
