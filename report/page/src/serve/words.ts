// Numbers, times and verdicts in words.

import { el } from "../element";
import { count as grouped } from "../format";

const symbols: Record<string, string> = {
  valid: "✓", invalid: "✗", unknown: "?", running: "▶", judging: "▷", "not judged": "–", "ended early": "■", deleted: "■",
};

/** What has become of a run: a symbol and a word. */
export function verdict(outcome: string): HTMLElement {
  const known = outcome in symbols;
  return el("span", { class: "verdict", "data-verdict": known ? outcome : "other", "data-part": "verdict" },
    el("span", { class: "symbol", "aria-hidden": "true" }, symbols[outcome] ?? "?"), outcome || "none");
}

/** A number; one that is not known is a dash. */
export function count(n: number): string {
  return n < 0 ? "–" : grouped(n);
}

/** Milliseconds that people wait. */
export function span(ms: number): string {
  if (ms < 0) return "–";
  const s = ms / 1000;
  if (s < 120) return `${s.toFixed(1)} s`;
  const m = Math.floor(s / 60);
  return m < 120 ? `${m} min ${Math.round(s % 60)} s` : `${Math.floor(m / 60)} h ${m % 60} min`;
}

/** A moment, by the reader's clock. */
export function moment(ms: number): HTMLElement | string {
  if (ms === 0) return "not known";
  const d = new Date(ms);
  const two = (n: number): string => String(n).padStart(2, "0");
  const text = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  return el("time", { datetime: d.toISOString(), title: d.toISOString() }, text);
}

export function bytes(n: number): string {
  if (n < 1e3) return `${n} B`;
  if (n < 1e6) return `${(n / 1e3).toFixed(1)} kB`;
  if (n < 1e9) return `${(n / 1e6).toFixed(1)} MB`;
  return `${(n / 1e9).toFixed(1)} GB`;
}

export function plural(n: number, noun: string): string { return `${count(n)} ${noun}${n === 1 ? "" : "s"}`; }

/** A word as a shell takes it. */
export function quoted(word: string): string {
  return /^[A-Za-z0-9_./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
