// The page of a run: reads the document that lies in it and puts its parts below each other.
// What needs the ops comes when they are read.

import { again } from "./again";
import { charts } from "./charts";
import { coverage } from "./coverage";
import { load, type Data } from "./data";
import type { Document } from "./document";
import { el, type Child } from "./element";
import { evidence } from "./evidence";
import { follow, header } from "./header";
import { calls, count, plural, span } from "./format";
import type { Page } from "./page";
import { onPrint } from "./print";
import { begin, during } from "./theme";
import { mount, type Timeline } from "./timeline/timeline";
import { verdict } from "./verdict";
import { counted, setUnit } from "./unit";
import { View } from "./view";

/** What a page tells those who test it. */
export interface Hacheck {
  readonly view: View;
  /** Null until ready, and for good if the data cannot be read. */
  readonly timeline: Timeline | null;
  /** What the timeline draws; null where there is nothing to draw. */
  readonly data: Data | null;
  /** Everything is there and the timeline has something to draw. */
  readonly ready: Promise<void>;
}

declare global {
  interface Window { hacheck: Hacheck }
}

begin();
const doc = JSON.parse(document.getElementById("document")?.textContent ?? "") as Document;
setUnit(doc.unit);
const view = new View(doc.duration);
let data: Data | null = null;

const page: Page = {
  doc, view, timeline: null,
  reveal(op) {
    toTimeline();
    page.timeline?.reveal(op);
  },
  mark(ops, from, to) {
    toTimeline();
    if (page.timeline) page.timeline.mark(ops, from, to);
    else page.view.show(from, to);
  },
  look(from, to) {
    toTimeline();
    page.view.show(from, to);
  },
};

const timeline = el("div", { class: "mount", "data-part": "timeline" }, el("p", { class: "faint" }, "Reading the operations …"));
const sections = [
  section("verdict", "", () => verdict(doc)),
  section("evidence", "Evidence", () => evidence(page), doc.anomalies.length > 0 ? plural(doc.anomalies.length, "anomaly", "anomalies") : ""),
  section("timeline", "Timeline", () => [timeline], counted() ? calls(doc) : `${calls(doc)} in ${span(doc.duration)}`),
  section("charts", "Charts", () => charts(page), doc.charts.length > 0 ? "drag to zoom, double-click for the whole run" : ""),
  section("coverage", "Coverage", () => coverage(page)),
  section("again", "Again", () => again(page)),
];
const bar = header(doc, [["evidence", "Evidence", doc.anomalies.length], ["timeline", "Timeline"], ["charts", "Charts"], ["coverage", "Coverage"], ["again", "Again"]]);
document.getElementById("page")?.replaceWith(
  el("a", { class: "skip", href: "#verdict" }, "To the verdict"), bar, el("main", {}, ...sections));
follow(bar, sections);
onPrint(() => during("light"), () => during(null));

window.hacheck = {
  view,
  get timeline() { return page.timeline; },
  get data() { return data; },
  ready: parsed().then(start),
};

/** A part of the page. One that cannot be drawn says so, and leaves the others alone. */
function section(id: string, name: string, build: () => Child[], aside = ""): HTMLElement {
  const s = el("section", { id, tabindex: -1, "aria-label": name || "Verdict" }, name && el("h2", {}, name, aside && el("small", {}, aside)));
  try {
    for (const c of build()) if (c) s.append(c);
  } catch (err) {
    s.append(failed("This part of the page could not be drawn", err));
  }
  return s;
}

function failed(what: string, err: unknown): HTMLElement {
  console.error(what, err);
  return el("p", { class: "failed", role: "alert" }, `${what}: ${err instanceof Error ? err.message : String(err)}`);
}

/** The data lie behind the script, and may still be on their way. */
function parsed(): Promise<void> {
  return new Promise((resolve) => {
    if (document.readyState !== "loading") resolve();
    else addEventListener("DOMContentLoaded", () => resolve(), { once: true });
  });
}

async function start(): Promise<void> {
  if (doc.ops.total === 0) {
    timeline.replaceChildren(el("p", { class: "faint" }, "There are no operations."));
    return;
  }
  try {
    const holder = document.getElementById("data");
    data = load(doc, holder?.textContent ?? "");
    holder?.remove(); // it is large, and read
    timeline.replaceChildren();
    page.timeline = mount(timeline, doc, data, view);
    await data.drawable;
  } catch (err) {
    timeline.replaceChildren(failed(`The ${count(doc.ops.calls)} operations of the page could not be read`, err));
  }
}

function toTimeline(): void {
  document.getElementById("timeline")?.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}
