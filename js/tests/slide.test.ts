import assert from "node:assert/strict";
import { test } from "node:test";
import type { Bounds, Point } from "../src/shared/codec.ts";
import {
  fit, kept, pan, placeText, roundLength, scaleBar, toPixel, toSlide, zoom,
} from "../src/slide/camera.ts";
import { boundsOf, cellAt, cells, cellsIn, CHOSEN, coverage, outline, TILE } from "../src/slide/cells.ts";
import { actionOf } from "../src/slide/keys.ts";
import { pinched } from "../src/slide/pinch.ts";
import { boxOf, levelFor, pyramid, tilesIn, tilesOf } from "../src/slide/pyramid.ts";
import {
  NO_VALUE, NO_WINNER, paintRaster, readRaster, strength, tableOfAll, tableOfOne, valueAt,
} from "../src/slide/raster.ts";
import { inSight, PITCH, stepOf } from "../src/slide/strip.ts";
import { BATCH, REQUESTS, SlideTiles } from "../src/slide/tiles.ts";
import { lut } from "../src/maps/luts.ts";
import type { Model } from "../src/shared/model.ts";

/** Deterministic numbers in 0..1 (mulberry32). */
function numbers(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const near = (a: number, b: number, by = 1e-9): void =>
  assert.ok(Math.abs(a - b) <= by * Math.max(1, Math.abs(a), Math.abs(b)), `${a} is not ${b}`);

const SIZE = { width: 900, height: 500 };
const SLIDE: Bounds = [0, 0, 100_000, 80_000];

// -- camera ----------------------------------------------------------------------------------
test("the fitted camera shows the whole slide, upright", () => {
  const camera = fit(SLIDE, SIZE);
  const [x0, y0] = toPixel(camera, SIZE, [0, 0]);
  const [x1, y1] = toPixel(camera, SIZE, [100_000, 80_000]);
  assert.ok(x0 >= 0 && y0 >= 0 && x1 <= SIZE.width && y1 <= SIZE.height && x1 > x0 && y1 > y0);
});

test("pixels and places are each other's inverse; a zoom keeps the place under the pointer", () => {
  const random = numbers(3);
  const home = fit(SLIDE, SIZE);
  for (let i = 0; i < 40; i++) {
    const camera = { x: random() * 1e5, y: random() * 8e4, scale: 10 ** (random() * 4 - 3) };
    const at: Point = [random() * 900, random() * 500];
    const place = toSlide(camera, SIZE, at);
    const [x, y] = toPixel(camera, SIZE, place);
    near(x, at[0], 1e-6);
    near(y, at[1], 1e-6);
    const [zx, zy] = toPixel(zoom(camera, SIZE, at, 1.7, home), SIZE, place);
    near(zx, at[0], 1e-6);
    near(zy, at[1], 1e-6);
    const [px, py] = toPixel(pan(camera, 12, -5), SIZE, place);
    near(px, at[0] + 12, 1e-6);
    near(py, at[1] - 5, 1e-6);
  }
});

test("a zoom ends at 16 times life size and at half of the whole slide", () => {
  const home = fit(SLIDE, SIZE);
  let camera = home;
  for (let i = 0; i < 99; i++) camera = zoom(camera, SIZE, [10, 10], 2, home);
  assert.equal(camera.scale, 16);
  for (let i = 0; i < 99; i++) camera = zoom(camera, SIZE, [10, 10], 0.5, home);
  near(camera.scale, home.scale / 2);
});

test("nobody gets lost beside the slide", () => {
  assert.deepEqual(kept({ x: -5, y: 9e9, scale: 1 }, SLIDE), { x: 0, y: 80_000, scale: 1 });
});

test("the scale bar has a round length in um, mm, or px, and never more than its room", () => {
  assert.deepEqual([0.9, 7, 51.2, 200, 9.999999999].map(roundLength), [0.5, 5, 50, 200, 10]);
  assert.deepEqual(scaleBar(1, 0.5, 140), { px: 100, text: "50 µm" });
  assert.equal(scaleBar(0.01, 0.5, 140).text, "5 mm");
  assert.equal(scaleBar(1, null, 140).text, "100 px");
  assert.equal(scaleBar(1, 1, 140).text, "100 µm"); // one um a pixel is a known size
  const random = numbers(5);
  for (let i = 0; i < 50; i++) {
    const { px } = scaleBar(10 ** (random() * 5 - 3), random() < 0.5 ? null : 10 ** (random() * 2 - 1));
    assert.ok(px <= 140 + 1e-6 && px >= 140 / 2.5 - 1e-6, String(px));
  }
  assert.equal(placeText([2000, 1000], 0.25), "0.500, 0.250 mm");
  assert.equal(placeText([1999.6, 1000], null), "2000, 1000 px");
});

// -- pyramid ---------------------------------------------------------------------------------
const P = pyramid(10_000, 6_001, 256, [[10_000, 6_001, 1], [5_000, 3_001, 2], [2_500, 1_501, 4], [157, 94, 64]]);

test("the coarsest level that is sharp enough is taken", () => {
  assert.equal(levelFor(P, 1), 0);
  assert.equal(levelFor(P, 4), 0);
  assert.equal(levelFor(P, 0.7), 1); // 1.4 device pixels a pixel of level 1
  assert.equal(levelFor(P, 0.4), 1);
  assert.equal(levelFor(P, 0.3), 2);
  assert.equal(levelFor(P, 0.001), 3);
});

test("tiles cover the slide without gap or overlap, at every level", () => {
  P.levels.forEach((_, level) => {
    const [columns, rows] = tilesOf(P, level);
    let area = 0;
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const box = boxOf(P, { level, column, row });
        area += (box[2] - box[0]) * (box[3] - box[1]);
        if (column === columns - 1) near(box[2], 10_000);
        if (row === rows - 1) near(box[3], 6_001);
      }
    }
    near(area, 10_000 * 6_001);
  });
});

test("tiles of a view are those that touch it, the middle first", () => {
  const random = numbers(7);
  for (let i = 0; i < 30; i++) {
    const x = random() * 10_000;
    const y = random() * 6_000;
    const seen: Bounds = [x, y, x + random() * 4_000, y + random() * 3_000];
    const got = tilesIn(P, 1, seen).map((t) => `${t.column},${t.row}`).sort();
    const expected: string[] = [];
    const [columns, rows] = tilesOf(P, 1);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const [x0, y0] = [column * 256 * 2, row * 256 * P.levels[1]!.dy];
        if (x0 < seen[2] && x0 + 512 > seen[0] && y0 < seen[3] && y0 + 256 * P.levels[1]!.dy > seen[1]) {
          expected.push(`${column},${row}`);
        }
      }
    }
    assert.deepEqual(got, expected.sort());
  }
  const [first] = tilesIn(P, 0, [1000, 1000, 3000, 3000]);
  assert.ok(Math.abs(first!.column - 7) <= 1 && Math.abs(first!.row - 7) <= 1);
  const inner = tilesIn(P, 0, [300, 300, 400, 400]);
  assert.equal(tilesIn(P, 0, [300, 300, 400, 400], 1).length, inner.length + 8);
});

// -- requests --------------------------------------------------------------------------------
function recorder(): { model: Model; sent: { level: number; at: number[][] }[] } {
  const sent: { level: number; at: number[][] }[] = [];
  const model = { send: (content: unknown) => sent.push(content as never) } as unknown as Model;
  return { model, sent };
}

test("few requests are under way, and what is panned away is never asked for", () => {
  const { model, sent } = recorder();
  const tiles = new SlideTiles(model, () => {}, () => 0);
  tiles.setVersion(0);
  const row = (r: number) =>
    Array.from({ length: 40 }, (_, column) => ({ level: 1, column, row: r }));
  tiles.want(0, row(0));
  assert.equal(sent.length, REQUESTS);
  assert.deepEqual(sent[0]!.at, [[0, 0], [1, 0], [2, 0], [3, 0]]);
  assert.ok(sent.every((request) => request.at.length === BATCH));
  tiles.want(0, row(5)); // moved on before anything came
  assert.equal(sent.length, REQUESTS);
  void tiles.take({ kind: "tiles", version: 0, slide: 0, level: 1, at: sent[0]!.at as [number, number][], good: [false, false, false, false] }, []).then(() => {
    assert.deepEqual(sent[REQUESTS]!.at[0], [0, 5]);
    assert.ok(tiles.failed(0, { level: 1, column: 0, row: 0 }));
  });
});

test("an answer of older pictures is dropped, and forgotten requests are asked again", async () => {
  const { model, sent } = recorder();
  let time = 0;
  const tiles = new SlideTiles(model, () => {}, () => time);
  tiles.setVersion(2);
  tiles.want(0, [{ level: 0, column: 0, row: 0 }]);
  await tiles.take({ kind: "tiles", version: 1, slide: 0, level: 0, at: [[0, 0]], good: [false] }, []);
  assert.equal(tiles.waiting, 1);
  tiles.want(0, [{ level: 0, column: 0, row: 0 }]);
  assert.equal(sent.length, 1);
  time = 31_000;
  tiles.want(0, [{ level: 0, column: 0, row: 0 }]);
  assert.equal(sent.length, 2);
});

// -- raster ----------------------------------------------------------------------------------
const INFO = { slide: 0, view: [100, 200, 300, 300], shape: [2, 4], low: -1, high: 3 };

test("half a message draws nothing", () => {
  const none = new Uint8Array(0);
  assert.equal(readRaster({}, none, none), null);
  assert.equal(readRaster(INFO, new Uint8Array(7), none), null);
  assert.equal(readRaster({ ...INFO, all: true }, new Uint8Array(8), new Uint8Array(7)), null);
  assert.ok(readRaster(INFO, new Uint8Array(8), none));
});

test("the value under the pointer is that of the cell it is in", () => {
  const raster = readRaster(INFO, Uint8Array.of(0, 127, 254, 255, 1, 2, 3, 4), new Uint8Array(0))!;
  assert.equal(valueAt(raster, [125, 225])!.value, -1);
  assert.equal(valueAt(raster, [160, 225])!.value, 1);
  assert.equal(valueAt(raster, [249.9, 249.9])!.value, 3);
  assert.equal(valueAt(raster, [260, 210]), null); // no value
  assert.equal(valueAt(raster, [99.9, 210]), null);
  assert.equal(valueAt(raster, [110, 300]), null);
  assert.equal(valueAt(raster, [110, 250])!.code, 1);
});

test("one map: colours of the palette, nothing below the threshold", () => {
  const table = tableOfOne(lut("viridis"), false, 0.5);
  assert.equal(table[126 * 4 + 3], 0);
  assert.equal(table[127 * 4 + 3], 255);
  assert.equal(table[NO_VALUE * 4 + 3], 0);
  assert.deepEqual([...table.subarray(254 * 4, 254 * 4 + 3)], [...lut("viridis").subarray(255 * 4, 255 * 4 + 3)]);
  near(strength(127, true), 0);
  near(strength(0, true), 1);
  const signed = tableOfOne(lut("RdBu_r"), true, 0.5);
  assert.equal(signed[127 * 4 + 3], 0);
  assert.equal(signed[3], 255);
});

test("all clusters: the winner's colour, more opaque with its weight, hidden ones not at all", () => {
  const clusters = [
    { name: "a", colour: 0, hidden: false },
    { name: "b", colour: 1, hidden: true },
    { name: "c", colour: 2, hidden: false },
  ];
  const table = tableOfAll(clusters, (colour) => [colour + 10, 0, 0], 0.25);
  const raster = readRaster(
    { ...INFO, all: true },
    Uint8Array.of(254, 127, 254, 255, 63, 64, 254, 254),
    Uint8Array.of(0, 0, 1, 0, 2, 2, NO_WINNER, 7),
  )!;
  const pixels = new Uint8ClampedArray(8 * 4);
  paintRaster(raster, table, pixels);
  const alpha = (i: number): number => pixels[4 * i + 3]!;
  assert.deepEqual([pixels[0], alpha(0)], [10, 255]);
  assert.ok(alpha(1) > 170 && alpha(1) < 190);
  assert.deepEqual([alpha(2), alpha(3), alpha(4), alpha(6), alpha(7)], [0, 0, 0, 0, 0]);
  assert.equal(pixels[4 * 5], 12);
  assert.equal(valueAt(raster, [110, 210])!.winner, 0);
  assert.equal(valueAt(raster, [210, 260])!.winner, null);
});

// -- tiles of the store ------------------------------------------------------------------------
function grid(columns: number, rows: number, side = 256) {
  const xy: number[] = [];
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) xy.push(1000 + c * side, 500 + r * side);
  const n = columns * rows;
  return cells(Uint32Array.from({ length: n }, (_, i) => 100 + i), Float32Array.from(xy), [side, side]);
}

function scattered(n: number, seed: number, snap = 0) {
  const random = numbers(seed);
  const boxes: number[] = [];
  const at = (value: number): number => (snap ? Math.round(value / snap) * snap : value);
  for (let i = 0; i < n; i++) {
    const [x, y, side] = [at(random() * 5000), at(random() * 3000), at(50 + random() * 400)];
    boxes.push(x, y, x + side, y + side);
  }
  return cells(Uint32Array.from({ length: n }, (_, i) => i), Float32Array.from(boxes), null);
}

const bits = (n: number, of: (i: number) => boolean): Uint8Array => {
  const mask = new Uint8Array(Math.ceil(n / 8));
  for (let i = 0; i < n; i++) if (of(i)) mask[i >> 3]! |= 1 << (i & 7);
  return mask;
};

test("the tile under a place: the long way finds the same", () => {
  const c = scattered(300, 11);
  const random = numbers(13);
  for (let k = 0; k < 300; k++) {
    const [x, y] = [random() * 5400, random() * 3400];
    let best = -1;
    let least = Infinity;
    for (let i = 0; i < c.count; i++) {
      const [x0, y0, x1, y1] = c.boxes.subarray(4 * i, 4 * i + 4) as unknown as Bounds;
      const far = (x - (x0 + x1) / 2) ** 2 + (y - (y0 + y1) / 2) ** 2;
      if (x >= x0 && x < x1 && y >= y0 && y < y1 && far < least) [best, least] = [i, far];
    }
    assert.equal(cellAt(c, [x, y]), best);
  }
});

test("tiles in a view: the long way finds the same; too many are given up", () => {
  const c = scattered(300, 17);
  const random = numbers(19);
  for (let k = 0; k < 40; k++) {
    const [x, y] = [random() * 5000, random() * 3000];
    const seen: Bounds = [x, y, x + random() * 2000, y + random() * 2000];
    const expected = [...Array(300).keys()].filter(
      (i) =>
        c.boxes[4 * i]! < seen[2] && c.boxes[4 * i + 2]! > seen[0] &&
        c.boxes[4 * i + 1]! < seen[3] && c.boxes[4 * i + 3]! > seen[1],
    );
    assert.deepEqual(cellsIn(c, seen)!.sort((a, b) => a - b), expected);
  }
  assert.equal(cellsIn(c, [0, 0, 6000, 4000], 10), null);
  assert.deepEqual(cellsIn(cells(new Uint32Array(0), new Float32Array(0), null), [0, 0, 1, 1]), []);
});

test("side by side they have one outline around them", () => {
  const c = grid(4, 3);
  assert.ok(c.aligned);
  const all = [...Array(12).keys()];
  const around = outline(c, bits(12, () => true), all);
  assert.equal(around.length, 4);
  const length = (s: number[][]): number =>
    s.reduce((sum, [x0, y0, x1, y1]) => sum + Math.abs(x1! - x0!) + Math.abs(y1! - y0!), 0);
  near(length(around), 2 * (4 + 3) * 256);
  assert.equal(outline(c, bits(12, (i) => i === 5), all).length, 4);
  // the edge between a selected and an unselected tile stays
  near(length(outline(c, bits(12, (i) => i === 5 || i === 6), all)), 6 * 256);
  near(length(outline(c, bits(12, (i) => i === 0 || i === 5), all)), 8 * 256); // they meet in a corner
  assert.equal(outline(c, bits(12, () => false), all).length, 0);
  assert.deepEqual(boundsOf(c, bits(12, (i) => i === 5 || i === 11)), [1256, 756, 2024, 1268]);
  assert.equal(boundsOf(c, bits(12, () => false)), null);
});

test("where tiles overlap, the outline is that of their union", () => {
  const c = scattered(60, 29, 16); // edges nearer than a hundredth of a tile would be joined
  const mask = bits(60, (i) => i % 3 === 0);
  const segments = outline(c, mask, [...Array(60).keys()]);
  const inside = (x: number, y: number): boolean =>
    [...Array(60).keys()].some(
      (i) =>
        i % 3 === 0 &&
        x > c.boxes[4 * i]! && x < c.boxes[4 * i + 2]! && y > c.boxes[4 * i + 1]! && y < c.boxes[4 * i + 3]!,
    );
  assert.ok(segments.length > 40);
  for (const [x0, y0, x1, y1] of segments as Bounds[]) {
    const [x, y] = [(x0 + x1) / 2 + 0.5, (y0 + y1) / 2 + 0.5];
    // just beside the middle of each piece: covered on one side, bare on the other
    const by = 1;
    const [a, b] = x0 === x1 ? [inside(x0 - by, y), inside(x0 + by, y)] : [inside(x, y0 - by), inside(x, y0 + by)];
    assert.notEqual(a, b);
  }
});

test("as a picture: a pixel a tile on a grid, and no tile is lost elsewhere", () => {
  const found = coverage(grid(4, 3), bits(12, (i) => i === 5));
  assert.ok(found.exact);
  assert.deepEqual([found.width, found.height], [4, 3]);
  assert.deepEqual([...found.pixels], [1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1]);
  const c = scattered(200, 23);
  for (const most of [2048, 64]) {
    const loose = coverage(c, bits(200, (i) => i === 3), most);
    assert.ok(!loose.exact && loose.width <= most && loose.height <= most);
    assert.ok(loose.pixels.includes(CHOSEN) && loose.pixels.includes(TILE));
    const [px, py] = [
      (loose.view[2] - loose.view[0]) / loose.width, (loose.view[3] - loose.view[1]) / loose.height,
    ];
    for (let i = 0; i < 200; i++) {
      const x = (c.boxes[4 * i]! + c.boxes[4 * i + 2]!) / 2 - loose.view[0];
      const y = (c.boxes[4 * i + 1]! + c.boxes[4 * i + 3]!) / 2 - loose.view[1];
      assert.notEqual(loose.pixels[Math.floor(y / py) * loose.width + Math.floor(x / px)], 0);
    }
  }
});

// -- hands -------------------------------------------------------------------------------------
test("two fingers move and zoom at once", () => {
  const moved = pinched([[100, 100], [200, 100]], [[110, 105], [210, 105]]);
  assert.deepEqual(moved, { dx: 10, dy: 5, factor: 1, at: [160, 105] });
  assert.equal(pinched([[0, 0], [100, 0]], [[0, 0], [200, 0]]).factor, 2);
  assert.ok(Number.isFinite(pinched([[0, 0], [0, 0]], [[0, 0], [50, 0]]).factor));
});

test("keys: the scatter's, and those of slides", () => {
  const press = (key: string, keys: Partial<KeyboardEvent> = {}) =>
    actionOf({ key, ctrlKey: false, metaKey: false, shiftKey: false, altKey: false, ...keys } as KeyboardEvent);
  assert.deepEqual(press("PageDown"), { do: "slide", step: 1 });
  assert.deepEqual(press("z"), { do: "selection" });
  assert.deepEqual(press("z", { ctrlKey: true }), { do: "command", name: "undo" });
  assert.deepEqual(press("l"), { do: "tool", tool: "lasso" });
  assert.deepEqual(press("0"), { do: "fit" });
  assert.equal(press("s", { ctrlKey: true }), null);
});

test("of a thousand slides only those in sight are in the page", () => {
  const [from, to] = inSight(1000, 300 * PITCH, 760);
  assert.ok(from <= 300 && to >= 310 && to - from <= 13);
  assert.deepEqual(inSight(3, 0, 760), [0, 3]);
  assert.deepEqual(inSight(0, 0, 760), [0, 0]);
  assert.equal(stepOf("ArrowRight", 5, 10, 3), 6);
  assert.equal(stepOf("PageUp", 1, 10, 3), 0);
  assert.equal(stepOf("End", 1, 10, 3), 9);
  assert.equal(stepOf("Home", 7, 10, 3), 0);
  assert.equal(stepOf("x", 7, 10, 3), null);
});
