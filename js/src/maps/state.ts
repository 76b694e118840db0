/** What the kernel says is to be shown, read from the traits in one piece. */

import { bytesOf, decodePositions, decodeRows } from "../shared/codec.ts";
import type { Model } from "../shared/model.ts";
import type { SheetInfo } from "../shared/sheet.ts";
import type { Box } from "./box.ts";
import { decodeGrids, type Grids, type Scale } from "./grid.ts";
import { paletteName, type PaletteName } from "./luts.ts";
import type { Look, Mode } from "./paint.ts";

export interface LegendEntry {
  readonly name: string;
  readonly colour: number; // palette index
}

/** Traits that change together when the kernel shows another set or other maps. */
export const CONTENT = [
  "_rows", "_labels", "_legend", "_captions", "_atlas", "_atlas_info", "_maps", "_maps_info",
  "_shown_slice", "_revision",
] as const;

/** Traits that change how the same content looks. */
export const LOOK = [
  "mode", "opacity", "threshold", "palette", "diverging", "smooth", "own_scale", "size",
  "_focus", "brush", "height",
] as const;

export interface Content {
  readonly revision: number;
  readonly rows: Uint32Array;
  readonly labels: Uint16Array; // index into legend, 65535 = none
  readonly legend: readonly LegendEntry[];
  readonly captions: readonly string[];
  readonly atlas: DataView | null; // the trait's value: compared by identity
  readonly atlasInfo: SheetInfo | null;
  readonly grids: Grids | null;
  readonly scale: Scale;
  readonly signed: boolean;
  readonly exact: boolean; // float16 grids, not steps of the scale
  readonly title: string;
  readonly coarse: boolean; // a first look; better maps follow
  readonly unit: string;
  readonly reason: string; // why there are no maps
  readonly slice: number; // of grids and tiles, 0 for flat ones
  readonly box: Box; // where the picture lies inside its square
}

interface MapsInfo {
  encoding?: string;
  shape?: number[];
  count?: number;
  low?: number;
  high?: number;
  factor?: number;
  signed?: boolean;
  title?: string;
  status?: string;
  unit?: string;
  reason?: string;
}

export function readContent(model: Model): Content {
  const info = (model.get("_maps_info") ?? {}) as MapsInfo;
  const scale = { low: info.low ?? 0, high: info.high ?? 0 };
  const atlasInfo = (model.get("_atlas_info") ?? {}) as Partial<SheetInfo> & { box?: number[] };
  const [left, top, width, height] = atlasInfo.box ?? [0, 0, 1, 1];
  const encoding = info.encoding ?? "";
  const bytes = bytesOf(model.get("_maps") as DataView | null);
  const grids = decodeGrids(bytes, encoding, info.shape ?? [], info.count ?? 0, scale, info.factor ?? 1);
  return {
    revision: Number(model.get("_revision") ?? 0),
    rows: decodeRows(model.get("_rows") as DataView | null),
    labels: decodePositions(model.get("_labels") as DataView | null),
    legend: (model.get("_legend") ?? []) as LegendEntry[],
    captions: (model.get("_captions") ?? []) as string[],
    atlas: model.get("_atlas") as DataView | null,
    atlasInfo: atlasInfo.count ? (atlasInfo as SheetInfo) : null,
    grids,
    scale,
    signed: info.signed ?? false,
    exact: encoding === "float16",
    title: info.title ?? "",
    coarse: info.status === "coarse",
    unit: info.unit ?? "",
    reason: info.reason ?? "",
    slice: Math.min(Math.max(Number(model.get("_shown_slice") ?? 0), 0), (grids?.depth ?? 1) - 1),
    box: { left, top, width, height },
  };
}

export interface Brush {
  readonly row: number;
  readonly cells: readonly number[]; // flat index into the grid (depth, height, width)
}

export interface Settings extends Look {
  readonly palette: PaletteName;
  readonly ownScale: boolean;
  readonly size: number;
  readonly focus: number; // tile number, -1 none
  readonly brush: Brush | null;
  readonly height: number; // of the scrolled part, CSS pixels
}

export function readSettings(model: Model, signed: boolean): Settings {
  const brush = (model.get("brush") ?? {}) as Partial<Brush>;
  const palette = String(model.get(signed ? "diverging" : "palette"));
  return {
    mode: model.get("mode") as Mode,
    opacity: Number(model.get("opacity")),
    threshold: Number(model.get("threshold")),
    smooth: Boolean(model.get("smooth")),
    signed,
    palette: paletteName(palette, signed),
    ownScale: Boolean(model.get("own_scale")),
    size: Number(model.get("size")),
    focus: Number(model.get("_focus")),
    brush: brush.cells?.length && brush.row !== undefined ? (brush as Brush) : null,
    height: Number(model.get("height")),
  };
}

/** A number as the colour bar and the status line write it: three digits that matter. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return "no value";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(1).replace("e+", "e");
  return String(Number(value.toPrecision(3)));
}
