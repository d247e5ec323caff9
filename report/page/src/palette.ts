// What colour and dashes a class has: the same one in all charts, lanes and logs.

import type { Document } from "./document";

export interface Ink { variable: string; dash: number[] }

const dashes = [[], [7, 3], [2, 3], [9, 3, 2, 3], [4, 2], [12, 4], [2, 2, 6, 2], [1, 4]];
const outcomes: Record<string, Ink> = {
  ok: { variable: "--ok", dash: [] },
  fail: { variable: "--fail", dash: [7, 3] },
  info: { variable: "--info", dash: [2, 3] },
  event: { variable: "--event", dash: [1, 4] },
};

/** Other dashes for the same colour, for the n-th time. */
export function again(dash: number[], n: number): number[] {
  const i = dashes.findIndex((d) => d.join() === dash.join());
  return dashes[(Math.max(i, 0) + 3 * n) % dashes.length];
}

export class Palette {
  private numbers = new Map<string, number>();

  constructor(doc: Document) {
    const nodes = [...new Set([...doc.ops.nodes, ...doc.logs.map((l) => l.node)])];
    nodes.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    for (const n of nodes) this.number(n);
  }

  /** The ink of a class. Those that are no outcome and no node get the place of their turn
   * among their like, which the caller knows. */
  of(name: string, turn?: number): Ink {
    const known = Object.hasOwn(outcomes, name) ? outcomes[name] : undefined;
    if (known) return known;
    const i = this.numbers.get(name) ?? turn ?? this.number(name);
    return { variable: `--series-${i % 8 + 1}`, dash: dashes[i % dashes.length] };
  }

  private number(name: string): number {
    let i = this.numbers.get(name);
    if (i === undefined) this.numbers.set(name, i = this.numbers.size);
    return i;
  }
}
