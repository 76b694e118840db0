import assert from "node:assert/strict";
import { test } from "node:test";

import { barTitle } from "../src/maps/bar.ts";
import { inBox } from "../src/maps/box.ts";
import * as grid from "../src/maps/grid.ts";
import { isOurs } from "../src/maps/keys.ts";
import { corner, fitting, layout, step, tileAt } from "../src/maps/layout.ts";
import { DIVERGING, lut, paletteName, SEQUENTIAL } from "../src/maps/luts.ts";
import { BELOW, mapWeight, paint, type Look } from "../src/maps/paint.ts";
import { readContent } from "../src/maps/state.ts";
import type { Model } from "../src/shared/model.ts";

const look: Look = { mode: "overlay", opacity: 0.5, threshold: 0, smooth: true, signed: false };

function grids(values: number[], height: number, width: number, depth = 1): grid.Grids {
  const count = values.length / (height * width * depth);
  return { values: Float32Array.from(values), count, depth, height, width };
}

/** Bilinear upsampling the long way: weights of every cell, as a tent around its centre. */
function tent(g: grid.Grids, tile: number, u: number, v: number): number {
  const hat = (n: number, t: number): number[] => {
    const x = Math.min(Math.max(t * n - 0.5, 0), n - 1);
    return Array.from({ length: n }, (_, i) => Math.max(0, 1 - Math.abs(x - i)));
  };
  const across = hat(g.width, u);
  const down = hat(g.height, v);
  let sum = 0;
  for (let y = 0; y < g.height; y++)
    for (let x = 0; x < g.width; x++)
      sum += across[x] * down[y] * g.values[(tile * g.height + y) * g.width + x];
  return sum;
}

test("half-precision numbers decode to what IEEE 754 says", () => {
  const cases: [number, number][] = [
    [0x0000, 0], [0x3c00, 1], [0xc000, -2], [0x7bff, 65504], [0x0001, 2 ** -24],
    [0x0400, 2 ** -14], [0x3555, 0.333251953125], [0x7c00, Infinity], [0xfc00, -Infinity],
  ];
  for (const [bits, value] of cases) assert.equal(grid.half(bits), value);
  assert.ok(Number.isNaN(grid.half(0x7e01)));
});

test("grids of the wrong length are refused, not read askew", () => {
  const scale = { low: 0, high: 1 };
  assert.equal(grid.decodeGrids(new Uint8Array(7), "float16", [2, 2], 1, scale), null);
  assert.equal(grid.decodeGrids(new Uint8Array(5), "uint8", [2, 2], 1, scale), null);
  assert.equal(grid.decodeGrids(new Uint8Array(4), "zip", [2, 2], 1, scale), null);
  assert.equal(grid.decodeGrids(new Uint8Array(0), "uint8", [2, 2], 0, scale), null);
  const g = grid.decodeGrids(Uint8Array.of(0, 127, 254, 255), "uint8", [2, 2], 1, { low: -1, high: 3 });
  assert.deepEqual(Array.from(g!.values), [-1, 1, 3, NaN]);
});

test("bilinear reading equals a sum of tents (half-pixel convention)", () => {
  const g = grids([0, 1, 2, 7, 5, 3, -4, 2, 9, 8, 1, 0], 3, 4);
  for (let i = 0; i <= 40; i++)
    for (let j = 0; j <= 40; j++)
      assert.ok(Math.abs(grid.sample(g, 0, 0, i / 40, j / 40) - tent(g, 0, i / 40, j / 40)) < 1e-5);
});

test("the centre of a cell has exactly the value of the cell, smooth or not", () => {
  const g = grids([0, 1, 2, 7, 5, 3], 2, 3);
  for (let y = 0; y < 2; y++)
    for (let x = 0; x < 3; x++)
      assert.equal(grid.sample(g, 0, 0, (x + 0.5) / 3, (y + 0.5) / 2), g.values[y * 3 + x]);
});

test("slices of a volume are read apart and clamped", () => {
  const g = grids([1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4], 2, 2, 2);
  assert.equal(grid.sample(g, 0, 1, 0.5, 0.5), 2);
  assert.equal(grid.sample(g, 1, 0, 0.5, 0.5), 3);
  assert.equal(grid.sample(g, 1, 99, 0.1, 0.9), 4);
});

test("a signed scale is symmetric around zero and a constant map has no extent", () => {
  const g = grids([-1, 0, 3, 2, NaN, 5, 5, 5], 2, 2);
  assert.deepEqual(grid.tileScale(g, 0, true), { low: -3, high: 3 });
  assert.deepEqual(grid.tileScale(g, 1, false), { low: 0, high: 5 });
  assert.equal(grid.position(7, { low: 7, high: 7 }, false), 0);
  assert.equal(grid.position(0, { low: 0, high: 0 }, true), 0.5);
  assert.equal(grid.position(NaN, { low: 0, high: 1 }, true), 0.5);
  assert.equal(grid.strength(0.25, true), 0.5);
});

test("the outline of cells is closed: every corner is met an even number of times", () => {
  const cells = [0, 1, 2, 4, 6, 9, 10, 15];
  const met = new Map<string, number>();
  for (const [x0, y0, x1, y1] of grid.outline(cells, 4))
    for (const key of [`${x0},${y0}`, `${x1},${y1}`]) met.set(key, (met.get(key) ?? 0) + 1);
  for (const times of met.values()) assert.equal(times % 2, 0);
  assert.equal(grid.outline([5], 4).length, 4);
  assert.equal(grid.outline([5, 6], 4).length, 6);
  assert.equal(grid.outline([3, 4], 4).length, 8, "end and start of two rows do not touch");
});

test("a fast drag leaves no hole", () => {
  const cells = grid.cellsBetween([0.5, 0.5], [6.5, 3.5], 7, 7);
  for (let i = 1; i < cells.length; i++) {
    const [a, b] = [cells[i - 1], cells[i]];
    assert.ok(Math.abs((a % 7) - (b % 7)) <= 1);
    assert.ok(Math.abs(Math.floor(a / 7) - Math.floor(b / 7)) <= 1);
  }
  assert.deepEqual(grid.cellsBetween([-9, -9], [-5, -5], 7, 7), []);
});

test("tiles are found where they are drawn, gaps are not", () => {
  for (const count of [1, 5, 64]) {
    const l = layout(count, 500, 96);
    for (let i = 0; i < count; i++) {
      const [x, y] = corner(l, i);
      assert.equal(tileAt(l, count, x + 48, y + 1)?.index, i);
      assert.equal(tileAt(l, count, x + l.tile + 1, y + 1), null);
      assert.ok(x + l.tile <= l.width && y + l.tile <= l.height);
    }
  }
  assert.equal(tileAt(layout(3, 500, 96), 3, 490, 10), null);
  assert.ok(layout(4, 60, 96).tile <= 60, "a narrow cell of a notebook still shows one column");
});

test("a fitting size shows every tile, and a larger one would not", () => {
  for (const count of [1, 7, 30, 64])
    for (const width of [300, 460, 860, 1600]) {
      const size = fitting(count, width, 560);
      if (size > 40) assert.ok(layout(count, width, size).height <= 560);
      if (size < 190) assert.ok(layout(count, width, size + 2).height > 560);
    }
});

test("arrow keys move by a tile and stop at the ends", () => {
  const l = layout(10, 320, 96);
  assert.equal(l.columns, 3);
  assert.equal(step(l, 10, 0, "ArrowDown"), 3);
  assert.equal(step(l, 10, 8, "ArrowDown"), 8);
  assert.equal(step(l, 10, 4, "Home"), 0);
  assert.equal(step(l, 10, 4, "End"), 9);
  assert.equal(step(l, 10, 4, "x"), 4);
});

test("palettes have 256 opaque colours and the diverging one is lightest at zero", () => {
  for (const name of [...SEQUENTIAL, ...DIVERGING]) {
    const table = lut(name);
    assert.equal(table.length, 1024);
    for (let i = 3; i < 1024; i += 4) assert.equal(table[i], 255);
  }
  const table = lut("RdBu_r");
  const light = (i: number): number => table[i * 4] + table[i * 4 + 1] + table[i * 4 + 2];
  assert.ok(light(127) > 720 && light(0) < 220 && light(255) < 220);
  assert.equal(paletteName("jet", false), "viridis");
  assert.equal(paletteName("magma", true), "RdBu_r", "a signed map is never shown on a one-sided scale");
});

test("mode, opacity and threshold weigh the map", () => {
  assert.equal(mapWeight({ ...look, mode: "tile" }, 1), 0);
  assert.equal(mapWeight(look, 0), 0.5, "no threshold: the map is drawn everywhere");
  assert.equal(mapWeight({ ...look, threshold: 0.4 }, 0.39), 0);
  assert.equal(mapWeight({ ...look, threshold: 0.4, mode: "map" }, 0.41), 1);
  assert.equal(mapWeight({ ...look, threshold: 0.5, signed: true }, 0.1), 0.5, "strong and negative");
  assert.equal(mapWeight({ ...look, threshold: 0.5, signed: true }, 0.5), 0);
});

test("a picture that is not square keeps its map inside, a missing value leaves the tile", () => {
  const side = 10;
  const fresh = (): Uint8ClampedArray => new Uint8ClampedArray(side * side * 4).fill(9);
  const scale = { low: 0, high: 1 };
  const full = { ...look, opacity: 1 };
  const pixels = fresh();
  const box = { left: 0, top: 0.25, width: 1, height: 0.5 };
  paint(pixels, side, grids([1, 1, 1, 1], 2, 2), 0, 0, scale, full, lut("viridis"), box);
  assert.equal(pixels[0], 9);
  assert.notEqual(pixels[5 * side * 4], 9);
  const missing = fresh();
  paint(missing, side, grids([NaN, NaN, NaN, NaN], 2, 2), 0, 0, scale, full, lut("viridis"));
  assert.ok(missing.every((value) => value === 9));
  assert.deepEqual(inBox(box, 0.5, 0.5), [0.5, 0.5]);
  assert.equal(inBox(box, 0.5, 0.8), null);
});

test("painting keeps the tile where opacity is 0 and shows the palette in map mode", () => {
  const g = grids([0, 1, 0, 1], 2, 2);
  const side = 8;
  const tile = (): Uint8ClampedArray => new Uint8ClampedArray(side * side * 4).fill(200);
  const table = lut("viridis");
  const scale = { low: 0, high: 1 };
  const same = tile();
  paint(same, side, g, 0, 0, scale, { ...look, opacity: 0 }, table);
  assert.ok(same.every((value, i) => value === (i % 4 === 3 ? 255 : 200)));
  const map = tile();
  paint(map, side, g, 0, 0, scale, { ...look, mode: "map", smooth: false }, table);
  assert.deepEqual([...map.subarray(0, 3)], [...table.subarray(0, 3)]);
  assert.deepEqual([...map.subarray((side - 1) * 4, (side - 1) * 4 + 3)], [...table.subarray(1020, 1023)]);
  const cut = tile();
  paint(cut, side, g, 0, 0, scale, { ...look, mode: "map", smooth: false, threshold: 0.5 }, table);
  assert.equal(cut[0], BELOW);
});

test("maps that better ones will replace are announced as a first look", () => {
  const read = (status?: string) =>
    readContent({
      get: (name: string) => (name === "_maps_info" ? { title: "CLAM: a against b", status } : null),
    } as unknown as Model);
  assert.equal(read("coarse").coarse, true);
  assert.equal(read("final").coarse, false);
  assert.equal(read().coarse, false, "a kernel that says nothing has no better ones");
  assert.match(barTitle(read("coarse"), false), /CLAM: a against b .*first look/);
  assert.equal(barTitle(read("final"), false), "CLAM: a against b");
  assert.match(barTitle({ title: "t", unit: "u", coarse: false }, true), /^t \(u\) each tile on its own scale$/);
});

test("keys of lists, sliders and tiles are kept from the notebook, others reach it", () => {
  const press = (key: string, ctrlKey = false) => ({ key, ctrlKey, metaKey: false });
  for (const key of ["ArrowDown", "Home", "d", " ", "Enter"]) {
    assert.ok(isOurs("SELECT", press(key)), key);
    assert.ok(isOurs("INPUT", press(key)), key);
  }
  for (const key of ["ArrowLeft", "Enter", " ", "Escape", "m", "k", "K"]) assert.ok(isOurs("CANVAS", press(key)), key);
  for (const key of ["Tab", "Escape"]) assert.ok(!isOurs("SELECT", press(key)), key);
  assert.ok(!isOurs("CANVAS", press("d")));
  assert.ok(isOurs("BUTTON", press("Enter")) && !isOurs("BUTTON", press("ArrowDown")));
  for (const tag of ["SELECT", "CANVAS", "BUTTON"]) assert.ok(!isOurs(tag, press("s", true)), "Ctrl+S saves");
  assert.ok(!isOurs("DIV", press("Enter")));
});
