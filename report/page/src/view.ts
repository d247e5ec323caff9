// What part of the run is looked at: shared by the timeline and the charts, so that who
// zooms or points at one sees the same time in all.

export class View {
  /** In units of the document. */
  from = 0;
  to: number;
  /** The time that is pointed at, or null. */
  cursor: number | null = null;
  private listeners: ((what: "range" | "cursor") => void)[] = [];

  constructor(readonly duration: number) {
    this.to = Math.max(duration, 1);
  }

  /** Looks at a range, within the run. */
  show(from: number, to: number): void {
    const all = Math.max(this.duration, 1);
    const width = Math.min(Math.max(to - from, 1), all);
    this.from = Math.min(Math.max(from, 0), all - width);
    this.to = this.from + width;
    this.tell("range");
  }

  point(at: number | null): void {
    this.cursor = at;
    this.tell("cursor");
  }

  listen(listener: (what: "range" | "cursor") => void): void {
    this.listeners.push(listener);
  }

  private tell(what: "range" | "cursor"): void {
    for (const l of this.listeners) l(what);
  }
}
