// The data of a page: what lies in it compressed, read block by block. How it is made is in
// report/document/ops.go.

import { inflate } from "./columns";
import { type Core, readCore } from "./core";
import { readDetail } from "./detail";
import type { Block, Document } from "./document";
import { Calls, type Ops } from "./ops";

/** A Level of the document, unpacked: counts[outcome][lane * columns + column], on a
 * logarithmic scale from 0 to 255; outcomes are ok, fail, info. Of n calls that is 8 times the
 * logarithm of n + 1 to the base 2. */
export interface LevelData { counts: Uint8Array[] }

export interface Data {
  readonly ops: Ops;
  /** As Document.ops.levels. */
  readonly levels: LevelData[];
  /** Levels are there. */
  readonly drawable: Promise<void>;
  /** All blocks that the page holds are read. */
  readonly complete: Promise<void>;
  /** Called when more calls are there. */
  onMore(listener: () => void): void;
}

/** Unpacks what the page holds: base64 of Page.Data. What is not as it should be rejects
 * drawable and complete. */
export function load(doc: Document, base64: string): Data {
  return new Loader(doc, base64);
}

/** How many blocks' lines are held at once. */
const heldBlocks = 4;

class Loader implements Data {
  readonly ops: Calls;
  readonly levels: LevelData[] = [];
  readonly drawable: Promise<void>;
  readonly complete: Promise<void>;
  private readonly listeners: (() => void)[] = [];
  private readonly blocks: { block: Block; at: number }[] = []; // and where their data begins
  private readonly lines = new Map<number, Promise<string[]>>(); // by position in blocks, the last used last

  constructor(private readonly doc: Document, private readonly base64: string) {
    this.ops = new Calls(doc.ops.calls, doc.duration, (op) => this.line(op));
    let at = doc.ops.levels.reduce((sum, level) => sum + level.bytes, 0);
    for (const block of doc.ops.blocks) {
      this.blocks.push({ block, at });
      at += block.core + block.detail;
    }
    this.drawable = this.readLevels();
    this.complete = this.drawable.then(() => this.readBlocks());
    // Who does not ask is not told; that is no error of its own.
    this.drawable.catch(() => {});
    this.complete.catch(() => {});
  }

  onMore(listener: () => void): void {
    this.listeners.push(listener);
  }

  private async readLevels(): Promise<void> {
    let at = 0;
    for (const level of this.doc.ops.levels) {
      const cells = await inflate(slice(this.base64, at, at + level.bytes));
      const size = level.lanes.length * level.columns;
      if (cells.length !== 3 * size) throw new Error(`the levels by ${level.by} are not whole`);
      this.levels.push({ counts: [0, 1, 2].map((outcome) => cells.subarray(outcome * size, (outcome + 1) * size)) });
      at += level.bytes;
    }
  }

  private async readBlocks(): Promise<void> {
    for (const [i, { block }] of this.blocks.entries()) {
      if (block.core === 0) continue;
      await pause();
      this.ops.add(await this.core(i));
      for (const listener of this.listeners) listener();
    }
  }

  private async core(i: number): Promise<Core> {
    const { block, at } = this.blocks[i]!;
    return readCore(block, await inflate(slice(this.base64, at, at + block.core)));
  }

  /** The line of an op, or null where it is not held. */
  private async line(op: number): Promise<string | null> {
    const i = this.blocks.findIndex(({ block }) => op >= block.first && op < block.first + block.ops);
    const block = this.blocks[i]?.block;
    if (!block || block.core === 0 || block.detail === 0) return null;
    const lines = this.lines.get(i) ?? this.readLines(i);
    this.lines.delete(i);
    this.lines.set(i, lines);
    for (const oldest of this.lines.keys()) {
      if (this.lines.size <= heldBlocks) break;
      this.lines.delete(oldest);
    }
    return (await lines)[op - block.first] ?? null;
  }

  private async readLines(i: number): Promise<string[]> {
    const { block, at } = this.blocks[i]!;
    const detail = await inflate(slice(this.base64, at + block.core, at + block.core + block.detail));
    return readDetail(this.doc.ops, this.doc.unit, await this.core(i), detail);
  }
}

/** The bytes of a base64 text from one position to another. */
function slice(base64: string, from: number, to: number): Uint8Array<ArrayBuffer> {
  const begin = Math.floor(from / 3);
  const text = atob(base64.slice(begin * 4, Math.ceil(to / 3) * 4));
  const bytes = new Uint8Array(to - from);
  const skip = from - begin * 3;
  if (text.length < skip + bytes.length) throw new Error("the data of the page ends too early");
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(skip + i);
  return bytes;
}

/** Lets the page draw and answer before it goes on. (A timeout of none would wait for longer.) */
function pause(): Promise<void> {
  return new Promise((resolve) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      channel.port1.close();
      resolve();
    };
    channel.port2.postMessage(null);
  });
}
