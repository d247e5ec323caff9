// The whole run in one strip, with a window on what is looked at, that can be dragged and
// stretched.

import { amount } from "./lanes";
import { context } from "./colours";
import { sum } from "./raster";
import type { Scene } from "./scene";
import { el } from "../element";

const height = 40;

export class Minimap {
  readonly root = el("div", { class: "tl-map", "data-part": "minimap", "aria-hidden": "true" });
  private readonly canvas = el("canvas");
  private readonly frame = el("div", { class: "tl-window", "data-part": "minimap-window" });

  constructor(private readonly s: Scene) {
    this.frame.append(
      el("i", { class: "tl-handle", "data-part": "minimap-left" }),
      el("i", { class: "tl-handle", "data-part": "minimap-right" }),
    );
    this.root.append(this.canvas, this.frame);
    this.listen();
  }

  /** The same place for a time as on the large picture, if that shows all. */
  private x(t: number): number {
    return this.s.gutter + t / Math.max(this.s.view.duration, 1) * this.s.plot;
  }

  draw(): void {
    const s = this.s, c = s.colours;
    this.canvas.width = Math.round(s.width * s.dpr);
    this.canvas.height = height * s.dpr;
    const ctx = context(this.canvas);
    ctx.setTransform(s.dpr, 0, 0, s.dpr, 0, 0);
    ctx.fillStyle = c.raised;
    ctx.fillRect(s.gutter, 0, s.plot, height);
    ctx.font = `11px ${c.sans}`;
    ctx.fillStyle = c.faint;
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    ctx.fillText("whole run", s.gutter - 6, height / 2, s.gutter - 8);
    ctx.fillStyle = c.fault;
    for (const f of s.doc.faults) ctx.fillRect(this.x(f.from), 0, Math.max(this.x(s.until(f.to)) - this.x(f.from), 1), height);
    const columns = Math.max(1, Math.floor(s.plot));
    const sums = this.sums(columns);
    const most = sums.map((counts) => counts.reduce((a, b) => Math.max(a, b), 0));
    const all = Math.max(...most, 1);
    // Each outcome from a line of its own: ok up from the bottom, fail and info down from the top.
    for (let k = 0; k < 3; k++) {
      ctx.fillStyle = [c.ok, c.fail, c.info][k];
      for (let x = 0; x < columns; x++) {
        const v = sums[k][x];
        if (v === 0) continue;
        const h = k === 0 ? Math.max(1, v / all * (height - 14)) : Math.max(3, Math.min(6, v / all * 6));
        ctx.fillRect(s.gutter + x, k === 0 ? height - h : k === 1 ? 7 : 0, 1, h);
      }
    }
    ctx.fillStyle = c.mark;
    for (const a of s.doc.anomalies) {
      const x = this.x((a.from + s.until(a.to)) / 2);
      ctx.beginPath();
      ctx.moveTo(x - 4, 0);
      ctx.lineTo(x + 4, 0);
      ctx.lineTo(x, 8);
      ctx.fill();
      ctx.fillRect(x - 0.5, 8, 1, height);
    }
    this.move();
  }

  private sums(columns: number): Float64Array[] {
    const s = this.s;
    const level = s.doc.ops.levels[0];
    const duration = Math.max(s.view.duration, 1);
    if (s.drawable && level && s.data.levels.length > 0) return sum(level, s.data.levels[0], duration, columns);
    // No level: how many calls began, whatever came of them.
    const made = new Float64Array(columns);
    for (let l = 0; l < s.lanes.names.length; l++) {
      for (let x = 0; x < columns; x++) made[x] += amount(s.lanes, l, x / columns * duration, (x + 1) / columns * duration);
    }
    return [made, new Float64Array(columns), new Float64Array(columns)];
  }

  /** Moves the window to where the view is. */
  move(): void {
    const from = this.x(this.s.view.from), to = this.x(this.s.view.to);
    this.frame.style.left = `${from}px`;
    this.frame.style.width = `${Math.max(to - from, 3)}px`;
  }

  private listen(): void {
    let grip: { what: "left" | "right" | "middle"; from: number; to: number; x: number } | null = null;
    const v = this.s.view;
    const time = (x: number): number => (x - this.s.gutter) / this.s.plot * Math.max(v.duration, 1);
    this.root.addEventListener("pointerdown", (e) => {
      const x = e.clientX - this.root.getBoundingClientRect().left;
      this.root.setPointerCapture(e.pointerId);
      const left = Math.abs(x - this.x(v.from)), right = Math.abs(x - this.x(v.to));
      const reach = e.pointerType === "mouse" ? 6 : 18;
      const part = e.target instanceof HTMLElement ? e.target.dataset.part : undefined;
      let what: "left" | "right" | "middle" = "middle";
      if (part === "minimap-left" || (left < reach && left < right)) what = "left";
      else if (part === "minimap-right" || right < reach) what = "right";
      else if (time(x) < v.from || time(x) > v.to) {
        const half = (v.to - v.from) / 2;
        v.show(time(x) - half, time(x) + half);
      }
      grip = { what, from: v.from, to: v.to, x };
      e.preventDefault();
    });
    this.root.addEventListener("pointermove", (e) => {
      if (!grip) return;
      const x = e.clientX - this.root.getBoundingClientRect().left;
      const d = time(x) - time(grip.x);
      if (grip.what === "middle") v.show(grip.from + d, grip.to + d);
      else if (grip.what === "left") v.show(Math.min(grip.from + d, grip.to - 1), grip.to);
      else v.show(grip.from, Math.max(grip.to + d, grip.from + 1));
    });
    for (const end of ["pointerup", "pointercancel"]) this.root.addEventListener(end, () => { grip = null; });
  }
}
