// Where the view looks: pure functions between data coordinates and CSS pixels.

import type { Bounds, Point } from "../shared/codec.ts";

/** Middle of the view in data coordinates, and pixels per unit of data (the same for x and y). */
export interface Camera {
  x: number;
  y: number;
  scale: number;
}

export interface Size {
  width: number;
  height: number;
}

/** Room around the points when all are shown, pixels. */
const MARGIN = 16;

/** Camera that shows the whole box with its aspect kept. */
export function fit(box: Bounds, size: Size): Camera {
  const wide = box[2] - box[0] || 1;
  const high = box[3] - box[1] || 1;
  const scale = Math.min(
    Math.max(1, size.width - 2 * MARGIN) / wide,
    Math.max(1, size.height - 2 * MARGIN) / high,
  );
  return { x: (box[0] + box[2]) / 2, y: (box[1] + box[3]) / 2, scale };
}

/** Pixel of a place; y grows upwards in the data and downwards on the screen. */
export function toPixel(camera: Camera, size: Size, [x, y]: Point): Point {
  return [
    size.width / 2 + (x - camera.x) * camera.scale,
    size.height / 2 - (y - camera.y) * camera.scale,
  ];
}

/** Place under a pixel. */
export function toData(camera: Camera, size: Size, [px, py]: Point): Point {
  return [
    camera.x + (px - size.width / 2) / camera.scale,
    camera.y - (py - size.height / 2) / camera.scale,
  ];
}

/** Moved so that what was under the pointer stays under it. */
export function pan(camera: Camera, dx: number, dy: number): Camera {
  return { ...camera, x: camera.x - dx / camera.scale, y: camera.y + dy / camera.scale };
}

/** Zoomed by `factor` with the place under `at` fixed; between 1/4 and 20,000 times `home`. */
export function zoom(
  camera: Camera,
  size: Size,
  at: Point,
  factor: number,
  home: Camera,
): Camera {
  const scale = Math.min(home.scale * 20_000, Math.max(home.scale / 4, camera.scale * factor));
  const [x, y] = toData(camera, size, at);
  return {
    x: x - (at[0] - size.width / 2) / scale,
    y: y + (at[1] - size.height / 2) / scale,
    scale,
  };
}

/**
 * Turns position codes 0..65534 into clip space: `clip = code * scale + offset`, for each axis.
 * Done in double precision here: in the shader the difference of large numbers would jitter.
 */
export function codesToClip(
  camera: Camera,
  size: Size,
  box: Bounds,
): { scale: Point; offset: Point } {
  const fx = (2 * camera.scale) / size.width;
  const fy = (2 * camera.scale) / size.height;
  return {
    scale: [((box[2] - box[0]) / 65534) * fx, ((box[3] - box[1]) / 65534) * fy],
    offset: [(box[0] - camera.x) * fx, (box[1] - camera.y) * fy],
  };
}
