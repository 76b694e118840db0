// A uniform grid over the position codes: which point is near, and how crowded the view is.

import { MISSING_POSITION } from "../shared/codec.ts";

const SHIFT = 8; // 65536 codes / 2^8 = 256 cells a side
const SIDE = 65536 >> SHIFT;

export interface Grid {
  positions: Uint16Array;
  /** Points of cell c are order[start[c]] .. order[start[c + 1] - 1]. */
  start: Uint32Array;
  /** Four bytes a point: made when first asked for, which a map that nobody points at never does. */
  readonly order: Uint32Array;
}

/** Counting sort of the points into 256 x 256 cells; missing points are left out. */
export function buildGrid(positions: Uint16Array): Grid {
  const count = positions.length >> 1;
  const start = new Uint32Array(SIDE * SIDE + 1);
  const cellOf = (i: number): number =>
    (positions[2 * i + 1]! >> SHIFT) * SIDE + (positions[2 * i]! >> SHIFT);
  const missing = (i: number): boolean => positions[2 * i] === MISSING_POSITION;
  for (let i = 0; i < count; i++) if (!missing(i)) start[cellOf(i) + 1]! += 1;
  for (let c = 0; c < SIDE * SIDE; c++) start[c + 1]! += start[c]!;
  const sort = (): Uint32Array => {
    const next = start.slice();
    const order = new Uint32Array(start[SIDE * SIDE]!);
    for (let i = 0; i < count; i++) if (!missing(i)) order[next[cellOf(i)]!++] = i;
    return order;
  };
  let order: Uint32Array | null = null;
  return {
    positions,
    start,
    get order() {
      return (order ??= sort());
    },
  };
}

function cellRange(low: number, high: number): [number, number] {
  const clamp = (code: number): number =>
    Math.min(SIDE - 1, Math.max(0, Math.floor(code) >> SHIFT));
  return [clamp(Math.max(0, low)), clamp(Math.min(65535, high))];
}

/**
 * The point nearest to a place (in codes) within `radius_x`, `radius_y` codes, or -1. Of equally
 * near ones the last, which is drawn on top.
 */
export function nearest(
  grid: Grid,
  x: number,
  y: number,
  radius_x: number,
  radius_y: number,
): number {
  const [c0, c1] = cellRange(x - radius_x, x + radius_x);
  const [r0, r1] = cellRange(y - radius_y, y + radius_y);
  let found = -1;
  let best = 1; // of the ellipse
  const { order } = grid;
  for (let r = r0; r <= r1; r++) {
    for (let k = grid.start[r * SIDE + c0]!; k < grid.start[r * SIDE + c1 + 1]!; k++) {
      const i = order[k]!;
      const dx = (grid.positions[2 * i]! - x) / radius_x;
      const dy = (grid.positions[2 * i + 1]! - y) / radius_y;
      const distance = dx * dx + dy * dy;
      if (distance < best || (distance === best && i > found)) {
        best = distance;
        found = i;
      }
    }
  }
  return found;
}

/** Blocks across a window when its crowding is judged. */
const BLOCKS = 24;

/**
 * Points inside a window of codes, and the part of the code square (in codes squared) that they
 * occupy, in blocks coarse enough that a few scattered points count as having room.
 */
export function crowd(
  grid: Grid,
  x0: number,
  y0: number,
  x1: number,
  y1: number,
): { points: number; occupied: number } {
  if (x1 < 0 || y1 < 0 || x0 > 65535 || y0 > 65535) return { points: 0, occupied: 0 };
  const [c0, c1] = cellRange(x0, x1);
  const [r0, r1] = cellRange(y0, y1);
  const wide = Math.ceil((c1 - c0 + 1) / BLOCKS);
  const high = Math.ceil((r1 - r0 + 1) / BLOCKS);
  const seen = new Set<number>();
  let points = 0;
  for (let r = r0; r <= r1; r++) {
    for (let c = c0; c <= c1; c++) {
      const here = grid.start[r * SIDE + c + 1]! - grid.start[r * SIDE + c]!;
      if (here === 0) continue;
      points += here;
      seen.add(Math.floor((r - r0) / high) * 1000 + Math.floor((c - c0) / wide));
    }
  }
  const cell = 1 << SHIFT;
  return { points, occupied: seen.size * wide * high * cell * cell };
}

/** How points are drawn at a zoom: size in CSS pixels, opacity, and how much they overlap. */
export interface Look {
  size: number;
  alpha: number;
  /** Points that cover an average pixel where there are any. */
  overlap: number;
}

/** Above this overlap single points can no longer be told apart, and density says more. */
export const CROWDED = 3;

/** Size and opacity that use the paper: large and solid when few, small and clear when many. */
export function look(points: number, occupied_px: number, factor: number): Look {
  const room = Math.max(1, occupied_px) / Math.max(1, points); // CSS pixels a point
  const size = Math.min(8, Math.max(1.6, 0.85 * Math.sqrt(room) + 1)) * factor;
  const overlap = ((Math.PI / 4) * size * size) / room;
  const alpha = Math.min(0.9, Math.max(0.12, 1.15 / Math.sqrt(1 + overlap)));
  return { size, alpha, overlap };
}

/** At most `most` rows, spread over the cells in proportion: for drawing without WebGL. */
export function spread(grid: Grid, most: number): Uint32Array {
  const { order } = grid;
  if (order.length <= most) return order;
  const out = new Uint32Array(most);
  // order is sorted by cell, so equal steps through it take each cell's share.
  for (let i = 0; i < most; i++) out[i] = order[Math.floor((i * order.length) / most)]!;
  return out;
}
