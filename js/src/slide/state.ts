// What the kernel says, read from the traits.

import { bytesOf, type Bounds } from "../shared/codec.ts";
import type { Model } from "../shared/model.ts";
import { cells, type Cells } from "./cells.ts";
import { pyramid, type Pyramid } from "./pyramid.ts";
import { readRaster, type Cluster, type Raster, type RasterInfo } from "./raster.ts";

export interface Slide {
  readonly index: number;
  readonly name: string;
  readonly pyramid: Pyramid | null;
  /** Width and height, level-0 pixels. */
  readonly bounds: Bounds;
  /** Micrometres a level-0 pixel across; null where unknown. */
  readonly mpp: number | null;
  /** Whether the picture is put together from tiles, with nothing beside them. */
  readonly mosaic: boolean;
  /** Where its picture comes from, if there is something to say about it. */
  readonly note: string;
  /** Grows when the pictures become others. */
  readonly version: number;
}

interface PictureInfo {
  index?: number;
  name?: string;
  width?: number;
  height?: number;
  mpp?: number | null;
  tile?: number;
  levels?: [number, number, number][];
  origin?: string;
  note?: string;
  version?: number;
}

export function readSlide(model: Model): Slide | null {
  const info = (model.get("_picture") ?? {}) as PictureInfo;
  if (info.index === undefined || !info.width || !info.height) return null;
  return {
    index: info.index,
    name: info.name ?? "",
    pyramid: info.levels?.length
      ? pyramid(info.width, info.height, info.tile ?? 256, info.levels)
      : null,
    bounds: [0, 0, info.width, info.height],
    mpp: info.mpp ?? null,
    mosaic: info.origin !== "file",
    note: info.note ?? "",
    version: info.version ?? 0,
  };
}

/** Numbers of 4 bytes from wherever they lie in a message. */
function aligned(value: unknown): ArrayBuffer {
  const bytes = bytesOf(value as DataView | null);
  const copy = new Uint8Array(bytes.length - (bytes.length % 4));
  copy.set(bytes.subarray(0, copy.length));
  return copy.buffer;
}

export function readCells(model: Model): Cells {
  const rows = new Uint32Array(aligned(model.get("_rows")));
  const boxes = new Float32Array(aligned(model.get("_boxes")));
  const size = (model.get("_tile_size") as number[] | null) ?? [];
  const one = size.length === 2;
  // half a message is no message
  const fits = boxes.length === rows.length * (one ? 2 : 4);
  return cells(fits ? rows : new Uint32Array(0), boxes, one ? size : null);
}

export interface MapInfo extends RasterInfo {
  title?: string;
  units?: string;
  status?: string;
  /** Why there is no map. */
  reason?: string;
  /** Whether it can be computed on demand. */
  compute?: boolean;
  /** The raster holds the whole slide as finely as the map is. */
  whole?: boolean;
}

export function readMapInfo(model: Model): MapInfo {
  return (model.get("_map_info") ?? {}) as MapInfo;
}

export function readMap(model: Model): Raster | null {
  return readRaster(
    readMapInfo(model),
    bytesOf(model.get("_map") as DataView | null),
    bytesOf(model.get("_winner") as DataView | null),
  );
}

export function readClusters(model: Model): readonly Cluster[] {
  return (model.get("_legend") ?? []) as Cluster[];
}
