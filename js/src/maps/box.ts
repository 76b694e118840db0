/** Pictures that are not square lie whole inside a square tile. Pure. */

/** Part of a square tile that its picture fills, in fractions: less than all when not square. */
export interface Box {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

export const WHOLE: Box = { left: 0, top: 0, width: 1, height: 1 };

/** Place inside the picture of a place inside the square tile; null on the margin. */
export function inBox(box: Box, u: number, v: number): [number, number] | null {
  const x = (u - box.left) / box.width;
  const y = (v - box.top) / box.height;
  return x >= 0 && x < 1 && y >= 0 && y < 1 ? [x, y] : null;
}
