// What pages ask the server.

/** An answer that is not the one asked for, in words. */
export class Refused extends Error {}

/** Asks for JSON. */
export async function ask<T>(path: string, signal?: AbortSignal): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(path, signal ? { signal } : {});
  } catch (e) {
    if (e instanceof DOMException && e.name === "AbortError") throw e;
    throw new Refused("The server does not answer. Is it still running?");
  }
  if (!answer.ok) throw new Refused(await why(answer));
  return await answer.json() as T;
}

/** Deletes a run. */
export async function remove(run: string): Promise<void> {
  let answer: Response;
  try {
    answer = await fetch(link("/api/runs", run), { method: "DELETE", headers: { "X-Hacheck": "delete" } });
  } catch {
    throw new Refused("The server does not answer. Is it still running?");
  }
  if (!answer.ok) throw new Refused(await why(answer));
}

async function why(answer: Response): Promise<string> {
  try {
    const said = await answer.json() as { error?: unknown };
    if (typeof said.error === "string") return said.error;
  } catch {
    // it is no answer of ours
  }
  return `The server says ${answer.status}.`;
}

/** The path of something of a run on the server. */
export function link(prefix: string, ...names: string[]): string {
  return [prefix, ...names.flatMap((n) => n.split("/")).map(encodeURIComponent)].join("/");
}

/** Words for what was thrown. */
export function words(e: unknown): string {
  return e instanceof Error ? e.message : String(e);
}
