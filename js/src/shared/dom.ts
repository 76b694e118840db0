// Small helpers for nodes. Text is always set as text, never as HTML.

type Child = Node | string | null;
type Attributes = Record<string, string | number | boolean | null>;

/** A node with attributes; `false` and `null` leave an attribute out. */
export function node<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) setAttribute(made, name, value);
  for (const child of children) if (child !== null) made.append(child);
  return made;
}

export function setAttribute(
  target: Element,
  name: string,
  value: string | number | boolean | null,
): void {
  if (value === null || value === false) target.removeAttribute(name);
  else target.setAttribute(name, value === true ? "" : String(value));
}

/** An icon: `path` is the data of one stroked path in a 16 x 16 box. */
export function icon(path: string): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(space, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

export interface ButtonOptions {
  label: string;
  /** Path data of an icon; without one the label is the text of the button. */
  path?: string;
  /** Shown in the tooltip. */
  key?: string;
  /** A toggle starts in this state (`aria-pressed`). */
  pressed?: boolean;
  onClick: (event: MouseEvent) => void;
}

/** A button that a screen reader can name. */
export function button(options: ButtonOptions, signal: AbortSignal): HTMLButtonElement {
  const { label, path, key, pressed, onClick } = options;
  const made = node("button", {
    type: "button",
    title: key ? `${label} (${key})` : label,
    "aria-label": label,
    "aria-pressed": pressed === undefined ? null : String(pressed),
  });
  made.append(path ? icon(path) : label);
  made.addEventListener("click", onClick, { signal });
  return made;
}

/** Groups digits as figures and captions do: 12,345. */
export function grouped(value: number): string {
  return value.toLocaleString("en-GB");
}

/** Runs `task` on the next frame; further calls before it change nothing. */
export function perFrame(task: () => void, signal: AbortSignal): () => void {
  let handle = 0;
  signal.addEventListener("abort", () => cancelAnimationFrame(handle));
  return () => {
    if (handle || signal.aborted) return;
    handle = requestAnimationFrame(() => {
      handle = 0;
      task();
    });
  };
}

/** Calls `task` with the newest values once `wait_ms` passed without another call. */
export function debounce<T extends unknown[]>(
  task: (...values: T) => void,
  wait_ms: number,
  signal: AbortSignal,
): ((...values: T) => void) & { cancel: () => void } {
  let handle: ReturnType<typeof setTimeout> | undefined;
  const cancel = (): void => clearTimeout(handle);
  signal.addEventListener("abort", cancel);
  const call = (...values: T): void => {
    cancel();
    if (!signal.aborted) handle = setTimeout(() => task(...values), wait_ms);
  };
  return Object.assign(call, { cancel });
}

/**
 * Keeps the keys that `isOurs` names from the page while the focus is inside `root`. JupyterLab
 * looks at keys before any node does (capture on the document), and passes over a focused node
 * with this attribute; other keys, such as Ctrl+S, still reach it.
 */
export function ownKeys(
  root: HTMLElement,
  isOurs: (event: KeyboardEvent) => boolean,
  signal: AbortSignal,
): void {
  window.addEventListener(
    "keydown",
    (event) => {
      const target = event.composedPath()[0];
      if (!(target instanceof Element) || !root.contains(target)) return;
      target.toggleAttribute("data-lm-suppress-shortcuts", isOurs(event));
    },
    { capture: true, signal },
  );
}
