// The same fixtures as tests/widgets/test_wire.py: both sides of the wire agree byte for byte.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  bit,
  decodePolygon,
  decodePositions,
  decodeRows,
  encodePolygon,
  encodeRows,
  gridValue,
  MISSING_POSITION,
  positionValue,
  type Bounds,
  type Point,
} from "../src/shared/codec.ts";

type Numbers = (number | null)[];
interface Fixtures {
  positions: { box: Bounds; data: string; decoded: Numbers[] }[];
  masks: { flags: number[]; data: string }[];
  polygons: { polygon: Point[]; box: Bounds; data: string; decoded: Point[] }[];
  rows: { rows: number[]; data: string }[];
  grids: { values: Numbers[]; low: number; high: number; data: string }[];
}

// npm runs the tests in js/
const fixtures = JSON.parse(
  readFileSync("../tests/widgets/wire_fixtures.json", "utf8"),
) as Fixtures;

/** The bytes at an odd offset of a longer buffer, as a comm may deliver them. */
function arrived(base64: string): DataView {
  const bytes = Buffer.from(base64, "base64");
  const wide = new Uint8Array(bytes.length + 3);
  wide.set(bytes, 3);
  return new DataView(wide.buffer, 3, bytes.length);
}

const bytes = (base64: string): Uint8Array => new Uint8Array(Buffer.from(base64, "base64"));

function close(actual: number, expected: number, scale = 1): void {
  assert.ok(Math.abs(actual - expected) <= 1e-9 * Math.max(1, Math.abs(scale)), `${actual} ${expected}`);
}

test("positions decode to what the kernel decodes", () => {
  for (const { box, data, decoded } of fixtures.positions) {
    const codes = decodePositions(arrived(data));
    assert.equal(codes.length, decoded.length * 2);
    decoded.forEach(([x, y], i) => {
      if (x === null || y === null) {
        assert.equal(codes[2 * i], MISSING_POSITION);
        return;
      }
      close(positionValue(codes[2 * i]!, box[0], box[2]), x!, box[2]);
      close(positionValue(codes[2 * i + 1]!, box[1], box[3]), y!, box[3]);
    });
  }
});

test("bits of a mask are the kernel's flags", () => {
  for (const { flags, data } of fixtures.masks) {
    flags.forEach((flag, i) => assert.equal(bit(bytes(data), i), flag === 1));
  }
  assert.equal(bit(new Uint8Array(0), 5), false);
});

test("polygons encode to the kernel's bytes and decode to its vertices", () => {
  for (const { polygon, box, data, decoded } of fixtures.polygons) {
    const made = encodePolygon(polygon);
    assert.deepEqual(made.box, box);
    assert.deepEqual(made.data, bytes(data));
    const back = decodePolygon(box, arrived(data));
    back.forEach(([x, y], i) => {
      close(x, decoded[i]![0]);
      close(y, decoded[i]![1]);
    });
  }
});

test("rows keep their values", () => {
  for (const { rows, data } of fixtures.rows) {
    assert.deepEqual(encodeRows(rows), bytes(data));
    assert.deepEqual([...decodeRows(arrived(data))], rows);
  }
});

test("grid codes are within half a step of the value, and NaN stays NaN", () => {
  for (const { values, low, high, data } of fixtures.grids) {
    const codes = bytes(data);
    values.flat().forEach((value, i) => {
      const back = gridValue(codes[i]!, low, high);
      if (value === null) assert.ok(Number.isNaN(back));
      else assert.ok(Math.abs(back - Math.min(high, Math.max(low, value))) <= (high - low) / 508 + 1e-12);
    });
  }
});
