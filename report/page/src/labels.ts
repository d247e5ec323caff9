// What is written on the calls of a drawing: as little as tells them apart.

import type { Call } from "./document";

const open = -1;

/** What a call says: without the key, and without what its shape tells. */
export function short(c: Call, key?: string): string {
  let s = c.what.split("  ")[0];
  const lead = `${c.f} ${key} `;
  if (key && s.startsWith(lead)) s = `${c.f} ${s.slice(lead.length)}`;
  else if (key && s === `${c.f} ${key}`) s = c.f;
  return s + ending(c);
}

function ending(c: Call): string {
  if (c.outcome === "fail") return " failed";
  return c.outcome !== "event" && c.to === open ? " ?" : "";
}

/** The labels of calls that are drawn together. Of answers that are objects, only what is not
 * the same in all of them. */
export function labels(calls: Call[], key?: string): string[] {
  const answers = calls.map((c) => answer(c));
  const objects = answers.filter((a) => a !== null);
  const names = [...new Set(objects.flatMap((a) => Object.keys(a)))];
  const different = names.filter((n) => objects.some((a) => JSON.stringify(a[n]) !== JSON.stringify(objects[0][n])));
  const shown = different.length > 0 ? different : names;
  return calls.map((c, i) => {
    const a = answers[i];
    if (!a) return short(c, key);
    const said = shown.filter((n) => Object.hasOwn(a, n)).map((n) => `${n} ${typeof a[n] === "string" ? a[n] : JSON.stringify(a[n])}`);
    return `${c.f} → ${said.join(", ") || "{}"}${ending(c)}`;
  });
}

/** What a call answered, if that is an object. */
function answer(c: Call): Record<string, unknown> | null {
  const at = c.what.indexOf(" → {");
  if (at < 0) return null;
  try {
    const value: unknown = JSON.parse(c.what.slice(at + 3).split("  (")[0]);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value as Record<string, unknown> : null;
  } catch {
    return null; // it was shortened, or is none
  }
}
