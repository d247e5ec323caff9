// What a call did, in as few words as its JSON allows.

import { turning } from "../readable";

interface Op { type?: string; f?: string; value?: unknown; error?: unknown }

/** "write k2 12", "read k2 → 7": the function, what it was asked and, where it is more than
 * that, what it was answered. */
export function briefly(invoke: string, complete: string | null): string {
  const asked = parsed(invoke);
  if (!asked) return "";
  const got = complete === null ? null : parsed(complete);
  const a = parts(asked.value);
  const b = got && got.type === "ok" ? parts(got.value) : [];
  // An answer repeats what was asked, and fills in what was left open.
  let same = 0;
  if (a.length === b.length) while (same < a.length && a[same] === b[same]) same++;
  if (a.at(-1) === "nil") a.pop();
  const question = [asked.f ?? "", ...a].join(" ").trim();
  const answer = b.slice(same).join(" ");
  return answer === "" ? question : `${question} → ${answer}`;
}

function parts(value: unknown): string[] {
  if (value === undefined) return [];
  return (Array.isArray(value) ? value : [value]).map(plain);
}

function parsed(text: string): Op | null {
  try {
    const v: unknown = JSON.parse(text);
    return typeof v === "object" && v !== null ? v : null;
  } catch {
    return null; // it was not written by us
  }
}

function plain(value: unknown): string {
  if (value === null) return "nil";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** JSON to be read: as it is written, but for spaces outside of texts, and for characters in them
 * that turn text around, which are written as JSON can. To read and to write it would change it,
 * such as numbers of many digits. */
export function pretty(text: string): string {
  const made: string[] = [];
  let depth = 0;
  const line = () => { made.push("\n", "  ".repeat(Math.min(depth, 40))); };
  for (const [token] of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|[[{]\s*[\]}]|[[\]{},:]|[^\s[\]{},:"]+|"/gs)) {
    switch (token) {
      case "[": case "{": made.push(token); depth++; line(); break;
      case "]": case "}": depth--; line(); made.push(token); break;
      case ",": made.push(token); line(); break;
      case ":": made.push(": "); break;
      default: made.push(token.startsWith('"') ? token.replace(turning, escaped) : token.replace(/\s/g, ""));
    }
  }
  return made.join("");
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
