// The stitched map of the visible part, as it crosses the wire, and its colours. Pure.

import { gridValue, type Bounds, type Point } from "../shared/codec.ts";
import { NONE_INDEX } from "../shared/palette.ts";

/** Winner code where no cluster wins. */
export const NO_WINNER = 255;
/** Value code where there is no value. */
export const NO_VALUE = 255;

export interface Raster {
  readonly slide: number;
  /** Part of the slide it covers, level-0 pixels. */
  readonly view: Bounds;
  readonly width: number;
  readonly height: number;
  /** 0..254 from low to high, 255 = no value. */
  readonly values: Uint8Array;
  /** Cluster that wins, 255 = none; null where one map is shown. */
  readonly winner: Uint8Array | null;
  readonly low: number;
  readonly high: number;
  readonly signed: boolean;
}

export interface RasterInfo {
  slide?: number;
  view?: number[];
  shape?: number[];
  low?: number;
  high?: number;
  signed?: boolean;
  all?: boolean;
}

/** Null unless the bytes are exactly those of the shape: half a message draws nothing. */
export function readRaster(info: RasterInfo, values: Uint8Array, winner: Uint8Array): Raster | null {
  const { view, shape } = info;
  if (!view || !shape || view.length !== 4 || shape.length !== 2) return null;
  const [height, width] = shape as [number, number];
  const cells = height * width;
  if (!(cells > 0) || values.length !== cells || (info.all && winner.length !== cells)) return null;
  return {
    slide: info.slide ?? -1,
    view: view as Bounds,
    width,
    height,
    values,
    winner: info.all ? winner : null,
    low: info.low ?? 0,
    high: info.high ?? 0,
    signed: info.signed ?? false,
  };
}

export interface Cluster {
  readonly name: string;
  readonly colour: number; // palette index
  readonly hidden: boolean;
}

/** How far a code is from "nothing", in [0, 1]: height on the scale, or distance from zero. */
export function strength(code: number, signed: boolean): number {
  const place = code / 254;
  return signed ? Math.abs(place - 0.5) * 2 : place;
}

/** RGBA of each value code, for a map of one thing. `lut` has 256 entries. */
export function tableOfOne(lut: Uint8Array, signed: boolean, threshold: number): Uint8Array {
  const table = new Uint8Array(256 * 4);
  for (let code = 0; code < 255; code++) {
    if (threshold > 0 && strength(code, signed) < threshold) continue;
    const entry = Math.round((code / 254) * 255) * 4;
    table.set(lut.subarray(entry, entry + 3), code * 4);
    table[code * 4 + 3] = 255;
  }
  return table;
}

/**
 * RGBA of each pair of winner and value code (`winner * 256 + value`): the cluster's colour, as
 * opaque as the square root of its weight on the scale, so that half a weight is still seen.
 */
export function tableOfAll(
  clusters: readonly Cluster[],
  rgbOf: (colour: number) => readonly number[],
  threshold: number,
): Uint8Array {
  const table = new Uint8Array(256 * 256 * 4);
  clusters.slice(0, NO_WINNER).forEach((cluster, i) => {
    if (cluster.hidden || cluster.colour === NONE_INDEX) return;
    const colour = rgbOf(cluster.colour);
    for (let code = 0; code < 255; code++) {
      const weight = code / 254;
      if (weight < threshold) continue;
      const at = (i * 256 + code) * 4;
      table.set(colour, at);
      table[at + 3] = Math.round(Math.sqrt(weight) * 255);
    }
  });
  return table;
}

/** Colours a raster into RGBA pixels. */
export function paintRaster(raster: Raster, table: Uint8Array, pixels: Uint8ClampedArray): void {
  // whole pixels at once: both sides have the same order of bytes
  const out = new Uint32Array(pixels.buffer, pixels.byteOffset, raster.values.length);
  const colours = new Uint32Array(table.buffer, table.byteOffset, table.length / 4);
  const { values, winner } = raster;
  if (winner) {
    for (let i = 0; i < out.length; i++) out[i] = colours[winner[i]! * 256 + values[i]!]!;
  } else {
    for (let i = 0; i < out.length; i++) out[i] = colours[values[i]!]!;
  }
}

/** Value and winner at a place of the slide; null outside or where there is no value. */
export function valueAt(
  raster: Raster,
  [x, y]: Point,
): { value: number; code: number; winner: number | null } | null {
  const [x0, y0, x1, y1] = raster.view;
  const column = Math.floor(((x - x0) / (x1 - x0)) * raster.width);
  const row = Math.floor(((y - y0) / (y1 - y0)) * raster.height);
  if (!(column >= 0 && column < raster.width && row >= 0 && row < raster.height)) return null;
  const at = row * raster.width + column;
  const code = raster.values[at]!;
  if (code === NO_VALUE) return null;
  const won = raster.winner ? raster.winner[at]! : null;
  return {
    value: gridValue(code, raster.low, raster.high),
    code,
    winner: won === NO_WINNER ? null : won,
  };
}
