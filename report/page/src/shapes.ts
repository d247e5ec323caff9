// Signs of verdicts, drawn: each has a shape of its own, so that it is known without its
// colour.

import { el, svg } from "./element";

const shapes: Record<"valid" | "invalid" | "unknown", [outline: string, sign: string]> = {
  valid: ["M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1Z", "M4.7 8.3 7 10.6l4.3-4.9"],
  invalid: ["M5.1 1h5.8L15 5.1v5.8L10.9 15H5.1L1 10.9V5.1Z", "M5.3 5.3l5.4 5.4M10.7 5.3l-5.4 5.4"],
  unknown: ["M3.5 1h9A2.5 2.5 0 0 1 15 3.5v9a2.5 2.5 0 0 1-2.5 2.5h-9A2.5 2.5 0 0 1 1 12.5v-9A2.5 2.5 0 0 1 3.5 1Z", "M6.2 6.3a1.9 1.9 0 1 1 2.7 1.7c-.6.3-.9.7-.9 1.3M8 11.3v.1"],
};

/** The sign of a verdict. Beside it stands the word, so it says nothing itself. */
export function sign(verdict: string, size = 16): SVGSVGElement {
  const [outline, inner] = shapes[known(verdict)];
  return svg("svg", { class: `sign ${known(verdict)}`, viewBox: "0 0 16 16", width: size, height: size, "aria-hidden": "true" },
    svg("path", { class: "outline", d: outline }),
    svg("path", { class: "inner", d: inner }));
}

/** The sign with the word. */
export function verdictOf(verdict: string): HTMLElement {
  return el("span", { class: `verdict ${known(verdict)}` }, sign(verdict, 14), verdict);
}

/** A verdict that is surely one of the three: what is none is not known. */
export function known(verdict: string): "valid" | "invalid" | "unknown" {
  return verdict === "valid" || verdict === "invalid" ? verdict : "unknown";
}
