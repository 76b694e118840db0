// Tiles of the slide on demand: what is seen first, what was panned away not at all, what was
// used last kept.

import { bytesOf } from "../shared/codec.ts";
import { send, type Model } from "../shared/model.ts";
import { Recent } from "../gallery/cache.ts";
import { keyOf, type TileAt } from "./pyramid.ts";

/** Tiles kept: 400 of 256 x 256 RGBA are 105 MB decoded. */
const KEPT = 400;
/** Tiles in one request, and requests under way: the rest waits here, where it can be dropped. */
export const BATCH = 4;
export const REQUESTS = 3;
/** A request that was not answered by then is forgotten (the kernel was interrupted). */
const PATIENCE_MS = 30_000;

export interface TileReply {
  kind: "tiles";
  version: number;
  slide: number;
  level: number;
  /** Column and row of each tile asked for. */
  at: [number, number][];
  /** Whether its picture is among the buffers, which are in the same order. */
  good: boolean[];
}

interface Request {
  keys: string[];
  since: number;
}

export class SlideTiles {
  private readonly kept = new Recent<ImageBitmap>(KEPT, (bitmap) => bitmap.close());
  private readonly bad = new Set<string>();
  private requests: Request[] = [];
  private wanted: { slide: number; tiles: readonly TileAt[] } = { slide: -1, tiles: [] };
  private version = -1;

  constructor(
    private readonly model: Model,
    private readonly arrived: () => void,
    private readonly now: () => number = () => performance.now(),
  ) {}

  get(slide: number, tile: TileAt): ImageBitmap | undefined {
    return this.kept.get(keyOf(slide, tile));
  }

  /** Whether a tile cannot be had: it is not asked for again. */
  failed(slide: number, tile: TileAt): boolean {
    return this.bad.has(keyOf(slide, tile));
  }

  /** Requests under way, for tests. */
  get waiting(): number {
    return this.requests.length;
  }

  /** Pictures of another version are other pictures. */
  setVersion(version: number): void {
    if (version === this.version) return;
    this.version = version;
    this.clear();
  }

  /** What is needed now, most needed first; what was wanted before and is not in it is dropped. */
  want(slide: number, tiles: readonly TileAt[]): void {
    this.wanted = { slide, tiles };
    this.pump();
  }

  private pump(): void {
    const time = this.now();
    this.requests = this.requests.filter((request) => time - request.since < PATIENCE_MS);
    const asked = new Set(this.requests.flatMap((request) => request.keys));
    const { slide, tiles } = this.wanted;
    const missing = tiles.filter((tile) => {
      const key = keyOf(slide, tile);
      return !asked.has(key) && !this.bad.has(key) && !this.kept.has(key);
    });
    while (this.requests.length < REQUESTS && missing.length > 0) {
      const { level } = missing[0]!;
      const batch: TileAt[] = [];
      while (batch.length < BATCH && missing[0]?.level === level) batch.push(missing.shift()!);
      this.requests.push({ keys: batch.map((tile) => keyOf(slide, tile)), since: time });
      send(this.model, {
        kind: "tiles",
        version: this.version,
        slide,
        level,
        at: batch.map(({ column, row }) => [column, row]),
      });
    }
  }

  /** Takes in an answer. */
  async take(reply: TileReply, buffers: DataView[]): Promise<void> {
    if (reply.version !== this.version) return;
    const keys = reply.at.map(([column, row]) =>
      keyOf(reply.slide, { level: reply.level, column, row }),
    );
    let next = 0;
    const bitmaps = await Promise.all(
      keys.map((_, i) => {
        const data = reply.good[i] ? buffers[next++] : undefined;
        return data ? decode(data) : null;
      }),
    );
    const stale = reply.version !== this.version;
    bitmaps.forEach((bitmap, i) => {
      if (bitmap && !stale) this.kept.set(keys[i]!, bitmap);
      else if (bitmap) bitmap.close();
      else if (!stale) this.bad.add(keys[i]!);
    });
    if (stale) return;
    // only now: while they were decoded they must not be asked for again
    this.requests = this.requests.filter((request) => request.keys[0] !== keys[0]);
    this.pump();
    this.arrived();
  }

  clear(): void {
    this.kept.clear();
    this.bad.clear();
    this.requests = [];
    this.wanted = { slide: -1, tiles: [] };
  }
}

async function decode(data: DataView): Promise<ImageBitmap | null> {
  try {
    return await createImageBitmap(new Blob([bytesOf(data).slice()], { type: "image/jpeg" }), {
      colorSpaceConversion: "none", // the numbers of the file, not the monitor's idea of them
    });
  } catch {
    return null;
  }
}
