/** The colour bar: one scale, its numbers, title and unit, the threshold, the value pointed at. */

import { node } from "../shared/dom.ts";
import { position } from "./grid.ts";
import { gradient } from "./luts.ts";
import { short, type Content, type Settings } from "./state.ts";

/** What the maps are of, in which unit, and what is to be known before colours are compared. */
export function barTitle(
  { title, unit, coarse }: Pick<Content, "title" | "unit" | "coarse">,
  ownScale: boolean,
): string {
  const words = [
    title, unit && `(${unit})`, ownScale && "each tile on its own scale", coarse && "\u00b7 a first look",
  ];
  return words.filter(Boolean).join(" ");
}

export class ColourBar {
  readonly element: HTMLElement;
  private readonly title = node("span", { class: "wk-bar-title" });
  private readonly strip = node("div", { class: "wk-bar-strip" });
  private readonly cut = node("i", { class: "wk-bar-cut" });
  private readonly mark = node("i", { class: "wk-bar-mark", hidden: true });
  private readonly numbers = ["low", "middle", "high"].map(() => node("span"));

  constructor() {
    this.strip.append(this.cut, this.mark);
    const numbers = node("div", { class: "wk-bar-numbers" }, ...this.numbers);
    const body = node("div", { class: "wk-bar-body" }, this.strip, numbers);
    this.element = node("div", { class: "wk-bar", role: "img" }, this.title, body);
  }

  show(content: Content, settings: Settings): void {
    const { scale, signed, title } = content;
    this.element.hidden = !content.grids;
    if (!content.grids) return;
    this.title.textContent = barTitle(content, settings.ownScale);
    this.strip.style.background = gradient(settings.palette);
    const own = settings.ownScale;
    const texts = own
      ? signed
        ? ["−own", "0", "+own"]
        : ["0", "", "own highest"]
      : [short(scale.low), short((scale.low + scale.high) / 2), short(scale.high)];
    texts.forEach((value, i) => (this.numbers[i].textContent = value));
    // Below the threshold the map is not drawn: that part of the bar is crossed out.
    const [left, right] = signed
      ? [50 - settings.threshold * 50, 50 - settings.threshold * 50]
      : [0, 100 - settings.threshold * 100];
    this.cut.hidden = settings.threshold <= 0;
    this.cut.style.left = `${left}%`;
    this.cut.style.right = `${right}%`;
    const range = own ? "each tile on its own scale" : `from ${texts[0]} to ${texts[2]}`;
    this.element.setAttribute("aria-label", `Colour bar: ${title}, ${range}`);
  }

  /** Marks a value on a tile's scale; null takes the mark away. */
  point(value: number | null, scale: { low: number; high: number }, signed: boolean): void {
    this.mark.hidden = value === null || !Number.isFinite(value);
    if (value !== null) this.mark.style.left = `${position(value, scale, signed) * 100}%`;
  }
}
