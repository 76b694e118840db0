/**
 * Colour scales of maps. Sequential ones for maps that begin at zero, diverging ones, white or
 * grey at zero, for signed maps; all readable with red-green colour blindness. Figures use
 * matplotlib's maps of the same names.
 */

import * as anchors from "../shared/colormaps.ts";

const ANCHORS = {
  viridis: anchors.VIRIDIS,
  magma: anchors.MAGMA,
  cividis: anchors.CIVIDIS,
  RdBu_r: anchors.RDBU_R,
  coolwarm: anchors.COOLWARM,
} as const;

export type PaletteName = keyof typeof ANCHORS;

/** How the list calls a palette, where its name says little. */
export const LABELS: Partial<Record<PaletteName, string>> = {
  RdBu_r: "blue–red",
  coolwarm: "blue–red, soft",
};

export const SEQUENTIAL: readonly PaletteName[] = ["viridis", "magma", "cividis"];
export const DIVERGING: readonly PaletteName[] = ["RdBu_r", "coolwarm"];

/** The name where it suits the scale, else the default of that kind. */
export function paletteName(name: string, signed: boolean): PaletteName {
  const kind = signed ? DIVERGING : SEQUENTIAL;
  return kind.includes(name as PaletteName) ? (name as PaletteName) : kind[0];
}

const made = new Map<PaletteName, Uint8Array>();

/** 256 RGBA entries (1024 bytes) of a palette; made once. */
export function lut(name: PaletteName): Uint8Array {
  let table = made.get(name);
  if (!table) {
    table = anchors.table(ANCHORS[name]);
    made.set(name, table);
  }
  return table;
}

/** A CSS gradient of the palette, for the colour bar. */
export function gradient(name: PaletteName): string {
  return anchors.gradient(ANCHORS[name]);
}
