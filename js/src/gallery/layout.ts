/** Virtual scrolling of the gallery: which cells exist, which are seen, where keys lead. Pure. */

export const GAP = 6;

export interface Layout {
  readonly columns: number;
  readonly rows: number;
  readonly pitch: number; // side of a thumbnail and the gap after it, CSS pixels
  readonly height: number; // of the whole scrolled content
}

export function layout(count: number, available: number, size: number): Layout {
  const pitch = size + GAP;
  const columns = Math.max(1, Math.floor((available + GAP) / pitch));
  const rows = Math.ceil(count / columns);
  return { columns, rows, pitch, height: Math.max(0, rows * pitch - GAP) };
}

/** Half-open range of indices seen in a viewport, with `overscan` rows above and below. */
export function visible(
  l: Layout,
  count: number,
  scrollTop: number,
  viewport: number,
  overscan = 1,
): [number, number] {
  const first = Math.max(0, Math.floor(scrollTop / l.pitch) - overscan);
  const last = Math.ceil((scrollTop + viewport) / l.pitch) + overscan;
  return [Math.min(count, first * l.columns), Math.min(count, last * l.columns)];
}

export function place(l: Layout, index: number): [number, number] {
  return [(index % l.columns) * l.pitch, Math.floor(index / l.columns) * l.pitch];
}

/** Where an arrow, Home, End or page key leads from `index`; the same index for other keys. */
export function step(l: Layout, count: number, index: number, key: string, pageRows = 4): number {
  const moves: Record<string, number> = {
    ArrowLeft: -1,
    ArrowRight: 1,
    ArrowUp: -l.columns,
    ArrowDown: l.columns,
    PageUp: -l.columns * pageRows,
    PageDown: l.columns * pageRows,
    Home: -index,
    End: count - 1 - index,
  };
  const move = moves[key];
  if (move === undefined || count === 0) return index;
  const next = index + move;
  if (next >= 0 && next < count) return next;
  if (key === "PageUp") return index % l.columns;
  if (key === "PageDown") return count - 1;
  return index;
}

/** Scroll position that brings a cell into view with the least movement. */
export function reveal(l: Layout, index: number, scrollTop: number, viewport: number): number {
  const top = Math.floor(index / l.columns) * l.pitch;
  if (top < scrollTop) return top;
  const bottom = top + l.pitch - GAP;
  return bottom > scrollTop + viewport ? bottom - viewport : scrollTop;
}
