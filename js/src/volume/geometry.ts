// Where the voxels of a plane lie on the screen. Pure; places are (d, h, w), screens CSS pixels.

import type { Point } from "../shared/codec.ts";

export type Axis = 0 | 1 | 2;
export type Triple = [number, number, number];
export const AXES: readonly Axis[] = [0, 1, 2];

/** How a plane is drawn: the axes that run across and down, and which of them run backwards. */
export interface Plane {
  readonly axis: Axis;
  readonly name: string;
  readonly across: Axis;
  readonly down: Axis;
  readonly flip: readonly [across: boolean, down: boolean];
  /** Left, right, top, bottom; empty where directions are not known. */
  readonly letters: readonly string[];
}

/** What geometry needs of a volume. */
export interface Extent {
  readonly shape: Triple;
  /** From voxel to voxel; only the proportions matter here. */
  readonly spacing: Triple;
}

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** Zoom from 1 (all of the plane) and the place in the middle of every plane. */
export interface Camera {
  readonly zoom: number;
  readonly centre: Triple;
}

/** The whole plane on the screen. */
export interface Box {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** Room around a plane, CSS pixels: letters stand there. */
export const MARGIN = 14;
export const ZOOM_MOST = 16;

/** Width and height of a plane in the units of the spacing. */
export function planeSize(extent: Extent, plane: Plane): Point {
  const side = (axis: Axis): number => extent.shape[axis] * extent.spacing[axis];
  return [side(plane.across), side(plane.down)];
}

/** Share 0..1 of the screen box at which a place along an axis lies. */
function share(extent: Extent, axis: Axis, flipped: boolean, place: number): number {
  const at = place / extent.shape[axis];
  return flipped ? 1 - at : at;
}

/** Where the plane lies: all of it in its proportions, or magnified around the middle. */
export function boxOf(extent: Extent, plane: Plane, size: Size, camera: Camera): Box {
  const [wide, high] = planeSize(extent, plane);
  const room = [Math.max(1, size.width - 2 * MARGIN), Math.max(1, size.height - 2 * MARGIN)];
  const scale = Math.min(room[0]! / wide, room[1]! / high) * camera.zoom;
  const along = (axis: Axis, flipped: boolean, length: number, screen: number): number => {
    if (length <= screen || camera.zoom <= 1) return (screen - length) / 2;
    const start = screen / 2 - share(extent, axis, flipped, camera.centre[axis]) * length;
    // nothing beside the volume is shown while there is more of it
    return Math.min(0, Math.max(screen - length, start));
  };
  const [width, height] = [wide * scale, high * scale];
  return {
    left: along(plane.across, plane.flip[0], width, size.width),
    top: along(plane.down, plane.flip[1], height, size.height),
    width,
    height,
  };
}

/** Place under a pixel as [along across, along down] in voxels; may lie outside. */
export function toPlane(extent: Extent, plane: Plane, box: Box, [x, y]: Point): Point {
  const u = (x - box.left) / box.width;
  const v = (y - box.top) / box.height;
  return [
    (plane.flip[0] ? 1 - u : u) * extent.shape[plane.across],
    (plane.flip[1] ? 1 - v : v) * extent.shape[plane.down],
  ];
}

/** Pixel of a place given in voxels; the middle of voxel i is i + 0.5. */
export function toPixel(extent: Extent, plane: Plane, box: Box, place: Triple): Point {
  return [
    box.left + share(extent, plane.across, plane.flip[0], place[plane.across]) * box.width,
    box.top + share(extent, plane.down, plane.flip[1], place[plane.down]) * box.height,
  ];
}

/** Voxel under a pixel of a plane that cuts the volume at `at`; null beside it. */
export function voxelAt(extent: Extent, plane: Plane, box: Box, at: Triple, pixel: Point): Triple | null {
  const [across, down] = toPlane(extent, plane, box, pixel).map(Math.floor) as Point;
  if (!(across >= 0 && across < extent.shape[plane.across])) return null;
  if (!(down >= 0 && down < extent.shape[plane.down])) return null;
  const voxel: Triple = [...at];
  voxel[plane.across] = across;
  voxel[plane.down] = down;
  return voxel;
}

/** The same with pixels beside the volume brought to its rim, for drags. */
export function nearestVoxel(extent: Extent, plane: Plane, box: Box, at: Triple, pixel: Point): Triple {
  const [across, down] = toPlane(extent, plane, box, pixel).map(Math.floor) as Point;
  const voxel: Triple = [...at];
  voxel[plane.across] = across;
  voxel[plane.down] = down;
  return inside(extent.shape, voxel);
}

/** The nearest voxel of the volume. */
export function inside(shape: Triple, place: readonly number[]): Triple {
  return AXES.map((a) => Math.min(shape[a] - 1, Math.max(0, Math.round(place[a] ?? 0)))) as Triple;
}

/** Zoomed by `factor` with the place under the pixel fixed in this plane, as far as the rim allows. */
export function zoomAt(
  extent: Extent, plane: Plane, size: Size, camera: Camera, factor: number, pixel: Point,
): Camera {
  const zoom = Math.min(ZOOM_MOST, Math.max(1, camera.zoom * factor));
  const before = boxOf(extent, plane, size, camera);
  const [across, down] = toPlane(extent, plane, before, pixel);
  const grown = zoom / camera.zoom;
  const centre: Triple = [...camera.centre];
  // the pixel is as far from the middle as before: the middle moves towards the place
  const middle = toPlane(extent, plane, before, [size.width / 2, size.height / 2]);
  centre[plane.across] = across + (middle[0] - across) / grown;
  centre[plane.down] = down + (middle[1] - down) / grown;
  return { zoom, centre: kept(extent, centre) };
}

/** Moved by pixels in one plane. */
export function panBy(
  extent: Extent, plane: Plane, size: Size, camera: Camera, dx: number, dy: number,
): Camera {
  const box = boxOf(extent, plane, size, camera);
  const [across, down] = toPlane(extent, plane, box, [size.width / 2 - dx, size.height / 2 - dy]);
  const centre: Triple = [...camera.centre];
  centre[plane.across] = across;
  centre[plane.down] = down;
  return { zoom: camera.zoom, centre: kept(extent, centre) };
}

function kept(extent: Extent, centre: Triple): Triple {
  return AXES.map((a) => Math.min(extent.shape[a], Math.max(0, centre[a]))) as Triple;
}

/** Voxels of a box drawn in a plane: lowest and highest, both in it. */
export function boxBetween(
  extent: Extent, plane: Plane, box: Box, at: Triple, from: Point, to: Point,
): { low: Triple; high: Triple } {
  const a = nearestVoxel(extent, plane, box, at, from);
  const b = nearestVoxel(extent, plane, box, at, to);
  return {
    low: AXES.map((i) => Math.min(a[i], b[i])) as Triple,
    high: AXES.map((i) => Math.max(a[i], b[i])) as Triple,
  };
}

/** Slices that a turn of the wheel moves: one a notch; finer wheels gather theirs. */
export function wheelSteps(gathered: number, deltaY: number, mode: number): { steps: number; rest: number } {
  const pixels = deltaY * (mode === 1 ? 40 : mode === 2 ? 400 : 1);
  if (Math.abs(pixels) >= 50) return { steps: -Math.sign(pixels), rest: 0 };
  const sum = Math.sign(gathered) === -Math.sign(pixels) ? pixels : gathered + pixels;
  const steps = Math.trunc(sum / 30);
  return { steps: steps === 0 ? 0 : -steps, rest: sum - steps * 30 };
}
