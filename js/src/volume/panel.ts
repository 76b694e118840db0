// One plane on the page: its head with number and slider, its picture, the marks over it.

import { node } from "../shared/dom.ts";
import type { Point } from "../shared/codec.ts";
import { scaleBar } from "../slide/camera.ts";
import { AXES, boxOf, toPixel, type Axis, type Box, type Camera, type Plane, type Size, type Triple } from "./geometry.ts";
import type { Pixels } from "./reslice.ts";
import type { Volume } from "./state.ts";

/** Lines of the crosshair by the axis they run across. */
const LINES: readonly string[] = ["#56b4e9", "#e69f00", "#cc79a7"];
/** Free middle of the crosshair, CSS pixels: what it points at stays seen. */
const GAP = 7;

export interface Marks {
  readonly at: Triple;
  readonly cross: boolean;
  /** Two corners of a brush in this plane. */
  readonly brush: readonly [Point, Point] | null;
  readonly accent: string;
}

export class Panel {
  readonly element: HTMLElement;
  readonly stage: HTMLElement;
  readonly slider = node("input", { type: "range", min: 0, max: 0, step: 1 });
  readonly swap = node("button", { type: "button", class: "wk-volume-name" });
  size: Size = { width: 0, height: 0 };
  box: Box = { left: 0, top: 0, width: 1, height: 1 };
  private readonly number = node("output", { class: "wk-volume-number" });
  private readonly picture = node("canvas", { "aria-hidden": true });
  private readonly marks = node("canvas", { "aria-hidden": true });
  private readonly letters = ["left", "right", "top", "bottom"].map((side) =>
    node("span", { class: `wk-volume-letter wk-volume-${side}`, hidden: true }),
  );
  private readonly scale = node("div", { class: "wk-volume-scale", role: "img", hidden: true }, node("span"), node("i"));
  private readonly context = this.picture.getContext("2d");
  private readonly markContext = this.marks.getContext("2d");
  private readonly ground = document.createElement("canvas");
  private readonly overlay = document.createElement("canvas");
  private keys = ["", ""];

  constructor(readonly axis: Axis) {
    this.stage = node(
      "div",
      {
        class: "wk-volume-stage", tabindex: 0, role: "application", "data-axis": axis,
        "aria-keyshortcuts":
          "ArrowUp ArrowDown PageUp PageDown Home End Shift+ArrowLeft Shift+ArrowRight Shift+ArrowUp " +
          "Shift+ArrowDown 1 2 3 N B M C R W + - 0 Escape Control+Z",
      },
      this.picture, this.marks, ...this.letters, this.scale,
    );
    this.element = node(
      "div",
      { class: "wk-volume-plane", "data-axis": axis },
      node("div", { class: "wk-volume-head" }, this.swap, this.slider, this.number),
      this.stage,
    );
  }

  /** Words and numbers of the plane. */
  words(volume: Volume | null, at: Triple, large: boolean): void {
    const plane = volume?.planes[this.axis];
    this.element.classList.toggle("wk-volume-large", large);
    const count = volume?.shape[this.axis] ?? 1;
    const place = at[this.axis];
    const name = plane?.name ?? "";
    this.swap.textContent = name;
    this.swap.title = large ? `${name}, the large plane` : `Make ${name} the large plane (${this.axis + 1})`;
    this.swap.setAttribute("aria-pressed", String(large));
    this.number.textContent = volume ? `${place + 1}/${count}` : "";
    this.slider.max = String(count - 1);
    this.slider.value = String(place);
    this.slider.disabled = count < 2;
    this.slider.setAttribute("aria-label", `${name} slice`);
    this.slider.setAttribute("aria-valuetext", `${place + 1} of ${count}`);
    this.stage.setAttribute("aria-label", volume ? `${name}, slice ${place + 1} of ${count}` : "no volume");
    this.letters.forEach((letter, i) => {
      letter.textContent = plane?.letters[i] ?? "";
      letter.hidden = !letter.textContent;
    });
    this.element.dataset.slice = String(place);
  }

  private fit(canvas: HTMLCanvasElement, ratio: number): void {
    const [width, height] = [Math.round(this.size.width * ratio), Math.round(this.size.height * ratio)];
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
  }

  /** `key` says what the pixels depend on: they are made anew only when it changes. */
  draw(
    volume: Volume, camera: Camera, ratio: number,
    ground: { key: string; make: () => Pixels },
    map: { key: string; make: () => Pixels; opacity: number } | null,
    smooth: boolean,
  ): void {
    const { context } = this;
    if (!context || this.size.width < 1 || this.size.height < 1) return;
    this.fit(this.picture, ratio);
    this.renew(0, this.ground, ground.key, ground.make);
    if (map) this.renew(1, this.overlay, map.key, map.make);
    const plane = volume.planes[this.axis];
    this.box = boxOf(volume, plane, this.size, camera);
    const { left, top, width, height } = this.box;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.picture.width, this.picture.height);
    context.imageSmoothingEnabled = smooth;
    context.imageSmoothingQuality = "high";
    // the voxels that were sent may reach beyond the side they stand for
    const reach = (axis: Axis): number => (volume.sent[axis] * volume.step[axis]) / volume.shape[axis];
    const [wide, high] = [width * reach(plane.across), height * reach(plane.down)];
    const x = plane.flip[0] ? left + width - wide : left;
    const y = plane.flip[1] ? top + height - high : top;
    const target = [x * ratio, y * ratio, wide * ratio, high * ratio] as const;
    context.save();
    context.beginPath();
    context.rect(left * ratio, top * ratio, width * ratio, height * ratio);
    context.clip();
    context.drawImage(this.ground, ...target);
    if (map && map.opacity > 0) {
      context.globalAlpha = map.opacity;
      context.drawImage(this.overlay, ...target);
      context.globalAlpha = 1;
    }
    context.restore();
    this.element.dataset.box = `${left} ${top} ${width} ${height}`;
    this.showScale(volume, plane);
  }

  clear(): void {
    this.context?.clearRect(0, 0, this.picture.width, this.picture.height);
    this.markContext?.clearRect(0, 0, this.marks.width, this.marks.height);
    this.keys = ["", ""];
    this.scale.hidden = true;
    delete this.element.dataset.box;
  }

  private renew(which: 0 | 1, canvas: HTMLCanvasElement, key: string, make: () => Pixels): void {
    if (this.keys[which] === key) return;
    const { width, height, data } = make();
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    canvas.getContext("2d")?.putImageData(new ImageData(data, width, height), 0, 0);
    this.keys[which] = key;
  }

  private showScale(volume: Volume, plane: Plane): void {
    this.scale.hidden = !volume.mm;
    if (!volume.mm) return;
    const perUnit = this.box.width / (volume.shape[plane.across] * volume.spacing[plane.across]);
    const { px, text } = scaleBar(perUnit / 1000, 1, Math.min(120, this.size.width / 3));
    const [label, line] = this.scale.children as unknown as [HTMLElement, HTMLElement];
    label.textContent = text;
    line.style.width = `${px}px`;
    this.scale.setAttribute("aria-label", `Scale bar: ${text}`);
    this.scale.dataset.px = String(px);
  }

  drawMarks(volume: Volume, ratio: number, marks: Marks): void {
    const context = this.markContext;
    if (!context || this.size.width < 1) return;
    this.fit(this.marks, ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.size.width, this.size.height);
    const plane = volume.planes[this.axis];
    const { left, top, width, height } = this.box;
    if (marks.cross) {
      const middle = AXES.map((a) => marks.at[a] + 0.5) as Triple;
      const [x, y] = toPixel(volume, plane, this.box, middle);
      // a line has the colour of the plane that cuts here
      this.line(context, plane.across, [[x, top, x, y - GAP], [x, y + GAP, x, top + height]]);
      this.line(context, plane.down, [[left, y, x - GAP, y], [x + GAP, y, left + width, y]]);
    }
    if (marks.brush) {
      const [[ax, ay], [bx, by]] = marks.brush;
      for (const [style, wide] of [["rgba(0,0,0,0.75)", 3], [marks.accent, 1.5]] as const) {
        context.strokeStyle = style;
        context.lineWidth = wide;
        context.strokeRect(Math.min(ax, bx), Math.min(ay, by), Math.abs(ax - bx), Math.abs(ay - by));
      }
    }
  }

  private line(context: CanvasRenderingContext2D, axis: Axis, parts: readonly (readonly number[])[]): void {
    for (const [style, wide] of [["rgba(0,0,0,0.6)", 2.5], [LINES[axis]!, 1]] as const) {
      context.strokeStyle = style;
      context.lineWidth = wide;
      context.beginPath();
      for (const [x0, y0, x1, y1] of parts as [number, number, number, number][]) {
        if (x1 <= x0 && y1 <= y0) continue; // the gap reaches beyond the plane
        context.moveTo(x0, y0);
        context.lineTo(x1, y1);
      }
      context.stroke();
    }
  }
}
