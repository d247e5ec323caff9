// Single values in a chart, such as latencies of single operations: by class, which is the
// outcome as a rule, a colour and a shape.

import type uPlot from "../lib/uplot/uPlot.esm.js";
import type { Chart, Point } from "./document";
import { svg } from "./element";
import type { Palette } from "./palette";
import { colour } from "./theme";

const crowd = 300; // points of a class
const reach = 9; // pixels from a point that still mean it

export interface Points {
  readonly list: Point[];
  readonly classes: string[];
  /** Classes that are not shown. */
  readonly hidden: Set<string>;
  draw(u: uPlot): void;
  /** The point at a place in the plot, or null. */
  near(u: uPlot, left: number, top: number): Point | null;
  /** The point nearest in time, or null if there are none. */
  nearest(us: number): Point | null;
  /** How points of a class look, for the legend. */
  sign(of: string): SVGSVGElement;
}

/** Corners of a shape, for a point at 0, 0 of radius 1. */
type Shape = [number, number][];

const square: Shape = [[-0.75, -0.75], [0.75, -0.75], [0.75, 0.75], [-0.75, 0.75]];
const triangle: Shape = [[-1, 1], [0, -1], [1, 1]];
const diamond: Shape = [[-1.2, 0], [0, -1.2], [1.2, 0], [0, 1.2]];
const upended: Shape = [[-1, -1], [0, 1], [1, -1]];

const outcomes: Record<string, Shape> = { ok: square, fail: triangle, info: diamond };
const others = [triangle, diamond, square, upended];

export function points(chart: Chart, palette: Palette): Points {
  const list = chart.points ?? [];
  const classes = [...new Set(list.map((p) => p.class))];
  const hidden = new Set<string>();
  const looks = new Map(classes.map((of, i) => {
    const known = Object.hasOwn(outcomes, of) ? outcomes[of] : undefined;
    // Of few, each is seen; many are a cloud, with room for the lines above it.
    const many = list.filter((p) => p.class === of).length > crowd;
    return [of, { shape: known ?? others[i % others.length], variable: palette.of(of, i).variable, radius: many ? 2 : 3.2, alpha: many ? 0.4 : 0.95 }];
  }));
  const shown = (p: Point) => !hidden.has(p.class) && !(chart.log && p.y <= 0);
  return {
    list, classes, hidden,
    draw(u) {
      const { ctx } = u;
      const ratio = devicePixelRatio || 1;
      const { left, top, width, height } = u.bbox;
      ctx.save();
      ctx.beginPath();
      ctx.rect(left, top, width, height);
      ctx.clip();
      for (const [of, look] of looks) {
        ctx.beginPath();
        const r = look.radius * ratio;
        for (const p of list) {
          if (p.class !== of || !shown(p)) continue;
          const x = u.valToPos(p.x / 1e6, "x", true);
          if (x < left - r || x > left + width + r) continue;
          const y = u.valToPos(p.y, "y", true);
          look.shape.forEach(([dx, dy], i) => (i === 0 ? ctx.moveTo(x + dx * r, y + dy * r) : ctx.lineTo(x + dx * r, y + dy * r)));
          ctx.closePath();
        }
        ctx.globalAlpha = look.alpha;
        ctx.fillStyle = colour(look.variable);
        ctx.fill();
      }
      ctx.restore();
    },
    near(u, left, top) {
      let best: Point | null = null, least = reach * reach;
      for (const p of list) {
        if (!shown(p)) continue;
        const dx = u.valToPos(p.x / 1e6, "x") - left;
        if (Math.abs(dx) > reach) continue;
        const dy = u.valToPos(p.y, "y") - top;
        const d = dx * dx + dy * dy;
        if (d < least) {
          best = p;
          least = d;
        }
      }
      return best;
    },
    nearest(us) {
      let best: Point | null = null;
      for (const p of list) if (shown(p) && (!best || Math.abs(p.x - us) < Math.abs(best.x - us))) best = p;
      return best;
    },
    sign(of) {
      const look = looks.get(of);
      const d = look ? "M" + look.shape.map(([x, y]) => `${6 + x * 4} ${5 + y * 4}`).join("L") + "Z" : "";
      return svg("svg", { width: 12, height: 10, "aria-hidden": "true" }, svg("path", { d, style: `fill: var(${look?.variable ?? "--event"})` }));
    },
  };
}
