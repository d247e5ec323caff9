// Elements without markup: what comes of a history is text, and stays text, whatever is
// in it.

import { readable } from "./readable";

export type Child = Node | string | null | undefined | false;
type Listener = (event: Event) => void;
export type Attributes = Record<string, string | number | boolean | undefined | Listener>;

/** Makes an element. Attributes that begin with "on" are listeners; false and undefined are
 * left out. */
export function el<K extends keyof HTMLElementTagNameMap>(
  name: K, attributes: Attributes = {}, ...children: Child[]
): HTMLElementTagNameMap[K] {
  const e = document.createElement(name);
  dress(e, attributes);
  fill(e, children);
  return e;
}

/** Makes an element of a drawing. */
export function svg<K extends keyof SVGElementTagNameMap>(
  name: K, attributes: Attributes = {}, ...children: Child[]
): SVGElementTagNameMap[K] {
  const e = document.createElementNS("http://www.w3.org/2000/svg", name);
  dress(e, attributes);
  fill(e, children);
  return e;
}

function dress(e: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") e.addEventListener(name.slice(2), value);
    else if (value === true) e.setAttribute(name, "");
    else if (value !== false && value !== undefined) e.setAttribute(name, String(value));
  }
}

function fill(e: Element, children: Child[]): void {
  for (const c of children) if (c) e.append(typeof c === "string" ? readable(c) : c);
}
