// The legend: what the colours mean, and buttons that select what has a colour.

import { gradient, VIRIDIS } from "../shared/colormaps.ts";
import { grouped, node } from "../shared/dom.ts";
import { NONE_INDEX } from "../shared/palette.ts";
import type { Theme } from "../shared/theme.ts";
import { css, paletteRgb, type Colouring } from "./colour.ts";

export type LegendItem = number | "missing";

/** Short text of a number on a colour bar. */
export function shortNumber(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(1);
  return String(Number(value.toPrecision(4)));
}

export class Legend {
  readonly element = node("div", { class: "wk-legend", role: "group", "aria-label": "Legend" });

  constructor(private readonly pick: (item: LegendItem, event: MouseEvent) => void) {}

  /** Shows a colouring; the old nodes go, and their listeners with them. */
  show(colouring: Colouring, theme: Theme): void {
    const nodes: Node[] = [node("div", { class: "wk-legend-title" }, colouring.by)];
    if (colouring.kind === "numbers") {
      const bar = node("div", { class: "wk-bar" });
      bar.style.background = gradient(VIRIDIS);
      nodes.push(
        bar,
        node(
          "div",
          { class: "wk-bar-ends" },
          node("span", {}, shortNumber(colouring.low ?? 0)),
          node("span", {}, shortNumber(colouring.high ?? 0)),
        ),
      );
    }
    (colouring.items ?? []).forEach((item, code) => {
      nodes.push(this.item(code, item.name, item.colour, item.count, theme));
    });
    if (colouring.missing > 0) {
      const name = colouring.by === "cluster" ? "no cluster" : "no value";
      nodes.push(this.item("missing", name, NONE_INDEX, colouring.missing, theme));
    }
    this.element.replaceChildren(...nodes);
  }

  private item(
    code: LegendItem,
    name: string,
    colour: number,
    count: number,
    theme: Theme,
  ): HTMLElement {
    const swatch = node("span", { class: "wk-swatch" });
    swatch.style.background = css(paletteRgb(colour, theme));
    const made = node(
      "button",
      {
        type: "button",
        class: "wk-item",
        title: `Select “${name}” (Shift adds, Alt takes away)`,
        "aria-label": `Select ${name}, ${grouped(count)} tiles`,
        "data-item": String(code),
      },
      swatch,
      node("span", { class: "wk-item-name" }, name),
      node("span", { class: "wk-item-count" }, grouped(count)),
    );
    made.addEventListener("click", (event) => this.pick(code, event));
    return made;
  }
}
