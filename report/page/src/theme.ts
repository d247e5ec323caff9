// Light or dark: as the reader chose, or else as the system has it.

export type Theme = "light" | "dark";

const name = "hacheck-theme";
const listeners: (() => void)[] = [];

export function theme(): Theme {
  return document.documentElement.dataset.theme === "dark" ? "dark" : "light";
}

/** Sets the theme before anything is drawn. */
export function begin(): void {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  set((remembered() ?? (dark.matches ? "dark" : "light")));
  dark.addEventListener("change", () => { if (!remembered()) set(dark.matches ? "dark" : "light"); });
}

/** Changes the theme because the reader says so, and remembers it. */
export function choose(t: Theme): void {
  try {
    localStorage.setItem(name, t);
  } catch {
    // a page of a file may not be allowed to remember
  }
  set(t);
}

/** Shows a theme for a while, such as for print; null ends it. */
export function during(t: Theme | null): void {
  set(t ?? remembered() ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
}

/** Calls back when colours have changed: what is on a canvas has to be drawn again. */
export function onChange(listener: () => void): void {
  listeners.push(listener);
}

/** The present value of a colour of theme.css. */
export function colour(variable: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
}

function set(t: Theme): void {
  document.documentElement.dataset.theme = t;
  for (const l of listeners) l();
}

function remembered(): Theme | null {
  try {
    const t = localStorage.getItem(name);
    return t === "light" || t === "dark" ? t : null;
  } catch {
    return null;
  }
}
