/** Three planes through a volume: state in, pictures out; gestures up, voxels and maps back. */

import type { Point } from "../shared/codec.ts";
import { debounce, node, ownKeys, perFrame } from "../shared/dom.ts";
import { onChange, onMessage, save, send, type Mode, type RenderProps } from "../shared/model.ts";
import { drawn, frame } from "../shared/view.ts";
import { position } from "../maps/grid.ts";
import { isOurs } from "../maps/keys.ts";
import { lut, paletteName } from "../maps/luts.ts";
import { short } from "../maps/state.ts";
import { belongsToControl, modeOf } from "../scatter/keys.ts";
import { ColourBar } from "../slide/bar.ts";
import { tableOfOne, type Raster } from "../slide/raster.ts";
import {
  AXES, boxBetween, inside, nearestVoxel, panBy, voxelAt, zoomAt, type Axis, type Camera, type Triple,
} from "./geometry.ts";
import { gestures, type Hand } from "./gestures.ts";
import { actionOf, type Action, type Tool } from "./keys.ts";
import { Loader, type ChunkReply } from "./loader.ts";
import { Panel } from "./panel.ts";
import { mapAt, mapPixels, planePixels, voxelOf } from "./reslice.ts";
import {
  largeAxis, readAt, readCamera, readMap, readMapInfo, readVolume, windowNow, type Volume, type VolumeMap,
} from "./state.ts";
import { toolbar } from "./toolbar.ts";
import { dragged, lutOf, valueText, type Window } from "./window.ts";
import css from "./volume.css";

/** The kernel hears of crosshair, window and zoom when they rest. */
const REST_MS = 150;
/** How far a pointer moves before a brush is one, CSS pixels. */
const BRUSH_PX = 3;

function render(props: RenderProps): () => void {
  const { model } = props;
  const [{ root, signal }, cleanUp] = frame(props, "volume", css, () => redraw());

  let volume: Volume | null = null;
  let map: VolumeMap | null = null;
  let at: Triple = [0, 0, 0];
  let window_: Window = [0, 255];
  let camera: Camera = { zoom: 1, centre: [0, 0, 0] };
  let shown = 0; // grows with every part of the voxels that arrives
  let mapShown = 0;
  let windowHeld = false;
  let brush: { axis: Axis; from: Point; to: Point } | null = null;
  let began: { window: Window; camera: Camera; at: Triple } | null = null; // of the drag
  let cursor: { axis: Axis; at: Point } | null = null;

  // -- nodes ---------------------------------------------------------------------------
  const panels = AXES.map((axis) => new Panel(axis)) as [Panel, Panel, Panel];
  const empty = node("div", { class: "wk-volume-empty", hidden: true });
  const reasonText = node("span");
  const compute = node("button", { type: "button", class: "wk-volume-compute", hidden: true }, "Compute");
  compute.addEventListener("click", () => send(model, { kind: "compute" }), { signal });
  const reason = node("div", { class: "wk-volume-reason", role: "note", hidden: true }, reasonText, compute);
  const bar = new ColourBar();
  const name = node("span", { class: "wk-volume-title" });
  const loading = node("span", { class: "wk-volume-loading", role: "status" });
  const said = node("span", { class: "wk-volume-said" });
  const note = node("span", { class: "wk-volume-note", role: "status" });
  const planes = node("div", { class: "wk-volume-planes" }, ...panels.map((panel) => panel.element));
  const tools = toolbar(model, (action) => act(action, null), setWindow, signal);
  root.append(
    tools.element, reason, empty, planes, bar.element,
    node("div", { class: "wk-status" }, name, loading, said, note),
  );

  // -- voxels ----------------------------------------------------------------------------
  const loader = new Loader(
    (version, index) => send(model, { kind: "chunk", version, index }),
    () => {
      shown += 1;
      redraw();
    },
  );
  signal.addEventListener("abort", () => loader.stop());
  onMessage<ChunkReply>(model, (reply, buffers) => {
    if (reply.kind === "chunk") loader.take(reply, buffers);
  }, signal);
  onMessage<{ kind: string; name: string; cells: number }>(model, (reply) => {
    if (reply.kind === "region") note.textContent = `${reply.cells} cells saved as ${reply.name}`;
  }, signal);

  // -- what the kernel says --------------------------------------------------------------
  function readAll(): void {
    const before = volume?.version;
    volume = readVolume(model);
    if (volume) {
      readPlace();
      window_ = windowNow(model, volume);
      camera = readCamera(model, volume);
    }
    if (volume?.version !== before) {
      hands.forEach((hand) => hand.cancel());
      brush = null;
      shown += 1;
    }
    loader.show(volume, at);
    readMaps();
  }

  function readPlace(): void {
    if (volume) at = readAt(model, volume);
    loader.look(at);
  }

  function readMaps(): void {
    map = readMap(model, volume);
    mapShown += 1;
    const info = readMapInfo(model);
    reason.hidden = !info.reason;
    reasonText.textContent = info.reason ?? "";
    compute.hidden = !info.compute;
  }

  function palette(): ReturnType<typeof paletteName> {
    const signed = map?.signed ?? false;
    return paletteName(String(model.get(signed ? "diverging" : "palette")), signed);
  }

  function words(): void {
    const why = String(model.get("_empty") ?? "");
    empty.hidden = volume !== null;
    planes.hidden = volume === null;
    empty.textContent = why || "No volume.";
    planes.style.height = `${Number(model.get("height")) || 480}px`;
    planes.dataset.tool = String(model.get("tool") ?? "cross");
    const large = largeAxis(model);
    for (const panel of panels) panel.words(volume, at, panel.axis === large);
    name.textContent = volume?.name ?? "";
    note.textContent = volume?.note ?? "";
    const part = loader.done;
    loading.textContent = volume && part < 1 ? `loading ${Math.floor(part * 100)} %` : "";
    tools.content({
      volume, signed: map?.signed ?? false, counts: (model.get("_counts") as number[] | null) ?? [0, 0],
    });
    const threshold = Number(model.get("threshold"));
    bar.show(map && (model.get("show_map") ? asRaster(map) : null), map?.title ?? "", "", palette(), threshold);
    root.dataset.volume = volume?.name ?? "";
    root.dataset.at = at.join(" ");
    root.dataset.loaded = volume && part >= 1 ? String(volume.version) : "";
    root.dataset.map = map?.title ?? "";
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
  on(["_volume", "_map", "_map_info", "_empty"], readAll);
  on(["_at"], readPlace);
  on(["_window", "_camera"], () => {
    if (!volume || began) return; // the hand is writing them
    window_ = windowNow(model, volume);
    camera = readCamera(model, volume);
  });
  on(
    [
      "large", "tool", "show_map", "show_cross", "opacity", "threshold", "palette", "diverging", "smooth",
      "_counts", "_revision", "height",
    ],
    () => undefined,
  );

  // -- drawing ---------------------------------------------------------------------------
  const ratio = (): number => Math.min(2, window.devicePixelRatio || 1);

  function draw(): void {
    words();
    const voxels = loader.voxels;
    if (!volume || !voxels) {
      panels.forEach((panel) => panel.clear());
      drawn(root, "volume", Number(model.get("_revision")));
      return;
    }
    const grey = lutOf(window_, volume);
    const smooth = Boolean(model.get("smooth"));
    const threshold = Number(model.get("threshold"));
    const colours = map && model.get("show_map") ? tableOfOne(lut(palette()), map.signed, threshold) : null;
    for (const panel of panels) {
      const plane = volume.planes[panel.axis];
      const here = at[panel.axis];
      panel.draw(
        volume, camera, ratio(),
        {
          key: `${volume.version} ${shown} ${here} ${window_}`,
          make: () => planePixels(voxels, plane, here, grey),
        },
        map && colours
          ? {
              key: `${mapShown} ${here} ${palette()} ${threshold} ${smooth}`,
              make: () => mapPixels(voxels, map!.grid, plane, here, smooth, { ...map!, table: colours }),
              opacity: Number(model.get("opacity")),
            }
          : null,
        smooth,
      );
    }
    paintMarks();
    drawn(root, "volume", Number(model.get("_revision")));
  }

  function paintMarks(): void {
    if (!volume) return;
    const accent = getComputedStyle(root).getPropertyValue("--wk-accent").trim() || "#0062a3";
    const cross = Boolean(model.get("show_cross"));
    for (const panel of panels) {
      const own = brush?.axis === panel.axis ? ([brush.from, brush.to] as const) : null;
      panel.drawMarks(volume, ratio(), { at, cross, brush: own, accent });
    }
    say();
  }

  const redraw = perFrame(draw, signal);
  const remark = perFrame(paintMarks, signal);

  /** What is under the pointer: voxel, value, map, tile. */
  function say(): void {
    const voxel =
      cursor && volume
        ? voxelAt(volume, volume.planes[cursor.axis], panels[cursor.axis].box, at, cursor.at)
        : null;
    if (!voxel || !volume) {
      said.textContent = "";
      bar.point(null);
      return;
    }
    const parts = [`voxel (${voxel.join(", ")})`];
    const row = volume.stacked ? (volume.rows[voxel[0]] ?? -1) : -1;
    if (volume.stacked) parts.push(row < 0 ? "no slice here" : `tile ${row}`);
    const found = loader.voxels && voxelOf(loader.voxels, voxel);
    if (found) parts.push(found.length === 3 ? `rgb ${found.join(" ")}` : valueText(found[0]!, volume));
    let code: number | null = null;
    if (map && model.get("show_map")) {
      const middle = voxel.map((i) => i + 0.5) as Triple;
      const value = mapAt(map.grid, volume.shape, middle, Boolean(model.get("smooth")));
      parts.push(`map ${map.exact ? "" : "≈ "}${short(value)}`);
      if (Number.isFinite(value)) code = position(value, map, map.signed) * 254;
    }
    said.textContent = parts.join(" · ");
    bar.point(code);
  }

  // -- what changes here, and is told when it rests ----------------------------------------
  const tell = debounce(() => model.save_changes(), REST_MS, signal);

  function moveTo(place: readonly number[]): void {
    if (!volume) return;
    at = inside(volume.shape, place);
    loader.look(at);
    model.set("_at", [...at]);
    tell();
    redraw();
  }

  function setWindow(next: Window | null): void {
    if (!volume) return;
    model.set("_window", next ? [...next] : []);
    window_ = windowNow(model, volume);
    tell();
    redraw();
  }

  function setCamera(next: Camera): void {
    camera = next;
    model.set("_camera", next.zoom > 1 ? [next.zoom, ...next.centre] : []);
    tell();
    redraw();
  }

  // -- gestures --------------------------------------------------------------------------
  const scroll = (axis: Axis, by: number): void => {
    const place: Triple = [...at];
    place[axis] += by;
    moveTo(place);
  };

  const hands: Hand[] = panels.map((panel) => {
    const { axis } = panel;
    panel.slider.addEventListener(
      "input",
      () => {
        const place: Triple = [...at];
        place[axis] = Number(panel.slider.value);
        moveTo(place);
      },
      { signal },
    );
    panel.swap.addEventListener("click", () => act({ do: "large", axis }, axis), { signal });
    const cross = (to: Point): void => {
      if (volume) moveTo(nearestVoxel(volume, volume.planes[axis], panel.box, at, to));
    };
    return gestures(
      panel.stage,
      {
        tool: () => (model.get("tool") as Tool) ?? "cross",
        windowHeld: () => windowHeld,
        begin: (what, from) => {
          if (!volume) return;
          began = { window: window_, camera, at };
          if (what === "cross") cross(from);
        },
        move: (what, from, to, last) => {
          if (!volume || !began) return;
          if (what === "cross") cross(to);
          else if (what === "pan") {
            const [dx, dy] = [to[0] - last[0], to[1] - last[1]];
            setCamera(panBy(volume, volume.planes[axis], panel.size, camera, dx, dy));
          } else if (what === "window") {
            if (!volume.colour) setWindow(dragged(began.window, to[0] - from[0], to[1] - from[1], volume));
          } else {
            brush = { axis, from, to };
            remark();
          }
        },
        end: (what, from, to, keys) => {
          const drawnBox = brush;
          brush = began = null;
          if (what === "brush" && drawnBox && volume) select(axis, from, to, keys);
          remark();
        },
        cancel: (what) => {
          if (began && what === "window") setWindow(began.window);
          if (began && what === "pan") setCamera(began.camera);
          if (began && what === "cross") moveTo(began.at);
          brush = began = null;
          remark();
        },
        wheel: (steps) => scroll(axis, steps),
        zoom: (factor, pixel) => {
          if (volume) setCamera(zoomAt(volume, volume.planes[axis], panel.size, camera, factor, pixel));
        },
        hover: (point) => {
          cursor = point ? { axis, at: point } : null;
          say();
        },
      },
      signal,
    );
  });

  function select(axis: Axis, from: Point, to: Point, keys: { shiftKey: boolean; altKey: boolean }): void {
    if (!volume || Math.hypot(to[0] - from[0], to[1] - from[1]) < BRUSH_PX) return;
    // with the tool, Alt takes away; without it, Alt is what makes the brush
    const held = model.get("tool") === "brush" ? keys : { shiftKey: keys.shiftKey, altKey: false };
    const mode: Mode = modeOf(held, "replace");
    const box = boxBetween(volume, volume.planes[axis], panels[axis].box, at, from, to);
    send(model, { kind: "alike", mode, ...box });
  }

  // -- keys ------------------------------------------------------------------------------
  function focused(): Axis | null {
    const active = panels.find((panel) => panel.stage === document.activeElement);
    return active ? active.axis : null;
  }

  function act(action: Action, on: Axis | null): void {
    const axis = on ?? focused() ?? largeAxis(model);
    switch (action.do) {
      case "slice":
        scroll(axis, action.by);
        break;
      case "end":
        scroll(axis, action.last ? Infinity : -Infinity);
        break;
      case "move": {
        const plane = volume?.planes[axis];
        if (!plane) break;
        const place: Triple = [...at];
        place[plane.across] += plane.flip[0] ? -action.across : action.across;
        place[plane.down] += plane.flip[1] ? -action.down : action.down;
        moveTo(place);
        break;
      }
      case "large":
        save(model, { large: ["D", "H", "W"][action.axis] });
        break;
      case "volume":
        send(model, { kind: "step", by: action.by });
        break;
      case "zoom": {
        if (!volume) break;
        // around the crosshair: it is what is looked at
        const centre = at.map((i) => i + 0.5) as Triple;
        const zoom = Math.min(16, Math.max(1, camera.zoom * action.factor));
        setCamera({ zoom, centre });
        break;
      }
      case "fit":
        setCamera({ zoom: 1, centre: camera.centre });
        break;
      case "map":
        save(model, { show_map: !model.get("show_map") });
        break;
      case "cross":
        save(model, { show_cross: !model.get("show_cross") });
        break;
      case "reset":
        setWindow(null);
        break;
      case "window":
        windowHeld = true;
        planes.dataset.held = "window";
        break;
      case "tool":
        save(model, { tool: action.tool });
        break;
      case "cancel":
        if (!hands.some((hand) => hand.cancel())) save(model, { tool: "cross" });
        break;
      case "command":
        send(model, { kind: "command", name: action.name });
        break;
    }
  }

  const actionFor = (event: KeyboardEvent): Action | null => {
    const target = event.composedPath()[0];
    const tag = target instanceof Element ? target.tagName : "";
    return belongsToControl(tag, event.key) ? null : actionOf(event);
  };
  // JupyterLab takes arrows and letters from lists and sliders, which it does not see as fields
  const ofControl = (event: KeyboardEvent): boolean => {
    const target = event.composedPath()[0];
    return target instanceof Element && isOurs(target.tagName, event);
  };
  ownKeys(root, (event) => actionFor(event) !== null || ofControl(event), signal);
  root.addEventListener(
    "keydown",
    (event) => {
      const action = actionFor(event);
      if (!action) return;
      event.preventDefault();
      event.stopPropagation();
      const again = ["slice", "move", "zoom", "volume"].includes(action.do);
      if (!event.repeat || again) act(action, null);
    },
    { signal },
  );
  const release = (): void => {
    windowHeld = false;
    delete planes.dataset.held;
  };
  root.addEventListener("keyup", (event) => {
    if (event.key.toLowerCase() === "w") release();
  }, { signal });
  // a key that is let go elsewhere is not told here
  root.addEventListener("focusout", release, { signal });

  // -- size ------------------------------------------------------------------------------
  const observer = new ResizeObserver(() => {
    for (const panel of panels) {
      panel.size = { width: panel.stage.clientWidth, height: panel.stage.clientHeight };
    }
    redraw();
  });
  for (const panel of panels) observer.observe(panel.stage);
  signal.addEventListener("abort", () => observer.disconnect());

  readAll();
  redraw();
  return cleanUp;
}

/** What the colour bar of the slide view needs to know of a map. */
function asRaster(map: VolumeMap): Raster {
  return {
    slide: -1, view: [0, 0, 1, 1], width: 0, height: 0, values: new Uint8Array(0), winner: null,
    low: map.low, high: map.high, signed: map.signed,
  };
}

export default { render };
