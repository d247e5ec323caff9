// Throughput over time, with the faults as bands behind it.

import uPlot from "../../lib/uplot/uPlot.esm.js";
import { colour, onChange } from "../theme";
import type { Span } from "./api";

const height = 260;
/** Outcomes differ in their dashes, too. */
const series = [
  { label: "ok", colour: "--ok", dash: [] },
  { label: "failed", colour: "--fail", dash: [6, 4] },
  { label: "unknown", colour: "--info", dash: [2, 3] },
];

export class Throughput {
  private plot: uPlot | null = null;
  private data: uPlot.AlignedData = [[], [], [], []];
  private faults: Span[] = [];
  private end = 0;

  constructor(private readonly at: HTMLElement) {
    new ResizeObserver(() => this.plot?.setSize({ width: this.width(), height })).observe(at);
    onChange(() => this.draw());
    this.draw();
  }

  /** Shows columns of a width, in seconds, up to end. The last one may not have ended: what
   * is counted in it is of as much of it as there is, or of too little to say anything. */
  show(width: number, columns: number[][], faults: Span[], end: number): void {
    const n = columns[0]?.length ?? 0;
    const times = Array.from({ length: n }, (_, i) => Math.min(width, Math.max(0, end - i * width)));
    this.data = [times.map((t, i) => i * width + t / 2),
      ...columns.map((c) => c.map((v, i) => n > 1 && times[i]! < width / 2 ? null : v / Math.max(times[i]!, width / 10)))];
    this.faults = faults;
    this.end = end;
    this.plot?.setData(this.data);
  }

  private width(): number { return Math.max(280, this.at.clientWidth); }

  private draw(): void {
    this.plot?.destroy();
    const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    this.plot = new uPlot({
      width: this.width(), height, cursor: { y: false }, legend: { live: true },
      scales: { x: { time: false, range: (_u, _min, max) => [0, Math.max(max ?? 0, this.end, 1)] }, y: { range: (_u, _min, max) => [0, Math.max(max ?? 0, 1) * 1.05] } },
      axes: [{ ...axis, values: (_u, ticks) => ticks.map((t) => `${t} s`) }, { ...axis, size: 60, values: (_u, ticks) => ticks.map((t) => `${t}/s`) }],
      series: [
        { label: "time", value: (_u, v) => v === null ? "–" : `${v.toFixed(1)} s` },
        ...series.map((s) => ({ label: s.label, stroke: colour(s.colour), dash: s.dash, width: 2, points: { show: false }, value: (_u: uPlot, v: number | null) => v === null ? "–" : `${Math.round(v)}/s` })),
      ],
      hooks: { drawClear: [(u) => this.bands(u)] },
    }, this.data, this.at);
  }

  private bands(u: uPlot): void {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.setLineDash([]);
    ctx.lineWidth = devicePixelRatio;
    ctx.fillStyle = colour("--fault");
    ctx.strokeStyle = colour("--fault-line");
    for (const f of this.faults) {
      if (f.failed && !f.pending) continue;
      const from = u.valToPos(f.from / 1e6, "x", true);
      const to = u.valToPos((f.to < 0 ? this.end : f.to / 1e6), "x", true);
      ctx.fillRect(from, bbox.top, Math.max(1, to - from), bbox.height);
      ctx.beginPath();
      ctx.moveTo(from, bbox.top);
      ctx.lineTo(from, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }
}
