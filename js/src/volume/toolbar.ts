// Rows above the planes: what the hand does, the window, and how the map looks.

import { fill, lateSaver, range, select, tick, type Choice } from "../shared/controls.ts";
import { button, node } from "../shared/dom.ts";
import { onChange, save, send, type Model } from "../shared/model.ts";
import { DIVERGING, LABELS, paletteName, SEQUENTIAL } from "../maps/luts.ts";
import { ZOOM_STEP, type Action, type Tool } from "./keys.ts";
import { windowNow, type Volume } from "./state.ts";
import { levelOf, presetOf, storedText, storedWindow, widthOf, windowOf, type Window } from "./window.ts";

// One stroked path each, in a 16 x 16 box.
const ICON = {
  cross: "M8 1.500v5M8 9.500v5M1.500 8h5M9.500 8h5",
  window: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM8 2v12M8 5h3.500M8 8h5.500M8 11h3.500",
  pan: "M8 2v12M2 8h12M6.500 3.500 8 2l1.500 1.500M6.500 12.500 8 14l1.500-1.500M3.500 6.500 2 8l1.500 1.500M12.500 6.500 14 8l-1.500 1.500",
  brush: "M2.500 2.500h7v7h-7zM11.500 6.500h2v7h-7v-2",
  closer: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10zM10.600 10.600 14 14M7 5v4M5 7h4",
  farther: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10zM10.600 10.600 14 14M5 7h4",
  fit: "M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4",
  before: "M10 3 5 8l5 5",
  after: "M6 3l5 5-5 5",
  map: "M2 4l4-1.500 4 1.500 4-1.500v9.500l-4 1.500-4-1.500-4 1.500zM6 2.500V12M10 4v9.500",
};
const TOOLS: [Tool, string, string, string][] = [
  ["cross", "Move the crosshair", ICON.cross, "Escape"],
  ["window", "Drag for level and width", ICON.window, "right button, or W held"],
  ["pan", "Move the picture", ICON.pan, "Shift, or middle button"],
  ["brush", "Brush a box: select what is alike", ICON.brush, "Alt"],
];

const percent = (value: number): string => `${Math.round(value * 100)} %`;

export interface Toolbar {
  element: HTMLElement;
  content(state: { volume: Volume | null; signed: boolean; counts: readonly number[] }): void;
}

export function toolbar(
  model: Model, act: (action: Action) => void, setWindow: (window: Window | null) => void, signal: AbortSignal,
): Toolbar {
  let volume: Volume | null = null;
  let signed = false;
  const gap = (): HTMLElement => node("span", { class: "wk-gap" });
  const simple = (label: string, path: string, key: string, name: string, action: Action): HTMLButtonElement => {
    const made = button({ label, path, key, onClick: () => act(action) }, signal);
    made.dataset.command = name;
    return made;
  };
  const tools = TOOLS.map(([tool, label, path, key]) => {
    const made = button({ label, path, key, pressed: false, onClick: () => save(model, { tool }) }, signal);
    made.dataset.value = tool;
    return made;
  });
  const before = simple("Previous volume", ICON.before, "B", "before", { do: "volume", by: -1 });
  const after = simple("Next volume", ICON.after, "N", "after", { do: "volume", by: 1 });
  const number = node("span", { class: "wk-volume-count", role: "status", "aria-live": "polite" });
  const follow = tick(
    model, "follow", "follow", "Show the tile in focus, or the first of a selection made elsewhere", signal,
  );
  const cross = tick(model, "show_cross", "crosshair", "Lines where the other planes cut this one (C)", signal);
  const hand = node(
    "div",
    { class: "wk-tools", role: "toolbar", "aria-label": "Volume tools" },
    ...tools,
    gap(),
    simple("Zoom in", ICON.closer, "+", "closer", { do: "zoom", factor: ZOOM_STEP }),
    simple("Zoom out", ICON.farther, "-", "farther", { do: "zoom", factor: 1 / ZOOM_STEP }),
    simple("Show all of the planes", ICON.fit, "0", "fit", { do: "fit" }),
    gap(),
    cross,
    node("span", { class: "wk-fill" }),
    before, number, after, follow,
  );

  // -- window
  const preset = select(
    "window",
    (name) => {
      const found = volume?.presets.find((entry) => entry.name === name);
      if (found) setWindow([found.low, found.high]);
      else if (name === "") setWindow(null);
    },
    signal,
  );
  const field = (label: string, changed: (value: number) => void): HTMLInputElement => {
    const input = node("input", { type: "number", step: "any", class: "wk-volume-field", "aria-label": label });
    const apply = (): void => {
      const value = input.valueAsNumber;
      if (Number.isFinite(value)) changed(value);
      else show(); // what is no number changes nothing
    };
    input.addEventListener("change", apply, { signal });
    input.addEventListener("keydown", (event) => event.key === "Enter" && apply(), { signal });
    return input;
  };
  const now = (): Window => (volume ? windowNow(model, volume) : [0, 255]);
  const level = field("Level of the window", (value) => volume && setWindow(windowOf(value, widthOf(now()), volume)));
  const width = field("Width of the window", (value) => volume && setWindow(windowOf(levelOf(now()), value, volume)));
  const unit = node("span", { class: "wk-volume-unit" });
  const stored = node("span", { class: "wk-volume-stored" });
  const reset = button({ label: "Reset", key: "R", onClick: () => setWindow(null) }, signal);
  reset.dataset.command = "reset";
  const windows = node(
    "div",
    { class: "wk-tools wk-volume-look", role: "toolbar", "aria-label": "Window" },
    preset.element,
    node("label", { class: "wk-choice" }, "level", level),
    node("label", { class: "wk-choice" }, "width", width),
    unit, reset, stored,
  );

  // -- map
  const write = lateSaver(model, signal);
  const map = button(
    { label: "Map over the volume", path: ICON.map, key: "M", pressed: true, onClick: () => act({ do: "map" }) },
    signal,
  );
  map.dataset.command = "map";
  // The kernel owns method and target: the lists ask, and show what the kernel then says.
  const ask = (target: string, against: string): void =>
    send(model, { kind: "map", method: String(model.get("_method")), target, against });
  const method = select("map", (name) => send(model, { kind: "map", method: name, target: null }), signal);
  const target = select("of", (value) => ask(value, String(model.get("_against"))), signal);
  const against = select("against", (value) => ask(String(model.get("_target")), value), signal);
  const slider = (trait: string) =>
    range(model, { trait, label: trait, least: 0, most: 1, step: 0.01, text: percent }, write, signal);
  const palette = select(
    "colours", (name) => save(model, { [signed ? "diverging" : "palette"]: name }), signal,
  );
  const smooth = tick(
    model, "smooth", "smooth", "Blend neighbouring cells and voxels, or show each as it is", signal,
  );
  const look = node(
    "div",
    { class: "wk-tools wk-volume-look", role: "toolbar", "aria-label": "Map on the volume" },
    map, method.element, target.element, against.element, slider("opacity").element, slider("threshold").element,
    palette.element, smooth,
  );

  const rounded = (value: number): string => String(Number(value.toPrecision(6)));
  function show(): void {
    for (const tool of tools) tool.setAttribute("aria-pressed", String(tool.dataset.value === model.get("tool")));
    windows.hidden = !volume || volume.colour;
    if (volume) {
      const window = now();
      const name = presetOf(window, volume.presets, volume);
      const choices: Choice[] = [
        { value: "", label: "all that is stored" },
        ...volume.presets.map(({ name: value, note, reason }): Choice => {
          const label = note ? `${value} (${note})` : value;
          return reason ? { value, label, reason } : { value, label };
        }),
        ...(name === "own" ? [{ value: "own", label: "own" }] : []),
      ];
      fill(preset.select, choices, name);
      // a number that is being typed stays
      if (document.activeElement !== level) level.value = rounded(levelOf(window));
      if (document.activeElement !== width) width.value = rounded(widthOf(window));
      unit.textContent = volume.units;
      stored.textContent = storedText(volume);
      reset.disabled = storedWindow(volume).every((end, i) => Math.abs(end - window[i]!) < 1e-6);
    }
    const methods = (model.get("_methods") ?? []) as { name: string; title: string; reason?: string }[];
    fill(
      method.select,
      methods.map(({ name, title, reason }): Choice =>
        reason ? { value: name, label: title, reason } : { value: name, label: title },
      ),
      String(model.get("_method")),
    );
    const targets = (model.get("_targets") ?? []) as Choice[];
    fill(target.select, targets, String(model.get("_target")));
    target.element.hidden = targets.length < 2;
    const againsts = (model.get("_againsts") ?? []) as Choice[];
    fill(against.select, againsts, String(model.get("_against") ?? ""));
    against.element.hidden = againsts.length < 2;
    const names = signed ? DIVERGING : SEQUENTIAL;
    fill(
      palette.select,
      names.map((name) => ({ value: name, label: LABELS[name] ?? name })),
      paletteName(String(model.get(signed ? "diverging" : "palette")), signed),
    );
    map.setAttribute("aria-pressed", String(Boolean(model.get("show_map"))));
  }
  onChange(
    model,
    [
      "tool", "_window", "_methods", "_method", "_targets", "_target", "_againsts", "_against", "palette",
      "diverging", "show_map",
    ],
    show, signal,
  );
  return {
    element: node("div", {}, hand, windows, look),
    content: (state) => {
      ({ volume, signed } = state);
      const [at, among] = state.counts as [number, number];
      number.textContent = among ? `${at || "\u2013"} of ${among}` : "";
      before.disabled = among === 0 || at === 1;
      after.disabled = among === 0 || at === among;
      show();
    },
  };
}
