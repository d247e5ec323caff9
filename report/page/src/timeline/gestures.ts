// Mouse, pen and fingers on the picture.

export interface Gestures {
  /** The width of what is not dragged over at the left. */
  gutter(): number;
  /** By so many pixels. */
  pan(dx: number, dy: number): void;
  /** So that what is at x stays there. */
  zoom(x: number, factor: number): void;
  /** A range is being chosen; at the end it is done. */
  brush(from: number, to: number, done: boolean): void;
  tap(x: number, y: number): void;
  double(x: number): void;
  /** The mouse is there, or nowhere. */
  hover(at: { x: number; y: number } | null): void;
}

/** Turns events of an element into what they mean. Fingers scroll up and down as everywhere;
 * the wheel is the page's, but with Ctrl, or once the picture has the focus. */
export function listen(on: HTMLElement, g: Gestures): void {
  const down = new Map<number, { x: number; y: number }>();
  let began: { x: number; y: number } | null = null;
  let moved = false, brushing = false, pinched = false;
  let last = { time: 0, x: 0, y: 0 };

  const place = (e: MouseEvent): { x: number; y: number } => {
    const r = on.getBoundingClientRect();
    return { x: e.clientX - r.left, y: e.clientY - r.top };
  };
  const spread = (): { x: number; width: number } => {
    const [a, b] = [...down.values()];
    return { x: (a.x + b.x) / 2, width: Math.max(Math.hypot(a.x - b.x, a.y - b.y), 10) };
  };

  on.addEventListener("pointerdown", (e) => {
    if (e.pointerType === "mouse" && e.button !== 0) return;
    const at = place(e);
    down.set(e.pointerId, at);
    on.setPointerCapture(e.pointerId);
    if (down.size === 1) {
      began = at;
      moved = pinched = false;
      brushing = e.shiftKey && at.x > g.gutter();
    } else {
      pinched = true;
      if (brushing && began) g.brush(began.x, began.x, true);
      brushing = false;
    }
    g.hover(null);
  });
  on.addEventListener("pointermove", (e) => {
    const at = place(e);
    const before = down.get(e.pointerId);
    if (!before) {
      if (e.pointerType === "mouse") g.hover(at);
      return;
    }
    if (down.size === 2) {
      const was = spread();
      down.set(e.pointerId, at);
      const is = spread();
      g.zoom(was.x, was.width / is.width); // first: the whole run cannot be moved
      g.pan(is.x - was.x, 0);
      return;
    }
    if (!began || (!moved && Math.hypot(at.x - began.x, at.y - began.y) < 4)) return;
    moved = true;
    down.set(e.pointerId, at);
    if (brushing) g.brush(began.x, at.x, false);
    else g.pan(at.x - before.x, e.pointerType === "mouse" ? at.y - before.y : 0);
  });
  const up = (e: PointerEvent): void => {
    if (!down.delete(e.pointerId)) return;
    const at = place(e);
    const cancelled = e.type === "pointercancel";
    if (brushing && began) g.brush(began.x, moved && !cancelled ? at.x : began.x, true);
    else if (began && !moved && !pinched && !cancelled && down.size === 0) {
      const again = e.timeStamp - last.time < 350 && Math.hypot(at.x - last.x, at.y - last.y) < 12;
      if (again) g.double(at.x);
      else g.tap(at.x, at.y);
      last = { time: again ? 0 : e.timeStamp, ...at };
    }
    brushing = false;
    if (down.size === 0) began = null;
  };
  on.addEventListener("pointerup", up);
  on.addEventListener("pointercancel", up);
  on.addEventListener("pointerleave", (e) => { if (!down.has(e.pointerId)) g.hover(null); });
  on.addEventListener("wheel", (e) => {
    if (!e.ctrlKey && document.activeElement !== on) return;
    const unit = e.deltaMode === 1 ? 16 : e.deltaMode === 2 ? 400 : 1;
    const at = place(e);
    if (at.x < g.gutter() && !e.ctrlKey) return; // over labels it scrolls the lanes
    e.preventDefault();
    if (Math.abs(e.deltaX) > Math.abs(e.deltaY)) g.pan(-e.deltaX * unit, 0);
    else if (e.shiftKey) g.pan(-e.deltaY * unit, 0);
    else g.zoom(at.x, Math.exp(Math.min(Math.max(e.deltaY * unit, -300), 300) * 0.002));
  }, { passive: false });
}
