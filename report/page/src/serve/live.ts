// A run while it goes on: what the server tells of it, as it does.

import type { Live, Span } from "./api";
import { Throughput } from "./chart";
import { link } from "./ask";
import { type Child, el } from "../element";
import { spanOrNone } from "../format";
import { count, plural, verdict } from "./words";

/** How many changes of leaders are shown. */
const shown = 50;

/** Follows a run, of which it is known what it is, and more. */
export function live(main: HTMLElement, run: string, what: string, more: string): void {
  new Following(main, run, what, more);
}

class Following {
  private readonly outcome = el("span", { "data-part": "outcome" });
  private readonly problem = el("p", { class: "problem", role: "alert", "data-part": "problem", hidden: true });
  private readonly facts = new Map<string, HTMLElement>();
  private readonly found = el("div", { role: "alert", "data-part": "found" });
  private readonly judged = el("p", { class: "faint", "data-part": "judged" });
  private readonly over = el("p", { role: "status", class: "row", "data-part": "over", hidden: true });
  private readonly faultsTitle = el("h2", { id: "faults-title" }, "Faults in force");
  private readonly force = el("ul", { "data-part": "in-force" });
  private readonly past = el("p", { class: "faint", "data-part": "faults-so-far" });
  private readonly leaders = el("ol", { reversed: true, "data-part": "leaders" });
  private readonly trouble = el("ul", { class: "problem", "data-part": "trouble" });
  private readonly chart: Throughput;
  private columns: [number[], number[], number[]] = [[], [], []];
  private faults: Span[] = [];

  constructor(main: HTMLElement, private readonly run: string, private readonly what: string, more: string) {
    const facts = el("dl", { class: "tiles", "data-part": "progress" });
    for (const [id, name] of [["phase", "Phase"], ["elapsed", "Time"], ["rate", "Ops per second"], ["ok", "ok"], ["fail", "failed"], ["info", "of unknown outcome"], ["open", "without an answer"]] as const) {
      const value = el("dd", { "data-part": `live-${id}` }, "–");
      this.facts.set(id, value);
      facts.append(el("div", {}, el("dt", {}, name), value));
    }
    const chart = el("div", { class: "chart", "data-part": "throughput", role: "img", "aria-label": "Operations per second by outcome, with faults as bands" });
    main.replaceChildren(
      el("h1", {}, `${what} `, this.outcome), more ? el("p", { "data-part": "more" }, more) : "", el("p", { class: "mono faint" }, run),
      this.problem, this.over, this.found, facts, this.judged, this.trouble,
      el("section", { "aria-labelledby": "throughput-title" }, el("h2", { id: "throughput-title" }, "Throughput"), chart),
      el("div", { class: "two" },
        el("section", { "aria-labelledby": "faults-title" }, this.faultsTitle, this.force, this.past),
        el("section", { "aria-labelledby": "leaders-title" }, el("h2", { id: "leaders-title" }, "Leaders"), this.leaders)),
      el("p", { class: "row" }, el("a", { href: link("/run", run), "data-part": "files" }, "Files"), el("a", { href: "/" }, "All runs")));
    this.chart = new Throughput(chart);
    this.listen();
  }

  private listen(): void {
    const events = new EventSource(link("/api/live", this.run));
    events.addEventListener("live", (e) => {
      this.say(null);
      this.show(JSON.parse((e as MessageEvent<string>).data) as Live);
    });
    events.addEventListener("end", () => events.close()); // or the browser would ask again
    events.addEventListener("error", () => this.say(events.readyState === EventSource.CLOSED
      ? "The server tells no more of this run." : "The server does not answer. It is asked again."));
  }

  private say(problem: string | null): void {
    this.problem.hidden = problem === null;
    this.problem.textContent = problem ?? "";
  }

  private show(l: Live): void {
    const ongoing = l.state === "running" || l.state === "judging";
    this.outcome.replaceChildren(verdict(l.outcome));
    document.title = `${l.outcome}: ${this.what} – hacheck`;
    this.put("phase", ongoing ? l.phase || "not known" : "ended");
    this.put("elapsed", l.phase === "main" && ongoing && l.limit > 0 ? `${spanOrNone(l.elapsed)} of ${spanOrNone(l.limit)}` : spanOrNone(l.elapsed));
    this.put("ok", count(l.ok));
    this.put("fail", count(l.fail));
    this.put("info", count(l.info));
    this.put("open", count(l.open));
    this.columns = this.columns.map((had, i) => [...had.slice(0, l.from), ...[l.oks, l.fails, l.infos][i]!]) as typeof this.columns;
    this.put("rate", ongoing ? this.rate(l) : "–");
    if (l.faults) this.faults = l.faults;
    this.bands(ongoing);
    if (l.leaders) this.lead(l);
    this.find(l);
    this.judged.textContent = ongoing && l.judged ? `Judged while it runs: ${l.judged}.` : "";
    this.trouble.replaceChildren(...l.trouble.map((t) => el("li", {}, t)));
    this.chart.show(l.width / 1e6, this.columns, this.faults, l.elapsed / 1e6);
    if (!ongoing) this.end(l);
  }

  private put(id: string, text: string): void {
    const at = this.facts.get(id);
    if (at && at.textContent !== text) at.textContent = text;
  }

  /** What completed in the last whole column, by its width. */
  private rate(l: Live): string {
    const at = Math.floor(l.elapsed / l.width) - 1;
    if (at < 0) return "–";
    const n = this.columns.reduce((sum, c) => sum + (c[at] ?? 0), 0);
    return count(Math.round(n / (l.width / 1e6)));
  }

  private bands(ongoing: boolean): void {
    const counts = new Map<string, number>();
    const force: Node[] = [];
    for (const f of this.faults) {
      const is = state(f, ongoing);
      counts.set(is, (counts.get(is) ?? 0) + 1);
      if (ongoing && f.to < 0 && (is === "in force" || is === "about to begin")) {
        force.push(el("li", {}, f.what, el("span", { class: "faint" }, is === "in force" ? ` since ${spanOrNone(f.from)}` : " is about to begin")));
      }
    }
    this.faultsTitle.textContent = ongoing ? "Faults in force" : "Faults";
    this.force.replaceChildren(...force);
    if (force.length === 0) this.force.append(el("li", { class: "faint" }, "none"));
    this.force.hidden = !ongoing;
    this.past.textContent = [`${plural(this.faults.length, "fault")}${ongoing ? " so far" : ""}`, ...[...counts].map(([is, n]) => `${count(n)} ${is}`)].join(", ");
  }

  private lead(l: Live): void {
    const list = l.leaders ?? [];
    this.leaders.replaceChildren(...list.slice(-shown).reverse().map((x) => el("li", {},
      x.node ? `${x.node}, term ${x.term}` : "nobody", el("span", { class: "faint" }, ` from ${spanOrNone(x.time)}`))));
  }

  private find(l: Live): void {
    if (!l.found) return;
    const text = `${l.found.kind} at ${spanOrNone(l.found.time)}: ${l.found.note}`;
    if (this.found.textContent?.endsWith(text)) return; // say it once
    this.found.replaceChildren(el("p", { class: "anomaly" }, el("strong", {}, "First anomaly: "), text));
  }

  private end(l: Live): void {
    const links: Child[] = l.state === "deleted" ? ["It was deleted."] : [
      l.state === "ended" ? "It has ended." : "It ended early.",
      l.report ? el("a", { class: "button", href: link("/run", this.run, "report.html"), "data-part": "report" }, "Open its report") : null,
    ];
    this.over.replaceChildren(...links.filter((c): c is Node | string => !!c));
    this.over.hidden = false;
  }
}

/** What has become of a fault, as far as it is known: whether it acted shows when it is healed. */
function state(f: Span, ongoing: boolean): string {
  if (ongoing && f.pending === "begin") return "about to begin";
  if (ongoing && f.pending === "heal") return "about to be healed";
  if (f.held_back) return "held back";
  if (f.failed) return "failed";
  if (f.to < 0) return ongoing ? "in force" : "not healed";
  return f.acted > 0 ? "acted" : "without a sign that it did anything";
}
