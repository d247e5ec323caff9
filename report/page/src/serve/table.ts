// The table of runs: what is asked for stands in the address, so that links and the back
// button work; the server filters, sorts and cuts.

import type { Row, Runs } from "./api";
import { ask, link, words } from "./ask";
import { copyButton } from "./dom";
import { el } from "../element";
import { open } from "./actions";
import { count, moment, plural, quoted, span, verdict } from "./words";

interface Column { name: string; title: string; about?: string; number?: boolean }

const columns: Column[] = [
  { name: "verdict", title: "Verdict" },
  { name: "system", title: "System" },
  { name: "bug", title: "Bug" },
  { name: "workload", title: "Workload" },
  { name: "nemesis", title: "Nemesis" },
  { name: "seed", title: "Seed", number: true },
  { name: "began", title: "Began" },
  { name: "duration", title: "Took", number: true, about: "From its begin to its end, with setting up and tearing down" },
  { name: "ops", title: "Ops", number: true, about: "Operations of clients: ok, failed, of unknown outcome" },
  { name: "states", title: "States", number: true, about: "States of the cluster that were seen" },
  { name: "faults", title: "Faults", number: true, about: "Faults that acted, of those that began" },
];
const filters = ["verdict", "system", "workload", "nemesis", "bug"];
const page = 100;
/** How many milliseconds after it was refused the server is asked for its changes again. */
const again = 10_000;

export function table(main: HTMLElement, store: string, readOnly: boolean): void {
  new Table(main, store, readOnly);
}

class Table {
  private params = new URLSearchParams(location.search);
  private shown: Runs | null = null;
  private asking: AbortController | null = null;
  private readonly rows = new Map<string, { json: string; tr: HTMLTableRowElement }>();
  private chosen: string[] = remembered();

  private readonly search = el("input", { type: "search", id: "q", name: "q", "data-part": "search", placeholder: "words, a seed, a kind of anomaly", autocomplete: "off", spellcheck: "false" });
  private readonly selects = new Map<string, HTMLSelectElement>();
  private readonly sort = el("select", { id: "sort", "data-part": "sort" });
  private readonly inner = el("input", { type: "checkbox", id: "inner", "data-part": "inner" });
  private readonly innerLabel = el("label", { for: "inner", hidden: true });
  private readonly status = el("p", { role: "status", "aria-live": "polite", "data-part": "status" }, "Reading the store…");
  private readonly problem = el("p", { role: "alert", class: "problem", "data-part": "problem", hidden: true });
  private readonly heads = new Map<string, HTMLTableCellElement>();
  private readonly body = el("tbody", { "data-part": "runs" });
  private readonly table: HTMLElement;
  private readonly empty = el("div", { "data-part": "empty", hidden: true });
  private readonly pages = el("nav", { "aria-label": "Pages", "data-part": "pages" });
  private readonly bar = el("div", { class: "bar", "data-part": "chosen", role: "region", "aria-label": "Runs chosen for comparison", hidden: true });

  constructor(main: HTMLElement, private readonly store: string, private readonly readOnly: boolean) {
    const head = el("tr", {}, el("th", { scope: "col" }, el("span", { class: "unseen" }, "Choose")));
    for (const c of columns) {
      const th = el("th", { scope: "col", class: c.number && "number" },
        el("button", { type: "button", "data-part": `sort-${c.name}`, title: c.about, onclick: () => this.sortBy(c.name) }, c.title));
      this.heads.set(c.name, th);
      head.append(th);
      for (const order of ["asc", "desc"]) this.sort.append(el("option", { value: `${c.name} ${order}` }, `${c.title}, ${order === "asc" ? "up" : "down"}`));
    }
    head.append(el("th", { scope: "col" }, "Open"));
    this.table = el("table", { class: "runs", "data-part": "table" }, el("caption", { class: "unseen" }, "Runs"), el("thead", {}, head), this.body);

    const form = el("form", { role: "search", class: "filters", "data-part": "filters", onsubmit: (e) => e.preventDefault() },
      el("div", { class: "field wide" }, el("label", { for: "q" }, "Search"), this.search));
    for (const name of filters) {
      const select = el("select", { id: `filter-${name}`, "data-part": `filter-${name}` });
      this.selects.set(name, select);
      form.append(el("div", { class: "field" }, el("label", { for: `filter-${name}` }, name[0]!.toUpperCase() + name.slice(1)), select));
      select.addEventListener("change", () => this.go({ [name]: select.value, offset: "" }));
    }
    form.append(el("div", { class: "field sorting" }, el("label", { for: "sort" }, "Order"), this.sort));
    form.append(el("div", { class: "field check" }, this.inner, this.innerLabel));
    form.append(el("div", { class: "field" }, el("button", { type: "button", "data-part": "reset", onclick: () => this.go(Object.fromEntries([...this.params.keys()].map((k) => [k, ""]))) }, "Show all")));

    let timer = 0;
    this.search.addEventListener("input", () => {
      clearTimeout(timer);
      timer = window.setTimeout(() => this.go({ q: this.search.value.trim(), offset: "" }, true), 150);
    });
    this.sort.addEventListener("change", () => {
      const [sort, order] = this.sort.value.split(" ");
      this.go({ sort: sort ?? "", order: order ?? "", offset: "" });
    });
    this.inner.addEventListener("change", () => this.go({ inner: this.inner.checked ? "1" : "", offset: "" }));
    window.addEventListener("popstate", () => {
      this.params = new URLSearchParams(location.search);
      void this.load();
    });
    main.replaceChildren(el("h1", {}, "Runs"), form, this.status, this.problem, this.empty, this.table, this.pages, this.bar);
    this.choose();
    void this.load().then(() => this.listen());
  }

  /** Asks for something else, and notes it in the address. */
  private go(change: Record<string, string>, replace = false): void {
    for (const [name, value] of Object.entries(change)) {
      if (value) this.params.set(name, value);
      else this.params.delete(name);
    }
    const address = this.params.size > 0 ? `?${this.params}` : location.pathname;
    if (replace) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    void this.load();
  }

  private order(): [string, string] {
    const sort = this.params.get("sort") || "began";
    return [sort, this.params.get("order") || (sort === "began" ? "desc" : "asc")];
  }

  private sortBy(name: string): void {
    const [sort, order] = this.order();
    const first = name === "began" ? "desc" : "asc";
    this.go({ sort: name, order: sort !== name ? first : order === "asc" ? "desc" : "asc", offset: "" });
  }

  /** Follows changes of the store, and asks again when there are any. */
  private listen(): void {
    let events: EventSource | null = null;
    const begin = (): void => {
      events?.close();
      events = null;
      // A browser has few connections for all its tabs: one that nobody sees holds none.
      if (document.hidden) return;
      const now = events = new EventSource("/api/events");
      now.addEventListener("runs", (e) => {
        const { version } = JSON.parse((e as MessageEvent<string>).data) as { version: number };
        if (version !== this.shown?.version) void this.load(true);
        else this.tell(null);
      });
      now.addEventListener("error", () => {
        this.tell("The server does not answer. What is shown may be old.");
        if (now.readyState !== EventSource.CLOSED) return; // or the browser asks again
        void this.load(true); // which says why
        setTimeout(() => { if (events === now) begin(); }, again);
      });
    };
    document.addEventListener("visibilitychange", begin);
    begin();
  }

  private tell(problem: string | null): void {
    this.problem.hidden = problem === null;
    this.problem.textContent = problem ?? "";
  }

  private async load(quietly = false): Promise<void> {
    this.asking?.abort();
    const asking = this.asking = new AbortController();
    const query = new URLSearchParams(this.params);
    query.set("limit", String(page));
    try {
      const runs = await ask<Runs>(`/api/runs?${query}`, asking.signal);
      this.tell(null);
      this.show(runs, quietly);
    } catch (e) {
      if (!asking.signal.aborted) this.tell(words(e));
    }
  }

  private show(runs: Runs, quietly: boolean): void {
    const before = this.shown;
    this.shown = runs;
    const said = runs.matched === runs.total - (this.params.get("inner") ? 0 : runs.inner)
      ? plural(runs.matched, "run") : `${count(runs.matched)} of ${plural(runs.total, "run")}`;
    if (!quietly || !before || before.matched !== runs.matched) this.status.textContent = said;
    this.controls(runs);
    this.fill(runs.rows);
    this.turn(runs);
    const none = runs.rows.length === 0;
    this.table.hidden = none;
    this.empty.hidden = !none;
    if (none) this.nothing(runs);
  }

  /** Says why there is nothing, and what to do about it. */
  private nothing(runs: Runs): void {
    if (runs.total > 0) {
      this.empty.replaceChildren(el("p", {}, "No run is like that. "), el("button", { type: "button", onclick: () => this.go(Object.fromEntries([...this.params.keys()].map((k) => [k, ""]))) }, "Show all"));
      return;
    }
    const typed = `hacheck run --workload register --nemesis partition --store ${quoted(this.store)}`;
    this.empty.replaceChildren(
      el("p", {}, "There is no run in ", el("code", {}, this.store), " yet. To make one, type:"),
      el("div", { class: "command" }, el("code", { tabindex: 0 }, typed), copyButton(typed, "the command")),
      el("p", { class: "faint" }, "It shows here by itself as soon as it begins."));
  }

  private controls(runs: Runs): void {
    if (document.activeElement !== this.search) this.search.value = this.params.get("q") ?? "";
    for (const facet of runs.facets) {
      const select = this.selects.get(facet.name);
      if (!select || document.activeElement === select && select.options.length > 0 && select.value === (this.params.get(facet.name) ?? "")) continue;
      const now = this.params.get(facet.name) ?? "";
      const values = facet.values.map((v) => v.value);
      select.replaceChildren(el("option", { value: "" }, "all"),
        ...facet.values.map((v) => el("option", { value: v.value }, `${v.value} (${count(v.runs)})`)),
        now && !values.includes(now) ? el("option", { value: now }, `${now} (0)`) : "");
      select.value = now;
    }
    const [sort, order] = this.order();
    this.sort.value = `${sort} ${order}`;
    for (const [name, th] of this.heads) {
      if (name === sort) th.setAttribute("aria-sort", order === "asc" ? "ascending" : "descending");
      else th.removeAttribute("aria-sort");
    }
    this.inner.checked = this.params.has("inner");
    this.inner.parentElement!.hidden = this.innerLabel.hidden = runs.inner === 0;
    this.innerLabel.textContent = `with ${plural(runs.inner, "run")} of shrink`;
  }

  /** Shows rows. Those that were there stay the elements that they are, so that nobody who
   * reads or types loses the place. */
  private fill(rows: Row[]): void {
    const wanted = new Set(rows.map((r) => r.path));
    for (const [path, { tr }] of this.rows) {
      if (wanted.has(path)) continue;
      tr.remove();
      this.rows.delete(path);
    }
    let at: ChildNode | null = this.body.firstChild;
    for (const row of rows) {
      const json = JSON.stringify(row);
      let had = this.rows.get(row.path);
      if (!had) {
        had = { json, tr: el("tr", { "data-run": row.path }) };
        this.rows.set(row.path, had);
        had.tr.append(...this.cells(row));
      } else if (had.json !== json) {
        const part = had.tr.contains(document.activeElement) ? (document.activeElement as HTMLElement).dataset.part : undefined;
        had.json = json;
        had.tr.replaceChildren(...this.cells(row));
        if (part) had.tr.querySelector<HTMLElement>(`[data-part="${CSS.escape(part)}"]`)?.focus();
      }
      if (at === had.tr) at = at.nextSibling;
      else this.body.insertBefore(had.tr, at);
    }
  }

  private cells(row: Row): HTMLElement[] {
    const cell = (name: string, ...children: (Node | string)[]): HTMLTableCellElement => {
      const column = columns.find((c) => c.name === name);
      return el("td", { "data-label": column?.title, class: column?.number && "number" }, ...children);
    };
    const what = `${row.system} ${row.workload}, ${row.path}`;
    const box = el("input", { type: "checkbox", "data-part": "choose", "aria-label": `Choose for comparison: ${what}`, onchange: () => this.toggle(row.path) });
    box.checked = this.chosen.includes(row.path);
    const ongoing = row.state === "running" || row.state === "judging";
    const main = ongoing ? link("/live", row.path) : row.report ? link("/run", row.path, "report.html") : link("/run", row.path);
    const word = cell("verdict", el("a", { href: main, "data-part": "open" }, verdict(row.outcome)));
    const beside = row.kinds.length > 0 ? row.kinds.join(", ") : row.live ? `seen live: ${row.live}` : "";
    if (beside) word.append(el("span", { class: "beside", "data-part": "kinds" }, beside));
    if (row.flaw) word.append(el("span", { class: "beside problem", "data-part": "flaw" }, row.flaw));
    if ((row.state === "dead" || row.state === "interrupted") && row.outcome !== "ended early") word.append(el("span", { class: "beside" }, "ended early"));
    const judged = row.ok >= 0;
    return [
      el("td", { class: "choose" }, box),
      word,
      cell("system", row.system, row.parent ? el("span", { class: "beside", title: row.parent }, "of a shrink") : ""),
      cell("bug", row.bug ?? ""),
      cell("workload", row.workload),
      cell("nemesis", row.nemesis),
      cell("seed", row.seed.length > 12 ? el("span", { class: "long" }, row.seed) : row.seed),
      cell("began", moment(row.began)),
      cell("duration", ongoing ? "…" : span(row.duration)),
      judged ? cell("ops", count(row.ok + row.fail + row.info), el("span", { class: "beside" }, `${count(row.ok)} ok`)) : cell("ops", "–"),
      cell("states", judged && row.states > 0 ? count(row.states) : "–"),
      cell("faults", judged ? `${count(row.acted)} of ${count(row.begun)}` : "–"),
      el("td", { class: "actions" },
        ongoing ? el("a", { class: "button small", href: link("/live", row.path), "data-part": "live" }, "Live")
          : row.report ? el("a", { class: "button small", href: link("/run", row.path, "report.html"), "data-part": "report" }, "Report")
            : el("span", { class: "faint", title: "No page was made of it. More has the command that does." }, "no report"),
        el("a", { href: link("/run", row.path), "data-part": "files" }, "Files"),
        el("button", { type: "button", class: "small", "data-part": "more", "aria-haspopup": "dialog", "aria-label": `More about ${what}`, onclick: () => open(row.path, this.readOnly, () => void this.load(true)) }, "More…")),
    ];
  }

  /** Offers the other pages. */
  private turn(runs: Runs): void {
    const to = (text: string, part: string, offset: number): HTMLElement => el("a", {
      href: "?" + this.at(offset), "data-part": part, onclick: (e) => {
        if ((e as MouseEvent).ctrlKey || (e as MouseEvent).metaKey || (e as MouseEvent).shiftKey) return;
        e.preventDefault();
        this.go({ offset: offset > 0 ? String(offset) : "" });
        document.getElementById("main")?.focus();
        scrollTo(0, 0);
      },
    }, text);
    const last = runs.offset + runs.rows.length;
    this.pages.hidden = runs.matched <= runs.rows.length;
    const focused = this.pages.contains(document.activeElement) ? (document.activeElement as HTMLElement).dataset.part : undefined;
    this.pages.replaceChildren(
      runs.offset > 0 ? to("← Previous", "previous", Math.max(0, runs.offset - page)) : "",
      el("span", { "data-part": "place" }, runs.rows.length > 0 ? `${count(runs.offset + 1)} to ${count(last)} of ${count(runs.matched)}` : ""),
      last < runs.matched ? to("Next →", "next", last) : "");
    if (focused) this.pages.querySelector<HTMLElement>(`[data-part="${focused}"]`)?.focus();
  }

  private at(offset: number): string {
    const p = new URLSearchParams(this.params);
    if (offset > 0) p.set("offset", String(offset));
    else p.delete("offset");
    return String(p);
  }

  /** Chooses a run, or no more. There are two at most: the older choice goes. */
  private toggle(path: string): void {
    this.chosen = this.chosen.includes(path) ? this.chosen.filter((p) => p !== path) : [...this.chosen, path].slice(-2);
    this.choose();
  }

  private choose(): void {
    remember(this.chosen);
    for (const [path, { tr }] of this.rows) {
      const box = tr.querySelector<HTMLInputElement>('[data-part="choose"]');
      if (box) box.checked = this.chosen.includes(path);
    }
    const [a, b] = this.chosen;
    this.bar.hidden = !a;
    const clear = el("button", { type: "button", "data-part": "choose-none", onclick: () => { this.chosen = []; this.choose(); } }, "Choose none");
    if (a && b) {
      this.bar.replaceChildren(el("span", { class: "mono" }, `${a} · ${b}`),
        el("a", { href: `/compare?${new URLSearchParams({ a, b })}`, class: "button", "data-part": "compare" }, "Compare the two"), clear);
    } else if (a) {
      this.bar.replaceChildren(el("span", { class: "mono" }, a), el("span", {}, "Choose another to compare it with."), clear);
    }
  }
}

const name = "hacheck-chosen";

function remembered(): string[] {
  try {
    const had: unknown = JSON.parse(sessionStorage.getItem(name) ?? "[]");
    return Array.isArray(had) ? had.filter((p): p is string => typeof p === "string").slice(-2) : [];
  } catch {
    return [];
  }
}

function remember(chosen: string[]): void {
  try {
    sessionStorage.setItem(name, JSON.stringify(chosen));
  } catch {
    // then it lasts as long as the page
  }
}
