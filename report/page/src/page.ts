// What the parts of the page have in common.

import type { Document } from "./document";
import type { Timeline } from "./timeline/timeline";
import type { View } from "./view";

export interface Page {
  readonly doc: Document;
  readonly view: View;
  /** Null until it is there, and for good if its data cannot be read. */
  timeline: Timeline | null;
  /** Brings an op to the reader's eyes in the timeline. */
  reveal(op: number): void;
  /** So with several, in a range with something about it. */
  mark(ops: number[], from: number, to: number): void;
  /** Looks at a range in the timeline. */
  look(from: number, to: number): void;
}

