// The controls above the picture.

import type { Document } from "../document";
import { el } from "../element";
import { button } from "./button";
import type { By } from "./lanes";
import { written } from "./query";

export interface Deeds {
  group(by: By): void;
  search(text: string): void;
  others(hide: boolean): void;
  toggle(term: string): void;
  match(step: 1 | -1): void;
  cancel(): void;
  anomaly(step: 1 | -1): void;
  zoom(factor: number): void;
  pan(share: number): void;
  all(): void;
  list(shown: boolean): void;
  fold(group: string, folded: boolean): void;
}

export interface Tools {
  root: HTMLElement;
  search: HTMLInputElement;
  group: HTMLSelectElement;
  others: HTMLSelectElement;
  matches: HTMLOutputElement;
  previous: HTMLButtonElement;
  next: HTMLButtonElement;
  progress: HTMLProgressElement;
  cancel: HTMLButtonElement;
  outcomes: Map<string, HTMLButtonElement>;
  list: HTMLButtonElement;
  folds: Map<string, HTMLInputElement>;
}

export const bys: Record<By, string> = { process: "process", key: "key", node: "node", machine: "machine" };

export function tools(doc: Document, groups: string[], d: Deeds): Tools {
  const group = el("select", { id: "timeline-group", "data-part": "group" });
  for (const by of Object.keys(bys) as By[]) {
    if (by === "key" && doc.ops.keys.length === 0) continue;
    if (by === "node" && doc.ops.nodes.length === 0) continue;
    if (by === "machine" && !doc.tracks.some((t) => t.group === "machines")) continue;
    group.append(el("option", { value: by }, bys[by]));
  }
  group.addEventListener("change", () => d.group(group.value as By));

  const search = el("input", {
    id: "timeline-search", type: "search", "data-part": "search", list: "timeline-terms", autocomplete: "off", spellcheck: "false",
    placeholder: "f:write key:k2 outcome:info 3.2s..4s", "aria-describedby": "timeline-hint",
  });
  const terms = el("datalist", { id: "timeline-terms" });
  for (const f of doc.ops.functions) terms.append(el("option", { value: written("f", f) }));
  for (const n of doc.ops.nodes) terms.append(el("option", { value: written("node", n) }));
  for (const k of doc.ops.keys.slice(0, 200)) terms.append(el("option", { value: written("key", k) }));
  search.addEventListener("input", () => d.search(search.value));
  search.addEventListener("keydown", (e) => {
    if (e.key === "Enter") d.match(e.shiftKey ? -1 : 1);
  });

  const others = el("select", { id: "timeline-others", "data-part": "others" },
    el("option", { value: "dim" }, "dimmed"), el("option", { value: "hide" }, "hidden"));
  others.addEventListener("change", () => d.others(others.value === "hide"));

  const matches = el("output", { for: "timeline-search", "data-part": "matches" });
  const previous = button("match-previous", "‹", "Previous match", () => d.match(-1));
  const next = button("match-next", "›", "Next match", () => d.match(1));
  const progress = el("progress", { max: 1, "data-part": "search-progress", "aria-label": "Searching values", hidden: true });
  const cancel = button("search-cancel", "stop", "Stop searching values", () => d.cancel());
  cancel.hidden = true;
  previous.disabled = next.disabled = true;

  const list = button("list-toggle", "list", "List the operations in sight as a table", () => {
    const shown = list.getAttribute("aria-pressed") !== "true";
    list.setAttribute("aria-pressed", String(shown));
    d.list(shown);
  });
  list.setAttribute("aria-pressed", "false");
  const anomalies = doc.anomalies.length === 0 ? [] : [el("span", { class: "tl-group", role: "group", "aria-label": "Anomalies" },
    button("anomaly-previous", "‹", "Previous anomaly (p)", () => d.anomaly(-1)),
    el("span", {}, doc.anomalies.length === 1 ? "anomaly" : `${doc.anomalies.length} anomalies`),
    button("anomaly-next", "›", "Next anomaly (n)", () => d.anomaly(1)))];

  const outcomes = new Map<string, HTMLButtonElement>();
  const legend = el("span", { class: "tl-group tl-legend", role: "group", "aria-label": "Show only" });
  for (const [o, meaning] of [["ok", "it took place"], ["fail", "it did not take place"], ["info", "nobody knows"], ["event", "something that was seen"]]) {
    const b = button(`outcome-${o}`, o, `Only ${o}: ${meaning}`, () => d.toggle(`outcome:${o}`));
    b.setAttribute("aria-pressed", "false");
    b.prepend(el("i", { class: `tl-swatch tl-${o}`, "aria-hidden": "true" }));
    outcomes.set(o, b);
    legend.append(b);
  }

  const folds = new Map<string, HTMLInputElement>();
  const folding = el("span", { class: "tl-group", role: "group", "aria-label": "Rows besides operations" });
  for (const g of groups) {
    const box = el("input", { type: "checkbox", "data-part": "fold", "data-group": g, checked: true });
    box.addEventListener("change", () => d.fold(g, !box.checked));
    folds.set(g, box);
    folding.append(el("label", {}, box, ` ${g}`));
  }

  const root = el("div", { class: "tl-tools" },
    el("div", { class: "tl-line" },
      el("label", {}, "by ", group),
      el("span", { class: "tl-group", role: "group", "aria-label": "Zoom" },
        button("pan-left", "←", "Earlier", () => d.pan(-0.5)), button("zoom-out", "−", "Zoom out (-)", () => d.zoom(2)),
        button("zoom-in", "+", "Zoom in (+)", () => d.zoom(0.5)), button("pan-right", "→", "Later", () => d.pan(0.5)),
        button("zoom-all", "all", "Show the whole run (0)", () => d.all())),
      ...anomalies, list, legend),
    el("div", { class: "tl-line", role: "search" },
      el("label", { class: "tl-search" }, "search ", search), terms,
      el("label", {}, "others ", others),
      el("span", { class: "tl-group", role: "group", "aria-label": "Matches" }, previous, matches, next),
      progress, cancel, ...(groups.length > 0 ? [folding] : [])),
    el("details", { class: "tl-hint" }, el("summary", {}, "how to move and search"),
      el("p", { id: "timeline-hint" },
        "Drag to pan. Ctrl and the wheel zoom, and so does the wheel alone once you have clicked into the picture; until then it scrolls. ",
        "Shift and drag zoom into a range, a double click zooms in, two fingers zoom. ",
        "Keys, in the picture: ← → go from operation to operation, or pan if none is selected (with Shift, always); ↑ ↓ go to other lanes; Enter selects, and opens what is selected; ",
        "+ and - zoom, 0 shows all, n and p go to anomalies, / searches, Escape closes. ",
        "Search for words, or for f:write key:k2 node:n1 outcome:info process:3 error:timeout 3.2s..4s; a - before a term means all others, a * at its end anything; quotes hold spaces together.")));
  return { root, search, group, others, matches, previous, next, progress, cancel, outcomes, list, folds };
}
