// How far the calls of a key can be put in order: step by step, with the state of the model
// after each, up to where nothing can come next.

import type { Anomaly, Order } from "./document";
import { table } from "./dom";
import { el, type Child } from "./element";
import { Drawing, type Look, type Subject } from "./drawing";
import { count, plural } from "./format";
import { labels } from "./labels";
import type { Page } from "./page";

const shown = 24; // steps in the drawing, up to the present one

/** Puts the stepper into the page. */
export function orderOf(page: Page, a: Anomaly, order: Order, into: HTMLElement): void {
  const texts = labels(order.calls, a.key);
  let chosen = 0;
  let step = 0; // how many steps are taken

  const drawing = new Drawing(subject());
  const says = el("p", { class: "state", "aria-live": "polite", "data-part": "state" });
  const range = el("input", { type: "range", min: 0, step: 1, "aria-label": "Step", "data-part": "step" });
  const list = el("div", { class: "steps" });
  const button = (label: string, text: string, to: () => number) =>
    el("button", { type: "button", "aria-label": label, title: label, onclick: () => go(to()) }, text);
  const stepper = el("div", { class: "stepper", role: "group", "aria-label": "Steps of the order" },
    button("First step", "«", () => 0), button("Previous step", "‹", () => step - 1), range,
    button("Next step", "›", () => step + 1), button("Last step", "»", () => Infinity));
  range.addEventListener("input", () => go(Number(range.value)));

  const choice = el("select", { "aria-label": "Which order", "data-part": "partial" },
    ...order.partials.map((p, i) => el("option", { value: i }, `${i + 1}: ${plural(p.steps.length, "call")} in order`)));
  choice.addEventListener("change", () => choose(Number(choice.value)));

  into.append(
    el("p", {}, "Each call takes effect at one moment between its begin and its end. Shown is how far the search for an order of such moments gets: behind the last step, no call that would have to come next fits the state."),
    el("div", { class: "actions" },
      order.partials.length > 1 && el("label", {}, "Order ", choice), stepper),
    says, drawing.element, list);
  choose(0);

  function choose(i: number): void {
    chosen = i;
    const p = order.partials[i];
    range.max = String(p.steps.length);
    list.replaceChildren(table("The order", ["", "op", "process", "call", "state after it"], ">>><<", [
      ["", "", "", el("span", { class: "faint" }, "at first"), el("code", {}, p.initial)],
      ...p.steps.map((s, n): Child[] => {
        const c = order.calls[s.call];
        if (!c) return [String(n + 1), "", "", "?", s.state];
        return [String(n + 1), el("button", { type: "button", class: "op", "data-op": c.invoke, title: "Show it in the timeline", onclick: () => page.reveal(c.invoke) }, String(c.invoke)),
          c.process, texts[s.call], el("code", {}, s.state)];
      }),
      ...p.stuck.flatMap((at): Child[][] => {
        const c = order.calls[at];
        if (!c) return [];
        return [["✕", el("button", { type: "button", class: "op", "data-op": c.invoke, title: "Show it in the timeline", onclick: () => page.reveal(c.invoke) }, String(c.invoke)),
          c.process, texts[at], el("b", { class: "cannot" }, "cannot come next")]];
      }),
    ], { class: "order" }));
    list.firstElementChild?.classList.add("tall");
    go(Infinity);
  }

  function go(to: number): void {
    const p = order.partials[chosen];
    step = Math.max(0, Math.min(to, p.steps.length));
    range.value = String(step);
    const state = step === 0 ? p.initial : p.steps[step - 1].state;
    const done = step === p.steps.length;
    range.setAttribute("aria-valuetext", `step ${step} of ${p.steps.length}, state ${state}`);
    const stuck = p.stuck.filter((i) => order.calls[i] !== undefined);
    says.replaceChildren(`Step ${count(step)} of ${count(p.steps.length)}: state `, el("code", {}, state),
      done && stuck.length > 0 ? el("span", { class: "cannot" }, `; ${stuck.map((i) => `“${texts[i]}” of process ${order.calls[i].process}`).join(", ")} cannot come next`) : "");
    const rows = list.querySelectorAll<HTMLElement>("tbody tr");
    rows.forEach((row, i) => {
      row.classList.toggle("present", i === step);
      row.classList.toggle("later", i > step && i <= p.steps.length);
    });
    const box = list.firstElementChild, row = rows[step];
    if (box && row) box.scrollTop = row.offsetTop - box.clientHeight / 2;
    drawing.show(subject());
  }

  /** The last steps that are taken, what is stuck, and the step that would be next. */
  function subject(): Subject {
    const p = order.partials[chosen];
    const first = Math.max(0, step - shown);
    const place = new Map<number, number>();
    p.steps.slice(first, step).forEach((s, i) => place.set(s.call, first + i + 1));
    const stuck = new Set(p.stuck);
    const next = p.steps.slice(step, step + 3).map((s) => s.call);
    const wanted = [...new Set([...place.keys(), ...next, ...stuck])].filter((i) => order.calls[i] !== undefined)
      .sort((x, y) => order.calls[x].invoke - order.calls[y].invoke);
    const calls = wanted.map((i) => order.calls[i]);
    const look = (i: number): Look => (stuck.has(wanted[i]) ? "stuck" : place.has(wanted[i]) ? "strong" : "dim");
    return {
      label: `The order after ${step} steps`, calls, key: a.key,
      from: Math.min(a.to, ...calls.map((c) => c.from)), to: Math.max(0, ...calls.map((c) => Math.max(c.from, c.to))),
      look, tag: (i) => (stuck.has(wanted[i]) ? "✕" : String(place.get(wanted[i]) ?? "")),
      pick: (c) => page.reveal(c.invoke), eye: wanted.findLastIndex((i) => stuck.has(i) || place.has(i)),
    };
  }
}
