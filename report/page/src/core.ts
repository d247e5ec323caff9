// The core of a block, as report/document/core.go writes it: what is drawn of its ops, and what
// they are filtered by.

import { type Column, Numbering, split } from "./columns";
import type { Block } from "./document";

/** The type of an op. */
export const enum Type { Invoke = 0, OK = 1, Fail = 2, Info = 3, Event = 4 }

/** A block's ops, one entry each. */
export interface Core {
  block: Block;
  /** In whole units of the document. */
  time: Float64Array;
  process: Int32Array;
  row: Int32Array;
  type: Uint8Array;
  f: Int32Array;
  /** Of the op's own line, unlike that of a call. -1: none, or unknown. */
  node: Int32Array;
  error: Int32Array;
  /** The call's key, by its number in the index, and by its number in the block; -1: none, or of
   * the completion of a call that began in another block. */
  key: Int32Array;
  local: Int32Array;
  /** Of a completion, the index of the op that it completes; else -1. */
  pair: Int32Array;
}

// The positions of columns in the part.
const enum At {
  Process, Row, Open, Began, After, Other, Misses, Soon, Later, Times, Events,
  Functions, Keys, KeyMisses, KeyTable, Invoked, Completed, Errors, Failures, Wide, Outcomes,
}
const outcomeColumns = 16;

/** Reads an inflated core. */
export function readCore(block: Block, part: Uint8Array): Core {
  const columns = split(part);
  const at = (i: At): Column => {
    const c = columns[i];
    if (!c) throw new Error("a block of the data lacks a column");
    return c;
  };
  const n = block.ops;
  const core: Core = {
    block, time: new Float64Array(n), process: new Int32Array(n), row: new Int32Array(n), type: new Uint8Array(n),
    f: new Int32Array(n), node: new Int32Array(n), error: new Int32Array(n),
    key: new Int32Array(n).fill(-1), local: new Int32Array(n).fill(-1), pair: new Int32Array(n).fill(-1),
  };

  // The processes of the block, and what each has outstanding: open is its function, or -1.
  const number: number[] = [], row: number[] = [], open: number[] = [], began: number[] = [];
  for (let last = 0; !at(At.Process).done;) {
    number.push(last += at(At.Process).int());
    row.push(at(At.Row).uint());
    const f = at(At.Open).uint() - 1;
    open.push(f);
    began.push(f < 0 ? -1 : block.first - at(At.Began).uint());
  }
  const invokedAt = new Int32Array(number.length).fill(-1);
  const answered = new Int32Array(number.length).fill(-1);
  const keys: number[] = [];
  for (let last = 0; !at(At.KeyTable).done;) keys.push(last += at(At.KeyTable).int());

  const who = new Numbering(), which = new Numbering();
  const after = at(At.After), other = at(At.Other), misses = at(At.Misses);
  const soon = at(At.Soon), later = at(At.Later), times = at(At.Times), events = at(At.Events);
  const functions = at(At.Functions), keyRanks = at(At.Keys), keyMisses = at(At.KeyMisses);
  const invoked = at(At.Invoked), completed = at(At.Completed), wide = at(At.Wide);
  const errors = at(At.Errors), failures = at(At.Failures);
  const lastError: number[] = []; // by function and type, and 2: so that none is 1, and 0 is unset
  let lastSlot = -1, completion = false, now = block.from;
  for (let i = 0; i < n; i++) {
    const slot = who.next(completion ? after : other, misses);
    now += (slot === lastSlot ? soon : later).duration(times);
    lastSlot = slot;
    const p = number[slot];
    if (p === undefined) throw new Error("the data has a process that is not in its block");
    core.time[i] = now;
    core.process[i] = p;
    core.row[i] = row[slot]!;
    const event = p < 0 && events.byte() === 1;
    completion = !event && open[slot]! >= 0;
    let f: number, type: Type;
    if (completion) {
      f = open[slot]!;
      type = Type.OK + at(At.Outcomes + Math.min(f, outcomeColumns - 1)).byte();
      core.node[i] = answered[slot] = completed.sticky(wide, answered[slot]!);
      const pair = began[slot]!;
      core.pair[i] = pair;
      if (pair >= block.first) {
        core.key[i] = core.key[pair - block.first]!;
        core.local[i] = core.local[pair - block.first]!;
      }
      open[slot] = -1;
    } else {
      f = functions.small(wide);
      type = event ? Type.Event : Type.Invoke;
      const local = which.next(keyRanks, keyMisses);
      const key = keys[local]!;
      if (key >= 0) {
        core.key[i] = key;
        core.local[i] = local;
      }
      core.node[i] = invokedAt[slot] = invoked.sticky(wide, invokedAt[slot]!);
      if (!event) {
        open[slot] = f;
        began[slot] = block.first + i;
      }
    }
    core.f[i] = f;
    core.type[i] = type;
    const context = f * 5 + type;
    const told = type === Type.Fail || type === Type.Info ? failures : errors;
    core.error[i] = lastError[context] = told.sticky(wide, lastError[context] ?? -1);
  }
  return core;
}
