/** The scatter: state in, picture out; gestures up to the kernel, bitmasks back. */

import {
  bytesOf,
  decodePositions,
  encodePolygon,
  MISSING_POSITION,
  MOST_VERTICES,
  positionValue,
  type Bounds,
  type Point,
} from "../shared/codec.ts";
import type { Rgb } from "../shared/colormaps.ts";
import { grouped, node, debounce, ownKeys, perFrame } from "../shared/dom.ts";
import { simplify, sweep } from "../shared/geometry.ts";
import { surface } from "../shared/gl.ts";
import { onChange, onMessage, save, send, type Mode, type RenderProps } from "../shared/model.ts";
import { prefersReducedMotion } from "../shared/theme.ts";
import { drawn, frame } from "../shared/view.ts";
import { fit, pan, toData, toPixel, zoom, type Camera, type Size } from "./camera.ts";
import { lookup, type Colouring } from "./colour.ts";
import { gestures, type Draft } from "./gestures.ts";
import { buildGrid, crowd, CROWDED, look, nearest, type Grid, type Look } from "./grid.ts";
import { HoverCard } from "./hover.ts";
import { actionOf, belongsToControl, modeOf, type Action } from "./keys.ts";
import { Legend } from "./legend.ts";
import { drawMarks } from "./overlay.ts";
import { drawSample, PointRenderer, type Scene } from "./renderer.ts";
import css from "./scatter.css";
import { showDensity, toolbar } from "./toolbar.ts";

/** How near the cursor has to be to a point, CSS pixels. */
const NEAR_PX = 10;
/** Vertices closer to the line than this are left out of a lasso, CSS pixels. */
const LASSO_TOLERANCE_PX = 0.5;
const REST_MS = 400;
const FIT_MS = 200;

interface State {
  positions: Uint16Array;
  codes: Uint8Array;
  mask: Uint8Array;
  box: Bounds;
  colouring: Colouring;
  revision: number;
  /** Tiles drawn, tiles there are, tiles selected. */
  counts: [drawn: number, total: number, selected: number];
}

function render(props: RenderProps): () => void {
  const { model } = props;
  const [view, cleanUp] = frame(props, "scatter", css, () => {
    recolour();
    redraw();
  });
  const { root, signal } = view;

  const state: State = {
    positions: new Uint16Array(0),
    codes: new Uint8Array(0),
    mask: new Uint8Array(0),
    box: [0, 0, 1, 1],
    colouring: { by: "cluster", missing: 0 },
    revision: 0,
    counts: [0, 0, 0],
  };
  let grid: Grid | null = null;
  let table: Uint8Array = new Uint8Array(1024);
  let size: Size = { width: 0, height: 0 };
  let camera: Camera = { x: 0, y: 0, scale: 1 };
  let home = camera;
  let atHome = true;
  let draft: Draft | null = null;
  let sent: Draft | null = null;
  let hovered = -1;

  // -- nodes ---------------------------------------------------------------------------
  const points = node("canvas", { "aria-hidden": true });
  const overlay = node("canvas", { "aria-hidden": true });
  const empty = node("div", { class: "wk-empty", hidden: true });
  const card = new HoverCard(model, signal);
  const stage = node(
    "div",
    {
      class: "wk-stage",
      tabindex: 0,
      role: "application",
      "aria-label": "Map of tiles; k saves the selection as a concept",
      "aria-keyshortcuts": "L R P A I K Escape Control+Z Control+Shift+Z",
    },
    points,
    overlay,
    empty,
    card.element,
  );
  const legend = new Legend((item, event) => {
    send(model, { kind: "legend", item, mode: modeOf(event, mode()) });
  });
  const count = node("span", { class: "wk-count", role: "status", "aria-live": "polite" });
  const note = node("span", { class: "wk-note" });
  const title = node("span");
  const tools = toolbar(model, act, signal);
  root.append(
    tools,
    node("div", { class: "wk-body" }, stage, legend.element),
    node("div", { class: "wk-status" }, count, note, title),
  );
  const context = points.getContext("2d");

  // -- what the kernel says --------------------------------------------------------------
  function mode(): Mode {
    return (model.get("mode") as Mode) ?? "replace";
  }

  function readPositions(): void {
    state.positions = decodePositions(model.get("_positions") as DataView);
    state.box = model.get("_bounds") as Bounds;
    grid = null;
    hovered = -1;
    card.forget();
  }

  function readColours(): void {
    state.codes = bytesOf(model.get("_codes") as DataView);
    state.colouring = (model.get("_colouring") as Colouring) ?? { by: "cluster", missing: 0 };
    card.forget();
    recolour();
  }

  function recolour(): void {
    table = lookup(state.colouring, view.theme());
    legend.show(state.colouring, view.theme());
  }

  function readSelection(): void {
    state.mask = bytesOf(model.get("_mask") as DataView);
    const revision = Number(model.get("_revision"));
    if (revision !== state.revision) sent = null; // the answer to the last gesture
    state.revision = revision;
  }

  function readWords(): void {
    state.counts = (model.get("_counts") as State["counts"]) ?? [0, 0, 0];
    const [, total, selected] = state.counts;
    count.textContent = `${grouped(selected)} of ${grouped(total)} selected`;
    title.textContent = String(model.get("_title") ?? "");
    empty.hidden = state.positions.length > 0;
    empty.textContent = total > 0 ? "There is no map of these tiles yet." : "There are no tiles.";
    stage.dataset.tool = String(model.get("tool") ?? "lasso");
    stage.style.height = `${Number(model.get("height")) || 420}px`;
    legend.element.style.maxHeight = stage.style.height;
  }

  function readCamera(): void {
    const saved = model.get("_camera") as number[];
    if (saved?.length === 3 && saved.every(Number.isFinite) && saved[2]! > 0) {
      camera = { x: saved[0]!, y: saved[1]!, scale: saved[2]! };
      atHome = false;
    } else {
      goHome();
    }
  }

  function goHome(): void {
    home = fit(state.box, size);
    camera = home;
    atHome = true;
  }

  const on = (traits: string[], read: () => void): void =>
    onChange(
      model,
      traits,
      () => {
        read();
        redraw();
      },
      signal,
    );
  on(["_positions", "_bounds"], () => {
    readPositions();
    readWords(); // its own change may have been told before this one
    // Another projection has other coordinates: the old camera looks at nothing in it. The kernel
    // says so too, by an empty _camera, but it may not have heard of the last move yet.
    keepCamera.cancel();
    goHome();
  });
  on(["_codes", "_colouring"], readColours);
  on(["_mask", "_revision"], readSelection);
  on(["_counts", "_title", "_positions", "tool", "height"], readWords);
  onMessage<{ kind: string; name: string }>(
    model,
    (message) => {
      if (message.kind !== "concept") return;
      readWords(); // until something else is selected
      count.textContent = `${count.textContent}, saved as ${message.name}`;
    },
    signal,
  );
  on(["_focus", "density", "point_size"], () => undefined);
  on(["_camera"], readCamera);

  // -- the camera ------------------------------------------------------------------------
  const keepCamera = debounce(
    () => save(model, { _camera: atHome ? [] : [camera.x, camera.y, camera.scale] }),
    REST_MS,
    signal,
  );

  function move(next: Camera): void {
    camera = next;
    atHome = false;
    sent = null;
    card.hide();
    hovered = -1;
    keepCamera();
    redraw();
  }

  /** Back to all points: a short glide, unless motion is unwanted. */
  function glideHome(): void {
    const from = camera;
    const start = performance.now();
    keepCamera();
    const step = (): void => {
      if (signal.aborted) return;
      const part = prefersReducedMotion() ? 1 : (performance.now() - start) / FIT_MS;
      if (part >= 1) {
        goHome();
      } else {
        const t = part * part * (3 - 2 * part);
        camera = {
          x: from.x + (home.x - from.x) * t,
          y: from.y + (home.y - from.y) * t,
          scale: from.scale * (home.scale / from.scale) ** t,
        };
        requestAnimationFrame(step);
      }
      redraw();
    };
    step();
  }

  // -- drawing ---------------------------------------------------------------------------
  const shared = surface(() => redraw(), signal);
  const renderer = shared ? new PointRenderer(shared) : null;
  signal.addEventListener("abort", () => renderer?.dispose());

  /** Codes in a pixel, along each axis. */
  function codesPerPixel(): Point {
    const [x0, y0, x1, y1] = state.box;
    return [
      65534 / Math.max(1e-300, (x1 - x0) * camera.scale),
      65534 / Math.max(1e-300, (y1 - y0) * camera.scale),
    ];
  }

  function toCodes(at: Point): Point {
    const [x, y] = toData(camera, size, at);
    const [x0, y0, x1, y1] = state.box;
    return [((x - x0) / (x1 - x0 || 1)) * 65534, ((y - y0) / (y1 - y0 || 1)) * 65534];
  }

  function pixelOf(index: number): Point | null {
    const code = state.positions[2 * index];
    if (index < 0 || code === undefined || code === MISSING_POSITION) return null;
    const [x0, y0, x1, y1] = state.box;
    return toPixel(camera, size, [
      positionValue(code, x0, x1),
      positionValue(state.positions[2 * index + 1]!, y0, y1),
    ]);
  }

  function currentLook(): Look {
    grid ??= buildGrid(state.positions);
    const [left, top] = toCodes([0, 0]);
    const [right, bottom] = toCodes([size.width, size.height]);
    const { points: here, occupied } = crowd(grid, left, bottom, right, top);
    const [cx, cy] = codesPerPixel();
    const paper = size.width * size.height;
    // One place only, or places on a line: codes have no extent there to measure room by.
    const flat = state.box[2] <= state.box[0] || state.box[3] <= state.box[1];
    const room = flat ? paper : Math.min(occupied / (cx * cy), paper);
    return look(here, room, Number(model.get("point_size")) || 1);
  }

  function paint(): void {
    if (!context || size.width < 1 || size.height < 1) return;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const drawnLook = currentLook();
    const wish = model.get("density");
    const dense = wish === "on" || (wish !== "off" && drawnLook.overlap > CROWDED);
    const dark = view.theme() === "dark";
    const scene: Scene = {
      ...state,
      lookup: table,
      camera,
      size,
      ratio,
      look: drawnLook,
      density: dense,
      anySelected: state.counts[2] > 0,
      quiet: (dark ? [120, 126, 132] : [150, 155, 160]) as Rgb,
    };
    let shown = state.counts[0];
    const useGl = renderer !== null && !shared!.gone;
    // Changing the size of a canvas wipes it: not while there is nothing to draw with.
    if (!useGl || shared!.alive) resize(points, ratio);
    if (useGl) {
      if (!renderer.draw(context, scene)) {
        root.dataset.context = "lost";
        return;
      }
    } else {
      shown = drawSample(context, scene, grid!);
    }
    root.dataset.context = useGl ? "webgl2" : "2d";
    const [, total] = state.counts;
    note.textContent = [
      shown < total && state.positions.length > 0
        ? `showing ${grouped(shown)} of ${grouped(total)}`
        : "",
      useGl || state.positions.length === 0 ? "" : "without WebGL",
      dense && useGl ? "drawn as density" : "",
    ]
      .filter(Boolean)
      .join(", ");
    showDensity(tools, dense && useGl);
    paintMarks();
    drawn(root, "scatter", state.revision);
  }

  function resize(canvas: HTMLCanvasElement, ratio: number): void {
    const [width, height] = [Math.round(size.width * ratio), Math.round(size.height * ratio)];
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
  }

  function paintMarks(): void {
    const style = getComputedStyle(root);
    drawMarks(overlay, size.width, size.height, Math.min(2, window.devicePixelRatio || 1), {
      draft,
      sent,
      hover: pixelOf(hovered),
      focus: pixelOf(Number(model.get("_focus") ?? -1)),
      accent: style.getPropertyValue("--wk-accent").trim() || "#0062a3",
      ground: style.getPropertyValue("--wk-ground").trim() || "#ffffff",
    });
  }

  const redraw = perFrame(paint, signal);
  const remark = perFrame(paintMarks, signal);

  // -- gestures --------------------------------------------------------------------------
  function commit(ended: Draft, how: Mode): void {
    const data = (at: Point): Point => toData(camera, size, at);
    if (ended.kind === "box") {
      const [ax, ay] = data(ended.from);
      const [bx, by] = data(ended.to);
      const box = [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
      send(model, { kind: "box", mode: how, box });
    } else {
      const path = simplify(ended.path, LASSO_TOLERANCE_PX, MOST_VERTICES);
      if (path.length < 3 || sweep(path) < 1) return;
      const { box, data: buffer } = encodePolygon(path.map(data));
      send(model, { kind: "lasso", mode: how, box }, [buffer]);
    }
    sent = ended;
    remark();
  }

  function pick(at: Point): number {
    if (state.positions.length === 0) return -1;
    grid ??= buildGrid(state.positions);
    const [x, y] = toCodes(at);
    const [rx, ry] = codesPerPixel();
    return nearest(grid, x, y, NEAR_PX * rx, NEAR_PX * ry);
  }

  function known(index: number): [string, string][] {
    const item = state.colouring.items?.[state.codes[index] ?? 255];
    return item ? [[state.colouring.by, item.name]] : [];
  }

  const hand = gestures(
    stage,
    {
      tool: () => (model.get("tool") as "lasso" | "box" | "pan") ?? "lasso",
      draft: (now) => {
        draft = now;
        remark();
      },
      commit: (ended, event) => {
        performance.clearMarks("widgetkit:scatter:gesture");
        performance.mark("widgetkit:scatter:gesture");
        commit(ended, modeOf(event, mode()));
      },
      click: (at, event) => {
        const index = pick(at);
        if (index >= 0) send(model, { kind: "pick", index, mode: modeOf(event, mode()) });
      },
      doubleClick: () => act({ do: "command", name: "clear" }),
      pan: (dx, dy) => move(pan(camera, dx, dy)),
      zoom: (at, factor) => move(zoom(camera, size, at, factor, home)),
      hover: (at) => {
        const index = at ? pick(at) : -1;
        if (at) card.show(index, known(index), at, size);
        else card.hide();
        if (index !== hovered) {
          hovered = index;
          remark();
        }
      },
    },
    signal,
  );

  function act(action: Action): void {
    switch (action.do) {
      case "tool":
        save(model, { tool: action.tool });
        break;
      case "zoom":
        move(zoom(camera, size, [size.width / 2, size.height / 2], action.factor, home));
        break;
      case "pan":
        move(pan(camera, action.dx, action.dy));
        break;
      case "fit":
        glideHome();
        break;
      case "space":
        hand.setSpace(true);
        break;
      case "command":
        if (action.name === "clear" && hand.cancel()) return; // Escape first drops a drag
        send(model, { kind: "command", name: action.name });
        break;
    }
  }

  const actionFor = (event: KeyboardEvent): Action | null => {
    const target = event.composedPath()[0];
    const tag = target instanceof Element ? target.tagName : "";
    return belongsToControl(tag, event.key) ? null : actionOf(event);
  };
  ownKeys(root, (event) => actionFor(event) !== null, signal);
  root.addEventListener(
    "keydown",
    (event) => {
      const action = actionFor(event);
      if (!action) return;
      event.preventDefault();
      event.stopPropagation();
      if (!event.repeat || action.do === "pan" || action.do === "zoom") act(action);
    },
    { signal },
  );
  root.addEventListener(
    "keyup",
    (event) => {
      if (event.key === " ") hand.setSpace(false);
    },
    { signal },
  );

  // -- size ------------------------------------------------------------------------------
  const observer = new ResizeObserver(() => {
    size = { width: stage.clientWidth, height: stage.clientHeight };
    if (atHome) goHome();
    else home = fit(state.box, size);
    redraw();
  });
  observer.observe(stage);
  signal.addEventListener("abort", () => observer.disconnect());

  readPositions();
  readColours();
  readSelection();
  readWords();
  readCamera();
  redraw();
  return cleanUp;
}

export default { render };
