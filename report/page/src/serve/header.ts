// What stands above all pages: where to go, and light or dark.

import { choose, onChange, theme } from "../theme";
import { el } from "../element";

export function header(): void {
  const at = document.querySelector("header");
  if (!at) return;
  const toggle = el("button", { type: "button", class: "small", "data-part": "theme" });
  const say = (): void => {
    const other = theme() === "dark" ? "light" : "dark";
    toggle.textContent = other === "dark" ? "☾ Dark" : "☀ Light";
    toggle.setAttribute("aria-label", `Show in ${other} colours`);
  };
  toggle.addEventListener("click", () => choose(theme() === "dark" ? "light" : "dark"));
  onChange(say);
  say();
  at.prepend(el("a", { href: "#main", class: "skip" }, "Skip to the content"));
  const store = document.body.dataset.store;
  if (store) at.append(el("span", { class: "store faint", "data-part": "store", title: store }, store));
  at.append(toggle);
}
