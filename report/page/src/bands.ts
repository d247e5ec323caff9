// Faults behind a chart: a band for as long as each held, with its name above.

import { readable } from "./readable";
import type uPlot from "../lib/uplot/uPlot.esm.js";
import type { Document } from "./document";
import { colour } from "./theme";

const rows = 2; // of names
const line = 12;

export const bands = {
  /** Room for names above a plot, in pixels. */
  height: rows * line + 4,

  draw(u: uPlot, doc: Document): void {
    const { ctx } = u;
    const ratio = devicePixelRatio || 1;
    const { left, top, width, height } = u.bbox;
    const right = left + width;
    const free: number[] = new Array<number>(rows).fill(-Infinity);
    ctx.save();
    ctx.font = `${10.5 * ratio}px ${colour("--sans")}`;
    ctx.textBaseline = "alphabetic";
    ctx.textAlign = "left";
    const fill = colour("--fault"), edge = colour("--fault-line"), ink = colour("--faint");
    for (const f of doc.faults) {
      const x1 = Math.max(u.valToPos(f.from / 1e6, "x", true), left);
      const x2 = f.to < 0 ? right : Math.min(u.valToPos(f.to / 1e6, "x", true), right);
      if (x2 < left || x1 > right) continue;
      ctx.fillStyle = fill;
      ctx.fillRect(x1, top, Math.max(x2 - x1, ratio), height);
      ctx.fillStyle = edge;
      ctx.fillRect(x1, top, ratio, height);
      if (f.to >= 0) ctx.fillRect(x2 - ratio / 2, top, ratio / 2, height);
      const wide = ctx.measureText(f.name).width;
      const row = free.findIndex((x) => x <= x1);
      if (row < 0 || x1 + wide > right) continue; // there is no room; the cursor tells the name
      ctx.fillStyle = ink;
      ctx.fillText(readable(f.name), x1 + 2 * ratio, top - (4 + (rows - 1 - row) * line) * ratio);
      ctx.fillStyle = edge;
      ctx.fillRect(x1, top - (rows - row) * line * ratio, ratio, (rows - row) * line * ratio);
      free[row] = x1 + wide + 10 * ratio;
    }
    ctx.restore();
  },
};
