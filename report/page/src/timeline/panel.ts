// All that is known of one call, beside the picture.

import { Outcome } from "../ops";
import { name } from "./draw";
import { el } from "../element";
import { instant, span } from "../format";
import { button } from "./button";
import { outcomes, who } from "./lanes";
import type { Scene } from "./scene";
import { readable } from "../readable";
import { counted } from "../unit";
import { briefly, pretty } from "./words";

export interface Wishes {
  select(call: number): void;
  history(key: string): void;
  close(): void;
  say(text: string): void;
}

const meaning: Record<number, string> = {
  [Outcome.OK]: "ok: it took place",
  [Outcome.Fail]: "fail: it did not take place",
  [Outcome.Info]: "info: nobody knows whether it took place",
  [Outcome.Event]: "event: something that was seen",
  [Outcome.Open]: "never completed: nobody knows whether it took place",
};

export class Panel {
  readonly root = el("aside", { class: "tl-panel", "data-part": "panel", "aria-label": "Selected operation", hidden: true });
  private shown = -1;

  constructor(private readonly s: Scene, private readonly wishes: Wishes) {
    this.root.addEventListener("keydown", (e) => {
      if (e.key !== "Escape") return;
      e.preventDefault();
      e.stopPropagation();
      wishes.close();
    });
  }

  get open(): boolean { return !this.root.hidden; }

  close(): void {
    this.root.hidden = true;
    this.shown = -1;
  }

  /** Shows a call, and takes the focus if that is wanted. */
  async show(call: number, focus: boolean): Promise<void> {
    this.shown = call;
    const { ops } = this.s.data;
    const { nodes, keys, errors } = this.s.doc.ops;
    const title = el("h3", { tabindex: "-1", "data-part": "panel-title" }, name(this.s, call));
    const open = ops.complete[call] < 0;
    const event = ops.outcome[call] === Outcome.Event;
    const lost = open && !event && this.s.mayHaveCompleted(call);
    const facts: [string, string][] = [["outcome", lost ? "not known: if it completed, that is not in this page" : ops.process[call] === -1 && !event ? "info, as all that the nemesis does" : meaning[ops.outcome[call]] ?? ""]];
    facts.push(["process", who(ops.process[call])]);
    facts.push(["node", ops.node[call] >= 0 ? nodes[ops.node[call]] : "not known"]);
    if (ops.key[call] >= 0) facts.push(["key", keys[ops.key[call]]]);
    if (event) {
      facts.push(["at", instant(ops.start[call])]);
    } else {
      facts.push(["invoked", instant(ops.start[call])]);
      facts.push(["completed", lost ? "not known" : open ? "never" : instant(ops.end[call])]);
      facts.push(["took", open ? "not known" : took(ops.end[call] - ops.start[call])]);
    }
    if (ops.error[call] >= 0) facts.push(["error", errors[ops.error[call]]]);
    facts.push(["in the history", event || open ? `op ${ops.invoke[call]}` : `ops ${ops.invoke[call]} and ${ops.complete[call]}`]);
    const list = el("dl");
    for (const [n, text] of facts) list.append(el("dt", {}, n), el("dd", { "data-fact": n }, text));
    const json = el("div", { class: "tl-json", "data-part": "panel-json" }, el("p", { class: "tl-faint" }, "reading its values…"));
    const before = this.neighbour(call, -1), after = this.neighbour(call, 1);
    const previous = button("panel-previous", "‹ previous of its process", "‹ previous of its process", () => this.wishes.select(before));
    const next = button("panel-next", "next of its process ›", "next of its process ›", () => this.wishes.select(after));
    previous.disabled = before < 0;
    next.disabled = after < 0;
    const acts = el("div", { class: "tl-acts" }, previous, next);
    if (ops.key[call] >= 0) {
      acts.append(button("panel-key", "its key's history", "its key's history", () => this.wishes.history(keys[ops.key[call]])));
    }
    const held = this.root.contains(document.activeElement) ? (document.activeElement as HTMLElement).dataset.part : undefined;
    this.root.replaceChildren(
      el("header", {}, title, button("panel-close", "×", "Close", () => this.wishes.close())),
      list, acts, json,
    );
    this.root.hidden = false;
    // Whoever pressed a button goes on from it.
    const again = held ? this.root.querySelector<HTMLElement>(`[data-part="${held}"]`) : null;
    if (again && !again.matches(":disabled")) again.focus({ preventScroll: true });
    else if (focus || held) title.focus({ preventScroll: true });

    const detail = await ops.detail(call).catch((e: unknown) => String(e));
    if (this.shown !== call) return;
    if (typeof detail === "string" || !detail) {
      json.replaceChildren(el("p", { class: "tl-faint" },
        typeof detail === "string" ? `its values cannot be read: ${detail}` : `its values are not in this page. ${this.s.doc.ops.left ?? ""}`));
      return;
    }
    const words = briefly(detail.invoke, detail.complete);
    if (words !== "") title.textContent = readable(words.length > 120 ? `${words.slice(0, 120)}…` : words);
    json.replaceChildren(
      el("h4", {}, event ? "the op" : "its invocation"), el("pre", { tabindex: "0", "data-part": "panel-invoke" }, pretty(detail.invoke)));
    if (detail.complete !== null) {
      json.append(el("h4", {}, "its completion"), el("pre", { tabindex: "0", "data-part": "panel-complete" }, pretty(detail.complete)));
    }
    const text = detail.complete === null ? detail.invoke : `${detail.invoke}\n${detail.complete}`;
    acts.append(button("panel-copy", "copy JSON", "copy JSON", () => { void this.copy(text, json); }));
  }

  /** The call before or after one, of the same process. */
  private neighbour(call: number, step: number): number {
    const { process, length } = this.s.data.ops;
    for (let i = call + step; i >= 0 && i < length; i += step) if (process[i] === process[call]) return i;
    return -1;
  }

  private async copy(text: string, json: HTMLElement): Promise<void> {
    try {
      await navigator.clipboard.writeText(text);
      this.wishes.say("copied");
    } catch {
      // A page of a file may not write there: it is selected at least.
      getSelection()?.selectAllChildren(json);
      this.wishes.say("selected: copy it with Ctrl + C");
    }
  }
}

/** How long something took, to be read and to the microsecond. */
function took(d: number): string {
  return counted() || d < 1000 ? span(d) : `${span(d)} (${Math.round(d)} µs)`;
}

/** A call on one line, for who listens. */
export function spoken(s: Scene, call: number): string {
  const { ops } = s.data;
  const node = ops.node[call] >= 0 ? ` on ${s.doc.ops.nodes[ops.node[call]]}` : "";
  const took = ops.complete[call] >= 0 ? `, took ${span(ops.end[call] - ops.start[call])}` : "";
  const by = ops.process[call] < 0 ? who(ops.process[call]) : `process ${ops.process[call]}`;
  return `${s.words.get(call) ?? name(s, call)}, ${outcomes[ops.outcome[call]]}, ${by}${node}, at ${instant(ops.start[call])}${took}`;
}
