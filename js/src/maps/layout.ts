/** Where the tiles of the map viewer lie on its canvas. Pure functions, CSS pixels. */

export interface Layout {
  readonly columns: number;
  readonly rows: number;
  readonly tile: number; // side of a tile
  readonly pitch: number; // tile and the gap after it
  readonly width: number;
  readonly height: number;
}

export const GAP = 6;
export const MARGIN = 4; // room for the cluster-coloured border of the outermost tiles

/** As many columns as fit, no more than tiles; a viewer narrower than one tile shrinks the tile. */
export function layout(count: number, available: number, wanted: number): Layout {
  const room = Math.max(available - 2 * MARGIN, 24);
  const tile = Math.max(16, Math.min(Math.round(wanted), room));
  const fit = Math.max(1, Math.floor((room + GAP) / (tile + GAP)));
  const columns = Math.max(1, Math.min(fit, count));
  const rows = Math.ceil(count / columns);
  return {
    columns,
    rows,
    tile,
    pitch: tile + GAP,
    width: columns * (tile + GAP) - GAP + 2 * MARGIN,
    height: Math.max(rows * (tile + GAP) - GAP, 0) + 2 * MARGIN,
  };
}

/** Smallest and largest tile that is chosen for the reader; a slider goes further. */
const FIT_LEAST = 40;
const FIT_MOST = 192;

/** The largest tile with which all tiles are seen at once in `available` x `height`. */
export function fitting(count: number, available: number, height: number): number {
  let size = FIT_MOST;
  while (size > FIT_LEAST && layout(count, available, size).height > height) size -= 2;
  return size;
}

/** Top left corner of a tile. */
export function corner(l: Layout, index: number): [number, number] {
  return [
    MARGIN + (index % l.columns) * l.pitch,
    MARGIN + Math.floor(index / l.columns) * l.pitch,
  ];
}

/** Tile under a point, with the place inside it as (u, v) in [0, 1); null in gaps and beyond. */
export function tileAt(
  l: Layout,
  count: number,
  x: number,
  y: number,
): { index: number; u: number; v: number } | null {
  const column = Math.floor((x - MARGIN) / l.pitch);
  const row = Math.floor((y - MARGIN) / l.pitch);
  if (column < 0 || column >= l.columns || row < 0) return null;
  const index = row * l.columns + column;
  if (index >= count) return null;
  const [left, top] = corner(l, index);
  const u = (x - left) / l.tile;
  const v = (y - top) / l.tile;
  return u >= 0 && u < 1 && v >= 0 && v < 1 ? { index, u, v } : null;
}

/** Neighbour for an arrow key, clamped to the tiles there are. */
export function step(l: Layout, count: number, index: number, key: string): number {
  const moves: Record<string, number> = {
    ArrowLeft: -1,
    ArrowRight: 1,
    ArrowUp: -l.columns,
    ArrowDown: l.columns,
    Home: -index,
    End: count - 1 - index,
  };
  const next = index + (moves[key] ?? 0);
  return next < 0 || next >= count ? index : next;
}
