import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { Point } from "../src/shared/codec.ts";
import type { Model } from "../src/shared/model.ts";
import type { Grids } from "../src/maps/grid.ts";
import { lut } from "../src/maps/luts.ts";
import { tableOfOne } from "../src/slide/raster.ts";
import {
  AXES, boxBetween, boxOf, inside, MARGIN, nearestVoxel, panBy, planeSize, toPixel, toPlane, voxelAt,
  wheelSteps, zoomAt, type Camera, type Extent, type Plane, type Triple,
} from "../src/volume/geometry.ts";
import { actionOf, dragOf } from "../src/volume/keys.ts";
import { Loader, PATIENCE_MS, REQUESTS } from "../src/volume/loader.ts";
import {
  between, cellOf, mapAt, mapPixels, middleOf, planePixels, voxelOf, type Voxels,
} from "../src/volume/reslice.ts";
import { readAt, readMap, readVolume, windowNow } from "../src/volume/state.ts";
import {
  dragged, levelOf, lutOf, presetOf, readWindow, storedText, valueOf, valueText, widthOf, windowOf,
} from "../src/volume/window.ts";

interface Case {
  shape: Triple;
  values: number[][][];
  smooth: number[][][];
  nearest: number[][][];
}
// npm runs the tests in js/
const fixtures = JSON.parse(readFileSync("tests/volume_fixtures.json", "utf8")) as { maps: Case[] };

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

/** As the kernel turns the planes of an axial series. */
const PLANES: readonly Plane[] = [
  { axis: 0, name: "axial", across: 2, down: 1, flip: [false, false], letters: ["R", "L", "A", "P"] },
  { axis: 1, name: "coronal", across: 2, down: 0, flip: [false, true], letters: ["R", "L", "S", "I"] },
  { axis: 2, name: "sagittal", across: 1, down: 0, flip: [false, true], letters: ["A", "P", "S", "I"] },
];
const EXTENT: Extent = { shape: [7, 18, 24], spacing: [5, 1.5, 2] };
const WHOLE: Camera = { zoom: 1, centre: [3.5, 9, 12] };

/** Every plane, also with both axes turned. */
function* turned(): Generator<Plane> {
  for (const plane of PLANES) {
    for (const flip of [[false, false], [true, false], [false, true], [true, true]] as const) {
      yield { ...plane, flip };
    }
  }
}

// -- where voxels lie ------------------------------------------------------------------------
test("a plane has the proportions of its millimetres and lies whole inside its place", () => {
  for (const plane of turned()) {
    for (const size of [{ width: 700, height: 300 }, { width: 120, height: 500 }]) {
      const box = boxOf(EXTENT, plane, size, WHOLE);
      const [wide, high] = planeSize(EXTENT, plane);
      near(box.width / box.height, wide / high);
      assert.ok(box.left >= MARGIN - 1e-9 && box.top >= MARGIN - 1e-9);
      near(box.left + box.width / 2, size.width / 2);
      near(box.top + box.height / 2, size.height / 2);
      assert.ok(Math.abs(box.width + 2 * MARGIN - size.width) < 1e-6 || Math.abs(box.height + 2 * MARGIN - size.height) < 1e-6);
    }
  }
});

test("the pixel of a voxel's middle is over that voxel, in every plane, turned and zoomed", () => {
  const random = numbers(5);
  for (const plane of turned()) {
    for (let i = 0; i < 60; i++) {
      const voxel = EXTENT.shape.map((n) => Math.floor(random() * n)) as Triple;
      const camera = { zoom: 1 + random() * 5, centre: EXTENT.shape.map((n) => random() * n) as Triple };
      const box = boxOf(EXTENT, plane, { width: 640, height: 480 }, camera);
      const pixel = toPixel(EXTENT, plane, box, voxel.map((v) => v + 0.5) as Triple);
      assert.deepEqual(voxelAt(EXTENT, plane, box, voxel, pixel), voxel);
      assert.deepEqual(nearestVoxel(EXTENT, plane, box, voxel, pixel), voxel);
    }
  }
});

test("beside the plane there is no voxel, and the nearest one is at its rim", () => {
  for (const plane of turned()) {
    const size = { width: 500, height: 400 };
    const box = boxOf(EXTENT, plane, size, WHOLE);
    const at: Triple = [3, 4, 5];
    for (const pixel of [[0, 0], [499, 399], [-50, 200]] as Point[]) {
      const out = pixel[0] < box.left || pixel[1] < box.top || pixel[0] >= box.left + box.width || pixel[1] >= box.top + box.height;
      if (out) assert.equal(voxelAt(EXTENT, plane, box, at, pixel), null);
      const rim = nearestVoxel(EXTENT, plane, box, at, pixel);
      rim.forEach((v, a) => assert.ok(v >= 0 && v < EXTENT.shape[a]!));
      assert.equal(rim[plane.axis], at[plane.axis]);
    }
  }
});

test("a zoom keeps what is under the pointer, a pan moves it by as many pixels", () => {
  const size = { width: 600, height: 600 };
  for (const plane of turned()) {
    const camera: Camera = { zoom: 4, centre: [3.5, 9, 12] };
    const middle: Point = [310, 290];
    const before = toPlane(EXTENT, plane, boxOf(EXTENT, plane, size, camera), middle);
    const closer = zoomAt(EXTENT, plane, size, camera, 1.5, middle);
    const after = toPlane(EXTENT, plane, boxOf(EXTENT, plane, size, closer), middle);
    near(before[0], after[0], 1e-6);
    near(before[1], after[1], 1e-6);
    const moved = panBy(EXTENT, plane, size, camera, 12, -7);
    const there = toPlane(EXTENT, plane, boxOf(EXTENT, plane, size, moved), [322, 283]);
    near(before[0], there[0], 1e-6);
    near(before[1], there[1], 1e-6);
  }
  assert.equal(zoomAt(EXTENT, PLANES[0]!, size, WHOLE, 0.1, [1, 1]).zoom, 1);
  assert.equal(zoomAt(EXTENT, PLANES[0]!, size, WHOLE, 1e9, [1, 1]).zoom, 16);
});

test("nothing beside a magnified plane is shown while there is more of it", () => {
  const size = { width: 300, height: 300 };
  for (const plane of turned()) {
    for (const centre of [[0, 0, 0], [7, 18, 24]] as Triple[]) {
      const box = boxOf(EXTENT, plane, size, { zoom: 8, centre });
      if (box.width > size.width) assert.ok(box.left <= 1e-9 && box.left + box.width >= size.width - 1e-9);
      if (box.height > size.height) assert.ok(box.top <= 1e-9 && box.top + box.height >= size.height - 1e-9);
    }
  }
});

test("a brushed box holds the voxels between its corners, whichever is first", () => {
  for (const plane of turned()) {
    const box = boxOf(EXTENT, plane, { width: 500, height: 400 }, WHOLE);
    const [a, b]: Triple[] = [[2, 3, 4], [2, 9, 15]];
    a![plane.axis] = b![plane.axis] = 2;
    const pixel = (v: Triple): Point => toPixel(EXTENT, plane, box, v.map((i) => i + 0.5) as Triple);
    for (const [from, to] of [[a!, b!], [b!, a!]] as const) {
      const found = boxBetween(EXTENT, plane, box, [2, 2, 2], pixel(from), pixel(to));
      assert.deepEqual(found, { low: AXES.map((i) => Math.min(a![i], b![i])), high: AXES.map((i) => Math.max(a![i], b![i])) });
    }
  }
});

test("a notch of the wheel is a slice, a touchpad gathers its own", () => {
  assert.deepEqual(wheelSteps(0, 120, 0), { steps: -1, rest: 0 });
  assert.deepEqual(wheelSteps(0, -3, 1), { steps: 1, rest: 0 });
  let [rest, steps] = [0, 0];
  for (let i = 0; i < 20; i++) {
    const found = wheelSteps(rest, 6, 0);
    rest = found.rest;
    steps += found.steps;
  }
  assert.equal(steps, -4);
  assert.equal(wheelSteps(25, -10, 0).rest, -10); // turning round begins anew
});

test("places are brought into the volume, also endless ones", () => {
  assert.deepEqual(inside([7, 18, 24], [-Infinity, Infinity, 3]), [0, 17, 3]);
  assert.deepEqual(inside([1, 1, 1], [5, -5, 0]), [0, 0, 0]);
});

// -- planes of voxels --------------------------------------------------------------------------
function volumeOf(shape: Triple, step: Triple, colour: boolean, ready = (_: number) => true): Voxels {
  const sent = shape.map((n, a) => Math.ceil(n / step[a]!)) as Triple;
  const random = numbers(9);
  const data = Uint8Array.from({ length: sent[0] * sent[1] * sent[2] * (colour ? 3 : 1) }, () => Math.floor(random() * 256));
  return { shape, step, sent, colour, data, ready };
}

test("each pixel of a plane is the voxel that lies there: one by one", () => {
  const identity = Uint8Array.from({ length: 256 }, (_, i) => i);
  for (const colour of [false, true]) {
    const voxels = volumeOf([4, 5, 6], [1, 1, 1], colour);
    for (const plane of turned()) {
      const at = 2;
      const { width, height, data } = planePixels(voxels, plane, at, identity);
      assert.deepEqual([width, height], [voxels.shape[plane.across], voxels.shape[plane.down]]);
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          const voxel: Triple = [0, 0, 0];
          voxel[plane.axis] = at;
          voxel[plane.across] = plane.flip[0] ? width - 1 - x : x;
          voxel[plane.down] = plane.flip[1] ? height - 1 - y : y;
          const truth = voxelOf(voxels, voxel)!;
          const found = [...data.subarray((y * width + x) * 4, (y * width + x) * 4 + 4)];
          assert.deepEqual(found, [...(colour ? truth : [truth[0], truth[0], truth[0]]), 255]);
        }
      }
    }
  }
});

test("slices that are not there are clear in all planes", () => {
  const voxels = volumeOf([4, 5, 6], [1, 1, 1], false, (slice) => slice !== 1);
  const identity = Uint8Array.from({ length: 256 }, (_, i) => i);
  assert.ok(planePixels(voxels, PLANES[0]!, 1, identity).data.every((v) => v === 0));
  assert.equal(voxelOf(voxels, [1, 0, 0]), null);
  for (const plane of [PLANES[1]!, PLANES[2]!]) {
    const { width, height, data } = planePixels(voxels, plane, 3, identity);
    for (let y = 0; y < height; y++) {
      const slice = height - 1 - y; // head up
      for (let x = 0; x < width; x++) assert.equal(data[(y * width + x) * 4 + 3], slice === 1 ? 0 : 255);
    }
  }
});

test("reduced voxels are found by their place in the volume", () => {
  const voxels = volumeOf([5, 7, 9], [2, 3, 4], false);
  assert.deepEqual(voxels.sent, [3, 3, 3]);
  assert.deepEqual(voxelOf(voxels, [4, 6, 8]), [voxels.data[26]]);
  assert.deepEqual(voxelOf(voxels, [1, 2, 3]), [voxels.data[0]]);
  assert.equal(middleOf(2, 4, 9), 8.5); // the last one stands for one voxel alone
  assert.equal(middleOf(1, 4, 9), 6);
  const { width, height } = planePixels(voxels, PLANES[1]!, 6, new Uint8Array(256));
  assert.deepEqual([width, height], [3, 3]);
});

// -- maps on voxels ------------------------------------------------------------------------------
function gridOf(values: number[][][]): Grids {
  return {
    values: Float32Array.from(values.flat(2)),
    count: 1, depth: values.length, height: values[0]!.length, width: values[0]![0]!.length,
  };
}

test("maps are brought to the voxels as the kernel does it", () => {
  for (const { shape, values, smooth, nearest } of fixtures.maps) {
    const grid = gridOf(values);
    for (let d = 0; d < shape[0]; d++) {
      for (let h = 0; h < shape[1]; h++) {
        for (let w = 0; w < shape[2]; w++) {
          const place: Triple = [d + 0.5, h + 0.5, w + 0.5];
          near(mapAt(grid, shape, place, true), smooth[d]![h]![w]!, 2e-6);
          near(mapAt(grid, shape, place, false), nearest[d]![h]![w]!, 1e-6);
        }
      }
    }
  }
});

test("a map of one cell is drawn on exactly the voxels of that cell in all three planes", () => {
  const random = numbers(21);
  const colouring = { low: 0, high: 1, signed: false, table: tableOfOne(lut("viridis"), false, 0.5) };
  for (let round = 0; round < 60; round++) {
    const whole = (most: number): number => 1 + Math.floor(random() * most);
    const shape: Triple = [whole(9), whole(9), whole(9)];
    const cells: Triple = [whole(9), whole(9), whole(9)];
    const cell = cells.map((n) => Math.floor(random() * n)) as Triple;
    const values = new Float32Array(cells[0] * cells[1] * cells[2]);
    values[(cell[0] * cells[1] + cell[1]) * cells[2] + cell[2]] = 1;
    const grid: Grids = { values, count: 1, depth: cells[0], height: cells[1], width: cells[2] };
    // in whole numbers: (i + 1/2) / n lies in [cell, cell + 1) / cells
    const own = (i: number, a: number): boolean =>
      cell[a]! * 2 * shape[a]! <= (2 * i + 1) * cells[a]! && (2 * i + 1) * cells[a]! < (cell[a]! + 1) * 2 * shape[a]!;
    for (const plane of turned()) {
      for (let at = 0; at < shape[plane.axis]; at++) {
        const space = { shape, step: [1, 1, 1] as Triple, sent: shape };
        const { width, height, data } = mapPixels(space, grid, plane, at, false, colouring);
        for (let y = 0; y < height; y++) {
          for (let x = 0; x < width; x++) {
            const u = plane.flip[0] ? width - 1 - x : x;
            const v = plane.flip[1] ? height - 1 - y : y;
            const expected = own(at, plane.axis) && own(u, plane.across) && own(v, plane.down);
            assert.equal(data[(y * width + x) * 4 + 3] === 255, expected);
          }
        }
      }
    }
  }
});

test("planes of smooth maps have the values of single places", () => {
  const { values, shape } = fixtures.maps[1]!;
  const grid = gridOf(values);
  // a table that says the code itself
  const table = new Uint8Array(1024);
  for (let i = 0; i < 255; i++) table.set([i, 0, 0, 255], i * 4);
  const colouring = { low: -3, high: 3, signed: true, table };
  for (const step of [[1, 1, 1], [2, 2, 3]] as Triple[]) {
    const sent = shape.map((n, a) => Math.ceil(n / step[a]!)) as Triple;
    for (const plane of turned()) {
      const { width, height, data } = mapPixels({ shape, step, sent }, grid, plane, 1, true, colouring);
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          const place: Triple = [1.5, 1.5, 1.5];
          const [u, v] = [plane.flip[0] ? width - 1 - x : x, plane.flip[1] ? height - 1 - y : y];
          place[plane.across] = middleOf(u, step[plane.across], shape[plane.across]);
          place[plane.down] = middleOf(v, step[plane.down], shape[plane.down]);
          const code = Math.round(((mapAt(grid, shape, place, true) + 3) / 6) * 254);
          assert.ok(Math.abs(data[(y * width + x) * 4]! - code) <= 1);
        }
      }
    }
  }
});

test("a slice without a map takes nothing from its neighbours", () => {
  const values = new Float32Array([1, NaN, 2]);
  const grid: Grids = { values, count: 1, depth: 3, height: 1, width: 1 };
  assert.equal(mapAt(grid, [3, 4, 4], [0.5, 1, 1], true), 1);
  assert.ok(Number.isNaN(mapAt(grid, [3, 4, 4], [1.5, 1, 1], true)));
  assert.equal(mapAt(grid, [3, 4, 4], [2.5, 1, 1], true), 2);
});

test("cells and weights at the rims", () => {
  assert.deepEqual(between(0, 10, 4), [0, 1, 0]);
  assert.deepEqual(between(10, 10, 4), [3, 3, 0]);
  assert.equal(cellOf(10, 10, 4), 3);
  assert.equal(cellOf(-1, 10, 4), 0);
});

// -- window ----------------------------------------------------------------------------------------
const LUNG = { window: [-1350, 150] as [number, number], units: "HU" };
const GREY = { window: null, units: "" };

test("the stored window is drawn as it is, a narrower one is stretched", () => {
  assert.deepEqual([...lutOf([-1350, 150], LUNG)], Array.from({ length: 256 }, (_, i) => i));
  const narrow = lutOf([-600, -300], LUNG);
  for (let code = 0; code < 256; code++) {
    const value = valueOf(code, LUNG);
    const place = Math.min(1, Math.max(0, (value + 600) / 300));
    assert.ok(Math.abs(narrow[code]! - place * 255) <= 0.5 + 1e-9);
  }
  // what is beyond the stored window is never white: it is not known
  assert.ok(lutOf([-125, 225], LUNG)[255]! < 255);
});

test("values say what the store cannot tell", () => {
  assert.equal(valueText(0, LUNG), "≤ −1350 HU");
  assert.equal(valueText(255, LUNG), "≥ 150 HU");
  assert.equal(valueText(128, LUNG), "≈ −597 HU");
  assert.equal(valueText(128, GREY), "grey 128");
  assert.equal(valueText(255, { window: [0, 1], units: "" }), "≥ 1");
  assert.equal(storedText(LUNG), "stored window −1350..150 HU");
  assert.equal(storedText(GREY), "stored greys 0 to 255");
});

test("a drag to the right widens, upwards raises the level, and there is always a window", () => {
  const from: [number, number] = [-1000, 0];
  near(widthOf(dragged(from, 40, 0, LUNG)), 1000 + 150);
  near(levelOf(dragged(from, 0, -40, LUNG)), -500 + 150);
  assert.deepEqual(dragged(from, 0, 0, LUNG), from);
  const thin = dragged(from, -1e6, 1e6, LUNG);
  near(widthOf(thin), 1500 / 255);
  near(levelOf(thin), -1350);
  near(widthOf(windowOf(0, -5, LUNG)), 1500 / 255);
});

test("what is no window is none, and presets are known by their ends", () => {
  for (const value of [null, [], [1], [2, 1], [1, 1], ["a", 2], [NaN, 1], [0, Infinity], "lung"]) {
    assert.equal(readWindow(value), null);
  }
  const presets = [{ name: "brain", low: 0, high: 80 }];
  assert.equal(presetOf([-1350, 150], presets, LUNG), "");
  assert.equal(presetOf([0, 80], presets, LUNG), "brain");
  assert.equal(presetOf([0, 81], presets, LUNG), "own");
});

// -- loading ---------------------------------------------------------------------------------------
const INFO = {
  version: 3, name: "tile 3", rows: [3], stacked: false, shape: [4, 5, 6], step: [1, 1, 1], colour: false,
  chunks: 5, chunk: 25, spacing: [5, 1, 1], mm: true, window: [-1350, 150], units: "HU", presets: [],
  planes: PLANES.map(({ axis: _, ...plane }) => plane), note: "",
};

function modelOf(traits: Record<string, unknown>): Model {
  return { get: (key: string) => traits[key] } as unknown as Model;
}

function loaderOf(info = INFO): { loader: Loader; asked: number[]; answer: (index: number, more?: object, length?: number) => void } {
  const asked: number[] = [];
  const loader = new Loader((_, index) => asked.push(index), () => undefined);
  const answer = (index: number, more: object = {}, length = Math.min(25, 120 - 25 * index)): void =>
    loader.take(
      { kind: "chunk", version: info.version, index, ...more },
      [new DataView(Uint8Array.from({ length }, (_, i) => (25 * index + i) % 251).buffer)],
    );
  return { loader, asked, answer };
}

test("parts near the slice that is looked at come first, few at a time", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { loader, asked, answer } = loaderOf();
  loader.show(readVolume(modelOf({ _volume: INFO })), [2, 0, 0]);
  assert.deepEqual(asked, [2, 3]); // slice 2 begins at byte 60
  assert.equal(asked.length, REQUESTS);
  answer(2);
  answer(3);
  assert.deepEqual(asked, [2, 3, 1, 4]);
  assert.deepEqual([0, 1, 2, 3].map((s) => loader.voxels!.ready(s)), [false, false, true, false]);
  for (const index of [1, 4, 0]) answer(index);
  assert.equal(loader.done, 1);
  assert.deepEqual([...loader.voxels!.data], Array.from({ length: 120 }, (_, i) => i % 251));
  assert.ok([0, 1, 2, 3].every((s) => loader.voxels!.ready(s)));
  loader.show(readVolume(modelOf({ _volume: INFO })), [0, 0, 0]);
  assert.equal(asked.length, 5); // the same volume is not fetched again
});

test("wrong, late and failed answers draw nothing", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { loader, asked, answer } = loaderOf();
  loader.show(readVolume(modelOf({ _volume: INFO })), [0, 0, 0]);
  answer(0, { version: 2 });
  answer(7);
  loader.take({ kind: "chunk" }, []);
  assert.equal(loader.done, 0);
  answer(0, {}, 24);
  answer(1, { failed: true }, 0);
  assert.ok(!loader.voxels!.ready(0));
  near(Number(loader.done), 0.4);
  assert.ok(!asked.slice(2).includes(0)); // what cannot be had is not asked for again
});

test("a part that is lost on the way is asked for again", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { loader, asked, answer } = loaderOf();
  loader.show(readVolume(modelOf({ _volume: INFO })), [0, 0, 0]);
  answer(0);
  t.mock.timers.tick(PATIENCE_MS + 1);
  assert.ok(asked.filter((index) => index === 1).length === 2);
  loader.stop();
});

// -- state -------------------------------------------------------------------------------------------
test("half a message is no volume and no map", () => {
  assert.equal(readVolume(modelOf({})), null);
  assert.equal(readVolume(modelOf({ _volume: { version: 1, shape: [1, 2, 3] } })), null);
  const volume = readVolume(modelOf({ _volume: INFO }))!;
  assert.deepEqual(volume.planes.map((plane) => plane.axis), [0, 1, 2]);
  const info = { version: 3, encoding: "uint8", factor: 1, shape: [1, 1, 2], low: 0, high: 254, signed: false };
  const bytes = (length: number): DataView => new DataView(new Uint8Array(length).fill(9).buffer);
  const map = readMap(modelOf({ _map: bytes(2), _map_info: info }), volume)!;
  assert.deepEqual([...map.grid.values], [9, 9]);
  assert.equal(readMap(modelOf({ _map: bytes(1), _map_info: info }), volume), null);
  assert.equal(readMap(modelOf({ _map: bytes(2), _map_info: { ...info, version: 2 } }), volume), null);
  assert.equal(readMap(modelOf({ _map: bytes(0), _map_info: { reason: "x" } }), volume), null);
});

test("what was kept is used where it fits", () => {
  const volume = readVolume(modelOf({ _volume: INFO }))!;
  assert.deepEqual(readAt(modelOf({ _at: [] }), volume), [2, 2, 3]);
  assert.deepEqual(readAt(modelOf({ _at: [99, 1, -4] }), volume), [3, 1, 0]);
  assert.deepEqual(readAt(modelOf({ _at: ["a", 1, 2] }), volume), [2, 2, 3]);
  assert.deepEqual(windowNow(modelOf({ _window: [] }), volume), [-1350, 150]);
  assert.deepEqual(windowNow(modelOf({ _window: [-1, 1] }), volume), [-1, 1]);
});

test("a stack lacks the slices without a row", () => {
  const volume = readVolume(modelOf({ _volume: { ...INFO, stacked: true, rows: [4, -1, 2, 0] } }))!;
  assert.deepEqual([0, 1, 2, 3].map((s) => volume.lacks(s)), [false, true, false, false]);
  assert.ok(!readVolume(modelOf({ _volume: INFO }))!.lacks(1));
});

// -- keys --------------------------------------------------------------------------------------------
const key = (name: string, more: object = {}) => ({ key: name, ctrlKey: false, metaKey: false, shiftKey: false, altKey: false, ...more });

test("keys move through slices, the crosshair, planes and volumes", () => {
  assert.deepEqual(actionOf(key("ArrowUp")), { do: "slice", by: 1 });
  assert.deepEqual(actionOf(key("PageDown")), { do: "slice", by: -10 });
  assert.deepEqual(actionOf(key("End")), { do: "end", last: true });
  assert.deepEqual(actionOf(key("ArrowLeft", { shiftKey: true })), { do: "move", across: -1, down: 0 });
  assert.deepEqual(actionOf(key("2")), { do: "large", axis: 1 });
  assert.deepEqual(actionOf(key("k")), { do: "command", name: "concept" });
  assert.deepEqual(actionOf(key("K", { shiftKey: true })), { do: "command", name: "more" });
  assert.deepEqual(actionOf(key("N")), { do: "volume", by: 1 });
  assert.deepEqual(actionOf(key("z", { ctrlKey: true, shiftKey: true })), { do: "command", name: "redo" });
  for (const left of [key("s", { ctrlKey: true }), key("x"), key("m", { altKey: true }), key("toString")]) {
    assert.equal(actionOf(left), null);
  }
});

test("buttons and keys held go before the tool", () => {
  const press = (button: number, more: object = {}) => ({ button, shiftKey: false, altKey: false, ...more });
  assert.equal(dragOf(press(0), "cross", false), "cross");
  assert.equal(dragOf(press(2), "cross", false), "window");
  assert.equal(dragOf(press(0), "pan", true), "window");
  assert.equal(dragOf(press(1), "cross", false), "pan");
  assert.equal(dragOf(press(0, { shiftKey: true }), "window", false), "pan");
  assert.equal(dragOf(press(0, { altKey: true }), "cross", false), "brush");
  assert.equal(dragOf(press(0, { shiftKey: true }), "brush", false), "brush");
  assert.equal(dragOf(press(3), "cross", false), null);
});
