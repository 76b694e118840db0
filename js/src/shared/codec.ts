// The wire, as docs/wire.md describes it; the other side is widgetkit/widgets/wire.py.
// Both are tested with tests/widgets/wire_fixtures.json. Numbers are little-endian.

/** Position code of a point that has no place in the plane (NaN, infinite). */
export const MISSING_POSITION = 65535;
const LAST_POSITION = 65534;
const LAST_POLYGON = 65535;
/** Most vertices of a polygon: with the envelope of a message this stays below 1 kB. */
export const MOST_VERTICES = 120;

export type Bounds = [x0: number, y0: number, x1: number, y1: number];
export type Point = [x: number, y: number];

type Binary = DataView | ArrayBuffer | Uint8Array | null | undefined;

/** Bytes of a binary trait or buffer, without copying. */
export function bytesOf(value: Binary): Uint8Array {
  if (!value) return new Uint8Array(0);
  if (value instanceof Uint8Array) return value;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

/** An aligned copy: what arrives may begin at any byte of its buffer. */
function aligned(value: Binary): ArrayBuffer {
  const bytes = bytesOf(value);
  const copy = new Uint8Array(bytes.length);
  copy.set(bytes);
  return copy.buffer;
}

/** x and y of each point as codes 0..65534 inside the bounds; 65535 = no position. */
export function decodePositions(value: Binary): Uint16Array {
  const bytes = bytesOf(value);
  // Megabytes at a million points: read where they lie, if they begin at an even byte.
  if (bytes.byteOffset % 2 === 0) {
    return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length >> 1);
  }
  return new Uint16Array(aligned(value));
}

/** Data coordinate of a position code along one axis. */
export function positionValue(code: number, low: number, high: number): number {
  return low + ((high - low) * code) / LAST_POSITION;
}

/** Rows (tile numbers) as 32-bit unsigned integers. */
export function decodeRows(value: Binary): Uint32Array {
  return new Uint32Array(aligned(value));
}

/** Buffer of rows to send. */
export function encodeRows(rows: ArrayLike<number>): Uint8Array {
  return new Uint8Array(Uint32Array.from(rows).buffer);
}

/** Whether bit `index` of a packed mask is set. */
export function bit(mask: Uint8Array, index: number): boolean {
  return ((mask[index >> 3] ?? 0) & (1 << (index & 7))) !== 0;
}

/** A polygon in data coordinates as 16-bit codes inside its own bounding box. */
export function encodePolygon(points: readonly Point[]): { box: Bounds; data: Uint8Array } {
  const box: Bounds = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of points) {
    box[0] = Math.min(box[0], x);
    box[1] = Math.min(box[1], y);
    box[2] = Math.max(box[2], x);
    box[3] = Math.max(box[3], y);
  }
  const codes = new Uint16Array(points.length * 2);
  points.forEach(([x, y], i) => {
    codes[2 * i] = polygonCode(x, box[0], box[2]);
    codes[2 * i + 1] = polygonCode(y, box[1], box[3]);
  });
  return { box, data: new Uint8Array(codes.buffer) };
}

function polygonCode(value: number, low: number, high: number): number {
  return high > low ? Math.round(((value - low) / (high - low)) * LAST_POLYGON) : 0;
}

/** The polygon that the kernel will see. */
export function decodePolygon(box: Bounds, value: Binary): Point[] {
  const codes = new Uint16Array(aligned(value));
  const points: Point[] = [];
  for (let i = 0; i + 1 < codes.length; i += 2) {
    points.push([
      box[0] + ((box[2] - box[0]) * codes[i]!) / LAST_POLYGON,
      box[1] + ((box[3] - box[1]) * codes[i + 1]!) / LAST_POLYGON,
    ]);
  }
  return points;
}

/** Value of a grid code (0..254 between low and high, 255 = NaN). */
export function gridValue(code: number, low: number, high: number): number {
  return code === 255 ? NaN : low + ((high - low) * code) / 254;
}
