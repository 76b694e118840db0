/** Thumbnails on demand: asks the kernel once for what is missing, keeps what was used last. */

import { send, type Model } from "../shared/model.ts";
import { decodeSheet, release, tileOrigin, type Picture, type SheetInfo } from "../shared/sheet.ts";
import { Recent } from "./cache.ts";

/** Thumbnails of one request: one sheet of at most 64 x 256 px tiles, far below 8 MB. */
export const PAGE = 64;
/** Pages kept: at 128 px each holds 4 MB decoded. */
const PAGES = 48;
/** Sides of thumbnails that are sent, pixels; the next larger one is asked for. */
const LEVELS = [48, 96, 192] as const;

export interface Thumb {
  readonly picture: Picture;
  readonly left: number;
  readonly top: number;
  readonly side: number;
}

export interface Reply extends SheetInfo {
  kind: "thumbs";
  level: number;
  rows: number[];
}

/** The level that has at least one pixel a device pixel, or the largest. */
export function levelFor(size: number, ratio: number): number {
  return LEVELS.find((level) => level >= size * ratio * 0.9) ?? LEVELS[LEVELS.length - 1];
}

interface Sheet {
  readonly id: string;
  readonly picture: Picture;
  readonly keys: string[];
}

export class Thumbs {
  private readonly sheets: Recent<Sheet>;
  private readonly where = new Map<string, { sheet: string; info: SheetInfo; index: number }>();
  private readonly asked = new Set<string>();
  private serial = 0;

  constructor(private readonly model: Model) {
    this.sheets = new Recent<Sheet>(PAGES, (sheet) => {
      for (const key of sheet.keys) {
        if (this.where.get(key)?.sheet === sheet.id) this.where.delete(key);
      }
      release(sheet.picture);
    });
  }

  get(row: number, level: number): Thumb | null {
    const found = this.where.get(`${level}:${row}`);
    const sheet = found && this.sheets.get(found.sheet);
    if (!found || !sheet) return null;
    const [left, top] = tileOrigin(found.info, found.index);
    return { picture: sheet.picture, left, top, side: found.info.tile };
  }

  /** Ask for the rows that are neither here nor on their way. */
  want(rows: readonly number[], level: number): void {
    const missing = rows.filter((row) => {
      const key = `${level}:${row}`;
      return !this.where.has(key) && !this.asked.has(key);
    });
    for (let i = 0; i < missing.length; i += PAGE) {
      const page = missing.slice(i, i + PAGE);
      for (const row of page) this.asked.add(`${level}:${row}`);
      send(this.model, { kind: "thumbs", rows: page, level });
    }
  }

  /** Take in a page; false when it could not be decoded. */
  async take(reply: Reply, bytes: Uint8Array): Promise<boolean> {
    const keys = reply.rows.map((row) => `${reply.level}:${row}`);
    try {
      const picture = await decodeSheet(bytes, reply);
      const id = String(++this.serial);
      keys.forEach((key, index) => this.where.set(key, { sheet: id, info: reply, index }));
      this.sheets.set(id, { id, picture, keys });
      return true;
    } catch {
      return false;
    } finally {
      for (const key of keys) this.asked.delete(key);
    }
  }

  clear(): void {
    this.sheets.clear();
    this.where.clear();
    this.asked.clear();
  }
}
