// The slim bar at the top: the verdict, where one is, and light or dark.

import type { Document } from "./document";
import { el } from "./element";
import { known, sign } from "./shapes";
import { choose, onChange, theme } from "./theme";

/** Makes the bar. sections are the places to jump to: id, name and what there is in it. */
export function header(doc: Document, sections: [id: string, name: string, number?: number][]): HTMLElement {
  const links = sections.map(([id, name, number]) => el("a", { href: `#${id}`, "data-part": "jump" }, name,
    number !== undefined && number > 0 && el("span", { class: "badge" }, String(number))));
  const button = el("button", { type: "button", class: "theme", "data-part": "theme" });
  const say = () => {
    const other = theme() === "dark" ? "light" : "dark";
    button.textContent = other === "dark" ? "Dark" : "Light";
    button.setAttribute("aria-label", `Show the page ${other}`);
  };
  button.addEventListener("click", () => choose(theme() === "dark" ? "light" : "dark"));
  onChange(say);
  say();
  return el("header", { class: "bar", "data-part": "header" },
    el("a", { class: `verdict ${known(doc.verdict)}`, href: "#verdict" }, sign(doc.verdict, 16), known(doc.verdict)),
    el("span", { class: "title", title: doc.title }, doc.title),
    el("nav", { "aria-label": "Parts of the page" }, ...links), button);
}

/** Marks the link of the part that is read. */
export function follow(bar: HTMLElement, sections: HTMLElement[]): void {
  const links = new Map([...bar.querySelectorAll<HTMLAnchorElement>("[data-part=jump]")].map((a) => [a.hash.slice(1), a]));
  const seen = new Set<Element>();
  const observer = new IntersectionObserver((entries) => {
    for (const e of entries) {
      if (e.isIntersecting) seen.add(e.target);
      else seen.delete(e.target);
    }
    const first = sections.find((s) => seen.has(s));
    for (const [id, a] of links) {
      if (first?.id === id) a.setAttribute("aria-current", "true");
      else a.removeAttribute("aria-current");
    }
  }, { rootMargin: "-56px 0px -60% 0px" });
  for (const s of sections) observer.observe(s);
}
