// The calls in sight as a table: for who does not see pictures, or wants to read.

import { name } from "./draw";
import { el } from "../element";
import { instant, span } from "../format";
import { outcomes, who } from "./lanes";
import type { Scene } from "./scene";

const most = 200;
const columns = ["at", "took", "process", "node", "operation", "outcome", "error"];

export class List {
  readonly root = el("div", { class: "tl-list", "data-part": "list", hidden: true });

  constructor(private readonly s: Scene, select: (call: number) => void) {
    this.root.addEventListener("click", (e) => {
      const call = e.target instanceof HTMLElement ? e.target.closest<HTMLElement>("button[data-call]") : null;
      if (call) select(Number(call.dataset.call));
    });
  }

  get shown(): boolean { return !this.root.hidden; }

  draw(): void {
    const { ops } = this.s.data;
    const { nodes, errors } = this.s.doc.ops;
    const { view, filter } = this.s;
    const body = el("tbody");
    let n = 0, more = 0;
    for (let i = 0; i < ops.length && ops.start[i] <= view.to; i++) {
      if (ops.end[i] < view.from || (filter && filter.bits[i] === 0)) continue;
      if (n >= most) {
        more++;
        continue;
      }
      n++;
      const cells = [
        instant(ops.start[i]), ops.complete[i] < 0 ? "" : span(ops.end[i] - ops.start[i]), who(ops.process[i]),
        ops.node[i] >= 0 ? nodes[ops.node[i]] : "", "", outcomes[ops.outcome[i]] ?? "", ops.error[i] >= 0 ? errors[ops.error[i]] : "",
      ];
      const row = el("tr", i === this.s.selected ? { "aria-current": "true" } : {});
      cells.forEach((text, c) => {
        row.append(el("td", {}, columns[c] === "operation"
          ? el("button", { type: "button", "data-call": i }, this.s.words.get(i) ?? name(this.s, i)) : text));
      });
      body.append(row);
    }
    const what = filter ? "matching operations" : "operations";
    const caption = more > 0 ? `The first ${n} of ${(n + more).toLocaleString("en")} ${what} in sight` : `${n} ${what} in sight`;
    this.root.replaceChildren(el("table", {},
      el("caption", { "data-part": "list-caption" }, `${caption}, ${instant(view.from)} to ${instant(view.to)}`),
      el("thead", {}, el("tr", {}, ...columns.map((c) => el("th", { scope: "col" }, c)))), body));
  }
}
