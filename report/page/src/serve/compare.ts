// Two runs side by side: what differs stands out, by a mark and a word.

import type { Comparison, Measure, Row, Verdict } from "./api";
import { ask, link, words } from "./ask";
import { grid } from "./dom";
import { type Child, el } from "../element";
import { schedules } from "./schedules";
import { spanOrNone } from "../format";
import { count, moment, plural, span, verdict } from "./words";

/** A ratio this far from 1 is pointed at. */
const much = 1.25;

export async function compare(main: HTMLElement): Promise<void> {
  const asked = new URLSearchParams(location.search);
  const a = asked.get("a") ?? "", b = asked.get("b") ?? "";
  const status = el("p", { role: "status", "data-part": "status" }, "Reading the two…");
  main.replaceChildren(el("h1", {}, "Two runs"), status);
  let c: Comparison;
  try {
    c = await ask<Comparison>(`/api/compare?${new URLSearchParams({ a, b })}`);
  } catch (e) {
    status.replaceWith(el("p", { class: "problem", role: "alert", "data-part": "problem" }, words(e)), el("p", {}, el("a", { href: "/" }, "Choose two runs")));
    return;
  }
  status.remove();
  const part = (id: string, title: string, ...children: Child[]): HTMLElement =>
    el("section", { id, "data-part": id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title` }, title), ...children);
  const sections: HTMLElement[] = [
    el("div", { class: "two", "data-part": "sides" }, side("A", c.a), side("B", c.b)),
    el("p", {}, el("a", { href: `/compare?${new URLSearchParams({ a: b, b: a })}`, "data-part": "swap" }, "Swap A and B")),
  ];
  for (const note of c.notes) sections.push(el("p", { class: "problem", "data-part": "note" }, note));
  sections.push(part("verdicts", "Verdicts", c.parts.length > 0 ? grid("verdicts-table", "Verdict by checker", ["Checker", "", "A", "B"],
    c.parts.map((p) => [el("span", { class: `depth-${Math.min(p.depth, 3)}` }, p.name), differs(p), opinion(p.a), opinion(p.b)]), (n) => mark(c.parts[n]!.differs)) : el("p", {}, "Neither was judged.")));
  if (c.anomalies.length > 0) {
    sections.push(part("anomalies", "Anomalies", el("p", { class: "faint" }, "As many as are listed: a checker may have found more of a kind than it lists."),
      measures("anomalies-table", "Anomalies by kind", c.anomalies)));
  }
  const facts = c.facts.filter((f) => !f.own && f.differs), alike = c.facts.filter((f) => !f.own && !f.differs), own = c.facts.filter((f) => f.own);
  const factRows = (list: typeof c.facts): Child[][] => list.map((f) => [f.name, text(f.a), text(f.b)]);
  sections.push(part("facts", "What was asked for",
    facts.length > 0 ? grid("facts-differ", `Different: ${facts.length}`, ["Fact", "A", "B"], factRows(facts), () => "differs") : el("p", {}, "All the same, but for what each run has of its own."),
    grid("facts-own", "Of each run alone", ["Fact", "A", "B"], factRows(own)),
    el("details", {}, el("summary", {}, `The same in both: ${alike.length}`), grid("facts-same", "The same in both", ["Fact", "A", "B"], factRows(alike)))));
  sections.push(part("coverage", "Coverage", grid("coverage-table", "What was tried", ["", "A|", "B|"], [
    ["operations", ops(c.a), ops(c.b)],
    ["faults that acted", acted(c.a), acted(c.b)],
    ["states of the cluster", c.a.states > 0 ? count(c.a.states) : "–", c.b.states > 0 ? count(c.b.states) : "–"],
    ["took", span(c.a.duration), span(c.b.duration)],
  ])));
  if (c.functions.length > 0) {
    sections.push(part("functions", "Functions", el("p", { class: "faint" }, "Latencies are of calls that succeeded. A ratio is that of B by A."),
      grid("functions-table", "Calls and latencies by function", ["Function", "A: ok / failed / unknown|", "B: ok / failed / unknown|", "A: median|", "B: median|", "ratio|", "A: p99|", "B: p99|", "ratio|"],
        c.functions.map((f) => [f.name, calls(f.a), calls(f.b),
          f.a ? spanOrNone(f.a.median) : "–", f.b ? spanOrNone(f.b.median) : "–", ratio(f.median),
          f.a ? spanOrNone(f.a.p99) : "–", f.b ? spanOrNone(f.b.p99) : "–", ratio(f.p99)]))));
  }
  sections.push(part("schedules", "Faults", schedules(c.past_a, c.past_b)));
  const main2 = c.measures.filter((m) => !m.group.includes(", by node"));
  const nodes = c.measures.filter((m) => m.group.includes(", by node"));
  sections.push(part("measures", "Recovery and availability",
    main2.length > 0 ? measures("measures-table", "Times and shares", main2) : el("p", {}, "Nothing was measured."),
    nodes.length > 0 ? el("details", {}, el("summary", {}, "By node"), measures("measures-nodes", "By node", nodes)) : null));
  if (c.counts.length > 0) {
    sections.push(part("counts", "Everything that was counted", el("details", {}, el("summary", {}, plural(c.counts.length, "number")), measures("counts-table", "Counts by checker", c.counts))));
  }
  main.append(...sections);
}

function side(name: string, r: Row): HTMLElement {
  return el("article", { class: "card", "data-part": `side-${name.toLowerCase()}`, "aria-label": `Run ${name}` },
    el("h2", {}, `${name} `, verdict(r.outcome)),
    el("p", {}, `${r.system}${r.bug ? ` with bug ${r.bug}` : ""}, ${r.workload}, ${r.nemesis}`),
    el("p", { class: "faint" }, moment(r.began), `, seed ${r.seed}`),
    el("p", { class: "mono" }, r.path),
    el("p", { class: "row" }, r.report ? el("a", { href: link("/run", r.path, "report.html") }, "Report") : null,
      el("a", { href: link("/run", r.path) }, "Files"), el("a", { href: link("/live", r.path) }, "How it went")));
}

function opinion(v: Verdict | null): Child {
  if (!v) return "–";
  return el("span", {}, verdict(v.verdict), v.note ? el("span", { class: "note" }, v.note) : null);
}

function differs(p: { a: unknown; b: unknown; differs: boolean }): Child {
  return p.differs ? el("span", { class: "mark" }, !p.a ? "only B" : !p.b ? "only A" : "≠ differs") : "";
}

function mark(d: boolean): string { return d ? "differs" : ""; }

function text(s: string): Child { return s === "" ? el("span", { class: "faint" }, "none") : el("span", { class: "lines" }, s); }

function ops(r: Row): string { return r.ok < 0 ? "–" : `${count(r.ok)} ok, ${count(r.fail)} failed, ${count(r.info)} unknown`; }

function acted(r: Row): string { return r.begun < 0 ? "–" : `${count(r.acted)} of ${count(r.begun)}`; }

function calls(l: { ok: number; fail: number; info: number } | null): string {
  return l ? `${count(l.ok)} / ${count(l.fail)} / ${count(l.info)}` : "–";
}

function ratio(r: number | null): Child {
  if (r === null) return "–";
  const shown = `×${r >= 100 ? r.toFixed(0) : r.toFixed(2)}`;
  if (r >= much) return el("span", { class: "mark" }, `▲ ${shown}`);
  if (r <= 1 / much) return el("span", { class: "mark" }, `▼ ${shown}`);
  return shown;
}

function measures(part: string, caption: string, list: Measure[]): HTMLElement {
  const one = new Set(list.map((m) => m.group)).size === 1;
  return grid(part, caption, [...(one ? [] : ["Of"]), "What", "A|", "B|", "ratio|"],
    list.map((m) => [...(one ? [] : [m.group]), m.name, amount(m.a, m.unit), amount(m.b, m.unit), ratio(m.ratio)]));
}

function amount(n: number | null, unit: string): string {
  if (n === null) return "–";
  switch (unit) {
    case "µs":
      return spanOrNone(n);
    case "‰":
      return `${(n / 10).toFixed(1)} %`;
    case "/s":
      return `${count(n)}/s`;
  }
  return count(n);
}
