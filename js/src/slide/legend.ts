// The clusters: colour, name, an eye to hide each. A click shows one alone, another click all.

import { icon, node } from "../shared/dom.ts";
import { CATEGORICAL, NONE_COLOUR } from "../shared/palette.ts";
import type { Cluster } from "./raster.ts";

const EYE = "M1.500 8s2.500-4.500 6.500-4.500S14.500 8 14.500 8 12 12.500 8 12.500 1.500 8 1.500 8zM8 10a2 2 0 1 0 0-4 2 2 0 0 0 0 4z";
const SHUT = "M2 6c1.500 2 3.500 3.500 6 3.500S12.500 8 14 6M8 9.500V12M4 8.500 2.500 10.500M12 8.500l1.500 2";

export interface LegendHandlers {
  show(cluster: number): void;
  hide(cluster: number, hidden: boolean): void;
}

export class Legend {
  readonly element = node("div", {
    class: "wk-slide-legend", role: "group", "aria-label": "Clusters on the slide",
  });
  private key = "";

  constructor(private readonly handlers: LegendHandlers) {}

  /** `alone` is the cluster shown alone, -1 while all are shown, null where no clusters are drawn. */
  show(clusters: readonly Cluster[], alone: number | null): void {
    this.element.hidden = alone === null || clusters.length === 0;
    const key = JSON.stringify([clusters, alone]);
    if (key === this.key) return;
    this.key = key;
    // the same button keeps the focus of the keyboard
    const at = [...this.element.querySelectorAll("button")].indexOf(
      document.activeElement as HTMLButtonElement,
    );
    this.element.replaceChildren(
      ...clusters.map(({ name, colour, hidden }, i) => {
        const swatch = node("i", { class: "wk-slide-swatch" });
        swatch.style.background = CATEGORICAL[colour] ?? NONE_COLOUR;
        const item = node(
          "button",
          {
            type: "button", class: "wk-slide-item", title: name, "data-cluster": i,
            "aria-pressed": String(alone === i),
          },
          swatch,
          node("span", { class: "wk-slide-name" }, name),
        );
        item.addEventListener("click", () => this.handlers.show(alone === i ? -1 : i));
        const word = hidden ? "Show" : "Hide";
        const eye = node("button", {
          type: "button", class: "wk-slide-eye", title: `${word} ${name} on the slide`,
          "aria-label": `${word} ${name} on the slide`, "data-hidden": String(hidden),
        });
        eye.append(icon(hidden ? SHUT : EYE));
        eye.addEventListener("click", () => this.handlers.hide(i, !hidden));
        return node(
          "div", { class: hidden ? "wk-slide-entry wk-slide-out" : "wk-slide-entry" }, item, eye,
        );
      }),
    );
    if (at >= 0) this.element.querySelectorAll("button")[at]?.focus();
  }
}
