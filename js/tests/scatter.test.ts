import assert from "node:assert/strict";
import { test } from "node:test";
import { MOST_VERTICES, type Bounds, type Point } from "../src/shared/codec.ts";
import { rgb, table, VIRIDIS } from "../src/shared/colormaps.ts";
import { inside, simplify, sweep } from "../src/shared/geometry.ts";
import { CATEGORICAL } from "../src/shared/palette.ts";
import { lightness, parseColour } from "../src/shared/theme.ts";
import { codesToClip, fit, pan, toData, toPixel, zoom } from "../src/scatter/camera.ts";
import { lookup, paletteRgb } from "../src/scatter/colour.ts";
import { buildGrid, crowd, look, nearest, spread } from "../src/scatter/grid.ts";
import { actionOf, belongsToControl, modeOf } from "../src/scatter/keys.ts";
import { shortNumber } from "../src/scatter/legend.ts";

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

const BOX: Bounds = [-3, 10, 5, 12];
const SIZE = { width: 640, height: 400 };

test("the fitted camera shows the whole box, with one scale for both axes", () => {
  const camera = fit(BOX, SIZE);
  for (const corner of [[BOX[0], BOX[1]], [BOX[2], BOX[3]]] as Point[]) {
    const [x, y] = toPixel(camera, SIZE, corner);
    assert.ok(x >= 0 && x <= SIZE.width && y >= 0 && y <= SIZE.height);
  }
  const one = toPixel(camera, SIZE, [1, 11]);
  const [rightX] = toPixel(camera, SIZE, [2, 11]);
  const [, upY] = toPixel(camera, SIZE, [1, 12]);
  near(rightX - one[0], one[1] - upY);
});

test("pixel and data coordinates are each other's inverse", () => {
  const random = numbers(1);
  for (let i = 0; i < 50; i++) {
    const camera = { x: random() * 10 - 5, y: random() * 10, scale: 0.01 + random() * 1000 };
    const at: Point = [random() * 640, random() * 400];
    const [x, y] = toPixel(camera, SIZE, toData(camera, SIZE, at));
    near(x, at[0], 1e-6);
    near(y, at[1], 1e-6);
  }
});

test("zooming keeps the place under the cursor, panning carries it along", () => {
  const home = fit(BOX, SIZE);
  const at: Point = [123, 345];
  const before = toData(home, SIZE, at);
  const [x, y] = toPixel(zoom(home, SIZE, at, 3.7, home), SIZE, before);
  near(x, at[0], 1e-6);
  near(y, at[1], 1e-6);
  const moved = toPixel(pan(home, 20, -7), SIZE, before);
  near(moved[0], at[0] + 20, 1e-6);
  near(moved[1], at[1] - 7, 1e-6);
});

test("zoom stops before the numbers do", () => {
  const home = fit(BOX, SIZE);
  let camera = home;
  for (let i = 0; i < 500; i++) camera = zoom(camera, SIZE, [0, 0], 10, home);
  assert.ok(camera.scale <= home.scale * 20_000);
  for (let i = 0; i < 500; i++) camera = zoom(camera, SIZE, [0, 0], 0.1, home);
  assert.ok(camera.scale >= home.scale / 4);
});

test("codes reach clip space where pixels say", () => {
  const camera = zoom(fit(BOX, SIZE), SIZE, [50, 60], 2, fit(BOX, SIZE));
  const { scale, offset } = codesToClip(camera, SIZE, BOX);
  for (const code of [0, 12345, 65534]) {
    const x = BOX[0] + ((BOX[2] - BOX[0]) * code) / 65534;
    const [px] = toPixel(camera, SIZE, [x, 11]);
    near(((code * scale[0] + offset[0] + 1) / 2) * SIZE.width, px, 1e-6);
  }
});

function cloud(count: number, seed: number): Uint16Array {
  const random = numbers(seed);
  return Uint16Array.from({ length: count * 2 }, () => Math.floor(random() * 65535));
}

test("the nearest point of the grid is that of an exhaustive search", () => {
  const positions = cloud(2000, 7);
  positions[10] = positions[11] = 65535; // one without a position
  const grid = buildGrid(positions);
  const random = numbers(8);
  for (let i = 0; i < 200; i++) {
    const [x, y] = [random() * 65535, random() * 65535];
    const [rx, ry] = [200 + random() * 3000, 200 + random() * 3000];
    let best = 1;
    let expected = -1;
    for (let p = 0; p < 2000; p++) {
      if (positions[2 * p] === 65535) continue;
      const d = ((positions[2 * p]! - x) / rx) ** 2 + ((positions[2 * p + 1]! - y) / ry) ** 2;
      if (d < best || (d === best && p > expected)) [best, expected] = [d, p];
    }
    assert.equal(nearest(grid, x, y, rx, ry), expected);
  }
  assert.equal(nearest(buildGrid(new Uint16Array(0)), 5, 5, 100, 100), -1);
});

test("the whole window holds every point, one beside it none", () => {
  const grid = buildGrid(cloud(500, 3));
  assert.equal(crowd(grid, -1000, -1000, 70000, 70000).points, 500);
  assert.deepEqual(crowd(grid, 70000, 0, 80000, 100), { points: 0, occupied: 0 });
});

test("more points on the same paper are smaller, clearer and overlap more", () => {
  let last = look(10, 200_000, 1);
  for (const points of [100, 1000, 10_000, 100_000, 1_000_000]) {
    const now = look(points, 200_000, 1);
    assert.ok(now.size <= last.size && now.alpha <= last.alpha && now.overlap >= last.overlap);
    last = now;
  }
  assert.ok(last.size >= 1 && last.alpha > 0);
});

test("a sample takes no point twice and every part of the plane", () => {
  const positions = cloud(5000, 4);
  const rows = spread(buildGrid(positions), 500);
  assert.equal(new Set(rows).size, 500);
  const quadrant = (i: number): number =>
    (positions[2 * i]! > 32767 ? 1 : 0) + (positions[2 * i + 1]! > 32767 ? 2 : 0);
  for (const q of [0, 1, 2, 3]) {
    const share = [...rows].filter((i) => quadrant(i) === q).length / 500;
    assert.ok(share > 0.2 && share < 0.3);
  }
  assert.equal(spread(buildGrid(cloud(30, 1)), 500).length, 30);
});

test("a simplified lasso has few vertices and decides the same points", () => {
  const path: Point[] = [];
  for (let i = 0; i < 600; i++) {
    const angle = (i / 600) * 2 * Math.PI;
    const radius = 150 + 30 * Math.sin(5 * angle);
    path.push([320 + radius * Math.cos(angle), 200 + radius * Math.sin(angle)]);
  }
  const thin = simplify(path, 0.5, MOST_VERTICES);
  assert.ok(thin.length <= MOST_VERTICES);
  const random = numbers(5);
  let wrong = 0;
  for (let i = 0; i < 5000; i++) {
    const [x, y] = [random() * 640, random() * 400];
    if (inside(path, x, y) !== inside(thin, x, y)) wrong++;
  }
  assert.ok(wrong <= 15, `${wrong} of 5000 within half a pixel of the line`);
});

test("a noisy scribble still ends below the cap", () => {
  const random = numbers(6);
  const path: Point[] = Array.from({ length: 3000 }, () => [random() * 600, random() * 400]);
  const thin = simplify(path, 0.5, MOST_VERTICES);
  assert.ok(thin.length <= MOST_VERTICES && thin.length >= 2);
  assert.equal(sweep([[0, 0], [5, 5], [9, 9]]), 0);
  assert.ok(sweep([[0, 0], [9, 9], [9, 0], [0, 9]]) > 1, "a figure eight is no line");
});

test("keys mean what the help says, and leave the page its own", () => {
  const key = (name: string, held: Partial<Record<"ctrlKey" | "metaKey" | "shiftKey" | "altKey", boolean>> = {}) =>
    actionOf({ key: name, ctrlKey: false, metaKey: false, shiftKey: false, altKey: false, ...held });
  assert.deepEqual(key("l"), { do: "tool", tool: "lasso" });
  assert.deepEqual(key("L", { shiftKey: true }), { do: "tool", tool: "lasso" });
  assert.deepEqual(key("k"), { do: "command", name: "concept" });
  assert.deepEqual(key("Escape"), { do: "command", name: "clear" });
  assert.deepEqual(key("z", { ctrlKey: true }), { do: "command", name: "undo" });
  assert.deepEqual(key("Z", { ctrlKey: true, shiftKey: true }), { do: "command", name: "redo" });
  assert.deepEqual(key("z", { metaKey: true }), { do: "command", name: "undo" });
  for (const left of ["s", "c", "a", "k"]) assert.equal(key(left, { ctrlKey: true }), null);
  for (const left of ["x", "Enter", "Tab", "constructor"]) assert.equal(key(left), null);
});

test("a focused control keeps the keys it needs", () => {
  assert.ok(belongsToControl("SELECT", "a"));
  assert.ok(belongsToControl("BUTTON", "Enter") && belongsToControl("BUTTON", " "));
  assert.ok(!belongsToControl("BUTTON", "Escape") && !belongsToControl("DIV", " "));
});

test("a held key goes before the toolbar", () => {
  assert.equal(modeOf({ shiftKey: false, altKey: false }, "subtract"), "subtract");
  assert.equal(modeOf({ shiftKey: true, altKey: false }, "subtract"), "add");
  assert.equal(modeOf({ shiftKey: false, altKey: true }, "add"), "subtract");
  assert.equal(modeOf({ shiftKey: true, altKey: true }, "replace"), "intersect");
});

test("colours by code: categories, numbers, none", () => {
  const items = [{ name: "a", colour: 2, count: 1 }];
  const categories = lookup({ by: "cluster", missing: 0, kind: "categories", items }, "light");
  assert.deepEqual([...categories.slice(0, 3)], rgb(CATEGORICAL[2]!));
  assert.deepEqual([...categories.slice(1020, 1023)], paletteRgb(255, "light"));
  const bar = lookup({ by: "x", missing: 0, kind: "numbers", low: 0, high: 1 }, "light");
  assert.deepEqual([...bar.slice(0, 3)], [0x44, 0x01, 0x54]);
  assert.deepEqual([...bar.slice(254 * 4, 254 * 4 + 3)], [0xfd, 0xe7, 0x25]);
  assert.equal(table(VIRIDIS).length, 1024);
});

test("no colour of the palette sinks into a dark page", () => {
  CATEGORICAL.forEach((_, i) => assert.ok(lightness(...paletteRgb(i, "dark")) >= 0.37));
});

test("computed colours are read, others are not guessed", () => {
  assert.deepEqual(parseColour("rgb(1, 2, 3)"), [1, 2, 3, 1]);
  assert.deepEqual(parseColour("rgba(1, 2, 3, 0)"), [1, 2, 3, 0]);
  assert.deepEqual(parseColour("rgb(1 2 3 / 50%)"), [1, 2, 3, 0.5]);
  assert.equal(parseColour("color(srgb 1 1 1)"), null);
});

test("numbers on the bar are short", () => {
  assert.equal(shortNumber(0), "0");
  assert.equal(shortNumber(1234.5678), "1235");
  assert.equal(shortNumber(0.000012), "1.2e-5");
});
