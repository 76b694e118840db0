// Dark or light, as the page around the view has it (JupyterLab, Notebook, VS Code, Colab, Voila).

export type Theme = "light" | "dark";

/** Red, green, blue, alpha of a computed CSS colour, or null when it is not rgb(). */
export function parseColour(text: string): [number, number, number, number] | null {
  const parts = /^rgba?\(([^)]+)\)$/.exec(text.trim())?.[1]?.split(/[,/\s]+/).filter(Boolean);
  if (!parts || parts.length < 3) return null;
  const [red, green, blue, alpha] = parts.map((part) =>
    part.endsWith("%") ? parseFloat(part) / 100 : parseFloat(part),
  );
  return [red!, green!, blue!, alpha ?? 1];
}

/** Perceived lightness 0..1 (Rec. 601 luma is enough to tell a dark page from a light one). */
export function lightness(red: number, green: number, blue: number): number {
  return (0.299 * red + 0.587 * green + 0.114 * blue) / 255;
}

/** Theme of the nearest ancestor with an opaque background; the system's where none has one. */
export function themeOf(element: Element): Theme {
  for (let at: Element | null = element.parentElement; at; at = at.parentElement) {
    const colour = parseColour(getComputedStyle(at).backgroundColor);
    if (colour && colour[3] > 0.5) {
      return lightness(colour[0], colour[1], colour[2]) < 0.5 ? "dark" : "light";
    }
  }
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

/** Keeps `data-theme` of `element` right and calls `changed` now and whenever the page changes. */
export function followTheme(
  element: HTMLElement,
  changed: (theme: Theme) => void,
  signal: AbortSignal,
): void {
  let current: Theme | null = null;
  const look = (): void => {
    const theme = themeOf(element);
    if (theme === current) return;
    current = theme;
    element.dataset.theme = theme;
    changed(theme);
  };
  // Style sheets of a new theme may arrive after the attribute that announces them.
  const lookTwice = (): void => {
    look();
    setTimeout(look, 300);
  };
  const observer = new MutationObserver(lookTwice);
  for (const target of [document.documentElement, document.body]) {
    observer.observe(target, {
      attributes: true,
      attributeFilter: ["class", "style", "data-jp-theme-light", "data-jp-theme-name", "theme"],
    });
  }
  signal.addEventListener("abort", () => observer.disconnect());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", lookTwice, { signal });
  look();
  // render() may run long before the node is in the page; it has a size once it is.
  const size = new ResizeObserver(look);
  size.observe(element);
  signal.addEventListener("abort", () => size.disconnect());
}

export function prefersReducedMotion(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}
