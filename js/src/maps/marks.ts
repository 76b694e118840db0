/** What lies over the tiles: cluster borders, focus, the brush. Drawn on its own canvas. */

import { CATEGORICAL, NONE_COLOUR, NONE_INDEX } from "../shared/palette.ts";
import { outline, type Grids } from "./grid.ts";
import { corner, type Layout } from "./layout.ts";
import type { Content, Settings } from "./state.ts";

export interface Hover {
  readonly index: number;
  readonly cell: number | null; // flat index inside one slice
}

/** Colour of a tile's cluster, null when it is in none. */
export function clusterColour(content: Content, index: number): string | null {
  const entry = content.legend[content.labels[index]];
  if (!entry) return null;
  if (entry.colour < 0 || entry.colour === NONE_INDEX) return NONE_COLOUR;
  return CATEGORICAL[entry.colour % CATEGORICAL.length];
}

/** Cells of a brush that lie in a slice, as indices inside the slice. */
export function cellsOfSlice(cells: readonly number[], g: Grids, slice: number): number[] {
  const size = g.height * g.width;
  return cells.filter((c) => Math.floor(c / size) === slice).map((c) => c % size);
}

/** Two strokes, dark under light, so that a line is seen on any tile and any map. */
function twice(
  context: CanvasRenderingContext2D,
  light: string,
  width: number,
  path: () => void,
): void {
  for (const [style, extra] of [["rgba(0,0,0,0.75)", 2], [light, 0]] as const) {
    context.strokeStyle = style;
    context.lineWidth = width + extra;
    context.beginPath();
    path();
    context.stroke();
  }
}

export function drawMarks(
  context: CanvasRenderingContext2D,
  l: Layout,
  ratio: number,
  content: Content,
  settings: Settings,
  hover: Hover | null,
  focusColour: string,
): void {
  const { canvas } = context;
  const width = Math.round(l.width * ratio);
  const height = Math.round(l.height * ratio);
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, l.width, l.height);
  for (let i = 0; i < content.rows.length; i++) {
    const [x, y] = corner(l, i);
    const colour = clusterColour(content, i);
    if (colour) {
      context.strokeStyle = colour;
      context.lineWidth = 2;
      context.strokeRect(x - 1, y - 1, l.tile + 2, l.tile + 2);
    }
    if (content.rows[i] === settings.focus) {
      context.strokeStyle = focusColour;
      context.lineWidth = 2;
      context.strokeRect(x - 3, y - 3, l.tile + 6, l.tile + 6); // outside the cluster's frame
    }
    const g = content.grids;
    if (!g) continue;
    const { box } = content;
    const [cw, ch] = [(l.tile * box.width) / g.width, (l.tile * box.height) / g.height];
    const [left, top] = [x + l.tile * box.left, y + l.tile * box.top];
    const segments = (cells: Iterable<number>) => (): void => {
      for (const [x0, y0, x1, y1] of outline(cells, g.width)) {
        context.moveTo(left + x0 * cw, top + y0 * ch);
        context.lineTo(left + x1 * cw, top + y1 * ch);
      }
    };
    if (settings.brush?.row === content.rows[i]) {
      twice(context, "#ffffff", 2, segments(cellsOfSlice(settings.brush.cells, g, content.slice)));
    }
    if (hover?.index === i && hover.cell !== null) {
      twice(context, "rgba(255,255,255,0.8)", 1, segments([hover.cell]));
    }
  }
}
