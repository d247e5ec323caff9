// What the times of the page's document are: microseconds, or of a history that has a counter in
// place of a clock, nanoseconds.

let nanoseconds = 1000;

/** Says how many nanoseconds a time is, before anything is shown. */
export function setUnit(ns: number): void {
  nanoseconds = ns;
}

/** Whether times are those of a counter: how long something took means nothing then. */
export function counted(): boolean {
  return nanoseconds === 1;
}
