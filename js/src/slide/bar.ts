// The colour bar of one map; of all clusters, the bar of their weight.

import { node } from "../shared/dom.ts";
import { gradient, type PaletteName } from "../maps/luts.ts";
import { short } from "../maps/state.ts";
import type { Raster } from "./raster.ts";

/** Opacity of the winner grows with its weight. */
const WEIGHT =
  "linear-gradient(to right, transparent, color-mix(in srgb, var(--wk-ink) 50%, transparent) 25%, " +
  "color-mix(in srgb, var(--wk-ink) 71%, transparent) 50%, var(--wk-ink))";

export class ColourBar {
  readonly element: HTMLElement;
  private readonly title = node("span", { class: "wk-slide-bar-title" });
  private readonly strip = node("div", { class: "wk-slide-bar-strip" });
  private readonly cut = node("i", { class: "wk-slide-bar-cut", hidden: true });
  private readonly mark = node("i", { class: "wk-slide-bar-mark", hidden: true });
  private readonly numbers = ["low", "middle", "high"].map(() => node("span"));

  constructor() {
    this.strip.append(this.cut, this.mark);
    const numbers = node("div", { class: "wk-slide-bar-numbers" }, ...this.numbers);
    this.element = node(
      "div", { class: "wk-slide-bar", role: "img", hidden: true }, this.title, this.strip, numbers,
    );
  }

  show(raster: Raster | null, title: string, units: string, palette: PaletteName, threshold: number): void {
    this.element.hidden = raster === null;
    if (!raster) return;
    const { low, high, signed, winner } = raster;
    const unit = units ? `, ${units}` : "";
    this.title.textContent = title + unit;
    this.strip.style.background = winner ? WEIGHT : gradient(palette);
    const texts = [low, (low + high) / 2, high].map(short);
    texts.forEach((text, i) => (this.numbers[i]!.textContent = text));
    this.cut.hidden = threshold <= 0;
    const [left, right] = signed
      ? [50 - threshold * 50, 50 - threshold * 50]
      : [0, 100 - threshold * 100];
    this.cut.style.left = `${left}%`;
    this.cut.style.right = `${right}%`;
    this.element.setAttribute("aria-label", `Colour bar: ${title}${unit}, from ${texts[0]} to ${texts[2]}`);
  }

  /** Marks the code under the pointer; null takes the mark away. */
  point(code: number | null): void {
    this.mark.hidden = code === null;
    if (code !== null) this.mark.style.left = `${(code / 254) * 100}%`;
  }
}
