/**
 * Colour of one pixel of a tile: the rule that the shader and the canvas fallback share.
 *
 * The shader in `program.ts` is this function in GLSL; a browser test compares their pictures.
 */

import { WHOLE, type Box, inBox } from "./box.ts";
import { position, sample, sliceStart, strength, type Grids, type Scale } from "./grid.ts";

export type Mode = "tile" | "map" | "overlay";

export interface Look {
  readonly mode: Mode;
  readonly opacity: number; // of the map over the tile, in [0, 1]
  readonly threshold: number; // below this strength on the scale the map is not drawn
  readonly smooth: boolean; // bilinear, else one flat colour a cell
  readonly signed: boolean; // the scale has its zero in the middle
}

/** Shown in map mode where the map is below the threshold: neutral in both themes. */
export const BELOW = 0x80;

/** Weight of the map's colour against what lies under it. */
export function mapWeight(look: Look, place: number): number {
  if (look.mode === "tile") return 0;
  if (look.threshold > 0 && strength(place, look.signed) < look.threshold) return 0;
  return look.mode === "map" ? 1 : look.opacity;
}

/** Value of the map at a place of the tile, smooth or flat. */
export function valueAt(
  g: Grids,
  tile: number,
  slice: number,
  u: number,
  v: number,
  smooth: boolean,
): number {
  if (smooth) return sample(g, tile, slice, u, v);
  const row = Math.min(Math.floor(v * g.height), g.height - 1);
  const column = Math.min(Math.floor(u * g.width), g.width - 1);
  return g.values[sliceStart(g, tile, slice) + row * g.width + column];
}

/**
 * Paint a map over the RGBA pixels of a tile, in place.
 *
 * @param pixels `side * side` RGBA values that hold the tile's picture (not read in map mode).
 */
export function paint(
  pixels: Uint8ClampedArray,
  side: number,
  g: Grids,
  tile: number,
  slice: number,
  scale: Scale,
  look: Look,
  table: Uint8Array,
  box: Box = WHOLE,
): void {
  if (look.mode === "tile") return;
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const at = inBox(box, (x + 0.5) / side, (y + 0.5) / side);
      if (!at) continue;
      const value = valueAt(g, tile, slice, at[0], at[1], look.smooth);
      if (Number.isNaN(value)) continue; // not computed yet: the tile as it is
      const place = position(value, scale, look.signed);
      const weight = mapWeight(look, place);
      const entry = Math.round(place * 255) * 4;
      const k = (y * side + x) * 4;
      for (let c = 0; c < 3; c++) {
        const under = look.mode === "map" ? BELOW : pixels[k + c];
        pixels[k + c] = Math.round(under + (table[entry + c] - under) * weight);
      }
      pixels[k + 3] = 255;
    }
  }
}
