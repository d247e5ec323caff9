// What can be done with one run: look at it, take it away, type what is to be typed, delete.

import type { Detail } from "./api";
import { ask, link, remove, words } from "./ask";
import { command } from "./dom";
import { type Child, el } from "../element";
import { bytes, count, moment, plural, span, verdict } from "./words";

/** Opens the dialog of a run. Whoever deletes it is told by changed. */
export function open(run: string, readOnly: boolean, changed: () => void): void {
  const title = el("h2", { id: "run-title" }, run);
  const body = el("div", { "data-part": "detail" }, el("p", {}, "Reading…"));
  const close = el("button", { type: "button", "data-part": "close", onclick: () => dialog.close() }, "Close");
  const dialog = el("dialog", { "aria-labelledby": "run-title", "data-part": "dialog" }, title, body, el("div", { class: "row" }, close));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  ask<Detail>(link("/api/run", run)).then(
    (d) => body.replaceChildren(...detail(d, readOnly, () => { dialog.close(); changed(); })),
    (e: unknown) => body.replaceChildren(el("p", { class: "problem", role: "alert" }, words(e))),
  );
}

function detail(d: Detail, readOnly: boolean, deleted: () => void): Node[] {
  const r = d.row;
  const ongoing = r.state === "running" || r.state === "judging";
  const facts = el("dl", {});
  const fact = (name: string, ...value: Child[]): void => { facts.append(el("dt", {}, name), el("dd", {}, ...value)); };
  fact("Verdict", verdict(r.outcome));
  if (r.kinds.length > 0) fact("Anomalies", r.kinds.join(", "));
  fact("Run", `${r.system}${r.bug ? ` with bug ${r.bug}` : ""}, workload ${r.workload}, nemesis ${r.nemesis}, ${plural(r.nodes, "node")}, seed ${r.seed}`);
  fact("Began", moment(r.began));
  if (r.duration >= 0) fact("Took", span(r.duration));
  if (r.ok >= 0) fact("Operations", `${count(r.ok)} ok, ${count(r.fail)} failed, ${count(r.info)} of unknown outcome`);
  for (const t of r.trouble) fact("Note", t);
  if (r.flaw) fact("Flaw", r.flaw);
  const links = el("p", { class: "row" },
    r.report ? el("a", { class: "button", href: link("/run", r.path, "report.html"), "data-part": "dialog-report" }, "Report") : null,
    el("a", { class: "button", href: link("/live", r.path), "data-part": "dialog-live" }, ongoing ? "Follow it live" : "How it went"),
    el("a", { class: "button", href: link("/run", r.path), "data-part": "dialog-files" }, "Files"),
    el("a", { class: "button", href: link("/api/zip", r.path), download: true, "data-part": "dialog-zip" }, "Zip"));
  const parts: Node[] = [facts, links];
  if (d.commands.length > 0) parts.push(el("h3", {}, "To type"), ...d.commands.map((c) => command(c.purpose, c.command)));
  if (!readOnly) parts.push(el("h3", {}, "Delete"), deletion(d, deleted));
  return parts;
}

/** Deletes after a look at what goes. */
function deletion(d: Detail, deleted: () => void): HTMLElement {
  const box = el("div", { class: "deletion", "data-part": "deletion" });
  const first = (): void => {
    const ask = el("button", { type: "button", "data-part": "delete", disabled: d.kept !== undefined, onclick: () => second() }, "Delete this run…");
    box.replaceChildren(ask, d.kept ? el("span", { class: "faint" }, ` Not now: ${d.kept}.`) : "");
  };
  const second = (): void => {
    const failed = el("p", { class: "problem", role: "alert", hidden: true });
    const sure = el("button", { type: "button", class: "danger", "data-part": "delete-sure" }, "Delete for good");
    const back = el("button", { type: "button", "data-part": "delete-not", onclick: () => { first(); box.querySelector("button")?.focus(); } }, "Keep it");
    sure.addEventListener("click", () => {
      sure.disabled = true;
      remove(d.row.path).then(deleted, (e: unknown) => {
        failed.textContent = words(e);
        failed.hidden = false;
        sure.disabled = false;
      });
    });
    box.replaceChildren(
      el("p", { id: "deleted" }, `This deletes ${d.row.path}: ${d.more ? "more than " : ""}${plural(d.files, "file")}, ${bytes(d.bytes)}`,
        d.inner.length > 0 ? `, with ${plural(d.inner.length, "run")} in it:` : ". It cannot be undone."),
      d.inner.length > 0 ? el("ul", {}, ...d.inner.slice(0, 10).map((p) => el("li", { class: "mono" }, p)), d.inner.length > 10 ? el("li", {}, `and ${d.inner.length - 10} more`) : "") : "",
      el("p", { class: "row" }, back, sure), failed);
    sure.setAttribute("aria-describedby", "deleted");
    back.focus();
  };
  first();
  return box;
}
