// Searches what columns do not have: the JSON of calls, one after the other, in slices of
// time between which the page goes on.

import type { Ops } from "../ops";
import type { Index } from "../document";
import { says, type Found, type Query } from "./query";

const slice = 12; // ms

/** Looks again at all calls that may match by their values, and corrects `found`. `told` is
 * called now and then with how much is done, from 0 to 1. Says how many calls the page has no
 * values of; -1 if it was aborted. */
export async function searchValues(q: Query, ops: Ops, index: Index, maybe: Uint8Array, found: Found, told: (done: number) => void, signal: AbortSignal): Promise<number> {
  const refuting = q.words.some((w) => w.not);
  let without = 0;
  let since = performance.now();
  for (let i = 0; i < maybe.length; i++) {
    if (maybe[i] === 0 || (found.bits[i] === 1 && !refuting)) continue;
    const detail = await ops.detail(i);
    if (signal.aborted) return -1;
    if (!detail) {
      without++;
    } else {
      const names = [index.functions[ops.f[i]], index.keys[ops.key[i]], index.nodes[ops.node[i]], index.errors[ops.error[i]]];
      const is = says(q, `${names.filter((n) => n !== undefined).join("\n")}\n${detail.invoke}\n${detail.complete ?? ""}`) ? 1 : 0;
      found.count += is - found.bits[i];
      found.bits[i] = is;
    }
    if (performance.now() - since < slice) continue;
    told(i / maybe.length);
    await new Promise((go) => setTimeout(go));
    if (signal.aborted) return -1;
    since = performance.now();
  }
  return without;
}
