/** The map viewer: many tiles and their maps at once, with one scale, and a brush that selects. */

import { bytesOf } from "../shared/codec.ts";
import { node, ownKeys, perFrame } from "../shared/dom.ts";
import { onChange, onMessage, save, send, type Mode as Join, type RenderProps } from "../shared/model.ts";
import { decodeSheet, release, type Picture } from "../shared/sheet.ts";
import { drawn, frame } from "../shared/view.ts";
import { ColourBar } from "./bar.ts";
import { inBox } from "./box.ts";
import { controls } from "./controls.ts";
import { cellAt, cellsBetween, sliceStart } from "./grid.ts";
import { isOurs } from "./keys.ts";
import { corner, fitting, layout, step, tileAt, type Layout } from "./layout.ts";
import css from "./maps.css";
import { drawMarks, type Hover } from "./marks.ts";
import { scalesOf, TilePicture } from "./picture.ts";
import { CONTENT, LOOK, readContent, readSettings, short, type Content } from "./state.ts";

/** How far a pointer moves before a click becomes a brush stroke, CSS pixels. */
const DRAG_PX = 3;

/** Height that tiles are fitted into where the view may grow, CSS pixels. */
const FIT_HEIGHT = 560;

interface Stroke {
  index: number;
  start: [number, number];
  last: [number, number]; // in cells
  cells: Set<number>;
  moved: boolean;
}

/** Which keys join a brush to the selection, as in the scatter. */
function joinOf(event: { shiftKey: boolean; altKey: boolean }): Join {
  if (event.shiftKey && event.altKey) return "intersect";
  return event.shiftKey ? "add" : event.altKey ? "subtract" : "replace";
}

function render(props: RenderProps): () => void {
  const { model } = props;
  let content: Content = readContent(model);
  let picture: Picture | null = null;
  let pictureOf: unknown = null; // the atlas trait that `picture` shows
  let turn = 0; // only the newest decoding counts
  let l: Layout = layout(0, 600, 96);
  // As the observer saw it: while a page changes its theme, a frame may find it without its sizes,
  // and no change is told when they come back before the frame ends.
  let width = 0;
  let hover: Hover | null = null;
  let stroke: Stroke | null = null;
  let cursor: number | null = null; // cell under the keyboard, flat index in the slice

  const [{ root, signal }, cleanUp] = frame(props, "maps", css, () => redraw());
  const settings = () => {
    const read = readSettings(model, content.signed);
    if (!stroke?.moved) return read;
    return { ...read, brush: { row: content.rows[stroke.index], cells: flat(stroke.cells) } };
  };
  const slice = (): number => content.slice;
  /** Cells of the shown slice as indices into the whole grid. */
  const flat = (cells: Iterable<number>): number[] => {
    const g = content.grids;
    const offset = g ? sliceStart({ ...g, count: 1 }, 0, slice()) : 0;
    return [...cells].map((cell) => cell + offset).sort((a, b) => a - b);
  };

  const bar = new ColourBar();
  const note = node("div", { class: "wk-maps-note" });
  const reason = node("div", { class: "wk-maps-reason", role: "note", hidden: true });
  const empty = node("div", { class: "wk-maps-empty", hidden: true });
  const tiles = node("canvas", { class: "wk-tiles", "aria-hidden": "true" });
  const marks = node("canvas", {
    class: "wk-marks",
    role: "img",
    tabindex: 0,
    "aria-keyshortcuts": "ArrowLeft ArrowRight ArrowUp ArrowDown Enter Space Escape M K Shift+K",
  });
  const stage = node("div", { class: "wk-maps-stage" }, tiles, marks);
  const scroll = node("div", { class: "wk-maps-scroll" }, stage);
  const value = node("span", { "aria-live": "polite" });
  const status = node("div", { class: "wk-status" }, value);
  const tools = controls(model, signal);
  const head = node("div", { class: "wk-maps-head" }, note, bar.element);
  root.append(tools.element, head, reason, empty, scroll, status);

  const painter = new TilePicture(() => redraw(), signal, Boolean(model.get("canvas_only")));
  root.dataset.renderer = painter.renderer;
  const tileContext = tiles.getContext("2d", { willReadFrequently: painter.renderer === "canvas" })!;
  const markContext = marks.getContext("2d")!;

  // -- content -------------------------------------------------------------------------
  const update = async (): Promise<void> => {
    const mine = ++turn;
    const next = readContent(model);
    // New maps never appear over the old tiles: all changes once the tiles are decoded.
    if (next.atlas !== pictureOf) {
      let decoded: Picture | null = null;
      if (next.atlasInfo) {
        try {
          decoded = await decodeSheet(bytesOf(next.atlas), next.atlasInfo);
        } catch (problem) {
          if (mine !== turn || signal.aborted) return;
          // Tried once more without compression before giving up on the pictures.
          if (next.atlasInfo.mime !== "raw/rgb") return send(model, { kind: "raw" });
          save(model, { error: `The tiles could not be decoded: ${String(problem)}` });
        }
      }
      if (mine !== turn || signal.aborted) return release(decoded);
      release(picture);
      picture = decoded;
      pictureOf = next.atlas;
    }
    content = next;
    hover = null;
    cursor = null;
    tools.content(content);
    redraw();
  };

  const words = (): void => {
    const none = content.rows.length === 0;
    empty.hidden = !none;
    scroll.hidden = none;
    empty.textContent = none ? String(model.get("_empty") || "No tiles.") : "";
    note.textContent = String(model.get("_note"));
    reason.hidden = content.reason === "";
    reason.textContent = content.reason;
    marks.setAttribute("aria-label", String(model.get("label")));
  };

  const draw = (): void => {
    const now = settings();
    words();
    bar.show(content, now);
    const room = width - 8;
    if (content.rows.length) {
      if (room <= 0) return; // not on the page, or shown just now: the observer will tell
      const fit = fitting(content.rows.length, room, now.height || FIT_HEIGHT);
      l = layout(content.rows.length, room, now.size < 32 ? fit : now.size);
      const ratio = Math.min(window.devicePixelRatio || 1, 2);
      for (const canvas of [tiles, marks]) {
        canvas.style.width = `${Math.round(l.width * ratio) / ratio}px`;
        canvas.style.height = `${Math.round(l.height * ratio) / ratio}px`;
      }
      stage.style.width = `${l.width}px`;
      stage.style.height = `${l.height}px`;
      scroll.style.maxHeight = now.height > 0 ? `${now.height + 8}px` : "";
      root.dataset.renderer = painter.renderer;
      try {
        if (!painter.draw(tileContext, l, ratio, content, picture, now)) return;
      } catch (problem) {
        save(model, { error: `The maps could not be drawn: ${String(problem)}` });
        return;
      }
      mark();
    }
    drawn(root, "maps", content.revision);
  };
  const redraw = perFrame(draw, signal);

  const mark = (): void => {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    // Ink, not the accent: a coloured frame is a cluster's.
    const ink = getComputedStyle(root).getPropertyValue("--wk-ink").trim() || "#000";
    drawMarks(markContext, l, ratio, content, settings(), hover, ink);
  };

  // -- what is under the pointer -----------------------------------------------------------
  const say = (index: number, cell: number | null): void => {
    const g = content.grids;
    const parts = [content.captions[index] || `tile ${content.rows[index]}`];
    const cluster = content.legend[content.labels[index]]?.name;
    if (cluster) parts.push(cluster);
    let number: number | null = null;
    if (g && cell !== null && index < g.count) {
      number = g.values[sliceStart(g, index, slice()) + cell];
      const at = [Math.floor(cell / g.width), cell % g.width];
      if (g.depth > 1) at.unshift(slice());
      const about = content.exact ? "" : "≈ ";
      const unit = content.unit && Number.isFinite(number) ? ` ${content.unit}` : "";
      parts.push(`${about}${short(number)}${unit} at cell (${at.join(", ")})`);
    }
    value.textContent = parts.join(" · ");
    const scale = scalesOf(content, Boolean(model.get("own_scale")))[index] ?? content.scale;
    bar.point(number, scale, content.signed);
  };
  const unsay = (): void => {
    value.textContent = "";
    bar.point(null, content.scale, content.signed);
  };
  const locate = (event: PointerEvent): ReturnType<typeof tileAt> => {
    const box = marks.getBoundingClientRect();
    // Zoomed pages scale the box: back to the canvas's own pixels.
    const [sx, sy] = [l.width / (box.width || 1), l.height / (box.height || 1)];
    return tileAt(l, content.rows.length, (event.clientX - box.left) * sx, (event.clientY - box.top) * sy);
  };
  const cellOf = (u: number, v: number): number | null => {
    const g = content.grids;
    const inside = inBox(content.box, u, v);
    const at = g && inside && cellAt(g, ...inside);
    return g && at ? at.row * g.width + at.column : null;
  };
  const inCells = (event: PointerEvent, index: number): [number, number] => {
    const g = content.grids!;
    const box = marks.getBoundingClientRect();
    const x = (event.clientX - box.left) * (l.width / (box.width || 1));
    const y = (event.clientY - box.top) * (l.height / (box.height || 1));
    const [left, top] = corner(l, index);
    const { box: part } = content;
    return [
      (((x - left) / l.tile - part.left) / part.width) * g.width,
      (((y - top) / l.tile - part.top) / part.height) * g.height,
    ];
  };

  const finish = (cells: readonly number[], row: number, mode: Join): void => {
    if (!cells.length) return;
    save(model, { brush: { row, cells: [...cells] } });
    send(model, { kind: "alike", row, cells: [...cells], mode });
  };

  const on = <K extends keyof HTMLElementEventMap>(
    name: K,
    listener: (event: HTMLElementEventMap[K]) => void,
  ): void => marks.addEventListener(name, listener, { signal });

  on("pointerdown", (event) => {
    if (event.button !== 0) return;
    const at = locate(event);
    if (!at) return;
    marks.setPointerCapture(event.pointerId);
    const cell = cellOf(at.u, at.v);
    stroke = {
      index: at.index,
      start: [event.clientX, event.clientY],
      last: content.grids ? inCells(event, at.index) : [0, 0],
      cells: new Set(cell === null ? [] : [cell]),
      moved: false,
    };
  });
  on("pointermove", (event) => {
    const at = locate(event);
    if (stroke && content.grids) {
      const far = Math.hypot(event.clientX - stroke.start[0], event.clientY - stroke.start[1]);
      if (far >= DRAG_PX) stroke.moved = true;
      if (stroke.moved) {
        const { width, height } = content.grids;
        const to = inCells(event, stroke.index);
        for (const cell of cellsBetween(stroke.last, to, width, height)) stroke.cells.add(cell);
        stroke.last = to;
      }
    }
    const next = at ? { index: at.index, cell: cellOf(at.u, at.v) } : null;
    if (next) say(next.index, next.cell);
    else unsay();
    if (next?.index !== hover?.index || next?.cell !== hover?.cell || stroke?.moved) {
      hover = next;
      if (content.rows.length) mark();
    }
  });
  on("pointerup", (event) => {
    if (!stroke) return;
    const done = stroke;
    stroke = null;
    const row = content.rows[done.index];
    if (done.moved && content.grids) finish(flat(done.cells), row, joinOf(event));
    else if (row !== undefined) focus(row);
  });
  on("pointercancel", () => {
    stroke = null;
    mark();
  });
  on("pointerleave", () => {
    if (stroke) return;
    hover = null;
    unsay();
    if (content.rows.length) mark();
  });

  // -- keyboard ------------------------------------------------------------------------------
  const focus = (row: number): void => {
    model.set("_focus", row);
    send(model, { kind: "focus", row });
    redraw();
  };
  /** What is brushed shows a concept: a new one, or with Shift the one that was made last. */
  const regionKey = (event: KeyboardEvent): void => {
    const brush = readSettings(model, content.signed).brush;
    if (!brush || event.repeat) return;
    const cells = [...brush.cells];
    send(model, { kind: "region", row: brush.row, cells, more: event.shiftKey });
  };
  const clearBrush = (): void => {
    stroke = null;
    cursor = null;
    hover = null;
    save(model, { brush: {} });
    redraw();
  };
  /** Arrow keys inside a tile: the cell cursor; Space takes a cell, Enter selects. */
  const cellKey = (event: KeyboardEvent, index: number): boolean => {
    const g = content.grids;
    if (!g || cursor === null) return false;
    const [row, column] = [Math.floor(cursor / g.width), cursor % g.width];
    const moves: Record<string, [number, number]> = {
      ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
    };
    const move = moves[event.key];
    const brush = readSettings(model, content.signed).brush;
    const held = brush?.row === content.rows[index] ? [...brush.cells] : [];
    if (move) {
      const r = Math.min(Math.max(row + move[0], 0), g.height - 1);
      const c = Math.min(Math.max(column + move[1], 0), g.width - 1);
      cursor = r * g.width + c;
    } else if (event.key === " ") {
      const [cell] = flat([cursor]);
      const cells = held.includes(cell) ? held.filter((other) => other !== cell) : [...held, cell];
      save(model, { brush: { row: content.rows[index], cells } });
    } else if (event.key === "Enter") {
      finish(held.length ? held : flat([cursor]), content.rows[index], joinOf(event));
    } else {
      return false;
    }
    hover = { index, cell: cursor };
    say(index, cursor);
    redraw();
    return true;
  };
  on("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || !content.rows.length) return;
    const index = content.rows.indexOf(Number(model.get("_focus")));
    let used = true;
    if (event.key === "Escape") clearBrush();
    else if (event.key.toLowerCase() === "k") regionKey(event);
    else if (event.key.toLowerCase() === "m") {
      const modes = ["tile", "map", "overlay"];
      save(model, { mode: modes[(modes.indexOf(String(model.get("mode"))) + 1) % 3] });
    } else if (index >= 0 && cellKey(event, index)) used = true;
    else if (event.key === "Enter" && index >= 0 && content.grids) {
      const g = content.grids;
      cursor = Math.floor(g.height / 2) * g.width + Math.floor(g.width / 2);
      hover = { index, cell: cursor };
      say(index, cursor);
      redraw();
    } else if (/^(Arrow|Home$|End$)/.test(event.key)) {
      const next = index < 0 ? 0 : step(l, content.rows.length, index, event.key);
      focus(content.rows[next]);
      say(next, null);
      const top = Math.floor(next / l.columns) * l.pitch;
      if (top < scroll.scrollTop) scroll.scrollTop = top;
      else if (top + l.pitch > scroll.scrollTop + scroll.clientHeight) {
        scroll.scrollTop = top + l.pitch + 8 - scroll.clientHeight;
      }
    } else used = false;
    if (used) {
      event.preventDefault();
      event.stopPropagation(); // the notebook has its own meaning for arrows and Enter
    }
  });

  onMessage<{ kind: string; name: string; cells: number }>(model, (message) => {
    if (message.kind !== "region") return;
    value.textContent = `${message.cells} cells saved as ${message.name}`;
  }, signal);
  ownKeys(root, (event) => isOurs((event.composedPath()[0] as Element).tagName, event), signal);
  onChange(model, CONTENT, () => void update(), signal);
  onChange(model, LOOK, redraw, signal);
  onChange(model, ["_note", "label", "_empty"], words, signal);
  const observer = new ResizeObserver(() => {
    width = scroll.clientWidth;
    redraw();
  });
  observer.observe(scroll);
  observer.observe(root);
  signal.addEventListener("abort", () => {
    observer.disconnect();
    release(picture);
  });
  void update();
  return cleanUp;
}

export default { render };
