// The timeline: every operation of the run on a canvas.

import type { Data } from "../data";
import type { Document } from "../document";
import { calls, instant, span } from "../format";
import { readable } from "../readable";
import { onChange } from "../theme";
import type { View } from "../view";
import { Drawing, drawOver, name } from "./draw";
import { el } from "../element";
import { listen } from "./gestures";
import { locate, lower, outcomes, who, type By } from "./lanes";
import { List } from "./list";
import { Minimap } from "./minimap";
import { context, palette } from "./colours";
import { Panel, spoken } from "./panel";
import * as query from "./query";
import { faultText, Scene, type Hit } from "./scene";
import { bys, tools, type Tools } from "./tools";
import { searchValues } from "./values";
import { briefly } from "./words";

export interface Timeline {
  /** Zooms to an op, by its index in the history, selects it and shows its JSON. */
  reveal(op: number): void;
  /** Zooms to a range with all these ops marked. */
  mark(ops: number[], from: number, to: number): void;
  /** How long each of the last frames took to draw, in milliseconds; at most 120. */
  frames(): number[];
}

/** Puts the timeline into an element. */
export function mount(into: HTMLElement, doc: Document, data: Data, view: View): Timeline {
  return new Mounted(into, doc, data, view);
}

class Mounted implements Timeline {
  private readonly s: Scene;
  private readonly drawing = new Drawing();
  private readonly map: Minimap;
  private readonly panel: Panel;
  private readonly list: List;
  private readonly tools: Tools;
  private readonly root = el("div", { class: "tl", "data-part": "timeline" });
  private readonly stage = el("div", { class: "tl-stage", "data-part": "stage" });
  private readonly spacer = el("div");
  private readonly sticky = el("div", { class: "tl-sticky" });
  private readonly base = el("canvas", { "aria-hidden": "true" });
  private readonly over: HTMLCanvasElement;
  private readonly tip = el("div", { class: "tl-tip", role: "tooltip", "data-part": "tooltip", hidden: true });
  private readonly said = el("p", { class: "tl-said", role: "status", "aria-live": "polite", "data-part": "said" });
  private readonly took: number[] = [];
  private due = { base: false, over: false, map: false, list: false };
  private asked = 0;
  private searching: AbortController | null = null;
  private waiting = 0;
  private anomaly = -1;
  private wantedOp = -1;
  private markedOps: number[] = [];
  private first = false;
  private ended = false;
  private reading = false;

  constructor(into: HTMLElement, private readonly doc: Document, private readonly data: Data, private readonly view: View) {
    this.s = new Scene(doc, data, view);
    this.over = el("canvas", {
      tabindex: "0", role: "application", "data-part": "picture", "aria-roledescription": "timeline",
      "aria-label": `Timeline of ${calls(doc)} in ${span(Math.max(doc.duration, 0))}. Enter selects an operation, arrows go on from there; the list button shows a table instead.`,
    });
    const groups = [...new Set(this.s.tracks.map((t) => t.group))];
    this.tools = tools(doc, groups, {
      group: (by) => this.group(by),
      search: () => this.search(),
      others: () => this.filterAgain(),
      toggle: (term) => {
        this.tools.search.value = query.toggled(this.tools.search.value, term);
        this.search();
      },
      match: (step) => this.match(step),
      cancel: () => this.searching?.abort(),
      anomaly: (step) => this.toAnomaly(step),
      zoom: (factor) => this.zoom(this.s.gutter + this.s.plot / 2, factor),
      pan: (share) => this.pan(share),
      all: () => this.view.show(0, this.view.duration),
      list: (shown) => {
        this.list.root.hidden = !shown;
        this.request({ list: true });
      },
      fold: (group, folded) => this.fold(group, folded),
    });
    this.map = new Minimap(this.s);
    this.panel = new Panel(this.s, {
      select: (call) => this.select(call, true),
      history: (key) => {
        this.tools.search.value = query.written("key", key);
        this.tools.others.value = "hide";
        this.search();
        this.showSelected();
      },
      close: () => this.unselect(),
      say: (text) => this.say(text),
    });
    this.list = new List(this.s, (call) => this.select(call, true, true));
    this.sticky.append(this.base, this.over, this.tip);
    this.stage.append(this.sticky, this.spacer);
    const left = doc.ops.left ? [el("p", { class: "tl-faint", "data-part": "left" }, doc.ops.left)] : [];
    this.root.append(this.tools.root,
      el("div", { class: "tl-main" }, el("div", { class: "tl-pictures" }, this.map.root, this.stage), this.panel.root), this.said, ...left, this.list.root);
    into.append(this.root);

    this.listen();
    this.colours();
    this.lay();
    data.drawable.then(() => {
      this.s.drawable = true;
      this.again();
    }, (e: unknown) => this.say(`the picture of the whole run cannot be read: ${String(e)}`));
    data.onMore(() => this.more());
    data.complete.then(() => {
      this.s.finished = true;
      this.again();
      if (data.ops.length === 0 && doc.ops.calls === 0) this.say("this history has no operations");
    }, (e: unknown) => this.say(`not all operations could be read: ${String(e)}`));
  }

  frames(): number[] {
    return [...this.took];
  }

  reveal(op: number): void {
    const call = this.callOf(op);
    if (call < 0) {
      this.wantedOp = op;
      this.absent(op);
      return;
    }
    this.wantedOp = -1;
    const { start, end, complete } = this.data.ops;
    const long = complete[call] < 0 ? 0 : end[call] - start[call];
    const width = Math.min(Math.max(long * 12, 2000), Math.max(this.view.duration, 1));
    this.view.show(start[call] + long / 2 - width / 2, start[call] + long / 2 + width / 2);
    this.root.scrollIntoView({ block: "nearest" });
    this.select(call, true, true);
  }

  mark(ops: number[], from: number, to: number): void {
    this.markedOps = ops;
    this.s.marked = ops.map((op) => this.callOf(op)).filter((c) => c >= 0);
    this.unhide(this.s.marked);
    const end = this.s.until(to);
    const margin = Math.max((end - from) * 0.15, 200);
    this.view.show(from - margin, end + margin);
    const lanes = this.s.marked.map((c) => locate(this.s.lanes, this.s.of, c)).filter((l) => l !== null).map((l) => l.lane);
    if (lanes.length > 0) this.scrollTo(Math.min(...lanes), Math.max(...lanes));
    this.root.scrollIntoView({ block: "nearest" });
    this.request({ base: true, over: true });
  }

  // ---- what is there

  /** Something more is read: lanes are made anew when it is twice as much, or all. */
  private more(): void {
    const { lanes } = this.s;
    if (this.s.finished || this.data.ops.length < Math.max(lanes.calls * 2, 5000)) return;
    this.again();
  }

  private again(): void {
    this.s.arrange(this.s.by);
    if (!query.empty(query.parse(this.tools.search.value))) this.search();
    this.s.marked = this.markedOps.map((op) => this.callOf(op)).filter((c) => c >= 0);
    this.lay();
    if (this.wantedOp >= 0) {
      const op = this.wantedOp;
      if (this.callOf(op) >= 0 || this.s.finished) this.reveal(op);
    }
    this.request({ base: true, over: true, map: true, list: true });
  }

  /** The call that an op is of; -1 if it is not there. */
  private callOf(op: number): number {
    const { invoke, complete, length } = this.data.ops;
    const i = lower(invoke, op, 0, length);
    if (i < length && invoke[i] === op) return i;
    for (let c = Math.min(i, length) - 1; c >= 0; c--) if (complete[c] === op) return c;
    return -1;
  }

  private absent(op: number): void {
    if (!this.s.finished) {
      this.say(`op ${op} is being read`);
      return;
    }
    const block = this.doc.ops.blocks.find((b) => op >= b.first && op < b.first + b.ops);
    if (block) this.view.show(block.from, block.to);
    this.wantedOp = -1;
    this.say(`op ${op} is not in this page. ${this.doc.ops.left ?? ""}`);
  }

  private group(by: By): void {
    this.s.by = by;
    this.stage.scrollTop = 0;
    this.s.scroll = 0;
    this.s.arrange(by);
    this.lay();
    this.showSelected();
    this.request({ base: true, over: true });
    this.say(`by ${bys[by]}: ${this.s.lanes.names.length} lanes`);
  }

  private fold(group: string, folded: boolean): void {
    if (folded) this.s.folded.add(group);
    else this.s.folded.delete(group);
    const box = this.tools.folds.get(group);
    if (box) box.checked = !folded;
    this.s.lay();
    this.lay();
    this.request({ base: true, over: true });
  }

  // ---- searching

  private search(): void {
    this.searching?.abort();
    clearTimeout(this.waiting);
    const text = this.tools.search.value;
    const q = query.parse(text);
    for (const [o, b] of this.tools.outcomes) b.setAttribute("aria-pressed", String(q.terms.some((t) => t.field === "outcome" && t.value === o && !t.not)));
    if (query.empty(q)) {
      this.s.filter = null;
      this.found(null, [], "");
      return;
    }
    const found = query.find(q, this.data.ops, this.doc.ops);
    this.s.filter = { bits: found.bits, hide: this.tools.others.value === "hide" };
    this.found(found, q.problems, "");
    const maybe = found.maybe;
    if (!maybe) return;
    // Values are looked at once one has stopped to type.
    this.waiting = window.setTimeout(() => { void this.searchValues(q, maybe, found); }, 300);
  }

  private async searchValues(q: query.Query, maybe: Uint8Array, found: query.Found): Promise<void> {
    const abort = new AbortController();
    this.searching = abort;
    const { progress, cancel } = this.tools;
    progress.hidden = cancel.hidden = false;
    progress.value = 0;
    let note = "";
    try {
      const without = await searchValues(q, this.data.ops, this.doc.ops, maybe, found, (done) => {
        progress.value = done;
        this.found(found, q.problems, "");
      }, abort.signal);
      if (without < 0) note = "stopped";
      else if (without > 0) note = `values of ${without.toLocaleString("en")} are not in this page`;
    } catch (e) {
      note = `values cannot be read: ${String(e)}`;
    }
    if (this.searching !== abort) return;
    this.searching = null;
    progress.hidden = cancel.hidden = true;
    // A search that another has replaced has nothing to say.
    if (this.s.filter?.bits === found.bits) this.found(found, q.problems, note);
  }

  /** Tells what was found, and draws it. */
  private found(found: query.Found | null, problems: string[], note: string): void {
    const some = this.s.gaps.length > 0 ? " of those in this page" : "";
    const count = found ? `${found.count.toLocaleString("en")} ${found.count === 1 ? "match" : "matches"}${some}` : "";
    this.tools.matches.value = [count, ...problems, note].filter((t) => t !== "").join("; ");
    this.tools.previous.disabled = this.tools.next.disabled = !found || found.count === 0;
    this.s.lay();
    this.lay();
    this.request({ base: true, over: true, list: true });
  }

  private filterAgain(): void {
    if (!this.s.filter) return;
    this.s.filter.hide = this.tools.others.value === "hide";
    this.s.lay();
    this.lay();
    this.request({ base: true, over: true });
  }

  private match(step: 1 | -1): void {
    const bits = this.s.filter?.bits;
    if (!bits) return;
    const { start } = this.data.ops;
    let i = this.s.selected >= 0 ? this.s.selected + step : lower(start, this.view.from, 0, bits.length) - (step < 0 ? 1 : 0);
    for (let n = 0; n < bits.length; n++, i += step) {
      i = (i + bits.length) % bits.length;
      if (bits[i] === 1) {
        this.select(i, true);
        return;
      }
    }
  }

  // ---- selecting

  /** Selects a call, brings it into sight, and tells of it; open shows the panel. */
  private select(call: number, open: boolean, focus = false): void {
    if (call < 0) return;
    this.unhide([call]);
    this.s.selected = call;
    this.showSelected();
    this.say(spoken(this.s, call));
    if (open || this.panel.open) {
      void this.panel.show(call, focus);
      this.resize();
    }
    this.request({ over: true, list: true });
  }

  /** What is asked for is shown, if it does not match the search, too. */
  private unhide(calls: number[]): void {
    const { filter } = this.s;
    if (!filter?.hide || calls.every((c) => filter.bits[c] === 1)) return;
    this.tools.others.value = "dim";
    this.filterAgain();
  }

  private showSelected(): void {
    const { selected, lanes, of } = this.s;
    const at = selected < 0 ? null : locate(lanes, of, selected);
    if (!at) return;
    const { start, end } = this.data.ops;
    const width = this.view.to - this.view.from;
    if (end[selected] < this.view.from || start[selected] > this.view.to) {
      this.view.show(start[selected] - width / 2, start[selected] + width / 2);
    }
    this.scrollTo(at.lane, at.lane);
  }

  private scrollTo(from: number, to: number): void {
    const { tops } = this.s.layout;
    const room = this.s.height - this.s.bodyTop;
    const top = tops[from], bottom = tops[to + 1];
    if (top < this.stage.scrollTop) this.stage.scrollTop = Math.max(top - 8, 0);
    else if (bottom > this.stage.scrollTop + room) this.stage.scrollTop = Math.min(bottom - room + 8, top - 8);
  }

  private unselect(): void {
    const focused = this.panel.root.contains(document.activeElement);
    const opened = this.panel.open;
    this.panel.close();
    if (opened) this.resize();
    else this.s.selected = -1;
    if (focused) this.over.focus({ preventScroll: true });
    this.request({ over: true, list: true });
  }

  /** From the selected call to the next or previous one of its lane. */
  private along(step: 1 | -1): void {
    const at = locate(this.s.lanes, this.s.of, this.s.selected);
    if (!at) return;
    const { first, call } = this.s.lanes;
    const { filter } = this.s;
    for (let p = at.position + step; p >= first[at.lane] && p < first[at.lane + 1]; p += step) {
      if (filter && filter.bits[call[p]] === 0) continue;
      this.select(call[p], false);
      return;
    }
    this.say(step > 0 ? "the last of this lane" : "the first of this lane");
  }

  /** From the selected call to the one at its time in another lane. */
  private across(step: 1 | -1): void {
    const at = locate(this.s.lanes, this.s.of, this.s.selected);
    if (!at) return;
    const t = this.data.ops.start[this.s.selected];
    for (let l = at.lane + step; l >= 0 && l < this.s.lanes.names.length; l += step) {
      const call = this.nearest(l, t);
      if (call >= 0) {
        this.select(call, false);
        return;
      }
    }
  }

  private nearest(lane: number, t: number): number {
    const { first, start, call } = this.s.lanes;
    const { filter } = this.s;
    let best = -1, far = Infinity;
    const middle = lower(start, t, first[lane], first[lane + 1]);
    for (const step of [1, -1]) {
      for (let p = step > 0 ? middle : middle - 1; p >= first[lane] && p < first[lane + 1]; p += step) {
        if (filter && filter.bits[call[p]] === 0) continue;
        if (Math.abs(start[p] - t) < far) [best, far] = [call[p], Math.abs(start[p] - t)];
        break;
      }
    }
    return best;
  }

  private toAnomaly(step: 1 | -1 | 0, which = this.anomaly + step): void {
    const all = this.doc.anomalies;
    if (all.length === 0) return;
    this.anomaly = (Math.max(which, step < 0 && this.anomaly < 0 ? -1 : which) + all.length) % all.length;
    const a = all[this.anomaly];
    this.mark(a.calls.map((c) => c.invoke), a.from, a.to);
    if (this.s.marked.length > 0) this.select(this.s.marked[0], false); // from which arrows go on
    this.say(`anomaly ${this.anomaly + 1} of ${all.length}: ${a.kind}. ${a.note}`);
  }

  // ---- moving

  private zoom(x: number, factor: number): void {
    const { from, to } = this.view;
    const t = Math.min(Math.max(this.s.time(x), from), to);
    const width = Math.max((to - from) * factor, 1);
    const share = (t - from) / (to - from);
    this.view.show(t - share * width, t + (1 - share) * width);
  }

  private pan(share: number): void {
    const by = (this.view.to - this.view.from) * share;
    this.view.show(this.view.from + by, this.view.to + by);
  }

  private key(e: KeyboardEvent): void {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const selected = this.s.selected >= 0 && !e.shiftKey;
    switch (e.key) {
      case "ArrowLeft": selected ? this.along(-1) : this.pan(-0.1); break;
      case "ArrowRight": selected ? this.along(1) : this.pan(0.1); break;
      case "ArrowUp": selected ? this.across(-1) : this.stage.scrollBy(0, -44); break;
      case "ArrowDown": selected ? this.across(1) : this.stage.scrollBy(0, 44); break;
      case "PageUp": this.stage.scrollBy(0, -this.stage.clientHeight / 2); break;
      case "PageDown": this.stage.scrollBy(0, this.stage.clientHeight / 2); break;
      case "Home": this.view.show(0, this.view.to - this.view.from); break;
      case "End": this.view.show(this.view.duration - (this.view.to - this.view.from), this.view.duration); break;
      case "Enter": case " ":
        if (this.s.selected >= 0) this.select(this.s.selected, true, true);
        else this.selectFirst();
        break;
      case "+": case "=": this.zoom(this.focusX(), 0.5); break;
      case "-": case "_": this.zoom(this.focusX(), 2); break;
      case "0": this.view.show(0, this.view.duration); break;
      case "n": this.toAnomaly(1); break;
      case "p": this.toAnomaly(-1); break;
      case "/": this.tools.search.focus(); break;
      case "Escape": this.unselect(); break;
      default: return;
    }
    e.preventDefault();
  }

  /** What zooming by keys stays at: the selected call, or the middle. */
  private focusX(): number {
    const t = this.s.selected < 0 ? -1 : this.data.ops.start[this.s.selected];
    return t >= this.view.from && t <= this.view.to ? this.s.x(t) : this.s.gutter + this.s.plot / 2;
  }

  /** The call of the lanes in sight that is nearest to the middle. */
  private selectFirst(): void {
    for (const row of this.s.rows()) {
      if (row.kind !== "lane") continue;
      const call = this.nearest(row.lane, (this.view.from + this.view.to) / 2);
      if (call < 0 || this.data.ops.start[call] > this.view.to || this.data.ops.end[call] < this.view.from) continue;
      this.select(call, false);
      return;
    }
    this.say("there is no operation in sight");
  }

  // ---- listening

  private listen(): void {
    this.view.listen((what) => this.request(what === "range" ? { base: true, over: true, list: true } : { over: true }));
    onChange(() => {
      this.colours();
      this.request({ base: true, over: true, map: true });
    });
    new ResizeObserver(() => this.resize()).observe(this.stage);
    this.stage.addEventListener("scroll", () => this.request({ base: true, over: true }));
    this.over.addEventListener("keydown", (e) => this.key(e));
    this.tools.search.addEventListener("keydown", (e) => {
      if (e.key === "Escape" && this.tools.search.value === "") this.over.focus({ preventScroll: true });
    });
    listen(this.over, {
      gutter: () => this.s.gutter,
      pan: (dx, dy) => {
        const by = -dx / this.s.plot * (this.view.to - this.view.from);
        if (dx !== 0) this.view.show(this.view.from + by, this.view.to + by);
        if (dy !== 0) this.stage.scrollTop -= dy;
      },
      zoom: (x, factor) => this.zoom(x, factor),
      brush: (from, to, done) => {
        this.s.brush = done ? null : [from, to];
        if (done && Math.abs(from - to) > 3) this.view.show(this.s.time(Math.min(from, to)), this.s.time(Math.max(from, to)));
        this.request({ over: true });
      },
      double: (x) => this.zoom(x, 0.25),
      tap: (x, y) => this.tap(this.s.at(x, y)),
      hover: (at) => this.hover(at),
    });
    window.addEventListener("beforeprint", () => this.print(true));
    window.addEventListener("afterprint", () => this.print(false));
  }

  private tap(hit: Hit | null): void {
    if (hit?.kind === "call") this.select(hit.call, true);
    else if (hit?.kind === "fold") this.fold(hit.group, !this.s.folded.has(hit.group));
    else if (hit?.kind === "anomaly") this.toAnomaly(0, hit.anomaly);
    else if (hit?.kind === "slice" && hit.slice.op >= 0 && this.callOf(hit.slice.op) >= 0) this.select(this.callOf(hit.slice.op), true);
    else if (hit?.kind === "slice") this.say(this.hitText(hit));
    else if (hit?.kind === "fault") this.say(this.hitText(hit));
    else if (this.panel.open || this.s.selected >= 0) {
      this.panel.close();
      this.s.selected = -1;
      this.resize();
      this.request({ over: true });
    }
  }

  private hover(at: { x: number; y: number } | null): void {
    this.view.point(at && at.x >= this.s.gutter ? this.s.time(at.x) : null);
    const hit = at ? this.s.at(at.x, at.y) : null;
    if (!at || !hit) {
      this.tip.hidden = true;
      this.over.style.cursor = "";
      return;
    }
    this.over.style.cursor = hit.kind === "call" || hit.kind === "fold" || hit.kind === "anomaly" ? "pointer" : "";
    this.tip.textContent = readable(this.hitText(hit));
    this.tip.hidden = this.tip.textContent === "";
    const right = at.x > this.s.width / 2;
    this.tip.style.left = right ? "" : `${at.x + 14}px`;
    this.tip.style.right = right ? `${this.s.width - at.x + 14}px` : "";
    this.tip.style.maxWidth = `${Math.max(right ? at.x : this.s.width - at.x, 120) - 24}px`;
    const down = at.y > this.s.height / 2;
    this.tip.style.top = down ? "" : `${at.y + 14}px`;
    this.tip.style.bottom = down ? `${this.s.height - at.y + 14}px` : "";
  }

  /** What something is, in words. */
  private hitText(hit: Hit): string {
    const { ops } = this.data;
    switch (hit.kind) {
      case "call": {
        const { nodes } = this.doc.ops;
        const took = ops.complete[hit.call] < 0 ? "" : `, took ${span(ops.end[hit.call] - ops.start[hit.call])}`;
        const lines = [
          `${this.s.words.get(hit.call) ?? name(this.s, hit.call)}: ${outcomes[ops.outcome[hit.call]]}`,
          `${ops.process[hit.call] < 0 ? who(ops.process[hit.call]) : `process ${ops.process[hit.call]}`}${ops.node[hit.call] >= 0 ? ` on ${nodes[ops.node[hit.call]]}` : ""}`,
          `at ${instant(ops.start[hit.call])}${took}`,
        ];
        if (hit.more > 0) lines.push(`and ${hit.more} more here`);
        return lines.join("\n");
      }
      case "slice": {
        const to = hit.slice.to < 0 ? "to the end" : `to ${instant(hit.slice.to)} (${span(hit.slice.to - hit.slice.from)})`;
        return `${hit.track.group}: ${hit.track.name}\n${hit.slice.label}${hit.slice.bad ? "\nthis must not be" : ""}\n${instant(hit.slice.from)} ${to}`;
      }
      case "fault": return hit.faults.map(faultText).join("\n\n");
      case "anomaly": {
        const a = this.doc.anomalies[hit.anomaly];
        return `anomaly ${hit.anomaly + 1}: ${a.kind}\n${a.note}`;
      }
      case "label": return this.labelText(hit.row);
      case "gap": return this.s.finished ? `These operations are not in this page. ${this.doc.ops.left ?? ""}` : "These operations are being read.";
      case "fold": return "";
    }
  }

  private labelText(row: (Hit & { kind: "label" })["row"]): string {
    if (row.kind === "track") return `${row.track.group}: ${row.track.name}`;
    if (row.kind !== "lane") return "";
    const { first, call, names } = this.s.lanes;
    const n = first[row.lane + 1] - first[row.lane];
    const lines = [`${bys[this.s.by]} ${names[row.lane]}`, `${n.toLocaleString("en")} operations`];
    if (this.s.by === "process") {
      const processes = new Set<number>();
      for (let p = first[row.lane]; p < first[row.lane + 1]; p++) processes.add(this.data.ops.process[call[p]]);
      const later = [...processes].map(who).filter((w) => w !== names[row.lane]);
      if (later.length > 0) lines.push(`then ${later.slice(0, 12).join(", ")}${later.length > 12 ? ` and ${later.length - 12} more` : ""}, each after one that died`);
    }
    return lines.join("\n");
  }

  private say(text: string): void {
    this.said.textContent = readable(text);
  }

  // ---- drawing

  private colours(paper = false): void {
    this.s.dpr = Math.min(window.devicePixelRatio || 1, 2);
    this.s.colours = palette(this.s.dpr, paper);
  }

  /** Makes the stage as high as its rows, within reason. */
  private lay(): void {
    const wanted = this.s.bodyTop + this.s.layout.total + 6; // with its border
    const room = Math.max(320, Math.round(window.innerHeight * 0.7));
    this.stage.style.height = `${Math.min(Math.max(wanted, 160), room)}px`;
    this.resize();
  }

  private resize(): void {
    const width = Math.max(this.stage.clientWidth, 120), height = Math.max(this.stage.clientHeight, 60);
    this.sticky.style.height = `${height}px`;
    this.spacer.style.height = `${Math.max(this.s.bodyTop + this.s.layout.total + 4 - height, 0)}px`;
    const dpr = Math.min(window.devicePixelRatio || 1, 2);
    const changed = width !== this.s.width || height !== this.s.height || dpr !== this.s.dpr || this.base.width === 300;
    if (!changed) return;
    this.s.width = width;
    this.s.height = height;
    if (dpr !== this.s.dpr) this.colours();
    this.request({ base: true, over: true, map: true });
  }

  private request(what: Partial<Mounted["due"]>): void {
    for (const k of ["base", "over", "map", "list"] as const) if (what[k]) this.due[k] = true;
    if (this.asked === 0) this.asked = requestAnimationFrame(() => this.frame());
  }

  private frame(): void {
    this.asked = 0;
    const began = performance.now();
    const { due } = this;
    this.due = { base: false, over: false, map: false, list: false };
    const s = this.s;
    s.scroll = this.stage.scrollTop;
    if (due.base) {
      for (const c of [this.base, this.over]) {
        const width = Math.round(s.width * s.dpr), height = Math.round(s.height * s.dpr);
        if (c.width !== width || c.height !== height) {
          c.width = width;
          c.height = height;
        }
      }
      const wanted = this.drawing.draw(context(this.base), s);
      if (wanted.length > 0) void this.read(wanted);
    }
    if (due.map) this.map.draw();
    else if (due.base) this.map.move();
    if (due.base || due.over) drawOver(context(this.over), s);
    if (due.list && this.list.shown) this.list.draw();
    if (due.base) {
      this.took.push(performance.now() - began);
      if (this.took.length > 120) this.took.shift();
    }
    if (!this.first && s.drawable && due.base) {
      this.first = true;
      performance.mark("hacheck:first-drawing");
    }
    if (!this.ended && s.finished && s.drawable && due.base) {
      this.ended = true;
      performance.mark("hacheck:complete");
    }
  }

  /** Reads what calls in sight did, and draws them with it. */
  private async read(calls: number[]): Promise<void> {
    if (this.reading) return;
    this.reading = true;
    try {
      if (this.s.words.size > 20000) this.s.words.clear();
      for (const call of calls) {
        const detail = await this.data.ops.detail(call);
        const words = detail ? briefly(detail.invoke, detail.complete) : "";
        this.s.words.set(call, words === "" ? name(this.s, call) : words);
      }
    } catch {
      // The panel says so of the call that is asked for; until then its name does.
      for (const call of calls) if (!this.s.words.has(call)) this.s.words.set(call, name(this.s, call));
    } finally {
      this.reading = false;
    }
    this.request({ base: true });
  }

  /** On paper: a still picture of what is in sight, in light colours. */
  private print(on: boolean): void {
    this.colours(on);
    this.resize();
    this.request({ base: true, over: true, map: true });
    cancelAnimationFrame(this.asked);
    this.frame();
  }
}
