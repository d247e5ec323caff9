// The timeline's buttons.

import { el } from "../element";

/** A button that says what it does, by its text or, if that is a sign, by its label. */
export function button(part: string, text: string, label: string, act: () => void): HTMLButtonElement {
  const made = el("button", { type: "button", "data-part": part, title: label }, text);
  if (text !== label) made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}
