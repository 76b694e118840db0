// What every view does first: its root node, style, theme, strips, size, and one clean-up.

import baseCss from "./base.css";
import { node } from "./dom.ts";
import { strips } from "./error-strip.ts";
import { onChange, type Model, type RenderProps } from "./model.ts";
import { followTheme, type Theme } from "./theme.ts";

export interface Frame {
  model: Model;
  /** `<div class="wk wk-<name>" role="group">`; strips come first, the view appends the rest. */
  root: HTMLElement;
  /** Aborted when the view goes; give it to every listener. */
  signal: AbortSignal;
  theme(): Theme;
}

/** Builds the frame in `el`; return its second value from `render`. */
export function frame(
  { model, el }: RenderProps,
  name: string,
  css: string,
  themeChanged: (theme: Theme) => void,
): [Frame, () => void] {
  const abort = new AbortController();
  const { signal } = abort;
  const root = node("div", { class: `wk wk-${name}`, role: "group" });
  root.append(node("style", {}, baseCss + css), strips(model, signal));
  const label = (): void => {
    root.setAttribute("aria-label", (model.get("label") as string) || name);
  };
  onChange(model, ["label"], label, signal);
  label();
  el.append(root);
  let theme: Theme = "light";
  // A page that is built, but not yet shown, has no colours: followTheme looks again.
  queueMicrotask(() => {
    if (signal.aborted) return;
    followTheme(
      root,
      (found) => {
        theme = found;
        themeChanged(found);
      },
      signal,
    );
  });
  const cleanUp = (): void => {
    abort.abort();
    root.remove();
  };
  return [{ model, root, signal, theme: () => theme }, cleanUp];
}

/** Marks what was drawn last, for tests and benchmarks; costs no layout. */
export function drawn(root: HTMLElement, view: string, revision: number): void {
  root.dataset.revision = String(revision);
  root.dataset.drawn = String(Number(root.dataset.drawn ?? 0) + 1);
  const mark = `widgetkit:${view}:drawn`;
  performance.clearMarks(mark);
  performance.mark(mark, { detail: { revision } });
}
