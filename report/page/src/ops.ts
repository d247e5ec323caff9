// The operations of a history in memory: columns, one entry a call, by the order of their
// invocations. Blocks that the page does not hold have no calls here.

import { type Core, Type } from "./core";

/** How a call ended. */
export const enum Outcome { OK = 0, Fail = 1, Info = 2, Event = 3, Open = 4 }

/** The JSON of the two ops of a call, as the history has it. */
export interface Detail { invoke: string; complete: string | null }

export interface Ops {
  /** How many calls are read; more come while blocks are. */
  readonly length: number;
  /** In units of the document. Of one that never completed, end is that of the history. */
  readonly start: Float64Array;
  readonly end: Float64Array;
  readonly outcome: Uint8Array;
  /** Numbers of Index.functions, keys, nodes, errors; -1: none. */
  readonly f: Int16Array;
  readonly key: Int32Array;
  readonly node: Int16Array;
  readonly error: Int32Array;
  /** -1 is the nemesis, -2 the observer. */
  readonly process: Int32Array;
  /** The row of a drawing by process: that of a process which has died is given again. */
  readonly row: Int16Array;
  readonly rows: number;
  /** Indices of the two ops in the history; complete is -1 if there is none, or the page does
   * not hold it. */
  readonly invoke: Int32Array;
  readonly complete: Int32Array;
  /** The JSON of the two ops as the history has it, or null where the page does not hold it. */
  detail(call: number): Promise<Detail | null>;
}

const highestRow = 32767; // that an Int16Array has; those of processes beyond are in the last one

/** Ops that grow block by block. */
export class Calls implements Ops {
  length = 0;
  rows = 0;
  readonly start: Float64Array;
  readonly end: Float64Array;
  readonly outcome: Uint8Array;
  readonly f: Int16Array;
  readonly key: Int32Array;
  readonly node: Int16Array;
  readonly error: Int32Array;
  readonly process: Int32Array;
  readonly row: Int16Array;
  readonly invoke: Int32Array;
  readonly complete: Int32Array;
  private readonly open = new Map<number, number>(); // of blocks before: invocation to call

  /** size is how many calls there can be, ended when the history ends, and line gives the line
   * of an op, or null where it is not held. */
  constructor(size: number, private readonly ended: number, private readonly line: (op: number) => Promise<string | null>) {
    this.start = new Float64Array(size);
    this.end = new Float64Array(size);
    this.outcome = new Uint8Array(size);
    this.f = new Int16Array(size);
    this.key = new Int32Array(size);
    this.node = new Int16Array(size);
    this.error = new Int32Array(size);
    this.process = new Int32Array(size);
    this.row = new Int16Array(size);
    this.invoke = new Int32Array(size);
    this.complete = new Int32Array(size).fill(-1);
  }

  /** Adds the ops of the next block that the page holds. */
  add(core: Core): void {
    const first = core.block.first;
    const callOf = new Int32Array(core.block.ops);
    let n = this.length;
    for (let i = 0; i < core.block.ops; i++) {
      const type = core.type[i]!;
      const time = core.time[i]!;
      if (type === Type.Invoke || type === Type.Event) {
        this.start[n] = time;
        this.end[n] = type === Type.Event ? time : this.ended;
        this.outcome[n] = type === Type.Event ? Outcome.Event : Outcome.Open;
        this.f[n] = core.f[i]!;
        this.key[n] = core.key[i]!;
        this.node[n] = core.node[i]!;
        this.error[n] = core.error[i]!;
        this.process[n] = core.process[i]!;
        const row = Math.min(core.row[i]!, highestRow);
        this.row[n] = row;
        if (row >= this.rows) this.rows = row + 1;
        this.invoke[n] = first + i;
        callOf[i] = n++;
        continue;
      }
      const pair = core.pair[i]!;
      const call = pair >= first ? callOf[pair - first]! : this.open.get(pair);
      if (call === undefined) continue; // its invocation is in a block that is left out
      if (pair < first) this.open.delete(pair);
      this.end[call] = time;
      this.outcome[call] = type - Type.OK + Outcome.OK;
      this.complete[call] = first + i;
      if (core.node[i]! >= 0) this.node[call] = core.node[i]!;
      if (core.error[i]! >= 0) this.error[call] = core.error[i]!;
    }
    for (let call = this.length; call < n; call++) {
      if (this.outcome[call] === Outcome.Open) this.open.set(this.invoke[call]!, call);
    }
    this.length = n;
  }

  async detail(call: number): Promise<Detail | null> {
    const invoke = this.invoke[call], complete = this.complete[call];
    if (invoke === undefined || complete === undefined || call >= this.length) return null;
    const line = await this.line(invoke);
    if (line === null) return null;
    return { invoke: line, complete: complete < 0 ? null : await this.line(complete) };
  }
}
