// Making elements, of text only.

import { readable } from "../readable";

type Attributes = Record<string, string | number | boolean>;

/** An element with attributes (true: there, false: not) and children; text is text. */
export function element<K extends keyof HTMLElementTagNameMap>(name: K, attributes: Attributes = {}, ...children: (Node | string)[]): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== false) made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...children.map((c) => typeof c === "string" ? readable(c) : c));
  return made;
}

/** A button that says what it does, by its text or, if that is a sign, by its label. */
export function button(part: string, text: string, label: string, act: () => void): HTMLButtonElement {
  const made = element("button", { type: "button", "data-part": part, title: label }, text);
  if (text !== label) made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}
