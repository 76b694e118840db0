import assert from "node:assert/strict";
import { test } from "node:test";

import { Recent } from "../src/gallery/cache.ts";
import { layout, place, reveal, step, visible } from "../src/gallery/layout.ts";
import { all, click, keep, NONE } from "../src/gallery/picks.ts";
import { rgba, sheetSize, tileOrigin } from "../src/shared/sheet.ts";

const plain = { ctrl: false, shift: false };
const ctrl = { ctrl: true, shift: false };
const shift = { ctrl: false, shift: true };

test("every cell that meets the viewport is among the visible", () => {
  for (const count of [0, 1, 17, 1000]) {
    for (const size of [40, 96]) {
      const l = layout(count, 500, size);
      for (let scroll = 0; scroll < l.height; scroll += 37) {
        const [from, to] = visible(l, count, scroll, 300, 0);
        for (let i = 0; i < count; i++) {
          const [, y] = place(l, i);
          if (y < scroll + 300 && y + size > scroll) assert.ok(i >= from && i < to);
        }
        assert.ok(to - from <= l.columns * (Math.ceil(300 / l.pitch) + 1));
      }
    }
  }
});

test("keys lead to neighbours and stop at the ends", () => {
  const l = layout(10, 200, 44); // 4 columns
  assert.equal(l.columns, 4);
  assert.equal(step(l, 10, 1, "ArrowDown"), 5);
  assert.equal(step(l, 10, 7, "ArrowDown"), 7);
  assert.equal(step(l, 10, 9, "PageUp"), 1);
  assert.equal(step(l, 10, 1, "PageDown"), 9);
  assert.equal(step(l, 10, 3, "End"), 9);
  assert.equal(step(l, 0, 0, "End"), 0);
});

test("revealing moves the least", () => {
  const l = layout(100, 200, 44);
  assert.equal(reveal(l, 0, 120, 200), 0);
  assert.equal(reveal(l, 8, 60, 300), 60);
  const down = reveal(l, 99, 0, 200);
  assert.ok(place(l, 99)[1] + 44 <= down + 200);
});

test("click, Ctrl-click and Shift-click pick as lists do", () => {
  const order = [30, 10, 20, 50, 40];
  let picks = click(NONE, order, 1, plain);
  assert.deepEqual([...picks.rows], [10]);
  picks = click(picks, order, 3, shift);
  assert.deepEqual([...picks.rows], [10, 20, 50]);
  picks = click(picks, order, 2, ctrl);
  assert.deepEqual([...picks.rows], [10, 50]);
  picks = click(picks, order, 0, shift);
  assert.deepEqual([...picks.rows], [30, 10, 20], "Shift extends from the last one touched");
  picks = click(picks, order, 4, plain);
  assert.deepEqual([...picks.rows], [40]);
  assert.equal(click(picks, order, 4, plain).rows.size, 0);
  assert.equal(click(picks, order, 9, plain), picks);
  assert.equal(all(order).rows.size, 5);
  assert.deepEqual([...keep(all(order), [10, 99]).rows], [10]);
});

test("the cache forgets what was used longest ago and frees it", () => {
  const gone: number[] = [];
  const cache = new Recent<number>(2, (value) => gone.push(value));
  cache.set("a", 1);
  cache.set("b", 2);
  cache.get("a");
  cache.set("c", 3);
  assert.deepEqual(gone, [2]);
  assert.ok(cache.has("a") && !cache.has("b"));
  cache.set("a", 9);
  assert.deepEqual(gone, [2, 1]);
  cache.clear();
  assert.equal(cache.size, 0);
});

test("sheets place their tiles row by row", () => {
  const info = { mime: "raw/rgb", tile: 16, columns: 4, count: 10 };
  assert.deepEqual(sheetSize(info), [64, 48]);
  assert.deepEqual(tileOrigin(info, 6), [32, 16]);
  assert.equal(rgba(new Uint8Array(7), 2), null);
  assert.deepEqual([...rgba(Uint8Array.of(1, 2, 3), 1)!], [1, 2, 3, 255]);
});
