// Planes of a volume and of its map as pixels, turned as they are drawn. Pure.

import { position, type Grids } from "../maps/grid.ts";
import type { Axis, Plane, Triple } from "./geometry.ts";

/** The voxels as they crossed: means of `step` voxels of the volume along each axis. */
export interface Voxels {
  readonly shape: Triple; // of the volume
  readonly step: Triple;
  readonly sent: Triple; // shape once reduced
  readonly colour: boolean;
  readonly data: Uint8Array; // C order, 3 bytes a voxel where coloured
  /** Whether a slice (of those sent) is there. */
  ready(slice: number): boolean;
}

export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8ClampedArray<ArrayBuffer>;
}

/** Index into what was sent of each column (row) of a plane, from left to right (from the top). */
function order(count: number, flipped: boolean): (i: number) => number {
  return flipped ? (i) => count - 1 - i : (i) => i;
}

function blank(width: number, height: number): Pixels {
  return { width, height, data: new Uint8ClampedArray(width * height * 4) };
}

/** A plane through voxel `at` of its axis; grey goes through `lut`. What is not there is clear. */
export function planePixels(voxels: Voxels, plane: Plane, at: number, lut: Uint8Array): Pixels {
  const { sent, colour, data } = voxels;
  const [width, height] = [sent[plane.across], sent[plane.down]];
  const out = blank(width, height);
  const bytes = colour ? 3 : 1;
  const strides: Triple = [sent[1] * sent[2] * bytes, sent[2] * bytes, bytes];
  const fixed = Math.floor(at / voxels.step[plane.axis]);
  const column = order(width, plane.flip[0]);
  const row = order(height, plane.flip[1]);
  const shown = (u: number, v: number): boolean => {
    if (plane.axis === 0) return voxels.ready(fixed);
    return voxels.ready(plane.down === 0 ? v : u);
  };
  for (let y = 0; y < height; y++) {
    const v = row(y);
    const start = fixed * strides[plane.axis] + v * strides[plane.down];
    for (let x = 0; x < width; x++) {
      const u = column(x);
      if (!shown(u, v)) continue;
      const from = start + u * strides[plane.across];
      const to = (y * width + x) * 4;
      for (let c = 0; c < 3; c++) {
        out.data[to + c] = colour ? data[from + c]! : lut[data[from]!]!;
      }
      out.data[to + 3] = 255;
    }
  }
  return out;
}

/** Grey, or red, green and blue, of a voxel of the volume; null where it is not there. */
export function voxelOf(voxels: Voxels, place: Triple): number[] | null {
  const [d, h, w] = place.map((i, a) => Math.floor(i / voxels.step[a]!)) as Triple;
  if (!voxels.ready(d)) return null;
  const bytes = voxels.colour ? 3 : 1;
  const at = ((d * voxels.sent[1] + h) * voxels.sent[2] + w) * bytes;
  return [...voxels.data.subarray(at, at + bytes)];
}

// -- maps ------------------------------------------------------------------------------------
/** Cell of `cells` that a place, in voxels of a side, lies in. */
export function cellOf(place: number, side: number, cells: number): number {
  // multiplied first: halves stay exact, so a centre on the border of two cells is in the second
  return Math.min(cells - 1, Math.max(0, Math.floor((place * cells) / side)));
}

/**
 * The two cells between whose centres a place lies, and the weight of the second: cell `i` of `n`
 * has its centre at `(i + 0.5) / n` of the side, and beyond the outermost centres the edge holds,
 * as `widgetkit.explain.upsample` has it.
 */
export function between(place: number, side: number, cells: number): [number, number, number] {
  const x = Math.min(cells - 1, Math.max(0, (place / side) * cells - 0.5));
  const low = Math.floor(x);
  return [low, Math.min(low + 1, cells - 1), x - low];
}

/** Middle of the voxels of the volume that one that was sent stands for, in voxels. */
export function middleOf(index: number, step: number, side: number): number {
  return (index * step + Math.min((index + 1) * step, side)) / 2;
}

const gridShape = (grid: Grids): Triple => [grid.depth, grid.height, grid.width];

/** Value at a place in voxels, smooth or of the cell it lies in; NaN where there is none. */
export function mapAt(grid: Grids, shape: Triple, place: Triple, smooth: boolean): number {
  const cells = gridShape(grid);
  const ways = place.map((at, a): [number, number, number] => {
    if (smooth) return between(at, shape[a]!, cells[a]!);
    const cell = cellOf(at, shape[a]!, cells[a]!);
    return [cell, cell, 0];
  });
  return blend(grid, ways);
}

function blend(grid: Grids, ways: readonly (readonly [number, number, number])[]): number {
  let sum = 0;
  for (let corner = 0; corner < 8; corner++) {
    let weight = 1;
    let at = 0;
    const sides = [grid.depth, grid.height, grid.width];
    for (let a = 0; a < 3; a++) {
      const [low, high, part] = ways[a]!;
      const upper = (corner >> a) & 1;
      weight *= upper ? part : 1 - part;
      at = at * sides[a]! + (upper ? high : low);
    }
    // a cell without a value that counts nothing takes nothing away
    if (weight > 0) sum += weight * grid.values[at]!;
  }
  return sum;
}

export interface Colouring {
  readonly low: number;
  readonly high: number;
  readonly signed: boolean;
  /** RGBA of 255 steps of the scale; clear where it is below the threshold. */
  readonly table: Uint8Array;
}

/**
 * The map over a plane, a pixel a voxel that was sent, by voxel centres: a plane of a map covers
 * exactly the voxels whose centres lie in its cells, however the sides divide.
 */
export function mapPixels(
  voxels: Pick<Voxels, "shape" | "step" | "sent">,
  grid: Grids, plane: Plane, at: number, smooth: boolean, colouring: Colouring,
): Pixels {
  const { shape, step, sent } = voxels;
  const cells = gridShape(grid);
  const [width, height] = [sent[plane.across], sent[plane.down]];
  const out = blank(width, height);
  const way = (axis: Axis, place: number): [number, number, number] => {
    if (smooth) return between(place, shape[axis], cells[axis]);
    const cell = cellOf(place, shape[axis], cells[axis]);
    return [cell, cell, 0];
  };
  const along = (axis: Axis, flipped: boolean): [number, number, number][] => {
    const index = order(sent[axis], flipped);
    return Array.from({ length: sent[axis] }, (_, i) =>
      way(axis, middleOf(index(i), step[axis], shape[axis])),
    );
  };
  const slab = cutGrid(grid, plane, way(plane.axis, at + 0.5));
  const columns = along(plane.across, plane.flip[0]);
  // flat numbers: a plane of 512 x 512 is drawn at every step of a drag
  const [first, second] = [0, 1].map((side) => Uint32Array.from(columns, (column) => column[side]!));
  const part = Float64Array.from(columns, (column) => column[2]);
  const rows = along(plane.down, plane.flip[1]);
  const wide = cells[plane.across];
  const line = new Float64Array(wide);
  const pixels = new Uint32Array(out.data.buffer);
  const colours = new Uint32Array(colouring.table.buffer, colouring.table.byteOffset, 256);
  const scale = { low: colouring.low, high: colouring.high };
  for (let y = 0; y < height; y++) {
    const [v0, v1, fv] = rows[y]!;
    for (let u = 0; u < wide; u++) line[u] = mix(slab[v0 * wide + u]!, slab[v1 * wide + u]!, fv);
    for (let x = 0; x < width; x++) {
      const value = mix(line[first![x]!]!, line[second![x]!]!, part[x]!);
      if (Number.isNaN(value)) continue;
      const place = position(value, scale, colouring.signed);
      pixels[y * width + x] = colours[Math.round(place * 254)]!;
    }
  }
  return out;
}

function mix(a: number, b: number, part: number): number {
  return part > 0 ? a * (1 - part) + b * part : a;
}

/** The plane of the map's own grid, rows along `down`, columns along `across`. */
function cutGrid(grid: Grids, plane: Plane, [low, high, part]: [number, number, number]): Float64Array {
  const cells = gridShape(grid);
  const strides: Triple = [cells[1] * cells[2], cells[2], 1];
  const [wide, deep] = [cells[plane.across], cells[plane.down]];
  const out = new Float64Array(wide * deep);
  for (let v = 0; v < deep; v++) {
    for (let u = 0; u < wide; u++) {
      const at = v * strides[plane.down] + u * strides[plane.across];
      const a = grid.values[at + low * strides[plane.axis]]!;
      out[v * wide + u] = mix(a, grid.values[at + high * strides[plane.axis]]!, part);
    }
  }
  return out;
}
