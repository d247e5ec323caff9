// The colours of the theme as canvases need them, and what stands beside a colour: hatching.

import { colour } from "../theme";

export interface Palette {
  paper: string; raised: string; line: string; ink: string; faint: string;
  ok: string; fail: string; info: string; event: string;
  fault: string; faultLine: string; mark: string; select: string;
  series: string[];
  sans: string; mono: string;
  /** For what nobody knows: info, and what the page does not hold. */
  hatchedInfo: CanvasPattern | string;
  hatchedGap: CanvasPattern | string;
  /** For each of ok, fail, info, event and what does not match, 16 shades as pixels. */
  shades: Uint32Array;
}

const variables = ["paper", "raised", "line", "ink", "faint", "ok", "fail", "info", "event", "fault", "mark", "select", "sans", "mono"] as const;

/** Reads the colours as they are now; on paper, those of the light theme. */
export function palette(dpr: number, paper = false): Palette {
  const root = document.documentElement;
  const theme = root.dataset.theme;
  if (paper) root.dataset.theme = "light";
  const p = {} as Record<(typeof variables)[number], string>;
  for (const v of variables) p[v] = colour(`--${v}`);
  const faultLine = colour("--fault-line");
  const series = [1, 2, 3, 4, 5, 6, 7, 8].map((n) => colour(`--series-${n}`));
  if (paper) {
    if (theme === undefined) delete root.dataset.theme;
    else root.dataset.theme = theme;
  }
  const ground = components(p.paper);
  const shades = new Uint32Array(5 * 16);
  [p.ok, p.fail, p.info, p.event, p.line].forEach((c, k) => {
    const on = components(c);
    for (let n = 0; n < 16; n++) {
      const share = k === 4 ? 0.8 : 0.5 + 0.5 * n / 15;
      const [r, g, b] = on.map((v, i) => Math.round(v * share + ground[i] * (1 - share)));
      shades[k * 16 + n] = (255 << 24 | b << 16 | g << 8 | r) >>> 0;
    }
  });
  return {
    ...p, faultLine, series, shades,
    hatchedInfo: hatched(p.info, p.paper, dpr), hatchedGap: hatched(p.line, p.paper, dpr),
  };
}

/** Red, green and blue of a colour in any notation of CSS. */
function components(css: string): [number, number, number] {
  const ctx = canvas(1, 1);
  ctx.fillStyle = css;
  ctx.fillRect(0, 0, 1, 1);
  const d = ctx.getImageData(0, 0, 1, 1).data;
  return [d[0], d[1], d[2]];
}

function hatched(on: string, off: string, dpr: number): CanvasPattern | string {
  const size = Math.round(6 * dpr);
  const ctx = canvas(size, size);
  ctx.fillStyle = off;
  ctx.fillRect(0, 0, size, size);
  ctx.strokeStyle = on;
  ctx.lineWidth = size / 3;
  ctx.beginPath();
  for (const d of [-size, 0, size]) {
    ctx.moveTo(d - 1, size + 1);
    ctx.lineTo(d + size + 1, -1);
  }
  ctx.stroke();
  const pattern = ctx.createPattern(ctx.canvas, "repeat");
  if (!pattern) return on;
  pattern.setTransform(new DOMMatrix().scale(1 / dpr)); // hatches are of the screen's pixels
  return pattern;
}

/** A drawing context of a canvas that is not in the page. */
export function canvas(width: number, height: number): CanvasRenderingContext2D {
  const made = document.createElement("canvas");
  made.width = width;
  made.height = height;
  return context(made);
}

export function context(of: HTMLCanvasElement): CanvasRenderingContext2D {
  const ctx = of.getContext("2d");
  if (!ctx) throw new Error("timeline: this browser draws on no canvas");
  return ctx;
}
