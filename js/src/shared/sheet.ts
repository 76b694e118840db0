/**
 * Sheets: many square tiles in one picture, as they cross the wire.
 *
 * Encoded sheets (JPEG, PNG, WebP) are decoded by the browser off the main thread; "raw/rgb" sheets
 * hold 3 bytes a pixel and need no decoder. Both end as something a canvas and WebGL can draw.
 */

export interface SheetInfo {
  readonly mime: string;
  readonly tile: number; // side of a tile, pixels
  readonly columns: number;
  readonly count: number;
}

export type Picture = ImageBitmap | HTMLCanvasElement;

/** Width and height in pixels. */
export function sheetSize(info: SheetInfo): [number, number] {
  const columns = Math.max(1, info.columns);
  return [columns * info.tile, Math.max(1, Math.ceil(info.count / columns)) * info.tile];
}

/** Left and top of a tile, pixels. */
export function tileOrigin(info: SheetInfo, index: number): [number, number] {
  return [(index % info.columns) * info.tile, Math.floor(index / info.columns) * info.tile];
}

/** RGB to RGBA; null when the number of bytes is wrong. */
export function rgba(bytes: Uint8Array, pixels: number): Uint8ClampedArray<ArrayBuffer> | null {
  if (bytes.length !== pixels * 3) return null;
  const out = new Uint8ClampedArray(pixels * 4);
  for (let i = 0; i < pixels; i++) {
    out[4 * i] = bytes[3 * i];
    out[4 * i + 1] = bytes[3 * i + 1];
    out[4 * i + 2] = bytes[3 * i + 2];
    out[4 * i + 3] = 255;
  }
  return out;
}

/** Decode a sheet; rejects with a message when it cannot be decoded here. */
export async function decodeSheet(bytes: Uint8Array, info: SheetInfo): Promise<Picture> {
  const [width, height] = sheetSize(info);
  if (info.mime === "raw/rgb") {
    const pixels = rgba(bytes, width * height);
    if (!pixels) throw new Error(`a raw sheet of ${width} x ${height} has ${bytes.length} bytes`);
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    canvas.getContext("2d")?.putImageData(new ImageData(pixels, width, height), 0, 0);
    return canvas;
  }
  const picture = await createImageBitmap(new Blob([bytes.slice()], { type: info.mime }), {
    colorSpaceConversion: "none", // the numbers of the file, not the monitor's idea of them
    premultiplyAlpha: "none",
  });
  if (picture.width !== width || picture.height !== height) {
    const seen = `${picture.width} x ${picture.height}`;
    picture.close();
    throw new Error(`a sheet of ${width} x ${height} pixels came as ${seen}`);
  }
  return picture;
}

/** Free the memory of a decoded sheet. */
export function release(picture: Picture | null): void {
  if (picture && "close" in picture) picture.close();
}
