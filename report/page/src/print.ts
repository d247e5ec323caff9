// What is printed: all of the page, whether it was looked at or not, on white.

const before: (() => void)[] = [];
const after: (() => void)[] = [];
let printing = false;

/** Prepares something for print, and undoes that. What is made while that happens is
 * prepared at once. */
export function onPrint(prepare: () => void, undo?: () => void): void {
  before.push(prepare);
  if (undo) after.push(undo);
  if (printing) prepare();
}

/** The width of what is printed, in pixels: that of A4 within its margins. */
export const printed = 700;

// While it is prepared, the page is as wide as paper: what is drawn for it has its size.
addEventListener("beforeprint", () => {
  printing = true;
  document.documentElement.dataset.printing = "";
  for (const prepare of [...before]) prepare();
});
addEventListener("afterprint", () => {
  printing = false;
  delete document.documentElement.dataset.printing;
  for (const undo of [...after]) undo();
});
