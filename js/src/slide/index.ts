/** The slide: state in, picture out; gestures up to the kernel, tiles, maps and bitmasks back. */

import { bytesOf, encodePolygon, MOST_VERTICES, type Bounds, type Point } from "../shared/codec.ts";
import { rgb } from "../shared/colormaps.ts";
import { debounce, grouped, node, ownKeys, perFrame } from "../shared/dom.ts";
import { simplify, sweep } from "../shared/geometry.ts";
import { onChange, onMessage, save, send, type Mode, type RenderProps } from "../shared/model.ts";
import { CATEGORICAL, NONE_COLOUR } from "../shared/palette.ts";
import { prefersReducedMotion } from "../shared/theme.ts";
import { drawn, frame } from "../shared/view.ts";
import { lut, paletteName } from "../maps/luts.ts";
import { short } from "../maps/state.ts";
import { gestures, type Draft } from "../scatter/gestures.ts";
import { belongsToControl, modeOf, type Tool } from "../scatter/keys.ts";
import { ColourBar } from "./bar.ts";
import {
  fit, kept, pan, placeText, scaleBar, toSlide, visible, zoom, type Camera, type Size,
} from "./camera.ts";
import { boundsOf, cellAt, cells, type Cells } from "./cells.ts";
import { actionOf, type Action } from "./keys.ts";
import { Legend } from "./legend.ts";
import { drawMarks, needed, paint, SelectionPicture, type Layer, type Marking } from "./paint.ts";
import { pinch } from "./pinch.ts";
import { paintRaster, tableOfAll, tableOfOne, valueAt, type Cluster, type Raster } from "./raster.ts";
import css from "./slide.css";
import { readCells, readClusters, readMap, readMapInfo, readSlide, type Slide } from "./state.ts";
import { Strip } from "./strip.ts";
import { SlideTiles, type TileReply } from "./tiles.ts";
import { toolbar } from "./toolbar.ts";

/** Vertices closer to the line than this are left out of a lasso, CSS pixels. */
const LASSO_TOLERANCE_PX = 0.5;
/** The kernel hears of the camera when it rests. */
const REST_MS = 150;
const GLIDE_MS = 200;
/** Part of the view that is left around a selection that is zoomed to. */
const AROUND = 0.15;

function render(props: RenderProps): () => void {
  const { model } = props;
  const [view, cleanUp] = frame(props, "slide", css, () => redraw());
  const { root, signal } = view;

  let slide: Slide | null = null;
  let here: Cells = cells(new Uint32Array(0), new Float32Array(0), null);
  let mask: Uint8Array = new Uint8Array(0);
  let raster: Raster | null = null;
  let layer: Layer | null = null;
  let clusters: readonly Cluster[] = [];
  let size: Size = { width: 0, height: 0 };
  let camera: Camera = { x: 0, y: 0, scale: 1 };
  let home = camera;
  let atHome = true;
  let draft: Draft | null = null;
  let sent: Draft | null = null;
  let hovered = -1;
  let cursor: Point | null = null; // on the stage, CSS pixels
  let clicked: Point | null = null;

  // -- nodes ---------------------------------------------------------------------------
  const picture = node("canvas", { "aria-hidden": true });
  const marks = node("canvas", { "aria-hidden": true });
  const empty = node("div", { class: "wk-slide-empty", hidden: true });
  const scale = node("div", { class: "wk-slide-scale", role: "img", hidden: true }, node("span"), node("i"));
  const stage = node(
    "div",
    {
      class: "wk-slide-stage", tabindex: 0, role: "application", "aria-label": "Slide",
      "aria-keyshortcuts":
        "ArrowLeft ArrowRight ArrowUp ArrowDown + - 0 P R L M Z A I Escape PageUp PageDown Control+Z",
    },
    picture, marks, empty, scale,
  );
  const bar = new ColourBar();
  const legend = new Legend({
    show: (cluster) =>
      send(model, { kind: "map", method: "cluster", target: `cluster:${cluster < 0 ? "" : cluster}` }),
    hide: (cluster, hidden) => send(model, { kind: "hide", cluster, hidden }),
  });
  const reason = node("div", { class: "wk-slide-reason", role: "note", hidden: true });
  const reasonText = node("span");
  const compute = node("button", { type: "button", class: "wk-slide-compute", hidden: true }, "Compute");
  compute.addEventListener("click", () => send(model, { kind: "compute" }), { signal });
  reason.append(reasonText, compute);
  const name = node("span", { class: "wk-slide-title" });
  const count = node("span", { class: "wk-slide-count", role: "status", "aria-live": "polite" });
  const said = node("span", { class: "wk-slide-said" });
  const note = node("span", { class: "wk-slide-note" });
  const strip = new Strip(model, (index) => choose(index), signal);
  const tools = toolbar(model, act, signal);
  root.append(
    tools.element,
    reason,
    node("div", { class: "wk-slide-body" }, stage, node("div", { class: "wk-slide-side" }, bar.element, legend.element)),
    strip.element,
    node("div", { class: "wk-status" }, name, count, said, note),
  );
  const context = picture.getContext("2d");
  const markContext = marks.getContext("2d");
  const selection = new SelectionPicture();
  const tiles = new SlideTiles(model, () => redraw());
  signal.addEventListener("abort", () => tiles.clear());

  // -- what the kernel says --------------------------------------------------------------
  const mode = (): Mode => (model.get("mode") as Mode) ?? "replace";

  function readPicture(): void {
    const before = slide;
    slide = readSlide(model);
    tiles.setVersion(slide?.version ?? 0);
    if (slide?.index !== before?.index || String(slide?.bounds) !== String(before?.bounds)) {
      sent = draft = null;
      readCamera();
    }
  }

  function readTiles(): void {
    here = readCells(model);
    readSelection();
  }

  function readSelection(): void {
    mask = bytesOf(model.get("_mask") as DataView | null);
    sent = null; // the answer to the last gesture
    selection.set(here, mask, counts()[2]! > 0);
  }

  function readRaster(): void {
    raster = readMap(model);
    clusters = readClusters(model);
    recolour();
  }

  function recolour(): void {
    const signed = raster?.signed ?? false;
    const palette = paletteName(String(model.get(signed ? "diverging" : "palette")), signed);
    const threshold = Number(model.get("threshold"));
    layer = null;
    if (raster) {
      const table = raster.winner
        ? tableOfAll(clusters, (colour) => rgb(CATEGORICAL[colour] ?? NONE_COLOUR), threshold)
        : tableOfOne(lut(palette), signed, threshold);
      const canvas = document.createElement("canvas");
      canvas.width = raster.width;
      canvas.height = raster.height;
      const own = canvas.getContext("2d");
      const image = own?.createImageData(raster.width, raster.height);
      if (own && image) {
        paintRaster(raster, table, image.data);
        own.putImageData(image, 0, 0);
        layer = { picture: canvas, view: raster.view };
      }
    }
    const info = readMapInfo(model);
    bar.show(raster, info.title ?? "", info.units ?? "", palette, threshold);
    const [, alone] = String(model.get("_target") ?? "").split(":");
    const ofClusters = String(model.get("_method")) === "cluster";
    legend.show(clusters, ofClusters ? (alone ? Number(alone) : -1) : null);
    reason.hidden = !info.reason;
    reasonText.textContent = info.reason ?? "";
    compute.hidden = !info.compute;
  }

  /** Selected on this slide, tiles on this slide, selected of all, all. */
  function counts(): number[] {
    return (model.get("_counts") as number[] | null) ?? [0, 0, 0, 0];
  }

  function words(): void {
    const [chosen, on, all] = counts() as [number, number, number, number];
    name.textContent = slide?.name ?? "";
    count.textContent = slide
      ? `${grouped(chosen)} of ${grouped(on)} selected here` + (all > chosen ? `, ${grouped(all)} in all` : "")
      : "";
    const why = String(model.get("_empty") ?? "");
    empty.hidden = why === "";
    empty.textContent = why;
    note.textContent = [slide?.note, model.get("_note")].filter(Boolean).join(" ");
    stage.dataset.tool = String(model.get("tool") ?? "pan");
    stage.style.height = `${Number(model.get("height")) || 480}px`;
    const slides = Number(model.get("_slide_count") ?? 0);
    const at = slide?.index ?? -1;
    strip.show(slides, at, slide?.version ?? 0, bytesOf(model.get("_shares") as DataView | null));
    tools.content({ signed: raster?.signed ?? false, all: raster?.winner != null, slides, slide: at });
    stage.setAttribute("aria-label", `Slide ${slide?.name ?? ""}`.trim());
    root.dataset.slide = String(at);
  }

  function readCamera(): void {
    const saved = model.get("_camera") as number[] | null;
    goHome();
    if (saved?.length !== 6 || saved[0] !== slide?.index || !saved.every(Number.isFinite)) return;
    const [, x, y, scale, width, height] = saved as [number, number, number, number, number, number];
    if (scale > 0) camera = { x, y, scale };
    else camera = fit([x - width / 2, y - height / 2, x + width / 2, y + height / 2], size);
    atHome = false;
  }

  /** All there is to see: the slide, or of a mosaic its tiles. */
  function wholeOf(): Camera {
    return fit(slide?.mosaic && here.count ? here.bounds : (slide?.bounds ?? [0, 0, 1, 1]), size);
  }

  function goHome(): void {
    home = wholeOf();
    camera = home;
    atHome = true;
  }

  const on = (traits: string[], read: () => void): void =>
    onChange(
      model,
      traits,
      () => {
        read();
        words();
        redraw();
      },
      signal,
    );
  // One reader for all: a message may change several, and each is whole only with the others.
  on(["_picture", "_rows", "_boxes", "_tile_size", "_mask", "_revision", "_counts"], () => {
    readTiles();
    readPicture();
    look();
  });
  on(["_map", "_winner", "_map_info", "_legend", "_method", "_target"], () => {
    readRaster();
    look(); // the view may have moved while the map was made
  });
  on(["palette", "diverging", "threshold"], recolour);
  on(["opacity", "smooth", "show_map", "marking", "_focus"], () => undefined);
  on(["_shares", "_slide_count", "_empty", "_note", "tool", "height"], () => undefined);
  on(["_camera"], () => {
    readCamera();
    look();
  });
  onMessage<TileReply>(model, (reply, buffers) => {
    if (reply.kind === "tiles") void tiles.take(reply, buffers);
  }, signal);

  // -- the camera ------------------------------------------------------------------------
  const keepCamera = debounce(
    () => {
      const { x, y, scale } = camera;
      const value = atHome || !slide ? [] : [slide.index, x, y, scale, size.width, size.height];
      save(model, { _camera: value });
    },
    2 * REST_MS,
    signal,
  );

  /** Asks for the map of what is seen, unless all of it is here as finely as there is. */
  const look = debounce(
    () => {
      if (!slide || size.width < 1 || readMapInfo(model).whole) return;
      const ratio = Math.min(2, window.devicePixelRatio || 1);
      send(model, {
        kind: "view",
        slide: slide.index,
        box: visible(camera, size),
        size: [Math.round(size.width * ratio), Math.round(size.height * ratio)],
      });
    },
    REST_MS,
    signal,
  );

  function move(next: Camera): void {
    if (!slide) return;
    camera = kept(next, slide.bounds);
    atHome = false;
    sent = null;
    keepCamera();
    look();
    redraw();
  }

  /** To another place: a short glide, unless motion is unwanted. */
  function glide(to: Camera, arrived: () => void): void {
    const from = camera;
    const start = performance.now();
    const of = slide;
    const step = (): void => {
      if (signal.aborted || slide !== of) return;
      const part = prefersReducedMotion() ? 1 : (performance.now() - start) / GLIDE_MS;
      if (part >= 1) {
        camera = to;
        arrived();
        keepCamera();
        look();
      } else {
        const t = part * part * (3 - 2 * part);
        const scale = from.scale * (to.scale / from.scale) ** t;
        // the way is even on the screen, not on the slide
        const way =
          to.scale === from.scale ? t : (1 / from.scale - 1 / scale) / (1 / from.scale - 1 / to.scale);
        camera = { x: from.x + (to.x - from.x) * way, y: from.y + (to.y - from.y) * way, scale };
        requestAnimationFrame(step);
      }
      redraw();
    };
    step();
  }

  function toSelection(): void {
    const box = boundsOf(here, mask);
    if (!box) return;
    const [w, h] = [(box[2] - box[0]) * AROUND, (box[3] - box[1]) * AROUND];
    const wide: Bounds = [box[0] - w, box[1] - h, box[2] + w, box[3] + h];
    glide(fit(wide, size), () => {
      atHome = false;
    });
  }

  // -- drawing ---------------------------------------------------------------------------
  function draw(): void {
    if (!context || size.width < 1 || size.height < 1) return;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    for (const canvas of [picture, marks]) {
      const [width, height] = [Math.round(size.width * ratio), Math.round(size.height * ratio)];
      if (canvas.width !== width) canvas.width = width;
      if (canvas.height !== height) canvas.height = height;
    }
    const shown = slide;
    if (shown?.pyramid) tiles.want(shown.index, needed(shown.pyramid, camera, size, ratio));
    const style = getComputedStyle(root);
    const missing = paint(context, {
      slide: shown?.index ?? -1,
      pyramid: shown?.pyramid ?? null,
      tiles,
      camera,
      size,
      ratio,
      map: raster && raster.slide === shown?.index && model.get("show_map") ? layer : null,
      opacity: Number(model.get("opacity")),
      smooth: raster?.winner ? false : Boolean(model.get("smooth")),
      selection,
      marking: (model.get("marking") as Marking) ?? "dim",
      ground: style.getPropertyValue("--wk-raised").trim() || "#f3f4f6",
      accent: accent(),
    });
    showScale();
    paintMarks();
    root.dataset.missing = String(missing);
    root.dataset.camera = `${camera.x} ${camera.y} ${camera.scale}`;
    root.dataset.map = raster && raster.slide === shown?.index ? (readMapInfo(model).title ?? "") : "";
    drawn(root, "slide", Number(model.get("_revision")));
  }

  function accent(): string {
    return getComputedStyle(root).getPropertyValue("--wk-accent").trim() || "#0062a3";
  }

  function showScale(): void {
    scale.hidden = slide === null;
    if (!slide) return;
    const { px, text } = scaleBar(camera.scale, slide.mpp, Math.min(140, size.width / 3));
    const [label, line] = scale.children as unknown as [HTMLElement, HTMLElement];
    label.textContent = text;
    line.style.width = `${px}px`;
    scale.setAttribute("aria-label", `Scale bar: ${text}`);
    scale.dataset.px = String(px);
  }

  function boxOfCell(index: number): Bounds | null {
    if (index < 0 || index >= here.count) return null;
    return [...here.boxes.subarray(4 * index, 4 * index + 4)] as unknown as Bounds;
  }

  function paintMarks(): void {
    if (!markContext) return;
    const focus = Number(model.get("_focus") ?? -1);
    drawMarks(markContext, camera, size, Math.min(2, window.devicePixelRatio || 1), {
      draft,
      sent,
      hover: boxOfCell(hovered),
      focus: focus < 0 ? null : boxOfCell(here.rows.indexOf(focus)),
      accent: accent(),
    });
    say();
  }

  const redraw = perFrame(draw, signal);
  const remark = perFrame(paintMarks, signal);

  /** What is under the pointer: place, cluster, value, tile. */
  function say(): void {
    if (!cursor || !slide) {
      said.textContent = "";
      bar.point(null);
      return;
    }
    const at = toSlide(camera, size, cursor);
    const parts = [placeText(at, slide.mpp)];
    const found =
      raster && raster.slide === slide.index && model.get("show_map") ? valueAt(raster, at) : null;
    if (found) {
      const won = found.winner === null ? null : clusters[found.winner];
      if (raster?.winner) parts.push(won && !won.hidden ? won.name : "background");
      parts.push(`≈ ${short(found.value)}`);
    }
    if (hovered >= 0) parts.push(`tile ${grouped(here.rows[hovered]!)}`);
    said.textContent = parts.join(" · ");
    bar.point(found ? found.code : null);
  }

  // -- gestures --------------------------------------------------------------------------
  const tool = (): Tool => (model.get("tool") as Tool) ?? "pan";
  const cellUnder = (at: Point): number => cellAt(here, toSlide(camera, size, at));

  function commit(ended: Draft, how: Mode): void {
    if (!slide) return;
    const place = (at: Point): Point => toSlide(camera, size, at);
    const common = { slide: slide.index, mode: how };
    if (ended.kind === "box") {
      const [ax, ay] = place(ended.from);
      const [bx, by] = place(ended.to);
      const box = [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
      send(model, { kind: "box", ...common, box });
    } else {
      const path = simplify(ended.path, LASSO_TOLERANCE_PX, MOST_VERTICES);
      if (path.length < 3 || sweep(path) < 1) return;
      const { box, data } = encodePolygon(path.map(place));
      send(model, { kind: "lasso", ...common, box }, [data]);
    }
    sent = ended;
    remark();
  }

  const fingers = pinch(
    stage,
    {
      begin: () => {
        hand.cancel();
      },
      move: (dx, dy, factor, at) => move(zoom(pan(camera, dx, dy), size, at, factor, home)),
    },
    signal,
  );
  const hand = gestures(
    stage,
    {
      tool,
      draft: (now) => {
        draft = now;
        remark();
      },
      commit: (ended, event) => {
        performance.clearMarks("widgetkit:slide:gesture");
        performance.mark("widgetkit:slide:gesture");
        commit(ended, modeOf(event, mode()));
      },
      click: (at, event) => {
        clicked = at;
        const index = cellUnder(at);
        if (index < 0) return;
        const row = here.rows[index]!;
        // who moves the slide looks at tiles; who selects, selects them
        if (tool() === "pan") send(model, { kind: "focus", row });
        else send(model, { kind: "pick", row, mode: modeOf(event, mode()) });
      },
      doubleClick: () => {
        if (tool() !== "pan") act({ do: "command", name: "clear" });
        else if (clicked) move(zoom(camera, size, clicked, 2, home));
      },
      pan: (dx, dy) => move(pan(camera, dx, dy)),
      zoom: (at, factor) => move(zoom(camera, size, at, factor, home)),
      hover: (at) => {
        if (fingers.active()) return;
        cursor = at ?? (draft ? cursor : null);
        hovered = at ? cellUnder(at) : -1;
        remark();
      },
    },
    signal,
  );

  function choose(index: number): void {
    const slides = Number(model.get("_slide_count") ?? 0);
    if (index >= 0 && index < slides) send(model, { kind: "slide", slide: index });
  }

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
        glide(home, goHome);
        break;
      case "space":
        hand.setSpace(true);
        break;
      case "map":
        save(model, { show_map: !model.get("show_map") });
        break;
      case "selection":
        toSelection();
        break;
      case "slide":
        choose((slide?.index ?? 0) + action.step);
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
  const stripKey = /^(Arrow|Page|Home$|End$)/;
  ownKeys(
    root,
    (event) =>
      actionFor(event) !== null ||
      (event.composedPath()[0] === strip.element && stripKey.test(event.key)),
    signal,
  );
  root.addEventListener(
    "keydown",
    (event) => {
      const action = actionFor(event);
      if (!action) return;
      event.preventDefault();
      event.stopPropagation();
      const again = action.do === "pan" || action.do === "zoom" || action.do === "slide";
      if (!event.repeat || again) act(action);
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
    const saved = model.get("_camera") as number[] | null;
    if (atHome) goHome();
    else if (saved?.[3] === 0) readCamera(); // a box to be fitted
    else home = wholeOf();
    look();
    redraw();
  });
  observer.observe(stage);
  signal.addEventListener("abort", () => observer.disconnect());

  readTiles();
  readPicture();
  readRaster();
  words();
  redraw();
  return cleanUp;
}

export default { render };
