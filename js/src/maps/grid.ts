/** Arithmetic on map grids: decoding, scales, bilinear reading, outlines. Pure functions. */

import { gridValue } from "../shared/codec.ts";

/** Maps of `count` tiles, each a grid `(depth, height, width)`; 2-D grids have depth 1. */
export interface Grids {
  readonly values: Float32Array; // (count, depth, height, width), C order
  readonly count: number;
  readonly depth: number;
  readonly height: number;
  readonly width: number;
}

export interface Scale {
  readonly low: number;
  readonly high: number;
}

/** One IEEE half-precision number from its 16 bits. */
export function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/**
 * Grids as they cross the wire: float16 of `value / factor`, or uint8 steps between `low` and `high` (255 = NaN).
 *
 * Returns null if the bytes do not hold `count * depth * height * width` values: a truncated
 * message draws no maps rather than wrong ones.
 */
export function decodeGrids(
  bytes: Uint8Array,
  encoding: string,
  shape: readonly number[],
  count: number,
  scale: Scale,
  factor = 1,
): Grids | null {
  if (shape.length !== 2 && shape.length !== 3) return null;
  const [depth, height, width] = shape.length === 3 ? shape : [1, ...shape];
  const total = count * depth * height * width;
  const values = new Float32Array(total);
  if (!total) return null;
  if (encoding === "float16" && bytes.length === total * 2) {
    for (let i = 0; i < total; i++) {
      values[i] = half(bytes[2 * i] | (bytes[2 * i + 1] << 8)) * factor;
    }
  } else if (encoding === "uint8" && bytes.length === total) {
    for (let i = 0; i < total; i++) values[i] = gridValue(bytes[i], scale.low, scale.high);
  } else {
    return null;
  }
  return { values, count, depth, height, width };
}

/** Index of the first value of one slice of one tile. */
export function sliceStart(g: Grids, tile: number, slice: number): number {
  const z = Math.min(Math.max(slice, 0), g.depth - 1);
  return (tile * g.depth + z) * g.height * g.width;
}

/**
 * Bilinear value at `(u, v)` in [0, 1] of a tile's slice, half-pixel convention: cell `i` of `n`
 * has its centre at `(i + 0.5) / n`, and beyond the outermost centres the edge value holds.
 */
export function sample(g: Grids, tile: number, slice: number, u: number, v: number): number {
  const start = sliceStart(g, tile, slice);
  const x = Math.min(Math.max(u * g.width - 0.5, 0), g.width - 1);
  const y = Math.min(Math.max(v * g.height - 0.5, 0), g.height - 1);
  const x0 = Math.floor(x);
  const y0 = Math.floor(y);
  const x1 = Math.min(x0 + 1, g.width - 1);
  const y1 = Math.min(y0 + 1, g.height - 1);
  const fx = x - x0;
  const fy = y - y0;
  const at = (row: number, column: number): number => g.values[start + row * g.width + column];
  return (
    (at(y0, x0) * (1 - fx) + at(y0, x1) * fx) * (1 - fy) +
    (at(y1, x0) * (1 - fx) + at(y1, x1) * fx) * fy
  );
}

/** Row and column of the cell under `(u, v)`; null outside the tile. */
export function cellAt(g: Grids, u: number, v: number): { row: number; column: number } | null {
  if (!(u >= 0 && u < 1 && v >= 0 && v < 1)) return null;
  return { row: Math.floor(v * g.height), column: Math.floor(u * g.width) };
}

/** Smallest and largest finite value of a tile over all its slices; around 0 when signed. */
export function tileScale(g: Grids, tile: number, signed: boolean): Scale {
  const size = g.depth * g.height * g.width;
  let low = Infinity;
  let high = -Infinity;
  for (let i = tile * size; i < (tile + 1) * size; i++) {
    const value = g.values[i];
    if (Number.isFinite(value)) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low > high) return { low: 0, high: 0 };
  if (!signed) return { low: Math.min(low, 0), high };
  const most = Math.max(Math.abs(low), Math.abs(high));
  return { low: -most, high: most };
}

/** Position of a value on a scale, in [0, 1]; 0 (0.5 when signed) for a scale without extent. */
export function position(value: number, scale: Scale, signed: boolean): number {
  const extent = scale.high - scale.low;
  if (!(extent > 0) || !Number.isFinite(value)) return signed ? 0.5 : 0;
  return Math.min(Math.max((value - scale.low) / extent, 0), 1);
}

/** What the threshold compares: height on the scale, or distance from zero when signed. */
export function strength(place: number, signed: boolean): number {
  return signed ? Math.abs(place - 0.5) * 2 : place;
}

/**
 * Boundary of a set of cells as unit segments `[x0, y0, x1, y1]` in cell coordinates: an edge of
 * a cell belongs to the boundary when the cell beyond it is not in the set.
 */
export function outline(cells: Iterable<number>, width: number): number[][] {
  const set = new Set(cells);
  const segments: number[][] = [];
  for (const cell of set) {
    const x = cell % width;
    const y = Math.floor(cell / width);
    if (!set.has(cell - width)) segments.push([x, y, x + 1, y]);
    if (!set.has(cell + width)) segments.push([x, y + 1, x + 1, y + 1]);
    if (x === 0 || !set.has(cell - 1)) segments.push([x, y, x, y + 1]);
    if (x === width - 1 || !set.has(cell + 1)) segments.push([x + 1, y, x + 1, y + 1]);
  }
  return segments;
}

/** Cells that a pointer passes between two places (in cell units), so that a fast drag has no holes. */
export function cellsBetween(
  from: readonly [number, number],
  to: readonly [number, number],
  width: number,
  height: number,
): number[] {
  const steps = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) * 4));
  const cells = new Set<number>();
  for (let i = 0; i <= steps; i++) {
    const x = Math.floor(from[0] + ((to[0] - from[0]) * i) / steps);
    const y = Math.floor(from[1] + ((to[1] - from[1]) * i) / steps);
    if (x >= 0 && x < width && y >= 0 && y < height) cells.add(y * width + x);
  }
  return [...cells];
}
