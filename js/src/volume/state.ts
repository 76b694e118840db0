// What the kernel says, read from the traits.

import { bytesOf } from "../shared/codec.ts";
import type { Model } from "../shared/model.ts";
import { decodeGrids, type Grids } from "../maps/grid.ts";
import { AXES, inside, type Axis, type Camera, type Plane, type Triple } from "./geometry.ts";
import { readWindow, storedWindow, type Preset, type Stored, type Window } from "./window.ts";

export interface Volume extends Stored {
  readonly version: number;
  readonly name: string;
  /** Tile that holds each slice (-1: none), or the tile that holds all. */
  readonly rows: readonly number[];
  readonly stacked: boolean;
  readonly shape: Triple;
  readonly step: Triple;
  readonly sent: Triple;
  readonly colour: boolean;
  readonly chunks: number;
  readonly chunk: number;
  readonly spacing: Triple;
  readonly mm: boolean;
  readonly presets: readonly Preset[];
  readonly planes: readonly [Plane, Plane, Plane];
  readonly note: string;
  /** Whether the store lacks a slice of those that are sent. */
  lacks(slice: number): boolean;
}

interface Info {
  version?: number;
  name?: string;
  rows?: number[];
  stacked?: boolean;
  shape?: Triple;
  step?: Triple;
  colour?: boolean;
  chunks?: number;
  chunk?: number;
  spacing?: Triple;
  mm?: boolean;
  window?: number[];
  units?: string;
  presets?: Preset[];
  planes?: { name: string; across: Axis; down: Axis; flip: [boolean, boolean]; letters: string[] }[];
  note?: string;
}

export function readVolume(model: Model): Volume | null {
  const info = (model.get("_volume") ?? {}) as Info;
  const { shape, step, spacing, planes } = info;
  if (!info.version || !shape || !step || !spacing || planes?.length !== 3) return null;
  const rows = info.rows ?? [];
  return {
    version: info.version,
    name: info.name ?? "",
    rows,
    stacked: info.stacked ?? false,
    shape,
    step,
    sent: AXES.map((a) => Math.ceil(shape[a] / step[a])) as Triple,
    colour: info.colour ?? false,
    chunks: info.chunks ?? 0,
    chunk: info.chunk ?? 1,
    spacing,
    mm: info.mm ?? false,
    window: readWindow(info.window),
    units: info.units ?? "",
    presets: info.presets ?? [],
    planes: planes.map((plane, axis) => ({ axis, ...plane })) as unknown as [Plane, Plane, Plane],
    note: info.note ?? "",
    lacks: (slice) =>
      (info.stacked ?? false) &&
      rows.slice(slice * step[0], (slice + 1) * step[0]).every((row) => row < 0),
  };
}

export interface MapInfo {
  version?: number;
  encoding?: string;
  factor?: number;
  shape?: number[];
  low?: number;
  high?: number;
  signed?: boolean;
  title?: string;
  status?: string;
  /** Why there is no map. */
  reason?: string;
  /** Whether it can be computed on demand. */
  compute?: boolean;
}

export interface VolumeMap {
  readonly grid: Grids;
  readonly low: number;
  readonly high: number;
  readonly signed: boolean;
  readonly exact: boolean; // float16, not steps of the scale
  readonly title: string;
}

export function readMapInfo(model: Model): MapInfo {
  return (model.get("_map_info") ?? {}) as MapInfo;
}

/** Null unless it is a whole map of the volume that is shown. */
export function readMap(model: Model, volume: Volume | null): VolumeMap | null {
  const info = readMapInfo(model);
  if (!volume || info.version !== volume.version || info.shape?.length !== 3) return null;
  const [low, high] = [info.low ?? 0, info.high ?? 0];
  const bytes = bytesOf(model.get("_map") as DataView | null);
  const encoding = info.encoding ?? "";
  const grid = decodeGrids(bytes, encoding, info.shape, 1, { low, high }, info.factor ?? 1);
  if (!grid) return null;
  return {
    grid, low, high,
    signed: info.signed ?? false,
    exact: encoding === "float16",
    title: info.title ?? "",
  };
}

/** Voxel of the crosshair: what was kept, brought into the volume; else its middle. */
export function readAt(model: Model, volume: Volume): Triple {
  const kept = model.get("_at") as number[] | null;
  if (kept?.length === 3 && kept.every(Number.isFinite)) return inside(volume.shape, kept);
  return volume.shape.map((n) => Math.floor(n / 2)) as Triple;
}

export function windowNow(model: Model, volume: Volume): Window {
  return readWindow(model.get("_window")) ?? storedWindow(volume);
}

export function readCamera(model: Model, volume: Volume): Camera {
  const kept = model.get("_camera") as number[] | null;
  if (kept?.length === 4 && kept.every(Number.isFinite) && kept[0]! > 1) {
    return { zoom: kept[0]!, centre: [kept[1]!, kept[2]!, kept[3]!] };
  }
  return { zoom: 1, centre: volume.shape.map((n) => n / 2) as Triple };
}

/** The axis across the large plane. */
export function largeAxis(model: Model): Axis {
  return Math.max(0, ["D", "H", "W"].indexOf(String(model.get("large")))) as Axis;
}
