// Which tiles of the pyramid are needed for a view: pure arithmetic.

import type { Bounds } from "../shared/codec.ts";

export interface Level {
  /** Size of the level, pixels. */
  readonly width: number;
  readonly height: number;
  /** Level-0 pixels per pixel of the level, along each axis (sizes are rounded: not quite equal). */
  readonly dx: number;
  readonly dy: number;
}

export interface Pyramid {
  readonly width: number;
  readonly height: number;
  /** Side of a tile, pixels of its level. */
  readonly tile: number;
  /** From the finest to the coarsest. */
  readonly levels: readonly Level[];
}

export interface TileAt {
  readonly level: number;
  readonly column: number;
  readonly row: number;
}

/** A level may be enlarged this much before the next finer one is taken. */
const ENLARGED = 1.5;

export function pyramid(
  width: number,
  height: number,
  tile: number,
  levels: readonly (readonly [number, number, number])[],
): Pyramid {
  return {
    width,
    height,
    tile,
    levels: levels.map(([w, h]) => ({ width: w, height: h, dx: width / w, dy: height / h })),
  };
}

/** Columns and rows of a level. */
export function tilesOf(p: Pyramid, level: number): [columns: number, rows: number] {
  const { width, height } = p.levels[level]!;
  return [Math.ceil(width / p.tile), Math.ceil(height / p.tile)];
}

/** The coarsest level that is sharp enough at `scale` device pixels per level-0 pixel. */
export function levelFor(p: Pyramid, scale: number): number {
  let best = 0;
  p.levels.forEach((level, i) => {
    if (Math.max(level.dx, level.dy) * scale <= ENLARGED) best = i;
  });
  return best;
}

/** Box of a tile in level-0 pixels; the last of a row or column is cut by the slide's edge. */
export function boxOf(p: Pyramid, { level, column, row }: TileAt): Bounds {
  const { width, height, dx, dy } = p.levels[level]!;
  return [
    column * p.tile * dx,
    row * p.tile * dy,
    Math.min(width, (column + 1) * p.tile) * dx,
    Math.min(height, (row + 1) * p.tile) * dy,
  ];
}

/** Tiles of a level that touch a box, those in the middle first. `ring` adds tiles around it. */
export function tilesIn(p: Pyramid, level: number, box: Bounds, ring = 0): TileAt[] {
  const at = p.levels[level]!;
  const [columns, rows] = tilesOf(p, level);
  const [sx, sy] = [p.tile * at.dx, p.tile * at.dy];
  const from = [Math.floor(box[0] / sx) - ring, Math.floor(box[1] / sy) - ring];
  const to = [Math.ceil(box[2] / sx) + ring, Math.ceil(box[3] / sy) + ring];
  const found: TileAt[] = [];
  for (let row = Math.max(0, from[1]!); row < Math.min(rows, to[1]!); row++) {
    for (let column = Math.max(0, from[0]!); column < Math.min(columns, to[0]!); column++) {
      found.push({ level, column, row });
    }
  }
  const [cx, cy] = [(box[0] + box[2]) / 2 / sx - 0.5, (box[1] + box[3]) / 2 / sy - 0.5];
  const far = (t: TileAt): number => (t.column - cx) ** 2 + (t.row - cy) ** 2;
  return found.sort((a, b) => far(a) - far(b));
}

export function keyOf(slide: number, { level, column, row }: TileAt): string {
  return `${slide}/${level}/${column}/${row}`;
}
