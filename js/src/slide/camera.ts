// Where the view looks on the slide: pure functions between level-0 pixels and CSS pixels.
// Both axes grow to the right and downwards.

import type { Bounds, Point } from "../shared/codec.ts";

/** Middle of the view in level-0 pixels of the slide, and CSS pixels per level-0 pixel. */
export interface Camera {
  x: number;
  y: number;
  scale: number;
}

export interface Size {
  width: number;
  height: number;
}

/** Room around the slide when all of it is shown, CSS pixels. */
const MARGIN = 8;
/** The closest zoom: CSS pixels per pixel of the slide. */
const CLOSEST = 16;

/** Camera that shows a whole box. */
export function fit(box: Bounds, size: Size): Camera {
  const wide = box[2] - box[0] || 1;
  const high = box[3] - box[1] || 1;
  const scale = Math.min(
    Math.max(1, size.width - 2 * MARGIN) / wide,
    Math.max(1, size.height - 2 * MARGIN) / high,
  );
  return { x: (box[0] + box[2]) / 2, y: (box[1] + box[3]) / 2, scale: Math.min(scale, CLOSEST) };
}

/** CSS pixel of a place on the slide. */
export function toPixel(camera: Camera, size: Size, [x, y]: Point): Point {
  return [
    size.width / 2 + (x - camera.x) * camera.scale,
    size.height / 2 + (y - camera.y) * camera.scale,
  ];
}

/** Place on the slide under a CSS pixel. */
export function toSlide(camera: Camera, size: Size, [px, py]: Point): Point {
  return [
    camera.x + (px - size.width / 2) / camera.scale,
    camera.y + (py - size.height / 2) / camera.scale,
  ];
}

/** The part of the slide's plane that is seen. */
export function visible(camera: Camera, size: Size): Bounds {
  const [x0, y0] = toSlide(camera, size, [0, 0]);
  const [x1, y1] = toSlide(camera, size, [size.width, size.height]);
  return [x0, y0, x1, y1];
}

/** The middle of the view stays on the slide, so that nobody gets lost beside it. */
export function kept(camera: Camera, slide: Bounds): Camera {
  return {
    x: Math.min(slide[2], Math.max(slide[0], camera.x)),
    y: Math.min(slide[3], Math.max(slide[1], camera.y)),
    scale: camera.scale,
  };
}

/** Moved so that what was under the pointer stays under it. */
export function pan(camera: Camera, dx: number, dy: number): Camera {
  return { ...camera, x: camera.x - dx / camera.scale, y: camera.y - dy / camera.scale };
}

/** Zoomed by `factor` with the place under `at` fixed; from half of `home` to 16 times life size. */
export function zoom(camera: Camera, size: Size, at: Point, factor: number, home: Camera): Camera {
  const least = Math.min(home.scale / 2, CLOSEST);
  const scale = Math.min(CLOSEST, Math.max(least, camera.scale * factor));
  const [x, y] = toSlide(camera, size, at);
  return {
    x: x - (at[0] - size.width / 2) / scale,
    y: y - (at[1] - size.height / 2) / scale,
    scale,
  };
}

/** The largest of 1, 2, 5 times a power of ten that is at most `most`. */
export function roundLength(most: number): number {
  const power = 10 ** Math.floor(Math.log10(most));
  let best = power / 10;
  // the decades beside it as well: the logarithm is rounded
  for (const tenth of [0.1, 1, 10]) {
    for (const step of [1, 2, 5]) {
      const length = step * power * tenth;
      if (length <= most * (1 + 1e-9)) best = Math.max(best, length);
    }
  }
  return best;
}

/** Length of the scale bar in CSS pixels and its words: um or mm, px where the size is unknown. */
export function scaleBar(scale: number, mpp: number | null, most = 140): { px: number; text: string } {
  const unit = mpp !== null && mpp > 0 ? mpp : 1;
  const length = roundLength((most / scale) * unit);
  const px = (length / unit) * scale;
  const number = (value: number): string => String(Number(value.toPrecision(3)));
  if (unit === 1 && !(mpp !== null && mpp > 0)) return { px, text: `${number(length)} px` };
  return { px, text: length >= 1000 ? `${number(length / 1000)} mm` : `${number(length)} µm` };
}

/** A place on the slide in words. */
export function placeText([x, y]: Point, mpp: number | null): string {
  if (mpp !== null && mpp > 0) {
    const mm = (value: number): string => ((value * mpp) / 1000).toFixed(3);
    return `${mm(x)}, ${mm(y)} mm`;
  }
  return `${Math.round(x)}, ${Math.round(y)} px`;
}
