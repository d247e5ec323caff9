// How to get it again: commands to copy, the schedule of the faults, what was asked for, and
// what the nodes printed about a moment.

import type { Command } from "./document";
import { fileLink, table } from "./dom";
import { el, type Child } from "./element";
import { logs } from "./logs";
import type { Page } from "./page";

/** Makes the section's content. */
export function again(page: Page): Child[] {
  const { doc } = page;
  return [
    doc.again.length > 0
      ? el("div", { class: "commands" }, ...doc.again.map(command))
      : el("p", { class: "faint" }, "It is not known how this history was made."),
    el("div", { class: "columns" },
      doc.facts.length > 0 && el("div", {}, el("h3", {}, "What was run"),
        table("Facts", ["", ""], "<<", doc.facts.map((f) => [f.name, f.text]), { class: "facts", "data-part": "facts" })),
      doc.schedule && schedule(doc.schedule),
      doc.files.length > 0 && el("div", {}, el("h3", {}, "Other files of the run"),
        el("ul", { class: "files", "data-part": "files" }, ...doc.files.map((f) => el("li", {}, fileLink(f.path, f.path), el("span", { class: "faint" }, ` ${f.about}`)))))),
    doc.logs.length > 0 && el("h3", { id: "logs" }, "What the nodes printed"),
    doc.logs.length > 0 && logs(page),
  ];
}

function command(c: Command): HTMLElement {
  return el("div", { class: "command", "data-part": "command" },
    el("p", { class: "purpose" }, c.purpose),
    el("pre", { tabindex: 0 }, el("code", {}, c.command)),
    copy(c.command, `Copy the command to ${c.purpose}`));
}

function schedule(yaml: string): HTMLElement {
  const url = URL.createObjectURL(new Blob([yaml], { type: "application/yaml" }));
  return el("div", { "data-part": "schedule" }, el("h3", {}, "The schedule of the faults"),
    el("div", { class: "command" },
      el("p", { class: "purpose" }, "for --schedule"),
      el("pre", { class: "tall", tabindex: 0 }, el("code", {}, yaml)),
      el("span", { class: "actions" }, copy(yaml, "Copy the schedule"),
        el("a", { class: "button", href: url, download: "schedule.yaml", "data-part": "download" }, "Download"))));
}

/** A button that copies, and says whether it did. */
function copy(text: string, label: string): HTMLElement {
  const button = el("button", { type: "button", class: "copy", "aria-label": label, "data-part": "copy" }, "Copy");
  let timer = 0;
  button.addEventListener("click", () => {
    void toClipboard(text).then((done) => {
      button.textContent = done ? "Copied" : "Select it, please";
      button.setAttribute("aria-label", done ? "Copied" : "Copying is not allowed here: select the text");
      clearTimeout(timer);
      timer = setTimeout(() => {
        button.textContent = "Copy";
        button.setAttribute("aria-label", label);
      }, 1600);
    });
  });
  return button;
}

async function toClipboard(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // A page of a file may not be allowed to, except in this old way.
    const area = el("textarea", { class: "away", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    const had = document.activeElement;
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (had instanceof HTMLElement) had.focus();
    return done;
  }
}
