// The evidence: each anomaly with the few calls that prove it. Where there is none, what
// that rests on.

import type { Anomaly, Call, Document } from "./document";
import { details, fileLink, table } from "./dom";
import { el, type Child } from "./element";
import { Drawing, type Subject } from "./drawing";
import { count, exact, exactUnit, moment, plural } from "./format";
import { orderOf } from "./order";
import type { Page } from "./page";
import { known } from "./shapes";
import { tally } from "./verdict";

/** Makes the section's content. */
export function evidence(page: Page): HTMLElement[] {
  const { doc } = page;
  if (doc.anomalies.length === 0) return [nothing(doc)];
  return doc.anomalies.map((a, i) => anomaly(page, a, i));
}

/** Says why there is no anomaly to show. */
function nothing(doc: Document): HTMLElement {
  const notes = (verdict: string) => doc.parts.filter((p) => known(p.verdict) === verdict && p.note)
    .map((p) => el("li", {}, el("b", {}, p.name), `: ${p.note}`));
  switch (known(doc.verdict)) {
    case "invalid":
      return el("div", { "data-part": "no-anomaly" },
        el("p", {}, "The run is invalid, but there are no operations to show for it. What the checkers say:"),
        el("ul", {}, ...notes("invalid")));
    case "unknown":
      return el("div", { "data-part": "no-anomaly" },
        el("p", {}, "Nothing was proven, neither that something is wrong nor that nothing is", doc.note ? `: ${doc.note}.` : "."),
        el("ul", {}, ...notes("unknown")));
  }
  let ok = 0, open = 0, faulty = 0;
  for (const f of doc.functions) {
    ok += f.ok;
    open += f.info;
    faulty += f.faulty;
  }
  const { begun, acted, held } = tally(doc.faults);
  const idle = begun - acted;
  const rests: Child[] = [
    doc.functions.length > 0 && el("li", {}, `${plural(ok, "operation")} that succeeded`, faulty > 0 ? `, ${count(faulty)} of them while a fault held` : "",
      open > 0 ? `, and ${count(open)} of which it is not known whether they took place` : ""),
    el("li", {}, doc.faults.length === 0 ? "no faults that the history tells of" : `${plural(begun, "fault")}`,
      idle > 0 ? `, of which ${count(idle)} did nothing that was seen` : begun > 0 ? ", each of which was seen to act" : "",
      held > 0 ? `; ${count(held)} more ${held === 1 ? "was" : "were"} held back` : ""),
    ...notes("valid"),
  ];
  return el("div", { "data-part": "no-anomaly" },
    el("p", {}, "Nothing was found. That rests on:"),
    el("ul", { class: "rests" }, ...rests),
    el("p", { class: "faint" }, "What was not tried in this run, such as other faults and other orders of events, is not ruled out."));
}

function anomaly(page: Page, a: Anomaly, number: number): HTMLElement {
  const d = details([
    el("span", { class: "kind" }, `${number + 1}. ${a.kind}`),
    el("span", { class: "sentence" }, a.note),
  ], { class: "anomaly", id: `anomaly-${number + 1}`, "data-part": "anomaly", open: number === 0 }, (into) => into.append(body(page, a, number)));
  return d;
}

function body(page: Page, a: Anomaly, number: number): HTMLElement {
  const faults = (a.meanwhile ?? []).map((i) => page.doc.faults[i]).filter((f) => f !== undefined);
  const drawing = new Drawing(subject(page, a, {
    label: `The calls that prove it: ${a.note}`,
    calls: a.calls, arrows: a.calls.length <= 30, tag: (i) => String(i + 1), faults, lanes: a.tracks,
  }));
  const ops = a.calls.map((c) => c.invoke);
  const parts: Child[] = [
    a.calls.length > 0 && drawing.element,
    el("div", { class: "actions" },
      a.calls.length > 0 && el("button", { type: "button", "data-part": "show-in-timeline", onclick: () => page.mark(ops, a.from, a.to) }, "Show in the timeline"),
      a.artifact && fileLink(a.artifact, "porcupine’s own drawing", { "data-part": "artifact" }),
      el("span", { class: "faint" }, `found by ${a.checker}`, a.key ? `, key ${a.key}` : "")),
    calls(page, a.calls, "The calls that prove it", (i) => String(i + 1)),
    faults.length > 0 && el("p", { class: "meanwhile" }, el("span", { class: "faint" }, "In force meanwhile: "),
      faults.map((f) => `${f.what || f.name}, ${f.to < 0 ? `since ${moment(f.from)}` : `from ${moment(f.from)} to ${moment(f.to)}`}`).join("; ")),
  ];
  const around = a.around ?? [];
  if (around.length > 0) {
    parts.push(details([a.key ? `The history of ${a.key} about it` : "What happened about it",
      el("span", { class: "faint" }, ` ${plural(around.length, "call")}${a.cut ? ", a part of all" : ""}`)],
      { class: "sub", "data-part": "around" }, (into) => history(page, a, around, number, into), true));
  }
  if (a.order && a.order.partials.length > 0) {
    const { order } = a;
    const best = Math.max(...order.partials.map((p) => p.steps.length));
    parts.push(details(["How far an order gets",
      el("span", { class: "faint" }, ` ${count(best)} of ${plural(order.calls.length, "call")}, as porcupine searches`)],
      { class: "sub", "data-part": "order" }, (into) => orderOf(page, a, order, into), true));
  }
  return el("div", { class: "body" }, ...parts);
}

function subject(page: Page, a: Anomaly, more: Partial<Subject> & Pick<Subject, "label" | "calls">): Subject {
  return { key: a.key, pick: (c) => page.reveal(c.invoke), ...range(a, more.calls), ...more };
}

/** What has to be drawn to see all of calls, and what an anomaly wants to be seen. */
function range(a: Anomaly, calls: Call[]): { from: number; to: number } {
  let { from, to } = a;
  for (const c of calls) {
    from = Math.min(from, c.from);
    to = Math.max(to, c.from, c.to);
  }
  return { from, to };
}

function history(page: Page, a: Anomaly, around: Call[], number: number, into: HTMLElement): void {
  const proof = new Map(a.calls.map((c, i) => [c.invoke, i + 1]));
  const tag = (list: Call[]) => (i: number) => String(proof.get(list[i].invoke) ?? "");
  const near = nearest(around, (c) => proof.has(c.invoke));
  const drawing = new Drawing({
    key: a.key, pick: (c) => page.reveal(c.invoke),
    from: Math.min(...near.map((c) => c.from)), to: Math.max(...near.map((c) => Math.max(c.from, c.to))),
    label: `The history of ${a.key ?? "it"} about anomaly ${number + 1}`,
    calls: near, eye: near.findIndex((c) => proof.has(c.invoke)), tag: tag(near),
    look: (i) => (proof.has(near[i].invoke) || near[i].witness ? "strong" : "dim"),
  });
  if (near.length < around.length) into.append(el("p", { class: "hint" }, `Drawn are the ${count(near.length)} calls nearest to the evidence.`));
  const list = calls(page, around, "The history about the evidence", tag(around), (i) => proof.has(around[i].invoke));
  into.append(drawing.element, list);
  requestAnimationFrame(() => {
    const row = list.querySelector<HTMLElement>("tr.strong");
    if (row) list.scrollTop = row.offsetTop - list.clientHeight / 3;
  });
}

const drawn = 60; // calls of a history in a drawing

/** The calls about those that are wanted, as many before as after. */
function nearest(all: Call[], wanted: (c: Call) => boolean): Call[] {
  if (all.length <= drawn) return all;
  const first = Math.max(all.findIndex(wanted), 0), last = Math.max(all.findLastIndex(wanted), first);
  const spare = Math.max(drawn - (last - first + 1), 6);
  return all.slice(Math.max(first - Math.ceil(spare / 2), 0), last + 1 + Math.ceil(spare / 2));
}

/** A table of calls; the number of an op shows it in the timeline. */
export function calls(page: Page, list: Call[], label: string, tag: (i: number) => string, strong?: (i: number) => boolean): HTMLElement {
  const rows = list.map((c, i): Child[] => [
    tag(i),
    el("button", { type: "button", class: "op", "data-op": c.invoke, title: "Show it in the timeline", onclick: () => page.reveal(c.invoke) }, String(c.invoke)),
    exact(c.from), c.to < 0 ? "?" : c.outcome === "event" ? "" : exact(c.to),
    c.process, c.node ?? "",
    el("span", { class: "what" }, c.what), el("span", { class: `outcome ${c.outcome}` }, c.outcome),
  ]);
  const t = table(label, ["#", "op", `from (${exactUnit()})`, `to (${exactUnit()})`, "process", "node", "what", "outcome"],
    ">>>>><<<", rows, { class: "calls" });
  if (strong) {
    t.querySelectorAll("tbody tr").forEach((row, i) => { row.classList.toggle("strong", strong(i)); });
    t.classList.add("tall");
  }
  return t;
}

/** The anomalies in short, for the top of the page. */
export function kinds(doc: Document): HTMLElement | null {
  if (doc.anomalies.length === 0) return null;
  const by = new Map<string, number>();
  doc.anomalies.forEach((a) => by.set(a.kind, (by.get(a.kind) ?? 0) + 1));
  return el("p", { class: "kinds", "data-part": "kinds" },
    ...[...by].map(([kind, n], i) => el("span", {}, i > 0 ? ", " : "", el("b", {}, kind), n > 1 ? ` × ${n}` : "")),
    " — ", el("a", { href: "#evidence" }, "the evidence"));
}

