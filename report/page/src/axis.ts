// A time axis for a few calls: each begin and end has its place, in their exact order, and
// there is room for what is to be written on a call. Long gaps are shortened, so that calls
// of microseconds can be seen beside those of seconds.

/** A stretch of the axis that has to be as wide as need, from one point to another, as
 * positions in times. */
export interface Stretch { from: number; to: number; need: number }

export interface Axis {
  /** Where each point is, ascending. */
  x: number[];
  width: number;
  /** Widths are in proportion to times. */
  even: boolean;
  /** Gaps that are drawn much shorter than others, by the number of the point before. */
  breaks: number[];
}

const narrowest = 9; // between points: two lines that can be told apart

/** Lays out points in time. times ascend; width is what there is, and is exceeded if that is
 * too little. */
export function lay(times: number[], stretches: Stretch[], width: number): Axis {
  const n = times.length;
  if (n === 0) return { x: [], width, even: true, breaks: [] };
  const gaps = times.slice(1).map((t, i) => Math.max(t - times[i], 0));
  const weights = gaps.map((g) => Math.pow(g, 0.45));
  const sum = weights.reduce((a, b) => a + b, 0);
  const least = gaps.length * (gaps.length > 40 ? 4 : 12);
  // Who spans the fewest gaps has the least choice.
  const byChoice = stretches.filter((s) => s.to > s.from).sort((a, b) => (a.to - a.from) - (b.to - b.from));
  const shared = (share: number) => {
    const wide = weights.map((w) => narrowest + w * share);
    for (const s of byChoice) {
      let has = 0;
      for (let i = s.from; i < s.to; i++) has += wide[i];
      if (has >= s.need) continue;
      for (let i = s.from; i < s.to; i++) wide[i] *= s.need / has;
    }
    return { wide, total: wide.reduce((a, b) => a + b, 0) };
  };

  // Time gets as much of the width as labels leave to it, but is never left out.
  let low = sum > 0 ? least / sum / 3 : 0, high = sum > 0 ? Math.max(width, least) / sum : 0;
  for (let i = 0; i < 16; i++) {
    const half = (low + high) / 2;
    if (shared(half).total > width) high = half;
    else low = half;
  }
  let { wide, total } = shared(low);
  if (total < width && total > 0) {
    wide = wide.map((w) => w * width / total);
    total = width;
  }
  const x = [0];
  for (const w of wide) x.push(x[x.length - 1] + w);

  const rates = wide.map((w, i) => (gaps[i] > 0 ? w / gaps[i] : NaN));
  const known = rates.filter((r) => !Number.isNaN(r)).sort((a, b) => a - b);
  const middle = known[Math.floor(known.length / 2)] ?? 0;
  const even = known.length === rates.length && known.length > 0 && known[known.length - 1] < known[0] * 1.2;
  const breaks: number[] = [];
  rates.forEach((r, i) => { if (r * 5 < middle && wide[i] > 24) breaks.push(i); });
  return { x, width: Math.max(total, width), even, breaks };
}

/** Where a time is, between the points about it. */
export function place(times: number[], axis: Axis, t: number): number {
  const n = times.length;
  if (n === 0 || t <= times[0]) return 0;
  if (t >= times[n - 1]) return axis.x[n - 1];
  let i = 0;
  while (times[i + 1] < t) i++;
  const gap = times[i + 1] - times[i];
  return axis.x[i] + (gap > 0 ? (t - times[i]) / gap : 0) * (axis.x[i + 1] - axis.x[i]);
}
