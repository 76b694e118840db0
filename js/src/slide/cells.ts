// The tiles of the store on one slide: where they lie, which is under the pointer, which are
// selected, and the outline of those. Pure.

import { bit, type Bounds, type Point } from "../shared/codec.ts";

export interface Cells {
  readonly count: number;
  /** Tile number in the store. */
  readonly rows: Uint32Array;
  /** x0, y0, x1, y1 of each, level-0 pixels. */
  readonly boxes: Float64Array;
  /** Around all of them. */
  readonly bounds: Bounds;
  /** Median size of one. */
  readonly width: number;
  readonly height: number;
  /** Buckets of a square grid: tiles by their middle. */
  readonly bucket: number;
  readonly across: number;
  readonly starts: Uint32Array;
  readonly order: Uint32Array;
  /** Largest size: how far a tile reaches beyond its middle's bucket. */
  readonly most: number;
  /** Whether all tiles have one size and lie on one grid, edge to edge. */
  readonly aligned: boolean;
}

/** Part of a tile that may be missing to its neighbour before they no longer touch. */
const TOUCH = 0.01;

/** `boxes` holds x0, y0 of each tile and `size` the one size of all, or x0, y0, x1, y1 of each. */
export function cells(rows: Uint32Array, boxes: Float32Array, size: readonly number[] | null): Cells {
  const n = rows.length;
  const all = new Float64Array(n * 4);
  const bounds: Bounds = [Infinity, Infinity, -Infinity, -Infinity];
  let most = 0;
  for (let i = 0; i < n; i++) {
    const from = i * (size ? 2 : 4);
    const x0 = boxes[from]!;
    const y0 = boxes[from + 1]!;
    const x1 = size ? x0 + size[0]! : boxes[from + 2]!;
    const y1 = size ? y0 + size[1]! : boxes[from + 3]!;
    all.set([x0, y0, x1, y1], i * 4);
    bounds[0] = Math.min(bounds[0], x0);
    bounds[1] = Math.min(bounds[1], y0);
    bounds[2] = Math.max(bounds[2], x1);
    bounds[3] = Math.max(bounds[3], y1);
    most = Math.max(most, x1 - x0, y1 - y0);
  }
  if (n === 0) bounds.fill(0);
  const width = size ? size[0]! : median(all, 0);
  const height = size ? size[1]! : median(all, 1);
  const [wide, high] = [bounds[2] - bounds[0], bounds[3] - bounds[1]];
  // tiles that lie far apart must not make millions of empty buckets
  const bucket = Math.max(most, Math.sqrt((wide * high) / Math.max(1, 4 * n)), 1e-9);
  const across = Math.floor(wide / bucket) + 1;
  const down = Math.floor(high / bucket) + 1;
  const where = (i: number): number => {
    const x = (all[4 * i]! + all[4 * i + 2]!) / 2 - bounds[0];
    const y = (all[4 * i + 1]! + all[4 * i + 3]!) / 2 - bounds[1];
    return Math.floor(y / bucket) * across + Math.floor(x / bucket);
  };
  const starts = new Uint32Array(across * down + 1);
  for (let i = 0; i < n; i++) starts[where(i) + 1]! += 1;
  for (let b = 0; b < across * down; b++) starts[b + 1]! += starts[b]!;
  const next = starts.slice();
  const order = new Uint32Array(n);
  for (let i = 0; i < n; i++) order[next[where(i)]!++] = i;
  let aligned = size !== null && n > 0;
  for (let i = 0; aligned && i < n; i++) {
    const u = (all[4 * i]! - bounds[0]) / width;
    const v = (all[4 * i + 1]! - bounds[1]) / height;
    aligned = Math.abs(u - Math.round(u)) < TOUCH && Math.abs(v - Math.round(v)) < TOUCH;
  }
  return { count: n, rows, boxes: all, bounds, width, height, bucket, across, starts, order, most, aligned };
}

function median(boxes: Float64Array, axis: 0 | 1): number {
  const sides: number[] = [];
  for (let i = 0; i < boxes.length; i += 4) sides.push(boxes[i + 2 + axis]! - boxes[i + axis]!);
  sides.sort((a, b) => a - b);
  return sides[sides.length >> 1] ?? 1;
}

/** Calls `use` with each tile whose middle is within half a tile of a box. */
function near(c: Cells, box: Bounds, use: (index: number) => void): void {
  const reach = c.most * 0.51; // a little more than half: tiles begin at rounded places
  const down = (c.starts.length - 1) / c.across;
  const column = (x: number): number => Math.floor((x - c.bounds[0]) / c.bucket);
  const row = (y: number): number => Math.floor((y - c.bounds[1]) / c.bucket);
  const left = Math.max(0, column(box[0] - reach));
  const right = Math.min(c.across - 1, column(box[2] + reach));
  for (let r = Math.max(0, row(box[1] - reach)); r <= Math.min(down - 1, row(box[3] + reach)); r++) {
    for (let at = c.starts[r * c.across + left]!; at < c.starts[r * c.across + right + 1]!; at++) {
      use(c.order[at]!);
    }
  }
}

/** Index of the tile under a place: of several the one whose middle is nearest; -1 for none. */
export function cellAt(c: Cells, [x, y]: Point): number {
  let best = -1;
  let least = Infinity;
  if (c.count === 0) return best;
  near(c, [x, y, x, y], (i) => {
    const [x0, y0, x1, y1] = c.boxes.subarray(4 * i, 4 * i + 4) as unknown as Bounds;
    if (!(x >= x0 && x < x1 && y >= y0 && y < y1)) return;
    const far = (x - (x0 + x1) / 2) ** 2 + (y - (y0 + y1) / 2) ** 2;
    if (far < least) [best, least] = [i, far];
  });
  return best;
}

/** Tiles that touch a box; null when they are more than `most`. */
export function cellsIn(c: Cells, box: Bounds, most = Infinity): number[] | null {
  const found: number[] = [];
  if (c.count === 0 || !(box[2] >= box[0] && box[3] >= box[1])) return found;
  // buckets make a cheap estimate first: what is given up must not cost a pass over all
  const share =
    (overlap(box[0], box[2], c.bounds[0], c.bounds[2]) *
      overlap(box[1], box[3], c.bounds[1], c.bounds[3])) || 0;
  if (share * c.count > most * 4) return null;
  near(c, box, (i) => {
    if (
      c.boxes[4 * i]! < box[2] && c.boxes[4 * i + 2]! > box[0] &&
      c.boxes[4 * i + 1]! < box[3] && c.boxes[4 * i + 3]! > box[1]
    ) {
      found.push(i);
    }
  });
  return found.length > most ? null : found;
}

/** Share of the second interval that the first covers. */
function overlap(a0: number, a1: number, b0: number, b1: number): number {
  return b1 > b0 ? Math.max(0, Math.min(a1, b1) - Math.max(a0, b0)) / (b1 - b0) : 1;
}

/** Box around the selected tiles; null when none is. */
export function boundsOf(c: Cells, mask: Uint8Array): Bounds | null {
  const box: Bounds = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < c.count; i++) {
    if (!bit(mask, i)) continue;
    box[0] = Math.min(box[0], c.boxes[4 * i]!);
    box[1] = Math.min(box[1], c.boxes[4 * i + 1]!);
    box[2] = Math.max(box[2], c.boxes[4 * i + 2]!);
    box[3] = Math.max(box[3], c.boxes[4 * i + 3]!);
  }
  return box[0] <= box[2] ? box : null;
}

/** Places of a lattice up to which tiles are joined; more scattered ones keep their own outlines. */
const JOINED_MOST = 4_000_000;

/**
 * Outline of the union of the selected tiles among `shown`, as segments `[x0, y0, x1, y1]`. Edges that
 * are off by less than a hundredth of a tile are one edge.
 */
export function outline(c: Cells, mask: Uint8Array, shown: readonly number[]): number[][] {
  const chosen = shown.filter((i) => bit(mask, i));
  const [xs, atX] = places(c, chosen, 0, TOUCH * c.width);
  const [ys, atY] = places(c, chosen, 1, TOUCH * c.height);
  const [nx, ny] = [xs.length - 1, ys.length - 1];
  if (nx * ny > JOINED_MOST) {
    return chosen.flatMap((i) => {
      const [x0, y0, x1, y1] = c.boxes.subarray(4 * i, 4 * i + 4) as unknown as Bounds;
      return [[x0, y0, x1, y0], [x0, y1, x1, y1], [x0, y0, x0, y1], [x1, y0, x1, y1]];
    });
  }
  const covered = new Uint8Array(Math.max(0, nx * ny));
  chosen.forEach((_, k) => {
    for (let v = atY[2 * k]!; v < atY[2 * k + 1]!; v++) {
      covered.fill(1, v * nx + atX[2 * k]!, v * nx + atX[2 * k + 1]!);
    }
  });
  const at = (u: number, v: number): number =>
    u >= 0 && u < nx && v >= 0 && v < ny ? covered[v * nx + u]! : 0;
  const segments: number[][] = [];
  /** One segment for each run of places along a line where one side is covered and the other not. */
  const runs = (length: number, edge: (k: number) => boolean, add: (from: number, to: number) => void) => {
    for (let from = 0, k = 0; k <= length; k++) {
      if (k < length && edge(k)) continue;
      if (k > from) add(from, k);
      from = k + 1;
    }
  };
  for (let v = 0; v <= ny; v++) {
    runs(nx, (u) => at(u, v - 1) !== at(u, v), (from, to) => segments.push([xs[from]!, ys[v]!, xs[to]!, ys[v]!]));
  }
  for (let u = 0; u <= nx; u++) {
    runs(ny, (v) => at(u - 1, v) !== at(u, v), (from, to) => segments.push([xs[u]!, ys[from]!, xs[u]!, ys[to]!]));
  }
  return segments;
}

/** Different edges of tiles along an axis, and the numbers of the two edges of each tile. */
function places(c: Cells, chosen: readonly number[], axis: 0 | 1, tolerance: number): [number[], Uint32Array] {
  const ends = chosen.flatMap((i) => [c.boxes[4 * i + axis]!, c.boxes[4 * i + 2 + axis]!]);
  const order = ends.map((_, k) => k).sort((a, b) => ends[a]! - ends[b]!);
  const values: number[] = [];
  const numbers = new Uint32Array(ends.length);
  for (const k of order) {
    if (values.length === 0 || ends[k]! - values[values.length - 1]! > tolerance) values.push(ends[k]!);
    numbers[k] = values.length - 1;
  }
  return [values, numbers];
}

/** Pixel of a coverage picture: nothing, a tile, a selected tile. */
export const [BARE, TILE, CHOSEN] = [0, 1, 2] as const;

export interface Coverage {
  readonly width: number;
  readonly height: number;
  readonly view: Bounds;
  readonly pixels: Uint8Array;
  /** Whether each pixel is one tile or part of one, to the edge. */
  readonly exact: boolean;
}

/** Tiles as a small picture: a pixel a tile where they lie on a grid, four by four otherwise. */
export function coverage(c: Cells, mask: Uint8Array, most = 2048): Coverage {
  const [x0, y0, x1, y1] = c.bounds;
  let [px, py] = c.aligned ? [c.width, c.height] : [c.width / 4, c.height / 4];
  const exact = c.aligned && (x1 - x0) / px <= most && (y1 - y0) / py <= most;
  px = Math.max(px, (x1 - x0) / most);
  py = Math.max(py, (y1 - y0) / most);
  const width = Math.max(1, Math.round((x1 - x0) / px));
  const height = Math.max(1, Math.round((y1 - y0) / py));
  [px, py] = [(x1 - x0) / width || 1, (y1 - y0) / height || 1];
  const pixels = new Uint8Array(width * height);
  for (let i = 0; i < c.count; i++) {
    const value = bit(mask, i) ? CHOSEN : TILE;
    const left = Math.round((c.boxes[4 * i]! - x0) / px);
    const top = Math.round((c.boxes[4 * i + 1]! - y0) / py);
    const right = Math.max(left + 1, Math.round((c.boxes[4 * i + 2]! - x0) / px));
    const bottom = Math.max(top + 1, Math.round((c.boxes[4 * i + 3]! - y0) / py));
    for (let y = top; y < Math.min(bottom, height); y++) {
      for (let x = left; x < Math.min(right, width); x++) {
        const at = y * width + x;
        if (pixels[at]! < value) pixels[at] = value;
      }
    }
  }
  return { width, height, view: c.bounds, pixels, exact };
}
